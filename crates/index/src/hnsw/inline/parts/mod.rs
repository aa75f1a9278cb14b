//! Building a graph of more rows than fit the memory: in parts that overlap, each of which fits, and merged.
//!
//! 1. Rows go to a file of *values* in the order they come ([`Spilled`]).
//! 2. A sample of them chooses centres ([`division`]); each row goes to the part of the nearest centre, and to the next
//!    one, too, where that is not much farther. (So do Subramanya et al., DiskANN, NeurIPS 2019, section 4.3, with two
//!    parts for every row.)
//! 3. Each part is built in memory like any graph ([`part`]), where that is true enough of codes of one byte an element
//!    in place of the values, which fit several times as many rows. Its lists go to a file, with the codes of their
//!    edges: both ends are in memory now and never again.
//! 4. The layers above, with a row in m, are built whole once they fit; else in parts, too.
//! 5. Lists are merged in the order of the rows while pages are composed ([`write`]): first the edges that hold the
//!    graph together, then those that the heuristic chose, the nearest of each; then others. Nothing is compared again:
//!    that was measured to change recall by nothing that counts, and would take all values in memory. An element's
//!    edges in layer 1 count among those in layer 0: they lead to other parts, too, where clusters lie apart.
//!
//! **Layer 0 stays connected.** A part's tree hangs what no earlier part has below elements that an earlier part has
//! (they are its roots), over edges that stand in both lists and are kept by the merge. Following anchors, an element
//! of a part leads to a root of that part, which an earlier part has, and so on to the root of the first part. A part
//! that shares no element with an earlier one gets one pair of edges with it, a *bridge*. With at most two parts for an
//! element, lists of 2m places hold what must stay: the anchor, a quarter of the places (or three) for each part's
//! children, a bridge; m is at least [`LEAST_M`].
//!
//! **Equal rows** go to the same parts, and share an element there, as in any build; the part that is built first tells
//! the rows of an element. Where a part was full, some may become another element.
//!
//! Memory: what is kept for all rows is three bits each, and eight bytes for those of upper layers; files have a buffer
//! each.

mod division;
mod lists;
mod part;
mod rows;
#[cfg(test)]
mod tests;
mod write;

use core::sync::atomic::AtomicU64;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::division::{Division, Sample, coordinates, mix, width};
use self::part::{Place, piece_bytes};
use self::rows::{Row, RowSet, append_row};
use super::layout::Layout;
use super::scan::Index;
use crate::error::ValueError;
use crate::hnsw::build::{Builder, Params, codes_are_faithful, value_hash};
use crate::hnsw::params::random_level;
use crate::quant::space::{CodedSpace, Estimate};
use crate::storage::page::{Damage, Tid};
use crate::work::memory::{collected, filled, push, with_room};
use crate::work::runs::Files;
use crate::work::workers::Workers;

pub use self::write::Merged;

/// Connections, at least, of a graph that is built in parts.
pub const LEAST_M: usize = 4;
/// Rows of a part, at least: with smaller ones a graph is better built row by row.
const LEAST_ROWS: usize = 256;
/// How much room of a part a row takes; one that equals a recent one takes 1, being but a heap TID.
const FULL: usize = 16;
/// Values that are remembered to be recent.
const RECENT: usize = 4096;
/// Bytes that a file takes while it is open: the server's buffer of a page, and what belongs to it.
const FILE: usize = 9 << 10;
/// Parts, at most.
const MOST_PARTS: usize = 4096;

const BROKEN: Damage = Damage::internal("temporary file of an index build is damaged");

/// The highest layer of a row, if it becomes an element.
fn level(params: &Params, row: u32) -> u8 {
    let mut rng = SmallRng::seed_from_u64(mix(params.seed, row));
    random_level(&mut rng, params.m, params.max_level)
}

/// Rows that do not fit the memory.
#[derive(Debug)]
pub struct Spilled {
    params: Params,
    value_size: usize,
    /// the file of values
    values: usize,
    rows: u32,
}

