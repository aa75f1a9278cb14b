//! Segments of heap TIDs: the rows of a node beyond the first.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::offset;
use crate::storage::page::{Damage, Tid};

/// The fixed part of a segment of heap TIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SegmentHeader {
    /// the node's record of the ground layer
    pub owner: u32,
    /// falls from each segment to the next
    pub number: u32,
    /// the next segment, or invalid
    pub next: Tid,
    /// heap TIDs, which come first
    pub count: u16,
    /// the node's version
    pub version: u8,
    pub(in crate::hnsw::inline) unused: [u8; 3],
}

const _: () = assert!(size_of::<SegmentHeader>() == SEGMENT_HEADER);
pub(super) const SEGMENT_HEADER: usize = 20;

impl SegmentHeader {
    /// Of a segment of the node `owner`.
    pub const fn new(owner: u32, number: u32, next: Tid, count: u16, version: u8) -> Self {
        SegmentHeader { owner, number, next, count, version, unused: [0; 3] }
    }
}

/// Heap TIDs of a short segment.
pub const SHORT_SEGMENT: usize = 16;

/// A segment of heap TIDs in its slot.
///
/// # Errors
/// A segment that is none.
pub fn segment(bytes: &[u8], slot: usize) -> Result<(&SegmentHeader, &[Tid]), Damage> {
    let invalid = Damage::at(offset(slot), "invalid segment of rows");
    let (header, rest) = SegmentHeader::ref_from_prefix(bytes).map_err(|_| invalid)?;
    let (tids, _) =
        <[Tid]>::ref_from_prefix_with_elems(rest, usize::from(header.count)).map_err(|_| invalid)?;
    Ok((header, tids))
}

/// Writes a segment to its slot, with as many heap TIDs as it holds.
pub fn put_segment(bytes: &mut [u8], header: SegmentHeader, tids: &[Tid]) {
    let count = tids.len().min(bytes.len().saturating_sub(SEGMENT_HEADER) / size_of::<Tid>());
    let header = SegmentHeader { count: count as u16, ..header };
    if let Some(place) = bytes.get_mut(..SEGMENT_HEADER) {
        place.copy_from_slice(header.as_bytes());
    }
    let end = SEGMENT_HEADER + count * size_of::<Tid>();
    if let (Some(place), Some(tids)) = (bytes.get_mut(SEGMENT_HEADER..end), tids.get(..count)) {
        place.copy_from_slice(tids.as_bytes());
    }
}

/// The header of a segment in its slot, and the places of all heap TIDs that the slot has room for, to change.
///
/// # Errors
/// A segment that is none.
pub fn segment_mut(bytes: &mut [u8], slot: usize) -> Result<(&mut SegmentHeader, &mut [Tid]), Damage> {
    let invalid = Damage::at(offset(slot), "invalid segment of rows");
    let (header, rest) = SegmentHeader::mut_from_prefix(bytes).map_err(|_| invalid)?;
    let room = rest.len() / size_of::<Tid>();
    let (tids, _) = <[Tid]>::mut_from_prefix_with_elems(rest, room).map_err(|_| invalid)?;
    if usize::from(header.count) <= room { Ok((header, tids)) } else { Err(invalid) }
}
