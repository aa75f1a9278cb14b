//! Entries of a tree that is to be built, in the order of their keys: in memory, or in sorted runs outside that are
//! merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use zerocopy::{FromBytes, IntoBytes};

use super::page::{Bound, NewEntry, key_of};
use crate::ivf::packed::code::Factors;
use crate::storage::page::Tid;
use crate::work::memory::{OutOfMemory, append, can_allocate, filled, push, with_room};
use crate::work::runs::Runs;

/// Bytes of an entry beside code and keys: name, place, two factors.
const FIXED: usize = 2 * size_of::<Tid>() + 8;
/// Bytes of the part of a run that is in memory while runs are merged, at most and at least.
const MOST_PART: usize = 256 << 10;
const LEAST_PART: usize = 4 << 10;
/// Less memory than this makes no sense.
const LEAST: usize = 256 << 10;

/// What sorts the entries of one tree.
pub struct Sorter {
    /// the filter column in the order of whose keys they come
    column: usize,
    code: usize,
    size: usize,
    /// bytes of memory: what is here fills half of it at most, since room for it is doubled
    memory: usize,
    runs: Box<dyn Runs>,
    /// how many entries each run has
    written: Vec<usize>,
    items: Vec<u8>,
    order: Vec<(Bound, u32)>,
    count: usize,
}

impl core::fmt::Debug for Sorter {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sorter").field("column", &self.column).field("count", &self.count).finish()
    }
}

impl Sorter {
    /// Of entries with codes and keys of so many bytes, in so much memory; what does not fit goes to `runs`.
    pub fn new(column: usize, code: usize, keys: usize, memory: usize, runs: Box<dyn Runs>) -> Self {
        Sorter {
            column,
            code,
            size: FIXED + code + keys,
            memory: memory.max(LEAST),
            runs,
            written: Vec::new(),
            items: Vec::new(),
            order: Vec::new(),
            count: 0,
        }
    }

    /// The column.
    pub const fn column(&self) -> usize {
        self.column
    }

    /// Entries so far.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// No memory.
    pub fn push(&mut self, new: &NewEntry<'_>) -> Result<(), OutOfMemory> {
        let each = self.size + size_of::<(Bound, u32)>();
        let full = self.order.len() == self.order.capacity() && !can_allocate(self.items.capacity() + each);
        if !self.order.is_empty() && (full || (self.order.len() + 1).saturating_mul(2 * each) > self.memory) {
            self.write_run()?;
        }
        let bound = Bound::new(key_of(new.keys, self.column), new.name);
        push(&mut self.order, (bound, (self.items.len() / self.size.max(1)) as u32))?;
        append(&mut self.items, new.name.as_bytes())?;
        append(&mut self.items, new.place.as_bytes())?;
        append(&mut self.items, new.factors.add.as_bytes())?;
        append(&mut self.items, new.factors.scale.as_bytes())?;
        append(&mut self.items, new.code)?;
        append(&mut self.items, new.keys)?;
        self.count += 1;
        Ok(())
    }

    fn write_run(&mut self) -> Result<(), OutOfMemory> {
        self.order.sort_unstable();
        self.written.try_reserve(1)?;
        for &(_, at) in &self.order {
            let start = at as usize * self.size;
            self.runs.write(self.items.get(start..start + self.size).unwrap_or_default());
        }
        self.runs.end_run();
        self.written.push(self.order.len());
        self.order.clear();
        self.items.clear();
        Ok(())
    }

