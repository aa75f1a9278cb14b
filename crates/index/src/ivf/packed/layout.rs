//! What stands on the pages of a packed ivfflat index.
//!
//! ```text
//! block 0     meta page (meta.rs)
//! list pages  | page header 24 | front 16 | heads, 16 each ... | next block 4 | 0 2 | page id 2 |
//! head        | first code page 4 | code page of inserts 4 | first value page 4 | value page of inserts 4 |
//! centres     | page header 24 | front 16 | records, one after the other ... | special 8 |
//! centre codes | as code pages, but with the first code page of each centre's list for a heap TID
//! code page   | page header 24 | front 16 | filter keys, F for each entry that the page holds | block 0 | block 1 | ... | special 8 |
//! block       | live, a bit each 4 | 0 4 | add N x 4 | scale N x 4 | codes N x C | heap TIDs N x 6 | values N x 6, if any |
//! value page  | page header 24 | front 16 | records, one after the other ... | special 8 |
//! record      | heap TID 6 | 0 2 | value, a whole varlena as it was given | up to a multiple of 8 |
//!
//! front of a code page   | kind 1 | dead 1 | entries 2 | list 4 | epoch 4 | norm of the centre 4 |
//! front of other pages   | kind 1 | 0 1 | heads, or dead records 2 | list 4 | bytes of a record begun before 2 | used 2 | 0 4 |
//! ```
//!
//! F is eight bytes for each filter column: without any the blocks follow the front.
//! N is 32 where a page holds such a block, else as many as it holds. A code has a bit an element, C bytes, in the
//! entry's own order while its block fills; when a block of 32 is full, its codes are transposed for
//! [`Kernels::fastscan`](vector_kernels::Kernels): four elements of all 32 in 16 bytes. A value's place is the block
//! and, in units of eight bytes, the byte where its record begins. Records are cut where a page ends and go on
//! behind the front of the next one. An index that takes exact distances from the table (`rerank = heap`) has neither
//! value pages nor places: to the code that works with places, a value's place is its row.
//!
//! Included values are on pages of a tree, as `crates/index/src/included/page.rs` has it.
//!
//! On code and value pages `pd_lower` is behind the last block or record that was begun, `pd_upper` before the special
//! area: what lies between is zero and goes to no log (xloginsert.c, generic_xlog.c). On others both point behind the
//! page header: there is no hole, every byte is logged.

mod codes;

use core::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::filter::{KEY_SIZE, MAX_COLUMNS};
use crate::included::Tree;
use crate::quant::fastscan;
use crate::quant::rabitq::Bits;
use crate::quant::rotation::Rotation;
use crate::runs::Kinds;
use crate::space::ValueKind;
use crate::storage::blocks::{PageRef, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, Page, PageMut, SPECIAL_SIZE, Tid, hole, max_align};

pub use codes::{
    Block, CodePage, Entry, Room, add_entry, clear_live, code_of, fill_centre_codes, init_codes, patch_dead,
    patch_entry, patch_live, push_entry, put_entry, set_code_front,
};

/// Identifies the pages of packed ivfflat indexes.
pub const PAGE_ID: u16 = 0xFF85;

const PAGE_HEADER: usize = 24;
/// Where a page's contents begin.
pub const START: usize = PAGE_HEADER + FRONT;
const FRONT: usize = 16;
/// Entries of a block.
pub const BLOCK: usize = fastscan::ENTRIES;
/// Blocks of a page, at most: those of the shortest codes, on the largest pages.
pub const MAX_BLOCKS: usize = 64;
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
    /// codes of centres
    CentreCodes = 6,
    /// included values of rows: leaves of their tree ([`crate::included`])
    Included = 7,
    /// directories of those
    IncludedDirectory = 8,
    /// entries in the order of filter keys: leaves of their trees ([`crate::runs`])
    Runs = 9,
    /// directories of those
    RunsDirectory = 10,
    /// the centre of their codes
    RunsCentre = 11,
}

impl PageKind {
    /// The tree of included values.
    pub const INCLUDED: Tree = Tree {
        page_id: PAGE_ID,
        leaf: PageKind::Included as u8,
        directory: PageKind::IncludedDirectory as u8,
        // entries move from page to page
        held: true,
    };

    /// The trees of entries in the order of filter keys.
    pub const RUNS: Kinds = Kinds {
        page_id: PAGE_ID,
        leaf: PageKind::Runs as u8,
        directory: PageKind::RunsDirectory as u8,
        centre: PageKind::RunsCentre as u8,
    };
}

/// The front of a code page.
#[derive(Clone, Copy, Debug, Default, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CodeFront {
    pub(super) kind: u8,
    /// how many entries are dead, as far as a byte says
    pub dead: u8,
    /// entries, dead ones included
    pub entries: u16,
    /// the list
    pub list: u32,
    /// of a list's first page: raised when entries move to another page
    pub epoch: u32,
    /// the centre's Euclidean norm
    pub norm: f32,
}

