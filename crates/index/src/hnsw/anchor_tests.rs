//! Every committed row can be reached at every moment, whatever was stopped where.
#![cfg(test)]

use std::collections::HashSet;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::anchor_table_tests::{DIMS, Table, faults, graph, picture};
use super::format::{Graph, Layout, insert};
use super::scan::{IterativeScan, ScanSettings};
use crate::space::{AnySpace, Metric, ValueBuf, ValueKind};
use crate::storage::blocks::{BlockStore, LockMode, OperationLock};
use crate::storage::page::{Damage, Tid};
use crate::testing::hnsw::{LAYOUTS, build_in, row, scan, vacuum, vector, workspace};
use crate::testing::{MemBlocks, MemChange, MemError};

/// Every layout with each of these numbers of connections.
fn each(ms: &[usize]) -> impl Iterator<Item = (Layout, usize)> {
    LAYOUTS.into_iter().flat_map(|layout| ms.iter().map(move |&m| (layout, m)))
}

/// Rounds of the long tests: `VECTOR_TEST_ROUNDS` times the short ones.
fn rounds(short: u64) -> u64 {
    let times = std::env::var("VECTOR_TEST_ROUNDS").ok().and_then(|times| times.parse::<u64>().ok());
    short * times.unwrap_or(1)
}

#[test]
fn every_row_is_reached_whatever_was_stopped() {
    for seed in 0..rounds(10) {
        for (layout, m) in each(&[2, 4, 16]) {
            let mut table = Table::new(layout, m, seed);
            for _ in 0..24 {
                table.step();
            }
        }
    }
}

#[test]
fn every_row_is_reached_at_every_moment() {
    for seed in 0..rounds(3) {
        for (layout, m) in each(&[2, 3]) {
            let mut table = Table::new(layout, m, 1000 + seed);
            (0..60).for_each(|_| table.insert());
            table.blocks.record();
            // what was committed by each change
            let mut known = vec![(0, table.committed.clone())];
            for step in 0..10 {
                if step % 3 == 2 {
                    // deleted rows need not be found from here on
                    table.delete(if step == 5 { 1.0 } else { 0.5 });
                    known.push((table.blocks.recorded(), table.committed.clone()));
                    table.vacuum().unwrap();
                } else {
                    for _ in 0..5 {
                        table.insert();
                        known.push((table.blocks.recorded(), table.committed.clone()));
                    }
                }
            }
            let mut at = 0;
            for changes in 0..=table.blocks.recorded() {
                while known.get(at + 1).is_some_and(|next| next.0 <= changes) {
                    at += 1;
                }
                let found = faults(&mut table.blocks.after(changes), m, &known[at].1);
                assert!(
                    found.is_empty(),
                    "{layout:?}, m {m}, seed {seed}: {found:#?} after {changes} changes"
                );
            }
        }
    }
}

/// Blocks that let others in wherever a vacuum holds nothing.
struct Visited<'h> {
    inner: MemBlocks,
    visit: &'h mut dyn FnMut(&'static str, &mut MemBlocks) -> Result<(), MemError>,
}

impl Visited<'_> {
    fn visit(&mut self, name: &'static str) -> Result<(), MemError> {
        let locks = [OperationLock::Update, OperationLock::Scan];
        let held =
            |lock| self.inner.holds(lock, LockMode::Shared) || self.inner.holds(lock, LockMode::Exclusive);
        if locks.into_iter().any(held) {
            return Ok(());
        }
        let mut other = self.inner.share();
        (self.visit)(name, &mut other)
    }
}

impl BlockStore for Visited<'_> {
    type Error = MemError;
    type Update<'a>
        = MemChange<'a>
    where
        Self: 'a;

    fn page_size(&self) -> usize {
        self.inner.page_size()
    }
    fn count(&mut self) -> Result<u32, MemError> {
        self.inner.count()
    }
    fn read<R>(&mut self, block: u32, look: impl FnOnce(&[u8]) -> Result<R, Damage>) -> Result<R, MemError> {
        self.inner.read(block, look)
    }
    fn update(&mut self) -> Result<MemChange<'_>, MemError> {
        self.inner.update()
    }
    fn lock(&mut self, lock: OperationLock, mode: LockMode) -> Result<(), MemError> {
        self.visit("lock")?;
        self.inner.lock(lock, mode)
    }
    fn unlock(&mut self, lock: OperationLock, mode: LockMode) {
        self.inner.unlock(lock, mode);
    }
    fn pause(&mut self) -> Result<(), MemError> {
        self.visit("pause")
    }
    fn fault_point(&mut self, name: &'static str) -> Result<(), MemError> {
        self.visit(name)
    }
}

