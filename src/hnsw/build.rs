//! Building: the table's rows into a graph in memory, the graph to pages; rows that do not fit go in one by one.

use core::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, ForkNumber, PROGRESS_CREATEIDX_SUBPHASE, PROGRESS_CREATEIDX_TUPLES_DONE};
use vector_index::filter::put_item;
use vector_index::hnsw::build::{Builder, Params, Pushed};
use vector_index::hnsw::choice::{has_inline, max_dims};
use vector_index::hnsw::format::{Form, Graph, Layout, write_index};
use vector_index::hnsw::meta::MetaPage;
use vector_index::hnsw::params::max_level;
use vector_index::quant::space::CodedSpace;
use vector_index::space::{AnySpace, ValueBuf};
use vector_index::storage::page::Tid;
use vector_index::with_space;
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
use crate::pg::relation::Rel;
use crate::pg::table_scan::scan_keyed_table;
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
        let layout = layout_of(&op, dims, &columns, &options)?;
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
            m: options.m as usize,
            ef_construction: options.ef_construction as usize,
        })
    }

    fn form(&self) -> Form {
        let meta = MetaPage::new(self.dims as u32, self.m as u16, self.ef_construction as u16);
        let (seed, filter_size) = (options::build_seed(), self.columns.bytes());
        Form { layout: self.layout, meta, seed, filter_size }
    }

    /// The space of values with their filter keys.
    fn space(&self) -> AnySpace {
        self.op.space(self.dims).of_items(self.columns.bytes())
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
    pg_build::log_fork(index, ForkNumber::INIT_FORKNUM);
    Ok(())
}

/// A build under way.
struct Building<'b, S: CodedSpace> {
    blocks: IndexBlocks<'b>,
    shape: Shape,
    means: Means,
    graph: Graph<S>,
    /// the rows so far, until the graph is written
    builder: Option<Builder<S>>,
    /// for rows after that
    inserter: Inserter,
    /// for values brought to unit length
    buffer: ValueBuf,
    /// for values with filter keys
    item: ValueBuf,
    rows: u64,
}

/// What a build may use.
#[derive(Clone, Copy)]
struct Means {
    threads: usize,
    /// bytes of memory
    budget: usize,
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
        builder.share_elements();
    }
    let mut building = Building {
        blocks: IndexBlocks::building(index),
        shape,
        means: Means { threads, budget },
        graph: Graph { space, m, ef_construction },
        builder: Some(builder),
        inserter: Inserter::new(seed),
        buffer: ValueBuf::new(),
        item: ValueBuf::new(),
        rows: 0,
    };
    let heap_rows =
        scan_keyed_table(heap, index, call.info, &shape.columns, &mut |row, value, keys| match value {
            Some(value) => building.add(row, value, keys).map_err(IntoReport::into_report),
            None => Ok(()),
        });
    building.finish_graph()?;
    building.blocks.count_hits();
    Ok(Built { heap_rows, index_rows: building.rows as f64 })
}

impl<S: CodedSpace> Building<'_, S> {
    /// Adds a row of the table.
    fn add(&mut self, row: Tid, value: &[u8], keys: &[u64]) -> Result<(), Error> {
        let Some(mut value) = self.shape.op.form(value, &mut self.buffer)? else { return Ok(()) };
        if !keys.is_empty() {
            put_item(value, keys, &mut self.item)?;
            value = self.item.bytes();
        }
        if let Some(builder) = &mut self.builder {
            if builder.push(row, value)? != Pushed::Full {
                self.rows += 1;
                return Ok(());
            }
            ereport::notice(
                Report::new(
                    PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
                    format!("hnsw graph no longer fits into maintenance_work_mem after {} tuples", self.rows)
                        .as_bytes(),
                )
                .detail("Building will take significantly more time.")
                .hint("Increase maintenance_work_mem to speed up builds."),
            );
            finish_graph(&mut self.blocks, self.shape, self.means, self.graph.space, self.builder.take())?;
            let opened = open(self.blocks.relation(), &mut self.blocks)?;
            self.inserter.set_index(&opened);
        }
        insert_building(&mut self.blocks, &self.graph, &mut self.inserter, value, row)?;
        self.rows += 1;
        pg_build::progress(PROGRESS_CREATEIDX_TUPLES_DONE, self.rows as i64);
        Ok(())
    }

    fn finish_graph(&mut self) -> Result<(), Error> {
        finish_graph(&mut self.blocks, self.shape, self.means, self.graph.space, self.builder.take())
    }
}

/// Builds the graph of the rows so far and writes it, unless that was done before.
fn finish_graph<S: CodedSpace>(
    blocks: &mut IndexBlocks<'_>,
    shape: Shape,
    means: Means,
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
    let mut workers = Workers::new(means.threads.saturating_sub(1), &mut backend);
    let written = write_index(&shape.form(), blocks, space, Some(&graph), &mut workers, means.budget);
    written.map_err(|c| corrupted(index, c))
}
