//! What stands on the pages of an hnsw index, version 1: pgvector's format.
//!
//! ```text
//! block 0   meta page: MetaPage behind the page header
//! block 1.. element pages, chained; items are pairs of
//!           element tuple   | type level deleted version | 10 heap TIDs | neighbour TID | unused | value ... |
//!           neighbour tuple | type version count | (level + 2) * m TIDs of element tuples, top layer first     |
//! ```

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::params::{HEAP_TIDS, MAX_LEVEL, layer_range, layer_slots};
use crate::storage::page::{Damage, Tid, max_align};

/// Versions of a pair of tuples run from 1 to this.
pub const MAX_TUPLE_VERSION: u8 = 15;

/// Type byte of an element tuple.
pub const ELEMENT: u8 = 1;
/// Type byte of a neighbour tuple.
pub const NEIGHBOURS: u8 = 2;

/// The fields of an element tuple before its value.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ElementHeader {
    /// [`ELEMENT`]
    pub kind: u8,
    /// the highest layer it is in
    pub level: u8,
    /// 1 when inserts may reuse the pair
    pub deleted: u8,
    /// 1..=[`MAX_TUPLE_VERSION`], raised when vacuum deletes the element
    pub version: u8,
    /// rows with this value, the valid ones first
    pub heap_tids: [Tid; HEAP_TIDS],
    /// its neighbour tuple
    pub neighbour_tid: Tid,
    unused: [u8; 2],
}

/// Bytes before the value.
pub const ELEMENT_HEADER: usize = 72;
const _: () = assert!(size_of::<ElementHeader>() == ELEMENT_HEADER);

impl ElementHeader {
    /// A live element.
    pub fn new(level: u8, version: u8, heap_tids: &[Tid], neighbour_tid: Tid) -> Self {
        let mut all = [Tid::INVALID; HEAP_TIDS];
        for (slot, tid) in all.iter_mut().zip(heap_tids) {
            *slot = *tid;
        }
        ElementHeader {
            kind: ELEMENT,
            level,
            deleted: 0,
            version,
            heap_tids: all,
            neighbour_tid,
            unused: [0; 2],
        }
    }

    /// The valid heap TIDs, which come first.
    #[inline]
    pub fn live_heap_tids(&self) -> &[Tid] {
        let count = self.heap_tids.iter().position(|tid| !tid.is_valid()).unwrap_or(HEAP_TIDS);
        &self.heap_tids[..count]
    }

    /// Whether some row has this value; without one the element is on its way out.
    #[inline]
    pub fn is_live(&self) -> bool {
        self.heap_tids[0].is_valid()
    }
}

/// An element tuple in place.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// its fields
    pub header: &'a ElementHeader,
    /// its value, a varlena
    pub value: &'a [u8],
}

/// Whether an item is an element tuple.
#[inline]
pub fn is_element(item: &[u8]) -> bool {
    item.first() == Some(&ELEMENT)
}

/// The value at the front of `bytes`, its length taken from its header.
#[inline(always)]
fn varlena(bytes: &[u8]) -> Option<&[u8]> {
    let header = u32::from_ne_bytes(*bytes.first_chunk::<4>()?);
    // plain four-byte header, little-endian: two zero bits, then the length (varatt.h)
    if header & 3 != 0 {
        return None;
    }
    bytes.get(..(header >> 2) as usize)
}

impl<'a> Element<'a> {
    /// The element tuple in `item`, which stands at `offset`.
    ///
    /// # Errors
    /// An item that is none.
    #[inline(always)]
    pub fn new(item: &'a [u8], offset: u16) -> Result<Self, Damage> {
        let invalid = Damage::at(offset, "invalid element tuple");
        let (header, rest) = ElementHeader::ref_from_prefix(item).map_err(|_| invalid)?;
        if header.kind != ELEMENT || header.level > MAX_LEVEL {
            return Err(invalid);
        }
        let value = match varlena(rest) {
            Some(value) if !value.is_empty() => value,
            // vacuum zeroes the value of a deleted element, header and all
            _ if header.deleted != 0 => &[],
            _ => return Err(invalid),
        };
        Ok(Element { header, value })
    }
}

/// Size of an element tuple for a value of `value_size` bytes, aligned.
pub const fn element_size(value_size: usize) -> usize {
    max_align(ELEMENT_HEADER + value_size)
}

const NEIGHBOURS_HEADER: usize = 4;

/// Size of a neighbour tuple, aligned.
pub const fn neighbours_size(level: u8, m: usize) -> usize {
    neighbours_item_size((level as usize + 2) * m)
}

