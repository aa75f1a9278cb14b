//! Scans with conditions on filter columns. The ordinary search goes over the graph, nodes that fail lead on, and only
//! those that match take a place in the result. Few that match make it long; then, or when it did not find as many as
//! it may return, the *run* of entries that the conditions leave is gone over: its codes say which are near, window by
//! window, and behind the last window a *pass* scores all that match. Where so many match that a search for more rows
//! is shorter than that, one comes before ([`wider`](super::wider)). So what matches comes, each row once, as long as
//! rows are asked for.
//!
//! Rows of one batch are in order, and so are all that a pass returns. When rows of the graph were returned before, a
//! later one may be nearer than the last; a scan in strict order leaves it out.

use std::cmp::Reverse;

use super::id_map::{NEW, READ};
use super::meta::{InlineMeta, read_meta};
use super::reader::{Found, Reader};
use super::run::{KINDS, Window};
use super::scan::{Index, Scan, reader};
use super::search::{Walk, key_at, wide_order_key};
use crate::hnsw::meta::META_BLOCK;
use crate::hnsw::scan::{ScanError, ScanSettings};
use crate::quant::space::CodedSpace;
use crate::runs::read::{Place, extent, first_place};
use crate::storage::blocks::BlockStore;
use crate::storage::page::Damage;

/// When a search over the graph gives up for a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// results that are wanted
    ef: usize,
    /// after so many expansions the nearest results changed last
    changed: u64,
    /// nodes of the index
    nodes: f64,
    /// what the run takes before the first entry is scored, in expansions
    run: f64,
    /// entries of the run, and what it takes to score one
    entries: f64,
    per_entry: f64,
    /// runs of fewer entries need no search
    short: f64,
    /// what a run takes besides, for each row that is wanted of it: of a scan that was asked for more
    per_row: f64,
    /// neighbours seen (nodes, where records have no keys of neighbours), and those of them that match
    seen: u64,
    matching: u64,
    /// whether records have keys of neighbours
    edge_keys: bool,
}

/// Nodes expanded before the share of matching ones among their neighbours tells anything.
pub(super) const FIRST: u64 = 20;
/// What a leaf takes, and an entry that matches with its code and without, beside what the expansion of a node takes.
const PER_LEAF: f64 = 0.3;
const PER_CODE: f64 = 0.006;
const PER_MATCH: f64 = 0.4;
/// What the nearest take, by their exact distances; and each of those that are wanted of a run beyond a first few.
const NEAREST: f64 = 40.0;
const PER_NEAREST: f64 = 4.0;
/// Expansions of a search are this many times the places of its result over the share that matches.
const PER_PLACE: f64 = 1.5;
/// Runs of codes of at most so many entries need no search, unless that is expected to take less.
const SHORT: f64 = 20_000.0;
/// So many times `ef_search` are many.
const MANY: usize = 8;
/// A search has this many times the candidates of one without conditions over the share that matches, at most: where
/// its results settle early, it ends before.
const WIDER: f64 = 1.5;
/// A search ends when it has expanded this many times the nodes that it took to find the nearest quarter of the results
/// wanted, and some more: so many times the results wanted over the share that matches.
const AFTER: f64 = 2.0;
const QUIET: f64 = 0.25;
/// Candidates of a search are at most so many times those of one without conditions.
const MOST_WIDE: f64 = 16.0;

impl Patience {
    /// Candidates before the share is known, times those of a search without conditions.
    pub const AT_FIRST: f64 = 2.0;
    /// Results of a search, times those that are wanted.
    pub const RESULTS: usize = 2;

    /// Of a search for `ef` results among so many nodes, with a run of so many entries on so many leaves; `coded` when
    /// codes say which of them are near, `edge_keys` when records have keys of neighbours.
    pub fn new(ef: usize, nodes: f64, [entries, leaves]: [f64; 2], coded: bool, edge_keys: bool) -> Self {
        let leaves = leaves * PER_LEAF;
        let (run, per_entry, short) =
            if coded { (leaves + NEAREST, PER_CODE, SHORT) } else { (leaves, PER_MATCH, 0.0) };
        let per_row = 0.0;
        Patience {
            ef,
            changed: 0,
            nodes,
            run,
            entries,
            per_entry,
            short,
            per_row,
            seen: 0,
            matching: 0,
            edge_keys,
        }
    }

    /// Takes in which neighbours of a node match; where that is not known, whether the node itself does.
    #[inline]
    pub fn note(&mut self, neighbours: &[bool], own: bool) {
        let own = [own];
        let matches = if self.edge_keys { neighbours } else { &own };
        self.seen += matches.len() as u64;
        self.matching += matches.iter().filter(|&&matches| matches).count() as u64;
    }

