//! Codes of residuals in 1, 2 or 4 bits an element, with an unbiased estimate of distances: RaBitQ (Gao and
//! Long, arXiv:2405.12497, section 3; more bits: Gao et al., arXiv:2409.09913), here with a uniform quantiser
//! of a fixed step.
//!
//! A vector x is coded relative to a centre c (a list's centre, or the node that an edge begins at). With P the
//! rotation and r = P(x - c), the code u has an integer of b bits for each element, and y = u - (2^b - 1)/2
//! points nearly where r points. Because P is random, <y, v> |r|^2 / <y, r> is an unbiased estimate of <r, v>
//! for every v = P(q - c), so
//!
//! ```text
//! |q - x|^2  =  |q - c|^2 + |r|^2 - 2 <r, v>      ~  |q - c|^2 + add + scale <y, Pq>
//! -<q, x>    =  -<q, c> - <c, x - c> - <r, v>     ~     -<q, c> + add + scale <y, Pq>
//! ```
//!
//! where `add` and `scale` are known when the code is made. The relative error has the standard deviation 0.75, 0.37 or
//! 0.11 over the root of the dimension, for 1, 2 and 4 bits.

use vector_kernels::{Kernels, MAX_PLANES, PlaneSums};

/// Bits an element: 1, 2 or 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits(u8);

impl Bits {
    /// Signs only.
    pub const ONE: Bits = Bits(1);
    /// Two bits.
    pub const TWO: Bits = Bits(2);
    /// Four bits.
    pub const FOUR: Bits = Bits(4);

    /// That many bits, when there is such a code.
    pub const fn new(bits: u8) -> Option<Self> {
        match bits {
            1 | 2 | 4 => Some(Bits(bits)),
            _ => None,
        }
    }

    /// What serves vectors of `dims` elements: the error falls with the root of the dimension, so short ones need more.
    pub const fn for_dims(dims: usize) -> Self {
        if dims <= 160 { Bits::TWO } else { Bits::ONE }
    }

    /// Their number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Bytes of the code of a rotated vector of `padded` elements, a multiple of eight.
    pub const fn code_size(self, padded: usize) -> usize {
        self.0 as usize * padded / 8
    }

    /// Step of the quantiser for normal elements of variance 1: what makes the angle to the vector smallest.
    const fn step(self) -> f32 {
        match self.0 {
            1 => 1.596,
            2 => 0.9957,
            _ => 0.3352,
        }
    }

    /// The deviation of an estimate over |scale| |q - c|: half a step's mean square times the sine of the angle between
    /// a residual and its code, for normal elements, times the share of it that an estimate sees.
    pub const fn spread(self) -> f32 {
        match self.0 {
            1 => 0.301,
            2 => 0.323,
            _ => 0.308,
        }
    }

    /// The deviation of the product of two residuals that their codes estimate, over both ratios |r|^2 / <y, r> and the
    /// root of the dimension: 1.2, 0.54 or 0.16 of the residuals' lengths over that root, from the relative errors of
    /// both and of what they have in common.
    pub const fn pair_spread(self) -> f32 {
        match self.0 {
            1 => 0.191,
            2 => 0.423,
            _ => 1.38,
        }
    }

    /// (2^b - 1) / 2: what lies between u and y.
    const fn middle(self) -> f32 {
        ((1u32 << self.0) - 1) as f32 / 2.0
    }
}

/// What is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// squared Euclidean distance; of vectors at unit length it orders as the cosine distance, being twice that
    L2,
    /// minus the inner product
    InnerProduct,
}

/// What makes an estimate of a code.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Factors {
    /// the part that does not depend on the query
    pub add: f32,
    /// what the product of code and rotated query is multiplied with
    pub scale: f32,
    /// times |q - c|: the standard deviation of the estimate
    pub deviation: f32,
}

/// Makes the code of the residual between `value` and `centre`, both rotated, in bit planes
/// ([`Kernels::plane_products`]); both have as many elements as the rotation's
/// [`padded`](super::rotation::Rotation::padded), and `code` is [`Bits::code_size`] bytes. Returns the factors.
///
/// A residual of zero, or one whose square is no finite float, gives factors without a scale: the estimate is
/// then that of the centre plus the square, whatever the query.
pub fn encode(
    kernels: &Kernels,
    bits: Bits,
    measure: Measure,
    value: &[f32],
    centre: &[f32],
    code: &mut [u8],
) -> Factors {
    let sums = kernels.encode_planes(value, centre, usize::from(bits.get()), bits.step(), code);
    factors(measure, value.len(), &Sums::of(&sums))
}

/// As [`encode`], and the factors of the code of `centre` around `value`: the residual turned round, whose code is this
/// one with all bits turned over. `None` for these where the factors have no scale.
pub fn encode_both(
    kernels: &Kernels,
    bits: Bits,
    measure: Measure,
    value: &[f32],
    centre: &[f32],
    code: &mut [u8],
) -> (Factors, Option<Factors>) {
    let sums = kernels.encode_planes(value, centre, usize::from(bits.get()), bits.step(), code);
    let sums = Sums::of(&sums);
    let there = factors(measure, value.len(), &sums);
    let back = (there.scale != 0.0).then(|| factors(measure, value.len(), &sums.turned()));
    (there, back)
}

