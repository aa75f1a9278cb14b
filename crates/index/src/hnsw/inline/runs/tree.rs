//! The tree, changed: entries that come and go, pages that are divided.

use zerocopy::IntoBytes;

use super::super::edit::{Centre, Pages};
use super::super::graph::InlineGraph;
use super::super::layout::{Layout, PAGE_ID, PageKind};
use super::super::meta::{InlineMeta, META_BLOCK, read_meta};
use super::super::records::look_at_ground;
use super::Tree;
use super::page::{
    self, BAD_PAGE, Bound, Child, Front, NewEntry, child_at, children, entries, front, init, key_of,
    most_children, node_of, put_children,
};
use crate::filter::MAX_COLUMNS;
use crate::ivf::packed::code::{Factors, encode};
use crate::ivf::packed::layout::{Geometry, clear_live, code_of};
use crate::quant::space::CodedSpace;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, PageMut, Tid};
use crate::work::memory::{append, push, resize};

/// What changes of the tree allocate, kept from one to the next.
#[derive(Debug, Default)]
pub struct TreeRoom {
    /// directory pages on the way down
    path: Vec<u32>,
    /// nodes that are on their way out, with their keys
    pub(in super::super) dying: Vec<Dying>,
    /// their entries in one tree
    pub(super) gone: Vec<Bound>,
    centre: Vec<f32>,
    pub(super) code: Vec<u8>,
    keys: Vec<u8>,
    entries: Vec<Moved>,
    codes: Vec<u8>,
    children: Vec<Child>,
}

/// A node that is on its way out, with its keys of all filter columns.
pub type Dying = (u32, [u64; MAX_COLUMNS]);

/// An entry on its way to another page, its keys and code at `at` among those of the page.
#[derive(Clone, Copy, Debug)]
struct Moved {
    bound: Bound,
    at: usize,
    factors: Factors,
}

impl TreeRoom {
    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        self.path.capacity() * size_of::<u32>()
            + self.dying.capacity() * size_of::<Dying>()
            + self.gone.capacity() * size_of::<Bound>()
            + self.centre.capacity() * size_of::<f32>()
            + self.entries.capacity() * size_of::<Moved>()
            + self.children.capacity() * size_of::<Child>()
            + self.code.capacity()
            + self.codes.capacity()
            + self.keys.capacity()
    }
}

/// How often others may be faster before something must be wrong.
const TRIES: usize = 10_000;
/// A full leaf of which fewer entries live than this share (in hundredths) is written anew rather than divided.
const CROWDED: usize = 75;

/// Finds the leaf on which `bound` is, or would be. `path` gets the directory pages that lead there.
///
/// # Errors
/// Damaged blocks.
pub(super) fn descend<B: BlockStore>(
    blocks: &mut B,
    root: u32,
    bound: Bound,
    path: &mut Vec<u32>,
) -> Result<u32, B::Error> {
    path.clear();
    let (mut block, mut level) = (root, None);
    // no page comes twice, unless the tree is damaged
    let mut left = blocks.count()?;
    loop {
        left = left.checked_sub(1).ok_or(Damage::at(0, "filter keys in a circle").on(block))?;
        let (right, next, found) = blocks.read(block, |bytes| {
            let (kind, front, next) = front(bytes)?;
            if level.is_some_and(|level| level != front.level) {
                return Err(BAD_PAGE);
            }
            if bound >= front.end() {
                return Ok((true, next, front.level));
            }
            if kind == PageKind::Keys {
                return Ok((false, INVALID_BLOCK, 0));
            }
            let children = children(bytes, &front)?;
            let child = children.get(child_at(children, bound)).ok_or(BAD_PAGE)?;
            Ok((false, child.block, front.level))
        })?;
        level = match (right, found) {
            (false, 0) => return Ok(block),
            (true, level) => Some(level),
            (false, level) => {
                push(path, block).map_err(|memory| Damage::from(memory).on(block))?;
                Some(level - 1)
            }
        };
        block = next;
    }
}

