//! The one place that knows which page layouts there are: every operation of an access method begins here, with blocks,
//! and goes on in the algorithms over the layout's graph.

use std::sync::Arc;

use rand::Rng;

use super::check::{self as checking, CheckError, Subject, Tally};
use super::choice::first_bytes;
use super::cost::{pages_share, read_share, scored_share};
use super::graph::GraphBulk;
use super::inline::census::InlineCensus;
use super::inline::graph::{InlineGraph, Room};
use super::inline::layout::{PageKind, Shape};
use super::inline::meta::{InlineMeta, read_meta as read_inline_meta, update_meta};
use super::inline::neighbour_search::InlineWalk;
use super::inline::parts::Merged;
use super::inline::scan::{Index, Scan as InlineScan, Shared};
use super::meta::{INLINE_MAGIC, MAGIC, META_BLOCK, MetaPage};
use super::scan::{ScanError, ScanSettings};
use super::v1::census::PageCensus;
use super::v1::graph::PageGraph;
use super::v1::reader::Traversal;
use super::{insert as inserting, scan as scanning, vacuum as vacuuming};
use crate::filter::{Packings, Program};
use crate::included;
use crate::quant::space::CodedSpace;
use crate::space::ValueBuf;
use crate::space::ValueKind;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Tid};
use crate::storage::verify::Violation;
use crate::work::runs::Files;
use crate::work::workers::Workers;

pub use super::graph::Graph;
pub use super::info::Info;
pub use super::meta::read_meta;
pub use super::vacuum::Vacuumed;

/// A page layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// pgvector's
    #[default]
    V1,
    /// records with the codes of their neighbours
    Inline,
}

impl Layout {
    /// The layout of an index, by its meta page; `None` for one that nobody knows.
    pub fn of(meta: &MetaPage) -> Option<Self> {
        match meta.magic {
            MAGIC => Some(Layout::V1),
            INLINE_MAGIC => Some(Layout::Inline),
            _ => None,
        }
    }

    /// What users call it.
    pub const fn name(self) -> &'static str {
        match self {
            Layout::V1 => "pgvector",
            Layout::Inline => "inline",
        }
    }

    /// Whether values stand as they were given, also those that are compared by their angle.
    pub const fn keeps_lengths(self) -> bool {
        matches!(self, Layout::Inline)
    }
}

/// An index whose meta page was read.
#[derive(Clone, Debug)]
pub struct Opened {
    /// its meta page
    pub meta: MetaPage,
    inline: Option<Arc<Shared>>,
    /// the root of the tree of included values; 0 without INCLUDE columns
    included: u32,
}

impl Opened {
    /// The layout of its pages.
    pub const fn layout(&self) -> Layout {
        if self.inline.is_some() { Layout::Inline } else { Layout::V1 }
    }

    /// The kind of its values, where its pages say it.
    pub fn kind(&self) -> Option<ValueKind> {
        self.inline.as_ref().map(|shared| shared.layout.shape.kind)
    }

    /// What a search of `ef_search` candidates is expected to read of an index of so many `elements` and `pages`: how
    /// many pages the index counts for, and the share of them.
    ///
    /// An index of codes does less than one of the first layout would, and counts for no more, so that plans stay what
    /// they are when one takes the place of the other.
    pub fn expected(&self, elements: f64, pages: f64, ef_search: f64) -> (f64, f64) {
        let m = f64::from(self.meta.m);
        let scored = scored_share(elements, m, ef_search);
        let Some(shared) = &self.inline else { return (pages, scored) };
        let layout = &shared.layout;
        let read = read_share(elements, pages, f64::from(layout.ground.pages()), m, ef_search);
        let (shape, page_size) = (layout.shape, layout.page_size);
        match first_bytes(shape.kind, shape.dims, shape.m, page_size) {
            Some(bytes) => {
                let counted = (bytes * elements / page_size as f64).max(1.0).min(pages);
                (counted, (read * pages / counted).min(scored))
            }
            None => (pages, read),
        }
    }

