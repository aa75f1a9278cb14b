//! Random schedules of inserts, scans and vacuums on one hnsw index, step by step ([`super::turns`]), with rollbacks,
//! errors and cancels anywhere; and what must hold in them:
//! - a scan that goes on returns every row that was committed and not deleted when it began, once;
//! - no element is marked while somebody remembers it, nobody waits for ever, pages keep the store's protocol;
//! - afterwards the check finds nothing, layer 0 leads to every row, and one more vacuum changes nothing of that.
//!
//! A schedule follows from its seed.
#![cfg(any(test, feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::hnsw::{build, row, vector};
use super::memory::{MemBlocks, MemError};
use super::stepped::{Fate, Stepped};
use super::turns::{Over, Turns};
use crate::hnsw::check::{OutOfReach, Subject, check};
use crate::hnsw::insert::{Graph, Workspace, insert};
use crate::hnsw::scan::{IterativeScan, Scan, ScanError, ScanSettings};
use crate::hnsw::vacuum::Vacuum;
use crate::page::Tid;
use crate::space::{AnySpace, Dense, Metric, ValueBuf, ValueKind};

type Vectors = Dense<f32>;

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

/// The table: which rows there are, and which of them whom.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<Row>,
    /// heap TIDs that a vacuum set free
    free: Vec<Tid>,
    fresh: usize,
    /// rows that scans under way may see
    snapshots: BTreeMap<u64, BTreeSet<usize>>,
}

impl Table {
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

    /// A vacuum has removed these.
    fn remove(&mut self, rows: &[usize]) {
        for &at in rows {
            self.rows[at].removed = true;
            self.free.push(self.rows[at].tid);
        }
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

/// What a schedule is about.
#[derive(Clone)]
struct Plan {
    graph: Graph<Vectors>,
    metric: Metric,
    dims: usize,
    values: Values,
    built: usize,
    inserters: usize,
    scanners: usize,
    vacuums: usize,
    /// operations of each
    each: usize,
    /// how often operations fail
    trouble: f64,
    /// how much is deleted at a time
    deletes: f64,
}

impl Plan {
    fn new(rng: &mut SmallRng) -> Self {
        // wide values make small pages: few elements on each
        let dims = [2, 2, 60, 400][rng.random_range(0..4usize)];
        let metric = if rng.random_bool(0.8) { Metric::L2 } else { Metric::InnerProduct };
        let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, metric, dims as i32) else {
            unreachable!()
        };
        let m = [2, 2, 3, 4][rng.random_range(0..4usize)];
        let values = [Values::Spread, Values::Grid, Values::Clusters, Values::Equal];
        Plan {
            graph: Graph { space, m, ef_construction: m * rng.random_range(2..5) },
            metric,
            dims,
            values: values[rng.random_range(0..4usize)],
            built: [0, 1, 3, 12, 30][rng.random_range(0..5usize)],
            inserters: rng.random_range(1..4),
            scanners: rng.random_range(0..3),
            vacuums: rng.random_range(0..2),
            each: rng.random_range(1..10),
            trouble: [0.0, 0.1, 0.5][rng.random_range(0..3usize)],
            deletes: [0.0, 0.2, 0.6, 1.0][rng.random_range(0..4usize)],
        }
    }

    fn describe(&self) -> String {
        let Plan { graph, metric, dims, values, built, inserters, scanners, vacuums, each, .. } = self;
        format!(
            "{metric:?}, {dims} dimensions, {values:?}, m {}, ef_construction {}; {built} rows built, {inserters} \
             inserters, {scanners} scanners, {vacuums} vacuums, {each} operations each, trouble {}, deletes {}",
            graph.m, graph.ef_construction, self.trouble, self.deletes
        )
    }

    fn value(&self, rng: &mut SmallRng) -> ValueBuf {
        let mut elements = vec![0.0f32; self.dims];
        for element in &mut elements[..2] {
            *element = match self.values {
                Values::Spread => rng.random_range(-1.0..1.0),
                Values::Grid => rng.random_range(0..4) as f32,
                Values::Clusters => rng.random_range(0..3) as f32 * 1000.0 + rng.random_range(0.0..1.0),
                Values::Equal => f32::from(u8::from(rng.random_bool(0.05))),
            };
        }
        vector(&elements)
    }

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

/// One thread's part in a schedule.
struct Actor<'t> {
    me: usize,
    plan: &'t Plan,
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

impl Actor<'_> {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: String) {
        self.turns.note(self.me, what);
    }

