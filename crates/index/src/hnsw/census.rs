//! Auditing a graph, however damaged it is: what a check ([`super::check`]) asks of a layout, and where the layout puts
//! what it finds. The layout tells what is wrong with its bytes (pages, records, what leads from page to page); the
//! check tells what is wrong with the graph that they hold.
//!
//! Implementations: [`super::v1`] on pages, and a graph in memory without any (`testing/grid_census.rs`).

use super::check::values::{Subject, value_fault};
use super::meta::MetaPage;
use crate::storage::page::Tid;
use crate::storage::verify::Violation;

/// Walking everything that an index consists of. The order of the calls is that of the methods.
pub trait Census {
    /// Why a block cannot be had at all. Damage is no reason.
    type Error;

    /// Begins: looks at the page that describes the index, and returns what it says; none when nothing else can
    /// be looked at.
    ///
    /// # Errors
    /// A block that cannot be had at all.
    fn begin(&mut self, audit: &mut Auditor<'_>) -> Result<Option<MetaPage>, CheckError<Self::Error>>;

    /// Returns the highest level that an element may have.
    fn max_level(&self) -> u8;

    /// Walks all pages: shows every element ([`Auditor::element`]), in ascending order, and reports what is wrong
    /// with the pages, the records, and the links between pages.
    ///
    /// # Errors
    /// A block that cannot be had at all, no memory.
    fn elements(&mut self, meta: &MetaPage, audit: &mut Auditor<'_>) -> Result<(), CheckError<Self::Error>>;

    /// Reports elements that lack a part, and parts that no element owns, or more than one. `audit` has all
    /// elements.
    fn parts(&mut self, audit: &mut Auditor<'_>);

    /// Copies the slots of all layers of an element, top layer first, free ones too, as many as there are.
    /// Returns the version that belongs to them; none when they cannot be read, which has been reported.
    ///
    /// # Errors
    /// A block that cannot be had at all, no memory.
    fn slots(&mut self, node: &Node, out: &mut Vec<Tid>) -> Result<Option<u8>, CheckError<Self::Error>>;

    /// A place where a check may be cancelled.
    ///
    /// # Errors
    /// When it was.
    fn pause(&mut self) -> Result<(), Self::Error>;
}

/// How an element stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// it has rows
    Live,
    /// it has none, and vacuum has not got to its end
    Dying,
    /// its place is free
    Deleted,
    /// it cannot be read, and that has been told
    Broken,
}

/// An element.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// its record
    pub tid: Tid,
    /// its list of neighbours; where the list is part of the record, the record
    pub list: Tid,
    /// the highest layer it is in
    pub level: u8,
    /// changes when the place is freed
    pub version: u8,
    /// how it stands
    pub state: State,
}

impl Node {
    /// An element that cannot be read.
    pub const fn broken(tid: Tid) -> Self {
        Node { tid, list: Tid::INVALID, level: 0, version: 0, state: State::Broken }
    }
}

/// Where a row is in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    heap_tid: u64,
    node: usize,
}

/// What a check found, violations aside. Memory grows with elements and rows: 16 bytes for each of an element and its
/// rows, 8 bytes for each block, and what the layout keeps: of pgvector's pages 16 bytes for each neighbour tuple and 5
/// for each block; of those with inline codes 20 for each record of an upper layer and 12 for each element that has
/// some, 32 for each record that is cut, 16 for each segment of rows, and 5 for each block. A deep check takes 17 bytes
/// more for each element at most.
#[derive(Debug, Default)]
pub struct Tally {
    /// in ascending order of their TIDs
    pub(super) nodes: Vec<Node>,
    /// in ascending order, once they are counted
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
    pub(super) unreached: Vec<u64>,
}

/// Where a row was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// its element
    pub element: Tid,
    /// whether layer 0 leads there from the entry point; after a check that is not deep, always
    pub reached: bool,
}

impl Tally {
    /// Looks a row up.
    pub fn find(&self, heap_tid: Tid) -> Option<Found> {
        let at = self.rows.binary_search_by_key(&heap_tid.packed(), |row| row.heap_tid).ok()?;
        let element = self.nodes.get(self.rows.get(at)?.node)?.tid;
        Some(Found { element, reached: self.unreached.binary_search(&element.packed()).is_err() })
    }

