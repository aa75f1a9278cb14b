//! The quantiser: rotating, encoding, and estimates for the 32 neighbours of a node, hot in cache and from
//! memory, next to the plain read of the same bytes.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use vector_index::quant::fastscan::{Table, block_size, pack};
use vector_index::quant::rabitq::{BATCH, Bits, Factors, Measure, Met, Products, Query, encode};
use vector_index::quant::rotation::Rotation;
use vector_kernels::kernels;

const DIMS: [usize; 5] = [100, 128, 384, 768, 1536];
/// Bytes of codes that no cache holds.
const MEMORY: usize = 256 << 20;

fn values(dims: usize, mut state: u64) -> Vec<f32> {
    (0..dims)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect()
}

fn quant(c: &mut Criterion) {
    let k = kernels();
    for dims in DIMS {
        let Ok(rotation) = Rotation::new(dims, 1) else { return };
        let padded = rotation.padded();
        let (value, mut rotated, centre) = (values(dims, 1), vec![0.0; padded], values(padded, 2));
        let mut group = c.benchmark_group(format!("quant/{dims}"));
        group.bench_function("rotate", |b| b.iter(|| rotation.apply(k, black_box(&value), &mut rotated)));
        for bits in [Bits::ONE, Bits::TWO] {
            let name = bits.each();
            let size = bits.code_size(padded);
            let mut code = vec![0; size];
            group.bench_function(format!("encode {name}"), |b| {
                b.iter(|| {
                    encode(k, bits, (Measure::L2, Met::Query), black_box(&rotated), &centre, &mut code)
                });
            });
            let mut query = Query::new();
            if query.set(k, &rotated, bits).is_err() {
                return;
            }
            group.bench_function(format!("query {name}"), |b| {
                b.iter(|| query.set(k, black_box(&rotated), bits));
            });
            let factors = [Factors { add: 1.0, scale: -0.5, deviation: 0.1 }; BATCH];
            let record = size * BATCH;
            let codes = vec![0x5a; MEMORY / record * record];
            let expand = |codes: &[u8]| {
                let mut products = Products([0; BATCH]);
                query.products(k, bits, codes, size, &mut products);
                let estimates = products.0.iter().zip(&factors);
                estimates.map(|(&p, f)| query.estimate(p, f, 1.0)).fold(f32::INFINITY, f32::min)
            };
            group.throughput(Throughput::Bytes(record as u64));
            group.bench_function(format!("32 codes of {name}, hot"), |b| {
                b.iter(|| expand(black_box(&codes[..record])));
            });
            let mut table = Table::new();
            if table.set(&rotated, bits).is_err() {
                return;
            }
            group.bench_function(format!("table {name}"), |b| {
                b.iter(|| table.set(black_box(&rotated), bits));
            });
            let mut block = vec![0; block_size(bits, padded)];
            pack(&codes[..record], size, &mut block);
            let (adds, scales) = ([1.0; BATCH], [-0.5; BATCH]);
            let scan = |block: &[u8]| {
                let mut estimates = [0.0; BATCH];
                table.estimates(k, block, &adds, &scales, 1.0, &mut estimates);
                estimates
            };
            group.bench_function(format!("block of 32 codes of {name}, hot"), |b| {
                b.iter(|| scan(black_box(&block)));
            });
            let mut at = 0;
            group.bench_function(format!("block of 32 codes of {name}, from memory"), |b| {
                b.iter(|| {
                    at = if at + 2 * record > codes.len() { 0 } else { at + record };
                    scan(&codes[at..at + record])
                });
            });
            let mut at = 0;
            group.bench_function(format!("32 codes of {name}, from memory"), |b| {
                b.iter(|| {
                    at = if at + 2 * record > codes.len() { 0 } else { at + record };
                    expand(&codes[at..at + record])
                });
            });
            group.bench_function(format!("32 codes of {name}, plain read from memory"), |b| {
                b.iter(|| {
                    at = if at + 2 * record > codes.len() { 0 } else { at + record };
                    let (words, _) = codes[at..at + record].as_chunks::<8>();
                    words.iter().fold(0u64, |s, w| s.wrapping_add(u64::from_ne_bytes(*w)))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, quant);
criterion_main!(benches);
