//! A tree, changed: entries that come and go, pages that are divided.

use super::page::{
    self, BAD_PAGE, Bound, Child, Front, NewEntry, child_at, children, entries, front, init, key_of,
    most_children, name_of, put_children,
};
use super::{Kinds, Tree};
use crate::ivf::packed::code::Factors;
use crate::ivf::packed::layout::{Geometry, code_of, patch_live};
use crate::storage::blocks::{BlockStore, PageRef, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};
use crate::work::memory::{append, push, resize};

/// What changes of a tree allocate, kept from one to the next.
#[derive(Debug, Default)]
pub struct TreeRoom {
    /// directory pages on the way down
    path: Vec<u32>,
    /// entries of one tree that are to be freed, for [`Trees::free`]
    pub gone: Vec<Bound>,
    /// the centre of codes
    pub centre: Vec<f32>,
    /// the code of an entry that is added
    pub code: Vec<u8>,
    dead: Vec<u16>,
    keys: Vec<u8>,
    entries: Vec<Moved>,
    codes: Vec<u8>,
    children: Vec<Child>,
}

/// An entry on its way to another page, its keys and code at `at` among those of the page.
#[derive(Clone, Copy, Debug)]
struct Moved {
    bound: Bound,
    place: Tid,
    at: usize,
    factors: Factors,
}

impl TreeRoom {
    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        self.path.capacity() * size_of::<u32>()
            + self.gone.capacity() * size_of::<Bound>()
            + self.centre.capacity() * size_of::<f32>()
            + self.entries.capacity() * size_of::<Moved>()
            + self.children.capacity() * size_of::<Child>()
            + self.dead.capacity() * size_of::<u16>()
            + self.code.capacity()
            + self.codes.capacity()
            + self.keys.capacity()
    }
}

/// How often others may be faster before something must be wrong.
const TRIES: usize = 10_000;
/// A full leaf of which fewer entries live than this share (in hundredths) is written anew rather than divided.
const CROWDED: usize = 75;
/// Children of the largest page.
const MOST_CHILDREN: usize = most_children(1 << 15);
const CIRCLE: Damage = Damage::at(0, "filter keys in a circle");

/// Finds the leaf on which `bound` is, or would be. `path` gets the directory pages that lead there.
///
/// # Errors
/// Damaged blocks.
pub fn descend<B: BlockStore>(
    blocks: &mut B,
    kinds: Kinds,
    root: u32,
    bound: Bound,
    path: &mut Vec<u32>,
) -> Result<u32, B::Error> {
    path.clear();
    let (mut block, mut level) = (root, None);
    // no page comes twice, unless the tree is damaged
    let mut left = blocks.count()?;
    loop {
        left = left.checked_sub(1).ok_or(CIRCLE.on(block))?;
        let (right, next, found) = blocks.read(block, |bytes| {
            let (front, next) = front(kinds, bytes)?;
            if level.is_some_and(|level| level != front.level) {
                return Err(BAD_PAGE);
            }
            if bound >= front.end() {
                return Ok((true, next, front.level));
            }
            if front.is_leaf() {
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

/// Makes a new page of a change the first one of a tree; returns its block, which stays the root.
///
/// # Errors
/// No room on disk.
pub fn add_root<U: PageUpdate>(kinds: Kinds, change: &mut U) -> Result<u32, U::Error> {
    let page = change.extend()?;
    init(kinds, change.bytes_mut(page)?, &Front::new(kinds, 0, Bound::END), INVALID_BLOCK);
    Ok(change.block(page))
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
            name_of(&block, slot).is_some_and(|name| name.packed() == bound.name)
                && key_of(block.keys_of(slot), column) == bound.key
        };
        (0..block.len).any(|slot| block.live >> slot & 1 == 1 && is_it(slot))
    }))
}

/// A page and its parent, opened for a change.
struct Pair {
    page: PageRef,
    parent: Option<PageRef>,
}

impl Pair {
    /// Locks them, the one with the lesser number first.
    fn open<U: PageUpdate>(change: &mut U, block: u32, parent: Option<u32>) -> Result<Pair, U::Error> {
        match parent {
            Some(parent) if parent == block => Err(CIRCLE.on(block).into()),
            Some(parent) if parent < block => {
                let parent = change.open(parent)?;
                Ok(Pair { page: change.open(block)?, parent: Some(parent) })
            }
            parent => {
                let page = change.open(block)?;
                let parent = parent.map(|parent| change.open(parent)).transpose()?;
                Ok(Pair { page, parent })
            }
        }
    }
}

/// The trees of an index, to be changed.
#[derive(Debug)]
pub struct Trees<'t, B> {
    /// the blocks
    pub blocks: &'t mut B,
    /// what the pages are
    pub kinds: Kinds,
    /// where entries stand
    pub geometry: &'t Geometry,
    /// what changes allocate
    pub room: &'t mut TreeRoom,
    /// the step behind a division that makes room for an entry
    pub divided: &'static str,
}

