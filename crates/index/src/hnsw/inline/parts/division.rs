//! Dividing rows into parts of about equal size that overlap: each row belongs to the part with the nearest cell, and
//! those that lie between two parts to both.
//!
//! A sample is divided into *cells* around centres (Lloyd's rounds), some for each part, and cells that are near each
//! other are put together to parts. Cells follow the data: a cluster that lay in two parts would come apart. Parts are
//! about equal in size, since memory is planned for the largest: a part's distance from cells is multiplied with a
//! weight, raised while the part is too large and lowered while it is too small.

use vector_kernels::{Kernels, kernels};

use crate::quant::space::{BIT_PAYLOAD, CodedSpace, Estimate};
use crate::space::Metric;
use crate::work::memory::{OutOfMemory, append, collected, filled, with_room};
use crate::work::workers::Workers;

/// Numbers that a row of bits is compared by, at most.
const MOST_BITS: usize = 2048;

/// How many numbers [`coordinates`] makes of a value of `dims` dimensions.
pub(super) fn width<S: CodedSpace>(space: &S, dims: usize) -> usize {
    if space.estimate() == Estimate::Exact { dims.div_ceil(dims.div_ceil(MOST_BITS).max(1)) } else { dims }
}

/// Makes `out` numbers whose Euclidean distances say which rows are near each other. False for no value of the space.
pub(super) fn coordinates<S: CodedSpace>(space: &S, dims: usize, value: &[u8], out: &mut Vec<f32>) -> bool {
    let Ok(view) = space.view(value) else { return false };
    if space.estimate() == Estimate::Exact {
        let bits = value.get(BIT_PAYLOAD..).unwrap_or_default();
        out.clear();
        for at in (0..dims).step_by(dims.div_ceil(MOST_BITS).max(1)) {
            out.push(bits.get(at / 8).map_or(0.0, |byte| f32::from(byte >> (7 - at % 8) & 1)));
        }
    } else if !space.widen(view, out) {
        return false;
    }
    // by these, what is near points the same way
    if matches!(space.metric(), Metric::InnerProduct | Metric::Jaccard) {
        let norm = kernels().norm_f32(out);
        if norm > 0.0 && norm.is_finite() {
            out.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
    }
    true
}

/// A hash of a row's number: by its bits, samples and levels are drawn.
pub(super) fn mix(seed: u64, row: u32) -> u64 {
    let mut z = seed ^ u64::from(row).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Rows drawn at random: those with low hashes.
#[derive(Debug)]
pub(super) struct Sample {
    seed: u64,
    width: usize,
    most: usize,
    numbers: Vec<f32>,
    hashes: Vec<u64>,
    /// higher hashes are left out
    limit: u64,
}

/// Rows of a sample, at most.
const MOST_ROWS: usize = 1 << 14;

impl Sample {
    /// Room for a sample of `rows` rows of `width` numbers, in up to `budget` bytes.
    ///
    /// # Errors
    /// No memory.
    pub fn new(seed: u64, rows: u64, width: usize, budget: usize) -> Result<Self, OutOfMemory> {
        let most = budget / (width.max(1) * size_of::<f32>() + size_of::<u64>());
        let most = most.clamp(2, MOST_ROWS);
        let limit = if rows <= most as u64 { u64::MAX } else { u64::MAX / rows * most as u64 };
        let most = most.min(usize::try_from(rows).unwrap_or(most));
        let (numbers, hashes) = (with_room(most * width)?, with_room(most)?);
        Ok(Sample { seed, width, most, numbers, hashes, limit })
    }

    /// Whether a row is wanted.
    pub fn wants(&self, row: u32) -> bool {
        mix(self.seed, row) <= self.limit && self.hashes.len() < self.most
    }

    /// Takes a row that is wanted.
    pub fn add(&mut self, row: u32, numbers: &[f32]) {
        if self.wants(row) && numbers.len() == self.width {
            self.numbers.extend_from_slice(numbers);
            self.hashes.push(mix(self.seed, row));
        }
    }

    /// Their numbers, one row after the other.
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.numbers.chunks_exact(self.width.max(1))
    }
}

/// The two parts that a row is nearest to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nearest {
    /// the part
    pub first: u32,
    /// the next
    pub second: u32,
    /// how many times as far the next is, in squares
    pub ratio: f32,
}

