//! Relocation: Lloyd's steps end in a local optimum that the first centres decide. A few times on the way, the
//! centres of the lowest utility (their rows have another centre almost as near) therefore move into the
//! clusters with the largest error, as in Fritzke's Breathing K-Means (2020). The rows' distances to the places
//! where they land keep the bounds tight.

use core::sync::atomic::Ordering::Relaxed;

use rand::Rng;
use rand::rngs::SmallRng;
use vector_kernels::{PANEL, kernels};

use super::lloyd::{Lloyd, NEARER};
use super::panels::{Centres, Component, least};
use super::plan::chunk_rows;
use super::pruning::{BoundPruning, PanelQuery};
use super::sample::{Decoded, Encoding};
use crate::work::memory::{self, OutOfMemory};
use crate::work::workers::Workers;

/// Of so many centres for each that is relocated, the cost is computed exactly.
const SURVEYED: usize = 4;

/// A row's squared distance to the nearest centre but its own.
#[derive(Clone, Copy)]
struct Surveyed {
    second: f32,
    runner_up: u32,
}

impl<T: Encoding> Lloyd<'_, T> {
    /// Moves up to `count` of the centres of the lowest utility to rows of the clusters with the largest error.
    pub(super) fn relocate(
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
            // the cost was computed with the heirs where they are
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
}
