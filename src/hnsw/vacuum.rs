//! Bulk delete.

use vector_index::hnsw::format::{Graph, Vacuum};
use vector_index::with_space;

use super::{corrupted, open, operator_class, options, space_of};
use crate::error::Error;
use crate::pg::blocks::IndexBlocks;
use crate::pg::owned;
use crate::pg::vacuum::BulkDelete;

/// Removes dead rows.
pub fn bulk_delete(mut call: BulkDelete<'_>) -> Result<(), Error> {
    let index = call.index;
    let op = operator_class(index)?;
    let counted = owned::with(Vacuum::new(), |vacuum| {
        let mut blocks = IndexBlocks::vacuuming_graph(index);
        let opened = open(index, &mut blocks)?;
        let meta = opened.meta;
        let op = op.keeping_lengths(opened.layout().keeps_lengths());
        let ef_construction = options::of(index).ef_construction.max(1) as usize;
        let m = usize::from(meta.m);
        let space = space_of(&op, &opened);
        let counted = with_space!(space, space => {
            let graph = Graph { space, m, ef_construction };
            vacuum.set_index(&opened);
            vacuum.run(&mut blocks, &graph, &mut |row| call.is_dead(row))
        });
        blocks.count_hits();
        counted.map_err(|c| corrupted(index, c))
    })?;
    call.count(counted.removed, counted.kept);
    Ok(())
}
