//! Inline indexes that are filled and emptied row by row: what scans find, beside brute force and the first layout; how
//! much room that takes.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::layout::{PageKind, page_kind};
use super::tests::{clustered, number, value};
use crate::hnsw::check::Subject;
use crate::hnsw::format::{Graph, Layout, check, insert};
use crate::hnsw::scan::{IterativeScan, ScanSettings};
use crate::quant::space::CodedSpace;
use crate::space::{AnySpace, Metric, Space, ValueBuf, ValueKind, normalize};
use crate::storage::blocks::BlockStore;
use crate::storage::page::Tid;
use crate::testing::MemBlocks;
use crate::testing::hnsw::{LAYOUTS, build_in, random_vectors, row, scan, vacuum, vector, workspace};
use crate::with_space;

/// An index that rows are put into and taken from.
struct Filled<S> {
    graph: Graph<S>,
    blocks: MemBlocks,
    subject: Subject,
    rng: SmallRng,
}

impl<S: CodedSpace> Filled<S> {
    fn new(
        layout: Layout,
        space: S,
        subject: AnySpace,
        dims: usize,
        m: usize,
        ef_construction: usize,
    ) -> Self {
        let graph = Graph { space, m, ef_construction };
        let blocks = build_in(layout, space, dims as u32, &graph, &[]);
        let subject = Subject { space: subject, unit: false };
        Filled { graph, blocks, subject, rng: SmallRng::seed_from_u64(3) }
    }

    fn insert<'v>(&mut self, rows: impl IntoIterator<Item = (usize, &'v ValueBuf)>) {
        let mut workspace = workspace(&mut self.blocks);
        for (n, value) in rows {
            let rng = &mut self.rng;
            insert(&mut self.blocks, &self.graph, &mut workspace, value.bytes(), row(n), rng).unwrap();
        }
    }

    fn vacuum(&mut self, dead: impl Fn(usize) -> bool) -> u64 {
        let mut vacuum = vacuum(&mut self.blocks);
        let done = vacuum.run(&mut self.blocks, &self.graph, &mut |row: Tid| dead(number(row)));
        done.unwrap().removed
    }

    /// Numbers of the rows that a scan finds, nearest first.
    fn search(&mut self, query: &[u8], ef_search: usize, iterative: IterativeScan) -> Vec<usize> {
        let settings = ScanSettings { ef_search, iterative, max_tuples: u64::MAX, max_memory: usize::MAX };
        let (mut scan, mut found) = (scan(&mut self.blocks), Vec::new());
        while let Some(row) = scan.next(&mut self.blocks, self.graph.space, Some(query), &settings).unwrap() {
            found.push(number(row));
        }
        found
    }

    /// Pages of layer 0 and of what its records do not hold. (How many there are of other layers is left to chance.)
    fn ground_pages(&mut self) -> usize {
        let mut pages = 0;
        for block in 1..self.blocks.count().unwrap() {
            let kind = self.blocks.read(block, page_kind).unwrap();
            pages += usize::from(matches!(kind, Some(PageKind::Ground | PageKind::GroundRest)));
        }
        pages
    }

    /// Every row once, and nothing that a check finds wrong.
    #[track_caller]
    fn holds(&mut self, query: &[u8], rows: impl IntoIterator<Item = usize>) {
        let mut found = self.search(query, 20, IterativeScan::Relaxed);
        found.sort_unstable();
        assert!(found == rows.into_iter().collect::<Vec<_>>(), "{} rows: {found:?}", found.len());
        let layout = crate::testing::hnsw::opened(&mut self.blocks).layout();
        let mut told = Vec::new();
        check(layout, &mut self.blocks, &self.subject, true, &mut |violation| {
            told.push(violation.to_string())
        })
        .unwrap();
        assert!(told.is_empty(), "{told:#?}");
    }

    /// The share of the ten nearest rows that scans find, by the distances of `exact`.
    fn recall(
        &mut self,
        queries: &[ValueBuf],
        ef_search: usize,
        exact: impl Fn(&[u8], usize) -> Option<f64>,
        rows: usize,
    ) -> f64 {
        let (mut right, mut all) = (0, 0);
        for query in queries {
            let mut distances: Vec<f64> = (0..rows).filter_map(|n| exact(query.bytes(), n)).collect();
            let tenth = *distances.select_nth_unstable_by(9, f64::total_cmp).1 + 1e-6;
            let found = self.search(query.bytes(), ef_search, IterativeScan::Off);
            let near = |n: &&usize| exact(query.bytes(), **n).is_some_and(|distance| distance <= tenth);
            right += found.iter().take(10).filter(near).count();
            all += 10;
        }
        right as f64 / all as f64
    }
}

