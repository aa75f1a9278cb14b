//! The first pass: every page and every slot, by itself; the rows of each element.

use half::f16;
use zerocopy::IntoBytes;

use super::super::layout::{
    NO_NODE, PAGE_ID, PageKind, RECORD_HEADER, Record, RecordHeader, Slots, offset, page_kind, segment, state,
};
use super::super::meta::META_BLOCK;
use super::edges::LONGEST;
use super::parts::{Claim, Link, Met, Upper};
use super::{InlineCensus, Pages, Room, norm_of, place_of, value_of};
use crate::hnsw::census::{Auditor, CheckError, Node, State, reserve};
use crate::space::AnySpace;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{INVALID_BLOCK, Tid};
use crate::storage::verify;

impl<B: BlockStore> InlineCensus<'_, B> {
    /// Looks at all pages, in order.
    pub(super) fn pages(&mut self, audit: &mut Auditor<'_>) -> Result<(), CheckError<B::Error>> {
        let Self { blocks, space, count, shared, met, room, .. } = self;
        let Some(layout) = shared.as_ref().map(|shared| &shared.layout) else { return Ok(()) };
        let mut pages = Pages { blocks: &mut **blocks, count: *count, layout };
        met.begin(layout, *count)?;
        for block in META_BLOCK + 1..*count {
            pages.blocks.pause()?;
            audit.begin_page(block, 0, 0)?;
            let mut page = core::mem::take(&mut room.page);
            let looked = match pages.copy(block, page.as_mut_bytes()) {
                Ok(()) => Pass { pages: &mut pages, space, met, room, audit }.page(block, page.as_bytes()),
                Err(error) => Err(error),
            };
            room.page = page;
            looked?;
        }
        Ok(())
    }
}

struct Pass<'p, 's, 'c, B> {
    pages: &'p mut Pages<'s, B>,
    space: &'p AnySpace,
    met: &'p mut Met,
    room: &'p mut Room,
    audit: &'p mut Auditor<'c>,
}

