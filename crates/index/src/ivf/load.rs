//! Building behind k-means: rows come in any order, get their lists on threads, and leave list by list. What
//! exceeds the memory allowed goes to runs outside, each ordered by list; entries of a list keep the order of
//! the table.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use vector_kernels::prefetch;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::cluster::assign::{Assigned, Lists};
use super::cluster::kmeans::scratch;
use super::cluster::sample::Encoding;
use super::format::META_BLOCK;
use super::lists::{BulkLists, EntryCoder, EntryForm, Shape};
use crate::space::{Metric, varlena_header};
use crate::storage::page::{Damage, Tid};
pub use crate::work::memory::OutOfMemory;
use crate::work::memory::{self, can_allocate};
use crate::work::runs::Runs;
use crate::work::workers::Workers;

/// An element of a value: what a value of it begins with.
pub trait Element: Encoding<Component: Assigned> + FromBytes + IntoBytes + Immutable {
    /// The four bytes between the varlena header and the elements.
    fn header(dims: usize) -> [u8; 4];
}

impl Element for f32 {
    fn header(dims: usize) -> [u8; 4] {
        dense_header(dims)
    }
}

impl Element for half::f16 {
    fn header(dims: usize) -> [u8; 4] {
        dense_header(dims)
    }
}

impl Element for u8 {
    fn header(dims: usize) -> [u8; 4] {
        (dims as u32).to_ne_bytes()
    }
}

fn dense_header(dims: usize) -> [u8; 4] {
    let [a, b] = (dims as u16).to_ne_bytes();
    [a, b, 0, 0]
}

/// Bytes of a value of `width` elements, its varlena header included.
pub const fn value_size<T>(width: usize) -> usize {
    8 + width * size_of::<T>()
}

/// Makes `out` the value of these elements.
pub fn write_value<T: Element>(dims: usize, elements: &[T], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&varlena_header(value_size::<T>(elements.len())));
    out.extend_from_slice(&T::header(dims));
    out.extend_from_slice(elements.as_bytes());
}

/// Bytes of rows that wait for their lists, at most.
const STAGE: usize = 4 << 20;
/// Bytes of entries that are asked for ahead of being written.
const PREFETCH_DISTANCE_BYTES: usize = 4 << 10;
/// Bytes of a part of the store.
const PART: usize = 1 << 20;
/// Rows that wait for their lists, at least.
const LEAST_ROWS: usize = 16;
/// Entries that a thread completes at a time.
const COMPLETED: usize = 64;
/// Less memory for entries than this makes no sense.
const LEAST: usize = 256 << 10;

fn collected_pieces<P>(pieces: impl Iterator<Item = P>) -> Result<Vec<P>, OutOfMemory> {
    let mut all = Vec::new();
    for piece in pieces {
        memory::push(&mut all, piece)?;
    }
    Ok(all)
}

/// What a build is told.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// dimensions (bits)
    pub dims: usize,
    /// elements of a value
    pub width: usize,
    /// by which rows belong to lists
    pub metric: Metric,
    /// bytes of memory
    pub memory: usize,
}

/// Rows on their way into an index.
pub struct Loader<T: Element> {
    options: LoadOptions,
    centres: Vec<T>,
    lists: Option<Lists<T::Component>>,
    /// entries of one size, in parts, aligned as they will be on pages; how many
    parts: Vec<Vec<u64>>,
    entries: usize,
    form: EntryForm,
    /// completes entries once they have their lists
    coder: Option<Box<dyn EntryCoder>>,
    /// bytes that it takes
    coder_memory: usize,
    /// the list of each, but for the last ones, which have none yet; room for theirs
    entry_lists: Vec<u32>,
    /// room for their order
    order: Vec<u32>,
    own: Vec<u32>,
    /// rows that may wait; bytes of all but the entries
    stage_rows: usize,
    fixed: usize,
    /// the values of these, where elements of entries are not aligned
    staged: Vec<T>,
    /// entries per list: of each run, and of all
    runs: Vec<Vec<u32>>,
    counts: Vec<u32>,
}

impl<T: Element> Loader<T> {
    /// No rows yet; `centres` are those of the lists, one after the other, and `form` is that of entries.
    pub fn new(options: LoadOptions, form: EntryForm, centres: Vec<T>) -> Self {
        let lists = centres.len() / options.width.max(1);
        Loader {
            options,
            centres,
            lists: None,
            parts: Vec::new(),
            entries: 0,
            form,
            coder: None,
            coder_memory: 0,
            entry_lists: Vec::new(),
            order: Vec::new(),
            own: Vec::new(),
            stage_rows: LEAST_ROWS,
            fixed: 0,
            staged: Vec::new(),
            runs: Vec::new(),
            counts: vec![0; lists],
        }
    }

