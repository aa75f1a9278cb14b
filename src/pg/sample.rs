//! A sample of a table's rows for a build, every row equally likely: blocks chosen as ANALYZE chooses them, rows of
//! these by a reservoir.

use core::cell::{Cell, RefCell};

use pgrx::pg_sys::{self, ForkNumber};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::build::{Part, Values, scan_part};
use super::ereport::Report;
use super::interrupts;
use super::relation::Rel;
use super::toast::Later;

/// Takes the row for a place of the sample: a whole varlena.
pub type Keep<'a> = dyn FnMut(usize, &[u8]) -> Result<(), Report> + 'a;

/// Shows `keep` rows that are not NULL, each with the place in the sample that it takes, maybe another's: after the last,
/// the rows in places below `target` are the sample. Places come in any order. Values stored out of line are fetched
/// when it is known which rows are in the sample.
///
/// # Errors
/// The error of `keep`, for values fetched late; that for others is raised.
pub fn sample_table(
    heap: Rel<'_>,
    index: Rel<'_>,
    info: *mut pg_sys::IndexInfo,
    target: usize,
    seed: u64,
    keep: &mut Keep<'_>,
) -> Result<(), Report> {
    let mut blocks_rng = SmallRng::seed_from_u64(seed);
    let rng = Cell::new(Some(SmallRng::seed_from_u64(seed.wrapping_add(1))));
    let (seen, place) = (Cell::new(0u64), Cell::new(0usize));
    // the n-th row takes a place with the probability target / n
    let wants = || {
        let row = seen.replace(seen.get() + 1);
        let chosen = if row < target as u64 {
            row
        } else if let Some(mut random) = rng.take() {
            let chosen = random.random_range(0..=row);
            rng.set(Some(random));
            chosen
        } else {
            row
        };
        place.set(chosen as usize);
        chosen < target as u64
    };
    let pending = Pending::default();
    let mut defer = |later| {
        pending.set(place.get(), Some(later));
        true
    };
    let mut row = |_, value: Option<&[u8]>| match value {
        Some(value) => {
            pending.set(place.get(), None);
            keep(place.get(), value)
        }
        None => Ok(()),
    };
    let blocks = heap.blocks(ForkNumber::MAIN_FORKNUM);
    if blocks as usize <= target {
        scan_part(heap, index, info, Part::Whole, &wants, &mut defer, &mut row);
    }
    // each block with the probability of those still wanted among those left (Knuth, algorithm S)
    let mut wanted = if blocks as usize <= target { 0 } else { target as u64 };
    for block in 0..blocks {
        if wanted == 0 {
            break;
        }
        if blocks_rng.random_range(0..u64::from(blocks - block)) < wanted {
            wanted -= 1;
            scan_part(heap, index, info, Part::Block(block), &wants, &mut defer, &mut row);
        }
    }
    pending.fetch(keep)
}

/// Values that are not fetched yet, by the place that they take in the sample.
#[derive(Default)]
struct Pending(RefCell<Vec<Option<Later>>>);

impl Pending {
    fn set(&self, place: usize, later: Option<Later>) {
        let mut pending = self.0.borrow_mut();
        if pending.len() <= place {
            pending.resize(place + 1, None);
        }
        if let Some(pending) = pending.get_mut(place) {
            *pending = later;
        }
    }

    /// Fetches them in the order in which they were stored.
    fn fetch(self, keep: &mut Keep<'_>) -> Result<(), Report> {
        let pending = self.0.into_inner();
        let mut order: Vec<(u32, usize)> = pending
            .iter()
            .enumerate()
            .filter_map(|(place, later)| later.map(|later| (later.number(), place)))
            .collect();
        order.sort_unstable();
        let mut values = Values::new();
        for (_, place) in order {
            if let Some(later) = pending.get(place).copied().flatten() {
                interrupts::check();
                values.show(later, |value| keep(place, value))?;
            }
        }
        Ok(())
    }
}
