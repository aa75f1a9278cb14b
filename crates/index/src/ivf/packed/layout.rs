//! What stands on the pages of a packed ivfflat index.
//!
//! ```text
//! block 0     meta page (meta.rs)
//! list pages  | page header 24 | front 16 | heads, 16 each ... | next block 4 | 0 2 | page id 2 |
//! head        | first code page 4 | code page of inserts 4 | first value page 4 | value page of inserts 4 |
//! centres     | page header 24 | front 16 | records, one after the other ... | special 8 |
//! code page   | page header 24 | front 16 | block 0 | block 1 | ... | special 8 |
//! block       | live, a bit each 4 | 0 4 | add N x 4 | scale N x 4 | codes N x C | heap TIDs N x 6 | values N x 6 |
//! value page  | page header 24 | front 16 | records, one after the other ... | special 8 |
//! record      | heap TID 6 | 0 2 | value, a whole varlena as it was given | up to a multiple of 8 |
//!
//! front of a code page   | kind 1 | 0 1 | entries 2 | list 4 | epoch 4 | norm of the centre 4 |
//! front of other pages   | kind 1 | 0 1 | heads, or dead records 2 | list 4 | bytes of a record begun before 2 | used 2 | 0 4 |
//! ```
//!
//! N is 32 where a page holds such a block, else as many as it holds. A code has a bit an element, C bytes, in the
//! entry's own order while its block fills; when a block of 32 is full, its codes are transposed for
//! [`Kernels::fastscan`](vector_kernels::Kernels): four elements of all 32 in 16 bytes. A value's place is the block
//! and, in units of eight bytes, the byte where its record begins. Records are cut where a page ends and go on
//! behind the front of the next one.
//!
//! `pd_lower` and `pd_upper` both point behind the page header: no hole, so that generic WAL keeps every byte.

mod codes;

use core::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::quant::fastscan;
use crate::quant::rabitq::Bits;
use crate::quant::rotation::Rotation;
use crate::space::ValueKind;
use crate::storage::page::{Damage, INVALID_BLOCK, Page, PageMut, SPECIAL_SIZE, Tid, max_align};

pub use codes::{Block, CodePage, Entry, clear_live, code_of, init_codes, push_entry, set_code_front};

/// Identifies the pages of packed ivfflat indexes.
pub const PAGE_ID: u16 = 0xFF85;

const PAGE_HEADER: usize = 24;
/// Where a page's contents begin.
pub const START: usize = PAGE_HEADER + FRONT;
const FRONT: usize = 16;
/// Entries of a block.
pub const BLOCK: usize = fastscan::ENTRIES;
/// Bytes of a record before its value.
pub const RECORD_HEAD: usize = 8;
/// Dimensions of a value, at most.
pub const MAX_DIMS: usize = 16_000;

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PageKind {
    /// heads of lists
    Lists = 1,
    /// centres
    Centres = 2,
    /// codes of a list
    Codes = 3,
    /// values of a list
    Values = 4,
    /// nothing, for whoever wants a page
    Free = 5,
}

/// The front of a code page.
#[derive(Clone, Copy, Debug, Default, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CodeFront {
    pub(super) kind: u8,
    pub(super) unused: u8,
    /// entries, dead ones included
    pub entries: u16,
    /// the list
    pub list: u32,
    /// of a list's first page: raised when entries move to another page
    pub epoch: u32,
    /// the centre's Euclidean norm
    pub norm: f32,
}

/// The front of any other page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Front {
    pub(super) kind: u8,
    pub(super) unused: u8,
    /// heads on a list page; records on a value page that begin there and are dead
    pub count: u16,
    /// the list of a value page
    pub list: u32,
    /// bytes of a record that begins on a page before
    pub begun: u16,
    /// bytes up to the end of the last record
    pub used: u16,
    pub(super) reserved: u32,
}

const _: () = assert!(size_of::<CodeFront>() == FRONT && size_of::<Front>() == FRONT);

/// A list's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Head {
    /// its first code page: never another
    pub start: u32,
    /// where inserts begin to look for room for an entry
    pub insert: u32,
    /// its first value page: never another
    pub values: u32,
    /// where inserts begin to look for room for a value
    pub value_insert: u32,
}

const HEAD: usize = 16;
const _: () = assert!(size_of::<Head>() == HEAD);

/// Heads of a page.
pub const fn heads_per_page(page_size: usize) -> usize {
    (page_size - START - SPECIAL_SIZE) / HEAD
}

/// Where everything stands, for values of one kind and dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// bytes of a page
    pub page_size: usize,
    /// dimensions
    pub dims: usize,
    /// elements of a rotated value
    pub padded: usize,
    /// bytes of a value, its four-byte header included
    pub value_size: usize,
    /// bytes of a record
    pub record: usize,
    /// bytes of a code
    pub code: usize,
    /// entries of a block
    pub block_entries: usize,
    /// blocks of a page
    pub blocks: usize,
    /// bytes of a block
    pub block_size: usize,
}

