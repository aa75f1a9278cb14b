//! What an index compares: one kind of value, one metric, one number of dimensions. Resolved once per scan or build,
//! so that a distance afterwards is a length check and one kernel call on the bytes where they lie.

use half::f16;
use vector_kernels::{Kernels, kernels, sparse};

use crate::error::{TypeName, ValueError};
use crate::quant::space::Cosine;
use crate::value::{DenseElement, DenseView, SparseView, sparsevec_parts_mut, sparsevec_size};
use crate::work::memory::OutOfMemory;

/// How an index orders values. Indexes on cosine distance keep unit vectors and use the inner product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// squared Euclidean distance
    L2,
    /// negative inner product
    InnerProduct,
    /// taxicab distance
    L1,
    /// number of bits that differ
    Hamming,
    /// one minus the share of common bits
    Jaccard,
}

/// The kind of value an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// `vector`
    Vector,
    /// `halfvec`
    Halfvec,
    /// `sparsevec`
    Sparsevec,
    /// `bit`
    Bit,
}

/// Values of one kind with a distance.
pub trait Space: Copy + Send + Sync + 'static {
    /// A checked value in place.
    type View<'a>: Copy + Send + Sync;

    /// Whether all values have the same number of bytes.
    const FIXED_SIZE: bool = true;

    /// Checks a whole, uncompressed varlena with a four-byte header, 4-byte aligned.
    ///
    /// # Errors
    /// When the bytes are no such value, or one of other dimensions than the space's.
    fn view<'a>(&self, varlena: &'a [u8]) -> Result<Self::View<'a>, ValueError>;

    /// The distance by which an index orders; smaller is nearer, never NaN (NaN counts as infinitely far).
    fn distance(&self, a: Self::View<'_>, b: Self::View<'_>) -> f32;

    /// The space's metric.
    fn metric(&self) -> Metric;

    /// Makes `out` the value's elements; returns false where values are not dense.
    fn widen(&self, view: Self::View<'_>, out: &mut Vec<f32>) -> bool {
        let _ = (view, out);
        false
    }
}

#[inline(always)]
fn ordered(distance: f32) -> f32 {
    if distance.is_nan() { f32::INFINITY } else { distance }
}

/// An element type with its kernels.
pub trait DenseKernels: DenseElement + Send + Sync {
    /// Squared Euclidean distance.
    fn l2_squared(k: &Kernels, a: &[Self], b: &[Self]) -> f32;
    /// Inner product.
    fn inner_product(k: &Kernels, a: &[Self], b: &[Self]) -> f32;
    /// Taxicab distance.
    fn l1(k: &Kernels, a: &[Self], b: &[Self]) -> f32;
    /// Euclidean norm.
    fn norm(k: &Kernels, a: &[Self]) -> f64;
    /// `out = a / norm`.
    fn scale(k: &Kernels, a: &[Self], norm: f64, out: &mut [Self]);
}

macro_rules! dense_kernels {
    ($($ty:ty: $l2:ident $ip:ident $l1:ident $norm:ident $scale:ident;)*) => { $(
        impl DenseKernels for $ty {
            #[inline(always)]
            fn l2_squared(k: &Kernels, a: &[Self], b: &[Self]) -> f32 {
                k.$l2(a, b)
            }
            #[inline(always)]
            fn inner_product(k: &Kernels, a: &[Self], b: &[Self]) -> f32 {
                k.$ip(a, b)
            }
            #[inline(always)]
            fn l1(k: &Kernels, a: &[Self], b: &[Self]) -> f32 {
                k.$l1(a, b)
            }
            #[inline]
            fn norm(k: &Kernels, a: &[Self]) -> f64 {
                k.$norm(a)
            }
            #[inline]
            fn scale(k: &Kernels, a: &[Self], norm: f64, out: &mut [Self]) {
                k.$scale(a, norm, out);
            }
        }
    )* };
}

