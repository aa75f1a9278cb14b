//! Building a graph in memory: one thread [pushes](Builder::push) the rows, threads [insert](Builder::build) them,
//! and the finished [`Graph`] is read in the order of the rows.
//!
//! Everything that grows with the rows is counted against a budget before it is allocated, the threads' scratch
//! memory included. The threads share what does not change (values, levels) and lists of ids that are read
//! without locks ([`graph`]). The element with the highest level goes first, so that the entry point never
//! changes.

#[cfg(test)]
mod anchor_tests;
mod arena;
mod built;
mod equals;
mod graph;
mod insert;
mod rows;
mod score;
#[cfg(test)]
mod tests;
mod tree;
mod visited;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::arena::{Arena, Values};
pub use self::built::{Element, Graph, ListedEdge, Role};
use self::graph::Lists;
use self::insert::{Scratch, Stop, insert};
use self::rows::{Found, NONE, Rows};
use self::score::{Codes, Exact, Probes, Score, centre};
use self::tree::span;
use super::params::{MAX_LEVEL, layer_slots, random_level};
use crate::error::ValueError;
use crate::space::{Metric, Space};
use crate::storage::page::Tid;
use crate::work::memory::OutOfMemory;
use crate::work::workers::{Coordinator, Workers};

/// How a graph is built.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// connections per layer, 2 to 100
    pub m: usize,
    /// candidates kept by the search for a new element's neighbours, at least 2 m
    pub ef_construction: usize,
    /// the highest level an element may have
    pub max_level: u8,
    /// threads that insert, the calling one among them
    pub threads: usize,
    /// bytes of memory that may be used
    pub budget: usize,
    /// of the levels
    pub seed: u64,
    /// whether distances may be taken from copies of one byte per element, where those are true enough
    pub coded: bool,
}

/// Whether codes around `centre` are true to values like those of a sample, which come one after the other.
///
/// # Errors
/// No memory.
pub fn codes_are_faithful(sample: &[f32], centre: &[f32], metric: Metric) -> Result<bool, OutOfMemory> {
    score::faithful_to(sample, centre, metric)
}

/// A hash that stands for a value's bytes where [only codes](Builder::keep_codes) are kept: rows of two values with the
/// same would share an element, so it has as many bits as no chance and, with a secret seed, no intention makes alike.
pub(crate) fn value_hash(value: &[u8], seed: u64) -> u128 {
    let half = |seed| u128::from(rows::long_hash(value, seed));
    half(seed ^ 0x5bd1_e995_0123_4567) << 64 | half(seed.rotate_left(32) ^ 0x243f_6a88_85a3_08d3)
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// a new element
    New,
    /// another heap TID of an element with an equal value
    Duplicate,
    /// not taken: the memory is used up
    Full,
}

/// More nodes than this do not fit the handles of a search.
const MAX_NODES: usize = i32::MAX as usize - 1;
/// Copies of the values are made of so many of them, and of values of so many dimensions.
const CODED_NODES: usize = 1000;
const CODED_DIMS: usize = 64;
/// Copies that are made between two looks at the clock.
const STRIDE: u32 = 64;

/// The elements and their lists.
#[derive(Debug)]
struct Elements<S> {
    space: S,
    ef_construction: usize,
    values: Values,
    rows: Rows,
    /// lists of layer 0, by node
    base_layer: Lists,
    /// lists of the layers above
    upper: Lists,
}

impl<S: Space> Elements<S> {
    #[inline(always)]
    fn lists(&self, layer: u8) -> &Lists {
        if layer == 0 { &self.base_layer } else { &self.upper }
    }

    /// Where the neighbours of `node` in `layer` stand; the node reaches up to that layer.
    #[inline(always)]
    fn list(&self, node: u32, layer: u8) -> (&Lists, usize) {
        if layer == 0 {
            (&self.base_layer, node as usize)
        } else {
            (&self.upper, self.rows.get(node).upper as usize + usize::from(layer) - 1)
        }
    }

    /// The value of a node; always there, having been checked when it was pushed.
    #[inline(always)]
    fn view(&self, node: u32) -> Option<S::View<'_>> {
        self.space.view(self.values.get(node as usize)).ok()
    }
}

