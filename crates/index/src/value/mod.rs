//! Views of stored values: the bytes of a varlena as PostgreSQL keeps them, checked once and then used in
//! place. Layouts are those of pgvector 0.8 (native-endian; the first four bytes are the varlena header).

mod dense;
mod sparse;

pub use dense::{DenseElement, DenseView, HalfvecView, VectorView, dense_dims, subvector_range};
pub(crate) use sparse::check_index;
pub use sparse::{SparseView, check_indices, check_nnz, sparsevec_parts_mut, sparsevec_size};

use crate::error::{TypeName, ValueError};

/// Dimensions of a `vector` or `halfvec`, at most.
pub const MAX_DIMS: i32 = 16_000;
/// Dimensions of a `sparsevec`, at most.
pub const SPARSE_MAX_DIMS: i32 = 1_000_000_000;
/// Stored elements of a `sparsevec`, at most.
pub const SPARSE_MAX_NNZ: i32 = 16_000;

/// Checks a number of dimensions against the type's limits.
pub fn check_dims(ty: TypeName, dims: i32) -> Result<(), ValueError> {
    if dims < 1 {
        Err(ValueError::TooFewDims(ty))
    } else if dims > ty.max_dims() {
        Err(ValueError::TooManyDims(ty))
    } else {
        Ok(())
    }
}

/// Checks a number of dimensions against a type modifier (-1: none).
pub fn check_expected_dims(typmod: i32, dims: i32) -> Result<(), ValueError> {
    if typmod != -1 && typmod != dims {
        Err(ValueError::ExpectedDims { expected: typmod, actual: dims })
    } else {
        Ok(())
    }
}

/// Checks that an element may be stored.
#[inline]
pub fn check_element(ty: TypeName, value: f32) -> Result<(), ValueError> {
    if value.is_finite() {
        Ok(())
    } else if value.is_nan() {
        Err(ValueError::Nan(ty))
    } else {
        Err(ValueError::Infinite(ty))
    }
}
