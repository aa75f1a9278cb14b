//! Rows of files, and made ones.

use std::error::Error;

use half::f16;
use vector_index::space::{ValueBuf, ValueKind, normalize, varlena_header};

/// A two-dimensional array of little-endian f32 in NumPy's format (numpy.lib.format, version 1.0).
pub fn read_npy(path: &str) -> Result<(Vec<f32>, usize), Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let header = bytes.get(8..10).and_then(|b| b.first_chunk::<2>()).ok_or("not a .npy file")?;
    let start = 10 + usize::from(u16::from_le_bytes(*header));
    let text = String::from_utf8_lossy(bytes.get(10..start).ok_or("short header")?).into_owned();
    let shape = text.split_once("'shape': (").ok_or("no shape")?.1.split(')').next().unwrap_or("");
    let dim = shape.split(',').nth(1).ok_or("one dimension")?.trim().parse()?;
    if !text.contains("'<f4'") || text.contains("'fortran_order': True") {
        return Err("not rows of f32".into());
    }
    let (numbers, _) = bytes[start..].as_chunks::<4>();
    Ok((numbers.iter().map(|b| f32::from_le_bytes(*b)).collect(), dim))
}

/// Made rows: around so many centres, which differ as much as rows of one do, or without them.
pub fn made(dims: usize, rows: usize, centres: usize) -> (Vec<f32>, usize) {
    let mut state = 9u64;
    let mut normal = move || {
        let sum: i64 = (0..4)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as i64 - (1 << 23)
            })
            .sum();
        sum as f32 / (1 << 24) as f32
    };
    let middles: Vec<f32> = (0..centres.max(1) * dims).map(|_| normal()).collect();
    // few directions in which rows differ much, many in which they do little, as embeddings have them
    let weights: Vec<f32> = (0..dims).map(|d| 1.0 / (1.0 + d as f32 / 8.0).sqrt()).collect();
    let mut data = Vec::with_capacity(rows * dims);
    for row in 0..rows {
        let middle = if centres == 0 { &[][..] } else { &middles[row % centres * dims..][..dims] };
        for (d, weight) in weights.iter().enumerate() {
            data.push((normal() + middle.get(d).copied().unwrap_or(0.0)) * weight);
        }
    }
    (data, dims)
}

/// A row as a value of `kind`, at unit length or as it is.
pub fn encode(kind: ValueKind, row: &[f32], unit: bool) -> ValueBuf {
    let mut buf = ValueBuf::new();
    let payload: Vec<u8> = match kind {
        ValueKind::Halfvec => row.iter().flat_map(|x| f16::from_f32(*x).to_ne_bytes()).collect(),
        ValueKind::Bit => row
            .chunks(8)
            .map(|c| c.iter().enumerate().map(|(i, x)| u8::from(*x > 0.0) << (7 - i)).sum())
            .collect(),
        _ => row.iter().flat_map(|x| x.to_ne_bytes()).collect(),
    };
    let size = 8 + payload.len();
    let bytes = buf.reset(size);
    bytes[..4].copy_from_slice(&varlena_header(size));
    match kind {
        ValueKind::Bit => bytes[4..8].copy_from_slice(&(row.len() as i32).to_ne_bytes()),
        _ => bytes[4..6].copy_from_slice(&(row.len() as i16).to_ne_bytes()),
    }
    bytes[8..].copy_from_slice(&payload);
    let mut normalized = ValueBuf::new();
    if unit && matches!(normalize(kind, buf.bytes(), &mut normalized), Ok(true)) { normalized } else { buf }
}

/// Always the same order, like a random one.
pub fn shuffle(order: &mut [usize]) {
    let mut state = 42u64;
    for at in (1..order.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (state >> 33) as usize % (at + 1));
    }
}
