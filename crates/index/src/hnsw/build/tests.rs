#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;

use super::anchor_tests::{held_together, recall};
use super::visited::{Met, Visited};
use super::*;
use crate::hnsw::params::HEAP_TIDS;
use crate::hnsw::params::max_level;
use crate::space::{AnySpace, ValueBuf, ValueKind, varlena_header};
use crate::value::{sparsevec_parts_mut, sparsevec_size};
use crate::with_space;
use crate::work::workers::Idle;

/// A small generator (splitmix64).
pub(super) struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between -1 and 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }
}

pub(super) fn value(kind: ValueKind, elements: &[f32]) -> ValueBuf {
    let mut buf = ValueBuf::new();
    let payload: Vec<u8> = match kind {
        ValueKind::Vector => elements.iter().flat_map(|x| x.to_ne_bytes()).collect(),
        ValueKind::Halfvec => elements.iter().flat_map(|x| half::f16::from_f32(*x).to_ne_bytes()).collect(),
        ValueKind::Bit => elements.iter().map(|x| x.to_bits() as u8).collect(),
        ValueKind::Sparsevec => {
            let kept: Vec<_> = elements.iter().enumerate().filter(|(_, x)| **x > 0.0).collect();
            let size = sparsevec_size(kept.len());
            let bytes = buf.reset(size);
            bytes[..4].copy_from_slice(&varlena_header(size));
            let (indices, values) = sparsevec_parts_mut(bytes, elements.len() as i32).unwrap();
            for ((i, v), (at, x)) in indices.iter_mut().zip(values).zip(kept) {
                (*i, *v) = (at as i32, *x);
            }
            return buf;
        }
    };
    let size = 8 + payload.len();
    let bytes = buf.reset(size);
    bytes[..4].copy_from_slice(&varlena_header(size));
    match kind {
        ValueKind::Bit => bytes[4..8].copy_from_slice(&(8 * elements.len() as i32).to_ne_bytes()),
        _ => bytes[4..6].copy_from_slice(&(elements.len() as i16).to_ne_bytes()),
    }
    bytes[8..].copy_from_slice(&payload);
    buf
}

pub(super) fn space(kind: ValueKind, metric: Metric, dims: usize) -> AnySpace {
    let bits = if kind == ValueKind::Bit { 8 } else { 1 };
    AnySpace::new(kind, metric, (dims * bits) as i32)
}

pub(super) fn params(m: usize, threads: usize) -> Params {
    Params {
        m,
        ef_construction: 4 * m,
        max_level: max_level(8192, m),
        threads,
        budget: 64 << 20,
        seed: 7,
        coded: true,
    }
}

pub(super) fn built<S: Space>(space: S, params: Params, values: &[ValueBuf]) -> Graph<S> {
    let mut builder = Builder::new(space, params);
    for (row, value) in values.iter().enumerate() {
        assert_ne!(builder.push(Tid::new(row as u32, 1), value.bytes()).unwrap(), Pushed::Full);
    }
    let progress = AtomicU64::new(0);
    let graph = builder.build(&progress, &mut Idle).unwrap();
    assert_eq!(progress.into_inner(), graph.len() as u64);
    graph
}

pub(super) fn check<S: Space>(graph: &Graph<S>, m: usize, values: &[ValueBuf]) {
    let mut tids = HashSet::new();
    let top = graph.elements().map(|e| e.level()).max();
    assert_eq!(graph.entry().map(|e| graph.element(e).unwrap().level()), top);
    for element in graph.elements() {
        for tid in element.heap_tids().into_iter().filter(|t| t.is_valid()) {
            assert!(tids.insert(tid));
            assert_eq!(element.value(), values[tid.block() as usize].bytes());
        }
        assert!(element.heap_tids()[0].is_valid());
        for layer in 0..=element.level() {
            let list: Vec<u32> = element.neighbours(layer).collect();
            assert!(list.len() <= layer_slots(m, layer));
            assert_eq!(list.iter().collect::<HashSet<_>>().len(), list.len(), "an edge stands twice");
            for neighbour in list {
                assert_ne!(neighbour, element.node());
                assert!(graph.element(neighbour).unwrap().level() >= layer);
            }
        }
        assert_eq!(element.neighbours(element.level() + 1).count(), 0);
    }
    assert_eq!(tids.len(), values.len());
    assert!(graph.element(graph.len() as u32).is_none());
    held_together(graph, m);
}

