//! Rows of elements: the first stands in the record, others in segments, which the record's chain leads to. The segment
//! in front takes new rows; one that is full gets another before it. Rows are added under the record's lock, and the
//! same lock decides that an element has none left: one that has none gets no more.

use super::edit::{Pages, Site};
use super::graph::{InlineGraph, strange_segment, visit};
use super::layout::{
    Layout, NO_NODE, PageKind, Record, RecordHeader, SegmentHeader, Slots, offset, page_kind, put_segment,
    segment_mut,
};
use super::place::edit_header;
use super::records::{has_rows, look_at_ground, look_at_segment, look_at_value, slot_of};
use super::rooms::{free, take_slot};
use crate::hnsw::graph::{Member, OnPage};
use crate::quant::space::CodedSpace;
use crate::storage::blocks::{BlockStore, PageRef, PageUpdate};
use crate::storage::page::{Damage, Tid};

/// What an element has of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rows {
    version: u8,
    first: Tid,
    chain: Tid,
}

impl Rows {
    fn of(record: &Record<'_>) -> Option<Self> {
        let header = record.header;
        let live = record.is_live() && has_rows(header);
        live.then_some(Rows { version: header.version, first: header.heap_tid, chain: header.chain })
    }
}

/// The record of layer 0 in an open page.
fn record_in<'c, C: PageUpdate>(
    change: &'c C,
    page: PageRef,
    layout: &'c Layout,
    tid: Tid,
) -> Result<Record<'c>, Damage> {
    let slots = &layout.ground.slots;
    let slot = slot_of(tid, slots.per_page)?;
    Record::new(&layout.ground, slots.get(change.bytes(page), PageKind::Ground, slot)?, slot)
}

/// The segment at `at` in an open page, to change.
fn segment_in<'p>(
    bytes: &'p mut [u8],
    layout: &Layout,
    at: Tid,
) -> Result<(PageKind, SegmentPlaces<'p>), Damage> {
    let (kind, slots): (_, &Slots) = match page_kind(bytes)? {
        Some(PageKind::LongChain) => (PageKind::LongChain, &layout.long_chain),
        _ => (PageKind::Chain, &layout.chain),
    };
    let slot = slot_of(at, slots.per_page)?;
    let used = slots.is_used(bytes, slot);
    let (header, rows) = segment_mut(slots.get_mut(bytes, kind, slot)?, slot)?;
    if used { Ok((kind, (header, rows))) } else { Err(Damage::at(at.offset(), "segment of other rows")) }
}

/// A segment's header, and the places of its rows.
type SegmentPlaces<'p> = (&'p mut SegmentHeader, &'p mut [Tid]);

