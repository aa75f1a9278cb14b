//! The generic algorithms on a graph without pages, whose answers are known: the points of a grid, each next to the
//! four around it.
#![cfg(test)]

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::AtomicU64;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::grid::{Grid, GridElement, number_of, tid_of};
use super::grid_census::healthy;
use super::grid_search::GridWalk;
use super::hnsw::{row, vector};
use crate::hnsw::build::{Builder, Params};
use crate::hnsw::graph::{Graph, GraphBulk};
use crate::hnsw::insert::{Workspace, insert};
use crate::hnsw::meta::EntryPoint;
use crate::hnsw::scan::{IterativeScan, Scan, ScanSettings};
use crate::hnsw::vacuum::{Vacuum, Vacuumed};
use crate::space::{AnySpace, Dense, Metric, ValueBuf, ValueKind};
use crate::storage::page::Tid;
use crate::work::workers::{Idle, Workers};

/// Points in a row of the grid.
pub(super) const SIDE: usize = 14;
pub(super) const POINTS: usize = SIDE * SIDE;

fn shape(m: usize) -> Graph<Dense<f32>> {
    match AnySpace::new(ValueKind::Vector, Metric::L2, 2) {
        AnySpace::Vector(space) => Graph { space, m, ef_construction: 24 },
        _ => unreachable!(),
    }
}

fn place(n: usize) -> (f32, f32) {
    ((n % SIDE) as f32, (n / SIDE) as f32)
}

fn point(n: usize) -> ValueBuf {
    vector(&[place(n).0, place(n).1])
}

/// The graph that a grid is: each point next to those left, right, below and above, anchored towards the first point.
pub(super) fn known() -> Grid {
    let mut grid = Grid::new(shape(4), 2);
    for n in 0..POINTS {
        let (x, y) = (n % SIDE, n / SIDE);
        let around = [
            (x > 0).then(|| n - 1),
            (y > 0).then(|| n - SIDE),
            (x + 1 < SIDE).then(|| n + 1),
            (y + 1 < SIDE).then(|| n + SIDE),
        ];
        let edges: Vec<Tid> = around.into_iter().flatten().map(tid_of).collect();
        grid.add(point(n).bytes(), row(n), &edges);
    }
    grid.meta.set_entry_point(Some(EntryPoint { tid: tid_of(0), level: 0 }));
    grid
}

/// The rows that a scan returns, in order.
fn scan(grid: &mut Grid, query: [f32; 2], ef_search: usize, iterative: IterativeScan) -> Vec<Tid> {
    let settings = ScanSettings { ef_search, iterative, max_tuples: u64::MAX, max_memory: usize::MAX };
    let (mut scan, mut rows, query) = (Scan::<GridWalk>::new(), Vec::new(), vector(&query));
    while let Some(row) = scan.next(grid, Some(query.bytes()), &settings).unwrap() {
        rows.push(row);
    }
    rows
}

/// The points of `live` nearest to a query, by distance; no two are equally near to the queries of these tests.
fn nearest(live: &BTreeSet<usize>, query: [f32; 2], count: usize) -> Vec<Tid> {
    let distance = |n: usize| (place(n).0 - query[0]).powi(2) + (place(n).1 - query[1]).powi(2);
    let mut all: Vec<usize> = live.iter().copied().collect();
    all.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
    all.into_iter().take(count).map(row).collect()
}

const QUERIES: [[f32; 2]; 4] = [[3.31, 7.17], [12.9, 0.27], [0.05, 13.4], [6.63, 6.11]];

/// Nothing leads to a deleted element, and layer 0 leads from the entry point to every one that has rows; the check
/// thinks so, too.
fn assert_sound(grid: &mut Grid) {
    let tally = healthy(grid);
    let entry = grid.meta.entry_point().unwrap().unwrap();
    let (mut seen, mut left) = (HashSet::from([entry.tid]), vec![entry.tid]);
    while let Some(tid) = left.pop() {
        assert!(!grid.elements[number_of(tid)].deleted, "an edge leads to {tid}, which is deleted");
        left.extend(grid.edges(number_of(tid)).into_iter().filter(|&edge| seen.insert(edge)));
    }
    for (n, element) in grid.elements.iter().enumerate().filter(|(_, element)| !element.rows.is_empty()) {
        assert!(seen.contains(&tid_of(n)), "nothing leads to element {n}");
        let mut edges = grid.edges(n);
        edges.sort_by_key(|tid| tid.packed());
        edges.dedup();
        assert_eq!(edges.len(), grid.edges(n).len(), "an edge of element {n} stands twice");
        assert!(!edges.contains(&tid_of(n)), "element {n} is its own neighbour");
        assert!(!element.deleted);
    }
    let live = |element: &&GridElement| !element.rows.is_empty();
    assert_eq!(tally.live, grid.elements.iter().filter(live).count() as u64);
    assert_eq!(tally.deleted, grid.elements.iter().filter(|element| element.deleted).count() as u64);
}

fn answers_are_known(grid: &mut Grid, live: &BTreeSet<usize>) {
    for query in QUERIES {
        let found = scan(grid, query, 40, IterativeScan::Off);
        assert_eq!(found[..12], nearest(live, query, 12), "near {query:?}");
    }
    let all = scan(grid, QUERIES[0], 10, IterativeScan::Relaxed);
    assert_eq!(all.len(), live.len(), "an iterative scan returns every row once");
    assert_eq!(all.into_iter().collect::<HashSet<_>>(), live.iter().copied().map(row).collect());
}

#[test]
fn a_scan_of_a_grid_finds_what_is_known() {
    answers_are_known(&mut known(), &(0..POINTS).collect());
}

