//! Scans of inline indexes, and their continuation: first along the graph, then over the pages, for what the
//! graph did not lead to. Which rows come, and that each comes once, is argued in src/hnsw/README.md; here
//! *visited* means that a list named a node, which then is a result, or kept, or waits as a candidate until it
//! is read. Candidates that were only noted ([`batches`](super::batches)) are visited before a pass begins: a batch
//! that finds nothing has looked all of them up.

use std::ops::Deref;

use super::codec::{Codec, PreparedQuery};
use super::filtered::{Pass, choose};
use super::graph::strange_segment;
use super::layout::Layout;
use super::meta::{InlineMeta, META_BLOCK, read_meta};
use super::reader::{Chain, Found, Next, Reader};
use super::run::{RunQuery, Window};
use super::search::{CAUTION, Others, Walk};
use crate::filter::Program;
use crate::hnsw::params::HEAP_TIDS;
use crate::hnsw::scan::{IterativeScan, ScanError, ScanSettings};
use crate::quant::space::{CodedSpace, Estimate};
use crate::space::ValueBuf;
use crate::storage::blocks::{BlockStore, LockMode, OperationLock};
use crate::storage::page::{Damage, Tid};

/// What all operations on an index share: made once, from what its meta page says for good.
#[derive(Debug)]
pub struct Shared {
    /// where everything stands
    pub layout: Layout,
    /// rotation and codes
    pub codec: Codec,
    seed: u64,
}

impl Shared {
    /// That of the index with this meta page.
    ///
    /// # Errors
    /// A meta page that fits no index, or no memory.
    pub fn new(meta: &InlineMeta, page_size: usize) -> Result<Self, Damage> {
        let layout = meta.layout(page_size)?;
        let codec = Codec::new(&layout, meta.seed)?;
        Ok(Shared { layout, codec, seed: meta.seed })
    }

    /// Whether it is that of the index with this meta page.
    pub fn is_of(&self, meta: &InlineMeta, page_size: usize) -> bool {
        // the layout follows from the shape
        self.seed == meta.seed
            && self.layout.page_size == page_size
            && meta.shape().is_ok_and(|shape| shape == self.layout.shape)
    }
}

/// An index, with how its values compare.
#[derive(Clone, Copy, Debug)]
pub struct Index<'s, S> {
    shared: &'s Shared,
    /// values and distances
    pub space: S,
    caution: f32,
}

impl<'s, S> Index<'s, S> {
    /// The index that `shared` describes, whose values are of `space`.
    pub fn new(shared: &'s Shared, space: S) -> Self {
        Index { shared, space, caution: CAUTION }
    }

    /// Deviations that bounds lie below estimates.
    pub const fn caution(&self) -> f32 {
        self.caution
    }

    /// Sets them, for a measurement.
    pub const fn set_caution(&mut self, caution: f32) {
        self.caution = caution;
    }
}

impl<S> Deref for Index<'_, S> {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        self.shared
    }
}

/// The state of one scan. Everything in it that needs dropping stays in it while blocks are read.
#[derive(Debug)]
pub struct Scan {
    pub(super) walk: Walk,
    pub(super) prepared: PreparedQuery,
    pub(super) ids: Vec<u32>,
    /// conditions on filter columns
    pub(super) filter: Program,
    /// the filter column whose runs it takes
    pub(super) column: usize,
    pub(super) passed: Option<Pass>,
    /// room for the value of a row
    pub(super) joined: ValueBuf,
    pub(super) path: Vec<u32>,
    pub(super) run: RunQuery,
    pub(super) window: Window,
    /// position of the result whose rows are being returned
    pub(super) at: usize,
    /// whether its first row was returned
    pub(super) begun: bool,
    /// others of its rows, and how many of them were returned
    pub(super) rows: Vec<Tid>,
    pub(super) row: usize,
    /// the segment that they are of
    pub(super) part: Tid,
    /// where the rows after those are
    chain: Tid,
    /// the number of the segment they are of; none of the first row
    number: Option<u32>,
    /// the next block of the pass over the pages, and the end of it
    sweep: Option<(u32, u32)>,
    previous: f64,
    /// rows so far
    pub(super) returned: usize,
    started: bool,
    iterative: bool,
    /// whether the query is a zero vector, compared by its angle
    no_direction: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self::new()
    }
}