impl CodeFront {
    /// Of a page of another kind with so many entries.
    pub const fn of_entries(entries: u16) -> Self {
        CodeFront { kind: 0, dead: 0, entries, list: 0, epoch: 0, norm: 0.0 }
    }
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
    /// where the contents of a page begin
    pub start: usize,
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
    /// bytes of an entry's filter keys
    pub filter_size: usize,
    /// whether the index has the values, on value pages; otherwise a value's place is its row
    pub own_values: bool,
}

impl Geometry {
    /// The geometry of values of `kind`; none where there are no codes of them.
    pub const fn new(kind: ValueKind, dims: usize, page_size: usize) -> Option<Self> {
        Self::of(kind, dims, page_size, 0, true)
    }

    /// The same where entries have `filter_size` bytes of filter keys, with values in the index or without; none where
    /// they have more columns than there can be.
    pub const fn of(
        kind: ValueKind,
        dims: usize,
        page_size: usize,
        filter_size: usize,
        own_values: bool,
    ) -> Option<Self> {
        Self::starting_at(START, kind, dims, page_size, filter_size, own_values, Bits::ONE)
    }

    /// The same with codes of so many bits an element.
    pub const fn of_bits(
        kind: ValueKind,
        dims: usize,
        page_size: usize,
        filter_size: usize,
        own_values: bool,
        bits: Bits,
    ) -> Option<Self> {
        Self::starting_at(START, kind, dims, page_size, filter_size, own_values, bits)
    }

    /// The same on pages whose contents begin at byte `start`.
    pub const fn starting_at(
        start: usize,
        kind: ValueKind,
        dims: usize,
        page_size: usize,
        filter_size: usize,
        own_values: bool,
        bits: Bits,
    ) -> Option<Self> {
        if filter_size > MAX_COLUMNS * KEY_SIZE || !filter_size.is_multiple_of(KEY_SIZE) {
            return None;
        }
        let element = match kind {
            ValueKind::Vector => 4,
            ValueKind::Halfvec => 2,
            _ => return None,
        };
        if dims == 0 || dims > MAX_DIMS || page_size < 1024 {
            return None;
        }
        let padded = Rotation::padded_to(dims);
        let (code, value_size) = (bits.code_size(padded), 8 + dims * element);
        let space = page_size - start - SPECIAL_SIZE;
        let mut block_entries = BLOCK;
        while block_entries > 0
            && block_size(block_entries, code, own_values) + block_entries * filter_size > space
        {
            block_entries -= 1;
        }
        if block_entries == 0 {
            return None;
        }
        let block_size = block_size(block_entries, code, own_values);
        let blocks = if block_entries == BLOCK { space / (block_size + BLOCK * filter_size) } else { 1 };
        let record = max_align(RECORD_HEAD + value_size);
        Some(Geometry {
            page_size,
            start,
            dims,
            padded,
            value_size,
            record,
            code,
            block_entries,
            blocks,
            block_size,
            filter_size,
            own_values,
        })
    }

    /// Whether a value and its entry are written in one change, so that the place of a dead entry's value waits for the
    /// next one that takes the entry's.
    pub const fn pairs(&self) -> bool {
        self.own_values && self.record <= 2 * self.space()
    }

    /// Blocks of 32 entries without codes, on pages whose contents begin at byte `start`; none of more columns than
    /// there can be.
    pub const fn uncoded(start: usize, page_size: usize, filter_size: usize) -> Option<Self> {
        if filter_size > MAX_COLUMNS * KEY_SIZE || !filter_size.is_multiple_of(KEY_SIZE) || page_size < 1024 {
            return None;
        }
        let (block_entries, block_size) = (BLOCK, block_size(BLOCK, 0, false));
        let space = page_size - start - SPECIAL_SIZE;
        Some(Geometry {
            page_size,
            start,
            dims: 0,
            padded: 0,
            value_size: 0,
            record: 0,
            code: 0,
            block_entries,
            blocks: min(space / (block_size + block_entries * filter_size), MAX_BLOCKS),
            block_size,
            filter_size,
            own_values: false,
        })
    }

    /// Entries of a code page.
    pub const fn entries(&self) -> usize {
        self.blocks * self.block_entries
    }

    /// Bytes of records that a page holds.
    pub const fn space(&self) -> usize {
        self.page_size - self.start - SPECIAL_SIZE
    }

    /// Whether full blocks are transposed.
    pub const fn transposed(&self) -> bool {
        self.block_entries == BLOCK && self.code > 0
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
        if self.own_values { self.rows_at() + 6 * self.block_entries } else { self.rows_at() }
    }

    fn range(&self, block: usize) -> Range<usize> {
        let start = self.start + self.entries() * self.filter_size + block * self.block_size;
        start..start + self.block_size
    }

    /// The filter keys of the entries of a page from `first` on, `count` of them.
    fn keys(&self, first: usize, count: usize) -> Range<usize> {
        let start = self.start + first * self.filter_size;
        start..start + count * self.filter_size
    }
}