impl Spilled {
    /// Whether rows of an index like this can be built in parts within the budget of `params`; one with filter columns
    /// is not.
    pub fn is_possible<S: CodedSpace>(params: &Params, index: &Index<S>) -> bool {
        // codes take less, where there are any
        let memory = Memory::new(params, index, false);
        let plain = index.layout.shape.filters.is_empty();
        plain && params.m >= LEAST_M && memory.part_rows(0, memory.part_budget(2, 0)) >= LEAST_ROWS
    }

    /// No rows; `params` are those of a builder, whose budget holds for all that follows.
    pub fn new(params: Params, layout: &Layout, files: &mut dyn Files) -> Self {
        Spilled { params, value_size: layout.ground.value_size, values: files.create(), rows: 0 }
    }

    /// Takes the rows of a builder.
    ///
    /// # Errors
    /// No memory.
    pub fn take<S: CodedSpace>(
        &mut self,
        builder: Builder<S>,
        files: &mut dyn Files,
        workers: &mut Workers<'_>,
    ) -> Result<(), Damage> {
        let mut tids = Vec::new();
        for element in builder.into_elements().elements() {
            workers.poll_when_due();
            tids.clear();
            push(&mut tids, element.first_heap_tid())?;
            for tid in element.other_heap_tids() {
                push(&mut tids, tid)?;
            }
            append_row(files, self.values, self.rows, &tids, element.value());
            self.rows = self.rows.saturating_add(1);
        }
        Ok(())
    }

    /// Takes a row: its heap TID, and its value as a whole varlena, as a builder takes it.
    ///
    /// # Errors
    /// When the bytes are no value of the index; the row is not taken then.
    pub fn push<S: CodedSpace>(
        &mut self,
        index: &Index<S>,
        files: &mut dyn Files,
        tid: Tid,
        value: &[u8],
    ) -> Result<(), ValueError> {
        index.space.view(value)?;
        append_row(files, self.values, self.rows, &[tid], value);
        self.rows = self.rows.saturating_add(1);
        Ok(())
    }

    /// Builds the graph. `progress` counts elements.
    ///
    /// # Errors
    /// A file that ends too early, no memory.
    pub fn build<S: CodedSpace>(
        self,
        index: &Index<S>,
        files: &mut dyn Files,
        progress: &AtomicU64,
        workers: &mut Workers<'_>,
    ) -> Result<Merged, Damage> {
        let mut rows = self.rows;
        let centre = self.centre(index, files, workers)?;
        let memory = Memory::new(&self.params, index, centre.is_some());
        let plan = memory.plan(0, u64::from(rows)).ok_or(Damage::OUT_OF_MEMORY)?;
        rows = rows.min(u32::try_from(plan.rows).unwrap_or(u32::MAX));
        let mut parting = Parting {
            index,
            params: self.params,
            part_budget: plan.budget,
            value_size: self.value_size,
            rows,
            nodes: RowSet::new(rows as usize)?,
            equals: RowSet::new(rows as usize)?,
            ground: Vec::new(),
            upper: Vec::new(),
            first_above: Vec::new(),
            bridges: Vec::new(),
            last: None,
            centre,
            shorts: 0,
            longs: 0,
            parts: 0,
        };
        let uppers = files.create();
        let mut counts =
            parting.layer(files, self.values, Some(uppers), &memory, plan, 0, progress, workers)?;
        let whole = counts.is_none();
        let counts = counts.get_or_insert([0; 64]);
        for base in 1..=self.params.max_level {
            let rows: u64 = counts.get(usize::from(base)..).unwrap_or_default().iter().sum();
            if whole || rows == 0 {
                break;
            }
            let plan =
                memory.plan(base, rows).filter(|plan| plan.rows >= rows).ok_or(Damage::OUT_OF_MEMORY)?;
            parting.part_budget = plan.budget;
            if parting.layer(files, uppers, None, &memory, plan, base, progress, workers)?.is_none() {
                break;
            }
        }
        parting.finish(files, (self.values, self.rows), uppers, &memory, workers)
    }
}

/// Dimensions from which on codes are smaller than values and lists.
const CODED_DIMS: usize = 64;
/// Rows that the centre of codes is the mean of, and that show whether codes are true to their values.
const CENTRE_ROWS: usize = 1024;

