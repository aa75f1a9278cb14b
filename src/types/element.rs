//! What the two dense types differ in: which kernels work on their elements.

use half::f16;
use pgrx::pg_sys::Datum;
use vector_index::ValueError;
use vector_index::text::TextElement;
use vector_index::value::{DenseElement, DenseView};
use vector_index::wire::WireElement;
use vector_kernels::kernels;
use zerocopy::IntoBytes;

use crate::pg::call::Call;
use crate::pg::prefetch::Stride;
use crate::pg::varlena::Scratch;

/// An element type with its kernels.
pub trait Element: DenseElement + TextElement + WireElement {
    /// Symbol prefix of this type's functions, for messages that name one.
    const ACCUM: &'static str;
    /// As `ACCUM`, of the final function of `avg`.
    const AVG: &'static str;

    fn l2_squared(a: &[Self], b: &[Self]) -> f32;
    fn inner_product(a: &[Self], b: &[Self]) -> f32;
    fn cosine_similarity(a: &[Self], b: &[Self]) -> f64;
    fn l1(a: &[Self], b: &[Self]) -> f32;
    fn norm(a: &[Self]) -> f64;
    fn scale(a: &[Self], norm: f64, out: &mut [Self]);
    fn add(a: &[Self], b: &[Self], out: &mut [Self]);
    fn sub(a: &[Self], b: &[Self], out: &mut [Self]);
    fn mul(a: &[Self], b: &[Self], out: &mut [Self]);
    fn binary_quantize(a: &[Self], out: &mut [u8]);
    /// The element for a computed value; fails where the type cannot hold a finite value.
    fn convert(value: f32) -> Result<Self, ValueError>;
    /// The elements for computed values, as many as both slices have; fails as `convert` does.
    fn convert_all(values: &[f32], out: &mut [Self]) -> Result<(), ValueError>;
    /// Elements as f32 (exact), as many as both slices have.
    fn widen(elements: &[Self], out: &mut [f32]);
}

/// So few elements are sooner done one by one than by a kernel: what that writes through a mask must reach the cache
/// before it can be read again.
const FEW: usize = 4;

