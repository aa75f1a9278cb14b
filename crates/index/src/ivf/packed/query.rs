//! A query, and what the codes of a block tell of its distances.

use core::cmp::Ordering;

use vector_kernels::kernels;

use super::code::rotate;
use super::layout::{BLOCK, Block, Geometry};
use super::{Index, Memory};
use crate::filter::gather;
use crate::quant::fastscan::Table;
use crate::quant::rabitq::{self, Bits};
use crate::quant::space::{CodedSpace, Estimate};
use crate::storage::page::Damage;

/// How many deviations from its estimate a distance may lie: one in thirty rows lies nearer.
const DEVIATIONS: f32 = 1.9;
/// The same where somebody asks for all lists, and so for an exact answer: one row in a few hundred thousand lies
/// farther from its estimate.
const CERTAIN: f32 = 4.5;

/// How many deviations bounds lie from estimates where so many lists were asked for of those there are.
pub const fn deviations(asked: usize, lists: u32) -> f32 {
    if asked >= lists as usize { CERTAIN } else { DEVIATIONS }
}

/// What rounding takes from a bound, relatively, at most.
const ROUNDING: f32 = 4e-6;

/// A query, prepared once per scan.
#[derive(Debug)]
pub struct Query {
    /// for blocks that fill
    bytes: rabitq::Query,
    /// for transposed ones
    table: Table,
    /// deviation of <y, Pq> that rounding to bytes makes, of each
    rounding: [f32; 2],
    /// |q|^2
    square: f32,
    bits: Bits,
    /// of it ([`Bits::spread`])
    spread: f32,
    ready: bool,
}

/// Bounds of the distances of a block's entries.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// probably no row is nearer
    pub lower: [f32; BLOCK],
    /// probably no row is farther
    pub upper: [f32; BLOCK],
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { lower: [0.0; BLOCK], upper: [0.0; BLOCK] }
    }
}

/// A list as a query sees it.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    /// what estimates of its rows begin with
    base: f32,
    /// how far bounds lie from estimates over the scale, of blocks that fill and of transposed ones
    deviations: [f32; 2],
}

impl Bounds {
    /// The bits of those whose lower bounds are not above the limit: those that are no numbers, too.
    #[inline]
    pub fn not_above(&self, limit: f32) -> u32 {
        bits_of(&self.lower, |lower| !matches!(lower.partial_cmp(&limit), Some(Ordering::Greater)))
    }
}

/// A bit each: whether a number is one that is looked for.
#[inline]
pub fn bits_of(numbers: &[f32; BLOCK], is: impl Fn(f32) -> bool) -> u32 {
    let mut bytes = [0u8; BLOCK];
    for (byte, &number) in bytes.iter_mut().zip(numbers) {
        *byte = u8::from(is(number));
    }
    let mut bits = 0;
    for (at, chunk) in bytes.as_chunks::<8>().0.iter().enumerate() {
        bits |= u32::from(gather(*chunk)) << (8 * at);
    }
    bits
}

impl Default for Query {
    fn default() -> Self {
        Self::new()
    }
}

impl Query {
    /// None yet.
    pub const fn new() -> Self {
        Query {
            bytes: rabitq::Query::new(),
            table: Table::new(),
            rounding: [0.0; 2],
            square: 0.0,
            bits: Bits::ONE,
            spread: 0.0,
            ready: false,
        }
    }

    /// Forgets the query.
    pub fn clear(&mut self) {
        self.ready = false;
    }

    /// Bytes that it holds.
    pub fn allocated(&self) -> usize {
        // a byte an element
        self.table.allocated() * 5 / 4
    }

    /// Whether there is one.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Makes it that of `view`.
    ///
    /// # Errors
    /// No memory.
    pub fn set<S: CodedSpace>(
        &mut self,
        index: &Index,
        memory: &mut Memory,
        space: &S,
        view: S::View<'_>,
    ) -> Result<(), Damage> {
        let (mut widened, mut rotated) =
            (core::mem::take(&mut memory.widened), core::mem::take(&mut memory.rotated));
        let made = memory.rotation(index).and_then(|rotation| {
            rotate(rotation, space, view, &mut widened, &mut rotated)?;
            self.set_rotated(&rotated, Bits::ONE)
        });
        (memory.widened, memory.rotated) = (widened, rotated);
        made
    }

