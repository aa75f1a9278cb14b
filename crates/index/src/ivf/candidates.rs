//! Rows found by a scan, given out nearest first. Nothing is sorted before it is asked for: the nearest few are split
//! off and sorted, then a few times as many, and so on, so that a query with a small LIMIT costs one pass over its
//! candidates. What exceeds the memory allowed goes to sorted runs outside.

use crate::storage::page::Tid;
use crate::work::memory::{self, OutOfMemory};
use crate::work::ordered::order_key;
use crate::work::runs::Runs;

/// Bytes of a candidate in a run: key and row.
const RECORD: usize = 10;
/// Bytes that a run is written and read by.
const BLOCK: usize = 64 * RECORD;
/// Bytes of memory of a candidate.
const CANDIDATE: usize = size_of::<u64>() + size_of::<Tid>();
/// Candidates that are sorted at first.
const FIRST: usize = 64;

/// The candidates of a batch of lists.
#[derive(Debug, Default)]
pub struct Candidates {
    /// key of the distance, then the place in `rows`
    keys: Vec<u64>,
    rows: Vec<Tid>,
    /// those before are given out, those up to `sorted` in order
    at: usize,
    sorted: usize,
    /// runs written; their next records, by key
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    block: Vec<u8>,
    at: usize,
}

impl Candidates {
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
        let bytes = self.keys.len().saturating_mul(2 * CANDIDATE);
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
    pub fn push(&mut self, distance: f32, row: Tid) {
        self.keys.push(u64::from(order_key(distance)) << 32 | self.rows.len() as u64);
        self.rows.push(row);
    }

    /// Writes a run when more than `memory` bytes are in use.
    ///
    /// # Errors
    /// No memory.
    #[inline]
    pub fn spill_beyond(&mut self, memory: usize, runs: &mut dyn Runs) -> Result<(), OutOfMemory> {
        if self.keys.len() * CANDIDATE > memory { self.spill(runs) } else { Ok(()) }
    }

    #[cold]
    fn spill(&mut self, runs: &mut dyn Runs) -> Result<(), OutOfMemory> {
        self.runs.try_reserve(1)?;
        self.keys.sort_unstable();
        let mut block = memory::with_room(BLOCK)?;
        for keys in self.keys.chunks(BLOCK / RECORD) {
            block.clear();
            for key in keys {
                block.extend_from_slice(&((key >> 32) as u32).to_ne_bytes());
                let row = self.rows.get(*key as u32 as usize).copied().unwrap_or(Tid::INVALID);
                block.extend_from_slice(zerocopy::IntoBytes::as_bytes(&row));
            }
            runs.write(&block);
        }
        runs.end_run();
        self.runs.push(Run { block: Vec::new(), at: 0 });
        self.keys.clear();
        self.rows.clear();
        Ok(())
    }

    /// The nearest candidate that was not given out yet.
    #[inline]
    pub fn pop(&mut self, runs: &mut dyn Runs) -> Option<Tid> {
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

    #[cold]
    fn merge(&mut self, runs: &mut dyn Runs) -> Option<Tid> {
        let mut nearest = self.keys.get(self.at).map(|key| ((key >> 32) as u32, None));
        for (number, run) in self.runs.iter_mut().enumerate() {
            if let Some(key) = run.peek(number, runs)
                && nearest.is_none_or(|(other, _)| key < other)
            {
                nearest = Some((key, Some(number)));
            }
        }
        match nearest? {
            (_, Some(number)) => self.runs.get_mut(number)?.take(),
            (_, None) => {
                let key = *self.keys.get(self.at)?;
                self.at += 1;
                self.rows.get(key as u32 as usize).copied()
            }
        }
    }
}

impl Run {
    /// The key of the next record.
    fn peek(&mut self, number: usize, runs: &mut dyn Runs) -> Option<u32> {
        if self.at == self.block.len() && (self.at > 0 || self.block.capacity() == 0) {
            self.block.resize(BLOCK, 0);
            let got = runs.read(number, &mut self.block);
            self.block.truncate(got - got % RECORD);
            self.at = 0;
        }
        let key = self.block.get(self.at..)?.first_chunk::<4>()?;
        Some(u32::from_ne_bytes(*key))
    }

    /// The row of the record that `peek` saw.
    fn take(&mut self) -> Option<Tid> {
        let row = self.block.get(self.at + 4..self.at + RECORD)?;
        self.at += RECORD;
        zerocopy::FromBytes::read_from_bytes(row).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::runs::testing::Kept;

    #[test]
    fn without_memory_candidates_go_to_runs() {
        let (mut candidates, mut runs) = (Candidates::default(), Kept::default());
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
            let (mut candidates, mut runs) = (Candidates::default(), Kept::default());
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
