use super::super::rabitq::{self, BATCH, Measure, Met, Products, Query};
use super::super::rotation::Rotation;
use super::*;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use vector_kernels::{available, kernels};

const BITS: [Bits; 3] = [Bits::ONE, Bits::TWO, Bits::FOUR];

fn vector(dims: usize, spread: f32, rng: &mut SmallRng) -> Vec<f32> {
    (0..dims).map(|_| rng.random_range(-1.0..1.0f32) * spread + 0.1).collect()
}

fn bit(code: &[u8], bits: Bits, p: usize, j: usize) -> u8 {
    code[p * (code.len() / usize::from(bits.each())) + j / 8] >> (j % 8) & 1
}

/// <y, q> in double precision.
fn exact_product(code: &[u8], bits: Bits, query: &[f32]) -> f64 {
    let planes = usize::from(bits.each());
    let middle = f64::from((1u32 << planes) - 1) / 2.0;
    query
        .iter()
        .enumerate()
        .map(|(j, q)| {
            let u: u32 = (0..planes).map(|p| u32::from(bit(code, bits, p, j)) << p).sum();
            (f64::from(u) - middle) * f64::from(*q)
        })
        .sum()
}

proptest! {
    /// Products are what the codes and the query say, but for the rounding of the table's bytes, and near those of a
    /// query in signed bytes.
    #[test]
    fn products_are_those_of_the_codes(
        sixteens in 1usize..30, which in 0usize..3, seed: u64, log_spread in -20i32..20,
    ) {
        let (padded, bits) = (16 * sixteens, BITS[which]);
        let mut rng = SmallRng::seed_from_u64(seed);
        let query = vector(padded, (log_spread as f32).exp2(), &mut rng);
        let size = bits.code_size(padded);
        let codes: Vec<u8> = (0..size * ENTRIES).map(|_| rng.random()).collect();
        let mut block = vec![0xa5; block_size(bits, padded)];
        pack(&codes, size, &mut block);
        let k = kernels();
        let (mut table, mut signed) = (Table::new(), Query::new());
        table.set(&query, bits).unwrap();
        signed.set(k, &query, bits).unwrap();
        prop_assert_eq!(table.block_size(), block.len());
        let middle = f64::from((1u32 << bits.each()) - 1);
        let magnitude: f64 = query.iter().map(|x| f64::from(x.abs())).sum();
        let slack = middle * (f64::from(table.scale) * (padded / QUAD) as f64 * 0.51 + magnitude * 1e-6);
        let mut products = Products([0; BATCH]);
        prop_assert_eq!(signed.products(k, bits, &codes, size, &mut products), ENTRIES);
        for k in available() {
            let mut out = [0.0; ENTRIES];
            table.products(k, &block, &mut out);
            for ((product, code), signed_product) in out.iter().zip(codes.chunks(size)).zip(products.0) {
                let want = exact_product(code, bits, &query);
                prop_assert!((f64::from(*product) - want).abs() <= slack, "{} {} {}", product, want, slack);
                let factors = rabitq::Factors { add: 0.0, scale: 1.0, deviation: 0.0 };
                let other = f64::from(signed.estimate(signed_product, &factors, 0.0));
                // |y| is at most the middle times the root of the dimension, halved
                let between = slack + f64::from(signed.error()) * middle / 2.0 * (padded as f64).sqrt() * 1.01;
                prop_assert!((f64::from(*product) - other).abs() <= between, "{} {}", product, other);
            }
        }
    }

    /// What is put into a block is what comes out, and the neighbours stay as they were.
    #[test]
    fn entries_come_and_go_alone(
        eights in 1usize..20, which in 0usize..3, seed: u64, entry in 0usize..ENTRIES, count in 0usize..=ENTRIES,
    ) {
        let (padded, bits) = (8 * eights, BITS[which]);
        let mut rng = SmallRng::seed_from_u64(seed);
        let (size, gap) = (bits.code_size(padded), 3);
        let codes: Vec<u8> = (0..(size + gap) * count).map(|_| rng.random()).collect();
        let code_of = |e: usize| codes.get(e * (size + gap)..).map_or(vec![0; size], |code| {
            if code.is_empty() { vec![0; size] } else { code[..size].to_vec() }
        });
        let mut block = vec![0x5a; block_size(bits, padded)];
        pack(&codes, size + gap, &mut block);
        let mut one_by_one = vec![0x77; block.len()];
        (0..ENTRIES).for_each(|e| set_code(&mut one_by_one, e, &code_of(e)));
        prop_assert_eq!(&block, &one_by_one);
        let new: Vec<u8> = (0..size).map(|_| rng.random()).collect();
        set_code(&mut block, entry, &new);
        let mut out = vec![0; size];
        for e in 0..ENTRIES {
            get_code(&block, e, &mut out);
            prop_assert_eq!(&out, if e == entry { &new } else { &one_by_one_code(&one_by_one, e, size) }, "{}", e);
        }
        // taken out again, and out of range
        set_code(&mut block, entry, &code_of(entry));
        set_code(&mut block, ENTRIES, &new);
        prop_assert_eq!(&block, &one_by_one);
    }
}

