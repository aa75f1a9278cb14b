//! Runs of entries ([`crate::runs`]) as this layout has them. An entry's name is the node's id, as the block of a TID
//! with offset 1; it says nothing of the value's place, which the id is. Codes have two bits an element of short
//! vectors, one of others; where a page holds few of them, or values have none, entries have none, and a run is scored
//! by exact distances.

use std::collections::BinaryHeap;

use vector_kernels::kernels;
use zerocopy::IntoBytes;

use super::codec::PreparedQuery;
use super::edit::Centre;
use super::graph::InlineGraph;
use super::id_map::{IdMap, READ};
use super::layout::{PAGE_ID, PageKind, Shape};
use super::meta::{InlineMeta, META_BLOCK, read_meta};
use super::reader::Reader;
use super::records::look_at_ground;
use super::search::{distance_of, order_key};
use crate::filter::{KEY_SIZE, MAX_COLUMNS};
use crate::ivf::packed::code::{Factors, encode};
use crate::ivf::packed::layout::Geometry;
use crate::ivf::packed::query::{Base, Bounds, Query};
use crate::quant::rabitq::Bits;
use crate::quant::space::{CodedSpace, Estimate};
use crate::runs::page::{self, BAD_PAGE, Bound, name_of};
use crate::runs::read::{Place, look_at};
use crate::runs::tree::{Trees, add_root};
use crate::runs::{Kinds, Tree, coded};
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, PageMut, Tid};
use crate::work::memory::{append, push, resize};

/// How pages of the trees are told from others.
pub const KINDS: Kinds = Kinds {
    page_id: PAGE_ID,
    leaf: PageKind::Keys as u8,
    directory: PageKind::Directory as u8,
    centre: PageKind::Centre as u8,
};

/// Deviations that bounds lie below and above estimates.
const DEVIATIONS: f32 = 1.6;
/// Of an entry whose code tells nothing.
pub(super) const NOTHING: Factors = Factors { add: f32::NEG_INFINITY, scale: 0.0 };

/// Where the entries of an index stand; `None` without filter columns.
pub fn geometry(shape: &Shape, page_size: usize) -> Option<Geometry> {
    let Shape { kind, dims, filters, .. } = *shape;
    if filters.is_empty() {
        return None;
    }
    let coded = coded(kind, dims, page_size, filters.len(), false, shape.run_bits());
    coded.or(Geometry::uncoded(page::START, page_size, filters.len() * KEY_SIZE))
}

/// The name of a node's entries.
pub const fn name(id: u32) -> Tid {
    Tid::new(id, 1)
}

/// The place of a node's entry in the order of a key.
pub const fn bound(key: u64, id: u32) -> Bound {
    Bound::new(key, name(id))
}

/// A node that is on its way out, with its keys of all filter columns.
pub type Dying = (u32, [u64; MAX_COLUMNS]);