/// Nodes among which a search finds the nearest few: with fewer, an estimate that errs a little ends it.
const LEAST_SEARCHED: usize = 8;

/// Later batches have at least one of so many rows that were returned.
const GROWTH: usize = 4;
/// Results are kept in order by moving those behind a new one: more of them would take longer than to look up others.
const MOST_OF_A_BATCH: usize = 1000;

/// How often a scan looks for an entry point that is not deleted, or for segments that are not given back.
const TRIES: usize = 8;

impl Scan {
    /// A scan that has not begun.
    pub const fn new() -> Self {
        Scan {
            walk: Walk::new(),
            prepared: PreparedQuery::new(),
            ids: Vec::new(),
            filter: Program::new(),
            column: 0,
            passed: None,
            joined: ValueBuf::new(),
            path: Vec::new(),
            run: RunQuery::new(),
            window: Window::new(),
            at: 0,
            begun: false,
            rows: Vec::new(),
            row: 0,
            part: Tid::INVALID,
            chain: Tid::INVALID,
            number: None,
            sweep: None,
            previous: f64::NEG_INFINITY,
            returned: 0,
            started: false,
            iterative: false,
            no_direction: false,
        }
    }

    /// Forgets the query; memory is kept for the next.
    pub fn reset(&mut self) {
        self.walk.clear();
        self.restart_results();
        self.sweep = None;
        self.passed = None;
        self.run.clear();
        self.window.clear();
        self.filter.clear();
        (self.previous, self.returned, self.started, self.iterative) = (f64::NEG_INFINITY, 0, false, false);
    }

    /// The conditions that its rows must meet, to be set after a reset. What it returns then may be candidates
    /// ([`Program::needs_recheck`]).
    pub fn filter(&mut self) -> &mut Program {
        &mut self.filter
    }

    fn restart_results(&mut self) {
        self.at = 0;
        self.next_node();
    }

    fn next_node(&mut self) {
        (self.begun, self.row, self.chain, self.number) = (false, 0, Tid::INVALID, None);
        self.part = Tid::INVALID;
        self.rows.clear();
    }

    /// Nodes estimated, and nodes read, since the scan began.
    pub fn counts(&self) -> (u64, u64) {
        (self.walk.scored, self.walk.expanded)
    }

    /// Bytes of memory that it holds, whatever of it is used.
    pub fn allocated(&self) -> usize {
        self.walk.allocated()
            + self.prepared.allocated()
            + self.ids.capacity() * size_of::<u32>()
            + self.filter.allocated()
            + self.path.capacity() * size_of::<u32>()
            + self.run.allocated()
            + self.window.allocated()
            + self.rows.capacity() * size_of::<Tid>()
            + self.joined.allocated()
    }

    /// Bytes of memory that this query fills.
    pub fn in_use(&self) -> usize {
        self.walk.in_use() + self.window.in_use() + self.rows.len() * size_of::<Tid>()
    }

