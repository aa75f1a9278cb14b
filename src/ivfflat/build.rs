//! Building: a sample of the table is clustered, then every row goes to its list.

use core::ffi::CStr;

use half::f16;
use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys::{
    self, ForkNumber, PROGRESS_CREATEIDX_SUBPHASE, PROGRESS_CREATEIDX_TUPLES_DONE,
    PROGRESS_CREATEIDX_TUPLES_TOTAL,
};
use vector_index::ivf::choice::{has_packed, max_dims};
use vector_index::ivf::cluster::kmeans::{self, Plan, Task, kmeans, plan};
use vector_index::ivf::cluster::refine::Refinement;
use vector_index::ivf::cluster::sample::Sample;
use vector_index::ivf::format::{self, Layout, META_BLOCK, Memory, begin_included, packed_lists};
use vector_index::ivf::lists::{NoTable, Services};
use vector_index::ivf::load::{Element, LoadOptions, Loader, value_size, write_value};
use vector_index::ivf::packed::code::Coder;
use vector_index::ivf::packed::runs::RunBuild;
use vector_index::ivf::packed::{Index, Lists, tune};
use vector_index::quant::space::CodedSpace;
use vector_index::space::{AnySpace, ValueBuf, ValueKind};
use vector_index::storage::page::Tid;
use vector_index::with_lists;
use vector_index::work::memory::{append, with_room};
use vector_index::work::runs::Runs;
use vector_index::work::workers::Workers;

use super::table::Seen;
use super::{
    Decompress, Ivfflat, centres, corrupted, has_included, is_packed, is_without_values, memory,
    operator_class, options,
};
use crate::error::Error;
use crate::filters;
use crate::opclass::OpClass;
use crate::pg::am::{BuildCall, Built};
use crate::pg::blocks::{IndexBlocks, PAGE_SIZE};
use crate::pg::build as pg_build;
use crate::pg::columns::Columns;
use crate::pg::ereport::{self, IntoReport, Report};
use crate::pg::guc;
use crate::pg::included::{Included, Refused};
use crate::pg::kept_rows::KeptRows;
use crate::pg::relation::Rel;
use crate::pg::sample::{count_rows, sample_table, share_of_table};
use crate::pg::spill::Spill;
use crate::pg::table_rows::LatestRows;
use crate::pg::table_scan::{Beside, Further, scan_whole_table};
use crate::pg::threads::{self, Backend};

/// Phases of pg_stat_progress_create_index; 1 is the server's own.
const INITIALIZING: i64 = 1;
const CLUSTERING: i64 = 2;
const ASSIGNING: i64 = 3;
const LOADING: i64 = 4;

/// The name of a phase.
pub fn phase(number: i64) -> Option<&'static CStr> {
    match number {
        INITIALIZING => Some(c"initializing"),
        CLUSTERING => Some(c"performing k-means"),
        ASSIGNING => Some(c"assigning tuples"),
        LOADING => Some(c"loading tuples"),
        _ => None,
    }
}

/// Rows of the sample per list, and at least in all.
const ROWS_PER_LIST: usize = 50;
const ROWS_AT_LEAST: usize = 10_000;

/// How often centres of a sample that memory has cut short are moved to the means of more rows.
const REFINEMENTS: u64 = 3;

/// Rows of a page of a table, at most (MaxHeapTuplesPerPage): a page header, and per row a header and a line pointer.
const ROWS_PER_PAGE: usize = (PAGE_SIZE - 24) / (24 + 4);

/// What an index is built with.
#[derive(Clone, Copy)]
struct Shape {
    op: OpClass,
    dims: u16,
    lists: u16,
    packed: bool,
    columns: Columns,
    /// packed, and exact distances come from the table
    without_values: bool,
    /// filter columns that get runs; none where nobody says how many
    runs: Option<usize>,
    /// whether the index is to find out how many lists a search should look at
    tuned: bool,
}