impl<B: BlockStore> Trees<'_, B> {
    /// Adds an entry with these keys, whose code is in `room.code`, to a tree that has a root; `unless_there` when it
    /// may have been added before. `place` is where its value is, where entries say that.
    ///
    /// # Errors
    /// Damaged blocks, no room on disk.
    pub fn add(
        &mut self,
        tree: Tree,
        (name, place, factors): (Tid, Tid, Factors),
        keys: &[u8],
        unless_there: bool,
    ) -> Result<(), B::Error> {
        let Tree { column, root } = tree;
        let bound = Bound::new(key_of(keys, column), name);
        for _ in 0..TRIES {
            let leaf = descend(self.blocks, self.kinds, root, bound, &mut self.room.path)?;
            let damage = |damage: Damage| B::Error::from(damage.on(leaf));
            let mut change = self.blocks.update()?;
            let page = change.open(leaf)?;
            let (front, _) = front(self.kinds, change.bytes(page)).map_err(damage)?;
            if !front.is_leaf() || bound >= front.end() {
                // it was divided meanwhile
                continue;
            }
            if unless_there
                && has_entry(self.geometry, change.bytes(page), &front, column, bound).map_err(damage)?
            {
                return Ok(());
            }
            if usize::from(front.count) < self.geometry.entries() {
                let code = self.room.code.as_slice();
                let new = NewEntry { name, place, factors, code, keys };
                page::patch_in(self.geometry, &mut change, page, &front, &new)?;
                return change.commit();
            }
            drop(change);
            self.make_room(column, leaf)?;
            self.blocks.pause()?;
            self.blocks.fault_point(self.divided)?;
        }
        Err(Damage::internal("no room for filter keys").on(root).into())
    }

    /// Makes room on a full leaf of the tree of a column, whose parents are `room.path`: writes it anew without dead
    /// entries, or divides it. What others were faster with is left to the caller's next look.
    fn make_room(&mut self, column: usize, leaf: u32) -> Result<(), B::Error> {
        let Self { blocks, kinds, geometry, room: tree, .. } = self;
        let (kinds, parent) = (*kinds, tree.path.last().copied());
        let damage = |damage: Damage| damage.on(leaf);
        let mut change = blocks.update()?;
        let Pair { page, parent: above } = Pair::open(&mut change, leaf, parent)?;
        let (front, next) = front(kinds, change.bytes(page)).map_err(damage)?;
        if !front.is_leaf() || usize::from(front.count) < geometry.entries() {
            return Ok(());
        }
        tree.collect(geometry, change.bytes(page), &front, column).map_err(damage)?;
        let live = tree.entries.len();
        if live * 100 <= geometry.entries() * CROWDED {
            tree.write(kinds, geometry, change.bytes_mut(page)?, &front, next, 0..live).map_err(damage)?;
            return change.commit();
        }
        let middle = live / 2;
        let middle_bound = tree.entries.get(middle).map(|moved| moved.bound).filter(|_| middle > 0);
        let middle_bound = middle_bound.ok_or(BAD_PAGE).map_err(damage)?;
        let ends = [middle_bound, front.end()].map(|end| Front::new(kinds, 0, end));
        let parts = [0..middle, middle..live];
        let (Some(parent), Some(above)) = (parent, above) else {
            // the first page stays where it is, and becomes the parent of two
            let new = [change.extend()?, change.extend()?];
            let [left, right] = new.map(|page| change.block(page));
            for ((part, front), (page, next)) in
                parts.into_iter().zip(ends).zip([(new[0], right), (new[1], next)])
            {
                tree.write(kinds, geometry, change.bytes_mut(page)?, &front, next, part).map_err(damage)?;
            }
            let top = Front::new(kinds, 1, Bound::END);
            put_top(kinds, change.bytes_mut(page)?, &top, left, (middle_bound, right));
            return change.commit();
        };
        let room = tree.add_child(kinds, geometry, change.bytes(above), leaf, middle_bound);
        match room.map_err(|damage| damage.on(parent))? {
            Parent::Other => return Ok(()),
            Parent::Full => {
                drop(change);
                return self.divide(self.room.path.len().saturating_sub(1));
            }
            Parent::Added(front) => {
                let new = change.extend()?;
                let block = change.block(new);
                tree.set_block(middle_bound, block);
                put_children(change.bytes_mut(above)?, &front, &tree.children);
                for ((part, front), (page, next)) in
                    parts.into_iter().zip(ends).zip([(page, block), (new, next)])
                {
                    tree.write(kinds, geometry, change.bytes_mut(page)?, &front, next, part)
                        .map_err(damage)?;
                }
            }
        }
        change.commit()
    }

    /// Divides the full directory page number `at` of the path, or the first of those above it that has no room.
    fn divide(&mut self, at: usize) -> Result<(), B::Error> {
        let mut at = at;
        loop {
            let Self { blocks, kinds, geometry, room: tree, .. } = self;
            let kinds = *kinds;
            let Some(&block) = tree.path.get(at) else { return Ok(()) };
            let parent = at.checked_sub(1).and_then(|at| tree.path.get(at)).copied();
            let damage = |damage: Damage| damage.on(block);
            let mut change = blocks.update()?;
            let Pair { page, parent: above } = Pair::open(&mut change, block, parent)?;
            let (front, next) = front(kinds, change.bytes(page)).map_err(damage)?;
            let most = most_children(geometry.page_size);
            if front.level == 0 || usize::from(front.count) < most {
                return Ok(());
            }
            let mut kept = [Child::new(Bound::START, INVALID_BLOCK); MOST_CHILDREN];
            let kept = kept.get_mut(..most).ok_or(BAD_PAGE).map_err(damage)?;
            kept.copy_from_slice(children(change.bytes(page), &front).map_err(damage)?);
            let (low, high) = kept.split_at(most / 2);
            let middle = high.first().map_or(Bound::END, Child::least);
            let fronts = [middle, front.end()].map(|end| Front::new(kinds, front.level, end));
            let (Some(parent), Some(above)) = (parent, above) else {
                let new = [change.extend()?, change.extend()?];
                let [left, right] = new.map(|page| change.block(page));
                for ((part, front), (page, next)) in
                    [low, high].iter().zip(fronts).zip([(new[0], right), (new[1], next)])
                {
                    let bytes = change.bytes_mut(page)?;
                    init(kinds, bytes, &front, next);
                    put_children(bytes, &front, part);
                }
                let level = front.level.checked_add(1).ok_or(BAD_PAGE).map_err(damage)?;
                let top = Front::new(kinds, level, Bound::END);
                put_top(kinds, change.bytes_mut(page)?, &top, left, (middle, right));
                return change.commit();
            };
            let room = tree.add_child(kinds, geometry, change.bytes(above), block, middle);
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
                        init(kinds, bytes, &front, next);
                        put_children(bytes, &front, part);
                    }
                }
            }
            return change.commit();
        }
    }

    /// Frees the entries of a tree that are in `room.gone`.
    ///
    /// # Errors
    /// Damaged blocks.
    pub fn free(&mut self, tree: Tree) -> Result<(), B::Error> {
        let Self { blocks, kinds, geometry, room, .. } = self;
        let TreeRoom { gone, path, dead, .. } = &mut **room;
        gone.sort_unstable();
        let mut from = 0;
        while let Some(&first) = gone.get(from).filter(|_| tree.is_there()) {
            let leaf = descend(*blocks, *kinds, tree.root, first, path)?;
            let damage = |damage: Damage| damage.on(leaf);
            let mut change = blocks.update()?;
            let page = change.open(leaf)?;
            let (front, _) = front(*kinds, change.bytes(page)).map_err(damage)?;
            if !front.is_leaf() || first >= front.end() {
                continue;
            }
            let left = gone.get(from..).unwrap_or_default();
            let here = left.partition_point(|gone| *gone < front.end());
            let left = left.get(..here).unwrap_or_default();
            let is_gone = &mut |bound: Bound| left.binary_search(&bound).is_ok();
            note_dead(geometry, change.bytes(page), &front, tree.column, is_gone, dead).map_err(damage)?;
            if !dead.is_empty() {
                patch_live(geometry, &mut change, page, dead)?;
                change.commit()?;
            }
            from += here.max(1);
        }
        Ok(())
    }

    /// Frees the entries of dead rows, whose names are those of the rows, leaf by leaf. `is_dead` must neither raise
    /// nor read blocks. `point` is the step behind a leaf that had some.
    ///
    /// # Errors
    /// Damaged blocks.
    pub fn sweep(
        &mut self,
        tree: Tree,
        is_dead: &mut dyn FnMut(Tid) -> bool,
        point: &'static str,
    ) -> Result<(), B::Error> {
        let Self { blocks, kinds, geometry, room, .. } = self;
        let TreeRoom { path, dead, .. } = &mut **room;
        if !tree.is_there() {
            return Ok(());
        }
        let is_gone = &mut |bound: Bound| is_dead(Tid::from_packed(bound.name));
        let mut leaf = descend(*blocks, *kinds, tree.root, Bound::START, path)?;
        let (mut known, mut left) = (0, 0u32);
        while leaf != INVALID_BLOCK {
            blocks.pause()?;
            if left == 0 {
                // as many as there are, and as were added meanwhile
                let now = blocks.count()?;
                left = now.saturating_sub(known);
                known = now;
            }
            left = left.checked_sub(1).ok_or(CIRCLE.on(leaf))?;
            let damage = |damage: Damage| damage.on(leaf);
            let next = blocks.read(leaf, |bytes| {
                let (front, next) = front(*kinds, bytes)?;
                if !front.is_leaf() {
                    // the only one there was: it has become the parent of others
                    return Ok(None);
                }
                note_dead(geometry, bytes, &front, tree.column, is_gone, dead)?;
                Ok(Some(next))
            })?;
            let Some(mut next) = next else {
                leaf = descend(*blocks, *kinds, tree.root, Bound::START, path)?;
                continue;
            };
            if !dead.is_empty() {
                // others may have divided it, or written it anew, since
                let mut change = blocks.update()?;
                let page = change.open(leaf)?;
                let (front, behind) = front(*kinds, change.bytes(page)).map_err(damage)?;
                if !front.is_leaf() {
                    continue;
                }
                note_dead(geometry, change.bytes(page), &front, tree.column, is_gone, dead)
                    .map_err(damage)?;
                next = behind;
                if !dead.is_empty() {
                    patch_live(geometry, &mut change, page, dead)?;
                    change.commit()?;
                    blocks.fault_point(point)?;
                }
            }
            leaf = next;
        }
        Ok(())
    }
}

