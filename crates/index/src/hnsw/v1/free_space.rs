//! Where a new pair of tuples goes: free space of the page at hand, the place of a deleted pair, or a new page.

use super::super::graph::Placed;
use super::super::meta::PAGE_ID;
use super::layout::{
    Element, ElementHeader, Neighbours, element_size, is_element, neighbours_size, write_element,
    write_neighbours,
};
use crate::storage::blocks::{BlockStore, PageRef, PageUpdate};
use crate::storage::page::{
    Corruption, Damage, FIRST_OFFSET, INVALID_BLOCK, Page, PageMut, Tid, max_align, max_item_size,
};

const LINE_POINTER: usize = 4;

/// A new element, and room to write its tuples.
pub(in crate::hnsw) struct NewNode<'a> {
    pub level: u8,
    pub value: &'a [u8],
    pub row: Tid,
    /// all neighbour slots
    pub slots: &'a [Tid],
    pub element: &'a mut Vec<u8>,
    pub neighbours: &'a mut Vec<u8>,
}

/// Sizes of a pair, aligned.
#[derive(Clone, Copy)]
struct Sizes {
    element: usize,
    neighbours: usize,
    /// neighbour tuple of the same value at level 0
    smallest: usize,
}

impl Sizes {
    fn together(self) -> usize {
        self.element + self.neighbours + LINE_POINTER
    }
}

/// What a page has for a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// free space for both tuples
    Append,
    /// the place of a deleted pair
    Reuse { offset: u16, neighbour_tid: Tid, version: u8 },
    /// nothing
    None,
}

/// What a look at a page found.
struct Look {
    room: Fit,
    /// whether a level 0 element of this size would find room
    usable: bool,
    /// free space for the element alone
    fits_element: bool,
    next: u32,
}

/// How many pages without room an insert walks over before it goes to the end. Pages behind the insert page have
/// deleted pairs, most of which fit; an odd size must not walk the whole index for one that does.
const WALK: usize = 16;

fn inspect_page(bytes: &[u8], block: u32, sizes: Sizes) -> Result<Look, Damage> {
    let page = Page::new(bytes, PAGE_ID)?;
    let (free, exact) = (page.free_space(), page.exact_free_space());
    let mut look = Look {
        room: if free >= sizes.together() { Fit::Append } else { Fit::None },
        usable: free >= sizes.element + sizes.smallest + LINE_POINTER,
        fits_element: free >= sizes.element,
        next: page.next(),
    };
    if look.room == Fit::Append {
        return Ok(look);
    }
    for offset in FIRST_OFFSET..=page.max_offset() {
        let item = page.item(offset)?;
        if !is_element(item) {
            continue;
        }
        let header = Element::new(item, offset)?.header;
        if header.deleted == 0 {
            continue;
        }
        let at = header.neighbour_tid;
        // tuples are overwritten one after the other, each with the free space that is left
        let element_room = max_align(item.len()) + exact;
        let (fits, usable) = if at.block() == block {
            let neighbours = max_align(page.item(at.offset())?.len());
            match element_room.checked_sub(sizes.element) {
                Some(left) => (neighbours + left >= sizes.neighbours, neighbours + left >= sizes.smallest),
                None => (false, false),
            }
        } else {
            // the other page decides; it is looked at under its own lock
            (element_room >= sizes.element, element_room >= sizes.element)
        };
        look.usable |= usable;
        if fits && look.room == Fit::None {
            look.room = Fit::Reuse { offset, neighbour_tid: at, version: header.version };
        }
    }
    Ok(look)
}

