//! What stands on the pages of an inline hnsw index: records in slots of one size, without line pointers.
//!
//! ```text
//! block 0    meta page (meta.rs)
//! others     | page header 24 | front 8 | slots used, a bit each, if more than 8 | slot 0 | slot 1 | ... | next block 4 | 0 2 | page id 2 |
//! front      | kind 1 | slots used, a bit each, up to 8 slots; or 0 1 | slots 2 | bytes of a slot 4 |
//!
//! record     | header 40 | ids R x 4 | places R x 4 | add R x 2 | scale R x 2 | keys R x F, or none | codes R x C | value | own keys F |
//! or, cut    | header 40 | ids R x 4 | places R x 4 | add R x 2 | scale R x 2 | keys R x F, or none | own keys F | codes R x C | value | own keys F |
//! header     | state 1 | level 1 | version 1 | layer 1 | neighbours 2 | exponent of add 1 | of scale 1 | heap TID 6 | chain 6 |
//!            | the record above 4 | the record below 4 | rest 6 | 0 2 | norm 4 |
//! chain      | owner 4 | number 4 | next segment 6 | TIDs 2 | version 1 | 0 3 | heap TIDs, 6 each ... |
//! ```
//!
//! R is 2m on the ground layer and m above. Places are the neighbours' records of the ground layer, in upper layers
//! only; the heap TID of an upper record is the TID of its own record of the ground layer. A *node id* is the number of
//! a record's slot, block times slots per page plus slot, among the pages of its layer's kind; to algorithms that want
//! a TID it is (block, slot + 1). Factors are half-precision numbers times a power of two that the record names. Codes
//! are C bytes each; `bit` has the neighbours' values in their place and no factors. The value is a whole varlena, as
//! it was given, and its row's filter keys (F bytes, packed) stand behind it. Records of the ground layer have those of
//! their neighbours, too, where they cost little: a search goes without. A record that is cut has its own keys in its
//! slot, too.
//!
//! A record that a page does not hold is cut: its first part is in the slot, its *rest* in a slot of a page of rests,
//! or on pages of its own, chained by their next block. Where that costs little the cut is before the value, so that
//! nothing needs to be put together again.
//!
//! `pd_lower` is behind the last slot that was ever used, `pd_upper` before the special area: what lies between is zero
//! and goes to no log (xloginsert.c, generic_xlog.c).

mod record;
mod segment;
mod slots;

use core::ops::Range;

use vector_kernels::PLANE_BLOCK;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::run;
use crate::filter::Packings;
use crate::hnsw::choice::first_bytes;
use crate::hnsw::params::layer_slots;
use crate::ivf::packed::layout::Geometry;
use crate::quant::rabitq::Bits;
use crate::quant::rotation::Rotation;
use crate::space::ValueKind;
use crate::storage::page::{Tid, max_align};

pub use record::{
    Record, exponent_for, move_neighbour, power, put_edge_keys, put_factors, put_ids, put_neighbour,
    put_own_keys, set_count, swap_neighbours,
};
pub use segment::{SHORT_SEGMENT, SegmentHeader, put_segment, segment, segment_mut};
pub use slots::{PageKind, Slots, offset, page_kind};

use segment::SEGMENT_HEADER;

pub use crate::hnsw::meta::INLINE_PAGE_ID as PAGE_ID;

/// No node.
pub const NO_NODE: u32 = u32::MAX;

/// States of a record.
pub mod state {
    /// nothing was ever written here, or an insert may write
    pub const FREE: u8 = 0;
    /// a node
    pub const LIVE: u8 = 1;
    /// nothing leads here any more
    pub const DELETED: u8 = 2;
    /// taken by an insert that is still writing what does not fit the slot; nothing leads here yet
    pub const PENDING: u8 = 3;
}

