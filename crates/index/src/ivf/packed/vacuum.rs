//! Removing rows: one pass over the codes of a list.
//!
//! Of each code page with dead rows, either the live bits are cleared (few are dead) or the page is written anew
//! without them (many are), and their values are marked dead, so that inserts may take their places. A page whose
//! living entries fit on the one before it is emptied into that, leaves the list, and is free.

use super::layout::{
    ANOTHER_LIST, Block, CodeFront, CodePage, Entry, Front, Geometry, Head, PageKind, START, clear_live,
    code_of, front, init, init_codes, patch_dead, patch_front, patch_head, patch_live, push_entry, record_at,
    set_code_front, set_next,
};
use super::read::list_number;
use super::room::FREE;
use super::{Index, Lists};
use crate::ivf::lists::{ListPlace, Met};
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::chains::Chain;
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};
use crate::work::memory::{OutOfMemory, append, push, resize};

/// What a vacuum allocates.
#[derive(Debug, Default)]
pub struct Room {
    /// dead entries of a page
    dead: Vec<u16>,
    /// where their values are, and their rows
    values: Vec<(Tid, Tid)>,
    /// entries that stay, their codes and their filter keys
    entries: Vec<Entry>,
    codes: Vec<u8>,
    keys: Vec<u8>,
    code: Vec<u8>,
}

impl Room {
    fn forget_entries(&mut self) {
        self.entries.clear();
        self.codes.clear();
        self.keys.clear();
    }

    /// Notes the values of all dead entries of a page that is to be without them, where they wait with these.
    fn note_all_dead(&mut self, geometry: &Geometry, page: CodePage<'_>) -> Result<(), OutOfMemory> {
        if !geometry.pairs() {
            return Ok(());
        }
        for block in page.blocks() {
            for at in (0..block.len).filter(|at| block.live >> at & 1 == 0) {
                if let (Some(&row), Some(&place)) = (block.rows.get(at), block.places.get(at)) {
                    push(&mut self.values, (place, row))?;
                }
            }
        }
        Ok(())
    }

    fn keep_entries(&mut self, geometry: &Geometry, page: CodePage<'_>) -> Result<(), OutOfMemory> {
        resize(&mut self.code, geometry.code, 0)?;
        for block in page.blocks() {
            for at in (0..block.len).filter(|at| block.live >> at & 1 == 1) {
                if let Some(entry) = entry_of(&block, at) {
                    code_of(&block, at, &mut self.code);
                    push(&mut self.entries, entry)?;
                    append(&mut self.codes, &self.code)?;
                    append(&mut self.keys, block.keys_of(at))?;
                }
            }
        }
        Ok(())
    }

    /// Makes the bytes, a code page, one of the entries kept.
    fn write(
        &self,
        geometry: &Geometry,
        bytes: &mut [u8],
        front: CodeFront,
        next: u32,
    ) -> Result<(), Damage> {
        init_codes(bytes, front.list, front.norm);
        set_code_front(bytes, CodeFront { entries: 0, dead: 0, ..front });
        set_next(bytes, next);
        let codes = self.codes.chunks_exact(geometry.code.max(1));
        let size = geometry.filter_size;
        self.entries.iter().zip(codes).enumerate().try_for_each(|(at, (entry, code))| {
            let keys = self.keys.get(at * size..(at + 1) * size).unwrap_or_default();
            push_entry(geometry, bytes, entry, code, keys)
        })
    }
}

fn entry_of(block: &Block<'_>, at: usize) -> Option<Entry> {
    Some(Entry {
        row: *block.rows.get(at)?,
        place: *block.places.get(at)?,
        add: *block.add.get(at)?,
        scale: *block.scale.get(at)?,
    })
}

/// A code page as a vacuum has left it.
#[derive(Clone, Copy)]
struct Left {
    block: u32,
    live: usize,
}

