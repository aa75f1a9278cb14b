//! How many lists hold the nearest rows.
//!
//! A search under a condition that one row in a hundred meets looks for the nearest ten of these: about the nearest
//! thousand of all rows, and it must look where these are. So an index with filter columns knows from its build in how
//! many lists the nearest ten to thousand rows are, in steps of half a power of ten. Other numbers lie on lines between
//! these points, of the logarithms. Where lists grow faster than rows, as behind the end of a cluster whose neighbours
//! are all equally far, the next point counts.

/// Rows of the first point, which are those that a scan looks for at first.
pub const WINDOW: f64 = 10.0;
/// Rows of the further points.
pub const POINTS: [usize; STEPS] = [32, 100, 316, 1000];
const STEPS: usize = 4;
/// Points of a power of ten.
const PER_DECADE: f64 = 2.0;
/// What the number of lists grows with, where nobody has found that out: rows to this power.
const USUAL: f64 = 0.6;
/// Steps of a doubling, in which numbers of lists are kept.
const PER_DOUBLING: f64 = 16.0;

/// The numbers of lists for the nearest ten rows, and for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// for ten rows; 0 where nobody has found out
    pub first: u32,
    /// for more: 0, or one and the logarithm in steps, rounded up
    pub more: [u8; STEPS],
}

impl Probes {
    /// Those of an index with filter columns: for ten rows, and for those of [`POINTS`].
    pub fn new(first: u32, more: [u32; STEPS]) -> Self {
        // the largest number of lists takes 241 steps
        let more =
            more.map(
                |lists| {
                    if lists == 0 { 0 } else { 1 + (f64::from(lists).log2() * PER_DOUBLING).ceil() as u8 }
                },
            );
        Probes { first, more }
    }

    /// Those for ten rows, if somebody has found out.
    pub fn known(&self) -> Option<u32> {
        Some(self.first).filter(|&probes| probes > 0)
    }

    /// Logarithms of how many times more lists each further point has than the first; of what nobody has found out, as
    /// many as usual.
    fn growth(&self) -> [f64; STEPS] {
        let first = f64::from(self.first.max(1)).log2();
        let (mut last, mut slope) = (0.0f64, USUAL * f64::log2(10.0) / PER_DECADE);
        self.more.map(|steps| {
            let known = steps > 0 && self.first > 0;
            let here = if known { f64::from(steps - 1) / PER_DOUBLING - first } else { last + slope };
            slope = (here - last).max(0.0);
            last = last.max(here);
            last
        })
    }

    /// Returns how many lists to look at for the nearest `rows` rows when `probes` are enough for ten: at least these,
    /// and no more than there are.
    pub fn for_rows(&self, probes: usize, rows: f64, all: Total) -> usize {
        let probes = probes.min(all.lists);
        // in steps from the first point
        let at = ((rows / WINDOW).log10() * PER_DECADE).max(0.0);
        let (step, part) = (at as usize, at.fract());
        let growth = self.growth();
        let point =
            |n: usize| n.checked_sub(1).map_or(0.0, |n| growth.get(n).copied().unwrap_or(f64::INFINITY));
        let steep = f64::log2(10.0) / PER_DECADE;
        let grown = if step < STEPS {
            let (from, to) = (point(step), point(step + 1));
            if part == 0.0 || to - from <= steep { from + part * (to - from) } else { to }
        } else {
            // the nearest of all rows are in all lists
            let last = point(STEPS);
            let left = ((all.rows / WINDOW).log10() * PER_DECADE - STEPS as f64).max(f64::MIN_POSITIVE);
            let most = (all.lists as f64 / probes.max(1) as f64).log2();
            let slope = ((most - last) / left).max(last - point(STEPS - 1));
            last + slope * (at - STEPS as f64)
        };
        // a float beyond usize saturates
        ((probes as f64 * grown.exp2()).ceil() as usize).clamp(probes, all.lists)
    }
}

/// What there is to look at.
#[derive(Clone, Copy, Debug)]
pub struct Total {
    /// all rows, about
    pub rows: f64,
    /// all lists
    pub lists: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_with_the_rows_that_are_looked_for() {
        let known = Probes::new(20, [35, 60, 85, 120]);
        let all = Total { rows: 100_000.0, lists: 1200 };
        let of = |rows| known.for_rows(20, rows, all);
        assert_eq!([0.0, 1.0, 10.0].map(of), [20; 3]);
        // a step is less than five percent
        assert!(
            (60..=63).contains(&of(100.0)) && (120..=126).contains(&of(1000.0)),
            "{} {}",
            of(100.0),
            of(1000.0)
        );
        assert!((25..32).contains(&of(18.0)) && (300..500).contains(&of(10_000.0)));
        assert_eq!((of(100_000.0), of(f64::INFINITY)), (1200, 1200));
        let grows = (1..6000).map(|rows| of(f64::from(rows))).collect::<Vec<_>>();
        assert!(grows.is_sorted());
        // of somebody's own number the same multiple
        assert!((6..=7).contains(&known.for_rows(2, 100.0, all)));
        assert_eq!(known.for_rows(30, 10.0, Total { rows: 5.0, lists: 7 }), 7);
    }

    #[test]
    fn behind_the_end_of_a_cluster_the_next_point_counts() {
        let known = Probes::new(2, [2, 3, 900, 1100]);
        let all = Total { rows: 100_000.0, lists: 1264 };
        let of = |rows| known.for_rows(2, rows, all);
        assert!(of(99.0) <= 4 && of(105.0) >= 900 && of(300.0) >= 900, "{}", of(105.0));
    }

    #[test]
    fn nothing_is_known_of_some_indexes() {
        let all = Total { rows: 1e6, lists: 4000 };
        assert!((100..400).contains(&Probes::default().for_rows(10, 1000.0, all)));
        assert_eq!(Probes::default().for_rows(10, 1e6, all), 4000);
        let (odd, few) = (Probes { first: 0, more: [255, 1, 0, 9] }, Total { rows: 0.0, lists: 3 });
        assert_eq!(odd.known(), None);
        for rows in [0.0, 50.0, 1e9, f64::INFINITY, f64::NAN] {
            assert!(
                (1..=4000).contains(&odd.for_rows(1, rows, all))
                    && (1..=3).contains(&odd.for_rows(1, rows, few))
            );
            let broken = Probes { first: u32::MAX, more: [255, 1, 0, 9] };
            assert!((1..=3).contains(&broken.for_rows(1, rows, few)));
        }
        assert!(Probes::new(1, [32_768; 4]).more.iter().all(|&steps| steps == 241));
    }
}
