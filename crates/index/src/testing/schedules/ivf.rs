//! Schedules on an ivfflat index. What must hold: a scan of all lists, at once or in batches, returns every row
//! that was committed and not deleted when it began, once; pages keep the store's protocol; at any moment, and
//! afterwards, the check finds nothing, and scans find every row.
#![cfg(any(test, feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Cast, Found, Method, Table, Values, one_of, together, unexpected};
use crate::ivf::centre_cache::Centres;
use crate::ivf::check::check;
use crate::ivf::insert::{InsertError, Inserter, insert};
use crate::ivf::lists::{BulkLists, NoTable, Services, Shape, Unpack};
use crate::ivf::scan::{Scan, ScanError, ScanSettings};
use crate::ivf::tally::Tally;
use crate::ivf::v1::Pages;
use crate::ivf::v1::layout::PAGE_ID;
use crate::ivf::vacuum::Vacuum;
use crate::space::{AnySpace, Dense, Metric, ValueBuf, ValueKind};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Tid};
use crate::testing::hnsw::row;
use crate::testing::stepped::Stepped;
use crate::testing::{MemBlocks, MemError, PAGE_SIZE};
use crate::work::runs::Runs;

/// Nothing leaves memory, and nothing is compressed.
struct Nothing;

impl Runs for Nothing {
    fn write(&mut self, _: &[u8]) {}
    fn end_run(&mut self) {}
    fn read(&mut self, _: usize, _: &mut [u8]) -> usize {
        0
    }
    fn clear(&mut self) {}
}

impl Unpack for Nothing {
    fn unpack(&mut self, _: &[u8], _: &mut ValueBuf) -> bool {
        false
    }
}

/// What a schedule is about.
struct Plan {
    space: Dense<f32>,
    dims: usize,
    values: Values,
    lists: usize,
    built: usize,
    cast: Cast,
}

impl Plan {
    fn draw(rng: &mut SmallRng) -> Self {
        // few entries on a page
        let dims = one_of(rng, &[60, 400, 900]);
        let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, Metric::L2, dims as i32) else {
            unreachable!()
        };
        let (values, lists, built) =
            (Values::draw(rng), rng.random_range(1..4), one_of(rng, &[0, 1, 12, 30]));
        Plan { space, dims, values, lists, built, cast: Cast::draw(rng) }
    }

    fn describe(&self) -> String {
        let Plan { dims, values, lists, built, cast, .. } = self;
        format!("{dims} dimensions, {lists} lists, {values:?}, {built} built, {cast:?}")
    }
}

/// What an inserter keeps.
#[derive(Default)]
struct Workspace {
    inserter: Inserter,
    centres: Centres,
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
        let Workspace { inserter, centres } = workspace;
        if rng.random_bool(0.2) {
            // what an error leaves of it is not used
            let loaded = centres.load(&mut Pages(blocks), self.space, usize::MAX);
            if let Err(error) = loaded {
                centres.clear();
                return Err(error);
            }
        }
        insert(&mut Pages(blocks), self.space, value.bytes(), row, inserter, centres).map_err(|error| {
            match error {
                InsertError::Store(error) => error,
                InsertError::Value(_) => MemError::Corrupt(Damage::at(0, "value of other dimensions").on(0)),
            }
        })
    }

    fn vacuum(&self, blocks: &mut Stepped, dead: &HashSet<u64>) -> Result<(), MemError> {
        Vacuum::default().run(&mut Pages(blocks), &mut |tid| dead.contains(&tid.packed()))
    }

    fn scan(&self, blocks: &mut Stepped, rng: &mut SmallRng, found: &mut Found<'_>) -> Result<(), String> {
        let value = self.value(rng);
        let query = (!rng.random_bool(0.05)).then(|| value.bytes());
        let mut centres = Centres::default();
        if rng.random_bool(0.3) {
            centres.load(&mut Pages(blocks), self.space, usize::MAX).map_err(|error| error.to_string())?;
        }
        scan(blocks, self, query, rng.random_range(1..=self.lists), &mut centres, found)
    }

    fn look(&self, mut blocks: MemBlocks, mut table: Table, rng: &mut SmallRng) -> Result<(), String> {
        settled(&mut blocks, self, &table, rng).map_err(|what| format!("at this moment: {what}"))?;
        vacuum(&mut blocks, &mut table)?;
        settled(&mut blocks, self, &table, rng).map_err(|what| format!("after a crash and a vacuum: {what}"))
    }
}

