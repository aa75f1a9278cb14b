//! Exact distances beside codes: those of the operators, to the last bit, since a scan returns rows in their order; and
//! how codes estimate them.

use core::marker::PhantomData;

use half::f16;
use vector_kernels::{Kernels, kernels};

use crate::error::ValueError;
use crate::quant::rabitq::Measure;
use crate::space::{Bits, Dense, DenseKernels, Metric, Space, Sparse, ValueKind, without};
use crate::value::DenseView;

/// How estimates stand to exact distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimate {
    /// squared Euclidean distances
    L2,
    /// minus inner products
    InnerProduct,
    /// one minus inner products of unit vectors
    Cosine,
    /// none: whole values stand where codes would
    Exact,
}

impl Estimate {
    /// What codes of edges estimate.
    pub const fn measure(self) -> Measure {
        match self {
            Estimate::L2 => Measure::L2,
            _ => Measure::InnerProduct,
        }
    }
}

/// Whether there are codes for values of `kind` that compare by `metric`, or, of `bit`, something in their place.
pub const fn has_codes(kind: ValueKind, metric: Metric) -> bool {
    match kind {
        ValueKind::Vector | ValueKind::Halfvec => matches!(metric, Metric::L2 | Metric::InnerProduct),
        ValueKind::Bit => true,
        ValueKind::Sparsevec => false,
    }
}

/// Where the bits of a `bit` value begin: behind its length in bytes and in bits.
pub const BIT_PAYLOAD: usize = 8;

/// A space whose values stand as they were given, beside codes of them; or, where [`has_codes`] says so, without any.
pub trait CodedSpace: Space {
    /// The kind of value.
    fn kind(&self) -> ValueKind;

    /// How its distances are estimated.
    fn estimate(&self) -> Estimate;

    /// The operator's distance, or its square for the Euclidean one: what results are ordered by. Never NaN.
    fn exact(&self, a: Self::View<'_>, b: Self::View<'_>) -> f64 {
        f64::from(self.distance(a, b))
    }

    /// The distance by which an index orders ([`Space::distance`]) from one that [`Self::exact`] has told; off by the
    /// last bit at most.
    fn narrow(&self, exact: f64) -> f32 {
        exact as f32
    }

    /// The distance to the value that is its varlena's `bytes` from [`BIT_PAYLOAD`] on, where records have these.
    fn exact_bytes(&self, a: Self::View<'_>, bytes: &[u8]) -> f64 {
        let _ = (a, bytes);
        f64::INFINITY
    }

    /// The value's Euclidean norm; 0 where that means nothing.
    fn norm(&self, view: Self::View<'_>) -> f64 {
        let _ = view;
        0.0
    }
}

macro_rules! dense_spaces {
    ($($ty:ty: $kind:ident),*) => {$(
        impl CodedSpace for Dense<$ty> {
            fn kind(&self) -> ValueKind {
                ValueKind::$kind
            }

            fn estimate(&self) -> Estimate {
                if self.metric() == Metric::L2 { Estimate::L2 } else { Estimate::InnerProduct }
            }

            fn norm(&self, view: &[$ty]) -> f64 {
                <$ty as DenseKernels>::norm(kernels(), view)
            }
        }
    )*};
}

dense_spaces!(f32: Vector, f16: Halfvec);

/// Values without codes.
impl CodedSpace for Sparse {
    fn kind(&self) -> ValueKind {
        ValueKind::Sparsevec
    }

    fn estimate(&self) -> Estimate {
        Estimate::Exact
    }
}

impl CodedSpace for Bits {
    fn kind(&self) -> ValueKind {
        ValueKind::Bit
    }

    fn estimate(&self) -> Estimate {
        Estimate::Exact
    }

    fn exact(&self, a: &[u8], b: &[u8]) -> f64 {
        self.exact_bytes(a, b)
    }

    #[inline(always)]
    fn exact_bytes(&self, a: &[u8], bytes: &[u8]) -> f64 {
        match self.metric() {
            Metric::Jaccard => kernels().jaccard_distance(a, bytes),
            _ => kernels().hamming(a, bytes) as f64,
        }
    }
}

/// Elements with a kernel for the cosine of an angle.
pub trait CosineKernel: DenseKernels {
    /// The kind of value with such elements.
    const KIND: ValueKind;

    /// The cosine; NaN for a zero vector.
    fn cosine_similarity(k: &Kernels, a: &[Self], b: &[Self]) -> f64;
}

impl CosineKernel for f32 {
    const KIND: ValueKind = ValueKind::Vector;

    #[inline(always)]
    fn cosine_similarity(k: &Kernels, a: &[f32], b: &[f32]) -> f64 {
        k.cosine_similarity_f32(a, b)
    }
}

impl CosineKernel for f16 {
    const KIND: ValueKind = ValueKind::Halfvec;

    #[inline(always)]
    fn cosine_similarity(k: &Kernels, a: &[f16], b: &[f16]) -> f64 {
        k.cosine_similarity_f16(a, b)
    }
}

/// `vector` or `halfvec` of any length, compared by their angle. Distances for a build are minus the cosine.
#[derive(Clone, Copy, Debug)]
pub struct Cosine<T> {
    dims: i32,
    behind: usize,
    kernels: &'static Kernels,
    element: PhantomData<T>,
}

impl<T> Cosine<T> {
    /// Of `dims` dimensions.
    pub fn new(dims: i32) -> Self {
        Cosine { dims, behind: 0, kernels: kernels(), element: PhantomData }
    }

    /// Values have so many bytes behind them.
    pub(crate) const fn set_behind(&mut self, bytes: usize) {
        self.behind = bytes;
    }
}

impl<T: CosineKernel> Space for Cosine<T> {
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
        let similarity = T::cosine_similarity(self.kernels, a, b);
        if similarity.is_nan() { f32::INFINITY } else { -similarity as f32 }
    }

    fn metric(&self) -> Metric {
        Metric::InnerProduct
    }

    fn widen(&self, view: &[T], out: &mut Vec<f32>) -> bool {
        let norm = T::norm(self.kernels, view);
        let per_norm = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        out.clear();
        out.extend(view.iter().map(|x| (f64::from(x.to_f32()) * per_norm) as f32));
        true
    }
}

impl<T: CosineKernel> CodedSpace for Cosine<T> {
    fn kind(&self) -> ValueKind {
        T::KIND
    }

    fn estimate(&self) -> Estimate {
        Estimate::Cosine
    }

    #[inline(always)]
    fn exact(&self, a: &[T], b: &[T]) -> f64 {
        let similarity = T::cosine_similarity(self.kernels, a, b);
        if similarity.is_nan() { f64::INFINITY } else { 1.0 - similarity.clamp(-1.0, 1.0) }
    }

    fn narrow(&self, exact: f64) -> f32 {
        (exact - 1.0) as f32
    }

    fn norm(&self, view: &[T]) -> f64 {
        T::norm(self.kernels, view)
    }
}
