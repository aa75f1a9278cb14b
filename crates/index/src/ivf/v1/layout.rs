//! What stands on the pages of an ivfflat index, version 1: pgvector's format.
//!
//! ```text
//! block 0   meta page: MetaPage behind the page header
//! block 1.. list pages, chained; one item per list   | start page | insert page | centre, a varlena ... |
//! the rest  entry pages, one chain per list; items are PostgreSQL's index tuples (src/include/access/itup.h)
//!                                                    | heap TID | size and flags | value, a varlena ... |
//! ```
//!
//! The server shortens the header of values up to 126 bytes (varatt.h), which then are not aligned, and may compress
//! those of types that allow it (`bit`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::ivf::lists::MAX_LISTS;
use crate::storage::page::{Damage, INVALID_BLOCK, Page, Tid, max_align};

/// Identifies the pages of ivfflat indexes.
pub const PAGE_ID: u16 = 0xFF84;
/// First field of the meta page.
pub const MAGIC: u32 = 0x014F_F1A7;
/// The format described here.
pub const VERSION: u32 = 1;
/// The block of the meta page.
pub const META_BLOCK: u32 = 0;
/// The first list page.
pub const HEAD_BLOCK: u32 = 1;

/// The meta page's struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MetaPage {
    /// [`MAGIC`]
    pub magic: u32,
    /// [`VERSION`]
    pub version: u32,
    /// dimensions of every value (bits for `bit`)
    pub dimensions: u16,
    /// number of lists
    pub lists: u16,
}

const _: () = assert!(size_of::<MetaPage>() == 12);

impl MetaPage {
    /// The meta page of an index.
    pub fn new(dimensions: u16, lists: u16) -> Self {
        MetaPage { magic: MAGIC, version: VERSION, dimensions, lists }
    }

    /// Reads it from the bytes of block 0.
    ///
    /// # Errors
    /// When the page is no such page.
    pub fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let invalid = Damage::at(0, "invalid meta page");
        let page = Page::new(bytes, PAGE_ID).map_err(|_| invalid)?;
        let (meta, _) = MetaPage::read_from_prefix(page.contents()).map_err(|_| invalid)?;
        let lists = 1..=MAX_LISTS;
        let sane = meta.magic == MAGIC && meta.version == VERSION && lists.contains(&meta.lists.into());
        if sane { Ok(meta) } else { Err(invalid) }
    }
}

/// The fields of a list before its centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListHead {
    /// first page of its entries, [`INVALID_BLOCK`] before there is one
    pub start_page: u32,
    /// where inserts begin to look for room
    pub insert_page: u32,
}

/// Bytes before the centre.
pub const LIST_HEAD: usize = 8;
const _: () = assert!(size_of::<ListHead>() == LIST_HEAD);

/// A list in place.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    /// its pages
    pub head: ListHead,
    /// its centre, a whole varlena
    pub centre: &'a [u8],
}

impl<'a> List<'a> {
    /// The list in `item`, which stands at `offset`.
    ///
    /// # Errors
    /// An item that is none.
    #[inline]
    pub fn new(item: &'a [u8], offset: u16) -> Result<Self, Damage> {
        let invalid = Damage::at(offset, "invalid list");
        let (head, rest) = ListHead::read_from_prefix(item).map_err(|_| invalid)?;
        match Packed::new(rest) {
            Some(Packed::Whole(centre)) => Ok(List { head, centre }),
            _ => Err(invalid),
        }
    }
}

/// Size of a list whose centre has `value_size` bytes, aligned.
pub const fn list_size(value_size: usize) -> usize {
    max_align(LIST_HEAD + value_size)
}

/// Writes a list to `out`, [`list_size`] bytes.
pub fn write_list(head: ListHead, centre: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(centre);
    out.resize(list_size(centre.len()), 0);
}

