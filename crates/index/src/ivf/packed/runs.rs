//! Entries of rows in the order of filter keys ([`crate::runs`]): what a scan takes when few rows meet its conditions.
//!
//! An entry's name is its row's heap TID, and it says where the row's value stands, which it never leaves. Codes are of
//! the residual to the mean of the lists' centres. Lists are the truth: a row is in its list before it is in any tree,
//! and leaves all trees before it leaves the list, so that the value of an entry that lives is that row's.

use core::fmt;

use super::code::{Factors, encode};
use super::found::Candidate;
use super::layout::{Geometry, PageKind};
use super::meta::MetaPage;
use super::prices::Prices;
use super::query::{Bounds, deviations};
use super::{Index, Lists, Memory};
use crate::filter::{KEY_SIZE, MAX_COLUMNS, Program};
use crate::ivf::lists::{Collector, RunChoice};
use crate::quant::rabitq::Bits;
use crate::quant::space::CodedSpace;
use crate::runs::bulk::{Plan, centre_of};
use crate::runs::page::{self, Bound, Child, NewEntry, put_centre};
use crate::runs::read::{extent, first_place, is_free, look_at};
use crate::runs::sort::{Sorted, Sorter};
use crate::runs::tree::{Trees, add_root};
use crate::runs::{Tree, centre_size, coded};
use crate::space::ValueKind;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};
use crate::work::memory::{OutOfMemory, append, push, resize};
use crate::work::runs::Runs;

/// How full leaves are after a build, in hundredths. More than in other trees: each entry is many bytes, and a leaf
/// that is divided early has room for long.
const FILL: usize = 96;
/// How full they are in an index that has seen changes, about.
const USUALLY_FULL: f64 = 0.85;
/// Runs of an index of which nobody says how many, at most.
const MOST: usize = 2;
/// What an index with them has at most, times the bytes of one without filter columns.
const MOST_BYTES: f64 = 1.15;

/// The trees of an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunTrees {
    /// where entries stand; none where there are no trees
    geometry: Option<Geometry>,
    count: usize,
    /// by column; 0 where there is none, or before it is written
    roots: [u32; MAX_COLUMNS],
    /// the page with the centre of codes; 0 where it is zero
    centre: u32,
}

impl RunTrees {
    fn geometry_of(kind: ValueKind, own: &Geometry) -> Option<Geometry> {
        let columns = own.filter_size / KEY_SIZE;
        coded(kind, own.dims, own.page_size, columns, own.own_values, Bits::ONE)
    }

    /// Of an index that is to be built, with trees of so many columns, if it has as many.
    pub fn planned(kind: ValueKind, own: &Geometry, count: usize) -> Self {
        let geometry = Self::geometry_of(kind, own).filter(|_| count > 0);
        let count = geometry.map_or(0, |_| count.min(own.filter_size / KEY_SIZE));
        RunTrees { geometry, count, ..RunTrees::default() }
    }

    /// Of an index whose meta page says this; none if no index has that.
    pub fn new(kind: ValueKind, own: &Geometry, roots: [u32; MAX_COLUMNS], centre: u32) -> Option<Self> {
        let count = roots.iter().take_while(|&&root| root != 0).count();
        let planned = Self::planned(kind, own, count);
        let others = roots.iter().skip(count).any(|&root| root != 0);
        let sane = planned.count == count && !others && (count > 0 || centre == 0);
        sane.then_some(RunTrees { roots, centre, ..planned })
    }

