//! Inline indexes on blocks in memory, beside the first layout on the same graphs.

use std::sync::atomic::AtomicU64;

use half::f16;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::bulk_write::PagePlan;
use super::layout::{PAGE_ID, Shape};
use super::meta::InlineMeta;
use super::scan::{Index, Scan, Shared};
use crate::filter::Packings;
use crate::hnsw::build::{Builder, Graph, Params};
use crate::hnsw::format::Layout;
use crate::hnsw::params::max_level;
use crate::hnsw::scan::{IterativeScan, ScanError, ScanSettings};
use crate::quant::space::{CodedSpace, Cosine};
use crate::space::{AnySpace, Dense, Metric, Space, ValueBuf, ValueKind, normalize, varlena_header};
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::Tid;
use crate::testing::hnsw::{build as build_first, random_vectors, row, vector};
use crate::testing::{MemBlocks, MemError, PAGE_SIZE};
use crate::work::workers::{Idle, Workers};

pub(super) const M: usize = 8;
pub(super) const EF_CONSTRUCTION: usize = 32;

pub(super) fn shape(kind: ValueKind, dims: usize) -> Shape {
    Shape::new(kind, dims, M, Packings::NONE, PAGE_SIZE)
}

pub(super) fn graph<S: Space>(space: S, values: &[ValueBuf]) -> Graph<S> {
    graph_of_items(space, 0, values)
}

/// The same of values with so many bytes of filter keys behind them.
fn graph_of_items<S: Space>(space: S, keys: usize, values: &[ValueBuf]) -> Graph<S> {
    let params = Params {
        m: M,
        ef_construction: EF_CONSTRUCTION,
        max_level: max_level(PAGE_SIZE, M),
        threads: 0,
        budget: usize::MAX,
        seed: 20_240_601,
        coded: false,
    };
    let mut builder = Builder::new(space, params);
    builder.share_elements(keys);
    for (n, value) in values.iter().enumerate() {
        builder.push(row(n), value.bytes()).unwrap();
    }
    builder.build(&AtomicU64::new(0), &mut Idle).unwrap()
}

/// Writes a graph as CREATE INDEX does; `budget` of rotated values, `helpers` beside the calling thread.
pub(super) fn write<S: CodedSpace>(
    space: S,
    shape: &Shape,
    graph: &Graph<S>,
    budget: usize,
    helpers: usize,
) -> (MemBlocks, Index<'static, S>) {
    let meta = InlineMeta::new(shape, EF_CONSTRUCTION as u16, 11);
    let index = Index::new(Box::leak(Box::new(Shared::new(&meta, PAGE_SIZE).unwrap())), space);
    let mut host = Idle;
    let mut workers = Workers::new(helpers, &mut host);
    let plan = PagePlan::new(graph, &index, budget, &mut workers).unwrap();
    let meta = plan.meta(meta);
    let mut blocks = MemBlocks::new(PAGE_ID);
    let mut add = |block: u32, fill: &dyn Fn(&mut [u8])| {
        let mut change = blocks.update()?;
        let slot = change.extend()?;
        assert_eq!(change.block(slot), block);
        fill(change.bytes_mut(slot)?);
        change.commit()
    };
    add(0, &|bytes| meta.write(bytes)).unwrap();
    plan.write(&mut workers, |block, bytes| add(block, &|to| to.copy_from_slice(bytes))).unwrap();
    assert_eq!(blocks.count().unwrap(), plan.count());
    (blocks, index)
}

pub(super) fn index<S: CodedSpace>(
    space: S,
    shape: &Shape,
    values: &[ValueBuf],
) -> (MemBlocks, Index<'static, S>) {
    write(space, shape, &graph_of_items(space, shape.filter_size(), values), usize::MAX, 0)
}

pub(super) fn settings(ef_search: usize, iterative: IterativeScan) -> ScanSettings {
    ScanSettings { ef_search, iterative, max_tuples: u64::MAX, max_memory: usize::MAX }
}