const SPACES: [(ValueKind, Metric); 12] = [
    (ValueKind::Vector, Metric::L2),
    (ValueKind::Vector, Metric::InnerProduct),
    (ValueKind::Vector, Metric::L1),
    (ValueKind::Halfvec, Metric::L2),
    (ValueKind::Halfvec, Metric::InnerProduct),
    (ValueKind::Halfvec, Metric::L1),
    (ValueKind::Sparsevec, Metric::L2),
    (ValueKind::Sparsevec, Metric::InnerProduct),
    (ValueKind::Sparsevec, Metric::L1),
    (ValueKind::Bit, Metric::Hamming),
    (ValueKind::Bit, Metric::Jaccard),
    (ValueKind::Vector, Metric::L2),
];

#[test]
fn every_space_from_nothing_to_some() {
    for (kind, metric) in SPACES {
        for n in [0, 1, 2, 3, 150] {
            let mut random = Random(n as u64);
            let values: Vec<_> = (0..n).map(|_| value(kind, &random.floats(6))).collect();
            for threads in [0, 2] {
                with_space!(space(kind, metric, 6), space => {
                    check(&built(space, params(4, threads), &values), 4, &values);
                });
            }
        }
    }
}

#[test]
fn smallest_and_largest_m() {
    let mut random = Random(5);
    let values: Vec<_> = (0..300).map(|_| value(ValueKind::Vector, &random.floats(3))).collect();
    for m in [2, 5, 17, 100] {
        let AnySpace::Vector(space) = space(ValueKind::Vector, Metric::L2, 3) else { unreachable!() };
        check(&built(space, params(m, 1), &values), m, &values);
    }
}

#[test]
fn searches_find_what_is_near() {
    let mut random = Random(3);
    let values: Vec<_> = (0..600).map(|_| value(ValueKind::Vector, &random.floats(8))).collect();
    for (metric, least) in [(Metric::L2, 0.98), (Metric::L1, 0.98), (Metric::InnerProduct, 0.9)] {
        for threads in [0, 3] {
            let AnySpace::Vector(space) = space(ValueKind::Vector, metric, 8) else { unreachable!() };
            let graph = built(space, params(8, threads), &values);
            let recall = recall(&graph, 32, |_| true);
            assert!(recall >= least, "{metric:?} on {threads} threads: {recall}");
        }
    }
}

#[test]
fn one_thread_and_a_seed_make_one_graph() {
    let mut random = Random(9);
    let values: Vec<_> = (0..400).map(|_| value(ValueKind::Vector, &random.floats(5))).collect();
    let lists = |threads, seed| {
        let AnySpace::Vector(space) = space(ValueKind::Vector, Metric::L2, 5) else { unreachable!() };
        let graph = built(space, Params { seed, ..params(6, threads) }, &values);
        let layers = |e: Element<'_, _>| -> Vec<Vec<u32>> {
            (0..=e.level()).map(|layer| e.neighbours(layer).collect()).collect()
        };
        graph.elements().map(layers).collect::<Vec<_>>()
    };
    let first = lists(1, 7);
    assert_eq!(first, lists(1, 7));
    assert_eq!(first, lists(0, 7));
    assert_ne!(first, lists(1, 8));
}

#[test]
fn equal_values_share_elements_up_to_ten_rows() {
    let same = value(ValueKind::Vector, &[1.0, 2.0]);
    let other = value(ValueKind::Vector, &[2.0, 1.0]);
    let mut values = vec![same; 25];
    values.insert(3, other);
    let AnySpace::Vector(space) = space(ValueKind::Vector, Metric::L2, 2) else { unreachable!() };
    let graph = built(space, params(4, 1), &values);
    check(&graph, 4, &values);
    let rows: Vec<Vec<u32>> = graph
        .elements()
        .map(|e| e.heap_tids().into_iter().filter(|t| t.is_valid()).map(Tid::block).collect())
        .collect();
    let expected: [Vec<u32>; 4] =
        [[0, 1, 2].into_iter().chain(4..11).collect(), vec![3], (11..21).collect(), (21..26).collect()];
    assert_eq!(rows, expected);
    let firsts: Vec<u32> = (0..4).map(|node| graph.elements.rows.first(node)).collect();
    assert_eq!(firsts, [0, NONE, 0, 0]);
}

