//! One module per tier, each with a `KERNELS` table, the question which of them this CPU can run, and the choice.
//! All of the crate's unsafe code is here.

use dispatch::{Kernels, Tier};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[macro_use]
mod generic;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod dispatch;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod prefetch;
pub(crate) mod scalar;

/// Every tier of this architecture, whether this CPU has it or not.
#[cfg(target_arch = "x86_64")]
pub(crate) const TIERS: [Tier; 3] = [Tier::Scalar, Tier::Avx2, Tier::Avx512];
/// Every tier of this architecture, whether this CPU has it or not.
#[cfg(target_arch = "aarch64")]
pub(crate) const TIERS: [Tier; 2] = [Tier::Scalar, Tier::Neon];
/// Every tier of this architecture.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) const TIERS: [Tier; 1] = [Tier::Scalar];

/// The tables of the tiers this CPU can run, in the order of [`TIERS`].
pub(crate) fn detected() -> [Option<&'static Kernels>; TIERS.len()] {
    [
        Some(&scalar::KERNELS),
        #[cfg(target_arch = "x86_64")]
        avx2::detected().then_some(&avx2::KERNELS),
        #[cfg(target_arch = "x86_64")]
        avx512::detected().then_some(&avx512::KERNELS),
        #[cfg(target_arch = "aarch64")]
        neon::detected().then_some(&neon::KERNELS),
    ]
}

/// Cosine similarity from its three sums. One root of the product is more accurate than a product of roots.
#[inline(always)]
fn cosine(dot: f32, aa: f32, bb: f32) -> f64 {
    f64::from(dot) / (f64::from(aa) * f64::from(bb)).sqrt()
}

/// Jaccard distance from the sizes of intersection and union.
#[inline(always)]
fn jaccard(intersection: u64, union: u64) -> f64 {
    if intersection == 0 { 1.0 } else { 1.0 - intersection as f64 / union as f64 }
}

/// What elements of a residual are multiplied with, to count in steps of the quantiser; 0 when there is nothing
/// to count: a square of zero, or none that is a finite number.
#[inline(always)]
fn per_step(square: f32, n: usize, step: f32) -> f32 {
    let per_step = 1.0 / (step * (square / n.max(1) as f32).sqrt());
    if square > 0.0 && square < f32::MAX && per_step.is_finite() { per_step } else { 0.0 }
}
