//! Properties over arbitrary values: tiers agree, distances are symmetric, sparse equals dense.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use std::collections::BTreeMap;
use support::same_f32;
use vector_kernels::{available, f16, sparse};

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn float_pairs() -> impl Strategy<Value = Vec<(f32, f32)>> {
    prop::collection::vec((-1e3f32..1e3, -1e3f32..1e3), 0..200)
}

fn sparse_vector() -> impl Strategy<Value = BTreeMap<i32, f32>> {
    prop::collection::btree_map(0i32..100, prop_oneof![-10f32..-0.1, 0.1f32..10.0], 0..60)
}

fn dense(sparse: &BTreeMap<i32, f32>) -> Vec<f32> {
    (0..100).map(|i| sparse.get(&i).copied().unwrap_or(0.0)).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn distances_agree_with_the_oracle_and_are_symmetric(pairs in float_pairs()) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        for k in available() {
            let name = k.tier().name();
            support::l2_squared(&a, &b).check(k.l2_squared_f32(&a, &b), name);
            support::inner_product(&a, &b).check(k.inner_product_f32(&a, &b), name);
            support::l1(&a, &b).check(k.l1_f32(&a, &b), name);
            support::check_cosine(k.cosine_similarity_f32(&a, &b), &a, &b, name);
            prop_assert_eq!(k.l2_squared_f32(&a, &b), k.l2_squared_f32(&b, &a));
            prop_assert_eq!(k.inner_product_f32(&a, &b), k.inner_product_f32(&b, &a));
            prop_assert_eq!(k.l1_f32(&a, &b), k.l1_f32(&b, &a));
            prop_assert_eq!(k.l2_squared_f32(&a, &a), 0.0);
        }
    }

    #[test]
    fn half_kernels_equal_float_kernels_on_widened_input(bits in prop::collection::vec(any::<(u16, u16)>(), 0..200)) {
        // Same tier, same order of summation, so the results are equal to the bit.
        let (a, b): (Vec<f16>, Vec<f16>) =
            bits.into_iter().map(|(x, y)| (f16::from_bits(x), f16::from_bits(y))).unzip();
        for k in available() {
            let (mut x, mut y) = (vec![0.0; a.len()], vec![0.0; b.len()]);
            k.f16_to_f32(&a, &mut x);
            k.f16_to_f32(&b, &mut y);
            prop_assert!(same_f32(k.l2_squared_f16(&a, &b), k.l2_squared_f32(&x, &y)));
            prop_assert!(same_f32(k.inner_product_f16(&a, &b), k.inner_product_f32(&x, &y)));
            prop_assert!(same_f32(k.l1_f16(&a, &b), k.l1_f32(&x, &y)));
        }
    }

    #[test]
    fn bits_agree_with_the_oracle(pairs in prop::collection::vec(any::<(u8, u8)>(), 0..400)) {
        let (a, b): (Vec<u8>, Vec<u8>) = pairs.into_iter().unzip();
        for k in available() {
            prop_assert_eq!(k.hamming(&a, &b), support::hamming(&a, &b));
            prop_assert_eq!(k.jaccard_distance(&a, &b), support::jaccard(&a, &b));
        }
    }

    #[test]
    fn elementwise_results_are_equal_in_every_tier(bits in prop::collection::vec(any::<(u32, u32)>(), 0..100), norm in any::<f64>()) {
        let (a, b): (Vec<f32>, Vec<f32>) =
            bits.into_iter().map(|(x, y)| (f32::from_bits(x), f32::from_bits(y))).unzip();
        for k in available() {
            let mut out = vec![0.0; a.len()];
            k.add_f32(&a, &b, &mut out);
            prop_assert!(out.iter().zip(a.iter().zip(&b)).all(|(o, (x, y))| same_f32(*o, x + y)));
            k.mul_f32(&a, &b, &mut out);
            prop_assert!(out.iter().zip(a.iter().zip(&b)).all(|(o, (x, y))| same_f32(*o, x * y)));
            k.scale_f32(&a, norm, &mut out);
            prop_assert!(out.iter().zip(&a).all(|(o, x)| same_f32(*o, (f64::from(*x) / norm) as f32)));
            let mut halves = vec![f16::ZERO; a.len()];
            k.f32_to_f16(&a, &mut halves);
            prop_assert!(halves.iter().zip(&a).all(|(h, x)| support::same_f16(*h, f16::from_f32_const(*x))));
            let mut bits = vec![0; a.len().div_ceil(8)];
            k.binary_quantize_f32(&a, &mut bits);
            prop_assert_eq!(bits, support::quantized(&a));
        }
    }

    #[test]
    fn sparse_distances_equal_dense_ones(a in sparse_vector(), b in sparse_vector()) {
        let (x, y) = (dense(&a), dense(&b));
        let (ai, av): (Vec<i32>, Vec<f32>) = a.into_iter().unzip();
        let (bi, bv): (Vec<i32>, Vec<f32>) = b.into_iter().unzip();
        support::l2_squared(&x, &y).check(sparse::l2_squared(&ai, &av, &bi, &bv), "l2");
        support::inner_product(&x, &y).check(sparse::inner_product(&ai, &av, &bi, &bv), "inner product");
        support::l1(&x, &y).check(sparse::l1(&ai, &av, &bi, &bv), "l1");
        support::check_cosine(sparse::cosine_similarity(&ai, &av, &bi, &bv), &x, &y, "cosine");
        prop_assert_eq!(sparse::l1(&ai, &av, &bi, &bv), sparse::l1(&bi, &bv, &ai, &av));
        prop_assert_eq!(sparse::inner_product(&ai, &av, &bi, &bv), sparse::inner_product(&bi, &bv, &ai, &av));
    }

    #[test]
    fn sparse_kernels_survive_any_indices(ai in prop::collection::vec(any::<i32>(), 0..20), bi in prop::collection::vec(any::<i32>(), 0..20), n in 0usize..20) {
        let v = vec![1.0; n];
        sparse::l2_squared(&ai, &v, &bi, &v);
        sparse::inner_product(&ai, &v, &bi, &v);
        sparse::l1(&ai, &v, &bi, &v);
        sparse::cosine_similarity(&ai, &v, &bi, &v);
    }
}

#[test]
fn sparse_extremes() {
    let none: (&[i32], &[f32]) = (&[], &[]);
    let l2 = |a: (&[i32], &[f32]), b: (&[i32], &[f32])| sparse::l2_squared(a.0, a.1, b.0, b.1);
    assert_eq!(l2(none, none).to_bits(), 0);
    assert_eq!(l2((&[0], &[3e38]), (&[0], &[-3e38])), f32::INFINITY);
    assert_eq!(l2((&[0], &[3e38]), (&[1], &[3e38])), f32::INFINITY);
    assert_eq!(sparse::inner_product(&[0, 9], &[3e38, 1.0], &[0], &[-3e38]), f32::NEG_INFINITY);
    assert_eq!(sparse::l1(&[i32::MIN, i32::MAX], &[1.0, 2.0], &[i32::MAX], &[-2.0]), 5.0);
    assert!(sparse::cosine_similarity(&[], &[], &[0], &[1.0]).is_nan());
    assert_eq!(sparse::cosine_similarity(&[0], &[1.0], &[1], &[1.0]), 0.0);
    assert!(sparse::l2_squared(&[0], &[f32::NAN], &[1], &[1.0]).is_nan());
}