impl Geometry {
    /// The geometry of values of `kind`; none where there are no codes of them.
    pub const fn new(kind: ValueKind, dims: usize, page_size: usize) -> Option<Self> {
        let element = match kind {
            ValueKind::Vector => 4,
            ValueKind::Halfvec => 2,
            _ => return None,
        };
        if dims == 0 || dims > MAX_DIMS || page_size < 1024 {
            return None;
        }
        let padded = Rotation::padded_to(dims);
        let (code, value_size) = (Bits::ONE.code_size(padded), 8 + dims * element);
        let space = page_size - START - SPECIAL_SIZE;
        let mut block_entries = BLOCK;
        while block_entries > 0 && block_size(block_entries, code) > space {
            block_entries -= 1;
        }
        if block_entries == 0 {
            return None;
        }
        let block_size = block_size(block_entries, code);
        let blocks = if block_entries == BLOCK { space / block_size } else { 1 };
        let record = max_align(RECORD_HEAD + value_size);
        Some(Geometry {
            page_size,
            dims,
            padded,
            value_size,
            record,
            code,
            block_entries,
            blocks,
            block_size,
        })
    }

    /// Entries of a code page.
    pub const fn entries(&self) -> usize {
        self.blocks * self.block_entries
    }

    /// Bytes of records that a page holds.
    pub const fn space(&self) -> usize {
        self.page_size - START - SPECIAL_SIZE
    }

    /// Whether full blocks are transposed.
    pub const fn transposed(&self) -> bool {
        self.block_entries == BLOCK
    }

    const fn add_at(&self) -> usize {
        8
    }

    const fn scale_at(&self) -> usize {
        self.add_at() + 4 * self.block_entries
    }

    const fn codes_at(&self) -> usize {
        self.scale_at() + 4 * self.block_entries
    }

    const fn rows_at(&self) -> usize {
        self.codes_at() + self.code * self.block_entries
    }

    const fn places_at(&self) -> usize {
        self.rows_at() + 6 * self.block_entries
    }

    fn range(&self, block: usize) -> Range<usize> {
        let start = START + block * self.block_size;
        start..start + self.block_size
    }
}

const fn block_size(entries: usize, code: usize) -> usize {
    max_align(8 + (8 + code + 12) * entries)
}

/// The kind of a page; none of one that was never initialised.
///
/// # Errors
/// A page that is none of a packed index's, or the meta page.
pub fn page_kind(bytes: &[u8]) -> Result<Option<PageKind>, Damage> {
    if Page::is_new(bytes) {
        return Ok(None);
    }
    Page::new(bytes, PAGE_ID)?;
    Ok(Some(match bytes.get(PAGE_HEADER) {
        Some(1) => PageKind::Lists,
        Some(2) => PageKind::Centres,
        Some(3) => PageKind::Codes,
        Some(4) => PageKind::Values,
        Some(5) => PageKind::Free,
        _ => return Err(ANOTHER_KIND),
    }))
}

/// Of a page that is not what led to it.
pub const ANOTHER_KIND: Damage = Damage::at(0, "page of another kind");
/// Of a page that belongs to another list than the one that led to it.
pub const ANOTHER_LIST: Damage = Damage::at(0, "page of another list");
/// Of numbers at a page's front that no page has.
const BAD_FRONT: Damage = Damage::at(0, "page front out of range");

/// Makes the bytes an empty page.
pub fn init(bytes: &mut [u8], kind: PageKind, list: u32) {
    PageMut::init(bytes, PAGE_ID);
    let front = Front { kind: kind as u8, list, ..Front::default() };
    put(bytes, PAGE_HEADER, front.as_bytes());
    // pd_upper, so that there is no hole (bufpage.h)
    put(bytes, 14, &(PAGE_HEADER as u16).to_ne_bytes());
}

/// The front of a page of `kind`, not of codes.
///
/// # Errors
/// Another page.
#[inline]
pub fn front(bytes: &[u8], kind: PageKind) -> Result<Front, Damage> {
    Page::unidentified(bytes)?;
    let (front, _) =
        Front::read_from_prefix(bytes.get(PAGE_HEADER..).unwrap_or_default()).map_err(|_| ANOTHER_KIND)?;
    let space = bytes.len() - START - SPECIAL_SIZE;
    if front.kind != kind as u8 {
        return Err(ANOTHER_KIND);
    }
    let sane = front.begun <= front.used && usize::from(front.used) <= space && front.begun.is_multiple_of(8);
    if sane { Ok(front) } else { Err(BAD_FRONT) }
}

/// Changes it. The page was looked at before.
pub fn set_front(bytes: &mut [u8], front: Front) {
    put(bytes, PAGE_HEADER, front.as_bytes());
}

/// The next page of a chain.
#[inline]
pub fn next_of(bytes: &[u8]) -> u32 {
    let at = bytes.len().saturating_sub(SPECIAL_SIZE);
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(INVALID_BLOCK, |b| u32::from_ne_bytes(*b))
}

