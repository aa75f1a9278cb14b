//! What a scan of packed lists has found: rows by bounds of their distances, of which those that may be among the next
//! to be given out get their exact distances.
//!
//! Rows come in *windows*: the first of ten rows, each further one twice as large. A window is complete when no row
//! that has only a bound may be nearer than the last of it. So the first ten rows cost what ten rows must cost, and
//! nobody need know how many will be asked for.
//!
//! A bound is wrong now and then. A row that should have been in a window before comes when all others were given out:
//! rows leave in the order of their distances, but for the last few of a scan that is read to its end.

use core::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};

use zerocopy::{FromBytes, Immutable, IntoBytes, Unaligned};

use super::layout::{BLOCK, Block};
use super::query::{Bounds, Query, bits_of};
use crate::filter::Program;
use crate::ivf::candidates::Candidates;
use crate::runs::Tree;
use crate::storage::page::Tid;
use crate::work::memory::{OutOfMemory, append, push};
use crate::work::runs::Runs;

/// Rows of the first window.
const FIRST_WINDOW: usize = 10;
/// Rows of a window, at most.
const LAST_WINDOW: usize = 1280;

/// A row that has only a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub struct Candidate {
    /// the row
    pub row: Tid,
    /// where its value is
    pub place: Tid,
    /// the first page of its list, or the page of its entry in a run, in bytes
    pub start: [u8; 4],
}

/// Rows of blocks that are farther than enough others, as it seems: copied as they stand, and looked at when they are
/// wanted.
#[derive(Debug, Default)]
struct Far {
    blocks: Vec<FarBlock>,
    /// of all blocks, one after the other
    lower: Vec<[f32; BLOCK]>,
    rows: Vec<Tid>,
    places: Vec<Tid>,
}

#[derive(Clone, Copy, Debug)]
struct FarBlock {
    /// entries
    len: u32,
    /// those of them that are candidates
    which: u32,
    /// the first page of their list
    start: u32,
}

impl Far {
    /// Bytes of a block, about.
    const BLOCK: usize = size_of::<FarBlock>() + BLOCK * (size_of::<f32>() + 2 * size_of::<Tid>());

    fn clear(&mut self) {
        self.blocks.clear();
        self.lower.clear();
        self.rows.clear();
        self.places.clear();
    }

    #[inline]
    fn push(
        &mut self,
        block: &Block<'_>,
        lower: &[f32; BLOCK],
        which: u32,
        start: u32,
    ) -> Result<(), OutOfMemory> {
        push(&mut self.blocks, FarBlock { len: block.rows.len() as u32, which, start })?;
        push(&mut self.lower, *lower)?;
        append(&mut self.rows, block.rows)?;
        append(&mut self.places, block.places)
    }

    /// Takes the last block away, and shows its candidates with their bounds.
    fn pop(&mut self, mut look: impl FnMut(f32, Candidate)) {
        let (Some(block), Some(lower)) = (self.blocks.pop(), self.lower.pop()) else { return };
        let from = self.rows.len().saturating_sub(block.len as usize);
        let entries = self.rows.iter().zip(&self.places).skip(from).zip(lower).enumerate();
        for (_, ((&row, &place), lower)) in entries.filter(|(at, _)| block.which >> at & 1 == 1) {
            look(lower, Candidate { row, place, start: block.start.to_ne_bytes() });
        }
        self.rows.truncate(from);
        self.places.truncate(from);
    }
}

/// The bits of numbers that are not at or above the limit: those that are no numbers, too.
#[inline]
fn below(numbers: &[f32; BLOCK], limit: f32) -> u32 {
    let above = |number: f32| matches!(number.partial_cmp(&limit), Some(Ordering::Greater | Ordering::Equal));
    bits_of(numbers, |number| !above(number))
}

/// A row with its exact distance.
#[derive(Clone, Copy, Debug)]
struct Exact {
    distance: f64,
    row: Tid,
    place: Tid,
    /// the first page of its list
    start: u32,
}

// of a scan there may be many
const _: () = assert!(size_of::<Exact>() == 24);

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Exact {}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then_with(|| self.row.packed().cmp(&other.row.packed()))
    }
}

/// Rows that were looked at under conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// all of them, dead ones included
    pub seen: u64,
    /// those that live and meet the conditions
    pub matching: u64,
}

/// What a scan has found, and its query.
#[derive(Debug, Default)]
pub struct Found {
    /// the query
    pub query: Query,
    /// conditions on filter columns
    pub filter: Program,
    /// rows that were looked at under conditions, and those that met them
    pub counts: Counts,
    /// rows that were found and had no value when that was wanted
    pub gone: u64,
    /// whether there are lists that were not looked at, and may yet be: rows that come late wait for them, too
    pub open: bool,
    /// lists that somebody asked for
    pub asked: usize,
    /// the tree of whose run all rows are; none where they are of lists
    pub run: Option<Tree>,
    /// the rows given out, when rows of a list may have been found twice
    once: Option<HashSet<u64>>,
    near: Candidates<Candidate>,
    far: Far,
    /// the least bound of those
    far_least: f32,
    /// the least upper bounds, ascending
    uppers: Vec<f32>,
    /// rows of the window, those behind it, and those of the last one that were not given out, nearest last
    window: BinaryHeap<Exact>,
    beyond: Vec<Exact>,
    ready: Vec<Exact>,
    /// the distance of the last row of the last window; rows that turned out to be nearer when it was complete
    last: f64,
    late: Vec<Exact>,
    size: usize,
    /// the row that was given out last, and its distance
    returned: Option<(Candidate, Option<f64>)>,
}

