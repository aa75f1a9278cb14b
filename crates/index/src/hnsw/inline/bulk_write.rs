//! Writing a graph that was built in memory to pages, each page once: where every record will stand is known
//! beforehand, so that pages are composed independently of each other, on threads, codes included.
//!
//! ```text
//! block 0 meta | records of layer 0 | their rests | records above | their rests | segments of rows | long segments |
//! of each filter column with runs: leaves of entries | their directories, the root last || centre of their codes
//! ```

use std::ops::Range;

use zerocopy::{FromBytes, IntoBytes};

use super::graph::InlineGraph;
use super::layout::{
    NO_NODE, PageKind, RecordHeader, RecordLayout, SegmentHeader, Slots, offset, put_edge_keys, put_factors,
    put_ids, put_own_keys, put_segment,
};
use super::meta::{Entry, FROM_COPIES, InlineMeta, META_BLOCK};
use super::parts::Merged;
use super::rotated::{prefetch_rotated, rotate_all, rotated, view};
use super::run::KINDS;
use super::scan::Index;
use super::sections::Sections;
use super::tree_plan::{self, TreePlan};
use crate::hnsw::build::{Element, Graph};
use crate::ivf::packed::layout::Geometry;
use crate::quant::space::{BIT_PAYLOAD, CodedSpace, Estimate};
use crate::runs::page::put_centre;
use crate::runs::{Tree, bulk, centre_size};
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, PageMut, Tid};
use crate::work::memory::{OutOfMemory, append, filled, push, resize, with_room};
use crate::work::runs::Files;
use crate::work::workers::Workers;

/// Rows of a node beyond the first, in segments of some kind.
#[derive(Clone, Copy, Debug)]
struct Segment {
    node: u32,
    /// how many of the node's other rows stand before it
    skipped: u32,
    count: u32,
    /// segments after it
    number: u32,
    next: Tid,
}

/// Where everything goes.
#[derive(Debug)]
pub struct PagePlan<'g, S> {
    graph: &'g Graph<S>,
    index: &'g Index<'g, S>,
    sections: Sections,
    /// of each node, the number of records of upper layers before its own
    upper_before: Vec<u32>,
    /// the owners of those records, with their layers
    uppers: Vec<(u32, u8)>,
    /// the first segment of each node that has some, by node
    chains: Vec<(u32, Tid)>,
    short: Vec<Segment>,
    long: Vec<Segment>,
    /// all values rotated, when there is memory for that
    rotated: Vec<f32>,
    /// entries, of each filter column that has runs
    trees: Vec<TreePlan>,
    /// of their codes, rotated; empty where it is zero
    centre: Vec<f32>,
}

/// Pages that are composed at a time.
const PAGES: usize = 64;

/// Memory of one thread.
#[derive(Debug, Default)]
pub struct Scratch {
    record: Vec<u64>,
    widened: Vec<f32>,
    centre: Vec<f32>,
    value: Vec<f32>,
    ids: Vec<u32>,
    places: Vec<u32>,
    adds: Vec<f32>,
    scales: Vec<f32>,
    rows: Vec<Tid>,
    tree: tree_plan::Room,
}