/// Takes the rows of an index and builds their graph.
#[derive(Debug)]
pub struct Builder<S> {
    params: Params,
    elements: Elements<S>,
    rng: SmallRng,
    hash_seed: u64,
    /// bytes allocated, scratch memory left out
    used: usize,
    /// bytes of an arena's chunk
    chunk: usize,
    /// copies in place of the values
    copies: Option<Copies>,
    /// elements by their vectors, where values have filter keys behind these
    vectors: Option<Vectors>,
    /// the node of the highest level
    entry: u32,
    top: u8,
}

/// What stands for values: codes, and hashes for those that are equal.
#[derive(Debug)]
struct Copies {
    codes: Codes,
    hashes: Arena<u128>,
}

/// Elements that are the first of their vectors, whatever the filter keys.
#[derive(Debug)]
struct Vectors {
    /// bytes of the keys
    keys: usize,
    /// by hashes of vectors
    firsts: HashMap<u64, u32>,
}

impl Vectors {
    /// Bytes of an element, while the table grows.
    const BYTES: usize = (size_of::<(u64, u32)>() + 1) * 24 / 7;

    fn vector<'v>(&self, value: &'v [u8]) -> &'v [u8] {
        value.get(..value.len().saturating_sub(self.keys)).unwrap_or_default()
    }

    fn hash(&self, value: &[u8], seed: u64) -> u64 {
        rows::long_hash(self.vector(value), seed)
    }

    /// The first element with the vector of `value`, whose hash is `hash`.
    fn first(&self, value: &[u8], hash: u64, values: &Values) -> Option<u32> {
        let first = self.firsts.get(&hash).copied()?;
        (self.vector(values.get(first as usize)) == self.vector(value)).then_some(first)
    }
}

impl<S: Space> Builder<S> {
    /// A builder of values of `space`. Parameters beyond their ranges are brought into them.
    pub fn new(space: S, params: Params) -> Self {
        Self::from_layer(space, params, 0)
    }

    /// A builder of the layers from `layer` on: its own layer 0 is that one.
    pub fn from_layer(space: S, params: Params, layer: u8) -> Self {
        let m = params.m.clamp(2, 100);
        let params = Params {
            m,
            ef_construction: params.ef_construction.clamp(2 * m, 1000),
            max_level: params.max_level.min(MAX_LEVEL),
            ..params
        };
        // small budgets go in small steps, large ones in few
        let chunk = (params.budget / 256).clamp(2 << 10, 2 << 20);
        Builder {
            params,
            elements: Elements {
                space,
                ef_construction: params.ef_construction,
                values: Values::new(!S::FIXED_SIZE, chunk),
                rows: Rows::new(chunk),
                base_layer: Lists::new(layer_slots(m, layer), chunk),
                upper: Lists::new(layer_slots(m, 1), chunk),
            },
            rng: SmallRng::seed_from_u64(params.seed),
            hash_seed: params.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995_0123_4567,
            used: 0,
            chunk,
            copies: None,
            vectors: None,
            entry: NONE,
            top: 0,
        }
    }

    /// From now on, before the first row, only codes of values are kept, around `centre`, for distances by `metric`:
    /// rows are [pushed](Self::push_copy) as what codes are made of.
    ///
    /// # Errors
    /// No memory.
    pub fn keep_codes(&mut self, centre: Vec<f32>, metric: Metric) -> Result<(), OutOfMemory> {
        let codes = Codes::empty(centre, metric, self.chunk).ok_or(OutOfMemory)?;
        self.copies = Some(Copies { codes, hashes: Arena::new(1, self.chunk) });
        Ok(())
    }

    /// Bytes of what stands for a value of `dims` elements where only codes are kept.
    pub fn copy_bytes(dims: usize) -> usize {
        Codes::code_bytes(dims) + size_of::<u128>()
    }

    /// From now on all rows of equal bytes share an element, however many they are. The last `keys` bytes of a value
    /// are filter keys: elements that differ in these alone are equals, which leave room for others. (A build in parts
    /// passes zero and inserts know no equals: there such elements may fill lists.)
    pub fn share_elements(&mut self, keys: usize) {
        self.elements.rows.share_elements();
        self.vectors = (keys > 0).then(|| Vectors { keys, firsts: HashMap::default() });
    }

