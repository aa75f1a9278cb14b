//! What a check has seen: violations, lists, blocks, rows.

use super::lists::ListPlace;
use crate::included::check::Found;
use crate::space::ValueBuf;
use crate::storage::page::Tid;
use crate::storage::verify::{Violation, Violations};
use crate::work::memory::{OutOfMemory, is_short, push, resize};

/// Which blocks a walk has come by.
#[derive(Debug, Default)]
pub struct Seen(Vec<u64>);

impl Seen {
    /// Takes memory for `count` blocks, none of them seen.
    ///
    /// # Errors
    /// No memory.
    pub fn reset(&mut self, count: u32) -> Result<(), OutOfMemory> {
        self.0.clear();
        resize(&mut self.0, count as usize / 64 + 1, 0)
    }

    /// Notes a block; whether it was new. Blocks that do not exist are not.
    pub fn note(&mut self, block: u32) -> bool {
        let bit = 1u64 << (block % 64);
        let new = self.0.get(block as usize / 64).is_some_and(|word| word & bit == 0);
        if let Some(word) = self.0.get_mut(block as usize / 64) {
            *word |= bit;
        }
        new
    }
}

/// What a check collects: must not lie in frames while blocks are read.
#[derive(Debug, Default)]
pub struct Tally {
    /// what does not hold
    pub violations: Violations,
    /// each list with where inserts begin to look for room
    pub lists: Vec<(ListPlace, u32)>,
    /// the blocks of the index
    pub blocks: u32,
    /// those that were met
    pub seen: Seen,
    /// room for a value
    pub unpacked: ValueBuf,
    /// entries seen
    pub entries: u64,
    /// what was found of the tree of included values, of an index with INCLUDE columns
    pub included: Option<Found>,
    /// row and place of entries, in their order at last
    census: Vec<(u64, u64)>,
    /// of an index with runs: rows of lists with what stands for their keys and places, and entries of trees
    listed: Vec<(u64, u64)>,
    run_entries: Vec<RunEntry>,
    /// rows that some tree lacks, in order
    lacking: Vec<u64>,
    /// whether there was too little memory for all of that
    short: bool,
}

/// An entry in the order of filter keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunEntry {
    row: u64,
    column: usize,
    digest: u64,
    at: u64,
}

impl RunEntry {
    /// That of a row in a column's tree, with a number that stands for its keys and its value's place, at `at`.
    pub const fn new(row: Tid, column: usize, digest: u64, at: Tid) -> Self {
        RunEntry { row: row.packed(), column, digest, at: at.packed() }
    }
}

impl Tally {
    /// Adds a violation at an item, or of a block when `offset` is 0.
    pub fn violation(&mut self, block: u32, offset: u16, what: impl Into<String>) {
        self.violations.push(Violation::at(block, offset, what));
    }

    /// Adds a list.
    pub fn list(&mut self, place: ListPlace, tail: u32) {
        self.short |= push(&mut self.lists, (place, tail)).is_err();
    }

    /// Adds a row and where it stands.
    pub fn row(&mut self, row: Tid, place: Tid) {
        let entry = (row.packed(), place.packed());
        self.short = self.short || is_short() || push(&mut self.census, entry).is_err();
    }

    /// Adds a row of a list of an index with runs, with a number that stands for its keys and its value's place.
    pub fn listed(&mut self, row: Tid, digest: u64) {
        self.short = self.short || is_short() || push(&mut self.listed, (row.packed(), digest)).is_err();
    }

    /// Adds an entry of a run.
    pub fn run_entry(&mut self, entry: RunEntry) {
        self.short = self.short || is_short() || push(&mut self.run_entries, entry).is_err();
    }

