//! Inserting a row.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use vector_index::filter::{MAX_PACKED, put_packed};
use vector_index::hnsw::format::{self, Graph, Opened, Workspace, add_included};
use vector_index::quant::space::CodedSpace;
use vector_index::space::ValueBuf;
use vector_index::storage::blocks::BlockStore;
use vector_index::storage::page::Tid;
use vector_index::with_space;
use zerocopy::IntoBytes;

use super::{corrupted, open, opened_columns, operator_class, options, space_of};
use crate::error::Error;
use crate::pg::backend::PerBackend;
use crate::pg::blocks::IndexBlocks;
use crate::pg::columns::RowColumns;
use crate::pg::included::Included;
use crate::pg::relation::Rel;

/// What inserts of this backend reuse.
pub struct Inserter {
    workspace: Workspace,
    /// for values brought to unit length
    buffer: ValueBuf,
    /// for values with filter keys
    item: ValueBuf,
    /// for values of INCLUDE columns
    included: Vec<u64>,
    rng: SmallRng,
}

impl Inserter {
    /// Nothing allocated; levels from `seed`.
    pub fn new(seed: u64) -> Self {
        Inserter {
            workspace: Workspace::new(),
            buffer: ValueBuf::new(),
            item: ValueBuf::new(),
            included: Vec::new(),
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Says which index the next values go into.
    pub fn set_index(&mut self, opened: &Opened) {
        self.workspace.set_index(opened);
    }
}

static INSERTER: PerBackend<Inserter> = PerBackend::new();

/// Inserts a row of a table.
pub fn insert(index: Rel<'_>, value: &[u8], columns: RowColumns<'_>, row: Tid) -> Result<(), Error> {
    INSERTER.with(
        || Inserter::new(options::build_seed()),
        |inserter| {
            let mut blocks = IndexBlocks::new(index);
            let result = insert_formed(&mut blocks, inserter, value, columns, row);
            blocks.count_hits();
            result
        },
    )
}

fn insert_formed(
    blocks: &mut IndexBlocks<'_>,
    inserter: &mut Inserter,
    value: &[u8],
    columns: RowColumns<'_>,
    row: Tid,
) -> Result<(), Error> {
    let index = blocks.relation();
    let Inserter { workspace, buffer, item, included, rng } = inserter;
    let opened = open(index, blocks)?;
    let op = operator_class(index)?.keeping_lengths(opened.layout().keeps_lengths());
    let Some(mut value) = op.form(value, buffer)? else { return Ok(()) };
    if !opened.filters().is_empty() || index.key_columns() > 1 {
        let filters = opened_columns(index, &opened)?;
        let mut keys = [0; MAX_PACKED];
        filters.keys(columns, &mut keys);
        put_packed(value, keys.get(..filters.packings().bytes()).unwrap_or_default(), item)?;
        value = item.bytes();
    }
    if let Some(columns_kept) = Included::of(index) {
        let kept = columns_kept.keep(columns, row, included);
        columns_kept.free();
        kept.map_err(|refused| Error::Report(Box::new(refused.report(index))))?;
        // nothing leads to them before the row is there
        add_included(&opened, blocks, included.as_bytes()).map_err(|c| corrupted(index, c))?;
        blocks.fault_point("hnsw.insert.included").map_err(|c| corrupted(index, c))?;
    }
    workspace.set_index(&opened);
    let meta = opened.meta;
    let space = space_of(&op, &opened);
    let (m, ef_construction) = (usize::from(meta.m), options::of(index).ef_construction.max(1) as usize);
    with_space!(space, space => {
        insert_value(blocks, &Graph { space, m, ef_construction }, workspace, rng, value, row)
    })
}

fn insert_value<S: CodedSpace>(
    blocks: &mut IndexBlocks<'_>,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    rng: &mut SmallRng,
    value: &[u8],
    row: Tid,
) -> Result<(), Error> {
    graph.space.view(value)?;
    let inserted = format::insert(blocks, graph, workspace, value, row, rng);
    inserted.map_err(|c| corrupted(blocks.relation(), c))
}

/// Inserts a formed value during a build whose graph did not fit the memory.
pub fn insert_building<S: CodedSpace>(
    blocks: &mut IndexBlocks<'_>,
    graph: &Graph<S>,
    inserter: &mut Inserter,
    value: &[u8],
    row: Tid,
) -> Result<(), Error> {
    insert_value(blocks, graph, &mut inserter.workspace, &mut inserter.rng, value, row)
}