/// Parts of a space, each some of its cells.
#[derive(Debug)]
pub(super) struct Division {
    kernels: &'static Kernels,
    width: usize,
    /// of each cell the centre
    centres: Vec<f32>,
    /// of each cell its part
    part: Vec<u32>,
    parts: usize,
    /// rows belong to the second nearest part, too, when it is not farther by more than this factor
    cut: f32,
}

/// Cells of a part, and of all at least and at most.
const CELLS_A_PART: usize = 12;
const CELLS: core::ops::RangeInclusive<usize> = 96..=512;
/// Rounds in which centres move.
const MOVES: usize = 6;
/// Rounds in which cells are put together.
const ROUNDS: usize = 40;
/// Rows of the sample for each cell.
const ROWS_A_CELL: usize = 32;
/// The nearest cells of a row of the sample: one of another part is hardly ever beyond.
const NEAREST: usize = 8;
/// Rows of the sample that say how far the second part may be.
const CUT_ROWS: usize = 2048;
/// Rows that a thread takes at a time.
const CHUNK: usize = 16;

/// Cells with their squared distances, nearest first.
type Near = [(f32, u32); NEAREST];
const FAR: Near = [(f32::INFINITY, u32::MAX); NEAREST];

impl Division {
    /// Bytes of a cell, with what it takes to make it but the sample.
    fn cell_bytes(width: usize) -> usize {
        width * (size_of::<f32>() + size_of::<f64>()) + 64 + ROWS_A_CELL * size_of::<Near>()
    }

    /// Whether there can be so many parts with `budget` bytes for them.
    pub fn fits(parts: usize, width: usize, budget: usize) -> bool {
        parts <= budget / Self::cell_bytes(width)
    }

    /// Divides a sample into `parts` parts that together hold `overlap` times as many rows, in `budget` bytes. Returns
    /// it with the share of the rows that the largest part holds.
    ///
    /// # Errors
    /// No memory.
    pub fn new(
        sample: &Sample,
        parts: usize,
        overlap: f64,
        budget: usize,
        workers: &mut Workers<'_>,
    ) -> Result<(Self, f64), OutOfMemory> {
        let width = sample.width;
        let wanted = (parts * CELLS_A_PART).clamp(*CELLS.start(), *CELLS.end());
        let cells = wanted.min(budget / Self::cell_bytes(width)).max(parts);
        let used = sample.hashes.len().min(cells * ROWS_A_CELL);
        let mut division = Division {
            kernels: kernels(),
            width,
            centres: with_room(cells * width)?,
            part: filled(0, cells)?,
            parts,
            cut: 0.0,
        };
        // the lowest hashes are as random as any
        let mut order = collected(0..sample.hashes.len())?;
        order.sort_unstable_by_key(|&at| sample.hashes.get(at));
        for cell in 0..cells {
            let row = order.get(cell % order.len().max(1)).and_then(|&at| sample.rows().nth(at));
            match row {
                Some(row) => append(&mut division.centres, row)?,
                None => division.centres.resize((cell + 1) * width, 0.0),
            }
        }
        let mut near = filled(FAR, used)?;
        let mut sums = filled(0.0f64, cells * width)?;
        let mut counts = filled(0u32, cells)?;
        for round in 0..=MOVES {
            division.measure(sample, &mut near, workers)?;
            counts.fill(0);
            for [(_, first), ..] in &near {
                if let Some(count) = counts.get_mut(*first as usize) {
                    *count += 1;
                }
            }
            if round < MOVES {
                division.move_centres(sample, &near, &counts, &mut sums);
                if round + 2 < MOVES {
                    division.split_large(sample, &near, &mut counts);
                }
            }
        }
        drop(sums);
        let most = division.group(&near, &counts, overlap, workers)?;
        // with few parts, another part's cells may all be beyond those that were noted
        let (mut room, mut ratios) = (with_room(cells)?, with_room(CUT_ROWS)?);
        for row in sample.rows().take(CUT_ROWS) {
            workers.poll_when_due();
            ratios.push(division.nearest(row, &mut room)?);
        }
        division.cut = cut_of(ratios.iter().copied(), overlap)?;
        Ok((division, most as f64 / used.max(1) as f64))
    }

