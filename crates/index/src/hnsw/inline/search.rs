//! Search in one layer by estimates. Candidates wait in the order of their estimates, in a pool of as many as may still
//! be among the nearest; each that is expanded gets its exact distance, and the result holds exact distances only. A
//! layer is done when every candidate of the pool was expanded, or none that waits is estimated nearer than the
//! farthest of a full result.
//!
//! An estimate errs, so a search that went by the first estimate of each node would miss what is estimated too
//! far. A node that several lists name has an estimate from each, the better the shorter the edge, and the
//! lowest of them counts. The pool is larger than the result by what estimates err ([`beam`](super::beam)).
//!
//! What is expanded next is chosen one node ahead, before the estimates of the one at hand are known, so that its
//! record has the time of a whole node to come from memory. That costs a node or two a search; waiting would cost
//! more.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use vector_kernels::{Kernels, kernels};

use super::beam::Errors;
use super::filtered::{FIRST, Patience};
use super::id_map::{IdMap, NEW, READ};
use super::pool::Pool;
use super::reader::{Expansion, Found, Reader};
use crate::quant::space::CodedSpace;
use crate::storage::blocks::BlockStore;
use crate::storage::page::Damage;

/// Deviations that bounds lie below the estimates, by which nodes wait for their turn in the beam. Half of one costs
/// a tenth more at small `ef_search` and finds as much more as a beam that costs a fifth more (768 dimensions,
/// clustered); at other data sets tried, and at large `ef_search`, it changes little.
pub const CAUTION: f32 = 0.5;

