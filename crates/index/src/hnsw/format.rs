//! The one place that knows which page layouts there are: every operation of an access method begins here, with blocks,
//! and goes on in the algorithms over the layout's graph.

use rand::Rng;

use super::check::{self as checking, CheckError, Subject, Tally};
use super::graph::GraphBulk;
use super::meta::{MAGIC, MetaPage};
use super::scan::{ScanError, ScanSettings};
use super::v1::census::PageCensus;
use super::v1::graph::PageGraph;
use super::v1::reader::Traversal;
use super::{insert as inserting, scan as scanning, vacuum as vacuuming};
use crate::space::Space;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Tid};
use crate::storage::verify::Violation;

pub use super::graph::Graph;
pub use super::meta::read_meta;
pub use super::v1::info::Info;
pub use super::vacuum::Vacuumed;

/// A page layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// pgvector's
    #[default]
    V1,
}

impl Layout {
    /// The layout of an index, by its meta page; `None` for one that nobody knows.
    pub fn of(meta: &MetaPage) -> Option<Self> {
        (meta.magic == MAGIC).then_some(Layout::V1)
    }
}

/// Writes an index in `layout` into blocks of which there is none yet: of a graph that was built in memory, or an empty
/// one. `meta` has everything but the entry point and the insert page.
///
/// # Errors
/// Want of memory, no room on disk.
pub fn write_index<B: BlockStore, S: Space>(
    layout: Layout,
    blocks: &mut B,
    space: S,
    meta: MetaPage,
    graph: Option<&super::build::Graph<S>>,
) -> Result<(), B::Error> {
    let shape = Graph { space, m: usize::from(meta.m), ef_construction: usize::from(meta.ef_construction) };
    match layout {
        Layout::V1 => PageGraph::new(blocks, shape).write_index(meta, graph),
    }
}

/// What inserts allocate, kept from one to the next.
#[derive(Debug, Default)]
pub struct Workspace {
    layout: Layout,
    pub(super) v1: inserting::Workspace<Traversal>,
}

impl Workspace {
    /// Nothing allocated.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the index is that comes next.
    pub fn set_layout(&mut self, layout: Layout) {
        self.layout = layout;
    }
}

/// Inserts a row's value, a whole varlena as the index keeps it.
///
/// # Errors
/// A damaged index. What was written up to then is consistent: at worst an element that nothing leads to.
pub fn insert<B: BlockStore, S: Space>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    value: &[u8],
    row: Tid,
    rng: &mut impl Rng,
) -> Result<(), B::Error> {
    match workspace.layout {
        Layout::V1 => {
            inserting::insert(&mut PageGraph::new(blocks, *graph), &mut workspace.v1, value, row, rng)
        }
    }
}

/// The state of one vacuum. Everything in it that needs dropping stays in it while blocks are read.
#[derive(Debug, Default)]
pub struct Vacuum {
    layout: Layout,
    v1: vacuuming::Vacuum<Traversal>,
}

impl Vacuum {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the index is that comes next.
    pub fn set_layout(&mut self, layout: Layout) {
        self.layout = layout;
    }

    /// Removes the rows that `is_dead` names ([`vacuuming::Vacuum::run`]).
    ///
    /// # Errors
    /// A damaged index.
    pub fn run<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
        is_dead: &mut impl FnMut(Tid) -> bool,
    ) -> Result<Vacuumed, B::Error> {
        match self.layout {
            Layout::V1 => self.v1.run(&mut PageGraph::new(blocks, *graph), is_dead),
        }
    }
}

/// The state of one scan. Everything in it that needs dropping stays in it while blocks are read.
#[derive(Debug, Default)]
pub struct Scan {
    layout: Layout,
    v1: scanning::Scan<Traversal>,
}

impl Scan {
    /// A scan that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the index is that comes next.
    pub fn set_layout(&mut self, layout: Layout) {
        self.layout = layout;
    }

    /// Forgets the query; memory is kept for the next.
    pub fn reset(&mut self) {
        match self.layout {
            Layout::V1 => self.v1.reset(),
        }
    }

    /// Bytes of memory that it holds, whatever of it is used.
    pub fn allocated(&self) -> usize {
        self.v1.allocated()
    }

    /// Bytes of memory that this query fills. (What earlier queries left allocated is not its fault.)
    pub fn in_use(&self) -> usize {
        match self.layout {
            Layout::V1 => self.v1.in_use(),
        }
    }

    /// The next row, or none. `query` is a whole varlena, `None` for NULL, and the same in all calls up to a reset.
    ///
    /// # Errors
    /// A damaged block, or a query of other dimensions.
    pub fn next<B: BlockStore, S: Space>(
        &mut self,
        blocks: &mut B,
        space: S,
        query: Option<&[u8]>,
        settings: &ScanSettings,
    ) -> Result<Option<Tid>, ScanError<B::Error>> {
        // the scan takes the connections from the meta page
        let shape = Graph { space, m: 0, ef_construction: 0 };
        match self.layout {
            Layout::V1 => self.v1.next(&mut PageGraph::new(blocks, shape), query, settings),
        }
    }
}

/// Looks at the value of an element, in place.
///
/// # Errors
/// When there is no element at `tid`, and what `look` answers.
pub fn read_value<B: BlockStore, R>(
    layout: Layout,
    blocks: &mut B,
    tid: Tid,
    look: impl FnOnce(&[u8]) -> Result<R, Damage>,
) -> Result<R, B::Error> {
    match layout {
        Layout::V1 => super::v1::graph::read_value(blocks, tid, look),
    }
}

/// Checks an index and tells `report` of each violation ([`checking::check`]). One whose meta page cannot be read is of
/// any layout.
///
/// # Errors
/// A block that cannot be read, or too little memory.
pub fn check<B: BlockStore>(
    layout: Layout,
    blocks: &mut B,
    subject: &Subject,
    deep: bool,
    report: &mut dyn FnMut(Violation),
) -> Result<Tally, CheckError<B::Error>> {
    match layout {
        Layout::V1 => checking::check(&mut PageCensus::new(blocks), subject, deep, report),
    }
}

/// Counts what an index consists of.
///
/// # Errors
/// A block that cannot be read, or is none of such an index.
pub fn info<B: BlockStore>(blocks: &mut B) -> Result<Info, B::Error> {
    // a meta page that nobody knows is told by whoever reads it
    match Layout::of(&read_meta(blocks)?).unwrap_or_default() {
        Layout::V1 => super::v1::info::gather(blocks),
    }
}
