//! `sparsevec`: header, `dim` i32, `nnz` i32, `unused` i32, `nnz` ascending zero-based i32 indices, then `nnz`
//! f32 values, none of them zero.

use core::cmp::Ordering;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::SPARSE_MAX_NNZ;
use crate::error::{TypeName, ValueError};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    varlena: u32,
    dim: i32,
    nnz: i32,
    unused: i32,
}

const HEADER: usize = size_of::<Header>();
const _: () = assert!(HEADER == 16 && align_of::<Header>() == 4);

/// A `sparsevec` in place. Indices are what the disk says: code that uses one as a position checks it.
#[derive(Clone, Copy, Debug)]
pub struct SparseView<'a> {
    dims: i32,
    indices: &'a [i32],
    values: &'a [f32],
}

/// The size in bytes of a value with `nnz` stored elements, varlena header included.
pub const fn sparsevec_size(nnz: usize) -> usize {
    HEADER + nnz * (size_of::<i32>() + size_of::<f32>())
}

/// Writes the fields after the varlena header into a zeroed allocation of [`sparsevec_size`] bytes and gives
/// its indices and values. `None` when the bytes are not such an allocation.
pub fn sparsevec_parts_mut(varlena: &mut [u8], dims: i32) -> Option<(&mut [i32], &mut [f32])> {
    let (header, rest) = Header::mut_from_prefix(varlena).ok()?;
    let nnz = rest.len() / 8;
    header.dim = dims;
    header.nnz = i32::try_from(nnz).ok()?;
    header.unused = 0;
    let (indices, values) = rest.split_at_mut_checked(nnz * 4)?;
    Some((<[i32]>::mut_from_bytes(indices).ok()?, <[f32]>::mut_from_bytes(values).ok()?))
}

/// Checks a number of stored elements.
pub fn check_nnz(nnz: i32, dims: i32) -> Result<(), ValueError> {
    if nnz < 0 {
        Err(ValueError::NegativeNnz)
    } else if nnz > SPARSE_MAX_NNZ {
        Err(ValueError::TooManyNnz)
    } else if nnz > dims {
        Err(ValueError::NnzExceedsDims)
    } else {
        Ok(())
    }
}

/// Checks that one index lies in bounds and above the one before it.
#[inline]
pub(crate) fn check_index(previous: Option<i32>, index: i32, dims: i32) -> Result<(), ValueError> {
    if index < 0 || index >= dims {
        return Err(ValueError::IndexOutOfBounds);
    }
    match previous.map(|p| index.cmp(&p)) {
        Some(Ordering::Less) => Err(ValueError::IndexOrder),
        Some(Ordering::Equal) => Err(ValueError::IndexDuplicate),
        _ => Ok(()),
    }
}

/// Checks that zero-based indices lie in bounds and ascend; the first offence wins.
pub fn check_indices(indices: &[i32], dims: i32) -> Result<(), ValueError> {
    let mut previous = None;
    for &index in indices {
        check_index(previous, index, dims)?;
        previous = Some(index);
    }
    Ok(())
}

impl<'a> SparseView<'a> {
    /// The view of a whole, uncompressed varlena with a four-byte header, 4-byte aligned.
    ///
    /// # Errors
    /// [`ValueError::Corrupted`] when the length is not what `nnz` asks for.
    #[inline]
    pub fn new(varlena: &'a [u8]) -> Result<Self, ValueError> {
        Self::parse(varlena).ok_or(ValueError::Corrupted(TypeName::Sparsevec))
    }

    /// As [`Self::new`]; for the reason of `DenseView::parse`.
    #[inline(always)]
    fn parse(varlena: &'a [u8]) -> Option<Self> {
        let (header, rest) = Header::ref_from_prefix(varlena).ok()?;
        let nnz = usize::try_from(header.nnz).ok()?;
        let (indices, values) = rest.split_at_checked(nnz.checked_mul(4)?)?;
        let indices = <[i32]>::ref_from_bytes(indices).ok()?;
        let values = <[f32]>::ref_from_bytes(values).ok()?;
        (values.len() == nnz).then_some(SparseView { dims: header.dim, indices, values })
    }

    /// The number of dimensions.
    #[inline]
    pub fn dims(&self) -> i32 {
        self.dims
    }

    /// Zero-based positions of the stored elements.
    #[inline]
    pub fn indices(&self) -> &'a [i32] {
        self.indices
    }

    /// The stored elements.
    #[inline]
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// Fails unless both have the same dimensions.
    #[inline]
    pub fn check_same_dims(&self, other: &Self) -> Result<(), ValueError> {
        if self.dims == other.dims {
            Ok(())
        } else {
            Err(ValueError::DifferentDims(TypeName::Sparsevec, self.dims, other.dims))
        }
    }

    /// The btree order: that of the dense vectors these stand for. An element that only one side stores is
    /// compared with zero, unless it lies beyond the other side's dimensions.
    pub fn compare(&self, other: &Self) -> Ordering {
        let against_zero = |value: f32| if value < 0.0 { Ordering::Less } else { Ordering::Greater };
        let shared = self.indices.len().min(other.indices.len());
        let ours = self.indices.iter().zip(self.values);
        let theirs = other.indices.iter().zip(other.values);
        for ((&i, &a), (&j, &b)) in ours.zip(theirs) {
            match i.cmp(&j) {
                Ordering::Less => return against_zero(a),
                Ordering::Greater => return against_zero(b).reverse(),
                Ordering::Equal if a < b => return Ordering::Less,
                Ordering::Equal if a > b => return Ordering::Greater,
                Ordering::Equal => {}
            }
        }
        match (self.indices.get(shared), other.indices.get(shared)) {
            (None, Some(&next)) if next < self.dims => against_zero(other.values[shared]).reverse(),
            (Some(&next), None) if next < other.dims => against_zero(self.values[shared]),
            _ => self.dims.cmp(&other.dims),
        }
    }
}