const fn min(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

const fn block_size(entries: usize, code: usize, own_values: bool) -> usize {
    let tids = if own_values { 12 } else { 6 };
    max_align(8 + (8 + code + tids) * entries)
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
        Some(6) => PageKind::CentreCodes,
        Some(7) => PageKind::Included,
        Some(8) => PageKind::IncludedDirectory,
        Some(9) => PageKind::Runs,
        Some(10) => PageKind::RunsDirectory,
        Some(11) => PageKind::RunsCentre,
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
    match kind {
        PageKind::Codes | PageKind::Values | PageKind::Free | PageKind::CentreCodes => set_end(bytes, START),
        // the trees make their own
        PageKind::Included
        | PageKind::IncludedDirectory
        | PageKind::Runs
        | PageKind::RunsDirectory
        | PageKind::RunsCentre => {}
        // pd_upper, so that there is no hole
        PageKind::Lists | PageKind::Centres => put(bytes, UPPER, &(PAGE_HEADER as u16).to_ne_bytes()),
    }
}

/// pd_lower and pd_upper (bufpage.h).
const LOWER: usize = 12;
const UPPER: usize = 14;

/// Says that the contents of a page end at byte `end` of it.
pub fn set_end(bytes: &mut [u8], end: usize) {
    put(bytes, LOWER, &end_bytes(end));
}

/// What says that.
fn end_bytes(end: usize) -> [u8; 2] {
    (end as u16).to_ne_bytes()
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
    // what lies behind pd_lower goes to no log
    let free = START + usize::from(front.used)..bytes.len() - SPECIAL_SIZE;
    let sane = sane && (kind != PageKind::Values || hole(bytes) == Some(free));
    if sane { Ok(front) } else { Err(BAD_FRONT) }
}

/// Changes it. The page was looked at before.
pub fn set_front(bytes: &mut [u8], front: Front) {
    put(bytes, PAGE_HEADER, front.as_bytes());
    if front.kind == PageKind::Values as u8 {
        set_end(bytes, START + usize::from(front.used));
    }
}

/// Changes the front of a value page, as part of a change.
///
/// # Errors
/// No memory.
pub fn patch_front<U: PageUpdate>(change: &mut U, slot: PageRef, front: Front) -> Result<(), U::Error> {
    change.patch(slot, PAGE_HEADER, front.as_bytes())?;
    change.patch(slot, LOWER, &end_bytes(START + usize::from(front.used)))
}

/// Sets the next page of a chain, as part of a change.
///
/// # Errors
/// No memory.
pub fn patch_next<U: PageUpdate>(change: &mut U, slot: PageRef, next: u32) -> Result<(), U::Error> {
    let at = change.bytes(slot).len().saturating_sub(SPECIAL_SIZE);
    change.patch(slot, at, &next.to_ne_bytes())
}

/// Sets head `at` of a list page, as part of a change.
///
/// # Errors
/// No memory.
pub fn patch_head<U: PageUpdate>(
    change: &mut U,
    slot: PageRef,
    at: usize,
    head: Head,
) -> Result<(), U::Error> {
    change.patch(slot, START + at * HEAD, head.as_bytes())
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
        // with filter keys, the same number of blocks or fewer
        let keyed = Geometry::of(ValueKind::Vector, 100, 8192, 16, true).unwrap();
        assert_eq!((keyed.block_size, keyed.blocks, keyed.range(0).start), (1096, 5, 40 + 160 * 16));
        let full = Geometry::of(ValueKind::Vector, MAX_DIMS, 8192, 64, true).unwrap();
        assert_eq!((full.block_entries, full.blocks), (3, 1));
        assert!([4, 72].map(|size| Geometry::of(ValueKind::Vector, 8, 8192, size, true)) == [None; 2]);
        for (kind, dims) in [(ValueKind::Vector, MAX_DIMS + 1), (ValueKind::Vector, 0), (ValueKind::Bit, 8)] {
            assert!(Geometry::new(kind, dims, 8192).is_none());
        }
    }

    #[test]
    fn entries_come_back_from_open_and_transposed_blocks() {
        let mut rng = SmallRng::seed_from_u64(1);
        let shapes = [1, 3, 100, 768, 1872, 1900, 16_000].map(|dims| [(dims, 0), (dims, 8), (dims, 64)]);
        for (dims, filter_size) in shapes.into_iter().flatten() {
            let geometry = Geometry::of(ValueKind::Vector, dims, 8192, filter_size, true).unwrap();
            let mut room = Box::new(Bytes([0; 8192]));
            // what was there before must not matter
            rng.fill(&mut room.0[..]);
            init_codes(&mut room.0, 7, 2.5);
            let mut expected = Vec::new();
            for n in 0..geometry.entries() {
                let code: Vec<u8> = (0..geometry.code).map(|_| rng.random()).collect();
                let keys: Vec<u8> = (0..filter_size).map(|_| rng.random()).collect();
                let entry = Entry {
                    row: Tid::new(n as u32, 1),
                    place: place(70_000 + n as u32, 8 * n),
                    add: n as f32,
                    scale: -0.5 * n as f32,
                };
                push_entry(&geometry, &mut room.0, &entry, &code, &keys).unwrap();
                expected.push((entry, code, keys));
            }
            let (entry, code, keys) = expected[0].clone();
            assert!(push_entry(&geometry, &mut room.0, &entry, &code, &keys).is_err());
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
                    found.push((entry, code, block.keys_of(slot).to_vec()));
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
