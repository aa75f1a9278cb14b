//! Scans (paper, algorithm 5), and their continuation: first along the graph, then over the pages, for what the graph
//! did not lead to. src/hnsw/README.md has the argument why no row is missed and none comes twice.

use super::graph::{GraphScan, GraphSearch, ScanSearch, Walk};
use super::meta::META_BLOCK;
use super::search::{CandidateQueue, Discarded, Scored, pop_discarded};
use crate::storage::blocks::{LockMode, OperationLock};
use crate::storage::page::{Corruption, Damage, Tid};

/// How a scan goes on when its results are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IterativeScan {
    /// not at all
    Off,
    /// with more results until all were returned: those of a batch in order, batches not
    Relaxed,
    /// the same, leaving out what is nearer than a result before
    Strict,
}

/// The settings of a scan, read again for each row.
#[derive(Clone, Copy, Debug)]
pub struct ScanSettings {
    /// results per batch
    pub ef_search: usize,
    /// whether there is more than one batch
    pub iterative: IterativeScan,
    /// elements visited after which no batch begins
    pub max_tuples: u64,
    /// bytes after which no batch begins
    pub max_memory: usize,
}

/// The state of one scan. Everything in it that needs dropping stays in it while blocks are read.
#[derive(Debug)]
pub struct Scan<W> {
    walk: W,
    pool: CandidateQueue,
    out: Vec<Scored>,
    discarded: Discarded,
    m: usize,
    /// position in `pool` of the element whose rows are being returned
    at: usize,
    /// which of its rows is next
    row: Option<u64>,
    /// one element past the limits, with nothing in `pool`
    overflow: Option<Scored>,
    /// the pass over the pages, once the graph leads no further
    sweep: Option<Sweep>,
    previous: f32,
    started: bool,
    iterative: bool,
}

/// A pass over the element pages in the order of their numbers. It stops between pages only.
#[derive(Clone, Copy, Debug)]
struct Sweep {
    /// the next block
    next: u32,
    /// behind the last one: blocks added later hold rows of later transactions only
    end: u32,
}

/// How often a scan looks for an entry point that is not marked as deleted.
const TRIES: usize = 8;

/// Why a scan ends with an error.
#[derive(Debug)]
pub enum ScanError<E> {
    /// a block
    Store(E),
    /// the query does not fit the index
    Query(crate::ValueError),
}

impl<E> From<E> for ScanError<E> {
    fn from(e: E) -> Self {
        ScanError::Store(e)
    }
}

impl<W: Walk> Default for Scan<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Walk> Scan<W> {
    /// A scan that has not begun.
    pub fn new() -> Self {
        Scan {
            walk: W::default(),
            pool: CandidateQueue::new(),
            out: Vec::new(),
            discarded: Discarded::new(),
            m: 0,
            at: 0,
            row: None,
            overflow: None,
            sweep: None,
            previous: f32::NEG_INFINITY,
            started: false,
            iterative: false,
        }
    }

    /// Forgets the query; memory is kept for the next.
    pub fn reset(&mut self) {
        self.walk.clear();
        self.pool.clear();
        self.discarded.clear();
        (self.at, self.row, self.overflow, self.sweep) = (0, None, None, None);
        (self.previous, self.started, self.iterative) = (f32::NEG_INFINITY, false, false);
    }

    /// Bytes of memory that it holds, whatever of it is used.
    pub fn allocated(&self) -> usize {
        self.walk.allocated() + (self.discarded.capacity() + self.pool.capacity()) * size_of::<u64>()
    }

    /// Bytes of memory that this query fills. (What earlier queries left allocated is not its fault.)
    pub fn in_use(&self) -> usize {
        self.walk.in_use() + self.pool.len() * size_of::<u64>() + self.discarded.len() * size_of::<u64>()
    }

    /// The next row, or none. `query` is a whole varlena, `None` for NULL, and the same in all calls up to a reset.
    ///
    /// # Errors
    /// A damaged block, or a query of other dimensions.
    pub fn next<G: GraphScan<Walk = W>>(
        &mut self,
        graph: &mut G,
        query: Option<&[u8]>,
        settings: &ScanSettings,
    ) -> Result<Option<Tid>, ScanError<G::Error>> {
        if self.started {
            graph.set_m(self.m);
        } else {
            self.iterative = settings.iterative != IterativeScan::Off;
            // Shared with other scans; vacuum waits for all of them before it marks what they may still reach.
            graph.lock(OperationLock::Scan, LockMode::Shared)?;
            let begun = self.begin(graph, query, settings.ef_search);
            graph.unlock(OperationLock::Scan, LockMode::Shared);
            begun?;
            self.started = true;
        }
        loop {
            let Some((scored, row)) = self.next_row(graph)? else {
                let off = settings.iterative == IterativeScan::Off || !self.iterative;
                if off || !self.resume(graph, query, settings)? {
                    return Ok(None);
                }
                continue;
            };
            if settings.iterative == IterativeScan::Strict && scored.distance < self.previous {
                continue;
            }
            self.previous = scored.distance;
            return Ok(Some(row));
        }
    }

    /// The distance of the row that [`Self::next`] returned last.
    pub fn distance_of_returned(&self) -> f32 {
        self.previous
    }

