//! Inserting a row.

use vector_index::ivf::format::Memory;
use vector_index::ivf::insert::{self, InsertError};
use vector_index::space::ValueBuf;
use vector_index::storage::page::Tid;
use vector_index::{with_lists, with_space};

use super::{centres, corrupted, operator_class_of, read_meta};
use crate::error::Error;
use crate::pg::backend::PerBackend;
use crate::pg::blocks::IndexBlocks;
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
pub fn insert(index: Rel<'_>, value: &[u8], row: Tid) -> Result<(), Error> {
    INSERTER.with(Inserter::default, |inserter| {
        let mut blocks = IndexBlocks::new(index);
        let result = insert_formed(&mut blocks, inserter, value, row);
        blocks.count_hits();
        result
    })
}

fn insert_formed(
    blocks: &mut IndexBlocks<'_>,
    inserter: &mut Inserter,
    value: &[u8],
    row: Tid,
) -> Result<(), Error> {
    let index = blocks.relation();
    let meta = read_meta(index, blocks)?;
    let op = operator_class_of(index, &meta)?;
    let Inserter { buffer, inserter, memory } = inserter;
    let Some(value) = op.form(value, buffer)? else { return Ok(()) };
    let space = op.space(i32::from(meta.dimensions));
    let added = centres::with(blocks, meta.layout, space, memory, |blocks, centres, memory| {
        with_space!(space, space => with_lists!(meta.layout, blocks, memory, lists => {
            insert::insert(lists, space, value, row, inserter, centres)
        }))
    });
    added.map_err(|c| corrupted(index, c))?.map_err(|error| match error {
        InsertError::Store(corruption) => corrupted(index, corruption),
        InsertError::Value(error) => Error::Value(error),
    })
}
