//! Giving the places of elements back. Nothing leads to them any more: an element that is in several layers loses its
//! highest record first, each in a change of its own.

use zerocopy::FromBytes;

use super::edit::{Pages, Site, rest_kind};
use super::graph::InlineGraph;
use super::layout::{
    Layout, NO_NODE, PageKind, RECORD_HEADER, Record, RecordHeader, offset, page_kind, state,
};
use super::meta::{Entry, META_BLOCK, read_meta, update_meta};
use super::place::edit_header;
use super::records::{climb, look_at_ground, look_at_upper, member_of};
use super::rooms::free;
use crate::hnsw::meta::MetaPage;
use crate::hnsw::search::visited::TidSet;
use crate::quant::space::CodedSpace;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, Tid};
use crate::work::memory::push;

/// Versions begin at 1, so that bytes of zero never match.
const fn next_version(version: u8) -> u8 {
    if version == u8::MAX { 1 } else { version + 1 }
}

/// Empties a record in an open change, and its rest when that is one slot. (Pages of their own are left as they are,
/// until they are written again: zeros for all of them would cost as much log as the value did.)
fn clear_record<C: PageUpdate>(
    change: &mut C,
    pages: &Pages,
    layout: &Layout,
    site: Site,
    rest: Tid,
) -> Result<(), C::Error> {
    let records = layout.records(site.layer);
    let damage = |damage: Damage| damage.on(site.block);
    let page = pages.get(site.block).map_err(damage)?;
    let bytes = records.slots.get_mut(change.bytes_mut(page)?, site.kind(), site.slot).map_err(damage)?;
    if let Some(contents) = bytes.get_mut(RECORD_HEADER..) {
        contents.fill(0);
    }
    if let Ok((header, _)) = RecordHeader::mut_from_prefix(bytes) {
        let (version, rest) = (next_version(header.version), header.rest);
        *header = RecordHeader::new(site.layer, site.layer);
        (header.state, header.version, header.rest) = (state::FREE, version, rest);
    }
    free(change, page, &records.slots, site.slot)?;
    if is_one_slot(layout, site.layer) {
        let damage = |damage: Damage| damage.on(rest.block());
        let slot = usize::from(rest.offset()).wrapping_sub(1);
        let bytes = change.bytes_mut(pages.get(rest.block()).map_err(damage)?)?;
        records.rest_slots.get_mut(bytes, rest_kind(site.layer), slot).map_err(damage)?.fill(0);
    }
    Ok(())
}

/// Whether the rests of a layer's records are slots of pages that have some.
const fn is_one_slot(layout: &Layout, layer: u8) -> bool {
    let records = layout.records(layer);
    records.rest > 0 && records.rest_pages == 0
}