impl Found {
    /// Forgets the query and all rows.
    pub fn clear(&mut self, runs: &mut dyn Runs) {
        self.query.clear();
        self.clear_rows(runs);
    }

    /// Forgets all rows.
    pub fn clear_rows(&mut self, runs: &mut dyn Runs) {
        self.near.clear(runs);
        self.far.clear();
        self.uppers.clear();
        self.window.clear();
        self.beyond.clear();
        self.ready.clear();
        self.late.clear();
        (self.counts, self.gone, self.open, self.once) = (Counts::default(), 0, false, None);
        self.run = None;
        self.returned = None;
        (self.far_least, self.last, self.size) = (f32::INFINITY, f64::NEG_INFINITY, 0);
    }

    /// Says that rows of more lists will be added although some were given out.
    pub fn reopen(&mut self) {
        self.near.reopen();
    }

    /// Says that the rows of a list that were added since `counts` were counted will be added again: from now on each
    /// row is given out once. None of them was given out before.
    pub fn begin_again(&mut self, counts: Counts) {
        self.counts = counts;
        self.once.get_or_insert_default();
    }

    /// Whether a row is given out for the first time, as far as that matters.
    fn is_first(&mut self, row: Tid) -> Result<bool, OutOfMemory> {
        let Some(once) = &mut self.once else { return Ok(true) };
        once.try_reserve(1)?;
        Ok(once.insert(row.packed()))
    }

    /// Whether rows of the window are left.
    #[inline]
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Rows of the next window.
    pub fn next_size(&self) -> usize {
        if self.size == 0 { FIRST_WINDOW } else { (2 * self.size).min(LAST_WINDOW) }
    }

