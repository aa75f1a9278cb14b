//! Building: the table's rows into a graph in memory, the graph to pages. When rows no longer fit, pgvector's layout
//! takes the others one by one; of the inline layout the graph is built in parts, from temporary files.

use core::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, ForkNumber, PROGRESS_CREATEIDX_SUBPHASE, PROGRESS_CREATEIDX_TUPLES_DONE};
use vector_index::filter::{Packings, put_packed};
use vector_index::hnsw::build::{Builder, Params, Pushed};
use vector_index::hnsw::choice::{has_inline, max_dims};
use vector_index::hnsw::format::{
    Form, Graph, Layout, add_included, begin_included, inline_form, write_index, write_merged,
};
use vector_index::hnsw::inline::meta::InlineMeta;
use vector_index::hnsw::inline::parts::Spilled;
use vector_index::hnsw::inline::scan::{Index, Shared};
use vector_index::hnsw::meta::{META_BLOCK, MetaPage};
use vector_index::hnsw::params::max_level;
use vector_index::quant::space::CodedSpace;
use vector_index::space::{AnySpace, ValueBuf};
use vector_index::storage::page::{Corruption, Tid};
use vector_index::with_space;
use vector_index::work::runs::Runs;
use vector_index::work::workers::{Idle, Workers};

use super::insert::{Inserter, insert_building};
use super::{corrupted, filter_columns, layout_of, open, operator_class, options};
use crate::error::Error;
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
use crate::pg::spill::Spill;
use crate::pg::table_scan::{Beside, Further, scan_whole_table};
use crate::pg::threads::{self, Backend};

/// Phases of pg_stat_progress_create_index; 1 is the server's own.
const INITIALIZING: i64 = 1;
const LOADING: i64 = 2;

/// The name of a phase.
pub fn phase(number: i64) -> Option<&'static CStr> {
    match number {
        INITIALIZING => Some(c"initializing"),
        LOADING => Some(c"loading tuples"),
        _ => None,
    }
}

/// What an index is built with.
#[derive(Clone, Copy)]
struct Shape {
    op: OpClass,
    layout: Layout,
    dims: i32,
    columns: Columns,
    filters: Packings,
    m: usize,
    ef_construction: usize,
}

impl Shape {
    fn of(index: Rel<'_>) -> Result<Self, Error> {
        use PgSqlErrorCode as Code;
        if index.type_of(0) == pg_sys::VARBITOID {
            return Err(Error::Fixed(
                Code::ERRCODE_FEATURE_NOT_SUPPORTED,
                "type not supported for hnsw index",
            ));
        }
        let op = operator_class(index)?;
        let dims = index.typmod(0);
        if dims < 0 {
            return Err(Error::Fixed(
                Code::ERRCODE_INVALID_PARAMETER_VALUE,
                "column does not have dimensions",
            ));
        }
        let options = options::of(index);
        let columns = filter_columns(index)?;
        let layout = layout_of(index, &op, &columns, &options)?;
        let most = max_dims(layout, op.kind);
        if dims > most {
            let code = Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED;
            let message = format!("column cannot have more than {most} dimensions for hnsw index");
            let inline = has_inline(op.kind, op.metric) && dims <= max_dims(Layout::Inline, op.kind);
            return Err(if inline {
                Error::Hinted(code, message, "Use WITH (layout = inline).")
            } else {
                Error::Message(code, message)
            });
        }
        let op = op.keeping_lengths(layout.keeps_lengths());
        if options.ef_construction / 2 < options.m {
            return Err(Error::Fixed(
                Code::ERRCODE_INVALID_PARAMETER_VALUE,
                "ef_construction must be greater than or equal to 2 * m",
            ));
        }
        // the options' ranges keep both above zero
        Ok(Shape {
            op,
            layout,
            dims,
            columns,
            filters: options.packings(&columns),
            m: options.m as usize,
            ef_construction: options.ef_construction as usize,
        })
    }