/// Sums over the elements of a residual r = v - c and its code y.
#[derive(Clone, Copy, Debug)]
struct Sums {
    /// |r|^2, <r, c>, <y, r>, |y|^2, <y, c>
    square: f64,
    centre_along: f64,
    along: f64,
    length: f64,
    across: f64,
}

impl Sums {
    fn of(sums: &PlaneSums) -> Self {
        let [square, centre_along, along, length, across] =
            [sums.square, sums.centre_along, sums.along, sums.length, sums.across].map(f64::from);
        Sums { square, centre_along, along, length, across }
    }

    /// Those of c - v and -y.
    fn turned(&self) -> Self {
        let Sums { square, centre_along, along, across, .. } = *self;
        Sums { centre_along: -(centre_along + square), across: -(across + along), ..*self }
    }
}

fn factors(measure: Measure, elements: usize, sums: &Sums) -> Factors {
    let Sums { square, centre_along, along, length, across } = *sums;
    let ratio = square / along;
    if !ratio.is_finite() || along <= 0.0 {
        let far = (square as f32).min(f32::MAX);
        return match measure {
            Measure::L2 => Factors { add: far, scale: 0.0, deviation: 2.0 * far.sqrt() },
            Measure::InnerProduct => Factors { add: 0.0, scale: 0.0, deviation: far.sqrt() },
        };
    }
    // what of y points elsewhere is spread over the other dimensions
    let cosine = (along * along / (length * square)).min(1.0);
    let others = (elements.max(2) - 1) as f64;
    let deviation = (square * (1.0 / cosine - 1.0) / others).sqrt();
    let (add, scale, deviation) = match measure {
        Measure::L2 => (square + 2.0 * ratio * across, -2.0 * ratio, 2.0 * deviation),
        Measure::InnerProduct => (ratio * across - centre_along, -ratio, deviation),
    };
    Factors { add: add as f32, scale: scale as f32, deviation: deviation as f32 }
}

/// A query as codes meet it: rotated, in signed bytes.
#[derive(Debug, Default)]
pub struct Query {
    bytes: Vec<i8>,
    /// what products of bytes are multiplied with
    scale: f32,
    /// (2^b - 1)/2 times the sum of the bytes
    middle: f32,
    /// as in [`vector_kernels::ByteCode`]
    error: f32,
}

/// There was no memory for a query.
pub use super::rotation::OutOfMemory;

impl Query {
    /// No query yet, and nothing allocated.
    pub const fn new() -> Self {
        Query { bytes: Vec::new(), scale: 0.0, middle: 0.0, error: 0.0 }
    }

    /// Makes it that of a rotated vector, for codes of so many bits.
    ///
    /// # Errors
    /// Too little memory for a byte an element.
    pub fn set(&mut self, kernels: &Kernels, rotated: &[f32], bits: Bits) -> Result<(), OutOfMemory> {
        self.bytes.clear();
        self.bytes.try_reserve(rotated.len()).map_err(|_| OutOfMemory)?;
        self.bytes.resize(rotated.len(), 0);
        let code = kernels.encode_i8(rotated, &mut self.bytes);
        if !code.scale.is_finite() || !code.error.is_finite() {
            // elements beyond what bytes can say: every estimate is that of the centre
            self.bytes.fill(0);
            (self.scale, self.middle, self.error) = (0.0, 0.0, f32::INFINITY);
            return Ok(());
        }
        self.scale = code.scale;
        self.middle = bits.middle() * code.sum as f32;
        self.error = code.error;
        Ok(())
    }

    /// Upper bound of the Euclidean distance between the rotated query and what its bytes say; infinite when
    /// bytes cannot say it.
    pub fn error(&self) -> f32 {
        self.error
    }

    /// Products <y, Pq> with codes that lie `stride` bytes apart, into `out`; returns how many there were.
    pub fn products(
        &self,
        kernels: &Kernels,
        bits: Bits,
        codes: &[u8],
        stride: usize,
        out: &mut Products,
    ) -> usize {
        let planes = usize::from(bits.get()).min(MAX_PLANES);
        kernels.plane_products(codes, stride, planes, &self.bytes, &mut out.0)
    }

    /// <y, Pq> from the product with a code.
    #[inline(always)]
    pub fn value(&self, product: i32) -> f32 {
        self.scale * (product as f32 - self.middle)
    }

    /// What turns a product p with a code into <y, Pq>: times the first, after the second is taken from it.
    #[inline(always)]
    pub const fn product_terms(&self) -> (f32, f32) {
        (self.scale, self.middle)
    }

    /// The estimate from the product with a code, its factors, and the exact distance `base` of its centre (squared
    /// for [`Measure::L2`]).
    #[inline(always)]
    pub fn estimate(&self, product: i32, factors: &Factors, base: f32) -> f32 {
        base + factors.add + factors.scale * self.value(product)
    }
}

/// Codes that are met at once.
pub const BATCH: usize = 32;

/// Products of a query with a batch of codes.
#[derive(Clone, Copy, Debug)]
pub struct Products(pub [i32; BATCH]);

#[cfg(test)]
#[path = "rabitq_tests.rs"]
mod tests;
