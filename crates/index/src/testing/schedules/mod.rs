//! Random schedules: inserts, scans and vacuums on one index, interleaved step by step ([`super::turns`]), with
//! rollbacks, errors and cancels anywhere. A schedule follows from its seed. Here is the table, which says what must be
//! found; what is done and what must hold is in a file for each access method.
#![cfg(any(test, feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

pub mod hnsw;
pub mod ivf;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::hnsw::{row, vector};
use super::memory::{MemBlocks, MemError};
use super::stepped::{Fate, Stepped};
use super::turns::{Over, Turns};
use crate::space::ValueBuf;
use crate::storage::page::Tid;

/// What stands on the index's pages for a row, from its insert to its removal.
#[derive(Clone, Copy, Debug)]
struct Row {
    tid: Tid,
    committed: bool,
    /// never to be committed
    aborted: bool,
    deleted: bool,
    /// out of the index
    removed: bool,
}

impl Row {
    fn is_visible(&self) -> bool {
        self.committed && !self.deleted
    }
}

/// The table: which rows there are, and who may see which.
#[derive(Clone, Debug, Default)]
struct Table {
    rows: Vec<Row>,
    /// heap TIDs that a vacuum set free
    free: Vec<Tid>,
    fresh: usize,
    /// rows that scans under way may see
    snapshots: BTreeMap<usize, BTreeSet<usize>>,
    scans: usize,
}

impl Table {
    /// The table of rows that a build found.
    fn built(count: usize) -> Self {
        let row = |n| Row { tid: row(n), committed: true, aborted: false, deleted: false, removed: false };
        Table { rows: (0..count).map(row).collect(), fresh: count, ..Table::default() }
    }

    /// A row about to be inserted.
    fn add(&mut self, rng: &mut SmallRng) -> (usize, Tid) {
        let tid = match self.free.len() {
            0 => None,
            n if rng.random_bool(0.5) => Some(self.free.swap_remove(rng.random_range(0..n))),
            _ => None,
        };
        let tid = tid.unwrap_or_else(|| {
            self.fresh += 1;
            row(self.fresh - 1)
        });
        self.rows.push(Row { tid, committed: false, aborted: false, deleted: false, removed: false });
        (self.rows.len() - 1, tid)
    }

    fn visible(&self) -> BTreeSet<usize> {
        (0..self.rows.len()).filter(|&at| self.rows[at].is_visible()).collect()
    }

    /// The rows of these places, by packed TID.
    fn places(&self, rows: &BTreeSet<usize>) -> BTreeMap<u64, usize> {
        rows.iter().map(|&at| (self.rows[at].tid.packed(), at)).collect()
    }

    /// Deletes about such a share of the rows.
    fn delete(&mut self, rng: &mut SmallRng, share: f64) {
        for row in self.rows.iter_mut().filter(|row| row.is_visible()) {
            row.deleted = rng.random_bool(share);
        }
    }

    /// The rows that nobody can see any more.
    fn dead(&self) -> Vec<usize> {
        let seen = |at: &usize| self.snapshots.values().any(|rows| rows.contains(at));
        let gone = |at: &usize| {
            let row = &self.rows[*at];
            !row.removed && (row.aborted || row.committed && row.deleted)
        };
        (0..self.rows.len()).filter(|at| gone(at) && !seen(at)).collect()
    }

    /// The table after a crash: what was not committed never will be, and nobody scans.
    fn crashed(&self) -> Self {
        let mut table = Table { snapshots: BTreeMap::new(), ..self.clone() };
        for row in table.rows.iter_mut().filter(|row| !row.committed) {
            row.aborted = true;
        }
        table
    }

    fn tids(&self, rows: &[usize]) -> HashSet<u64> {
        rows.iter().map(|&at| self.rows[at].tid.packed()).collect()
    }

    /// A vacuum has removed these.
    fn remove(&mut self, rows: &[usize]) {
        for &at in rows {
            self.rows[at].removed = true;
            self.free.push(self.rows[at].tid);
        }
    }
}