/// Vacuums a table while others insert, now and then, and stops it at its `stop`-th step; returns whether it was.
fn vacuum_beside_inserts(table: &mut Table, every: u64, stop: u64) -> bool {
    let dead = table.dead.clone();
    let (inner, graph) = (table.blocks.share(), graph(table.m));
    let mut vacuum = vacuum(&mut table.blocks.share());
    let mut step = 0;
    let mut visit = |name: &'static str, other: &mut MemBlocks| {
        step += 1;
        if step == stop {
            return Err(MemError::Injected);
        }
        if step.is_multiple_of(every) {
            std::mem::swap(&mut table.blocks, other);
            table.insert();
            std::mem::swap(&mut table.blocks, other);
        }
        table.check(name);
        Ok(())
    };
    let mut blocks = Visited { inner, visit: &mut visit };
    let done = vacuum.run(&mut blocks, &graph, &mut |row: Tid| dead.contains(&row.packed()));
    drop(blocks);
    match done {
        Ok(_) => table.dead.retain(|row| !dead.contains(row)),
        Err(error) => assert_eq!(error, MemError::Injected, "after {:?}", table.story),
    }
    done.is_err()
}

#[test]
fn a_table_emptied_and_filled_while_a_vacuum_runs_loses_nothing() {
    for (layout, m) in each(&[2, 4, 16]) {
        for every in [1, 3] {
            let mut stop = 1;
            loop {
                let mut table = Table::new(layout, m, stop ^ every << 20);
                (0..90).for_each(|_| table.insert());
                table.delete(0.3);
                table.vacuum().unwrap();
                table.check("a vacuum");
                table.delete(1.0);
                let stopped = vacuum_beside_inserts(&mut table, every, stop);
                table.check("a vacuum beside inserts");
                (0..20).for_each(|_| table.insert());
                table.check("inserts after it");
                let stopped_again = vacuum_beside_inserts(&mut table, 7, stop / 2);
                table.check("another vacuum");
                if stopped_again {
                    (0..5).for_each(|_| table.insert());
                    table.check("inserts");
                }
                table.vacuum().unwrap();
                table.check("the last vacuum");
                if !stopped {
                    break;
                }
                // most steps are alike
                stop += 1 + stop / (2 * rounds(1));
            }
        }
    }
}

#[test]
fn equal_rows_leave_room_for_others() {
    for (layout, m) in each(&[2, 4, 16]) {
        let mut table = Table::new(layout, m, 5);
        let others: Vec<ValueBuf> = (0..150).map(|_| table.value()).collect();
        others.iter().for_each(|value| table.insert_value(value));
        let equal = vector(&[0.1; DIMS]);
        (0..600).for_each(|_| table.insert_value(&equal));
        table.check("equal rows");
        let shown = picture(&mut table.blocks, m);
        // ten rows an element, more or less; inline all share one
        let elements =
            shown.values().filter(|element| element.rows.iter().any(|tid| tid.packed() >= row(150).packed()));
        let count = elements.count();
        let expected = if layout == Layout::V1 { 60..=120 } else { 1..=1 };
        assert!(expected.contains(&count), "{layout:?}: {count} elements of 600 rows");
        table.delete(0.5);
        table.vacuum().unwrap();
        table.check("a vacuum");
        (0..100).for_each(|_| table.insert_value(&equal));
        table.check("more equal rows");
    }
}

#[test]
fn a_hub_whose_children_all_die_takes_new_elements() {
    for (layout, m) in each(&[2, 3]) {
        let mut table = Table::new(layout, m, 8);
        table.insert_value(&vector(&[0.0; DIMS]));
        // in all directions, each nearer to the middle than to the others
        for at in 0..40usize {
            let mut place = [0.0; DIMS];
            place[at % DIMS] = if at % 2 == 0 { 1.0 } else { -1.0 } * (1.0 + at as f32 / 100.0);
            place[(at + 1) % DIMS] = (at as f32).sin() / 3.0;
            table.insert_value(&vector(&place));
        }
        table.check("a hub");
        let hub = row(0).packed();
        table.committed.remove(&hub);
        table.delete(1.0);
        table.committed.insert(hub);
        // only the rows go
        table.blocks.stop_at(1);
        assert!(table.vacuum().is_err());
        table.blocks.fail_never();
        table.check("rows gone");
        for _ in 0..12 {
            table.insert();
            table.check("an insert");
        }
        table.vacuum().unwrap();
        table.check("a vacuum");
    }
}

