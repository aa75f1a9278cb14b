//! Reading and filling a record.

use half::f16;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{RECORD_HEADER, RecordHeader, RecordLayout, offset, state};
use crate::hnsw::params::MAX_LEVEL;
use crate::storage::page::Damage;

/// The head of a record in its slot.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// its header
    pub header: &'a RecordHeader,
    layout: &'a RecordLayout,
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record in the slot `bytes`, number `slot` of its page; `layer` is the one that led here.
    ///
    /// # Errors
    /// A header that no record has.
    #[inline(always)]
    pub fn new(layout: &'a RecordLayout, bytes: &'a [u8], slot: usize) -> Result<Self, Damage> {
        let invalid = Damage::at(offset(slot), "invalid record");
        let (header, _) = RecordHeader::ref_from_prefix(bytes).map_err(|_| invalid)?;
        let sane = header.state <= state::PENDING
            && header.level <= MAX_LEVEL
            && header.layer <= header.level
            && usize::from(header.neighbours) <= layout.neighbours
            && bytes.len() >= layout.head();
        if sane { Ok(Record { header, layout, bytes }) } else { Err(invalid) }
    }

    /// Whether it is a node.
    #[inline(always)]
    pub fn is_live(&self) -> bool {
        self.header.state == state::LIVE
    }

    /// The number of neighbours.
    #[inline(always)]
    pub fn len(&self) -> usize {
        usize::from(self.header.neighbours)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline(always)]
    fn array<T: FromBytes + Immutable>(&self, at: usize) -> &'a [T] {
        let end = at + self.len() * size_of::<T>();
        self.bytes.get(at..end).and_then(|bytes| <[T]>::ref_from_bytes(bytes).ok()).unwrap_or_default()
    }

    /// Ids of the neighbours.
    #[inline(always)]
    pub fn ids(&self) -> &'a [u32] {
        self.array(RECORD_HEADER)
    }

    /// Ids of the neighbours' records of layer 0.
    #[inline(always)]
    pub fn places(&self) -> &'a [u32] {
        match self.layout.places_at {
            Some(at) => self.array(at),
            None => self.ids(),
        }
    }

    /// All factors, which follow each other: places for as many first ones as a list may have, then the second ones of
    /// those that are there.
    #[inline(always)]
    pub fn factors(&self) -> &'a [f16] {
        let end = self.layout.scale_at + self.len() * size_of::<f16>();
        let bytes = self.bytes.get(self.layout.add_at..end).unwrap_or_default();
        <[f16]>::ref_from_bytes(bytes).unwrap_or_default()
    }

    /// Their first factors, in 2^exponent.
    #[inline(always)]
    pub fn adds(&self) -> &'a [f16] {
        self.array(self.layout.add_at)
    }

    /// Their second factors.
    #[inline(always)]
    pub fn scales(&self) -> &'a [f16] {
        self.array(self.layout.scale_at)
    }

    /// Their filter keys, packed; none where records have none of them.
    #[inline(always)]
    pub fn edge_keys(&self) -> &'a [u8] {
        let start = self.layout.edge_keys_at;
        self.bytes.get(start..start + self.len() * self.layout.edge_keys).unwrap_or_default()
    }

    /// The node's own filter keys, packed.
    #[inline(always)]
    pub fn own_keys(&self) -> &'a [u8] {
        self.bytes.get(self.layout.own_keys()).unwrap_or_default()
    }

    /// The bytes of the slot.
    #[inline(always)]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The value, when the slot has all of it.
    #[inline(always)]
    pub fn value(&self) -> Option<&'a [u8]> {
        if self.layout.is_whole() { self.bytes.get(self.layout.value()) } else { None }
    }

    /// All codes, when the slot has them.
    #[inline(always)]
    pub fn codes(&self) -> Option<&'a [u8]> {
        let end = self.layout.codes_at + self.layout.code_size * self.layout.neighbours;
        if self.layout.has_codes() { self.bytes.get(self.layout.codes_at..end) } else { None }
    }
}

