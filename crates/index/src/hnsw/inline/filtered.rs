//! Scans with conditions on filter columns. The ordinary search goes over the graph, nodes that fail lead on, and only
//! those that match take a place in the result. Few that match make it long; then, or when it did not find as many as
//! it may return, a *pass* looks at the filter keys of all nodes, scores those that match, and returns them in the
//! order of their distances. So what matches comes, each row once, as long as rows are asked for.
//!
//! Rows of one batch are in order, and so are all that a pass returns. When rows of the graph were returned before, a
//! later one may be nearer than the last; a scan in strict order leaves it out.

use std::cmp::Reverse;

use super::id_map::READ;
use super::keys::Candidate;
use super::layout::Layout;
use super::meta::read_meta;
use super::reader::{Found, Reader};
use super::scan::{Index, Scan, reader};
use super::search::{Walk, wide_order_key};
use crate::hnsw::meta::META_BLOCK;
use crate::hnsw::scan::{ScanError, ScanSettings};
use crate::quant::space::CodedSpace;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, INVALID_BLOCK};

/// When a search over the graph gives up for a pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// pages of filter keys
    pages: f64,
    /// nodes, about
    nodes: f64,
    /// neighbours seen, and those of them that match
    seen: u64,
    matching: u64,
}

/// Nodes expanded before the share of matching ones among their neighbours tells anything.
const FIRST: u64 = 20;
/// What a pass takes for a page of filter keys, and for a node that matches, beside what the expansion of a node takes.
const PER_PAGE: f64 = 0.7;
const PER_MATCH: f64 = 0.4;
/// Expansions of a search are this many times the places of its result over the share that matches.
const PER_PLACE: f64 = 0.7;

impl Patience {
    /// With an index of so many blocks.
    pub fn new(blocks: u32, layout: &Layout) -> Self {
        let bytes = f64::from(blocks) * layout.page_size as f64;
        let nodes = bytes / layout.ground.cost(layout.page_size) as f64;
        Patience { pages: nodes / layout.keys.per_page.max(1) as f64, nodes, seen: 0, matching: 0 }
    }

    /// Takes in which neighbours of a node match.
    #[inline]
    pub fn note(&mut self, matches: &[bool]) {
        self.seen += matches.len() as u64;
        self.matching += matches.iter().filter(|&&matches| matches).count() as u64;
    }

    /// Whether a pass is the better way, after so many expansions.
    #[inline]
    pub fn is_over(&self, expanded: u64, ef: usize) -> bool {
        if expanded < FIRST {
            return false;
        }
        // one more than were seen: where none matched, some may
        let share = (self.matching + 1) as f64 / (self.seen + 1) as f64;
        let pass = self.pages * PER_PAGE + self.nodes * share * PER_MATCH;
        let search = ef as f64 * PER_PLACE / share;
        expanded as f64 > pass || expanded == FIRST && search > pass
    }
}

/// Records that are asked for ahead of their turn.
const AHEAD: usize = 4;
/// Bytes that a node takes which a pass remembers.
const PER_NODE: usize = 128;

impl Scan {
    /// Whether it has conditions.
    pub(super) fn is_filtered(&self) -> bool {
        !self.filter.is_empty()
    }

    /// After the first search: goes on with a pass, when there are fewer results than the scan may return.
    pub(super) fn complete<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
    ) -> Result<(), ScanError<B::Error>> {
        if self.walk.len() < settings.ef_search || self.walk.gave_up {
            self.collect(blocks, index, query, settings)?;
        }
        Ok(())
    }

    /// Finds more results; false when nothing that matches is left.
    pub(super) fn resume_filtered<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
    ) -> Result<bool, ScanError<B::Error>> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        self.walk.next_batch(settings.ef_search).map_err(on_meta)?;
        match self.passed {
            None => {
                self.search_on(blocks, index, query, settings)?;
                let full = self.in_use() > settings.max_memory;
                if full || self.walk.gave_up || self.walk.is_empty() {
                    self.collect(blocks, index, query, settings)?;
                }
            }
            Some(pass) if pass.left_some && self.walk.is_empty() => {
                self.collect(blocks, index, query, settings)?;
            }
            Some(_) => {}
        }
        Ok(!self.walk.is_empty())
    }

    /// The pass: the nearest nodes that match and were not seen before, and the results there are, become the results.
    #[cold]
    fn collect<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
    ) -> Result<(), ScanError<B::Error>> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        let most = (settings.max_memory / PER_NODE).max(settings.ef_search);
        let beyond = self.passed.map(|pass| pass.last);
        let (mut block, mut left) = (read_meta(blocks)?.keys, blocks.count()?);
        self.walk.begin_collection().map_err(on_meta)?;
        let mut left_some = false;
        while block != INVALID_BLOCK {
            // no page comes twice, unless the chain is damaged
            left = left.checked_sub(1).ok_or(on_meta(Damage::at(0, "filter keys in a circle")))?;
            blocks.pause()?;
            let mut reader =
                reader(blocks, index, query, &self.prepared, index.caution()).filtered(Some(&self.filter));
            let (next, others) = self.walk.collect(
                &mut reader,
                block,
                &mut self.matches,
                &mut self.candidates,
                beyond,
                most,
            )?;
            (block, left_some) = (next, left_some || others);
        }
        left_some |= self.walk.cut(most);
        let last = self.walk.end_collection().map_err(on_meta)?;
        self.passed = Some(Pass { last: last.or(beyond).unwrap_or_default(), left_some });
        self.walk.next_batch(settings.ef_search).map_err(on_meta)?;
        Ok(())
    }
}

