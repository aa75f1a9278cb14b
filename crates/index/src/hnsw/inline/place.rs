//! Writing a new element. Its record of layer 0 comes first, and is an element of that layer only; each record above
//! is one change that says so below. Where a record's rest takes pages of its own, its slot is reserved first, so that
//! the pages can be written and linked one by one.

use zerocopy::{FromBytes, IntoBytes};

use super::edit::{Centre, Pages, Site, rest_kind};
use super::graph::InlineGraph;
use super::layout::{
    Layout, PAGE_ID, PageKind, RecordHeader, offset, put_edge_keys, put_factors, put_ids, put_own_keys, state,
};
use super::meta::META_BLOCK;
use super::rooms::{Home, take_slot};
use crate::hnsw::graph::NewElement;
use crate::hnsw::params::layer_range;
use crate::quant::space::CodedSpace;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, Page, PageMut, Tid};
use crate::work::memory::{push, resize};

/// What a record above layer 0 hangs on.
#[derive(Clone, Copy, Debug)]
struct Below {
    /// the record of the layer below
    id: u32,
    /// the element
    tid: Tid,
    version: u8,
    layer: u8,
}

/// How often others may be faster before a page is added.
const TRIES: usize = 8;

impl<B: BlockStore, S: CodedSpace> InlineGraph<'_, B, S> {
    /// [`crate::hnsw::graph::GraphWrite::place`]
    pub(super) fn place_element(&mut self, new: &NewElement<'_>) -> Result<Tid, B::Error> {
        // what the choice of neighbours has rotated, under the same lock, serves codes, too
        self.room.edits.turned.begin(Tid::INVALID);
        self.compose(new, 0, Tid::INVALID)?;
        let (id, version) = self.write_record(0, None)?;
        let layout = &self.index.layout;
        let tid = layout.tid(id);
        // the edges back want the same values
        self.room.edits.rotated.rename(Tid::INVALID, tid);
        self.room.edits.turned.placed(tid);
        self.write_entries(id, false)?;
        let mut below = Below { id, tid, version, layer: 0 };
        for layer in 1..=new.level {
            self.compose(new, layer, tid)?;
            let (id, _) = self.write_record(layer, Some(below))?;
            below = Below { id, layer, ..below };
        }
        Ok(tid)
    }

    /// Composes the record of a layer in `room.edits.record`, but for what its place says. `own` is the element, once
    /// it has a place.
    fn compose(&mut self, new: &NewElement<'_>, layer: u8, own: Tid) -> Result<(), B::Error> {
        let layout = &self.index.layout;
        let records = layout.records(layer);
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        self.room.edits.forget_entries();
        let slots = new.slots.get(layer_range(new.level, layer, layout.shape.m)).unwrap_or_default();
        let centre = Centre { tid: own, version: None, value: Some(new.value) };
        for &to in slots.iter().filter(|tid| tid.is_valid()).take(records.neighbours) {
            let gone = || Damage::at(to.offset(), "edge to what is no element").on(to.block());
            let id = self.record_of(to, layer)?.ok_or_else(gone)?;
            let to = Centre { tid: to, version: None, value: new.known.value(to) };
            if !self.prepare(centre, to, layer, id)? {
                return Err(gone().into());
            }
        }
        let InlineGraph { index, room, .. } = self;
        let edits = &mut room.edits;
        let damaged = || Damage::internal("value of other dimensions than the index");
        let view = index.space.view(new.value).map_err(|_| on_meta(damaged()))?;
        edits.record.clear();
        resize(&mut edits.record, records.size / 8, 0).map_err(|memory| on_meta(memory.into()))?;
        edits.ids.clear();
        edits.places.clear();
        edits.adds.clear();
        edits.scales.clear();
        for entry in &edits.entries {
            let room = push(&mut edits.ids, entry.id)
                .and_then(|()| push(&mut edits.places, entry.place))
                .and_then(|()| push(&mut edits.adds, entry.factors[0]))
                .and_then(|()| push(&mut edits.scales, entry.factors[1]));
            room.map_err(|memory| on_meta(memory.into()))?;
        }
        let bytes: &mut [u8] = edits.record.as_mut_bytes();
        if let Ok((header, _)) = RecordHeader::mut_from_prefix(bytes) {
            *header = RecordHeader::new(if layer == 0 { 0 } else { new.level }, layer);
            header.heap_tid = new.row;
            header.norm = index.space.norm(view) as f32;
        }
        put_ids(records, bytes, &edits.ids, &edits.places);
        for (at, entry) in edits.entries.iter().enumerate() {
            put_edge_keys(records, bytes, at, &entry.keys);
        }
        put_own_keys(records, bytes, records.keys(new.value));
        put_factors(records, bytes, &edits.adds, &edits.scales);
        if let Some(place) = bytes.get_mut(records.codes_at..records.codes_at + edits.codes.len()) {
            place.copy_from_slice(&edits.codes);
        }
        match (bytes.get_mut(records.value()), new.value.get(..records.value_size)) {
            (Some(place), Some(value)) if value.len() == new.value.len() => place.copy_from_slice(value),
            _ => return Err(on_meta(damaged())),
        }
        Ok(())
    }

    /// Writes the record in `room.edits.record`, with its rest; returns its id and version.
    fn write_record(&mut self, layer: u8, below: Option<Below>) -> Result<(u32, u8), B::Error> {
        let layout = &self.index.layout;
        let records = layout.records(layer);
        let chained = records.rest_pages > 0;
        for attempt in 0.. {
            // without others' doing, the second attempt succeeds
            let fresh = attempt >= TRIES;
            let home = self.find_home(PageKind::of_layer(layer), fresh)?;
            if chained {
                let Some(reserved) = self.reserve(layer, &home)? else { continue };
                let rest = self.write_chain(reserved, home.rest)?;
                self.blocks.fault_point("hnsw.insert.rest")?;
                return self.fill_reserved(reserved, rest, below);
            }
            let rest = match records.rest > 0 && !home.rest.is_valid() {
                true => Some(self.find_home(rest_kind(layer), fresh)?),
                false => None,
            };
            if let Some(done) = self.write_at(layer, below, &home, rest)? {
                return Ok(done);
            }
            self.blocks.pause()?;
        }
        Err(Damage::internal("no room for a record").on(META_BLOCK).into())
    }

    /// Writes a record with all of its rest in one change; `None` when others took the room.
    fn write_at(
        &mut self,
        layer: u8,
        below: Option<Below>,
        home: &Home,
        rest_home: Option<Home>,
    ) -> Result<Option<(u32, u8)>, B::Error> {
        let InlineGraph { blocks, index, room, .. } = self;
        let (layout, kind) = (&index.layout, PageKind::of_layer(layer));
        let records = layout.records(layer);
        let record: &[u8] = room.edits.record.as_bytes();
        let mut pages = Pages::new();
        pages.want(home.block);
        pages.want(rest_home.map_or(home.rest.block(), |rest| rest.block));
        want_below(layout, &mut pages, below);
        let mut change = blocks.update()?;
        pages.open(&mut change)?;
        let Some(taken) = take_slot(&mut change, &mut pages, &records.slots, kind, home)? else {
            return Ok(None);
        };
        let mut rest = home.rest;
        let mut rest_taken = None;
        if let Some(rest_home) = &rest_home {
            let own = take_slot(&mut change, &mut pages, &records.rest_slots, rest_kind(layer), rest_home)?;
            let Some(own) = own else { return Ok(None) };
            rest = Tid::new(own.block, offset(own.slot));
            rest_taken = Some(own.block);
        }
        if records.rest > 0 {
            let slot = usize::from(rest.offset()).wrapping_sub(1);
            let damage = |damage: Damage| damage.on(rest.block());
            let bytes = change.bytes_mut(pages.get(rest.block()).map_err(damage)?)?;
            let place = records.rest_slots.get_mut(bytes, rest_kind(layer), slot).map_err(damage)?;
            copy(record.get(records.head()..records.size), place);
        }
        let site = Site { layer, block: taken.block, slot: taken.slot };
        let done = write_head(&mut change, &pages, layout, record, site, rest, home.version, below)?;
        change.commit()?;
        self.note_taken(kind, taken.block, home)?;
        if let (Some(block), Some(rest_home)) = (rest_taken, &rest_home) {
            self.note_taken(rest_kind(layer), block, rest_home)?;
        }
        Ok(Some(done))
    }

    /// Reserves a slot; `None` when others took it.
    fn reserve(&mut self, layer: u8, home: &Home) -> Result<Option<Site>, B::Error> {
        let kind = PageKind::of_layer(layer);
        let records = self.index.layout.records(layer);
        let mut pages = Pages::new();
        pages.want(home.block);
        let mut change = self.blocks.update()?;
        pages.open(&mut change)?;
        let Some(taken) = take_slot(&mut change, &mut pages, &records.slots, kind, home)? else {
            return Ok(None);
        };
        let damage = |damage: Damage| damage.on(taken.block);
        let bytes = change.bytes_mut(taken.page)?;
        let bytes = records.slots.get_mut(bytes, kind, taken.slot).map_err(damage)?;
        if let Ok((header, _)) = RecordHeader::mut_from_prefix(bytes) {
            *header = RecordHeader::new(layer, layer);
            (header.state, header.version, header.rest) = (state::PENDING, home.version.max(1), home.rest);
        }
        change.commit()?;
        self.note_taken(kind, taken.block, home)?;
        Ok(Some(Site { layer, block: taken.block, slot: taken.slot }))
    }

    /// Writes the rest of a record to the pages that a reserved slot has already, and to new ones; returns the first.
    fn write_chain(&mut self, site: Site, rest: Tid) -> Result<Tid, B::Error> {
        let InlineGraph { blocks, index, room, .. } = self;
        let records = index.layout.records(site.layer);
        let kind = rest_kind(site.layer);
        let record: &[u8] = room.edits.record.as_bytes();
        let slots = &records.rest_slots;
        // the page before, and the next one when there is one
        let (mut before, mut next) = (None, if rest.is_valid() { rest.block() } else { INVALID_BLOCK });
        let mut first = rest;
        for part in 0..records.rest_pages {
            let start = records.head() + part * slots.size;
            let bytes = record.get(start..records.size.min(start + slots.size));
            let mut change = blocks.update()?;
            if next == INVALID_BLOCK {
                let from = change.open(before.unwrap_or(site.block))?;
                let page = change.extend()?;
                let block = change.block(page);
                slots.init(change.bytes_mut(page)?, kind);
                slots.set_used(change.bytes_mut(page)?, 0, true);
                match before {
                    Some(before) => {
                        let page = PageMut::new(change.bytes_mut(from)?, PAGE_ID);
                        page.map_err(|damage| damage.on(before))?.set_next(block);
                    }
                    None => {
                        let damage = |damage: Damage| damage.on(site.block);
                        first = Tid::new(block, offset(0));
                        let bytes = change.bytes_mut(from)?;
                        let bytes = records.slots.get_mut(bytes, site.kind(), site.slot).map_err(damage)?;
                        if let Ok((header, _)) = RecordHeader::mut_from_prefix(bytes) {
                            header.rest = first;
                        }
                    }
                }
                let damage = |damage: Damage| damage.on(block);
                copy(bytes, slots.get_mut(change.bytes_mut(page)?, kind, 0).map_err(damage)?);
                before = Some(block);
            } else {
                let damage = |damage: Damage| damage.on(next);
                let page = change.open(next)?;
                copy(bytes, slots.get_mut(change.bytes_mut(page)?, kind, 0).map_err(damage)?);
                before = Some(next);
                next = Page::new(change.bytes(page), PAGE_ID).map_err(damage)?.next();
            }
            change.commit()?;
        }
        Ok(first)
    }

    /// Makes a reserved slot a record.
    fn fill_reserved(&mut self, site: Site, rest: Tid, below: Option<Below>) -> Result<(u32, u8), B::Error> {
        let InlineGraph { blocks, index, room, .. } = self;
        let layout = &index.layout;
        let mut pages = Pages::new();
        pages.want(site.block);
        want_below(layout, &mut pages, below);
        let mut change = blocks.update()?;
        pages.open(&mut change)?;
        let damage = |damage: Damage| damage.on(site.block);
        let page = pages.get(site.block).map_err(damage)?;
        let slots = &layout.records(site.layer).slots;
        let bytes = slots.get(change.bytes(page), site.kind(), site.slot).map_err(damage)?;
        let version = RecordHeader::ref_from_prefix(bytes).map_or(0, |(header, _)| header.version);
        let record: &[u8] = room.edits.record.as_bytes();
        let done = write_head(&mut change, &pages, layout, record, site, rest, version, below)?;
        change.commit()?;
        Ok(done)
    }
}

