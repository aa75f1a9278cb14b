//! The invariants of an index. A healthy index has no violations, and neither has one that a crash has
//! interrupted: pages that were added and never linked are no violation.

use super::format::META_BLOCK;
use super::lists::{AuditLists, Unpack};
use super::tally::Tally;
use crate::quant::space::CodedSpace;

/// Checks an index of values in `space`: what describes it, lists, entries; with `deep`, also that each value
/// is one of the index, that no row is there twice or lacks its included values, and that everything in the file is
/// what it should be.
/// `tally` is told.
///
/// # Errors
/// A block that cannot be had at all.
pub fn check<L: AuditLists, S: CodedSpace>(
    lists: &mut L,
    space: S,
    deep: bool,
    unpack: &mut dyn Unpack,
    tally: &mut Tally,
) -> Result<(), L::Error> {
    let Some(expected) = lists.begin(tally)? else { return Ok(()) };
    lists.lists(space, tally)?;
    if tally.lists.len() != expected as usize {
        let what = format!("meta page tells {expected} lists, list pages hold {}", tally.lists.len());
        tally.violation(META_BLOCK, 0, what);
    }
    for at in 0..tally.lists.len() {
        lists.entries(at, space, deep, unpack, tally)?;
    }
    if deep {
        lists.strays(tally)?;
        tally.count_rows();
        tally.compare_included();
    }
    Ok(())
}