impl<B: BlockStore> Pass<'_, '_, '_, B> {
    fn page(&mut self, block: u32, bytes: &[u8]) -> Result<(), CheckError<B::Error>> {
        let place = Tid::new(block, 0);
        if verify::is_zero(bytes) {
            self.audit.unused_page();
            self.met.note_page(block, None, INVALID_BLOCK);
            return Ok(());
        }
        let audit = &mut *self.audit;
        let page = verify::page(bytes, PAGE_ID, false, |fault| audit.tell(place, fault.what));
        let kind = page.and_then(|_| match page_kind(bytes) {
            Ok(kind) => kind,
            Err(damage) => {
                audit.tell(place, damage.what);
                None
            }
        });
        let (Some(page), Some(kind)) = (page, kind) else {
            audit.damaged_page(block);
            return Ok(());
        };
        let layout = self.pages.layout;
        let slots = match kind {
            PageKind::Ground => &layout.ground.slots,
            PageKind::Upper => &layout.upper.slots,
            PageKind::GroundRest => &layout.ground.rest_slots,
            PageKind::UpperRest => &layout.upper.rest_slots,
            PageKind::Chain => &layout.chain,
            PageKind::LongChain => &layout.long_chain,
            PageKind::Included | PageKind::IncludedDirectory => {
                // the same
                self.met.note_page(block, Some(kind), page.next());
                return Ok(());
            }
            PageKind::Keys | PageKind::Directory | PageKind::Centre => {
                if layout.runs.is_none() {
                    audit.tell(place, "page of another kind");
                    audit.damaged_page(block);
                    return Ok(());
                }
                // their contents are looked at with the tree
                self.met.note_page(block, Some(kind), page.next());
                return Ok(());
            }
        };
        let rests = match kind {
            PageKind::GroundRest => layout.ground.rest,
            PageKind::UpperRest => layout.upper.rest,
            _ => usize::MAX,
        };
        if rests == 0 || slots.get(bytes, kind, 0).is_err() {
            audit.tell(place, "page of another kind");
            audit.damaged_page(block);
            return Ok(());
        }
        if slots.is_odd(bytes) {
            audit.tell(place, "page with a hole, or slots in use that do not exist");
        }
        let pages = match kind {
            PageKind::GroundRest => layout.ground.rest_pages,
            PageKind::UpperRest => layout.upper.rest_pages,
            _ => 0,
        };
        if pages < 2 && page.next() != INVALID_BLOCK {
            audit.tell(place, format!("page is followed by block {}", page.next()));
        }
        self.met.note_page(block, Some(kind), page.next());
        match kind {
            PageKind::Ground | PageKind::Upper => {
                let layer = u8::from(kind == PageKind::Upper);
                audit.begin_page(block, slots.per_page, slots.per_page)?;
                self.met.expect(slots.per_page)?;
                for slot in 0..slots.per_page {
                    let (used, head) = (slots.is_used(bytes, slot), slots.get(bytes, kind, slot));
                    if let (Ok(head), Some(id)) = (head, slots.id(block, slot)) {
                        self.record(layer, id, used, head)?;
                    }
                }
            }
            PageKind::GroundRest | PageKind::UpperRest => {
                for slot in (0..slots.per_page).filter(|&slot| slots.is_used(bytes, slot)) {
                    self.met.add_rest(Tid::new(block, offset(slot)))?;
                }
            }
            PageKind::Chain | PageKind::LongChain => self.segments(block, kind, slots, bytes)?,
            _ => {}
        }
        Ok(())
    }

    /// The segments of a page; whose they are is seen where elements are.
    fn segments(
        &mut self,
        block: u32,
        kind: PageKind,
        slots: &Slots,
        bytes: &[u8],
    ) -> Result<(), CheckError<B::Error>> {
        for slot in 0..slots.per_page {
            let tid = Tid::new(block, offset(slot));
            match slots.get(bytes, kind, slot).and_then(|bytes| segment(bytes, slot)) {
                Err(damage) => self.audit.tell(tid, damage.what),
                Ok((header, _)) if header.unused != [0; 3] => {
                    self.audit.tell(tid, "unused bytes of a segment of rows that are not zero");
                }
                Ok((_, rows)) if !slots.is_used(bytes, slot) && !rows.is_empty() => {
                    self.audit.tell(tid, "free segment with rows");
                }
                Ok(_) => {}
            }
            if slots.is_used(bytes, slot) {
                self.met.add_segment(tid)?;
            }
        }
        Ok(())
    }

    /// A slot for a record.
    fn record(&mut self, layer: u8, id: u32, used: bool, head: &[u8]) -> Result<(), CheckError<B::Error>> {
        let records = self.pages.layout.records(layer);
        let tid = place_of(records, id);
        let audit = &mut *self.audit;
        if !used && verify::is_zero(head.get(..RECORD_HEADER).unwrap_or_default()) {
            if !verify::is_zero(head) {
                audit.tell(tid, "slot without a record that is not empty");
            }
            return Ok(());
        }
        let record = match Record::new(records, head, usize::from(tid.offset()).wrapping_sub(1)) {
            Ok(record) if !record.is_live() || (record.header.layer > 0) == (layer > 0) => record,
            other => {
                audit.tell(tid, other.err().map_or("record of another layer", |damage| damage.what));
                self.broken(layer, id, tid);
                return Ok(());
            }
        };
        let header = record.header;
        if header.unused != [0; 2] {
            audit.tell(tid, "unused bytes of a record that are not zero");
        }
        let live = header.state == state::LIVE;
        match (used, header.state) {
            (true, state::LIVE | state::PENDING) | (false, state::FREE | state::DELETED) => {}
            (true, _) => audit.tell(tid, "slot in use without a node"),
            (false, _) => audit.tell(tid, "free slot with a node"),
        }
        match (records.is_whole(), header.rest.is_valid()) {
            (true, true) => audit.tell(tid, "rest of a record that its slot holds"),
            (false, true) => self.met.claim_rest(Claim { rest: header.rest.packed(), id, layer, live })?,
            (false, false) if live => audit.tell(tid, "record without its rest"),
            _ => {}
        }
        if !live {
            return self.free(layer, tid, &record);
        }
        let factors = [record.adds(), record.scales()];
        let lost = |factor: &f16| if header.norm < LONGEST { !factor.is_finite() } else { factor.is_nan() };
        if records.factors && factors.iter().any(|factors| factors.iter().any(lost)) {
            audit.tell(tid, "factor of an edge that is not finite");
        }
        // (of values whose squares overflow it is infinite)
        if header.norm.is_nan() || header.norm < 0.0 {
            audit.tell(tid, "norm that is no length");
        }
        if layer == 0 { self.element(id, tid, &record) } else { self.upper(id, tid, header) }
    }

    /// A record that cannot be read, which has been told.
    fn broken(&mut self, layer: u8, id: u32, tid: Tid) {
        if layer == 0 {
            self.audit.element(Node::broken(tid), &[], &[]);
        } else {
            self.met.add_upper(Upper::broken(id));
        }
    }

    /// A record that is no node, or none yet.
    fn free(&mut self, layer: u8, tid: Tid, record: &Record<'_>) -> Result<(), CheckError<B::Error>> {
        let (header, reserved) = (record.header, record.header.state == state::PENDING);
        if header.chain.is_valid() {
            self.audit.tell(tid, "deleted element with segments of rows");
        }
        if !reserved {
            let mut kept = record.bytes().get(RECORD_HEADER..).unwrap_or_default();
            let records = self.pages.layout.records(layer);
            // (pages of their own keep what was there, until they are written again)
            let joined = records.rest_pages == 0
                && header.rest.is_valid()
                && self.pages.join(layer, record.bytes(), header.rest, &mut self.room.record)?;
            if joined {
                kept = self.room.record.as_bytes().get(RECORD_HEADER..).unwrap_or_default();
            }
            if !verify::is_zero(kept) {
                self.audit.tell(tid, "deleted element with a value");
            }
        }
        if header.neighbours > 0 && (layer > 0 || reserved) {
            self.audit.tell(tid, "edges of a deleted element");
        }
        if layer > 0 || reserved {
            return Ok(());
        }
        let row = [header.heap_tid];
        let rows = if header.heap_tid.is_valid() { row.as_slice() } else { &[] };
        let node = Node { tid, list: tid, level: 0, version: header.version, state: State::Deleted };
        self.audit.element(node, rows, &[]);
        Ok(())
    }

    /// A record of an upper layer.
    fn upper(&mut self, id: u32, tid: Tid, header: &RecordHeader) -> Result<(), CheckError<B::Error>> {
        if header.chain.is_valid() {
            self.audit.tell(tid, "rows of a record of an upper layer");
        }
        let ground = self.pages.layout.ground_id(header.heap_tid);
        if ground.is_none() {
            self.audit.tell(tid, format!("record of an element at {}, where none can be", header.heap_tid));
        }
        let RecordHeader { above, below, layer, version, .. } = *header;
        self.met.add_upper(match ground {
            Some(ground) => Upper { id, ground, above, below, layer, version, broken: false, led_to: false },
            None => Upper::broken(id),
        });
        Ok(())
    }

    /// A node's record of layer 0, with its rows and its value.
    fn element(&mut self, id: u32, tid: Tid, record: &Record<'_>) -> Result<(), CheckError<B::Error>> {
        let (header, records) = (record.header, &self.pages.layout.ground);
        if header.below != id {
            self.audit.tell(tid, format!("record below layer 0, number {}", header.below));
        }
        if header.level > 0 || header.above != NO_NODE {
            self.met.add_link(Link {
                ground: id,
                above: header.above,
                level: header.level,
                version: header.version,
            })?;
        }
        self.rows(id, tid, header)?;
        if !self.pages.join(0, record.bytes(), header.rest, &mut self.room.record)? {
            self.audit.element(Node::broken(tid), &[], &[]);
            return Ok(());
        }
        let value = value_of(records, &self.room.record);
        if let Some(norm) = norm_of(self.space, value)
            && !is_norm(header.norm, norm)
        {
            self.audit.tell(tid, format!("norm is {}, and {norm} that of the value", header.norm));
        }
        let rows = header.heap_tid.is_valid() || header.chain.is_valid();
        let state = if rows { State::Live } else { State::Dying };
        let node = Node { tid, list: tid, level: header.level, version: header.version, state };
        self.audit.expect_rows(self.room.rows.len())?;
        self.audit.element(node, &self.room.rows, value);
        Ok(())
    }

    /// Collects the rows of an element.
    fn rows(&mut self, id: u32, tid: Tid, header: &RecordHeader) -> Result<(), CheckError<B::Error>> {
        let Self { pages, met, room, audit, .. } = self;
        let rows = &mut room.rows;
        rows.clear();
        reserve(rows, 1)?;
        if header.heap_tid.is_valid() {
            rows.push(header.heap_tid);
        }
        let (short, long) = (&pages.layout.chain, &pages.layout.long_chain);
        let most = pages.layout.segment(short).max(pages.layout.segment(long));
        let (mut next, mut last) = (header.chain, None);
        while next.is_valid() {
            pages.blocks.pause()?;
            reserve(rows, most)?;
            if !pages.exists(next.block()) {
                audit.tell(tid, format!("segment of rows at {next}, where there is no page"));
                return Ok(());
            }
            let slot = usize::from(next.offset()).wrapping_sub(1);
            let found = pages.blocks.read(next.block(), |bytes| {
                let (kind, slots) = match page_kind(bytes) {
                    Ok(Some(kind @ PageKind::LongChain)) => (kind, long),
                    Ok(_) => (PageKind::Chain, short),
                    // told with its page
                    Err(_) => return Ok(None),
                };
                let used = slots.is_used(bytes, slot);
                let segment = slots.get(bytes, kind, slot).and_then(|bytes| segment(bytes, slot));
                Ok(Some(segment.map(|(header, found)| {
                    let found = found.get(..most).unwrap_or(found);
                    rows.extend_from_slice(found);
                    (*header, used, found.iter().all(|row| row.is_valid()))
                })))
            })?;
            let (segment, used, valid) = match found {
                None => return Ok(()),
                Some(Ok(found)) => found,
                Some(Err(damage)) => {
                    audit.tell(tid, format!("no segment of rows at {next}: {}", damage.what));
                    return Ok(());
                }
            };
            if !used || (segment.owner, segment.version) != (id, header.version) {
                audit.tell(
                    tid,
                    format!("segment of rows at {next}, which belongs to another element or to none"),
                );
                return Ok(());
            }
            if last.is_some_and(|last| segment.number >= last) {
                audit.tell(next, "segment of rows whose number is not below that of the one before");
                return Ok(());
            }
            if !valid {
                audit.tell(next, "segment of rows with a row that is none");
            }
            met.claim_segment(next)?;
            (last, next) = (Some(segment.number), segment.next);
        }
        rows.retain(|row| row.is_valid());
        Ok(())
    }
}

/// How far a norm may be from that of the value, as a share: it is kept in single precision, and sums are rounded
/// otherwise on another processor.
const NORM_TOLERANCE: f64 = 1e-5;

/// Whether a record's norm is that of its value, as far as processors agree: the smallest numbers have no digits to be
/// compared, and the largest norms are no floats.
fn is_norm(kept: f32, exact: f64) -> bool {
    let (least, most) = (f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX) / (1.0 + NORM_TOLERANCE));
    let far = (exact - f64::from(kept)).abs() > NORM_TOLERANCE * exact + least;
    if kept.is_finite() { !far } else { exact > most }
}
