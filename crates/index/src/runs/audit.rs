//! Whether a tree is whole: it has all of its pages, in order, and each entry where its key says.

use super::page::{BAD_PAGE, Bound, Child, children, entries, front, key_of, name_of};
use super::{Kinds, Tree};
use crate::ivf::packed::layout::Geometry;
use crate::storage::page::{INVALID_BLOCK, Tid};
use crate::work::memory::{OutOfMemory, append, push, resize};
use zerocopy::IntoBytes;

/// An entry that a check meets.
#[derive(Clone, Copy, Debug)]
pub struct Met<'e> {
    /// where it stands
    pub at: Tid,
    /// what it is the entry of
    pub name: Tid,
    /// where it says the value is
    pub place: Tid,
    /// of all filter columns
    pub keys: &'e [u8],
}

/// Whoever has the blocks of an index, and is told of its trees.
pub trait Witness {
    /// Why a check ends.
    type Error;

    /// Copies a block into `out`; false when it cannot be a page of a tree, which is told here.
    ///
    /// # Errors
    /// A block that cannot be had.
    fn read(&mut self, block: u32, out: &mut [u8]) -> Result<bool, Self::Error>;

    /// Is told what is wrong with a block.
    fn tell(&mut self, place: Tid, what: &'static str);

    /// Takes in a living entry of a column's tree.
    ///
    /// # Errors
    /// No memory.
    fn entry(&mut self, column: usize, entry: &Met<'_>) -> Result<(), Self::Error>;

    /// What too little memory is.
    fn no_memory(&mut self) -> Self::Error;
}

/// The walk over trees.
#[derive(Debug, Default)]
pub struct Walk {
    /// whether a block was met, by its number
    pub known: Vec<bool>,
    /// pages of the level at hand, and of the one below
    level: Vec<Child>,
    below: Vec<Child>,
    page: Vec<u64>,
}

impl Walk {
    /// Of an index of `count` blocks of so many bytes.
    ///
    /// # Errors
    /// No memory.
    pub fn begin(&mut self, count: u32, page_size: usize) -> Result<(), OutOfMemory> {
        self.known.clear();
        resize(&mut self.page, page_size / size_of::<u64>(), 0)?;
        resize(&mut self.known, count as usize, false)
    }

    /// Goes over a tree, level by level.
    ///
    /// # Errors
    /// A block that cannot be had, no memory.
    pub fn tree<W: Witness>(
        &mut self,
        kinds: Kinds,
        geometry: &Geometry,
        tree: Tree,
        witness: &mut W,
    ) -> Result<(), W::Error> {
        self.level.clear();
        self.below.clear();
        push(&mut self.level, Child::new(Bound::START, tree.root)).map_err(|_| witness.no_memory())?;
        let mut height = None;
        while !self.level.is_empty() {
            for at in 0..self.level.len() {
                let Some(&child) = self.level.get(at) else { break };
                let place = Tid::new(child.block, 0);
                match self.known.get_mut(child.block as usize) {
                    Some(true) => {
                        witness.tell(place, "filter keys on a page that was there before");
                        continue;
                    }
                    Some(known) => *known = true,
                    None => {}
                }
                if !witness.read(child.block, self.page.as_mut_bytes())? {
                    continue;
                }
                let next = self.level.get(at + 1);
                let expected = next.map_or((Bound::END, INVALID_BLOCK), |next| (next.least(), next.block));
                let page = AuditedPage { kinds, geometry, bytes: self.page.as_bytes(), column: tree.column };
                let level = page.look_at(&child, expected, &mut self.below, witness)?;
                if height.is_some_and(|height| level != Some(height)) {
                    witness.tell(place, "page of filter keys on another level than those beside it");
                }
                height = level;
            }
            height = height.and_then(|height: u8| height.checked_sub(1));
            core::mem::swap(&mut self.level, &mut self.below);
            self.below.clear();
        }
        Ok(())
    }
}

/// A page of a column's tree.
struct AuditedPage<'p> {
    kinds: Kinds,
    geometry: &'p Geometry,
    bytes: &'p [u8],
    column: usize,
}

impl AuditedPage<'_> {
    /// Looks at the page, which is to begin at `own`, and to end, and be followed, as `expected` says. Returns its
    /// level; its children go to `below`.
    fn look_at<W: Witness>(
        &self,
        own: &Child,
        expected: (Bound, u32),
        below: &mut Vec<Child>,
        witness: &mut W,
    ) -> Result<Option<u8>, W::Error> {
        let Self { kinds, geometry, bytes, column } = *self;
        let place = Tid::new(own.block, 0);
        let (front, next) = match front(kinds, bytes) {
            Ok(found) => found,
            Err(damage) => {
                witness.tell(place, damage.what);
                return Ok(None);
            }
        };
        if (front.end(), next) != expected {
            witness.tell(place, "page of filter keys that ends elsewhere than the next begins");
        }
        let within = |bound: Bound| own.least() <= bound && bound < front.end();
        if !front.is_leaf() {
            let children = match children(bytes, &front) {
                Ok(children) => children,
                Err(damage) => {
                    witness.tell(place, damage.what);
                    return Ok(None);
                }
            };
            let ordered = children.is_sorted_by(|a, b| a.least() < b.least());
            let first = children.first().is_some_and(|first| first.least() == own.least());
            if !ordered || !first || !children.iter().all(|child| within(child.least())) {
                witness.tell(place, "directory of filter keys that is not in order");
            }
            append(below, children).map_err(|_| witness.no_memory())?;
            return Ok(Some(front.level));
        }
        let Ok(page) = entries(geometry, bytes, &front) else {
            witness.tell(place, BAD_PAGE.what);
            return Ok(None);
        };
        let mut misplaced = false;
        for (number, block) in page.blocks().enumerate() {
            for slot in (0..block.len).filter(|slot| block.live >> slot & 1 == 1) {
                let (Some(name), Some(&place)) = (name_of(&block, slot), block.places.get(slot)) else {
                    continue;
                };
                let keys = block.keys_of(slot);
                misplaced |= !within(Bound::new(key_of(keys, column), name));
                let at = Tid::new(own.block, (number * geometry.block_entries + slot) as u16 + 1);
                witness.entry(column, &Met { at, name, place, keys })?;
            }
        }
        if misplaced {
            witness.tell(place, "filter keys on another page than their order says");
        }
        Ok(Some(0))
    }
}

/// A number that stands for keys: others have another, all but surely.
pub fn digest(keys: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hasher::write(&mut hasher, keys);
    std::hash::Hasher::finish(&hasher)
}
