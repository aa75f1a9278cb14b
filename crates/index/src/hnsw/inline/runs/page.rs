//! Pages of the tree of entries.
//!
//! ```text
//! page       | page header 24 | kind 1 | level 1 | entries or children 2 | end: id 4, key 8 | ... | next block 4 | 0 2 | page id 2 |
//! leaf       | ... | filter keys of as many entries as a page holds, F each | block 0 | block 1 | ...
//! directory  | ... | children, 16 each: least key 8, least id 4, block 4 | ...
//! centre     | ... | elements, rotated, 4 each | ...
//! ```
//!
//! Blocks are those of the code pages of a packed ivfflat index without places; the id of an entry's node stands where
//! the block of a row would, beside the offset 1. `pd_lower` and `pd_upper` both point behind the page header: no
//! hole, so that generic WAL keeps every byte.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::super::layout::{PAGE_ID, PageKind, page_kind};
use crate::filter::KEY_SIZE;
use crate::ivf::packed::code::Factors;
use crate::ivf::packed::layout::{Block, CodeFront, CodePage, Entry, Geometry, START, put, put_entry};
use crate::storage::page::{Damage, INVALID_BLOCK, Page, PageMut, SPECIAL_SIZE, Tid};

const PAGE_HEADER: usize = 24;
/// Of pages whose numbers no page has.
pub const BAD_PAGE: Damage = Damage::at(0, "page of filter keys out of range");

/// A place in the order of entries of a tree: by the key of its filter column, then by the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound {
    /// key of the tree's filter column
    pub key: u64,
    /// node
    pub id: u32,
}

impl Bound {
    /// Before all entries.
    pub const START: Bound = Bound { key: 0, id: 0 };
    /// Behind all entries: no node has this id.
    pub const END: Bound = Bound { key: u64::MAX, id: u32::MAX };
}

/// The front of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Front {
    kind: u8,
    /// 0 of a leaf
    pub level: u8,
    /// entries, dead ones included, or children
    pub count: u16,
    end_id: u32,
    end_key: u64,
}

const _: () = assert!(size_of::<Front>() + PAGE_HEADER == START);

impl Front {
    /// The front of a page that has nothing yet.
    pub const fn new(kind: PageKind, level: u8, end: Bound) -> Self {
        Front { kind: kind as u8, level, count: 0, end_id: end.id, end_key: end.key }
    }

    /// What all entries are before: the place where the next page begins.
    pub const fn end(&self) -> Bound {
        Bound { key: self.end_key, id: self.end_id }
    }

    /// The same with so many entries or children.
    const fn with(self, count: usize) -> Self {
        Front { count: count as u16, ..self }
    }

    fn write(&self, bytes: &mut [u8]) {
        put(bytes, PAGE_HEADER, self.as_bytes());
    }
}

/// A page of the level below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Child {
    key: u64,
    id: u32,
    /// its block
    pub block: u32,
}

impl Child {
    /// The page in `block`, which begins at `least`.
    pub const fn new(least: Bound, block: u32) -> Self {
        Child { key: least.key, id: least.id, block }
    }

    /// Where it begins.
    pub const fn least(&self) -> Bound {
        Bound { key: self.key, id: self.id }
    }
}

/// Children of a directory page, at most.
pub const fn most_children(page_size: usize) -> usize {
    (page_size - START - SPECIAL_SIZE) / size_of::<Child>()
}

/// Makes the bytes an empty page.
pub fn init(bytes: &mut [u8], front: &Front, next: u32) {
    PageMut::init(bytes, PAGE_ID).set_next(next);
    front.write(bytes);
    // pd_upper, so that there is no hole (bufpage.h)
    put(bytes, 14, &(PAGE_HEADER as u16).to_ne_bytes());
}

/// Which page of the tree this is, with its front and the page behind it.
///
/// # Errors
/// A page of another kind.
#[inline]
pub fn front(bytes: &[u8]) -> Result<(PageKind, Front, u32), Damage> {
    let next = Page::unidentified(bytes)?.next();
    let front = Front::read_from_prefix(bytes.get(PAGE_HEADER..).unwrap_or_default());
    match (page_kind(bytes)?, front) {
        (Some(kind @ PageKind::Keys), Ok((front, _))) if front.level == 0 => Ok((kind, front, next)),
        (Some(kind @ PageKind::Directory), Ok((front, _))) if front.level > 0 => Ok((kind, front, next)),
        _ => Err(Damage::at(0, "page of another kind")),
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

/// The node of an entry.
#[inline]
pub fn node_of(block: &Block<'_>, slot: usize) -> Option<u32> {
    block.rows.get(slot).map(|row| row.block())
}

/// What stands for a node among the rows of a block.
pub const fn row_of(id: u32) -> Tid {
    Tid::new(id, 1)
}

/// The key of a filter column among those of an entry.
pub fn key_of(keys: &[u8], column: usize) -> u64 {
    let key = keys.get(column * KEY_SIZE..).and_then(<[u8]>::first_chunk);
    key.map_or(0, |key| u64::from_ne_bytes(*key))
}

/// An entry that is written to a leaf.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'e> {
    /// node
    pub id: u32,
    /// of its code
    pub factors: Factors,
    /// as long as codes are
    pub code: &'e [u8],
    /// of all filter columns
    pub keys: &'e [u8],
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
    let (Factors { add, scale }, count) = (new.factors, usize::from(front.count));
    let entry = Entry { row: row_of(new.id), place: Tid::INVALID, add, scale };
    put_entry(geometry, bytes, count, &entry, new.code, new.keys)?;
    let front = front.with(count + 1);
    front.write(bytes);
    Ok(front)
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
pub fn child_at(children: &[Child], bound: Bound) -> usize {
    children.partition_point(|child| child.least() <= bound).saturating_sub(1)
}

/// Dimensions of a rotated centre that a page holds.
pub const fn most_of_centre(page_size: usize) -> usize {
    (page_size - START - SPECIAL_SIZE) / size_of::<f32>()
}

/// Makes the bytes a page with a centre, if it fits one.
pub fn put_centre(bytes: &mut [u8], centre: &[f32]) {
    init(bytes, &Front::new(PageKind::Centre, 0, Bound::END), INVALID_BLOCK);
    put(bytes, START, centre.as_bytes());
}

/// The centre of `padded` elements on a page.
///
/// # Errors
/// Another page.
pub fn centre(bytes: &[u8], padded: usize) -> Result<&[f32], Damage> {
    if page_kind(bytes)? != Some(PageKind::Centre) {
        return Err(Damage::at(0, "page of another kind"));
    }
    let found = bytes.get(START..START + padded * size_of::<f32>());
    found.and_then(|bytes| <[f32]>::ref_from_bytes(bytes).ok()).ok_or(BAD_PAGE)
}
