//! Where on pages an entry and its value find room.

use zerocopy::{FromBytes, IntoBytes};

use super::layout::{
    ANOTHER_LIST, CodePage, Front, Geometry, PageKind, RECORD_HEAD, Room, START, front, init, next_of,
    page_kind, put, record_at, set_front,
};
use crate::storage::blocks::PageUpdate;
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};
use crate::storage::verify::is_zero;

/// Room for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// the page where its record begins
    pub block: u32,
    /// a dead record is there; otherwise it goes behind the last one
    pub hole: bool,
    /// pages that have to be added
    pub new: usize,
}

/// A record that is claimed by an insert under way: the byte behind its row.
pub(super) const CLAIMED: u8 = 1;

/// The byte of the first dead record on a value page.
pub(super) fn dead_record(geometry: &Geometry, bytes: &[u8], front: &Front) -> Option<usize> {
    let mut at = usize::from(front.begun);
    while at + RECORD_HEAD <= usize::from(front.used) {
        let head = bytes.get(START + at..START + at + RECORD_HEAD)?;
        let (row, rest) = Tid::read_from_prefix(head).ok()?;
        if !row.is_valid() && rest.first() != Some(&CLAIMED) {
            return Some(at);
        }
        at += geometry.record;
    }
    None
}

/// The front of a value page of a list.
pub(super) fn value_front(bytes: &[u8], list: u32) -> Result<Front, Damage> {
    let front = front(bytes, PageKind::Values)?;
    if front.list == list { Ok(front) } else { Err(ANOTHER_LIST) }
}

/// Pages that a record needs behind the first, where it begins at byte `at`.
pub(super) fn pages_behind(geometry: &Geometry, at: usize) -> usize {
    (at + geometry.record).saturating_sub(geometry.space()).div_ceil(geometry.space())
}

/// Room for a value on a page, if there is; `next` is the page behind it.
pub(super) fn space_on(geometry: &Geometry, block: u32, front: &Front, next: u32) -> Option<Space> {
    let used = usize::from(front.used);
    if front.count > 0 {
        return Some(Space { block, hole: true, new: 0 });
    }
    let new = pages_behind(geometry, used);
    (new == 0 || next == INVALID_BLOCK).then_some(Space { block, hole: false, new })
}

/// Where a code page of a list has room for an entry, if it has.
pub(super) fn room_of(geometry: &Geometry, bytes: &[u8], list: u32) -> Option<Room> {
    CodePage::new(geometry, bytes).ok().filter(|page| page.front.list == list)?.room()
}

/// Writes a record in the place of a dead entry's, whose row and place these are.
///
/// # Errors
/// Another record than the entry's.
pub(super) fn replace<U: PageUpdate>(
    change: &mut U,
    geometry: &Geometry,
    list: u32,
    record: &[u8],
    (row, place): (Tid, Tid),
) -> Result<(), U::Error> {
    let other = Damage::at(place.offset(), "value of a dead entry is another's").on(place.block());
    let (mut block, mut at, mut done) = (place.block(), record_at(place).ok_or(other)?, 0);
    while done < record.len() {
        let len = (record.len() - done).min(geometry.space().saturating_sub(at));
        let slot = change.open(block)?;
        let bytes = change.bytes(slot);
        let front = value_front(bytes, list).map_err(|damage| damage.on(block))?;
        let is_it = match done {
            0 => bytes.get(START + at..).is_some_and(|rest| rest.starts_with(row.as_bytes())),
            _ => usize::from(front.begun) == len,
        };
        if !is_it || len == 0 || at + len > usize::from(front.used) {
            return Err(other.into());
        }
        let next = next_of(bytes);
        change.patch(slot, START + at, record.get(done..done + len).unwrap_or_default())?;
        (block, at, done) = (next, 0, done + len);
    }
    Ok(())
}

/// Whether a free block is what it is said to be.
pub(super) fn is_free(bytes: &[u8]) -> bool {
    matches!(page_kind(bytes), Ok(Some(PageKind::Free))) || is_zero(bytes)
}

/// The class of room of free pages.
pub(super) const FREE: u8 = 254;

/// Makes the bytes a value page with `content`, of which `begun` bytes belong to a record that begins before it.
pub(super) fn new_value_page(bytes: &mut [u8], list: u32, content: &[u8], begun: usize) {
    init(bytes, PageKind::Values, list);
    if let Ok(front) = front(bytes, PageKind::Values) {
        set_front(bytes, Front { begun: begun as u16, used: content.len() as u16, ..front });
    }
    put(bytes, START, content);
}
