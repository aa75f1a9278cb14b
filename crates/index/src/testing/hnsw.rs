//! Healthy hnsw indexes on blocks in memory, each made from a seed.
#![cfg(any(test, feature = "testing"))]
#![allow(clippy::unwrap_used)]

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::memory::{MemBlocks, PAGE_SIZE};
use crate::filter::Packings;
use crate::hnsw::build::{Builder, Params};
use crate::hnsw::check::Subject;
use crate::hnsw::format::{
    Cache, Form, Graph, Layout, Opened, Scan, Vacuum, Workspace, check, insert, open, write_index,
};
use crate::hnsw::meta::{INLINE_PAGE_ID, MetaPage, PAGE_ID};
use crate::hnsw::params::max_level;
use crate::hnsw::scan::{IterativeScan, ScanSettings};
use crate::quant::space::CodedSpace;
use crate::space::{AnySpace, Dense, Metric, ValueBuf, ValueKind, varlena_header};
use crate::storage::blocks::BlockStore;
use crate::storage::page::Tid;
use crate::value::VectorView;
use crate::work::workers::{Idle, Workers};

/// Seed of the levels of [`build`].
const SEED: u64 = 20_240_601;

/// A `vector`.
pub fn vector(elements: &[f32]) -> ValueBuf {
    let mut value = ValueBuf::new();
    let size = VectorView::size(elements.len());
    let bytes = value.reset(size);
    bytes[..4].copy_from_slice(&varlena_header(size));
    VectorView::init(bytes).unwrap().copy_from_slice(elements);
    value
}

/// A random `vector` with elements between -1 and 1.
pub fn random_vector(rng: &mut SmallRng, dims: usize) -> ValueBuf {
    let elements: Vec<f32> = (0..dims).map(|_| rng.random_range(-1.0..1.0)).collect();
    vector(&elements)
}

/// So many of them, from a seed.
pub fn random_vectors(seed: u64, dims: usize, count: usize) -> Vec<ValueBuf> {
    let mut rng = SmallRng::seed_from_u64(seed);
    (0..count).map(|_| random_vector(&mut rng, dims)).collect()
}

/// The heap TID of row `n`, as a table of 50 rows to a page has it.
pub fn row(n: usize) -> Tid {
    Tid::new((n / 50) as u32, (n % 50) as u16 + 1)
}

/// All layouts.
pub const LAYOUTS: [Layout; 2] = [Layout::V1, Layout::Inline];

/// What an index is.
pub fn opened<B: BlockStore<Error: std::fmt::Debug>>(blocks: &mut B) -> Opened {
    open(blocks, &mut Cache::new()).unwrap()
}

/// What inserts into an index keep.
pub fn workspace<B: BlockStore<Error: std::fmt::Debug>>(blocks: &mut B) -> Workspace {
    let mut workspace = Workspace::new();
    workspace.set_index(&opened(blocks));
    workspace
}

/// A vacuum of an index, to be run.
pub fn vacuum<B: BlockStore<Error: std::fmt::Debug>>(blocks: &mut B) -> Vacuum {
    let mut vacuum = Vacuum::new();
    vacuum.set_index(&opened(blocks));
    vacuum
}

/// A scan of an index that has not begun.
pub fn scan<B: BlockStore<Error: std::fmt::Debug>>(blocks: &mut B) -> Scan {
    let mut scan = Scan::new();
    scan.set_index(&opened(blocks));
    scan
}

/// An index of pgvector's layout, as [`build_in`] makes it.
pub fn build<S: CodedSpace>(space: S, dims: u32, graph: &Graph<S>, values: &[ValueBuf]) -> MemBlocks {
    build_in(Layout::V1, space, dims, graph, values)
}

/// An index of `values`, built in memory and written as CREATE INDEX does; the rows are [`row`] 0 and on.
pub fn build_in<S: CodedSpace>(
    layout: Layout,
    space: S,
    dims: u32,
    graph: &Graph<S>,
    values: &[ValueBuf],
) -> MemBlocks {
    let Graph { m, ef_construction, .. } = *graph;
    let max_level = max_level(PAGE_SIZE, m);
    let budget = usize::MAX;
    let params = Params { m, ef_construction, max_level, threads: 0, budget, seed: SEED, coded: false };
    let mut builder = Builder::new(space, params);
    if layout == Layout::Inline {
        builder.share_elements(0);
    }
    for (n, value) in values.iter().enumerate() {
        builder.push(row(n), value.bytes()).unwrap();
    }
    let built = builder.build(&AtomicU64::new(0), &mut Idle).unwrap();
    let meta = MetaPage::new(dims, m as u16, ef_construction as u16);
    let mut blocks = MemBlocks::new(if layout == Layout::Inline { INLINE_PAGE_ID } else { PAGE_ID });
    let form = Form { layout, meta, seed: 0, filters: Packings::NONE };
    write_index(&form, &mut blocks, space, Some(&built), &mut Workers::new(0, &mut Idle), 0).unwrap();
    blocks
}

