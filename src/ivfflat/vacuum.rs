//! Bulk delete.

use vector_index::ivf::write::Vacuum;

use super::corrupted;
use crate::error::Error;
use crate::pg::blocks::IndexBlocks;
use crate::pg::owned;
use crate::pg::vacuum::BulkDelete;

/// Removes dead rows.
pub fn bulk_delete(mut call: BulkDelete<'_>) -> Result<(), Error> {
    let index = call.index;
    let (removed, kept) = owned::with(Vacuum::default(), |vacuum| {
        let mut blocks = IndexBlocks::vacuuming(index);
        let done = vacuum.run(&mut blocks, &mut |row| call.is_dead(row));
        blocks.count_hits();
        done.map_err(|c| corrupted(index, c)).map(|()| (vacuum.removed, vacuum.kept))
    })?;
    call.count(removed, kept);
    Ok(())
}