    /// How many of the results are the nearest ones, whose changes count.
    #[inline]
    pub const fn front(&self) -> usize {
        self.ef.div_ceil(4)
    }

    /// Takes in a result at a distance of this key, when the last of the nearest ones is at that of another.
    #[inline]
    pub fn note_result(&mut self, last: Option<u64>, key: u64, expanded: u64) {
        if last.is_none_or(|last| key < last) {
            self.changed = expanded;
        }
    }

    /// Whether the nearest results stay what they are, as it seems.
    #[inline]
    pub fn is_settled(&self, expanded: u64, results: usize) -> bool {
        let quiet = expanded as f64 - AFTER * self.changed as f64;
        results >= self.ef && quiet * self.share() > QUIET * self.ef as f64
    }

    /// Whether so many rows match, as it seems.
    pub fn expects(&self, rows: usize) -> bool {
        self.entries.min(self.nodes * (self.matching as f64 / self.seen.max(1) as f64)) >= rows as f64
    }

    /// The share that matches: one more than were seen, since where none matched, some may.
    #[inline]
    fn share(&self) -> f64 {
        (self.matching + 1) as f64 / (self.seen + 1) as f64
    }

    /// How many times the candidates of a search without conditions one takes under these, at most.
    pub fn width(&self) -> f64 {
        (WIDER / self.share()).clamp(1.0, MOST_WIDE)
    }

    /// The same for a search for `ef` rows after another one, which has seen what share matches.
    #[must_use]
    pub(super) const fn of_more(self, ef: usize) -> Self {
        Patience { ef, changed: 0, per_row: PER_NEAREST, ..self }
    }

    /// Whether a search is the better way to its rows than the run, by what was seen.
    pub(super) fn suits(&self) -> bool {
        let (run, search) = self.takes(self.share());
        search <= run && self.expects(self.ef)
    }

    /// What the run takes, and a search, where this share matches.
    #[inline]
    fn takes(&self, share: f64) -> (f64, f64) {
        let scored = self.entries.min(self.nodes * share) * self.per_entry;
        (self.run + scored + self.ef as f64 * self.per_row, self.ef as f64 * PER_PLACE / share)
    }

    /// Whether a run is the better way, after so many expansions.
    #[inline]
    pub fn is_over(&self, expanded: u64) -> bool {
        if expanded < FIRST {
            // nothing but the run's own share is known
            let (run, search) = self.takes((self.entries / self.nodes).clamp(0.0, 1.0));
            return self.entries <= self.short && (run <= search || self.nodes < 1.0);
        }
        let share = self.share();
        let (run, search) = self.takes(share);
        // few nodes tell little, and are asked again
        let asks = match self.edge_keys {
            true => expanded == FIRST,
            false => expanded.is_multiple_of(FIRST / 2),
        };
        expanded as f64 > run || asks && search > run
    }
}

/// Chooses the filter column whose conditions leave the fewest entries, of those that have runs, for a scan that
/// begins; returns it with what speaks for its run.
///
/// # Errors
/// Damaged blocks.
pub(super) fn choose<B: BlockStore, S: CodedSpace>(
    blocks: &mut B,
    index: &Index<S>,
    meta: &InlineMeta,
    filter: &crate::filter::Program,
    has_query: bool,
    ef: usize,
) -> Result<(usize, Patience), B::Error> {
    let layout = &index.layout;
    let Some(geometry) = &layout.runs else { return Ok((0, Patience::default())) };
    let mut least = (0, 1.0);
    for column in 0..layout.shape.filters.runs() {
        let share = extent(blocks, KINDS, meta.tree(column), filter)?.share;
        if share < least.1 {
            least = (column, share);
        }
    }
    let (column, share) = least;
    let per_leaf = geometry.entries().max(1) as f64;
    let entry = layout.page_size as f64 / per_leaf;
    let node = layout.ground.cost(layout.page_size) as f64 + entry * layout.shape.filters.runs() as f64;
    let nodes = f64::from(blocks.count()?) * layout.page_size as f64 / node;
    let entries = nodes * share;
    let coded = has_query && geometry.code > 0;
    let run = [entries, entries / per_leaf];
    Ok((column, Patience::new(ef, nodes, run, coded, layout.ground.edge_keys > 0)))
}

/// Records that are asked for ahead of their turn.
const AHEAD: usize = 6;
/// Bytes that a node takes which a pass remembers.
const PER_NODE: usize = 128;
/// How many times the results of a window of a run the next one has, and the most that one has.
const GROWTH: usize = 4;
const WIDEST: usize = 640;

impl Scan {
    /// Whether it has conditions.
    pub(super) fn is_filtered(&self) -> bool {
        !self.filter.is_empty()
    }