pub(super) fn search<S: CodedSpace>(
    blocks: &mut MemBlocks,
    index: &Index<S>,
    query: Option<&[u8]>,
    settings: &ScanSettings,
) -> Vec<(Tid, f64)> {
    let (mut scan, mut rows) = (Scan::new(), Vec::new());
    while let Some(found) = scan.next(blocks, index, query, settings).unwrap() {
        rows.push(found);
    }
    rows
}

pub(super) fn l2(dims: usize) -> Dense<f32> {
    match AnySpace::new(ValueKind::Vector, Metric::L2, dims as i32) {
        AnySpace::Vector(space) => space,
        _ => unreachable!(),
    }
}

/// A row by its TID, the reverse of [`row`].
pub(super) fn number(tid: Tid) -> usize {
    tid.block() as usize * 50 + usize::from(tid.offset()) - 1
}

/// Values around some centres; without centres, uniform.
pub(super) fn clustered(seed: u64, dims: usize, count: usize, centres: usize) -> Vec<Vec<f32>> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut middles = SmallRng::seed_from_u64(1);
    let middles: Vec<Vec<f32>> =
        (0..centres).map(|_| (0..dims).map(|_| middles.random_range(-1.0..1.0)).collect()).collect();
    (0..count)
        .map(|n| {
            (0..dims)
                .map(|d| {
                    let middle = if centres == 0 { 0.0 } else { middles[n % centres][d] };
                    let weight = 1.0 / (1.0 + d as f32 / 8.0).sqrt();
                    (middle + rng.random_range(-1.0..1.0f32)) * weight
                })
                .collect()
        })
        .collect()
}

pub(super) fn value(kind: ValueKind, elements: &[f32]) -> ValueBuf {
    let payload: Vec<u8> = match kind {
        ValueKind::Halfvec => elements.iter().flat_map(|x| f16::from_f32(*x).to_ne_bytes()).collect(),
        ValueKind::Bit => elements
            .chunks(8)
            .map(|c| c.iter().enumerate().map(|(i, x)| u8::from(*x > 0.0) << (7 - i)).sum())
            .collect(),
        _ => return vector(elements),
    };
    let mut buf = ValueBuf::new();
    let bytes = buf.reset(8 + payload.len());
    let size = bytes.len();
    bytes[..4].copy_from_slice(&varlena_header(size));
    match kind {
        ValueKind::Bit => bytes[4..8].copy_from_slice(&(elements.len() as i32).to_ne_bytes()),
        _ => bytes[4..6].copy_from_slice(&(elements.len() as i16).to_ne_bytes()),
    }
    bytes[8..].copy_from_slice(&payload);
    buf
}

/// The share of the ten nearest that scans find, over a ladder of `ef_search`, on both layouts.
fn recalls<S: CodedSpace, T: CodedSpace>(
    (kind, metric): (ValueKind, Metric),
    dims: usize,
    centres: usize,
    first: S,
    second: T,
) -> (f64, f64) {
    let unit = |buf: &ValueBuf| {
        let mut out = ValueBuf::new();
        assert!(normalize(kind, buf.bytes(), &mut out).unwrap());
        out
    };
    let make = |seed, count| -> Vec<ValueBuf> {
        clustered(seed, dims, count, centres).iter().map(|x| value(kind, x)).collect()
    };
    let (values, queries) = (make(2, 700), make(3, 25));
    let cosine = metric == Metric::InnerProduct && second.estimate() == crate::quant::space::Estimate::Cosine;
    let first_values: Vec<ValueBuf> = if cosine { values.iter().map(unit).collect() } else { values.clone() };
    let parameters = crate::hnsw::format::Graph { space: first, m: M, ef_construction: EF_CONSTRUCTION };
    let mut old = build_first(first, dims as u32, &parameters, &first_values);
    let (mut new, index) = index(second, &shape(kind, dims), &values);
    let (mut right, mut all) = ([0usize; 2], 0usize);
    for query in &queries {
        let view = second.view(query.bytes()).unwrap();
        let exact = |row: usize| second.exact(view, second.view(values[row].bytes()).unwrap());
        let mut distances: Vec<f64> = (0..values.len()).map(exact).collect();
        let tenth = *distances.select_nth_unstable_by(9, f64::total_cmp).1 + 1e-6;
        let first_query = if cosine { unit(query) } else { query.clone() };
        for ef in [10, 20, 40] {
            let settings = settings(ef, IterativeScan::Off);
            let mut scan = crate::hnsw::format::Scan::new();
            let mut rows = Vec::new();
            while let Some(row) = scan.next(&mut old, first, Some(first_query.bytes()), &settings).unwrap() {
                rows.push(row);
            }
            right[0] += rows.iter().take(10).filter(|row| exact(number(**row)) <= tenth).count();
            let rows = search(&mut new, &index, Some(query.bytes()), &settings);
            right[1] += rows.iter().take(10).filter(|(row, _)| exact(number(*row)) <= tenth).count();
            all += 10;
        }
    }
    (right[0] as f64 / all as f64, right[1] as f64 / all as f64)
}