#[test]
fn inserts_make_a_graph_with_the_same_answers() {
    let mut grid = Grid::new(shape(6), 2);
    let mut rng = SmallRng::seed_from_u64(4);
    let mut order: Vec<usize> = (0..POINTS).collect();
    order.shuffle(&mut rng);
    let mut workspace = Workspace::<GridWalk>::new();
    for (done, &n) in order.iter().enumerate() {
        insert(&mut grid, &mut workspace, point(n).bytes(), row(n), &mut rng).unwrap();
        assert_eq!(grid.elements.len(), done + 1);
    }
    assert!(grid.meta.entry_level > 0, "no upper layers: nothing of them is tested");
    assert_sound(&mut grid);
    answers_are_known(&mut grid, &(0..POINTS).collect());
    // a row of a value that is there joins its element, and comes with it
    insert(&mut grid, &mut workspace, point(100).bytes(), row(1000), &mut rng).unwrap();
    assert_eq!(grid.elements.len(), POINTS);
    let (x, y) = place(100);
    let found = scan(&mut grid, [x, y], 10, IterativeScan::Off);
    assert_eq!(found[..2].iter().copied().collect::<HashSet<_>>(), HashSet::from([row(100), row(1000)]));
}

#[test]
fn a_built_graph_is_written_with_the_same_answers() {
    let shape = shape(6);
    let (m, ef_construction) = (shape.m, shape.ef_construction);
    let params =
        Params { m, ef_construction, max_level: 3, threads: 0, budget: usize::MAX, seed: 9, coded: false };
    let mut builder = Builder::new(shape.space, params);
    for n in 0..POINTS {
        builder.push(row(n), point(n).bytes()).unwrap();
    }
    let built = builder.build(&AtomicU64::new(0), &mut Idle).unwrap();
    let mut grid = Grid::new(shape, 2);
    let meta = grid.meta;
    grid.write_index(meta, Some(&built), &mut Workers::new(0, &mut Idle), 0).unwrap();
    assert_sound(&mut grid);
    answers_are_known(&mut grid, &(0..POINTS).collect());
}

#[test]
fn a_vacuum_leaves_the_answers_that_are_left() {
    let mut rng = SmallRng::seed_from_u64(5);
    // a stripe through the middle, which cuts the grid in two; every other point; all but one; the entry point's corner
    let dead: [fn(usize) -> bool; 4] = [
        |n| (5..8).contains(&(n % SIDE)),
        |n| n.is_multiple_of(2),
        |n| n != 77,
        |n| n % SIDE < 4 && n / SIDE < 4,
    ];
    for (kind, dead) in dead.into_iter().enumerate() {
        let mut grid = known();
        let mut live: BTreeSet<usize> = (0..POINTS).filter(|&n| !dead(n)).collect();
        let gone: HashSet<Tid> = (0..POINTS).filter(|n| !live.contains(n)).map(row).collect();
        let counted = Vacuum::<GridWalk>::default().run(&mut grid, &mut |row| gone.contains(&row)).unwrap();
        let kept = live.len() as u64;
        assert_eq!(counted, Vacuumed { removed: gone.len() as u64, kept }, "kind {kind}");
        let deleted = grid.elements.iter().filter(|element| element.deleted).count();
        assert_eq!(deleted, gone.len(), "kind {kind}");
        assert_sound(&mut grid);
        if live.len() > 12 {
            answers_are_known(&mut grid, &live);
        } else {
            assert_eq!(scan(&mut grid, QUERIES[0], 10, IterativeScan::Off), nearest(&live, QUERIES[0], 12));
        }
        // inserts take the places that are free, and all is as it was
        let mut workspace = Workspace::<GridWalk>::new();
        for n in (0..POINTS).filter(|&n| dead(n)) {
            insert(&mut grid, &mut workspace, point(n).bytes(), row(n), &mut rng).unwrap();
            live.insert(n);
        }
        assert_eq!(grid.elements.len(), POINTS, "kind {kind}");
        assert_sound(&mut grid);
        let found = scan(&mut grid, QUERIES[3], 10, IterativeScan::Relaxed);
        assert_eq!(found.len(), live.len(), "kind {kind}");
    }
}

#[test]
fn inserts_and_vacuums_in_turn_keep_every_row() {
    for seed in 0..6 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut grid = Grid::new(shape(4), 2);
        let (mut workspace, mut live) = (Workspace::<GridWalk>::new(), BTreeSet::new());
        for _ in 0..8 {
            for n in 0..POINTS {
                if !live.contains(&n) && rng.random_bool(0.5) {
                    insert(&mut grid, &mut workspace, point(n).bytes(), row(n), &mut rng).unwrap();
                    live.insert(n);
                }
            }
            let share = rng.random_range(0.1..0.95);
            let gone: BTreeSet<usize> = live.iter().copied().filter(|_| rng.random_bool(share)).collect();
            let dead: HashSet<Tid> = gone.iter().copied().map(row).collect();
            live.retain(|n| !gone.contains(n));
            Vacuum::<GridWalk>::default().run(&mut grid, &mut |row| dead.contains(&row)).unwrap();
            if live.is_empty() {
                assert!(grid.elements.iter().all(|element| element.deleted), "seed {seed}");
                continue;
            }
            assert_sound(&mut grid);
            let found: Vec<Tid> = scan(&mut grid, [6.4, 6.7], 10, IterativeScan::Relaxed);
            assert_eq!(found.len(), live.len(), "seed {seed}");
            assert_eq!(found.into_iter().collect::<HashSet<_>>(), live.iter().copied().map(row).collect());
        }
    }
}
