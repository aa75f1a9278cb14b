//! Every invariant of an hnsw index, looked at: here those of graphs, whatever their bytes; those of pages and
//! records are for the layout to look at ([`Census`]): pgvector's pages in `v1/census.rs`, those with inline codes in
//! `inline/census.rs`.
//!
//! What holds at any moment between two changes, and so after a crash as well, of every layout:
//! - block 0 is the meta page; every other block is of a known kind, or was added and never used (all zeros);
//! - no edge of a layer stands twice in a list, none leads to the element itself;
//! - an edge of a live element leads to an element that is not deleted and reaches up to the edge's layer;
//! - the entry point is an element that is not deleted, named with its level;
//! - no row is in two places;
//! - a value has the dimensions of the index. Looked at only when the check is deep: elements are finite, in a sparse
//!   value ascending and not zero, and a cosine index of pgvector's layout keeps unit length.
//!
//! Of pgvector's pages:
//! - all that are in use are in the chain that begins at block 1 and only goes forward;
//! - element and neighbour tuples come in pairs of one version, the list as long as the level asks for;
//! - each layer's list has its edges first and then free slots, and rows come first among an element's heap TIDs.
//!
//! Of pages with inline codes:
//! - a page has the slots of its kind, all of its header and no hole; a slot is marked as in use where a node stands, a
//!   part of one, or what an insert has reserved, and nowhere else;
//! - an element of level l has a record in each layer up to l; each names the one above and the one below, and that of
//!   layer 0; all have the same value. The meta page names the entry point's record in its highest layer;
//! - a neighbour in an upper layer is named twice, by its record there and by that of layer 0, which are of one
//!   element;
//! - every rest of a record is whole and of one record, which keeps it while its slot is free;
//! - the segments of an element's rows name it and its version, their numbers fall, and each is of one element;
//! - pages of included values are those of one tree in the order of its rows, and each row has its values there;
//! - norms are those of the values, factors are finite; in a free slot there is no value, no edge and no row;
//! - looked at only when the check is deep: each code is what the codec makes of the two values, with factors that
//!   agree within their precision; in the place of codes each value of `bit` is the neighbour's.
//!
//! What is no violation, because an insert or a vacuum that was interrupted leaves it behind:
//! - *dying* elements, which have no rows and are not deleted. The next vacuum repairs the graph around them. Edges
//!   lead to them, while theirs may lead to a deleted element, or to another in its place, once nothing leads to
//!   themselves; so the edges of a dying element count only where something does (found out when the check is deep),
//!   and their codes do not;
//! - an element that nothing leads to: an insert writes the element first and the edges to it one by one;
//! - no entry point while there are dying elements, or while no element has an edge (rows that are out of reach
//!   then are told by a deep check);
//! - an entry point below the highest level: a vacuum takes the highest element that it had seen. Searches then begin
//!   lower, at the same results;
//! - included values of rows that are not in the index;
//! - a reserved slot without a node, whose rest may lack pages.
//!
//! A deep check also walks the graph as searches do ([`reach`]): every element with rows must be reached in
//! layer 0, and every element in which a descent can end must lead back. Of the elements that are not reached
//! it does not know whether their rows were ever committed (an insert that was interrupted leaves an element
//! that nothing leads to); who has the table asks [`Tally::find`] for each row and tells by [`OutOfReach`]. In
//! an index that pgvector wrote, rows may be out of reach: a full list drops edges there, and some element its
//! last.

mod edges;
mod reach;
pub(in crate::hnsw) mod values;

pub use reach::OutOfReach;
pub use values::Subject;

use super::census::{Auditor, Census, Node, State, reserve};
pub use super::census::{CheckError, Found, Tally};
use super::meta::{META_BLOCK, MetaPage};
use super::params::{MAX_EF_CONSTRUCTION, MIN_EF_CONSTRUCTION};
use crate::storage::page::Tid;
use crate::storage::verify::Violation;

/// Elements after which a check may be cancelled.
const STRIDE: usize = 64;

/// Checks an index and tells `report` of each violation. Nobody may change the index meanwhile, or what is found may
/// be of different moments.
///
/// # Errors
/// A block that cannot be read, or too little memory.
pub fn check<C: Census>(
    census: &mut C,
    subject: &Subject,
    deep: bool,
    report: &mut dyn FnMut(Violation),
) -> Result<Tally, CheckError<C::Error>> {
    let mut audit = Auditor::new(subject, deep, report);
    let Some(meta) = census.begin(&mut audit)? else { return Ok(Tally::default()) };
    check_meta(&meta, &mut audit);
    audit.max_level = census.max_level();
    census.elements(&meta, &mut audit)?;
    audit.count_rows();
    census.parts(&mut audit);
    let mut check = Check { census, m: usize::from(meta.m), audit, connected: false };
    check.edges()?;
    let entry = check.entry(&meta);
    if deep {
        check.reach(entry)?;
    }
    Ok(check.audit.tally)
}

/// Looks at what the meta page says, as far as it is of every layout.
fn check_meta(meta: &MetaPage, audit: &mut Auditor<'_>) {
    let place = Tid::new(META_BLOCK, 0);
    if meta.dimensions == 0 {
        audit.tell(place, "dimensions are 0");
    }
    let (m, ef_construction) = (i32::from(meta.m), i32::from(meta.ef_construction));
    if !(MIN_EF_CONSTRUCTION..=MAX_EF_CONSTRUCTION).contains(&ef_construction) || ef_construction < 2 * m {
        audit.tell(place, format!("ef_construction is {ef_construction}, with an m of {m}"));
    }
}

struct Check<'c, C> {
    census: &'c mut C,
    m: usize,
    audit: Auditor<'c>,
    /// whether a live element has an edge
    connected: bool,
}

#[cfg(test)]
mod life_tests;
#[cfg(test)]
mod tests;
