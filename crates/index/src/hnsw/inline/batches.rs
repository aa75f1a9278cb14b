//! What a walk over the graph keeps of the nodes that are none of the nearest, for scans that go on: batches of
//! results, and what they begin with. Of the neighbours that lists name most are farther than anything that a search
//! needs, and most scans end with their first batch: those beyond the beam are noted as they come, and looked up only
//! when a later batch, by its limit, may need them.

use std::cmp::Reverse;

use super::id_map::{NEW, READ};
use super::meta::META_BLOCK;
use super::reader::{Found, Reader};
use super::search::{Walk, key_at, wide_order_key};
use crate::quant::space::CodedSpace;
use crate::storage::blocks::BlockStore;
use crate::storage::page::Damage;

/// Ids that are looked up while the places of others come from memory.
const TOGETHER: usize = 64;

/// Moves what `stays` to the front, and returns how many that are.
fn partition(words: &mut [u64], stays: impl Fn(u64) -> bool) -> usize {
    let mut front = 0;
    for at in 0..words.len() {
        // no branch: whether one stays is as good as random
        words.swap(at, front);
        front += usize::from(words.get(front).is_some_and(|&word| stays(word)));
    }
    front
}

impl Walk {
    /// Forgets the results, which were returned, and makes the nearest of what was kept the next ones, up to `ef`.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    pub fn next_batch(&mut self, ef: usize) -> Result<(), Damage> {
        self.free.try_reserve(self.results.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        self.free.extend(self.results.drain(..).map(|(_, place)| place));
        let more = ef.min(self.kept.len());
        self.results.try_reserve(more).map_err(|_| Damage::OUT_OF_MEMORY)?;
        for _ in 0..more {
            let Some(Reverse(next)) = self.kept.pop() else { break };
            self.results.push(next);
        }
        Ok(())
    }

    /// Makes candidates of the neighbours that were of no use, each once, by its lowest bound: those whose keys are
    /// below `limit`.
    pub(super) fn sort_out(&mut self, limit: u32) -> Result<(), Damage> {
        let Walk { unsorted, frontier, visited, scored, .. } = self;
        let limit = u64::from(limit) << 32;
        let beyond = partition(unsorted, |word| word >= limit);
        let (_, below) = unsorted.split_at_mut(beyond);
        let mut candidates = 0;
        for first in (0..below.len()).step_by(TOGETHER) {
            let some = first..below.len().min(first + TOGETHER);
            visited.reserve(some.len())?;
            below
                .get(some.clone())
                .unwrap_or_default()
                .iter()
                .for_each(|&word| visited.prefetch(word as u32));
            for at in some {
                let Some(&word) = below.get(at) else { break };
                let key = (word >> 32) as u32;
                // most are the same few
                if let Some(known) = visited.entry(word as u32).filter(|known| key < **known) {
                    *scored += u64::from(*known == NEW);
                    *known = key;
                    if let Some(place) = below.get_mut(candidates) {
                        *place = word;
                    }
                    candidates += 1;
                }
            }
        }
        let candidates = below.get(..candidates).unwrap_or_default();
        frontier.try_reserve(candidates.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        frontier.extend(candidates.iter().copied().map(Reverse));
        unsorted.truncate(beyond);
        Ok(())
    }

    /// The same of the nearest so many, as often as lists name them, and of some as near.
    pub(super) fn sort_out_nearest(&mut self, count: usize) -> Result<(), Damage> {
        if self.unsorted.len() <= count {
            return self.sort_all_out();
        }
        let (_, &mut word, _) = self.unsorted.select_nth_unstable(count);
        self.sort_out((word >> 32) as u32 + 1)
    }

    /// Makes candidates of all that was seen.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    pub fn sort_all_out(&mut self) -> Result<(), Damage> {
        self.sort_out(u32::MAX)
    }

    /// Whether so many nodes were estimated.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    pub fn has_scored(&mut self, count: u64) -> Result<bool, Damage> {
        if self.scored < count && self.scored + self.unsorted.len() as u64 >= count {
            // some of them are the same
            self.sort_all_out()?;
        }
        Ok(self.scored >= count)
    }

    /// Whether there is something to go on with, in `results` or beyond.
    pub fn has_more(&self) -> bool {
        !(self.results.is_empty() && self.frontier.is_empty() && self.unsorted.is_empty())
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

    /// Leaves the nearest `ef` results; with `keeps`, the others are kept for later batches.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    pub fn narrow(&mut self, ef: usize, keeps: bool) -> Result<(), Damage> {
        let spare = self.results.len().saturating_sub(ef);
        if keeps {
            self.kept.try_reserve(spare).map_err(|_| Damage::OUT_OF_MEMORY)?;
        } else {
            self.free.try_reserve(spare).map_err(|_| Damage::OUT_OF_MEMORY)?;
        }
        while self.results.len() > ef
            && let Some(out) = self.results.pop()
        {
            if keeps {
                self.kept.push(Reverse(out));
            } else {
                self.free.push(out.1);
            }
        }
        Ok(())
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
        for &id in ids.iter() {
            if self.visited.contains(id) {
                continue;
            }
            let found = reader.score(id, &mut self.out)?;
            let Some(found) = found.filter(Found::has_rows) else { continue };
            self.scored += 1;
            let added = self.add_result(found, usize::MAX, true);
            added.map_err(|damage| B::Error::from(damage.on(block)))?;
        }
        Ok(())
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
        match reader.score(id, &mut self.out)? {
            Some(found) => self.keep(found).map_err(|damage| B::Error::from(damage.on(META_BLOCK))),
            None => Ok(()),
        }
    }
}
