//! The graph on pgvector's pages: editing it. Each change is one record of up to four blocks.

use std::ops::Range;

use super::super::graph::{
    EdgeChange, GraphWrite, KnownValues, Member, NewElement, OnPage, Place, Placed, Scratch, Target,
    find_place,
};
use super::super::meta::{self, MetaPage, PAGE_ID};
use super::super::params::{HEAP_TIDS, layer_range};
use super::super::search::visited::TidSet;
use super::free_space::{self, NewNode};
use super::graph::{PageGraph, base_layer_mut, lists_of, visit};
use super::layout::{
    Element, MAX_TUPLE_VERSION, Neighbours, clear_neighbours, element_header_mut, neighbour_slots_mut,
};
use crate::space::Space;
use crate::storage::blocks::{BlockStore, PageRef, PageUpdate};
use crate::storage::page::{Damage, FIRST_OFFSET, Page, PageMut, Tid};

/// The item at `tid` in an open block.
fn item(bytes: &[u8], tid: Tid) -> Result<&[u8], Damage> {
    Page::new(bytes, PAGE_ID)?.item(tid.offset())
}

/// Changes the slots of the neighbour tuple at `at`.
fn change_slots<C: PageUpdate, R>(
    change: &mut C,
    slot: PageRef,
    at: Tid,
    edit: impl FnOnce(&mut [Tid]) -> R,
) -> Result<R, C::Error> {
    let damage = |damage: Damage| damage.on(at.block());
    let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(damage)?;
    let item = page.item_mut(at.offset()).map_err(damage)?;
    Ok(edit(neighbour_slots_mut(item, at.offset()).map_err(damage)?))
}

fn set_heap_tid(bytes: &mut [u8], offset: u16, at: usize, row: Tid) -> Result<(), Damage> {
    let mut page = PageMut::new(bytes, PAGE_ID)?;
    let (header, _) = element_header_mut(page.item_mut(offset)?, offset)?;
    if let Some(slot) = header.heap_tids.get_mut(at) {
        *slot = row;
    }
    Ok(())
}