    /// Bytes of a value and its filter keys, where its pages say it.
    pub fn value_bytes(&self) -> f64 {
        self.inline.as_ref().map_or(0.0, |shared| shared.layout.ground.value_size as f64)
    }

    /// What a run of so many `entries` is expected to read, of which so many are `matching`.
    pub fn expected_of_run(&self, pages: f64, entries: f64, matching: f64) -> ExpectedRun {
        let Some(shared) = &self.inline else {
            return ExpectedRun { leaves: 0.0, first: pages, all: pages, scored: matching };
        };
        let layout = &shared.layout;
        let coded = layout.runs.is_some_and(|geometry| geometry.code > 0);
        let scored = if coded { matching.min(NEAREST) } else { matching };
        let read = |rows: f64| pages * pages_share(pages, rows * f64::from(layout.ground.pages()));
        let leaves = entries / layout.runs.map_or(1, |geometry| geometry.entries().max(1)) as f64;
        ExpectedRun { leaves: leaves.ceil(), first: read(scored), all: read(matching), scored }
    }

    /// The root of the tree of included values.
    #[cfg(test)]
    pub(super) const fn included_root(&self) -> u32 {
        self.included
    }

    /// Whether it keeps the values of INCLUDE columns.
    pub const fn has_included(&self) -> bool {
        self.included != 0
    }

    /// How the filter keys behind each value are packed ([`Packings::put_item`]).
    pub fn filters(&self) -> Packings {
        self.inline.as_ref().map_or(Packings::NONE, |shared| shared.layout.shape.filters)
    }
}

/// Entries whose exact distances the first rows of a run take, where codes say which: as measured, with ten rows
/// wanted.
const NEAREST: f64 = 40.0;

/// What a run over entries of filter keys is expected to read.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedRun {
    /// pages of entries
    pub leaves: f64,
    /// pages of records for the first rows
    pub first: f64,
    /// pages of records for all rows that match
    pub all: f64,
    /// rows that are scored by their values before the first one comes
    pub scored: f64,
}

/// What the last indexes that were opened need besides their pages, and is dear to make.
#[derive(Debug, Default)]
pub struct Cache {
    shared: Vec<Arc<Shared>>,
}

/// Indexes that a cache knows: more than a query of a few joins has.
const CACHED: usize = 16;

impl Cache {
    /// Empty.
    pub const fn new() -> Self {
        Cache { shared: Vec::new() }
    }

    fn get(&mut self, meta: &InlineMeta, page_size: usize) -> Result<Arc<Shared>, Damage> {
        if let Some(at) = self.shared.iter().position(|shared| shared.is_of(meta, page_size)) {
            self.shared[..=at].rotate_right(1);
        } else {
            let shared = Arc::new(Shared::new(meta, page_size)?);
            self.shared.truncate(CACHED - 1);
            self.shared.insert(0, shared);
        }
        self.shared.first().cloned().ok_or(Damage::internal("cache without entries"))
    }
}

/// Reads what an index is.
///
/// # Errors
/// When block 0 is no meta page.
pub fn open<B: BlockStore>(blocks: &mut B, cache: &mut Cache) -> Result<Opened, B::Error> {
    let page_size = blocks.page_size();
    let (meta, inline) = blocks.read(META_BLOCK, |bytes| {
        let meta = MetaPage::read(bytes)?;
        let inline = (Layout::of(&meta) == Some(Layout::Inline)).then(|| InlineMeta::read(bytes));
        Ok((meta, inline.transpose()?))
    })?;
    let included = inline.as_ref().map_or(0, |inline| inline.included);
    let inline = inline.map(|inline| cache.get(&inline, page_size)).transpose();
    Ok(Opened { meta, inline: inline.map_err(|damage| damage.on(META_BLOCK))?, included })
}

