//! Search in one layer by estimates. Candidates wait in the order of what they are at most as near as; each
//! that is expanded gets its exact distance, and the result holds exact distances only. A layer is done when no
//! candidate can be nearer than the farthest of a full result.
//!
//! An estimate errs, so a search that went by the first estimate of each node would miss what is estimated too
//! far. A node that several lists name has an estimate from each, the better the shorter the edge, and the
//! lowest of them counts. Bounds are the estimates less [`caution`] deviations.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::reader::{Expansion, Found, Reader};
use crate::quant::rabitq::Bits;
use crate::quant::space::CodedSpace;
use crate::storage::blocks::BlockStore;
use crate::storage::page::Damage;

/// Deviations that bounds lie below the estimates, found on several data sets (benches/benches/hnsw_layouts.rs)
/// so that recall at equal `ef_search` is that of a search by exact distances. It is negative, bounds lie
/// above: the lowest of several estimates is too low in the mean, and a candidate that is not expanded is
/// mostly met again over a shorter edge.
pub const fn caution(bits: Bits) -> f32 {
    match bits.get() {
        1 | 2 => -0.25,
        _ => 0.0,
    }
}

/// Distances as integers of the same order.
#[inline(always)]
fn order_key(distance: f32) -> u32 {
    let bits = distance.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

#[inline(always)]
fn wide_order_key(distance: f64) -> u64 {
    let bits = distance.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// The key that stands for the bounds below a distance.
#[inline(always)]
fn key_at(distance: f64) -> u32 {
    // rounded up: a bound that is equal in half the bits may still be below
    let narrow = distance as f32;
    let narrow = if f64::from(narrow) < distance { narrow.next_up() } else { narrow };
    order_key(narrow)
}

/// A map from ids to keys that empties in no time: open addressing over (epoch, id) words.
#[derive(Debug, Default)]
pub struct IdMap {
    slots: Vec<u64>,
    /// of each slot
    keys: Vec<u32>,
    used: usize,
    epoch: u32,
}

/// The key of an id that was just added: behind all others.
pub const NEW: u32 = u32::MAX;
/// The key of one that was read: before all others.
pub const READ: u32 = 0;

/// That of one that a search begins with: before all that are estimated.
const ENTERED: u32 = 1;

const SMALLEST_MAP: usize = 1 << 12;

/// Nodes that fill no place in a result, of which a layer below begins with the nearest.
const PASSED_OVER: usize = 8;

impl IdMap {
    /// An empty map, nothing allocated.
    pub const fn new() -> Self {
        IdMap { slots: Vec::new(), keys: Vec::new(), used: 0, epoch: 0 }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.used = 0;
        self.epoch = self.epoch.wrapping_add(1);
        // zero is the epoch of slots never used
        if self.epoch == 0 {
            self.slots.fill(0);
            self.epoch = 1;
        }
    }

    #[inline(always)]
    fn start(id: u32, len: usize) -> usize {
        // Fibonacci hashing
        (u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - len.trailing_zeros())) as usize
    }

    /// Makes room for more ids, so that adding them allocates nothing.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    #[inline(always)]
    pub fn reserve(&mut self, more: usize) -> Result<(), Damage> {
        while (self.used + more) * 2 > self.slots.len() {
            self.grow()?;
        }
        Ok(())
    }

    #[cold]
    fn grow(&mut self) -> Result<(), Damage> {
        self.epoch = self.epoch.max(1);
        let len = (self.slots.len() * 2).max(SMALLEST_MAP);
        let mut slots = crate::work::memory::filled(0u64, len)?;
        let mut keys = crate::work::memory::filled(0u32, len)?;
        let old = self.slots.iter().zip(&self.keys);
        for (&word, &key) in old.filter(|(word, _)| (**word >> 32) as u32 == self.epoch) {
            let mut at = Self::start(word as u32, len);
            while slots[at & (len - 1)] != 0 {
                at += 1;
            }
            (slots[at & (len - 1)], keys[at & (len - 1)]) = (word, key);
        }
        (self.slots, self.keys) = (slots, keys);
        Ok(())
    }

    /// The place of an id, for which there is room; it is added when it is not there. Returns the key, [`NEW`]
    /// of one that was added. Without a reservation, and without room, there is none.
    #[inline(always)]
    pub fn entry(&mut self, id: u32) -> Option<&mut u32> {
        let len = self.slots.len();
        if len == 0 {
            return None;
        }
        let word = u64::from(self.epoch) << 32 | u64::from(id);
        let mut at = Self::start(id, len);
        // at most half of the places are taken
        loop {
            let place = at & (len - 1);
            if self.slots[place] == word {
                return self.keys.get_mut(place);
            }
            if (self.slots[place] >> 32) as u32 != self.epoch {
                if self.used * 2 >= len {
                    return None;
                }
                self.slots[place] = word;
                self.keys[place] = NEW;
                self.used += 1;
                return self.keys.get_mut(place);
            }
            at += 1;
        }
    }

    /// Whether an id is in it.
    pub fn contains(&self, id: u32) -> bool {
        let len = self.slots.len();
        if len == 0 {
            return false;
        }
        let word = u64::from(self.epoch) << 32 | u64::from(id);
        let mut at = Self::start(id, len);
        loop {
            let slot = self.slots[at & (len - 1)];
            if slot == word {
                return true;
            }
            if (slot >> 32) as u32 != self.epoch {
                return false;
            }
            at += 1;
        }
    }

    /// The number of ids in it.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        self.slots.capacity() * (size_of::<u64>() + size_of::<u32>())
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }
}