impl<B: BlockStore, S: CodedSpace> InlineGraph<'_, B, S> {
    /// [`crate::hnsw::graph::GraphWrite::add_row`]
    pub(super) fn put_row(&mut self, tid: Tid, value: &[u8], row: Tid) -> Result<bool, B::Error> {
        let InlineGraph { blocks, index, room, .. } = self;
        let layout = &index.layout;
        let whole = layout.ground.is_whole();
        let equal =
            whole || look_at_value(*blocks, layout, &mut room.value, tid, |_, other| Ok(other == value))?;
        if !equal {
            return Ok(false);
        }
        let owner = layout.ground_id(tid);
        let owner = owner.ok_or_else(|| Damage::at(tid.offset(), "slot does not exist").on(tid.block()))?;
        loop {
            let seen = look_at_ground(self.blocks, layout, tid, |record| Ok(Rows::of(record)))?;
            let Some(seen) = seen else { return Ok(false) };
            let beside = seen.first.is_valid() && seen.chain.is_valid();
            let mut full = None;
            {
                let mut pages = Pages::new();
                pages.want(tid.block());
                if beside {
                    pages.want(seen.chain.block());
                }
                let mut change = self.blocks.update()?;
                pages.open(&mut change)?;
                let damage = |damage: Damage| damage.on(tid.block());
                let page = pages.get(tid.block()).map_err(damage)?;
                let record = record_in(&change, page, layout, tid).map_err(damage)?;
                match Rows::of(&record) {
                    Some(now) if now == seen => {}
                    Some(now) if now.version == seen.version => continue,
                    _ => return Ok(false),
                }
                if whole && record.value() != Some(value) {
                    return Ok(false);
                }
                if !seen.first.is_valid() {
                    edit_header(&mut change, &pages, layout, Site::new(0, tid), |header| {
                        header.heap_tid = row
                    })?;
                    change.commit()?;
                    return Ok(true);
                }
                if beside {
                    let damage = |damage: Damage| damage.on(seen.chain.block());
                    let page = pages.get(seen.chain.block()).map_err(damage)?;
                    let (_, (header, rows)) =
                        segment_in(change.bytes_mut(page)?, layout, seen.chain).map_err(damage)?;
                    if header.owner != owner || header.version != seen.version {
                        return Err(strange_segment(seen.chain));
                    }
                    if let Some(place) = rows.get_mut(usize::from(header.count)) {
                        *place = row;
                        header.count += 1;
                        change.commit()?;
                        return Ok(true);
                    }
                    full = Some(header.number);
                }
            }
            if self.put_segment(tid, owner, seen, full, row)? {
                return Ok(true);
            }
            self.blocks.pause()?;
        }
    }

    /// Puts a segment with one row before the others, of which the first is number `full`; false when the element has
    /// other rows than were seen.
    fn put_segment(
        &mut self,
        tid: Tid,
        owner: u32,
        seen: Rows,
        full: Option<u32>,
        row: Tid,
    ) -> Result<bool, B::Error> {
        let kind = if full.is_some() { PageKind::LongChain } else { PageKind::Chain };
        let number = match full {
            Some(number) => number.checked_add(1),
            None => Some(0),
        };
        let number = number.ok_or_else(|| {
            Damage::at(seen.chain.offset(), "invalid segment of rows").on(seen.chain.block())
        })?;
        let home = self.find_home(kind, false)?;
        let layout = &self.index.layout;
        let slots = layout.slots(kind);
        let mut pages = Pages::new();
        pages.want(tid.block());
        pages.want(home.block);
        let mut change = self.blocks.update()?;
        pages.open(&mut change)?;
        let damage = |damage: Damage| damage.on(tid.block());
        let page = pages.get(tid.block()).map_err(damage)?;
        let record = record_in(&change, page, layout, tid).map_err(damage)?;
        if Rows::of(&record) != Some(seen) {
            return Ok(false);
        }
        let Some(taken) = take_slot(&mut change, &mut pages, slots, kind, &home)? else { return Ok(false) };
        let damage = |damage: Damage| damage.on(taken.block);
        let bytes = slots.get_mut(change.bytes_mut(taken.page)?, kind, taken.slot).map_err(damage)?;
        put_segment(bytes, SegmentHeader::new(owner, number, seen.chain, 1, seen.version), &[row]);
        let chain = Tid::new(taken.block, offset(taken.slot));
        edit_header(&mut change, &pages, layout, Site::new(0, tid), |header| header.chain = chain)?;
        change.commit()?;
        self.note_taken(kind, taken.block, &home)?;
        Ok(true)
    }

    /// [`crate::hnsw::graph::GraphWrite::disown`]
    pub(super) fn take_row(&mut self, tid: Tid) -> Result<(), B::Error> {
        let mut pages = Pages::new();
        pages.want(tid.block());
        let mut change = self.blocks.update()?;
        pages.open(&mut change)?;
        let disown = |header: &mut RecordHeader| header.heap_tid = Tid::INVALID;
        edit_header(&mut change, &pages, &self.index.layout, Site::new(0, tid), disown)?;
        change.commit()
    }

    /// [`crate::hnsw::graph::GraphWrite::remove_rows`]
    pub(super) fn remove_first_rows(
        &mut self,
        page: u32,
        dead: &[(u16, Tid)],
        each: &mut dyn FnMut(&OnPage<'_>) -> Result<(), Damage>,
    ) -> Result<u64, B::Error> {
        let damage = |damage: Damage| damage.on(page);
        let layout = &self.index.layout;
        let mut pages = Pages::new();
        pages.want(page);
        let mut change = self.blocks.update()?;
        // a scan that returns values without their rows counts on these for as long as it holds on to the page
        pages.open_alone(&mut change)?;
        let open = pages.get(page).map_err(damage)?;
        let mut removed = 0;
        for &(at, row) in dead {
            let tid = Tid::new(page, at);
            let has_row = {
                let record = record_in(&change, open, layout, tid).map_err(damage)?;
                record.is_live() && record.header.heap_tid == row && row.is_valid()
            };
            if has_row {
                let disown = |header: &mut RecordHeader| header.heap_tid = Tid::INVALID;
                edit_header(&mut change, &pages, layout, Site::new(0, tid), disown)?;
                removed += 1;
            }
        }
        visit(change.bytes(open), page, layout, None, each).map_err(damage)?;
        if removed > 0 {
            change.commit()?;
        }
        Ok(removed)
    }

    /// [`crate::hnsw::graph::GraphWrite::remove_other_rows`]
    pub(super) fn remove_from_segment(
        &mut self,
        member: &Member,
        part: Tid,
        dead: &[Tid],
    ) -> Result<u64, B::Error> {
        let damage = |damage: Damage| damage.on(part.block());
        let layout = &self.index.layout;
        let mut change = self.blocks.update()?;
        let page = change.open_alone(part.block())?;
        let (_, (header, rows)) = segment_in(change.bytes_mut(page)?, layout, part).map_err(damage)?;
        if Some(header.owner) != layout.ground_id(member.tid) || header.version != member.version {
            return Err(strange_segment(part));
        }
        let count = usize::from(header.count).min(rows.len());
        // those that are dead come in the order of the segment, unless somebody put them into another
        let (mut kept, mut next) = (0, 0);
        for at in 0..count {
            let Some(&row) = rows.get(at) else { break };
            let left = dead.get(next..).unwrap_or_default();
            if left.first() == Some(&row) {
                next += 1;
                continue;
            }
            if let Some(place) = rows.get_mut(kept) {
                *place = row;
                kept += 1;
            }
        }
        if next < dead.len() {
            let mut sifted = 0;
            for at in 0..kept {
                let Some(&row) = rows.get(at) else { break };
                if !dead.contains(&row)
                    && let Some(place) = rows.get_mut(sifted)
                {
                    *place = row;
                    sifted += 1;
                }
            }
            kept = sifted;
        }
        let removed = count - kept;
        header.count = kept as u16;
        if removed > 0 {
            change.commit()?;
        }
        Ok(removed as u64)
    }

    /// [`crate::hnsw::graph::GraphWrite::settle_rows`]
    pub(super) fn settle(&mut self, member: &Member) -> Result<bool, B::Error> {
        let layout = &self.index.layout;
        let owner = layout.ground_id(member.tid).unwrap_or(NO_NODE);
        let mut before: Option<(Tid, u32)> = None;
        loop {
            self.blocks.pause()?;
            let at = match before {
                None => {
                    let rows =
                        look_at_ground(self.blocks, layout, member.tid, |record| Ok(Rows::of(record)))?;
                    match rows.filter(|rows| rows.version == member.version) {
                        Some(rows) => rows.chain,
                        None => return Ok(false),
                    }
                }
                Some((before, _)) => {
                    let next = look_at_segment(self.blocks, layout, before, |header, _| Ok(header.next))?;
                    next.ok_or_else(|| strange_segment::<B::Error>(before))?
                }
            };
            if !at.is_valid() {
                return Ok(true);
            }
            let seen = look_at_segment(self.blocks, layout, at, |header, rows| {
                let own = header.owner == owner
                    && header.version == member.version
                    && before.is_none_or(|(_, number)| header.number < number);
                Ok(own.then_some((header.number, rows.is_empty())))
            })?;
            let Some((number, empty)) = seen.flatten() else { return Err(strange_segment(at)) };
            if !empty {
                before = Some((at, number));
                continue;
            }
            if !self.unlink(member, before.map(|before| before.0), at)? {
                // rows were added meanwhile, perhaps in a segment of their own
                before = None;
            }
        }
    }

    /// Takes an empty segment out of a chain; false when it is not what it was.
    fn unlink(&mut self, member: &Member, before: Option<Tid>, at: Tid) -> Result<bool, B::Error> {
        let layout = &self.index.layout;
        let leading = before.unwrap_or(member.tid);
        let mut pages = Pages::new();
        pages.want(leading.block());
        pages.want(at.block());
        let mut change = self.blocks.update()?;
        pages.open(&mut change)?;
        let damage = |damage: Damage| damage.on(at.block());
        let page = pages.get(at.block()).map_err(damage)?;
        let (kind, next) = {
            let (kind, (header, _)) = segment_in(change.bytes_mut(page)?, layout, at).map_err(damage)?;
            if header.count > 0 {
                return Ok(false);
            }
            let next = header.next;
            *header = SegmentHeader::new(NO_NODE, 0, Tid::INVALID, 0, 0);
            (kind, next)
        };
        let damage = |damage: Damage| damage.on(leading.block());
        let lead = pages.get(leading.block()).map_err(damage)?;
        let leads = match before {
            None => {
                let record = record_in(&change, lead, layout, leading).map_err(damage)?;
                let leads = record.header.chain == at;
                edit_header(&mut change, &pages, layout, Site::new(0, leading), |header| {
                    header.chain = next
                })?;
                leads
            }
            Some(_) => {
                let (_, (header, _)) =
                    segment_in(change.bytes_mut(lead)?, layout, leading).map_err(damage)?;
                core::mem::replace(&mut header.next, next) == at
            }
        };
        if !leads {
            return Ok(false);
        }
        let slot = usize::from(at.offset()).wrapping_sub(1);
        free(&mut change, page, layout.slots(kind), slot)?;
        change.commit()?;
        self.blocks.note_room(at.block(), kind.class())?;
        Ok(true)
    }
}
