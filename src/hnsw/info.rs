//! What an hnsw index consists of, for `vector_index_info`.

use vector_index::hnsw::format::{Info, info as gather, read_first};

use super::corrupted;
use super::options::{self, HnswOptions};
use crate::error::Error;
use crate::pg::inspect::ReadBlocks;
use crate::pg::relation::Rel;

/// Returns the contents of an index, counted, and its storage parameters, which the next REINDEX follows.
///
/// # Errors
/// Damage, or a block that cannot be read.
pub fn describe(index: Rel<'_>) -> Result<(Info, HnswOptions), Error> {
    let info = gather(&mut ReadBlocks::new(index)).map_err(|c| corrupted(index, c))?;
    Ok((info, options::of(index)))
}

/// Reads the blocks that every search begins with; returns their range.
///
/// # Errors
/// Damage, or a block that cannot be read.
pub fn warm(index: Rel<'_>) -> Result<core::ops::Range<u32>, Error> {
    read_first(&mut ReadBlocks::new(index)).map_err(|c| corrupted(index, c))
}
