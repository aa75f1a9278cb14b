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

use vector_kernels::{Kernels, MAX_PLANES, PLANE_BLOCK, PlaneSums};

/// Bits an element: 1, 2 or 4 of all, or 2 of the first ones and 1 of the others.
///
/// A rotation makes all elements alike, so it does not matter which have more. A code of the last kind is one of two
/// bits of the first elements, and behind it one of one bit of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// of every element
    each: u8,
    /// so many elements, a multiple of [`PLANE_BLOCK`], have two although others have one
    doubled: u16,
}

/// Elements of a code that have as many bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub elements: usize,
    pub planes: usize,
    /// what an element of y counts in a product: y is to point where the residual does, and steps of one and of two
    /// bits are as 1.6 to 1, so that 8 and 5 are right to a hundredth
    pub weight: i32,
}

impl Part {
    pub const fn bytes(&self) -> usize {
        self.planes * self.elements / 8
    }

    /// (2^b - 1) / 2, which lies between u and y.
    const fn middle(&self) -> f32 {
        ((1u32 << self.planes) - 1) as f32 / 2.0
    }
}

/// Of y and a normal residual of variance 1: the mean of their product, and the mean square of y; for 1, 2 and 4 bits.
const MOMENTS: [(f32, f32); 3] = [(0.3989, 0.25), (0.885, 0.8888), (2.948, 8.801)];

impl Bits {
    /// Signs only.
    pub const ONE: Bits = Bits { each: 1, doubled: 0 };
    /// Two bits.
    pub const TWO: Bits = Bits { each: 2, doubled: 0 };
    /// Four bits.
    pub const FOUR: Bits = Bits { each: 4, doubled: 0 };

    /// So many bits of each element, and two of the first `doubled`, when there is such a code of `padded` elements.
    pub const fn new(each: u8, doubled: u16, padded: usize) -> Option<Self> {
        match (each, doubled) {
            (1 | 2 | 4, 0) => Some(Bits { each, doubled }),
            (1, _) if (doubled as usize).is_multiple_of(PLANE_BLOCK) && (doubled as usize) < padded => {
                Some(Bits { each, doubled })
            }
            _ => None,
        }
    }

    /// What serves vectors of `dims` elements where all have as many: the error falls with the root of the dimension,
    /// so short ones need more.
    pub const fn for_dims(dims: usize) -> Self {
        if dims <= 160 { Bits::TWO } else { Bits::ONE }
    }

    /// Those of every element.
    pub const fn each(self) -> u8 {
        self.each
    }

    /// Elements that have two although others have one.
    pub const fn doubled(self) -> u16 {
        self.doubled
    }

    /// Bits of an element, in the mean of a code of `padded` elements.
    pub fn mean(self, padded: usize) -> f32 {
        f32::from(self.each) + f32::from(self.doubled) / padded.max(1) as f32
    }

    /// Bytes of the code of a rotated vector of `padded` elements, a multiple of eight.
    pub const fn code_size(self, padded: usize) -> usize {
        (self.each as usize * padded + self.doubled as usize) / 8
    }

    /// The parts of a code of `padded` elements.
    pub(crate) fn parts(self, padded: usize) -> impl Iterator<Item = Part> + Clone {
        let planes = usize::from(self.each);
        let first = usize::from(self.doubled).min(padded);
        let parts = if first == 0 {
            [Part { elements: padded, planes, weight: 1 }, Part { elements: 0, planes, weight: 1 }]
        } else {
            let two = Part { elements: first, planes: planes + 1, weight: 5 };
            [two, Part { elements: padded - first, planes, weight: 8 }]
        };
        parts.into_iter().filter(|part| part.elements > 0)
    }

    /// The means, over a code of `padded` elements, of the product of y and a residual of variance 1, and of y's
    /// square.
    fn moments(self, padded: usize) -> (f32, f32) {
        self.parts(padded).fold((0.0, 0.0), |(along, square), part| {
            let (share, weight) = (part.elements as f32 / padded as f32, part.weight as f32);
            let (one, two) = MOMENTS[part.planes.ilog2().min(2) as usize];
            (along + share * weight * one, square + share * weight * weight * two)
        })
    }

