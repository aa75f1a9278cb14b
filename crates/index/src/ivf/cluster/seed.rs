//! Where clustering starts: k-means++ (Arthur and Vassilvitskii, 2007), sixteen centres to a pass over the rows.
//!
//! Each next centre is a row, drawn with a probability in proportion to its squared distance to the nearest
//! centre so far. Drawn one by one, every centre costs a pass. Here a pass folds in up to sixteen: a row is
//! drawn by the distances of the last pass and accepted with the probability (distance now / distance then),
//! where "now" takes the rows of this batch into account and needs only their distances to the one drawn.
//! Distances only shrink, so the accepted rows have exactly the distribution of one-by-one draws.

use rand::Rng;
use rand::rngs::SmallRng;
use vector_kernels::{PANEL, kernels};

use super::panels::{Centres, Component, least};
use super::plan::chunk_rows;
use super::pruning::{BoundPruning, PanelQuery};
use super::sample::{Decoded, Encoding, Sample};
use crate::quant::sq8::RowCodes;
use crate::work::memory::{self, OutOfMemory};
use crate::work::workers::Workers;

/// The rows that are the first centres.
#[derive(Debug)]
pub struct Seeds {
    /// different rows; fewer than asked for when there are no more
    pub rows: Vec<u32>,
    /// for each row of the sample, which of `rows` is nearest
    pub nearest: Vec<u32>,
    /// for each row of the sample, the squared distance to that one
    pub distances: Vec<f32>,
}

/// Draws of the next centre among this many rejected ones end a batch: the distances of the last pass are stale.
const REJECTIONS: u32 = 64;

/// Chooses up to `count` centres among the rows of a sample that is not empty.
///
/// # Errors
/// No memory.
pub fn seed<T: Encoding>(
    sample: &Sample<T>,
    codes: Option<&RowCodes>,
    count: usize,
    rng: &mut SmallRng,
    workers: &mut Workers<'_>,
) -> Result<Seeds, OutOfMemory> {
    let (rows, chunk) = (sample.len(), chunk_rows(sample.width()));
    let mut seeds = Seeds {
        rows: memory::with_room(count.max(1))?,
        nearest: memory::filled(0, rows)?,
        distances: memory::filled(f32::INFINITY, rows)?,
    };
    seeds.rows.push(rng.random_range(0..rows.max(1) as u32));
    let mut sums = memory::filled(0f64, rows.div_ceil(chunk))?;
    let mut batch = memory::with_room(PANEL)?;
    batch.extend_from_slice(&seeds.rows);
    loop {
        fold(sample, codes, &batch, &mut seeds, &mut sums, workers)?;
        batch.clear();
        let mut rejected = 0;
        while batch.len() < PANEL && seeds.rows.len() + batch.len() < count && rejected < REJECTIONS {
            let Some(row) = draw(&seeds.distances, &sums, chunk, rng) else { break };
            let then = seeds.distances.get(row as usize).copied().unwrap_or_default();
            let now = batch.iter().map(|&other| between(sample, row, other)).fold(then, f32::min);
            // a distance beyond the range of f32 is as good as another
            let accepted = now > 0.0 && (now == then || rng.random::<f32>() * then < now);
            if accepted {
                batch.push(row);
            } else {
                rejected += 1;
            }
        }
        if batch.is_empty() {
            break;
        }
        seeds.rows.extend(&batch);
    }
    let order = arrange(sample, &seeds.rows, workers);
    let mut places = memory::filled(0u32, order.len())?;
    for (place, &old) in order.iter().enumerate() {
        places[old as usize] = place as u32;
    }
    seeds.nearest.iter_mut().for_each(|nearest| *nearest = places[*nearest as usize]);
    seeds.rows = memory::collected(order.iter().map(|&old| seeds.rows[old as usize]))?;
    Ok(seeds)
}