    /// How many an index has of which nobody says it: those of the first two columns, as far as the index stays below
    /// 1.15 times the bytes of one without filter columns, but one at least. None where values are those of the
    /// table, which is for small indexes.
    pub fn by_default(kind: ValueKind, own: &Geometry) -> usize {
        let (Some(geometry), true) = (Self::geometry_of(kind, own), own.own_values) else { return 0 };
        let Some(plain) = Geometry::new(kind, own.dims, own.page_size) else { return 0 };
        let entry = |geometry: &Geometry| geometry.page_size as f64 / geometry.entries().max(1) as f64;
        let value = own.record as f64 * own.page_size as f64 / own.space() as f64;
        let (all, without) = (entry(own) + value, entry(&plain) + value);
        let each = entry(&geometry) * 100.0 / FILL as f64;
        let columns = own.filter_size / KEY_SIZE;
        let fits = |count: &usize| all + *count as f64 * each <= MOST_BYTES * without;
        (1..=MOST.min(columns)).rev().find(fits).unwrap_or(1)
    }

    /// Where entries stand; none without trees.
    pub const fn geometry(&self) -> Option<&Geometry> {
        self.geometry.as_ref()
    }

    /// How many columns have trees: the first ones.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The trees.
    pub fn trees(&self) -> impl DoubleEndedIterator<Item = Tree> + use<> {
        let root = |root| if root == 0 { INVALID_BLOCK } else { root };
        let trees = self.roots.into_iter().take(self.count).enumerate();
        trees.map(move |(column, block)| Tree { column, root: root(block) })
    }

    /// The page with the centre of codes.
    pub fn centre(&self) -> Option<u32> {
        Some(self.centre).filter(|&block| block != 0)
    }

    /// Bytes of an entry of a build that are for runs: factors and code, in whatever column's order.
    pub fn part(&self) -> usize {
        self.geometry.map_or(0, |geometry| 8 + geometry.code)
    }

    /// Bytes that a row takes in all trees, about.
    pub fn row_bytes(&self) -> f64 {
        let bytes = |geometry: Geometry| geometry.page_size as f64 / geometry.entries().max(1) as f64;
        self.count as f64 * self.geometry.map_or(0.0, bytes) / USUALLY_FULL
    }

    /// Leaves that so many entries take, about.
    pub fn leaves(&self, entries: f64) -> f64 {
        let per_leaf = self.geometry.map_or(1, |geometry| geometry.entries().max(1)) as f64;
        (entries / (per_leaf * USUALLY_FULL)).ceil()
    }
}

/// What codes of entries are made against: the mean of the lists' centres, which stand rotated one after the other.
/// Zero where it fits no page.
///
/// # Errors
/// No memory.
pub fn run_centre(index: &Index, geometry: &Geometry, centres: &[f32]) -> Result<Vec<f32>, Damage> {
    let padded = geometry.padded;
    let mut centre = centre_of(padded, |add| centres.chunks_exact(padded.max(1)).for_each(add))?;
    if centre_size(index.geometry.dims, geometry) == 0 {
        centre.fill(0.0);
    }
    Ok(centre)
}

/// Entries for the trees of an index that is being built.
pub struct RunBuild {
    sorters: Vec<Sorter>,
    centre: Vec<f32>,
}

impl fmt::Debug for RunBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunBuild").field("sorters", &self.sorters).finish_non_exhaustive()
    }
}

impl RunBuild {
    /// The share of the memory of a build that entries take, in hundredths.
    pub const MEMORY: usize = 25;

    /// Of an index whose codes in runs are made against `centre`, in so much memory; what does not fit goes to what
    /// `outside` makes. None of an index without runs.
    ///
    /// # Errors
    /// No memory.
    pub fn new(
        index: &Index,
        centre: &[f32],
        memory: usize,
        mut outside: impl FnMut() -> Box<dyn Runs>,
    ) -> Result<Option<Self>, OutOfMemory> {
        let Some(geometry) = index.runs.geometry() else { return Ok(None) };
        let mut build = RunBuild { sorters: Vec::new(), centre: Vec::new() };
        append(&mut build.centre, centre)?;
        let (count, keys) = (index.runs.count(), geometry.filter_size);
        for column in 0..count {
            let sorter = Sorter::new(column, geometry.code, keys, memory / count.max(1), outside());
            push(&mut build.sorters, sorter)?;
        }
        Ok(Some(build))
    }