    /// Adds the living entries of a block whose distances have `bounds`.
    ///
    /// # Errors
    /// No memory.
    #[inline]
    pub fn add(
        &mut self,
        block: &Block<'_>,
        bounds: &Bounds,
        start: u32,
        runs: &mut dyn Runs,
    ) -> Result<(), OutOfMemory> {
        let limit = if self.uppers.len() < FIRST_WINDOW {
            f32::INFINITY
        } else {
            self.uppers.last().copied().unwrap_or(f32::INFINITY)
        };
        let near = below(&bounds.lower, limit) & block.live;
        let far = block.live & !near;
        if near != 0 {
            self.near.make_room(BLOCK, runs)?;
            self.uppers.try_reserve(1)?;
        }
        let mut left = near;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            let (Some(&row), Some(&place)) = (block.rows.get(at), block.places.get(at)) else { break };
            let lower = bounds.lower.get(at).copied().unwrap_or(f32::NAN);
            let lower = if lower.is_nan() { f32::NEG_INFINITY } else { lower };
            self.near.push(lower, Candidate { row, place, start: start.to_ne_bytes() });
            self.note_upper(bounds.upper.get(at).copied().unwrap_or(f32::INFINITY));
        }
        if far != 0 {
            let mut least = self.far_least;
            // dead ones count, too: no harm in that
            for &lower in &bounds.lower {
                let far = if lower >= limit { lower } else { f32::INFINITY };
                least = if far < least { far } else { least };
            }
            self.far_least = least;
            self.far.push(block, &bounds.lower, far, start)?;
        }
        Ok(())
    }

    fn note_upper(&mut self, upper: f32) {
        // of a row of which nothing can be said
        if !upper.is_finite() {
            return;
        }
        let full = self.uppers.len() >= FIRST_WINDOW;
        if full && self.uppers.last().is_some_and(|&last| upper >= last) {
            return;
        }
        let at = self.uppers.partition_point(|&other| other <= upper);
        if full {
            self.uppers.pop();
        }
        // there is room: `add` has asked for it once, and it never holds more than a window and one
        if self.uppers.try_reserve(1).is_ok() {
            self.uppers.insert(at, upper);
        }
    }

    /// Adds a row of which nothing is to be known.
    ///
    /// # Errors
    /// No memory.
    pub fn add_unordered(&mut self, candidate: Candidate, runs: &mut dyn Runs) -> Result<(), OutOfMemory> {
        self.near.make_room(1, runs)?;
        self.near.push(0.0, candidate);
        Ok(())
    }

    /// The next row of [`Self::add_unordered`].
    ///
    /// # Errors
    /// No memory.
    pub fn next_unordered(&mut self, runs: &mut dyn Runs) -> Result<Option<Tid>, OutOfMemory> {
        while let Some(candidate) = self.near.pop(runs) {
            if self.is_first(candidate.row)? {
                self.returned = Some((candidate, None));
                return Ok(Some(candidate.row));
            }
        }
        Ok(None)
    }

    /// Writes a run when what is here takes more than `memory` bytes.
    ///
    /// # Errors
    /// No memory.
    pub fn spill_beyond(&mut self, memory: usize, runs: &mut dyn Runs) -> Result<(), OutOfMemory> {
        if self.far.blocks.len() * Far::BLOCK > memory / 2 {
            self.gather_far(runs, memory / 2)?;
        }
        self.near.spill_beyond(memory / 2, runs)
    }

    /// Puts the far ones among the near.
    #[cold]
    fn gather_far(&mut self, runs: &mut dyn Runs, memory: usize) -> Result<(), OutOfMemory> {
        self.near.reopen();
        while !self.far.blocks.is_empty() {
            self.near.make_room(BLOCK, runs)?;
            let near = &mut self.near;
            self.far.pop(|lower, candidate| near.push(lower, candidate));
            self.near.spill_beyond(memory, runs)?;
        }
        self.far_least = f32::INFINITY;
        Ok(())
    }

    /// Returns the next row of the window, when it is complete, and the first page of its list.
    #[inline]
    pub fn ready(&mut self) -> Option<(Tid, u32)> {
        let Exact { distance, row, place, start } = self.ready.pop()?;
        self.returned = Some((Candidate { row, place, start: start.to_ne_bytes() }, Some(distance)));
        Some((row, start))
    }

    /// The row that was given out last.
    pub fn returned(&self) -> Option<Candidate> {
        self.returned.map(|(row, _)| row)
    }

    /// Its distance: the operator's, or its square for the Euclidean one.
    pub fn distance_of_returned(&self) -> Option<f64> {
        self.returned.and_then(|(_, distance)| distance)
    }

    /// Begins a window.
    ///
    /// # Errors
    /// No memory.
    pub fn begin_window(&mut self) -> Result<(), OutOfMemory> {
        self.size = self.next_size();
        self.window.try_reserve(self.size)?;
        self.ready.try_reserve(self.size)?;
        let mut beyond = core::mem::take(&mut self.beyond);
        beyond.sort_unstable_by(|a, b| b.cmp(a));
        while self.window.len() < self.size
            && let Some(exact) = beyond.pop()
        {
            self.window.push(exact);
        }
        self.beyond = beyond;
        Ok(())
    }

    /// Returns a row whose distance the window needs.
    ///
    /// # Errors
    /// No memory.
    pub fn wanted(&mut self, memory: usize, runs: &mut dyn Runs) -> Result<Option<Candidate>, OutOfMemory> {
        let limit = if self.window.len() < self.size {
            f64::INFINITY
        } else {
            self.window.peek().map_or(f64::INFINITY, |last| last.distance)
        };
        let wanted = |bound: f32| f64::from(bound) < limit || limit == f64::INFINITY;
        if !self.far.blocks.is_empty() && wanted(self.far_least) {
            // unless a near one comes first and narrows the window
            let near = self.near.least(runs);
            if near.is_none_or(|near| near >= self.far_least || !wanted(near)) {
                self.gather_far(runs, memory)?;
            }
        }
        Ok(match self.near.least(runs) {
            Some(bound) if wanted(bound) => self.near.pop(runs),
            _ => None,
        })
    }

    /// Returns the row that will be wanted after `count` others, if that is known.
    pub fn ahead(&self, count: usize) -> Option<&Candidate> {
        self.near.ahead(count)
    }

    /// Adds the exact distance of a row.
    ///
    /// # Errors
    /// No memory.
    pub fn add_exact(&mut self, candidate: &Candidate, distance: f64) -> Result<(), OutOfMemory> {
        if !self.is_first(candidate.row)? {
            return Ok(());
        }
        let Candidate { row, place, start } = *candidate;
        let exact = Exact { distance, row, place, start: u32::from_ne_bytes(start) };
        if self.window.len() < self.size {
            self.window.push(exact);
            return Ok(());
        }
        let mut out = exact;
        if let Some(mut last) = self.window.peek_mut()
            && exact < *last
        {
            out = *last;
            *last = exact;
        }
        push(&mut self.beyond, out)
    }

    /// Ends the window: its rows are ready, none when there are none in the lists looked at so far. False when there
    /// are none yet, and another window has to begin.
    ///
    /// # Errors
    /// No memory.
    pub fn end_window(&mut self, runs: &mut dyn Runs) -> Result<bool, OutOfMemory> {
        while let Some(exact) = self.window.pop() {
            if exact.distance < self.last {
                push(&mut self.late, exact)?;
            } else {
                self.ready.push(exact);
            }
        }
        if let Some(last) = self.ready.first() {
            self.last = last.distance;
            return Ok(true);
        }
        if self.open
            && self.beyond.is_empty()
            && self.far.blocks.is_empty()
            && self.near.least(runs).is_none()
        {
            return Ok(true);
        }
        let more = !self.beyond.is_empty() || !self.far.blocks.is_empty() || self.near.least(runs).is_some();
        if !more {
            core::mem::swap(&mut self.ready, &mut self.late);
            self.ready.sort_unstable_by(|a, b| b.cmp(a));
            self.last = f64::NEG_INFINITY;
        }
        Ok(!more)
    }
}
