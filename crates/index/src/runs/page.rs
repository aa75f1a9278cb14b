//! Pages of a tree of entries.
//!
//! ```text
//! page       | page header 24 | kind 1 | level 1 | entries or children 2 | end: name 6, 0 6, key 8 | ... | next block 4 | 0 2 | page id 2 |
//! leaf       | ... | filter keys of as many entries as a page holds, F each | block 0 | block 1 | ...
//! directory  | ... | children, 24 each: least key 8, least name 6, 0 2, block 4, 0 4 | ...
//! centre     | ... | elements, rotated, 4 each | ...
//! ```
//!
//! Blocks are those of the code pages of a packed ivfflat index; the name of an entry stands where the row of a block
//! does. `pd_lower` and `pd_upper` both point behind the page header: no hole, so that generic WAL keeps every byte.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Kinds;
use crate::filter::KEY_SIZE;
use crate::ivf::packed::code::Factors;
use crate::ivf::packed::layout::{Block, CodeFront, CodePage, Entry, Geometry, patch_entry, put, put_entry};
use crate::storage::blocks::{PageRef, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, Page, PageMut, SPECIAL_SIZE, Tid};

const PAGE_HEADER: usize = 24;
/// Where a page's contents begin.
pub const START: usize = PAGE_HEADER + size_of::<Front>();
/// Of pages whose numbers no page has.
pub const BAD_PAGE: Damage = Damage::at(0, "page of filter keys out of range");
/// Of pages that are not what led to them.
pub const ANOTHER_KIND: Damage = Damage::at(0, "page of another kind");

/// A place in the order of entries of a tree: by the key of its filter column, then by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound {
    /// key of the tree's filter column
    pub key: u64,
    /// [`Tid::packed`] of the name
    pub name: u64,
}

impl Bound {
    /// Before all entries.
    pub const START: Bound = Bound { key: 0, name: 0 };
    /// Behind all entries: nothing has this name.
    pub const END: Bound = Bound { key: u64::MAX, name: MOST_NAME };

    /// The place of an entry.
    #[inline]
    pub const fn new(key: u64, name: Tid) -> Self {
        Bound { key, name: name.packed() }
    }

    /// The first place of a key.
    pub const fn first_of(key: u64) -> Self {
        Bound { key, name: 0 }
    }

    /// The last place of a key.
    pub const fn last_of(key: u64) -> Self {
        Bound { key, name: MOST_NAME }
    }
}

const MOST_NAME: u64 = (1 << 48) - 1;

/// The front of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Front {
    kind: u8,
    /// 0 of a leaf
    pub level: u8,
    /// entries, dead ones included, or children
    pub count: u16,
    end_name: Tid,
    unused: [u8; 6],
    end_key: u64,
}

const _: () = assert!(size_of::<Front>() == 24);

impl Front {
    /// The front of a page that has nothing yet.
    pub const fn new(kinds: Kinds, level: u8, end: Bound) -> Self {
        let kind = if level == 0 { kinds.leaf } else { kinds.directory };
        Self::of_kind(kind, level, end)
    }

    const fn of_kind(kind: u8, level: u8, end: Bound) -> Self {
        let end_name = Tid::from_packed(end.name);
        Front { kind, level, count: 0, end_name, unused: [0; 6], end_key: end.key }
    }

    /// What all entries are before: the place where the next page begins.
    #[inline]
    pub const fn end(&self) -> Bound {
        Bound::new(self.end_key, self.end_name)
    }

    /// Whether the page has entries.
    pub const fn is_leaf(&self) -> bool {
        self.level == 0
    }

    /// The same with so many entries or children.
    const fn with(self, count: usize) -> Self {
        Front { count: count as u16, ..self }
    }

    /// The same that ends elsewhere.
    pub(super) const fn ending_at(self, end: Bound) -> Self {
        Front { end_name: Tid::from_packed(end.name), end_key: end.key, ..self }
    }

    pub(super) fn write(&self, bytes: &mut [u8]) {
        put(bytes, PAGE_HEADER, self.as_bytes());
    }
}

/// A page of the level below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Child {
    key: u64,
    name: Tid,
    unused: [u8; 2],
    /// its block
    pub block: u32,
    unused_too: [u8; 4],
}

const _: () = assert!(size_of::<Child>() == 24);

impl Child {
    /// The page in `block`, which begins at `least`.
    pub const fn new(least: Bound, block: u32) -> Self {
        let name = Tid::from_packed(least.name);
        Child { key: least.key, name, unused: [0; 2], block, unused_too: [0; 4] }
    }

    /// Where it begins.
    #[inline]
    pub const fn least(&self) -> Bound {
        Bound::new(self.key, self.name)
    }
}

/// Children of a directory page, at most.
pub const fn most_children(page_size: usize) -> usize {
    (page_size - START - SPECIAL_SIZE) / size_of::<Child>()
}

/// Makes the bytes an empty page.
pub fn init(kinds: Kinds, bytes: &mut [u8], front: &Front, next: u32) {
    PageMut::init(bytes, kinds.page_id).set_next(next);
    front.write(bytes);
    // pd_upper, so that there is no hole (bufpage.h)
    put(bytes, 14, &(PAGE_HEADER as u16).to_ne_bytes());
}