    fn centre(&self, cell: usize) -> &[f32] {
        self.centres.get(cell * self.width..(cell + 1) * self.width).unwrap_or_default()
    }

    /// Finds the nearest cells of rows of the sample, on the threads.
    fn measure(
        &self,
        sample: &Sample,
        near: &mut [Near],
        workers: &mut Workers<'_>,
    ) -> Result<(), OutOfMemory> {
        let width = self.width.max(1);
        workers.each(
            sample.numbers.chunks(width * CHUNK).zip(near.chunks_mut(CHUNK)),
            || Ok(()),
            |(), (rows, near), goes_on| {
                for (row, near) in rows.chunks_exact(width).zip(near) {
                    *near = FAR;
                    for cell in 0..self.part.len() {
                        insert(near, (self.distance(row, cell), cell as u32));
                    }
                    if !goes_on() {
                        return;
                    }
                }
            },
        )
    }

    /// Makes each centre the mean of its rows.
    fn move_centres(&mut self, sample: &Sample, near: &[Near], counts: &[u32], sums: &mut [f64]) {
        sums.fill(0.0);
        let width = self.width.max(1);
        for (row, [(_, cell), ..]) in sample.rows().zip(near) {
            let start = *cell as usize * width;
            let sum = sums.get_mut(start..start + width).unwrap_or_default();
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let centres = self.centres.chunks_exact_mut(width).zip(sums.chunks_exact(width));
        for ((centre, sum), &count) in centres.zip(counts).filter(|(_, count)| **count > 0) {
            centre.iter_mut().zip(sum).for_each(|(x, sum)| *x = (sum / f64::from(count)) as f32);
        }
    }

    /// Gives centres of nearly empty cells to cells that have much more than others.
    fn split_large(&mut self, sample: &Sample, near: &[Near], counts: &mut [u32]) {
        let mean = (near.len() / counts.len().max(1)) as u32;
        for at in 0..counts.len() {
            let (most, least) = (
                (0..counts.len()).max_by_key(|&cell| counts.get(cell)),
                (0..counts.len()).min_by_key(|&cell| counts.get(cell)),
            );
            let (Some(most), Some(least)) = (most, least) else { return };
            let (large, small) = (counts[most], counts[least]);
            if large < 2 * mean.max(1) || small > mean / 3 {
                return;
            }
            // any of its rows, another one each time
            let members = sample.rows().zip(near).filter(|(_, n)| n[0].1 as usize == most);
            let Some((row, _)) = members.into_iter().nth((at * 7 + 3) % large as usize) else { return };
            let start = least * self.width;
            if let Some(centre) = self.centres.get_mut(start..start + self.width) {
                centre.copy_from_slice(row);
            }
            (counts[most], counts[least]) = (large / 2, large / 2);
        }
    }

    /// Puts cells that are near each other together to parts of about equal size. Returns the size of the largest.
    fn group(
        &mut self,
        near: &[Near],
        counts: &[u32],
        overlap: f64,
        workers: &mut Workers<'_>,
    ) -> Result<usize, OutOfMemory> {
        let (width, parts, cells) = (self.width, self.parts, self.part.len());
        let mut middles: Vec<f32> = with_room(parts * width)?;
        for part in 0..parts {
            append(&mut middles, self.centre(part * cells / parts.max(1)))?;
        }
        let (mut weights, mut loads) = (filled(1.0f32, parts)?, filled(0u32, parts)?);
        let (mut best, mut most) = (with_room(cells)?, u32::MAX);
        let mut cut = 0.0;
        for round in 0..ROUNDS {
            workers.poll_when_due();
            for cell in 0..cells {
                let centre = self.centre(cell);
                let far = |part: usize| {
                    let middle = middles.get(part * width..(part + 1) * width).unwrap_or_default();
                    self.kernels.l2_squared_f32(centre, middle) * weights.get(part).copied().unwrap_or(1.0)
                };
                let nearest = (0..parts).map(|part| (far(part), part)).min_by(|a, b| a.0.total_cmp(&b.0));
                self.part[cell] = nearest.map_or(0, |nearest| nearest.1 as u32);
            }
            let nearest = near.iter().map(|near| self.nearest_of(near.iter().copied()));
            self.cut = cut_of(nearest, overlap)?;
            loads.fill(0);
            for near in near {
                let near = self.nearest_of(near.iter().copied());
                let second = self.takes_second(&near).then_some(near.second);
                for part in [Some(near.first), second].into_iter().flatten() {
                    if let Some(load) = loads.get_mut(part as usize) {
                        *load += 1;
                    }
                }
            }
            let largest = loads.iter().copied().max().unwrap_or(0);
            if largest < most {
                (most, cut) = (largest, self.cut);
                best.clear();
                best.extend_from_slice(&self.part);
            }
            if round < ROUNDS / 2 {
                move_middles(&mut middles, &self.centres, &self.part, counts, width)?;
            }
            let mean = f64::from(loads.iter().sum::<u32>()) / parts as f64;
            let gain = 0.25 * (1.0 - round as f64 / ROUNDS as f64) + 0.02;
            for (weight, load) in weights.iter_mut().zip(&loads) {
                let step = (f64::from((*load).max(1)) / mean.max(1.0)).powf(gain);
                *weight *= step.clamp(0.8, 1.25) as f32;
            }
        }
        (self.part, self.cut) = (best, cut);
        Ok(most as usize)
    }

    /// How far a row is from a cell, squared.
    fn distance(&self, row: &[f32], cell: usize) -> f32 {
        let distance = self.kernels.l2_squared_f32(row, self.centre(cell));
        if distance.is_nan() { f32::INFINITY } else { distance }
    }

    fn nearest_of(&self, cells: impl Iterator<Item = (f32, u32)> + Clone) -> Nearest {
        let of = |cell: u32| self.part.get(cell as usize).copied();
        let closest = |but: Option<u32>| {
            let others =
                cells.clone().filter(move |(_, cell)| of(*cell).is_some_and(|part| Some(part) != but));
            others.min_by(|a, b| a.0.total_cmp(&b.0))
        };
        let Some(first) = closest(None) else { return Nearest::default() };
        let own = of(first.1).unwrap_or(0);
        let Some(second) = closest(Some(own)) else {
            return Nearest { first: own, second: own, ratio: f32::INFINITY };
        };
        let ratio = if first.0 > 0.0 { second.0 / first.0 } else { f32::INFINITY };
        let ratio = if ratio.is_nan() { 1.0 } else { ratio };
        Nearest { first: own, second: of(second.1).unwrap_or(own), ratio }
    }

    /// The parts that a row is nearest to. `room` is for its distances.
    ///
    /// # Errors
    /// No memory.
    pub fn nearest(&self, row: &[f32], room: &mut Vec<(f32, u32)>) -> Result<Nearest, OutOfMemory> {
        room.clear();
        room.try_reserve(self.part.len())?;
        room.extend((0..self.part.len()).map(|cell| (self.distance(row, cell), cell as u32)));
        Ok(self.nearest_of(room.iter().copied()))
    }

    /// Of the parts that `takes` names, the nearest by distances that [`Self::nearest`] left in `room`.
    pub fn nearest_with(&self, room: &[(f32, u32)], takes: impl Fn(u32) -> bool) -> Option<u32> {
        let of = |cell: u32| self.part.get(cell as usize).copied();
        let open = room.iter().filter(|(_, cell)| of(*cell).is_some_and(&takes));
        let nearest = open.min_by(|a, b| a.0.total_cmp(&b.0)).and_then(|near| of(near.1));
        // a part without cells
        nearest.or_else(|| (0..self.parts as u32).find(|&part| takes(part)))
    }

    /// Whether a row belongs to the second nearest part, too.
    pub fn takes_second(&self, near: &Nearest) -> bool {
        near.first != near.second && near.ratio <= self.cut
    }
}

/// The cut with which all parts have `overlap` times the rows.
fn cut_of(rows: impl ExactSizeIterator<Item = Nearest>, overlap: f64) -> Result<f32, OutOfMemory> {
    let second = ((overlap - 1.0) * rows.len() as f64) as usize;
    // those without a part near enough are in one part
    let mut ratios =
        collected(rows.map(|near| if near.first == near.second { f32::INFINITY } else { near.ratio }))?;
    ratios.retain(|ratio| ratio.is_finite());
    Ok(match second.min(ratios.len()).checked_sub(1) {
        None => 0.0,
        Some(last) => *ratios.select_nth_unstable_by(last, f32::total_cmp).1,
    })
}

/// Puts a cell among the nearest.
fn insert(near: &mut Near, cell: (f32, u32)) {
    if cell.0 < near[NEAREST - 1].0 {
        let at = near.partition_point(|other| other.0 <= cell.0);
        near[at..].rotate_right(1);
        near[at] = cell;
    }
}

/// Makes each middle the mean of its cells' rows.
fn move_middles(
    middles: &mut [f32],
    centres: &[f32],
    part: &[u32],
    counts: &[u32],
    width: usize,
) -> Result<(), OutOfMemory> {
    let mut sum = filled(0.0f64, width)?;
    for (at, middle) in middles.chunks_exact_mut(width.max(1)).enumerate() {
        sum.fill(0.0);
        let mut rows = 0.0;
        let own = centres
            .chunks_exact(width.max(1))
            .zip(part)
            .zip(counts)
            .filter(|((_, part), _)| **part == at as u32);
        for ((centre, _), &count) in own {
            rows += f64::from(count);
            sum.iter_mut().zip(centre).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(count));
        }
        if rows > 0.0 {
            middle.iter_mut().zip(&sum).for_each(|(x, sum)| *x = (sum / rows) as f32);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::work::workers::Idle;

    /// Half of the rows in one small place, others far apart.
    fn uneven(n: u32) -> Sample {
        let mut rng = SmallRng::seed_from_u64(2);
        let mut sample = Sample::new(1, u64::from(n), 8, 1 << 20).unwrap();
        for row in 0..n {
            let (scale, centre) = if row % 2 == 0 { (0.1, 0.0) } else { (3.0, 10.0) };
            let numbers: Vec<f32> = (0..8).map(|_| centre + scale * rng.random_range(-1.0..1.0f32)).collect();
            sample.add(row, &numbers);
        }
        sample
    }

    #[test]
    fn parts_are_about_equal_and_overlap_as_asked() {
        for (parts, overlap) in [(2, 1.2), (7, 1.5), (40, 2.0)] {
            let sample = uneven(6000);
            let (division, most) =
                Division::new(&sample, parts, overlap, 8 << 20, &mut Workers::new(1, &mut Idle)).unwrap();
            let mut loads = vec![0; parts];
            for row in sample.rows() {
                let near = division.nearest(row, &mut Vec::new()).unwrap();
                loads[near.first as usize] += 1;
                loads[near.second as usize] += usize::from(division.takes_second(&near));
            }
            let all = loads.iter().sum::<usize>() as f64 / 6000.0;
            assert!(all < 1.05 * overlap && all > 1.1, "{parts} parts hold {all} times the rows");
            let limit = 1.3 * overlap / parts as f64;
            assert!(most <= limit, "the largest of {parts} has {most}");
            let largest = loads.into_iter().max().unwrap() as f64 / 6000.0;
            assert!(largest <= 1.1 * limit, "{largest} of all rows in one of {parts}");
        }
    }

    #[test]
    fn a_sample_stays_small_and_takes_from_all() {
        let mut sample = Sample::new(3, 10_000, 2, 100 * 16).unwrap();
        for row in 0..10_000 {
            sample.add(row, &[row as f32, 0.0]);
        }
        assert!((50..=100).contains(&sample.hashes.len()));
        let mean = sample.rows().map(|row| row[0]).sum::<f32>() / sample.hashes.len() as f32;
        assert!((3500.0..6500.0).contains(&mean), "{mean}");
    }
}
