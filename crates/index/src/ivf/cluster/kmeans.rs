//! Lloyd's k-means, exact, with most distances left out.
//!
//! Each row keeps an upper bound of the distance to its centre and, for each group of sixteen centres that lie near
//! each other, a lower bound of the distance to any of them (its own aside). After every step the bounds loosen by how far
//! centres moved. While the upper bound is below a group's lower one, no centre of that group can be nearer (triangle
//! inequality), and the group is not looked at; otherwise all its sixteen distances are computed in one pass over the
//! row, by the panel kernels. This is the idea of Ding et al., Yinyang K-Means (2015).
//!
//! Why groups: Elkan's algorithm (2003), one bound per row and centre, computes the fewest distances, but keeping
//! rows x lists bounds up to date is itself most of its work and all of its memory. Hamerly's single bound per row fails
//! in many dimensions, where the second nearest centre is almost as near as the nearest. A bound per panel costs a
//! sixteenth of Elkan's memory and time, and what it computes more is computed sixteen at a time. The module's figures
//! (GloVe, 50,000 rows x 100 dimensions, 1000 centres, one thread of a Zen 5): see `benches/README.md`.
//!
//! When memory is short, several panels share a bound, down to one bound for all.
//!
//! Lloyd's steps end in a local optimum that the first centres decide. A few times on the way, the centres that are
//! of the lowest utility (their rows have another centre almost as near) therefore move into the clusters with the largest error, as in
//! Fritzke's Breathing K-Means (2020). The rows' distances to the places where they land keep the bounds tight.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use vector_kernels::{PANEL, kernels};

use super::means::{Mean, Means, move_to_mean};
pub use super::plan::{Plan, memory, plan, scratch};
use super::sample::{Centres, Component, Decoded, Encoding, Sample};
use super::seed::{Seeds, least, seed};
use super::sq8::{BoundPruning, PanelQuery, RowCodes};
use crate::work::memory::{self, OutOfMemory};
use crate::work::workers::Workers;

/// Steps after which clustering ends at the latest: pgvector's limit.
const STEPS: u32 = 500;

/// How often centres are relocated; one in `RELOCATED` the first time, fewer each time after.
const ROUNDS: usize = 5;
const RELOCATED: usize = 8;
/// Of so many centres for each that is relocated, the cost is computed exactly.
const SURVEYED: usize = 4;
/// A round ends when fewer than one row in this many changes its centre.
const SETTLED: usize = 64;

/// Rows that are worked on together: their lanes stay in the second-level cache while panels pass by.
pub(in crate::ivf) fn chunk_rows(width: usize) -> usize {
    (131_072 / width.max(1)).clamp(16, 256)
}

/// What clustering is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// centres
    pub lists: usize,
    /// equal seeds give equal centres, whatever the number of threads
    pub seed: u64,
    /// what memory allows
    pub plan: Plan,
}

/// The result of clustering.
#[derive(Debug)]
pub struct Clusters<T> {
    /// as many centres as asked for, one after the other, as their type keeps them
    pub centres: Vec<T>,
    /// steps it took
    pub steps: u32,
    /// row-group distances that were computed, in panels
    pub panels: usize,
}

/// Clusters the rows. When there are fewer different rows than lists, the centres left over are random.
///
/// # Errors
/// No memory.
pub fn kmeans<T: Encoding>(
    sample: &Sample<T>,
    task: Task,
    workers: &mut Workers<'_>,
) -> Result<Clusters<T>, OutOfMemory> {
    let mut rng = SmallRng::seed_from_u64(task.seed);
    let mut found =
        Clusters { centres: memory::with_room(task.lists * sample.width())?, steps: 0, panels: 0 };
    let mut seeds = Seeds { rows: Vec::new(), nearest: Vec::new(), distances: Vec::new() };
    let codes = if task.plan.codes { sample.codes(|| workers.poll()) } else { None };
    if !sample.is_empty() {
        seeds = seed(sample, codes.as_ref(), task.lists, &mut rng, workers)?;
    }
    let mut value = memory::filled(T::Component::default(), sample.width())?;
    if seeds.rows.len() < task.lists {
        // every different row is its own centre
        seeds.rows.iter().for_each(|&row| found.centres.extend_from_slice(sample.row(row as usize)));
        for at in seeds.rows.len()..task.lists {
            T::Component::random(&mut rng, sample.dims(), &mut value);
            if sample.normalized() {
                T::Component::normalize(kernels(), &mut value);
            }
            T::store(kernels(), &value, &mut found.centres);
            if at % 256 == 0 {
                workers.poll();
            }
        }
        return Ok(found);
    }
    let mut centres = Centres::zeros(task.lists, sample.width(), codes.is_some())?;
    for (at, &row) in seeds.rows.iter().enumerate() {
        T::load(kernels(), sample.row(row as usize), &mut value);
        centres.set(at, &value);
    }
    let mut lloyd = Lloyd::new(sample, codes, centres, seeds, task.plan)?;
    let (mut steps, mut round) = (0, 0);
    while steps < STEPS {
        steps += 1;
        let changes = lloyd.assign(workers)?;
        let refilled = lloyd.refill()?;
        lloyd.move_centres(workers)?;
        let settled =
            steps > 1 && !refilled && changes <= if round < ROUNDS { sample.len() / SETTLED } else { 0 };
        if settled && round == ROUNDS {
            break;
        }
        if settled {
            // rounded to nearest
            let share = ROUNDS * RELOCATED;
            let count = (task.lists * (ROUNDS - round) + share / 2) / share;
            lloyd.relocate(count, workers, &mut rng)?;
            round += 1;
        }
    }
    for at in 0..task.lists {
        T::store(kernels(), lloyd.centres.row(at), &mut found.centres);
    }
    (found.steps, found.panels) = (steps, lloyd.panels.into_inner());
    Ok(found)
}