    fn form(&self) -> Form {
        let meta = MetaPage::new(self.dims as u32, self.m as u16, self.ef_construction as u16);
        Form { layout: self.layout, meta, seed: options::build_seed(), filters: self.filters }
    }

    /// The space of values with their filter keys.
    fn space(&self) -> AnySpace {
        self.op.space(self.dims).of_items(self.filters.bytes())
    }
}

/// Builds an index.
pub fn build(call: BuildCall<'_>) -> Result<Built, Error> {
    let shape = Shape::of(call.index)?;
    pg_build::progress(PROGRESS_CREATEIDX_SUBPHASE, LOADING);
    let built = with_space!(shape.space(), space => build_in(&call, shape, space))?;
    pg_build::log_fork(call.index, ForkNumber::MAIN_FORKNUM);
    Ok(built)
}

/// Writes the init fork of an unlogged index: an empty one.
pub fn build_empty(index: Rel<'_>) -> Result<(), Error> {
    let shape = Shape::of(index)?;
    let mut blocks = IndexBlocks::building_init(index);
    with_space!(shape.space(), space => {
        write_index(&shape.form(), &mut blocks, space, None, &mut Workers::new(0, &mut Idle), 0)
    })
    .map_err(|c| corrupted(index, c))?;
    expect_included(&mut blocks, index.columns() > index.key_columns())?;
    pg_build::log_fork(index, ForkNumber::INIT_FORKNUM);
    Ok(())
}

/// A build under way.
struct Building<'b, S: CodedSpace> {
    blocks: IndexBlocks<'b>,
    shape: Shape,
    /// what it may use
    params: Params,
    graph: Graph<S>,
    /// the rows so far, until the graph is written
    builder: Option<Builder<S>>,
    /// all rows, when the graph is built in parts
    parts: Option<Parts>,
    files: Spill,
    /// values of INCLUDE columns, row by row, to be written when the graph is
    included: Option<KeptRows>,
    /// for rows that go in one by one
    inserter: Inserter,
    /// for values brought to unit length
    buffer: ValueBuf,
    /// for values with filter keys
    item: ValueBuf,
    rows: u64,
}

/// Rows of a graph that is built in parts.
struct Parts {
    formed: (InlineMeta, Shared),
    spilled: Spilled,
}

/// Why rows that are left over were not inserted.
enum Failed {
    Corrupt(Corruption),
    Insert(Error),
}

impl From<Corruption> for Failed {
    fn from(corruption: Corruption) -> Self {
        Failed::Corrupt(corruption)
    }
}

/// Set aside when threads help: their stacks, and what the allocator keeps for each. (pgvector sets the same
/// aside for its workers, and how many rows fit a small maintenance_work_mem shows.)
const HELPERS_MEMORY: usize = 3 << 20;

fn build_in<S: CodedSpace>(call: &BuildCall<'_>, shape: Shape, space: S) -> Result<Built, Error> {
    let (heap, index) = (call.heap, call.index);
    let (m, ef_construction) = (shape.m, shape.ef_construction);
    let seed = options::build_seed();
    let memory = guc::maintenance_work_mem();
    // where nothing would be left, nobody helps
    let threads = if memory > HELPERS_MEMORY { threads::threads(heap) } else { 1 };
    threads::tell_threads(threads);
    // the places of the tuples, computed when the graph is finished, take less than a 32nd part of it
    let budget = (memory - memory / 32).saturating_sub(if threads > 1 { HELPERS_MEMORY } else { 0 });
    let params =
        Params { m, ef_construction, max_level: max_level(PAGE_SIZE, m), threads, budget, coded: true, seed };
    let mut builder = Builder::new(space, params);
    if shape.layout == Layout::Inline {
        builder.share_elements(shape.columns.packings().bytes());
    }
    let mut building = Building {
        blocks: IndexBlocks::building(index),
        shape,
        params,
        graph: Graph { space, m, ef_construction },
        builder: Some(builder),
        parts: None,
        files: Spill::new(),
        included: (index.columns() > index.key_columns()).then(KeptRows::new),
        inserter: Inserter::new(seed),
        buffer: ValueBuf::new(),
        item: ValueBuf::new(),
        rows: 0,
    };
    let included = Included::of(index);
    let further = Further { columns: &shape.columns, included: included.as_ref() };
    let heap_rows =
        scan_whole_table(heap, index, call.info, further, &mut |row, value, beside| match value {
            Some(value) => building.add(row, value, beside).map_err(IntoReport::into_report),
            None => Ok(()),
        });
    building.finish_graph()?;
    building.finish_included()?;
    building.blocks.count_hits();
    Ok(Built { heap_rows, index_rows: building.rows as f64 })
}