impl<B: BlockStore, S: CodedSpace> InlineGraph<'_, B, S> {
    /// The trees, to be changed.
    fn trees<'t>(&'t mut self, geometry: &'t Geometry) -> Trees<'t, B> {
        let room = &mut self.room.edits.tree;
        Trees { blocks: &mut *self.blocks, kinds: KINDS, geometry, room, divided: "hnsw.insert.divided" }
    }

    /// Writes the entries of a node that nothing leads to yet, one in each tree; `unless_there`, when an insert that
    /// was interrupted may have done so.
    pub(super) fn write_entries(&mut self, id: u32, unless_there: bool) -> Result<(), B::Error> {
        let Some(geometry) = &self.index.layout.runs else { return Ok(()) };
        let tid = self.index.layout.tid(id);
        let filters = &self.index.layout.shape.filters;
        let keys = look_at_ground(self.blocks, &self.index.layout, tid, |record| {
            Ok(filters.unpack(record.own_keys()))
        })?;
        let keys = keys.get(..filters.len()).unwrap_or_default().as_bytes();
        let meta = read_meta(self.blocks)?;
        let factors = self.encode_entry(geometry, tid, meta.centre)?;
        for column in 0..filters.runs() {
            if !unless_there {
                self.blocks.fault_point("hnsw.insert.keys")?;
            }
            self.add_entry(geometry, meta.tree(column), (id, factors), keys, unless_there)?;
        }
        Ok(())
    }

    /// Adds an entry whose code is in `room.edits.tree.code` to a tree.
    pub(super) fn add_entry(
        &mut self,
        geometry: &Geometry,
        mut tree: Tree,
        (id, factors): (u32, Factors),
        keys: &[u8],
        unless_there: bool,
    ) -> Result<(), B::Error> {
        if !tree.is_there() {
            tree.root = self.add_root(tree.column)?;
        }
        self.trees(geometry).add(tree, (name(id), Tid::INVALID, factors), keys, unless_there)
    }

    /// Makes the code of a node's value in `room.edits.tree.code`.
    fn encode_entry(&mut self, geometry: &Geometry, tid: Tid, block: u32) -> Result<Factors, B::Error> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        let tree = &mut self.room.edits.tree;
        tree.code.clear();
        resize(&mut tree.code, geometry.code, 0).map_err(|memory| on_meta(memory.into()))?;
        if geometry.code == 0 {
            return Ok(NOTHING);
        }
        let padded = self.index.codec.padded();
        tree.centre.clear();
        resize(&mut tree.centre, padded, 0.0).map_err(|memory| on_meta(memory.into()))?;
        if block != INVALID_BLOCK {
            let centre = &mut tree.centre;
            self.blocks.read(block, |bytes| {
                centre.copy_from_slice(page::centre(KINDS, bytes, padded)?);
                Ok(())
            })?;
        }
        self.rotate(Centre { tid, version: None, value: None })?;
        let InlineGraph { index, room, .. } = self;
        let (tree, rotated) = (&mut room.edits.tree, &room.edits.rotated);
        Ok(match rotated.get(tid, padded) {
            Some(value) => encode(
                index.layout.shape.run_bits(),
                index.space.estimate(),
                value,
                &tree.centre,
                &mut tree.code,
            ),
            None => NOTHING,
        })
    }

    /// Adds the first page of the tree of a column, unless others do; returns its block.
    fn add_root(&mut self, column: usize) -> Result<u32, B::Error> {
        let mut change = self.blocks.update()?;
        let damage = |damage: Damage| damage.on(META_BLOCK);
        let on_meta = change.open(META_BLOCK)?;
        let mut meta = InlineMeta::read(change.bytes(on_meta)).map_err(damage)?;
        let root = meta.roots.get_mut(column).ok_or_else(|| damage(Damage::internal("no such column")))?;
        if *root != INVALID_BLOCK {
            return Ok(*root);
        }
        let block = add_root(KINDS, &mut change)?;
        *root = block;
        let bytes = change.bytes_mut(on_meta)?;
        PageMut::new(bytes, PAGE_ID).map_err(damage)?.set_contents(meta.as_bytes());
        change.commit()?;
        Ok(block)
    }

    /// Frees the entries of nodes that nothing leads to any more, those in `room.edits.dying`, before the nodes: as
    /// long as a node keeps its place, no other has its id.
    pub(super) fn free_entries(&mut self) -> Result<(), B::Error> {
        let Some(geometry) = &self.index.layout.runs else { return Ok(()) };
        if self.room.edits.dying.is_empty() {
            return Ok(());
        }
        let meta = read_meta(self.blocks)?;
        for column in 0..self.index.layout.shape.filters.runs() {
            let edits = &mut self.room.edits;
            let gone = &mut edits.tree.gone;
            gone.clear();
            gone.try_reserve(edits.dying.len()).map_err(|_| Damage::OUT_OF_MEMORY.on(META_BLOCK))?;
            let key = |keys: &[u64; MAX_COLUMNS]| keys.get(column).copied().unwrap_or_default();
            gone.extend(edits.dying.iter().map(|(id, keys)| bound(key(keys), *id)));
            self.trees(geometry).free(meta.tree(column))?;
        }
        self.room.edits.dying.clear();
        Ok(())
    }
}

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
            blocks
                .read(meta.centre, |bytes| Ok(append(centre, page::centre(KINDS, bytes, rotated.len())?)?))?;
        }
        self.base = Some(self.query.from_centre(estimate, rotated, &self.centre, DEVIATIONS));
        Ok(())
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        self.query.allocated() + self.centre.capacity() * size_of::<f32>()
    }
}