    /// Adds a row's entries. `part` is its factors and its code, as the build made them.
    ///
    /// # Errors
    /// No memory, or a part of another size.
    pub(super) fn add(&mut self, row: Tid, place: Tid, part: &[u8], keys: &[u8]) -> Result<(), Damage> {
        let other = Damage::internal("entry of another form");
        let (add, rest) = part.split_first_chunk::<4>().ok_or(other)?;
        let (scale, code) = rest.split_first_chunk::<4>().ok_or(other)?;
        let factors = Factors { add: f32::from_ne_bytes(*add), scale: f32::from_ne_bytes(*scale) };
        let new = NewEntry { name: row, place, factors, code, keys };
        Ok(self.sorters.iter_mut().try_for_each(|sorter| sorter.push(&new))?)
    }
}

impl<B: BlockStore> Lists<'_, B> {
    /// Writes the trees of an index that was built, behind its lists, of the entries that the memory has
    /// ([`Memory::built_runs`]).
    ///
    /// # Errors
    /// No memory, no room on disk.
    pub fn write_runs(&mut self) -> Result<(), B::Error> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(0));
        let runs = self.index.runs;
        let Some(geometry) = runs.geometry() else { return Ok(()) };
        let build = self.memory.built_runs.take();
        let RunBuild { sorters, centre } = build.ok_or(on_meta(Damage::internal("no entries of runs")))?;
        let mut roots = [0; MAX_COLUMNS];
        for sorter in sorters {
            let column = sorter.column();
            let mut sorted = sorter.finish().map_err(|memory| on_meta(memory.into()))?;
            let root = self.write_tree(geometry, &mut sorted)?;
            sorted.end();
            *roots.get_mut(column).ok_or(on_meta(Damage::internal("no such column")))? = root;
        }
        let mut on = 0;
        if centre_size(self.index.geometry.dims, geometry) > 0 {
            on = self.blocks.count()?;
            self.add_page(on, |bytes| put_centre(PageKind::RUNS, bytes, &centre))?;
        }
        MetaPage::change(self.blocks, |meta| meta.with_runs(roots, on))
    }

    /// Writes a tree; returns its root.
    fn write_tree(&mut self, geometry: &Geometry, sorted: &mut Sorted) -> Result<u32, B::Error> {
        let first = self.blocks.count()?;
        let on = |damage: Damage| B::Error::from(damage.on(first));
        let plan = Plan::new(PageKind::RUNS, geometry, sorted.len(), first, FILL).map_err(on)?;
        if sorted.is_empty() {
            let mut change = self.blocks.update()?;
            let root = add_root(PageKind::RUNS, &mut change)?;
            change.commit()?;
            return Ok(root);
        }
        self.blocks.will_extend(plan.pages());
        let mut bytes: Vec<u64> = Vec::new();
        resize(&mut bytes, geometry.page_size / size_of::<u64>(), 0).map_err(|memory| on(memory.into()))?;
        let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(bytes.as_mut_slice());
        // where each leaf begins
        let mut leasts: Vec<Bound> = Vec::new();
        let mut rest = sorted.take_next();
        for block in plan.leaves() {
            let part = plan.entries_of(block).unwrap_or_default();
            // its end is known when its last entry is
            let mut leaf = plan.begin_leaf(block, bytes, Bound::END).map_err(on)?;
            for at in part.clone() {
                let Some((bound, new)) = rest else {
                    return Err(on(Damage::internal("fewer entries than there were")));
                };
                if at == part.start {
                    push(&mut leasts, bound).map_err(|memory| on(memory.into()))?;
                }
                leaf.add(&new).map_err(on)?;
                rest = sorted.take_next();
            }
            leaf.end_at(rest.as_ref().map_or(Bound::END, |(bound, _)| *bound));
            self.add_page(block, |page| page.copy_from_slice(bytes))?;
            self.blocks.pause()?;
        }
        let mut room: Vec<Child> = Vec::new();
        for block in plan.directories() {
            let put = plan.put_directory(block, bytes, &mut room, |leaf| leasts.get(leaf).copied());
            put.map_err(on)?;
            self.add_page(block, |page| page.copy_from_slice(bytes))?;
        }
        Ok(plan.root())
    }

    /// Makes the code that a value has in runs, which was rotated for that of its list.
    pub(super) fn run_code(&mut self) -> Result<Factors, B::Error> {
        let index = self.index;
        let Some(geometry) = index.runs.geometry() else { return Ok(Factors { add: 0.0, scale: 0.0 }) };
        let Memory { tree, rotated, .. } = &mut *self.memory;
        let on_meta = |memory: OutOfMemory| B::Error::from(Damage::from(memory).on(0));
        resize(&mut tree.code, geometry.code, 0).map_err(on_meta)?;
        tree.centre.clear();
        read_centre(self.blocks, &index, &mut tree.centre)?;
        Ok(encode(Bits::ONE, index.estimate, rotated, &tree.centre, &mut tree.code))
    }

    /// The trees, to be changed.
    fn run_trees<'t>(&'t mut self, geometry: &'t Geometry) -> Trees<'t, B> {
        let (blocks, room) = (&mut *self.blocks, &mut self.memory.tree);
        Trees { blocks, kinds: PageKind::RUNS, geometry, room, divided: "ivfflat.insert.divided" }
    }

    /// Adds the entries of a row that is in its list, whose value has the code that was made last.
    pub(super) fn add_to_runs(
        &mut self,
        row: Tid,
        place: Tid,
        factors: Factors,
        keys: &[u8],
    ) -> Result<(), B::Error> {
        let runs = self.index.runs;
        let Some(geometry) = runs.geometry() else { return Ok(()) };
        for tree in runs.trees() {
            self.blocks.fault_point("ivfflat.insert.keys")?;
            self.run_trees(geometry).add(tree, (row, place, factors), keys, false)?;
        }
        Ok(())
    }

    /// Takes dead rows out of all trees, before they leave their lists: out of the last one first, so that whenever
    /// this ends, the trees that have a row are the first ones, as after an insert that has ended early.
    pub(super) fn sweep_runs(&mut self, is_dead: &mut dyn FnMut(Tid) -> bool) -> Result<(), B::Error> {
        let runs = self.index.runs;
        let Some(geometry) = runs.geometry() else { return Ok(()) };
        for tree in runs.trees().rev() {
            self.run_trees(geometry).sweep(tree, is_dead, "ivfflat.vacuum.keys")?;
        }
        Ok(())
    }

    /// The tree of which the conditions leave the fewest entries; none where they say nothing of columns with trees.
    pub(super) fn shortest_run(&mut self, filter: &Program) -> Result<Option<RunChoice>, B::Error> {
        let index = self.index;
        let Some(geometry) = index.runs.geometry() else { return Ok(None) };
        let mut least = None::<RunChoice>;
        for tree in index.runs.trees().filter(|&tree| !is_free(tree, filter)) {
            let extent = extent(self.blocks, PageKind::RUNS, tree, filter)?;
            let rows = extent.leaves * geometry.entries() as f64 * USUALLY_FULL;
            let entries = extent.share * rows;
            if least.as_ref().is_none_or(|least| entries < least.entries) {
                let (lists, prices) = (index.lists as usize, Prices::of(&index.geometry));
                least = Some(RunChoice { tree, entries, rows, lists, prices });
            }
        }
        Ok(least)
    }

    /// Adds all rows of a run to the candidates, with bounds of their distances from `query`.
    pub(super) fn score_entries<S: CodedSpace>(
        &mut self,
        tree: Tree,
        space: S,
        query: Option<S::View<'_>>,
        found: &mut Collector<'_, '_>,
    ) -> Result<(), B::Error> {
        // so that candidates can be added while conditions are looked at, and neither stands in a frame
        core::mem::swap(&mut self.memory.filter, &mut found.packed.filter);
        let scored = self.score_matching(tree, space, query, found);
        core::mem::swap(&mut self.memory.filter, &mut found.packed.filter);
        scored
    }

    /// The same for the conditions in the memory.
    fn score_matching<S: CodedSpace>(
        &mut self,
        tree: Tree,
        space: S,
        query: Option<S::View<'_>>,
        found: &mut Collector<'_, '_>,
    ) -> Result<(), B::Error> {
        let index = self.index;
        let Some(geometry) = index.runs.geometry() else { return Ok(()) };
        let rows = &mut *found.packed;
        let mut base = None;
        if let Some(view) = query {
            rows.query.set(&index, self.memory, &space, view).map_err(|damage| damage.on(tree.root))?;
            self.memory.tree.centre.clear();
            read_centre(self.blocks, &index, &mut self.memory.tree.centre)?;
            let Memory { tree, rotated, .. } = &*self.memory;
            let deviations = deviations(rows.asked, index.lists);
            base = Some(rows.query.from_centre(index.estimate, rotated, &tree.centre, deviations));
        }
        rows.run = Some(tree);
        let Memory { path, filter, .. } = &mut *self.memory;
        let mut place = first_place(self.blocks, PageKind::RUNS, tree, filter, path)?;
        let (mut bounds, what) = (Bounds::default(), (PageKind::RUNS, geometry));
        while let Some(here) = place {
            self.blocks.pause()?;
            let (leaf, runs, rows) = (here.block(), &mut *found.services.runs, &mut *rows);
            place = look_at(self.blocks, what, tree, &here, filter, path, |block| {
                rows.counts.matching += u64::from(block.live.count_ones());
                if let Some(base) = &base {
                    rows.query.bounds(geometry, base, &block, &mut bounds);
                    return Ok(rows.add(&block, &bounds, leaf, runs)?);
                }
                for at in (0..block.len).filter(|at| block.live >> at & 1 == 1) {
                    if let (Some(&row), Some(&place)) = (block.rows.get(at), block.places.get(at)) {
                        rows.add_unordered(Candidate { row, place, start: leaf.to_ne_bytes() }, runs)?;
                    }
                }
                Ok(())
            })?;
            let spilled = rows.spill_beyond(found.memory, found.services.runs);
            spilled.map_err(|memory| Damage::from(memory).on(leaf))?;
        }
        Ok(())
    }

    /// Whether an entry of a run that a scan under conditions has met is still there.
    pub(super) fn lives_in_run(
        &mut self,
        candidate: &Candidate,
        tree: Tree,
        filter: &Program,
    ) -> Result<bool, B::Error> {
        let index = self.index;
        let Some(geometry) = index.runs.geometry() else { return Ok(false) };
        let path = &mut self.memory.path;
        let mut place = first_place(self.blocks, PageKind::RUNS, tree, filter, path)?;
        while let Some(here) = place {
            self.blocks.pause()?;
            let mut there = false;
            let what = (PageKind::RUNS, geometry);
            place = look_at(self.blocks, what, tree, &here, filter, path, |block| {
                there |= (0..block.len).any(|at| {
                    block.live >> at & 1 == 1
                        && block.rows.get(at) == Some(&candidate.row)
                        && block.places.get(at) == Some(&candidate.place)
                });
                Ok(())
            })?;
            if there {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Makes `out`, which is empty, the centre of codes in runs.
pub(super) fn read_centre<B: BlockStore>(
    blocks: &mut B,
    index: &Index,
    out: &mut Vec<f32>,
) -> Result<(), B::Error> {
    let padded = index.geometry.padded;
    match index.runs.centre() {
        Some(block) => {
            blocks.read(block, |bytes| Ok(append(out, page::centre(PageKind::RUNS, bytes, padded)?)?))
        }
        None => Ok(resize(out, padded, 0.0).map_err(|memory| Damage::from(memory).on(0))?),
    }
}