/// Makes an index that was just written one that keeps the values of INCLUDE columns.
///
/// # Errors
/// When it is none of inline codes; no room on disk.
pub fn begin_included<B: BlockStore>(blocks: &mut B) -> Result<(), B::Error> {
    if read_inline_meta(blocks)?.included != 0 {
        return Err(Damage::internal("included values twice").on(META_BLOCK).into());
    }
    let root = included::add_root(blocks, PageKind::INCLUDED)?;
    update_meta(blocks, |meta| {
        meta.included = root;
        true
    })
}

/// Adds the included values of rows, before the rows ([`included::add`]).
///
/// # Errors
/// A damaged index, no room on disk.
pub fn add_included<B: BlockStore>(opened: &Opened, blocks: &mut B, values: &[u8]) -> Result<(), B::Error> {
    included::add(blocks, PageKind::INCLUDED, opened.included, values)
}

/// Copies the included values of a row into `out`. False when there are none.
///
/// # Errors
/// A damaged index, no memory.
pub fn read_included<B: BlockStore>(
    opened: &Opened,
    blocks: &mut B,
    row: Tid,
    out: &mut ValueBuf,
) -> Result<bool, B::Error> {
    match opened.included {
        0 => Ok(false),
        root => included::read(blocks, PageKind::INCLUDED, root, row, out),
    }
}

/// An index to be written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// how its pages are laid out
    pub layout: Layout,
    /// everything but the entry point and the insert page
    pub meta: MetaPage,
    /// of what is random in the layout
    pub seed: u64,
    /// how filter keys are packed; none on pgvector's pages
    pub filters: Packings,
}

/// Writes an index into blocks of which there is none yet: of a graph that was built in memory, or an empty one.
///
/// # Errors
/// Want of memory, no room on disk.
pub fn write_index<B: BlockStore, S: CodedSpace>(
    form: &Form,
    blocks: &mut B,
    space: S,
    graph: Option<&super::build::Graph<S>>,
    workers: &mut Workers<'_>,
    budget: usize,
) -> Result<(), B::Error> {
    let meta = form.meta;
    let (m, ef_construction) = (usize::from(meta.m), usize::from(meta.ef_construction));
    match form.layout {
        Layout::V1 => {
            let shape = Graph { space, m, ef_construction };
            PageGraph::new(blocks, shape).write_index(meta, graph, workers, budget)
        }
        Layout::Inline => {
            let formed = inline_form(form, space.kind(), blocks.page_size());
            let (own, shared) = formed.map_err(|damage| damage.on(META_BLOCK))?;
            let index = Index::new(&shared, space);
            let mut room = Room::new();
            InlineGraph::new(blocks, &index, ef_construction, &mut room)
                .write_index(own, graph, workers, budget)
        }
    }
}

/// What there is of an index of inline codes before it has a page: its meta page, and what follows from it.
///
/// # Errors
/// No layout for such values, no memory.
pub fn inline_form(form: &Form, kind: ValueKind, page_size: usize) -> Result<(InlineMeta, Shared), Damage> {
    let (m, dims) = (usize::from(form.meta.m), form.meta.dimensions as usize);
    let shape = Shape::new(kind, dims, m, form.filters, page_size);
    let meta = InlineMeta::new(&shape, form.meta.ef_construction, form.seed);
    Ok((meta, Shared::new(&meta, page_size)?))
}

/// Writes an index of inline codes, of which there is no block yet, of a graph that was [built in parts](Merged).
///
/// # Errors
/// Want of memory, no room on disk, a damaged temporary file.
pub fn write_merged<B: BlockStore, S: CodedSpace>(
    (meta, shared): &(InlineMeta, Shared),
    blocks: &mut B,
    space: S,
    merged: &Merged,
    files: &mut dyn Files,
    workers: &mut Workers<'_>,
) -> Result<(), B::Error> {
    let (index, mut room) = (Index::new(shared, space), Room::new());
    let ef_construction = usize::from(meta.common.ef_construction);
    InlineGraph::new(blocks, &index, ef_construction, &mut room).write_merged(*meta, merged, files, workers)
}