fn values_of(kind: ValueKind, dims: usize, seed: u64, count: usize, centres: usize) -> Vec<ValueBuf> {
    clustered(seed, dims, count, centres).iter().map(|elements| value(kind, elements)).collect()
}

fn unit(kind: ValueKind, values: &[ValueBuf]) -> Vec<ValueBuf> {
    let made = values.iter().map(|value| {
        let mut out = ValueBuf::new();
        assert!(normalize(kind, value.bytes(), &mut out).unwrap());
        out
    });
    made.collect()
}

/// Recall of indexes that were filled row by row, of the first layout and of this one.
fn recalls<S: CodedSpace, T: CodedSpace>(
    (first, second): (S, T),
    subject: AnySpace,
    (dims, m): (usize, usize),
    (values, units): (&[ValueBuf], &[ValueBuf]),
    (queries, unit_queries): (&[ValueBuf], &[ValueBuf]),
    ladder: &[usize],
) -> Vec<(f64, f64)> {
    let exact = |query: &[u8], n: usize| {
        Some(second.exact(second.view(query).unwrap(), second.view(values[n].bytes()).unwrap()))
    };
    // unit vectors are in the same order by their inner product
    let unit_exact = |query: &[u8], n: usize| {
        Some(first.exact(first.view(query).unwrap(), first.view(units[n].bytes()).unwrap()))
    };
    let mut old = Filled::new(Layout::V1, first, subject, dims, m, 64);
    old.insert(units.iter().enumerate());
    let mut new = Filled::new(Layout::Inline, second, subject, dims, m, 64);
    new.insert(values.iter().enumerate());
    new.holds(queries[0].bytes(), 0..values.len());
    ladder
        .iter()
        .map(|&ef| {
            (
                old.recall(unit_queries, ef, unit_exact, units.len()),
                new.recall(queries, ef, exact, values.len()),
            )
        })
        .collect()
}

/// Whole numbers of few dimensions, whose rotated residuals lie on the edges of steps: a code made from either end of
/// an edge is what a check may find.
#[test]
fn codes_of_whole_numbers_are_those_of_their_edges() {
    for dims in [2, 3, 16, 200] {
        let space = AnySpace::new(ValueKind::Vector, Metric::L2, dims as i32);
        let AnySpace::Vector(l2) = space else { unreachable!() };
        let element = |n: usize, d: usize| ((n * (d + 3)) % 7) as f32;
        let values: Vec<ValueBuf> =
            (0..60).map(|n| vector(&(0..dims).map(|d| element(n, d)).collect::<Vec<_>>())).collect();
        let mut filled = Filled::new(Layout::Inline, l2, space, dims, 4, 20);
        filled.insert(values.iter().enumerate());
        filled.holds(values[0].bytes(), 0..values.len());
    }
}

/// So many, or a part of them where nothing is optimised.
const fn most(count: usize) -> usize {
    if cfg!(debug_assertions) { count / 5 } else { count }
}

/// 3,000 rows one by one into an empty index, where lists are judged by codes: recall at equal `ef_search` is that of
/// the first layout.
#[test]
fn rows_inserted_one_by_one_are_found_as_in_the_first_layout() {
    let (dims, count) = (64, most(3000));
    let (values, queries) =
        (values_of(ValueKind::Vector, dims, 2, count, 12), values_of(ValueKind::Vector, dims, 3, 40, 12));
    let space = AnySpace::new(ValueKind::Vector, Metric::L2, dims as i32);
    let AnySpace::Vector(l2) = space else { unreachable!() };
    let both = (values.as_slice(), values.as_slice());
    let found = recalls((l2, l2), space, (dims, 16), both, (&queries, &queries), &[10, 20, 40, 80]);
    println!("recall of the first layout and inline, {count} rows of {dims} dimensions: {found:?}");
    let mean = found.iter().map(|(old, new)| new - old).sum::<f64>() / found.len() as f64;
    assert!(mean > -0.01, "{found:?}");
    assert!(found.last().is_some_and(|(_, new)| *new > 0.95), "{found:?}");
}