impl<'g, S: CodedSpace> PagePlan<'g, S> {
    /// Computes all places. Rotated values are kept, while the pages are written, in up to `budget` bytes; without them
    /// each value is rotated again for each edge to it.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`], or more nodes than ids can name.
    pub fn new(
        graph: &'g Graph<S>,
        index: &'g Index<'g, S>,
        budget: usize,
        workers: &mut Workers<'_>,
    ) -> Result<Self, Damage> {
        let layout = &index.layout;
        let mut plan = PagePlan {
            graph,
            index,
            sections: Sections::default(),
            upper_before: with_room(graph.len())?,
            uppers: Vec::new(),
            chains: Vec::new(),
            short: Vec::new(),
            long: Vec::new(),
            rotated: Vec::new(),
            trees: Vec::new(),
            centre: Vec::new(),
        };
        for element in graph.elements() {
            plan.upper_before.push(plan.uppers.len() as u32);
            for layer in 1..=element.level() {
                push(&mut plan.uppers, (element.node(), layer))?;
            }
        }
        let (nodes, uppers) = (graph.len(), plan.uppers.len());
        plan.sections.add(PageKind::Ground, nodes, &layout.ground.slots)?;
        plan.sections.add_rests(PageKind::GroundRest, nodes, &layout.ground)?;
        plan.sections.add(PageKind::Upper, uppers, &layout.upper.slots)?;
        plan.sections.add_rests(PageKind::UpperRest, uppers, &layout.upper)?;
        plan.plan_chains()?;
        let last = |kind, slots: &Slots| slots.id(plan.sections.blocks(kind).end, 0);
        if last(PageKind::Ground, &layout.ground.slots).is_none()
            || last(PageKind::Upper, &layout.upper.slots).is_none()
        {
            return Err(Damage::internal("more nodes than ids"));
        }
        // what the trees' orders take first
        let runs = if layout.runs.is_some() { layout.shape.filters.runs() } else { 0 };
        let ordered =
            graph.len().saturating_mul(runs * size_of::<u32>() + runs.min(1) * size_of::<(u64, u32)>());
        plan.rotated = rotate_all(graph, index, budget.saturating_sub(ordered), workers)?;
        if let Some(geometry) = &layout.runs {
            plan.plan_trees(geometry)?;
        }
        Ok(plan)
    }

    /// Entries, and the centre of their codes.
    fn plan_trees(&mut self, geometry: &Geometry) -> Result<(), Damage> {
        let (graph, layout) = (self.graph, &self.index.layout);
        let filters = &layout.shape.filters;
        let coding = (layout.shape.run_bits(), self.index.space.estimate());
        for column in 0..filters.runs() {
            let key = |node| {
                let keys = graph.element(node).map(|n| filters.unpack(layout.ground.keys(n.value())));
                keys.and_then(|keys| keys.get(column).copied()).unwrap_or_default()
            };
            let tree = TreePlan::new(geometry, coding, column, graph.len(), self.sections.end(), key)?;
            self.sections.add_pages(PageKind::Keys, tree.plan.leaves().len() as u32)?;
            self.sections.add_pages(PageKind::Directory, tree.plan.directories().len() as u32)?;
            push(&mut self.trees, tree)?;
        }
        let size = centre_size(layout.shape.dims, geometry);
        if size == 0 || graph.is_empty() {
            return Ok(());
        }
        let (mut widened, mut out) = (with_room(size)?, filled(0.0, size)?);
        let (kept, index, step) = (&self.rotated, self.index, graph.len().div_ceil(bulk::SAMPLE));
        self.centre = bulk::centre_of(size, |add| {
            for node in (0..graph.len()).step_by(step) {
                add(rotated(graph, index, kept, node as u32, &mut widened, &mut out));
            }
        })?;
        self.sections.add_pages(PageKind::Centre, 1)
    }

    /// Rows beyond the first: those that fit a short segment go to one, others to long ones.
    fn plan_chains(&mut self) -> Result<(), Damage> {
        let (short, long) = (self.index.layout.chain, self.index.layout.long_chain);
        let per = [self.index.layout.segment(&short), self.index.layout.segment(&long).max(1)];
        let (mut shorts, mut longs) = (0, 0);
        for element in self.graph.elements() {
            let others = element.other_heap_tids().count();
            if others == 0 {
                continue;
            }
            push(&mut self.chains, (element.node(), Tid::INVALID))?;
            if others <= per[0] {
                let segment = Segment {
                    node: element.node(),
                    skipped: 0,
                    count: others as u32,
                    number: 0,
                    next: Tid::INVALID,
                };
                push(&mut self.short, segment)?;
                shorts += 1;
                continue;
            }
            for skipped in (0..others).step_by(per[1]) {
                let count = per[1].min(others - skipped) as u32;
                let number = ((others - skipped - 1) / per[1]) as u32;
                let (node, skipped) = (element.node(), skipped as u32);
                let segment = Segment { node, skipped, count, number, next: Tid::INVALID };
                push(&mut self.long, segment)?;
                longs += 1;
            }
        }
        self.sections.add(PageKind::Chain, shorts, &short)?;
        self.sections.add(PageKind::LongChain, longs, &long)?;
        for (kind, slots) in [(PageKind::Chain, short), (PageKind::LongChain, long)] {
            let start = self.sections.blocks(kind).start;
            let place = |at: usize| {
                let (block, slot) = (at / slots.per_page.max(1), at % slots.per_page.max(1));
                Tid::new(start + block as u32, offset(slot))
            };
            let segments = if kind == PageKind::Chain { &mut self.short } else { &mut self.long };
            for at in 0..segments.len() {
                let more = segments.get(at + 1).is_some_and(|next| next.skipped > 0);
                let Some(segment) = segments.get_mut(at) else { break };
                if more {
                    segment.next = place(at + 1);
                }
                if segment.skipped == 0
                    && let Ok(found) = self.chains.binary_search_by_key(&segment.node, |chain| chain.0)
                {
                    self.chains[found].1 = place(at);
                }
            }
        }
        Ok(())
    }