/// What inserts allocate, kept from one to the next.
#[derive(Debug, Default)]
pub struct Workspace {
    inline: Option<Arc<Shared>>,
    pub(super) v1: inserting::Workspace<Traversal>,
    codes: inserting::Workspace<InlineWalk>,
    room: Room,
}

impl Workspace {
    /// Nothing allocated.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the index is that comes next.
    pub fn set_index(&mut self, opened: &Opened) {
        self.inline.clone_from(&opened.inline);
    }
}

/// Inserts a row's value, a whole varlena as the index keeps it.
///
/// # Errors
/// A damaged index. What was written up to then is consistent: at worst an element that nothing leads to.
pub fn insert<B: BlockStore, S: CodedSpace>(
    blocks: &mut B,
    graph: &Graph<S>,
    workspace: &mut Workspace,
    value: &[u8],
    row: Tid,
    rng: &mut impl Rng,
) -> Result<(), B::Error> {
    let Workspace { inline, v1, codes, room } = workspace;
    match inline {
        None => inserting::insert(&mut PageGraph::new(blocks, *graph), v1, value, row, rng),
        Some(shared) => {
            let index = Index::new(shared, graph.space);
            let mut pages = InlineGraph::new(blocks, &index, graph.ef_construction, room);
            inserting::insert(&mut pages, codes, value, row, rng)
        }
    }
}

/// The state of one vacuum. Everything in it that needs dropping stays in it while blocks are read.
#[derive(Debug, Default)]
pub struct Vacuum {
    inline: Option<Arc<Shared>>,
    v1: vacuuming::Vacuum<Traversal>,
    codes: vacuuming::Vacuum<InlineWalk>,
    room: Room,
    /// the root of the tree of included values, or 0
    included: u32,
    /// rows whose values are looked at
    rows: Vec<Tid>,
}

impl Vacuum {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the index is that comes next.
    pub fn set_index(&mut self, opened: &Opened) {
        self.inline.clone_from(&opened.inline);
        self.included = opened.included;
    }

    /// Removes the rows that `is_dead` names ([`vacuuming::Vacuum::run`]).
    ///
    /// # Errors
    /// A damaged index.
    pub fn run<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        graph: &Graph<S>,
        is_dead: &mut impl FnMut(Tid) -> bool,
    ) -> Result<Vacuumed, B::Error> {
        match &self.inline {
            None => self.v1.run(&mut PageGraph::new(blocks, *graph), is_dead),
            Some(shared) => {
                let index = Index::new(shared, graph.space);
                let mut pages = InlineGraph::new(blocks, &index, graph.ef_construction, &mut self.room);
                let counted = self.codes.run(&mut pages, is_dead)?;
                // no row leads to them any more; those of inserts that were interrupted go, too
                if self.included != 0 {
                    blocks.fault_point("hnsw.vacuum.included")?;
                    included::remove(blocks, PageKind::INCLUDED, self.included, &mut self.rows, is_dead)?;
                }
                Ok(counted)
            }
        }
    }
}

/// The state of one scan. Everything in it that needs dropping stays in it while blocks are read.
#[derive(Debug, Default)]
pub struct Scan {
    inline: Option<Arc<Shared>>,
    v1: scanning::Scan<Traversal>,
    codes: InlineScan,
}

impl Scan {
    /// A scan that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the index is that comes next.
    pub fn set_index(&mut self, opened: &Opened) {
        self.inline.clone_from(&opened.inline);
    }

    /// Forgets the query; memory is kept for the next.
    pub fn reset(&mut self) {
        match self.inline {
            None => self.v1.reset(),
            Some(_) => self.codes.reset(),
        }
    }

    /// The conditions that its rows must meet, to be set after a reset ([`InlineScan::filter`]); on pgvector's pages it
    /// takes no notice of them.
    pub fn filter(&mut self) -> &mut Program {
        self.codes.filter()
    }