    /// After the first search: goes on with the run, when there are fewer results than the scan may return.
    pub(super) fn complete<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
    ) -> Result<(), ScanError<B::Error>> {
        // where many more match, half as many results as a search has are a batch
        let many = self.walk.patience.is_some_and(|patience| patience.expects(MANY * settings.ef_search));
        let enough = if many { settings.ef_search / 2 } else { settings.ef_search };
        if self.walk.len() < enough || self.walk.gave_up {
            self.walk.begin_collection().map_err(|damage| B::Error::from(damage.on(META_BLOCK)))?;
            self.begin_run(blocks, index, query, settings)?;
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
        if self.passed.is_none() && self.search_wider(blocks, index, query, settings)? {
            return Ok(true);
        }
        loop {
            blocks.pause()?;
            match self.passed {
                None => {
                    self.walk.next_batch(0).map_err(on_meta)?;
                    self.begin_run(blocks, index, query, settings)?;
                }
                Some(Pass { left_some: true, window: Some(window), .. }) => {
                    self.window.give(self.walk.len());
                    if window <= WIDEST && self.in_use() <= settings.max_memory {
                        self.look_through(blocks, index, query, window)?;
                    } else {
                        self.walk.next_batch(0).map_err(on_meta)?;
                        self.collect(blocks, index, query, settings)?;
                    }
                }
                Some(pass) => {
                    self.walk.next_batch(settings.ef_search).map_err(on_meta)?;
                    if pass.left_some && self.walk.is_empty() {
                        self.collect(blocks, index, query, settings)?;
                    }
                }
            }
            if !self.walk.is_empty() {
                return Ok(true);
            }
            // A window may have nothing but elements that a vacuum is about to take away, whose entries are still
            // there: what is behind it comes then.
            if !self.passed.is_some_and(|pass| pass.left_some) {
                return Ok(false);
            }
        }
    }

    /// Begins with the run: where there are codes with a first window.
    #[cold]
    fn begin_run<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        settings: &ScanSettings,
    ) -> Result<(), ScanError<B::Error>> {
        let coded = index.layout.runs.is_some_and(|geometry| geometry.code > 0);
        if query.is_none() || !coded {
            return self.collect(blocks, index, query, settings);
        }
        let meta = read_meta(blocks)?;
        self.run.set(
            blocks,
            &meta,
            (index.layout.shape.run_bits(), index.space.estimate()),
            &self.prepared,
        )?;
        // As many in order as a batch of a search has where many match; who has had more asks for many.
        let least = settings.ef_search.div_ceil(2).max(1);
        let first = self.returned.saturating_mul(GROWTH).clamp(least, WIDEST.max(least));
        self.window.clear();
        self.look_through(blocks, index, query, first)?;
        Ok(())
    }

    /// Makes the nearest `size` of what waits and what the run has left the results: those that codes say may be among
    /// them get their exact distances.
    fn look_through<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
        size: usize,
    ) -> Result<(), ScanError<B::Error>> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        self.walk.next_batch(size).map_err(on_meta)?;
        // after a narrower first one the widest comes before a pass over all that match
        let next = if size < WIDEST { size.saturating_mul(GROWTH).min(WIDEST) } else { WIDEST + 1 };
        if !self.window.holds(size) {
            let held = if next > WIDEST { size } else { size + next };
            self.walk.begin_window(&mut self.window, held).map_err(on_meta)?;
            self.find_window(blocks, index, query)?;
        }
        // few that are left come at once, in order
        let size = if self.window.ends_within(2 * size) { 2 * size } else { size };
        let mut reader =
            reader(blocks, index, query, &self.prepared, index.caution()).filtered(Some(&self.filter));
        self.walk.read_nearest(&mut reader, &mut self.window, size)?;
        self.passed = Some(Pass { last: None, left_some: self.window.left_some(), window: Some(next) });
        Ok(())
    }

    /// Goes over the run for what a window holds.
    fn find_window<B: BlockStore, S: CodedSpace>(
        &mut self,
        blocks: &mut B,
        index: &Index<S>,
        query: Option<S::View<'_>>,
    ) -> Result<(), ScanError<B::Error>> {
        let tree = read_meta(blocks)?.tree(self.column);
        let mut place = first_place(blocks, KINDS, tree, &self.filter, &mut self.path)?;
        while let Some(here) = place {
            blocks.pause()?;
            let mut reader =
                reader(blocks, index, query, &self.prepared, index.caution()).filtered(Some(&self.filter));
            let (run, window) = (&self.run, &mut self.window);
            place = reader.look_at_leaf(tree, &here, run, &self.walk.visited, window, &mut self.path)?;
        }
        self.window.sort();
        Ok(())
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
        self.window.clear();
        let most = (settings.max_memory / PER_NODE).max(settings.ef_search);
        let beyond = self.passed.and_then(|pass| pass.last);
        let tree = read_meta(blocks)?.tree(self.column);
        self.walk.begin_collection().map_err(on_meta)?;
        let mut left_some = false;
        let mut place = first_place(blocks, KINDS, tree, &self.filter, &mut self.path)?;
        while let Some(here) = place {
            blocks.pause()?;
            let mut reader =
                reader(blocks, index, query, &self.prepared, index.caution()).filtered(Some(&self.filter));
            let after = reader.matching_of(tree, &here, &mut self.ids, &mut self.path)?;
            left_some |= self.walk.collect(&mut reader, here, &self.ids, beyond, most)?;
            place = after;
        }
        left_some |= self.walk.cut(most);
        let last = self.walk.end_collection().map_err(on_meta)?;
        self.passed = Some(Pass { last: last.or(beyond), left_some, window: None });
        self.walk.next_batch(settings.ef_search).map_err(on_meta)?;
        Ok(())
    }
}

