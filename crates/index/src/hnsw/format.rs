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
use super::inline::layout::Shape;
use super::inline::meta::InlineMeta;
use super::inline::neighbour_search::InlineWalk;
use super::inline::scan::{Index, Scan as InlineScan, Shared};
use super::meta::{INLINE_MAGIC, MAGIC, META_BLOCK, MetaPage};
use super::scan::{ScanError, ScanSettings};
use super::v1::census::PageCensus;
use super::v1::graph::PageGraph;
use super::v1::reader::Traversal;
use super::{insert as inserting, scan as scanning, vacuum as vacuuming};
use crate::filter::Program;
use crate::quant::rabitq::Bits;
use crate::quant::space::CodedSpace;
use crate::space::ValueBuf;
use crate::space::ValueKind;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Tid};
use crate::storage::verify::Violation;
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

    /// The share of its `pages`, and the pages of filter keys, that a pass reads which scores so many of `elements`.
    pub fn expected_of_pass(&self, elements: f64, pages: f64, scored: f64) -> (f64, f64) {
        let Some(shared) = &self.inline else { return (1.0, 0.0) };
        let layout = &shared.layout;
        let read = pages_share(pages, scored * f64::from(layout.ground.pages()));
        (read, elements / layout.keys.per_page.max(1) as f64)
    }

    /// Bytes of filter keys behind each value ([`crate::filter::put_item`]).
    pub fn filter_size(&self) -> usize {
        self.inline.as_ref().map_or(0, |shared| shared.layout.shape.filter_size)
    }
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
    let inline = inline.map(|inline| cache.get(&inline, page_size)).transpose();
    Ok(Opened { meta, inline: inline.map_err(|damage| damage.on(META_BLOCK))? })
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
    /// bytes of filter keys behind each value; 0 on pgvector's pages
    pub filter_size: usize,
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
            let dims = meta.dimensions as usize;
            let (bits, filter_size) = (Bits::for_dims(dims), form.filter_size);
            let shape = Shape { kind: space.kind(), dims, m, bits, filter_size };
            let own = InlineMeta::new(&shape, meta.ef_construction, form.seed);
            let shared = Shared::new(&own, blocks.page_size()).map_err(|damage| damage.on(META_BLOCK))?;
            let index = Index::new(&shared, space);
            let mut room = Room::new();
            InlineGraph::new(blocks, &index, ef_construction, &mut room)
                .write_index(own, graph, workers, budget)
        }
    }
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
}

impl Vacuum {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the index is that comes next.
    pub fn set_index(&mut self, opened: &Opened) {
        self.inline.clone_from(&opened.inline);
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
                self.codes.run(&mut pages, is_dead)
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
