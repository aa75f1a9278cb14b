//! What an ivfflat index consists of, for `vector_index_info`.

use vector_index::ivf::format::{Info, Layout, info as gather};

use super::{corrupted, options};
use crate::error::Error;
use crate::layout::Wanted;
use crate::pg::inspect::ReadBlocks;
use crate::pg::relation::Rel;

/// Returns the contents of an index, counted, and the number of lists that the next REINDEX makes (none when
/// that depends on the rows) in which layout.
///
/// # Errors
/// Damage, or a block that cannot be read.
pub fn describe(index: Rel<'_>) -> Result<(Info, Option<u16>, Wanted), Error> {
    let info = gather(&mut ReadBlocks::new(index)).map_err(|c| corrupted(index, c))?;
    let options::IvfflatOptions { lists: asked, layout, .. } = options::of(index);
    let lists =
        if info.layout == Layout::V1.name() { Some(asked.unwrap_or(options::DEFAULT_LISTS)) } else { asked };
    Ok((info, lists, layout))
}
