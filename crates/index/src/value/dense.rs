//! `vector` and `halfvec`: header, `dim` i16, `unused` i16, then `dim` elements.

use core::cmp::Ordering;

use half::f16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::MAX_DIMS;
use crate::error::{TypeName, ValueError};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    varlena: u32,
    dim: i16,
    unused: i16,
}

const HEADER: usize = size_of::<Header>();
const _: () = assert!(HEADER == 8 && align_of::<Header>() == 4);

/// An element of a dense vector: `f32` in `vector`, [`f16`] in `halfvec`.
pub trait DenseElement: Copy + FromBytes + IntoBytes + Immutable + KnownLayout + 'static {
    /// The SQL type whose elements these are.
    const TYPE: TypeName;
    /// The element as f32 (exact).
    fn to_f32(self) -> f32;
    /// Neither NaN nor infinite.
    fn is_finite(self) -> bool;
    /// Infinite of either sign.
    fn is_infinite(self) -> bool;
    /// Zero of either sign.
    fn is_zero(self) -> bool;
    /// The order of numbers; zeros are equal, and NaN, which no value holds, is equal to whatever it meets or anywhere.
    fn order(self, other: Self) -> Ordering;
}

impl DenseElement for f32 {
    const TYPE: TypeName = TypeName::Vector;
    #[inline]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
    #[inline]
    fn is_infinite(self) -> bool {
        f32::is_infinite(self)
    }
    #[inline]
    fn is_zero(self) -> bool {
        self == 0.0
    }
    #[inline]
    fn order(self, other: Self) -> Ordering {
        self.partial_cmp(&other).unwrap_or(Ordering::Equal)
    }
}

impl DenseElement for f16 {
    const TYPE: TypeName = TypeName::Halfvec;
    #[inline]
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
    #[inline]
    fn is_finite(self) -> bool {
        f16::is_finite(self)
    }
    #[inline]
    fn is_infinite(self) -> bool {
        f16::is_infinite(self)
    }
    #[inline]
    fn is_zero(self) -> bool {
        self.to_bits() & 0x7fff == 0
    }
    #[inline]
    fn order(self, other: Self) -> Ordering {
        // sign and magnitude, as the bits have them, are an integer in the same order
        let number = |half: f16| {
            let magnitude = i32::from(half.to_bits() & 0x7fff);
            if half.is_sign_negative() { -magnitude } else { magnitude }
        };
        number(self).cmp(&number(other))
    }
}

/// A dense vector in place.
#[derive(Clone, Copy, Debug)]
pub struct DenseView<'a, T> {
    elements: &'a [T],
}

/// A `vector` in place.
pub type VectorView<'a> = DenseView<'a, f32>;
/// A `halfvec` in place.
pub type HalfvecView<'a> = DenseView<'a, f16>;

/// Elements that are compared one by one.
const FIRST: usize = 4;

impl<'a, T: DenseElement> DenseView<'a, T> {
    /// The view of a whole, uncompressed varlena with a four-byte header, 4-byte aligned.
    ///
    /// # Errors
    /// [`ValueError::Corrupted`] when the length is not what `dim` asks for.
    #[inline]
    pub fn new(varlena: &'a [u8]) -> Result<Self, ValueError> {
        Self::parse(varlena).ok_or(ValueError::Corrupted(T::TYPE))
    }

    /// As [`Self::new`]. Options stay in registers; each `?` on a `Result` with a large error would move the view
    /// through memory in pieces of other sizes than it was written in, which the processor waits for.
    #[inline(always)]
    fn parse(varlena: &'a [u8]) -> Option<Self> {
        let (header, rest) = Header::ref_from_prefix(varlena).ok()?;
        let elements = <[T]>::ref_from_bytes(rest).ok()?;
        (i32::from(header.dim) as usize == elements.len()).then_some(DenseView { elements })
    }

    /// The elements.
    #[inline]
    pub fn elements(&self) -> &'a [T] {
        self.elements
    }

    /// The number of dimensions: 0..=32767, since `new` compared it with an i16.
    #[inline]
    pub fn dims(&self) -> i32 {
        self.elements.len() as i32
    }

    /// Fails unless both have the same dimensions.
    #[inline]
    pub fn check_same_dims(&self, other: &Self) -> Result<(), ValueError> {
        if self.elements.len() == other.elements.len() {
            Ok(())
        } else {
            Err(ValueError::DifferentDims(T::TYPE, self.dims(), other.dims()))
        }
    }

    /// The btree order: elements first, then the number of dimensions, as PostgreSQL orders arrays.
    pub fn compare(&self, other: &Self) -> Ordering {
        let first = |a: &[T], b: &[T]| a.iter().zip(b).map(|(&a, &b)| a.order(b)).find(|order| order.is_ne());
        // Most vectors differ at once; where they do not, equal bytes are passed over many at a time.
        let split = |elements: &'a [T]| elements.split_at(elements.len().min(FIRST));
        let ((a, rest_a), (b, rest_b)) = (split(self.elements), split(other.elements));
        let mut chunks =
            rest_a.chunks(64).zip(rest_b.chunks(64)).filter(|(a, b)| a.as_bytes() != b.as_bytes());
        first(a, b)
            .or_else(|| chunks.find_map(|(a, b)| first(a, b)))
            .unwrap_or(self.elements.len().cmp(&other.elements.len()))
    }

    /// The elements of a value that [`Self::new`] accepts, to be changed in place.
    pub fn elements_mut(varlena: &mut [u8]) -> Result<&mut [T], ValueError> {
        let corrupted = ValueError::Corrupted(T::TYPE);
        let (_, rest) = Header::mut_from_prefix(varlena).map_err(|_| corrupted)?;
        <[T]>::mut_from_bytes(rest).map_err(|_| corrupted)
    }

    /// The size in bytes of a value of `dims` dimensions, varlena header included.
    pub const fn size(dims: usize) -> usize {
        HEADER + dims * size_of::<T>()
    }

    /// Writes the fields after the varlena header into a zeroed allocation of [`Self::size`] bytes and
    /// gives its elements. `None` when the bytes are not such an allocation.
    pub fn init(varlena: &mut [u8]) -> Option<&mut [T]> {
        let (header, rest) = Header::mut_from_prefix(varlena).ok()?;
        let elements = <[T]>::mut_from_bytes(rest).ok()?;
        header.dim = i16::try_from(elements.len()).ok().filter(|&d| i32::from(d) <= MAX_DIMS)?;
        header.unused = 0;
        Some(elements)
    }
}

/// The number of dimensions that the header of a `vector` or `halfvec` claims; `None` when the bytes (varlena
/// header first) end before it.
#[inline]
pub fn dense_dims(varlena: &[u8]) -> Option<i32> {
    Header::ref_from_prefix(varlena).ok().map(|(header, _)| i32::from(header.dim))
}

/// The half-open range of elements that `subvector(v, start, count)` takes; `start` counts from 1 and may lie
/// before the vector, as in SQL's substring.
pub fn subvector_range(
    ty: TypeName,
    dims: i32,
    start: i32,
    count: i32,
) -> Result<std::ops::Range<usize>, ValueError> {
    let empty = ValueError::TooFewDims(ty);
    if count < 1 {
        return Err(empty);
    }
    // i64 holds every sum of two i32
    let end = (i64::from(start) + i64::from(count)).min(i64::from(dims) + 1);
    let start = i64::from(start).max(1);
    if start > i64::from(dims) || end <= start {
        return Err(empty);
    }
    Ok((start - 1) as usize..(end - 1) as usize)
}