    /// The standard deviation of an estimate's relative error, times the root of the dimension: the tangent of the
    /// angle between a normal residual and y.
    pub fn error(self, padded: usize) -> f32 {
        let (along, square) = self.moments(padded);
        (square / (along * along) - 1.0).max(0.0).sqrt()
    }

    /// The deviation of an estimate over |scale| |q - c|: the length of y over the root of the dimension, times the
    /// sine of the angle between a residual and its code, for normal elements.
    pub fn spread(self, padded: usize) -> f32 {
        let (along, square) = self.moments(padded);
        (square - along * along).max(0.0).sqrt()
    }

    /// The deviation of the product of two residuals that their codes estimate, over both ratios |r|^2 / <y, r> and the
    /// root of the dimension: 1.2, 0.54 or 0.16 of the residuals' lengths over that root, from the relative errors of
    /// both and of what they have in common.
    pub fn pair_spread(self, padded: usize) -> f32 {
        let (along, error) = (self.moments(padded).0, self.error(padded));
        let square = error * error;
        (square * (2.0 + square)).sqrt() * along * along
    }
}

/// Step of the quantiser for normal elements of variance 1: what makes the angle to the vector smallest.
const fn step(planes: usize) -> f32 {
    match planes {
        1 => 1.596,
        2 => 0.9957,
        _ => 0.3352,
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

/// What a code is met by. The difference takes a rotation for each centre, and is exact where the query is close to it:
/// with the query itself two products are taken from each other, of which each may be far larger, and its elements are
/// rounded to bytes by the largest of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// the rotated query
    Query,
    /// the rotated difference of query and centre
    Difference,
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
/// [`padded`](super::rotation::Rotation::padded), and `code` is [`Bits::code_size`] bytes. Returns the factors of
/// estimates by products with what it is `met` by.
///
/// A residual of zero, or one whose square is no finite float, gives factors without a scale: the estimate is
/// then that of the centre plus the square, whatever the query.
pub fn encode(
    kernels: &Kernels,
    bits: Bits,
    (measure, met): (Measure, Met),
    value: &[f32],
    centre: &[f32],
    code: &mut [u8],
) -> Factors {
    let sums = encode_parts(kernels, bits, value, centre, code);
    factors(measure, met, value.len(), &Sums::of(&sums))
}

/// As [`encode`], and the factors of the code of `centre` around `value`: the residual turned round, whose code is this
/// one with all bits turned over. `None` for these where the factors have no scale.
pub fn encode_both(
    kernels: &Kernels,
    bits: Bits,
    (measure, met): (Measure, Met),
    value: &[f32],
    centre: &[f32],
    code: &mut [u8],
) -> (Factors, Option<Factors>) {
    let sums = Sums::of(&encode_parts(kernels, bits, value, centre, code));
    let there = factors(measure, met, value.len(), &sums);
    let back = (there.scale != 0.0).then(|| factors(measure, met, value.len(), &sums.turned()));
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

fn factors(measure: Measure, met: Met, elements: usize, sums: &Sums) -> Factors {
    let Sums { square, centre_along, along, length, across } = *sums;
    // the product of the code with the centre, which is not in that with a difference
    let across = if met == Met::Query { across } else { 0.0 };
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

/// The parts of a code, one behind the other, and what they come to. Each has the deviation of its own elements, which
/// a rotation makes nearly the same.
#[inline]
fn encode_parts(kernels: &Kernels, bits: Bits, value: &[f32], centre: &[f32], code: &mut [u8]) -> PlaneSums {
    let padded = value.len().min(centre.len());
    let mut all = PlaneSums::default();
    let (mut begin, mut code) = (0, code);
    for part in bits.parts(padded) {
        let of = begin..begin + part.elements;
        begin += part.elements;
        let (here, behind) = code.split_at_mut(part.bytes().min(code.len()));
        let (value, centre) = (&value[of.clone()], &centre[of]);
        let sums = kernels.encode_planes(value, centre, part.planes, step(part.planes), here);
        let weight = part.weight as f32;
        all.square += sums.square;
        all.centre_along += sums.centre_along;
        all.along += weight * sums.along;
        all.length += weight * weight * sums.length;
        all.across += weight * sums.across;
        code = behind;
    }
    all
}

/// Products of whole numbers with codes of `bits`, `stride` bytes apart, into `out`; `elements` has one for each
/// element of a code. Returns how many there were.
fn weighed_products(
    kernels: &Kernels,
    bits: Bits,
    codes: &[u8],
    stride: usize,
    elements: &[i8],
    out: &mut [i32; BATCH],
) -> usize {
    if bits.doubled == 0 {
        let planes = usize::from(bits.each).min(MAX_PLANES);
        return kernels.plane_products(codes, stride, planes, elements, out);
    }
    out.fill(0);
    let mut part_products = [0; BATCH];
    let (mut count, mut at, mut begin) = (BATCH, 0, 0);
    for part in bits.parts(elements.len()) {
        let (codes, elements) =
            (codes.get(at..).unwrap_or_default(), &elements[begin..begin + part.elements]);
        count = count.min(kernels.plane_products(codes, stride, part.planes, elements, &mut part_products));
        for (sum, product) in out.iter_mut().zip(&part_products) {
            *sum += part.weight * product;
        }
        (at, begin) = (at + part.bytes(), begin + part.elements);
    }
    count
}

/// A query as codes meet it: rotated, in signed bytes.
#[derive(Debug, Default)]
pub struct Query {
    bytes: Vec<i8>,
    /// what products of bytes are multiplied with
    scale: f32,
    /// (2^b - 1)/2 times the sum of the bytes, or the sum of that of a code's parts
    middle: f32,
    /// half of the sum of the bytes: the same of codes of one bit
    half: f32,
    /// as in [`vector_kernels::ByteCode`]
    error: f32,
}

/// What products with u are more than products with y.
fn centred(bits: Bits, elements: &[i8]) -> f32 {
    let mut begin = 0;
    let mut middle = 0.0;
    for part in bits.parts(elements.len()) {
        let sum: i32 = elements[begin..begin + part.elements].iter().map(|&x| i32::from(x)).sum();
        middle += part.weight as f32 * part.middle() * sum as f32;
        begin += part.elements;
    }
    middle
}

/// There was no memory for a query.
pub use super::rotation::OutOfMemory;

impl Query {
    /// No query yet, and nothing allocated.
    pub const fn new() -> Self {
        Query { bytes: Vec::new(), scale: 0.0, middle: 0.0, half: 0.0, error: 0.0 }
    }

    /// Makes it that of a rotated vector, for codes of so many bits and for those of one.
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
            (self.scale, self.middle, self.half, self.error) = (0.0, 0.0, 0.0, f32::INFINITY);
            return Ok(());
        }
        self.scale = code.scale;
        self.half = 0.5 * code.sum as f32;
        self.middle = if bits.doubled == 0 {
            ((1u32 << bits.each) - 1) as f32 / 2.0 * code.sum as f32
        } else {
            centred(bits, &self.bytes)
        };
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
        weighed_products(kernels, bits, codes, stride, &self.bytes, &mut out.0)
    }

    /// <y, Pq> from the product with a code of the bits that it was made for.
    #[inline(always)]
    pub fn value(&self, product: i32) -> f32 {
        self.scale * (product as f32 - self.middle)
    }

    /// What turns a product p with a code of `bits` into <y, Pq>: times the first, after the second is taken from it.
    #[inline(always)]
    pub fn product_terms(&self, bits: Bits) -> (f32, f32) {
        (self.scale, if bits == Bits::ONE { self.half } else { self.middle })
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
