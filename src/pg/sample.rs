//! A sample of a table's rows for a build, every row equally likely: blocks chosen as ANALYZE chooses them, rows of
//! these by a reservoir.

use core::cell::{Cell, RefCell};

use pgrx::pg_sys::{self, ForkNumber};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use vector_index::work::memory;

use super::ereport::Report;
use super::interrupts;
use super::relation::Rel;
use super::table_scan::{Part, Values, scan_part};
use super::toast::ToastPointer;

/// Takes the row for a place of the sample: a whole varlena.
pub type Keep<'a> = dyn FnMut(usize, &[u8]) -> Result<(), Report> + 'a;

/// Shows `keep` rows that are not NULL, each with the place in the sample that it takes, maybe another's: after
/// the last, the rows in places below `target` are the sample. Places come in any order. Values of living rows
/// that are stored out of line are fetched when it is known which rows are in the sample, as far as `memory`
/// bytes suffice to remember them.
///
/// # Errors
/// The error of `keep`, for values fetched late; that for others is raised.
pub fn sample_table(
    heap: Rel<'_>,
    index: Rel<'_>,
    info: *mut pg_sys::IndexInfo,
    target: usize,
    memory: usize,
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
    let pending = Pending { places: RefCell::default(), most: memory / Pending::PLACE };
    let mut defer = |later| pending.set(place.get(), later);
    let mut row = |_, value: Option<&[u8]>| match value {
        Some(value) => {
            pending.forget(place.get());
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

/// Shows `row` the values, whole varlenas, of about this share of a table's rows, block by block: each block with the
/// same probability, and all its rows. The error of `row` is raised.
pub fn share_of_table(
    heap: Rel<'_>,
    index: Rel<'_>,
    info: *mut pg_sys::IndexInfo,
    share: f64,
    seed: u64,
    row: &mut dyn FnMut(&[u8]) -> Result<(), Report>,
) {
    let mut row = |_, value: Option<&[u8]>| value.map_or(Ok(()), &mut *row);
    let mut show = |part| scan_part(heap, index, info, part, &|| true, &mut |_| false, &mut row);
    if share >= NEARLY_ALL {
        show(Part::Whole);
        return;
    }
    let mut rng = SmallRng::seed_from_u64(seed);
    for block in 0..heap.blocks(ForkNumber::MAIN_FORKNUM) {
        if rng.random_bool(share.max(0.0)) {
            show(Part::Block(block));
        }
    }
}

/// How many rows an index of the table would have, about: as many to a block as some blocks have. What the catalog says
/// is a guess until the table is analysed, and says nothing of a predicate. More blocks are looked at while few of them
/// have rows, which may stand close together. No value is read.
pub fn count_rows(heap: Rel<'_>, index: Rel<'_>, info: *mut pg_sys::IndexInfo) -> f64 {
    let blocks = heap.blocks(ForkNumber::MAIN_FORKNUM);
    let found = Cell::new(0u64);
    let count = || {
        found.set(found.get() + 1);
        false
    };
    let mut step = blocks.div_ceil(COUNTED).max(1);
    loop {
        found.set(0);
        let (mut looked_at, mut with_rows) = (0u32, 0u32);
        for block in (step / 2..blocks).step_by(step as usize) {
            interrupts::check();
            let before = found.get();
            scan_part(heap, index, info, Part::Block(block), &count, &mut |_| false, &mut |_, _| Ok(()));
            looked_at += 1;
            with_rows += u32::from(found.get() > before);
        }
        if step == 1 || with_rows >= WITH_ROWS {
            return found.get() as f64 * f64::from(blocks) / f64::from(looked_at.max(1));
        }
        step = step.div_ceil(FURTHER);
    }
}

/// Blocks whose rows are counted at first, and how many of them have some where these say enough.
const COUNTED: u32 = 256;
const WITH_ROWS: u32 = 32;
/// So many times as many are looked at where they do not.
const FURTHER: u32 = 8;

/// A share of the blocks from which on all are scanned in one go.
const NEARLY_ALL: f64 = 0.8;

/// Values that are not fetched yet, by the place that they take in the sample.
struct Pending {
    places: RefCell<Vec<Option<ToastPointer>>>,
    /// places that may be kept
    most: usize,
}

impl Pending {
    /// Bytes of a place, while it grows and with its part of the order.
    const PLACE: usize = 2 * size_of::<Option<ToastPointer>>() + size_of::<u32>();

    /// Takes a value for a place; false when there is no memory, and it has to be fetched now.
    fn set(&self, place: usize, later: ToastPointer) -> bool {
        let mut places = self.places.borrow_mut();
        let longer = places.len().max(place + 1);
        if longer > self.most || memory::resize(&mut places, longer, None).is_err() {
            return false;
        }
        if let Some(pending) = places.get_mut(place) {
            *pending = Some(later);
        }
        true
    }

    /// The place has another value now.
    fn forget(&self, place: usize) {
        if let Some(pending) = self.places.borrow_mut().get_mut(place) {
            *pending = None;
        }
    }

    /// Fetches them in the order in which they were stored; without memory for an order, as they come.
    fn fetch(self, keep: &mut Keep<'_>) -> Result<(), Report> {
        let pending = self.places.into_inner();
        let later = |place: usize| pending.get(place).copied().flatten();
        let mut order = memory::collected(0..pending.len() as u32).unwrap_or_default();
        order.sort_unstable_by_key(|&place| later(place as usize).map(|later| later.number()));
        let mut values = Values::new();
        for at in 0..pending.len() {
            let place = order.get(at).map_or(at, |&place| place as usize);
            if let Some(later) = later(place) {
                interrupts::check();
                values.show(later, |value| keep(place, value))?;
            }
        }
        Ok(())
    }
}
