//! Indexes of every layout are healthy after each change of their lives, after failures anywhere, and when several
//! backends work on them.
#![cfg(test)]

use std::sync::atomic::{AtomicUsize, Ordering};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Subject, Tally};
use crate::hnsw::format::{Graph, Layout, Scan, check, insert};
use crate::hnsw::scan::{IterativeScan, ScanSettings};
use crate::space::{AnySpace, Dense, ValueBuf};
use crate::storage::page::Tid;
use crate::storage::verify::Violation;
use crate::testing::hnsw::{
    DIMS, build_in, graph, graph_of, insert_all, random_vectors, row, scan, vacuum, workspace,
};
use crate::testing::{MemBlocks, MemError};

/// Layout and dimensions: pages hold several records; or one without its value; or one whose rest takes pages.
const KINDS: [(Layout, usize); 4] =
    [(Layout::V1, DIMS), (Layout::Inline, DIMS), (Layout::Inline, 2000), (Layout::Inline, 3000)];

/// An index with what it is.
struct Life {
    layout: Layout,
    dims: usize,
    graph: Graph<Dense<f32>>,
    blocks: MemBlocks,
    rng: SmallRng,
}

impl Life {
    fn new((layout, dims): (Layout, usize), values: &[ValueBuf]) -> Self {
        let graph = if dims == DIMS { graph() } else { graph_of(dims) };
        let blocks = build_in(layout, graph.space, dims as u32, &graph, values);
        Life { layout, dims, graph, blocks, rng: SmallRng::seed_from_u64(2) }
    }

    fn with(&self, blocks: MemBlocks) -> Self {
        Life { blocks, rng: SmallRng::seed_from_u64(3), ..*self }
    }

    fn insert(&mut self, first: usize, values: &[ValueBuf]) {
        insert_all(&mut self.blocks, &self.graph, first, values, &mut self.rng);
    }

    fn vacuum(&mut self, mut dead: impl FnMut(Tid) -> bool) {
        vacuum(&mut self.blocks).run(&mut self.blocks, &self.graph, &mut dead).unwrap();
    }

    fn found(&mut self) -> (Tally, Vec<String>) {
        let subject = Subject { space: AnySpace::Vector(self.graph.space), unit: false };
        let mut found = Vec::new();
        let mut report = |violation: Violation| found.push(violation.to_string());
        let tally = check(self.layout, &mut self.blocks, &subject, true, &mut report).unwrap();
        (tally, found)
    }

    #[track_caller]
    fn healthy(&mut self, when: &str) -> Tally {
        let (tally, found) = self.found();
        assert_eq!(found, Vec::<String>::new(), "{:?}, {} dimensions, {when}", self.layout, self.dims);
        tally
    }
}

#[test]
fn an_index_is_healthy_after_every_change_of_its_life() {
    for kind in KINDS {
        let small = kind.1 == DIMS;
        let count = if small { 120 } else { 24 };
        let mut life = Life::new(kind, &[]);
        let values = random_vectors(3, kind.1, count);
        let half = count / 2;
        life.blocks.record();
        life.insert(0, &values[..half]);
        // rows of their own for values that are there
        life.insert(100, &values[..3]);
        life.insert(150, &vec![values[1].clone(); 40]);
        life.vacuum(|tid| tid.offset().is_multiple_of(3));
        life.insert(200, &values[half..]);
        life.insert(350, &vec![values[1].clone(); 20]);
        life.vacuum(|_| true);
        life.insert(400, &values[..10]);
        let tally = life.healthy("at its end");
        assert_eq!((tally.live, tally.rows()), (10, 10));
        assert!(tally.deleted > 0);
        assert_eq!(life.blocks.counts().descending, 0);
        let step = if small { 1 } else { 5 };
        for changes in (0..=life.blocks.recorded()).step_by(step) {
            let mut then = life.with(life.blocks.after(changes));
            then.healthy(&format!("after {changes} changes"));
            // a vacuum and an insert later it is healthy, too
            if changes.is_multiple_of(7) {
                then.vacuum(|tid| tid.offset().is_multiple_of(5));
                then.insert(600, &values[..2]);
                then.healthy(&format!("later, after {changes} changes"));
            }
        }
    }
}

