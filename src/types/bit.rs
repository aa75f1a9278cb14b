//! Distances between `bit` values.

use vector_index::ValueError;
use vector_kernels::kernels;

use crate::pg::bits::BitsView;
use crate::pg::call::Call;
use crate::pg::varlena::Scratch;

#[inline(always)]
fn pair<R>(call: Call<'_>, kernel: impl FnOnce(&[u8], &[u8]) -> R) -> Result<R, ValueError> {
    let (mut room_a, mut room_b) = (Scratch::new(), Scratch::new());
    let a = BitsView::new(call.varlena_hot(0, &mut room_a)).ok_or(ValueError::CorruptedBits)?;
    let b = BitsView::new(call.varlena_hot(1, &mut room_b)).ok_or(ValueError::CorruptedBits)?;
    if a.len != b.len {
        return Err(ValueError::DifferentBits(a.len, b.len));
    }
    Ok(kernel(a.bytes, b.bytes))
}

/// Number of bits that differ.
#[inline]
pub fn hamming_distance(call: Call<'_>) -> Result<f64, ValueError> {
    pair(call, |a, b| kernels().hamming(a, b) as f64)
}

/// 1 - |a and b| / |a or b|; 1 when no bit is common.
#[inline]
pub fn jaccard_distance(call: Call<'_>) -> Result<f64, ValueError> {
    pair(call, |a, b| kernels().jaccard_distance(a, b))
}
