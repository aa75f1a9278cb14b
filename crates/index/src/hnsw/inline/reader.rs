//! A node read from its pages: its exact distance from the query, and what estimates its neighbours'.

use super::beam::beam;
use super::codec::{Codec, Difference, PreparedQuery, products, terms};
use super::layout::{Layout, PageKind, Record, RecordHeader, RecordLayout, offset, page_kind, power};
use super::neighbour_search::fills_a_place;
use super::records::{look_at_ground, look_at_segment, reset};
use crate::filter::Program;
use crate::quant::rabitq::Met;
use crate::quant::space::{CodedSpace, Estimate};
use crate::space::ValueBuf;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Page, Tid};
use crate::work::memory::{append, resize};

/// A node that was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// its record's id
    pub id: u32,
    /// its record in the layer below
    pub below: u32,
    /// the exact distance from the query
    pub distance: f64,
    /// a row of it
    pub heap_tid: Tid,
    /// the first segment of the others
    pub chain: Tid,
    /// its version
    pub version: u8,
    /// its highest layer
    pub level: u8,
    /// whether its filter keys match
    pub matches: bool,
}

impl Found {
    /// Whether some row has its value.
    pub fn has_rows(&self) -> bool {
        self.heap_tid.is_valid() || self.chain.is_valid()
    }
}

/// What is read of one node; reused from node to node.
#[derive(Debug, Default)]
pub struct Expansion {
    /// ids of the neighbours
    pub ids: Vec<u32>,
    /// what they are hardly nearer than: see [`Reader::expand`]
    pub bounds: Vec<f32>,
    /// under a filter, whether their keys match
    pub matches: Vec<bool>,
    products: Vec<i32>,
    difference: Difference,
    /// first factors of as many as a list may have, then the second ones
    factors: Vec<f32>,
    /// of a record that is cut: all from its codes on
    joined: ValueBuf,
}

impl Expansion {
    /// Nothing read yet.
    pub const fn new() -> Self {
        Expansion {
            ids: Vec::new(),
            bounds: Vec::new(),
            matches: Vec::new(),
            products: Vec::new(),
            difference: Difference::new(),
            factors: Vec::new(),
            joined: ValueBuf::new(),
        }
    }

    fn clear(&mut self) {
        self.ids.clear();
    }

    /// Makes room for so many bounds; what is in it is left from the node before.
    #[inline(always)]
    fn fit_bounds(&mut self, count: usize) -> Result<(), Damage> {
        if self.bounds.len() != count {
            resize(&mut self.bounds, count, 0.0)?;
        }
        Ok(())
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        (self.ids.capacity() + self.bounds.capacity() + self.products.capacity()) * 4
            + self.factors.capacity() * 4
            + self.matches.capacity()
            + self.difference.allocated()
            + self.joined.allocated()
    }
}

/// The graph of one index as one query sees it.
pub struct Reader<'s, 'q, B, S: CodedSpace> {
    /// the blocks
    pub blocks: &'s mut B,
    layout: &'s Layout,
    codec: &'s Codec,
    space: S,
    estimate: Estimate,
    /// `None`: a NULL query, to which everything is equally near
    query: Option<S::View<'q>>,
    prepared: &'s PreparedQuery,
    /// deviations that a bound lies below the estimate
    caution: f32,
    /// a node that is being repaired: neither it nor nodes without rows take a place in the result
    repairing: Option<Tid>,
    /// what rows must match to take a place in the result
    filter: Option<&'s Program>,
    /// nodes judged for that
    judged: u32,
}

/// Nodes that a search around dying ones expands before it may be cancelled.
const LONG_SEARCH: u32 = 512;

/// What the head of a record leaves to be read.
struct Head {
    found: Found,
    norm: f32,
    rest: Tid,
    exponents: [i8; 2],
}

