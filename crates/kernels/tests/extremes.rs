//! Overflow, underflow, NaN, infinities and signed zeros; every half-precision value.

mod support;

use support::{Random, same_f16, same_f32};
use vector_kernels::{available, f16};

/// Lengths that put a lone element into each part of a kernel: unrolled loop, single vectors, tail.
const LENGTHS: &[usize] = if cfg!(miri) { &[1, 3, 8, 21] } else { &[1, 3, 4, 8, 15, 16, 33, 64, 96, 161] };

#[test]
fn sums_overflow_to_infinity() {
    for k in available() {
        assert_eq!(k.l2_squared_f32(&[3e38], &[-3e38]), f32::INFINITY);
        assert_eq!(k.l1_f32(&[3e38], &[-3e38]), f32::INFINITY);
        assert_eq!(k.inner_product_f32(&[3e38], &[3e38]), f32::INFINITY);
        assert_eq!(k.inner_product_f32(&[3e38], &[-3e38]), f32::NEG_INFINITY);
        // The norms overflow: finite / infinite or infinite / infinite.
        assert!(k.cosine_similarity_f32(&[3e38], &[3e38]).is_nan());
        assert_eq!(k.cosine_similarity_f32(&[3e38, 1.0], &[0.0, 1.0]), 0.0);
        for &n in LENGTHS {
            let (a, b) = (vec![1e19; n], vec![-1e19; n]);
            assert_eq!(k.l2_squared_f32(&a, &b), f32::INFINITY, "{} {n}", k.tier().name());
            // f64 has room for what f32 has not.
            let norm = 1e30 * (n as f64).sqrt();
            assert!((k.norm_f32(&vec![1e30; n]) - norm).abs() < norm * 1e-6);
        }
        let most = f16::MAX;
        assert_eq!(k.l2_squared_f16(&[most], &[-most]), 131_008.0 * 131_008.0);
        assert_eq!(k.inner_product_f16(&[most], &[most]), 65_504.0 * 65_504.0);
        assert_eq!(k.l1_f16(&[most], &[-most]), 131_008.0);
        assert_eq!(k.norm_f16(&[most]), 65_504.0);
    }
}

#[test]
fn small_values_underflow_like_f32() {
    for k in available() {
        assert_eq!(k.l2_squared_f32(&[1e-30], &[0.0]), 0.0);
        assert_eq!(k.l1_f32(&[1e-45], &[0.0]), 1e-45);
        assert!(k.cosine_similarity_f32(&[1e-30], &[1e-30]).is_nan());
        assert!((k.norm_f32(&[1e-45]) - f64::from(1e-45f32)).abs() < 1e-58);
        // The least half is 2^-24.
        let (least, value) = (f16::from_bits(1), 1.0 / 16_777_216.0);
        assert_eq!(k.l1_f16(&[least], &[f16::ZERO]), value);
        assert_eq!(k.l2_squared_f16(&[least], &[f16::ZERO]), value * value);
        assert_eq!(k.norm_f16(&[least]), f64::from(value));
    }
}

#[test]
fn nothing_to_sum_is_positive_zero() {
    for k in available() {
        for n in [0, 1, 5, 16, 70] {
            let (zeros, negative) = (vec![0.0; n], vec![-0.0; n]);
            for sum in [
                k.l2_squared_f32(&zeros, &negative),
                k.inner_product_f32(&zeros, &negative),
                k.l1_f32(&zeros, &negative),
            ] {
                assert_eq!(sum.to_bits(), 0, "{} {n}", k.tier().name());
            }
            assert_eq!(k.norm_f32(&negative).to_bits(), 0);
            assert!(k.cosine_similarity_f32(&zeros, &negative).is_nan());
            assert!(k.cosine_similarity_f32(&vec![1.0; n], &zeros).is_nan());
        }
        assert_eq!(k.hamming(&[], &[]), 0);
        assert_eq!(k.jaccard_distance(&[], &[]), 1.0);
        assert_eq!(k.jaccard_distance(&[0; 9], &[0; 9]), 1.0);
    }
}

#[test]
fn nan_reaches_the_result_from_any_place() {
    for k in available() {
        for &n in LENGTHS {
            for at in 0..n {
                let ones = vec![1.0f32; n];
                let mut a = ones.clone();
                a[at] = f32::NAN;
                assert!(k.l2_squared_f32(&a, &ones).is_nan());
                assert!(k.l2_squared_f32(&ones, &a).is_nan());
                assert!(k.inner_product_f32(&a, &ones).is_nan());
                assert!(k.l1_f32(&ones, &a).is_nan());
                assert!(k.cosine_similarity_f32(&ones, &a).is_nan());
                assert!(k.norm_f32(&a).is_nan());
                let ones = vec![f16::ONE; n];
                let mut a = ones.clone();
                a[at] = f16::NAN;
                assert!(k.l2_squared_f16(&a, &ones).is_nan());
                assert!(k.inner_product_f16(&ones, &a).is_nan());
                assert!(k.l1_f16(&ones, &a).is_nan());
                assert!(k.cosine_similarity_f16(&a, &ones).is_nan());
                assert!(k.norm_f16(&a).is_nan());
            }
        }
        // inf - inf
        assert!(k.l2_squared_f32(&[f32::INFINITY], &[f32::INFINITY]).is_nan());
        assert_eq!(k.l1_f32(&[f32::INFINITY], &[1.0]), f32::INFINITY);
    }
}

