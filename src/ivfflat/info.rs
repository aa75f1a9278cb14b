//! What an ivfflat index consists of, for `vector_index_info`.

use vector_index::ivf::choice::DEFAULT_LISTS;
use vector_index::ivf::format::{Info, Layout, info as gather};

use super::{corrupted, options};
use crate::error::Error;
use crate::pg::inspect::ReadBlocks;
use crate::pg::relation::Rel;

/// Returns the contents of an index, counted, and the options by which the next REINDEX builds: its lists are none when
/// their number depends on the rows.
///
/// # Errors
/// Damage, or a block that cannot be read.
pub fn describe(index: Rel<'_>) -> Result<(Info, options::IvfflatOptions), Error> {
    let info = gather(&mut ReadBlocks::new(index)).map_err(|c| corrupted(index, c))?;
    let mut options = options::of(index);
    if info.layout == Layout::V1.name() {
        options.lists = options.lists.or(Some(DEFAULT_LISTS));
    }
    Ok((info, options))
}