/// What a pass has come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// the farthest node that it has collected: key of the distance, id
    last: (u64, u32),
    /// whether farther ones match, too, for which there was no room
    left_some: bool,
}

impl Walk {
    /// Before a pass: what is known waits with what it will find.
    fn begin_collection(&mut self) -> Result<(), Damage> {
        self.kept.try_reserve(self.results.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        self.kept.extend(self.results.drain(..).map(Reverse));
        self.collected.clear();
        Ok(())
    }

    /// Scores the nodes that match, by a page of filter keys, and were not read before, those beyond `beyond` only, and
    /// keeps the nearest `most` and some. Returns the next page, and whether any was left out.
    fn collect<B: BlockStore, S: CodedSpace>(
        &mut self,
        reader: &mut Reader<'_, '_, B, S>,
        block: u32,
        matches: &mut Vec<bool>,
        candidates: &mut Vec<Candidate>,
        beyond: Option<(u64, u32)>,
        most: usize,
    ) -> Result<(u32, bool), B::Error> {
        let next = reader.candidates_of(block, matches, candidates)?;
        let mut left_some = false;
        for (at, &Candidate { id, entry }) in candidates.iter().enumerate() {
            if let Some(soon) = candidates.get(at + AHEAD) {
                reader.prefetch(soon.id, 0);
            }
            if self.visited.get(id) == Some(READ) {
                continue;
            }
            let found = reader.score(id, &mut self.out)?;
            self.scored += 1;
            // an entry that its record does not name is left over
            let own = |found: &Found| found.has_rows() && found.matches && found.entry == entry;
            let Some(found) = found.filter(own) else { continue };
            if beyond.is_some_and(|beyond| (wide_order_key(found.distance), id) <= beyond) {
                continue;
            }
            let added = self.add_collected(found, most);
            left_some |= added.map_err(|damage| B::Error::from(damage.on(block)))?;
        }
        Ok((next, left_some))
    }

    fn add_collected(&mut self, found: Found, most: usize) -> Result<bool, Damage> {
        self.collected.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
        let place = self.place(found)?;
        self.collected.push((wide_order_key(found.distance), place));
        let left_some = self.collected.len() >= most.saturating_mul(2);
        if left_some {
            self.cut(most);
        }
        Ok(left_some)
    }

    /// Forgets all that was collected but the nearest `most`; returns whether there were others.
    fn cut(&mut self, most: usize) -> bool {
        if self.collected.len() <= most {
            return false;
        }
        let (collected, found) = (&mut self.collected, &self.found);
        let id = |place: u32| found.get(place as usize).map_or(0, |found| found.id);
        collected.select_nth_unstable_by_key(most, |&(key, place)| (key, id(place)));
        // without memory for them the places are not used again, and nothing else
        let others = collected.drain(most..);
        if self.free.try_reserve(others.len()).is_ok() {
            self.free.extend(others.map(|(_, place)| place));
        }
        true
    }

    /// After a pass: what was collected waits. Returns the farthest of it, by key and id.
    fn end_collection(&mut self) -> Result<Option<(u64, u32)>, Damage> {
        let (collected, found) = (&mut self.collected, &self.found);
        let id = |place: u32| found.get(place as usize).map_or(0, |found| found.id);
        let last = collected.iter().map(|&(key, place)| (key, id(place))).max();
        self.kept.try_reserve(collected.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        self.kept.extend(collected.drain(..).map(Reverse));
        Ok(last)
    }
}
