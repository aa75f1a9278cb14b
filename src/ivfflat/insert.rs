//! Inserting a row.

use vector_index::filter::{MAX_COLUMNS, MAX_PACKED};
use vector_index::ivf::format::{Memory, packed_lists};
use vector_index::ivf::insert::{self, InsertError};
use vector_index::space::ValueBuf;
use vector_index::storage::blocks::BlockStore;
use vector_index::storage::page::Tid;
use vector_index::{with_lists, with_space};
use zerocopy::IntoBytes;

use super::{centres, corrupted, opened_columns, operator_class_of, read_meta};
use crate::error::Error;
use crate::pg::backend::PerBackend;
use crate::pg::blocks::IndexBlocks;
use crate::pg::columns::RowColumns;
use crate::pg::included::Included;
use crate::pg::relation::Rel;

/// What inserts of this backend reuse.
#[derive(Default)]
struct Inserter {
    /// for values brought to unit length
    buffer: ValueBuf,
    inserter: insert::Inserter,
    /// for values of INCLUDE columns
    included: Vec<u64>,
    memory: Memory,
}

static INSERTER: PerBackend<Inserter> = PerBackend::new();

/// Inserts a row of a table.
pub fn insert(index: Rel<'_>, value: &[u8], columns: RowColumns<'_>, row: Tid) -> Result<(), Error> {
    INSERTER.with(Inserter::default, |inserter| {
        let mut blocks = IndexBlocks::new(index);
        let result = insert_formed(&mut blocks, inserter, value, columns, row);
        blocks.count_hits();
        result
    })
}

fn insert_formed(
    blocks: &mut IndexBlocks<'_>,
    inserter: &mut Inserter,
    value: &[u8],
    columns: RowColumns<'_>,
    row: Tid,
) -> Result<(), Error> {
    let index = blocks.relation();
    let meta = read_meta(index, blocks)?;
    let op = operator_class_of(index, &meta)?;
    let Inserter { buffer, inserter, included, memory } = inserter;
    let Some(value) = op.form(value, buffer)? else { return Ok(()) };
    let mut keys = [0; MAX_COLUMNS];
    let mut own = &keys[..0];
    if meta.layout.filter_size() > 0 || index.key_columns() > 1 {
        let filters = opened_columns(index, &meta.layout)?;
        let mut packed = [0; MAX_PACKED];
        filters.keys(columns, &mut packed);
        keys = filters.packings().unpack(packed.get(..filters.packings().bytes()).unwrap_or_default());
        own = keys.get(..filters.len()).unwrap_or_default();
    }
    if let Some(columns_kept) = Included::with_filters(index) {
        let kept = columns_kept.keep(columns, row, included);
        columns_kept.free();
        kept.map_err(|refused| Error::Report(Box::new(refused.report(index))))?;
        if let Some(mut lists) = packed_lists(meta.layout, blocks, memory) {
            // nothing leads to them before the row is there
            lists.add_included(included.as_bytes()).map_err(|c| corrupted(index, c))?;
            blocks.fault_point("ivfflat.insert.included").map_err(|c| corrupted(index, c))?;
        }
    }
    let space = op.space(i32::from(meta.dimensions));
    let added = centres::with(blocks, meta.layout, space, memory, |blocks, centres, memory| {
        with_space!(space, space => with_lists!(meta.layout, blocks, memory, lists => {
            insert::insert_keyed(lists, space, value, own, row, inserter, centres)
        }))
    });
    added.map_err(|c| corrupted(index, c))?.map_err(|error| match error {
        InsertError::Store(corruption) => corrupted(index, corruption),
        InsertError::Value(error) => Error::Value(error),
    })
}