    /// The next row of the results at hand.
    fn next_row<G: GraphScan<Walk = W>>(&mut self, graph: &mut G) -> Result<Option<(Scored, Tid)>, G::Error> {
        loop {
            let scored = match self.overflow {
                Some(scored) => scored,
                None => match self.pool.get(self.at) {
                    Some(scored) => scored,
                    None => return Ok(None),
                },
            };
            if let Some(row) = graph.next_row(&self.walk, scored.node, &mut self.row)? {
                return Ok(Some((scored, row)));
            }
            self.row = None;
            if self.overflow.take().is_none() {
                self.at += 1;
            }
            if self.iterative {
                // a long scan keeps what is still to come, not what has gone
                self.walk.release(scored.node);
            }
        }
    }

    fn begin<G: GraphScan<Walk = W>>(
        &mut self,
        graph: &mut G,
        query: Option<&[u8]>,
        ef_search: usize,
    ) -> Result<(), ScanError<G::Error>> {
        let mut tries = 0;
        let (entry, scored) = loop {
            let meta = graph.meta()?;
            self.m = usize::from(meta.m);
            graph.set_m(self.m);
            let entry = meta.entry_point().map_err(|damage: Damage| G::Error::from(damage.on(META_BLOCK)))?;
            self.walk.clear();
            self.pool.clear();
            let Some(entry) = entry else { return Ok(()) };
            let mut store = graph.search(query, &mut self.walk).map_err(ScanError::Query)?;
            // On a standby it may be marked between the look at the meta page and this one; there is another then.
            if let Some(scored) = store.enter(entry.tid)? {
                break (entry, scored);
            }
            tries += 1;
            if tries == TRIES {
                let damage = Damage::at(entry.tid.offset(), "deleted entry point");
                return Err(G::Error::from(damage.on(entry.tid.block())).into());
            }
        };
        let mut store = graph.search(query, &mut self.walk).map_err(ScanError::Query)?;
        self.pool.offer(scored, true, 1);
        for layer in (1..=entry.level).rev() {
            store.begin_layer(layer, &self.pool)?;
            store.search_layer(&mut self.pool, &mut self.out, 1, layer)?;
            self.pool.restart();
        }
        store.begin_layer(0, &self.pool)?;
        store.walk().set_scored(1);
        let discarded = self.iterative.then_some(&mut self.discarded);
        store.search_keeping(&mut self.pool, &mut self.out, ef_search, 0, discarded)?;
        Ok(())
    }

    /// Makes room for so many results more.
    fn reserve(&mut self, more: usize) -> Result<(), Corruption> {
        if self.pool.reserve(more) { Ok(()) } else { Err(Damage::OUT_OF_MEMORY.on(META_BLOCK)) }
    }

    /// Whether no more may be scored.
    fn is_limited(&self, settings: &ScanSettings) -> bool {
        self.walk.scored() >= settings.max_tuples || self.in_use() > settings.max_memory
    }

    /// Finds more results; false when there are none.
    fn resume<G: GraphScan<Walk = W>>(
        &mut self,
        graph: &mut G,
        query: Option<&[u8]>,
        settings: &ScanSettings,
    ) -> Result<bool, ScanError<G::Error>> {
        self.pool.clear();
        (self.at, self.row) = (0, None);
        if self.is_limited(settings) {
            // what was scored already still comes, nearest first
            self.overflow = pop_discarded(&mut self.discarded);
            return Ok(self.overflow.is_some());
        }
        let ef = settings.ef_search;
        self.reserve(ef.min(self.discarded.len())).map_err(G::Error::from)?;
        while self.pool.len() < ef {
            let Some(scored) = pop_discarded(&mut self.discarded) else { break };
            self.pool.offer(scored, true, ef);
        }
        if self.pool.is_empty() {
            // the graph has no more
            return self.pass(graph, query, settings);
        }
        // under a filter that lets little through, many batches make one row
        graph.pause()?;
        graph.fault_point("hnsw.scan.batch")?;
        // Elements seen before may have been deleted and replaced since; their neighbour tuples tell by their version.
        graph.lock(OperationLock::Scan, LockMode::Shared)?;
        let mut store = graph.search(query, &mut self.walk).map_err(ScanError::Query)?;
        let discarded = Some(&mut self.discarded);
        let found = store.search_keeping(&mut self.pool, &mut self.out, ef, 0, discarded);
        drop(store);
        graph.unlock(OperationLock::Scan, LockMode::Shared);
        found?;
        Ok(true)
    }

    /// Goes on with the pass over the pages until there are results for a batch; false when it is over. No edge is
    /// followed, so vacuum need not wait for it: an element is read and scored at once, under its page's lock.
    #[cold]
    fn pass<G: GraphScan<Walk = W>>(
        &mut self,
        graph: &mut G,
        query: Option<&[u8]>,
        settings: &ScanSettings,
    ) -> Result<bool, ScanError<G::Error>> {
        let mut sweep = match self.sweep {
            Some(sweep) => sweep,
            None => {
                let pages = graph.pages()?;
                Sweep { next: pages.start, end: pages.end }
            }
        };
        graph.fault_point("hnsw.scan.sweep")?;
        while sweep.next < sweep.end && self.pool.len() < settings.ef_search && !self.is_limited(settings) {
            graph.pause()?;
            self.out.clear();
            let mut store = graph.search(query, &mut self.walk).map_err(ScanError::Query)?;
            store.pass(sweep.next, &mut self.out)?;
            drop(store);
            self.reserve(self.out.len()).map_err(G::Error::from)?;
            for &scored in &self.out {
                self.pool.offer(scored, true, usize::MAX);
            }
            sweep.next += 1;
        }
        self.sweep = Some(sweep);
        Ok(!self.pool.is_empty())
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
