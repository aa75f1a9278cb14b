//! Auditing inline pages: every page, slot and record, and what leads from one to another. Three passes: over all
//! pages, which shows the elements (`census/page.rs`); over what was noted then, without the pages (`census/parts.rs`);
//! and, of upper records and in a deep check of all, over their edges (`census/edges.rs`).

mod edges;
mod included;
mod keys;
mod page;
mod parts;

use zerocopy::IntoBytes;

use super::layout::{Layout, PAGE_ID, PageKind, Record, RecordLayout, offset};
use super::meta::{InlineMeta, META_BLOCK};
use super::scan::Shared;
use crate::filter::MAX_COLUMNS;
use crate::hnsw::census::{Auditor, Census, CheckError, Node, fit, reserve};
use crate::hnsw::meta::MetaPage;
use crate::hnsw::params::{MAX_LEVEL, layer_slots};
use crate::included::check::Found;
use crate::quant::space::{CodedSpace, Estimate};
use crate::space::{AnySpace, Space, ValueKind};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Cause, INVALID_BLOCK, Page, Tid};
use crate::storage::verify::{self, Violation};
use crate::with_space;

use parts::Met;

/// An audit of the blocks of an index.
#[derive(Debug)]
pub struct InlineCensus<'b, B> {
    blocks: &'b mut B,
    space: AnySpace,
    count: u32,
    /// what the meta page says, once it was read
    shared: Option<Shared>,
    met: Met,
    /// the roots of the trees of filter keys, and the page of the centre of their codes
    roots: [u32; MAX_COLUMNS],
    centre: u32,
    /// the root of the tree of included values, or 0, and what was found there
    included: u32,
    included_found: Found,
    room: Room,
}

/// What is read of pages; reused from page to page.
#[derive(Debug, Default)]
struct Room {
    /// a page
    page: Vec<u64>,
    /// a whole record
    record: Vec<u64>,
    /// another
    other: Vec<u64>,
    rows: Vec<Tid>,
    widened: Vec<f32>,
    /// a node's value, rotated
    centre: Vec<f32>,
    /// a neighbour's
    value: Vec<f32>,
    code: Vec<u8>,
}

impl<'b, B: BlockStore> InlineCensus<'b, B> {
    /// An audit of `blocks` that has not begun; values are of `space`.
    pub fn new(blocks: &'b mut B, space: AnySpace) -> Self {
        InlineCensus {
            blocks,
            space,
            count: 0,
            shared: None,
            met: Met::default(),
            roots: [INVALID_BLOCK; MAX_COLUMNS],
            centre: INVALID_BLOCK,
            included: 0,
            included_found: Found::default(),
            room: Room::default(),
        }
    }
}