/// The front of a page of a tree, and the page behind it.
///
/// # Errors
/// A page of another kind.
#[inline]
pub fn front(kinds: Kinds, bytes: &[u8]) -> Result<(Front, u32), Damage> {
    let next = Page::new(bytes, kinds.page_id)?.next();
    match Front::read_from_prefix(bytes.get(PAGE_HEADER..).unwrap_or_default()) {
        Ok((front, _)) if front.kind == kinds.leaf && front.level == 0 => Ok((front, next)),
        Ok((front, _)) if front.kind == kinds.directory && front.level > 0 => Ok((front, next)),
        _ => Err(ANOTHER_KIND),
    }
}

/// The entries of a leaf.
///
/// # Errors
/// More than a page holds.
#[inline]
pub fn entries<'p>(geometry: &'p Geometry, bytes: &'p [u8], front: &Front) -> Result<CodePage<'p>, Damage> {
    CodePage::of(geometry, bytes, CodeFront::of_entries(front.count))
}

/// The name of an entry.
#[inline]
pub fn name_of(block: &Block<'_>, slot: usize) -> Option<Tid> {
    block.rows.get(slot).copied()
}

/// The key of a filter column among those of an entry.
#[inline]
pub fn key_of(keys: &[u8], column: usize) -> u64 {
    let key = keys.get(column * KEY_SIZE..).and_then(<[u8]>::first_chunk);
    key.map_or(0, |key| u64::from_ne_bytes(*key))
}

/// An entry that is written to a leaf.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'e> {
    /// what it is the entry of
    pub name: Tid,
    /// where the value is, where entries say that
    pub place: Tid,
    /// of its code
    pub factors: Factors,
    /// as long as codes are
    pub code: &'e [u8],
    /// of all filter columns
    pub keys: &'e [u8],
}

impl NewEntry<'_> {
    const fn entry(&self) -> Entry {
        let Factors { add, scale } = self.factors;
        Entry { row: self.name, place: self.place, add, scale }
    }
}

/// Writes an entry behind the others of a leaf with this front; returns the front that the leaf has then.
///
/// # Errors
/// A leaf that is full.
pub fn add_entry(
    geometry: &Geometry,
    bytes: &mut [u8],
    front: &Front,
    new: &NewEntry<'_>,
) -> Result<Front, Damage> {
    let count = usize::from(front.count);
    put_entry(geometry, bytes, count, &new.entry(), new.code, new.keys)?;
    let front = front.with(count + 1);
    front.write(bytes);
    Ok(front)
}

/// The same as part of a change.
///
/// # Errors
/// A leaf that is full, or no memory.
pub fn patch_in<U: PageUpdate>(
    geometry: &Geometry,
    change: &mut U,
    slot: PageRef,
    front: &Front,
    new: &NewEntry<'_>,
) -> Result<(), U::Error> {
    let count = usize::from(front.count);
    patch_entry(geometry, change, slot, count, &new.entry(), new.code, new.keys)?;
    change.patch(slot, PAGE_HEADER, front.with(count + 1).as_bytes())
}

/// The children of a directory page, in order.
///
/// # Errors
/// None, or more than a page holds.
pub fn children<'p>(bytes: &'p [u8], front: &Front) -> Result<&'p [Child], Damage> {
    let count = usize::from(front.count);
    let end = START + count * size_of::<Child>();
    let found = bytes.get(START..end).filter(|_| count > 0 && end + SPECIAL_SIZE <= bytes.len());
    found.and_then(|bytes| <[Child]>::ref_from_bytes(bytes).ok()).ok_or(BAD_PAGE)
}

/// Writes the children of a directory page.
pub fn put_children(bytes: &mut [u8], front: &Front, children: &[Child]) {
    put(bytes, START, children.as_bytes());
    front.with(children.len()).write(bytes);
}

/// The child in which `bound` is; the first begins where its page begins.
#[inline]
pub fn child_at(children: &[Child], bound: Bound) -> usize {
    children.partition_point(|child| child.least() <= bound).saturating_sub(1)
}

/// Dimensions of a rotated centre that a page holds.
pub const fn most_of_centre(page_size: usize) -> usize {
    (page_size - START - SPECIAL_SIZE) / size_of::<f32>()
}

/// Makes the bytes a page with a centre, if it fits one.
pub fn put_centre(kinds: Kinds, bytes: &mut [u8], centre: &[f32]) {
    init(kinds, bytes, &Front::of_kind(kinds.centre, 0, Bound::END), INVALID_BLOCK);
    put(bytes, START, centre.as_bytes());
}

/// The centre of `padded` elements on a page.
///
/// # Errors
/// Another page.
pub fn centre(kinds: Kinds, bytes: &[u8], padded: usize) -> Result<&[f32], Damage> {
    Page::new(bytes, kinds.page_id)?;
    if bytes.get(PAGE_HEADER) != Some(&kinds.centre) {
        return Err(ANOTHER_KIND);
    }
    let found = bytes.get(START..START + padded * size_of::<f32>());
    found.and_then(|bytes| <[f32]>::ref_from_bytes(bytes).ok()).ok_or(BAD_PAGE)
}