    /// The rows on blocks `heap_block` and later of the table, with their elements.
    pub fn rows_from(&self, heap_block: u32) -> impl Iterator<Item = (Tid, Tid)> {
        let first = self.rows.partition_point(|row| row.heap_tid < Tid::new(heap_block, 0).packed());
        self.rows.get(first..).unwrap_or_default().iter().filter_map(|row| {
            let element = self.nodes.get(row.node)?.tid;
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
///
/// # Errors
/// No memory.
pub(super) fn reserve<T, E>(vec: &mut Vec<T>, more: usize) -> Result<(), CheckError<E>> {
    vec.try_reserve(more).map_err(|_| CheckError::OutOfMemory)
}

/// Makes it as long as `len`, with copies of `value` where it was shorter.
///
/// # Errors
/// No memory.
pub(super) fn fit<T: Clone, E>(vec: &mut Vec<T>, len: usize, value: T) -> Result<(), CheckError<E>> {
    reserve(vec, len.saturating_sub(vec.len()))?;
    vec.resize(len, value);
    Ok(())
}

/// A check at work: takes what a layout shows, tells what is wrong, and keeps what the graph consists of.
pub struct Auditor<'c> {
    subject: &'c Subject,
    deep: bool,
    pub(super) max_level: u8,
    report: &'c mut dyn FnMut(Violation),
    /// by block: its first element in the tally
    first: Vec<usize>,
    /// blocks that hold nobody knows what, in ascending order
    damaged: Vec<u32>,
    pub(super) tally: Tally,
}

impl<'c> Auditor<'c> {
    /// Nothing found yet.
    pub(super) fn new(subject: &'c Subject, deep: bool, report: &'c mut dyn FnMut(Violation)) -> Self {
        let (first, damaged) = (Vec::new(), Vec::new());
        Auditor { subject, deep, max_level: 0, report, first, damaged, tally: Tally::default() }
    }

    /// Whether the check is deep.
    pub const fn is_deep(&self) -> bool {
        self.deep
    }

    /// Takes memory for so many rows more on the page that was begun.
    ///
    /// # Errors
    /// No memory.
    pub fn expect_rows<E>(&mut self, rows: usize) -> Result<(), CheckError<E>> {
        reserve(&mut self.tally.rows, rows)
    }

    /// Tells of a violation.
    pub fn report(&mut self, violation: Violation) {
        (self.report)(violation);
    }

    /// Tells what is wrong at a record, or with a block when the offset is 0.
    pub fn tell(&mut self, tid: Tid, what: impl Into<String>) {
        self.report(Violation::at(tid.block(), tid.offset(), what));
    }

    /// Begins a page, which comes after all before it, and takes memory for what it can hold at most: so many elements,
    /// with so many rows together.
    ///
    /// # Errors
    /// No memory.
    pub fn begin_page<E>(&mut self, block: u32, elements: usize, rows: usize) -> Result<(), CheckError<E>> {
        let blocks = (block as usize).saturating_add(1);
        let skipped = blocks.saturating_sub(self.first.len());
        reserve(&mut self.first, skipped)?;
        reserve(&mut self.damaged, 1)?;
        reserve(&mut self.tally.nodes, elements)?;
        reserve(&mut self.tally.rows, rows)?;
        if self.first.len() < blocks {
            self.first.resize(blocks, self.tally.nodes.len());
        }
        Ok(())
    }

    /// The page that was begun was added to the file and never used.
    pub fn unused_page(&mut self) {
        self.tally.unused_blocks += 1;
    }

    /// The page that was begun cannot be read, which has been told: what stands on it is not known.
    pub fn damaged_page(&mut self, block: u32) {
        self.damaged.push(block);
    }

    /// Whether it is not known what stands on a page.
    pub fn is_damaged(&self, block: u32) -> bool {
        self.damaged.binary_search(&block).is_ok()
    }

    /// Whether every page and every element could be read.
    pub fn is_complete(&self) -> bool {
        self.damaged.is_empty() && self.tally.nodes.iter().all(|node| node.state != State::Broken)
    }

    /// The elements shown up to now.
    pub fn nodes(&self) -> &[Node] {
        &self.tally.nodes
    }

    /// An element of the page that was begun, with its rows and its value; tells what is wrong with these.
    pub fn element(&mut self, node: Node, rows: &[Tid], value: &[u8]) {
        let (tid, level) = (node.tid, node.level);
        if node.state != State::Broken && level > self.max_level {
            self.tell(tid, format!("level is {level}, and {} is the highest", self.max_level));
        }
        match node.state {
            State::Broken => {}
            State::Deleted => {
                self.tally.deleted += 1;
                if !rows.is_empty() {
                    self.tell(tid, "deleted element with rows");
                }
            }
            State::Live | State::Dying => {
                if let Some(fault) = value_fault(self.subject, self.deep, value) {
                    self.tell(tid, fault);
                }
            }
        }
        let tally = &mut self.tally;
        match node.state {
            State::Live => {
                let index = tally.nodes.len();
                tally.live += 1;
                tally.top_level = tally.top_level.max(Some(level));
                tally.rows.extend(rows.iter().map(|row| Row { heap_tid: row.packed(), node: index }));
            }
            State::Dying => tally.dying += 1,
            State::Deleted | State::Broken => {}
        }
        tally.nodes.push(node);
    }

    /// Finds an element and its place in the tally.
    pub(super) fn node(&self, tid: Tid) -> Option<(usize, &Node)> {
        let block = tid.block() as usize;
        let first = *self.first.get(block)?;
        let end = self.first.get(block + 1).copied().unwrap_or(self.tally.nodes.len());
        let nodes = self.tally.nodes.get(first..end)?;
        let at = nodes.binary_search_by_key(&tid.offset(), |node| node.tid.offset()).ok()?;
        Some((first + at, nodes.get(at)?))
    }

    /// Orders the rows, and tells of those that are in two places.
    pub(super) fn count_rows(&mut self) {
        let Tally { rows, nodes, .. } = &mut self.tally;
        rows.sort_unstable();
        for pair in rows.windows(2) {
            let [first, second] = pair else { continue };
            if first.heap_tid != second.heap_tid {
                continue;
            }
            let place = |row: &Row| nodes.get(row.node).map_or(Tid::INVALID, |node| node.tid);
            let (row, other, tid) = (Tid::from_packed(first.heap_tid), place(first), place(second));
            let what = format!("row {row} of the table is in the element at {other} too");
            (self.report)(Violation::at(tid.block(), tid.offset(), what));
        }
    }
}