    fn inserts(&mut self) -> Result<(), String> {
        let (mut workspace, plan) = (Workspace::new(), self.plan);
        for _ in 0..plan.each {
            if self.rng.random_bool(0.1) {
                let mut rng = self.rng.clone();
                self.table().delete(&mut rng, plan.deletes);
            }
            let value = plan.value(&mut self.rng);
            let mut rng = SmallRng::seed_from_u64(self.rng.random());
            let (at, tid) = self.table().add(&mut rng);
            self.blocks.begin(plan.fate(&mut self.rng, 200));
            self.note(format!("inserts {tid}"));
            let done = insert(&mut self.blocks, &plan.graph, &mut workspace, value.bytes(), tid, &mut rng);
            let commits = done.is_ok() && !self.rng.random_bool(plan.trouble / 4.0);
            self.note(format!("{} {tid}", if commits { "commits" } else { "aborts" }));
            self.blocks.end_transaction();
            let mut table = self.table();
            (table.rows[at].committed, table.rows[at].aborted) = (commits, !commits);
            drop(table);
            if let Err(error) = done {
                unexpected("insert", &error)?;
            }
            self.pass()?;
        }
        Ok(())
    }

    /// Between two operations.
    fn pass(&self) -> Result<(), String> {
        self.turns.step(self.me).map_err(|Over| String::new())
    }

    fn vacuums(&mut self) -> Result<(), String> {
        let plan = self.plan;
        for _ in 0..self.rng.random_range(1..4) {
            for _ in 0..self.rng.random_range(0..60) {
                self.pass()?;
            }
            let mut rng = SmallRng::seed_from_u64(self.rng.random());
            self.table().delete(&mut rng, plan.deletes);
            let dead = self.table().dead();
            let tids: HashSet<u64> = dead.iter().map(|&at| self.table().rows[at].tid.packed()).collect();
            self.blocks.begin(plan.fate(&mut self.rng, 1000));
            self.note(format!("vacuums {} rows", dead.len()));
            let done =
                Vacuum::new().run(&mut self.blocks, &plan.graph, &mut |tid| tids.contains(&tid.packed()));
            self.blocks.end_transaction();
            self.note(format!("has vacuumed: {done:?}"));
            match done {
                Ok(_) => self.table().remove(&dead),
                Err(error) => unexpected("vacuum", &error)?,
            }
        }
        Ok(())
    }

    fn scans(&mut self) -> Result<(), String> {
        let plan = self.plan;
        for _ in 0..self.rng.random_range(1..4) {
            for _ in 0..self.rng.random_range(0..60) {
                self.pass()?;
            }
            let value = plan.value(&mut self.rng);
            let query = (!self.rng.random_bool(0.05)).then(|| value.bytes());
            let ef_search = self.rng.random_range(1..6);
            self.blocks.begin(Fate::Runs);
            let mut id = self.rng.random();
            let snapshot = self.table().visible();
            while self.table().snapshots.contains_key(&id) {
                id = self.rng.random();
            }
            self.table().snapshots.insert(id, snapshot.clone());
            self.note(format!("scans {} rows", snapshot.len()));
            let places: BTreeMap<u64, usize> =
                snapshot.iter().map(|&at| (self.table().rows[at].tid.packed(), at)).collect();
            let found = scan(&mut self.blocks, plan, query, ef_search, &places);
            self.blocks.end_transaction();
            self.table().snapshots.remove(&id);
            self.note("has scanned".into());
            found?;
        }
        Ok(())
    }
}

/// Scans to the end; every row of `places` must come, once.
fn scan<B: crate::blocks::Blocks<Error = MemError>>(
    blocks: &mut B,
    plan: &Plan,
    query: Option<&[u8]>,
    ef_search: usize,
    places: &BTreeMap<u64, usize>,
) -> Result<(), String> {
    let iterative = IterativeScan::Relaxed;
    let settings = ScanSettings { ef_search, iterative, max_tuples: u64::MAX, max_memory: usize::MAX };
    let (mut state, mut found) = (Scan::new(), HashSet::new());
    loop {
        match state.next(blocks, plan.graph.space, query, &settings) {
            Ok(Some(tid)) => {
                // a row that another put in the place of one not visible is nobody's concern
                if let Some(&at) = places.get(&tid.packed())
                    && !found.insert(at)
                {
                    return Err(format!("row {tid} comes twice"));
                }
            }
            Ok(None) => break,
            Err(ScanError::Blocks(error)) => return unexpected("scan", &error),
            Err(ScanError::Query(error)) => return Err(error.to_string()),
        }
    }
    let missed: Vec<String> = places
        .iter()
        .filter(|(_, at)| !found.contains(at))
        .map(|(&packed, _)| Tid::from_packed(packed).to_string())
        .collect();
    if missed.is_empty() {
        return Ok(());
    }
    Err(format!("a scan of {} rows misses {}", places.len(), missed.join(" ")))
}

