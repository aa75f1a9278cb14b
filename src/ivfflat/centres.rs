//! Centres that a backend keeps in memory, of the few indexes it used last. Scans and inserts find lists among them.
//!
//! What is kept belongs to an index's file, not to the index: REINDEX, TRUNCATE and the like make another file. The one
//! case in which a file gets other centres is a build in the transaction that made it (and a temporary table that is
//! emptied at commit), which nobody but this backend sees: [`forget`].

use vector_index::ivf::centre_cache::Centres;
use vector_index::ivf::format::{Layout, Memory};
use vector_index::space::AnySpace;
use vector_index::storage::page::Corruption;
use vector_index::{with_lists, with_space};

use crate::pg::backend::PerBackend;
use crate::pg::blocks::IndexBlocks;
use crate::pg::guc;
use crate::pg::relation::FileId;

/// Indexes whose centres are kept at once.
const INDEXES: usize = 4;

/// What is known of an index's centres.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// used once: reading them for one row or query costs less than keeping them
    Seen,
    /// being read, unless that ended with an error
    Reading,
    /// in memory, or known to take more than is allowed
    Known,
}

struct Kept {
    file: FileId,
    state: State,
    centres: Centres,
}

/// The index used last is the last.
static KEPT: PerBackend<Vec<Kept>> = PerBackend::new();

/// Runs `body` with the centres of an index, none when they are not in memory. Up to `work_mem` of them are kept from
/// the second use on.
///
/// # Errors
/// A damaged list page.
pub fn with<R>(
    blocks: &mut IndexBlocks<'_>,
    layout: Layout,
    space: AnySpace,
    memory: &mut Memory,
    body: impl FnOnce(&mut IndexBlocks<'_>, &mut Centres, &mut Memory) -> R,
) -> Result<R, Corruption> {
    let file = blocks.relation().file();
    KEPT.with(Vec::new, |indexes| {
        match indexes.iter().position(|kept| kept.file == file) {
            Some(at) => indexes.get_mut(at..).unwrap_or_default().rotate_left(1),
            None => {
                if indexes.len() >= INDEXES {
                    indexes.remove(0);
                }
                indexes.push(Kept { file, state: State::Seen, centres: Centres::default() });
                return Ok(body(blocks, &mut Centres::default(), memory));
            }
        }
        let Some(kept) = indexes.last_mut() else { return Ok(body(blocks, &mut Centres::default(), memory)) };
        if kept.state != State::Known {
            kept.state = State::Reading;
            let most = guc::work_mem();
            with_space!(space, space => with_lists!(layout, &mut *blocks, &mut *memory, lists => {
                kept.centres.load(lists, space, most)
            }))?;
            kept.state = State::Known;
        }
        Ok(body(blocks, &mut kept.centres, memory))
    })
}

/// Forgets all centres.
pub fn forget() {
    KEPT.with(Vec::new, Vec::clear);
}