impl<'s, 'q, B: BlockStore, S: CodedSpace> Reader<'s, 'q, B, S> {
    /// The graph in `blocks`, for `query`, which `prepared` was made of.
    pub fn new(
        blocks: &'s mut B,
        layout: &'s Layout,
        codec: &'s Codec,
        space: S,
        query: Option<S::View<'q>>,
        prepared: &'s PreparedQuery,
        caution: f32,
    ) -> Self {
        let estimate = space.estimate();
        Reader {
            blocks,
            layout,
            codec,
            space,
            estimate,
            query,
            prepared,
            caution,
            repairing: None,
            filter: None,
            judged: 0,
        }
    }

    /// The same, for the repair of a node.
    pub fn repairing(mut self, node: Option<Tid>) -> Self {
        self.repairing = node;
        self
    }

    pub(super) const fn layout(&self) -> &'s Layout {
        self.layout
    }

    pub(super) const fn filter(&self) -> Option<&'s Program> {
        self.filter
    }

    /// The same, under a filter.
    pub fn filtered(mut self, filter: Option<&'s Program>) -> Self {
        self.filter = filter;
        self
    }

    /// Whether bounds are exact distances (and not those of a NULL query, which mean nothing) of what fills a place.
    #[inline(always)]
    pub fn is_exact(&self) -> bool {
        let all = self.repairing.is_none() && self.filter.is_none();
        self.estimate == Estimate::Exact && self.query.is_some() && all
    }

    /// Whether a node that was expanded fills a place in the result. Those that do not still lead to others.
    ///
    /// # Errors
    /// A damaged record, or a cancel: where nearly all is on its way out, a search may come through the whole index.
    #[inline(always)]
    pub fn accepts(&mut self, found: &Found, layer: u8) -> Result<bool, B::Error> {
        match self.repairing {
            None => Ok(found.matches),
            Some(node) => self.judge(found, layer, node),
        }
    }

    fn judge(&mut self, found: &Found, layer: u8, node: Tid) -> Result<bool, B::Error> {
        self.judged += 1;
        if self.judged.is_multiple_of(LONG_SEARCH) {
            self.blocks.pause()?;
        }
        fills_a_place(self.blocks, self.layout, found, layer, node)
    }

    /// Candidates of a search for the nearest `ef` that are remembered, and how many of the nearest of them a new one
    /// must be among.
    pub fn widths(&self, ef: usize) -> (usize, usize) {
        if !self.estimates() {
            let width = ef.saturating_mul(2);
            // in a repair the nearest may fill no place
            return (width, if self.may_pass_over() { width } else { ef });
        }
        let width = beam(self.layout.shape.bits, ef);
        (width, width)
    }

    /// Whether nodes wait by estimates of their distances.
    #[inline(always)]
    pub fn estimates(&self) -> bool {
        self.query.is_some() && self.estimate != Estimate::Exact
    }

    /// Whether some of what is found may fill no place in the result.
    #[inline(always)]
    pub const fn may_pass_over(&self) -> bool {
        self.repairing.is_some() || self.filter.is_some()
    }

    /// Asks for the record of a node that may be expanded next.
    #[inline(always)]
    pub fn prefetch(&mut self, id: u32, layer: u8) {
        let slots = &self.layout.records(layer).slots;
        let (block, slot) = slots.place(id);
        self.blocks.prefetch_bytes(block, slots.range(slot).start, slots.size);
    }

    /// Asks for what tells a node's exact distance.
    #[inline(always)]
    pub fn prefetch_value(&mut self, id: u32) {
        let records = &self.layout.ground;
        let (block, slot) = records.slots.place(id);
        let start = records.slots.range(slot).start;
        self.blocks.prefetch_bytes(block, start, size_of::<RecordHeader>());
        let keys = records.own_keys();
        self.blocks.prefetch_bytes(block, start + keys.start, keys.len());
        if records.is_whole() {
            self.blocks.prefetch_bytes(block, start + records.value_at, records.value_size);
        }
    }

    /// Reads a node: its exact distance, and into `out` the ids of its neighbours with bounds of their
    /// distances, which are the estimates less some deviations. `None` when it is a node no more (a standby
    /// replays the marking of nodes while its scans run).
    ///
    /// # Errors
    /// Damaged blocks.
    #[inline]
    pub fn expand(&mut self, id: u32, layer: u8, out: &mut Expansion) -> Result<Option<Found>, B::Error> {
        let Some(head) = self.read::<true>(id, layer, out)? else { return Ok(None) };
        let base = head.found.distance as f32;
        if self.query.is_none() {
            out.fit_bounds(out.ids.len()).map_err(|_| self.out_of_memory(id, layer))?;
            out.bounds.fill(0.0);
        } else if self.estimate != Estimate::Exact {
            let distance = self.prepared.distance_to(self.estimate, base, head.norm);
            // above, a search is after a place to go down from, and another one does as well
            let caution = if layer == 0 { self.caution } else { 0.0 };
            let terms = terms(
                self.prepared.meeting(self.codec, &out.difference),
                self.codec,
                self.layout.records(layer).bits,
                (base, distance),
                head.exponents.map(power),
                caution,
            );
            let room = self.layout.records(layer).neighbours.min(out.factors.len());
            let (adds, scales) = out.factors.split_at(room);
            // factors of damaged pages may be no numbers, and their bounds are infinite
            self.codec.kernels().code_bounds(&out.products, adds, scales, &terms, &mut out.bounds);
        }
        Ok(Some(head.found))
    }

    /// Reads a node's exact distance only.
    ///
    /// # Errors
    /// Damaged blocks.
    pub fn score(&mut self, id: u32, out: &mut Expansion) -> Result<Option<Found>, B::Error> {
        Ok(self.read::<false>(id, 0, out)?.map(|head| head.found))
    }

    fn out_of_memory(&self, id: u32, layer: u8) -> B::Error {
        Damage::OUT_OF_MEMORY.on(self.layout.records(layer).slots.place(id).0).into()
    }

    #[inline(always)]
    fn read<const NEIGHBOURS: bool>(
        &mut self,
        id: u32,
        layer: u8,
        out: &mut Expansion,
    ) -> Result<Option<Head>, B::Error> {
        out.clear();
        let records = self.layout.records(layer);
        let (block, slot) = records.slots.place(id);
        let (space, query, estimate) = (self.space, self.query, self.estimate);
        let (prepared, codec, filter) = (self.prepared, self.codec, self.filter);
        let filters = &self.layout.shape.filters;
        let head = self.blocks.read(block, |bytes| {
            let bytes = records.slots.get(bytes, PageKind::of_layer(layer), slot)?;
            let record = Record::new(records, bytes, slot)?;
            let header = record.header;
            if !record.is_live() || header.layer != layer {
                return Ok(None);
            }
            let mut found = Found {
                id,
                below: header.below,
                distance: 0.0,
                heap_tid: header.heap_tid,
                chain: header.chain,
                version: header.version,
                level: header.level,
                matches: filter.is_none_or(|filter| filter.matches_packed(filters, record.own_keys())),
            };
            if NEIGHBOURS {
                if let (Some(filter), 1..) = (filter, records.edge_keys) {
                    resize(&mut out.matches, record.len(), false)?;
                    filter.select_packed(filters, record.edge_keys(), &mut out.matches);
                }
                append(&mut out.ids, record.ids())?;
                if estimate != Estimate::Exact && query.is_some() {
                    let factors = record.factors();
                    if out.factors.len() != factors.len() {
                        resize(&mut out.factors, factors.len(), 0.0)?;
                    }
                    codec.kernels().f16_to_f32(factors, &mut out.factors);
                }
                if let (Some(codes), Some(query)) = (record.codes(), query) {
                    if records.factors && codec.met() == Met::Difference {
                        let value = record.value().and_then(|value| space.view(value).ok());
                        let value = value.ok_or(Damage::at(offset(slot), "invalid value"))?;
                        out.difference.set(codec, &space, prepared, value)?;
                    }
                    neighbours(codec, prepared, records, space, query, codes, out)?;
                }
            }
            match (record.value(), query) {
                (Some(value), Some(query)) => found.distance = exact(space, query, value, slot)?,
                (None, Some(_)) if !records.is_value_apart() => {
                    let part = bytes.get(records.codes_at..records.head()).unwrap_or_default();
                    reset(&mut out.joined, records.size - records.codes_at)?;
                    if let Some(place) = out.joined.bytes_mut().get_mut(..part.len()) {
                        place.copy_from_slice(part);
                    }
                }
                _ => {}
            }
            Ok(Some(Head {
                found,
                norm: header.norm,
                rest: header.rest,
                exponents: [header.add_exponent, header.scale_exponent],
            }))
        })?;
        let Some(mut head) = head else { return Ok(None) };
        if let (false, Some(query)) = (records.is_whole(), query) {
            match self.read_rest::<NEIGHBOURS>(head.rest, layer, query, out) {
                Ok(distance) => head.found.distance = distance,
                // A pass over the pages, or a scan on a standby, may come upon a node that goes between two reads.
                Err(error) => return if self.is_gone(&head.found, layer)? { Ok(None) } else { Err(error) },
            }
        }
        Ok(Some(head))
    }

    #[cold]
    fn is_gone(&mut self, found: &Found, layer: u8) -> Result<bool, B::Error> {
        let records = self.layout.records(layer);
        let (block, slot) = records.slots.place(found.id);
        self.blocks.read(block, |bytes| {
            let bytes = records.slots.get(bytes, PageKind::of_layer(layer), slot)?;
            let record = Record::new(records, bytes, slot)?;
            Ok(!record.is_live() || record.header.version != found.version)
        })
    }

    /// Reads what a record's slot does not hold; returns the exact distance.
    fn read_rest<const NEIGHBOURS: bool>(
        &mut self,
        rest: Tid,
        layer: u8,
        query: S::View<'q>,
        out: &mut Expansion,
    ) -> Result<f64, B::Error> {
        let records = self.layout.records(layer);
        let kind = if layer == 0 { PageKind::GroundRest } else { PageKind::UpperRest };
        let (space, slots) = (self.space, &records.rest_slots);
        let slot = usize::from(rest.offset()).wrapping_sub(1);
        if records.is_value_apart() {
            self.blocks.prefetch_bytes(rest.block(), slots.range(slot.min(slots.per_page)).start, slots.size);
            return self.blocks.read(rest.block(), |bytes| {
                let value = slots.get(bytes, kind, slot)?.get(..records.value_size).unwrap_or_default();
                exact(space, query, value, slot)
            });
        }
        let mut block = rest.block();
        let mut at = records.head() - records.codes_at;
        for _ in 0..records.rest_pages.max(1) {
            let joined = &mut out.joined;
            let (next, copied) = self.blocks.read(block, |bytes| {
                let part = slots.get(bytes, kind, slot)?;
                let place = joined.bytes_mut().get_mut(at..).unwrap_or_default();
                let count = part.len().min(place.len());
                place[..count].copy_from_slice(&part[..count]);
                Ok((Page::unidentified(bytes)?.next(), count))
            })?;
            (block, at) = (next, at + copied);
        }
        let joined = core::mem::take(&mut out.joined);
        let mut look = || {
            if NEIGHBOURS && !records.has_codes() {
                let codes = records.code_size * records.neighbours;
                let codes = joined.bytes().get(..codes).unwrap_or_default();
                neighbours(self.codec, self.prepared, records, space, query, codes, out)?;
            }
            let value = records.value();
            let value = joined.bytes().get(value.start - records.codes_at..value.end - records.codes_at);
            exact(space, query, value.unwrap_or_default(), slot)
        };
        let distance = look().map_err(|damage| damage.on(rest.block()).into());
        out.joined = joined;
        distance
    }

    /// The ids of the nodes with rows on a page of the ground layer; of other pages none.
    ///
    /// # Errors
    /// A damaged block.
    pub fn nodes_of(&mut self, block: u32, ids: &mut Vec<u32>) -> Result<(), B::Error> {
        let records = &self.layout.ground;
        ids.clear();
        self.blocks.read_in_passing(block, |bytes| {
            if page_kind(bytes)? != Some(PageKind::Ground) {
                return Ok(());
            }
            for slot in 0..records.slots.per_page {
                if !records.slots.is_used(bytes, slot) {
                    continue;
                }
                let record = Record::new(records, records.slots.get(bytes, PageKind::Ground, slot)?, slot)?;
                let rows = record.header.heap_tid.is_valid() || record.header.chain.is_valid();
                if let (true, Some(id)) = (record.is_live() && rows, records.slots.id(block, slot)) {
                    ids.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
                    ids.push(id);
                }
            }
            Ok(())
        })
    }

    /// Reads the segment of heap TIDs at `at` of a node into `rows`, when its number is below `below`. `None` when it
    /// is none of the node's any more, or one that took its place since: it was given back.
    ///
    /// # Errors
    /// A damaged block.
    pub fn segment(
        &mut self,
        node: &Found,
        at: Tid,
        below: Option<u32>,
        rows: &mut Vec<Tid>,
    ) -> Result<Option<Next>, B::Error> {
        look_at_segment(self.blocks, self.layout, at, |header, tids| {
            let own = header.owner == node.id && header.version == node.version;
            if !own || below.is_some_and(|below| header.number >= below) {
                return Ok(None);
            }
            append(rows, tids)?;
            Ok(Some(Next { number: header.number, here: at, at: header.next }))
        })
        .map(Option::flatten)
    }

    /// The segment of a node at the head of its chain, or none; and when the node is one no more, too.
    ///
    /// # Errors
    /// A damaged block.
    pub fn first_segment(&mut self, node: &Found) -> Result<Tid, B::Error> {
        look_at_ground(self.blocks, self.layout, self.layout.tid(node.id), |record| {
            let own = record.is_live() && record.header.version == node.version;
            Ok(if own { record.header.chain } else { Tid::INVALID })
        })
    }

    /// The first of the segments of a node from `at` on with a number below `below`, if any, which is read into `rows`.
    /// [`Chain::Broken`] where the way there leads to a segment that was given back.
    ///
    /// # Errors
    /// A damaged block.
    pub fn segment_below(
        &mut self,
        node: &Found,
        at: Tid,
        below: Option<u32>,
        rows: &mut Vec<Tid>,
    ) -> Result<Chain, B::Error> {
        let (mut at, mut last) = (at, None);
        while at.is_valid() {
            let found = self.segment(node, at, last, rows)?;
            let Some(next) = found else { return Ok(Chain::Broken) };
            if below.is_none_or(|below| next.number < below) {
                return Ok(Chain::Segment(next));
            }
            rows.clear();
            self.blocks.pause()?;
            (at, last) = (next.at, Some(next.number));
        }
        Ok(Chain::End)
    }
}