    /// From now on `coder`, which takes so many bytes, completes the entries. Comes before [`Self::prepare`].
    pub fn set_coder(&mut self, coder: Box<dyn EntryCoder>, memory: usize) {
        (self.coder, self.coder_memory) = (Some(coder), memory);
    }

    /// Rows so far.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|&count| u64::from(count)).sum::<u64>() + self.waiting() as u64
    }

    /// Entries that have no list yet.
    fn waiting(&self) -> usize {
        self.entries.saturating_sub(self.entry_lists.len())
    }

    /// Entries to a part.
    fn per_part(&self) -> usize {
        (PART / self.form.size).max(1)
    }

    /// Where an entry has its elements; none when they are not aligned there.
    fn elements_at(&self) -> Option<usize> {
        let at = self.form.elements_at;
        at.is_multiple_of(align_of::<T>()).then_some(at)
    }

    /// Bytes of a row that waits for its list.
    fn staged_row(&self) -> usize {
        self.options.width * size_of::<T>() + 16
    }

    /// Bytes beside the entries: centres, what threads work with, rows that wait.
    fn fixed_memory(&self, threads: usize, codes: bool, stage: usize) -> usize {
        let (lists, width) = (self.counts.len() as u64, self.options.width as u64);
        let centres = Lists::<T::Component>::memory(lists, width, codes)
            .saturating_add(scratch::<T>(width, threads as u64));
        usize::try_from(centres)
            .unwrap_or(usize::MAX)
            .saturating_add(stage * self.staged_row() + self.centres.len() * size_of::<T>())
            .saturating_add(self.coder_memory)
    }

    /// Takes memory for rows to come. Where little is allowed, fewer threads work, then without codes, then one
    /// alone on a few rows at a time: with the least that there is to do it with, even if that is more than is
    /// allowed.
    ///
    /// # Errors
    /// No memory.
    pub fn prepare(&mut self, workers: &mut Workers<'_>) -> Result<(), OutOfMemory> {
        if self.lists.is_some() {
            return Ok(());
        }
        let (most, row) = (self.options.memory, self.staged_row());
        let (stage, fast) = ((STAGE.min(most / 8) / row).max(LEAST_ROWS), Lists::<T::Component>::coded());
        let ways = [fast, false]
            .into_iter()
            .flat_map(|codes| (1..=workers.threads()).rev().map(move |threads| (threads, codes, stage)));
        let fits = |&(threads, codes, stage): &_| self.fixed_memory(threads, codes, stage) <= most;
        let (threads, codes, stage) = ways.into_iter().find(fits).unwrap_or((1, false, LEAST_ROWS));
        workers.limit(threads);
        self.stage_rows = stage;
        self.fixed = self.fixed_memory(threads, codes, stage);
        self.lists = Some(Lists::new(&self.centres, self.options.width, self.options.metric, codes)?);
        Ok(())
    }

    /// Adds a row of `width` elements. [`Self::prepare`] came before. When the system has no memory although the budget
    /// allows more, what is here goes to a run first.
    ///
    /// # Errors
    /// No memory even so.
    pub fn push(
        &mut self,
        row: Tid,
        elements: &[T],
        workers: &mut Workers<'_>,
        runs: &mut dyn Runs,
    ) -> Result<(), OutOfMemory> {
        self.push_keyed(row, elements, &[], workers, runs)
    }

    /// The same with the keys of its filter columns.
    ///
    /// # Errors
    /// No memory.
    pub fn push_keyed(
        &mut self,
        row: Tid,
        elements: &[T],
        keys: &[u64],
        workers: &mut Workers<'_>,
        runs: &mut dyn Runs,
    ) -> Result<(), OutOfMemory> {
        let (per_part, size) = (self.per_part(), self.form.size);
        if self.entries.is_multiple_of(per_part) {
            let words = (per_part * size).div_ceil(8);
            if self.entries > 0 && !can_allocate(words * 8) {
                self.settle(workers, runs)?;
                self.write_run(runs)?;
            }
            let part = u64::new_vec_zeroed(words).map_err(|_| OutOfMemory)?;
            memory::push(&mut self.parts, part)?;
        }
        let start = self.entries % per_part * size;
        if let Some(part) = self.parts.last_mut() {
            let place = part.as_mut_bytes().get_mut(start..start + size).unwrap_or_default();
            (self.form.write)(row, T::header(self.options.dims), elements.as_bytes(), place);
            let keys = keys.as_bytes();
            if let Some(place) = place.get_mut(self.form.keys_at..self.form.keys_at + keys.len()) {
                place.copy_from_slice(keys);
            }
        }
        self.entries += 1;
        if self.elements_at().is_none() {
            memory::append(&mut self.staged, elements)?;
        }
        if self.waiting() >= self.stage_rows { self.settle(workers, runs) } else { Ok(()) }
    }

    /// Gives the waiting entries their lists.
    fn settle(&mut self, workers: &mut Workers<'_>, runs: &mut dyn Runs) -> Result<(), OutOfMemory> {
        let Some(lists) = &self.lists else { return Ok(()) };
        let (width, settled, waiting) = (self.options.width, self.entry_lists.len(), self.waiting());
        // for the order, too, which is made when there may be no memory left
        self.entry_lists.try_reserve(waiting)?;
        self.order.try_reserve(settled + waiting)?;
        let mut own = core::mem::take(&mut self.own);
        own.clear();
        memory::resize(&mut own, waiting, 0)?;
        let elements_at = self.elements_at();
        let row = |i: usize| -> &[T] {
            let Some(at) = elements_at else {
                return self.staged.get(i * width..(i + 1) * width).unwrap_or_default();
            };
            let elements = self.entry((settled + i) as u32).get(at..at + width * size_of::<T>());
            <[T]>::ref_from_bytes(elements.unwrap_or_default()).unwrap_or_default()
        };
        lists.assign(row, width, &mut own, workers)?;
        for &list in &own {
            if let Some(count) = self.counts.get_mut(list as usize) {
                *count += 1;
            }
        }
        self.entry_lists.extend_from_slice(&own);
        self.complete(settled, &own, workers)?;
        self.own = own;
        self.staged.clear();
        // an entry, its list, its place in the order
        let used = self.parts.len() * self.per_part() * self.form.size + self.entry_lists.len() * 8;
        let least = self.options.memory.saturating_sub(self.fixed).max(LEAST);
        if used + PART.min(least / 2) > least {
            self.write_run(runs)?;
        }
        Ok(())
    }

    /// Completes the entries from `first` on, which belong to these lists.
    fn complete(
        &mut self,
        first: usize,
        lists: &[u32],
        workers: &mut Workers<'_>,
    ) -> Result<(), OutOfMemory> {
        let Some(coder) = &self.coder else { return Ok(()) };
        let (per_part, size) = ((PART / self.form.size).max(1), self.form.size);
        let failed = AtomicBool::new(false);
        // what a part has of them, and their lists
        let mut skipped = first % per_part;
        let mut left = lists;
        let pieces = self.parts.iter_mut().skip(first / per_part).map(|part| {
            let entries = part.as_mut_bytes().get_mut(skipped * size..).unwrap_or_default();
            let (own, rest) = left.split_at(left.len().min(per_part - skipped));
            (skipped, left) = (0, rest);
            (entries, own)
        });
        let pieces = collected_pieces(pieces)?;
        let chunks = pieces
            .into_iter()
            .flat_map(|(entries, lists)| entries.chunks_mut(COMPLETED * size).zip(lists.chunks(COMPLETED)));
        workers.each(
            chunks,
            || Ok([Vec::new(), Vec::new()]),
            |room, (entries, lists), beat| {
                for (entry, &list) in entries.chunks_exact_mut(size).zip(lists) {
                    if coder.complete(list, entry, room).is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                }
                beat();
            },
        )?;
        // a coder fails for want of memory only: its entries are of its own form
        if failed.into_inner() { Err(OutOfMemory) } else { Ok(()) }
    }

    fn entry(&self, at: u32) -> &[u8] {
        let per_part = self.per_part();
        let start = at as usize % per_part * self.form.size;
        let part = self.parts.get(at as usize / per_part);
        part.and_then(|part| part.as_bytes().get(start..start + self.form.size)).unwrap_or_default()
    }

    /// Orders the stored entries by list; returns how many each list has.
    fn arrange(&mut self) -> Result<Vec<u32>, OutOfMemory> {
        let mut counts = memory::filled(0u32, self.counts.len())?;
        self.entry_lists.iter().for_each(|&list| counts[list as usize] += 1);
        let mut next = 0;
        let mut starts = memory::collected(counts.iter().map(|count| {
            next += count;
            next - count
        }))?;
        self.order.clear();
        self.order.resize(self.entry_lists.len(), 0);
        for (at, &list) in self.entry_lists.iter().enumerate() {
            let place = &mut starts[list as usize];
            self.order[*place as usize] = at as u32;
            *place += 1;
        }
        Ok(counts)
    }

    #[cold]
    fn write_run(&mut self, runs: &mut dyn Runs) -> Result<(), OutOfMemory> {
        // a run without bytes is none for who keeps them
        if self.entries == 0 {
            return Ok(());
        }
        let counts = self.arrange()?;
        self.runs.try_reserve(1)?;
        self.order.iter().for_each(|&at| runs.write(self.entry(at)));
        runs.end_run();
        self.runs.push(counts);
        self.parts.clear();
        self.entry_lists.clear();
        self.order.clear();
        self.entries = 0;
        Ok(())
    }

    /// Writes the index: meta page, lists, entries. `done` is told how many rows are written.
    ///
    /// # Errors
    /// A file that cannot be extended, no memory.
    pub fn write<L: BulkLists>(
        mut self,
        lists: &mut L,
        page_size: usize,
        workers: &mut Workers<'_>,
        runs: &mut dyn Runs,
        done: &mut dyn FnMut(u64),
    ) -> Result<(), L::Error> {
        self.settle(workers, runs).map_err(|OutOfMemory| Damage::OUT_OF_MEMORY.on(META_BLOCK))?;
        self.lists = None;
        let in_memory = self.arrange().map_err(|OutOfMemory| Damage::OUT_OF_MEMORY.on(META_BLOCK))?;
        let (dims, width) = (self.options.dims, self.options.width);
        let shape = Shape { dimensions: dims as u16, value_size: value_size::<T>(width), page_size };
        let heads = lists.begin(shape, &self.counts, |list, out| {
            let centre = self.centres.get(list * width..(list + 1) * width).unwrap_or_default();
            write_value(dims, centre, out);
        })?;
        let (mut next, mut written) = (0usize, 0u64);
        let ahead = (PREFETCH_DISTANCE_BYTES / self.form.size).max(1);
        for (list, head) in heads.iter().enumerate() {
            let mut left: Vec<u32> =
                self.runs.iter().map(|run| run.get(list).copied().unwrap_or_default()).collect();
            let mut short = false;
            let end = next + in_memory.get(list).copied().unwrap_or_default() as usize;
            lists.write_list(*head, self.form.size, || {
                if let Some(run) = left.iter().position(|&left| left > 0) {
                    left[run] -= 1;
                    let mut entry = vec![0; self.form.size];
                    short = runs.read(run, &mut entry) != entry.len();
                    return (!short).then_some(Cow::Owned(entry));
                }
                let at = *self.order.get(next).filter(|_| next < end)?;
                next += 1;
                // entries of a list are far from each other: a page's worth of them is asked for ahead
                if let Some(&ahead) = self.order.get(next + ahead) {
                    prefetch(self.entry(ahead));
                }
                Some(Cow::Borrowed(self.entry(at)))
            })?;
            if short {
                // a temporary file's fault, and no damage of the index
                return Err(Damage::internal("fewer entries than were kept outside").on(META_BLOCK).into());
            }
            written += u64::from(self.counts.get(list).copied().unwrap_or_default());
            done(written);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::v1::layout::PAGE_ID;
    use super::super::v1::{Pages, entry_form};
    use super::*;
    use crate::testing::{MemBlocks, PAGE_SIZE};
    use crate::work::runs::testing::Kept;
    use crate::work::workers::Idle;

    #[test]
    fn runs_written_one_upon_the_other_keep_their_numbers() {
        let options = LoadOptions { dims: 2, width: 2, metric: Metric::L2, memory: 1 << 20 };
        let mut loader = Loader::new(options, entry_form(16), vec![0.0f32, 0.0, 9.0, 9.0]);
        let (mut idle, mut runs, mut told) = (Idle, Kept::default(), 0);
        let mut workers = Workers::new(0, &mut idle);
        loader.prepare(&mut workers).unwrap();
        for row in 0..30u32 {
            loader.push(Tid::new(row, 1), &[(row % 10) as f32; 2], &mut workers, &mut runs).unwrap();
            if row % 10 == 9 {
                // as when rows that got their lists filled the budget, and then the system has no memory either
                loader.settle(&mut workers, &mut runs).unwrap();
                loader.write_run(&mut runs).unwrap();
                loader.write_run(&mut runs).unwrap();
            }
        }
        let mut blocks = MemBlocks::new(PAGE_ID);
        loader
            .write(&mut Pages(&mut blocks), PAGE_SIZE, &mut workers, &mut runs, &mut |rows| told = rows)
            .unwrap();
        assert_eq!((told, runs.0.len()), (30, 3));
    }
}
