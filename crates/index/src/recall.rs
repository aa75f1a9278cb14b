//! What a sample of queries says of an index: recall with a confidence interval, latencies, and the search for
//! the least setting that reaches a wanted recall.

use crate::work::memory::{OutOfMemory, push};

/// Standard deviations on either side of the mean that 95 % of a normal distribution lie within.
const Z: f64 = 1.959_963_984_540_054;

/// A mean share with a confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// mean over the queries
    pub recall: f64,
    /// lower end of the interval
    pub low: f64,
    /// upper end of the interval
    pub high: f64,
}

/// Returns the mean of `shares`, the found share of each query's `neighbours`, with its interval at 95 %:
/// Wilson's score interval (Wilson 1927) for as many independent trials as the sample is worth. Neighbours of
/// one query are found or missed together, so the number of trials is what the variance between queries makes
/// of it (the design effect: Kish, Survey Sampling, 1965; Korn and Graubard 1998), at least the number of
/// queries. `None` of no query.
pub fn estimate(shares: &[f64], neighbours: f64) -> Option<Estimate> {
    if shares.is_empty() {
        return None;
    }
    let queries = shares.len() as f64;
    // without the rounding of the sum, which would tell 0.95 from 95 of 100
    let recall = ((shares.iter().sum::<f64>() / queries * 1e9).round() / 1e9).clamp(0.0, 1.0);
    let trials = if shares.len() > 1 {
        let variance = shares.iter().map(|share| (share - recall).powi(2)).sum::<f64>() / (queries - 1.0);
        let worth = recall * (1.0 - recall) / variance * queries;
        // without variance nothing is known of how neighbours hang together
        if variance > 0.0 { worth.clamp(queries, queries * neighbours.max(1.0)) } else { queries }
    } else {
        queries
    };
    let (z2, share) = (Z * Z, recall);
    let middle = (share + z2 / (2.0 * trials)) / (1.0 + z2 / trials);
    let half =
        Z / (1.0 + z2 / trials) * (share * (1.0 - share) / trials + z2 / (4.0 * trials * trials)).sqrt();
    // the ends meet the mean where it is 0 or 1, up to rounding
    Some(Estimate {
        recall,
        low: (middle - half).clamp(0.0, recall),
        high: (middle + half).clamp(recall, 1.0),
    })
}

/// Returns the value below or at which a share of `sorted` lies; `None` when it is empty.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1).min(sorted.len().checked_sub(1)?)).copied()
}

/// The least of many distances, as they come.
#[derive(Clone, Debug)]
pub struct Nearest {
    /// fewer than two times as many as are wanted
    least: Vec<f64>,
    wanted: usize,
    /// nothing farther is among the wanted
    bound: f64,
}

impl Nearest {
    /// The `wanted` least; none yet.
    pub const fn new(wanted: usize) -> Self {
        Nearest { least: Vec::new(), wanted, bound: f64::INFINITY }
    }

    /// Bytes that one of them takes, at most.
    pub const fn most_bytes(wanted: usize) -> usize {
        size_of::<Self>() + 2 * wanted * size_of::<f64>()
    }

    /// Another distance. One that is no number is as good as no row.
    ///
    /// # Errors
    /// No memory.
    pub fn offer(&mut self, distance: f64) -> Result<(), OutOfMemory> {
        if distance.is_nan() || distance > self.bound || self.wanted == 0 {
            return Ok(());
        }
        push(&mut self.least, distance)?;
        if self.least.len() >= 2 * self.wanted {
            self.bound = *self.least.select_nth_unstable_by(self.wanted - 1, f64::total_cmp).1;
            self.least.truncate(self.wanted);
        }
        Ok(())
    }

    /// How many there are, as many as are wanted at most, and the greatest of them.
    pub fn end(mut self) -> (usize, f64) {
        self.least.sort_unstable_by(f64::total_cmp);
        self.least.truncate(self.wanted);
        (self.least.len(), self.least.last().copied().unwrap_or(f64::NEG_INFINITY))
    }
}

/// The search for the least setting that is good enough, among those from `least` to `most`: doubles until one is, then
/// halves the distance to the last that was not. Larger settings are taken to be better.
#[derive(Debug)]
pub struct Ladder {
    most: u32,
    /// the largest that was not good enough, and the least that was
    short: u32,
    enough: Option<u32>,
    next: u32,
    tried: Vec<u32>,
}

impl Ladder {
    /// Begins with `first`.
    pub fn new(least: u32, first: u32, most: u32) -> Self {
        let first = first.clamp(least, most);
        Ladder { most, short: least.saturating_sub(1), enough: None, next: first, tried: Vec::new() }
    }

    /// Returns the setting to try next; `None` when the search is over.
    pub fn next(&self) -> Option<u32> {
        (!self.tried.contains(&self.next)).then_some(self.next)
    }

    /// Takes in whether the setting tried was good enough.
    ///
    /// # Errors
    /// No memory.
    pub fn tell(&mut self, good: bool) -> Result<(), OutOfMemory> {
        push(&mut self.tried, self.next)?;
        if good {
            self.enough = Some(self.next);
        } else {
            self.short = self.short.max(self.next);
        }
        self.next = match self.enough {
            Some(enough) if enough - self.short > 1 => self.short + (enough - self.short) / 2,
            Some(enough) => enough,
            None => self.next.saturating_mul(2).min(self.most),
        };
        Ok(())
    }