impl<S: CodedSpace> Building<'_, S> {
    /// Adds a row of the table.
    fn add(&mut self, row: Tid, value: &[u8], beside: Beside<'_>) -> Result<(), Error> {
        let Some(mut value) = self.shape.op.form(value, &mut self.buffer)? else { return Ok(()) };
        if let Some(size) = beside.too_large {
            let report = Refused::TooLarge(size).report(self.blocks.relation());
            return Err(Error::Report(Box::new(report)));
        }
        if let Some(included) = &mut self.included {
            included.push(beside.included);
        }
        if !beside.keys.is_empty() {
            put_packed(value, beside.keys, &mut self.item)?;
            value = self.item.bytes();
        }
        if let Some(builder) = &mut self.builder {
            if builder.push(row, value)? != Pushed::Full {
                self.rows += 1;
                return Ok(());
            }
            let (relation, space) = (self.blocks.relation(), self.graph.space);
            self.parts =
                begin_parts(relation, &self.shape, &self.params, space, &mut self.builder, &mut self.files)?;
            let detail = match self.parts {
                Some(_) => "The index is built in parts, from temporary files.",
                None => "Building will take significantly more time.",
            };
            ereport::notice(
                Report::new(
                    PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
                    format!("hnsw graph no longer fits into maintenance_work_mem after {} tuples", self.rows)
                        .as_bytes(),
                )
                .detail(detail)
                .hint("Increase maintenance_work_mem to speed up builds."),
            );
            if self.parts.is_none() {
                finish_graph(
                    &mut self.blocks,
                    self.shape,
                    self.params,
                    self.graph.space,
                    self.builder.take(),
                )?;
                expect_included(&mut self.blocks, self.included.is_some())?;
                let opened = open(self.blocks.relation(), &mut self.blocks)?;
                self.inserter.set_index(&opened);
            }
        }
        if let Some(Parts { formed, spilled }) = &mut self.parts {
            spilled.push(&Index::new(&formed.1, self.graph.space), &mut self.files, row, value)?;
        } else {
            insert_building(&mut self.blocks, &self.graph, &mut self.inserter, value, row)?;
            pg_build::progress(PROGRESS_CREATEIDX_TUPLES_DONE, self.rows as i64 + 1);
        }
        self.rows += 1;
        Ok(())
    }

    /// Builds the graph of rows in temporary files, writes it, and inserts what is left over.
    fn finish_parts(&mut self, Parts { formed, spilled }: Parts) -> Result<(), Error> {
        let (relation, space) = (self.blocks.relation(), self.graph.space);
        let done = AtomicU64::new(0);
        let mut tell =
            || pg_build::progress(PROGRESS_CREATEIDX_TUPLES_DONE, done.load(Ordering::Relaxed) as i64);
        let mut backend = Backend::new(&mut tell);
        let mut workers = Workers::new(self.params.threads.saturating_sub(1), &mut backend);
        let files = &mut self.files;
        let merged = spilled.build(&Index::new(&formed.1, space), files, &done, &mut workers);
        let merged = merged.map_err(|damage| corrupted(relation, damage.on(META_BLOCK)))?;
        let written = write_merged(&formed, &mut self.blocks, space, &merged, files, &mut workers);
        written.map_err(|c| corrupted(relation, c))?;
        drop(workers);
        expect_included(&mut self.blocks, self.included.is_some())?;
        if merged.left_over() > 0 {
            let opened = open(relation, &mut self.blocks)?;
            self.inserter.set_index(&opened);
        }
        let (blocks, graph, inserter) = (&mut self.blocks, &self.graph, &mut self.inserter);
        let inserted = merged.each_left_over(files, |row, value| {
            insert_building(blocks, graph, inserter, value, row).map_err(Failed::Insert)
        });
        Runs::clear(files);
        inserted.map_err(|failed| match failed {
            Failed::Corrupt(c) => corrupted(relation, c),
            Failed::Insert(error) => error,
        })?;
        pg_build::progress(PROGRESS_CREATEIDX_TUPLES_DONE, self.rows as i64);
        Ok(())
    }

    /// Writes the values of INCLUDE columns, behind the graph and the rows that were inserted one by one.
    fn finish_included(&mut self) -> Result<(), Error> {
        let Building { blocks, included, .. } = self;
        let Some(values) = included else { return Ok(()) };
        let index = blocks.relation();
        let opened = open(index, blocks)?;
        let finished = values.finish(META_BLOCK, |values| add_included(&opened, blocks, values));
        finished.map_err(|c| corrupted(index, c))
    }

    fn finish_graph(&mut self) -> Result<(), Error> {
        if let Some(parts) = self.parts.take() {
            return self.finish_parts(parts);
        }
        let Some(builder) = self.builder.take() else { return Ok(()) };
        finish_graph(&mut self.blocks, self.shape, self.params, self.graph.space, Some(builder))?;
        expect_included(&mut self.blocks, self.included.is_some())
    }
}