impl<B: BlockStore, S: Space> GraphWrite for PageGraph<'_, B, S> {
    fn place(
        &mut self,
        new: &NewElement<'_>,
        scratch: &mut Scratch,
        insert_page: u32,
    ) -> Result<Placed, B::Error> {
        let &NewElement { level, value, row, slots, .. } = new;
        let Scratch { element, neighbours } = scratch;
        let mut pair = NewNode { level, value, row, slots, element, neighbours };
        free_space::add_pair(self.blocks, &mut pair, self.shape.m, insert_page)
    }

    fn add_row(&mut self, at: Tid, value: &[u8], row: Tid) -> Result<bool, B::Error> {
        let damage = |damage: Damage| damage.on(at.block());
        let mut change = self.blocks.update()?;
        let slot = change.open(at.block())?;
        let free = {
            let element = item(change.bytes(slot), at).and_then(|item| Element::new(item, at.offset()));
            let element = element.map_err(damage)?;
            let rows = element.header.live_heap_tids().len();
            // an element without rows is on its way out; one with all places taken has no room
            let usable = element.header.deleted == 0 && element.value == value && rows > 0;
            (usable && rows < HEAP_TIDS).then_some(rows)
        };
        let Some(free) = free else { return Ok(false) };
        set_heap_tid(change.bytes_mut(slot)?, at.offset(), free, row).map_err(damage)?;
        change.commit()?;
        Ok(true)
    }

    fn disown(&mut self, at: Tid) -> Result<(), B::Error> {
        let mut change = self.blocks.update()?;
        let slot = change.open(at.block())?;
        let bytes = change.bytes_mut(slot)?;
        set_heap_tid(bytes, at.offset(), 0, Tid::INVALID).map_err(|damage| damage.on(at.block()))?;
        change.commit()
    }

    fn add_edges(
        &mut self,
        edges: &[EdgeChange],
        new: Target<'_>,
        anchor: Option<Tid>,
    ) -> Result<bool, B::Error> {
        let m = self.shape.m;
        let mut change = self.blocks.update()?;
        let mut open: Option<(u32, PageRef)> = None;
        let mut changed = false;
        for edge in edges {
            let &EdgeChange { owner, layer, replaced, .. } = edge;
            let at = owner.list;
            let damage = |damage: Damage| damage.on(at.block());
            // edges of one block come one after the other
            let slot = match open {
                Some((block, slot)) if block == at.block() => slot,
                _ => {
                    let slot = change.open(at.block())?;
                    open = Some((at.block(), slot));
                    slot
                }
            };
            let place = {
                let item = item(change.bytes(slot), at).map_err(damage)?;
                let list = Neighbours::new(item, at.offset()).map_err(damage)?;
                let slots = list.layer(owner.level, owner.version, layer, m);
                find_place(slots.unwrap_or_default(), layer, new.tid, replaced)
            };
            let place = match place {
                Place::At(place) => place,
                Place::None if layer == 0 && Some(owner.tid) == anchor => return Ok(false),
                Place::None | Place::Stands => continue,
            };
            let start = layer_range(owner.level, layer, m).start;
            change_slots(&mut change, slot, at, |slots| {
                if let Some(slot) = slots.get_mut(start + place) {
                    *slot = new.tid;
                    changed = true;
                }
            })?;
        }
        if changed {
            change.commit()?;
        }
        Ok(true)
    }

    fn set_anchor(&mut self, member: &Member, anchor: Tid, _: &dyn KnownValues) -> Result<(), B::Error> {
        let (at, m) = (member.list, self.shape.m);
        let damage = |damage: Damage| damage.on(at.block());
        let mut change = self.blocks.update()?;
        let slot = change.open(at.block())?;
        let place = {
            let lists = item(change.bytes(slot), at).and_then(|item| lists_of(member, item, m));
            match lists.map_err(damage)?.base_layer {
                Some(slots) => slots.iter().position(|&slot| slot == anchor),
                None => return Ok(()),
            }
        };
        if place == Some(0) {
            return Ok(());
        }
        let done = change_slots(&mut change, slot, at, |slots| {
            let slots = base_layer_mut(slots, m);
            match (place, slots.first_mut()) {
                (Some(place), Some(_)) => slots.swap(0, place),
                (None, Some(first)) => *first = anchor,
                (_, None) => return false,
            }
            true
        })?;
        if done { change.commit() } else { Ok(()) }
    }

    fn rewrite_lists(
        &mut self,
        member: &Member,
        _: &[(u8, u64)],
        _: &dyn KnownValues,
        room: &mut Vec<Tid>,
        mut merge: impl FnMut(u8, Range<usize>, &[Tid], &mut [Tid]),
    ) -> Result<(), B::Error> {
        let (at, m) = (member.list, self.shape.m);
        let damage = |damage: Damage| damage.on(at.block());
        let mut change = self.blocks.update()?;
        let slot = change.open(at.block())?;
        {
            let lists = item(change.bytes(slot), at).and_then(|item| lists_of(member, item, m));
            let lists = lists.map_err(damage)?;
            if lists.base_layer.is_none() {
                return Ok(());
            }
            room.clear();
            room.try_reserve(lists.all.len()).map_err(|_| damage(Damage::OUT_OF_MEMORY))?;
            room.resize(lists.all.len(), Tid::INVALID);
            for layer in 0..=member.level {
                let range = layer_range(member.level, layer, m);
                let current = lists.all.get(range.clone()).unwrap_or_default();
                let out = room.get_mut(range.clone()).unwrap_or_default();
                merge(layer, range, current, out);
            }
            if lists.all == room.as_slice() {
                return Ok(());
            }
        }
        change_slots(&mut change, slot, at, |slots| slots.copy_from_slice(room))?;
        change.commit()
    }

    fn remove_rows(
        &mut self,
        page: u32,
        dead: &[(u16, Tid)],
        each: impl FnMut(&OnPage<'_>) -> Result<(), Damage>,
    ) -> Result<u64, B::Error> {
        let damage = |damage: Damage| damage.on(page);
        let mut change = self.blocks.update()?;
        let slot = change.open(page)?;
        let removed = remove_dead(change.bytes_mut(slot)?, dead).map_err(damage)?;
        visit(change.bytes(slot), page, None, each).map_err(damage)?;
        change.commit()?;
        Ok(removed)
    }

    fn mark_deleted(&mut self, page: u32, dying: &TidSet) -> Result<(), B::Error> {
        /// the page and three pages of neighbour tuples
        const OTHERS: usize = 3;
        let damage = |damage: Damage| damage.on(page);
        let mut from = FIRST_OFFSET;
        loop {
            let mut change = self.blocks.update()?;
            let slot = change.open(page)?;
            let mut others: [Option<(u32, PageRef)>; OTHERS] = [None; OTHERS];
            let last = Page::new(change.bytes(slot), PAGE_ID).map_err(damage)?.max_offset();
            let mut offset = from;
            while offset <= last {
                let tid = Tid::new(page, offset);
                if dying.contains(tid) {
                    let at = {
                        let item = item(change.bytes(slot), tid);
                        let element = item.and_then(|item| Element::new(item, offset)).map_err(damage)?;
                        (element.header.deleted == 0).then_some(element.header.neighbour_tid)
                    };
                    if let Some(at) = at {
                        let Some(other) = other_slot(&mut change, &mut others, (page, slot), at.block())?
                        else {
                            break;
                        };
                        mark_pair(&mut change, (page, slot), offset, other, at)?;
                    }
                }
                offset += 1;
            }
            change.commit()?;
            if offset > last {
                return Ok(());
            }
            from = offset;
        }
    }

    fn remove_other_rows(&mut self, _: &Member, _: Tid, _: &[Tid]) -> Result<u64, B::Error> {
        Ok(0)
    }

    fn settle_rows(&mut self, member: &Member) -> Result<bool, B::Error> {
        Ok(member.live)
    }

    fn update_meta(&mut self, update: impl FnMut(&mut MetaPage) -> bool) -> Result<(), B::Error> {
        meta::update_meta(self.blocks, update)
    }
}

