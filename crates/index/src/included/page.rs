//! Pages of included values.
//!
//! ```text
//! page       | page header 24 | kind 1 | level 1 | rows or children 2 | end 6 | 0 2 | ... | next block 4 | 0 2 | page id 2 |
//! leaf       | ... | where the values of each row begin, in the order of their TIDs, 2 each | nothing | values ... |
//! values     | heap TID 6 | size and flags 2 | what the server makes of the values | up to a multiple of 8 |
//! directory  | ... | children: least TID 6, 0 2, block 4 | ...
//! ```
//!
//! The values of a row are an index tuple of the server (src/include/access/itup.h), whose lower 13 bits of the word
//! behind the TID are its size. `pd_lower` is behind the last place or child, `pd_upper` before the first values: what
//! lies between is zero and goes to no log (xloginsert.c, generic_xlog.c). Within the values there may be gaps, where
//! those of removed rows were, until somebody needs the room.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Tree;
use crate::storage::page::{Damage, INVALID_BLOCK, Page, PageMut, SPECIAL_SIZE, Tid};

const PAGE_HEADER: usize = 24;
const LOWER: usize = 12;
const UPPER: usize = 14;
/// Where places or children begin.
pub(super) const START: usize = PAGE_HEADER + size_of::<Front>();
/// Bytes of a row's place.
const PLACE: usize = 2;
/// Bytes before what the server makes of the values.
pub const HEAD: usize = 8;
/// Of the word behind the TID.
const SIZE_MASK: u16 = 0x1fff;
/// Of pages whose numbers no page has.
pub(super) const BAD_PAGE: Damage = Damage::at(0, "page of included values out of range");

/// Behind all rows.
pub const END: Tid = Tid::new(u32::MAX, u16::MAX);

/// The largest values that a page of `page_size` bytes holds, with their head.
pub const fn largest(page_size: usize) -> usize {
    let room = (page_size - SPECIAL_SIZE - START - PLACE) & !7;
    if room < SIZE_MASK as usize { room } else { SIZE_MASK as usize & !7 }
}

/// Children of a directory page, at most.
pub(super) const fn most_children(page_size: usize) -> usize {
    (page_size - START - SPECIAL_SIZE) / size_of::<Child>()
}

/// The front of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Front {
    kind: u8,
    /// 0 of a leaf
    pub(super) level: u8,
    /// rows or children
    pub(super) count: u16,
    /// what all rows are before: where the next page begins
    pub(super) end: Tid,
    pub(super) unused: [u8; 2],
}

const _: () = assert!(size_of::<Front>() == 12);

impl Front {
    /// The front of a page that has nothing yet.
    pub(super) const fn new(tree: Tree, level: u8, end: Tid) -> Self {
        let kind = if level == 0 { tree.leaf } else { tree.directory };
        Front { kind, level, count: 0, end, unused: [0; 2] }
    }

    /// Whether a row is behind all that the page is for.
    pub(super) const fn is_before(&self, row: Tid) -> bool {
        row.packed() >= self.end.packed()
    }
}

/// A page of the level below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Child {
    /// where it begins
    pub(super) least: Tid,
    pub(super) unused: [u8; 2],
    pub(super) block: u32,
}