/// Makes the bytes the first page of a tree again, the parent of two.
fn put_top(kinds: Kinds, bytes: &mut [u8], front: &Front, left: u32, (middle, right): (Bound, u32)) {
    init(kinds, bytes, front, INVALID_BLOCK);
    put_children(bytes, front, &[Child::new(Bound::START, left), Child::new(middle, right)]);
}

/// Notes which living entries of a leaf are to go, numbered over the page.
fn note_dead(
    geometry: &Geometry,
    bytes: &[u8],
    front: &Front,
    column: usize,
    is_gone: &mut dyn FnMut(Bound) -> bool,
    dead: &mut Vec<u16>,
) -> Result<(), Damage> {
    dead.clear();
    for (number, block) in entries(geometry, bytes, front)?.blocks().enumerate() {
        for slot in (0..block.len).filter(|slot| block.live >> slot & 1 == 1) {
            let Some(name) = name_of(&block, slot) else { continue };
            if is_gone(Bound::new(key_of(block.keys_of(slot), column), name)) {
                push(dead, (number * geometry.block_entries + slot) as u16)?;
            }
        }
    }
    Ok(())
}

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
                let (Some(name), Some(&place), Some(&add), Some(&scale)) = (
                    name_of(&block, slot),
                    block.places.get(slot),
                    block.add.get(slot),
                    block.scale.get(slot),
                ) else {
                    return Err(BAD_PAGE);
                };
                append(&mut self.keys, keys)?;
                resize(&mut self.codes, (at + 1) * geometry.code, 0)?;
                code_of(&block, slot, self.codes.get_mut(at * geometry.code..).unwrap_or_default());
                let (bound, factors) = (Bound::new(key_of(keys, column), name), Factors { add, scale });
                push(&mut self.entries, Moved { bound, place, at, factors })?;
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
        kinds: Kinds,
        geometry: &Geometry,
        bytes: &mut [u8],
        front: &Front,
        next: u32,
        part: core::ops::Range<usize>,
    ) -> Result<(), Damage> {
        let mut front = Front::new(kinds, 0, front.end());
        init(kinds, bytes, &front, next);
        for &Moved { bound, place, at, factors } in self.entries.get(part).unwrap_or_default() {
            let code = self.codes.get(at * geometry.code..(at + 1) * geometry.code).unwrap_or_default();
            let size = geometry.filter_size;
            let keys = self.keys.get(at * size..(at + 1) * size).unwrap_or_default();
            let name = Tid::from_packed(bound.name);
            front = page::add_entry(geometry, bytes, &front, &NewEntry { name, place, factors, code, keys })?;
        }
        Ok(())
    }

    /// Takes the children of a parent with one more behind `block`, whose own block is to be set.
    fn add_child(
        &mut self,
        kinds: Kinds,
        geometry: &Geometry,
        bytes: &[u8],
        block: u32,
        least: Bound,
    ) -> Result<Parent, Damage> {
        let (front, _) = front(kinds, bytes)?;
        if front.is_leaf() {
            return Ok(Parent::Other);
        }
        let there = children(bytes, &front)?;
        let Some(at) = there.iter().position(|child| child.block == block) else { return Ok(Parent::Other) };
        if there.len() >= most_children(geometry.page_size) {
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