/// The fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordHeader {
    /// one of [`state`]
    pub state: u8,
    /// the node's highest layer; in a record above the ground, the one that it was to have
    pub level: u8,
    /// raised when the node's slot is given back; all records of a node have one
    pub version: u8,
    /// the record's layer
    pub layer: u8,
    /// neighbours, which come first in their arrays
    pub neighbours: u16,
    /// of the first factors: they count in 2^exponent
    pub add_exponent: i8,
    /// of the second ones
    pub scale_exponent: i8,
    /// a row; invalid when the node has none, or none left here. Of an upper record, the node's record of the ground
    /// layer
    pub heap_tid: Tid,
    /// the first segment of the other rows, or invalid
    pub chain: Tid,
    /// the node's record in the layer above, or [`NO_NODE`]
    pub above: u32,
    /// its record in the layer below; of a record of the ground layer its own id
    pub below: u32,
    /// where the rest of the record is (offset is slot plus one), or invalid
    pub rest: Tid,
    pub(super) unused: [u8; 2],
    /// the value's Euclidean norm; 0 for `bit`
    pub norm: f32,
}

/// Bytes of it.
pub const RECORD_HEADER: usize = 40;

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RecordHeader>() == RECORD_HEADER);
    assert!(offset_of!(RecordHeader, neighbours) == 4);
    assert!(offset_of!(RecordHeader, heap_tid) == 8);
    assert!(offset_of!(RecordHeader, chain) == 14);
    assert!(offset_of!(RecordHeader, above) == 20);
    assert!(offset_of!(RecordHeader, below) == 24);
    assert!(offset_of!(RecordHeader, rest) == 28);
    assert!(offset_of!(RecordHeader, norm) == 36);
};

impl RecordHeader {
    /// A node's header in `layer`, without rows, neighbours and links.
    pub const fn new(level: u8, layer: u8) -> Self {
        RecordHeader {
            state: state::LIVE,
            level,
            version: 1,
            layer,
            neighbours: 0,
            add_exponent: 0,
            scale_exponent: 0,
            heap_tid: Tid::INVALID,
            chain: Tid::INVALID,
            above: NO_NODE,
            below: NO_NODE,
            rest: Tid::INVALID,
            unused: [0; 2],
            norm: 0.0,
        }
    }
}

/// What decides where everything stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// the type
    pub kind: ValueKind,
    /// dimensions; bits for `bit`
    pub dims: usize,
    /// connections per layer
    pub m: usize,
    /// bits of an edge's code in layer 0; above it, where little depends on it, a code has one
    pub bits: Bits,
    /// how filter keys are packed
    pub filters: Packings,
}

/// The error of codes, over distances, that a search cannot do without: what one bit gives at 176 dimensions.
const MOST_ERROR: f32 = 0.057;
/// Codes have more bits than that while an element takes at most so many times the bytes of the first layout.
const MOST_BYTES: f64 = 2.3;

impl Shape {
    /// The shape of an index to be built. Codes have two bits an element, or in two of the first elements and one in
    /// the others, as far as bytes allow; and one where that is exact enough.
    pub fn new(kind: ValueKind, dims: usize, m: usize, filters: Packings, page_size: usize) -> Self {
        let shape = |bits| Shape { kind, dims, m, bits, filters };
        let padded = Rotation::padded_to(dims);
        let error = |bits: &Bits| bits.error(padded) / (padded as f32).sqrt();
        if kind == ValueKind::Bit || error(&Bits::ONE) <= MOST_ERROR {
            return shape(Bits::ONE);
        }
        let most = first_bytes(kind, dims, m, page_size).map_or(f64::INFINITY, |first| first * MOST_BYTES);
        let small = |bits: &Bits| {
            let plain = Shape { filters: Packings::NONE, ..shape(*bits) };
            Layout::new(plain, page_size).is_some_and(|layout| layout.cost() <= most)
        };
        let mixed = (0..padded).step_by(PLANE_BLOCK).rev();
        let mixed = mixed.filter_map(|doubled| Bits::new(1, u16::try_from(doubled).ok()?, padded));
        let exact = [Bits::TWO].into_iter().chain(mixed).take_while(|bits| error(bits) <= MOST_ERROR);
        let mut least = Bits::TWO;
        for bits in exact {
            least = bits;
            if small(&bits) {
                break;
            }
        }
        shape(least)
    }

