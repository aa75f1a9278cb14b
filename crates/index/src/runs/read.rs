//! Runs as scans read them: where they begin, how long they are about, and which of their entries match.

use super::page::{BAD_PAGE, Bound, Front, child_at, children, entries, front};
use super::tree::descend;
use super::{Kinds, Tree};
use crate::filter::Program;
use crate::ivf::packed::layout::{Block, Geometry};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, INVALID_BLOCK};

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
    Some(from.max(Bound::first_of(first)))
}

/// Finds the first leaf with entries that may match.
///
/// # Errors
/// Damaged blocks.
pub fn first_place<B: BlockStore>(
    blocks: &mut B,
    kinds: Kinds,
    tree: Tree,
    filter: &Program,
    path: &mut Vec<u32>,
) -> Result<Option<Place>, B::Error> {
    match next_place(filter, tree.column, Bound::START).filter(|_| tree.is_there()) {
        Some(from) => {
            let block = descend(blocks, kinds, tree.root, from, path)?;
            Ok(Some(Place { block, from }))
        }
        None => Ok(None),
    }
}

/// Shows the blocks of a leaf that have entries which match, with these alone as living ones; returns the place behind
/// it. (A leaf that was divided since the place was found is looked for again.)
///
/// # Errors
/// A damaged block, or what `look` says.
#[inline]
pub fn look_at<B: BlockStore>(
    blocks: &mut B,
    (kinds, geometry): (Kinds, &Geometry),
    tree: Tree,
    place: &Place,
    filter: &Program,
    path: &mut Vec<u32>,
    mut look: impl FnMut(Block<'_>) -> Result<(), Damage>,
) -> Result<Option<Place>, B::Error> {
    let after = blocks.read(place.block, |bytes| {
        let (front, next) = front(kinds, bytes)?;
        if !front.is_leaf() || front.end() <= place.from {
            // the place is further to the right now, or below
            return Ok(None);
        }
        let page = entries(geometry, bytes, &front)?;
        let which = page.select(filter);
        page.selected(&which).try_for_each(&mut look)?;
        Ok(Some((front.end(), next)))
    })?;
    let Some((end, next)) = after else {
        // a leaf that ends behind the place: each look is at one, unless inserts are faster
        let block = descend(blocks, kinds, tree.root, place.from, path)?;
        return Ok(Some(Place { block, from: place.from }));
    };
    if next == INVALID_BLOCK {
        return Ok(None);
    }
    match next_place(filter, tree.column, end) {
        None => Ok(None),
        Some(from) if from == end => Ok(Some(Place { block: next, from })),
        Some(from) => {
            let block = descend(blocks, kinds, tree.root, from, path)?;
            Ok(Some(Place { block, from }))
        }
    }
}

/// How long a tree, or a run of it, is about: to a leaf's worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// of all entries, the share
    pub share: f64,
    /// leaves of the whole tree
    pub leaves: f64,
}

/// The share of all entries that is before `bound`, about, and that of a leaf.
fn rank<B: BlockStore>(
    blocks: &mut B,
    kinds: Kinds,
    root: u32,
    bound: Bound,
) -> Result<(f64, f64), B::Error> {
    let (mut block, mut before, mut width) = (root, 0.0, 1.0);
    let mut left = blocks.count()?;
    loop {
        left = left.checked_sub(1).ok_or(Damage::at(0, "filter keys in a circle").on(block))?;
        let next = blocks.read(block, |bytes| {
            let (front, next): (Front, u32) = front(kinds, bytes)?;
            if bound >= front.end() {
                return Ok(Some(next));
            }
            if front.is_leaf() {
                // the rest is less than a leaf
                return Ok(None);
            }
            let children = children(bytes, &front)?;
            let at = child_at(children, bound);
            width /= children.len() as f64;
            before += width * at as f64;
            Ok(Some(children.get(at).ok_or(BAD_PAGE)?.block))
        })?;
        match next {
            // behind all of them
            Some(INVALID_BLOCK) => return Ok((before + width, width)),
            None => return Ok((before + width / 2.0, width)),
            Some(next) => block = next,
        }
    }
}

/// Ranges whose lengths are looked at; others are taken to be as long.
const RANGES: usize = 8;

/// Whether the conditions say nothing of the column in the order of whose keys a tree is.
pub fn is_free(tree: Tree, filter: &Program) -> bool {
    filter.next_range(tree.column, 0) == Some((0, u64::MAX))
}

/// How much of a tree the conditions on its column leave, about.
///
/// # Errors
/// Damaged blocks.
pub fn extent<B: BlockStore>(
    blocks: &mut B,
    kinds: Kinds,
    tree: Tree,
    filter: &Program,
) -> Result<Extent, B::Error> {
    let Tree { column, root } = tree;
    if !tree.is_there() {
        return Ok(Extent { share: 1.0, leaves: 0.0 });
    }
    if is_free(tree, filter) {
        let (_, leaf) = rank(blocks, kinds, root, Bound::START)?;
        return Ok(Extent { share: 1.0, leaves: 1.0 / leaf });
    }
    let (mut share, mut leaves, mut looked, mut from) = (0.0, 1.0f64, 0, 0);
    while let Some((first, last)) = filter.next_range(column, from) {
        if looked == RANGES {
            share *= filter.ranges(column).max(RANGES) as f64 / RANGES as f64;
            break;
        }
        looked += 1;
        let (start, leaf) = rank(blocks, kinds, root, Bound::first_of(first))?;
        let (end, _) = rank(blocks, kinds, root, Bound::last_of(last))?;
        // a range within a leaf is nothing to the numbers of leaves, and many of them are much
        share += (end - start).max(0.25 * leaf);
        leaves = leaves.max(1.0 / leaf);
        match last.checked_add(1) {
            Some(next) => from = next,
            None => break,
        }
    }
    Ok(Extent { share: share.min(1.0), leaves })
}

/// The pages of a tree, and bytes of leaves that have no entry.
///
/// # Errors
/// Damaged blocks, pages that are chained in a circle.
pub fn pages<B: BlockStore>(
    blocks: &mut B,
    kinds: Kinds,
    geometry: &Geometry,
    tree: Tree,
) -> Result<(u32, u64), B::Error> {
    let (mut first, mut pages, mut room) = (tree.root, 0u32, 0u64);
    let most = blocks.count()?.saturating_mul(2).saturating_add(1024);
    while first != INVALID_BLOCK {
        let (mut block, mut below) = (first, INVALID_BLOCK);
        while block != INVALID_BLOCK {
            blocks.pause()?;
            let (next, child, free) = blocks.read_in_passing(block, |bytes| {
                let (front, next) = front(kinds, bytes)?;
                if !front.is_leaf() {
                    return Ok((next, children(bytes, &front)?.first().map(|child| child.block), 0));
                }
                let live = entries(geometry, bytes, &front)?.live();
                Ok((next, None, geometry.entries().saturating_sub(live)))
            })?;
            pages += 1;
            if pages > most {
                return Err(Damage::at(0, "filter keys in a circle").on(block).into());
            }
            below = if block == first { child.unwrap_or(INVALID_BLOCK) } else { below };
            let entry = geometry.block_size / geometry.block_entries.max(1) + geometry.filter_size;
            room += (free * entry) as u64;
            block = next;
        }
        first = below;
    }
    Ok((pages, room))
}