dense_kernels! {
    f32: l2_squared_f32 inner_product_f32 l1_f32 norm_f32 scale_f32;
    f16: l2_squared_f16 inner_product_f16 l1_f16 norm_f16 scale_f16;
}

/// `vector` or `halfvec` of `dims` dimensions.
#[derive(Clone, Copy, Debug)]
pub struct Dense<T> {
    dims: i32,
    behind: usize,
    metric: Metric,
    kernels: &'static Kernels,
    element: core::marker::PhantomData<T>,
}

impl<T: DenseKernels> Space for Dense<T> {
    type View<'a> = &'a [T];

    #[inline(always)]
    fn view<'a>(&self, varlena: &'a [u8]) -> Result<&'a [T], ValueError> {
        let view = DenseView::<T>::new(without(varlena, self.behind))?;
        if view.dims() != self.dims {
            return Err(ValueError::DifferentDims(T::TYPE, self.dims, view.dims()));
        }
        Ok(view.elements())
    }

    #[inline(always)]
    fn distance(&self, a: &[T], b: &[T]) -> f32 {
        ordered(match self.metric {
            Metric::L2 => T::l2_squared(self.kernels, a, b),
            Metric::L1 => T::l1(self.kernels, a, b),
            _ => -T::inner_product(self.kernels, a, b),
        })
    }

    fn metric(&self) -> Metric {
        self.metric
    }

    fn widen(&self, view: &[T], out: &mut Vec<f32>) -> bool {
        out.clear();
        out.extend(view.iter().map(|x| x.to_f32()));
        true
    }
}

/// `sparsevec` of `dims` dimensions.
#[derive(Clone, Copy, Debug)]
pub struct Sparse {
    dims: i32,
    metric: Metric,
}

impl Space for Sparse {
    type View<'a> = SparseView<'a>;

    const FIXED_SIZE: bool = false;

    #[inline]
    fn view<'a>(&self, varlena: &'a [u8]) -> Result<SparseView<'a>, ValueError> {
        let view = SparseView::new(varlena)?;
        if view.dims() != self.dims {
            return Err(ValueError::DifferentDims(TypeName::Sparsevec, self.dims, view.dims()));
        }
        Ok(view)
    }

    #[inline]
    fn distance(&self, a: SparseView<'_>, b: SparseView<'_>) -> f32 {
        let (ai, av, bi, bv) = (a.indices(), a.values(), b.indices(), b.values());
        ordered(match self.metric {
            Metric::L2 => sparse::l2_squared(ai, av, bi, bv),
            Metric::L1 => sparse::l1(ai, av, bi, bv),
            _ => -sparse::inner_product(ai, av, bi, bv),
        })
    }

    fn metric(&self) -> Metric {
        self.metric
    }
}

/// `bit` of `dims` bits.
#[derive(Clone, Copy, Debug)]
pub struct Bits {
    dims: i32,
    behind: usize,
    metric: Metric,
    kernels: &'static Kernels,
}

impl Space for Bits {
    type View<'a> = &'a [u8];

    #[inline]
    fn view<'a>(&self, varlena: &'a [u8]) -> Result<&'a [u8], ValueError> {
        let (bits, bytes) = bit_parts(without(varlena, self.behind)).ok_or(ValueError::CorruptedBits)?;
        if bits != self.dims {
            return Err(ValueError::DifferentBits(self.dims as u32, bits as u32));
        }
        Ok(bytes)
    }

    #[inline]
    fn distance(&self, a: &[u8], b: &[u8]) -> f32 {
        match self.metric {
            Metric::Jaccard => self.kernels.jaccard_distance(a, b) as f32,
            _ => self.kernels.hamming(a, b) as f32,
        }
    }

    fn metric(&self) -> Metric {
        self.metric
    }
}

/// Length in bits and the bytes of a `bit` value whose header and size agree.
fn bit_parts(varlena: &[u8]) -> Option<(i32, &[u8])> {
    let bits = i32::from_ne_bytes(*varlena.get(4..)?.first_chunk::<4>()?);
    let bytes = varlena.get(8..)?;
    let expected = usize::try_from(bits).ok()?.div_ceil(8);
    (bytes.len() == expected).then_some((bits, bytes))
}