impl Child {
    pub(super) const fn new(least: Tid, block: u32) -> Self {
        Child { least, unused: [0; 2], block }
    }
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

fn put_u16(bytes: &mut [u8], at: usize, value: usize) {
    put(bytes, at, &(value as u16).to_ne_bytes());
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    let found = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    found.map_or(0, |found| usize::from(u16::from_ne_bytes(*found)))
}

/// Makes the bytes an empty page.
pub(super) fn init(tree: Tree, bytes: &mut [u8], front: &Front, next: u32) {
    PageMut::init(bytes, tree.page_id).set_next(next);
    put(bytes, PAGE_HEADER, Front { count: 0, ..*front }.as_bytes());
    put_u16(bytes, LOWER, START);
}

/// The front of a page of the tree, and the page behind it.
///
/// # Errors
/// A page of another kind.
#[inline]
pub(super) fn front(tree: Tree, bytes: &[u8]) -> Result<(Front, u32), Damage> {
    let page = Page::new(bytes, tree.page_id)?;
    let front = Front::read_from_prefix(bytes.get(PAGE_HEADER..).unwrap_or_default());
    let (front, _) = front.map_err(|_| BAD_PAGE)?;
    let own = if front.level == 0 { tree.leaf } else { tree.directory };
    if front.kind == own { Ok((front, page.next())) } else { Err(Damage::at(0, "page of another kind")) }
}

/// The children of a directory page, in order.
///
/// # Errors
/// None, or more than a page holds.
pub(super) fn children<'p>(bytes: &'p [u8], front: &Front) -> Result<&'p [Child], Damage> {
    let count = usize::from(front.count);
    let end = START + count * size_of::<Child>();
    let found = bytes.get(START..end).filter(|_| count > 0 && end + SPECIAL_SIZE <= bytes.len());
    found.and_then(|bytes| <[Child]>::ref_from_bytes(bytes).ok()).ok_or(BAD_PAGE)
}

/// Writes a directory page.
pub(super) fn put_children(tree: Tree, bytes: &mut [u8], front: &Front, next: u32, children: &[Child]) {
    init(tree, bytes, front, next);
    put(bytes, START, children.as_bytes());
    set_count(bytes, children.len());
    put_u16(bytes, LOWER, START + size_of_val(children));
}

/// The child in which a row is; the first begins where its page begins.
pub(super) fn child_at(children: &[Child], row: Tid) -> usize {
    children.partition_point(|child| child.least.packed() <= row.packed()).saturating_sub(1)
}

fn set_count(bytes: &mut [u8], count: usize) {
    put_u16(bytes, PAGE_HEADER + 2, count);
}

/// The row that values are of, by their head.
#[inline]
pub fn row_of(values: &[u8]) -> Option<Tid> {
    Tid::read_from_prefix(values).ok().map(|(row, _)| row)
}

/// The size of values with their head, as this says it.
#[inline]
pub fn size_of_values(values: &[u8]) -> usize {
    u16_at(values, size_of::<Tid>()) & usize::from(SIZE_MASK)
}

/// A leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf<'p> {
    bytes: &'p [u8],
    places: &'p [[u8; PLACE]],
    /// where values may stand
    upper: usize,
    special: usize,
}

impl<'p> Leaf<'p> {
    /// The leaf with this front.
    ///
    /// # Errors
    /// Another page, or numbers that no page has.
    #[inline]
    pub(super) fn new(bytes: &'p [u8], front: &Front) -> Result<Self, Damage> {
        let special = bytes.len().saturating_sub(SPECIAL_SIZE);
        let end = START + usize::from(front.count) * PLACE;
        let (lower, upper) = (u16_at(bytes, LOWER), u16_at(bytes, UPPER));
        let places = bytes.get(START..end).and_then(|bytes| <[[u8; PLACE]]>::ref_from_bytes(bytes).ok());
        match places {
            Some(places) if front.level == 0 && lower == end && lower <= upper && upper <= special => {
                Ok(Leaf { bytes, places, upper, special })
            }
            _ => Err(BAD_PAGE),
        }
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The values at a place, with their head.
    ///
    /// # Errors
    /// A place outside of the page's values.
    #[inline]
    pub(super) fn values(&self, at: usize) -> Result<&'p [u8], Damage> {
        let bad = Damage::at(at as u16 + 1, "invalid place of included values");
        let start = usize::from(u16::from_ne_bytes(*self.places.get(at).ok_or(bad)?));
        let rest = self.bytes.get(start..self.special).ok_or(bad)?;
        let size = size_of_values(rest);
        if start < self.upper || !start.is_multiple_of(8) || size < HEAD || !size.is_multiple_of(8) {
            return Err(bad);
        }
        rest.get(..size).ok_or(bad)
    }