struct Lloyd<'s, T: Encoding> {
    sample: &'s Sample<T>,
    codes: Option<RowCodes>,
    centres: Centres<T::Component>,
    /// per row: its centre, an upper bound of its distance, `bounds` lower ones
    nearest: Vec<u32>,
    upper: Vec<f32>,
    lower: Vec<f32>,
    bounds: usize,
    /// panels that share a bound
    panels_per_bound: usize,
    /// per centre: how far it moved last; whether rows came or went
    moved: Vec<f32>,
    dirty: Vec<AtomicBool>,
    /// rows ordered by centre, and where each centre's begin
    order: Vec<u32>,
    starts: Vec<u32>,
    means: Option<Means<<T::Component as Component>::Sum>>,
    panels: AtomicUsize,
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

/// A row's squared distance to the nearest centre but its own.
#[derive(Clone, Copy)]
struct Surveyed {
    second: f32,
    runner_up: u32,
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
const NEARER: f32 = 1.0 - 4e-6;

impl<'s, T: Encoding> Lloyd<'s, T> {
    fn new(
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

    fn pruning(&self) -> BoundPruning<'_, T::Component> {
        BoundPruning { panels: self.centres.panels(), codes: self.centres.codes().zip(self.codes.as_ref()) }
    }

    fn bound_of(&self, centre: u32) -> usize {
        centre as usize / PANEL / self.panels_per_bound
    }

