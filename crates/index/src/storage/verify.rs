//! What every index on pages must keep, whatever its access method: page headers and line pointers that make sense.
//! The checkers of the access methods build on it, and so do the pedantic blocks of the tests.

use crate::storage::page::{Damage, FIRST_OFFSET, INVALID_BLOCK, Page};

/// An invariant that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// the block, or [`INVALID_BLOCK`] when it is about the index as a whole
    pub block: u32,
    /// the item, or 0 when it is about the block
    pub offset: u16,
    /// what is wrong, in words
    pub what: String,
}

impl Violation {
    /// A violation of an item, or of a block when `offset` is 0.
    pub fn at(block: u32, offset: u16, what: impl Into<String>) -> Self {
        Violation { block, offset, what: what.into() }
    }

    /// A violation of the index as a whole.
    pub fn of_index(what: impl Into<String>) -> Self {
        Violation::at(INVALID_BLOCK, 0, what)
    }
}

/// Violations as they are found. When there is no memory for more, the rest is left out and
/// [`Self::out_of_memory`] says so.
#[derive(Debug, Default)]
pub struct Violations {
    found: Vec<Violation>,
    lost: bool,
}

impl Violations {
    /// Adds one.
    pub fn push(&mut self, violation: Violation) {
        if crate::work::memory::is_short() || self.found.try_reserve(1).is_err() {
            self.lost = true;
            return;
        }
        self.found.push(violation);
    }

    /// Whether some were left out.
    pub fn out_of_memory(&self) -> bool {
        self.lost
    }
}

impl core::ops::Deref for Violations {
    type Target = [Violation];

    fn deref(&self) -> &[Violation] {
        &self.found
    }
}

impl core::fmt::Display for Violation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (self.block, self.offset) {
            (INVALID_BLOCK, _) => f.write_str(&self.what),
            (block, 0) => write!(f, "block {block}: {}", self.what),
            (block, offset) => write!(f, "block {block}, offset {offset}: {}", self.what),
        }
    }
}

/// Whether a page was added to the file and never initialised, as a crash right after adding it leaves it.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// PD_VALID_FLAG_BITS (src/include/storage/bufpage.h).
const FLAGS: u16 = 0x0007;
/// PG_PAGE_LAYOUT_VERSION.
const LAYOUT_VERSION: u16 = 4;
const HEADER: u16 = 24;
const LINE_POINTER: u16 = 4;

fn header_field(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u16::from_ne_bytes(*field))
}

/// Checks a page's header and, when its contents are items, their line pointers. Gives the page when its header lets
/// it be read; items that are wrong have been told then, and reading them fails.
pub fn page<'a>(
    bytes: &'a [u8],
    page_id: u16,
    items: bool,
    mut fault: impl FnMut(Damage),
) -> Option<Page<'a>> {
    let (flags, lower, size) = (header_field(bytes, 10), header_field(bytes, 12), header_field(bytes, 18));
    let page = match Page::new(bytes, page_id) {
        Ok(page) => page,
        Err(damage) => {
            fault(damage);
            return None;
        }
    };
    if flags & !FLAGS != 0 {
        fault(Damage::at(0, "unknown page flags"));
    }
    if size & 0xff != LAYOUT_VERSION || usize::from(size & 0xff00) != bytes.len() & 0xff00 {
        fault(Damage::at(0, "page size or layout version of another page"));
    }
    if !items {
        return Some(page);
    }
    if (lower.saturating_sub(HEADER)) % LINE_POINTER != 0 {
        fault(Damage::at(0, "line pointers end within one"));
    }
    let mut places = Vec::with_capacity(usize::from(page.max_offset()));
    for offset in FIRST_OFFSET..=page.max_offset() {
        match page.item(offset) {
            // what is before an item's first byte is within the page, so the difference is its place
            Ok(item) => {
                places.push((bytes.as_ptr_range().end.addr() - item.as_ptr().addr(), item.len(), offset))
            }
            Err(damage) => fault(damage),
        }
    }
    // from the end of the page to its front: by distance of an item's start from the page's end
    places.sort_unstable();
    let mut behind = 0;
    for (start, len, offset) in places {
        if start < behind + len {
            fault(Damage::at(offset, "item overlaps another"));
        }
        behind = behind.max(start);
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::page::PageMut;

    const ID: u16 = 0xff90;

    #[repr(align(8))]
    struct Room([u8; 8192]);

    fn healthy() -> Room {
        let mut room = Room([0; 8192]);
        let mut page = PageMut::init(&mut room.0, ID);
        for len in [72, 40, 9] {
            page.append(&vec![1; len]);
        }
        room
    }

    fn faults(room: &Room) -> Vec<Damage> {
        let mut found = Vec::new();
        page(&room.0, ID, true, |damage| found.push(damage));
        found
    }

    fn line_pointer(start: u32, flags: u32, len: u32) -> [u8; 4] {
        (start | flags << 15 | len << 17).to_ne_bytes()
    }

    #[test]
    fn a_page_of_items_is_sound() {
        let mut room = healthy();
        assert_eq!(faults(&room), []);
        let mut page = PageMut::new(&mut room.0, ID).unwrap();
        assert!(page.overwrite(2, &[7; 64]).unwrap());
        assert_eq!(faults(&room), []);
    }

    #[test]
    fn each_fault_is_told() {
        let cases: [(usize, &[u8], Damage); 7] = [
            (10, &[0x80, 0], Damage::at(0, "unknown page flags")),
            (12, &[23, 0], Damage::at(0, "invalid page")),
            (12, &[38, 0], Damage::at(0, "line pointers end within one")),
            (18, &[5, 0x20], Damage::at(0, "page size or layout version of another page")),
            (8190, &[0x84, 0xff], Damage::at(0, "invalid page")),
            (24, &line_pointer(8112, 0, 72), Damage::at(1, "invalid line pointer")),
            (28, &line_pointer(8112, 1, 40), Damage::at(1, "item overlaps another")),
        ];
        for (at, bytes, expected) in cases {
            let mut room = healthy();
            room.0[at..at + bytes.len()].copy_from_slice(bytes);
            assert!(faults(&room).contains(&expected), "{expected:?} in {:?}", faults(&room));
        }
        assert!(is_zero(&[0; 8192]) && !is_zero(&healthy().0));
    }
}
