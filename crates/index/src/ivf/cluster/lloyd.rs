//! Lloyd's k-means, exact, with most distances left out.
//!
//! Each row keeps an upper bound of the distance to its centre and, for each group of sixteen centres that lie
//! near each other, a lower bound of the distance to any of them (its own aside). After every step the bounds
//! loosen by how far centres moved. While the upper bound is below a group's lower one, no centre of that group
//! can be nearer (triangle inequality), and the group is not looked at; otherwise all its sixteen distances are
//! computed in one pass over the row, by the panel kernels. This is the idea of Ding et al., Yinyang K-Means
//! (2015).
//!
//! Why groups: Elkan's algorithm (2003), one bound per row and centre, computes the fewest distances, but
//! keeping rows x lists bounds up to date is itself most of its work and all of its memory. Hamerly's single
//! bound per row fails in many dimensions, where the second nearest centre is almost as near as the nearest. A
//! bound per panel costs a sixteenth of Elkan's memory and time, and what it computes more is computed sixteen
//! at a time. The module's figures (GloVe, 50,000 rows x 100 dimensions, 1000 centres, one thread of a Zen 5):
//! see `benches/README.md`.
//!
//! When memory is short, several panels share a bound, down to one bound for all.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use vector_kernels::{PANEL, kernels};

use super::means::{Mean, Means, move_to_mean};
use super::panels::{Centres, Component, least};
use super::plan::{Plan, chunk_rows};
use super::pruning::{BoundPruning, PanelQuery};
use super::sample::{Decoded, Encoding, Sample};
use super::seed::Seeds;
use crate::quant::sq8::RowCodes;
use crate::work::memory::{self, OutOfMemory};
use crate::work::workers::Workers;

/// Clustering between two steps.
pub(super) struct Lloyd<'s, T: Encoding> {
    pub(super) sample: &'s Sample<T>,
    pub(super) codes: Option<RowCodes>,
    pub(super) centres: Centres<T::Component>,
    /// per row: its centre, an upper bound of its distance, `bounds` lower ones
    pub(super) nearest: Vec<u32>,
    pub(super) upper: Vec<f32>,
    pub(super) lower: Vec<f32>,
    pub(super) bounds: usize,
    /// panels that share a bound
    pub(super) panels_per_bound: usize,
    /// per centre: how far it moved last; whether rows came or went
    pub(super) moved: Vec<f32>,
    pub(super) dirty: Vec<AtomicBool>,
    /// rows ordered by centre, and where each centre's begin
    pub(super) order: Vec<u32>,
    pub(super) starts: Vec<u32>,
    pub(super) means: Option<Means<<T::Component as Component>::Sum>>,
    pub(super) panels: AtomicUsize,
}

/// Rows of a chunk that need distances.
struct Active<'r, L> {
    rows: Vec<u32>,
    best: Vec<Best>,
    loaded: Decoded<'r, L>,
    asking: Vec<u32>,
    found: Vec<Found>,
    out: Vec<[f32; PANEL]>,
}

/// A row's nearest centre so far.
#[derive(Clone, Copy)]
struct Best {
    squared: f32,
    distance: f32,
    centre: u32,
}

/// What the panels of one bound have for a row, in squared distances: a centre nearer than its best one, and the
/// nearest of all others.
#[derive(Clone, Copy)]
struct Found {
    first: f32,
    second: f32,
    centre: u32,
}

/// A centre is nearer when it is nearer by more than the rounding of a sum: else rows between two centres would change
/// sides for ever, since the kernels for one and for sixteen centres round differently.
pub(super) const NEARER: f32 = 1.0 - 4e-6;