    /// Compares the entries of `trees` trees with the rows in lists. A row that only the last of them lack may be one
    /// whose insert did not come to its end; whoever knows the table asks further ([`Self::lacks_entries`]).
    pub fn compare_runs(&mut self, trees: usize) {
        self.listed.sort_unstable();
        self.run_entries.sort_unstable();
        let (listed, entries) = (core::mem::take(&mut self.listed), core::mem::take(&mut self.run_entries));
        for entry in &entries {
            if listed.binary_search(&(entry.row, entry.digest)).is_err() {
                let (row, at) = (Tid::from_packed(entry.row), Tid::from_packed(entry.at));
                let what = format!("filter keys of row {row} are not those of its list");
                self.violation(at.block(), at.offset(), what);
            }
        }
        for pair in entries.windows(2) {
            if let [a, b] = pair
                && (a.row, a.column) == (b.row, b.column)
            {
                let at = Tid::from_packed(b.at);
                self.violation(at.block(), at.offset(), "filter keys that passes come to twice");
            }
        }
        for &(row, _) in &listed {
            let start = entries.partition_point(|entry| entry.row < row);
            let own = entries.get(start..).unwrap_or_default();
            let own = own.get(..own.partition_point(|entry| entry.row == row)).unwrap_or_default();
            let has = |column: usize| own.iter().any(|entry| entry.column == column);
            let first = (0..trees).find(|&column| !has(column));
            let Some(first) = first else { continue };
            self.short |= push(&mut self.lacking, row).is_err();
            if (first..trees).any(has) {
                let at = own.first().map_or(Tid::INVALID, |entry| Tid::from_packed(entry.at));
                let what = format!("filter keys of row {} are not where passes look", Tid::from_packed(row));
                self.violation(at.block(), at.offset(), what);
            }
        }
    }

    /// Whether a tree lacks a row that a list has.
    pub fn lacks_entries(&self, row: Tid) -> bool {
        self.lacking.binary_search(&row.packed()).is_ok()
    }

    /// Says that there was too little memory for something.
    pub fn no_memory(&mut self) {
        self.short = true;
    }

    /// Whether there was too little memory for everything that was to be kept.
    pub fn out_of_memory(&self) -> bool {
        self.short || self.violations.out_of_memory()
    }

    /// Orders the rows, and tells those that are there twice.
    pub fn count_rows(&mut self) {
        self.census.sort_unstable();
        for pair in self.census.windows(2) {
            if let [(a, _), (b, place)] = pair
                && a == b
            {
                let (row, place) = (Tid::from_packed(*b), Tid::from_packed(*place));
                let what = format!("row {row} of the table is in the index twice");
                self.violations.push(Violation::at(place.block(), place.offset(), what));
            }
        }
    }

    /// Tells of rows without included values, once rows are counted. (Others may have some: rows whose inserts, or
    /// whose removal, did not come to an end.)
    pub fn compare_included(&mut self) {
        let Some(included) = &self.included else { return };
        let mut lacking = self.rows_from(0).filter(|(row, _)| !included.has(*row));
        let Some((row, place)) = lacking.next() else { return };
        let others = match lacking.count() {
            0 => String::new(),
            more => format!(", and so have {more} others"),
        };
        let what = format!("row {row} of the table has no included values{others}");
        self.violation(place.block(), place.offset(), what);
    }

    /// Where the index has a row, once rows are counted.
    pub fn find(&self, row: Tid) -> Option<Tid> {
        let at = self.census.partition_point(|entry| entry.0 < row.packed());
        self.census.get(at).filter(|entry| entry.0 == row.packed()).map(|entry| Tid::from_packed(entry.1))
    }

    /// Rows in blocks from `block` on and their places, once rows are counted.
    pub fn rows_from(&self, block: u32) -> impl Iterator<Item = (Tid, Tid)> {
        let at = self.census.partition_point(|entry| entry.0 < Tid::new(block, 0).packed());
        let rows = self.census.get(at..).unwrap_or_default().iter();
        rows.map(|&(row, place)| (Tid::from_packed(row), Tid::from_packed(place)))
    }
}