#[test]
fn elements_with_equal_values_are_all_reached() {
    let values = vec![value(ValueKind::Vector, &[1.0, -1.0, 0.5]); 3000];
    for threads in [0, 2] {
        let AnySpace::Vector(space) = space(ValueKind::Vector, Metric::L2, 3) else { unreachable!() };
        let graph = built(space, params(3, threads), &values);
        assert_eq!(graph.len(), 300);
        check(&graph, 3, &values);
    }
}

/// By inner product most vectors are nobody's neighbour; that searches find them must not cost the lists of the
/// long ones.
#[test]
fn vectors_that_nobody_is_near_leave_the_others_their_edges() {
    let mut random = Random(11);
    let values: Vec<_> = (0..3000)
        .map(|_| [0; 3].map(|_| random.unit().abs() * random.unit().abs()))
        .map(|v| value(ValueKind::Vector, &v))
        .collect();
    let AnySpace::Vector(space) = space(ValueKind::Vector, Metric::InnerProduct, 3) else { unreachable!() };
    for threads in [0, 2] {
        let graph = built(space, params(16, threads), &values);
        check(&graph, 16, &values);
        assert!(graph.reattached() > values.len() / 2);
        // a short queue needs good lists
        let recall = recall(&graph, 20, |_| true);
        assert!(recall >= 0.995, "{recall} on {threads} threads, {} lost", graph.reattached());
    }
}

#[test]
fn infinite_distances_keep_the_graph_whole() {
    let mut random = Random(2);
    let values: Vec<_> = (0..200)
        .map(|_| random.floats(4).iter().map(|x| x * f32::MAX).collect::<Vec<_>>())
        .map(|v| value(ValueKind::Vector, &v))
        .collect();
    for metric in [Metric::L2, Metric::InnerProduct] {
        let AnySpace::Vector(space) = space(ValueKind::Vector, metric, 4) else { unreachable!() };
        check(&built(space, params(4, 1), &values), 4, &values);
    }
}

#[test]
fn a_row_that_does_not_fit_is_not_taken() {
    let mut random = Random(4);
    for kind in [ValueKind::Vector, ValueKind::Sparsevec] {
        for budget in [0, 10_000, 30_000, 100_000, 1_000_000] {
            with_space!(space(kind, Metric::L2, 16), space => {
                let mut builder = Builder::new(space, Params { budget, ..params(4, 2) });
                let mut values = Vec::new();
                while values.len() < 1500 {
                    let v = value(kind, &random.floats(16));
                    if builder.push(Tid::new(values.len() as u32, 1), v.bytes()).unwrap() == Pushed::Full {
                        break;
                    }
                    values.push(v);
                    assert!(builder.memory() <= budget);
                }
                assert_eq!(builder.len(), values.len());
                assert!(budget < 100_000 || values.len() > 50);
                let graph = builder.build(&AtomicU64::new(0), &mut Idle).unwrap();
                check(&graph, 4, &values);
            });
        }
    }
}

#[test]
fn values_of_other_spaces_are_refused() {
    let AnySpace::Vector(space) = space(ValueKind::Vector, Metric::L2, 3) else { unreachable!() };
    let mut builder = Builder::new(space, params(4, 1));
    let tid = Tid::new(1, 1);
    assert!(builder.push(tid, value(ValueKind::Vector, &[1.0, 2.0]).bytes()).is_err());
    assert!(builder.push(tid, &[0; 3]).is_err());
    assert!(builder.is_empty());
    assert_eq!(builder.push(tid, value(ValueKind::Vector, &[1.0; 3]).bytes()), Ok(Pushed::New));
}

/// A host that has enough when it is asked for the first time.
struct Cancels;