impl<B: BlockStore> Census for InlineCensus<'_, B> {
    type Error = B::Error;

    fn begin(&mut self, audit: &mut Auditor<'_>) -> Result<Option<MetaPage>, CheckError<B::Error>> {
        self.count = self.blocks.count()?;
        if self.count == 0 {
            audit.report(Violation::of_index("the index has no blocks, and at least 1 is needed"));
            return Ok(None);
        }
        let page_size = self.blocks.page_size();
        let mut tell = |what: String| audit.report(Violation::at(META_BLOCK, 0, what));
        let (meta, next) = self.blocks.read(META_BLOCK, |bytes| {
            let page = verify::page(bytes, PAGE_ID, false, |fault| tell(fault.what.into()));
            Ok((InlineMeta::read(bytes), page.map_or(INVALID_BLOCK, |page| page.next())))
        })?;
        let meta = match meta {
            Ok(meta) => meta,
            Err(damage) => {
                tell(damage.what.into());
                return Ok(None);
            }
        };
        if next != INVALID_BLOCK {
            tell(format!("the meta page is followed by block {next}"));
        }
        (self.roots, self.centre, self.included) = (meta.roots, meta.centre, meta.included);
        let shared = match Shared::new(&meta, page_size) {
            Ok(shared) => shared,
            Err(damage) if damage.cause() == Cause::OutOfMemory => return Err(CheckError::OutOfMemory),
            Err(damage) => {
                tell(damage.what.into());
                return Ok(None);
            }
        };
        let (kind, asked) = (shared.layout.shape.kind, kind_of(&self.space));
        if kind != asked {
            tell(format!("values are of type {}, and those of the column of {}", name(kind), name(asked)));
            return Ok(None);
        }
        fit(&mut self.room.page, page_size / 8, 0)?;
        self.met.from_copies = meta.from_copies();
        self.met.entry = (meta.common.entry_point().ok().flatten(), meta.top);
        self.shared = Some(shared);
        Ok(Some(meta.common))
    }

    fn max_level(&self) -> u8 {
        MAX_LEVEL
    }

    fn elements(&mut self, _: &MetaPage, audit: &mut Auditor<'_>) -> Result<(), CheckError<B::Error>> {
        self.pages(audit)?;
        self.keys(audit)?;
        self.included(audit)?;
        self.edges(audit)
    }

    fn parts(&mut self, audit: &mut Auditor<'_>) {
        if let Some(shared) = &self.shared {
            self.met.parts(&shared.layout, audit);
        }
        if self.included != 0 {
            self.rows_with_values(audit);
        }
    }

    fn slots(&mut self, node: &Node, out: &mut Vec<Tid>) -> Result<Option<u8>, CheckError<B::Error>> {
        out.clear();
        let Self { blocks, shared, met, .. } = self;
        let Some(layout) = shared.as_ref().map(|shared| &shared.layout) else { return Ok(None) };
        let Some(ground) = layout.ground_id(node.tid) else { return Ok(None) };
        let slots = (usize::from(node.level) + 2) * layout.shape.m;
        reserve(out, slots)?;
        let mut records = [ground; MAX_LEVEL as usize + 1];
        if met.climb(ground, node.level, &mut records).is_err() {
            return Ok(None);
        }
        let mut version = None;
        for layer in (0..=node.level).rev() {
            let records_of = layout.records(layer);
            let Some(&id) = records.get(usize::from(layer)) else { return Ok(None) };
            let (block, slot) = records_of.slots.place(id);
            version = blocks.read(block, |bytes| {
                // it was one a moment ago
                let record = records_of
                    .slots
                    .get(bytes, PageKind::of_layer(layer), slot)
                    .and_then(|bytes| Record::new(records_of, bytes, slot));
                let Ok(record) = record else { return Ok(None) };
                let end = out.len() + layer_slots(layout.shape.m, layer);
                out.extend(record.places().iter().map(|&place| layout.tid(place)));
                out.resize(end, Tid::INVALID);
                Ok(Some(record.header.version))
            })?;
            if version.is_none() {
                return Ok(None);
            }
        }
        Ok(version)
    }

    fn pause(&mut self) -> Result<(), B::Error> {
        self.blocks.pause()
    }
}

/// Where a record is read from.
struct Pages<'s, B> {
    blocks: &'s mut B,
    /// how many there are
    count: u32,
    layout: &'s Layout,
}

