//! Which list each row belongs to: every row against every centre, rows in chunks on threads, sixteen centres at a time.

use vector_kernels::{Kernels, PANEL, kernels};

use super::kmeans::chunk_rows;
use super::sample::{Lane, Loaded, Panels, Stored};
use super::seed::least;
use super::team::Team;
use crate::space::Metric;

/// The centres of an index, as stored: rows belong to the nearest by the operator class's own distance. Of several
/// equally near ones it is the first, as in scans.
#[derive(Debug)]
pub struct Lists<L> {
    centres: Panels<L>,
    metric: Metric,
}

/// A lane whose rows can be assigned by inner product, too.
pub trait Assigned: Lane {
    /// Distances between rows and a panel by `metric`.
    fn by(metric: Metric, k: &Kernels, rows: &[&[Self]], panel: &[Self], out: &mut [[f32; PANEL]]);
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
}

impl Assigned for u8 {
    fn by(_: Metric, k: &Kernels, rows: &[&[u8]], panel: &[u8], out: &mut [[f32; PANEL]]) {
        Self::panel(k, rows, panel, out);
    }
}

impl<L: Assigned> Lists<L> {
    /// Lists around `centres`, one after the other as their type keeps them.
    pub fn new<T: Stored<Lane = L>>(centres: &[T], width: usize, metric: Metric) -> Self {
        let mut lists = Lists { centres: Panels::zeros(centres.len() / width.max(1), width), metric };
        let mut lanes = vec![L::default(); width];
        for (at, centre) in centres.chunks_exact(width.max(1)).enumerate() {
            T::load(kernels(), centre, &mut lanes);
            lists.centres.set(at, &lanes);
        }
        lists
    }

    /// Bytes of memory for `lists` lists.
    pub fn memory(lists: u64, width: u64) -> u64 {
        Panels::<L>::memory(lists, width)
    }

    /// Writes the number of each row's list to `out`. `row` gives row `i` of `out.len()`.
    pub fn assign<'r, T: Stored<Lane = L>>(
        &self,
        row: impl Fn(usize) -> &'r [T] + Sync,
        width: usize,
        out: &mut [u32],
        team: &mut Team<'_>,
    ) {
        let chunk = chunk_rows(width);
        team.each(
            out.chunks_mut(chunk).enumerate(),
            || (Loaded::default(), vec![f32::INFINITY; chunk], [[0f32; PANEL]; 8]),
            |(room, best, distances), (at, lists), beat| {
                room.clear(width);
                (0..lists.len()).for_each(|i| room.push(row(at * chunk + i)));
                lists.fill(0);
                best.fill(f32::INFINITY);
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
                                let column =
                                    distances.iter().position(|&d| d == smallest).unwrap_or_default();
                                *list = (panel * PANEL + column) as u32;
                            }
                        }
                    }
                    if !beat() {
                        break;
                    }
                }
            },
        );
    }
}