impl<B: BlockStore, S: CodedSpace> InlineGraph<'_, B, S> {
    /// [`crate::hnsw::graph::GraphWrite::mark_deleted`]
    pub(super) fn clear_dying(&mut self, page: u32, dying: &TidSet) -> Result<(), B::Error> {
        let layout = &self.index.layout;
        let (records, mut higher) = (&layout.ground, false);
        let (gone, entries) = (&mut self.room.edits.gone, &mut self.room.edits.dying);
        gone.clear();
        entries.clear();
        let keyed = layout.runs.is_some();
        self.blocks.read(page, |bytes| {
            for slot in 0..records.slots.per_page {
                let record = Record::new(records, records.slots.get(bytes, PageKind::Ground, slot)?, slot)?;
                let tid = Tid::new(page, offset(slot));
                if records.slots.is_used(bytes, slot) && record.is_live() && dying.contains(tid) {
                    higher |= record.header.level > 0;
                    push(gone, (slot, record.header.rest))?;
                    if let (true, Some(id)) = (keyed, records.slots.id(page, slot)) {
                        push(entries, (id, layout.shape.filters.unpack(record.own_keys())))?;
                    }
                }
            }
            Ok(())
        })?;
        self.free_entries()?;
        if higher {
            for at in 0..self.room.edits.gone.len() {
                let Some(&(slot, _)) = self.room.edits.gone.get(at) else { break };
                self.clear_above(Tid::new(page, offset(slot)))?;
            }
        }
        // nobody else changes elements that nothing leads to
        let mut from = 0;
        while let Some(left) = self.room.edits.gone.get(from..).filter(|left| !left.is_empty()) {
            let mut pages = Pages::new();
            pages.want(page);
            let apart = is_one_slot(layout, 0);
            let now = left.iter().take_while(|gone| !apart || pages.want(gone.1.block())).count();
            let now = left.get(..now).unwrap_or_default();
            let mut change = self.blocks.update()?;
            pages.open(&mut change)?;
            for &(slot, rest) in now {
                clear_record(&mut change, &pages, layout, Site { layer: 0, block: page, slot }, rest)?;
            }
            change.commit()?;
            from += now.len();
        }
        self.blocks.note_room(page, PageKind::Ground.class())
    }

    /// Frees the records that an element has above layer 0, from the highest down.
    fn clear_above(&mut self, tid: Tid) -> Result<(), B::Error> {
        let layout = &self.index.layout;
        loop {
            let member = look_at_ground(self.blocks, layout, tid, |record| Ok(member_of(tid, record)))?;
            let level = member.level;
            let Some(below_layer) = level.checked_sub(1) else { return Ok(()) };
            let gone = || Damage::at(tid.offset(), "level without a record").on(tid.block());
            let top = climb(self.blocks, layout, &member, level)?.ok_or_else(gone)?;
            let (below, rest) = look_at_upper(self.blocks, layout, top, level, tid, |record| {
                Ok((record.header.below, record.header.rest))
            })?;
            let (site, ground) = (Site::of_id(layout, level, top), Site::new(0, tid));
            let below = Site::of_id(layout, below_layer, below);
            let mut pages = Pages::new();
            pages.want(site.block);
            pages.want(below.block);
            pages.want(ground.block);
            if is_one_slot(layout, level) {
                pages.want(rest.block());
            }
            let mut change = self.blocks.update()?;
            pages.open(&mut change)?;
            clear_record(&mut change, &pages, layout, site, rest)?;
            edit_header(&mut change, &pages, layout, below, |header| header.above = NO_NODE)?;
            edit_header(&mut change, &pages, layout, ground, |header| header.level = below_layer)?;
            change.commit()?;
            self.blocks.note_room(site.block, PageKind::Upper.class())?;
            self.blocks.fault_point("hnsw.vacuum.above")?;
        }
    }

    /// [`crate::hnsw::graph::GraphWrite::reserved`]
    pub(super) fn find_reserved(&mut self, page: u32, out: &mut Vec<Tid>) -> Result<(), B::Error> {
        let layout = &self.index.layout;
        if layout.ground.rest_pages == 0 && layout.upper.rest_pages == 0 {
            return Ok(());
        }
        self.blocks.read_in_passing(page, |bytes| {
            let Some(kind @ (PageKind::Ground | PageKind::Upper)) = page_kind(bytes)? else { return Ok(()) };
            let slots = layout.slots(kind);
            for slot in 0..slots.per_page {
                let record = slots.get(bytes, kind, slot)?;
                if slots.is_used(bytes, slot) && record.first() == Some(&state::PENDING) {
                    push(out, Tid::new(page, offset(slot)))?;
                }
            }
            Ok(())
        })
    }

    /// [`crate::hnsw::graph::GraphWrite::free_reserved`]
    pub(super) fn clear_reserved(&mut self, at: Tid) -> Result<(), B::Error> {
        let damage = |damage: Damage| damage.on(at.block());
        let layout = &self.index.layout;
        let mut change = self.blocks.update()?;
        let page = change.open(at.block())?;
        let kind = page_kind(change.bytes(page)).map_err(damage)?;
        let Some(kind @ (PageKind::Ground | PageKind::Upper)) = kind else { return Ok(()) };
        let slots = layout.slots(kind);
        let slot = usize::from(at.offset()).wrapping_sub(1);
        let bytes = slots.get_mut(change.bytes_mut(page)?, kind, slot).map_err(damage)?;
        match RecordHeader::mut_from_prefix(bytes) {
            Ok((header, _)) if header.state == state::PENDING => header.state = state::FREE,
            // its insert finished it
            _ => return Ok(()),
        }
        free(&mut change, page, slots, slot)?;
        change.commit()?;
        self.blocks.note_room(at.block(), kind.class())
    }

    /// [`crate::hnsw::graph::GraphWrite::note_room`]
    pub(super) fn note_free(&mut self, page: u32) -> Result<(), B::Error> {
        let layout = &self.index.layout;
        let kind = self.blocks.read_in_passing(page, |bytes| {
            let Some(kind) = page_kind(bytes)?.filter(|kind| kind.has_slots()) else { return Ok(None) };
            let slots = layout.slots(kind);
            slots.get(bytes, kind, 0)?;
            Ok((0..slots.per_page).any(|slot| !slots.is_used(bytes, slot)).then_some(kind))
        })?;
        match kind {
            Some(kind) => self.blocks.note_room(page, kind.class()),
            None => Ok(()),
        }
    }

    /// [`crate::hnsw::graph::GraphWrite::update_meta`]. Another entry point brings its record in the highest layer with
    /// it, which is looked for while nothing is locked.
    pub(super) fn change_meta(
        &mut self,
        update: &mut dyn FnMut(&mut MetaPage) -> bool,
    ) -> Result<(), B::Error> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        loop {
            let mut wanted = read_meta(self.blocks)?;
            let known = wanted.entry().map_err(on_meta)?;
            if !update(&mut wanted.common) {
                return Ok(());
            }
            let point = wanted.common.entry_point().map_err(on_meta)?;
            let entry = match (point, known) {
                (None, _) => None,
                (Some(point), Some(known)) if (point.tid, point.level) == (known.tid, known.level) => {
                    Some(known)
                }
                (Some(point), _) => {
                    let top = self.record_of(point.tid, point.level)?;
                    let gone =
                        || Damage::at(point.tid.offset(), "level without a record").on(point.tid.block());
                    Some(Entry { id: top.ok_or_else(gone)?, tid: point.tid, level: point.level })
                }
            };
            let mut other = false;
            update_meta(self.blocks, |meta| {
                let before = meta.entry();
                let changed = update(&mut meta.common);
                // the page may be another than the one that was read
                other = meta.common.entry_point() != Ok(point) || (entry == known && before != Ok(known));
                if changed && !other {
                    meta.set_entry(entry);
                }
                changed && !other
            })?;
            if !other {
                return Ok(());
            }
            self.blocks.pause()?;
        }
    }
}