    /// Bits of the codes of entries in runs, which all elements have.
    pub const fn run_bits(&self) -> Bits {
        Bits::for_dims(self.dims)
    }

    /// Bytes of a row's filter keys.
    pub const fn filter_size(&self) -> usize {
        self.filters.bytes()
    }
}

/// Records of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLayout {
    /// neighbours, at most
    pub neighbours: usize,
    /// bits of codes
    pub bits: Bits,
    /// bytes of a code
    pub code_size: usize,
    /// bytes of a value with its filter keys
    pub value_size: usize,
    /// whether there are factors
    pub factors: bool,
    /// where the neighbours' records of layer 0 stand, in an upper layer
    places_at: Option<usize>,
    add_at: usize,
    scale_at: usize,
    /// where the neighbours' filter keys begin
    edge_keys_at: usize,
    /// bytes of each; 0 where records have none of them
    pub edge_keys: usize,
    /// where the node's own keys stand
    own_keys_at: usize,
    /// where codes begin in a whole record
    pub codes_at: usize,
    /// where the value begins
    pub value_at: usize,
    /// bytes of a whole record
    pub size: usize,
    /// the part in a slot
    pub slots: Slots,
    /// bytes that are elsewhere
    pub rest: usize,
    /// slots of them, when a page holds one
    pub rest_slots: Slots,
    /// pages of them, when it does not; each has one slot
    pub rest_pages: usize,
    /// bytes of filter keys
    pub filter_size: usize,
}

/// A whole record on a page is preferred while it costs no more than so many hundredths of the cheapest cut.
const WHOLE_PERCENT: usize = 130;
/// The same of a cut before the value, which spares a copy of what is cut in the middle.
const VALUE_PERCENT: usize = 110;
/// Records have the filter keys of neighbours while they cost no more than so many hundredths of those without.
const EDGE_KEYS_PERCENT: usize = 105;

impl RecordLayout {
    fn new(shape: &Shape, layer: u8, page_size: usize) -> Self {
        let without = Self::arranged(shape, layer, page_size, 0);
        if layer > 0 || shape.filters.is_empty() {
            return without;
        }
        let with = Self::arranged(shape, layer, page_size, shape.filter_size());
        let most = without.cost(page_size).saturating_mul(EDGE_KEYS_PERCENT) / 100;
        if with.cost(page_size) <= most && with.pages() == without.pages() { with } else { without }
    }