#[test]
fn elementwise_operations_overflow_and_underflow() {
    let a = [3e38f32, 1e-30, -0.0, f32::NAN, f32::INFINITY, 1e-45];
    let b = [3e38f32, 1e-30, 0.0, 1.0, f32::INFINITY, -1e-45];
    for k in available() {
        for copies in [1, 7] {
            let (a, b) = (a.repeat(copies), b.repeat(copies));
            let mut out = vec![0.0; a.len()];
            let check = |out: &[f32], f: fn(f32, f32) -> f32| {
                for ((x, y), o) in a.iter().zip(&b).zip(out) {
                    assert!(same_f32(*o, f(*x, *y)), "{x} {y} {o} {}", k.tier().name());
                }
            };
            k.add_f32(&a, &b, &mut out);
            check(&out, |x, y| x + y);
            k.sub_f32(&a, &b, &mut out);
            check(&out, |x, y| x - y);
            k.mul_f32(&a, &b, &mut out);
            check(&out, |x, y| x * y);
            k.scale_f32(&a, 0.0, &mut out);
            assert_eq!(out[0], f32::INFINITY);
            assert!(out[2].is_nan());
        }
        let mut out = [f16::ZERO; 2];
        k.add_f16(&[f16::MAX, f16::MAX], &[f16::MAX, f16::from_f32(15.0)], &mut out);
        assert_eq!(out, [f16::INFINITY, f16::MAX]);
        k.mul_f16(&[f16::from_bits(1), -f16::MAX], &[f16::from_bits(1), f16::MAX], &mut out);
        assert_eq!(out, [f16::ZERO, f16::NEG_INFINITY]);
    }
}

#[test]
fn sign_bits_of_zeros_nans_and_infinities() {
    let tiny = 1e-45f32;
    let a = [0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, tiny, -tiny, 1.0];
    let h = a.map(f16::from_f32);
    let (least, negative) = (f16::from_bits(1), f16::from_bits(0x8001));
    for k in available() {
        let mut out = [0xff; 2];
        k.binary_quantize_f32(&a, &mut out);
        assert_eq!(out, [0b0000_1010, 0b1000_0000]);
        let mut h = h;
        (h[6], h[7]) = (least, negative);
        k.binary_quantize_f16(&h, &mut out);
        assert_eq!(out, [0b0000_1010, 0b1000_0000]);
    }
}

#[test]
fn every_half_widens_and_narrows_back() {
    let step = if cfg!(miri) { 511 } else { 1 };
    let halves: Vec<f16> = (0..=u16::MAX).step_by(step).map(f16::from_bits).collect();
    for k in available() {
        let mut floats = vec![0.0; halves.len()];
        k.f16_to_f32(&halves, &mut floats);
        let mut back = vec![f16::ZERO; halves.len()];
        k.f32_to_f16(&floats, &mut back);
        for ((h, f), b) in halves.iter().zip(&floats).zip(&back) {
            assert_eq!(f.to_bits(), h.to_f32_const().to_bits(), "{:#x} {}", h.to_bits(), k.tier().name());
            assert!(same_f16(*h, *b), "{:#x} came back as {:#x}", h.to_bits(), b.to_bits());
        }
    }
}

/// Around every boundary between two halves: the midpoint (a tie), and the floats next to it.
#[test]
fn floats_round_to_the_nearest_half_ties_to_even() {
    let step = if cfg!(miri) { 2039 } else { 1 };
    let mut floats = vec![65519.996, 65520.0, 65520.004, 1e6, f32::MAX, f32::INFINITY, 0.0, 1e-45, f32::NAN];
    for bits in (0..0x7bff).step_by(step) {
        let (low, high) = (f16::from_bits(bits).to_f32_const(), f16::from_bits(bits + 1).to_f32_const());
        let middle = (low + high) / 2.0;
        floats.extend([low, middle.next_down(), middle, middle.next_up()]);
    }
    let mut random = Random(3);
    floats.extend((0..if cfg!(miri) { 50 } else { 100_000 }).map(|_| f32::from_bits(random.bits() as u32)));
    floats.extend(floats.iter().map(|x| -x).collect::<Vec<_>>());
    for k in available() {
        let mut out = vec![f16::ZERO; floats.len()];
        k.f32_to_f16(&floats, &mut out);
        for (f, h) in floats.iter().zip(&out) {
            assert!(same_f16(*h, f16::from_f32_const(*f)), "{f:e} became {h} in {}", k.tier().name());
        }
    }
}
