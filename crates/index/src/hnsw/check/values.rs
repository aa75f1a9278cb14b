//! What a value must be.

use crate::space::{AnySpace, DenseKernels, Space};
use crate::value::{DenseElement, DenseView, SparseView, check_indices};

/// What an index should be.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// what it compares
    pub space: AnySpace,
    /// whether it keeps values of unit length (cosine distance)
    pub unit: bool,
}

/// What is wrong with a value, in words.
pub(in crate::hnsw) fn value_fault(subject: &Subject, deep: bool, value: &[u8]) -> Option<String> {
    if let Err(error) = crate::with_space!(subject.space, space => space.view(value).map(|_| ())) {
        return Some(error.to_string());
    }
    if !deep {
        return None;
    }
    let fault = match subject.space {
        AnySpace::Vector(_) | AnySpace::VectorAngle(_) => {
            dense_fault::<f32>(value, subject.unit.then_some(1e-3))
        }
        AnySpace::Halfvec(_) | AnySpace::HalfvecAngle(_) => {
            dense_fault::<crate::f16>(value, subject.unit.then_some(1e-2))
        }
        AnySpace::Sparsevec(_) => sparse_fault(value, subject.unit.then_some(1e-3)),
        AnySpace::Bit(_) => bit_fault(value),
    };
    fault.map(String::from)
}

pub(super) const NOT_FINITE: &str = "value with an element that is not finite";
pub(super) const NOT_UNIT: &str = "value that is not of unit length, in an index that keeps such";

/// `tolerance`: how far from 1 the norm may be, which each element's rounding moves; none when it may be anything.
fn norm_fault(norm: f64, tolerance: Option<f64>) -> Option<&'static str> {
    let far = tolerance.is_some_and(|tolerance| (norm - 1.0).abs() > tolerance);
    far.then_some(NOT_UNIT)
}

fn dense_fault<T: DenseKernels>(value: &[u8], tolerance: Option<f64>) -> Option<&'static str> {
    let elements = DenseView::<T>::new(value).ok()?.elements();
    if !elements.iter().all(|&element| T::is_finite(element)) {
        return Some(NOT_FINITE);
    }
    norm_fault(T::norm(vector_kernels::kernels(), elements), tolerance)
}

fn sparse_fault(value: &[u8], tolerance: Option<f64>) -> Option<&'static str> {
    let view = SparseView::new(value).ok()?;
    if !view.values().iter().all(|&element| element.is_finite()) {
        return Some(NOT_FINITE);
    }
    if check_indices(view.indices(), view.dims()).is_err() {
        return Some("sparse value whose indices do not ascend within its dimensions");
    }
    if view.values().iter().any(|&element| DenseElement::is_zero(element)) {
        return Some("sparse value that stores a zero");
    }
    norm_fault(vector_kernels::kernels().norm_f32(view.values()), tolerance)
}

/// Bits behind the last one are zero (src/backend/utils/adt/varbit.c).
fn bit_fault(value: &[u8]) -> Option<&'static str> {
    let bits = u32::from_ne_bytes(*value.get(4..)?.first_chunk()?);
    let padding = bits.wrapping_neg() & 7;
    let last = *value.get(8..)?.last()?;
    (last & !(0xff << padding) as u8 != 0).then_some("bits behind the last one")
}