#[test]
fn inserts_of_many_threads_beside_vacuums_lose_nothing() {
    for ((layout, m), seed) in (0..rounds(3)).flat_map(|seed| each(&[2, 4]).map(move |of| (of, seed))) {
        let mut table = Table::new(layout, m, 70 + seed);
        (0..60).for_each(|_| table.insert());
        table.delete(0.7);
        let (dead, graph) = (std::mem::take(&mut table.dead), graph(m));
        let mut tables: Vec<Table> = (1..=3u64)
            .map(|thread| {
                let (blocks, next) = (table.blocks.share(), 10_000 * thread as usize);
                Table { blocks, next, ..Table::new(layout, m, seed << 8 | thread) }
            })
            .collect();
        let mut blocks = table.blocks.share();
        std::thread::scope(|scope| {
            for table in &mut tables {
                scope.spawn(move || (0..60).for_each(|_| table.insert()));
            }
            scope.spawn(move || {
                let dead = |row: Tid| dead.contains(&row.packed());
                for stop in [2, 4, u64::MAX >> 1] {
                    let mut vacuum = vacuum(&mut blocks);
                    blocks.stop_at(stop);
                    let _ = vacuum.run(&mut blocks, &graph, &mut { &dead });
                    blocks.end_transaction();
                }
            });
        });
        for other in &tables {
            table.committed.extend(&other.committed);
        }
        table.check("inserts of three threads and three vacuums");
        table.delete(0.5);
        table.vacuum().unwrap();
        table.check("a vacuum");
    }
}

/// Every element's rows, to see which place a row has.
fn place_of(table: &mut Table, row: Tid) -> Option<u64> {
    let shown = picture(&mut table.blocks, table.m);
    shown.into_iter().find(|(_, element)| element.rows.contains(&row)).map(|(tid, _)| tid)
}

#[test]
fn an_element_that_nothing_leads_to_is_fastened_before_others_hang_on_it() {
    let mut fastened = 0;
    for ((layout, m), seed) in (0..12).flat_map(|seed| each(&[2]).map(move |of| (of, seed))) {
        let mut table = Table::new(layout, m, 300 + seed);
        (0..30).for_each(|_| table.insert());
        // stopped behind its pair: the row is aborted, and no vacuum knows that yet
        let stray = row(table.next);
        table.blocks.stop_at(2);
        table.insert_value(&vector(&[0.5, seed as f32, 0.75]));
        table.blocks.fail_never();
        let stray = place_of(&mut table, stray).unwrap();
        table.dead.clear();
        table.check("a stray element");
        let leads = |table: &mut Table| {
            let shown = picture(&mut table.blocks, m);
            shown.values().any(|element| element.ground.contains(&stray) || element.upper.contains(&stray))
        };
        assert!(!leads(&mut table), "an element that was not joined is named");
        // vacuums repair it, stopped or not, and inserts find it then
        for round in 0..6 {
            table.delete(0.2);
            table.blocks.fail_at(if round % 2 == 0 { 100 + 60 * round } else { u64::MAX >> 1 });
            let _ = table.vacuum();
            table.blocks.fail_never();
            table.check("a vacuum");
            (0..6).for_each(|_| table.insert());
            table.check("inserts");
        }
        fastened += usize::from(leads(&mut table));
    }
    assert!(fastened > 12, "{fastened}");
}

#[test]
fn a_stray_element_stays_fastened_while_all_else_is_exchanged() {
    for ((layout, m), seed) in each(&[2, 3]).flat_map(|of| (0..rounds(12)).map(move |seed| (of, seed))) {
        let mut table = Table::new(layout, m, 900 + seed);
        (0..20).for_each(|_| table.insert());
        table.blocks.stop_at(2);
        let value = table.value();
        table.insert_value(&value);
        table.blocks.fail_never();
        // of all that vacuum sees, only what nothing leads to lives
        table.dead.clear();
        table.delete(1.0);
        let dead = std::mem::take(&mut table.dead);
        let (inner, graph) = (table.blocks.share(), graph(m));
        let mut vacuum = vacuum(&mut table.blocks.share());
        let mut visits = 0;
        let mut visit = |name: &'static str, other: &mut MemBlocks| {
            visits += 1;
            if visits > 1 && visits < 9 && name == "lock" {
                std::mem::swap(&mut table.blocks, other);
                (0..20).for_each(|_| table.insert());
                std::mem::swap(&mut table.blocks, other);
            }
            table.check(name);
            Ok(())
        };
        let mut blocks = Visited { inner, visit: &mut visit };
        vacuum.run(&mut blocks, &graph, &mut |row: Tid| dead.contains(&row.packed())).unwrap();
        drop(blocks);
        table.check("a vacuum");
        (0..60).for_each(|_| table.insert());
        table.check("inserts");
    }
}