    /// Bytes that an element takes on average, in layers from `layer` on and with a value of `size` bytes; an arena's
    /// unused part and [`scratch memory`](Self::scratch_bytes) are left out.
    pub fn element_bytes(m: usize, layer: u8, size: usize) -> usize {
        let list = |layer| Lists::list_bytes(layer_slots(m, layer));
        // levels are drawn so that one of m elements reaches the next layer
        list(layer) + list(1).div_ceil(m.max(2) - 1) + Rows::ROW_BYTES + size.next_multiple_of(8)
    }

    /// Bytes that all threads take beside the elements, of which there are `nodes`.
    pub fn scratch_bytes(params: &Params, nodes: usize) -> usize {
        Scratch::size(nodes, params.m, params.ef_construction, params.max_level)
            .saturating_mul(params.threads.max(1))
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.elements.rows.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that the build of the elements so far uses, at most.
    pub fn memory(&self) -> usize {
        self.used + self.scratch(self.len(), self.top)
    }

    fn scratch(&self, nodes: usize, top: u8) -> usize {
        let Params { m, ef_construction, threads, .. } = self.params;
        Scratch::size(nodes, m, ef_construction, top).saturating_mul(threads.max(1))
    }

    fn within_budget(&self, growth: usize, scratch: usize) -> bool {
        self.used.saturating_add(growth).saturating_add(scratch) <= self.params.budget
    }

    /// Takes a row: where it is in the heap, and its value as a whole, uncompressed varlena with a four-byte header,
    /// 4-byte aligned, normalised if the index wants that. Rows of equal bytes share an element, up to ten.
    ///
    /// # Errors
    /// When the bytes are no value of the space; the row is not taken then.
    pub fn push(&mut self, heap_tid: Tid, value: &[u8]) -> Result<Pushed, ValueError> {
        self.push_at(heap_tid, value, None, false)
    }

    /// The latest element with the bytes of `value`.
    pub(crate) fn element_of(&self, value: &[u8]) -> Option<u32> {
        self.find(value).0.element()
    }

    fn find(&self, value: &[u8]) -> (Found, u32) {
        let Elements { values, rows, .. } = &self.elements;
        let hash = rows::hash(value, self.hash_seed);
        (rows.find(hash, |at| values.get(at as usize) == value), hash)
    }

    /// As [`Self::push`]; a new element has this level, where one is given, and there is one, when `apart`.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(crate) fn push_at(
        &mut self,
        heap_tid: Tid,
        value: &[u8],
        level: Option<u8>,
        apart: bool,
    ) -> Result<Pushed, ValueError> {
        self.elements.space.view(value)?;
        let (mut found, hash) = self.find(value);
        let vector = self.vectors.as_ref().map(|vectors| vectors.hash(value, self.hash_seed));
        if found == Found::Nothing
            && let (Some(vectors), Some(vector)) = (&self.vectors, vector)
        {
            found = vectors.first(value, vector, &self.elements.values).map_or(found, Found::Apart);
        }
        if apart {
            found = Found::Nothing;
        }
        let pushed = self.add(heap_tid, (value, &mut []), (found, hash, 0), level);
        if pushed == Pushed::New
            && let (Some(vectors), Some(vector)) = (&mut self.vectors, vector)
        {
            vectors.firsts.entry(vector).or_insert(self.elements.rows.len() as u32 - 1);
        }
        Ok(pushed)
    }

    /// The same where [only codes](Self::keep_codes) are kept: `hash` stands for the value's bytes, and `copy`, which
    /// is overwritten, is what the code is made of.
    pub(crate) fn push_copy(
        &mut self,
        heap_tid: Tid,
        hash: u128,
        copy: &mut [f32],
        level: Option<u8>,
        apart: bool,
    ) -> Pushed {
        let found = if apart { Found::Nothing } else { self.find_copy(hash) };
        self.add(heap_tid, (&[], copy), (found, hash as u32, hash), level)
    }

    fn find_copy(&self, hash: u128) -> Found {
        let Some(copies) = &self.copies else { return Found::Nothing };
        self.elements.rows.find(hash as u32, |at| *copies.hashes.first(at as usize) == hash)
    }

    /// The latest element whose value has this hash, where only codes are kept.
    pub(crate) fn element_of_copy(&self, hash: u128) -> Option<u32> {
        self.find_copy(hash).element()
    }