/// At equal `ef_search` a scan finds what one of the first layout finds, over a ladder: every type, every metric.
#[test]
fn recall_is_that_of_the_first_layout() {
    let mut report = Vec::new();
    for (dims, centres) in [(24, 0), (176, 20)] {
        for metric in [Metric::L2, Metric::InnerProduct] {
            if let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, metric, dims as i32) {
                report.push((dims, recalls((ValueKind::Vector, metric), dims, centres, space, space)));
            }
            if let AnySpace::Halfvec(space) = AnySpace::new(ValueKind::Halfvec, metric, dims as i32) {
                report.push((dims, recalls((ValueKind::Halfvec, metric), dims, centres, space, space)));
            }
        }
        let product = Metric::InnerProduct;
        if let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, product, dims as i32) {
            let cosine = Cosine::<f32>::new(dims as i32);
            report.push((dims, recalls((ValueKind::Vector, product), dims, centres, space, cosine)));
        }
        for metric in [Metric::Hamming, Metric::Jaccard] {
            if let AnySpace::Bit(space) = AnySpace::new(ValueKind::Bit, metric, dims as i32) {
                report.push((dims, recalls((ValueKind::Bit, metric), dims, centres, space, space)));
            }
        }
    }
    for (dims, (first, inline)) in &report {
        assert!(inline > &(first - 0.02), "{dims}: {first} and {inline} in {report:?}");
    }
    let mean = report.iter().map(|(_, (first, inline))| inline - first).sum::<f64>() / report.len() as f64;
    assert!(mean > -0.005, "{mean} in {report:?}");
}

/// In strict order, whatever comes too late is lost: of the nearest that a filter lets through, hardly more than in the
/// first layout.
#[test]
fn strict_order_loses_little() {
    for (dims, width) in [(3, 40), (24, 20), (100, 40)] {
        let (space, count) = (l2(dims), 2000);
        let (values, queries) = (random_vectors(6, dims, count), random_vectors(7, dims, 8));
        let parameters = crate::hnsw::format::Graph { space, m: M, ef_construction: EF_CONSTRUCTION };
        let mut old = build_first(space, dims as u32, &parameters, &values);
        let (mut new, index) = index(space, &shape(ValueKind::Vector, dims), &values);
        let settings = settings(width, IterativeScan::Strict);
        let (mut right, mut all) = ([0, 0], 0);
        for query in &queries {
            let view = space.view(query.bytes()).unwrap();
            let exact = |row: usize| space.exact(view, space.view(values[row].bytes()).unwrap());
            let passes = |row: &usize| row.is_multiple_of(30);
            let mut distances: Vec<f64> = (0..count).filter(passes).map(exact).collect();
            distances.sort_by(f64::total_cmp);
            let near = |rows: &mut dyn Iterator<Item = Tid>| {
                let found = rows.map(number).filter(passes).take(20);
                found.filter(|row| exact(*row) <= distances[19] + 1e-6).count()
            };
            let mut scan = crate::hnsw::format::Scan::new();
            let mut next = || scan.next(&mut old, space, Some(query.bytes()), &settings).unwrap();
            right[0] += near(&mut core::iter::from_fn(&mut next));
            let rows = search(&mut new, &index, Some(query.bytes()), &settings);
            assert!(rows.is_sorted_by(|a, b| a.1 <= b.1));
            right[1] += near(&mut rows.iter().map(|(row, _)| *row));
            all += 20;
        }
        println!("{dims}: {right:?} of {all}");
        assert!(right[1] * 100 >= right[0] * 100 - 2 * all, "{dims}: {right:?} of {all}");
    }
}

