//! A tree of an index that is built at once: leaves from sorted entries, nine tenths full, and the directories above
//! them, level by level, the root last.

use core::ops::Range;

use zerocopy::IntoBytes;

use super::super::layout::PageKind;
use super::Tree;
use super::page::{Bound, Child, Front, NewEntry, add_entry, init, most_children, put_children};
use crate::filter::{KEY_SIZE, MAX_COLUMNS};
use crate::ivf::packed::code::{Factors, encode};
use crate::ivf::packed::layout::Geometry;
use crate::quant::rabitq::Bits;
use crate::quant::space::Estimate;
use crate::storage::page::{Damage, INVALID_BLOCK};
use crate::work::memory::{filled, push, resize, with_room};

/// How full pages are, in hundredths.
const FILL: usize = 90;

/// Values of a sample, at most, whose mean is the centre of codes.
pub const SAMPLE: usize = 1024;

/// How entries are written.
#[derive(Clone, Copy, Debug)]
pub struct Coding {
    /// where they stand
    pub geometry: Geometry,
    /// of a code's element
    pub bits: Bits,
    /// what codes tell
    pub estimate: Estimate,
    /// bytes of a page
    pub page_size: usize,
}

/// The tree as it will be written.
#[derive(Debug, Default)]
pub struct TreePlan {
    coding: Option<Coding>,
    /// the filter column in the order of whose keys they are
    column: usize,
    /// the nodes in the order of their entries
    order: Vec<u32>,
    /// the blocks of each level, leaves first
    levels: Vec<Range<u32>>,
}

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

/// Room for an entry.
#[derive(Debug, Default)]
pub struct Room {
    /// a rotated value
    pub value: Vec<f32>,
    code: Vec<u8>,
    zero: Vec<f32>,
    children: Vec<Child>,
}

impl TreePlan {
    /// Plans the tree of a filter column with `nodes` entries whose blocks follow `first`; `key` is the key of a node.
    /// Nodes with greater numbers have greater ids.
    ///
    /// # Errors
    /// No memory, or more pages than there are blocks.
    pub fn new(
        coding: Coding,
        column: usize,
        nodes: usize,
        first: u32,
        key: impl Fn(u32) -> u64,
    ) -> Result<Self, Damage> {
        let mut plan = TreePlan { coding: Some(coding), column, ..TreePlan::default() };
        if nodes == 0 {
            return Ok(plan);
        }
        let mut keys = with_room(nodes)?;
        keys.extend((0..nodes as u32).map(|node| (key(node), node)));
        keys.sort_unstable();
        plan.order = with_room(nodes)?;
        plan.order.extend(keys.iter().map(|&(_, node)| node));
        let filled = |most: usize| (most * FILL / 100).max(2).min(most.max(1));
        let (mut count, mut most, mut start) = (nodes, filled(coding.geometry.entries()), first);
        loop {
            let pages = count.div_ceil(most);
            let end = u32::try_from(pages).ok().and_then(|pages| start.checked_add(pages));
            let end = end.filter(|&end| end < INVALID_BLOCK);
            let end = end.ok_or(Damage::internal("more pages than blocks"))?;
            push(&mut plan.levels, start..end)?;
            if pages == 1 {
                return Ok(plan);
            }
            (count, most, start) = (pages, filled(most_children(coding.page_size)), end);
        }
    }

    /// Pages of the tree.
    pub fn pages(&self) -> u32 {
        match (self.levels.first(), self.levels.last()) {
            (Some(first), Some(last)) => last.end - first.start,
            _ => 0,
        }
    }

    /// Leaves.
    pub fn leaves(&self) -> u32 {
        self.levels.first().map_or(0, |leaves| leaves.end - leaves.start)
    }

    /// The tree; without a root when it is empty.
    pub fn tree(&self) -> Tree {
        Tree { column: self.column, root: self.levels.last().map_or(INVALID_BLOCK, |level| level.start) }
    }