/// What a scan has found of the rows that it must find.
struct Found<'p> {
    places: &'p BTreeMap<u64, usize>,
    rows: HashSet<usize>,
}

impl<'p> Found<'p> {
    fn new(places: &'p BTreeMap<u64, usize>) -> Self {
        Found { places, rows: HashSet::new() }
    }

    fn add(&mut self, tid: Tid) -> Result<(), String> {
        // a row that was not visible, or another in its place, is nobody's concern
        match self.places.get(&tid.packed()) {
            Some(&at) if !self.rows.insert(at) => Err(format!("row {tid} comes twice")),
            _ => Ok(()),
        }
    }

    fn end(self) -> Result<(), String> {
        let missed = self.places.iter().filter(|(_, at)| !self.rows.contains(at));
        let missed: Vec<String> = missed.map(|(&tid, _)| Tid::from_packed(tid).to_string()).collect();
        if missed.is_empty() {
            return Ok(());
        }
        Err(format!("a scan of {} rows misses {}", self.places.len(), missed.join(" ")))
    }
}

/// Where values lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    /// anywhere
    Spread,
    /// on a small grid: many equal distances, and equal values
    Grid,
    /// in clusters far from each other
    Clusters,
    /// nearly all the same
    Equal,
}

impl Values {
    fn draw(rng: &mut SmallRng) -> Self {
        one_of(rng, &[Values::Spread, Values::Grid, Values::Clusters, Values::Equal])
    }

    fn value(self, rng: &mut SmallRng, dims: usize) -> ValueBuf {
        let mut elements = vec![0.0f32; dims];
        for element in &mut elements[..2] {
            *element = match self {
                Values::Spread => rng.random_range(-1.0..1.0),
                Values::Grid => rng.random_range(0..4) as f32,
                Values::Clusters => rng.random_range(0..3) as f32 * 1000.0 + rng.random_range(0.0..1.0),
                Values::Equal => f32::from(u8::from(rng.random_bool(0.05))),
            };
        }
        vector(&elements)
    }
}

fn one_of<T: Copy>(rng: &mut SmallRng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}

/// Who does what, how much, and how it goes.
#[derive(Clone, Copy, Debug)]
struct Cast {
    inserters: usize,
    scanners: usize,
    vacuums: usize,
    /// who looks whether all is well, in the middle of things
    watchers: usize,
    /// inserts of each inserter
    each: usize,
    /// how often operations fail
    trouble: f64,
    /// how much is deleted at a time
    deletes: f64,
}

impl Cast {
    fn draw(rng: &mut SmallRng) -> Self {
        Cast {
            inserters: rng.random_range(1..4),
            scanners: rng.random_range(0..3),
            vacuums: rng.random_range(0..2),
            watchers: rng.random_range(0..2),
            each: rng.random_range(1..10),
            trouble: one_of(rng, &[0.0, 0.1, 0.5]),
            deletes: one_of(rng, &[0.0, 0.2, 0.6, 1.0]),
        }
    }

    /// How an operation of about `calls` calls ends.
    fn fate(&self, rng: &mut SmallRng, calls: u64) -> Fate {
        if !rng.random_bool(self.trouble) {
            return Fate::Runs;
        }
        if rng.random_bool(0.5) {
            Fate::Fails(rng.random_range(1..calls))
        } else {
            Fate::Cancelled(rng.random_range(0..calls / 8))
        }
    }
}

/// The operations of an access method.
trait Method: Sync {
    fn cast(&self) -> &Cast;
    fn value(&self, rng: &mut SmallRng) -> ValueBuf;
    /// What an inserter keeps from one insert to the next.
    type Workspace: Default;
    fn insert(
        &self,
        blocks: &mut Stepped,
        workspace: &mut Self::Workspace,
        value: &ValueBuf,
        row: Tid,
        rng: &mut SmallRng,
    ) -> Result<(), MemError>;
    fn vacuum(&self, blocks: &mut Stepped, dead: &HashSet<u64>) -> Result<(), MemError>;
    /// A scan that must find all rows of `found`.
    fn scan(&self, blocks: &mut Stepped, rng: &mut SmallRng, found: &mut Found<'_>) -> Result<(), String>;
    /// Looks at the index as it stands, which is the index after a crash of this moment as well.
    fn look(&self, blocks: MemBlocks, table: Table, rng: &mut SmallRng) -> Result<(), String>;
}

/// One thread's part in a schedule.
struct Actor<'t, M> {
    me: usize,
    method: &'t M,
    table: &'t Mutex<Table>,
    turns: &'t Turns,
    blocks: Stepped,
    rng: SmallRng,
}

