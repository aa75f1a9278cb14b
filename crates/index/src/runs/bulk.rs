//! A tree of an index that is built at once: leaves from entries in order, and the directories above them, level by
//! level, the root last. Where every page will stand is known when it is known how many entries there are.

use core::ops::Range;

use super::Kinds;
use super::page::{Bound, Child, Front, NewEntry, add_entry, init, most_children, put_children};
use crate::ivf::packed::layout::Geometry;
use crate::storage::page::{Damage, INVALID_BLOCK};
use crate::work::memory::{filled, push};

/// Values of a sample, at most, whose mean is the centre of codes.
pub const SAMPLE: usize = 1024;

const MISSING: Damage = Damage::internal("page of no tree");

/// The centre of codes: the mean of rotated values of `size` elements, those that `values` calls back with.
///
/// # Errors
/// No memory.
pub fn centre_of(size: usize, values: impl FnOnce(&mut dyn FnMut(&[f32]))) -> Result<Vec<f32>, Damage> {
    let (mut centre, mut count) = (filled(0.0f32, size)?, 0.0f32);
    values(&mut |value| {
        count += 1.0;
        centre.iter_mut().zip(value).for_each(|(sum, x)| *sum += (x - *sum) / count);
    });
    if centre.iter().any(|x| !x.is_finite()) {
        centre.fill(0.0);
    }
    Ok(centre)
}

/// A tree as it will be written.
#[derive(Debug)]
pub struct Plan {
    kinds: Kinds,
    geometry: Geometry,
    entries: usize,
    /// the blocks of each level, leaves first; none of a tree without entries
    levels: Vec<Range<u32>>,
}

impl Plan {
    /// Plans a tree of so many entries whose blocks follow `first`, its pages as full as `fill` hundredths say.
    ///
    /// # Errors
    /// No memory, or more pages than there are blocks.
    pub fn new(
        kinds: Kinds,
        geometry: &Geometry,
        entries: usize,
        first: u32,
        fill: usize,
    ) -> Result<Self, Damage> {
        let mut plan = Plan { kinds, geometry: *geometry, entries, levels: Vec::new() };
        if entries == 0 {
            return Ok(plan);
        }
        let filled = |most: usize| (most * fill / 100).max(2).min(most.max(1));
        let (mut count, mut most, mut start) = (entries, filled(geometry.entries()), first);
        loop {
            let pages = count.div_ceil(most);
            let end = u32::try_from(pages).ok().and_then(|pages| start.checked_add(pages));
            let end = end.filter(|&end| end < INVALID_BLOCK);
            let end = end.ok_or(Damage::internal("more pages than blocks"))?;
            push(&mut plan.levels, start..end)?;
            if pages == 1 {
                return Ok(plan);
            }
            (count, most, start) = (pages, filled(most_children(geometry.page_size)), end);
        }
    }

    /// Pages of the tree.
    pub fn pages(&self) -> u32 {
        match (self.levels.first(), self.levels.last()) {
            (Some(first), Some(last)) => last.end - first.start,
            _ => 0,
        }
    }

    /// The blocks of leaves.
    pub fn leaves(&self) -> Range<u32> {
        self.levels.first().cloned().unwrap_or_default()
    }

    /// The blocks of directories, in which those of a level follow those of the level below.
    pub fn directories(&self) -> Range<u32> {
        let leaves = self.leaves();
        leaves.end..leaves.start + self.pages()
    }

    /// The first page of the tree; none when it is empty.
    pub fn root(&self) -> u32 {
        self.levels.last().map_or(INVALID_BLOCK, |level| level.start)
    }

    /// Whether a block is one of the tree's.
    pub fn has(&self, block: u32) -> bool {
        self.levels.iter().any(|level| level.contains(&block))
    }

    /// Which of what `count` things are on page `at` of a level.
    fn part(&self, level: usize, at: usize, count: usize) -> Range<usize> {
        let pages = self.levels.get(level).map_or(1, ExactSizeIterator::len).max(1);
        count * at / pages..count * (at + 1) / pages
    }

    /// Which entries, in their order, are on a leaf; none of a block that is no leaf.
    pub fn entries_of(&self, block: u32) -> Option<Range<usize>> {
        let leaves = self.leaves();
        leaves.contains(&block).then(|| self.part(0, (block - leaves.start) as usize, self.entries))
    }

    /// The leaf with the first entry below page `at` of a level; behind the last page, the number of all leaves.
    fn leaf_below(&self, level: usize, at: usize) -> usize {
        let mut at = at;
        for level in (1..=level).rev() {
            let below = self.levels.get(level - 1).map_or(0, ExactSizeIterator::len);
            at = self.part(level, at, below).start;
        }
        at
    }

    /// Makes the bytes a leaf that ends at `end`, of entries that are added one by one.
    ///
    /// # Errors
    /// A block that is no leaf.
    pub fn begin_leaf<'p>(
        &'p self,
        block: u32,
        bytes: &'p mut [u8],
        end: Bound,
    ) -> Result<LeafWriter<'p>, Damage> {
        let leaves = self.leaves();
        if !leaves.contains(&block) {
            return Err(MISSING);
        }
        let front = Front::new(self.kinds, 0, end);
        init(self.kinds, bytes, &front, if block + 1 < leaves.end { block + 1 } else { INVALID_BLOCK });
        Ok(LeafWriter { geometry: &self.geometry, bytes, front })
    }

    /// Makes the bytes a directory; `least` tells where a leaf begins, by its number.
    ///
    /// # Errors
    /// A block that is no directory, or no memory.
    pub fn put_directory(
        &self,
        block: u32,
        bytes: &mut [u8],
        room: &mut Vec<Child>,
        least: impl Fn(usize) -> Option<Bound>,
    ) -> Result<(), Damage> {
        let level = self.levels.iter().position(|level| level.contains(&block)).filter(|&level| level > 0);
        let level = level.ok_or(MISSING)?;
        let (Some(blocks), Some(below)) = (self.levels.get(level), self.levels.get(level - 1)) else {
            return Err(MISSING);
        };
        let (at, leaves) = ((block - blocks.start) as usize, self.leaves().len());
        let bound = |leaf: usize| match leaf {
            0 => Some(Bound::START),
            leaf if leaf >= leaves => Some(Bound::END),
            leaf => least(leaf),
        };
        let end = bound(self.leaf_below(level, at + 1)).ok_or(MISSING)?;
        let front = Front::new(self.kinds, u8::try_from(level).map_err(|_| MISSING)?, end);
        init(self.kinds, bytes, &front, if block + 1 < blocks.end { block + 1 } else { INVALID_BLOCK });
        room.clear();
        for child in self.part(level, at, below.len()) {
            let least = bound(self.leaf_below(level - 1, child)).ok_or(MISSING)?;
            push(room, Child::new(least, below.start + child as u32))?;
        }
        put_children(bytes, &front, room);
        Ok(())
    }
}

/// A leaf that fills.
#[derive(Debug)]
pub struct LeafWriter<'p> {
    geometry: &'p Geometry,
    bytes: &'p mut [u8],
    front: Front,
}

impl LeafWriter<'_> {
    /// Adds the next entry.
    ///
    /// # Errors
    /// A leaf that is full.
    pub fn add(&mut self, new: &NewEntry<'_>) -> Result<(), Damage> {
        self.front = add_entry(self.geometry, self.bytes, &self.front, new)?;
        Ok(())
    }

    /// Says that it ends at `end`.
    pub fn end_at(mut self, end: Bound) {
        self.front = self.front.ending_at(end);
        self.front.write(self.bytes);
    }
}