impl Coordinator for Cancels {
    fn poll(&mut self) {
        std::panic::resume_unwind(Box::new("cancelled"));
    }

    fn spawn_with(&mut self, spawn: &mut dyn FnMut()) {
        spawn();
    }
}

#[test]
fn a_poll_that_unwinds_stops_the_build() {
    let mut random = Random(1);
    let AnySpace::Vector(space) = space(ValueKind::Vector, Metric::L2, 64) else { unreachable!() };
    for threads in [1, 3] {
        let mut builder = Builder::new(space, Params { ef_construction: 500, ..params(50, threads) });
        for row in 0..900 {
            builder.push(Tid::new(row, 1), value(ValueKind::Vector, &random.floats(64)).bytes()).unwrap();
        }
        let progress = AtomicU64::new(0);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            builder.build(&progress, &mut Cancels).map(|graph| graph.len())
        }));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"cancelled"));
        assert!(progress.into_inner() < 900);
    }
}

/// The codes of the values, made as a build makes them.
fn coded(metric: Metric, rows: &[Vec<f32>]) -> (Graph<crate::space::Dense<f32>>, bool) {
    let values: Vec<_> = rows.iter().map(|row| value(ValueKind::Vector, row)).collect();
    let AnySpace::Vector(space) = space(ValueKind::Vector, metric, rows[0].len()) else { unreachable!() };
    let mut builder = Builder::new(space, params(8, 1));
    for (row, value) in values.iter().enumerate() {
        builder.push(Tid::new(row as u32, 1), value.bytes()).unwrap();
    }
    let codes = builder.codes(&mut Workers::new(1, &mut Idle)).unwrap().is_some();
    let graph = builder.build(&AtomicU64::new(0), &mut Idle).unwrap();
    check(&graph, 8, &values);
    (graph, codes)
}

#[test]
fn codes_are_used_where_they_are_true() {
    let mut random = Random(6);
    let plain: Vec<_> = (0..CODED_NODES)
        .map(|_| {
            // few hidden dimensions, as real data has
            let hidden = random.floats(8);
            (0..CODED_DIMS)
                .map(|d| hidden[d % 8] * (1.0 + d as f32 / 64.0) + 0.05 * random.unit())
                .collect::<Vec<_>>()
        })
        .collect();
    let shifted: Vec<Vec<f32>> = plain.iter().map(|v| v.iter().map(|x| x + 1000.0).collect()).collect();
    // clusters so small and far apart that a byte per element does not tell their rows from each other
    let clusters: Vec<Vec<f32>> = plain
        .iter()
        .enumerate()
        .map(|(row, v)| {
            v.iter().enumerate().map(|(d, x)| x * 1e-3 + ((row % 16 * 31 + d * 7) % 13) as f32).collect()
        })
        .collect();
    let huge: Vec<Vec<f32>> = plain.iter().map(|v| v.iter().map(|x| x * 1e30).collect()).collect();
    for (metric, rows, expected) in [
        (Metric::L2, &plain, true),
        (Metric::L2, &shifted, true),
        (Metric::L2, &clusters, false),
        (Metric::L2, &huge, false),
        (Metric::InnerProduct, &plain, true),
        (Metric::L1, &plain, false),
    ] {
        let (graph, used) = coded(metric, rows);
        assert_eq!(used, expected, "{metric:?} {:?}", &rows[0][..2]);
        if metric != Metric::InnerProduct && rows[0][0].abs() < 1e6 {
            let recall = recall(&graph, 32, |_| true);
            assert!(recall > 0.95, "{metric:?} {:?}: {recall}", &rows[0][..2]);
        }
    }
}

