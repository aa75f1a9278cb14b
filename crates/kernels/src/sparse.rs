//! Distances between sparse vectors, given as sorted unique indices with their values.
//!
//! Elements that are not stored are zero. Sums run in index order in `f32`, so they may overflow to
//! infinity. Each side's common prefix of indices and values counts when their lengths differ. Indices
//! that are not strictly ascending give a meaningless number, never undefined behaviour.

use core::cmp::Ordering;

/// Merges two sparse vectors: `both` sees the values at common indices, `one` a value that stands alone.
///
/// `SKIP` says that lone values do not count, which lets the merge stop at the shorter side's end.
#[inline(always)]
fn merge<const SKIP: bool>(
    ai: &[i32],
    av: &[f32],
    bi: &[i32],
    bv: &[f32],
    both: impl Fn(f32, f32) -> f32,
    one: impl Fn(f32) -> f32,
) -> f32 {
    let (an, bn) = (ai.len().min(av.len()), bi.len().min(bv.len()));
    let (ai, av, bi, bv) = (&ai[..an], &av[..an], &bi[..bn], &bv[..bn]);
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    while i < an && j < bn {
        if SKIP {
            // Which side advances is as good as random: a flag added to the cursor beats a branch.
            let (x, y) = (ai[i], bi[j]);
            if x == y {
                sum += both(av[i], bv[j]);
            }
            i += usize::from(x <= y);
            j += usize::from(y <= x);
            continue;
        }
        match ai[i].cmp(&bi[j]) {
            Ordering::Equal => {
                sum += both(av[i], bv[j]);
                i += 1;
                j += 1;
            }
            Ordering::Less => {
                sum += one(av[i]);
                i += 1;
            }
            Ordering::Greater => {
                sum += one(bv[j]);
                j += 1;
            }
        }
    }
    if !SKIP {
        sum = av[i..].iter().fold(sum, |s, &x| s + one(x));
        sum = bv[j..].iter().fold(sum, |s, &x| s + one(x));
    }
    sum
}

/// Squared Euclidean distance.
pub fn l2_squared(ai: &[i32], av: &[f32], bi: &[i32], bv: &[f32]) -> f32 {
    merge::<false>(ai, av, bi, bv, |x, y| (x - y) * (x - y), |x| x * x)
}

/// Inner product. Values without a partner are not looked at, so a NaN among them does not show.
pub fn inner_product(ai: &[i32], av: &[f32], bi: &[i32], bv: &[f32]) -> f32 {
    merge::<true>(ai, av, bi, bv, |x, y| x * y, |_| 0.0)
}

/// Sum of absolute differences.
pub fn l1(ai: &[i32], av: &[f32], bi: &[i32], bv: &[f32]) -> f32 {
    merge::<false>(ai, av, bi, bv, |x, y| (x - y).abs(), f32::abs)
}

/// Cosine of the angle between the vectors, in `f64` from sums in `f32`; NaN when either is zero. Rounding
/// may carry it slightly outside -1..=1.
pub fn cosine_similarity(ai: &[i32], av: &[f32], bi: &[i32], bv: &[f32]) -> f64 {
    let dot = inner_product(ai, av, bi, bv);
    let squares = |v: &[f32]| v.iter().fold(0.0f32, |s, x| s + x * x);
    let (na, nb) = (squares(&av[..ai.len().min(av.len())]), squares(&bv[..bi.len().min(bv.len())]));
    f64::from(dot) / (f64::from(na) * f64::from(nb)).sqrt()
}
