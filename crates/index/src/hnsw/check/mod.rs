//! Every invariant of an hnsw index of version 1, looked at.
//!
//! What holds at any moment between two changes, and so after a crash as well:
//! - block 0 is the meta page; every other block is in the chain that begins at block 1 and only goes forward, or was
//!   added and never used (all zeros);
//! - element and neighbour tuples come in pairs of one version, the list as long as the level asks for;
//! - each layer's list has its edges first and then free slots, no edge twice, none to the element itself;
//! - an edge of a live element leads to an element that is not deleted and reaches up to the edge's layer;
//! - the entry point is an element that is not deleted, named with its level;
//! - rows come first among an element's heap TIDs, and no row is in two places;
//! - a value has the dimensions of the index. Looked at only when the check is deep: elements are finite, in a sparse
//!   value ascending and not zero, and a cosine index keeps unit length.
//!
//! What is no violation, because an insert or a vacuum that was interrupted leaves it behind:
//! - *dying* elements, which have no rows and are not deleted. The next vacuum repairs the graph around them. Edges
//!   lead to them, while theirs may lead to a deleted element, or to another in its place, once nothing leads to
//!   themselves; so the edges of a dying element count only where something does (found out when the check is deep);
//! - an element that nothing leads to: an insert writes the pair first and the edges to it one by one;
//! - no entry point while there are dying elements, or while no element has an edge (rows that are out of reach
//!   then are told by a deep check);
//! - an entry point below the highest level: a vacuum takes the highest element that it had seen. Searches then begin
//!   lower, at the same results.
//!
//! A deep check also walks the graph as searches do ([`reach`]): every element with rows must be reached in
//! layer 0, and every element in which a descent can end must lead back. Of the elements that are not reached
//! it does not know whether their rows were ever committed (an insert that was interrupted leaves an element
//! that nothing leads to); who has the table asks [`Census::find`] for each row and tells by [`OutOfReach`]. In
//! an index that pgvector wrote, rows may be out of reach: a full list drops edges there, and some element its
//! last.

mod edges;
mod reach;
mod tuples;
mod values;

pub use reach::OutOfReach;

use super::meta::{HEAD_BLOCK, META_BLOCK, MetaPage, PAGE_ID};
use super::params::{MAX_EF_CONSTRUCTION, MIN_EF_CONSTRUCTION, max_level};
use crate::space::AnySpace;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{INVALID_BLOCK, Tid};
use crate::storage::verify::{self, Violation};

/// Elements after which a check may be cancelled.
const STRIDE: usize = 64;

/// In place of the next block: the page is damaged, and that has been told. What it holds is not known.
const DAMAGED: u32 = INVALID_BLOCK - 1;

/// What an index should be.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// what it compares
    pub space: AnySpace,
    /// whether it keeps values of unit length (cosine distance)
    pub unit: bool,
}

/// How an element stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// it has rows
    Live,
    /// it has none, and vacuum has not got to its end
    Dying,
    /// its place is free
    Deleted,
    /// its tuple is damaged, and that has been told
    Broken,
}

/// An element tuple.
#[derive(Clone, Copy, Debug)]
struct Node {
    block: u32,
    offset: u16,
    level: u8,
    version: u8,
    list: Tid,
    state: State,
}

impl Node {
    fn tid(&self) -> Tid {
        Tid::new(self.block, self.offset)
    }
}

/// A neighbour tuple.
#[derive(Clone, Copy, Debug)]
struct List {
    tid: u64,
    sound: bool,
    owners: u8,
}

/// Where a row is in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    heap_tid: u64,
    node: usize,
}

/// What a check found, violations aside. Memory grows with elements and rows: 16 bytes for each of an element,
/// its neighbour tuple and its rows, and 13 bytes for each block; a deep check takes 17 bytes more for each
/// element at most.
#[derive(Debug, Default)]
pub struct Census {
    nodes: Vec<Node>,
    rows: Vec<Row>,
    /// elements with rows
    pub live: u64,
    /// elements without rows that are not deleted
    pub dying: u64,
    /// deleted elements
    pub deleted: u64,
    /// blocks that were added and never used
    pub unused_blocks: u64,
    /// edges of live elements
    pub edges: u64,
    /// level of the entry point, when there is one
    pub entry_level: Option<u8>,
    /// highest level of a live element
    pub top_level: Option<u8>,
    /// after a deep check: elements with rows that layer 0 does not lead to from the entry point, packed TIDs in
    /// ascending order
    unreached: Vec<u64>,
}

/// Where a row was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// its element tuple
    pub element: Tid,
    /// whether layer 0 leads there from the entry point; after a check that is not deep, always
    pub reached: bool,
}

impl Census {
    /// Looks a row up.
    pub fn find(&self, heap_tid: Tid) -> Option<Found> {
        let at = self.rows.binary_search_by_key(&heap_tid.packed(), |row| row.heap_tid).ok()?;
        let element = self.nodes.get(self.rows.get(at)?.node)?.tid();
        Some(Found { element, reached: self.unreached.binary_search(&element.packed()).is_err() })
    }