impl Shape {
    fn of(index: Rel<'_>, call: Option<&BuildCall<'_>>) -> Result<Self, Error> {
        if index.type_of(0) == pg_sys::VARBITOID {
            let message = "type not supported for ivfflat index";
            return Err(Error::Fixed(Code::ERRCODE_FEATURE_NOT_SUPPORTED, message));
        }
        let op = operator_class(index)?;
        let dims = index.typmod(0);
        if dims < 0 {
            let message = "column does not have dimensions";
            return Err(Error::Fixed(Code::ERRCODE_INVALID_PARAMETER_VALUE, message));
        }
        let options = options::of(index);
        let columns = filters::of::<Ivfflat>(index)?;
        let packed = is_packed(index, &op, &columns, &options)?;
        let without_values = is_without_values(index, packed, &options)?;
        let max = max_dims(packed, op.kind);
        let too_many = || {
            let message = format!("column cannot have more than {max} dimensions for ivfflat index");
            let code = Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED;
            if has_packed(op.kind, op.metric) && dims <= max_dims(true, op.kind) {
                Error::Hinted(code, message, "Use WITH (layout = packed).")
            } else {
                Error::Message(code, message)
            }
        };
        let dims = u16::try_from(dims).ok().filter(|&dims| i32::from(dims) <= max).ok_or_else(too_many)?;
        if op.spherical && dims == 1 {
            let message = "dimensions must be greater than one for this opclass";
            return Err(Error::Fixed(Code::ERRCODE_INVALID_PARAMETER_VALUE, message));
        }
        let rows = match call {
            Some(call) if packed && options.lists.is_none() => count_rows(call.heap, call.index, call.info),
            _ => 0.0,
        };
        let lists = options.lists_for(packed, rows, dims);
        let tuned = call.is_some() && packed;
        let op = op.keeping_lengths(packed);
        let runs = options.runs;
        Ok(Shape { op, dims, lists, packed, columns, without_values, runs, tuned })
    }
}

/// Builds an index.
pub fn build(call: BuildCall<'_>) -> Result<Built, Error> {
    let built = build_fork(call.index, ForkNumber::MAIN_FORKNUM, Some(&call))?;
    pg_build::log_fork(call.index, ForkNumber::MAIN_FORKNUM);
    Ok(built)
}

/// Writes the init fork of an unlogged index: one with random centres and no entries.
pub fn build_empty(index: Rel<'_>) -> Result<(), Error> {
    build_fork(index, ForkNumber::INIT_FORKNUM, None)?;
    pg_build::log_fork(index, ForkNumber::INIT_FORKNUM);
    Ok(())
}

fn build_fork(index: Rel<'_>, fork: ForkNumber::Type, call: Option<&BuildCall<'_>>) -> Result<Built, Error> {
    let shape = Shape::of(index, call)?;
    centres::forget();
    let threads = call.map_or(1, |call| threads::threads(call.heap));
    let mut nothing = || ();
    let mut backend = Backend::new(&mut nothing);
    let mut build = Build {
        shape,
        index,
        blocks: if fork == ForkNumber::INIT_FORKNUM {
            IndexBlocks::building_init(index)
        } else {
            IndexBlocks::building(index)
        },
        workers: Workers::new(threads - 1, &mut backend),
        seed: options::build_seed(),
    };
    match shape.op.space(i32::from(shape.dims)) {
        AnySpace::Vector(space) => build.run::<f32, _>(space, call),
        AnySpace::Halfvec(space) => build.run::<f16, _>(space, call),
        AnySpace::Bit(space) => build.run::<u8, _>(space, call),
        AnySpace::VectorAngle(space) => build.run::<f32, _>(space, call),
        AnySpace::HalfvecAngle(space) => build.run::<f16, _>(space, call),
        AnySpace::Sparsevec(_) => {
            Err(Error::Fixed(Code::ERRCODE_FEATURE_NOT_SUPPORTED, "type not supported for ivfflat index"))
        }
    }
}

/// A build under way.
struct Build<'b> {
    shape: Shape,
    index: Rel<'b>,
    blocks: IndexBlocks<'b>,
    workers: Workers<'b>,
    seed: u64,
}