impl<B: BlockStore> Lists<'_, B> {
    pub(super) fn remove_dead(
        &mut self,
        list: ListPlace,
        is_dead: &mut dyn FnMut(Tid) -> bool,
        met: &mut Met,
    ) -> Result<(), B::Error> {
        let index = self.index;
        let geometry = &index.geometry;
        let number = list_number(list, geometry.page_size);
        let (mut chain, mut before) = (Chain::new(list.start_page), None::<Left>);
        let (mut removed, mut moved) = (false, false);
        while let Some(block) = chain.step(self.blocks)? {
            self.blocks.pause()?;
            let room = &mut self.memory.vacuum;
            room.dead.clear();
            room.values.clear();
            let (next, live) = self.blocks.read(block, |bytes| {
                let page = CodePage::new(geometry, bytes)?;
                if page.front.list != number {
                    return Err(ANOTHER_LIST);
                }
                Ok((page.next(), note_dead(geometry, page, is_dead, room)?))
            })?;
            met.kept += live as u64;
            chain.next = next;
            let gone = room.dead.len();
            if gone > 0 {
                met.removed += gone as u64;
                removed = true;
                self.remove_entries(number, block)?;
                self.blocks.fault_point("ivfflat.vacuum.page")?;
                self.free_values(number)?;
            }
            self.blocks.fault_point("ivfflat.vacuum.values")?;
            match before {
                // pages that lost nothing stay, unless one has nothing at all
                Some(left) if (removed || live == 0) && left.live + live <= geometry.entries() => {
                    match self.merge(number, list.start_page, left.block, block)? {
                        Some(live) => {
                            moved = true;
                            before = Some(Left { live, ..left });
                        }
                        None => before = Some(Left { block, live }),
                    }
                }
                _ => before = Some(Left { block, live }),
            }
        }
        if removed || moved {
            self.reset_hints(list)?;
        }
        Ok(())
    }

    /// Removes the dead entries of a page. Since they were found others were only added behind them, or in the places
    /// of such as were dead before.
    fn remove_entries(&mut self, list: u32, block: u32) -> Result<(), B::Error> {
        let index = self.index;
        let geometry = &index.geometry;
        let room = &mut self.memory.vacuum;
        let mut change = self.blocks.update()?;
        let slot = change.open(block)?;
        let page = CodePage::new(geometry, change.bytes(slot)).map_err(|d| d.on(block))?;
        if page.front.list != list {
            return Err(ANOTHER_LIST.on(block).into());
        }
        let (front, next, len) = (page.front, page.next(), page.len());
        let stay = page.live().saturating_sub(room.dead.len());
        // dead entries that cost a block, or a quarter of the page, are worth its being written
        let blocks = |entries: usize| entries.div_ceil(geometry.block_entries.max(1));
        if blocks(stay) == blocks(len) || (len - stay) * 4 < len {
            patch_dead(&mut change, slot, front, len - stay)?;
            if geometry.pairs() {
                // who takes an entry's place takes that of its value
                room.values.clear();
            }
            patch_live(geometry, &mut change, slot, &room.dead)?;
        } else {
            clear_live(geometry, change.bytes_mut(slot)?, &room.dead);
            if geometry.pairs() {
                room.values.clear();
            }
            room.forget_entries();
            let page = CodePage::new(geometry, change.bytes(slot)).map_err(|d| d.on(block))?;
            let kept = room.note_all_dead(geometry, page).and_then(|()| room.keep_entries(geometry, page));
            kept.map_err(|memory| Damage::from(memory).on(block))?;
            room.write(geometry, change.bytes_mut(slot)?, front, next).map_err(|d| d.on(block))?;
        }
        change.commit()
    }

    /// Marks the values of dead entries dead, page by page.
    fn free_values(&mut self, list: u32) -> Result<(), B::Error> {
        if !self.index.geometry.own_values {
            return Ok(());
        }
        let values = &mut self.memory.vacuum.values;
        values.sort_unstable_by_key(|(place, _)| place.packed());
        for values in values.chunk_by(|a, b| a.0.block() == b.0.block()) {
            let Some(block) = values.first().map(|(place, _)| place.block()) else { continue };
            let mut change = self.blocks.update()?;
            let slot = change.open(block)?;
            let mut front = front(change.bytes(slot), PageKind::Values).map_err(|d| d.on(block))?;
            if front.list != list {
                return Err(ANOTHER_LIST.on(block).into());
            }
            let used = usize::from(front.used);
            for (place, row) in values {
                let Some(at) = record_at(*place).filter(|at| at + size_of::<Tid>() <= used) else { continue };
                let here = zerocopy::IntoBytes::as_bytes(row);
                if change.bytes(slot).get(START + at..).is_some_and(|rest| rest.starts_with(here)) {
                    change.patch(slot, START + at, zerocopy::IntoBytes::as_bytes(&Tid::INVALID))?;
                    front = Front { count: front.count.saturating_add(1), ..front };
                }
            }
            patch_front(&mut change, slot, front)?;
            change.commit()?;
        }
        Ok(())
    }

    /// Moves the entries of `page` to the one `before` it, if they fit there; returns the entries that are there then.
    fn merge(&mut self, list: u32, start: u32, before: u32, page: u32) -> Result<Option<usize>, B::Error> {
        let Index { geometry, .. } = self.index;
        let room = &mut self.memory.vacuum;
        room.forget_entries();
        room.values.clear();
        let mut change = self.blocks.update()?;
        let first = if start == before { None } else { Some(change.open(start)?) };
        let (target, source) = (change.open(before)?, change.open(page)?);
        let mut kept = [(CodeFront::default(), INVALID_BLOCK); 2];
        for ((slot, block), kept) in [(target, before), (source, page)].into_iter().zip(&mut kept) {
            let page = CodePage::new(&geometry, change.bytes(slot)).map_err(|d| d.on(block))?;
            *kept = (page.front, page.next());
            let kept = room.note_all_dead(&geometry, page).and_then(|()| room.keep_entries(&geometry, page));
            kept.map_err(|memory| Damage::from(memory).on(block))?;
        }
        let [(target_front, target_next), (source_front, next)] = kept;
        let linked = target_next == page && target_front.list == list && source_front.list == list;
        if !linked {
            return Err(ANOTHER_LIST.on(page).into());
        }
        // others may have been added meanwhile
        let count = room.entries.len();
        if count > geometry.entries() {
            return Ok(None);
        }
        let raised = |front: CodeFront| CodeFront { epoch: front.epoch.wrapping_add(1), ..front };
        let front = if first.is_none() { raised(target_front) } else { target_front };
        room.write(&geometry, change.bytes_mut(target)?, front, next).map_err(|d| d.on(before))?;
        if let Some(first) = first {
            let front = CodePage::new(&geometry, change.bytes(first)).map_err(|d| d.on(start))?.front;
            set_code_front(change.bytes_mut(first)?, raised(front));
        }
        init(change.bytes_mut(source)?, PageKind::Free, 0);
        change.commit()?;
        self.blocks.fault_point("ivfflat.vacuum.merge")?;
        self.free_values(list)?;
        self.blocks.note_room(page, FREE)?;
        Ok(Some(count))
    }

    /// Lets inserts begin to look for room at the first pages again.
    fn reset_hints(&mut self, list: ListPlace) -> Result<(), B::Error> {
        let at = usize::from(list.offset.saturating_sub(1));
        let mut change = self.blocks.update()?;
        let slot = change.open(list.block)?;
        let heads = super::layout::heads(change.bytes(slot)).map_err(|d| d.on(list.block))?;
        let Some(&head) = heads.get(at).filter(|head| head.start == list.start_page) else { return Ok(()) };
        let new = Head { insert: head.start, value_insert: head.values, ..head };
        patch_head(&mut change, slot, at, new)?;
        change.commit()
    }
}

/// Notes the dead entries of a page and where their values are; returns how many live.
fn note_dead(
    geometry: &Geometry,
    page: CodePage<'_>,
    is_dead: &mut dyn FnMut(Tid) -> bool,
    room: &mut Room,
) -> Result<usize, OutOfMemory> {
    let mut live = 0;
    for (number, block) in page.blocks().enumerate() {
        for at in (0..block.len).filter(|at| block.live >> at & 1 == 1) {
            let (Some(&row), Some(&place)) = (block.rows.get(at), block.places.get(at)) else { continue };
            if is_dead(row) {
                push(&mut room.dead, (number * geometry.block_entries + at) as u16)?;
                push(&mut room.values, (place, row))?;
            } else {
                live += 1;
            }
        }
    }
    Ok(live)
}
