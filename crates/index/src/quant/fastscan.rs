//! Codes of 32 entries side by side, so that one look-up serves four elements of 16 of them at once
//! ([`Kernels::fastscan`]): for who scans many codes in a row, as lists do, and seldom changes one.
//!
//! A *block* has the codes of [`ENTRIES`] entries, plane by plane as [`rabitq`](super::rabitq) makes them; in a plane
//! 16 bytes for each four elements. A query becomes a [`Table`]: for each four elements the 16 sums that four bits can
//! select from them, as bytes of one scale. What is lowest of them is the byte 0, and one offset for all makes up
//! for it: the negative elements' sum, less half of all elements' (see `y` of the codes), is minus half the sum of
//! magnitudes.

use vector_kernels::{FAST_ENTRIES, FAST_QUAD, Kernels, MAX_PLANES};

use super::rabitq::{Bits, OutOfMemory};
use crate::work::memory;

/// Entries of a block.
pub const ENTRIES: usize = FAST_ENTRIES;
/// Elements that a look-up serves.
const QUAD: usize = 4;

/// Bytes of a block of codes of rotated vectors of `padded` elements, a multiple of eight.
pub const fn block_size(bits: Bits, padded: usize) -> usize {
    bits.each() as usize * padded / QUAD * FAST_QUAD
}

/// Places of two quads, whose bits are a byte of a code, among the bytes of a block.
const PAIR: usize = 2 * FAST_QUAD;

/// Puts the code of entry `entry` into a block, in the place of what it was; the other entries stay. A code that is
/// shorter than the block's is continued with zeros; of an entry beyond [`ENTRIES`] nothing happens.
pub fn set_code(block: &mut [u8], entry: usize, code: &[u8]) {
    if entry >= ENTRIES {
        return;
    }
    let (column, shift) = (entry % FAST_QUAD, entry / FAST_QUAD * 4);
    let bytes = code.iter().copied().chain(core::iter::repeat(0));
    for (pair, byte) in block.as_chunks_mut::<PAIR>().0.iter_mut().zip(bytes) {
        for (at, nibble) in [(column, byte & 15), (column + FAST_QUAD, byte >> 4)] {
            pair[at] = pair[at] & !(15 << shift) | nibble << shift;
        }
    }
}

/// The code of entry `entry` of a block into `out`, as many bytes as both have.
pub fn get_code(block: &[u8], entry: usize, out: &mut [u8]) {
    if entry >= ENTRIES {
        return;
    }
    let (column, shift) = (entry % FAST_QUAD, entry / FAST_QUAD * 4);
    for (pair, byte) in block.as_chunks::<PAIR>().0.iter().zip(out) {
        *byte = pair[column] >> shift & 15 | (pair[column + FAST_QUAD] >> shift & 15) << 4;
    }
}

/// Makes a block of codes that lie `stride` bytes apart, [`ENTRIES`] of them or fewer; of entries without a code
/// the bits are zero.
pub fn pack(codes: &[u8], stride: usize, block: &mut [u8]) {
    let size = block.len() / ENTRIES;
    let mut rows = [&[][..]; ENTRIES];
    for (row, code) in rows.iter_mut().zip(codes.chunks(stride.max(1))) {
        *row = code.get(..size).unwrap_or_default();
    }
    for (at, pair) in block.as_chunks_mut::<PAIR>().0.iter_mut().enumerate() {
        let (first, second) = pair.split_at_mut(FAST_QUAD);
        let (low, high) = rows.split_at(FAST_QUAD);
        for (((first, second), low), high) in first.iter_mut().zip(second).zip(low).zip(high) {
            let (low, high) = (low.get(at).copied().unwrap_or(0), high.get(at).copied().unwrap_or(0));
            *first = low & 15 | high << 4;
            *second = low >> 4 | high & !15;
        }
    }
}

/// A query as blocks meet it.
#[derive(Debug, Default)]
pub struct Table {
    bytes: Vec<u8>,
    quads: usize,
    planes: usize,
    /// what sums are multiplied with
    scale: f32,
    /// what is added then
    offset: f32,
    deviation: f32,
}

impl Table {
    /// No query yet, and nothing allocated.
    pub const fn new() -> Self {
        Table { bytes: Vec::new(), quads: 0, planes: 1, scale: 0.0, offset: 0.0, deviation: 0.0 }
    }