/// Whether a leaf of the tree of a column has a living entry at `bound`.
fn has_entry(
    geometry: &Geometry,
    bytes: &[u8],
    front: &Front,
    column: usize,
    bound: Bound,
) -> Result<bool, Damage> {
    let page = entries(geometry, bytes, front)?;
    Ok(page.blocks().any(|block| {
        let is_it = |slot: usize| {
            node_of(&block, slot) == Some(bound.id) && key_of(block.keys_of(slot), column) == bound.key
        };
        (0..block.len).any(|slot| block.live >> slot & 1 == 1 && is_it(slot))
    }))
}

impl<B: BlockStore, S: CodedSpace> InlineGraph<'_, B, S> {
    /// Writes the entries of a node that nothing leads to yet, one in each tree; `unless_there`, when an insert that
    /// was interrupted may have done so.
    pub(in super::super) fn write_entries(&mut self, id: u32, unless_there: bool) -> Result<(), B::Error> {
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
        tree: Tree,
        (id, factors): (u32, Factors),
        keys: &[u8],
        unless_there: bool,
    ) -> Result<(), B::Error> {
        let Tree { column, mut root } = tree;
        let bound = Bound { key: key_of(keys, column), id };
        for _ in 0..TRIES {
            if root == INVALID_BLOCK {
                root = self.add_root(column)?;
            }
            let leaf = descend(self.blocks, root, bound, &mut self.room.edits.tree.path)?;
            let damage = |damage: Damage| B::Error::from(damage.on(leaf));
            let mut change = self.blocks.update()?;
            let page = change.open(leaf)?;
            let (kind, front, _) = front(change.bytes(page)).map_err(damage)?;
            if kind != PageKind::Keys || bound >= front.end() {
                // it was divided meanwhile
                continue;
            }
            if unless_there
                && has_entry(geometry, change.bytes(page), &front, column, bound).map_err(damage)?
            {
                return Ok(());
            }
            if usize::from(front.count) < geometry.entries() {
                let code = self.room.edits.tree.code.as_slice();
                let new = NewEntry { id, factors, code, keys };
                page::add_entry(geometry, change.bytes_mut(page)?, &front, &new).map_err(damage)?;
                return change.commit();
            }
            drop(change);
            self.make_room(geometry, column, leaf)?;
            self.blocks.pause()?;
            self.blocks.fault_point("hnsw.insert.divided")?;
        }
        Err(Damage::internal("no room for filter keys").on(META_BLOCK).into())
    }

    /// Makes the code of a node's value in `room.edits.tree.code`.
    fn encode_entry(&mut self, geometry: &Geometry, tid: Tid, block: u32) -> Result<Factors, B::Error> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(META_BLOCK));
        let tree = &mut self.room.edits.tree;
        tree.code.clear();
        resize(&mut tree.code, geometry.code, 0).map_err(|memory| on_meta(memory.into()))?;
        if geometry.code == 0 {
            return Ok(Factors { add: f32::NEG_INFINITY, scale: 0.0 });
        }
        let padded = self.index.codec.padded();
        tree.centre.clear();
        resize(&mut tree.centre, padded, 0.0).map_err(|memory| on_meta(memory.into()))?;
        if block != INVALID_BLOCK {
            let centre = &mut tree.centre;
            self.blocks.read(block, |bytes| {
                centre.copy_from_slice(page::centre(bytes, padded)?);
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
            None => Factors { add: f32::NEG_INFINITY, scale: 0.0 },
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
        let page = change.extend()?;
        *root = change.block(page);
        let block = *root;
        init(change.bytes_mut(page)?, &Front::new(PageKind::Keys, 0, Bound::END), INVALID_BLOCK);
        let bytes = change.bytes_mut(on_meta)?;
        PageMut::new(bytes, PAGE_ID).map_err(damage)?.set_contents(meta.as_bytes());
        change.commit()?;
        Ok(block)
    }

    /// Makes room on a full leaf of the tree of a column, whose parents are `room.edits.tree.path`: writes it anew
    /// without dead entries, or divides it. What others were faster with is left to the caller's next look.
    fn make_room(&mut self, geometry: &Geometry, column: usize, leaf: u32) -> Result<(), B::Error> {
        let parent = self.room.edits.tree.path.last().copied();
        let InlineGraph { blocks, index, room, .. } = self;
        let (layout, tree) = (&index.layout, &mut room.edits.tree);
        let damage = |damage: Damage| damage.on(leaf);
        let mut pages = Pages::new();
        pages.want(leaf);
        pages.want(parent.unwrap_or(INVALID_BLOCK));
        let mut change = blocks.update()?;
        pages.open(&mut change)?;
        let page = pages.get(leaf).map_err(damage)?;
        let (kind, front, next) = front(change.bytes(page)).map_err(damage)?;
        if kind != PageKind::Keys || usize::from(front.count) < geometry.entries() {
            return Ok(());
        }
        tree.collect(geometry, change.bytes(page), &front, column).map_err(damage)?;
        let live = tree.entries.len();
        if live * 100 <= geometry.entries() * CROWDED {
            tree.write(geometry, change.bytes_mut(page)?, &front, next, 0..live).map_err(damage)?;
            return change.commit();
        }
        let middle = live / 2;
        let middle_bound = tree.entries.get(middle).map(|moved| moved.bound).filter(|_| middle > 0);
        let middle_bound = middle_bound.ok_or(BAD_PAGE).map_err(damage)?;
        let ends = [middle_bound, front.end()].map(|end| Front::new(PageKind::Keys, 0, end));
        let parts = [0..middle, middle..live];
        let Some(parent) = parent else {
            // the first page stays where it is, and becomes the parent of two
            let new = [change.extend()?, change.extend()?];
            let [left, right] = new.map(|page| change.block(page));
            for ((part, front), (page, next)) in
                parts.into_iter().zip(ends).zip([(new[0], right), (new[1], next)])
            {
                tree.write(geometry, change.bytes_mut(page)?, &front, next, part).map_err(damage)?;
            }
            let top = Front::new(PageKind::Directory, 1, Bound::END);
            let bytes = change.bytes_mut(page)?;
            init(bytes, &top, INVALID_BLOCK);
            put_children(bytes, &top, &[Child::new(Bound::START, left), Child::new(middle_bound, right)]);
            return change.commit();
        };
        let above = pages.get(parent).map_err(damage)?;
        let room = tree.add_child(layout, change.bytes(above), leaf, middle_bound);
        match room.map_err(|damage| damage.on(parent))? {
            Parent::Other => return Ok(()),
            Parent::Full => {
                drop(change);
                return self.divide(self.room.edits.tree.path.len().saturating_sub(1));
            }
            Parent::Added(front) => {
                let new = change.extend()?;
                let block = change.block(new);
                tree.set_block(middle_bound, block);
                put_children(change.bytes_mut(above)?, &front, &tree.children);
                for ((part, front), (page, next)) in
                    parts.into_iter().zip(ends).zip([(page, block), (new, next)])
                {
                    tree.write(geometry, change.bytes_mut(page)?, &front, next, part).map_err(damage)?;
                }
            }
        }
        change.commit()
    }

    /// Divides the full directory page number `at` of the path, or the first of those above it that has no room.
    fn divide(&mut self, at: usize) -> Result<(), B::Error> {
        let mut at = at;
        loop {
            let InlineGraph { blocks, index, room, .. } = self;
            let (layout, tree) = (&index.layout, &mut room.edits.tree);
            let Some(&block) = tree.path.get(at) else { return Ok(()) };
            let parent = at.checked_sub(1).and_then(|at| tree.path.get(at)).copied();
            let damage = |damage: Damage| damage.on(block);
            let mut pages = Pages::new();
            pages.want(block);
            pages.want(parent.unwrap_or(INVALID_BLOCK));
            let mut change = blocks.update()?;
            pages.open(&mut change)?;
            let page = pages.get(block).map_err(damage)?;
            let (_, front, next) = front(change.bytes(page)).map_err(damage)?;
            let most = most_children(layout.page_size);
            if front.level == 0 || usize::from(front.count) < most {
                return Ok(());
            }
            let mut kept = [Child::new(Bound::START, INVALID_BLOCK); MOST_CHILDREN];
            let kept = kept.get_mut(..most).ok_or(BAD_PAGE).map_err(damage)?;
            kept.copy_from_slice(children(change.bytes(page), &front).map_err(damage)?);
            let (low, high) = kept.split_at(most / 2);
            let middle = high.first().map_or(Bound::END, Child::least);
            let fronts = [middle, front.end()].map(|end| Front::new(PageKind::Directory, front.level, end));
            let Some(parent) = parent else {
                let new = [change.extend()?, change.extend()?];
                let [left, right] = new.map(|page| change.block(page));
                for ((part, front), (page, next)) in
                    [low, high].iter().zip(fronts).zip([(new[0], right), (new[1], next)])
                {
                    let bytes = change.bytes_mut(page)?;
                    init(bytes, &front, next);
                    put_children(bytes, &front, part);
                }
                let level = front.level.checked_add(1).ok_or(BAD_PAGE).map_err(damage)?;
                let top = Front::new(PageKind::Directory, level, Bound::END);
                let bytes = change.bytes_mut(page)?;
                init(bytes, &top, INVALID_BLOCK);
                put_children(bytes, &top, &[Child::new(Bound::START, left), Child::new(middle, right)]);
                return change.commit();
            };
            let above = pages.get(parent).map_err(damage)?;
            let room = tree.add_child(layout, change.bytes(above), block, middle);
            match room.map_err(|damage| damage.on(parent))? {
                Parent::Other => return Ok(()),
                Parent::Full => {
                    at = at.saturating_sub(1);
                    continue;
                }
                Parent::Added(front) => {
                    let new = change.extend()?;
                    let added = change.block(new);
                    tree.set_block(middle, added);
                    put_children(change.bytes_mut(above)?, &front, &tree.children);
                    for ((part, front), (page, next)) in
                        [low, high].iter().zip(fronts).zip([(page, added), (new, next)])
                    {
                        let bytes = change.bytes_mut(page)?;
                        init(bytes, &front, next);
                        put_children(bytes, &front, part);
                    }
                }
            }
            return change.commit();
        }
    }

    /// Frees the entries of nodes that nothing leads to any more, those in `room.edits.tree.dying`, before the nodes:
    /// as long as a node keeps its place, no other has its id.
    pub(in super::super) fn free_entries(&mut self) -> Result<(), B::Error> {
        let Some(geometry) = &self.index.layout.runs else { return Ok(()) };
        if self.room.edits.tree.dying.is_empty() {
            return Ok(());
        }
        let meta = read_meta(self.blocks)?;
        for column in 0..self.index.layout.shape.filters.runs() {
            let TreeRoom { dying, gone, .. } = &mut self.room.edits.tree;
            gone.clear();
            gone.try_reserve(dying.len()).map_err(|_| Damage::OUT_OF_MEMORY.on(META_BLOCK))?;
            let key = |keys: &[u64; MAX_COLUMNS]| keys.get(column).copied().unwrap_or_default();
            gone.extend(dying.iter().map(|(id, keys)| Bound { key: key(keys), id: *id }));
            self.free_entries_of(geometry, meta.tree(column))?;
        }
        self.room.edits.tree.dying.clear();
        Ok(())
    }

    /// Frees the entries of one tree that are in `room.edits.tree.gone`.
    fn free_entries_of(&mut self, geometry: &Geometry, Tree { column, root }: Tree) -> Result<(), B::Error> {
        let InlineGraph { blocks, room, .. } = self;
        let tree = &mut room.edits.tree;
        tree.gone.sort_unstable();
        let mut from = 0;
        while let Some(&first) = tree.gone.get(from).filter(|_| root != INVALID_BLOCK) {
            let leaf = descend(*blocks, root, first, &mut tree.path)?;
            let damage = |damage: Damage| damage.on(leaf);
            let mut change = blocks.update()?;
            let page = change.open(leaf)?;
            let (kind, front, _) = front(change.bytes(page)).map_err(damage)?;
            if kind != PageKind::Keys || first >= front.end() {
                continue;
            }
            let left = tree.gone.get(from..).unwrap_or_default();
            let here = left.partition_point(|gone| *gone < front.end());
            let left = left.get(..here).unwrap_or_default();
            let mut dead = 0;
            let mut which = [0u16; MOST_AT_ONCE];
            for (number, block) in
                entries(geometry, change.bytes(page), &front).map_err(damage)?.blocks().enumerate()
            {
                for slot in (0..block.len).filter(|slot| block.live >> slot & 1 == 1) {
                    let Some(id) = node_of(&block, slot) else { continue };
                    let bound = Bound { key: key_of(block.keys_of(slot), column), id };
                    if left.binary_search(&bound).is_ok()
                        && let Some(place) = which.get_mut(dead)
                    {
                        *place = (number * geometry.block_entries + slot) as u16;
                        dead += 1;
                    }
                }
            }
            if dead > 0 {
                clear_live(geometry, change.bytes_mut(page)?, which.get(..dead).unwrap_or_default());
                change.commit()?;
            }
            from += here.max(1);
        }
        Ok(())
    }
}

/// Entries of a page, at most: [`crate::ivf::packed::layout::MAX_BLOCKS`] blocks.
const MOST_AT_ONCE: usize = 64 * 32;
/// Children of the largest page.
const MOST_CHILDREN: usize = most_children(1 << 15);

/// What a parent has to say to another child.
enum Parent {
    /// it is the parent no more
    Other,
    /// it has no room
    Full,
    /// its front; its children with the new one stand in `children`
    Added(Front),
}

impl TreeRoom {
    /// Takes the living entries of a leaf, in order.
    fn collect(
        &mut self,
        geometry: &Geometry,
        bytes: &[u8],
        front: &Front,
        column: usize,
    ) -> Result<(), Damage> {
        self.entries.clear();
        self.keys.clear();
        self.codes.clear();
        for block in entries(geometry, bytes, front)?.blocks() {
            for slot in (0..block.len).filter(|slot| block.live >> slot & 1 == 1) {
                let (keys, at) = (block.keys_of(slot), self.entries.len());
                let (Some(id), Some(&add), Some(&scale)) =
                    (node_of(&block, slot), block.add.get(slot), block.scale.get(slot))
                else {
                    return Err(BAD_PAGE);
                };
                append(&mut self.keys, keys)?;
                resize(&mut self.codes, (at + 1) * geometry.code, 0)?;
                code_of(&block, slot, self.codes.get_mut(at * geometry.code..).unwrap_or_default());
                let (bound, factors) = (Bound { key: key_of(keys, column), id }, Factors { add, scale });
                push(&mut self.entries, Moved { bound, at, factors })?;
            }
        }
        // stable: of equal ones, which only damage leaves, the last was written last
        self.entries.sort_by_key(|moved| moved.bound);
        self.entries.dedup_by(|later, first| {
            let same = later.bound == first.bound;
            if same {
                *first = *later;
            }
            same
        });
        Ok(())
    }

    /// Writes a leaf with some of the entries.
    fn write(
        &self,
        geometry: &Geometry,
        bytes: &mut [u8],
        front: &Front,
        next: u32,
        part: core::ops::Range<usize>,
    ) -> Result<(), Damage> {
        init(bytes, front, next);
        let mut front = Front::new(PageKind::Keys, 0, front.end());
        for &Moved { bound, at, factors } in self.entries.get(part).unwrap_or_default() {
            let code = self.codes.get(at * geometry.code..(at + 1) * geometry.code).unwrap_or_default();
            let size = geometry.filter_size;
            let keys = self.keys.get(at * size..(at + 1) * size).unwrap_or_default();
            front =
                page::add_entry(geometry, bytes, &front, &NewEntry { id: bound.id, factors, code, keys })?;
        }
        Ok(())
    }

    /// Takes the children of a parent with one more behind `block`, whose own block is to be set.
    fn add_child(
        &mut self,
        layout: &Layout,
        bytes: &[u8],
        block: u32,
        least: Bound,
    ) -> Result<Parent, Damage> {
        let (kind, front, _) = front(bytes)?;
        if kind != PageKind::Directory {
            return Ok(Parent::Other);
        }
        let there = children(bytes, &front)?;
        let Some(at) = there.iter().position(|child| child.block == block) else { return Ok(Parent::Other) };
        if there.len() >= most_children(layout.page_size) {
            return Ok(Parent::Full);
        }
        self.children.clear();
        self.children.try_reserve(there.len() + 1).map_err(|_| Damage::OUT_OF_MEMORY)?;
        let (before, behind) = there.split_at_checked(at + 1).ok_or(BAD_PAGE)?;
        self.children.extend_from_slice(before);
        self.children.push(Child::new(least, INVALID_BLOCK));
        self.children.extend_from_slice(behind);
        Ok(Parent::Added(front))
    }

    fn set_block(&mut self, least: Bound, block: u32) {
        if let Some(child) = self.children.iter_mut().find(|child| child.block == INVALID_BLOCK) {
            *child = Child::new(least, block);
        }
    }
}