/// What must hold when nobody is at work.
fn settled(blocks: &mut MemBlocks, plan: &Plan, table: &Table, rng: &mut SmallRng) -> Result<(), String> {
    let mut found = Vec::new();
    let subject = Subject { space: AnySpace::Vector(plan.graph.space), unit: false };
    let mut report = |violation: crate::verify::Violation| found.push(violation.to_string());
    let census = check(blocks, &subject, true, &mut report).map_err(|error| format!("{error:?}"))?;
    let mut out_of_reach = OutOfReach::default();
    let mut places = BTreeMap::new();
    for at in table.visible() {
        let tid = table.rows[at].tid;
        places.insert(tid.packed(), at);
        match census.find(tid) {
            None => return Err(format!("row {tid} is not in the index")),
            Some(found) if !found.reached => out_of_reach.note(tid, found.element, &mut report),
            Some(_) => {}
        }
    }
    out_of_reach.end(&mut report);
    if std::env::var("VECTOR_SCHEDULE_ROWS").is_ok() {
        found.clear();
    }
    if !found.is_empty() {
        return Err(found.join("\n"));
    }
    for ef_search in [1, 10] {
        let value = plan.value(rng);
        scan(blocks, plan, Some(value.bytes()), ef_search, &places)?;
    }
    Ok(())
}

/// Runs the schedule of a seed; the steps it took.
///
/// # Errors
/// What does not hold, and what happened before.
pub fn run(seed: u64) -> Result<u64, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let plan = Plan::new(&mut rng);
    run_plan(seed, &plan, &mut rng).map_err(|what| format!("seed {seed}: {what}\n{}", plan.describe()))
}

fn run_plan(seed: u64, plan: &Plan, rng: &mut SmallRng) -> Result<u64, String> {
    let values: Vec<ValueBuf> = (0..plan.built).map(|_| plan.value(rng)).collect();
    let mut blocks = build(plan.graph.space, plan.dims as u32, &plan.graph, &values);
    let mut table = Table { fresh: plan.built, ..Table::default() };
    for n in 0..plan.built {
        let tid = row(n);
        table.rows.push(Row { tid, committed: true, aborted: false, deleted: false, removed: false });
    }
    settled(&mut blocks, plan, &table, rng).map_err(|what| format!("after the build: {what}"))?;
    if rng.random_bool(0.3) {
        // free pairs on the first pages
        table.delete(rng, 0.5);
        vacuum(&mut blocks, plan, &mut table)?;
    }

    let count = plan.inserters + plan.scanners + plan.vacuums;
    let turns = Arc::new(Turns::new(seed, count));
    let table = Mutex::new(table);
    std::thread::scope(|scope| {
        for me in 0..count {
            let (turns, table, share) = (&turns, &table, blocks.share());
            let rng = SmallRng::seed_from_u64(rng.random());
            scope.spawn(move || {
                let blocks = Stepped::new(share, Arc::clone(turns), me);
                let mut actor = Actor { me, plan, table, turns, blocks, rng };
                let done = catch_unwind(AssertUnwindSafe(|| {
                    turns.begin(me).map_err(|Over| String::new())?;
                    match me {
                        _ if me < plan.inserters => actor.inserts(),
                        _ if me < plan.inserters + plan.scanners => actor.scans(),
                        _ => actor.vacuums(),
                    }
                }));
                match done {
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
    let mut table = table.into_inner().unwrap_or_else(PoisonError::into_inner);
    settled(&mut blocks, plan, &table, rng)?;
    vacuum(&mut blocks, plan, &mut table)?;
    settled(&mut blocks, plan, &table, rng).map_err(|what| format!("after one more vacuum: {what}"))?;
    Ok(steps)
}

/// A vacuum with nobody beside it.
fn vacuum(blocks: &mut MemBlocks, plan: &Plan, table: &mut Table) -> Result<(), String> {
    let dead = table.dead();
    let tids: HashSet<u64> = dead.iter().map(|&at| table.rows[at].tid.packed()).collect();
    let done = Vacuum::new().run(blocks, &plan.graph, &mut |tid| tids.contains(&tid.packed()));
    done.map_err(|error| format!("a last vacuum: {error}"))?;
    table.remove(&dead);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn setting(name: &str) -> Option<u64> {
        std::env::var(name).ok()?.parse().ok()
    }

    /// `VECTOR_SCHEDULE_SEED` alone: the schedule of this seed. `VECTOR_SCHEDULE_SECONDS`: as many as that takes, from
    /// that seed on. Neither: a few hundred, always the same.
    #[test]
    fn every_row_is_found_whatever_the_order_of_steps() {
        let (seed, seconds) = (setting("VECTOR_SCHEDULE_SEED"), setting("VECTOR_SCHEDULE_SECONDS"));
        let first = seed.unwrap_or(1);
        let count = match (seed, seconds) {
            (_, Some(_)) => u64::MAX - first,
            (Some(_), None) => 1,
            (None, None) => 300,
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
        println!("{done} schedules of {steps} steps, seeds from {first}");
    }

    #[test]
    fn a_seed_is_a_schedule() {
        for seed in 1..20 {
            assert_eq!(run(seed), run(seed));
        }
    }
}