    fn add(
        &mut self,
        heap_tid: Tid,
        (value, copy): (&[u8], &mut [f32]),
        (found, hash, long_hash): (Found, u32, u128),
        level: Option<u8>,
    ) -> Pushed {
        if let Found::Room(at) = found {
            let growth = self.elements.rows.tid_growth();
            let scratch = self.scratch(self.len(), self.top);
            if !self.within_budget(growth, scratch) || !self.elements.rows.add_tid(at, heap_tid) {
                return Pushed::Full;
            }
            self.used += growth;
            return Pushed::Duplicate;
        }
        let mut rng = self.rng.clone();
        let drawn = random_level(&mut rng, self.params.m, self.params.max_level);
        let level = level.map_or(drawn, |level| level.min(self.params.max_level));
        let layers = usize::from(level);
        let Elements { values, rows, base_layer, upper, .. } = &self.elements;
        let stored = match &self.copies {
            Some(copies) => copies.codes.growth() + copies.hashes.growth(1),
            None => values.growth(value.len()),
        };
        let vector = self.vectors.as_ref().map_or(0, |_| Vectors::BYTES);
        let growth = stored + rows.growth() + base_layer.growth(1) + upper.growth(layers) + vector;
        let scratch = self.scratch(self.len() + 1, self.top.max(level));
        let first_upper = upper.len();
        if self.len() >= MAX_NODES
            || first_upper + layers > MAX_NODES
            || self.copies.is_none() && !values.fits(value.len())
            || !self.within_budget(growth, scratch)
        {
            return Pushed::Full;
        }
        let node = self.len() as u32;
        let Elements { values, rows, base_layer, upper, .. } = &mut self.elements;
        let known = self.vectors.as_mut().is_none_or(|vectors| vectors.firsts.try_reserve(1).is_ok());
        let stored = match &mut self.copies {
            // one of zeros where the numbers are beyond all others
            Some(copies) => {
                let stored = copies.codes.push(copy).is_some() && copies.hashes.extend(1);
                if stored {
                    *copies.hashes.first_mut(node as usize) = long_hash;
                }
                stored
            }
            None => values.push(value),
        };
        // the row comes last: what fails before it leaves no element
        if !(known
            && stored
            && base_layer.extend(1)
            && upper.extend(layers)
            && rows.push(heap_tid, level, first_upper as u32, hash, found))
        {
            self.params.budget = 0;
            return Pushed::Full;
        }
        self.used += growth;
        self.rng = rng;
        if self.entry == NONE || level > self.top {
            (self.entry, self.top) = (node, level);
        }
        Pushed::New
    }

    /// Builds the graph on the threads that the parameters ask for, or on as many as can be started. The
    /// calling thread works too; every ten milliseconds or so it polls `host`, which may unwind: the others
    /// stop within a few milliseconds then. `progress` counts inserted elements.
    ///
    /// # Errors
    /// An allocation within the budget failed.
    pub fn build(self, progress: &AtomicU64, host: &mut dyn Coordinator) -> Result<Graph<S>, OutOfMemory> {
        let mut workers = Workers::new(self.params.threads.saturating_sub(1), host);
        self.build_part(progress, &mut workers, &|_| false)
    }

    /// As [`Self::build`], of a graph that is a part of a larger one: `is_root` tells nodes that hang elsewhere in the
    /// tree which holds that together. They have no anchor here, and all others hang below one of them, if there are
    /// any.
    ///
    /// # Errors
    /// An allocation within the budget failed.
    pub fn build_part(
        mut self,
        progress: &AtomicU64,
        workers: &mut Workers<'_>,
        is_root: &dyn Fn(u32) -> bool,
    ) -> Result<Graph<S>, OutOfMemory> {
        let nodes = self.len();
        if self.entry == NONE {
            return Ok(self.finish(0));
        }
        let Params { m, ef_construction, threads, .. } = self.params;
        let mut scratches = Vec::new();
        for _ in 0..threads.max(1) {
            let Some(scratch) = Scratch::new(nodes, m, ef_construction, self.top) else { break };
            scratches.push(scratch);
        }
        if scratches.is_empty() {
            return Err(OutOfMemory);
        }
        // without room for all, fewer work
        workers.limit(scratches.len());
        // asked while rows came
        self.vectors = None;
        let made = if self.copies.is_none() { self.codes(workers)? } else { None };
        let kept = self.copies.take().map(|copies| copies.codes);
        progress.fetch_add(1, Ordering::Relaxed);
        let work = Work { elements: &self.elements, entry: self.entry, next: AtomicU32::new(0), progress };
        match made.as_ref().or(kept.as_ref()) {
            Some(codes) => work.share(codes, &mut scratches, workers)?,
            None => work.share(Exact(&self.elements), &mut scratches, workers)?,
        }
        drop(made);
        let mut scratch = scratches.swap_remove(0);
        drop(scratches);
        let unreachable =
            span(&mut self.elements, kept.as_ref(), self.entry, is_root, &mut scratch, workers)?;
        Ok(Graph { codes: kept, ..self.finish(unreachable) })
    }