impl Spilled {
    /// What codes of one byte an element are centred around, when parts are built of such codes alone: most of what a
    /// row takes is its value, and codes fit several times as many rows.
    fn centre<S: CodedSpace>(
        &self,
        index: &Index<S>,
        files: &mut dyn Files,
        workers: &mut Workers<'_>,
    ) -> Result<Option<Vec<f32>>, Damage> {
        let padded = index.codec.padded();
        if !self.params.coded
            || index.space.estimate() == Estimate::Exact
            || index.layout.shape.dims < CODED_DIMS
        {
            return Ok(None);
        }
        let budget = (CENTRE_ROWS * (padded + 2) * size_of::<f32>()).min(self.params.budget / 8);
        let mut sample = Sample::new(self.params.seed ^ 0xc0de, u64::from(self.rows), padded, budget)?;
        let (mut rotated, mut widened, mut row) = (filled(0.0, padded)?, with_room(padded)?, Row::default());
        files.rewind(self.values);
        while row.read(files, self.values, self.value_size)? {
            workers.poll_when_due();
            if sample.wants(row.row) {
                let view = index.space.view(row.value()).map_err(|_| BROKEN)?;
                index.codec.rotate(&index.space, view, &mut widened, &mut rotated);
                sample.add(row.row, &rotated);
            }
        }
        let mut sums = filled(0.0f64, padded)?;
        for row in sample.rows() {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let count = sample.rows().len().max(1) as f64;
        let centre = collected(sums.iter().map(|sum| (sum / count) as f32))?;
        let faithful = codes_are_faithful(sample.numbers(), &centre, index.space.metric())?;
        Ok(faithful.then_some(centre))
    }
}

/// How much memory what takes.
#[derive(Clone, Copy, Debug)]
struct Memory {
    params: Params,
    value_size: usize,
    /// numbers by which rows are divided
    width: usize,
    /// bytes of a row's copies: first codes for quick distances, then rotated values
    copies: usize,
    /// bytes of an element without them, in layer 0
    element: usize,
    /// in the layers above
    upper_element: usize,
    /// bytes of all threads' scratch
    scratch: usize,
}

/// How a layer is built.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Plan {
    /// one: whole
    parts: usize,
    /// rows of a part, at most
    most: usize,
    /// how many times as many rows all parts have
    overlap: f64,
    /// bytes for a part
    budget: usize,
    /// rows that find room
    rows: u64,
}

/// What planned sizes leave to chance: sizes of lists of upper layers, chunks of arenas in use in part.
const SLACK: f64 = 0.93;
/// How many times the rows that overlapping parts have on average a part has room for.
const UNEVEN: f64 = 1.12;

impl Memory {
    fn new<S: CodedSpace>(params: &Params, index: &Index<S>, coded: bool) -> Self {
        let (dims, value_size) = (index.layout.shape.dims, index.layout.ground.value_size);
        let codes = match index.space.estimate() {
            Estimate::Exact => 0,
            _ => (dims + 8).next_multiple_of(64),
        };
        let copy = Builder::<S>::copy_bytes(index.codec.padded());
        let stored = if coded { copy } else { value_size };
        let element = |layer| Builder::<S>::element_bytes(params.m, layer, stored) + size_of::<u32>();
        Memory {
            params: *params,
            value_size,
            width: width(&index.space, dims),
            copies: if coded { 0 } else { codes.max(index.codec.padded() * size_of::<f32>()) },
            element: element(0),
            upper_element: element(1),
            scratch: Builder::<S>::scratch_bytes(params, usize::MAX / 4),
        }
    }

    fn element(&self, base: u8) -> usize {
        if base == 0 { self.element } else { self.upper_element }
    }

    /// Bytes that are left for a part when there are so many of them, and so many rows.
    fn part_budget(&self, parts: usize, rows: u64) -> usize {
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let kept = 2 * RowSet::size(rows) + rows / self.params.m * 2 * size_of::<u32>();
        // of each part the rows or the lists, those of upper layers and of the first of these, the values
        let files = (parts + 7) * FILE;
        let taken = kept + files + piece_bytes(&self.params) + self.value_size;
        self.params.budget.saturating_sub(taken)
    }