/// What a walk over the graph has seen; reused from scan to scan.
#[derive(Debug, Default)]
pub struct Walk {
    /// candidates: key of the bound, id
    frontier: BinaryHeap<Reverse<u64>>,
    /// nodes named by lists of this layer: the key of the lowest bound, or [`READ`]
    pub visited: IdMap,
    /// nodes that were read
    found: Vec<Found>,
    /// places in `found` that nobody needs any more
    free: Vec<u32>,
    /// the nearest of them, nearest first: key of the exact distance, place in `found`
    results: Vec<(u64, u32)>,
    /// the nearest of those that fill no place in the result of a repair, nearest first
    passed_over: Vec<Found>,
    /// others, that a later batch returns
    kept: BinaryHeap<Reverse<(u64, u32)>>,
    /// the nearest bounds, where bounds are exact
    near: Vec<u32>,
    out: Expansion,
    /// nodes estimated since the walk began
    pub scored: u64,
    /// nodes read
    pub expanded: u64,
}

impl Walk {
    /// Nothing seen.
    pub const fn new() -> Self {
        Walk {
            frontier: BinaryHeap::new(),
            visited: IdMap::new(),
            found: Vec::new(),
            free: Vec::new(),
            results: Vec::new(),
            passed_over: Vec::new(),
            kept: BinaryHeap::new(),
            near: Vec::new(),
            out: Expansion::new(),
            scored: 0,
            expanded: 0,
        }
    }

    /// Forgets everything, for a new query.
    pub fn clear(&mut self) {
        self.begin_layer();
        (self.scored, self.expanded) = (0, 0);
    }

    /// Begins a layer: nothing is visited.
    pub fn begin_layer(&mut self) {
        self.frontier.clear();
        self.visited.clear();
        self.found.clear();
        self.free.clear();
        self.results.clear();
        self.passed_over.clear();
        self.kept.clear();
        self.near.clear();
    }

    /// Adds the node that a search of a layer begins with.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    pub fn enter(&mut self, id: u32) -> Result<(), Damage> {
        self.visited.reserve(1)?;
        self.frontier.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
        if let Some(key) = self.visited.entry(id).filter(|key| **key == NEW) {
            *key = ENTERED;
            self.frontier.push(Reverse(u64::from(ENTERED) << 32 | u64::from(id)));
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

    /// Forgets the results, which were returned, and makes the nearest of what was kept the next ones, up to `ef`.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    pub fn next_batch(&mut self, ef: usize) -> Result<(), Damage> {
        self.free.try_reserve(self.results.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        self.free.extend(self.results.drain(..).map(|(_, place)| place));
        self.near.clear();
        let more = ef.min(self.kept.len());
        self.results.try_reserve(more).map_err(|_| Damage::OUT_OF_MEMORY)?;
        for _ in 0..more {
            let Some(Reverse(next)) = self.kept.pop() else { break };
            self.results.push(next);
        }
        Ok(())
    }

    /// Whether there is something to go on with, in `results` or beyond.
    pub fn has_more(&self) -> bool {
        !(self.results.is_empty() && self.frontier.is_empty())
    }

    /// Takes the nearest candidate that waits, by its bound, unless what was kept is nearer.
    pub fn pop_candidate(&mut self) -> Option<u32> {
        loop {
            let Reverse(top) = self.frontier.peek()?;
            let kept = self.kept.peek().and_then(|Reverse((_, place))| self.found.get(*place as usize));
            if kept.is_some_and(|kept| key_at(kept.distance) <= (top >> 32) as u32) {
                return None;
            }
            let Reverse(top) = self.frontier.pop()?;
            if self.begin(top) {
                return Some(top as u32);
            }
        }
    }

    /// Whether a candidate was not read yet, and is to be now.
    #[inline(always)]
    fn begin(&mut self, top: u64) -> bool {
        // it is in the map, so that nothing is added
        match self.visited.entry(top as u32) {
            Some(key) if *key != READ => {
                *key = READ;
                true
            }
            _ => false,
        }
    }

    /// Keeps a node that was read for a later batch.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    pub fn keep(&mut self, found: Found) -> Result<(), Damage> {
        self.kept.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
        let place = self.place(found)?;
        self.kept.push(Reverse((wide_order_key(found.distance), place)));
        Ok(())
    }

