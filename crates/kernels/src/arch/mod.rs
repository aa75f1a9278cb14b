//! One module per tier, each with a `KERNELS` table, and the question which of them this CPU can run.

use crate::dispatch::{Kernels, Tier};

pub(crate) mod scalar;

/// Every tier of this architecture, whether this CPU has it or not.
pub(crate) const TIERS: [Tier; 1] = [Tier::Scalar];

/// The tables of the tiers this CPU can run, in ascending order.
pub(crate) fn detected() -> [Option<&'static Kernels>; 1] {
    [Some(&scalar::KERNELS)]
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