/// The nearest of a run that were not read before, by their codes: more of them than are wanted at once, so that the
/// next ones need no other pass over the run.
#[derive(Debug, Default)]
pub struct Window {
    /// how many are among them for sure, less those that were given out since
    size: usize,
    /// the least upper bounds, as many as are wanted
    uppers: BinaryHeap<u32>,
    /// those whose lower bounds are below the greatest of these: key of the lower bound, id
    pub(super) near: Vec<u64>,
    /// those before it were read
    pub(super) next: usize,
    /// what lower bounds must be below
    limit: f32,
    /// whether some entries that match are not among them
    left_out: bool,
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
            next: 0,
            limit: f32::INFINITY,
            left_out: false,
            crowd: CROWD,
        }
    }

    /// Forgets what was found.
    pub(super) fn clear(&mut self) {
        (self.size, self.limit) = (0, f32::INFINITY);
        (self.left_out, self.crowd) = (false, CROWD);
        self.near.clear();
        self.next = 0;
        self.uppers.clear();
    }

    /// Whether the nearest `size` that were not given out are among what was found, and what is known otherwise.
    pub(super) const fn holds(&self, size: usize) -> bool {
        size <= self.size
    }

    /// Takes away so many that are given out.
    pub(super) const fn give(&mut self, size: usize) {
        self.size = self.size.saturating_sub(size);
    }

    /// Whether others match.
    pub(super) const fn left_some(&self) -> bool {
        self.left_out || self.next < self.near.len()
    }

    /// Whether so many are all that match and were not read.
    pub(super) const fn ends_within(&self, size: usize) -> bool {
        !self.left_out && self.near.len() - self.next <= size
    }

    /// Begins the search for the nearest `size`, of which some at these distances are known.
    pub(super) fn begin(
        &mut self,
        size: usize,
        known: impl ExactSizeIterator<Item = f32>,
    ) -> Result<(), Damage> {
        self.clear();
        self.size = size;
        self.uppers.try_reserve(size).map_err(|_| Damage::OUT_OF_MEMORY)?;
        known.for_each(|distance| self.note(distance));
        Ok(())
    }

    #[inline]
    fn note(&mut self, upper: f32) {
        // of an entry whose code tells nothing, it may be no number
        if upper.is_nan() || upper >= self.limit {
            return;
        }
        if self.uppers.len() < self.size {
            self.uppers.push(order_key(upper));
        } else if let Some(mut greatest) = self.uppers.peek_mut() {
            *greatest = order_key(upper);
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
        self.left_out |= self.near.len() < before;
    }

    /// Sorts what was found by its lower bounds, without what is too far after all.
    pub(super) fn sort(&mut self) {
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

/// The places of the bits that are set.
#[inline]
fn ones(mut bits: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let place = bits.trailing_zeros() as usize;
        let any = bits != 0;
        bits &= bits.wrapping_sub(1);
        any.then_some(place)
    })
}

impl<B: BlockStore, S: CodedSpace> Reader<'_, '_, B, S> {
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
        let (Some(geometry), Some(filter)) = (&layout.runs, filter) else {
            return Err(BAD_PAGE.on(place.block()).into());
        };
        out.clear();
        look_at(self.blocks, (KINDS, geometry), tree, place, filter, path, |block| {
            for slot in (0..block.len).filter(|slot| block.live >> slot & 1 == 1) {
                if let Some(name) = name_of(&block, slot) {
                    push(out, name.block())?;
                }
            }
            Ok(())
        })
    }

    /// Puts the entries of a leaf whose keys match and which may be among the nearest into `window`.
    ///
    /// # Errors
    /// A damaged block, or want of memory.
    pub(super) fn look_at_leaf(
        &mut self,
        tree: Tree,
        place: &Place,
        run: &RunQuery,
        visited: &IdMap,
        window: &mut Window,
        path: &mut Vec<u32>,
    ) -> Result<Option<Place>, B::Error> {
        let (layout, filter, kernels) = (self.layout(), self.filter(), kernels());
        let (Some(geometry), Some(base), Some(filter)) = (&layout.runs, &run.base, filter) else {
            return Err(BAD_PAGE.on(place.block()).into());
        };
        let mut bounds = Bounds::default();
        look_at(self.blocks, (KINDS, geometry), tree, place, filter, path, |block| {
            run.query.bounds(geometry, base, &block, &mut bounds);
            let below = |bounds: &[f32], limit| kernels.below(bounds, limit) as u32;
            let mut unread = block.live & below(&bounds.lower, window.limit);
            if !visited.is_empty() {
                for slot in ones(unread) {
                    let read =
                        name_of(&block, slot).is_none_or(|name| visited.get(name.block()) == Some(READ));
                    unread &= !(u32::from(read) << slot);
                }
            }
            // few bring the limit down, and then fewer are below it
            for slot in ones(unread & below(&bounds.upper, window.limit)) {
                window.note(bounds.upper.get(slot).copied().unwrap_or(f32::INFINITY));
            }
            let chosen = unread & below(&bounds.lower, window.limit);
            window.left_out |= chosen != block.live;
            window.reserve()?;
            for slot in ones(chosen) {
                if let (Some(name), Some(&lower)) = (name_of(&block, slot), bounds.lower.get(slot)) {
                    window.near.push(u64::from(order_key(lower)) << 32 | u64::from(name.block()));
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