/// What a run has come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// the farthest node that a pass without codes has collected: key of the distance, id
    last: Option<(u64, u32)>,
    /// whether others match, too
    left_some: bool,
    /// results of the next window; none after a pass without codes
    window: Option<usize>,
}

impl Walk {
    /// Before a pass: what is known waits with what it will find.
    pub(super) fn begin_collection(&mut self) -> Result<(), Damage> {
        self.kept.try_reserve(self.results.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        self.kept.extend(self.results.drain(..).map(Reverse));
        self.collected.clear();
        Ok(())
    }

    /// Before a window: the results are known.
    fn begin_window(&mut self, window: &mut Window, size: usize) -> Result<(), Damage> {
        let found = &self.found;
        let distance =
            |place: u32| found.get(place as usize).map_or(f32::INFINITY, |found| found.distance as f32);
        window.begin(size, self.results.iter().map(|&(_, place)| distance(place)))
    }

    /// Reads what is in a window, the lowest bound first, until none that is left can be among the nearest `size`.
    fn read_nearest<B: BlockStore, S: CodedSpace>(
        &mut self,
        reader: &mut Reader<'_, '_, B, S>,
        window: &mut Window,
        size: usize,
    ) -> Result<(), B::Error> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        while let Some(&word) = window.near.get(window.next) {
            let (bound, id) = ((word >> 32) as u32, word as u32);
            let last = self.results.last().and_then(|&(_, place)| self.found.get(place as usize));
            if self.results.len() >= size && last.is_some_and(|last| key_at(last.distance) < bound) {
                break;
            }
            window.next += 1;
            if let Some(soon) = window.near.get(window.next + AHEAD) {
                reader.prefetch_value(*soon as u32);
            }
            self.visited.reserve(1).map_err(on_meta)?;
            match self.visited.entry(id) {
                // an entry of a node that has another
                Some(&mut READ) | None => {
                    window.give(1);
                    continue;
                }
                Some(key) => {
                    self.scored += u64::from(*key == NEW);
                    *key = READ;
                }
            }
            let found = reader.score(id, &mut self.out)?;
            if let Some(found) = found.filter(|found| found.has_rows() && found.matches) {
                self.add_result(found, size, true).map_err(on_meta)?;
            } else {
                window.give(1);
            }
        }
        Ok(())
    }

    /// Scores nodes that match, by their entries, and were not read before, those beyond `beyond` only, and keeps the
    /// nearest `most` and some. Returns whether any was left out.
    fn collect<B: BlockStore, S: CodedSpace>(
        &mut self,
        reader: &mut Reader<'_, '_, B, S>,
        place: Place,
        ids: &[u32],
        beyond: Option<(u64, u32)>,
        most: usize,
    ) -> Result<bool, B::Error> {
        let mut left_some = false;
        for (at, &id) in ids.iter().enumerate() {
            if let Some(&soon) = ids.get(at + AHEAD) {
                reader.prefetch_value(soon);
            }
            if self.visited.get(id) == Some(READ) {
                continue;
            }
            let found = reader.score(id, &mut self.out)?;
            self.scored += 1;
            let Some(found) = found.filter(|found| found.has_rows() && found.matches) else { continue };
            if beyond.is_some_and(|beyond| (wide_order_key(found.distance), id) <= beyond) {
                continue;
            }
            let added = self.add_collected(found, most);
            left_some |= added.map_err(|damage| B::Error::from(damage.on(place.block())))?;
        }
        Ok(left_some)
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
        // a node that has two entries comes once
        collected.sort_unstable_by_key(|&(key, place)| (key, id(place)));
        collected.dedup_by_key(|&mut (_, place)| id(place));
        let last = collected.last().map(|&(key, place)| (key, id(place)));
        self.kept.try_reserve(collected.len()).map_err(|_| Damage::OUT_OF_MEMORY)?;
        self.kept.extend(collected.drain(..).map(Reverse));
        Ok(last)
    }
}