    fn place(&mut self, found: Found) -> Result<u32, Damage> {
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
    fn limit(&self, ef: usize, exact: bool) -> u32 {
        let limit = match self.results.last() {
            Some(&(_, place)) if self.results.len() >= ef => {
                self.found.get(place as usize).map_or(u32::MAX, |found| key_at(found.distance))
            }
            _ => u32::MAX,
        };
        match self.near.last() {
            Some(&last) if exact && self.near.len() >= ef => limit.min(last),
            _ => limit,
        }
    }

    /// Notes an exact bound.
    #[inline(always)]
    fn note(&mut self, key: u32, ef: usize) -> Result<(), Damage> {
        if self.near.len() >= ef {
            if self.near.last().is_none_or(|&last| key >= last) {
                return Ok(());
            }
            self.near.pop();
        }
        self.near.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
        let at = self.near.partition_point(|&other| other < key);
        self.near.insert(at, key);
        Ok(())
    }

    /// Expands candidates until none that waits can be among the nearest `ef`. With `keeps`, everything that is seen is
    /// either a result, or kept, or still waits.
    ///
    /// # Errors
    /// Damaged blocks, or no memory.
    pub fn search_layer<B: BlockStore, S: CodedSpace>(
        &mut self,
        reader: &mut Reader<'_, '_, B, S>,
        ef: usize,
        layer: u8,
        keeps: bool,
    ) -> Result<(), B::Error> {
        let exact = reader.is_exact();
        let mut out = core::mem::take(&mut self.out);
        let mut result = Ok(());
        while let Some(&Reverse(top)) = self.frontier.peek() {
            let (key, id) = ((top >> 32) as u32, top as u32);
            let limit = self.limit(ef, exact);
            // where distances are small integers, those as far as the last lead to a good part of the result
            if key > limit || key == limit && !exact {
                break;
            }
            self.frontier.pop();
            if !self.begin(top) {
                continue;
            }
            if let Some(&Reverse(next)) = self.frontier.peek() {
                reader.prefetch(next as u32, layer);
            }
            self.expanded += 1;
            let expanded = reader.expand(id, layer, &mut out);
            result = expanded.and_then(|found| match found {
                Some(found) => {
                    let accepted = reader.accepts(&found, layer)?;
                    let noted =
                        if accepted { self.add_result(found, ef, keeps) } else { self.pass_over(found) };
                    let noted = noted.and_then(|()| self.take(&out, ef, exact, keeps));
                    noted.map_err(|damage| B::Error::from(damage.on(super::meta::META_BLOCK)))
                }
                None => Ok(()),
            });
            if result.is_err() {
                break;
            }
        }
        self.out = out;
        result
    }

    /// Takes in the neighbours of a node.
    #[inline(always)]
    fn take(&mut self, out: &Expansion, ef: usize, exact: bool, keeps: bool) -> Result<(), Damage> {
        self.visited.reserve(out.ids.len())?;
        self.frontier.try_reserve(out.ids.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        let mut limit = self.limit(ef, exact);
        for (&id, &bound) in out.ids.iter().zip(&out.bounds) {
            let key = order_key(bound).clamp(ENTERED, NEW - 1);
            if key >= limit && !keeps {
                // of no use, visited or not: most are, and to look them up is dearer than to estimate them
                continue;
            }
            let Some(known) = self.visited.entry(id) else { continue };
            // Another edge gives another estimate, and a better one where it is shorter: the lowest bound counts.
            if key >= *known {
                continue;
            }
            let new = *known == NEW;
            *known = key;
            self.scored += u64::from(new);
            if key < limit || keeps && new {
                self.frontier.push(Reverse(u64::from(key) << 32 | u64::from(id)));
            }
            if exact && new && key < limit {
                self.note(key, ef)?;
                limit = self.limit(ef, exact);
            }
        }
        Ok(())
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        self.frontier.capacity() * size_of::<u64>()
            + self.visited.allocated()
            + self.found.capacity() * size_of::<Found>()
            + self.free.capacity() * size_of::<u32>()
            + (self.results.capacity() + self.kept.capacity()) * size_of::<(u64, u32)>()
            + self.passed_over.capacity() * size_of::<Found>()
            + self.near.capacity() * size_of::<u32>()
            + self.out.allocated()
    }

    /// Bytes that this query fills.
    pub fn in_use(&self) -> usize {
        self.frontier.len() * size_of::<u64>()
            // at its fullest, the set's table is half empty
            + self.visited.len() * 2 * (size_of::<u64>() + size_of::<u32>())
            + (self.found.len() - self.free.len()) * size_of::<Found>()
            + (self.results.len() + self.kept.len()) * size_of::<(u64, u32)>()
    }

    /// Scores the nodes with rows of a page that were not visited, for a pass over all pages; they become results.
    ///
    /// # Errors
    /// Damaged blocks, or no memory.
    pub fn pass<B: BlockStore, S: CodedSpace>(
        &mut self,
        reader: &mut Reader<'_, '_, B, S>,
        block: u32,
        ids: &mut Vec<u32>,
    ) -> Result<(), B::Error> {
        reader.nodes_of(block, ids)?;
        let mut out = core::mem::take(&mut self.out);
        let mut result = Ok(());
        for &id in ids.iter() {
            if self.visited.contains(id) {
                continue;
            }
            result = reader.score(id, &mut out).and_then(|found| {
                let Some(found) = found.filter(Found::has_rows) else { return Ok(()) };
                self.scored += 1;
                let added = self.add_result(found, usize::MAX, true);
                added.map_err(|damage| B::Error::from(damage.on(block)))
            });
            if result.is_err() {
                break;
            }
        }
        self.out = out;
        result
    }

    /// Reads a candidate that waits, for its exact distance; it is kept.
    ///
    /// # Errors
    /// Damaged blocks, or no memory.
    pub fn read_candidate<B: BlockStore, S: CodedSpace>(
        &mut self,
        reader: &mut Reader<'_, '_, B, S>,
        id: u32,
    ) -> Result<(), B::Error> {
        let mut out = core::mem::take(&mut self.out);
        let read = reader.score(id, &mut out);
        self.out = out;
        match read? {
            Some(found) => {
                self.keep(found).map_err(|damage| B::Error::from(damage.on(super::meta::META_BLOCK)))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_order_as_distances() {
        let distances = [f64::NEG_INFINITY, -2.5, -1e-30, 0.0, 1e-30, 1.0, 1.0 + 1e-12, 7.5, f64::INFINITY];
        for pair in distances.windows(2) {
            assert!(wide_order_key(pair[0]) < wide_order_key(pair[1]));
            assert!(key_at(pair[0]) <= key_at(pair[1]));
        }
        assert!(order_key(1.0) < key_at(1.0 + 1e-12));
    }

    #[test]
    fn an_id_map_is_a_map_over_growth_and_epochs() {
        let (mut set, mut x) = (IdMap::new(), 1u64);
        assert!(!set.contains(0));
        for round in 0..3 {
            set.clear();
            let mut model = HashSet::new();
            for _ in 0..20_000 {
                x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let id = (x >> 50) as u32;
                set.reserve(1).unwrap();
                let key = set.entry(id).unwrap();
                assert_eq!(*key, if model.insert(id) { NEW } else { id ^ 5 });
                *key = id ^ 5;
            }
            assert_eq!(set.len(), model.len());
            assert!((0..1 << 14).all(|id| set.contains(id) == model.contains(&id)), "{round}");
        }
    }
}