    /// The entries in order, when all are there.
    ///
    /// # Errors
    /// No memory.
    pub fn finish(mut self) -> Result<Sorted, OutOfMemory> {
        let mut parts = Vec::new();
        let mut heads = BinaryHeap::new();
        if self.written.is_empty() {
            self.order.sort_unstable();
        } else {
            if !self.order.is_empty() {
                self.write_run()?;
            }
            (self.items, self.order) = (Vec::new(), Vec::new());
            let part = (self.memory / self.written.len()).clamp(LEAST_PART, MOST_PART);
            let entries = (part / self.size.max(1)).max(1);
            parts = with_room(self.written.len())?;
            for &left in &self.written {
                parts.push(Part { bytes: filled(0u8, entries * self.size)?, at: 0, end: 0, left });
            }
            heads.try_reserve(parts.len())?;
        }
        let mut sorted = Sorted { sorter: self, at: 0, parts, heads, last: None };
        for part in 0..sorted.parts.len() {
            sorted.advance(part);
        }
        Ok(sorted)
    }
}

/// The part of a run that is in memory.
#[derive(Debug)]
struct Part {
    bytes: Vec<u8>,
    at: usize,
    end: usize,
    /// entries that were not read yet
    left: usize,
}

/// Entries in order.
#[derive(Debug)]
pub struct Sorted {
    sorter: Sorter,
    /// of those in memory
    at: usize,
    parts: Vec<Part>,
    /// the first entry of each run
    heads: BinaryHeap<Reverse<(Bound, usize)>>,
    /// the run whose entry was shown last
    last: Option<usize>,
}

/// An entry's parts.
fn entry_of(item: &[u8], code: usize) -> Option<NewEntry<'_>> {
    let (name, rest) = Tid::read_from_prefix(item).ok()?;
    let (place, rest) = Tid::read_from_prefix(rest).ok()?;
    let (add, rest) = rest.split_first_chunk::<4>()?;
    let (scale, rest) = rest.split_first_chunk::<4>()?;
    let (code, keys) = rest.split_at_checked(code)?;
    let factors = Factors { add: f32::from_ne_bytes(*add), scale: f32::from_ne_bytes(*scale) };
    Some(NewEntry { name, place, factors, code, keys })
}

impl Sorted {
    /// Entries in all.
    pub const fn len(&self) -> usize {
        self.sorter.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.sorter.is_empty()
    }

    fn bound(&self, item: &[u8]) -> Option<Bound> {
        let entry = entry_of(item, self.sorter.code)?;
        Some(Bound::new(key_of(entry.keys, self.sorter.column), entry.name))
    }

    /// Puts the next entry of a run among the first ones.
    fn advance(&mut self, number: usize) {
        let size = self.sorter.size;
        let Some(part) = self.parts.get_mut(number) else { return };
        if part.at == part.end {
            let wanted = (part.bytes.len() / size.max(1)).min(part.left) * size;
            let place = part.bytes.get_mut(..wanted).unwrap_or_default();
            let got = self.sorter.runs.read(number, place);
            (part.at, part.end) = (0, got - got % size.max(1));
            part.left -= part.end / size.max(1);
        }
        let item = self.parts.get(number).and_then(|part| part.bytes.get(part.at..part.end)?.get(..size));
        if let Some(bound) = item.and_then(|item| self.bound(item)) {
            // as many as there are runs: there is room
            self.heads.push(Reverse((bound, number)));
        }
    }

    /// The next entry, and where it is in the order; none behind the last one.
    pub fn take_next(&mut self) -> Option<(Bound, NewEntry<'_>)> {
        let size = self.sorter.size;
        if self.parts.is_empty() {
            let &(bound, at) = self.sorter.order.get(self.at)?;
            self.at += 1;
            let start = at as usize * size;
            return Some((bound, entry_of(self.sorter.items.get(start..start + size)?, self.sorter.code)?));
        }
        if let Some(last) = self.last.take() {
            if let Some(part) = self.parts.get_mut(last) {
                part.at += size;
            }
            self.advance(last);
        }
        let Reverse((bound, number)) = self.heads.pop()?;
        self.last = Some(number);
        let part = self.parts.get(number)?;
        Some((bound, entry_of(part.bytes.get(part.at..part.at + size)?, self.sorter.code)?))
    }

    /// Lets go of what is outside.
    pub fn end(mut self) {
        self.sorter.runs.clear();
    }
}
