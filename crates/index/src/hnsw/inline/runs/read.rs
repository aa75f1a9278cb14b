//! Runs as scans read them: where they begin, how long they are about, which entries match, and what their codes say.

use std::collections::BinaryHeap;

use vector_kernels::kernels;

use super::super::codec::PreparedQuery;
use super::super::id_map::{IdMap, READ};
use super::super::layout::PageKind;
use super::super::meta::{InlineMeta, META_BLOCK};
use super::super::reader::Reader;
use super::super::search::{distance_of, order_key};
use super::Tree;
use super::page::{self, BAD_PAGE, Bound, Front, child_at, children, entries, front, node_of};
use crate::filter::Program;
use crate::ivf::packed::query::{Base, Bounds, Query};
use crate::quant::rabitq::Bits;
use crate::quant::space::{CodedSpace, Estimate};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, INVALID_BLOCK};
use crate::work::memory::{append, push, resize};

/// Deviations that bounds lie below and above estimates.
const DEVIATIONS: f32 = 1.9;

/// A query as the codes of entries meet it.
#[derive(Debug, Default)]
pub struct RunQuery {
    query: Query,
    base: Option<Base>,
    centre: Vec<f32>,
}

impl RunQuery {
    /// None yet.
    pub const fn new() -> Self {
        RunQuery { query: Query::new(), base: None, centre: Vec::new() }
    }

    /// Forgets the query.
    pub fn clear(&mut self) {
        self.query.clear();
        self.base = None;
    }

    /// Whether there is one.
    pub const fn is_ready(&self) -> bool {
        self.base.is_some()
    }

    /// Makes it that of `prepared`.
    ///
    /// # Errors
    /// A damaged page, or no memory.
    pub fn set<B: BlockStore>(
        &mut self,
        blocks: &mut B,
        meta: &InlineMeta,
        (bits, estimate): (Bits, Estimate),
        prepared: &PreparedQuery,
    ) -> Result<(), B::Error> {
        let on_meta = |damage: Damage| damage.on(META_BLOCK);
        let rotated = prepared.rotated();
        self.query.set_rotated(rotated, bits).map_err(on_meta)?;
        self.centre.clear();
        if meta.centre == INVALID_BLOCK {
            resize(&mut self.centre, rotated.len(), 0.0).map_err(|memory| on_meta(memory.into()))?;
        } else {
            let centre = &mut self.centre;
            blocks.read(meta.centre, |bytes| Ok(append(centre, page::centre(bytes, rotated.len())?)?))?;
        }
        let (mut square, mut product) = (0.0, 0.0);
        for (q, c) in rotated.iter().zip(&self.centre) {
            square += (q - c) * (q - c);
            product += q * c;
        }
        let base = match estimate {
            Estimate::L2 => square,
            Estimate::Cosine => 1.0 - product,
            _ => -product,
        };
        self.base = Some(self.query.around(base, square, DEVIATIONS));
        Ok(())
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        self.query.allocated() + self.centre.capacity() * size_of::<f32>()
    }
}

/// The nearest of a run that were not read before, by their codes.
#[derive(Debug, Default)]
pub struct Window {
    /// how many are wanted
    size: usize,
    /// the least upper bounds, as many as are wanted
    uppers: BinaryHeap<u32>,
    /// those whose lower bounds are below the greatest of these: key of the lower bound, id
    pub(in super::super) near: Vec<u64>,
    /// what lower bounds must be below
    limit: f32,
    /// entries that match
    pub(in super::super) matching: usize,
    /// whether some that match were left out
    pub(in super::super) left_some: bool,
    /// how many are found when those that are too far after all are taken out
    crowd: usize,
}

/// Entries of a window that are looked through for such as are too far after all, at least.
const CROWD: usize = 1 << 16;

impl Window {
    /// Nothing yet.
    pub const fn new() -> Self {
        Window {
            size: 0,
            uppers: BinaryHeap::new(),
            near: Vec::new(),
            limit: f32::INFINITY,
            matching: 0,
            left_some: false,
            crowd: CROWD,
        }
    }

    /// Begins the search for the nearest `size`, of which some at these distances are known.
    pub(in super::super) fn begin(
        &mut self,
        size: usize,
        known: impl ExactSizeIterator<Item = f32>,
    ) -> Result<(), Damage> {
        (self.size, self.limit) = (size, f32::INFINITY);
        (self.matching, self.left_some, self.crowd) = (0, false, CROWD);
        self.near.clear();
        self.uppers.clear();
        self.uppers.try_reserve(size + 1).map_err(|_| Damage::OUT_OF_MEMORY)?;
        known.for_each(|distance| self.note(distance));
        Ok(())
    }