    /// Makes it that of a rotated vector of a multiple of eight elements, for codes of so many bits.
    ///
    /// # Errors
    /// Too little memory for four bytes an element.
    pub fn set(&mut self, rotated: &[f32], bits: Bits) -> Result<(), OutOfMemory> {
        let quads = rotated.as_chunks::<QUAD>().0;
        self.bytes.clear();
        memory::resize(&mut self.bytes, quads.len() * FAST_QUAD, 0).map_err(|_| OutOfMemory)?;
        (self.quads, self.planes) = (quads.len(), usize::from(bits.each()).min(MAX_PLANES));
        let width = |quad: &[f32; QUAD]| quad.iter().map(|x| x.abs()).sum::<f32>();
        let (widest, all) = quads.iter().fold((0.0f32, 0.0f32), |(widest, all), quad| {
            let width = width(quad);
            (widest.max(width), all + width)
        });
        let inverse = f32::from(u8::MAX) / widest;
        if !(all.is_finite() && inverse.is_finite()) {
            // a query of zeros, or one beyond what bytes can say: every estimate is that of the centre
            (self.scale, self.offset) = (0.0, 0.0);
            self.deviation = if all == 0.0 { 0.0 } else { f32::INFINITY };
            return Ok(());
        }
        // integers of up to 2^23 that are added to it stand in its lowest bits, rounded
        const ROUND: f32 = (1u32 << 23) as f32;
        for (quad, bytes) in quads.iter().zip(self.bytes.as_chunks_mut::<FAST_QUAD>().0) {
            let lowest: f32 = quad.iter().map(|x| x.min(0.0)).sum();
            let mut sums = [-lowest; FAST_QUAD];
            for (j, x) in quad.iter().enumerate() {
                for n in 0..1 << j {
                    sums[n | 1 << j] = sums[n] + x;
                }
            }
            for (byte, sum) in bytes.iter_mut().zip(sums) {
                // the rounding of sums may lead a little below zero, not beyond half a step
                *byte = ((sum.max(0.0) * inverse).min(255.0) + ROUND).to_bits() as u8;
            }
        }
        let middle = ((1u32 << self.planes) - 1) as f32;
        self.scale = widest / f32::from(u8::MAX);
        self.offset = -0.5 * middle * all;
        // a byte is off by up to half a step, evenly; plane p counts 2^p times
        let squares = ((1u32 << (2 * self.planes)) - 1) as f32 / 3.0;
        self.deviation = self.scale * (self.quads as f32 / 12.0 * squares).sqrt();
        Ok(())
    }

    /// The standard deviation that rounding to bytes adds to a product; infinite where bytes cannot say the query.
    pub fn deviation(&self) -> f32 {
        self.deviation
    }

    /// Bytes of a block of codes that this query meets.
    pub fn block_size(&self) -> usize {
        self.planes * self.quads * FAST_QUAD
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    /// Products <y, Pq> with the codes of a block. Planes that the block lacks count as zero.
    #[inline]
    pub fn products(&self, kernels: &Kernels, block: &[u8], out: &mut [f32; ENTRIES]) {
        let mut sums = [0; ENTRIES];
        let size = self.quads * FAST_QUAD;
        kernels.fastscan(&self.bytes, block, self.quads, &mut sums);
        for plane in 1..self.planes {
            let mut more = [0; ENTRIES];
            kernels.fastscan(
                &self.bytes,
                block.get(plane * size..).unwrap_or_default(),
                self.quads,
                &mut more,
            );
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more << plane);
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            // below 2^24, so that floats have them exactly; signed ones convert fast
            *out = self.scale * (sum as i32 as f32) + self.offset;
        }
    }

    /// Estimates from the codes of a block and their factors: `base + add + scale <y, Pq>`, as
    /// [`rabitq::Query::estimate`](super::rabitq::Query::estimate) makes one.
    #[inline]
    pub fn estimates(
        &self,
        kernels: &Kernels,
        block: &[u8],
        adds: &[f32; ENTRIES],
        scales: &[f32; ENTRIES],
        base: f32,
        out: &mut [f32; ENTRIES],
    ) {
        self.products(kernels, block, out);
        for ((out, add), scale) in out.iter_mut().zip(adds).zip(scales) {
            *out = base + add + scale * *out;
        }
    }
}

#[cfg(test)]
#[path = "fastscan_tests.rs"]
mod tests;