/// Where a chain goes on behind a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// the number of the segment
    pub number: u32,
    /// the segment itself
    pub here: Tid,
    /// the next one, or invalid
    pub at: Tid,
}

/// What a walk along a chain comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// the segment that was looked for
    Segment(Next),
    /// no more
    End,
    /// a segment of others, or with a number that none has there
    Broken,
}

/// The exact distance of the value that belongs to a slot.
#[inline(always)]
fn exact<S: CodedSpace>(space: S, query: S::View<'_>, value: &[u8], slot: usize) -> Result<f64, Damage> {
    match space.view(value) {
        Ok(view) => Ok(space.exact(query, view)),
        Err(_) => Err(Damage::at(offset(slot), "invalid value")),
    }
}

/// Products of codes, or distances of values in their place.
#[inline(always)]
fn neighbours<S: CodedSpace>(
    codec: &Codec,
    prepared: &PreparedQuery,
    records: &RecordLayout,
    space: S,
    query: S::View<'_>,
    codes: &[u8],
    out: &mut Expansion,
) -> Result<(), Damage> {
    let count = out.ids.len();
    out.fit_bounds(count)?;
    if records.factors {
        if out.products.len() != count {
            resize(&mut out.products, count, 0)?;
        }
        let query = prepared.meeting(codec, &out.difference);
        products(query, codec, records.bits, codes, records.code_size, &mut out.products);
        return Ok(());
    }
    for (bound, code) in out.bounds.iter_mut().zip(codes.chunks_exact(records.code_size.max(1))) {
        *bound = space.exact_bytes(query, code) as f32;
    }
    Ok(())
}