    /// With so many bytes of filter keys for each neighbour.
    fn arranged(shape: &Shape, layer: u8, page_size: usize, edge_keys: usize) -> Self {
        let neighbours = layer_slots(shape.m, layer);
        let Shape { kind, dims, .. } = *shape;
        let bits = if layer == 0 { shape.bits } else { Bits::ONE };
        let (code_size, plain_size, factors) = match kind {
            ValueKind::Bit => (dims.div_ceil(8), 8 + dims.div_ceil(8), false),
            ValueKind::Halfvec => (bits.code_size(Rotation::padded_to(dims)), 8 + 2 * dims, true),
            _ => (bits.code_size(Rotation::padded_to(dims)), 8 + 4 * dims, true),
        };
        let filter_size = shape.filter_size();
        let value_size = plain_size + filter_size;
        let factor_bytes = if factors { 2 * neighbours } else { 0 };
        let places_at = (layer > 0).then_some(RECORD_HEADER + 4 * neighbours);
        let add_at = places_at.unwrap_or(RECORD_HEADER) + 4 * neighbours;
        let scale_at = add_at + factor_bytes;
        let edge_keys_at = scale_at + factor_bytes;
        let edges_end = edge_keys_at + edge_keys * neighbours;
        // with the own keys behind the value, or before the codes
        let arrange = |whole: bool| {
            let apart = if whole { 0 } else { filter_size };
            let codes_at = max_align(edges_end + apart);
            let value_at = max_align(codes_at + code_size * neighbours);
            let size = max_align(value_at + value_size);
            let own_keys_at = if whole { value_at + plain_size } else { edges_end };
            (codes_at, value_at, size, own_keys_at)
        };
        let cut = |size: usize, head: usize| {
            let (slots, rest) = (Slots::new(head, page_size), size - head);
            let rest_slots = Slots::new(rest.min(Slots::largest(page_size)), page_size);
            let rest_pages = if rest > rest_slots.size { rest.div_ceil(rest_slots.size) } else { 0 };
            let cost = match (rest, rest_pages) {
                (0, _) => 0,
                (_, 0) => rest_slots.cost(page_size),
                (_, pages) => pages * page_size,
            };
            let cost = slots.cost(page_size).saturating_add(cost);
            (cost, slots, rest, rest_slots, rest_pages)
        };
        let largest = Slots::largest(page_size);
        let (all, parted) = (arrange(true), arrange(false));
        let (whole, before) = (cut(all.2, all.2), cut(parted.2, parted.1));
        let filled = cut(parted.2, parted.2.min(largest));
        let least = before.0.min(filled.0);
        let within = |cost: usize, percent: usize| cost / 100 * 100 <= least.saturating_mul(percent) / 100;
        let (arranged, way) = if all.2 <= largest && within(whole.0, WHOLE_PERCENT) {
            (all, whole)
        } else if parted.1 <= largest && before.4 == 0 && within(before.0, VALUE_PERCENT) {
            (parted, before)
        } else if all.2 <= largest {
            (all, whole)
        } else {
            (parted, filled)
        };
        let (codes_at, value_at, size, own_keys_at) = arranged;
        let (_, slots, rest, rest_slots, rest_pages) = way;
        RecordLayout {
            neighbours,
            bits,
            code_size,
            value_size,
            factors,
            places_at,
            add_at,
            scale_at,
            edge_keys_at,
            edge_keys,
            own_keys_at,
            codes_at,
            value_at,
            size,
            slots,
            rest,
            rest_slots,
            rest_pages,
            filter_size,
        }
    }

    /// Bytes of a record that are in its slot.
    pub const fn head(&self) -> usize {
        self.size - self.rest
    }

    /// Whether all of the value is in the slot.
    #[inline(always)]
    pub const fn is_whole(&self) -> bool {
        self.rest == 0
    }

    /// Whether all codes are in the slot.
    #[inline(always)]
    pub const fn has_codes(&self) -> bool {
        self.head() >= self.codes_at + self.code_size * self.neighbours
    }

    /// Whether the value, and nothing else, is elsewhere, in one piece.
    #[inline(always)]
    pub const fn is_value_apart(&self) -> bool {
        self.rest > 0 && self.rest_pages == 0 && self.head() == self.value_at
    }

    /// Pages that are read to read a record.
    pub const fn pages(&self) -> u32 {
        match (self.rest, self.rest_pages) {
            (0, _) => 1,
            (_, 0) => 2,
            (_, pages) => 1 + pages as u32,
        }
    }

    /// Bytes of pages that a record takes.
    pub const fn cost(&self, page_size: usize) -> usize {
        let rest = match (self.rest, self.rest_pages) {
            (0, _) => 0,
            (_, 0) => self.rest_slots.cost(page_size),
            (_, pages) => pages * page_size,
        };
        self.slots.cost(page_size).saturating_add(rest)
    }

    /// Where the value is in a whole record.
    #[inline(always)]
    pub const fn value(&self) -> Range<usize> {
        self.value_at..self.value_at + self.value_size
    }