/// Writes a pair and links it nowhere yet. Looks for room from `insert_page` on.
pub(in crate::hnsw) fn add_pair<B: BlockStore>(
    blocks: &mut B,
    pair: &mut NewNode<'_>,
    m: usize,
    insert_page: u32,
) -> Result<Placed, B::Error> {
    let sizes = Sizes {
        element: element_size(pair.value.len()),
        neighbours: neighbours_size(pair.level, m),
        smallest: neighbours_size(0, m),
    };
    let mut block = insert_page;
    let mut first_usable = None;
    let mut walked = 0;
    loop {
        let seen = blocks.read(block, |bytes| inspect_page(bytes, block, sizes))?;
        if seen.usable && first_usable.is_none() {
            first_usable = Some(block);
        }
        let last = seen.next == INVALID_BLOCK;
        if seen.room != Fit::None || last {
            if let Some(tid) = try_page(blocks, pair, block, sizes)? {
                // without a usable page on the way, the next insert begins where this one ended
                let insert_page = first_usable.unwrap_or(tid.block());
                return Ok(Placed { tid, insert_page });
            }
            if last {
                // somebody linked a page behind it meanwhile
                continue;
            }
        }
        check_next(block, seen.next)?;
        walked += 1;
        block = if walked < WALK { seen.next } else { last_block(blocks, seen.next)? };
        if walked == WALK && first_usable.is_none() {
            first_usable = Some(seen.next);
        }
    }
}

/// Chains only go forward: pages are added at the end.
pub(in crate::hnsw) fn check_next(block: u32, next: u32) -> Result<(), Corruption> {
    if next > block { Ok(()) } else { Err(Damage::at(0, "page chain goes back").on(block)) }
}

/// A page near the end of the chain, at or behind `from`: the last block of the index, when it is in the chain.
fn last_block<B: BlockStore>(blocks: &mut B, from: u32) -> Result<u32, B::Error> {
    let last = blocks.count()?.saturating_sub(1);
    if last <= from {
        return Ok(from);
    }
    // a crash can leave a block that was never linked, which is not a page yet
    let linked =
        blocks.read(last, |bytes| Ok(Page::new(bytes, PAGE_ID).is_ok_and(|p| p.max_offset() > 0)))?;
    Ok(if linked { last } else { from })
}

/// Puts the pair on the page, or behind it when it is the last one. `None` when others took the room meanwhile.
fn try_page<B: BlockStore>(
    blocks: &mut B,
    pair: &mut NewNode<'_>,
    block: u32,
    sizes: Sizes,
) -> Result<Option<Tid>, B::Error> {
    let most = max_item_size(blocks.page_size());
    let mut change = blocks.update()?;
    let slot = change.open(block)?;
    let seen = inspect_page(change.bytes(slot), block, sizes).map_err(|damage| damage.on(block))?;
    match seen.room {
        Fit::Append => {
            let tid = append(&mut change, pair, slot, slot)?;
            change.commit()?;
            return Ok(Some(tid));
        }
        Fit::Reuse { offset, neighbour_tid, .. } if neighbour_tid.block() < block => {
            return Err(Damage::at(offset, "neighbour tuple before its element").on(block).into());
        }
        Fit::Reuse { offset, neighbour_tid, version } => {
            let other =
                if neighbour_tid.block() == block { slot } else { change.open(neighbour_tid.block())? };
            if reuse(&mut change, pair, (slot, offset), (other, neighbour_tid), version, sizes)? {
                change.commit()?;
                return Ok(Some(Tid::new(block, offset)));
            }
            // the neighbour tuple's page has no room for a larger one
            if seen.next != INVALID_BLOCK {
                return Ok(None);
            }
            drop(change);
            change = blocks.update()?;
            let again = change.open(block)?;
            let page = Page::new(change.bytes(again), PAGE_ID).map_err(|damage| damage.on(block))?;
            if page.next() != INVALID_BLOCK {
                return Ok(None);
            }
            let tid = extend(&mut change, pair, again, sizes, most)?;
            change.commit()?;
            return Ok(Some(tid));
        }
        Fit::None => {}
    }
    if seen.next != INVALID_BLOCK {
        return Ok(None);
    }
    let tid = if sizes.together() > most && seen.fits_element {
        // they never share a page: the element here, its neighbours on a new one
        let behind = new_page(&mut change, slot)?;
        append(&mut change, pair, slot, behind)?
    } else {
        extend(&mut change, pair, slot, sizes, most)?
    };
    change.commit()?;
    Ok(Some(tid))
}

/// Puts the pair on a new page behind `last`, or on two when it does not fit one.
fn extend<C: PageUpdate>(
    change: &mut C,
    pair: &mut NewNode<'_>,
    last: PageRef,
    sizes: Sizes,
    most: usize,
) -> Result<Tid, C::Error> {
    let slot = new_page(change, last)?;
    let other = if sizes.together() > most { new_page(change, slot)? } else { slot };
    append(change, pair, slot, other)
}

