//! What an ivfflat index consists of, for `vector_index_info`.

use vector_index::ivf::format::{Info, info as gather};

use super::{corrupted, options};
use crate::error::Error;
use crate::pg::inspect::ReadBlocks;
use crate::pg::relation::Rel;

/// Returns the contents of an index, counted, and the number of lists that the next REINDEX makes.
///
/// # Errors
/// Damage, or a block that cannot be read.
pub fn describe(index: Rel<'_>) -> Result<(Info, u16), Error> {
    let info = gather(&mut ReadBlocks::new(index)).map_err(|c| corrupted(index, c))?;
    Ok((info, options::of(index).lists))
}