/// 2^exponent.
#[inline(always)]
pub fn power(exponent: i8) -> f32 {
    // a float's exponent field holds 1..=254; beyond it lie zero and infinity
    f32::from_bits(((i32::from(exponent) + 127).clamp(1, 254) as u32) << 23)
}

/// The exponent for factors as large as `most`: half precision holds them with some to spare, for those to come.
pub fn exponent_for(most: f32) -> i8 {
    // the largest half is a little below 2^16
    const TARGET: i32 = 12;
    let exponent = ((most.to_bits() >> 23) & 0xff) as i32 - 127;
    (exponent - TARGET).clamp(-126, 126) as i8
}

/// A factor in steps of 2^exponent.
#[inline(always)]
fn scaled(factor: f32, exponent: i8) -> f16 {
    // two steps: the inverse of the smallest power is no float
    let (half, other) = (power(-(exponent / 2)), power(-(exponent - exponent / 2)));
    f16::from_f32(factor.clamp(-f32::MAX, f32::MAX) * half * other)
}

/// Writes the factors of the neighbours to a whole record (or its head), with the exponents that fit them.
pub fn put_factors(layout: &RecordLayout, bytes: &mut [u8], adds: &[f32], scales: &[f32]) {
    if !layout.factors {
        return;
    }
    let parts = [(layout.add_at, adds), (layout.scale_at, scales)];
    let mut exponents = [0i8; 2];
    for ((at, values), exponent) in parts.into_iter().zip(&mut exponents) {
        let most = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        *exponent = exponent_for(most);
        for (n, &x) in values.iter().take(layout.neighbours).enumerate() {
            let place = bytes.get_mut(at + 2 * n..at + 2 * n + 2);
            if let Some(place) = place {
                place.copy_from_slice(&scaled(x, *exponent).to_ne_bytes());
            }
        }
    }
    if let Ok((header, _)) = RecordHeader::mut_from_prefix(bytes) {
        [header.add_exponent, header.scale_exponent] = exponents;
    }
}

/// A scaled factor below this is small enough for a look whether all of its record are.
const SMALL: f32 = 1.0 / 1024.0;
/// Powers of two that an exponent may be too large before it changes.
const SLACK: i8 = 6;

/// Writes neighbour `at` of a record, its code apart, and leaves all others as they are; only where a factor does not
/// fit the record's exponent are all factors scaled anew. Of an upper record, `place` is the neighbour's record of
/// layer 0.
pub fn put_neighbour(
    layout: &RecordLayout,
    bytes: &mut [u8],
    at: usize,
    id: u32,
    place: u32,
    [add, scale]: [f32; 2],
) {
    if at >= layout.neighbours {
        return;
    }
    put(bytes, RECORD_HEADER + 4 * at, &id.to_ne_bytes());
    if let Some(places_at) = layout.places_at {
        put(bytes, places_at + 4 * at, &place.to_ne_bytes());
    }
    if layout.factors {
        put_factor::<false>(layout.add_at, bytes, at, add);
        put_factor::<true>(layout.scale_at, bytes, at, scale);
    }
}

/// Sets the filter keys of neighbour `at`, if records have them, to the first of `keys`.
pub fn put_edge_keys(layout: &RecordLayout, bytes: &mut [u8], at: usize, keys: &[u8]) {
    if let (Some(keys), true) = (keys.get(..layout.edge_keys), at < layout.neighbours) {
        put(bytes, layout.edge_keys_of(at).start, keys);
    }
}