/// Why an operation is not carried through, other than that it was to fail.
fn unexpected(what: &str, error: &MemError) -> Result<(), String> {
    match error {
        MemError::Injected => Ok(()),
        MemError::Corrupt(corruption) => Err(format!("{what}: {corruption}")),
    }
}

impl<M: Method> Actor<'_, M> {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: String) {
        self.turns.note(self.me, what);
    }

    fn fork(&mut self) -> SmallRng {
        SmallRng::seed_from_u64(self.rng.random())
    }

    /// Lets others go first, some times.
    fn linger(&mut self, most: u32) -> Result<(), String> {
        for _ in 0..self.rng.random_range(1..=most) {
            // it has failed: why is known
            self.turns.step(self.me).map_err(|Over| String::new())?;
        }
        Ok(())
    }

    fn plays(&mut self) -> Result<(), String> {
        self.turns.begin(self.me).map_err(|Over| String::new())?;
        let Cast { inserters, scanners, watchers, .. } = *self.method.cast();
        match self.me {
            me if me < inserters => self.inserts(),
            me if me < inserters + scanners => self.scans(),
            me if me < inserters + scanners + watchers => self.watches(),
            _ => self.vacuums(),
        }
    }

    fn inserts(&mut self) -> Result<(), String> {
        let (cast, mut workspace) = (*self.method.cast(), M::Workspace::default());
        for _ in 0..cast.each {
            let mut rng = self.fork();
            if rng.random_bool(0.1) {
                self.table().delete(&mut rng, cast.deletes);
            }
            let value = self.method.value(&mut rng);
            let (at, tid) = self.table().add(&mut rng);
            self.blocks.begin(cast.fate(&mut rng, 200));
            self.note(format!("inserts {tid}"));
            let done = self.method.insert(&mut self.blocks, &mut workspace, &value, tid, &mut rng);
            let commits = done.is_ok() && !rng.random_bool(cast.trouble / 4.0);
            self.note(format!("{} {tid}", if commits { "commits" } else { "aborts" }));
            self.blocks.end_transaction();
            let mut table = self.table();
            (table.rows[at].committed, table.rows[at].aborted) = (commits, !commits);
            drop(table);
            if let Err(error) = done {
                unexpected("insert", &error)?;
            }
            self.linger(1)?;
        }
        Ok(())
    }

    fn vacuums(&mut self) -> Result<(), String> {
        let cast = *self.method.cast();
        for _ in 0..self.rng.random_range(1..4) {
            self.linger(60)?;
            let mut rng = self.fork();
            self.table().delete(&mut rng, cast.deletes);
            let dead = self.table().dead();
            let tids = self.table().tids(&dead);
            self.blocks.begin(cast.fate(&mut rng, 1000));
            self.note(format!("vacuums {} rows", dead.len()));
            let done = self.method.vacuum(&mut self.blocks, &tids);
            self.blocks.end_transaction();
            self.note(format!("has vacuumed: {done:?}"));
            match done {
                Ok(()) => self.table().remove(&dead),
                Err(error) => unexpected("vacuum", &error)?,
            }
        }
        Ok(())
    }

    fn watches(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.random_range(1..8) {
            self.linger(20)?;
            let mut rng = self.fork();
            let (copy, table) = (self.blocks.copy(), self.table().crashed());
            self.note("looks".into());
            self.method.look(copy, table, &mut rng)?;
        }
        Ok(())
    }

    fn scans(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.random_range(1..4) {
            self.linger(60)?;
            let mut rng = self.fork();
            self.blocks.begin(Fate::Runs);
            let snapshot = self.table().visible();
            let places = self.table().places(&snapshot);
            let id = {
                let mut table = self.table();
                table.scans += 1;
                let id = table.scans;
                table.snapshots.insert(id, snapshot);
                id
            };
            self.note(format!("scans {} rows", places.len()));
            let mut found = Found::new(&places);
            let done = self.method.scan(&mut self.blocks, &mut rng, &mut found);
            self.blocks.end_transaction();
            self.table().snapshots.remove(&id);
            self.note("has scanned".into());
            done?;
            found.end()?;
        }
        Ok(())
    }
}