macro_rules! kernel_calls {
    ($($name:ident = $kernel:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => { $(
        #[inline]
        fn $name($($arg: $ty),*) -> $ret {
            kernels().$kernel($($arg),*)
        }
    )* };
}

impl Element for f32 {
    const ACCUM: &'static str = "vector_accum";
    const AVG: &'static str = "vector_avg";

    kernel_calls! {
        l2_squared = l2_squared_f32(a: &[f32], b: &[f32]) -> f32;
        inner_product = inner_product_f32(a: &[f32], b: &[f32]) -> f32;
        cosine_similarity = cosine_similarity_f32(a: &[f32], b: &[f32]) -> f64;
        l1 = l1_f32(a: &[f32], b: &[f32]) -> f32;
        add = add_f32(a: &[f32], b: &[f32], out: &mut [f32]) -> ();
        sub = sub_f32(a: &[f32], b: &[f32], out: &mut [f32]) -> ();
        mul = mul_f32(a: &[f32], b: &[f32], out: &mut [f32]) -> ();
        binary_quantize = binary_quantize_f32(a: &[f32], out: &mut [u8]) -> ();
    }

    #[inline]
    fn norm(a: &[f32]) -> f64 {
        if a.len() > FEW {
            return kernels().norm_f32(a);
        }
        // from +0: the norm of nothing is not -0
        a.iter().fold(0.0, |sum, &x| sum + f64::from(x) * f64::from(x)).sqrt()
    }

    #[inline]
    fn scale(a: &[f32], norm: f64, out: &mut [f32]) {
        if a.len() > FEW {
            return kernels().scale_f32(a, norm, out);
        }
        out.iter_mut().zip(a).for_each(|(slot, &x)| *slot = (f64::from(x) / norm) as f32);
    }

    #[inline]
    fn convert(value: f32) -> Result<Self, ValueError> {
        Ok(value)
    }

    #[inline]
    fn convert_all(values: &[f32], out: &mut [Self]) -> Result<(), ValueError> {
        Self::widen(values, out);
        Ok(())
    }

    #[inline]
    fn widen(elements: &[Self], out: &mut [f32]) {
        out.iter_mut().zip(elements).for_each(|(slot, &x)| *slot = x);
    }
}

impl Element for f16 {
    const ACCUM: &'static str = "halfvec_accum";
    const AVG: &'static str = "halfvec_avg";

    kernel_calls! {
        l2_squared = l2_squared_f16(a: &[f16], b: &[f16]) -> f32;
        inner_product = inner_product_f16(a: &[f16], b: &[f16]) -> f32;
        cosine_similarity = cosine_similarity_f16(a: &[f16], b: &[f16]) -> f64;
        l1 = l1_f16(a: &[f16], b: &[f16]) -> f32;
        norm = norm_f16(a: &[f16]) -> f64;
        scale = scale_f16(a: &[f16], norm: f64, out: &mut [f16]) -> ();
        add = add_f16(a: &[f16], b: &[f16], out: &mut [f16]) -> ();
        sub = sub_f16(a: &[f16], b: &[f16], out: &mut [f16]) -> ();
        mul = mul_f16(a: &[f16], b: &[f16], out: &mut [f16]) -> ();
        binary_quantize = binary_quantize_f16(a: &[f16], out: &mut [u8]) -> ();
    }

    fn convert(value: f32) -> Result<Self, ValueError> {
        let half = f16::from_f32(value);
        if half.is_infinite() && value.is_finite() {
            return Err(ValueError::HalfOutOfRange(value));
        }
        Ok(half)
    }

    #[inline]
    fn convert_all(values: &[f32], out: &mut [Self]) -> Result<(), ValueError> {
        kernels().f32_to_f16(values, out);
        // no early exit, so that the loop is a vector one
        if out.iter().zip(values).fold(false, |found, (h, _)| found | h.is_infinite()) {
            values.iter().try_for_each(|&x| Self::convert(x).map(drop))?;
        }
        Ok(())
    }

    #[inline]
    fn widen(elements: &[Self], out: &mut [f32]) {
        kernels().f16_to_f32(elements, out);
    }
}

/// Room for an argument of a function that is called once per row, and where its last values lay: each function has its
/// own memory of that, so that one does not disturb another's.
macro_rules! argument_hot {
    ($call:expr, $n:expr, $t:ty, $room:ident) => {{
        static STRIDE: crate::pg::prefetch::Stride = crate::pg::prefetch::Stride::new();
        $crate::types::element::dense_hot::<$t>($call, $n, &mut $room, &STRIDE)
    }};
}
pub(super) use argument_hot;

/// Argument `n` as a dense vector; the values of rows to come are asked for. See [`argument_hot!`].
#[inline(always)]
pub fn dense_hot<'s, 'fc: 's, T: Element>(
    call: Call<'fc>,
    n: usize,
    room: &'s mut Scratch,
    stride: &Stride,
) -> Result<DenseView<'s, T>, ValueError> {
    let view = DenseView::<T>::new(call.varlena_hot(n, room))?;
    stride.follow(view.elements().as_bytes());
    Ok(view)
}

/// A new dense vector of `dims` elements, at most [`vector_index::value::MAX_DIMS`], all zero until `fill` is
/// done with them.
#[inline]
pub fn build_hot<T: Element, E: From<ValueError>>(
    call: Call<'_>,
    dims: usize,
    fill: impl FnOnce(&mut [T]) -> Result<(), E>,
) -> Result<Datum, E> {
    let mut value = call.new_varlena_hot(DenseView::<T>::size(dims));
    fill(DenseView::<T>::init(value.bytes_mut()).ok_or(ValueError::TooManyDims(T::TYPE))?)?;
    Ok(value.into_datum())
}
