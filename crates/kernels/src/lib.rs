//! Distance and conversion kernels for dense, half-precision, sparse and bit vectors.
//!
//! The crate knows nothing of PostgreSQL. It holds one table of function pointers per *tier* (a set of
//! CPU features); [`kernels`] picks the best tier once and every call afterwards is one indirect call:
//!
//! ```
//! let k = vector_kernels::kernels();
//! assert_eq!(k.l2_squared_f32(&[1.0, 2.0], &[4.0, 6.0]), 25.0);
//! ```
//!
//! Rules that hold for every kernel of every tier:
//!
//! * Slices may have any alignment their element type allows and any length, zero included.
//! * When lengths differ, the kernel works on the common prefix; nothing outside it is read or written.
//! * Distances accumulate in `f32` (half precision is widened first), so a sum that leaves the range of
//!   `f32` is infinite, and a NaN in the input is a NaN in the result.
//! * The order of summation differs between tiers, hence the last bits of a sum may differ too. Conversions
//!   and elementwise operations are correctly rounded and equal in every tier.
//!
//! `VECTOR_SIMD=scalar|avx2|avx512|neon` in the environment caps the tier that [`kernels`] picks. Tests and
//! benches use [`available`] to reach every tier of the machine at once.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod arch;
pub mod sparse;

pub use arch::dispatch::{
    BoundTerms, ByteCode, CodeColumns, CodeHead, FAST_ENTRIES, FAST_QUAD, GROUP, Kernels, MAX_PLANES, PANEL,
    PLANE_BLOCK, PRODUCT_EPS, PlaneSums, ROUNDING, SHORT, Tier, available, kernels,
};
pub use arch::prefetch::{prefetch, prefetch_first, prefetch_line};
pub use half::f16;