/// Asks for the pages of the records below.
fn want_below(layout: &Layout, pages: &mut Pages, below: Option<Below>) {
    if let Some(below) = below {
        pages.want(below.tid.block());
        pages.want(layout.records(below.layer).slots.place(below.id).0);
    }
}

fn copy(from: Option<&[u8]>, to: &mut [u8]) {
    if let Some(from) = from
        && let Some(to) = to.get_mut(..from.len())
    {
        to.copy_from_slice(from);
    }
}

/// Writes what a record's slot has of it, and says below that there is a record above.
#[allow(clippy::too_many_arguments)]
fn write_head<C: PageUpdate>(
    change: &mut C,
    pages: &Pages,
    layout: &Layout,
    record: &[u8],
    site: Site,
    rest: Tid,
    version: u8,
    below: Option<Below>,
) -> Result<(u32, u8), C::Error> {
    let records = layout.records(site.layer);
    let damage = |damage: Damage| damage.on(site.block);
    let id = records.slots.id(site.block, site.slot);
    let id = id.ok_or(Damage::internal("more nodes than ids")).map_err(damage)?;
    // what remembers an element that was deleted here sees another version
    let version = below.map_or(version.max(1), |below| below.version);
    let bytes = change.bytes_mut(pages.get(site.block).map_err(damage)?)?;
    let bytes = records.slots.get_mut(bytes, site.kind(), site.slot).map_err(damage)?;
    copy(record.get(..records.head()), bytes);
    if let Ok((header, _)) = RecordHeader::mut_from_prefix(bytes) {
        (header.version, header.rest) = (version, rest);
        header.below = below.map_or(id, |below| below.id);
        if let Some(below) = below {
            header.heap_tid = below.tid;
        }
    }
    if let Some(below) = below {
        let place = Site::of_id(layout, below.layer, below.id);
        edit_header(change, pages, layout, place, |header| header.above = id)?;
        edit_header(change, pages, layout, Site::new(0, below.tid), |header| header.level = site.layer)?;
    }
    Ok((id, version))
}

/// Changes the header of a record.
pub(super) fn edit_header<C: PageUpdate>(
    change: &mut C,
    pages: &Pages,
    layout: &Layout,
    site: Site,
    edit: impl FnOnce(&mut RecordHeader),
) -> Result<(), C::Error> {
    let damage = |damage: Damage| damage.on(site.block);
    let bytes = change.bytes_mut(pages.get(site.block).map_err(damage)?)?;
    let slots = &layout.records(site.layer).slots;
    let bytes = slots.get_mut(bytes, site.kind(), site.slot).map_err(damage)?;
    let invalid = || damage(Damage::at(offset(site.slot), "invalid record"));
    let (header, _) = RecordHeader::mut_from_prefix(bytes).map_err(|_| invalid())?;
    edit(header);
    Ok(())
}