    #[inline]
    fn note(&mut self, upper: f32) {
        // of an entry whose code tells nothing, it may be no number
        if upper.is_nan() || upper >= self.limit {
            return;
        }
        // there is room for one more
        self.uppers.push(order_key(upper));
        if self.uppers.len() > self.size {
            self.uppers.pop();
        }
        if self.uppers.len() == self.size {
            self.limit = self.uppers.peek().map_or(f32::INFINITY, |&key| distance_of(key).next_up());
        }
    }

    /// Makes room for the entries of a block.
    #[inline]
    fn reserve(&mut self) -> Result<(), Damage> {
        if self.near.len() >= self.crowd {
            self.thin_out();
            self.crowd = CROWD.max(2 * self.near.len());
        }
        self.near.try_reserve(u32::BITS as usize).map_err(|_| Damage::OUT_OF_MEMORY)
    }

    /// Takes out what is too far after all.
    fn thin_out(&mut self) {
        let (limit, before) = (order_key(self.limit), self.near.len());
        self.near.retain(|word| (word >> 32) as u32 <= limit);
        self.left_some |= self.near.len() < before;
    }

    /// Sorts what was found by its lower bounds, without what is too far after all.
    pub(in super::super) fn sort(&mut self) {
        self.thin_out();
        self.near.sort_unstable();
    }

    /// What lower bounds must be below.
    #[cfg(test)]
    pub(super) const fn limit(&self) -> f32 {
        self.limit
    }

    /// Bytes that it fills.
    pub fn in_use(&self) -> usize {
        self.near.len() * size_of::<u64>()
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        self.uppers.capacity() * size_of::<u32>() + self.near.capacity() * size_of::<u64>()
    }
}

/// Where a scan is in the order of entries.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// the leaf that is next
    block: u32,
    /// what was looked at ends here
    from: Bound,
}

impl Place {
    /// The leaf.
    pub const fn block(&self) -> u32 {
        self.block
    }
}

/// The first place in the order of a column's tree, from `from` on, where rows may match; none when there is none.
fn next_place(filter: &Program, column: usize, from: Bound) -> Option<Bound> {
    let (first, _) = filter.next_range(column, from.key)?;
    Some(from.max(Bound { key: first, id: 0 }))
}

/// Finds the first leaf with entries that may match.
///
/// # Errors
/// Damaged blocks.
pub fn first_place<B: BlockStore>(
    blocks: &mut B,
    tree: Tree,
    filter: &Program,
    path: &mut Vec<u32>,
) -> Result<Option<Place>, B::Error> {
    match next_place(filter, tree.column, Bound::START).filter(|_| tree.root != INVALID_BLOCK) {
        Some(from) => {
            let block = super::tree::descend(blocks, tree.root, from, path)?;
            Ok(Some(Place { block, from }))
        }
        None => Ok(None),
    }
}

/// The share of all entries that is before `bound`, about.
fn rank<B: BlockStore>(blocks: &mut B, root: u32, bound: Bound) -> Result<f64, B::Error> {
    let (mut block, mut before, mut width) = (root, 0.0, 1.0);
    let mut left = blocks.count()?;
    loop {
        left = left.checked_sub(1).ok_or(Damage::at(0, "filter keys in a circle").on(block))?;
        let next = blocks.read(block, |bytes| {
            let (kind, front, next) = front(bytes)?;
            if bound >= front.end() {
                return Ok(Some(next));
            }
            if kind == PageKind::Keys {
                // the rest is less than a leaf
                return Ok(None);
            }
            let children = children(bytes, &front)?;
            let at = child_at(children, bound);
            width /= children.len() as f64;
            before += width * at as f64;
            Ok(children.get(at).map(|child| child.block))
        })?;
        match next {
            // behind all of them
            Some(INVALID_BLOCK) => return Ok(before + width),
            None => return Ok(before + width / 2.0),
            Some(next) => block = next,
        }
    }
}

/// Ranges whose lengths are looked at; others are taken to be as long.
const RANGES: usize = 8;

/// The share of all entries that the conditions on the tree's column leave, about: to a leaf's worth.
///
/// # Errors
/// Damaged blocks.
pub fn share<B: BlockStore>(blocks: &mut B, tree: Tree, filter: &Program) -> Result<f64, B::Error> {
    let Tree { column, root } = tree;
    if root == INVALID_BLOCK || filter.next_range(column, 0) == Some((0, u64::MAX)) {
        return Ok(1.0);
    }
    let (mut share, mut looked, mut from) = (0.0, 0, 0);
    while let Some((first, last)) = filter.next_range(column, from) {
        if looked == RANGES {
            let all = filter.ranges(column).max(RANGES);
            return Ok((share * all as f64 / RANGES as f64).min(1.0));
        }
        looked += 1;
        let start = rank(blocks, root, Bound { key: first, id: 0 })?;
        let end = rank(blocks, root, Bound { key: last, id: u32::MAX })?;
        share += (end - start).max(0.0);
        match last.checked_add(1) {
            Some(next) => from = next,
            None => break,
        }
    }
    Ok(share.min(1.0))
}