    /// The number of blocks, the meta page included.
    pub fn count(&self) -> u32 {
        self.sections.end()
    }

    /// The entry point.
    fn entry(&self) -> Option<Entry> {
        let element = self.graph.element(self.graph.entry()?)?;
        let (node, level) = (element.node(), element.level());
        Some(Entry { id: self.id(node, level), tid: self.index.layout.tid(self.id(node, 0)), level })
    }

    /// The meta page of the index that is planned, from that of an empty one.
    pub fn meta(&self, mut empty: InlineMeta) -> InlineMeta {
        empty.set_entry(self.entry());
        for Tree { column, root } in self.trees.iter().map(TreePlan::tree) {
            if let Some(place) = empty.roots.get_mut(column) {
                *place = root;
            }
        }
        let centre = self.sections.blocks(PageKind::Centre);
        empty.centre = if centre.is_empty() { INVALID_BLOCK } else { centre.start };
        empty
    }

    /// The id of a node's record in a layer up to its level.
    fn id(&self, node: u32, layer: u8) -> u32 {
        let (kind, at) = match layer.checked_sub(1) {
            None => (PageKind::Ground, node),
            Some(above) => {
                let before = self.upper_before.get(node as usize).copied().unwrap_or(NO_NODE);
                (PageKind::Upper, before.saturating_add(u32::from(above)))
            }
        };
        let per_page = self.index.layout.records(layer).slots.per_page as u32;
        self.sections.blocks(kind).start.saturating_mul(per_page).saturating_add(at)
    }