/// Distances of a thousand results ascend and are the operators' to the last bit.
#[test]
fn results_are_in_exact_order() {
    fn ordered<S: CodedSpace>(space: S, values: &[ValueBuf], query: &ValueBuf, shape: &Shape) {
        let (mut blocks, index) = index(space, shape, values);
        let rows = search(&mut blocks, &index, Some(query.bytes()), &settings(1000, IterativeScan::Off));
        assert_eq!(rows.len(), 1000);
        assert!(rows.is_sorted_by(|a, b| a.1 <= b.1));
        for (row, distance) in rows {
            let view = space.view(values[number(row)].bytes()).unwrap();
            assert_eq!(distance.to_bits(), space.exact(space.view(query.bytes()).unwrap(), view).to_bits());
        }
    }
    let dims = 20;
    let (values, query) = (random_vectors(4, dims, 1200), &random_vectors(5, dims, 1)[0]);
    let shape = shape(ValueKind::Vector, dims);
    ordered(l2(dims), &values, query, &shape);
    ordered(Cosine::<f32>::new(dims as i32), &values, query, &shape);
}

/// Every row once, by scans that go on until they end; in strict order what comes late is left out.
#[test]
fn iterative_scans_return_every_row_once() {
    let dims = 12;
    let values = random_vectors(6, dims, 900);
    let (mut blocks, index) = index(l2(dims), &shape(ValueKind::Vector, dims), &values);
    let (query, zero) = (random_vectors(7, dims, 1), vector(&vec![0.0; dims]));
    for query in [Some(query[0].bytes()), Some(zero.bytes()), None] {
        let rows = search(&mut blocks, &index, query, &settings(30, IterativeScan::Relaxed));
        let mut numbers: Vec<usize> = rows.iter().map(|(row, _)| number(*row)).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..900).collect::<Vec<_>>());
        let strict = search(&mut blocks, &index, query, &settings(30, IterativeScan::Strict));
        assert!(strict.is_sorted_by(|a, b| a.1 <= b.1) && strict.len() > 300);
        assert_eq!(search(&mut blocks, &index, query, &settings(30, IterativeScan::Off)).len(), 30);
    }
    // what was seen before the limit still comes
    let limited = ScanSettings { max_tuples: 100, ..settings(10, IterativeScan::Relaxed) };
    let rows = search(&mut blocks, &index, Some(query[0].bytes()), &limited);
    let mut numbers: Vec<usize> = rows.iter().map(|(row, _)| number(*row)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.len() == rows.len() && (100..300).contains(&rows.len()), "{} rows", rows.len());
}