    /// Makes it that of a rotated vector, for codes of so many bits.
    ///
    /// # Errors
    /// No memory.
    pub fn set_rotated(&mut self, rotated: &[f32], bits: Bits) -> Result<(), Damage> {
        let out_of_memory = Damage::OUT_OF_MEMORY;
        self.bytes.set(kernels(), rotated, bits).map_err(|_| out_of_memory)?;
        self.table.set(rotated, bits).map_err(|_| out_of_memory)?;
        self.square = rotated.iter().map(|x| x * x).sum();
        (self.bits, self.spread) = (bits, bits.spread(rotated.len()));
        // an element of y is a half, or of more bits as much as the root of their mean square
        let element = (((1u32 << (2 * bits.each())) - 1) as f32 / 12.0).sqrt();
        self.rounding = [element * self.bytes.error(), self.table.deviation()];
        self.ready = true;
        Ok(())
    }

    /// A list whose centre has this norm and this distance from the query, as a space of the index tells it. Bounds of
    /// its entries lie `deviations` deviations from estimates.
    pub fn base(&self, estimate: Estimate, distance: f32, norm: f32, deviations: f32) -> Base {
        let square = match estimate {
            Estimate::L2 => distance,
            Estimate::Cosine => 2.0 + 2.0 * distance,
            _ => self.square + norm * norm + 2.0 * distance,
        };
        let base = if estimate == Estimate::Cosine { 1.0 + distance } else { distance };
        self.around(base, square, deviations)
    }

    /// Codes of residuals to a centre whose squared Euclidean distance is `square`, and whose distance by the operator
    /// is `base`. Bounds lie `deviations` deviations from estimates.
    pub fn around(&self, base: f32, square: f32, deviations: f32) -> Base {
        let spread = self.spread * square.max(0.0).sqrt();
        Base { base, deviations: self.rounding.map(|rounding| deviations * spread.hypot(rounding)) }
    }

    /// The same by the rotated query and the rotated centre.
    pub fn from_centre(&self, estimate: Estimate, rotated: &[f32], centre: &[f32], deviations: f32) -> Base {
        let (mut square, mut product) = (0.0, 0.0);
        for (q, c) in rotated.iter().zip(centre) {
            square += (q - c) * (q - c);
            product += q * c;
        }
        let base = match estimate {
            Estimate::L2 => square,
            Estimate::Cosine => 1.0 - product,
            _ => -product,
        };
        self.around(base, square, deviations)
    }

    /// Bounds of the distances of the entries of a block.
    #[inline]
    pub fn bounds(&self, geometry: &Geometry, list: &Base, block: &Block<'_>, out: &mut Bounds) {
        let k = kernels();
        let mut products = [0f32; BLOCK];
        if block.transposed {
            self.table.products(k, block.codes, &mut products);
        } else {
            let mut found = rabitq::Products([0; BLOCK]);
            let codes = block.codes.get(..block.len * geometry.code).unwrap_or_default();
            self.bytes.products(k, self.bits, codes, geometry.code, &mut found);
            for (product, found) in products.iter_mut().zip(found.0) {
                *product = self.bytes.value(found);
            }
        }
        let (mut add, mut scale) = ([0f32; BLOCK], [0f32; BLOCK]);
        let n = block.add.len().min(BLOCK);
        add[..n].copy_from_slice(&block.add[..n]);
        scale[..n].copy_from_slice(&block.scale[..n]);
        let deviation = list.deviations[usize::from(block.transposed)];
        for at in 0..BLOCK {
            let part = scale[at] * products[at];
            let estimate = list.base + add[at] + part;
            let rounding = ROUNDING * (list.base.abs() + add[at].abs() + part.abs());
            let error = scale[at].abs() * deviation + rounding;
            out.lower[at] = estimate - error;
            out.upper[at] = estimate + error;
        }
    }
}