impl<'s, T: Encoding> Lloyd<'s, T> {
    /// The first step's state: rows belong to the seeds nearest to them.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn new(
        sample: &'s Sample<T>,
        codes: Option<RowCodes>,
        centres: Centres<T::Component>,
        seeds: Seeds,
        plan: Plan,
    ) -> Result<Self, OutOfMemory> {
        let (rows, lists) = (sample.len(), centres.count());
        let panels_per_bound = centres.panels().len().div_ceil(plan.bounds.max(1));
        let bounds = centres.panels().len().div_ceil(panels_per_bound.max(1));
        let mut upper = seeds.distances;
        upper.iter_mut().for_each(|d| *d = d.sqrt());
        Ok(Lloyd {
            sample,
            codes,
            nearest: seeds.nearest,
            upper,
            // nothing is known yet
            lower: memory::filled(0.0, rows * bounds)?,
            bounds,
            panels_per_bound,
            moved: memory::filled(0.0, lists)?,
            dirty: memory::collected((0..lists).map(|_| AtomicBool::new(true)))?,
            order: memory::filled(0, rows)?,
            starts: memory::filled(0, lists + 1)?,
            means: if plan.sums {
                Means::new(rows, lists, T::Component::sums(sample.width())).ok()
            } else {
                None
            },
            panels: AtomicUsize::new(0),
            centres,
        })
    }

    pub(super) fn pruning(&self) -> BoundPruning<'_, T::Component> {
        BoundPruning { panels: self.centres.panels(), codes: self.centres.codes().zip(self.codes.as_ref()) }
    }

    pub(super) fn bound_of(&self, centre: u32) -> usize {
        centre as usize / PANEL / self.panels_per_bound
    }

    /// Gives every row its nearest centre; returns how many changed.
    pub(super) fn assign(&mut self, workers: &mut Workers<'_>) -> Result<usize, OutOfMemory> {
        let chunk = chunk_rows(self.sample.width());
        let drift = self.drift();
        let (mut nearest, mut upper) = (core::mem::take(&mut self.nearest), core::mem::take(&mut self.upper));
        let mut lower = core::mem::take(&mut self.lower);
        let changes = AtomicUsize::new(0);
        let rows = nearest.chunks_mut(chunk).zip(upper.chunks_mut(chunk));
        let chunks = rows.zip(lower.chunks_mut(chunk * self.bounds)).enumerate();
        let this = &*self;
        let done = workers.each(
            chunks,
            || {
                Ok(Active {
                    rows: memory::with_room(chunk)?,
                    best: memory::with_room(chunk)?,
                    loaded: Decoded::with_room::<T>(chunk, this.sample.width())?,
                    asking: memory::with_room(chunk)?,
                    found: memory::with_room(chunk)?,
                    out: memory::filled([0.0; PANEL], chunk)?,
                })
            },
            |active, (at, ((nearest, upper), lower)), beat| {
                let changed = this.assign_chunk(active, at * chunk, nearest, upper, lower, &drift, beat);
                changes.fetch_add(changed, Relaxed);
            },
        );
        (self.nearest, self.upper, self.lower) = (nearest, upper, lower);
        done.map(|()| changes.into_inner())
    }

    #[allow(clippy::too_many_arguments)]
    fn assign_chunk(
        &self,
        active: &mut Active<'s, T::Component>,
        first: usize,
        nearest: &mut [u32],
        upper: &mut [f32],
        lower: &mut [f32],
        drift: &[f32],
        beat: &mut dyn FnMut() -> bool,
    ) -> usize {
        let k = kernels();
        active.rows.clear();
        active.best.clear();
        active.loaded.clear(self.sample.width());
        for (i, (own, (upper, lower))) in
            nearest.iter().zip(upper.iter_mut().zip(lower.chunks_exact_mut(self.bounds))).enumerate()
        {
            *upper += self.moved[*own as usize];
            let mut low = f32::INFINITY;
            for (bound, drift) in lower.iter_mut().zip(drift) {
                *bound -= drift;
                low = if *bound < low { *bound } else { low };
            }
            if *upper <= low {
                continue;
            }
            active.loaded.push(self.sample.row(first + i));
            let row = active.loaded.row(active.rows.len());
            let squared = T::Component::distance(k, row, self.centres.row(*own as usize));
            *upper = squared.sqrt();
            if *upper <= low {
                active.loaded.pop();
                continue;
            }
            active.rows.push(i as u32);
            active.best.push(Best { squared, distance: *upper, centre: *own });
        }
        let mut panels = 0;
        for bound in 0..self.bounds {
            active.asking.clear();
            for (n, (&i, best)) in active.rows.iter().zip(&active.best).enumerate() {
                let low = lower[i as usize * self.bounds + bound];
                // a bound that is no number is no bound
                if low < best.distance || low.is_nan() {
                    active.asking.push(n as u32);
                }
            }
            if active.asking.is_empty() {
                continue;
            }
            panels += active.asking.len() * self.panels_per_bound;
            self.look(active, first, bound, beat);
            for (&n, found) in active.asking.iter().zip(&active.found) {
                let (i, best) = (active.rows[n as usize] as usize, &mut active.best[n as usize]);
                let lower = &mut lower[i * self.bounds..(i + 1) * self.bounds];
                lower[bound] = found.second.sqrt();
                if found.first < best.squared {
                    let old = self.bound_of(best.centre);
                    lower[old] = lower[old].min(best.distance);
                    *best = Best { squared: found.first, distance: found.first.sqrt(), centre: found.centre };
                }
            }
            if !beat() {
                break;
            }
        }
        self.panels.fetch_add(panels, Relaxed);
        let mut changed = 0;
        for (&i, &Best { distance, centre, .. }) in active.rows.iter().zip(&active.best) {
            upper[i as usize] = distance;
            let own = &mut nearest[i as usize];
            if *own != centre {
                changed += 1;
                self.dirty[*own as usize].store(true, Relaxed);
                self.dirty[centre as usize].store(true, Relaxed);
                *own = centre;
            }
        }
        changed
    }

    /// The two nearest centres under `bound`, the row's own aside, for the rows that ask.
    fn look(
        &self,
        active: &mut Active<'s, T::Component>,
        first: usize,
        bound: usize,
        beat: &mut dyn FnMut() -> bool,
    ) {
        active.found.clear();
        let nothing = Found { first: f32::INFINITY, second: f32::INFINITY, centre: 0 };
        active.found.resize(active.asking.len(), nothing);
        let first_panel = bound * self.panels_per_bound;
        for panel in first_panel..(first_panel + self.panels_per_bound).min(self.centres.panels().len()) {
            for (asking, found) in active.asking.chunks(8).zip(active.found.chunks_mut(8)) {
                let mut rows = [PanelQuery::NONE; 8];
                for (row, &n) in rows.iter_mut().zip(asking) {
                    let (best, code) = (active.best[n as usize], first + active.rows[n as usize] as usize);
                    let skip = (best.centre as usize).wrapping_sub(panel * PANEL);
                    *row =
                        PanelQuery { lanes: active.loaded.row(n as usize), code, limit: best.squared, skip };
                }
                let (rows, out) = (&rows[..asking.len()], &mut active.out[..asking.len()]);
                self.pruning().distances(kernels(), panel, rows, |centre| self.centres.row(centre), out);
                for ((&n, found), out) in asking.iter().zip(found).zip(out) {
                    let best = &active.best[n as usize];
                    let nearest = least(out);
                    if nearest < best.squared * NEARER {
                        found.merge(out, panel);
                    } else if nearest < found.second {
                        found.second = nearest;
                    }
                }
            }
            if self.panels_per_bound > 1 && !beat() {
                break;
            }
        }
    }

    /// Gives centres without rows the rows that are farthest from their own centres. Returns whether there were any.
    pub(super) fn refill(&mut self) -> Result<bool, OutOfMemory> {
        self.order_rows();
        let empty: Vec<u32> = (0..self.centres.count() as u32)
            .filter(|&c| self.starts[c as usize] == self.starts[c as usize + 1])
            .collect();
        if empty.is_empty() {
            return Ok(false);
        }
        let mut far = memory::collected(0..self.sample.len() as u32)?;
        let by_distance =
            |a: &u32, b: &u32| self.upper[*b as usize].total_cmp(&self.upper[*a as usize]).then(a.cmp(b));
        let candidates = (4 * empty.len()).min(far.len());
        if candidates < far.len() {
            far.select_nth_unstable_by(candidates, by_distance);
            far.truncate(candidates);
        }
        far.sort_unstable_by(by_distance);
        let mut far = far.into_iter();
        let mut room = Decoded::default();
        for centre in empty {
            let found = far.find_map(|row| {
                let own = self.nearest[row as usize];
                let rows = self.starts[own as usize + 1] - self.starts[own as usize];
                room.clear(self.sample.width());
                room.push(self.sample.row(row as usize));
                let distance =
                    T::Component::distance(kernels(), room.row(0), self.centres.row(own as usize)).sqrt();
                (rows > 1 && distance > 0.0).then_some((row as usize, own, distance))
            });
            let Some((row, own, distance)) = found else { break };
            let bound = self.bound_of(own);
            let lower = &mut self.lower[row * self.bounds + bound];
            *lower = lower.min(distance);
            self.nearest[row] = centre;
            self.upper[row] = distance.max(self.upper[row]);
            self.dirty[own as usize].store(true, Relaxed);
            self.dirty[centre as usize].store(true, Relaxed);
        }
        self.order_rows();
        Ok(true)
    }

    /// How far the centres under each bound moved at most.
    pub(super) fn drift(&self) -> Vec<f32> {
        let moved = self.moved.chunks(self.panels_per_bound * PANEL);
        moved.map(|moved| moved.iter().copied().fold(0.0, f32::max)).collect()
    }

    /// Orders rows by centre.
    pub(super) fn order_rows(&mut self) {
        self.starts.fill(0);
        for &own in &self.nearest {
            self.starts[own as usize + 1] += 1;
        }
        for i in 1..self.starts.len() {
            self.starts[i] += self.starts[i - 1];
        }
        let mut next = self.starts.clone();
        for (row, &own) in self.nearest.iter().enumerate() {
            let place = &mut next[own as usize];
            self.order[*place as usize] = row as u32;
            *place += 1;
        }
    }

    /// Moves every centre whose rows changed to their mean.
    pub(super) fn move_centres(&mut self, workers: &mut Workers<'_>) -> Result<(), OutOfMemory> {
        let (sample, dirty, starts, order) = (self.sample, &self.dirty, &self.starts, &self.order);
        let mut means = memory::with_room(self.moved.len())?;
        if let Some(kept) = &mut self.means {
            kept.follow(&self.nearest);
            means.extend(kept.each().map(Some));
        }
        means.resize_with(self.moved.len(), || None);
        let groups = self.centres.groups_mut().zip(self.moved.chunks_mut(PANEL)).zip(means.chunks_mut(PANEL));
        workers.each(
            groups.enumerate(),
            || Ok((memory::filled(T::Component::default(), sample.width())?, Vec::new())),
            |(room, sums), (at, ((mut group, moved), means)), beat| {
                for (column, (moved, mean)) in moved.iter_mut().zip(means).enumerate() {
                    let centre = at * PANEL + column;
                    *moved = 0.0;
                    let dirty = dirty[centre].swap(false, Relaxed);
                    let changed = mean.as_ref().is_some_and(Mean::changed);
                    if !(dirty || changed) || !beat() {
                        continue;
                    }
                    let rows = starts[centre]..starts[centre + 1];
                    let count = rows.end - rows.start;
                    *moved = match mean {
                        Some(mean) => mean.move_centre(sample, count, &mut group, column, room),
                        None => {
                            let rows = &order[rows.start as usize..rows.end as usize];
                            move_to_mean(sample, rows, sums, &mut group, column, room)
                        }
                    };
                }
            },
        )?;
        let moved = &self.moved;
        self.centres.recode(|at| moved.get(at).is_some_and(|&moved| moved > 0.0));
        Ok(())
    }
}

impl Found {
    /// Takes in the distances to a panel with a nearer centre.
    #[inline(never)]
    fn merge(&mut self, distances: &[f32; PANEL], panel: usize) {
        for (column, &distance) in distances.iter().enumerate() {
            if distance < self.first {
                // an earlier panel without a nearer centre has left a second one only
                let second = self.first.min(self.second);
                *self = Found { first: distance, second, centre: (panel * PANEL + column) as u32 };
            } else if distance < self.second {
                self.second = distance;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_panel_had_is_not_forgotten() {
        // a panel without a nearer centre came before one with
        let mut found = Found { first: f32::INFINITY, second: 1.0, centre: 0 };
        let mut distances = [f32::INFINITY; PANEL];
        distances[3] = 0.5;
        found.merge(&distances, 1);
        assert_eq!((found.first, found.second, found.centre), (0.5, 1.0, PANEL as u32 + 3));
    }
}