/// A value as a tuple keeps it.
#[derive(Clone, Copy, Debug)]
pub enum Packed<'a> {
    /// with a four-byte header, aligned
    Whole(&'a [u8]),
    /// what follows a one-byte header, not aligned
    Short(&'a [u8]),
    /// compressed in place: header and all
    Compressed(&'a [u8]),
}

/// Bytes of a value with a one-byte header, at most, header included (VARATT_SHORT_MAX).
const SHORT_MAX: usize = 127;

impl<'a> Packed<'a> {
    /// The value at the front of `bytes`; `None` when there is none, or only a pointer to one.
    #[inline(always)]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let first = *bytes.first()?;
        if first & 1 == 1 {
            return bytes.get(1..usize::from(first >> 1)).map(Packed::Short);
        }
        let size = (u32::from_ne_bytes(*bytes.first_chunk::<4>()?) >> 2) as usize;
        let value = bytes.get(..size).filter(|value| value.len() >= 4)?;
        Some(if first & 2 == 0 { Packed::Whole(value) } else { Packed::Compressed(value) })
    }

    /// Runs `look` with the whole value, in place or unpacked to the stack; `None` for a compressed one.
    #[inline(always)]
    pub fn with<R>(self, look: impl FnOnce(&[u8]) -> R) -> Option<R> {
        match self {
            Packed::Whole(value) => Some(look(value)),
            Packed::Short(payload) => {
                let mut room = Room([0; 136]);
                let size = 4 + payload.len();
                let bytes = room.0.get_mut(..size)?;
                bytes[..4].copy_from_slice(&crate::space::varlena_header(size));
                bytes[4..].copy_from_slice(payload);
                Some(look(bytes))
            }
            Packed::Compressed(_) => None,
        }
    }
}

/// Room for an unpacked short value.
#[repr(align(8))]
struct Room([u8; 136]);

/// An entry in place.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// its row
    pub row: Tid,
    /// its value
    pub value: Packed<'a>,
}

const ENTRY_HEAD: usize = 8;
/// INDEX_SIZE_MASK, INDEX_VAR_MASK and INDEX_NULL_MASK (itup.h).
const SIZE_MASK: u16 = 0x1fff;
const VAR_MASK: u16 = 0x4000;
const NULL_MASK: u16 = 0x8000;

impl<'a> Entry<'a> {
    /// The entry in `item`, which stands at `offset`.
    ///
    /// # Errors
    /// An item that is none.
    #[inline(always)]
    pub fn new(item: &'a [u8], offset: u16) -> Result<Self, Damage> {
        let invalid = Damage::at(offset, "invalid index tuple");
        let (row, rest) = Tid::read_from_prefix(item).map_err(|_| invalid)?;
        let Some((info, _)) = rest.split_first_chunk::<2>() else { return Err(invalid) };
        let info = u16::from_ne_bytes(*info);
        if info & NULL_MASK != 0 || !row.is_valid() {
            return Err(invalid);
        }
        let data = item.get(ENTRY_HEAD..usize::from(info & SIZE_MASK)).ok_or(invalid)?;
        let value = Packed::new(data).ok_or(invalid)?;
        Ok(Entry { row, value })
    }
}

/// Size of an entry for a value of `value_size` bytes (with its four-byte header), aligned.
pub const fn entry_size(value_size: usize) -> usize {
    let short = value_size - 3;
    max_align(ENTRY_HEAD + if short <= SHORT_MAX { short } else { value_size })
}

/// Adds an entry to `out`, [`entry_size`] bytes. `value` is a whole varlena.
pub fn push_entry(row: Tid, value: &[u8], out: &mut Vec<u8>) {
    let payload = value.get(4..).unwrap_or_default();
    match payload.split_first_chunk::<4>() {
        Some((header, elements)) => push_entry_of(row, *header, elements, out),
        // no type's value is as short
        None => push_parts(row, payload, &[], out),
    }
}

/// As [`push_entry`], for the value of `elements`, before which a type keeps `header`.
pub fn push_entry_of(row: Tid, header: [u8; 4], elements: &[u8], out: &mut Vec<u8>) {
    push_parts(row, &header, elements, out);
}

/// The value's payload is `front`, then `back`.
fn push_parts(row: Tid, front: &[u8], back: &[u8], out: &mut Vec<u8>) {
    let (start, size) = (out.len(), entry_size(4 + front.len() + back.len()));
    out.resize(start + size, 0);
    write_parts(row, front, back, out.get_mut(start..).unwrap_or_default());
}