impl Build<'_> {
    /// Elements of a value.
    fn width(&self) -> usize {
        let dims = usize::from(self.shape.dims);
        if self.shape.op.kind == ValueKind::Bit { dims.div_ceil(8) } else { dims }
    }

    fn run<T, S>(&mut self, space: S, call: Option<&BuildCall<'_>>) -> Result<Built, Error>
    where
        T: Element + Default,
        S: for<'v> CodedSpace<View<'v> = &'v [T]>,
    {
        let (centres, queries) = self.cluster(space, call)?;
        let (dims, width) = (usize::from(self.shape.dims), self.width());
        let layout = self.layout(space)?;
        // entries in the order of filter keys wait beside those of lists
        let memory = guc::maintenance_work_mem();
        let has_runs = layout.coded().is_some_and(|index| index.runs.count() > 0);
        let of_runs = if has_runs { memory / 100 * RunBuild::MEMORY } else { 0 };
        let options = LoadOptions { dims, width, metric: self.shape.op.metric, memory: memory - of_runs };
        let coded = layout.coded().map(|index| Ok::<_, Error>((self.coder(index, space, &centres)?, index)));
        let coder = coded.transpose()?;
        let form = layout.entry_form(value_size::<T>(width));
        let (mut loader, mut spill) = (Loader::new(options, form, centres), Spill::new());
        let mut memory = Memory::default();
        if let Some((coder, index)) = coder {
            memory.built_runs =
                RunBuild::new(&index, coder.run_centre(), of_runs, || Box::new(Spill::new()))?;
            loader.set_coder(Box::new(coder), Coder::<S>::memory(&index, usize::from(self.shape.lists)));
        }
        let mut included = has_included(self.index).then(KeptRows::new);
        let heap_rows = call
            .map_or(Ok(0.0), |call| self.assign(space, call, &mut loader, &mut spill, included.as_mut()))?;
        pg_build::progress(PROGRESS_CREATEIDX_SUBPHASE, LOADING);
        let index_rows = loader.count();
        pg_build::progress(PROGRESS_CREATEIDX_TUPLES_TOTAL, index_rows as i64);
        let mut done = |rows| pg_build::progress(PROGRESS_CREATEIDX_TUPLES_DONE, rows as i64);
        let written = with_lists!(layout, &mut self.blocks, &mut memory, lists => {
            loader.write(lists, PAGE_SIZE, &mut self.workers, &mut spill, &mut done)
        });
        written.map_err(|c| corrupted(self.index, c))?;
        spill.clear();
        if let Some(mut lists) = packed_lists(layout, &mut self.blocks, &mut memory) {
            lists.write_runs().map_err(|c| corrupted(self.index, c))?;
        }
        if let Some(values) = &mut included {
            self.write_included(values, &mut memory)?;
        }
        if let Some(call) = call {
            self.tune(space, call, &queries, &mut memory, &mut spill)?;
        }
        self.blocks.count_hits();
        Ok(Built { heap_rows, index_rows: index_rows as f64 })
    }

    /// Writes the values of INCLUDE columns, behind the lists.
    fn write_included(&mut self, values: &mut KeptRows, memory: &mut Memory) -> Result<(), Error> {
        let (index, blocks) = (self.index, &mut self.blocks);
        let mut write = || {
            begin_included(blocks)?;
            let layout = format::read_meta(blocks)?.layout;
            let Some(mut lists) = packed_lists(layout, blocks, memory) else { return Ok(()) };
            values.finish(META_BLOCK, |values| lists.add_included(values))
        };
        write().map_err(|c| corrupted(index, c))
    }

    /// Lets a packed index find out how many lists a search should look at, by searches for some of its rows.
    fn tune<T, S>(
        &mut self,
        space: S,
        call: &BuildCall<'_>,
        queries: &[T],
        memory: &mut Memory,
        spill: &mut Spill,
    ) -> Result<(), Error>
    where
        T: Element,
        S: for<'v> CodedSpace<View<'v> = &'v [T]>,
    {
        if queries.is_empty() {
            return Ok(());
        }
        let read = format::read_meta(&mut self.blocks).map_err(|c| corrupted(self.index, c))?;
        let Some(index) = read.layout.coded() else { return Ok(()) };
        let dims = usize::from(self.shape.dims);
        let (mut value, most) = (Vec::new(), guc::maintenance_work_mem());
        // (of rows that the build has seen, this snapshot sees all but a few: more a self-test need not know)
        let mut latest = (!index.geometry.own_values).then(|| LatestRows::of(call));
        let mut seen = latest.as_mut().map(|rows| Seen(rows.seen()));
        let (mut none, runs, unpack) = (NoTable, spill, &mut Decompress);
        let mut services = match &mut seen {
            Some(table) => Services { runs, unpack, table },
            None => Services { runs, unpack, table: &mut none },
        };
        let mut lists = Lists { blocks: &mut self.blocks, index, memory };
        let told = tune::tune(&mut lists, space, most, &mut services, |at, out| {
            let Some(row) = queries.get(at * dims..(at + 1) * dims) else { return Ok(false) };
            write_value(dims, row, &mut value);
            out.try_copy_from(&value).map(|()| true)
        });
        if let Some(latest) = latest {
            latest.end();
        }
        told.map(drop).map_err(|c| corrupted(self.index, c))
    }

    /// The layout that the index gets.
    fn layout<S: CodedSpace>(&self, space: S) -> Result<Layout, Error> {
        if !self.shape.packed {
            return Ok(Layout::V1);
        }
        let dims = usize::from(self.shape.dims);
        let size = self.shape.columns.bytes();
        let index = Index::with_keys(space.kind(), space.estimate(), dims, PAGE_SIZE, self.seed, size);
        // whoever asks for it was told before that there is none
        let none = Error::Fixed(Code::ERRCODE_INTERNAL_ERROR, "layout packed does not hold such values");
        let index = if self.shape.without_values { index.and_then(Index::without_values) } else { index };
        let index = index.map(|index| index.with_wanted_runs(self.shape.runs));
        index.map(Layout::Packed).ok_or(none)
    }

    /// What makes the codes of rows.
    fn coder<T, S>(&self, index: Index, space: S, centres: &[T]) -> Result<Coder<S>, Error>
    where
        T: Element,
        S: for<'v> CodedSpace<View<'v> = &'v [T]>,
    {
        let (dims, lists) = (usize::from(self.shape.dims), usize::from(self.shape.lists));
        let mut value = Vec::new();
        let coder = Coder::new(index, space, lists, |at, out| {
            write_value(dims, centres.get(at * dims..(at + 1) * dims).unwrap_or_default(), &mut value);
            out.try_copy_from(&value)
        });
        coder.map_err(|damage| corrupted(self.index, damage.on(META_BLOCK)))
    }

    /// The centres, from a sample of the table, and a few of its rows.
    fn cluster<T, S>(&mut self, space: S, call: Option<&BuildCall<'_>>) -> Result<(Vec<T>, Vec<T>), Error>
    where
        T: Element + Default,
        S: for<'v> CodedSpace<View<'v> = &'v [T]>,
    {
        pg_build::progress(PROGRESS_CREATEIDX_SUBPHASE, CLUSTERING);
        let (lists, width) = (usize::from(self.shape.lists), self.width());
        let mut target = 1;
        if let Some(call) = call {
            // no more than the table can hold
            let blocks = call.heap.blocks(ForkNumber::MAIN_FORKNUM) as usize;
            let most = blocks.saturating_mul(ROWS_PER_PAGE);
            target = (lists * ROWS_PER_LIST).max(ROWS_AT_LEAST).min(most).max(1);
        }
        let wanted = target;
        memory::check(memory::of_centres::<T>(lists as u64, width))?;
        if self.shape.packed {
            target = memory::affordable_rows::<T>(lists as u64, target as u64, width)? as usize;
        }
        let sampled = memory::of_sample::<T>(lists as u64, target as u64, width);
        if !self.shape.packed {
            memory::check(sampled)?;
        }
        memory::available(sampled)?;
        let mut sample = Sample::new(usize::from(self.shape.dims), width, self.shape.op.spherical);
        if !sample.reserve(target) {
            return Err(memory::OUT_OF_MEMORY);
        }
        if let Some(call) = call {
            let memory = (guc::maintenance_work_mem() as u64).saturating_sub(sampled);
            self.draw(space, call, (target, memory as usize), &mut sample)?;
            if sample.len() < lists {
                little_data();
            }
        }
        let (rows, lists) = (sample.len() as u64, lists as u64);
        let (dims, threads) = (u64::from(self.shape.dims), self.workers.threads() as u64);
        let (mut helpers, mut fitting) = (0, Plan::LEAST);
        if rows > 0 {
            if !self.shape.packed {
                memory::check(sampled.saturating_add(memory::of_clustering::<T>(lists, rows, dims, width)))?;
            }
            let budget = guc::maintenance_work_mem() as u64;
            // as many threads as fit; what fits pgvector's figure is built, if need be with a little more
            let width = width as u64;
            let fits = |threads| plan::<T>(rows, lists, width, threads, budget).map(|found| (threads, found));
            let found = (1..=threads).rev().find_map(|threads| fits(threads).ok());
            let least = || (1, (Plan::LEAST, kmeans::memory::<T>(rows, lists, width, 1)));
            let (threads, (plan, taken)) = found.unwrap_or_else(least);
            // the rows of the sample, which the figure contains, are there already
            let there = rows.saturating_mul(width).saturating_mul(size_of::<T>() as u64);
            memory::available(taken.saturating_sub(there))?;
            (helpers, fitting) = (threads as usize - 1, plan);
        }
        let task = Task { lists: lists as usize, seed: self.seed, plan: fitting };
        let mut nothing = || ();
        let mut backend = Backend::new(&mut nothing);
        let mut queries = Vec::new();
        if self.shape.tuned {
            let step = (sample.len() / tune::QUERIES).max(1);
            for at in (0..sample.len()).step_by(step).take(tune::QUERIES) {
                append(&mut queries, sample.row(at))?;
            }
        }
        let centres = kmeans(&sample, task, &mut Workers::new(helpers, &mut backend))?.centres;
        // memory has cut the sample short, and not the table
        let drawn = sample.len();
        let short = drawn == target && target < wanted;
        drop(sample);
        match call {
            Some(call) if short => Ok((self.refine(space, call, centres, drawn, wanted)?, queries)),
            _ => Ok((centres, queries)),
        }
    }

    /// Moves centres of `drawn` rows to the means of about `wanted` rows of the table, for which there was no memory.
    fn refine<T, S>(
        &mut self,
        space: S,
        call: &BuildCall<'_>,
        centres: Vec<T>,
        drawn: usize,
        wanted: usize,
    ) -> Result<Vec<T>, Error>
    where
        T: Element,
        S: for<'v> CodedSpace<View<'v> = &'v [T]>,
    {
        let (width, spherical) = (self.width(), self.shape.op.spherical);
        let (workers, budget) = (&mut self.workers, guc::maintenance_work_mem() as u64);
        let made = Refinement::new(centres, width, spherical, workers.threads(), budget)?;
        let mut refinement = match made {
            Ok(refinement) => refinement,
            Err(centres) => return Ok(centres),
        };
        let op = OpClass { normalized: spherical, keeps_lengths: false, ..self.shape.op };
        let mut buffer = ValueBuf::new();
        let BuildCall { heap, index, info } = *call;
        let mut share = wanted as f64 / heap.estimated_rows().max(1.0);
        for step in 0..REFINEMENTS {
            let mut add = |value: &[u8]| -> Result<(), Error> {
                space.view(value)?;
                if let Some(value) = op.form(value, &mut buffer)? {
                    refinement.push(space.view(value)?, workers)?;
                }
                Ok(())
            };
            share_of_table(heap, index, info, share, self.seed.wrapping_add(step), &mut |value| {
                add(value).map_err(IntoReport::into_report)
            });
            // not all rows of a table are rows of the index
            let more = wanted as f64 / refinement.passed().max(1) as f64;
            refinement.step(drawn, workers)?;
            share = (share * more).clamp(0.0, 1.0);
        }
        Ok(refinement.into_centres())
    }

    /// Draws the sample. Rows that clustering cannot use take a place until all are drawn, so that others do not become
    /// likelier.
    fn draw<T, S>(
        &self,
        space: S,
        call: &BuildCall<'_>,
        (target, memory): (usize, usize),
        sample: &mut Sample<T>,
    ) -> Result<(), Error>
    where
        T: Element + Default,
        S: for<'v> CodedSpace<View<'v> = &'v [T]>,
    {
        let op = OpClass { normalized: self.shape.op.spherical, keeps_lengths: false, ..self.shape.op };
        let mut buffer = ValueBuf::new();
        let mut usable: Vec<bool> = with_room(target)?;
        let BuildCall { heap, index, info } = *call;
        let drawn = sample_table(heap, index, info, target, memory, self.seed, &mut |place, value| {
            let mut keep = || -> Result<(), Error> {
                space.view(value)?;
                let value = op.form(value, &mut buffer)?;
                let elements = value.map(|value| space.view(value)).transpose()?;
                let now = elements.is_some();
                let elements = elements.unwrap_or_default();
                // some places are given a row only later
                while usable.len() <= place {
                    usable.push(false);
                    sample.push(&[], T::default());
                }
                if let Some(usable) = usable.get_mut(place) {
                    *usable = now;
                }
                sample.replace(place, elements);
                Ok(())
            };
            keep().map_err(IntoReport::into_report)
        });
        if let Err(report) = drawn {
            ereport::unwind(report);
        }
        for (place, _) in usable.iter().enumerate().rev().filter(|(_, usable)| !**usable) {
            sample.swap_remove(place);
        }
        Ok(())
    }

    /// Gives every row of the table to the loader; returns how many rows the table has.
    fn assign<T, S>(
        &mut self,
        space: S,
        call: &BuildCall<'_>,
        loader: &mut Loader<T>,
        runs: &mut dyn Runs,
        mut kept: Option<&mut KeptRows>,
    ) -> Result<f64, Error>
    where
        T: Element,
        S: for<'v> CodedSpace<View<'v> = &'v [T]>,
    {
        pg_build::progress(PROGRESS_CREATEIDX_SUBPHASE, ASSIGNING);
        threads::tell_threads(self.workers.threads());
        let Shape { op, columns, .. } = self.shape;
        let mut buffer = ValueBuf::new();
        let workers = &mut self.workers;
        let BuildCall { heap, index, info } = *call;
        let mut add = |row: Tid, value: &[u8], beside: Beside<'_>| -> Result<(), Error> {
            let keys = columns.packings().unpack(beside.keys);
            let keys = keys.get(..columns.len()).unwrap_or_default();
            space.view(value)?;
            let Some(value) = op.form(value, &mut buffer)? else { return Ok(()) };
            if let Some(size) = beside.too_large {
                return Err(Error::Report(Box::new(Refused::TooLarge(size).report(index))));
            }
            if let Some(kept) = &mut kept {
                kept.push(beside.included);
            }
            loader.prepare(workers)?;
            loader.push_keyed(row, space.view(value)?, keys, workers, runs)?;
            Ok(())
        };
        let included = Included::with_filters(index);
        let further = Further { columns: &columns, included: included.as_ref() };
        Ok(scan_whole_table(heap, index, info, further, &mut |row, value, beside| match value {
            Some(value) => add(row, value, beside).map_err(IntoReport::into_report),
            None => Ok(()),
        }))
    }
}

/// pgvector's notice.
fn little_data() {
    ereport::notice(
        Report::new(Code::ERRCODE_SUCCESSFUL_COMPLETION, b"ivfflat index created with little data")
            .detail("This will cause low recall.")
            .hint("Drop the index until the table has more data."),
    );
}
