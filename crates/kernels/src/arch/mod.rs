//! One module per tier, each with a `KERNELS` table, the question which of them this CPU can run, and the choice.
//! All of the crate's unsafe code is here.

use dispatch::{Kernels, Tier};

/// Bounds of one row and many panels, by the kernels of the module, which are part of the loop then: one call instead
/// of two for each panel.
macro_rules! row_kernels {
    ($(#[$features:meta])?) => {
        $(#[$features])?
        #[allow(clippy::too_many_arguments)]
        unsafe fn code_row_bounds(
            row: *const i8,
            head: *const $crate::CodeHead,
            panels: *const u8,
            columns: *const $crate::CodeColumns,
            count: usize,
            n: usize,
            euclidean: bool,
            lower: *mut f32,
            least: *mut f32,
        ) {
            // SAFETY: the caller passes a row of n groups, its head, `count` panels of n times PANEL groups with their
            // columns, and PANEL writable places and one more for each panel.
            unsafe {
                for at in 0..count {
                    let (mut products, lower) = ([0i32; $crate::PANEL], lower.add(at * $crate::PANEL));
                    let panel = panels.add(at * n * $crate::GROUP * $crate::PANEL);
                    inner_product_byte_panel(&row, 1, panel, n, products.as_mut_ptr());
                    let columns = columns.add(at);
                    match euclidean {
                        true => code_l2_bounds(head, 1, columns, products.as_ptr(), lower),
                        false => code_inner_product_bounds(head, 1, columns, products.as_ptr(), lower),
                    }
                    let mut lanes = *lower.cast::<[f32; $crate::PANEL]>();
                    let mut half = $crate::PANEL / 2;
                    while half > 0 {
                        for i in 0..half {
                            lanes[i] = if lanes[i + half] < lanes[i] { lanes[i + half] } else { lanes[i] };
                        }
                        half /= 2;
                    }
                    *least.add(at) = lanes[0];
                }
            }
        }
    };
}

/// Rotations by signs and the module's transform, whose other steps are compiled with the features, too: the same
/// arithmetic in every tier.
macro_rules! rotation_kernels {
    ($(#[$features:meta])?) => {
        $(#[$features])?
        unsafe fn rotate_f32(a: *mut f32, n: usize, signs: *const u32, rounds: usize) {
            // SAFETY: the caller passes n writable elements and n signs for each round, which do not overlap.
            let (a, signs) = unsafe {
                let signs = core::slice::from_raw_parts(signs, n * rounds);
                (core::slice::from_raw_parts_mut(a, n), signs)
            };
            let window = match n {
                0 => return,
                n => 1usize << n.ilog2(),
            };
            let root = (window as f32).sqrt().recip();
            for (round, signs) in signs.chunks_exact(n).enumerate() {
                for (x, sign) in a.iter_mut().zip(signs) {
                    *x = f32::from_bits(x.to_bits() ^ sign);
                }
                let start = if round % 2 == 0 { 0 } else { n - window };
                let part = &mut a[start..start + window];
                // SAFETY: so many elements, a power of two.
                unsafe { hadamard_f32(part.as_mut_ptr(), window) };
                part.iter_mut().for_each(|x| *x *= root);
                if window < n && round % 2 == 1 {
                    let (low, high) = a.split_at_mut(n / 2);
                    for (x, y) in low.iter_mut().zip(high) {
                        let (sum, difference) = (*x + *y, *x - *y);
                        *x = sum * core::f32::consts::FRAC_1_SQRT_2;
                        *y = difference * core::f32::consts::FRAC_1_SQRT_2;
                    }
                }
            }
        }
    };
}

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
mod planes;
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