/// Whether a leaf was divided since the place was found, so that the place is further to the right now, or below.
fn divided(kind: PageKind, front: &Front, place: &Place) -> bool {
    kind == PageKind::Directory || front.end() <= place.from
}

impl<B: BlockStore, S: CodedSpace> Reader<'_, '_, B, S> {
    /// The place after one, whose leaf, if it still is the place's, ends at `end` and is followed by `next`.
    fn place_after(
        &mut self,
        tree: Tree,
        place: &Place,
        after: Option<(Bound, u32)>,
        path: &mut Vec<u32>,
    ) -> Result<Option<Place>, B::Error> {
        let Some((end, next)) = after else {
            // a leaf that ends behind the place: each look is at one, unless inserts are faster
            let block = super::tree::descend(self.blocks, tree.root, place.from, path)?;
            return Ok(Some(Place { block, from: place.from }));
        };
        let Some(filter) = self.filter() else { return Ok(None) };
        if next == INVALID_BLOCK {
            return Ok(None);
        }
        match next_place(filter, tree.column, end) {
            None => Ok(None),
            Some(from) if from == end => Ok(Some(Place { block: next, from })),
            Some(from) => {
                let block = super::tree::descend(self.blocks, tree.root, from, path)?;
                Ok(Some(Place { block, from }))
            }
        }
    }

    /// The nodes of the entries of a leaf whose keys match.
    ///
    /// # Errors
    /// A damaged block, or want of memory.
    pub fn matching_of(
        &mut self,
        tree: Tree,
        place: &Place,
        out: &mut Vec<u32>,
        path: &mut Vec<u32>,
    ) -> Result<Option<Place>, B::Error> {
        let (layout, filter) = (self.layout(), self.filter());
        out.clear();
        let after = self.blocks.read(place.block, |bytes| {
            let (kind, front, next) = front(bytes)?;
            if divided(kind, &front, place) {
                return Ok(None);
            }
            let (PageKind::Keys, Some(geometry)) = (kind, &layout.runs) else { return Err(BAD_PAGE) };
            let page = entries(geometry, bytes, &front)?;
            let which = filter.map_or([u32::MAX; _], |filter| page.select(filter));
            for block in page.selected(&which) {
                for slot in (0..block.len).filter(|slot| block.live >> slot & 1 == 1) {
                    if let Some(id) = node_of(&block, slot) {
                        push(out, id)?;
                    }
                }
            }
            Ok(Some((front.end(), next)))
        })?;
        self.place_after(tree, place, after, path)
    }

    /// Puts the entries of a leaf whose keys match and which may be among the nearest into `window`.
    ///
    /// # Errors
    /// A damaged block, or want of memory.
    pub(in super::super) fn look_at_leaf(
        &mut self,
        tree: Tree,
        place: &Place,
        run: &RunQuery,
        visited: &IdMap,
        window: &mut Window,
        path: &mut Vec<u32>,
    ) -> Result<Option<Place>, B::Error> {
        let (layout, filter, kernels) = (self.layout(), self.filter(), kernels());
        let after = self.blocks.read(place.block, |bytes| {
            let (kind, front, next) = front(bytes)?;
            if divided(kind, &front, place) {
                return Ok(None);
            }
            let (PageKind::Keys, Some(geometry), Some(base)) = (kind, &layout.runs, &run.base) else {
                return Err(BAD_PAGE);
            };
            let page = entries(geometry, bytes, &front)?;
            let which = filter.map_or([u32::MAX; _], |filter| page.select(filter));
            let mut bounds = Bounds::default();
            for block in page.selected(&which) {
                run.query.bounds(geometry, base, &block, &mut bounds);
                let mut chosen = block.live & kernels.below(&bounds.lower, window.limit) as u32;
                window.matching += block.live.count_ones() as usize;
                window.left_some |= chosen != block.live;
                window.reserve()?;
                while chosen != 0 {
                    let slot = chosen.trailing_zeros() as usize;
                    chosen &= chosen - 1;
                    let (Some(id), Some(&lower), Some(&upper)) =
                        (node_of(&block, slot), bounds.lower.get(slot), bounds.upper.get(slot))
                    else {
                        continue;
                    };
                    if visited.get(id) != Some(READ) {
                        window.near.push(u64::from(order_key(lower)) << 32 | u64::from(id));
                        window.note(upper);
                    }
                }
            }
            Ok(Some((front.end(), next)))
        })?;
        self.place_after(tree, place, after, path)
    }
}
