//! Filter keys of all nodes side by side, for passes: a pass that looked at every record would read the whole index.
//!
//! Each node of an index with filter columns has an *entry*, its id with its keys, in a slot of a page of entries; the
//! pages are chained, the latest first, from the meta page on. The record names its entry. An entry is written before
//! anything leads to its node, and freed after the node: what a crash leaves behind is an entry that no record names,
//! and a pass takes an entry only when the record does.

use zerocopy::{FromBytes, IntoBytes};

use super::edit::{MAX_KEYS, Pages};
use super::graph::InlineGraph;
use super::layout::{ENTRY_KEYS, Layout, PAGE_ID, PageKind, Record, offset, put_entry, put_key_entry};
use super::meta::{InlineMeta, META_BLOCK};
use super::reader::Reader;
use super::records::slot_of;
use super::rooms::{free, take_slot};
use crate::quant::space::CodedSpace;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, Page, PageMut, Tid};
use crate::work::memory::{push, resize};

/// How often others may be faster before a page is added.
const TRIES: usize = 8;

/// An entry whose keys match.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// the node
    pub id: u32,
    /// the entry
    pub entry: Tid,
}

impl<B: BlockStore, S: CodedSpace> InlineGraph<'_, B, S> {
    /// Writes the entry of a node that nothing leads to yet.
    pub(super) fn write_entry(&mut self, id: u32) -> Result<(), B::Error> {
        let layout = &self.index.layout;
        if layout.shape.filter_size == 0 {
            return Ok(());
        }
        let tid = layout.tid(id);
        for attempt in 0.. {
            let home = self.find_home(PageKind::Keys, attempt >= TRIES)?;
            let is_new = home.block == INVALID_BLOCK;
            let mut pages = Pages::new();
            pages.want(tid.block());
            pages.want(if is_new { META_BLOCK } else { home.block });
            let mut change = self.blocks.update()?;
            pages.open(&mut change)?;
            let Some(taken) = take_slot(&mut change, &mut pages, &layout.keys, PageKind::Keys, &home)? else {
                drop(change);
                self.blocks.pause()?;
                continue;
            };
            if is_new {
                let damage = |damage: Damage| damage.on(META_BLOCK);
                let page = pages.get(META_BLOCK).map_err(damage)?;
                let mut meta = InlineMeta::read(change.bytes(page)).map_err(damage)?;
                let next = core::mem::replace(&mut meta.keys, taken.block);
                let bytes = change.bytes_mut(page)?;
                PageMut::new(bytes, PAGE_ID).map_err(damage)?.set_contents(meta.as_bytes());
                let bytes = change.bytes_mut(taken.page)?;
                PageMut::new(bytes, PAGE_ID).map_err(|damage| damage.on(taken.block))?.set_next(next);
            }
            let damage = |damage: Damage| damage.on(tid.block());
            let mut keys = [0; MAX_KEYS];
            let keys = keys.get_mut(..layout.shape.filter_size).unwrap_or_default();
            {
                let records = &layout.ground;
                let page = pages.get(tid.block()).map_err(damage)?;
                let slot = slot_of(tid, records.slots.per_page).map_err(damage)?;
                let bytes = change.bytes_mut(page)?;
                let bytes = records.slots.get_mut(bytes, PageKind::Ground, slot).map_err(damage)?;
                keys.copy_from_slice(Record::new(records, bytes, slot).map_err(damage)?.own_keys());
                put_entry(records, bytes, Tid::new(taken.block, offset(taken.slot)));
            }
            let damage = |damage: Damage| damage.on(taken.block);
            let bytes = change.bytes_mut(taken.page)?;
            let bytes = layout.keys.get_mut(bytes, PageKind::Keys, taken.slot).map_err(damage)?;
            put_key_entry(bytes, id, keys);
            change.commit()?;
            self.note_taken(PageKind::Keys, taken.block, &home)?;
            return Ok(());
        }
        Err(Damage::internal("no room for filter keys").on(META_BLOCK).into())
    }

    /// Frees the entries of nodes that are gone: those in `room.edits.entries_gone`, with their nodes.
    pub(super) fn free_entries(&mut self) -> Result<(), B::Error> {
        self.room.edits.entries_gone.sort_unstable_by_key(|entry| entry.0.packed());
        let mut from = 0;
        while let Some(&(first, _)) = self.room.edits.entries_gone.get(from) {
            let InlineGraph { blocks, index, room, .. } = self;
            let (layout, block) = (&index.layout, first.block());
            let left = room.edits.entries_gone.get(from..).unwrap_or_default();
            let here = left.iter().take_while(|entry| entry.0.block() == block).count();
            let mut change = blocks.update()?;
            let page = change.open(block)?;
            for &(entry, id) in left.iter().take(here) {
                let damage = |damage: Damage| damage.on(block);
                let slot = slot_of(entry, layout.keys.per_page).map_err(damage)?;
                let bytes = change.bytes_mut(page)?;
                let used = layout.keys.is_used(bytes, slot);
                let bytes = layout.keys.get_mut(bytes, PageKind::Keys, slot).map_err(damage)?;
                if used && entry_id(bytes) == Some(id) {
                    bytes.fill(0);
                    free(&mut change, page, &layout.keys, slot)?;
                }
            }
            change.commit()?;
            blocks.note_room(block, PageKind::Keys.class())?;
            from += here;
        }
        self.room.edits.entries_gone.clear();
        Ok(())
    }
}

/// The node of an entry in its slot.
pub(super) fn entry_id(bytes: &[u8]) -> Option<u32> {
    u32::read_from_prefix(bytes).ok().map(|(id, _)| id)
}

impl<B: BlockStore, S: CodedSpace> Reader<'_, '_, B, S> {
    /// The entries on a page of them whose keys match; returns the next page. `matches` is room.
    ///
    /// # Errors
    /// A damaged block, or want of memory.
    pub fn candidates_of(
        &mut self,
        block: u32,
        matches: &mut Vec<bool>,
        out: &mut Vec<Candidate>,
    ) -> Result<u32, B::Error> {
        let (layout, filter) = (self.layout(), self.filter());
        out.clear();
        self.blocks.read_in_passing(block, |bytes| {
            let slots = &layout.keys;
            slots.get(bytes, PageKind::Keys, 0)?;
            resize(matches, slots.per_page, true)?;
            if let Some(filter) = filter {
                filter.select(keys_of(layout, bytes), slots.size, matches);
            }
            for (slot, _) in matches.iter().enumerate().filter(|(_, matches)| **matches) {
                if slots.is_used(bytes, slot)
                    && let Some(id) = entry_id(slots.get(bytes, PageKind::Keys, slot)?)
                {
                    push(out, Candidate { id, entry: Tid::new(block, offset(slot)) })?;
                }
            }
            Ok(Page::unidentified(bytes)?.next())
        })
    }
}

/// The keys of all entries of a page, each a slot's size from the next.
fn keys_of<'p>(layout: &Layout, bytes: &'p [u8]) -> &'p [u8] {
    let slots = &layout.keys;
    let (start, end) = (slots.range(0).start, slots.range(slots.per_page.saturating_sub(1)).end);
    // what follows the last entry's keys belongs to the page, too
    bytes.get(start + ENTRY_KEYS..end + ENTRY_KEYS).unwrap_or_default()
}
