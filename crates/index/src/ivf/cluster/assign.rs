//! Which list each row belongs to: every row against every centre, rows in chunks on threads, sixteen centres
//! at a time; by codes of one byte per element where the processor is fast with them, and then against the few
//! that may be nearest.

use vector_kernels::{Kernels, PANEL, kernels};

use super::panels::{Component, Panels, least};
use super::plan::chunk_rows;
use super::sample::{Decoded, Encoding};
use crate::quant::sq8::{PanelCodes, RowCodes, widened};
use crate::space::Metric;
use crate::work::memory::{self, OutOfMemory};
use crate::work::workers::Workers;

/// The centres of an index, as stored: rows belong to the nearest by the operator class's own distance. Of several
/// equally near ones it is the first, as in scans.
#[derive(Debug)]
pub struct Lists<L> {
    centres: Panels<L>,
    /// when codes are used: those of the centres, and the centres one after the other
    coded: Option<(PanelCodes, Vec<L>)>,
    metric: Metric,
}

/// Candidates per row of a chunk, on the average, with which codes are still worth their while.
const CANDIDATES: usize = 32;

/// What a chunk of rows needs.
struct Room<'r, L> {
    rows: Decoded<'r, L>,
    best: Vec<f32>,
    distances: [[f32; PANEL]; 8],
    codes: RowCodes,
    candidates: Vec<Candidate>,
}

/// A centre that may be a row's nearest.
#[derive(Clone, Copy)]
struct Candidate {
    row: u32,
    centre: u32,
    lower: f32,
}

/// A lane whose rows can be assigned by inner product, too.
pub trait Assigned: Component {
    /// Distances between rows and a panel by `metric`.
    fn by(metric: Metric, k: &Kernels, rows: &[&[Self]], panel: &[Self], out: &mut [[f32; PANEL]]);
    /// The distance of two values by `metric`.
    fn one(metric: Metric, k: &Kernels, a: &[Self], b: &[Self]) -> f32;
}

impl Assigned for f32 {
    fn by(metric: Metric, k: &Kernels, rows: &[&[f32]], panel: &[f32], out: &mut [[f32; PANEL]]) {
        if metric == Metric::InnerProduct {
            k.inner_product_panel(rows, panel, out);
            out.iter_mut().flatten().for_each(|x| *x = -*x);
        } else {
            k.l2_squared_panel(rows, panel, out);
        }
    }

    fn one(metric: Metric, k: &Kernels, a: &[f32], b: &[f32]) -> f32 {
        if metric == Metric::InnerProduct { -k.inner_product_f32(a, b) } else { k.l2_squared_f32(a, b) }
    }
}

impl Assigned for u8 {
    fn by(_: Metric, k: &Kernels, rows: &[&[u8]], panel: &[u8], out: &mut [[f32; PANEL]]) {
        Self::panel(k, rows, panel, out);
    }

    fn one(_: Metric, k: &Kernels, a: &[u8], b: &[u8]) -> f32 {
        Self::distance(k, a, b)
    }
}

impl<L: Assigned> Lists<L> {
    /// Lists around `centres`, one after the other as their type keeps them, with codes or without.
    ///
    /// # Errors
    /// No memory.
    pub fn new<T: Encoding<Component = L>>(
        centres: &[T],
        width: usize,
        metric: Metric,
        codes: bool,
    ) -> Result<Self, OutOfMemory> {
        let count = centres.len() / width.max(1);
        let mut lists = Lists { centres: Panels::zeros(count, width)?, coded: None, metric };
        // without memory for them it goes without
        let memory = || Some((PanelCodes::zeros(count, width).ok()?, memory::with_room(count * width).ok()?));
        let mut coded: Option<(PanelCodes, Vec<L>)> = codes.then(memory).flatten();
        let (mut lanes, mut room) = (memory::filled(L::default(), width)?, Vec::new());
        for (at, centre) in centres.chunks_exact(width.max(1)).enumerate() {
            T::load(kernels(), centre, &mut lanes);
            lists.centres.set(at, &lanes);
            if let Some((codes, rows)) = &mut coded {
                rows.extend_from_slice(&lanes);
                if !codes.set(at, &mut room, |out| L::encode(kernels(), &lanes, out)) {
                    coded = None;
                }
            }
        }
        lists.coded = coded;
        Ok(lists)
    }