/// Sets it.
pub fn set_next(bytes: &mut [u8], next: u32) {
    let at = bytes.len().saturating_sub(SPECIAL_SIZE);
    put(bytes, at, &next.to_ne_bytes());
}

/// Copies `from` to `at`, as far as there is room.
#[inline]
pub fn put(bytes: &mut [u8], at: usize, from: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + from.len()) {
        place.copy_from_slice(from);
    }
}

/// The heads on a list page.
///
/// # Errors
/// Another page.
pub fn heads(bytes: &[u8]) -> Result<&[Head], Damage> {
    let front = front(bytes, PageKind::Lists)?;
    let end = START + usize::from(front.count) * HEAD;
    let heads = bytes.get(START..end).filter(|_| end + SPECIAL_SIZE <= bytes.len());
    heads.and_then(|heads| <[Head]>::ref_from_bytes(heads).ok()).ok_or(BAD_FRONT)
}

/// Sets head `at` of a list page.
pub fn set_head(bytes: &mut [u8], at: usize, head: Head) {
    put(bytes, START + at * HEAD, head.as_bytes());
}

/// The place of a record that begins at byte `at` of a block's records.
pub const fn place(block: u32, at: usize) -> Tid {
    Tid::new(block, ((START + at) / 8) as u16)
}

/// The byte where a record begins among a page's records; none for a place where there can be none.
pub const fn record_at(place: Tid) -> Option<usize> {
    (place.offset() as usize * 8).checked_sub(START)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    #[repr(align(8))]
    struct Bytes([u8; 8192]);

    #[test]
    fn everything_stands_where_the_diagram_says() {
        let geometry = Geometry::new(ValueKind::Vector, 100, 8192).unwrap();
        assert_eq!((geometry.padded, geometry.code, geometry.record), (112, 14, 416));
        assert_eq!((geometry.block_size, geometry.blocks, geometry.entries()), (1096, 7, 224));
        let large = Geometry::new(ValueKind::Vector, 1872, 8192).unwrap();
        assert_eq!((large.block_entries, large.blocks, large.transposed()), (32, 1, true));
        let larger = Geometry::new(ValueKind::Halfvec, 2000, 8192).unwrap();
        assert_eq!((larger.block_entries, larger.transposed(), larger.record), (30, false, 4016));
        let largest = Geometry::new(ValueKind::Vector, MAX_DIMS, 8192).unwrap();
        assert_eq!((largest.block_entries, largest.blocks), (4, 1));
        for (kind, dims) in [(ValueKind::Vector, MAX_DIMS + 1), (ValueKind::Vector, 0), (ValueKind::Bit, 8)] {
            assert!(Geometry::new(kind, dims, 8192).is_none());
        }
    }

    #[test]
    fn entries_come_back_from_open_and_transposed_blocks() {
        let mut rng = SmallRng::seed_from_u64(1);
        for dims in [1, 3, 100, 768, 1872, 1900, 16_000] {
            let geometry = Geometry::new(ValueKind::Vector, dims, 8192).unwrap();
            let mut room = Box::new(Bytes([0; 8192]));
            // what was there before must not matter
            rng.fill(&mut room.0[..]);
            init_codes(&mut room.0, 7, 2.5);
            let mut expected = Vec::new();
            for n in 0..geometry.entries() {
                let code: Vec<u8> = (0..geometry.code).map(|_| rng.random()).collect();
                let entry = Entry {
                    row: Tid::new(n as u32, 1),
                    place: place(70_000 + n as u32, 8 * n),
                    add: n as f32,
                    scale: -0.5 * n as f32,
                };
                push_entry(&geometry, &mut room.0, &entry, &code).unwrap();
                expected.push((entry, code));
            }
            let (entry, code) = expected[0].clone();
            assert!(push_entry(&geometry, &mut room.0, &entry, &code).is_err());
            clear_live(&geometry, &mut room.0, &[0, geometry.entries() as u16 - 1]);
            let page = CodePage::new(&geometry, &room.0).unwrap();
            assert_eq!((page.front.list, page.front.norm, page.live()), (7, 2.5, expected.len() - 2));
            let mut found = Vec::new();
            for block in page.blocks() {
                for slot in 0..block.len {
                    let mut code = vec![0; geometry.code];
                    code_of(&block, slot, &mut code);
                    let entry = Entry {
                        row: block.rows[slot],
                        place: block.places[slot],
                        add: block.add[slot],
                        scale: block.scale[slot],
                    };
                    found.push((entry, code));
                }
            }
            assert!(found == expected, "{dims}");
            assert_eq!(page_kind(&room.0), Ok(Some(PageKind::Codes)));
            assert!(front(&room.0, PageKind::Values).is_err());
        }
    }

    #[test]
    fn places_lead_back() {
        for at in [0, 8, 8136] {
            assert_eq!(record_at(place(9, at)), Some(at));
        }
        assert_eq!(record_at(Tid::new(9, 4)), None);
    }
}