    /// The next row with the operator's distance (its square for the Euclidean one), or none. `query` is a
    /// whole varlena as it was given, `None` for NULL, and the same in all calls up to a reset.
    ///
    /// # Errors
    /// A damaged block, or a query of other dimensions.
    pub fn next<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<&[u8]>,
        settings: &ScanSettings,
    ) -> Result<Option<(Tid, f64)>, ScanError<B::Error>> {
        let mut view = match query.map(|value| index.space.view(value)).transpose() {
            Ok(view) => view,
            // where there is nothing to compare with, pgvector does not look at the query
            Err(_) if is_empty(blocks)? => return Ok(None),
            Err(error) => return Err(ScanError::Query(error)),
        };
        if !self.started {
            // no direction: everything is equally near
            self.no_direction = index.space.estimate() == Estimate::Cosine
                && view.is_some_and(|view| index.space.norm(view) == 0.0);
        }
        if self.no_direction {
            view = None;
        }
        if !self.started {
            self.iterative = settings.iterative != IterativeScan::Off || self.is_filtered();
            if let Some(view) = view {
                let prepared = self.prepared.set(&index.codec, &index.space, view);
                prepared.map_err(|damage| B::Error::from(damage.on(META_BLOCK)))?;
            }
            // Shared with other scans; vacuum waits for all of them before it marks what they may still reach.
            blocks.lock(OperationLock::Scan, LockMode::Shared)?;
            let begun = self.begin(blocks, index, view, settings);
            blocks.unlock(OperationLock::Scan, LockMode::Shared);
            begun?;
            if self.is_filtered() {
                self.complete(blocks, index, view, settings)?;
            }
            self.started = true;
        }
        let off = !self.is_filtered() && (settings.iterative == IterativeScan::Off || !self.iterative);
        // A node has any number of equal rows. Of a scan that is not to go on, users expect no more rows than elements
        // of the first layout hold, which are part of what ef_search means.
        if off && self.returned >= settings.ef_search.saturating_mul(HEAP_TIDS) {
            return Ok(None);
        }
        loop {
            let Some(node) = self.walk.result(self.at).copied() else {
                if off || !self.resume(blocks, index, view, settings)? {
                    return Ok(None);
                }
                continue;
            };
            let passed = settings.iterative == IterativeScan::Strict && node.distance < self.previous;
            let row = if passed { None } else { self.next_row(blocks, index, view, &node)? };
            match row {
                Some(row) => {
                    self.previous = node.distance;
                    self.returned += 1;
                    return Ok(Some((row, node.distance)));
                }
                None => {
                    self.at += 1;
                    self.next_node();
                }
            }
        }
    }

    /// The distance of the row that [`Self::next`] returned last, as that returned it; NaN where everything is equally
    /// near.
    pub fn distance_of_returned(&self) -> f64 {
        if self.no_direction { f64::NAN } else { self.previous }
    }

    /// The next row of a node.
    fn next_row<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        node: &Found,
    ) -> Result<Option<Tid>, B::Error> {
        if !self.begun {
            (self.begun, self.chain) = (true, node.chain);
            if node.heap_tid.is_valid() {
                return Ok(Some(node.heap_tid));
            }
        }
        loop {
            if let Some(&row) = self.rows.get(self.row) {
                self.row += 1;
                return Ok(Some(row));
            }
            if !self.chain.is_valid() {
                return Ok(None);
            }
            self.rows.clear();
            self.row = 0;
            blocks.pause()?;
            let mut reader = reader(blocks, index, query, &self.prepared, index.caution);
            let found = reader.segment(node, self.chain, self.number, &mut self.rows)?;
            let next = match found {
                Some(next) => next,
                None => match self.find_segment(blocks, index, query, node)? {
                    Some(next) => next,
                    None => return Ok(None),
                },
            };
            (self.part, self.chain, self.number) = (next.here, next.at, Some(next.number));
        }
    }

    /// Goes on in a chain whose next segment was given back: beginning again at its head with the first one whose
    /// number is below that of the last one returned. Segments stand in the order of their numbers, and whatever is in
    /// the place of the lost one, or was added in front, has a higher number, or no row of the query's snapshot. So no
    /// row comes twice, and none that the snapshot sees is left out: a segment with such a row is not given back.
    #[cold]
    fn find_segment<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        node: &Found,
    ) -> Result<Option<Next>, B::Error> {
        for _ in 0..TRIES {
            blocks.pause()?;
            let mut reader = reader(blocks, index, query, &self.prepared, index.caution);
            let first = reader.first_segment(node)?;
            match reader.segment_below(node, first, self.number, &mut self.rows)? {
                Chain::Segment(next) => return Ok(Some(next)),
                Chain::End => return Ok(None),
                // given back meanwhile, too
                Chain::Broken => self.rows.clear(),
            }
        }
        Err(strange_segment(self.chain))
    }

    /// Deviations that bounds lie below estimates: none where a search goes on until nothing that waits is estimated to
    /// be nearer, which finds more than a beam of bounds does.
    pub(super) fn caution<S>(&self, index: &Index<'_, S>, settings: &ScanSettings) -> f32 {
        let exhausts = !self.is_filtered() && (self.started || self.others(settings) == Others::Exhaust);
        if exhausts { 0.0 } else { index.caution }
    }

    /// What the first search does with nodes that are none of the nearest. In strict order, what comes later and is
    /// nearer than a row before is lost. In relaxed order it comes late, and many scans that may go on do not: the
    /// first search is as short as that of others.
    fn others(&self, settings: &ScanSettings) -> Others {
        match settings.iterative {
            IterativeScan::Strict if self.iterative && !self.is_filtered() => Others::Exhaust,
            _ if self.iterative => Others::Keep,
            _ => Others::Forget,
        }
    }

    /// Rows of the first batch. The farther half of what the first search finds may not be the nearest there are, and
    /// waits for what the second one finds.
    fn first_batch(&self, settings: &ScanSettings) -> usize {
        match settings.iterative {
            IterativeScan::Relaxed if !self.is_filtered() => settings.ef_search.div_ceil(2),
            _ => settings.ef_search,
        }
    }

    fn begin<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
    ) -> Result<(), ScanError<B::Error>> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        let filter = self.is_filtered().then_some(&self.filter);
        for _ in 0..TRIES {
            let meta = read_meta(blocks)?;
            if !index.is_of(&meta, blocks.page_size()) {
                return Err(on_meta(Damage::at(0, "meta page of another index")).into());
            }
            self.walk.clear();
            let patience = match filter {
                Some(filter) => {
                    let ef = settings.ef_search.max(LEAST_SEARCHED);
                    let (column, patience) = choose(blocks, index, &meta, filter, query.is_some(), ef)?;
                    self.column = column;
                    Some(patience)
                }
                None => None,
            };
            if patience.is_some_and(|patience| patience.is_over(0)) {
                // no search at all
                self.walk.gave_up = true;
                return Ok(());
            }
            let Some(entry) = meta.entry().map_err(on_meta)? else { return Ok(()) };
            let caution = self.caution(index, settings);
            let mut reader = reader(blocks, index, query, &self.prepared, caution);
            let mut id = entry.id;
            for layer in (1..=entry.level).rev() {
                self.walk.begin_layer();
                self.walk.enter(id).map_err(on_meta)?;
                self.walk.search_layer(&mut reader, 1, layer, Others::Forget)?;
                match self.walk.result(0) {
                    Some(nearest) => id = nearest.below,
                    None => break,
                }
            }
            let descended = entry.level == 0 || !self.walk.is_empty();
            self.walk.clear();
            if descended {
                self.walk.enter(id).map_err(on_meta)?;
                let mut reader = reader.filtered(filter);
                self.walk.patience = patience;
                let ef = settings.ef_search.max(LEAST_SEARCHED);
                match filter {
                    Some(_) => self.walk.search_filtered(&mut reader, ef)?,
                    None => self.walk.search_layer(&mut reader, ef, 0, self.others(settings))?,
                }
                self.walk.narrow(self.first_batch(settings), self.iterative).map_err(on_meta)?;
                if !self.walk.is_empty() || self.is_filtered() {
                    return Ok(());
                }
            }
            // On a standby it may be deleted between the look at the meta page and this one; there is another then.
        }
        Err(on_meta(Damage::at(0, "deleted entry point")).into())
    }

    /// Whether no more may be scored.
    fn is_limited(&mut self, settings: &ScanSettings) -> Result<bool, Damage> {
        if self.walk.has_scored(settings.max_tuples)? {
            return Ok(true);
        }
        if self.in_use() > settings.max_memory {
            // some of what was noted is the same
            self.walk.sort_all_out()?;
        }
        Ok(self.in_use() > settings.max_memory)
    }

    /// Finds more results; false when there are none.
    fn resume<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
    ) -> Result<bool, ScanError<B::Error>> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        self.restart_results();
        if self.is_filtered() {
            return self.resume_filtered(blocks, index, query, settings);
        }
        if self.is_limited(settings).map_err(on_meta)? {
            self.walk.sort_all_out().map_err(on_meta)?;
            // what was seen already still comes, nearest first, each read when it is its turn
            let mut reader = reader(blocks, index, query, &self.prepared, index.caution);
            while let Some(id) = self.walk.pop_candidate() {
                reader.blocks.pause()?;
                self.walk.read_candidate(&mut reader, id)?;
            }
            self.walk.next_batch(1).map_err(on_meta)?;
            return Ok(!self.walk.is_empty());
        }
        self.walk.next_batch(self.batch(settings)).map_err(on_meta)?;
        if !self.walk.has_more() {
            // the graph has no more
            return self.pass(blocks, index, query, settings);
        }
        self.search_on(blocks, index, query, settings)?;
        if self.walk.is_empty() {
            return self.pass(blocks, index, query, settings);
        }
        Ok(true)
    }

    /// Rows of the next batch. Each looks through all that earlier ones had no use for: they grow with what was
    /// returned, so that together they take time in proportion to it.
    fn batch(&self, settings: &ScanSettings) -> usize {
        settings.ef_search.max((self.returned / GROWTH).min(MOST_OF_A_BATCH))
    }

    /// Goes on over the graph from what waits, of a scan without conditions.
    fn search_on<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
    ) -> Result<(), B::Error> {
        // under a filter that lets little through, many batches make one row
        blocks.pause()?;
        blocks.fault_point("hnsw.scan.batch")?;
        // Nodes seen before may have been deleted and replaced since; a record's own state tells.
        blocks.lock(OperationLock::Scan, LockMode::Shared)?;
        let caution = self.caution(index, settings);
        let mut reader = reader(blocks, index, query, &self.prepared, caution);
        let batch = self.batch(settings);
        let found = self.walk.search_layer(&mut reader, batch.max(LEAST_SEARCHED), 0, Others::Exhaust);
        blocks.unlock(OperationLock::Scan, LockMode::Shared);
        found?;
        self.walk.narrow(batch, true).map_err(|damage| damage.on(META_BLOCK).into())
    }

    /// Goes on with the pass over the pages until there are results for a batch; false when it is over. No edge is
    /// followed, so vacuum need not wait for it.
    #[cold]
    fn pass<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
    ) -> Result<bool, ScanError<B::Error>> {
        let (mut next, end) = match self.sweep {
            Some(sweep) => sweep,
            None => (META_BLOCK + 1, blocks.count()?),
        };
        blocks.fault_point("hnsw.scan.sweep")?;
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        while next < end
            && self.walk.len() < settings.ef_search
            && !self.is_limited(settings).map_err(on_meta)?
        {
            blocks.pause()?;
            let mut reader = reader(blocks, index, query, &self.prepared, index.caution);
            self.walk.pass(&mut reader, next, &mut self.ids)?;
            next += 1;
        }
        self.sweep = Some((next, end));
        Ok(!self.walk.is_empty())
    }
}

/// Whether an index has no element.
#[cold]
fn is_empty<B: BlockStore>(blocks: &mut B) -> Result<bool, B::Error> {
    let entry = read_meta(blocks)?.entry();
    entry.map(|entry| entry.is_none()).map_err(|damage| damage.on(META_BLOCK).into())
}

pub(super) fn reader<'s, 'q, B: BlockStore, S: CodedSpace>(
    blocks: &'s mut B,
    index: &'s Index<'_, S>,
    query: Option<S::View<'q>>,
    prepared: &'s PreparedQuery,
    caution: f32,
) -> Reader<'s, 'q, B, S> {
    Reader::new(blocks, &index.layout, &index.codec, index.space, query, prepared, caution)
}