/// Adds an empty page behind `last`.
fn new_page<C: PageUpdate>(change: &mut C, last: PageRef) -> Result<PageRef, C::Error> {
    let slot = change.extend()?;
    let (block, last_block) = (change.block(slot), change.block(last));
    PageMut::init(change.bytes_mut(slot)?, PAGE_ID);
    let mut page = PageMut::new(change.bytes_mut(last)?, PAGE_ID).map_err(|damage| damage.on(last_block))?;
    page.set_next(block);
    Ok(slot)
}

/// Writes both tuples behind the items of their pages.
fn append<C: PageUpdate>(
    change: &mut C,
    pair: &mut NewNode<'_>,
    slot: PageRef,
    other: PageRef,
) -> Result<Tid, C::Error> {
    let (block, other_block) = (change.block(slot), change.block(other));
    let next_offset = |bytes: &[u8], block: u32| {
        Page::new(bytes, PAGE_ID).map(|page| page.max_offset() + 1).map_err(|damage| damage.on(block))
    };
    let offset = next_offset(change.bytes(slot), block)?;
    let other_offset =
        if other == slot { offset + 1 } else { next_offset(change.bytes(other), other_block)? };
    let neighbour_tid = Tid::new(other_block, other_offset);
    // versions begin at 1, so that a zeroed tuple never matches
    write_tuples(pair, 1, neighbour_tid);
    add_item(change, slot, block, pair.element)?;
    add_item(change, other, other_block, pair.neighbours)?;
    Ok(Tid::new(block, offset))
}

fn write_tuples(pair: &mut NewNode<'_>, version: u8, neighbour_tid: Tid) {
    let header = ElementHeader::new(pair.level, version, &[pair.row], neighbour_tid);
    write_element(&header, pair.value, pair.element);
    write_neighbours(version, pair.slots, pair.neighbours);
}

fn add_item<C: PageUpdate>(change: &mut C, slot: PageRef, block: u32, item: &[u8]) -> Result<(), C::Error> {
    let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(|damage| damage.on(block))?;
    match page.append(item) {
        Some(_) => Ok(()),
        None => Err(Damage::at(0, "no room for a new item").on(block).into()),
    }
}

/// Overwrites a deleted pair; false, and nothing changed, when the neighbour tuple does not fit.
fn reuse<C: PageUpdate>(
    change: &mut C,
    pair: &mut NewNode<'_>,
    (slot, offset): (PageRef, u16),
    (other, neighbour_tid): (PageRef, Tid),
    version: u8,
    sizes: Sizes,
) -> Result<bool, C::Error> {
    let (block, other_block) = (change.block(slot), change.block(other));
    if other != slot {
        let page = Page::new(change.bytes(other), PAGE_ID).map_err(|damage| damage.on(other_block))?;
        let item = page.item(neighbour_tid.offset()).map_err(|damage| damage.on(other_block))?;
        Neighbours::new(item, neighbour_tid.offset()).map_err(|damage| damage.on(other_block))?;
        if max_align(item.len()) + page.exact_free_space() < sizes.neighbours {
            return Ok(false);
        }
    }
    // the version that the deletion gave: who remembers the deleted pair sees that it is another
    write_tuples(pair, version, neighbour_tid);
    overwrite(change, slot, block, offset, pair.element)?;
    overwrite(change, other, other_block, neighbour_tid.offset(), pair.neighbours)?;
    Ok(true)
}

fn overwrite<C: PageUpdate>(
    change: &mut C,
    slot: PageRef,
    block: u32,
    offset: u16,
    item: &[u8],
) -> Result<(), C::Error> {
    let mut page = PageMut::new(change.bytes_mut(slot)?, PAGE_ID).map_err(|damage| damage.on(block))?;
    match page.overwrite(offset, item).map_err(|damage| damage.on(block))? {
        true => Ok(()),
        false => Err(Damage::at(offset, "no room to reuse an item").on(block).into()),
    }
}