/// What lists named over and over, and was read, does not hide what is behind it: the graph is used up before the pass
/// begins.
#[test]
fn known_nodes_do_not_hide_those_behind_them() {
    let (dims, settings) = (12, settings(10, IterativeScan::Relaxed));
    let (mut blocks, index) = index(l2(dims), &shape(ValueKind::Vector, dims), &random_vectors(6, dims, 600));
    let query = &random_vectors(7, dims, 1)[0];
    let mut all = Scan::new();
    let wide = ScanSettings { ef_search: 400, iterative: IterativeScan::Off, ..settings };
    let mut nodes = Vec::new();
    while let Some((row, _)) = all.next(&mut blocks, &index, Some(query.bytes()), &wide).unwrap() {
        nodes.push((row, all.walk.result(all.at).unwrap().id));
    }
    let mut scan = Scan::new();
    scan.next(&mut blocks, &index, Some(query.bytes()), &settings).unwrap();
    let known: Vec<u32> = (0..5).map(|at| scan.walk.result(at).unwrap().id).collect();
    let &(other, id) = nodes.iter().rfind(|(_, id)| !scan.walk.visited.contains(*id)).unwrap();
    scan.walk.frontier.clear();
    scan.walk.kept.clear();
    scan.walk.unsorted = (0..10_000).map(|n| 4 << 32 | u64::from(known[n % 5])).collect();
    scan.walk.unsorted.push(6 << 32 | u64::from(id));
    let next = std::iter::from_fn(|| scan.next(&mut blocks, &index, Some(query.bytes()), &settings).unwrap());
    let rows: Vec<Tid> = next.map(|(row, _)| row).collect();
    assert!(rows.contains(&other) && rows.len() > 300, "{} rows", rows.len());
    let distinct: std::collections::BTreeSet<usize> = rows.iter().map(|row| number(*row)).collect();
    assert_eq!(distinct.len(), rows.len());
}

/// Where there is nothing to compare with, a query of other dimensions is no error, as in pgvector.
#[test]
fn an_empty_index_does_not_look_at_the_query() {
    let (query, settings) = (vector(&[1.0, 2.0]), settings(10, IterativeScan::Off));
    for rows in [0, 5] {
        let values = random_vectors(1, 3, rows);
        let (mut blocks, index) = index(l2(3), &shape(ValueKind::Vector, 3), &values);
        let found = Scan::new().next(&mut blocks, &index, Some(query.bytes()), &settings);
        match rows {
            0 => assert_eq!(found.unwrap(), None),
            _ => assert!(matches!(found, Err(ScanError::Query(_)))),
        }
    }
}

/// The first batch of a scan in relaxed order takes no more than a scan that ends with it; the next ones go on from
/// what was seen then, and read nothing again.
#[test]
fn the_first_batch_in_relaxed_order_is_as_short_as_any() {
    let dims = 12;
    let (mut blocks, index) =
        index(l2(dims), &shape(ValueKind::Vector, dims), &random_vectors(6, dims, 3000));
    for query in random_vectors(7, dims, 5) {
        let mut expanded = Vec::new();
        for iterative in [IterativeScan::Off, IterativeScan::Relaxed] {
            let (mut scan, settings) = (Scan::new(), settings(20, iterative));
            scan.next(&mut blocks, &index, Some(query.bytes()), &settings).unwrap();
            expanded.push(scan.counts().1);
            if iterative == IterativeScan::Relaxed {
                let mut rows = 1;
                while scan.next(&mut blocks, &index, Some(query.bytes()), &settings).unwrap().is_some() {
                    rows += 1;
                }
                // and a few of the layers above
                assert!(rows == 3000 && scan.counts().1 < 3100, "{:?}", scan.counts());
            }
        }
        assert_eq!(expanded[0], expanded[1]);
    }
}

/// Nodes that no list names are found by the pass over the pages.
#[test]
fn the_pass_finds_what_the_graph_does_not_lead_to() {
    let dims = 12;
    let (mut blocks, index) = index(l2(dims), &shape(ValueKind::Vector, dims), &random_vectors(6, dims, 400));
    let records = index.layout.ground;
    for block in 1..=(400 / records.slots.per_page as u32) {
        blocks.edit(block, |bytes| {
            for slot in 0..records.slots.per_page {
                let start = records.slots.range(slot).start;
                bytes[start + 4..start + 6].fill(0);
            }
        });
    }
    let query = &random_vectors(7, dims, 1)[0];
    let rows = search(&mut blocks, &index, Some(query.bytes()), &settings(30, IterativeScan::Relaxed));
    let mut numbers: Vec<usize> = rows.iter().map(|(row, _)| number(*row)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..400).collect::<Vec<_>>());
}