/// Sets the node's own filter keys.
pub fn put_own_keys(layout: &RecordLayout, bytes: &mut [u8], keys: &[u8]) {
    if let Some(keys) = keys.get(..layout.filter_size) {
        put(bytes, layout.own_keys_at, keys);
    }
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

fn put_factor<const SCALE: bool>(array: usize, bytes: &mut [u8], at: usize, factor: f32) {
    let Ok((header, _)) = RecordHeader::mut_from_prefix(bytes) else { return };
    let count = usize::from(header.neighbours);
    let exponent = if SCALE { &mut header.scale_exponent } else { &mut header.add_exponent };
    let old = *exponent;
    let half = scaled(factor, old);
    if half.is_finite() && (half.to_f32().abs() >= SMALL || factor == 0.0) {
        put(bytes, array + 2 * at, &half.to_ne_bytes());
        return;
    }
    // too large for the exponent, or so small that the exponent may be too large for all
    let others = (0..count).filter(|&n| n != at);
    let value = |bytes: &[u8], n: usize| {
        let half = bytes.get(array + 2 * n..array + 2 * n + 2).and_then(|b| b.first_chunk::<2>());
        half.map_or(0.0, |half| f16::from_ne_bytes(*half).to_f32() * power(old))
    };
    let most = others.clone().fold(factor.abs(), |most, n| most.max(value(bytes, n).abs()));
    let new = exponent_for(most);
    // what was rounded to the steps of a large exponent stays so
    let exact = || others.clone().all(|n| value(bytes, n).abs() >= power(old) * f16::MIN_POSITIVE.to_f32());
    let smaller = new < old.saturating_sub(SLACK) && exact();
    let new = if !half.is_finite() || smaller { new } else { old };
    if new != old {
        for n in others {
            let x = value(bytes, n);
            put(bytes, array + 2 * n, &scaled(x, new).to_ne_bytes());
        }
        if let Ok((header, _)) = RecordHeader::mut_from_prefix(bytes) {
            let exponent = if SCALE { &mut header.scale_exponent } else { &mut header.add_exponent };
            *exponent = new;
        }
    }
    put(bytes, array + 2 * at, &scaled(factor, new).to_ne_bytes());
}

/// Arrays of a record with something of each neighbour, codes apart: where they begin, and how many bytes each has.
fn arrays(layout: &RecordLayout) -> [(usize, usize); 5] {
    let factor = if layout.factors { 2 } else { 0 };
    let places = layout.places_at.map_or((0, 0), |at| (at, 4));
    let filters = (layout.edge_keys_at, layout.edge_keys);
    [(RECORD_HEADER, 4), places, (layout.add_at, factor), (layout.scale_at, factor), filters]
}

/// Makes neighbour `to` what neighbour `from` is, its code apart.
pub fn move_neighbour(layout: &RecordLayout, bytes: &mut [u8], from: usize, to: usize) {
    if from.max(to) >= layout.neighbours || bytes.len() < layout.codes_at {
        return;
    }
    for (at, size) in arrays(layout) {
        bytes.copy_within(at + from * size..at + (from + 1) * size, at + to * size);
    }
}

/// Exchanges two neighbours, their codes apart.
pub fn swap_neighbours(layout: &RecordLayout, bytes: &mut [u8], a: usize, b: usize) {
    if a.max(b) >= layout.neighbours || bytes.len() < layout.codes_at {
        return;
    }
    for (at, size) in arrays(layout) {
        for n in 0..size {
            bytes.swap(at + a * size + n, at + b * size + n);
        }
    }
}

/// Sets the number of neighbours.
pub fn set_count(layout: &RecordLayout, bytes: &mut [u8], count: usize) {
    if let Ok((header, _)) = RecordHeader::mut_from_prefix(bytes) {
        header.neighbours = count.min(layout.neighbours) as u16;
    }
}

/// Writes the ids of the neighbours, and how many there are; in an upper layer `places`, too: as many ids of their
/// records of layer 0.
pub fn put_ids(layout: &RecordLayout, bytes: &mut [u8], ids: &[u32], places: &[u32]) {
    let ids = ids.get(..layout.neighbours.min(ids.len())).unwrap_or_default();
    let end = RECORD_HEADER + 4 * ids.len();
    if let Some(place) = bytes.get_mut(RECORD_HEADER..end) {
        place.copy_from_slice(ids.as_bytes());
    }
    if let Some(at) = layout.places_at
        && let Some(places) = places.get(..ids.len())
        && let Some(place) = bytes.get_mut(at..at + 4 * ids.len())
    {
        place.copy_from_slice(places.as_bytes());
    }
    if let Ok((header, _)) = RecordHeader::mut_from_prefix(bytes) {
        header.neighbours = ids.len() as u16;
    }
}