impl<B: BlockStore> Pages<'_, B> {
    /// Copies a page into `out`.
    fn copy(&mut self, block: u32, out: &mut [u8]) -> Result<(), CheckError<B::Error>> {
        self.blocks.read(block, |bytes| {
            let len = bytes.len().min(out.len());
            out[..len].copy_from_slice(&bytes[..len]);
            Ok(())
        })?;
        Ok(())
    }

    fn exists(&self, block: u32) -> bool {
        block != META_BLOCK && block < self.count
    }

    /// Makes `out` the whole record whose slot has the bytes `head`, with its rest at `rest`. Returns whether all of it
    /// could be read: what is wrong with its rest is told where rests are.
    fn join(
        &mut self,
        layer: u8,
        head: &[u8],
        rest: Tid,
        out: &mut Vec<u64>,
    ) -> Result<bool, CheckError<B::Error>> {
        let records = self.layout.records(layer);
        fit(out, records.size.div_ceil(8), 0)?;
        put(out, head, records.head());
        self.add_rest(layer, rest, out)
    }

    /// Makes `out` the whole record `id` of a layer. Returns whether it is one and all of it could be read.
    fn load(&mut self, id: u32, layer: u8, out: &mut Vec<u64>) -> Result<bool, CheckError<B::Error>> {
        let records = self.layout.records(layer);
        let (block, slot) = records.slots.place(id);
        if !self.exists(block) {
            return Ok(false);
        }
        fit(out, records.size.div_ceil(8), 0)?;
        let rest = self.blocks.read(block, |bytes| {
            let head = records.slots.get(bytes, PageKind::of_layer(layer), slot);
            let Ok((head, record)) = head.and_then(|head| Ok((head, Record::new(records, head, slot)?)))
            else {
                return Ok(None);
            };
            put(out, head, records.head());
            Ok(record.is_live().then_some(record.header.rest))
        })?;
        match rest {
            Some(rest) => self.add_rest(layer, rest, out),
            None => Ok(false),
        }
    }

    /// Adds to a record what its slot does not hold.
    fn add_rest(&mut self, layer: u8, rest: Tid, out: &mut [u64]) -> Result<bool, CheckError<B::Error>> {
        let records = self.layout.records(layer);
        if records.is_whole() {
            return Ok(true);
        }
        let out = out.as_mut_bytes().get_mut(..records.size).unwrap_or_default();
        let (mut at, mut block) = (records.head(), rest.block());
        let slot = usize::from(rest.offset()).wrapping_sub(1);
        let (kind, slots) = (rest_of(layer), &records.rest_slots);
        for _ in 0..records.rest_pages.max(1) {
            if !self.exists(block) {
                return Ok(false);
            }
            let place = out.get_mut(at..).unwrap_or_default();
            let read = self.blocks.read(block, |bytes| {
                let Ok(part) = slots.get(bytes, kind, slot) else { return Ok(None) };
                let len = part.len().min(place.len());
                place[..len].copy_from_slice(&part[..len]);
                Ok(Page::unidentified(bytes).ok().map(|page| (page.next(), len)))
            })?;
            let Some((next, len)) = read else { return Ok(false) };
            (block, at) = (next, at + len);
        }
        Ok(at == out.len())
    }
}

/// Copies the head of a record.
fn put(out: &mut [u64], head: &[u8], len: usize) {
    let out = out.as_mut_bytes();
    let len = len.min(head.len()).min(out.len());
    out[..len].copy_from_slice(&head[..len]);
}

/// The pages of the rests of a layer's records.
const fn rest_of(layer: u8) -> PageKind {
    if layer == 0 { PageKind::GroundRest } else { PageKind::UpperRest }
}

/// The place by which a violation at a record names it.
fn place_of(records: &RecordLayout, id: u32) -> Tid {
    let (block, slot) = records.slots.place(id);
    Tid::new(block, offset(slot))
}

/// The value in a whole record.
fn value_of<'r>(records: &RecordLayout, record: &'r [u64]) -> &'r [u8] {
    record.as_bytes().get(records.value()).unwrap_or_default()
}

fn kind_of(space: &AnySpace) -> ValueKind {
    with_space!(space, space => space.kind())
}

fn estimate_of(space: &AnySpace) -> Estimate {
    with_space!(space, space => space.estimate())
}

/// The norm of a value; none of one that is none.
fn norm_of(space: &AnySpace, value: &[u8]) -> Option<f64> {
    with_space!(space, space => space.view(value).ok().map(|view| space.norm(view)))
}

const fn name(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Vector => "vector",
        ValueKind::Halfvec => "halfvec",
        ValueKind::Sparsevec => "sparsevec",
        ValueKind::Bit => "bit",
    }
}

#[cfg(test)]
mod tests;