/// A hundred thousand rows with five values: five nodes, and every row comes.
#[test]
fn rows_with_few_values_share_nodes() {
    let dims = 8;
    let distinct = random_vectors(8, dims, 5);
    let values: Vec<ValueBuf> = (0..100_000).map(|n| distinct[n % 5].clone()).collect();
    let built = graph(l2(dims), &values);
    assert_eq!(built.len(), 5);
    let (mut blocks, index) = write(l2(dims), &shape(ValueKind::Vector, dims), &built, usize::MAX, 0);
    assert!(blocks.count().unwrap() < 100_000 * 6 / 8000 + 10, "{:?} blocks", blocks.count());
    let rows = search(&mut blocks, &index, Some(distinct[3].bytes()), &settings(10_000, IterativeScan::Off));
    let mut numbers: Vec<usize> = rows.iter().map(|(row, _)| number(*row)).collect();
    assert!(numbers[..20_000].iter().all(|n| n % 5 == 3));
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100_000).collect::<Vec<_>>());
    // a scan that does not go on returns no more of them than elements of the first layout hold
    let rows = search(&mut blocks, &index, Some(distinct[3].bytes()), &settings(40, IterativeScan::Off));
    assert_eq!(rows.len(), 400);
    assert!(rows.iter().all(|(row, _)| number(*row) % 5 == 3));
    // a few rows each
    let values: Vec<ValueBuf> = (0..700).map(|n| random_vectors(9, dims, 100)[n % 100].clone()).collect();
    let (mut blocks, index) = self::index(l2(dims), &shape(ValueKind::Vector, dims), &values);
    let rows = search(&mut blocks, &index, Some(values[0].bytes()), &settings(100, IterativeScan::Off));
    assert_eq!(rows.len(), 700);
    assert!(rows[..7].iter().all(|(row, distance)| number(*row).is_multiple_of(100) && *distance == 0.0));
}

/// Records that pages do not hold: values apart, records over several pages, codes beyond the first.
#[test]
fn large_dimensions() {
    for (kind, dims, count) in [
        (ValueKind::Vector, 600, 60),
        (ValueKind::Vector, 1536, 60),
        (ValueKind::Vector, 3000, 40),
        (ValueKind::Vector, 16_000, 20),
        (ValueKind::Halfvec, 16_000, 20),
        (ValueKind::Bit, 64_000, 20),
    ] {
        let values: Vec<ValueBuf> =
            clustered(1, dims, count, 0).iter().map(|elements| value(kind, elements)).collect();
        let metric = if kind == ValueKind::Bit { Metric::Hamming } else { Metric::L2 };
        let check = |found: Vec<(Tid, f64)>, own: usize| {
            assert_eq!(found.len(), count, "{kind:?} {dims}");
            assert_eq!((number(found[0].0), found[0].1), (own, 0.0));
        };
        let every = settings(count, IterativeScan::Off);
        crate::with_space!(AnySpace::new(kind, metric, dims as i32), space => {
            for own in [0, values.len() / 2] {
                let (mut blocks, index) = index(space, &shape(kind, dims), &values);
                check(search(&mut blocks, &index, Some(values[own].bytes()), &every), own);
            }
        });
    }
}

