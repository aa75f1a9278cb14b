//! K-means: seeds, Lloyd's steps, and a few rounds of relocation between them.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use vector_kernels::kernels;

use super::lloyd::Lloyd;
use super::panels::{Centres, Component};
pub use super::plan::{Plan, memory, plan, scratch};
use super::sample::{Encoding, Sample};
use super::seed::{Seeds, seed};
use crate::work::memory::{self, OutOfMemory};
use crate::work::workers::Workers;

/// Steps after which clustering ends at the latest: pgvector's limit.
const STEPS: u32 = 500;

/// How often centres are relocated; one in `RELOCATED` the first time, fewer each time after.
const ROUNDS: usize = 5;
const RELOCATED: usize = 8;
/// A round ends when fewer than one row in this many changes its centre.
const SETTLED: usize = 64;

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