/// The slot of a block in a change, opened when it is not yet; `None` when the change is full.
fn other_slot<C: PageUpdate>(
    change: &mut C,
    others: &mut [Option<(u32, PageRef)>],
    own: (u32, PageRef),
    block: u32,
) -> Result<Option<PageRef>, C::Error> {
    if block == own.0 {
        return Ok(Some(own.1));
    }
    // Blocks are locked in ascending order, as inserts do, so that neither waits for the other.
    if block < own.0 {
        return Err(Damage::at(0, "neighbour tuple before its element").on(own.0).into());
    }
    if others.iter().flatten().any(|&(open, _)| block < open) {
        return Ok(others.iter().flatten().find(|other| other.0 == block).map(|other| other.1));
    }
    for other in others {
        match other {
            Some((open, slot)) if *open == block => return Ok(Some(*slot)),
            Some(_) => {}
            None => {
                let slot = change.open(block)?;
                *other = Some((block, slot));
                return Ok(Some(slot));
            }
        }
    }
    Ok(None)
}

/// Marks an element as deleted, zeroes its value, empties its list, and gives both a new version: a scan that goes on
/// later and remembers the element sees that the list is not its own any more.
fn mark_pair<C: PageUpdate>(
    change: &mut C,
    (block, slot): (u32, PageRef),
    offset: u16,
    other: PageRef,
    at: Tid,
) -> Result<(), C::Error> {
    let damage = |damage: Damage| damage.on(block);
    let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(damage)?;
    let item = page.item_mut(offset).map_err(damage)?;
    let length = Element::new(item, offset).map_err(damage)?.value.len();
    let (header, value) = element_header_mut(item, offset).map_err(damage)?;
    header.deleted = 1;
    header.version = if header.version >= MAX_TUPLE_VERSION { 1 } else { header.version + 1 };
    let version = header.version;
    value.get_mut(..length).unwrap_or_default().fill(0);
    let damage = |damage: Damage| damage.on(at.block());
    let mut page = PageMut::new(change.bytes_mut(other)?, PAGE_ID).map_err(damage)?;
    let item = page.item_mut(at.offset()).map_err(damage)?;
    clear_neighbours(item, at.offset(), version).map_err(damage)?;
    Ok(())
}

/// Removes rows, which come in the order of their elements, from a page and moves the others to the front; returns how
/// many went.
fn remove_dead(bytes: &mut [u8], mut dead: &[(u16, Tid)]) -> Result<u64, Damage> {
    let mut page = PageMut::new(bytes, PAGE_ID)?;
    let mut removed = 0;
    while let Some(&(offset, _)) = dead.first() {
        let count = dead.iter().take_while(|row| row.0 == offset).count();
        let (own, others) = dead.split_at(count);
        dead = others;
        let (header, _) = element_header_mut(page.item_mut(offset)?, offset)?;
        if header.deleted != 0 {
            continue;
        }
        let mut kept = 0;
        for at in 0..header.live_heap_tids().len() {
            let row = header.heap_tids[at];
            if own.iter().any(|dead| dead.1 == row) {
                removed += 1;
            } else {
                header.heap_tids[kept] = row;
                kept += 1;
            }
        }
        header.heap_tids[kept..].fill(Tid::INVALID);
    }
    Ok(removed)
}