/// Runs the cast's parts together; the steps they took.
fn together<M: Method>(
    seed: u64,
    method: &M,
    blocks: &MemBlocks,
    table: &Mutex<Table>,
    rng: &mut SmallRng,
) -> Result<u64, String> {
    let Cast { inserters, scanners, vacuums, watchers, .. } = *method.cast();
    let count = inserters + scanners + watchers + vacuums;
    let turns = Arc::new(Turns::new(seed, count));
    std::thread::scope(|scope| {
        for me in 0..count {
            let (turns, share) = (&turns, blocks.share());
            let rng = SmallRng::seed_from_u64(rng.random());
            scope.spawn(move || {
                let blocks = Stepped::new(share, Arc::clone(turns), me);
                let mut actor = Actor { me, method, table, turns, blocks, rng };
                match catch_unwind(AssertUnwindSafe(|| actor.plays())) {
                    Ok(Ok(())) => {}
                    Ok(Err(what)) => turns.fail(what),
                    Err(panic) => {
                        let what = panic.downcast_ref::<String>().cloned();
                        turns.fail(what.unwrap_or_else(|| "panicked".into()));
                    }
                }
                turns.end(me);
            });
        }
    });
    let Some(turns) = Arc::into_inner(turns) else { return Err("somebody still runs".into()) };
    let steps = turns.outcome()?;
    if blocks.counts().descending > 0 {
        return Err("blocks of a change were not opened in ascending order".into());
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::hnsw::format::Layout;
    use crate::testing::hnsw::LAYOUTS;

    fn setting(name: &str) -> Option<u64> {
        std::env::var(name).ok()?.parse().ok()
    }

    /// `VECTOR_SCHEDULE_SEED` alone: the schedule of this seed. `VECTOR_SCHEDULE_SECONDS`: as many as that takes, from
    /// that seed on. Neither: so many, always the same.
    fn run_all(what: &str, short: u64, run: impl Fn(u64) -> Result<u64, String>) {
        let (seed, seconds) = (setting("VECTOR_SCHEDULE_SEED"), setting("VECTOR_SCHEDULE_SECONDS"));
        let first = seed.unwrap_or(1);
        let count = match (seed, seconds) {
            (_, Some(_)) => u64::MAX - first,
            (Some(_), None) => 1,
            (None, None) => short,
        };
        let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let (mut steps, mut done) = (0, 0);
        for seed in first..first + count {
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                break;
            }
            match run(seed) {
                Ok(taken) => (steps, done) = (steps + taken, done + 1),
                Err(what) => panic!("{what}"),
            }
        }
        println!("{what}: {done} schedules of {steps} steps, seeds from {first}");
    }

    #[test]
    fn every_row_of_hnsw_is_found_whatever_the_order_of_steps() {
        run_all("hnsw", 80, |seed| hnsw::run(Layout::V1, seed));
    }

    #[test]
    fn every_row_of_inline_hnsw_is_found_whatever_the_order_of_steps() {
        run_all("inline hnsw", 80, |seed| hnsw::run(Layout::Inline, seed));
    }

    #[test]
    fn every_row_of_ivfflat_is_found_whatever_the_order_of_steps() {
        run_all("ivfflat", 60, ivf::run);
    }

    #[test]
    fn a_seed_is_a_schedule() {
        for seed in 1..6 {
            for layout in LAYOUTS {
                assert_eq!(hnsw::run(layout, seed), hnsw::run(layout, seed));
            }
            assert_eq!(ivf::run(seed), ivf::run(seed));
        }
    }
}
