//! Inserting a row.

use vector_index::filter::{MAX_COLUMNS, MAX_PACKED};
use vector_index::ivf::format::Memory;
use vector_index::ivf::insert::{self, InsertError};
use vector_index::space::ValueBuf;
use vector_index::storage::page::Tid;
use vector_index::{with_lists, with_space};

use super::{centres, corrupted, opened_columns, operator_class_of, read_meta};
use crate::error::Error;
use crate::pg::backend::PerBackend;
use crate::pg::blocks::IndexBlocks;
use crate::pg::columns::RowColumns;
use crate::pg::relation::Rel;

/// What inserts of this backend reuse.
#[derive(Default)]
struct Inserter {
    /// for values brought to unit length
    buffer: ValueBuf,
    inserter: insert::Inserter,
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
    let Inserter { buffer, inserter, memory } = inserter;
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