    /// Gives every row its nearest centre; returns how many changed.
    fn assign(&mut self, workers: &mut Workers<'_>) -> Result<usize, OutOfMemory> {
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
    fn refill(&mut self) -> Result<bool, OutOfMemory> {
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

    /// Moves up to `count` of the centres of the lowest utility to rows of the clusters with the largest error.
    fn relocate(
        &mut self,
        count: usize,
        workers: &mut Workers<'_>,
        rng: &mut SmallRng,
    ) -> Result<(), OutOfMemory> {
        if count == 0 {
            return Ok(());
        }
        self.measure(workers)?;
        let lists = self.centres.count();
        // few rows and a small error make a centre likely to be cheap to miss
        let mut error = memory::filled(0f64, lists)?;
        for (own, upper) in self.nearest.iter().zip(&self.upper) {
            error[*own as usize] += f64::from(*upper) * f64::from(*upper);
        }
        let mut cost = error.clone();
        let by = |key: &[f64]| {
            let mut order: Vec<usize> = (0..lists).collect();
            order.sort_unstable_by(|&a, &b| key[a].total_cmp(&key[b]).then(a.cmp(&b)));
            order
        };
        let mut cheap = by(&cost);
        cheap.truncate(SURVEYED * count);
        let mut bad = by(&error).into_iter().rev();
        // what it really costs to miss them, and who inherits their rows
        let mut rows = memory::with_room(cheap.iter().map(|&centre| self.members(centre).len()).sum())?;
        cheap.iter().for_each(|&centre| rows.extend_from_slice(self.members(centre)));
        let surveyed = self.survey(&rows, workers)?;
        let mut runners_up = memory::filled(Vec::new(), lists)?;
        cheap.iter().for_each(|&centre| cost[centre] = 0.0);
        for (&row, found) in rows.iter().zip(&surveyed) {
            let own = self.nearest[row as usize] as usize;
            // measured before
            let upper = self.upper[row as usize];
            cost[own] += f64::from(found.second - upper * upper);
            memory::push(&mut runners_up[own], found.runner_up)?;
        }
        cheap.sort_unstable_by(|&a, &b| cost[a].total_cmp(&cost[b]).then(a.cmp(&b)));
        let (mut involved, mut jumps) = (memory::filled(false, lists)?, memory::with_room(count)?);
        for centre in cheap {
            if jumps.len() == count {
                break;
            }
            if involved[centre] {
                continue;
            }
            let Some(target) = bad.find(|&target| !involved[target] && target != centre) else { break };
            if cost[centre] >= error[target] {
                break;
            }
            // the cost was reckoned with the heirs where they are
            runners_up[centre].iter().for_each(|&runner_up| involved[runner_up as usize] = true);
            (involved[centre], involved[target]) = (true, true);
            let mut left = rng.random::<f64>() * error[target];
            let chosen = self.members(target).iter().copied().find(|&row| {
                left -= f64::from(self.upper[row as usize]) * f64::from(self.upper[row as usize]);
                left < 0.0
            });
            if let Some(row) = chosen {
                jumps.push((centre as u32, row));
            }
        }
        self.land(&jumps, workers)
    }

    /// Lets the bounds know how far centres have moved; upper ones become the distances themselves.
    fn measure(&mut self, workers: &mut Workers<'_>) -> Result<(), OutOfMemory> {
        let drift = self.drift();
        for lower in self.lower.chunks_mut(self.bounds) {
            lower.iter_mut().zip(&drift).for_each(|(bound, drift)| *bound -= drift);
        }
        self.moved.fill(0.0);
        let (sample, centres, chunk) = (self.sample, &self.centres, chunk_rows(self.sample.width()));
        workers.each(
            self.nearest.chunks(chunk).zip(self.upper.chunks_mut(chunk)).enumerate(),
            || Decoded::with_room::<T>(1, sample.width()),
            |room, (at, (nearest, upper)), _| {
                for (i, (own, upper)) in nearest.iter().zip(upper).enumerate() {
                    room.clear(sample.width());
                    room.push(sample.row(at * chunk + i));
                    *upper =
                        T::Component::distance(kernels(), room.row(0), centres.row(*own as usize)).sqrt();
                }
            },
        )
    }

    /// How far the centres under each bound moved at most.
    fn drift(&self) -> Vec<f32> {
        let moved = self.moved.chunks(self.panels_per_bound * PANEL);
        moved.map(|moved| moved.iter().copied().fold(0.0, f32::max)).collect()
    }

    /// Puts centres on rows, and brings nearest centres and bounds up to date with the distances to these alone: as a
    /// move, so far a jump would leave nothing of the bounds.
    fn land(&mut self, jumps: &[(u32, u32)], workers: &mut Workers<'_>) -> Result<(), OutOfMemory> {
        let width = self.sample.width();
        let mut landed = Centres::zeros(jumps.len(), width, self.codes.is_some())?;
        let mut value = memory::filled(T::Component::default(), width)?;
        for (at, &(centre, row)) in jumps.iter().enumerate() {
            T::load(kernels(), self.sample.row(row as usize), &mut value);
            self.centres.set(centre as usize, &value);
            landed.set(at, &value);
            self.dirty[centre as usize].store(true, Relaxed);
        }
        let mut jumped = memory::filled(false, self.centres.count())?;
        jumps.iter().for_each(|&(centre, _)| jumped[centre as usize] = true);
        let chunk = chunk_rows(width);
        let (mut nearest, mut upper) = (core::mem::take(&mut self.nearest), core::mem::take(&mut self.upper));
        let mut lower = core::mem::take(&mut self.lower);
        let rows = nearest.chunks_mut(chunk).zip(upper.chunks_mut(chunk));
        let chunks = rows.zip(lower.chunks_mut(chunk * self.bounds)).enumerate();
        let this = &*self;
        let pruning =
            BoundPruning { panels: landed.panels(), codes: landed.codes().zip(this.codes.as_ref()) };
        let done = workers.each(
            chunks,
            || Ok((Decoded::with_room::<T>(chunk, width)?, [[0f32; PANEL]; 8])),
            |(room, out), (at, ((nearest, upper), lower)), beat| {
                room.clear(width);
                (0..nearest.len()).for_each(|i| room.push(this.sample.row(at * chunk + i)));
                // a row's own centre may have jumped: what is farther than that need not be known
                for (i, (own, upper)) in nearest.iter().zip(&mut *upper).enumerate() {
                    if jumped[*own as usize] {
                        let centre = this.centres.row(*own as usize);
                        *upper = T::Component::distance(kernels(), room.row(i), centre).sqrt();
                    }
                }
                for (panel, jumps) in jumps.chunks(PANEL).enumerate() {
                    for start in (0..nearest.len()).step_by(8) {
                        let count = (nearest.len() - start).min(8);
                        let mut rows = [PanelQuery::NONE; 8];
                        for (row, i) in rows.iter_mut().zip(start..start + count) {
                            let (code, limit) = (at * chunk + i, upper[i] * upper[i]);
                            *row = PanelQuery { lanes: room.row(i), code, limit, skip: usize::MAX };
                        }
                        pruning.distances(kernels(), panel, &rows[..count], |at| landed.row(at), out);
                        for (i, out) in (start..start + count).zip(&*out) {
                            let lower = &mut lower[i * this.bounds..(i + 1) * this.bounds];
                            this.meet(room.row(i), jumps, out, &mut nearest[i], &mut upper[i], lower);
                        }
                    }
                    if !beat() {
                        break;
                    }
                }
            },
        );
        (self.nearest, self.upper, self.lower) = (nearest, upper, lower);
        done
    }

    /// Takes the squared distances of a row to centres that have jumped into account.
    fn meet(
        &self,
        row: &[T::Component],
        jumps: &[(u32, u32)],
        squared: &[f32; PANEL],
        own: &mut u32,
        upper: &mut f32,
        lower: &mut [f32],
    ) {
        for (&(centre, _), &squared) in jumps.iter().zip(squared) {
            if centre == *own {
                continue;
            }
            let (distance, mut left) = (squared.sqrt(), centre);
            let mut behind = distance;
            if squared < *upper * *upper * NEARER {
                left = core::mem::replace(own, centre);
                behind = T::Component::distance(kernels(), row, self.centres.row(left as usize)).sqrt();
                *upper = distance;
                self.dirty[left as usize].store(true, Relaxed);
            }
            let bound = &mut lower[self.bound_of(left)];
            *bound = bound.min(behind);
        }
    }

    /// Rows of a centre, as of the last ordering.
    fn members(&self, centre: usize) -> &[u32] {
        self.order.get(self.starts[centre] as usize..self.starts[centre + 1] as usize).unwrap_or_default()
    }

    /// For each of `rows`, the nearest centre but its own.
    fn survey(&self, rows: &[u32], workers: &mut Workers<'_>) -> Result<Vec<Surveyed>, OutOfMemory> {
        let chunk = chunk_rows(self.sample.width());
        let mut found = memory::filled(Surveyed { second: f32::INFINITY, runner_up: 0 }, rows.len())?;
        workers.each(
            found.chunks_mut(chunk).zip(rows.chunks(chunk)),
            || Ok((Decoded::with_room::<T>(chunk, self.sample.width())?, [[0f32; PANEL]; 8])),
            |(room, out), (found, rows), beat| {
                room.clear(self.sample.width());
                rows.iter().for_each(|&row| room.push(self.sample.row(row as usize)));
                for panel in 0..self.centres.panels().len() {
                    for (start, found) in found.chunks_mut(8).enumerate() {
                        let mut asking = [PanelQuery::NONE; 8];
                        for (i, (asking, found)) in asking.iter_mut().zip(&*found).enumerate() {
                            let code = rows[start * 8 + i] as usize;
                            let skip = (self.nearest[code] as usize).wrapping_sub(panel * PANEL);
                            *asking = PanelQuery {
                                lanes: room.row(start * 8 + i),
                                code,
                                limit: found.second,
                                skip,
                            };
                        }
                        let asking = &asking[..found.len()];
                        self.pruning().distances(kernels(), panel, asking, |at| self.centres.row(at), out);
                        for (found, out) in found.iter_mut().zip(&*out) {
                            let smallest = least(out);
                            if smallest < found.second {
                                let column = out.iter().position(|&d| d == smallest).unwrap_or_default();
                                (found.second, found.runner_up) = (smallest, (panel * PANEL + column) as u32);
                            }
                        }
                    }
                    if !beat() {
                        break;
                    }
                }
            },
        )?;
        Ok(found)
    }

    /// Orders rows by centre.
    fn order_rows(&mut self) {
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
    fn move_centres(&mut self, workers: &mut Workers<'_>) -> Result<(), OutOfMemory> {
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
