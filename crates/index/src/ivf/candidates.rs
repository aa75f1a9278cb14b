//! Rows found by a scan, given out nearest first. Nothing is sorted before it is asked for: the nearest few are split
//! off and sorted, then a few times as many, and so on, so that a query with a small LIMIT costs one pass over its
//! candidates. What exceeds the memory allowed goes to sorted runs outside.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::storage::page::Tid;
use crate::work::memory::{self, OutOfMemory};
use crate::work::ordered::{from_order_key, order_key};
use crate::work::runs::Runs;

/// Candidates that a run is written and read by.
const CHUNK: usize = 64;
/// Candidates that are sorted at first.
const FIRST: usize = 64;

/// What is kept of a candidate beside its distance: its row, and what else leads to it.
pub trait Payload: Copy + FromBytes + IntoBytes + Immutable {}

impl<P: Copy + FromBytes + IntoBytes + Immutable> Payload for P {}

/// The candidates of a batch of lists.
#[derive(Debug)]
pub struct Candidates<P = Tid> {
    /// key of the distance, then the place in `rows`
    keys: Vec<u64>,
    rows: Vec<P>,
    /// those before are given out, those up to `sorted` in order
    at: usize,
    sorted: usize,
    /// runs written; their next records, by key
    runs: Vec<Run<P>>,
}

impl<P> Default for Candidates<P> {
    fn default() -> Self {
        Candidates { keys: Vec::new(), rows: Vec::new(), at: 0, sorted: 0, runs: Vec::new() }
    }
}

#[derive(Debug)]
struct Run<P> {
    block: Vec<u8>,
    at: usize,
    payload: PhantomData<P>,
}

impl<P: Payload> Candidates<P> {
    /// Bytes of memory of a candidate.
    const SIZE: usize = size_of::<u64>() + size_of::<P>();

    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self, runs: &mut dyn Runs) {
        self.keys.clear();
        self.rows.clear();
        (self.at, self.sorted) = (0, 0);
        if !self.runs.is_empty() {
            self.runs.clear();
            runs.clear();
        }
    }

    /// Makes room for `count` candidates. When the system has no memory although more would be allowed, those that are
    /// here go to a run first.
    ///
    /// # Errors
    /// No memory even so.
    #[inline]
    pub fn make_room(&mut self, count: usize, runs: &mut dyn Runs) -> Result<(), OutOfMemory> {
        let left = self.keys.capacity().min(self.rows.capacity()).saturating_sub(self.keys.len());
        if left >= count { Ok(()) } else { self.grow(count, runs) }
    }

    #[cold]
    fn grow(&mut self, count: usize, runs: &mut dyn Runs) -> Result<(), OutOfMemory> {
        // it doubles; writing a run takes memory, too
        let bytes = self.keys.len().saturating_mul(2 * Self::SIZE);
        if (bytes <= memory::SMALL || memory::can_allocate(bytes)) && self.try_grow(count).is_ok() {
            return Ok(());
        }
        if !self.keys.is_empty() {
            self.spill(runs)?;
        }
        self.try_grow(count)
    }

    fn try_grow(&mut self, count: usize) -> Result<(), OutOfMemory> {
        self.keys.try_reserve(count)?;
        Ok(self.rows.try_reserve(count)?)
    }

    /// Adds a candidate, for which there is room ([`Self::make_room`]).
    #[inline(always)]
    pub fn push(&mut self, distance: f32, row: P) {
        self.keys.push(u64::from(order_key(distance)) << 32 | self.rows.len() as u64);
        self.rows.push(row);
    }

    /// Writes a run when more than `memory` bytes are in use.
    ///
    /// # Errors
    /// No memory.
    #[inline]
    pub fn spill_beyond(&mut self, memory: usize, runs: &mut dyn Runs) -> Result<(), OutOfMemory> {
        if self.keys.len() * Self::SIZE > memory { self.spill(runs) } else { Ok(()) }
    }

    /// Says that more candidates will be pushed although some were given out already.
    pub fn reopen(&mut self) {
        self.sorted = self.at;
    }

    #[cold]
    fn spill(&mut self, runs: &mut dyn Runs) -> Result<(), OutOfMemory> {
        self.runs.try_reserve(1)?;
        // those before are given out
        self.keys.drain(..self.at);
        (self.at, self.sorted) = (0, 0);
        self.keys.sort_unstable();
        let mut block = memory::with_room(CHUNK * Run::<P>::RECORD)?;
        for keys in self.keys.chunks(CHUNK) {
            block.clear();
            for key in keys {
                let Some(row) = self.rows.get(*key as u32 as usize) else { continue };
                block.extend_from_slice(&((key >> 32) as u32).to_ne_bytes());
                block.extend_from_slice(row.as_bytes());
            }
            runs.write(&block);
        }
        runs.end_run();
        if !self.keys.is_empty() {
            self.runs.push(Run { block: Vec::new(), at: 0, payload: PhantomData });
        }
        self.keys.clear();
        self.rows.clear();
        Ok(())
    }

    /// The distance of the nearest candidate that was not given out yet.
    #[inline]
    pub fn least(&mut self, runs: &mut dyn Runs) -> Option<f32> {
        if self.at == self.sorted {
            self.sort_more();
        }
        let here = self.keys.get(self.at).map(|key| (key >> 32) as u32);
        let least = if self.runs.is_empty() { here } else { self.nearest(runs).map(|(key, _)| key) };
        least.map(from_order_key)
    }

    /// The nearest candidate that was not given out yet.
    #[inline]
    pub fn pop(&mut self, runs: &mut dyn Runs) -> Option<P> {
        if self.at == self.sorted {
            self.sort_more();
        }
        if !self.runs.is_empty() {
            return self.merge(runs);
        }
        let key = *self.keys.get(self.at)?;
        self.at += 1;
        self.rows.get(key as u32 as usize).copied()
    }

    /// Returns the candidate that will be given out after `count` others, if that is known.
    pub fn ahead(&self, count: usize) -> Option<&P> {
        let key = self.keys.get(self.at + count).filter(|_| self.at + count < self.sorted)?;
        self.rows.get(*key as u32 as usize)
    }

    fn sort_more(&mut self) {
        let left = self.keys.get_mut(self.sorted..).unwrap_or_default();
        let wanted = if self.sorted == 0 { FIRST } else { 3 * self.sorted };
        if wanted < left.len() {
            let (nearest, _, _) = left.select_nth_unstable(wanted);
            nearest.sort_unstable();
            self.sorted += wanted;
        } else {
            left.sort_unstable();
            self.sorted += left.len();
        }
    }

    /// The key of the nearest candidate, and the run that has it; none of memory.
    #[cold]
    fn nearest(&mut self, runs: &mut dyn Runs) -> Option<(u32, Option<usize>)> {
        let mut nearest = self.keys.get(self.at).map(|key| ((key >> 32) as u32, None));
        for (number, run) in self.runs.iter_mut().enumerate() {
            if let Some(key) = run.peek(number, runs)
                && nearest.is_none_or(|(other, _)| key < other)
            {
                nearest = Some((key, Some(number)));
            }
        }
        nearest
    }

    #[cold]
    fn merge(&mut self, runs: &mut dyn Runs) -> Option<P> {
        match self.nearest(runs)? {
            (_, Some(number)) => self.runs.get_mut(number)?.take(),
            (_, None) => {
                let key = *self.keys.get(self.at)?;
                self.at += 1;
                self.rows.get(key as u32 as usize).copied()
            }
        }
    }
}

