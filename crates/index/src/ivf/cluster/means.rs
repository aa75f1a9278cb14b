//! Means of clusters, kept as sums that follow the rows which change sides: after the first steps those are
//! few, and the others need not be read again. What additions and subtractions round is forgotten when sums are
//! made again.

use super::panels::{Component, Group};
use super::sample::{Decoded, Encoding, Sample};
use crate::work::memory::{self, OutOfMemory};
use vector_kernels::kernels;

/// Steps after which sums are made again.
const ANEW: u32 = 16;
/// In a row's change: it came; otherwise it left.
const CAME: u32 = 1 << 31;
/// A row that is in no sum.
const NOWHERE: u32 = u32::MAX;

/// Sums of the rows of each centre.
#[derive(Debug)]
pub(super) struct Means<S> {
    sums: Vec<S>,
    per_centre: usize,
    /// per row: in whose sum it is
    holder: Vec<u32>,
    /// rows that came and left since, ordered by centre, and where each centre's begin
    changes: Vec<u32>,
    starts: Vec<u32>,
    steps: u32,
}

/// A centre's sum, and what it is to be brought up to date with.
#[derive(Debug)]
pub(super) struct Mean<'a, S> {
    sums: &'a mut [S],
    changes: &'a [u32],
}

impl<S: Copy + Default> Means<S> {
    /// No row yet.
    ///
    /// # Errors
    /// No memory.
    pub fn new(rows: usize, lists: usize, per_centre: usize) -> Result<Self, OutOfMemory> {
        Ok(Means {
            sums: memory::filled(S::default(), lists * per_centre)?,
            per_centre: per_centre.max(1),
            holder: memory::filled(NOWHERE, rows)?,
            // each row leaves one centre and comes to another
            changes: memory::with_room(2 * rows)?,
            starts: memory::filled(0, lists + 2)?,
            steps: 0,
        })
    }

    /// Bytes of memory, at most.
    pub fn memory(rows: u64, lists: u64, per_centre: u64) -> u64 {
        let sums = lists.saturating_mul(per_centre).saturating_mul(size_of::<S>() as u64);
        // a row that changes sides is in two lists of changes
        sums.saturating_add(rows.saturating_mul(12)).saturating_add(lists.saturating_mul(4))
    }

    /// Finds the rows that are no longer where they were.
    pub fn follow(&mut self, nearest: &[u32]) {
        if self.steps.is_multiple_of(ANEW) {
            self.sums.fill(S::default());
            self.holder.fill(NOWHERE);
        }
        self.steps += 1;
        // a centre's changes end where the next one's begin, two further on while they are counted
        self.starts.fill(0);
        let mut count = |centre: u32| {
            if let Some(start) = self.starts.get_mut((centre as usize).saturating_add(2)) {
                *start += 1;
            }
        };
        let moves = self.holder.iter().zip(nearest).filter(|(was, now)| was != now);
        moves.for_each(|(&was, &now)| [was, now].into_iter().filter(|&c| c != NOWHERE).for_each(&mut count));
        for i in 1..self.starts.len() {
            self.starts[i] += self.starts[i - 1];
        }
        self.changes.clear();
        self.changes.resize(self.starts.last().copied().unwrap_or_default() as usize, 0);
        for (row, (was, &now)) in self.holder.iter_mut().zip(nearest).enumerate() {
            if *was == now {
                continue;
            }
            for (centre, change) in [(*was, row as u32), (now, row as u32 | CAME)] {
                if centre == NOWHERE {
                    continue;
                }
                let place = self.starts.get_mut(centre as usize + 1);
                if let Some((place, to)) =
                    place.and_then(|place| self.changes.get_mut(*place as usize).map(|to| (place, to)))
                {
                    *to = change;
                    *place += 1;
                }
            }
            *was = now;
        }
    }

    /// Every centre's, in order.
    pub fn each(&mut self) -> impl Iterator<Item = Mean<'_, S>> {
        let (changes, starts) = (&self.changes, &self.starts);
        let ranges = starts
            .windows(2)
            .map(|range| changes.get(range[0] as usize..range[1] as usize).unwrap_or_default());
        let sums = self.sums.chunks_mut(self.per_centre);
        sums.zip(ranges).map(|(sums, changes)| Mean { sums, changes })
    }
}

impl<S> Mean<'_, S> {
    /// Whether rows came or left.
    pub fn changed(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Brings the sum up to date, and moves a centre to the mean of its `count` rows; returns how far.
    pub fn move_centre<T: Encoding<Component: Component<Sum = S>>>(
        &mut self,
        sample: &Sample<T>,
        count: u32,
        group: &mut Group<'_, T::Component>,
        column: usize,
        mean: &mut [T::Component],
    ) -> f32 {
        let mut room = Decoded::default();
        for change in self.changes {
            room.clear(sample.width());
            room.push(sample.row((change & !CAME) as usize));
            if change & CAME == 0 {
                T::Component::take(self.sums, room.row(0));
            } else {
                T::Component::add(self.sums, room.row(0));
            }
        }
        settle(sample, self.sums, count, group, column, mean)
    }
}

/// Moves a centre to the mean of `rows`, all of them read; returns how far. `sums` is room.
pub(super) fn move_to_mean<T: Encoding>(
    sample: &Sample<T>,
    rows: &[u32],
    sums: &mut Vec<<T::Component as Component>::Sum>,
    group: &mut Group<'_, T::Component>,
    column: usize,
    mean: &mut [T::Component],
) -> f32 {
    sums.clear();
    sums.resize(T::Component::sums(sample.width()), Default::default());
    let mut room = Decoded::default();
    for &row in rows {
        room.clear(sample.width());
        room.push(sample.row(row as usize));
        T::Component::add(sums, room.row(0));
    }
    settle(sample, sums, rows.len() as u32, group, column, mean)
}

/// Moves a centre to the mean of the `count` rows in `sums`; returns how far.
fn settle<T: Encoding>(
    sample: &Sample<T>,
    sums: &[<T::Component as Component>::Sum],
    count: u32,
    group: &mut Group<'_, T::Component>,
    column: usize,
    mean: &mut [T::Component],
) -> f32 {
    if count == 0 {
        return 0.0;
    }
    T::Component::mean(sums, count, mean);
    // rows that cancel out have no direction: the centre stays
    if sample.normalized() && !T::Component::normalize(kernels(), mean) {
        return 0.0;
    }
    let moved = T::Component::distance(kernels(), group.row(column), mean).sqrt();
    group.set(column, mean);
    moved
}