    /// Rows that a part of `budget` bytes has room for.
    fn part_rows(&self, base: u8, budget: usize) -> usize {
        let chunk = (budget / 256).clamp(2 << 10, 2 << 20);
        let free = budget.saturating_sub(self.scratch + 4 * chunk);
        (free as f64 * SLACK) as usize / (self.element(base) + self.copies)
    }

    /// How to build `rows` rows of layer `base`.
    fn plan(&self, base: u8, rows: u64) -> Option<Plan> {
        let budget = self.part_budget(0, rows);
        let most = self.part_rows(base, budget);
        if rows <= most as u64 {
            return Some(Plan { parts: 1, most, overlap: 1.0, budget, rows });
        }
        // how many times the memory would hold them at once
        let times =
            rows as f64 * (self.element(base) + self.copies) as f64 / self.params.budget.max(1) as f64;
        let slope = if times > 4.0 { 0.4 } else { 0.25 };
        let wanted = (1.6 + slope * (times / 4.0).log2()).clamp(1.25, 2.0);
        let mut last = None;
        for overlap in [wanted, 1.5, 1.25].into_iter().filter(|o| *o <= wanted) {
            for parts in 2..MOST_PARTS {
                let budget = self.part_budget(parts, rows);
                let most = self.part_rows(base, budget);
                if most < LEAST_ROWS || !Division::fits(parts, self.width, self.params.budget / 2) {
                    break;
                }
                let room = ((parts * most) as f64 / (overlap * UNEVEN)) as u64;
                let plan = Plan { parts, most, overlap, budget, rows: room.min(rows) };
                if room >= rows {
                    return Some(plan);
                }
                if last.is_none_or(|last: Plan| last.rows < plan.rows) {
                    last = Some(plan);
                }
            }
        }
        last
    }
}

/// A build in parts under way.
struct Parting<'a, S> {
    index: &'a Index<'a, S>,
    params: Params,
    part_budget: usize,
    value_size: usize,
    /// rows that parts have
    rows: u32,
    /// those that are elements
    nodes: RowSet,
    /// those that equal an element
    equals: RowSet,
    /// files of lists of layer 0
    ground: Vec<usize>,
    /// of the layers above
    upper: Vec<usize>,
    /// of the first layer above, with codes as layer 0 has them
    first_above: Vec<usize>,
    /// lists of one edge each, with their owners
    bridges: Vec<(u32, Vec<u8>)>,
    /// an element of the latest part
    last: Option<(u32, Place)>,
    /// what codes are centred around, where parts have only codes
    centre: Option<Vec<f32>>,
    /// segments of heap TIDs
    shorts: usize,
    longs: usize,
    /// parts of layer 0
    parts: usize,
}