/// Makes the index that was just written one with INCLUDE columns, if it is to be: before it is opened.
fn expect_included(blocks: &mut IndexBlocks<'_>, included: bool) -> Result<(), Error> {
    let index = blocks.relation();
    if included { begin_included(blocks).map_err(|c| corrupted(index, c)) } else { Ok(()) }
}

/// Moves the rows so far to temporary files, when the graph can be built in parts.
fn begin_parts<S: CodedSpace>(
    index: Rel<'_>,
    shape: &Shape,
    params: &Params,
    space: S,
    builder: &mut Option<Builder<S>>,
    files: &mut Spill,
) -> Result<Option<Parts>, Error> {
    if shape.layout != Layout::Inline {
        return Ok(None);
    }
    let formed = inline_form(&shape.form(), space.kind(), PAGE_SIZE);
    let formed = formed.map_err(|damage| corrupted(index, damage.on(META_BLOCK)))?;
    if !Spilled::is_possible(params, &Index::new(&formed.1, space)) {
        return Ok(None);
    }
    let Some(builder) = builder.take() else { return Ok(None) };
    let mut spilled = Spilled::new(*params, &formed.1.layout, files);
    let mut tell = || {};
    let mut backend = Backend::new(&mut tell);
    let taken = spilled.take(builder, files, &mut Workers::new(0, &mut backend));
    taken.map_err(|damage| corrupted(index, damage.on(META_BLOCK)))?;
    Ok(Some(Parts { formed, spilled }))
}

/// Builds the graph of the rows so far and writes it, unless that was done before.
fn finish_graph<S: CodedSpace>(
    blocks: &mut IndexBlocks<'_>,
    shape: Shape,
    params: Params,
    space: S,
    builder: Option<Builder<S>>,
) -> Result<(), Error> {
    let Some(builder) = builder else { return Ok(()) };
    let done = AtomicU64::new(0);
    let mut tell = || pg_build::progress(PROGRESS_CREATEIDX_TUPLES_DONE, done.load(Ordering::Relaxed) as i64);
    let graph = builder.build(&done, &mut Backend::new(&mut tell))?;
    tell();
    let index = blocks.relation();
    let mut backend = Backend::new(&mut tell);
    let mut workers = Workers::new(params.threads.saturating_sub(1), &mut backend);
    let written = write_index(&shape.form(), blocks, space, Some(&graph), &mut workers, params.budget);
    written.map_err(|c| corrupted(index, c))
}