    /// Composes a block: any but that of the meta page.
    ///
    /// # Errors
    /// A block that is not planned, or no memory.
    pub fn compose(&self, block: u32, bytes: &mut [u8], scratch: &mut Scratch) -> Result<(), Damage> {
        let section = self.sections.of(block).ok_or(Damage::internal("block of no section"))?;
        let at = (block - section.blocks.start) as usize;
        let layout = &self.index.layout;
        if section.kind == PageKind::Centre {
            put_centre(KINDS, bytes, &self.centre);
            return Ok(());
        }
        if !section.kind.has_slots() {
            return self.compose_tree(block, bytes, scratch);
        }
        let layer = u8::from(matches!(section.kind, PageKind::Upper | PageKind::UpperRest));
        let (slots, count) = match section.kind {
            PageKind::Ground => (&layout.ground.slots, self.graph.len()),
            PageKind::Upper => (&layout.upper.slots, self.uppers.len()),
            PageKind::GroundRest => (&layout.ground.rest_slots, self.graph.len()),
            PageKind::UpperRest => (&layout.upper.rest_slots, self.uppers.len()),
            PageKind::Chain => (&layout.chain, self.short.len()),
            PageKind::LongChain => (&layout.long_chain, self.long.len()),
            _ => (&layout.no_slots, 0),
        };
        slots.init(bytes, section.kind);
        let records = layout.records(layer);
        match section.kind {
            PageKind::GroundRest | PageKind::UpperRest if records.rest_pages > 0 => {
                let (record, part) = (at / records.rest_pages, at % records.rest_pages);
                let start = records.head() + part * slots.size;
                let range = start..records.size.min(start + slots.size);
                let next = if part + 1 < records.rest_pages { block + 1 } else { INVALID_BLOCK };
                PageMut::new(bytes, super::layout::PAGE_ID)?.set_next(next);
                slots.set_used(bytes, 0, true);
                let target = slots.get_mut(bytes, section.kind, 0)?;
                self.compose_record(records, layer, record, range, target, scratch)
            }
            kind => {
                for slot in 0..slots.per_page.min(count - at * slots.per_page) {
                    slots.set_used(bytes, slot, true);
                    let target = slots.get_mut(bytes, kind, slot)?;
                    let number = at * slots.per_page + slot;
                    match kind {
                        PageKind::Ground | PageKind::Upper => {
                            self.compose_record(records, layer, number, 0..records.head(), target, scratch)?;
                        }
                        PageKind::GroundRest | PageKind::UpperRest => {
                            let rest = records.head()..records.size;
                            self.compose_record(records, layer, number, rest, target, scratch)?;
                        }
                        PageKind::Chain => self.compose_segment(self.short.get(number), target, scratch)?,
                        PageKind::LongChain => {
                            self.compose_segment(self.long.get(number), target, scratch)?
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
        }
    }

    /// A page of a tree of entries.
    fn compose_tree(&self, block: u32, bytes: &mut [u8], scratch: &mut Scratch) -> Result<(), Damage> {
        let (index, graph) = (self.index, self.graph);
        let padded = index.codec.padded();
        scratch.widened.try_reserve(padded).map_err(|_| OutOfMemory)?;
        let plan = self.trees.iter().find(|tree| tree.plan.has(block));
        let plan = plan.ok_or(Damage::internal("page of no tree"))?;
        let Scratch { tree, widened, .. } = scratch;
        let entry = |node: u32| {
            let element = graph.element(node)?;
            let filters = &index.layout.shape.filters;
            Some((self.id(node, 0), filters.unpack(index.layout.ground.keys(element.value()))))
        };
        plan.compose(block, bytes, &self.centre, tree, entry, |node, out| {
            resize(out, padded, 0.0)?;
            let start = node as usize * padded;
            match self.rotated.get(start..start + padded).filter(|_| !self.rotated.is_empty()) {
                Some(kept) => out.copy_from_slice(kept),
                None => {
                    if let Some(view) = view(graph, index, node) {
                        index.codec.rotate(&index.space, view, widened, out);
                    }
                }
            }
            Ok(())
        })
    }

    fn compose_segment(
        &self,
        segment: Option<&Segment>,
        target: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), Damage> {
        let missing = Damage::internal("segment of no node");
        let segment = segment.ok_or(missing)?;
        let element = self.graph.element(segment.node).ok_or(missing)?;
        let rows = element.other_heap_tids().skip(segment.skipped as usize).take(segment.count as usize);
        scratch.rows.clear();
        scratch.rows.try_reserve(segment.count as usize).map_err(|_| OutOfMemory)?;
        scratch.rows.extend(rows);
        let owner = self.id(segment.node, 0);
        let header = SegmentHeader::new(owner, segment.number, segment.next, 0, 1);
        put_segment(target, header, &scratch.rows);
        Ok(())
    }

    /// Composes the bytes `range` of a whole record: number `number` of the nodes, or of the records of upper layers.
    fn compose_record(
        &self,
        records: &RecordLayout,
        layer: u8,
        number: usize,
        range: Range<usize>,
        target: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), Damage> {
        let missing = Damage::internal("record of no node");
        let (node, layer) = match layer {
            0 => (number as u32, 0),
            _ => *self.uppers.get(number).ok_or(missing)?,
        };
        let element = self.graph.element(node).ok_or(missing)?;
        let view = view(self.graph, self.index, node).ok_or(missing)?;
        scratch.record.clear();
        resize(&mut scratch.record, records.size / 8, 0)?;
        let mut record = core::mem::take(&mut scratch.record);
        let bytes: &mut [u8] = record.as_mut_bytes();
        let composed = self.compose_edges(records, &element, layer, &range, bytes, scratch);
        if range.start == 0
            && let Ok((header, _)) = RecordHeader::mut_from_prefix(bytes)
        {
            let RecordHeader { neighbours, add_exponent, scale_exponent, .. } = *header;
            *header = RecordHeader::new(element.level(), layer);
            (header.neighbours, header.add_exponent, header.scale_exponent) =
                (neighbours, add_exponent, scale_exponent);
            header.below = self.id(node, layer.saturating_sub(1));
            header.above = if layer < element.level() { self.id(node, layer + 1) } else { NO_NODE };
            header.rest = self.sections.rest(records, layer, number);
            header.norm = self.index.space.norm(view) as f32;
            if layer > 0 {
                header.heap_tid = self.index.layout.tid(self.id(node, 0));
            } else {
                let chain = self.chains.binary_search_by_key(&node, |chain| chain.0);
                header.heap_tid = element.first_heap_tid();
                header.chain = chain.ok().and_then(|at| self.chains.get(at)).map_or(Tid::INVALID, |c| c.1);
            }
        }
        put_own_keys(records, bytes, records.keys(element.value()));
        if let Some(place) = bytes.get_mut(records.value()) {
            place.copy_from_slice(element.value().get(..records.value_size).ok_or(missing)?);
        }
        if let (Some(from), Some(to)) = (bytes.get(range.clone()), target.get_mut(..range.len())) {
            to.copy_from_slice(from);
        }
        scratch.record = record;
        composed
    }

    /// Ids, factors and codes, as far as they are asked for.
    fn compose_edges(
        &self,
        records: &RecordLayout,
        element: &Element<'_, S>,
        layer: u8,
        range: &Range<usize>,
        bytes: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), Damage> {
        scratch.ids.clear();
        for neighbour in element.neighbours(layer).take(records.neighbours) {
            push(&mut scratch.ids, neighbour)?;
        }
        let codec = &self.index.codec;
        let estimate = self.index.space.estimate();
        let count = scratch.ids.len();
        resize(&mut scratch.adds, count, 0.0)?;
        resize(&mut scratch.scales, count, 0.0)?;
        resize(&mut scratch.centre, codec.padded(), 0.0)?;
        resize(&mut scratch.value, codec.padded(), 0.0)?;
        scratch.widened.try_reserve(codec.padded()).map_err(|_| OutOfMemory)?;
        let Scratch { centre, value, widened, .. } = scratch;
        let kept = &self.rotated;
        let centre = rotated(self.graph, self.index, kept, element.node(), widened, centre);
        for (at, &neighbour) in scratch.ids.iter().enumerate() {
            if let Some(&next) = scratch.ids.get(at + 1) {
                prefetch_rotated(kept, next, codec.padded());
            }
            let place = records.code(at);
            if range.start == 0 {
                let item = self.graph.element(neighbour).map(|n| n.value());
                put_edge_keys(records, bytes, at, records.keys(item.unwrap_or_default()));
            }
            // with the head come all factors, and they come with the codes
            let wanted = range.start == 0 || place.start < range.end && range.start < place.end;
            let Some(code) = bytes.get_mut(place).filter(|_| wanted) else { continue };
            if estimate == Estimate::Exact {
                let end = BIT_PAYLOAD + code.len();
                let value = self.graph.element(neighbour).map(|n| n.value());
                let whole = value.filter(|value| value.len() == end + records.filter_size);
                let whole = whole.and_then(|value| value.get(BIT_PAYLOAD..end));
                code.copy_from_slice(whole.ok_or(Damage::internal("value of another size"))?);
                continue;
            }
            let value = rotated(self.graph, self.index, kept, neighbour, widened, value);
            let factors = codec.encode(records.bits, estimate, value, centre, code);
            (scratch.adds[at], scratch.scales[at]) = (factors.add, factors.scale);
        }
        if range.start == 0 {
            put_factors(records, bytes, &scratch.adds, &scratch.scales);
            scratch.places.clear();
            append(&mut scratch.places, &scratch.ids)?;
            scratch.places.iter_mut().for_each(|id| *id = self.id(*id, 0));
            scratch.ids.iter_mut().for_each(|id| *id = self.id(*id, layer));
            put_ids(records, bytes, &scratch.ids, &scratch.places);
        }
        Ok(())
    }

    /// Writes all pages but the meta page, in order: `page` is given a block's number and its bytes. They are
    /// composed on the threads, some at a time.
    ///
    /// # Errors
    /// What `page` answers, or no memory.
    pub fn write<E: From<crate::storage::page::Corruption>>(
        &self,
        workers: &mut Workers<'_>,
        mut page: impl FnMut(u32, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let page_size = self.index.layout.page_size;
        let on_meta = |damage: Damage| E::from(damage.on(META_BLOCK));
        let mut pages = filled(0u64, PAGES * page_size / 8).map_err(|memory| on_meta(memory.into()))?;
        let mut outcomes = Vec::new();
        for first in (META_BLOCK + 1..self.count()).step_by(PAGES) {
            let count = PAGES.min((self.count() - first) as usize);
            outcomes.clear();
            append(&mut outcomes, &[Ok(()); PAGES]).map_err(|memory| on_meta(memory.into()))?;
            let work = pages.chunks_exact_mut(page_size / 8).zip(&mut outcomes).take(count).enumerate();
            let done = workers.each(
                work,
                || Ok(Scratch::default()),
                |scratch, (at, (words, outcome)), beat| {
                    if beat() {
                        *outcome = self.compose(first + at as u32, words.as_mut_bytes(), scratch);
                    }
                },
            );
            done.map_err(|memory| on_meta(memory.into()))?;
            for (at, (words, outcome)) in
                pages.chunks_exact(page_size / 8).zip(&outcomes).take(count).enumerate()
            {
                let block = first + at as u32;
                outcome.map_err(|damage| E::from(damage.on(block)))?;
                page(block, words.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl<B: BlockStore, S: CodedSpace> InlineGraph<'_, B, S> {
    /// Writes an index of which there is no block yet, its meta page first; `None` writes an empty one.
    ///
    /// # Errors
    /// Want of memory, no room on disk.
    pub fn write_index(
        &mut self,
        meta: InlineMeta,
        graph: Option<&Graph<S>>,
        workers: &mut Workers<'_>,
        budget: usize,
    ) -> Result<(), B::Error> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        let Some(graph) = graph else {
            return self.add_page(META_BLOCK, |bytes| meta.write(bytes));
        };
        let plan = PagePlan::new(graph, self.index, budget, workers).map_err(on_meta)?;
        let meta = plan.meta(meta);
        self.add_page(META_BLOCK, |bytes| meta.write(bytes))?;
        self.blocks.will_extend(plan.count() - 1);
        plan.write(workers, |block, page| {
            self.blocks.pause()?;
            self.add_page(block, |bytes| bytes.copy_from_slice(page))
        })
    }

    /// Writes an index of which there is no block yet, its meta page first, of a graph that was built in parts.
    ///
    /// # Errors
    /// Want of memory, no room on disk, a damaged temporary file.
    pub fn write_merged(
        &mut self,
        mut meta: InlineMeta,
        merged: &Merged,
        files: &mut dyn Files,
        workers: &mut Workers<'_>,
    ) -> Result<(), B::Error> {
        meta.set_entry(merged.entry(self.index));
        if merged.from_copies() {
            meta.bits |= FROM_COPIES;
        }
        self.add_page(META_BLOCK, |bytes| meta.write(bytes))?;
        self.blocks.will_extend(merged.count() - 1);
        merged.write(files, self.index, workers, &mut |block, page| {
            self.blocks.pause()?;
            self.add_page(block, |bytes| bytes.copy_from_slice(page))
        })
    }

    /// Adds the page of block `block`, the next one.
    fn add_page(&mut self, block: u32, fill: impl FnOnce(&mut [u8])) -> Result<(), B::Error> {
        let mut change = self.blocks.update()?;
        let slot = change.extend()?;
        if change.block(slot) != block {
            return Err(Damage::at(0, "block where the build expects none").on(block).into());
        }
        fill(change.bytes_mut(slot)?);
        change.commit()
    }
}