#[test]
fn a_search_through_all_that_is_dying_can_be_cancelled() {
    for layout in LAYOUTS {
        let mut table = Table::new(layout, 4, 12);
        (0..2500).for_each(|_| table.insert());
        table.delete(1.0);
        table.blocks.stop_at(1);
        assert!(table.vacuum().is_err());
        table.blocks.fail_never();
        table.blocks.reset_counts();
        table.insert();
        assert!(table.blocks.counts().pauses > 2, "{layout:?}: {:?}", table.blocks.counts());
        table.check("an insert");
    }
}

#[test]
fn the_only_element_left_takes_what_comes() {
    for ((layout, m), left) in each(&[2, 4, 16]).flat_map(|of| [(of, 0), (of, 7), (of, 39)]) {
        let mut table = Table::new(layout, m, 40 + left as u64);
        (0..40).for_each(|n| table.insert_value(&vector(&[n as f32, 1.0, 0.0])));
        let kept = row(left).packed();
        table.committed.remove(&kept);
        table.delete(1.0);
        table.committed.insert(kept);
        table.vacuum().unwrap();
        table.check("one is left");
        assert_eq!(picture(&mut table.blocks, m).len(), 1);
        (0..30).for_each(|_| table.insert());
        table.check("inserts");
    }
}

#[test]
fn an_unusual_insert_leaves_no_memory_behind() {
    let mut table = Table::new(Layout::V1, 16, 77);
    (0..20).for_each(|_| table.insert());
    let kept = table.workspace.v1.allocated();
    assert!(kept > 0);
    table.workspace.v1.links.slots_mut().reserve(4 << 20);
    table.insert();
    assert!(table.workspace.v1.allocated() < 16 << 20, "{}", table.workspace.v1.allocated());
}

/// By inner product the few longest vectors are near to everything, and everybody would be anchored at them:
/// their lists must lead to each other all the same.
#[test]
fn lists_of_what_is_near_to_everything_lead_on() {
    let space = match AnySpace::new(ValueKind::Vector, Metric::InnerProduct, DIMS as i32) {
        AnySpace::Vector(space) => space,
        _ => unreachable!(),
    };
    let (graph, rows) = (Graph { space, m: 16, ef_construction: 64 }, 1200);
    for layout in LAYOUTS {
        let mut rng = SmallRng::seed_from_u64(11);
        let mut blocks = build_in(layout, graph.space, DIMS as u32, &graph, &[]);
        let mut workspace = workspace(&mut blocks);
        let mut values: Vec<[f32; DIMS]> = Vec::new();
        for n in 0..rows {
            let value = [(); DIMS].map(|()| rng.random::<f32>());
            insert(&mut blocks, &graph, &mut workspace, vector(&value).bytes(), row(n), &mut rng).unwrap();
            values.push(value);
        }
        let settings = ScanSettings {
            ef_search: 40,
            iterative: IterativeScan::Off,
            max_tuples: u64::MAX,
            max_memory: usize::MAX,
        };
        let (mut right, mut asked) = (0, 0);
        for _ in 0..20 {
            let query = [(); DIMS].map(|()| rng.random::<f32>());
            let product = |n: usize| values[n].iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
            let mut nearest: Vec<usize> = (0..rows).collect();
            nearest.sort_by(|&a, &b| product(b).total_cmp(&product(a)));
            let (mut scan, literal) = (scan(&mut blocks), vector(&query));
            let mut found = HashSet::new();
            while found.len() < 20
                && let Some(tid) =
                    scan.next(&mut blocks, graph.space, Some(literal.bytes()), &settings).unwrap()
            {
                found.insert(tid.packed());
            }
            right += nearest[..20].iter().filter(|&&n| found.contains(&row(n).packed())).count();
            asked += 20;
        }
        assert!(right * 100 >= asked * 94, "{layout:?}: {right} of {asked} found");
    }
}
