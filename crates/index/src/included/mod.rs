//! Values that an index keeps for index-only scans and for nothing else: those of its INCLUDE columns, once per row.
//!
//! They stand on the leaves of a B+-tree in the order of the rows' heap TIDs, so that neither a node nor a list needs
//! to know where: whoever has a row has its values. TIDs of a table are as dense as the table, and are used again as
//! its room is, so pages of the tree never go: their ranges fill again.
//!
//! Each page knows where it ends, and the page behind it. A page that is full is divided in one change with its
//! parent, which has room for that, or is divided first. Whoever comes late, with the number of a page that was divided
//! meanwhile, moves on to the right. src/hnsw/README.md and src/ivfflat/README.md have the argument why a row that a
//! scan returns has its values.

pub mod check;
mod page;

use crate::space::ValueBuf;
use crate::storage::blocks::{BlockStore, PageRef, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};
use crate::work::memory::append;

use page::{
    BAD_PAGE, Child, END, Front, Leaf, child_at, children, front, init_root, insert, most_children,
    put_children, taken, write,
};
pub use page::{HEAD, largest, row_of, size_of_values};

/// How an access method tells the pages of the tree from its others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// what its pages are identified by
    pub page_id: u16,
    /// the kind of leaves
    pub leaf: u8,
    /// the kind of directories
    pub directory: u8,
    /// whether scans hold on to the leaf that has the values of the row which they return: then a removal waits for
    /// them, at each leaf
    pub held: bool,
}

const CIRCLE: Damage = Damage::at(0, "included values in a circle");
/// Levels of a tree, at most: of the smallest pages' children, 2^48 rows take fewer.
const MAX_LEVELS: usize = 16;
/// How often others may be faster before something must be wrong.
const TRIES: usize = 1000;

/// Directory pages on the way down to a leaf.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    blocks: [u32; MAX_LEVELS],
    len: usize,
}

impl Path {
    fn push(&mut self, block: u32) -> Result<(), Damage> {
        *self.blocks.get_mut(self.len).ok_or(BAD_PAGE)? = block;
        self.len += 1;
        Ok(())
    }

    fn get(&self, at: usize) -> Option<u32> {
        self.blocks.get(at).copied().filter(|_| at < self.len)
    }
}

/// What a page of the tree says to whoever is on the way down.
enum Step<R> {
    /// to the page behind, on the same level
    Right(u32, u8),
    /// to the child
    Down(u32, u8),
    /// it is the leaf
    Leaf(R),
}