/// As [`push_entry_of`], over zeros: nothing beyond the end of `out` is written.
pub fn write_entry_of(row: Tid, header: [u8; 4], elements: &[u8], out: &mut [u8]) {
    write_parts(row, &header, elements, out);
}

/// Where an entry has the elements of a value of `value_size` bytes.
pub const fn elements_at(value_size: usize) -> usize {
    let header = if value_size - 4 < SHORT_MAX { 1 } else { 4 };
    size_of::<Tid>() + 2 + header + 4
}

fn write_parts(row: Tid, front: &[u8], back: &[u8], out: &mut [u8]) {
    let payload = front.len() + back.len();
    let size = entry_size(4 + payload) as u16 & SIZE_MASK | VAR_MASK;
    let (short, long) = ([((payload + 1) as u8) << 1 | 1], crate::space::varlena_header(4 + payload));
    let varlena: &[u8] = if payload < SHORT_MAX { &short } else { &long };
    let mut rest = out;
    for part in [row.as_bytes(), &size.to_ne_bytes(), varlena, front, back] {
        let Some((place, behind)) = core::mem::take(&mut rest).split_at_mut_checked(part.len()) else {
            return;
        };
        place.copy_from_slice(part);
        rest = behind;
    }
}

/// Where lists begin when every entry has the same size and every list its own pages, the first at `first_block`:
/// head of each list, then the block after the last.
pub fn place_lists(counts: &[u32], per_page: u32, first_block: u32) -> Option<(Vec<ListHead>, u32)> {
    let (mut heads, mut next) = (Vec::with_capacity(counts.len()), first_block);
    for &count in counts {
        let pages = count.div_ceil(per_page.max(1)).max(1);
        let end = next.checked_add(pages).filter(|&end| end < INVALID_BLOCK)?;
        heads.push(ListHead { start_page: next, insert_page: end - 1 });
        next = end;
    }
    Some((heads, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_short_or_whole() {
        for payload in [0usize, 1, 60, 125, 126, 127, 400] {
            let mut value = crate::space::ValueBuf::new();
            let bytes = value.reset(payload + 4);
            bytes.iter_mut().enumerate().for_each(|(i, b)| *b = i as u8);
            bytes[..4].copy_from_slice(&crate::space::varlena_header(payload + 4));
            let mut out = vec![7; 8];
            push_entry(Tid::new(70_000, 9), value.bytes(), &mut out);
            assert_eq!(out.len(), 8 + entry_size(payload + 4));
            let entry = Entry::new(&out[8..], 1).unwrap();
            assert_eq!(entry.row, Tid::new(70_000, 9));
            assert_eq!(matches!(entry.value, Packed::Short(_)), payload < 127);
            assert_eq!(entry.value.with(<[u8]>::to_vec).unwrap(), value.bytes());
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        let mut good = Vec::new();
        push_entry(Tid::new(1, 1), &[40 << 2, 0, 0, 0, 1, 2, 3, 4], &mut good);
        assert!(Entry::new(&good, 1).is_ok());
        for (at, byte) in [(4, 0), (5, 0), (6, 255), (7, 0xc0), (8, 1), (8, 0xff)] {
            let mut bad = good.clone();
            bad[at] = byte;
            if at == 4 {
                bad[5] = 0;
            }
            let damaged = Entry::new(&bad, 1).is_err();
            assert!(damaged || at == 5, "byte {at}");
        }
        assert!(Entry::new(&good[..7], 1).is_err() && Entry::new(&good[..8], 1).is_err());
    }

    #[test]
    fn lists_are_placed_one_after_the_other() {
        let (heads, end) = place_lists(&[0, 10, 11, 20], 10, 5).unwrap();
        let pages: Vec<_> = heads.iter().map(|h| (h.start_page, h.insert_page)).collect();
        assert_eq!((pages, end), (vec![(5, 5), (6, 6), (7, 8), (9, 10)], 11));
        assert!(place_lists(&[u32::MAX, 1], 1, 5).is_none());
    }
}
