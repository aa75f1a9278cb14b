//! Centres from a sample that memory has cut short, moved to the means of more rows than there is memory for: these
//! pass by, and only sums stay. A step of this is one of Lloyd's over all rows that pass.

use super::assign::{Assigned, Lists};
use super::kmeans::scratch;
use super::panels::Component;
use super::sample::Encoding;
use crate::space::Metric;
use crate::work::memory::{self, OutOfMemory, append};
use crate::work::workers::Workers;
use vector_kernels::kernels;

/// Rows that wait for their centres together, at least and at most.
const BATCH: (u64, u64) = (64, 4096);

/// Centres, and what rows have passed since the last step.
pub struct Refinement<T: Encoding> {
    width: usize,
    spherical: bool,
    codes: bool,
    centres: Vec<T>,
    /// the same for what looks for the nearest; `None` while they move
    lists: Option<Lists<T::Component>>,
    /// rows since the last step
    passed: usize,
    sums: Vec<<T::Component as Component>::Sum>,
    counts: Vec<u32>,
    batch: Vec<T>,
    found: Vec<u32>,
    lanes: Vec<T::Component>,
}

impl<T> Refinement<T>
where
    T: Encoding,
    T::Component: Assigned,
{
    /// How many rows wait together, and whether with codes, so that all this takes no more than `budget` bytes; none
    /// where it does not fit.
    fn plan(lists: u64, width: u64, threads: u64, budget: u64) -> Option<(usize, bool)> {
        let own = size_of::<T>() as u64;
        let sums = (T::Component::sums(width as usize) as u64).saturating_mul(8).saturating_add(4);
        // centres as they were and as they will be
        let fixed = lists.saturating_mul(sums.saturating_add(2 * own * width));
        [true, false].into_iter().filter(|&codes| !codes || Lists::<T::Component>::coded()).find_map(
            |codes| {
                let taken = fixed
                    .saturating_add(Lists::<T::Component>::memory(lists, width, codes))
                    .saturating_add(scratch::<T>(width, threads));
                let rows = budget.checked_sub(taken)? / width.saturating_mul(own).saturating_add(4);
                (rows >= BATCH.0).then_some((rows.min(BATCH.1) as usize, codes))
            },
        )
    }

    /// Around `centres`, one after the other; they come back where `budget` bytes are not enough. `spherical` says that
    /// rows are unit vectors and centres shall be too.
    ///
    /// # Errors
    /// No memory.
    pub fn new(
        centres: Vec<T>,
        width: usize,
        spherical: bool,
        threads: usize,
        budget: u64,
    ) -> Result<Result<Self, Vec<T>>, OutOfMemory> {
        let count = centres.len() / width.max(1);
        let Some((rows, codes)) = Self::plan(count as u64, width as u64, threads as u64, budget) else {
            return Ok(Err(centres));
        };
        Ok(Ok(Refinement {
            width,
            spherical,
            codes,
            lists: Some(Lists::new(&centres, width, Metric::L2, codes)?),
            passed: 0,
            centres,
            sums: memory::filled(Default::default(), count * T::Component::sums(width))?,
            counts: memory::filled(0, count)?,
            batch: memory::with_room(rows * width)?,
            found: memory::filled(0, rows)?,
            lanes: memory::filled(T::Component::default(), width)?,
        }))
    }

    /// Lets a row pass, of as many elements as centres have.
    ///
    /// # Errors
    /// No memory.
    pub fn push(&mut self, row: &[T], workers: &mut Workers<'_>) -> Result<(), OutOfMemory> {
        if row.len() == self.width {
            append(&mut self.batch, row)?;
            self.passed += 1;
        }
        if self.batch.len() >= self.found.len() * self.width { self.settle(workers) } else { Ok(()) }
    }

    /// Adds the waiting rows to the sums of their centres.
    fn settle(&mut self, workers: &mut Workers<'_>) -> Result<(), OutOfMemory> {
        let (width, batch) = (self.width, &self.batch);
        let found = self.found.get_mut(..batch.len() / width.max(1)).unwrap_or_default();
        let row = |at: usize| batch.get(at * width..(at + 1) * width).unwrap_or_default();
        let Some(lists) = &mut self.lists else { return Err(OutOfMemory) };
        lists.assign(row, width, found, workers)?;
        let per_centre = T::Component::sums(width).max(1);
        for (row, &list) in batch.chunks_exact(width.max(1)).zip(&*found) {
            T::load(kernels(), row, &mut self.lanes);
            let start = list as usize * per_centre;
            if let (Some(sums), Some(count)) =
                (self.sums.get_mut(start..start + per_centre), self.counts.get_mut(list as usize))
            {
                T::Component::add(sums, &self.lanes);
                *count += 1;
            }
        }
        self.batch.clear();
        Ok(())
    }

    /// Rows that have passed since the last step.
    pub fn passed(&self) -> usize {
        self.passed
    }

    /// Moves each centre to the mean of its rows; where none has passed it stays. So do all where fewer than `least`
    /// rows have passed: they say less than what the centres came from.
    ///
    /// # Errors
    /// No memory.
    pub fn step(&mut self, least: usize, workers: &mut Workers<'_>) -> Result<(), OutOfMemory> {
        self.settle(workers)?;
        if core::mem::take(&mut self.passed) < least {
            self.sums.fill(Default::default());
            self.counts.fill(0);
            return Ok(());
        }
        let per_centre = T::Component::sums(self.width).max(1);
        let mut moved = memory::with_room(self.centres.len())?;
        let sums = self.sums.chunks_exact(per_centre).zip(&self.counts);
        for (centre, (sums, &count)) in self.centres.chunks_exact(self.width.max(1)).zip(sums) {
            T::load(kernels(), centre, &mut self.lanes);
            if count > 0 {
                T::Component::mean(sums, count, &mut self.lanes);
                if self.spherical && !T::Component::normalize(kernels(), &mut self.lanes) {
                    T::load(kernels(), centre, &mut self.lanes);
                }
            }
            T::store(kernels(), &self.lanes, &mut moved);
        }
        self.centres = moved;
        self.lists = None;
        self.sums.fill(Default::default());
        self.counts.fill(0);
        self.lists = Some(Lists::new(&self.centres, self.width, Metric::L2, self.codes)?);
        Ok(())
    }

    /// The centres.
    pub fn into_centres(self) -> Vec<T> {
        self.centres
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::ivf::cluster::kmeans::{Plan, Task, kmeans};
    use crate::ivf::cluster::sample::Sample;
    use crate::work::workers::Idle;

    const WIDTH: usize = 12;

    fn rows(count: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let hubs: Vec<Vec<f32>> =
            (0..40).map(|_| (0..WIDTH).map(|_| rng.random_range(-4.0..4.0)).collect()).collect();
        (0..count)
            .map(|n| hubs[n % hubs.len()].iter().map(|x| x + rng.random_range(-1.0f32..1.0)).collect())
            .collect()
    }

    fn clustered(rows: &[Vec<f32>], lists: usize) -> Vec<f32> {
        let mut sample = Sample::new(WIDTH, WIDTH, false);
        rows.iter().for_each(|row| sample.push(row, 0.0));
        let task = Task { lists, seed: 1, plan: Plan::LEAST };
        kmeans(&sample, task, &mut Workers::new(0, &mut Idle)).unwrap().centres
    }

    fn error(centres: &[f32], rows: &[Vec<f32>]) -> f64 {
        let nearest = |row: &[f32]| {
            centres
                .chunks_exact(WIDTH)
                .map(|c| kernels().l2_squared_f32(c, row))
                .fold(f32::INFINITY, f32::min)
        };
        rows.iter().map(|row| f64::from(nearest(row))).sum::<f64>() / rows.len() as f64
    }

    fn refined(centres: Vec<f32>, rows: &[Vec<f32>], steps: usize, budget: u64) -> Option<Vec<f32>> {
        let (mut idle, mut refinement) =
            (Idle, Refinement::new(centres, WIDTH, false, 1, budget).unwrap().ok()?);
        let mut workers = Workers::new(0, &mut idle);
        for _ in 0..steps {
            rows.iter().for_each(|row| refinement.push(row, &mut workers).unwrap());
            refinement.step(0, &mut workers).unwrap();
        }
        Some(refinement.into_centres())
    }

    #[test]
    fn centres_of_few_rows_come_near_those_of_all() {
        let all = rows(if cfg!(miri) { 600 } else { 8000 }, 5);
        let lists = 60;
        let few = clustered(&all[..4 * lists], lists);
        let best = error(&clustered(&all, lists), &all);
        let (before, least) = (error(&few, &all), 1 << 14);
        let after = error(&refined(few.clone(), &all, 3, 1 << 20).unwrap(), &all);
        assert!(after - best < 0.4 * (before - best), "{before} {after} {best}");
        // with little memory it is the same, with less nothing
        let budget =
            (least..1 << 20).step_by(1024).find(|&b| refined(few.clone(), &all[..1], 1, b).is_some());
        let little = refined(few.clone(), &all, 3, budget.unwrap()).unwrap();
        assert!((error(&little, &all) - after).abs() < 1e-3 * after);
        assert_eq!(refined(few, &all, 1, 1000), None);
    }

    #[test]
    fn centres_stay_where_few_rows_pass() {
        let centres: Vec<f32> = rows(4, 1).concat();
        let (mut idle, mut refinement) =
            (Idle, Refinement::new(centres.clone(), WIDTH, false, 1, 1 << 20).unwrap().unwrap());
        let mut workers = Workers::new(0, &mut idle);
        for passing in [9, 10] {
            rows(passing, 2).iter().for_each(|row| refinement.push(row, &mut workers).unwrap());
            assert_eq!(refinement.passed(), passing);
            refinement.step(10, &mut workers).unwrap();
            assert_eq!((refinement.passed(), refinement.centres == centres), (0, passing < 10));
        }
    }

    #[test]
    fn centres_without_rows_stay() {
        let mut centres = vec![0.0; 2 * WIDTH];
        centres[WIDTH..].fill(1e6);
        let near = vec![vec![1.0; WIDTH], vec![3.0; WIDTH]];
        let mut wanted = vec![2.0; WIDTH];
        wanted.extend([1e6; WIDTH]);
        assert_eq!(refined(centres, &near, 1, 1 << 20).unwrap(), wanted);
    }
}