/// Every type and every metric, records that are whole and such as are cut.
#[test]
fn inserts_of_every_type_and_metric() {
    let mut report = Vec::new();
    for (kind, metric, dims, count) in [
        (ValueKind::Vector, Metric::L2, 3, most(1000)),
        (ValueKind::Vector, Metric::InnerProduct, 100, most(1000)),
        (ValueKind::Halfvec, Metric::L2, 100, most(1000)),
        (ValueKind::Halfvec, Metric::InnerProduct, 384, most(600)),
        (ValueKind::Vector, Metric::L2, 384, most(600)),
        (ValueKind::Vector, Metric::L2, 1536, most(400)),
        (ValueKind::Vector, Metric::InnerProduct, 2000, most(400)),
        (ValueKind::Bit, Metric::Hamming, 256, most(1000)),
        (ValueKind::Bit, Metric::Jaccard, 256, most(1000)),
    ] {
        let (values, queries) = (values_of(kind, dims, 2, count, 0), values_of(kind, dims, 3, 15, 0));
        let any = AnySpace::new(kind, metric, dims as i32);
        let both = (values.as_slice(), values.as_slice());
        let found = with_space!(any, space => {
            recalls((space, space), any, (dims, 8), both, (&queries, &queries), &[20, 40])
        });
        report.push((kind, dims, found));
    }
    for (kind, dims, count) in [(ValueKind::Vector, 100, most(1000)), (ValueKind::Halfvec, 384, most(600))] {
        let (values, queries) = (values_of(kind, dims, 2, count, 0), values_of(kind, dims, 3, 15, 0));
        let (units, unit_queries) = (unit(kind, &values), unit(kind, &queries));
        let angle = AnySpace::by_angle(kind, dims as i32).unwrap();
        let (values, queries) = ((values.as_slice(), units.as_slice()), (&*queries, &*unit_queries));
        let found = with_space!(AnySpace::new(kind, Metric::InnerProduct, dims as i32), first => {
            with_space!(angle, second => recalls((first, second), angle, (dims, 8), values, queries, &[20, 40]))
        });
        report.push((kind, dims, found));
    }
    for (kind, dims, found) in &report {
        println!("recall of the first layout and inline, {kind:?} of {dims} dimensions: {found:?}");
        for (old, new) in found {
            assert!(new > &(old - 0.06), "{kind:?} {dims}: {found:?} in {report:?}");
        }
    }
    let all: Vec<f64> =
        report.iter().flat_map(|(.., found)| found.iter().map(|(old, new)| new - old)).collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    assert!(mean > -0.01, "{mean} in {report:?}");
}

/// The largest values there are, inserted, found, deleted, and their room used again.
#[test]
fn the_largest_values_come_and_go() {
    for (kind, metric, dims) in [
        (ValueKind::Vector, Metric::L2, 16_000),
        (ValueKind::Halfvec, Metric::InnerProduct, 16_000),
        (ValueKind::Bit, Metric::Hamming, 64_000),
    ] {
        let values = values_of(kind, dims, 4, 36, 0);
        let any = AnySpace::new(kind, metric, dims as i32);
        with_space!(any, space => {
            let mut index = Filled::new(Layout::Inline, space, any, dims, 4, 20);
            index.insert(values.iter().enumerate().take(24));
            index.holds(values[3].bytes(), 0..24);
            assert_eq!(index.vacuum(|n| n < 12), 12);
            index.holds(values[3].bytes(), 12..24);
            let before = index.ground_pages();
            index.insert(values.iter().enumerate().skip(24));
            index.holds(values[30].bytes(), 12..36);
            assert!(index.ground_pages() <= before + 1, "{kind:?}: {before}, then {}", index.ground_pages());
        });
    }
}

