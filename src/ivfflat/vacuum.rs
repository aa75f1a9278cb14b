//! Bulk delete.

use vector_index::ivf::format::{Memory, packed_lists, read_meta};
use vector_index::ivf::vacuum::Vacuum;
use vector_index::storage::blocks::BlockStore;
use vector_index::with_lists;

use super::corrupted;
use crate::error::Error;
use crate::pg::blocks::IndexBlocks;
use crate::pg::owned;
use crate::pg::vacuum::BulkDelete;

/// Removes dead rows.
pub fn bulk_delete(mut call: BulkDelete<'_>) -> Result<(), Error> {
    let index = call.index;
    let met = owned::with((Vacuum::default(), Memory::default(), Vec::new()), |(vacuum, memory, rows)| {
        let mut blocks = IndexBlocks::vacuuming(index);
        let layout = read_meta(&mut blocks).map_err(|c| corrupted(index, c))?.layout;
        let done = with_lists!(layout, &mut blocks, memory, lists => {
            vacuum.run(lists, &mut |row| call.is_dead(row))
        });
        let done = done.and_then(|()| blocks.publish_room());
        // when no entry leads to them any more
        let done = done.and_then(|()| {
            let Some(mut lists) = packed_lists(layout, &mut blocks, memory) else { return Ok(()) };
            if layout.has_included() {
                lists.blocks.fault_point("ivfflat.vacuum.included")?;
                lists.remove_included(rows, &mut |row| call.is_dead(row))?;
            }
            Ok(())
        });
        blocks.count_hits();
        done.map_err(|c| corrupted(index, c)).map(|()| vacuum.met)
    })?;
    call.count(met.removed, met.kept);
    Ok(())
}
