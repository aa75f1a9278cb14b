//! Text forms of vectors: reading and printing 100 and 1536 elements of embedding-like size.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use vector_index::text::{dense_capacity, dense_text_size, parse_dense, print_dense};

/// Values as embeddings have them: mostly below one, seven to nine digits.
fn values(dims: usize, seed: usize) -> Vec<f32> {
    let mut state = seed as u64;
    (0..dims)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect()
}

/// Literals in turn.
const LITERALS: usize = 256;

fn text(c: &mut Criterion) {
    for dims in [100, 1536] {
        let elements = values(dims, 1);
        let mut printed = vec![0; dense_text_size(dims)];
        // each query has numbers of its own: branch predictors learn those of one literal by heart
        let literals: Vec<Vec<u8>> = (0..LITERALS)
            .map(|seed| {
                let len = print_dense(&values(dims, seed), &mut printed);
                printed[..len].to_vec()
            })
            .collect();
        let literal = literals[0].clone();
        let short: Vec<Vec<u8>> = (0..LITERALS)
            .map(|seed| {
                let rounded: Vec<String> = values(dims, seed).iter().map(|x| format!("{x:.5}")).collect();
                format!("[{}]", rounded.join(",")).into_bytes()
            })
            .collect();
        let mut next = 0;
        let mut turn = || {
            next = (next + 1) % LITERALS;
            next
        };

        let mut group = c.benchmark_group(format!("text/{dims}"));
        group.throughput(Throughput::Elements(dims as u64));
        group.bench_function("print", |b| b.iter(|| print_dense(black_box(&elements), &mut printed)));
        let mut out = vec![0f32; dense_capacity(&literal)];
        group.bench_function("parse shortest", |b| b.iter(|| parse_dense(&literals[turn()], &mut out)));
        group.bench_function("parse 5 digits", |b| b.iter(|| parse_dense(&short[turn()], &mut out)));
        group.bench_function("std parse shortest", |b| {
            b.iter(|| {
                let text =
                    core::str::from_utf8(black_box(&literal[1..literal.len() - 1])).unwrap_or_default();
                text.split(',').filter_map(|x| x.parse::<f32>().ok()).sum::<f32>()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, text);
criterion_main!(benches);