fn one_by_one_code(block: &[u8], entry: usize, size: usize) -> Vec<u8> {
    let mut out = vec![0; size];
    get_code(block, entry, &mut out);
    out
}

/// Rounding errs by what it says, over many codes, and hardly beside what the codes themselves lose.
#[test]
fn rounding_has_the_deviation_it_claims() {
    let mut rng = SmallRng::seed_from_u64(4);
    let k = kernels();
    for bits in BITS {
        let (padded, mut squares, mut count) = (256, 0.0, 0.0);
        let mut table = Table::new();
        for _ in 0..20 {
            let query = vector(padded, 1.0, &mut rng);
            table.set(&query, bits).unwrap();
            let size = bits.code_size(padded);
            let codes: Vec<u8> = (0..size * ENTRIES).map(|_| rng.random()).collect();
            let (mut block, mut out) = (vec![0; block_size(bits, padded)], [0.0; ENTRIES]);
            pack(&codes, size, &mut block);
            table.products(k, &block, &mut out);
            for (product, code) in out.iter().zip(codes.chunks(size)) {
                let error = f64::from(*product) - exact_product(code, bits, &query);
                squares += (error / f64::from(table.deviation())).powi(2);
                count += 1.0;
            }
        }
        let ratio = (squares / count).sqrt();
        assert!((0.85..1.15).contains(&ratio), "{bits:?}: {ratio}");
    }
}

/// Estimates of real codes: as near the truth as those of a query in signed bytes.
#[test]
fn estimates_are_those_of_the_quantiser() {
    let mut rng = SmallRng::seed_from_u64(6);
    let k = kernels();
    for (bits, measure) in [(Bits::ONE, Measure::L2), (Bits::TWO, Measure::InnerProduct)] {
        let dims = 200;
        let rotation = Rotation::new(dims, 3).unwrap();
        let padded = rotation.padded();
        let rotated = |rng: &mut SmallRng| {
            let mut out = vec![0.0; padded];
            rotation.apply(k, &vector(dims, 1.0, rng), &mut out);
            out
        };
        let (centre, query) = (rotated(&mut rng), rotated(&mut rng));
        let size = bits.code_size(padded);
        let (mut codes, mut adds, mut scales) = (vec![0; size * ENTRIES], [0.0; ENTRIES], [0.0; ENTRIES]);
        for ((code, add), scale) in codes.chunks_mut(size).zip(&mut adds).zip(&mut scales) {
            let factors = rabitq::encode(k, bits, (measure, Met::Query), &rotated(&mut rng), &centre, code);
            (*add, *scale) = (factors.add, factors.scale);
        }
        let mut block = vec![0; block_size(bits, padded)];
        pack(&codes, size, &mut block);
        let (mut table, mut signed) = (Table::new(), Query::new());
        table.set(&query, bits).unwrap();
        signed.set(k, &query, bits).unwrap();
        let (mut out, mut products) = ([0.0; ENTRIES], Products([0; BATCH]));
        table.estimates(k, &block, &adds, &scales, 3.0, &mut out);
        signed.products(k, bits, &codes, size, &mut products);
        for i in 0..ENTRIES {
            let factors = rabitq::Factors { add: adds[i], scale: scales[i], deviation: 0.0 };
            let other = signed.estimate(products.0[i], &factors, 3.0);
            let near = 6.0 * scales[i].abs() * table.deviation();
            assert!((out[i] - other).abs() < near, "{i}: {} {other} {near}", out[i]);
        }
    }
}

#[test]
fn queries_that_bytes_cannot_say() {
    let k = kernels();
    let mut table = Table::new();
    for (value, deviation) in
        [(0.0, 0.0), (f32::NAN, f32::INFINITY), (f32::INFINITY, f32::INFINITY), (3e38, f32::INFINITY)]
    {
        table.set(&[value; 16], Bits::ONE).unwrap();
        let mut out = [9.0; ENTRIES];
        table.products(k, &[0xff; 64], &mut out);
        assert_eq!((out, table.deviation()), ([0.0; ENTRIES], deviation), "{value}");
    }
    // too small for a step that has a reciprocal
    table.set(&[1e-44; 16], Bits::ONE).unwrap();
    assert!(table.deviation().is_infinite());
    // a block that is too short
    table.set(&[1.0; 16], Bits::TWO).unwrap();
    let mut out = [9.0; ENTRIES];
    table.products(k, &[0xff; 64], &mut out);
    assert!(out.iter().all(|x| (x - (16.0 - 24.0)).abs() < 1e-3), "{out:?}");
}
