//! Merged lists to pages, each page once and in order: values and lists are read in the order of the rows while records
//! are composed. What of a record a page does not hold waits in a file for the pages of rests, heap TIDs beyond an
//! element's first for those of chains.

mod apart;

use core::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::lists::{Candidate, ListPlace, Merge, choose};
use super::rows::{Row, RowSet};
use super::{BROKEN, Memory, Parting, level};
use crate::hnsw::build::Params;
use crate::hnsw::inline::layout::{
    NO_NODE, PageKind, RecordHeader, RecordLayout, Slots, offset, put_factors, put_ids,
};
use crate::hnsw::inline::meta::{Entry, META_BLOCK};
use crate::hnsw::inline::scan::Index;
use crate::hnsw::inline::sections::Sections;
use crate::quant::space::CodedSpace;
use crate::storage::page::{Corruption, Damage, Tid};
use crate::work::memory::{OutOfMemory, append, filled, push, resize};
use crate::work::runs::Files;
use crate::work::workers::Workers;

/// A graph whose parts were built, in files.
#[derive(Debug)]
pub struct Merged {
    params: Params,
    value_size: usize,
    rows: u32,
    spilled: u32,
    values: usize,
    uppers: usize,
    ground: Vec<usize>,
    upper: Vec<usize>,
    first_above: Vec<usize>,
    nodes: RowSet,
    node_count: u32,
    /// rows of upper layers, and how many records of these are before their own
    upper_rows: Vec<(u32, u32)>,
    top: Option<(u32, u8)>,
    sections: Sections,
    parts: usize,
    /// whether parts were built of copies of the values
    copies: bool,
    /// bytes of pages and lists that are read at a time
    budget: usize,
}

impl<S: CodedSpace> Parting<'_, S> {
    /// Closes a build, whose lists are all in files.
    pub(super) fn finish(
        mut self,
        files: &mut dyn Files,
        (values, spilled): (usize, u32),
        uppers: usize,
        memory: &Memory,
        workers: &mut Workers<'_>,
    ) -> Result<Merged, Damage> {
        if !self.bridges.is_empty() {
            self.bridges.sort_by_key(|bridge| bridge.0);
            let file = files.create();
            self.bridges.iter().for_each(|(_, bytes)| files.append(file, bytes));
            push(&mut self.ground, file)?;
        }
        let node_count = self.nodes.count()?;
        let (mut upper_rows, mut records, mut top) = (Vec::new(), 0u32, None);
        self.divide(files, uppers, None, 0, &mut [0; 64], workers, |_, row, level| {
            if self.nodes.has(row.row) {
                push(&mut upper_rows, (row.row, records))?;
                records = records.saturating_add(u32::from(level));
                if top.is_none_or(|(_, highest)| level > highest) {
                    top = Some((row.row, level));
                }
            }
            Ok(())
        })?;
        let top = top.or_else(|| (0..self.rows).find(|&row| self.nodes.has(row)).map(|row| (row, 0)));
        let (layout, mut sections) = (&self.index.layout, Sections::default());
        let (nodes, uppers_count) = (node_count as usize, records as usize);
        sections.add(PageKind::Ground, nodes, &layout.ground.slots)?;
        sections.add_rests(PageKind::GroundRest, nodes, &layout.ground)?;
        sections.add(PageKind::Upper, uppers_count, &layout.upper.slots)?;
        sections.add_rests(PageKind::UpperRest, uppers_count, &layout.upper)?;
        sections.add(PageKind::Chain, self.shorts, &layout.chain)?;
        sections.add(PageKind::LongChain, self.longs, &layout.long_chain)?;
        for (kind, slots) in
            [(PageKind::Ground, &layout.ground.slots), (PageKind::Upper, &layout.upper.slots)]
        {
            if slots.id(sections.blocks(kind).end, 0).is_none() {
                return Err(Damage::internal("more nodes than ids"));
            }
        }
        Ok(Merged {
            params: self.params,
            value_size: self.value_size,
            rows: self.rows,
            spilled,
            values,
            uppers,
            ground: self.ground,
            upper: self.upper,
            first_above: self.first_above,
            nodes: self.nodes,
            node_count,
            upper_rows,
            top,
            sections,
            parts: self.parts,
            copies: self.centre.is_some(),
            budget: memory.params.budget / 8,
        })
    }
}