/// Takes `batch`, the last of the centres, into the distances.
fn fold<T: Encoding>(
    sample: &Sample<T>,
    codes: Option<&RowCodes>,
    batch: &[u32],
    seeds: &mut Seeds,
    sums: &mut [f64],
    workers: &mut Workers<'_>,
) -> Result<(), OutOfMemory> {
    let (width, chunk) = (sample.width(), chunk_rows(sample.width()));
    let first = seeds.rows.len().saturating_sub(batch.len());
    let mut centres = Centres::zeros(batch.len(), width, codes.is_some())?;
    let mut room = Decoded::with_room::<T>(batch.len(), width)?;
    for (column, &row) in batch.iter().enumerate() {
        room.push(sample.row(row as usize));
        centres.set(column, room.row(column));
    }
    let pruning = BoundPruning { panels: centres.panels(), codes: centres.codes().zip(codes) };
    let chunks = seeds.nearest.chunks_mut(chunk).zip(seeds.distances.chunks_mut(chunk)).zip(sums).enumerate();
    workers.each(
        chunks,
        || Ok((Decoded::with_room::<T>(chunk, width)?, [[0f32; PANEL]; 8])),
        |(room, out), (at, ((nearest, distances), sum)), _| {
            room.clear(width);
            (0..nearest.len()).for_each(|i| room.push(sample.row(at * chunk + i)));
            for (start, (nearest, distances)) in
                nearest.chunks_mut(8).zip(distances.chunks_mut(8)).enumerate()
            {
                let mut rows = [PanelQuery::NONE; 8];
                for (i, (row, distance)) in rows.iter_mut().zip(&*distances).enumerate() {
                    let (lanes, code) = (room.row(start * 8 + i), at * chunk + start * 8 + i);
                    *row = PanelQuery { lanes, code, limit: *distance, skip: usize::MAX };
                }
                let rows = &rows[..nearest.len()];
                pruning.distances(kernels(), 0, rows, |centre| centres.row(centre), out);
                for ((nearest, distance), out) in nearest.iter_mut().zip(distances).zip(&*out) {
                    let smallest = least(out);
                    if smallest < *distance {
                        *distance = smallest;
                        let column = out.iter().position(|&d| d == smallest).unwrap_or_default();
                        *nearest = (first + column) as u32;
                    }
                }
            }
            *sum = distances.iter().map(|&d| f64::from(d)).sum();
        },
    )
}

/// A row with a probability in proportion to its distance; `None` when all distances are zero.
fn draw(distances: &[f32], sums: &[f64], chunk: usize, rng: &mut SmallRng) -> Option<u32> {
    let total: f64 = sums.iter().sum();
    if !total.is_finite() {
        return Some(rng.random_range(0..distances.len().max(1) as u32));
    }
    if total <= 0.0 {
        return None;
    }
    let mut left = rng.random::<f64>() * total;
    let at = sums.iter().position(|sum| {
        let here = left < *sum;
        if !here {
            left -= sum;
        }
        here
    });
    // rounding can leave nothing to stop at: then any row that may be drawn
    let start = at.unwrap_or_default() * chunk;
    let chunk = if at.is_some() { chunk } else { distances.len() };
    let mut last = None;
    for (i, &distance) in distances.iter().enumerate().skip(start).take(chunk) {
        if distance > 0.0 {
            last = Some(i as u32);
            left -= f64::from(distance);
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

/// Squared distance of two rows.
fn between<T: Encoding>(sample: &Sample<T>, a: u32, b: u32) -> f32 {
    let mut room = Decoded::default();
    room.clear(sample.width());
    room.push(sample.row(a as usize));
    room.push(sample.row(b as usize));
    T::Component::distance(kernels(), room.row(0), room.row(1))
}

/// An order of `rows` in which every sixteen from a multiple of sixteen on are near each other: centres of one panel
/// share a bound during clustering, and neighbouring lists lie side by side in the index. Halves each part between two
/// rows far from each other until a part fills a panel.
fn arrange<T: Encoding>(sample: &Sample<T>, rows: &[u32], workers: &mut Workers<'_>) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    let row = |at: u32| sample.row(rows.get(at as usize).copied().unwrap_or_default() as usize);
    let (mut room, k) = (Decoded::<T::Component>::default(), kernels());
    let mut parts = vec![(0, rows.len())];
    while let Some((start, end)) = parts.pop() {
        workers.poll();
        let part = &mut order[start..end];
        if part.len() <= PANEL {
            continue;
        }
        let mut from = |pivot: u32, part: &[u32]| -> Vec<f32> {
            let mut distance = |other| {
                room.clear(sample.width());
                room.push(row(pivot));
                room.push(row(other));
                T::Component::distance(k, room.row(0), room.row(1))
            };
            part.iter().map(|&other| distance(other)).collect()
        };
        let farthest = |part: &[u32], distances: &[f32]| -> u32 {
            let far = distances.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            far.and_then(|(i, _)| part.get(i)).copied().unwrap_or_default()
        };
        let first = from(part[0], part);
        let a = farthest(part, &first);
        let to_a = from(a, part);
        let to_b = from(farthest(part, &to_a), part);
        let mut keyed: Vec<(f32, u32)> =
            part.iter().zip(to_a.iter().zip(&to_b)).map(|(&at, (a, b))| (a - b, at)).collect();
        let middle = (part.len().div_ceil(PANEL) / 2) * PANEL;
        keyed.select_nth_unstable_by(middle, |x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
        part.iter_mut().zip(&keyed).for_each(|(at, keyed)| *at = keyed.1);
        parts.push((start, start + middle));
        parts.push((start + middle, end));
    }
    order
}