    /// Whether codes pay.
    pub fn coded() -> bool {
        L::CODED && kernels().fast_byte_panels()
    }

    /// Bytes of memory for `lists` lists, with codes or without.
    pub fn memory(lists: u64, width: u64, codes: bool) -> u64 {
        let panels = Panels::<L>::memory(lists, width);
        if !codes {
            return panels;
        }
        let rows = lists.saturating_mul(width).saturating_mul(size_of::<L>() as u64);
        panels.saturating_add(rows).saturating_add(PanelCodes::memory(lists, width))
    }

    /// Writes the number of each row's list to `out`. `row` gives row `i` of `out.len()`.
    ///
    /// # Errors
    /// No memory.
    pub fn assign<'r, T: Encoding<Component = L>>(
        &self,
        row: impl Fn(usize) -> &'r [T] + Sync,
        width: usize,
        out: &mut [u32],
        workers: &mut Workers<'_>,
    ) -> Result<(), OutOfMemory> {
        let chunk = chunk_rows(width);
        workers.each(
            out.chunks_mut(chunk).enumerate(),
            || {
                let mut codes = RowCodes::default();
                if self.coded.is_some() {
                    codes.clear(width);
                    codes.reserve(chunk)?;
                }
                Ok(Room {
                    rows: Decoded::with_room::<T>(chunk, width)?,
                    best: memory::filled(f32::INFINITY, chunk)?,
                    distances: [[0f32; PANEL]; 8],
                    codes,
                    candidates: Vec::new(),
                })
            },
            |room, (at, lists), beat| {
                room.rows.clear(width);
                (0..lists.len()).for_each(|i| room.rows.push(row(at * chunk + i)));
                lists.fill(0);
                room.best.fill(f32::INFINITY);
                if !self.by_codes(room, lists, width, beat) {
                    self.by_panels(room, lists, beat);
                }
            },
        )
    }

    fn by_panels(&self, room: &mut Room<'_, L>, lists: &mut [u32], beat: &mut dyn FnMut() -> bool) {
        let Room { rows: room, best, distances, .. } = room;
        for panel in 0..self.centres.len() {
            let columns = self.centres.columns(panel);
            for (start, (lists, best)) in lists.chunks_mut(8).zip(best.chunks_mut(8)).enumerate() {
                let rows: [&[L]; 8] = core::array::from_fn(|i| room.row(start * 8 + i));
                let rows = rows.get(..lists.len()).unwrap_or_default();
                L::by(self.metric, kernels(), rows, self.centres.panel(panel), distances);
                for ((list, best), distances) in lists.iter_mut().zip(best).zip(&mut *distances) {
                    distances.iter_mut().skip(columns).for_each(|d| *d = f32::INFINITY);
                    let smallest = least(distances);
                    if smallest < *best {
                        *best = smallest;
                        let column = distances.iter().position(|&d| d == smallest).unwrap_or_default();
                        *list = (panel * PANEL + column) as u32;
                    }
                }
            }
            if !beat() {
                break;
            }
        }
    }

    /// Finds the nearest centres by their codes; false, and nothing is found, when a row has none, or when too
    /// many centres might be the nearest.
    fn by_codes(
        &self,
        room: &mut Room<'_, L>,
        lists: &mut [u32],
        width: usize,
        beat: &mut dyn FnMut() -> bool,
    ) -> bool {
        let Some((codes, centres)) = &self.coded else { return false };
        let Room { rows, best, codes: row_codes, distances, candidates, .. } = room;
        let (k, most) = (kernels(), CANDIDATES * lists.len());
        row_codes.clear(width);
        if !(0..lists.len()).all(|i| row_codes.push(|out| L::encode(k, rows.row(i), out))) {
            return false;
        }
        candidates.clear();
        // `best` is the least upper bound of a row so far
        for panel in 0..codes.len() {
            let columns = self.centres.columns(panel);
            for (start, best) in best[..lists.len()].chunks_mut(8).enumerate() {
                let rows = (start * 8..start * 8 + best.len()).map(|i| row_codes.get(i));
                codes.lower(k, self.metric, panel, rows, distances);
                for (i, (best, lower)) in best.iter_mut().zip(&*distances).enumerate() {
                    if least(lower) > *best {
                        continue;
                    }
                    let head = row_codes.get(start * 8 + i).1;
                    for (column, &lower) in lower.iter().enumerate().take(columns) {
                        if lower <= *best {
                            let upper = codes.upper(self.metric, panel, head, column, lower);
                            let upper = widened(self.metric, upper);
                            *best = if upper < *best { upper } else { *best };
                            let (row, centre) = ((start * 8 + i) as u32, (panel * PANEL + column) as u32);
                            candidates.push(Candidate { row, centre, lower });
                        }
                    }
                }
            }
            if candidates.len() > most {
                candidates.retain(|c| best.get(c.row as usize).is_some_and(|&best| c.lower <= best));
                if candidates.len() > most / 2 {
                    best.fill(f32::INFINITY);
                    return false;
                }
            }
            if !beat() {
                break;
            }
        }
        candidates.retain(|c| best.get(c.row as usize).is_some_and(|&best| c.lower <= best));
        best.fill(f32::INFINITY);
        // of one row, they come in the order of their numbers
        for &Candidate { row, centre, .. } in &*candidates {
            let at = centre as usize * width;
            let centre_lanes = centres.get(at..at + width).unwrap_or_default();
            let distance = L::one(self.metric, k, rows.row(row as usize), centre_lanes);
            if let (Some(best), Some(list)) = (best.get_mut(row as usize), lists.get_mut(row as usize))
                && distance < *best
            {
                (*best, *list) = (distance, centre);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::work::workers::Idle;

    /// The list that a scan would look at first.
    fn nearest(metric: Metric, centres: &[Vec<f32>], row: &[f32]) -> u32 {
        let distances = centres.iter().map(|centre| f32::one(metric, kernels(), row, centre));
        let mut best = (f32::INFINITY, 0);
        for (at, distance) in distances.enumerate() {
            best = if distance < best.0 { (distance, at as u32) } else { best };
        }
        best.1
    }

    #[test]
    fn codes_find_what_all_distances_find() {
        let (lists, rows) = if cfg!(miri) { (20, 9) } else { (75, 300) };
        let mut rng = SmallRng::seed_from_u64(3);
        for (dims, metric) in [
            (3, Metric::L2),
            (40, Metric::L2),
            (257, Metric::L2),
            (41, Metric::InnerProduct),
            (256, Metric::InnerProduct),
        ] {
            for (case, spread) in [1.0f32, 1e-3, 0.0, 1e16].into_iter().enumerate() {
                let hubs: Vec<Vec<f32>> =
                    (0..10).map(|_| (0..dims).map(|_| rng.random_range(-9.0..9.0)).collect()).collect();
                let mut near = |at: usize| -> Vec<f32> {
                    hubs[at % hubs.len()]
                        .iter()
                        .map(|x| x + spread * rng.random_range(-1.0f32..1.0))
                        .collect()
                };
                // several of each hub: with no spread they are equally near, and there is a centre of zeros and
                // a far one
                let mut centres: Vec<Vec<f32>> = (0..lists).map(&mut near).collect();
                centres[5].fill(0.0);
                centres[6].iter_mut().for_each(|x| *x *= 1e4);
                let mut values: Vec<Vec<f32>> = (0..rows).map(&mut near).collect();
                values[1].fill(0.0);
                if case == 1 {
                    values[2][0] = f32::MAX;
                }
                let flat = centres.concat();
                let coded = Lists::new(&flat, dims, metric, true).unwrap();
                assert_eq!(coded.coded.is_some(), spread < 1e16);
                let mut found = vec![0; rows];
                coded.assign(|at| &values[at], dims, &mut found, &mut Workers::new(0, &mut Idle)).unwrap();
                for (value, &found) in values.iter().zip(&found) {
                    let best = nearest(metric, &centres, value);
                    let distance = |at: u32| f32::one(metric, kernels(), value, &centres[at as usize]);
                    // a chunk that has to do without codes uses kernels that round differently
                    let norm = |x: &[f32]| kernels().norm_f32(x) as f32;
                    let slack = 1e-5 * norm(value) * norm(&centres[best as usize]);
                    assert!(
                        found == best || distance(found) <= distance(best) + slack,
                        "{dims} {metric:?} {case}"
                    );
                }
            }
        }
    }
}