/// A record to compose.
#[derive(Clone, Debug)]
struct Node {
    row: u32,
    level: u8,
    layer: u8,
    heap_tid: Tid,
    chain: Tid,
    lists: Range<usize>,
}

/// Records of some pages.
#[derive(Debug, Default)]
struct Batch {
    nodes: Vec<Node>,
    /// of each a value
    values: Vec<u64>,
    lists: Vec<ListPlace>,
    bytes: Vec<u8>,
}

impl Batch {
    fn clear(&mut self) {
        self.nodes.clear();
        self.values.clear();
        self.lists.clear();
        self.bytes.clear();
    }
}

/// Memory of one thread.
#[derive(Debug, Default)]
struct Scratch {
    record: Vec<u64>,
    candidates: Vec<Candidate>,
    ids: Vec<u32>,
    places: Vec<u32>,
    adds: Vec<f32>,
    scales: Vec<f32>,
}

/// Heap TIDs of an element beyond the first, in a file: they follow.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Others {
    owner: u32,
    count: u32,
}

/// Where segments of heap TIDs go next.
#[derive(Debug)]
struct Chains {
    file: usize,
    any: bool,
    shorts: usize,
    longs: usize,
}

/// Pages that are composed at a time, at most.
const PAGES: usize = 64;

/// Where pages go.
type Sink<'a, E> = &'a mut dyn FnMut(u32, &[u8]) -> Result<(), E>;

impl Merged {
    /// Whether codes of edges were made of copies of the values.
    pub fn from_copies(&self) -> bool {
        self.copies
    }

    /// The number of blocks, the meta page included.
    pub fn count(&self) -> u32 {
        self.sections.end()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.node_count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.node_count == 0
    }

    /// The number of parts.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Rows that found no place in any part, since there would have been too many: they are to be inserted one by one.
    pub fn left_over(&self) -> u32 {
        self.spilled - self.rows
    }

    #[cfg(test)]
    pub(super) fn ground_files(&self) -> &[usize] {
        &self.ground
    }

    /// The entry point.
    pub fn entry<S>(&self, index: &Index<S>) -> Option<Entry> {
        let (row, level) = self.top?;
        Some(Entry { id: self.id(index, row, level), tid: index.layout.tid(self.id(index, row, 0)), level })
    }

    /// The id of a row's record in a layer up to its level.
    fn id<S>(&self, index: &Index<S>, row: u32, layer: u8) -> u32 {
        let (kind, at) = match layer.checked_sub(1) {
            None => (PageKind::Ground, self.nodes.rank(row)),
            Some(above) => {
                let found = self.upper_rows.binary_search_by_key(&row, |upper| upper.0);
                let before =
                    found.ok().and_then(|at| self.upper_rows.get(at)).map_or(NO_NODE, |upper| upper.1);
                (PageKind::Upper, before.saturating_add(u32::from(above)))
            }
        };
        let per_page = index.layout.records(layer).slots.per_page as u32;
        self.sections.blocks(kind).start.saturating_mul(per_page).saturating_add(at)
    }

    /// Writes all pages but the meta page, in order: `page` is given a block's number and its bytes.
    ///
    /// # Errors
    /// What `page` answers, a damaged file, or no memory.
    pub fn write<S: CodedSpace, E: From<Corruption>>(
        &self,
        files: &mut dyn Files,
        index: &Index<S>,
        workers: &mut Workers<'_>,
        page: Sink<'_, E>,
    ) -> Result<(), E> {
        let mut chains = Chains { file: files.create(), any: false, shorts: 0, longs: 0 };
        for (kind, rest_kind, layer) in
            [(PageKind::Ground, PageKind::GroundRest, 0), (PageKind::Upper, PageKind::UpperRest, 1)]
        {
            let rests = files.create();
            self.write_records(files, index, (kind, layer, rests), &mut chains, workers, page)?;
            let sources: [&[usize]; 2] =
                if layer == 0 { [&self.ground, &self.first_above] } else { [&self.upper, &[]] };
            sources.into_iter().flatten().for_each(|&file| files.remove(file));
            self.write_rests(files, index, (rest_kind, layer, rests), workers, page)?;
            files.remove(rests);
        }
        self.write_chains(files, index, &chains, workers, page)?;
        files.remove(chains.file);
        files.remove(self.uppers);
        Ok(())
    }