impl<P: Payload> Run<P> {
    /// Bytes of a candidate: key and payload.
    const RECORD: usize = size_of::<u32>() + size_of::<P>();

    /// The key of the next record.
    fn peek(&mut self, number: usize, runs: &mut dyn Runs) -> Option<u32> {
        if self.at == self.block.len() && (self.at > 0 || self.block.capacity() == 0) {
            self.block.resize(CHUNK * Self::RECORD, 0);
            let got = runs.read(number, &mut self.block);
            self.block.truncate(got - got % Self::RECORD);
            self.at = 0;
        }
        let key = self.block.get(self.at..)?.first_chunk::<4>()?;
        Some(u32::from_ne_bytes(*key))
    }

    /// The payload of the record that `peek` saw.
    fn take(&mut self) -> Option<P> {
        let row = self.block.get(self.at + 4..self.at + Self::RECORD)?;
        self.at += Self::RECORD;
        P::read_from_bytes(row).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::runs::testing::Kept;

    #[test]
    fn without_memory_candidates_go_to_runs() {
        let (mut candidates, mut runs) = (Candidates::<Tid>::default(), Kept::default());
        candidates.make_room(3, &mut runs).unwrap();
        (0..3).for_each(|i| candidates.push(-(i as f32), Tid::new(i, 1)));
        assert_eq!(candidates.make_room(usize::MAX / 2, &mut runs), Err(OutOfMemory));
        assert_eq!(runs.0.len(), 1, "a run was written");
        candidates.make_room(1, &mut runs).unwrap();
        candidates.push(-0.5, Tid::new(9, 1));
        let found: Vec<u32> = core::iter::from_fn(|| candidates.pop(&mut runs)).map(Tid::block).collect();
        assert_eq!(found, [2, 1, 9, 0]);
    }

    #[test]
    fn candidates_come_in_order_from_memory_and_from_runs() {
        for memory in [usize::MAX, 100_000, 2_000, 300] {
            let (mut candidates, mut runs) = (Candidates::<Tid>::default(), Kept::default());
            for round in 0..3 {
                candidates.clear(&mut runs);
                let count = 5000 - 2490 * round;
                let place = |i: u32| (i * 7919 + round) % count;
                for i in 0..count {
                    candidates.make_room(1, &mut runs).unwrap();
                    candidates.push(place(i) as f32 - 100.0, Tid::new(place(i), 1));
                    candidates.spill_beyond(memory, &mut runs).unwrap();
                }
                let found: Vec<u32> =
                    core::iter::from_fn(|| candidates.pop(&mut runs)).map(Tid::block).collect();
                assert_eq!(found, (0..count).collect::<Vec<_>>(), "memory {memory}");
                assert_eq!(candidates.pop(&mut runs), None);
            }
        }
    }
}