/// Distances as integers of the same order.
#[inline(always)]
pub(super) fn order_key(distance: f32) -> u32 {
    let bits = distance.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// The distance that a key stands for.
#[inline(always)]
pub(super) fn distance_of(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

#[inline(always)]
pub(super) fn wide_order_key(distance: f64) -> u64 {
    let bits = distance.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// The key that stands for the bounds below a distance.
#[inline(always)]
pub(super) fn key_at(distance: f64) -> u32 {
    // rounded up: a bound that is equal in half the bits may still be below
    let narrow = distance as f32;
    let narrow = if f64::from(narrow) < distance { narrow.next_up() } else { narrow };
    order_key(narrow)
}

/// The key that a candidate with this bound waits by.
#[inline(always)]
fn candidate_key(bound: f32) -> u32 {
    order_key(bound).clamp(LOWEST, HIGHEST) & !1
}

/// The lowest key of a bound, and the highest; that of a node that a search begins with, of which nothing is known.
const LOWEST: u32 = 2;
const HIGHEST: u32 = NEW - 1;

/// Bounds that are compared at once.
const CHUNK: usize = 64;

/// Ids that a search meets for each candidate of its pool, mostly.
const SEEN_PER_CANDIDATE: usize = 6;

/// Nodes that fill no place in a result, of which a layer below begins with the nearest.
const PASSED_OVER: usize = 8;

/// What becomes of nodes that are none of the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// they are of no use
    Forget,
    /// everything that is seen is either a result, or kept, or still waits
    Keep,
    /// the same, and the search ends only when nothing that waits has a bound below the farthest result
    Exhaust,
}

/// What a walk over the graph has seen; reused from scan to scan.
#[derive(Debug, Default)]
pub struct Walk {
    /// candidates of the layer that is searched
    pool: Pool,
    /// those of a search that goes on: key of the bound, id
    pub(super) frontier: BinaryHeap<Reverse<u64>>,
    /// neighbours that such a search had no use for, as often as lists name them, and not looked up in `visited`
    pub(super) unsorted: Vec<u64>,
    /// nodes named by lists of this layer, but for those in `unsorted`: the key of the lowest bound, or [`READ`]
    pub visited: IdMap,
    /// nodes that were read
    pub(super) found: Vec<Found>,
    /// places in `found` that nobody needs any more
    pub(super) free: Vec<u32>,
    /// the nearest of them, nearest first: key of the exact distance, place in `found`
    pub(super) results: Vec<(u64, u32)>,
    /// the nearest of those that fill no place in the result of a repair, nearest first
    passed_over: Vec<Found>,
    /// others, that a later batch returns
    pub(super) kept: BinaryHeap<Reverse<(u64, u32)>>,
    /// what a pass has found so far
    pub(super) collected: Vec<(u64, u32)>,
    pub(super) out: Expansion,
    /// nodes estimated since the walk began
    pub scored: u64,
    /// nodes read
    pub expanded: u64,
    /// under a filter, when to give up
    pub(super) patience: Option<Patience>,
    pub(super) gave_up: bool,
    /// under a filter, ids of the nodes that were returned, in order
    pub(super) given: Vec<u32>,
    /// after so many expansions a search is to stop
    stop_at: u64,
    /// what estimates erred by
    errors: Errors,
    /// with so many results the beam is made wider, if need be
    widens_at: usize,
}

impl Walk {
    /// Nothing seen.
    pub const fn new() -> Self {
        Walk {
            pool: Pool::new(),
            frontier: BinaryHeap::new(),
            unsorted: Vec::new(),
            visited: IdMap::new(),
            found: Vec::new(),
            free: Vec::new(),
            results: Vec::new(),
            passed_over: Vec::new(),
            kept: BinaryHeap::new(),
            collected: Vec::new(),
            out: Expansion::new(),
            scored: 0,
            expanded: 0,
            patience: None,
            gave_up: false,
            given: Vec::new(),
            stop_at: u64::MAX,
            errors: Errors::NONE,
            widens_at: usize::MAX,
        }
    }

    /// Forgets everything, for a new query.
    pub fn clear(&mut self) {
        self.begin_layer();
        (self.scored, self.expanded) = (0, 0);
        (self.patience, self.gave_up, self.stop_at) = (None, false, u64::MAX);
        self.widens_at = usize::MAX;
        self.given.clear();
    }

    /// Begins a layer: nothing is visited.
    pub fn begin_layer(&mut self) {
        self.pool.clear();
        self.frontier.clear();
        self.unsorted.clear();
        self.visited.clear();
        self.found.clear();
        self.free.clear();
        self.results.clear();
        self.passed_over.clear();
        self.kept.clear();
        self.collected.clear();
    }

    /// Adds the node that a search of a layer begins with.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    pub fn enter(&mut self, id: u32) -> Result<(), Damage> {
        self.visited.reserve(1)?;
        self.frontier.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
        if let Some(key) = self.visited.entry(id).filter(|key| **key == NEW) {
            *key = HIGHEST;
            self.frontier.push(Reverse(u64::from(HIGHEST) << 32 | u64::from(id)));
            self.scored += 1;
        }
        Ok(())
    }

    /// The result at a position, nearest first.
    #[inline]
    pub fn result(&self, at: usize) -> Option<&Found> {
        self.results.get(at).and_then(|&(_, place)| self.found.get(place as usize))
    }

    /// The nearest of the nodes that led on, but filled no place in the result: a layer below may begin with them.
    pub fn passed_over(&self) -> &[Found] {
        &self.passed_over
    }

    /// Notes a node that fills no place in the result.
    #[cold]
    fn pass_over(&mut self, found: Found) -> Result<(), Damage> {
        let at = self.passed_over.partition_point(|other| other.distance < found.distance);
        if at < PASSED_OVER {
            self.passed_over.truncate(PASSED_OVER - 1);
            self.passed_over.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
            self.passed_over.insert(at, found);
        }
        Ok(())
    }

    /// The number of results.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    pub(super) fn place(&mut self, found: Found) -> Result<u32, Damage> {
        if let Some(at) = self.free.pop()
            && let Some(place) = self.found.get_mut(at as usize)
        {
            *place = found;
            return Ok(at);
        }
        self.found.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
        self.found.push(found);
        Ok(self.found.len() as u32 - 1)
    }

    /// Adds a node to the results, of which there are at most `ef`; what falls out is kept, or forgotten.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    #[inline]
    pub fn add_result(&mut self, found: Found, ef: usize, keeps: bool) -> Result<(), Damage> {
        let key = wide_order_key(found.distance);
        if self.results.len() >= ef && self.results.last().is_none_or(|last| key >= last.0) {
            return if keeps { self.keep(found) } else { Ok(()) };
        }
        let place = self.place(found)?;
        self.results.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
        let at = self.results.partition_point(|&other| other < (key, place));
        self.results.insert(at, (key, place));
        if self.results.len() > ef
            && let Some(out) = self.results.pop()
        {
            if keeps {
                self.kept.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
                self.kept.push(Reverse(out));
            } else {
                self.free.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
                self.free.push(out.1);
            }
        }
        Ok(())
    }

    /// The key at which, and beyond which, candidates are of no use.
    #[inline(always)]
    fn limit(&self, ef: usize) -> u32 {
        match self.results.last() {
            Some(&(_, place)) if self.results.len() >= ef => {
                self.found.get(place as usize).map_or(u32::MAX, |found| key_at(found.distance))
            }
            _ => u32::MAX,
        }
    }

    /// Whether a layer is to be searched on: too little was found, or where all is to be seen something that waits may
    /// be nearer than the farthest.
    fn goes_on(&mut self, ef: usize, exhausts: bool) -> Result<bool, Damage> {
        if self.results.len() >= ef && !exhausts {
            return Ok(false);
        }
        match self.limit(ef) {
            // what fills the result is near
            u32::MAX => self.sort_out_nearest(SEEN_PER_CANDIDATE * self.pool.width())?,
            limit => self.sort_out(limit)?,
        }
        // as expand_pool has it, or this would never end
        let nearer = |Reverse(top): &Reverse<u64>| ((*top >> 32) as u32) < self.limit(ef) & !1;
        Ok(self.results.len() < ef || self.frontier.peek().is_some_and(nearer))
    }

    /// Puts the nearest candidates that wait into the pool; false when there are none.
    fn fill_pool(&mut self, width: usize) -> bool {
        self.pool.clear();
        while self.pool.len() < width
            && let Some(Reverse(top)) = self.frontier.pop()
        {
            // those that were read since, or are in the pool by a lower bound
            let known = self.visited.entry(top as u32).copied();
            if known.is_some_and(|known| known & !1 == (top >> 32) as u32 & !1) {
                self.pool.insert(Pool::word((top >> 32) as u32, top as u32));
            }
        }
        !self.pool.is_empty()
    }

    /// Expands candidates until none of the beam can be among the nearest `ef`.
    ///
    /// # Errors
    /// Damaged blocks, or no memory.
    pub fn search_layer<B: BlockStore, S: CodedSpace>(
        &mut self,
        reader: &mut Reader<'_, '_, B, S>,
        ef: usize,
        layer: u8,
        others: Others,
    ) -> Result<(), B::Error> {
        let no_memory = |damage: Damage| B::Error::from(damage.on(super::meta::META_BLOCK));
        let (width, rank) = reader.widths(ef);
        self.pool.begin(width, rank).map_err(|_| no_memory(Damage::OUT_OF_MEMORY))?;
        self.visited.reserve(SEEN_PER_CANDIDATE * width).map_err(no_memory)?;
        let (keeps, exhausts) = (others != Others::Forget, others == Others::Exhaust);
        // what goes on until nothing that waits may be nearer needs no wider beam
        let may_widen = layer == 0 && !exhausts && reader.estimates();
        (self.errors, self.widens_at) = (Errors::NONE, if may_widen { ef.div_ceil(2) } else { usize::MAX });
        // What the pool has no room for is of no use, unless the search goes on, or candidates turn out to fill no
        // place.
        let spares = keeps || reader.may_pass_over();
        while !self.gave_up && self.goes_on(ef, exhausts).map_err(no_memory)? {
            if !self.fill_pool(width) {
                if self.unsorted.is_empty() {
                    break;
                }
                // all that was looked up was known: others are behind it
                continue;
            }
            self.expand_pool(reader, ef, layer, [keeps, spares])?;
            if !spares {
                break;
            }
            let room = self.frontier.try_reserve(self.pool.len());
            room.map_err(|_| no_memory(Damage::OUT_OF_MEMORY))?;
            self.frontier.extend(self.pool.waiting().map(Reverse));
        }
        self.pool.clear();
        Ok(())
    }

    /// The first search of a scan under conditions. When it has seen which share of neighbours matches, it goes on with
    /// as many candidates and results as that takes, and lets those go that are of no use: what it does not find a run
    /// will.
    ///
    /// # Errors
    /// Damaged blocks, or no memory.
    pub(super) fn search_filtered<B: BlockStore, S: CodedSpace>(
        &mut self,
        reader: &mut Reader<'_, '_, B, S>,
        ef: usize,
    ) -> Result<(), B::Error> {
        let no_memory = |damage: Damage| B::Error::from(damage.on(super::meta::META_BLOCK));
        let (width, rank) = reader.widths(ef);
        let widths = |times: f64| [width, rank].map(|n| (n as f64 * times) as usize);
        // what falls out of a pool for half of the nodes would hardly be read where fewer match
        if self.begin_beam(widths(Patience::AT_FIRST)).map_err(no_memory)? {
            self.stop_at = FIRST;
            self.expand_pool(reader, ef, 0, [true, false])?;
            self.stop_at = u64::MAX;
            if !self.gave_up {
                let [width, rank] = widths(self.patience.map_or(1.0, |patience| patience.width()));
                self.pool.resize(width, rank).map_err(|_| no_memory(Damage::OUT_OF_MEMORY))?;
                self.visited.reserve(SEEN_PER_CANDIDATE * width).map_err(no_memory)?;
                self.expand_pool(reader, ef.saturating_mul(Patience::RESULTS), 0, [true, false])?;
            }
        }
        self.pool.clear();
        Ok(())
    }

    /// Begins a search under conditions, whose beam is as wide as this from the beginning; false when nothing waits.
    fn begin_beam(&mut self, [width, rank]: [usize; 2]) -> Result<bool, Damage> {
        self.widens_at = usize::MAX;
        self.pool.begin(width, rank).map_err(|_| Damage::OUT_OF_MEMORY)?;
        self.visited.reserve(SEEN_PER_CANDIDATE * width)?;
        Ok(self.fill_pool(width))
    }

    /// A later search of such a scan, from what waits: for `ef` rows, with so many times the candidates of one without
    /// conditions.
    ///
    /// # Errors
    /// Damaged blocks, or no memory.
    pub(super) fn search_beside<B: BlockStore, S: CodedSpace>(
        &mut self,
        reader: &mut Reader<'_, '_, B, S>,
        ef: usize,
        times: f64,
    ) -> Result<(), B::Error> {
        let no_memory = |damage: Damage| B::Error::from(damage.on(super::meta::META_BLOCK));
        let (width, rank) = reader.widths(ef);
        if self.begin_beam([width, rank].map(|n| (n as f64 * times) as usize)).map_err(no_memory)? {
            self.expand_pool(reader, ef.saturating_mul(Patience::RESULTS), 0, [true, false])?;
        }
        self.pool.clear();
        Ok(())
    }

    /// Expands candidates of the pool until none of them can be among the nearest `ef`.
    #[inline(always)]
    fn expand_pool<B: BlockStore, S: CodedSpace>(
        &mut self,
        reader: &mut Reader<'_, '_, B, S>,
        ef: usize,
        layer: u8,
        [keeps, spares]: [bool; 2],
    ) -> Result<(), B::Error> {
        let (exact, kernels) = (reader.is_exact(), kernels());
        let mut next = self.choose();
        while let Some(word) = next {
            let (key, id) = ((word >> 32) as u32, word as u32);
            let limit = self.limit(ef);
            // where distances are small integers, those as far as the last lead to a good part of the result
            let (over, settled) = self.patience.as_ref().map_or((false, false), |patience| {
                (patience.is_over(self.expanded), patience.is_settled(self.expanded, self.results.len()))
            });
            self.gave_up |= over;
            if over
                || settled
                || self.expanded >= self.stop_at
                || key > limit
                || key == limit & !1 && !exact && limit != u32::MAX
            {
                if !self.pool.untake(word) && spares {
                    // it fell out of the pool meanwhile
                    self.frontier
                        .try_reserve(1)
                        .map_err(|_| B::Error::from(Damage::OUT_OF_MEMORY.on(super::meta::META_BLOCK)))?;
                    self.frontier.push(Reverse(word));
                }
                if let Some(known) = self.visited.entry(id) {
                    *known = key;
                }
                break;
            }
            // The next is chosen before this one's neighbours are known, and stays chosen: it has time to come.
            next = self.choose();
            if let Some(next) = next {
                reader.prefetch(next as u32, layer);
            }
            self.expanded += 1;
            if let Some(found) = reader.expand(id, layer, &mut self.out)? {
                if self.widens_at != usize::MAX && key != HIGHEST {
                    self.errors.note(key, found.distance);
                }
                if let Some(patience) = &mut self.patience {
                    patience.note(&self.out.matches, found.matches);
                }
                let noted = if reader.accepts(&found, layer)? {
                    if let Some(patience) = &mut self.patience {
                        let last = self.results.get(patience.front().saturating_sub(1));
                        patience.note_result(
                            last.map(|&(key, _)| key),
                            wide_order_key(found.distance),
                            self.expanded,
                        );
                    }
                    self.add_result(found, ef, keeps)
                } else if reader.filter().is_some() {
                    Ok(())
                } else {
                    self.pass_over(found)
                };
                noted
                    .and_then(|()| if self.results.len() >= self.widens_at { self.widen(ef) } else { Ok(()) })
                    .and_then(|()| self.take(ef, spares, kernels))
                    .map_err(|damage| B::Error::from(damage.on(super::meta::META_BLOCK)))?;
            }
            if next.is_none() {
                next = self.choose();
            }
        }
        Ok(())
    }

    /// Makes the beam as wide as it should be for what estimates have erred by so far.
    #[cold]
    fn widen(&mut self, ef: usize) -> Result<(), Damage> {
        self.widens_at = usize::MAX;
        let known = self.results.len();
        let distance = |at: usize| self.result(at).map_or(f64::NAN, |found| found.distance);
        let spread = [distance(known / 4), distance(known.saturating_sub(1))];
        let width = self.errors.widened(self.pool.width(), ef, spread);
        if width > self.pool.width() {
            self.pool.resize(width, width).map_err(|_| Damage::OUT_OF_MEMORY)?;
            self.visited.reserve(SEEN_PER_CANDIDATE * width)?;
        }
        Ok(())
    }

    /// Takes the nearest candidate from the pool, to be read.
    #[inline(always)]
    fn choose(&mut self) -> Option<u64> {
        let word = self.pool.take()?;
        // it is in the map, so that nothing is added
        if let Some(known) = self.visited.entry(word as u32) {
            *known = READ;
        }
        Some(word)
    }

    /// Takes in the neighbours of a node; with `spares` also those that are of no use now.
    #[inline(always)]
    fn take(&mut self, ef: usize, spares: bool, kernels: &Kernels) -> Result<(), Damage> {
        let limit = self.limit(ef);
        let Walk { pool, frontier, unsorted, visited, out, scored, .. } = self;
        visited.reserve(out.ids.len())?;
        if spares {
            // for those that fall out of the pool, and for those of no use now
            frontier.try_reserve(out.ids.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
            unsorted.try_reserve(out.ids.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        }
        let mut highest = limit.min(pool.limit());
        let (ids, bounds) = (out.ids.chunks(CHUNK), out.bounds.chunks(CHUNK));
        for (ids, bounds) in ids.zip(bounds) {
            // those beyond are of no use, visited or not: most are, and to look them up is dearer than to estimate them
            let below = if highest >= HIGHEST { f32::NAN } else { distance_of(highest) };
            let mut chosen = if below.is_nan() { u64::MAX } else { kernels.below(bounds, below) };
            if spares {
                let mut end = unsorted.len();
                // room was taken for all; which of them are chosen is as good as random
                unsorted.resize(end + ids.len(), 0);
                for (at, (&id, &bound)) in ids.iter().zip(bounds).enumerate() {
                    if let Some(place) = unsorted.get_mut(end) {
                        *place = Pool::word(candidate_key(bound), id);
                    }
                    end += usize::from(chosen >> at & 1 == 0);
                }
                unsorted.truncate(end);
            }
            while chosen != 0 {
                let at = chosen.trailing_zeros() as usize;
                chosen &= chosen - 1;
                let (Some(&id), Some(&bound)) = (ids.get(at), bounds.get(at)) else { break };
                let key = candidate_key(bound);
                if key >= highest {
                    if spares {
                        unsorted.push(Pool::word(key, id));
                    }
                    continue;
                }
                let Some(known) = visited.entry(id) else { continue };
                // Another edge gives another estimate, and a better one where it is shorter: the lowest counts.
                if key >= *known {
                    continue;
                }
                let (old, word) = (*known, Pool::word(key, id));
                *known = key;
                *scored += u64::from(old == NEW);
                if (old == NEW || !pool.improve(Pool::word(old, id), word))
                    && let Some(dropped) = pool.insert(word).filter(|_| spares)
                {
                    frontier.push(Reverse(dropped));
                }
                highest = limit.min(pool.limit());
            }
        }
        Ok(())
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        (self.frontier.capacity() + self.unsorted.capacity()) * size_of::<u64>()
            + self.pool.allocated()
            + self.visited.allocated()
            + self.found.capacity() * size_of::<Found>()
            + self.free.capacity() * size_of::<u32>()
            + (self.results.capacity() + self.kept.capacity() + self.collected.capacity())
                * size_of::<(u64, u32)>()
            + self.passed_over.capacity() * size_of::<Found>()
            + self.given.capacity() * size_of::<u32>()
            + self.out.allocated()
    }

    /// Bytes that this query fills.
    pub fn in_use(&self) -> usize {
        (self.frontier.len() + self.unsorted.len()) * size_of::<u64>()
            // at its fullest, the set's table is half empty
            + self.visited.len() * 2 * IdMap::SLOT_SIZE
            + (self.found.len() - self.free.len()) * size_of::<Found>()
            + (self.results.len() + self.kept.len() + self.collected.len()) * size_of::<(u64, u32)>()
            + self.given.len() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_distances() {
        let distances = [f64::NEG_INFINITY, -2.5, -1e-30, 0.0, 1e-30, 1.0, 1.0 + 1e-12, 7.5, f64::INFINITY];
        for pair in distances.windows(2) {
            assert!(wide_order_key(pair[0]) < wide_order_key(pair[1]));
            assert!(key_at(pair[0]) <= key_at(pair[1]));
        }
        assert!(order_key(1.0) < key_at(1.0 + 1e-12));
    }
}