    /// Returns the least setting that was good enough, if any was.
    pub fn found(&self) -> Option<u32> {
        self.enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    #[test]
    fn the_nearest_are_those_that_sorting_finds() {
        let mut rng = SmallRng::seed_from_u64(4);
        for (count, wanted) in [(0, 3), (2, 3), (3, 3), (1000, 1), (1000, 10), (1000, 999), (50, 100), (5, 0)]
        {
            // with equal ones
            let distances: Vec<f64> =
                (0..count).map(|_| f64::from(rng.random_range(0..300u32)) - 7.0).collect();
            let mut nearest = Nearest::new(wanted);
            for &distance in &distances {
                nearest.offer(distance).unwrap();
                nearest.offer(f64::NAN).unwrap();
                assert!(size_of_val(nearest.least.as_slice()) <= Nearest::most_bytes(wanted));
            }
            let mut sorted = distances;
            sorted.sort_unstable_by(f64::total_cmp);
            sorted.truncate(wanted);
            let last = sorted.last().copied().unwrap_or(f64::NEG_INFINITY);
            assert_eq!(nearest.end(), (sorted.len(), last), "{count} {wanted}");
        }
    }

    #[test]
    fn estimates_of_known_samples() {
        assert_eq!(estimate(&[], 10.0), None);
        // Wilson's interval of 10 of 10 is 0.722 to 1
        let all = estimate(&[1.0; 10], 10.0).unwrap();
        assert_eq!((all.recall, all.high), (1.0, 1.0));
        assert!((all.low - 0.7224672).abs() < 1e-6, "{all:?}");
        let none = estimate(&[0.0; 10], 10.0).unwrap();
        assert!(none.low == 0.0 && (none.high - 0.2775328).abs() < 1e-6, "{none:?}");
        // queries that find all or nothing are worth one trial each: 50 of 100
        let halves: Vec<f64> = (0..100).map(|n| f64::from(n % 2)).collect();
        let half = estimate(&halves, 10.0).unwrap();
        assert!((half.low - 0.404).abs() < 0.002 && (half.high - 0.596).abs() < 0.002, "{half:?}");
        assert!(estimate(&[0.3], 10.0).unwrap().low < 0.1);
        let tenths: Vec<f64> = (0..100).map(|n| if n < 50 { 0.9 } else { 1.0 }).collect();
        assert!(estimate(&tenths, 10.0).unwrap().recall >= 0.95);
    }

    /// How often the interval holds the truth, for queries of which each has a recall of its own.
    fn coverage(queries: usize, k: usize, spread: f64) -> f64 {
        let mut rng = SmallRng::seed_from_u64(7);
        let (truth, rounds) = (0.9, 2000);
        let mut held = 0;
        for _ in 0..rounds {
            let shares: Vec<f64> = (0..queries)
                .map(|_| {
                    let own = truth + spread * if rng.random::<bool>() { 1.0 } else { -1.0 };
                    (0..k).filter(|_| rng.random::<f64>() < own).count() as f64 / k as f64
                })
                .collect();
            let e = estimate(&shares, k as f64).unwrap();
            held += u32::from(e.low <= truth && truth <= e.high);
        }
        f64::from(held) / f64::from(rounds)
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        for (queries, k, spread) in
            [(100, 10, 0.0), (100, 10, 0.1), (30, 10, 0.1), (50, 1, 0.0), (100, 100, 0.1)]
        {
            let held = coverage(queries, k, spread);
            assert!(held > 0.925, "{held} for {queries} queries of {k}, spread {spread}");
            assert!(held < 0.999, "{held}: wider than need be");
        }
    }

    #[test]
    fn quantiles() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&values, 0.5), Some(2.0));
        assert_eq!(quantile(&values, 0.95), Some(4.0));
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    /// Settings from `wanted` on are good enough.
    fn climb(least: u32, first: u32, most: u32, wanted: u32) -> (Option<u32>, usize) {
        let (mut ladder, mut steps) = (Ladder::new(least, first, most), 0);
        while let Some(setting) = ladder.next() {
            assert!((least..=most).contains(&setting));
            ladder.tell(setting >= wanted).unwrap();
            steps += 1;
            assert!(steps < 40, "a search without end");
        }
        (ladder.found(), steps)
    }

    #[test]
    fn the_least_setting_is_found() {
        for wanted in 1..=1000 {
            let (found, steps) = climb(1, 10, 1000, wanted);
            assert_eq!(found, Some(wanted));
            assert!(steps <= 18, "{steps} steps for {wanted}");
        }
        assert_eq!(climb(1, 10, 1000, 1001).0, None);
        assert_eq!(climb(1, 1, 1, 1), (Some(1), 1));
        assert_eq!(climb(1, 1, 1, 2), (None, 1));
        assert_eq!(climb(1, 10, 4, 3).0, Some(3));
    }
}