/// Size of a neighbour tuple of so many slots, aligned.
pub const fn neighbours_item_size(slots: usize) -> usize {
    max_align(NEIGHBOURS_HEADER + size_of::<Tid>() * slots)
}

/// A neighbour tuple in place.
#[derive(Clone, Copy, Debug)]
pub struct Neighbours<'a> {
    /// its element's version when both were written
    pub version: u8,
    /// all slots, top layer first
    pub slots: &'a [Tid],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct NeighboursHeader {
    kind: u8,
    version: u8,
    count: [u8; 2],
}

impl<'a> Neighbours<'a> {
    /// The neighbour tuple in `item`, which stands at `offset`.
    ///
    /// # Errors
    /// An item that is none.
    #[inline(always)]
    pub fn new(item: &'a [u8], offset: u16) -> Result<Self, Damage> {
        let invalid = Damage::at(offset, "invalid neighbour tuple");
        let (header, rest) = NeighboursHeader::ref_from_prefix(item).map_err(|_| invalid)?;
        let count = usize::from(u16::from_ne_bytes(header.count));
        let (slots, _) = <[Tid]>::ref_from_prefix_with_elems(rest, count).map_err(|_| invalid)?;
        if header.kind != NEIGHBOURS {
            return Err(invalid);
        }
        Ok(Neighbours { version: header.version, slots })
    }

    /// The slots of a layer when the tuple still belongs to an element of this level and version: the valid ones
    /// come first. `None` when it was deleted, and maybe reused, since the element was read.
    #[inline(always)]
    pub fn layer(&self, level: u8, version: u8, layer: u8, m: usize) -> Option<&'a [Tid]> {
        if self.version != version || self.slots.len() != (usize::from(level) + 2) * m {
            return None;
        }
        self.slots.get(layer_range(level, layer, m))
    }

    /// The element's anchor: the first slot of layer 0, whatever the level. An anchor and the edge back from it are
    /// never dropped, so that layer 0 stays connected (src/hnsw/README.md). `None` when the layer is empty, or when
    /// the list is not one of `m` connections.
    #[inline]
    pub fn anchor(&self, m: usize) -> Option<Tid> {
        let start = self.slots.len().checked_sub(layer_slots(m, 0))?;
        self.slots.get(start).copied().filter(|tid| tid.is_valid())
    }
}

/// The slots of a neighbour tuple, to be changed in place.
///
/// # Errors
/// As [`Neighbours::new`].
pub fn neighbour_slots_mut(item: &mut [u8], offset: u16) -> Result<&mut [Tid], Damage> {
    let count = Neighbours::new(item, offset)?.slots.len();
    let rest = item.get_mut(NEIGHBOURS_HEADER..).unwrap_or_default();
    match <[Tid]>::mut_from_prefix_with_elems(rest, count) {
        Ok((slots, _)) => Ok(slots),
        Err(_) => Err(Damage::at(offset, "invalid neighbour tuple")),
    }
}

/// The fields of an element tuple, to be changed in place.
///
/// # Errors
/// As [`Element::new`].
pub fn element_header_mut(item: &mut [u8], offset: u16) -> Result<(&mut ElementHeader, &mut [u8]), Damage> {
    Element::new(item, offset)?;
    ElementHeader::mut_from_prefix(item).map_err(|_| Damage::at(offset, "invalid element tuple"))
}

/// Writes an element tuple to `out`, [`element_size`] bytes.
pub fn write_element(header: &ElementHeader, value: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(value);
    out.resize(element_size(value.len()), 0);
}

/// Writes a neighbour tuple to `out`, [`neighbours_size`] bytes: `slots` are all (level + 2) * m of them.
pub fn write_neighbours(version: u8, slots: &[Tid], out: &mut Vec<u8>) {
    out.clear();
    let count = (slots.len() as u16).to_ne_bytes();
    out.extend_from_slice(NeighboursHeader { kind: NEIGHBOURS, version, count }.as_bytes());
    out.extend_from_slice(slots.as_bytes());
    out.resize(max_align(out.len()), 0);
}

/// Sets the version of a neighbour tuple and empties its slots.
///
/// # Errors
/// As [`Neighbours::new`].
pub fn clear_neighbours(item: &mut [u8], offset: u16, version: u8) -> Result<(), Damage> {
    neighbour_slots_mut(item, offset)?.fill(Tid::INVALID);
    if let Some(byte) = item.get_mut(1) {
        *byte = version;
    }
    Ok(())
}