fn scan<B: BlockStore<Error = MemError>>(
    blocks: &mut B,
    plan: &Plan,
    query: Option<&[u8]>,
    probes: usize,
    centres: &mut Centres,
    found: &mut Found<'_>,
) -> Result<(), String> {
    let settings = ScanSettings { probes, asked: false, max_probes: plan.lists, memory: usize::MAX };
    let (mut runs, mut unpack, mut scan) = (Nothing, Nothing, Scan::default());
    let mut services = Services { runs: &mut runs, unpack: &mut unpack, table: &mut NoTable };
    let begun = scan.begin(&mut Pages(blocks), plan.space, query, &settings, centres);
    begun.map_err(|error| format!("{error:?}"))?;
    loop {
        match scan.next(&mut Pages(blocks), plan.space, query, &settings, &mut services) {
            Ok(Some(tid)) => found.add(tid)?,
            Ok(None) => return Ok(()),
            Err(ScanError::Store(error)) => return unexpected("scan", &error),
            Err(ScanError::Query(error)) => return Err(error.to_string()),
        }
    }
}

/// An index of empty lists, and the first rows inserted.
fn begin(plan: &Plan, rng: &mut SmallRng) -> Result<MemBlocks, MemError> {
    let mut blocks = MemBlocks::new(PAGE_ID);
    let centres: Vec<ValueBuf> = (0..plan.lists).map(|_| plan.value(rng)).collect();
    let value_size = centres.first().map_or(0, |centre| centre.bytes().len());
    let shape = Shape { dimensions: plan.dims as u16, value_size, page_size: PAGE_SIZE };
    let heads = Pages(&mut blocks).begin(shape, &vec![0; plan.lists], |at, out| {
        out.clear();
        out.extend_from_slice(centres[at].bytes());
    })?;
    for head in heads {
        Pages(&mut blocks).write_list(head, value_size, || None)?;
    }
    let Workspace { mut inserter, mut centres } = Workspace::default();
    for n in 0..plan.built {
        let value = plan.value(rng);
        let done =
            insert(&mut Pages(&mut blocks), plan.space, value.bytes(), row(n), &mut inserter, &mut centres);
        done.map_err(|_| MemError::Injected)?;
    }
    Ok(blocks)
}

/// What must hold when nobody is at work.
fn settled(blocks: &mut MemBlocks, plan: &Plan, table: &Table, rng: &mut SmallRng) -> Result<(), String> {
    let mut tally = Tally::default();
    check(&mut Pages(blocks), plan.space, true, &mut Nothing, &mut tally)
        .map_err(|error| format!("{error:?}"))?;
    let told: Vec<String> = tally.violations.iter().map(ToString::to_string).collect();
    if !told.is_empty() {
        return Err(told.join("\n"));
    }
    let places: BTreeMap<u64, usize> = table.places(&table.visible());
    for probes in [1, plan.lists] {
        let (value, mut found) = (plan.value(rng), Found::new(&places));
        scan(blocks, plan, Some(value.bytes()), probes, &mut Centres::default(), &mut found)?;
        found.end()?;
    }
    Ok(())
}

/// Runs the schedule of a seed; the steps it took.
///
/// # Errors
/// What does not hold, and what happened before.
pub fn run(seed: u64) -> Result<u64, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let plan = Plan::draw(&mut rng);
    run_plan(seed, &plan, &mut rng).map_err(|what| format!("seed {seed}: {what}\n{}", plan.describe()))
}

fn run_plan(seed: u64, plan: &Plan, rng: &mut SmallRng) -> Result<u64, String> {
    let mut blocks = begin(plan, rng).map_err(|error| format!("the build: {error}"))?;
    let table = Mutex::new(Table::built(plan.built));
    let steps = together(seed, plan, &blocks, &table, rng)?;
    let mut table = table.into_inner().unwrap_or_else(PoisonError::into_inner);
    settled(&mut blocks, plan, &table, rng)?;
    vacuum(&mut blocks, &mut table)?;
    settled(&mut blocks, plan, &table, rng).map_err(|what| format!("after one more vacuum: {what}"))?;
    Ok(steps)
}

/// A vacuum with nobody beside it.
fn vacuum(blocks: &mut MemBlocks, table: &mut Table) -> Result<(), String> {
    let dead = table.dead();
    let tids = table.tids(&dead);
    let done = Vacuum::default().run(&mut Pages(blocks), &mut |tid| tids.contains(&tid.packed()));
    done.map_err(|error| format!("a vacuum alone: {error}"))?;
    table.remove(&dead);
    Ok(())
}