impl<S: CodedSpace> Parting<'_, S> {
    /// Bytes of an element in a part of layer `base`.
    fn element_bytes(&self, base: u8) -> usize {
        Builder::<S>::element_bytes(self.params.m, base, self.value_size)
    }

    /// Builds layer `base` of the rows in the file `source`, or all layers from that on when they fit. Rows of higher
    /// layers go to the file `uppers`, too. Returns the number of rows by their highest layer, or none when all
    /// layers are done.
    ///
    /// # Errors
    /// A file that ends too early, no memory.
    #[allow(clippy::too_many_arguments)]
    fn layer(
        &mut self,
        files: &mut dyn Files,
        source: usize,
        uppers: Option<usize>,
        memory: &Memory,
        plan: Plan,
        base: u8,
        progress: &AtomicU64,
        workers: &mut Workers<'_>,
    ) -> Result<Option<[u64; 64]>, Damage> {
        let mut counts = [0u64; 64];
        if plan.parts == 1 {
            if let Some(uppers) = uppers {
                self.divide(files, source, Some(uppers), base, &mut counts, workers, |_, _, _| Ok(()))?;
            }
            self.parts += usize::from(base == 0);
            self.build_part(files, (source, base, true), plan.most, progress, workers)?;
            return Ok(None);
        }
        let division = {
            let width = memory.width;
            let wanted = Sample::new(self.params.seed ^ 0x5eed, plan.rows, width, self.params.budget / 4);
            let (mut sample, mut numbers, dims) = (wanted?, with_room(width)?, self.index.layout.shape.dims);
            let space = self.index.space;
            self.divide(files, source, None, base, &mut counts, workers, |_, row, _| {
                if sample.wants(row.row) && coordinates(&space, dims, row.value(), &mut numbers) {
                    sample.add(row.row, &numbers);
                }
                Ok(())
            })?;
            Division::new(&sample, plan.parts, plan.overlap, self.params.budget / 2, workers)?.0
        };
        let mut parts = with_room(plan.parts)?;
        for _ in 0..plan.parts {
            parts.push(files.create());
        }
        // how full parts are, and how many rows they have
        let (mut loads, mut counted) = (filled(0usize, plan.parts)?, filled(0usize, plan.parts)?);
        let (mut numbers, mut distances) = (with_room(memory.width)?, Vec::new());
        let mut recent = filled(0u64, RECENT)?;
        let most = plan.most * FULL;
        let mut free = plan.parts * most;
        let (mut left, space, dims) = (plan.rows, self.index.space, self.index.layout.shape.dims);
        let seed = self.params.seed;
        counts = [0; 64];
        self.divide(files, source, uppers, base, &mut counts, workers, |files, row, _| {
            if !coordinates(&space, dims, row.value(), &mut numbers) {
                return Err(BROKEN);
            }
            let near = division.nearest(&numbers, &mut distances)?;
            let hash = value_hash(row.value(), seed) as u64;
            let slot = recent.get_mut(hash as usize % RECENT).ok_or(BROKEN)?;
            let cost = if core::mem::replace(slot, hash) == hash { 1 } else { FULL };
            let room =
                |loads: &[usize], part: usize| loads.get(part).is_some_and(|&load| load + cost <= most);
            let mut first = near.first as usize;
            if !room(&loads, first) {
                let open = division.nearest_with(&distances, |part| room(&loads, part as usize));
                first = open.ok_or(Damage::OUT_OF_MEMORY)? as usize;
            }
            left = left.saturating_sub(1);
            let second = near.second as usize;
            let both = division.takes_second(&near)
                && second != first
                && room(&loads, second)
                // all that come find room
                && free as u64 > (left + 1 + plan.parts as u64) * FULL as u64;
            for part in [Some(first), both.then_some(second)].into_iter().flatten() {
                let places = (parts.get(part), loads.get_mut(part), counted.get_mut(part));
                if let (Some(&file), Some(load), Some(count)) = places {
                    row.append(files, file);
                    (*load, *count) = (*load + cost, *count + 1);
                    free = free.saturating_sub(cost);
                }
            }
            Ok(())
        })?;
        self.parts += if base == 0 { parts.len() } else { 0 };
        for (&file, &count) in parts.iter().zip(&counted) {
            self.build_part(files, (file, base, false), count, progress, workers)?;
            files.remove(file);
        }
        Ok(Some(counts))
    }

    /// Reads the rows of layer `base` in `source` and gives each to `take`. Rows of higher layers go to the file
    /// `uppers`, too; `counts` counts rows by their highest layer.
    #[allow(clippy::too_many_arguments)]
    fn divide(
        &self,
        files: &mut dyn Files,
        source: usize,
        uppers: Option<usize>,
        base: u8,
        counts: &mut [u64; 64],
        workers: &mut Workers<'_>,
        mut take: impl FnMut(&mut dyn Files, &Row, u8) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let mut row = Row::default();
        files.rewind(source);
        while row.read(files, source, self.value_size)? {
            workers.poll_when_due();
            if row.row >= self.rows {
                break;
            }
            let level = level(&self.params, row.row);
            if level < base || base > 0 && !self.nodes.has(row.row) {
                continue;
            }
            if let Some(count) = counts.get_mut(usize::from(level)) {
                *count += 1;
            }
            if let Some(uppers) = uppers.filter(|_| level > base) {
                row.append_value(files, uppers);
            }
            take(files, &row, level)?;
        }
        Ok(())
    }
}