/// Goes down to the leaf on which a row's values are, or would be, and looks at it under its lock; returns its block,
/// too. `path` gets the directory pages that lead there.
///
/// # Errors
/// Damaged blocks, and what `look` answers.
#[inline]
fn descend<B: BlockStore, R>(
    blocks: &mut B,
    tree: Tree,
    root: u32,
    row: Tid,
    path: &mut Path,
    mut look: impl FnMut(&Leaf<'_>, u32) -> Result<R, Damage>,
) -> Result<(u32, R), B::Error> {
    path.len = 0;
    let (mut block, mut level) = (root, None);
    // no page comes twice, unless the tree is damaged
    let (mut turns, mut most) = (0u32, 64);
    loop {
        let step = blocks.read(block, |bytes| {
            let (front, next) = front(tree, bytes)?;
            if level.is_some_and(|level| level != front.level) {
                return Err(BAD_PAGE);
            }
            if front.is_before(row) {
                return Ok(Step::Right(next, front.level));
            }
            if front.level == 0 {
                return look(&Leaf::new(bytes, &front)?, next).map(Step::Leaf);
            }
            let children = children(bytes, &front)?;
            let child = children.get(child_at(children, row)).ok_or(BAD_PAGE)?;
            Ok(Step::Down(child.block, front.level))
        })?;
        (block, level) = match step {
            Step::Leaf(result) => return Ok((block, result)),
            Step::Right(next, level) => {
                turns += 1;
                if turns > most {
                    most = blocks.count()?;
                    if turns > most {
                        return Err(CIRCLE.on(block).into());
                    }
                }
                (next, Some(level))
            }
            Step::Down(child, level) => {
                path.push(block).map_err(|damage| damage.on(block))?;
                (child, Some(level - 1))
            }
        };
    }
}

/// Adds the first page of a tree; returns its block, which stays its root.
///
/// # Errors
/// No room on disk.
pub fn add_root<B: BlockStore>(blocks: &mut B, tree: Tree) -> Result<u32, B::Error> {
    let mut change = blocks.update()?;
    let page = change.extend()?;
    let root = change.block(page);
    init_root(tree, change.bytes_mut(page)?);
    change.commit()?;
    Ok(root)
}

/// Copies the values of a row, with their head, into `out`. False when there are none.
///
/// # Errors
/// Damaged blocks, no memory.
pub fn read<B: BlockStore>(
    blocks: &mut B,
    tree: Tree,
    root: u32,
    row: Tid,
    out: &mut ValueBuf,
) -> Result<bool, B::Error> {
    let (_, found) = descend(blocks, tree, root, row, &mut Path::default(), |leaf, _| copy(leaf, row, out))?;
    Ok(found)
}

fn copy(leaf: &Leaf<'_>, row: Tid, out: &mut ValueBuf) -> Result<bool, Damage> {
    let Ok(at) = leaf.find(row)? else { return Ok(false) };
    out.try_copy_from(leaf.values(at)?)?;
    Ok(true)
}

/// The leaf on which the values of a row are, or would be; to be held on to before [`read_at`] looks at it.
///
/// # Errors
/// Damaged blocks.
pub fn leaf_of<B: BlockStore>(blocks: &mut B, tree: Tree, root: u32, row: Tid) -> Result<u32, B::Error> {
    let (leaf, ()) = descend(blocks, tree, root, row, &mut Path::default(), |_, _| Ok(()))?;
    Ok(leaf)
}

/// Copies the values of a row, with their head, from what [`leaf_of`] said into `out`. False when there are none,
/// `None` when they would be on another page by now.
///
/// # Errors
/// A damaged block, no memory.
pub fn read_at<B: BlockStore>(
    blocks: &mut B,
    tree: Tree,
    leaf: u32,
    row: Tid,
    out: &mut ValueBuf,
) -> Result<Option<bool>, B::Error> {
    blocks.read(leaf, |bytes| {
        let (front, _) = front(tree, bytes)?;
        // no row moves to a page on the left, and a leaf that is none any more was the only one
        if front.level > 0 || front.is_before(row) {
            return Ok(None);
        }
        copy(&Leaf::new(bytes, &front)?, row, out).map(Some)
    })
}

/// The number of pages of a tree.
///
/// # Errors
/// Damaged blocks.
pub fn pages<B: BlockStore>(blocks: &mut B, tree: Tree, root: u32) -> Result<u32, B::Error> {
    let (mut first, mut pages) = (root, 0u32);
    let mut most = blocks.count()?;
    for _ in 0..MAX_LEVELS {
        let (mut block, mut below) = (first, None);
        while block != INVALID_BLOCK {
            blocks.pause()?;
            let (child, next) = blocks.read_in_passing(block, |bytes| {
                let (front, next) = front(tree, bytes)?;
                let first = if front.level > 0 { children(bytes, &front)?.first() } else { None };
                Ok((first.map(|child| child.block), next))
            })?;
            if block == first {
                below = child;
            }
            pages += 1;
            if pages > most {
                // some were added meanwhile, or they go in a circle
                most = blocks.count()?;
                if pages > most {
                    return Err(CIRCLE.on(block).into());
                }
            }
            block = next;
        }
        match below {
            Some(child) => first = child,
            None => return Ok(pages),
        }
    }
    Err(BAD_PAGE.on(first).into())
}

/// Adds the values of rows, which follow each other with their heads: best in the order of the rows. Those of a row
/// that has some already, as an insert that was interrupted may leave them, are replaced.
///
/// # Errors
/// Damaged blocks, no memory; values larger than [`largest`], which are an internal error.
pub fn add<B: BlockStore>(blocks: &mut B, tree: Tree, root: u32, values: &[u8]) -> Result<(), B::Error> {
    let mut left = values;
    let mut tries = 0;
    while !left.is_empty() {
        let added = add_some(blocks, tree, root, left)?;
        left = left.get(added..).unwrap_or_default();
        tries = if added > 0 { 0 } else { tries + 1 };
        if tries > TRIES {
            return Err(Damage::at(0, "no room for included values").on(root).into());
        }
    }
    Ok(())
}

/// The first of values that follow each other, with their row.
fn first(values: &[u8], page_size: usize) -> Result<(Tid, &[u8]), Damage> {
    let size = size_of_values(values);
    let own =
        values.get(..size).filter(|_| size >= HEAD && size.is_multiple_of(8) && size <= largest(page_size));
    match (row_of(values), own) {
        (Some(row), Some(own)) if row.is_valid() && row != END => Ok((row, own)),
        _ => Err(Damage::internal("included values of no size that they can have")),
    }
}

/// Adds the first of `values`, and those behind it that belong on the same leaf, in order or not: a build meets the
/// root of a chain of updates late, and may begin in the middle of its table. Returns the bytes of those that are
/// added.
fn add_some<B: BlockStore>(blocks: &mut B, tree: Tree, root: u32, values: &[u8]) -> Result<usize, B::Error> {
    let page_size = blocks.page_size();
    let mut path = Path::default();
    let (sought, own) = first(values, page_size).map_err(|damage| damage.on(root))?;
    let (block, ()) = descend(blocks, tree, root, sought, &mut path, |_, _| Ok(()))?;
    let damage = |damage: Damage| B::Error::from(damage.on(block));
    let mut change = blocks.update()?;
    let page = change.open(block)?;
    let mut added = 0;
    loop {
        let (front, next) = front(tree, change.bytes(page)).map_err(damage)?;
        let left = values.get(added..).unwrap_or_default();
        if front.level > 0 || left.is_empty() {
            break;
        }
        let (row, own) = first(left, page_size).map_err(damage)?;
        if front.is_before(row) || row.packed() < sought.packed() {
            // it was divided meanwhile, or this row is on another: a leaf says where it ends only
            break;
        }
        let leaf = Leaf::new(change.bytes(page), &front).map_err(damage)?;
        let at = match leaf.find(row).map_err(damage)? {
            Err(at) => at,
            // what is replaced goes in the change in which the other comes
            Ok(_) if added > 0 => break,
            Ok(at) => {
                page::remove(change.bytes_mut(page)?, &front, |other| other == row).map_err(damage)?;
                at
            }
        };
        let (front, _) = page::front(tree, change.bytes(page)).map_err(damage)?;
        let leaf = Leaf::new(change.bytes(page), &front).map_err(damage)?;
        let (at_once, whole) = leaf.room().map_err(damage)?;
        if whole < taken(own) {
            break;
        }
        if at_once < taken(own) {
            rewrite(tree, change.bytes_mut(page)?, &front, next).map_err(damage)?;
        }
        insert(change.bytes_mut(page)?, at, own).map_err(damage)?;
        added += own.len();
    }
    if added > 0 {
        change.commit()?;
        return Ok(added);
    }
    drop(change);
    make_room(blocks, tree, block, &path, sought, taken(own))?;
    blocks.pause()?;
    blocks.fault_point("included.divided")?;
    Ok(0)
}

/// Writes a leaf without its gaps.
fn rewrite(tree: Tree, bytes: &mut [u8], front: &Front, next: u32) -> Result<(), Damage> {
    let mut old = Vec::new();
    append(&mut old, bytes)?;
    let leaf = Leaf::new(&old, front)?;
    write(tree, bytes, front, next, &leaf, 0..leaf.len())
}

/// A page that is to be divided, and its parent.
struct Pages {
    page: PageRef,
    parent: Option<PageRef>,
}

impl Pages {
    /// Opens both, in the order of their blocks.
    fn open<C: PageUpdate>(change: &mut C, block: u32, parent: Option<u32>) -> Result<Self, C::Error> {
        Ok(match parent {
            Some(parent) if parent < block => {
                let parent = change.open(parent)?;
                Pages { page: change.open(block)?, parent: Some(parent) }
            }
            Some(parent) => {
                let page = change.open(block)?;
                Pages { page, parent: Some(change.open(parent)?) }
            }
            None => Pages { page: change.open(block)?, parent: None },
        })
    }
}

/// Where a leaf is divided: the number of rows that stay, and where the part behind them begins.
fn division(leaf: &Leaf<'_>, row: Tid) -> Result<(usize, Tid), Damage> {
    let count = leaf.len();
    let place = leaf.find(row)?.unwrap_or_else(|at| at);
    if place == count {
        // rows come in order, as a rule: the page stays full
        return Ok((count, row));
    }
    let mut total = 0;
    for at in 0..count {
        total += leaf.values(at)?.len();
    }
    let (mut kept, mut before) = (0, 0);
    while kept < count && before < total / 2 {
        before += leaf.values(kept)?.len();
        kept += 1;
    }
    let kept = if count < 2 { 0 } else { kept.clamp(1, count - 1) };
    Ok((kept, leaf.row(kept)?))
}

/// Divides a leaf that has no room for `wanted` bytes of a row, or makes room in its parent first. What others were
/// faster with is left to the caller's next look.
fn make_room<B: BlockStore>(
    blocks: &mut B,
    tree: Tree,
    block: u32,
    path: &Path,
    row: Tid,
    wanted: usize,
) -> Result<(), B::Error> {
    let parent = path.len.checked_sub(1).and_then(|at| path.get(at));
    let damage = |damage: Damage| damage.on(block);
    let mut change = blocks.update()?;
    let pages = Pages::open(&mut change, block, parent)?;
    let (old, next) = front(tree, change.bytes(pages.page)).map_err(damage)?;
    if old.level > 0 || old.is_before(row) {
        return Ok(());
    }
    let mut copy = Vec::new();
    append(&mut copy, change.bytes(pages.page)).map_err(|memory| damage(memory.into()))?;
    let leaf = Leaf::new(&copy, &old).map_err(damage)?;
    if leaf.room().map_err(damage)?.1 >= wanted {
        return Ok(());
    }
    let (kept, middle) = division(&leaf, row).map_err(damage)?;
    if middle.packed() >= old.end.packed() {
        return Err(damage(BAD_PAGE).into());
    }
    let fronts = [middle, old.end].map(|end| Front::new(tree, 0, end));
    let parts = [0..kept, kept..leaf.len()];
    let part = |bytes: &mut [u8], which: usize, next: u32| match (fronts.get(which), parts.get(which)) {
        (Some(front), Some(part)) => write(tree, bytes, front, next, &leaf, part.clone()).map_err(damage),
        _ => Ok(()),
    };
    let divided = divide_page(&mut change, tree, &pages, (block, parent), (middle, next), &old, part)?;
    if divided {
        return change.commit();
    }
    drop(change);
    divide_directory(blocks, tree, path)
}

/// Writes both parts of a page, as `part` does: that of the number it is given, with the block behind it; and what
/// leads there. False when the parent has no room; nothing is changed then, and neither where it is the parent no more.
fn divide_page<C: PageUpdate>(
    change: &mut C,
    tree: Tree,
    pages: &Pages,
    (block, parent_block): (u32, Option<u32>),
    (middle, next): (Tid, u32),
    old: &Front,
    part: impl Fn(&mut [u8], usize, u32) -> Result<(), crate::storage::page::Corruption>,
) -> Result<bool, C::Error> {
    let page = pages.page;
    let Some(parent) = pages.parent else {
        // the first page stays where it is, and becomes the parent of two
        let level = old.level.checked_add(1).ok_or(BAD_PAGE.on(block))?;
        let new = [change.extend()?, change.extend()?];
        let [left, right] = new.map(|page| change.block(page));
        part(change.bytes_mut(new[0])?, 0, right)?;
        part(change.bytes_mut(new[1])?, 1, next)?;
        let top = Front::new(tree, level, END);
        let both = [Child::new(Tid::new(0, 0), left), Child::new(middle, right)];
        put_children(tree, change.bytes_mut(page)?, &top, INVALID_BLOCK, &both);
        return Ok(true);
    };
    let on_parent = |damage: Damage| damage.on(parent_block.unwrap_or(block));
    let (above, behind) = front(tree, change.bytes(parent)).map_err(on_parent)?;
    if above.level != old.level + 1 {
        // it is the parent no more: nothing is written, and the next look finds another way
        return Ok(true);
    }
    let there = children(change.bytes(parent), &above).map_err(on_parent)?;
    let Some(at) = there.iter().position(|child| child.block == block) else { return Ok(true) };
    if there.len() >= most_children(change.bytes(parent).len()) {
        return Ok(false);
    }
    let mut list = Vec::new();
    list.try_reserve_exact(there.len() + 1).map_err(|_| on_parent(Damage::OUT_OF_MEMORY))?;
    list.extend_from_slice(there);
    let new = change.extend()?;
    let added = change.block(new);
    list.insert(at + 1, Child::new(middle, added));
    put_children(tree, change.bytes_mut(parent)?, &above, behind, &list);
    part(change.bytes_mut(page)?, 0, added)?;
    part(change.bytes_mut(new)?, 1, next)?;
    Ok(true)
}

/// Divides the lowest directory page of a path, or the first of those above it that has no room.
fn divide_directory<B: BlockStore>(blocks: &mut B, tree: Tree, path: &Path) -> Result<(), B::Error> {
    for at in (0..path.len).rev() {
        let Some(block) = path.get(at) else { return Ok(()) };
        let parent = at.checked_sub(1).and_then(|at| path.get(at));
        let damage = |damage: Damage| damage.on(block);
        let mut change = blocks.update()?;
        let pages = Pages::open(&mut change, block, parent)?;
        let (old, next) = front(tree, change.bytes(pages.page)).map_err(damage)?;
        let most = most_children(change.bytes(pages.page).len());
        if old.level == 0 || usize::from(old.count) < most {
            return Ok(());
        }
        let mut list = Vec::new();
        list.try_reserve_exact(most).map_err(|_| damage(Damage::OUT_OF_MEMORY))?;
        list.extend_from_slice(children(change.bytes(pages.page), &old).map_err(damage)?);
        let (low, high) = list.split_at(list.len() / 2);
        let middle = high.first().map_or(old.end, |child| child.least);
        let fronts = [middle, old.end].map(|end| Front::new(tree, old.level, end));
        let part = |bytes: &mut [u8], which: usize, next: u32| {
            let part = if which == 0 { low } else { high };
            if let Some(front) = fronts.get(which) {
                put_children(tree, bytes, front, next, part);
            }
            Ok(())
        };
        if divide_page(&mut change, tree, &pages, (block, parent), (middle, next), &old, part)? {
            return change.commit();
        }
    }
    Ok(())
}

/// Removes the values of rows that `is_dead` names, in a pass over all leaves; returns how many. To be done when the
/// rows themselves are gone from the index. `rows` is room that outlives the call.
///
/// `is_dead` is asked while no lock on a block is held. Where scans hold on to leaves, all that did so before are
/// waited for.
///
/// # Errors
/// Damaged blocks, no memory.
pub fn remove<B: BlockStore>(
    blocks: &mut B,
    tree: Tree,
    root: u32,
    rows: &mut Vec<Tid>,
    is_dead: &mut impl FnMut(Tid) -> bool,
) -> Result<u64, B::Error> {
    let mut removed = 0;
    let first = Tid::new(0, 0);
    let mut block = leaf_of(blocks, tree, root, first)?;
    if tree.held && block != root {
        // who holds on to it from when it was the only leaf has a row that stands elsewhere since
        blocks.update()?.open_alone(root)?;
    }
    let (mut turns, mut pages) = (0u32, 0);
    while block != INVALID_BLOCK {
        blocks.pause()?;
        let damage = |damage: Damage| B::Error::from(damage.on(block));
        rows.clear();
        // as many as a page holds, so that the look under the lock needs no memory
        let most = blocks.page_size() / HEAD;
        rows.try_reserve(most).map_err(|_| damage(Damage::OUT_OF_MEMORY))?;
        // none where it is a leaf no more
        let mut next = blocks.read_in_passing(block, |bytes| {
            let (front, next) = front(tree, bytes)?;
            if front.level > 0 {
                return Ok(None);
            }
            let leaf = Leaf::new(bytes, &front)?;
            for at in 0..leaf.len().min(most) {
                rows.push(leaf.row(at)?);
            }
            Ok(Some(next))
        })?;
        rows.retain(|&row| is_dead(row));
        // A scan that holds on to this page may have read a row here that a division has taken further: where all stay,
        // it is waited for, too.
        if !rows.is_empty() || tree.held {
            let mut change = blocks.update()?;
            let page = if tree.held { change.open_alone(block)? } else { change.open(block)? };
            let (front, behind) = front(tree, change.bytes(page)).map_err(damage)?;
            if front.level == 0 {
                // rows that a division has taken to the page behind are met there
                next = Some(behind);
                if !rows.is_empty() {
                    let is_gone =
                        |row: Tid| rows.binary_search_by_key(&row.packed(), |row| row.packed()).is_ok();
                    removed += page::remove(change.bytes_mut(page)?, &front, is_gone).map_err(damage)? as u64;
                    change.commit()?;
                }
            } else {
                next = None;
            }
        }
        turns += 1;
        if turns > pages {
            pages = blocks.count()?;
            if turns > pages {
                return Err(CIRCLE.on(block).into());
            }
        }
        block = match next {
            Some(next) => next,
            // the first page was all of the tree, and was divided: its rows are on leaves of their own
            None if block == root => leaf_of(blocks, tree, root, first)?,
            None => return Err(BAD_PAGE.on(block).into()),
        };
    }
    Ok(removed)
}

#[cfg(test)]
mod held_tests;
#[cfg(test)]
mod tests;
