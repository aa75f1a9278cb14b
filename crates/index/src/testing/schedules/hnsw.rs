//! Schedules on an hnsw index. What must hold:
//! - a scan that goes on returns every row that was committed and not deleted when it began, once;
//! - no element is marked while somebody remembers it, nobody waits for ever, pages keep the store's protocol;
//! - at any moment, and afterwards, the check finds nothing and layer 0 leads to every row, and one more vacuum changes
//!   nothing of that.
#![cfg(any(test, feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Cast, Found, Method, Table, Values, one_of, together, unexpected};
use crate::hnsw::check::{OutOfReach, Subject};
use crate::hnsw::format::{Cache, Graph, Layout, Opened, Scan, Vacuum, Workspace, check, insert, open};
use crate::hnsw::scan::{IterativeScan, ScanError, ScanSettings};
use crate::space::{AnySpace, Dense, Metric, ValueBuf, ValueKind};
use crate::storage::blocks::BlockStore;
use crate::storage::page::Tid;
use crate::storage::verify::Violation;
use crate::testing::hnsw::build_in;
use crate::testing::stepped::Stepped;
use crate::testing::{MemBlocks, MemError};

/// What a schedule is about.
struct Plan {
    layout: Layout,
    graph: Graph<Dense<f32>>,
    metric: Metric,
    dims: usize,
    values: Values,
    built: usize,
    cast: Cast,
}

impl Plan {
    fn draw(layout: Layout, rng: &mut SmallRng) -> Self {
        // wide values make small pages: few elements on each, or, inline, values elsewhere, in one piece or more
        let wide: &[usize] =
            if layout == Layout::V1 { &[2, 2, 60, 400] } else { &[2, 2, 60, 400, 1000, 2300, 6000] };
        let dims = one_of(rng, wide);
        let metric = if rng.random_bool(0.8) { Metric::L2 } else { Metric::InnerProduct };
        let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, metric, dims as i32) else {
            unreachable!()
        };
        let m = one_of(rng, &[2, 2, 3, 4]);
        let graph = Graph { space, m, ef_construction: m * rng.random_range(2..5) };
        let (values, built) = (Values::draw(rng), one_of(rng, &[0, 1, 3, 12, 30]));
        Plan { layout, graph, metric, dims, values, built, cast: Cast::draw(rng) }
    }

    fn describe(&self) -> String {
        let Plan { layout, graph, metric, dims, values, built, cast } = self;
        let Graph { m, ef_construction, .. } = graph;
        format!(
            "{layout:?}, {metric:?}, {dims} dimensions, m {m}, ef_construction {ef_construction}, {values:?}, {built} built, {cast:?}"
        )
    }
}

impl Method for Plan {
    type Workspace = Workspace;

    fn cast(&self) -> &Cast {
        &self.cast
    }

    fn value(&self, rng: &mut SmallRng) -> ValueBuf {
        self.values.value(rng, self.dims)
    }

    fn insert(
        &self,
        blocks: &mut Stepped,
        workspace: &mut Workspace,
        value: &ValueBuf,
        row: Tid,
        rng: &mut SmallRng,
    ) -> Result<(), MemError> {
        workspace.set_index(&opened(blocks)?);
        insert(blocks, &self.graph, workspace, value.bytes(), row, rng)
    }

    fn vacuum(&self, blocks: &mut Stepped, dead: &HashSet<u64>) -> Result<(), MemError> {
        let mut vacuum = Vacuum::new();
        vacuum.set_index(&opened(blocks)?);
        vacuum.run(blocks, &self.graph, &mut |tid| dead.contains(&tid.packed())).map(|_| ())
    }

    fn scan(&self, blocks: &mut Stepped, rng: &mut SmallRng, found: &mut Found<'_>) -> Result<(), String> {
        let value = self.value(rng);
        let query = (!rng.random_bool(0.05)).then(|| value.bytes());
        scan(blocks, self, query, rng.random_range(1..6), found)
    }

    fn look(&self, mut blocks: MemBlocks, mut table: Table, rng: &mut SmallRng) -> Result<(), String> {
        settled(&mut blocks, self, &table, rng).map_err(|what| format!("at this moment: {what}"))?;
        vacuum(&mut blocks, self, &mut table)?;
        settled(&mut blocks, self, &table, rng).map_err(|what| format!("after a crash and a vacuum: {what}"))
    }
}