    /// Whether a block is one of the tree's.
    pub fn has(&self, block: u32) -> bool {
        self.levels.iter().any(|level| level.contains(&block))
    }

    /// Which of what `count` things are on page `at` of a level.
    fn part(&self, level: usize, at: usize, count: usize) -> Range<usize> {
        let pages = self.levels.get(level).map_or(1, |level| (level.end - level.start) as usize).max(1);
        count * at / pages..count * (at + 1) / pages
    }

    /// The number in the order of the first entry below page `at` of a level; behind the last page, that of all.
    fn first_below(&self, level: usize, at: usize) -> usize {
        let mut at = at;
        for level in (0..=level).rev() {
            let below = match level.checked_sub(1) {
                Some(below) => self.levels.get(below).map_or(0, |below| (below.end - below.start) as usize),
                None => self.order.len(),
            };
            at = self.part(level, at, below).start;
        }
        at
    }

    /// Composes a page. `centre` is that of codes, empty where it is zero; `entry_of` tells a node's id and keys, and
    /// `value` writes its rotated value.
    ///
    /// # Errors
    /// No page of the tree, or no memory.
    pub fn compose(
        &self,
        block: u32,
        bytes: &mut [u8],
        centre: &[f32],
        room: &mut Room,
        entry_of: impl Fn(u32) -> Option<(u32, [u64; MAX_COLUMNS])>,
        mut value: impl FnMut(u32, &mut Vec<f32>) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let missing = Damage::internal("page of no tree");
        let Coding { geometry, bits, estimate, .. } = self.coding.as_ref().ok_or(missing)?;
        let level = self.levels.iter().position(|level| level.contains(&block)).ok_or(missing)?;
        let blocks = self.levels.get(level).ok_or(missing)?;
        let at = (block - blocks.start) as usize;
        let bound = |place: usize| {
            let Some(&node) = self.order.get(place) else { return Some(Bound::END) };
            entry_of(node).map(|(id, keys)| Bound { key: keys.get(self.column).copied().unwrap_or(0), id })
        };
        let end = bound(self.first_below(level, at + 1)).ok_or(missing)?;
        let next = if block + 1 < blocks.end { block + 1 } else { INVALID_BLOCK };
        let Some(below) = level.checked_sub(1) else {
            let part = self.part(0, at, self.order.len());
            let mut front = Front::new(PageKind::Keys, 0, end);
            init(bytes, &front, next);
            resize(&mut room.code, geometry.code, 0)?;
            resize(&mut room.zero, if geometry.code > 0 { geometry.padded } else { 0 }, 0.0)?;
            for &node in self.order.get(part).unwrap_or_default() {
                let (id, keys) = entry_of(node).ok_or(missing)?;
                let factors = if geometry.code > 0 {
                    value(node, &mut room.value)?;
                    let centre = if centre.is_empty() { &room.zero } else { centre };
                    encode(*bits, *estimate, &room.value, centre, &mut room.code)
                } else {
                    Factors { add: f32::NEG_INFINITY, scale: 0.0 }
                };
                let columns = geometry.filter_size / KEY_SIZE;
                let keys = keys.get(..columns).unwrap_or_default().as_bytes();
                front =
                    add_entry(geometry, bytes, &front, &NewEntry { id, factors, code: &room.code, keys })?;
            }
            return Ok(());
        };
        let children = self.levels.get(below).ok_or(missing)?;
        let level_of = u8::try_from(level).map_err(|_| missing)?;
        let front = Front::new(PageKind::Directory, level_of, end);
        init(bytes, &front, next);
        room.children.clear();
        for child in self.part(level, at, (children.end - children.start) as usize) {
            let first = self.first_below(below, child);
            let least = if first == 0 { Some(Bound::START) } else { bound(first) };
            push(&mut room.children, Child::new(least.ok_or(missing)?, children.start + child as u32))?;
        }
        put_children(bytes, &front, &room.children);
        Ok(())
    }
}
