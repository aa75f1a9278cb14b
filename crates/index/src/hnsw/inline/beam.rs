//! How many candidates a search by estimates waits with: its beam. Where the distances of many nodes hardly differ, as
//! among values without structure, estimates that err by as much mix up their order, and the beam must be wider for
//! the same result. A search sees both for itself: by how much the estimates of the nodes it has read erred, and how
//! far apart the distances of its results lie.

use super::search::distance_of;
use crate::quant::rabitq::Bits;

/// Candidates among which the nearest `ef` are found, by the error of estimates: measured on several data sets
/// (benches/benches/hnsw_layouts.rs) so that recall at equal `ef_search` is at least that of a search by exact
/// distances.
pub const fn beam(bits: Bits, ef: usize) -> usize {
    let percent = match bits.each() {
        1 => 140,
        2 => 120,
        _ => 110,
    };
    (ef.saturating_mul(percent) / 100).saturating_add(8)
}

/// Errors of estimates over the spread of distances up to which a beam is wide enough, how much wider it gets beyond,
/// and the most. Measured at `ef_search` 10 to 320: words, pictures and clusters of 100 to 1536 dimensions are at 0.09
/// to 0.26, uniform values of 64 dimensions at 0.30, of 128 at 0.33, of 256 and more, and normal ones, at 0.36 to 0.38;
/// those lost a tenth of recall, and find with half as many candidates more what exact distances find.
const BLURRED: f64 = 0.29;
const WIDER: f64 = 8.0;
const MOST: f64 = 2.0;
/// The distances of more results spread farther: by this power of their number, beside this one.
const POWER: f64 = 0.13;
const RESULTS: f64 = 80.0;

/// What a search has seen of its estimates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Errors {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Errors {
    /// Of a search that has seen none.
    pub const NONE: Errors = Errors { count: 0.0, sum: 0.0, squares: 0.0 };

    /// Takes in a node that waited by a bound of this key and is at this distance. (A bound lies some deviations below
    /// its estimate, which is nothing to how the errors differ.)
    #[inline(always)]
    pub fn note(&mut self, key: u32, exact: f64) {
        let error = f64::from(distance_of(key)) - exact;
        self.count += 1.0;
        self.sum += error;
        self.squares += error * error;
    }

    /// Their standard deviation; 0 where one of them was no number, or there is none.
    fn deviation(&self) -> f64 {
        let mean = self.sum / self.count;
        (self.squares / self.count - mean * mean).max(0.0).sqrt()
    }

    /// The width of a beam of `width` candidates for `ef` results, when the nearest half of them are known: the
    /// distances of that at a quarter of these and of the last.
    pub fn widened(&self, width: usize, ef: usize, [quarter, last]: [f64; 2]) -> usize {
        let blurred = self.deviation() / (last - quarter) * (ef as f64 / RESULTS).powf(POWER);
        if blurred.is_nan() {
            return width;
        }
        let times = 1.0 + ((blurred - BLURRED) * WIDER).clamp(0.0, MOST - 1.0);
        // a cast ends at the largest number
        (width as f64 * times) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::super::search::order_key;
    use super::*;

    fn errors(by: f64) -> Errors {
        let mut errors = Errors::NONE;
        for at in 0..100 {
            let distance = 10.0 + f64::from(at % 10);
            let estimate = distance + if at % 2 == 0 { by } else { -by };
            errors.note(order_key(estimate as f32), distance);
        }
        errors
    }

    #[test]
    fn beams_widen_as_estimates_err() {
        // a deviation of a tenth of the spread, of a third, and of twice as much
        assert_eq!(errors(0.1).widened(100, 80, [9.0, 10.0]), 100);
        let third = errors(0.35).widened(100, 80, [9.0, 10.0]);
        assert!((135..150).contains(&third), "{third}");
        assert_eq!(errors(2.0).widened(100, 80, [9.0, 10.0]), 200);
        // errors that all are the same mix up nothing
        let mut same = Errors::NONE;
        (0..50).for_each(|at| same.note(order_key(at as f32 - 3.0), f64::from(at)));
        assert_eq!(same.widened(100, 80, [1.0, 2.0]), 100);
    }

    #[test]
    fn what_cannot_be_told_widens_nothing() {
        assert_eq!(Errors::NONE.widened(100, 80, [1.0, 2.0]), 100);
        assert_eq!(errors(0.0).widened(100, 80, [1.0, 1.0]), 100);
        assert_eq!(errors(f64::INFINITY).widened(100, 80, [1.0, 2.0]), 100);
        assert_eq!(errors(1.0).widened(100, 80, [f64::NEG_INFINITY, f64::INFINITY]), 100);
        assert_eq!(errors(1.0).widened(100, 80, [f64::INFINITY, f64::INFINITY]), 100);
        // distances that are all the same, and estimates that are not
        assert_eq!(errors(1.0).widened(100, 80, [1.0, 1.0]), 200);
        assert_eq!(errors(1.0).widened(usize::MAX, 80, [1.0, 1.0]), usize::MAX);
    }
}