/// A space of any kind; [`with_space!`](crate::with_space) opens it.
#[derive(Clone, Copy, Debug)]
pub enum AnySpace {
    /// `vector`
    Vector(Dense<f32>),
    /// `halfvec`
    Halfvec(Dense<f16>),
    /// `sparsevec`
    Sparsevec(Sparse),
    /// `bit`
    Bit(Bits),
    /// `vector` of any length, compared by the angle
    VectorAngle(Cosine<f32>),
    /// `halfvec` of any length, compared by the angle
    HalfvecAngle(Cosine<f16>),
}

impl AnySpace {
    /// The space of `kind` with `metric` over `dims` dimensions (bits for `bit`).
    pub fn new(kind: ValueKind, metric: Metric, dims: i32) -> Self {
        let kernels = kernels();
        let element = core::marker::PhantomData;
        match kind {
            ValueKind::Vector => AnySpace::Vector(Dense { dims, behind: 0, metric, kernels, element }),
            ValueKind::Halfvec => {
                let element = core::marker::PhantomData;
                AnySpace::Halfvec(Dense { dims, behind: 0, metric, kernels, element })
            }
            ValueKind::Sparsevec => AnySpace::Sparsevec(Sparse { dims, metric }),
            ValueKind::Bit => AnySpace::Bit(Bits { dims, behind: 0, metric, kernels }),
        }
    }

    /// The space of values of `kind` that are compared by their angle and stand as they were given; `None` of a kind
    /// for which there is none.
    pub fn by_angle(kind: ValueKind, dims: i32) -> Option<Self> {
        match kind {
            ValueKind::Vector => Some(AnySpace::VectorAngle(Cosine::new(dims))),
            ValueKind::Halfvec => Some(AnySpace::HalfvecAngle(Cosine::new(dims))),
            ValueKind::Sparsevec | ValueKind::Bit => None,
        }
    }

    /// The same space of values that have so many bytes of filter keys behind them ([`crate::filter::put_item`]).
    /// Values of `sparsevec` have none.
    #[must_use]
    pub const fn of_items(mut self, bytes: usize) -> Self {
        match &mut self {
            AnySpace::Vector(space) => space.behind = bytes,
            AnySpace::Halfvec(space) => space.behind = bytes,
            AnySpace::Bit(space) => space.behind = bytes,
            AnySpace::VectorAngle(space) => space.set_behind(bytes),
            AnySpace::HalfvecAngle(space) => space.set_behind(bytes),
            AnySpace::Sparsevec(_) => {}
        }
        self
    }
}

/// A value without so many bytes behind it.
#[inline(always)]
pub(crate) fn without(item: &[u8], behind: usize) -> &[u8] {
    item.get(..item.len().wrapping_sub(behind)).unwrap_or_default()
}

/// Evaluates `$body` with `$space` bound to the concrete space in an [`AnySpace`](crate::space::AnySpace).
#[macro_export]
macro_rules! with_space {
    ($any:expr, $space:ident => $body:expr) => {
        match $any {
            $crate::space::AnySpace::Vector($space) => $body,
            $crate::space::AnySpace::Halfvec($space) => $body,
            $crate::space::AnySpace::Sparsevec($space) => $body,
            $crate::space::AnySpace::Bit($space) => $body,
            $crate::space::AnySpace::VectorAngle($space) => $body,
            $crate::space::AnySpace::HalfvecAngle($space) => $body,
        }
    };
}

/// The number of dimensions (bits) that a value's header claims; `None` when the bytes end before it.
pub fn value_dims(kind: ValueKind, varlena: &[u8]) -> Option<i32> {
    match kind {
        ValueKind::Vector | ValueKind::Halfvec => crate::value::dense_dims(varlena),
        ValueKind::Sparsevec | ValueKind::Bit => {
            Some(i32::from_ne_bytes(*varlena.get(4..)?.first_chunk::<4>()?))
        }
    }
}