    /// The elements as they are, without any edges.
    pub fn into_elements(self) -> Graph<S> {
        self.finish(0)
    }

    /// Copies of the values for quick distances, where they pay, fit the budget, and are true enough.
    fn codes(&self, workers: &mut Workers<'_>) -> Result<Option<Codes>, OutOfMemory> {
        let Elements { space, .. } = &self.elements;
        let (nodes, metric) = (self.len(), space.metric());
        if !self.params.coded || nodes < CODED_NODES || !matches!(metric, Metric::L2 | Metric::InnerProduct) {
            return Ok(None);
        }
        let Some(centre) = centre(&self.elements) else { return Ok(None) };
        let dims = centre.len();
        if dims < CODED_DIMS || self.memory() + Codes::size(nodes, dims, self.chunk) > self.params.budget {
            return Ok(None);
        }
        let Some(mut codes) = Codes::new(nodes, centre, metric, self.chunk) else { return Ok(None) };
        let all = AtomicBool::new(true);
        {
            let (encoder, pieces) = codes.pieces();
            workers.each(
                pieces,
                || Ok(Vec::new()),
                |value, (first, blocks), goes_on| {
                    for (node, code) in (first as u32..).zip(blocks.chunks_exact_mut(encoder.width())) {
                        let widened = self.elements.view(node).is_some_and(|view| space.widen(view, value));
                        if !widened || !encoder.encode(value, code) {
                            all.store(false, Ordering::Relaxed);
                        }
                        let on = all.load(Ordering::Relaxed) && (!node.is_multiple_of(STRIDE) || goes_on());
                        if !on {
                            return;
                        }
                    }
                },
            )?;
        }
        if !all.into_inner() {
            return Ok(None);
        }
        let probes = Probes::default();
        workers.run(
            Probes::count(nodes),
            || Ok(()),
            |(), worker| while probes.step(&self.elements, &codes, worker) {},
        )?;
        Ok(probes.faithful().then_some(codes))
    }

    fn finish(self, unreachable: usize) -> Graph<S> {
        let entry = (self.entry != NONE).then_some(self.entry);
        Graph { elements: self.elements, codes: None, entry, unreachable }
    }
}

impl From<Stop> for OutOfMemory {
    /// Whoever looks at the results was not stopped.
    fn from(_: Stop) -> Self {
        OutOfMemory
    }
}

/// The inserts that are left to do.
struct Work<'a, S> {
    elements: &'a Elements<S>,
    entry: u32,
    next: AtomicU32,
    progress: &'a AtomicU64,
}

impl<S: Space> Work<'_, S> {
    /// Inserts everything, on as many threads as there are scratches.
    fn share<G: Score>(
        &self,
        score: G,
        scratches: &mut [Scratch],
        workers: &mut Workers<'_>,
    ) -> Result<(), OutOfMemory> {
        let nodes = self.elements.rows.len() as u32;
        let (unused, failed) = (Mutex::new(scratches.iter_mut()), AtomicBool::new(false));
        let scratch = || unused.lock().unwrap_or_else(PoisonError::into_inner).next().ok_or(OutOfMemory);
        workers.run(nodes as usize, scratch, |scratch, worker| {
            while worker.goes_on() && !failed.load(Ordering::Relaxed) {
                let node = self.next.fetch_add(1, Ordering::Relaxed);
                if node >= nodes {
                    break;
                }
                if node != self.entry {
                    if insert(self.elements, score, node, self.entry, scratch, worker.stop()).is_err() {
                        failed.store(true, Ordering::Relaxed);
                        break;
                    }
                    self.progress.fetch_add(1, Ordering::Relaxed);
                }
            }
        })?;
        if failed.into_inner() { Err(OutOfMemory) } else { Ok(()) }
    }
}