    /// Where the filter keys of neighbour `at` are in a record; nowhere when records have none of them.
    pub const fn edge_keys_of(&self, at: usize) -> Range<usize> {
        let start = self.edge_keys_at + at * self.edge_keys;
        start..start + self.edge_keys
    }

    /// Where a node's own filter keys are, in its slot.
    pub const fn own_keys(&self) -> Range<usize> {
        self.own_keys_at..self.own_keys_at + self.filter_size
    }

    /// The filter keys behind a value of an index with some.
    pub fn keys<'v>(&self, item: &'v [u8]) -> &'v [u8] {
        item.get(item.len().wrapping_sub(self.filter_size)..).unwrap_or_default()
    }

    /// Where the code of neighbour `at` is in a whole record.
    #[inline(always)]
    pub const fn code(&self, at: usize) -> Range<usize> {
        let start = self.codes_at + at * self.code_size;
        start..start + self.code_size
    }
}

/// Where everything stands in an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// what it follows from
    pub shape: Shape,
    /// bytes of a page
    pub page_size: usize,
    /// records of layer 0
    pub ground: RecordLayout,
    /// those of the layers above
    pub upper: RecordLayout,
    /// segments of [`SHORT_SEGMENT`] heap TIDs
    pub chain: Slots,
    /// segments of a page
    pub long_chain: Slots,
    /// entries of nodes with filter keys; none where there are no filter columns
    pub runs: Option<Geometry>,
    /// of pages without slots
    pub(super) no_slots: Slots,
}

impl Layout {
    /// The layout of an index. `None` when pages are too small for the ids alone, or the type has no such layout.
    pub fn new(shape: Shape, page_size: usize) -> Option<Self> {
        if shape.kind == ValueKind::Sparsevec || page_size < 1024 || shape.dims == 0 {
            return None;
        }
        let of = |layer| RecordLayout::new(&shape, layer, page_size);
        let (ground, upper) = (of(0), of(1));
        // a change takes four blocks: the slot's, and those of the first and another code
        let fits = |records: &RecordLayout| {
            let codes = records.has_codes() || records.code_size <= records.rest_slots.size;
            records.head() >= records.codes_at && codes
        };
        if !fits(&ground) || !fits(&upper) {
            return None;
        }
        Some(Layout {
            shape,
            page_size,
            ground,
            upper,
            chain: Slots::new(SEGMENT_HEADER + SHORT_SEGMENT * size_of::<Tid>(), page_size),
            long_chain: Slots::new(Slots::largest(page_size), page_size),
            runs: run::geometry(&shape, page_size),
            no_slots: Slots::new(0, page_size),
        })
    }

    /// Bytes of pages that an element's records take, in the mean: one element of m has another one in a layer above.
    pub fn cost(&self) -> f64 {
        let [ground, upper] = [&self.ground, &self.upper].map(|records| records.cost(self.page_size) as f64);
        ground + upper / (self.shape.m.max(2) - 1) as f64
    }

    /// The record of layer 0 with this id, as algorithms name it.
    pub fn tid(&self, id: u32) -> Tid {
        let (block, slot) = self.ground.slots.place(id);
        Tid::new(block, offset(slot))
    }

    /// The id of the record of layer 0 at `tid`; none of a TID that is none's.
    pub fn ground_id(&self, tid: Tid) -> Option<u32> {
        let slot = usize::from(tid.offset()).checked_sub(1)?;
        if slot < self.ground.slots.per_page { self.ground.slots.id(tid.block(), slot) } else { None }
    }

    /// The records of a layer.
    #[inline(always)]
    pub const fn records(&self, layer: u8) -> &RecordLayout {
        if layer == 0 { &self.ground } else { &self.upper }
    }

    /// Heap TIDs of a segment of such a page.
    pub const fn segment(&self, slots: &Slots) -> usize {
        (slots.size - SEGMENT_HEADER) / size_of::<Tid>()
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