/// The bytes of one value, aligned to 8, reused from value to value.
#[derive(Clone, Debug, Default)]
pub struct ValueBuf {
    words: Vec<u64>,
    len: usize,
}

impl ValueBuf {
    /// An empty buffer.
    pub const fn new() -> Self {
        ValueBuf { words: Vec::new(), len: 0 }
    }

    /// The value.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        let bytes: &[u8] = zerocopy::IntoBytes::as_bytes(self.words.as_slice());
        bytes.get(..self.len).unwrap_or_default()
    }

    /// The value, to change.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(self.words.as_mut_slice());
        bytes.get_mut(..self.len).unwrap_or_default()
    }

    /// Makes it `len` zero bytes and gives them: as many as a value of an index has, at most 128 kB.
    pub fn reset(&mut self, len: usize) -> &mut [u8] {
        self.words.clear();
        self.words.resize(len.div_ceil(8), 0);
        self.len = len;
        let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(self.words.as_mut_slice());
        &mut bytes[..len]
    }

    /// As [`Self::reset`], of any length.
    ///
    /// # Errors
    /// No memory.
    pub fn try_reset(&mut self, len: usize) -> Result<&mut [u8], OutOfMemory> {
        self.words.clear();
        self.words.try_reserve(len.div_ceil(8))?;
        Ok(self.reset(len))
    }

    /// Makes it a copy of a value of any length.
    ///
    /// # Errors
    /// No memory.
    pub fn try_copy_from(&mut self, value: &[u8]) -> Result<(), OutOfMemory> {
        self.try_reset(value.len())?.copy_from_slice(value);
        Ok(())
    }

    /// Makes it a copy of `value`, which is one of an index: at most 128 kB.
    pub fn copy_from(&mut self, value: &[u8]) {
        self.reset(value.len()).copy_from_slice(value);
    }

    /// Bytes of memory it holds.
    pub fn allocated(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

/// The four-byte header of a plain varlena of `size` bytes (src/include/varatt.h).
#[inline]
pub const fn varlena_header(size: usize) -> [u8; 4] {
    let size = size as u32;
    if cfg!(target_endian = "little") { size << 2 } else { size & 0x3fff_ffff }.to_ne_bytes()
}

/// Writes `value` divided by its Euclidean norm to `out`. Returns false, and leaves `out` alone, when the norm is not
/// above zero. `bit` values have no norm: they are answered false.
///
/// # Errors
/// When the bytes are no value of the kind, or an element leaves its type's range.
pub fn normalize(kind: ValueKind, value: &[u8], out: &mut ValueBuf) -> Result<bool, ValueError> {
    match kind {
        ValueKind::Vector => normalize_dense::<f32>(value, out),
        ValueKind::Halfvec => normalize_dense::<f16>(value, out),
        ValueKind::Sparsevec => normalize_sparse(value, out),
        ValueKind::Bit => Ok(false),
    }
}

/// Whether a value's Euclidean norm is above zero, so that [`normalize`] would not answer false.
///
/// # Errors
/// When the bytes are no value of the kind.
pub fn has_direction(kind: ValueKind, value: &[u8]) -> Result<bool, ValueError> {
    let norm = match kind {
        ValueKind::Vector => f32::norm(kernels(), DenseView::<f32>::new(value)?.elements()),
        ValueKind::Halfvec => f16::norm(kernels(), DenseView::<f16>::new(value)?.elements()),
        ValueKind::Sparsevec => kernels().norm_f32(SparseView::new(value)?.values()),
        ValueKind::Bit => return Ok(false),
    };
    // a NaN is not
    Ok(norm > 0.0)
}

fn normalize_dense<T: DenseKernels>(value: &[u8], out: &mut ValueBuf) -> Result<bool, ValueError> {
    let elements = DenseView::<T>::new(value)?.elements();
    let norm = T::norm(kernels(), elements);
    // a NaN is not above zero either
    if norm.partial_cmp(&0.0) != Some(core::cmp::Ordering::Greater) {
        return Ok(false);
    }
    out.copy_from(value);
    let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(out.words.as_mut_slice());
    let target = DenseView::<T>::elements_mut(bytes.get_mut(..value.len()).unwrap_or_default())?;
    T::scale(kernels(), elements, norm, target);
    if target.iter().any(|e| e.is_infinite()) {
        return Err(ValueError::Overflow);
    }
    Ok(true)
}

fn normalize_sparse(value: &[u8], out: &mut ValueBuf) -> Result<bool, ValueError> {
    let view = SparseView::new(value)?;
    let norm = kernels().norm_f32(view.values());
    if norm.partial_cmp(&0.0) != Some(core::cmp::Ordering::Greater) {
        return Ok(false);
    }
    let mut scaled = vec![0f32; view.values().len()];
    kernels().scale_f32(view.values(), norm, &mut scaled);
    if scaled.iter().any(|x| x.is_infinite()) {
        return Err(ValueError::Overflow);
    }
    let nnz = scaled.iter().filter(|&&x| x != 0.0).count();
    let size = sparsevec_size(nnz);
    let bytes = out.reset(size);
    bytes[..4].copy_from_slice(&varlena_header(size));
    let corrupted = ValueError::Corrupted(TypeName::Sparsevec);
    let (indices, values) = sparsevec_parts_mut(bytes, view.dims()).ok_or(corrupted)?;
    let kept = view.indices().iter().zip(&scaled).filter(|(_, x)| **x != 0.0);
    for ((index, element), (i, x)) in indices.iter_mut().zip(values).zip(kept) {
        (*index, *element) = (*i, *x);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(elements: &[f32]) -> ValueBuf {
        let mut buf = ValueBuf::new();
        let size = DenseView::<f32>::size(elements.len());
        let bytes = buf.reset(size);
        bytes[..4].copy_from_slice(&varlena_header(size));
        DenseView::<f32>::init(bytes).unwrap().copy_from_slice(elements);
        buf
    }

    #[test]
    fn distances_order_as_their_metrics() {
        let (a, b) = (vector(&[1.0, 2.0]), vector(&[4.0, 6.0]));
        for (metric, expected) in [(Metric::L2, 25.0), (Metric::InnerProduct, -16.0), (Metric::L1, 7.0)] {
            let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, metric, 2) else { panic!() };
            let (a, b) = (space.view(a.bytes()), space.view(b.bytes()));
            assert_eq!(space.distance(a.unwrap(), b.unwrap()), expected);
        }
    }

    #[test]
    fn other_dimensions_are_refused() {
        let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, Metric::L2, 3) else { panic!() };
        assert_eq!(
            space.view(vector(&[1.0]).bytes()).err(),
            Some(ValueError::DifferentDims(TypeName::Vector, 3, 1))
        );
    }

    #[test]
    fn normalizing_gives_unit_length_and_refuses_zero() {
        let mut out = ValueBuf::new();
        assert!(normalize(ValueKind::Vector, vector(&[3.0, 4.0]).bytes(), &mut out).unwrap());
        assert_eq!(DenseView::<f32>::new(out.bytes()).unwrap().elements(), &[0.6, 0.8]);
        assert!(!normalize(ValueKind::Vector, vector(&[0.0, 0.0]).bytes(), &mut out).unwrap());
        for (elements, expected) in [([0.0, 0.0], false), ([0.0, 1e-44], true), ([f32::NAN, 1.0], false)] {
            let value = vector(&elements);
            assert_eq!(has_direction(ValueKind::Vector, value.bytes()), Ok(expected));
            assert_eq!(
                normalize(ValueKind::Vector, value.bytes(), &mut out).is_ok_and(|unit| unit),
                expected
            );
        }
        assert_eq!(has_direction(ValueKind::Bit, &[]), Ok(false));
        assert!(has_direction(ValueKind::Halfvec, &[0; 3]).is_err());
    }
}