#[test]
fn failures_anywhere_leave_a_healthy_index() {
    for kind in KINDS {
        let mut values = random_vectors(4, kind.1, 16);
        // a row with a value that is there, in a segment
        values.push(values[2].clone());
        let before = Life::new(kind, &values[..15]);
        // the steps of large ones are the same, and each takes long
        let (mut at, step) = (1, if kind.1 == DIMS { 1 } else { 23 });
        loop {
            let mut life = before.with(before.blocks.copy());
            let mut workspace = workspace(&mut life.blocks);
            let mut done = Ok(());
            for n in [15, 16] {
                life.blocks.fail_at(at);
                let (blocks, rng) = (&mut life.blocks, &mut life.rng);
                done = done.and(insert(blocks, &life.graph, &mut workspace, values[n].bytes(), row(n), rng));
                life.blocks.end_transaction();
                life.blocks.fail_never();
                life.healthy("after an insert that failed");
            }
            if done == Ok(()) {
                let mut vacuum = vacuum(&mut life.blocks);
                life.blocks.fail_at(at);
                let dead = &mut |tid: Tid| tid.offset().is_multiple_of(5);
                done = vacuum.run(&mut life.blocks, &life.graph, dead).map(|_| ());
                life.blocks.end_transaction();
                life.blocks.fail_never();
                life.healthy("after a vacuum that failed");
            }
            if done == Ok(()) {
                assert!(at > 100);
                break;
            }
            assert_eq!(done, Err(MemError::Injected));
            at += step;
        }
    }
}

/// Several inserts, scans and vacuums at once, on the same blocks.
#[test]
fn backends_work_together() {
    for kind in KINDS {
        together(kind);
    }
}

const SETTINGS: ScanSettings =
    ScanSettings { ef_search: 10, iterative: IterativeScan::Relaxed, max_tuples: 1000, max_memory: 1 << 20 };

fn together(kind: (Layout, usize)) {
    const THREADS: usize = 3;
    let (dims, each) = (kind.1, if kind.1 == DIMS { 150 } else { 25 });
    let mut life = Life::new(kind, &random_vectors(10, dims, 60));
    let graph = life.graph;
    // rows of odd numbers die as soon as they are there
    let dies = |tid: Tid| tid.offset().is_multiple_of(2);
    let left = AtomicUsize::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (mut mine, left) = (life.blocks.share(), &left);
            scope.spawn(move || {
                let seed = 20 + thread as u64;
                let mut values = random_vectors(seed, dims, each);
                let mut rng = SmallRng::seed_from_u64(seed);
                // of one value, whoever inserts it
                let shared = random_vectors(19, dims, 1);
                values.iter_mut().step_by(4).for_each(|value| *value = shared[0].clone());
                insert_all(&mut mine, &graph, (thread + 1) * 1000, &values, &mut rng);
                left.fetch_sub(1, Ordering::SeqCst);
            });
        }
        let (mut mine, left) = (life.blocks.share(), &left);
        scope.spawn(move || {
            while left.load(Ordering::SeqCst) > 0 {
                let mut vacuum = vacuum(&mut mine);
                vacuum.run(&mut mine, &graph, &mut |tid| dies(tid)).unwrap();
            }
        });
        for seed in [30, 31] {
            let mut mine = life.blocks.share();
            scope.spawn(move || {
                let mut scan = scan(&mut mine);
                for query in random_vectors(seed, dims, 1000) {
                    if left.load(Ordering::SeqCst) == 0 {
                        return;
                    }
                    scan.reset();
                    let mut rows = 0;
                    let next = |scan: &mut Scan, mine: &mut MemBlocks| {
                        scan.next(mine, graph.space, Some(query.bytes()), &SETTINGS).unwrap()
                    };
                    while rows < 100 && next(&mut scan, &mut mine).is_some() {
                        rows += 1;
                    }
                    assert!(rows > 0);
                }
            });
        }
    });
    life.healthy("beside others");
    life.vacuum(dies);
    let tally = life.healthy("after a vacuum");
    let alive = |first: usize, count: usize| (first..first + count).filter(|&n| !dies(row(n))).count();
    let expected = alive(0, 60) + (1..=THREADS).map(|thread| alive(thread * 1000, each)).sum::<usize>();
    assert_eq!((tally.rows(), tally.dying), (expected, 0));
    assert_eq!(tally.unreached(), 0);
}