    /// Bytes of memory that it holds, whatever of it is used.
    pub fn allocated(&self) -> usize {
        self.v1.allocated() + self.codes.allocated()
    }

    /// Bytes of memory that this query fills. (What earlier queries left allocated is not its fault.)
    pub fn in_use(&self) -> usize {
        match self.inline {
            None => self.v1.in_use(),
            Some(_) => self.codes.in_use(),
        }
    }

    /// The next row, or none. `query` is a whole varlena, `None` for NULL, and the same in all calls up to a reset.
    ///
    /// # Errors
    /// A damaged block, or a query of other dimensions.
    pub fn next<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        space: S,
        query: Option<&[u8]>,
        settings: &ScanSettings,
    ) -> Result<Option<Tid>, ScanError<B::Error>> {
        match &self.inline {
            None => {
                // the scan takes the connections from the meta page
                let shape = Graph { space, m: 0, ef_construction: 0 };
                self.v1.next(&mut PageGraph::new(blocks, shape), query, settings)
            }
            Some(shared) => {
                let index = Index::new(shared, space);
                let found = self.codes.next(blocks, &index, query, settings)?;
                Ok(found.map(|(row, _)| row))
            }
        }
    }
}

impl Scan {
    /// The block to hold on to while the row that was returned last is looked at ([`Self::read_returned`]); none on
    /// pgvector's pages, which do not keep values as they were given.
    pub fn place_of_returned(&self) -> Option<u32> {
        self.inline.as_ref().and_then(|shared| self.codes.place_of_returned(&shared.layout))
    }

    /// The distance of that row from the query: the operator's, or its square for the Euclidean one; NaN where there is
    /// no query, or one without direction.
    pub fn distance_of_returned(&self) -> f64 {
        match self.inline {
            None => f64::from(self.v1.distance_of_returned()),
            Some(_) => self.codes.distance_of_returned(),
        }
    }

    /// That row; none on pgvector's pages.
    pub fn row_of_returned(&self) -> Option<Tid> {
        self.inline.as_ref().and_then(|_| self.codes.row_of_returned())
    }

    /// Reads the value of that row with its filter keys ([`InlineScan::read_returned`]).
    ///
    /// # Errors
    /// Damaged blocks, no memory.
    pub fn read_returned<B: BlockStore>(
        &mut self,
        blocks: &mut B,
        value: &mut ValueBuf,
    ) -> Result<bool, B::Error> {
        match &self.inline {
            None => Ok(false),
            Some(shared) => self.codes.read_returned(blocks, &shared.layout, value),
        }
    }
}

/// Looks at the value of an element, in place, or in `buffer` where pages have it in pieces.
///
/// # Errors
/// When there is no element at `tid`, and what `look` answers.
pub fn read_value<B: BlockStore, R>(
    opened: &Opened,
    blocks: &mut B,
    buffer: &mut ValueBuf,
    tid: Tid,
    look: impl FnOnce(&[u8]) -> Result<R, Damage>,
) -> Result<R, B::Error> {
    match &opened.inline {
        None => super::v1::graph::read_value(blocks, tid, look),
        Some(shared) => super::inline::graph::read_value(blocks, &shared.layout, buffer, tid, look),
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
        Layout::Inline => {
            checking::check(&mut InlineCensus::new(blocks, subject.space), subject, deep, report)
        }
    }
}

/// Reads the blocks that every search begins with, as far as they stand together; returns their range.
///
/// # Errors
/// A block that cannot be read, or is none of such an index.
pub fn read_first<B: BlockStore>(blocks: &mut B) -> Result<core::ops::Range<u32>, B::Error> {
    match Layout::of(&read_meta(blocks)?).unwrap_or_default() {
        // elements of all layers stand beside each other
        Layout::V1 => Ok(0..0),
        Layout::Inline => super::inline::info::read_upper(blocks),
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
        Layout::Inline => super::inline::info::gather(blocks),
    }
}