/// The same bytes, whether rotated values are kept or not, and on however many threads.
#[test]
fn pages_do_not_depend_on_memory_or_threads() {
    let dims = 1100;
    let shape = shape(ValueKind::Vector, dims);
    let built = graph(l2(dims), &random_vectors(3, dims, 150));
    let mut pages = Vec::new();
    for (budget, helpers) in [(usize::MAX, 0), (0, 0), (usize::MAX, 3), (0, 2)] {
        let (mut blocks, _) = write(l2(dims), &shape, &built, budget, helpers);
        let count = blocks.count().unwrap();
        let all: Vec<Vec<u8>> =
            (0..count).map(|block| blocks.read(block, |bytes| Ok(bytes.to_vec())).unwrap()).collect();
        pages.push(all);
    }
    assert!(pages.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn an_empty_index_has_no_rows() {
    let dims = 3;
    let (mut blocks, index) = index(l2(dims), &shape(ValueKind::Vector, dims), &[]);
    for iterative in [IterativeScan::Off, IterativeScan::Relaxed] {
        let rows = search(&mut blocks, &index, Some(vector(&[1.0; 3]).bytes()), &settings(10, iterative));
        assert_eq!(rows, []);
    }
}

/// Whatever bytes are on the pages, a scan ends, with rows or with an error that names block and slot.
#[test]
fn damaged_pages_are_errors() {
    for dims in [16, 1100] {
        let values = random_vectors(3, dims, 120);
        let (whole, index) = index(l2(dims), &shape(ValueKind::Vector, dims), &values);
        let mut rng = SmallRng::seed_from_u64(1);
        let (mut failed, mut fine) = (0, 0);
        for round in 0..300 {
            let mut blocks = whole.copy();
            let count = blocks.count().unwrap();
            for _ in 0..1 + round % 8 {
                let (block, at) = (rng.random_range(1..count), rng.random_range(0..PAGE_SIZE));
                // the fields of headers are few among the bytes
                let at = if round % 2 == 0 { at % 128 } else { at };
                blocks.edit(block, |bytes| bytes[at] = rng.random());
            }
            if round % 10 == 0 {
                blocks.cut(count / 2);
            }
            let mut scan = Scan::new();
            let settings = ScanSettings { max_memory: 1 << 20, ..settings(20, IterativeScan::Relaxed) };
            let mut rows = 0;
            loop {
                match scan.next(&mut blocks, &index, Some(values[0].bytes()), &settings) {
                    Ok(Some(_)) => rows += 1,
                    Ok(None) => break fine += 1,
                    Err(crate::hnsw::scan::ScanError::Store(MemError::Corrupt(_))) => break failed += 1,
                    Err(other) => panic!("{other:?}"),
                }
                assert!(rows < 100_000, "a scan without end");
            }
            blocks.end_transaction();
        }
        assert!(failed > 50 && fine > 20, "{dims}: {failed} failed, {fine} did not");
    }
}

#[test]
fn meta_pages_of_others_are_refused() {
    let dims = 16;
    let (mut blocks, index) = index(l2(dims), &shape(ValueKind::Vector, dims), &random_vectors(3, dims, 20));
    let first = {
        let parameters =
            crate::hnsw::format::Graph { space: l2(dims), m: M, ef_construction: EF_CONSTRUCTION };
        build_first(l2(dims), dims as u32, &parameters, &random_vectors(3, dims, 20))
    };
    let mut first = first;
    assert!(super::meta::read_meta(&mut first).is_err());
    let common = crate::hnsw::meta::read_meta(&mut blocks).unwrap();
    assert_eq!(Layout::of(&common), Some(Layout::Inline));
    let meta = super::meta::read_meta(&mut blocks).unwrap();
    assert_eq!(meta.layout(PAGE_SIZE), Ok(index.layout));
    for (at, byte) in [(24, 0), (24 + 8, 77), (24 + 12, 1), (24 + 44, 9), (24 + 45, 3)] {
        let mut other = blocks.copy();
        other.edit(0, |bytes| bytes[at] = byte);
        let mut scan = Scan::new();
        let query = vector(&[0.0; 16]);
        assert!(
            scan.next(&mut other, &index, Some(query.bytes()), &settings(10, IterativeScan::Off)).is_err(),
            "byte {at}"
        );
        other.end_transaction();
    }
}

#[path = "filtered_tests.rs"]
mod filtered;