    /// The row at a place.
    ///
    /// # Errors
    /// As [`Self::values`].
    pub(super) fn row(&self, at: usize) -> Result<Tid, Damage> {
        row_of(self.values(at)?).ok_or(BAD_PAGE)
    }

    /// The place of a row, or the one where it would be.
    ///
    /// # Errors
    /// As [`Self::values`].
    #[inline]
    pub(super) fn find(&self, row: Tid) -> Result<Result<usize, usize>, Damage> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.row(middle)?.packed().cmp(&row.packed()) {
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Equal => return Ok(Ok(middle)),
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(Err(low))
    }

    /// Bytes that are free at once, and those that are where the page is written anew.
    ///
    /// # Errors
    /// As [`Self::values`], or more values than the page holds.
    pub(super) fn room(&self) -> Result<(usize, usize), Damage> {
        let lower = START + self.places.len() * PLACE;
        let mut used = 0;
        for at in 0..self.len() {
            used += self.values(at)?.len();
        }
        let whole = (self.special - lower).checked_sub(used).ok_or(BAD_PAGE)?;
        Ok((self.upper - lower, whole))
    }
}

/// Bytes that the values of a row take on a page.
pub(super) const fn taken(values: &[u8]) -> usize {
    values.len() + PLACE
}

/// Adds values at a place of a leaf that has so much room at once.
///
/// # Errors
/// A page without that room.
pub(super) fn insert(bytes: &mut [u8], at: usize, values: &[u8]) -> Result<(), Damage> {
    let count = u16_at(bytes, PAGE_HEADER + 2);
    let (lower, upper) = (START + count * PLACE, u16_at(bytes, UPPER));
    let start = upper.checked_sub(values.len()).filter(|&start| start >= lower + PLACE && at <= count);
    let start = start.ok_or(BAD_PAGE)?;
    let place = START + at * PLACE;
    bytes.copy_within(place..lower, place + PLACE);
    put_u16(bytes, place, start);
    put(bytes, start, values);
    set_count(bytes, count + 1);
    put_u16(bytes, LOWER, lower + PLACE);
    put_u16(bytes, UPPER, start);
    Ok(())
}

/// Removes the rows of a leaf that `is_gone` names; returns how many.
///
/// # Errors
/// A page that is no leaf.
pub(super) fn remove(
    bytes: &mut [u8],
    front: &Front,
    is_gone: impl Fn(Tid) -> bool,
) -> Result<usize, Damage> {
    let special = bytes.len().saturating_sub(SPECIAL_SIZE);
    let (mut kept, mut upper) = (0, special);
    let count = Leaf::new(bytes, front)?.len();
    for at in 0..count {
        let gone = is_gone(Leaf::new(bytes, front)?.row(at)?);
        if !gone {
            let start = u16_at(bytes, START + at * PLACE);
            put_u16(bytes, START + kept * PLACE, start);
            kept += 1;
            upper = upper.min(start);
        }
    }
    set_count(bytes, kept);
    put_u16(bytes, LOWER, START + kept * PLACE);
    put_u16(bytes, UPPER, upper);
    if let Some(free) = bytes.get_mut(START + kept * PLACE..upper) {
        free.fill(0);
    }
    Ok(count - kept)
}

/// Writes a leaf with some of the rows of another.
///
/// # Errors
/// Those of reading the other.
pub(super) fn write(
    tree: Tree,
    bytes: &mut [u8],
    front: &Front,
    next: u32,
    from: &Leaf<'_>,
    part: core::ops::Range<usize>,
) -> Result<(), Damage> {
    init(tree, bytes, front, next);
    for (at, number) in part.enumerate() {
        insert(bytes, at, from.values(number)?)?;
    }
    Ok(())
}

/// The empty page of a level's end.
pub(super) fn init_root(tree: Tree, bytes: &mut [u8]) {
    init(tree, bytes, &Front::new(tree, 0, END), INVALID_BLOCK);
}