/// Deleted and inserted again, again and again: the index does not grow, and finds what a fresh one finds.
#[test]
fn churn_takes_no_more_room_and_loses_no_recall() {
    // of 2000 dimensions, the last code goes on where the value is
    for (dims, count, m) in
        [(24, most(2000), 16), (700, most(500), 8), (2000, most(300), 16), (2100, most(300), 8)]
    {
        let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, Metric::L2, dims as i32) else {
            unreachable!()
        };
        let any = AnySpace::Vector(space);
        let values = values_of(ValueKind::Vector, dims, 5, count, 10);
        let queries = values_of(ValueKind::Vector, dims, 6, 30, 10);
        let mut index = Filled::new(Layout::Inline, space, any, dims, m, 64);
        index.insert(values.iter().enumerate());
        let mut present: Vec<Option<usize>> = (0..count).map(Some).collect();
        let (mut rng, mut next) = (SmallRng::seed_from_u64(9), count);
        let mut pages = None;
        let mut later = Vec::new();
        for round in 0..5u64 {
            let dead: Vec<usize> =
                present.iter().flatten().copied().filter(|_| rng.random_bool(0.2)).collect();
            assert_eq!(index.vacuum(|n| dead.contains(&n)), dead.len() as u64);
            present
                .iter_mut()
                .filter(|row| row.is_some_and(|n| dead.contains(&n)))
                .for_each(|row| *row = None);
            let fresh = values_of(ValueKind::Vector, dims, 100 + round, dead.len(), 10);
            index.insert(fresh.iter().enumerate().map(|(n, value)| (next + n, value)));
            present.extend((next..next + fresh.len()).map(Some));
            next += fresh.len();
            later.extend(fresh);
            index.holds(queries[0].bytes(), present.iter().flatten().copied());
            // hints of where there is room may be out of date
            let now = index.ground_pages();
            let most = *pages.get_or_insert(now);
            assert!(now <= most + most / 50 + 2, "{dims}: {most} pages, then {now} in round {round}");
        }
        let value = |n: usize| if n < count { &values[n] } else { &later[n - count] };
        let exact = |query: &[u8], n: usize| {
            let row = present[n]?;
            Some(space.exact(space.view(query).unwrap(), space.view(value(row).bytes()).unwrap()))
        };
        let churned = index.recall(&queries, 20, exact, present.len());
        let mut fresh = Filled::new(Layout::Inline, space, any, dims, m, 64);
        fresh.insert(present.iter().flatten().map(|&n| (n, value(n))));
        let inserted = fresh.recall(&queries, 20, exact, present.len());
        println!("recall after five rounds of {dims} dimensions: {churned}, of a fresh index: {inserted}");
        assert!(churned > inserted - 0.02, "{dims}: {churned}, fresh {inserted}");
    }
}

/// Many rows with few values, one by one: five elements, every row once, and vacuums that take most of them.
#[test]
fn rows_with_few_values_are_inserted_in_linear_time() {
    let (dims, count) = (8, most(100_000));
    let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, Metric::L2, dims as i32) else {
        unreachable!()
    };
    let distinct = random_vectors(8, dims, 5);
    let mut index = Filled::new(Layout::Inline, space, AnySpace::Vector(space), dims, 16, 64);
    let mut reads = Vec::new();
    for part in 0..4 {
        let rows = part * count / 4..(part + 1) * count / 4;
        index.blocks.reset_counts();
        index.insert(rows.map(|n| (n, &distinct[n % 5])));
        reads.push(index.blocks.counts().reads);
    }
    assert!(reads[3] < reads[1] + reads[1] / 10, "{reads:?}");
    index.holds(distinct[3].bytes(), 0..count);
    let nearest = index.search(distinct[3].bytes(), 10_000, IterativeScan::Off);
    assert!(nearest[..count / 5].iter().all(|n| n % 5 == 3));
    let blocks = index.blocks.count().unwrap();
    assert!(blocks < (count * 6 / 8000 + 30) as u32, "{blocks} blocks");
    // nine of ten rows go, of one value all
    let dies = |n: usize| !n.is_multiple_of(10) || n.is_multiple_of(5);
    assert_eq!(index.vacuum(dies), (0..count).filter(|&n| dies(n)).count() as u64);
    index.holds(distinct[3].bytes(), (0..count).filter(|&n| !dies(n)));
    index.insert((0..count).filter(|&n| dies(n)).map(|n| (count + n, &distinct[n % 5])));
    assert!(index.blocks.count().unwrap() <= blocks + blocks / 20 + 2, "{:?} blocks", index.blocks.count());
}

/// Equal is what has equal bytes: zeros of either sign are two values, and each keeps its own.
#[test]
fn values_are_equal_by_their_bytes() {
    let dims = 3;
    for layout in LAYOUTS {
        let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, Metric::L2, dims as i32) else {
            unreachable!()
        };
        let mut index = Filled::new(layout, space, AnySpace::Vector(space), dims, 4, 20);
        let values = [vector(&[0.0, 1.0, 2.0]), vector(&[-0.0, 1.0, 2.0])];
        index.insert((0..10).map(|n| (n, &values[n % 2])));
        index.holds(values[0].bytes(), 0..10);
        assert_eq!(index.vacuum(|n| n % 2 == 0), 5);
        index.holds(values[0].bytes(), (0..10).filter(|n| n % 2 == 1));
    }
}