    /// Gives the rows that are [left over](Self::left_over), after everything was written.
    ///
    /// # Errors
    /// What `each` answers, or a damaged file.
    pub fn each_left_over<E: From<Corruption>>(
        &self,
        files: &mut dyn Files,
        mut each: impl FnMut(Tid, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let on_meta = |damage: Damage| E::from(damage.on(META_BLOCK));
        let mut row = Row::default();
        // the file stands behind the rows that were written, and one of these may have been the last of a layer
        if self.left_over() > 0 {
            files.rewind(self.values);
            while row.read(files, self.values, self.value_size).map_err(on_meta)? {
                if row.row >= self.rows {
                    for tid in &row.tids {
                        each(*tid, row.value())?;
                    }
                }
            }
        }
        files.remove(self.values);
        Ok(())
    }

    /// Reads the next records into `batch`, until it has `wanted`.
    #[allow(clippy::too_many_arguments)]
    fn read_batch<S: CodedSpace>(
        &self,
        files: &mut dyn Files,
        index: &Index<S>,
        layer: u8,
        (merge, mut above): (&mut Merge, Option<&mut Merge>),
        (row, next): (&mut Row, &mut u8),
        wanted: usize,
        chains: &mut Chains,
        batch: &mut Batch,
    ) -> Result<(), Damage> {
        let source = if layer == 0 { self.values } else { self.uppers };
        batch.clear();
        while batch.nodes.len() < wanted {
            let mut highest = level(&self.params, row.row);
            if layer == 0 || *next == 0 || *next > highest {
                if !row.read(files, source, self.value_size)? || row.row >= self.rows {
                    return Err(BROKEN);
                }
                if !self.nodes.has(row.row) {
                    *next = 0;
                    continue;
                }
                highest = level(&self.params, row.row);
                *next = layer;
            }
            let first = batch.lists.len();
            merge.take(files, (row.row, *next), &mut batch.bytes, &mut batch.lists)?;
            if highest > 0
                && let Some(above) = above.as_deref_mut()
            {
                above.take(files, (row.row, 1), &mut batch.bytes, &mut batch.lists)?;
            }
            let mut node = Node {
                row: row.row,
                level: highest,
                layer: *next,
                heap_tid: Tid::INVALID,
                chain: Tid::INVALID,
                lists: first..batch.lists.len(),
            };
            if layer == 0 {
                (node.heap_tid, node.chain) = self.chain(files, index, &node, batch, chains)?;
            } else {
                node.heap_tid = index.layout.tid(self.id(index, row.row, 0));
                *next += 1;
            }
            push(&mut batch.nodes, node)?;
            let start = batch.values.len();
            resize(&mut batch.values, start + self.value_size.div_ceil(8), 0)?;
            let place = batch.values.get_mut(start..).map(IntoBytes::as_mut_bytes);
            place
                .and_then(|place| place.get_mut(..self.value_size))
                .ok_or(BROKEN)?
                .copy_from_slice(row.value());
        }
        Ok(())
    }

    /// Puts a node's heap TIDs beyond the first into the file of chains. Returns the first, and where the chain will
    /// be.
    fn chain<S>(
        &self,
        files: &mut dyn Files,
        index: &Index<S>,
        node: &Node,
        batch: &Batch,
        chains: &mut Chains,
    ) -> Result<(Tid, Tid), Damage> {
        let lists = batch.lists.get(node.lists.clone()).unwrap_or_default();
        let mut tids = lists.iter().map(|list| list.tids.clone()).filter(|tids| !tids.is_empty());
        // one part tells them
        let (Some(tids), None) = (tids.next(), tids.next()) else { return Err(BROKEN) };
        let tids =
            batch.bytes.get(tids).and_then(|bytes| <[Tid]>::ref_from_bytes(bytes).ok()).ok_or(BROKEN)?;
        let (first, others) = tids.split_first().ok_or(BROKEN)?;
        if others.is_empty() {
            return Ok((*first, Tid::INVALID));
        }
        let head = Others { owner: self.id(index, node.row, 0), count: others.len() as u32 };
        files.append(chains.file, head.as_bytes());
        files.append(chains.file, others.as_bytes());
        chains.any = true;
        let layout = &index.layout;
        let (kind, slots, at) = if others.len() <= layout.segment(&layout.chain) {
            chains.shorts += 1;
            (PageKind::Chain, &layout.chain, chains.shorts - 1)
        } else {
            let segments = others.len().div_ceil(layout.segment(&layout.long_chain).max(1));
            chains.longs += segments;
            (PageKind::LongChain, &layout.long_chain, chains.longs - segments)
        };
        Ok((*first, self.segment(kind, slots, at)))
    }

    /// Where segment `at` of its kind is.
    fn segment(&self, kind: PageKind, slots: &Slots, at: usize) -> Tid {
        let per_page = slots.per_page.max(1);
        Tid::new(self.sections.blocks(kind).start + (at / per_page) as u32, offset(at % per_page))
    }

    /// Writes the pages of records of a kind; what these do not hold goes to the file `rests`.
    fn write_records<S: CodedSpace, E: From<Corruption>>(
        &self,
        files: &mut dyn Files,
        index: &Index<S>,
        (kind, layer, rests): (PageKind, u8, usize),
        chains: &mut Chains,
        workers: &mut Workers<'_>,
        page: Sink<'_, E>,
    ) -> Result<(), E> {
        let on_meta = |damage: Damage| E::from(damage.on(META_BLOCK));
        let memory = |memory: OutOfMemory| on_meta(memory.into());
        let records = index.layout.records(layer);
        let page_size = index.layout.page_size;
        let blocks = self.sections.blocks(kind);
        let (per_page, rest) = (records.slots.per_page.max(1), records.rest);
        let mut left = if layer == 0 { self.len() } else { self.upper_records() };
        let sources = if layer == 0 { &self.ground } else { &self.upper };
        let mut merge = Merge::new(files, sources, records.code_size).map_err(on_meta)?;
        // Edges of layer 1 lead to other parts, too: those that have them get them in layer 0.
        let mut above = None;
        if layer == 0 {
            above = Some(Merge::new(files, &self.first_above, records.code_size).map_err(on_meta)?);
        }
        files.rewind(if layer == 0 { self.values } else { self.uppers });
        // lists of two parts, and what becomes of them
        let node_bytes = 2 * records.neighbours * (20 + records.code_size) + self.value_size + rest;
        let pages_at_once = (self.budget / (page_size + per_page * node_bytes)).clamp(1, PAGES);
        let mut pages = filled(0u64, pages_at_once * page_size / 8).map_err(memory)?;
        let mut rest_bytes = filled(0u8, pages_at_once * per_page * rest).map_err(memory)?;
        let (mut batch, mut row, mut next) = (Batch::default(), Row::default(), 0);
        let mut outcomes = Vec::new();
        for first in blocks.clone().step_by(pages_at_once) {
            workers.poll_when_due();
            let count = pages_at_once.min((blocks.end - first) as usize);
            let wanted = left.min(count * per_page);
            let place = (&mut row, &mut next);
            let lists = (&mut merge, above.as_mut());
            self.read_batch(files, index, layer, lists, place, wanted, chains, &mut batch)
                .map_err(on_meta)?;
            outcomes.clear();
            append(&mut outcomes, &[Ok(()); PAGES]).map_err(memory)?;
            let mut rests_left: &mut [u8] = &mut rest_bytes;
            let nodes = self.node_count as usize;
            let upper_records = self.upper_records();
            let done_before = if layer == 0 { nodes - left } else { upper_records - left };
            let work = pages.chunks_exact_mut(page_size / 8).zip(&mut outcomes).take(count).enumerate();
            let work = work.map(|(at, (words, outcome))| {
                let (own, others) = core::mem::take(&mut rests_left).split_at_mut(per_page * rest);
                rests_left = others;
                (at, words, outcome, own)
            });
            let work: Vec<_> = work.collect();
            let batch_ref = &batch;
            workers
                .each(
                    work.into_iter(),
                    || Ok(Scratch::default()),
                    |scratch, (at, words, outcome, rests), goes_on| {
                        let bytes = words.as_mut_bytes();
                        records.slots.init(bytes, kind);
                        for slot in 0..per_page.min(wanted.saturating_sub(at * per_page)) {
                            if !goes_on() {
                                return;
                            }
                            let n = at * per_page + slot;
                            let rests = rests.get_mut(slot * rest..(slot + 1) * rest).unwrap_or_default();
                            records.slots.set_used(bytes, slot, true);
                            let composed = records.slots.get_mut(bytes, kind, slot).and_then(|head| {
                                self.compose(
                                    index,
                                    records,
                                    batch_ref,
                                    (n, done_before + n),
                                    (head, rests),
                                    scratch,
                                )
                            });
                            if composed.is_err() {
                                *outcome = composed;
                            }
                        }
                    },
                )
                .map_err(memory)?;
            for (at, (words, outcome)) in
                pages.chunks_exact(page_size / 8).zip(&outcomes).take(count).enumerate()
            {
                let block = first + at as u32;
                outcome.map_err(|damage| E::from(damage.on(block)))?;
                page(block, words.as_bytes())?;
            }
            if rest > 0 {
                files.append(rests, rest_bytes.get(..wanted * rest).unwrap_or_default());
            }
            left -= wanted;
        }
        if merge.is_done() { Ok(()) } else { Err(on_meta(BROKEN)) }
    }

    fn upper_records(&self) -> usize {
        let last = self.upper_rows.last();
        last.map_or(0, |&(row, before)| before as usize + usize::from(level(&self.params, row)))
    }

    /// Composes the record of node `n` of a batch, number `number` of its kind: what its slot holds, and the rest.
    fn compose<S: CodedSpace>(
        &self,
        index: &Index<S>,
        records: &RecordLayout,
        batch: &Batch,
        (n, number): (usize, usize),
        (head, rest): (&mut [u8], &mut [u8]),
        scratch: &mut Scratch,
    ) -> Result<(), Damage> {
        let node = batch.nodes.get(n).ok_or(BROKEN)?;
        let words = self.value_size.div_ceil(8);
        let value = batch.values.get(n * words..(n + 1) * words).map(IntoBytes::as_bytes);
        let value = value.and_then(|value| value.get(..self.value_size)).ok_or(BROKEN)?;
        let view = index.space.view(value).map_err(|_| BROKEN)?;
        let lists = batch.lists.get(node.lists.clone()).unwrap_or_default();
        let Scratch { record, candidates, ids, places, adds, scales } = scratch;
        choose(&batch.bytes, lists, records.code_size, records.neighbours, candidates)?;
        record.clear();
        resize(record, records.size / 8, 0)?;
        let bytes = record.as_mut_slice().as_mut_bytes();
        let layer = node.layer;
        let (Ok((header, _)), count) = (RecordHeader::mut_from_prefix(bytes), candidates.len()) else {
            return Err(BROKEN);
        };
        *header = RecordHeader::new(node.level, layer);
        header.below = self.id(index, node.row, layer.saturating_sub(1));
        header.above = if layer < node.level { self.id(index, node.row, layer + 1) } else { NO_NODE };
        header.rest = self.sections.rest(records, layer, number);
        header.norm = index.space.norm(view) as f32;
        (header.heap_tid, header.chain) = (node.heap_tid, node.chain);
        for room in [&mut *ids, places] {
            room.clear();
            room.try_reserve(count).map_err(|_| OutOfMemory)?;
        }
        for room in [&mut *adds, scales] {
            room.clear();
            room.try_reserve(count).map_err(|_| OutOfMemory)?;
        }
        for (at, candidate) in candidates.iter().enumerate() {
            let row = candidate.edge.row;
            if !self.nodes.has(row) {
                return Err(BROKEN);
            }
            ids.push(self.id(index, row, layer));
            places.push(self.id(index, row, 0));
            adds.push(candidate.edge.add);
            scales.push(candidate.edge.scale);
            let code = batch.bytes.get(candidate.code.clone()).ok_or(BROKEN)?;
            bytes.get_mut(records.code(at)).ok_or(BROKEN)?.copy_from_slice(code);
        }
        put_factors(records, bytes, adds, scales);
        put_ids(records, bytes, ids, places);
        bytes.get_mut(records.value()).ok_or(BROKEN)?.copy_from_slice(value);
        let (in_slot, elsewhere) = bytes.split_at(records.head().min(bytes.len()));
        head.get_mut(..in_slot.len()).ok_or(BROKEN)?.copy_from_slice(in_slot);
        rest.copy_from_slice(elsewhere.get(..rest.len()).ok_or(BROKEN)?);
        Ok(())
    }
}