fn opened<B: BlockStore<Error = MemError>>(blocks: &mut B) -> Result<Opened, MemError> {
    open(blocks, &mut Cache::new())
}

fn scan<B: BlockStore<Error = MemError>>(
    blocks: &mut B,
    plan: &Plan,
    query: Option<&[u8]>,
    ef_search: usize,
    found: &mut Found<'_>,
) -> Result<(), String> {
    let iterative = IterativeScan::Relaxed;
    let settings = ScanSettings { ef_search, iterative, max_tuples: u64::MAX, max_memory: usize::MAX };
    let mut scan = Scan::new();
    match opened(blocks) {
        Ok(opened) => scan.set_index(&opened),
        Err(error) => return unexpected("scan", &error),
    }
    loop {
        match scan.next(blocks, plan.graph.space, query, &settings) {
            Ok(Some(tid)) => found.add(tid)?,
            Ok(None) => return Ok(()),
            Err(ScanError::Store(error)) => return unexpected("scan", &error),
            Err(ScanError::Query(error)) => return Err(error.to_string()),
        }
    }
}

/// What must hold when nobody is at work.
fn settled(blocks: &mut MemBlocks, plan: &Plan, table: &Table, rng: &mut SmallRng) -> Result<(), String> {
    let mut told = Vec::new();
    let subject = Subject { space: AnySpace::Vector(plan.graph.space), unit: false };
    let mut report = |violation: Violation| told.push(violation.to_string());
    let census = check(plan.layout, blocks, &subject, true, &mut report);
    let census = census.map_err(|error| format!("{error:?}"))?;
    let mut out_of_reach = OutOfReach::default();
    let places: BTreeMap<u64, usize> = table.places(&table.visible());
    for &tid in places.keys() {
        let tid = Tid::from_packed(tid);
        match census.find(tid) {
            None => return Err(format!("row {tid} is not in the index")),
            Some(found) if !found.reached => out_of_reach.note(tid, found.element, &mut report),
            Some(_) => {}
        }
    }
    out_of_reach.end(&mut report);
    if !told.is_empty() {
        return Err(told.join("\n"));
    }
    for ef_search in [1, 10] {
        let (value, mut found) = (plan.value(rng), Found::new(&places));
        scan(blocks, plan, Some(value.bytes()), ef_search, &mut found)?;
        found.end()?;
    }
    Ok(())
}

/// Runs the schedule of a seed; the steps it took.
///
/// # Errors
/// What does not hold, and what happened before.
pub fn run(layout: Layout, seed: u64) -> Result<u64, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let plan = Plan::draw(layout, &mut rng);
    run_plan(seed, &plan, &mut rng).map_err(|what| format!("seed {seed}: {what}\n{}", plan.describe()))
}

fn run_plan(seed: u64, plan: &Plan, rng: &mut SmallRng) -> Result<u64, String> {
    let values: Vec<ValueBuf> = (0..plan.built).map(|_| plan.value(rng)).collect();
    let mut blocks = build_in(plan.layout, plan.graph.space, plan.dims as u32, &plan.graph, &values);
    let mut table = Table::built(plan.built);
    settled(&mut blocks, plan, &table, rng).map_err(|what| format!("after the build: {what}"))?;
    if rng.random_bool(0.3) {
        // free pairs on the first pages
        table.delete(rng, 0.5);
        vacuum(&mut blocks, plan, &mut table)?;
    }
    let table = Mutex::new(table);
    let steps = together(seed, plan, &blocks, &table, rng)?;
    let mut table = table.into_inner().unwrap_or_else(PoisonError::into_inner);
    settled(&mut blocks, plan, &table, rng)?;
    vacuum(&mut blocks, plan, &mut table)?;
    settled(&mut blocks, plan, &table, rng).map_err(|what| format!("after one more vacuum: {what}"))?;
    Ok(steps)
}

/// A vacuum with nobody beside it.
fn vacuum(blocks: &mut MemBlocks, plan: &Plan, table: &mut Table) -> Result<(), String> {
    let dead = table.dead();
    let tids = table.tids(&dead);
    let mut vacuum = Vacuum::new();
    vacuum.set_index(&opened(blocks).map_err(|error| error.to_string())?);
    let done = vacuum.run(blocks, &plan.graph, &mut |tid| tids.contains(&tid.packed()));
    done.map_err(|error| format!("a vacuum alone: {error}"))?;
    table.remove(&dead);
    Ok(())
}