    /// The rows on blocks `heap_block` and later of the table, with their element tuples.
    pub fn rows_from(&self, heap_block: u32) -> impl Iterator<Item = (Tid, Tid)> {
        let first = self.rows.partition_point(|row| row.heap_tid < Tid::new(heap_block, 0).packed());
        self.rows.get(first..).unwrap_or_default().iter().filter_map(|row| {
            let element = self.nodes.get(row.node)?.tid();
            Some((Tid::from_packed(row.heap_tid), element))
        })
    }

    /// The number of elements with rows that a deep check did not reach.
    pub fn unreached(&self) -> usize {
        self.unreached.len()
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }
}

/// Why a check does not come to its end. Damage is no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckError<E> {
    /// a block cannot be read
    Store(E),
    /// the elements do not fit the memory there is
    OutOfMemory,
}

impl<E> From<E> for CheckError<E> {
    fn from(e: E) -> Self {
        CheckError::Store(e)
    }
}

/// Makes room for `more`.
fn reserve<T, E>(vec: &mut Vec<T>, more: usize) -> Result<(), CheckError<E>> {
    vec.try_reserve(more).map_err(|_| CheckError::OutOfMemory)
}

/// Checks an index and tells `report` of each violation. Nobody may change the index meanwhile, or what is found may
/// be of different moments.
///
/// # Errors
/// A block that cannot be read, or too little memory.
pub fn check<B: BlockStore>(
    blocks: &mut B,
    subject: &Subject,
    deep: bool,
    report: &mut dyn FnMut(Violation),
) -> Result<Census, CheckError<B::Error>> {
    let count = blocks.count()?;
    let Some(meta) = check_meta(blocks, count, report)? else { return Ok(Census::default()) };
    let mut check = Check {
        subject,
        deep,
        m: usize::from(meta.m),
        max_level: max_level(blocks.page_size(), usize::from(meta.m)),
        count,
        report,
        next: Vec::new(),
        first: Vec::new(),
        lists: Vec::new(),
        census: Census::default(),
        connected: false,
    };
    check.pages(blocks)?;
    check.chain(&meta)?;
    check.rows();
    check.pairs();
    check.edges(blocks)?;
    let entry = check.entry(&meta);
    if deep {
        check.reach(blocks, entry)?;
    }
    Ok(check.census)
}

/// The meta page, when the rest can be looked at with what it says.
fn check_meta<B: BlockStore>(
    blocks: &mut B,
    count: u32,
    report: &mut dyn FnMut(Violation),
) -> Result<Option<MetaPage>, B::Error> {
    if count <= HEAD_BLOCK {
        report(Violation::of_index(format!("the index has {count} blocks, and at least 2 are needed")));
        if count == 0 {
            return Ok(None);
        }
    }
    let mut tell = |what: String| report(Violation::at(META_BLOCK, 0, what));
    let (meta, next) = blocks.read(META_BLOCK, |bytes| {
        let page = verify::page(bytes, PAGE_ID, false, |fault| tell(fault.what.into()));
        Ok((MetaPage::read(bytes), page.map_or(INVALID_BLOCK, |page| page.next())))
    })?;
    let meta = match meta {
        Ok(meta) => meta,
        Err(damage) => {
            tell(damage.what.into());
            return Ok(None);
        }
    };
    if next != INVALID_BLOCK {
        tell(format!("the meta page is followed by block {next}"));
    }
    if meta.dimensions == 0 {
        tell("dimensions are 0".into());
    }
    let (m, ef_construction) = (i32::from(meta.m), i32::from(meta.ef_construction));
    if !(MIN_EF_CONSTRUCTION..=MAX_EF_CONSTRUCTION).contains(&ef_construction) || ef_construction < 2 * m {
        tell(format!("ef_construction is {ef_construction}, with an m of {m}"));
    }
    Ok(Some(meta))
}

struct Check<'c> {
    subject: &'c Subject,
    deep: bool,
    m: usize,
    max_level: u8,
    count: u32,
    report: &'c mut dyn FnMut(Violation),
    /// by block: the next one, itself when it is unused, [`DAMAGED`]
    next: Vec<u32>,
    /// by block: its first element in the census
    first: Vec<usize>,
    lists: Vec<List>,
    census: Census,
    /// whether a live element has an edge
    connected: bool,
}

impl Check<'_> {
    fn tell(&mut self, tid: Tid, what: impl Into<String>) {
        (self.report)(Violation::at(tid.block(), tid.offset(), what));
    }

    fn is_damaged(&self, block: u32) -> bool {
        self.next.get(block as usize) == Some(&DAMAGED)
    }

    fn node(&self, tid: Tid) -> Option<(usize, &Node)> {
        let block = tid.block() as usize;
        let first = *self.first.get(block)?;
        let end = self.first.get(block + 1).copied().unwrap_or(self.census.nodes.len());
        let at = self.census.nodes.get(first..end)?.binary_search_by_key(&tid.offset(), |n| n.offset).ok()?;
        Some((first + at, self.census.nodes.get(first + at)?))
    }
}

#[cfg(test)]
mod tests;