#[test]
fn codes_give_nearly_the_distances_of_values() {
    let mut random = Random(8);
    let rows: Vec<_> =
        (0..20).map(|_| random.floats(70).iter().map(|x| x + 3.0).collect::<Vec<_>>()).collect();
    for metric in [Metric::L2, Metric::InnerProduct] {
        let mut codes = Codes::new(rows.len(), vec![3.0; 70], metric, 4096).unwrap();
        let (encoder, pieces) = codes.pieces();
        for (first, blocks) in pieces {
            for (row, code) in rows[first..].iter().zip(blocks.chunks_exact_mut(encoder.width())) {
                assert!(encoder.encode(&mut row.clone(), code));
            }
        }
        for (i, x) in rows.iter().enumerate() {
            for (j, y) in rows.iter().enumerate() {
                let terms = x.iter().zip(y).map(|(x, y)| match metric {
                    Metric::L2 => (x - y) * (x - y),
                    _ => -x * y,
                });
                let (exact, codes) = (terms.sum::<f32>(), &codes);
                let got = codes.distance(codes.prepare(i as u32), j as u32);
                assert!((got - exact).abs() < 0.5, "{metric:?} {i} {j}: {got}, not {exact}");
                assert!(i != j || metric != Metric::L2 || got.abs() < 1e-4);
            }
        }
    }
}

#[test]
fn nodes_are_met_once_in_a_layer() {
    let mut visited = Visited::new(64).unwrap();
    for _ in 0..3 {
        visited.clear();
        for node in 0..20 {
            assert!(visited.distance(node * 7).is_none());
            let Met::New(slot) = visited.meet(node * 7, 1) else { panic!("node {node}") };
            visited.set(slot, node as f32);
            assert!(matches!(visited.meet(node * 7, 1), Met::Before));
            assert!(matches!(visited.meet(node * 7, 0), Met::Known(d) if d == node as f32));
            assert!(matches!(visited.meet(node * 7, 0), Met::Before));
            assert_eq!(visited.distance(node * 7), Some(node as f32));
        }
    }
    // a full table stops growing and still answers
    visited.clear();
    let met = (0..1000).filter(|&node| matches!(visited.meet(node, 0), Met::New(_))).count();
    assert!((40..64).contains(&met));
    assert!(visited.distance(999_999).is_none());
}

#[test]
fn values_are_told_apart_however_their_hashes_collide() {
    let mut random = Random(14);
    let mut rows = Rows::new(4096);
    // by value: its first element and the rows that all of them have
    let mut model = std::collections::HashMap::<u64, (u32, usize)>::new();
    let mut values = Vec::new();
    for n in 0..20_000u32 {
        // some values are rare, some have many rows
        let value = random.bits() % (1 + random.bits() % 300);
        let hash = (value % 40) as u32;
        let tid = Tid::new(n, 1);
        let found = rows.find(hash, |at| values[at as usize] == value);
        let (first, count) = model.entry(value).or_insert((values.len() as u32, 0));
        match found {
            Found::Room(at) => {
                assert!(*count % HEAP_TIDS != 0 && values[at as usize] == value);
                assert!(rows.add_tid(at, tid));
            }
            Found::Full(at) => {
                assert!(*count % HEAP_TIDS == 0 && *count > 0 && values[at as usize] == value);
                values.push(value);
                assert!(rows.push(tid, 0, 0, hash, Found::Full(at)));
                assert_eq!(rows.first(values.len() as u32 - 1), *first);
            }
            Found::Nothing | Found::Apart(_) => {
                assert_eq!(*count, 0);
                values.push(value);
                assert!(rows.push(tid, 0, 0, hash, Found::Nothing));
            }
        }
        *count += 1;
    }
    assert!(rows.any_equal());
    for (at, value) in (0..).zip(&values) {
        let (first, count) = model[value];
        assert_eq!(rows.first(at), if count > HEAP_TIDS { first } else { NONE });
    }
}

#[test]
fn rows_are_found_by_their_hashes() {
    let mut rows = Rows::new(4096);
    let mut random = Random(12);
    let hashes: Vec<u32> = (0..3000).map(|_| random.bits() as u32 % 2000).collect();
    for (at, &hash) in hashes.iter().enumerate() {
        let same = |other: u32| hashes[other as usize] == hash && other % 3 == at as u32 % 3;
        let found = rows.find(hash, same);
        match found {
            Found::Room(found) => assert!(same(found)),
            _ => assert!(!(0..at as u32).any(same), "row {at}: {found:?}"),
        }
        assert!(rows.push(Tid::new(at as u32, 1), 0, 0, hash, Found::Nothing));
    }
}
