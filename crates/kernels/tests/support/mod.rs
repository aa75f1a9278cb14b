//! Plain `f64` oracles and reproducible data.
#![allow(dead_code)]

use vector_kernels::f16;

/// Every tail length of every tier several times over, then some lengths that people use.
pub fn lengths() -> Vec<usize> {
    if cfg!(miri) {
        return (0..=17).chain([40]).collect();
    }
    (0..=300).chain([384, 768, 1536, 1600, 16000]).collect()
}

/// A small generator (splitmix64), so that a failure comes back with its seed.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between -1 and 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }

    pub fn halves(&mut self, n: usize) -> Vec<f16> {
        (0..n).map(|_| f16::from_f32(self.unit())).collect()
    }

    pub fn signed(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| self.bits() as i8).collect()
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.bits() as u8).collect()
    }
}

pub fn widened(a: &[f16]) -> Vec<f32> {
    a.iter().map(|x| x.to_f32_const()).collect()
}

/// A sum in `f64` together with the sum of its terms' magnitudes, which bounds the rounding of an `f32` sum.
pub struct Sum {
    pub value: f64,
    magnitude: f64,
    terms: usize,
}

impl Sum {
    pub fn of(terms: impl Iterator<Item = f64>) -> Sum {
        terms.fold(Sum { value: 0.0, magnitude: 0.0, terms: 0 }, |s, t| Sum {
            value: s.value + t,
            magnitude: s.magnitude + t.abs(),
            terms: s.terms + 1,
        })
    }

    /// How far a sum in `f32`, over at least four independent lanes, may be off.
    pub fn tolerance(&self) -> f64 {
        self.magnitude * f64::from(f32::EPSILON) * (4.0 + self.terms as f64 / 16.0)
    }

    #[track_caller]
    pub fn check(&self, got: f32, what: &str) {
        let error = (f64::from(got) - self.value).abs();
        assert!(error <= self.tolerance(), "{what}: {got}, not {} (terms: {})", self.value, self.terms);
    }
}

fn pairs<'a>(a: &'a [f32], b: &'a [f32]) -> impl Iterator<Item = (f64, f64)> + 'a {
    a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)))
}

pub fn l2_squared(a: &[f32], b: &[f32]) -> Sum {
    Sum::of(pairs(a, b).map(|(x, y)| (x - y) * (x - y)))
}

pub fn inner_product(a: &[f32], b: &[f32]) -> Sum {
    Sum::of(pairs(a, b).map(|(x, y)| x * y))
}

pub fn l1(a: &[f32], b: &[f32]) -> Sum {
    Sum::of(pairs(a, b).map(|(x, y)| (x - y).abs()))
}

/// Checks a cosine similarity through the tolerances of its three sums.
#[track_caller]
pub fn check_cosine(got: f64, a: &[f32], b: &[f32], what: &str) {
    let (dot, aa, bb) = (inner_product(a, b), inner_product(a, a), inner_product(b, b));
    let root = (aa.value * bb.value).sqrt();
    if root == 0.0 {
        assert!(got.is_nan(), "{what}: {got} for a zero vector");
        return;
    }
    let want = dot.value / root;
    let relative = dot.tolerance() / root + aa.tolerance() / aa.value + bb.tolerance() / bb.value;
    assert!((got - want).abs() <= relative, "{what}: {got}, not {want} (dimensions: {})", a.len());
}

pub fn norm(a: &[f32]) -> f64 {
    a.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

#[track_caller]
pub fn check_norm(got: f64, a: &[f32], what: &str) {
    let want = norm(a);
    assert!((got - want).abs() <= want * 1e-13, "{what}: {got}, not {want} (dimensions: {})", a.len());
}

pub fn hamming(a: &[u8], b: &[u8]) -> u64 {
    a.iter().zip(b).map(|(x, y)| u64::from((x ^ y).count_ones())).sum()
}

pub fn jaccard(a: &[u8], b: &[u8]) -> f64 {
    let ones = |bytes: &mut dyn Iterator<Item = u8>| bytes.map(|x| u64::from(x.count_ones())).sum::<u64>();
    let ab = ones(&mut a.iter().zip(b).map(|(x, y)| x & y));
    let (aa, bb) = (ones(&mut a.iter().copied()), ones(&mut b.iter().copied()));
    if ab == 0 { 1.0 } else { 1.0 - ab as f64 / (aa + bb - ab) as f64 }
}

pub fn quantized(a: &[f32]) -> Vec<u8> {
    let mut out = vec![0; a.len().div_ceil(8)];
    for (i, x) in a.iter().enumerate() {
        if *x > 0.0 {
            out[i / 8] |= 0x80 >> (i % 8);
        }
    }
    out
}

/// Equal, or both NaN.
pub fn same_f16(a: f16, b: f16) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Equal, or both NaN.
pub fn same_f32(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}
