//! Text forms of vectors: reading and printing 100 and 1536 elements of embedding-like size.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use vector_index::text::{dense_capacity, dense_text_size, parse_dense, print_dense};

/// Values as embeddings have them: mostly below one, seven to nine digits.
fn values(dims: usize) -> Vec<f32> {
    let mut state = 1u64;
    (0..dims)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect()
}

fn text(c: &mut Criterion) {
    for dims in [100, 1536] {
        let elements = values(dims);
        let mut printed = vec![0; dense_text_size(dims)];
        let len = print_dense(&elements, &mut printed);
        let literal = printed[..len].to_vec();
        let short: Vec<u8> = {
            let rounded: Vec<String> = elements.iter().map(|x| format!("{x:.5}")).collect();
            format!("[{}]", rounded.join(",")).into_bytes()
        };

        let mut group = c.benchmark_group(format!("text/{dims}"));
        group.throughput(Throughput::Elements(dims as u64));
        group.bench_function("print", |b| b.iter(|| print_dense(black_box(&elements), &mut printed)));
        let mut out = vec![0f32; dense_capacity(&literal)];
        group.bench_function("parse shortest", |b| b.iter(|| parse_dense(black_box(&literal), &mut out)));
        group.bench_function("parse 5 digits", |b| b.iter(|| parse_dense(black_box(&short), &mut out)));
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