/// Dimensions of [`used`].
pub const DIMS: usize = 5;

/// The graph of [`used`]: few connections, so that small indexes have several layers.
pub fn graph() -> Graph<Dense<f32>> {
    graph_of(DIMS)
}

/// The same of other dimensions.
pub fn graph_of(dims: usize) -> Graph<Dense<f32>> {
    match AnySpace::new(ValueKind::Vector, Metric::L2, dims as i32) {
        AnySpace::Vector(space) => Graph { space, m: 4, ef_construction: 20 },
        _ => unreachable!(),
    }
}

/// An index of pgvector's layout as [`used_in`] makes it.
pub fn used() -> MemBlocks {
    used_in(Layout::V1)
}

/// An index of a few pages that was built, vacuumed and inserted into: it has live and deleted elements, one in the
/// place of a deleted one, and one of more rows than others.
pub fn used_in(layout: Layout) -> MemBlocks {
    static MADE: [OnceLock<MemBlocks>; 2] = [const { OnceLock::new() }; 2];
    let made = MADE[usize::from(layout == Layout::Inline)].get_or_init(|| {
        let graph = graph();
        let mut blocks = build_in(layout, graph.space, DIMS as u32, &graph, &random_vectors(6, DIMS, 200));
        let dead = &mut |tid: Tid| tid.offset().is_multiple_of(10);
        vacuum(&mut blocks).run(&mut blocks, &graph, dead).unwrap();
        let mut values = random_vectors(7, DIMS, 5);
        if layout == Layout::Inline {
            // segments of rows, short and long, one of them given back
            values.extend(vec![values[0].clone(); 30]);
        }
        insert_all(&mut blocks, &graph, 500, &values, &mut SmallRng::seed_from_u64(8));
        blocks
    });
    made.copy()
}

/// [`exercise_as`] an index of [`used_in`].
pub fn exercise(layout: Layout, blocks: &mut MemBlocks) {
    exercise_as(&opened(&mut used_in(layout)), &graph(), DIMS, blocks);
}

/// Does everything with an index that can be done, however damaged it is: each operation comes to its end, or to an
/// error. `before` is what the index was before it was damaged.
pub fn exercise_as(before: &Opened, graph: &Graph<Dense<f32>>, dims: usize, blocks: &mut MemBlocks) {
    let space = AnySpace::Vector(graph.space);
    for (unit, deep) in [(true, true), (false, false)] {
        check(before.layout(), blocks, &Subject { space, unit }, deep, &mut |_| ()).unwrap();
    }
    let _ = crate::hnsw::format::info(blocks);
    let value = vector(&vec![0.1; dims]);
    let (ef_search, iterative) = (10, IterativeScan::Relaxed);
    let settings = ScanSettings { ef_search, iterative, max_tuples: 1000, max_memory: 1 << 20 };
    // who began before the damage, and who begins after it
    for opened in [Some(before.clone()), open(blocks, &mut Cache::new()).ok()].iter().flatten() {
        let mut scan = Scan::new();
        scan.set_index(opened);
        let mut rows = 0;
        while let Ok(Some(_)) = scan.next(blocks, graph.space, Some(value.bytes()), &settings) {
            rows += 1;
            assert!(rows < 100_000, "a scan without end");
        }
        blocks.end_transaction();
    }
    let mut rng = SmallRng::seed_from_u64(1);
    let mut workspace = Workspace::new();
    workspace.set_index(before);
    let _ = insert(blocks, graph, &mut workspace, value.bytes(), row(0), &mut rng);
    blocks.end_transaction();
    let mut vacuum = Vacuum::new();
    vacuum.set_index(before);
    let _ = vacuum.run(blocks, graph, &mut |tid: Tid| tid.offset() == 1);
    blocks.end_transaction();
}

/// Inserts `values` one by one, as rows `first` and on.
pub fn insert_all<S: CodedSpace>(
    blocks: &mut MemBlocks,
    graph: &Graph<S>,
    first: usize,
    values: &[ValueBuf],
    rng: &mut SmallRng,
) {
    let mut workspace = workspace(blocks);
    for (n, value) in values.iter().enumerate() {
        insert(blocks, graph, &mut workspace, value.bytes(), row(first + n), rng).unwrap();
    }
}
