//! Seeded rows.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use vector_index::space::{ValueBuf, varlena_header};
use vector_index::value::VectorView;

/// `count` rows of `dims` dimensions around a twentieth as many middles: near neighbours exist and differ. Equal seeds
/// give equal middles and other rows with another `part`.
pub fn rows(seed: u64, part: u64, count: usize, dims: usize) -> Vec<Vec<f32>> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let middles: Vec<Vec<f32>> = (0..100).map(|_| row(&mut rng, dims)).collect();
    let mut rng = SmallRng::seed_from_u64(seed ^ (part << 32));
    (0..count)
        .map(|_| {
            let middle = &middles[rng.random_range(0..middles.len())];
            middle.iter().map(|x| x + rng.random_range(-0.5f32..0.5)).collect()
        })
        .collect()
}

fn row(rng: &mut SmallRng, dims: usize) -> Vec<f32> {
    (0..dims).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

/// A row as a `vector`.
pub fn value(row: &[f32]) -> ValueBuf {
    let mut value = ValueBuf::new();
    let size = VectorView::size(row.len());
    let bytes = value.reset(size);
    bytes[..4].copy_from_slice(&varlena_header(size));
    if let Some(elements) = VectorView::init(bytes) {
        elements.copy_from_slice(row);
    }
    value
}
