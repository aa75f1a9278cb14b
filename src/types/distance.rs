//! Distances between two vectors of one type: called once per row, so without guard and without allocation.

use vector_index::ValueError;
use vector_index::value::SparseView;
use vector_kernels::sparse;

use super::element::{Element, argument_hot};
use crate::pg::call::Call;
use crate::pg::toast::last_row::Measure;
use crate::pg::varlena::Scratch;

#[inline(always)]
fn dense<T: Element, R>(call: Call<'_>, kernel: impl FnOnce(&[T], &[T]) -> R) -> Result<R, ValueError> {
    let (mut room_a, mut room_b) = (Scratch::new(), Scratch::new());
    let a = argument_hot!(call, 0, T, room_a)?;
    let b = argument_hot!(call, 1, T, room_b)?;
    a.check_same_dims(&b)?;
    Ok(kernel(a.elements(), b.elements()))
}

/// The distance that a scan of an index has told already, or that which `compute` finds.
#[inline(always)]
fn known_or(
    call: Call<'_>,
    measure: Measure,
    compute: impl FnOnce() -> Result<f64, ValueError>,
) -> Result<f64, ValueError> {
    call.known_distance(measure).map_or_else(compute, Ok)
}

/// 1 - similarity, the similarity kept within [-1, 1]; NaN (a zero vector) stays NaN.
#[inline]
fn cosine_distance(similarity: f64) -> f64 {
    // `clamp` keeps NaN
    1.0 - similarity.clamp(-1.0, 1.0)
}

/// Euclidean distance.
#[inline]
pub fn l2<T: Element>(call: Call<'_>) -> Result<f64, ValueError> {
    known_or(call, Measure::L2, || dense::<T, _>(call, |a, b| f64::from(T::l2_squared(a, b)).sqrt()))
}

/// Squared Euclidean distance.
#[inline]
pub fn l2_squared<T: Element>(call: Call<'_>) -> Result<f64, ValueError> {
    dense::<T, _>(call, |a, b| f64::from(T::l2_squared(a, b)))
}

/// Inner product.
#[inline]
pub fn inner_product<T: Element>(call: Call<'_>) -> Result<f64, ValueError> {
    dense::<T, _>(call, |a, b| f64::from(T::inner_product(a, b)))
}

/// Inner product with the sign that makes it a distance.
#[inline]
pub fn negative_inner_product<T: Element>(call: Call<'_>) -> Result<f64, ValueError> {
    known_or(call, Measure::NegativeInnerProduct, || {
        dense::<T, _>(call, |a, b| f64::from(-T::inner_product(a, b)))
    })
}

/// Cosine distance, 0 to 2; NaN with a zero vector.
#[inline]
pub fn cosine<T: Element>(call: Call<'_>) -> Result<f64, ValueError> {
    known_or(call, Measure::Cosine, || {
        dense::<T, _>(call, |a, b| cosine_distance(T::cosine_similarity(a, b)))
    })
}

/// The angle between unit vectors in units of half a turn: k-means needs the triangle inequality.
#[inline]
pub fn spherical<T: Element>(call: Call<'_>) -> Result<f64, ValueError> {
    dense::<T, _>(call, |a, b| {
        f64::from(T::inner_product(a, b)).clamp(-1.0, 1.0).acos() / core::f64::consts::PI
    })
}

/// Taxicab distance.
#[inline]
pub fn l1<T: Element>(call: Call<'_>) -> Result<f64, ValueError> {
    dense::<T, _>(call, |a, b| f64::from(T::l1(a, b)))
}

#[inline(always)]
fn sparse_pair<R>(
    call: Call<'_>,
    kernel: impl FnOnce(&[i32], &[f32], &[i32], &[f32]) -> R,
) -> Result<R, ValueError> {
    let (mut room_a, mut room_b) = (Scratch::new(), Scratch::new());
    let a = SparseView::new(call.varlena_hot(0, &mut room_a))?;
    let b = SparseView::new(call.varlena_hot(1, &mut room_b))?;
    a.check_same_dims(&b)?;
    Ok(kernel(a.indices(), a.values(), b.indices(), b.values()))
}

/// Euclidean distance.
pub fn sparse_l2(call: Call<'_>) -> Result<f64, ValueError> {
    sparse_pair(call, |ai, av, bi, bv| f64::from(sparse::l2_squared(ai, av, bi, bv)).sqrt())
}

/// Squared Euclidean distance.
pub fn sparse_l2_squared(call: Call<'_>) -> Result<f64, ValueError> {
    sparse_pair(call, |ai, av, bi, bv| f64::from(sparse::l2_squared(ai, av, bi, bv)))
}

/// Inner product.
pub fn sparse_inner_product(call: Call<'_>) -> Result<f64, ValueError> {
    sparse_pair(call, |ai, av, bi, bv| f64::from(sparse::inner_product(ai, av, bi, bv)))
}

/// Inner product with the sign that makes it a distance.
pub fn sparse_negative_inner_product(call: Call<'_>) -> Result<f64, ValueError> {
    sparse_pair(call, |ai, av, bi, bv| f64::from(-sparse::inner_product(ai, av, bi, bv)))
}

/// Cosine distance, 0 to 2; NaN with a zero vector.
pub fn sparse_cosine(call: Call<'_>) -> Result<f64, ValueError> {
    sparse_pair(call, |ai, av, bi, bv| cosine_distance(sparse::cosine_similarity(ai, av, bi, bv)))
}

/// Taxicab distance.
pub fn sparse_l1(call: Call<'_>) -> Result<f64, ValueError> {
    sparse_pair(call, |ai, av, bi, bv| f64::from(sparse::l1(ai, av, bi, bv)))
}
