//! Changes of inline pages: each leaves records as a build would write them.
#![cfg(test)]

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::census::InlineCensus;
use super::graph::{InlineGraph, Room};
use super::layout::{PageKind, Record, RecordLayout, page_kind, power, state};
use super::meta::read_meta;
use super::neighbour_search::InlineWalk;
use super::scan::{Index, Scan};
use super::tests::{EF_CONSTRUCTION, clustered, index, l2, settings, shape, value};
use crate::hnsw::census::Tally;
use crate::hnsw::check::{Subject, check};
use crate::hnsw::graph::{EdgeChange, GraphRead, GraphWrite, Member, NoValues, Target};
use crate::hnsw::insert::{Workspace, insert};
use crate::hnsw::scan::IterativeScan;
use crate::hnsw::vacuum::{Vacuum, Vacuumed};
use crate::quant::space::CodedSpace;
use crate::space::{AnySpace, Metric, ValueBuf, ValueKind};
use crate::storage::blocks::BlockStore;
use crate::storage::page::Tid;
use crate::testing::hnsw::{random_vectors, row};
use crate::testing::{MemBlocks, MemError};
use crate::with_space;

fn violations(blocks: &mut MemBlocks, space: AnySpace) -> (Tally, Vec<String>) {
    let (subject, mut found) = (Subject { space, unit: false }, Vec::new());
    let tally = check(&mut InlineCensus::new(blocks, space), &subject, true, &mut |violation| {
        found.push(violation.to_string());
    });
    (tally.unwrap(), found)
}

#[track_caller]
fn healthy(blocks: &mut MemBlocks, space: AnySpace) -> Tally {
    let (tally, found) = violations(blocks, space);
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(tally.unreached(), 0);
    tally
}

fn insert_rows<S: CodedSpace>(
    blocks: &mut MemBlocks,
    index: &Index<'_, S>,
    first: usize,
    values: &[ValueBuf],
) -> Result<(), MemError> {
    let (mut workspace, mut room) = (Workspace::<InlineWalk>::new(), Room::new());
    let mut rng = SmallRng::seed_from_u64(first as u64 + 5);
    for (n, value) in values.iter().enumerate() {
        let mut graph = InlineGraph::new(blocks, index, EF_CONSTRUCTION, &mut room);
        insert(&mut graph, &mut workspace, value.bytes(), row(first + n), &mut rng)?;
    }
    Ok(())
}

fn vacuum<S: CodedSpace>(
    blocks: &mut MemBlocks,
    index: &Index<'_, S>,
    mut is_dead: impl FnMut(Tid) -> bool,
) -> Result<Vacuumed, MemError> {
    let mut room = Room::new();
    let mut graph = InlineGraph::new(blocks, index, EF_CONSTRUCTION, &mut room);
    Vacuum::<InlineWalk>::new().run(&mut graph, &mut is_dead)
}

fn search<S: CodedSpace>(blocks: &mut MemBlocks, index: &Index<'_, S>, query: &ValueBuf) -> Vec<Tid> {
    let (mut scan, mut rows) = (Scan::new(), Vec::new());
    let settings = settings(20, IterativeScan::Relaxed);
    while let Some((row, _)) = scan.next(blocks, index, Some(query.bytes()), &settings).unwrap() {
        rows.push(row);
    }
    blocks.end_transaction();
    rows
}

/// Records of every shape: whole, the value apart, cut among the codes, with codes or values, one slot of rest or many
/// pages.
const SHAPES: [(ValueKind, Metric, usize, usize); 9] = [
    (ValueKind::Vector, Metric::L2, 5, 200),
    (ValueKind::Vector, Metric::InnerProduct, 100, 90),
    (ValueKind::Halfvec, Metric::L2, 384, 50),
    (ValueKind::Bit, Metric::Hamming, 333, 90),
    (ValueKind::Vector, Metric::L2, 1900, 24),
    (ValueKind::Vector, Metric::L2, 3000, 20),
    (ValueKind::Bit, Metric::Jaccard, 30_000, 20),
    (ValueKind::Bit, Metric::Jaccard, 64_000, 14),
    (ValueKind::Halfvec, Metric::InnerProduct, 16_000, 14),
];

fn values_of(kind: ValueKind, seed: u64, dims: usize, count: usize) -> Vec<ValueBuf> {
    clustered(seed, dims, count, 5).iter().map(|x| value(kind, x)).collect()
}

/// Rows that are inserted one by one, deleted and inserted again: what the deep check recomputes is what was written,
/// and places that were given back are used again.
#[test]
fn inserts_and_vacuums_of_every_shape() {
    for (kind, metric, dims, count) in SHAPES {
        let space = AnySpace::new(kind, metric, dims as i32);
        with_space!(space, own => {
            let (mut blocks, index) = index(own, &shape(kind, dims), &[]);
            let values = values_of(kind, 1, dims, count);
            insert_rows(&mut blocks, &index, 0, &values).unwrap();
            let tally = healthy(&mut blocks, space);
            assert_eq!((tally.live, tally.rows()), (count as u64, count), "{kind:?} {dims}");
            let before = blocks.count().unwrap();
            for round in 1..3 {
                let dead = |tid: Tid| super::tests::number(tid).is_multiple_of(3);
                let counted = vacuum(&mut blocks, &index, dead).unwrap();
                assert!(counted.removed > 0, "{kind:?} {dims} {round}");
                let tally = healthy(&mut blocks, space);
                assert_eq!(tally.rows() as u64, counted.kept);
                let (first, others) = (round as usize * 3 * count, values_of(kind, 1 + round, dims, count));
                let others = others.get(..counted.removed as usize).unwrap();
                insert_rows(&mut blocks, &index, first, others).unwrap();
                healthy(&mut blocks, space);
            }
            // free space that was noted and forgotten, and levels that are drawn anew
            let after = blocks.count().unwrap();
            assert!(after <= before + before / 4 + 8, "{kind:?} {dims}: {before} blocks, then {after}");
            assert_eq!(blocks.counts().descending, 0, "{kind:?} {dims}");
            let found = search(&mut blocks, &index, &values[1]);
            assert_eq!(found.len(), healthy(&mut blocks, space).rows());
            assert!(!blocks.holds(
                crate::storage::blocks::OperationLock::Update,
                crate::storage::blocks::LockMode::Exclusive
            ));
        });
    }
}

/// A list of a record, with what makes its estimates.
#[derive(Clone, Debug, PartialEq)]
struct Edge {
    id: u32,
    place: u32,
    factors: [f32; 2],
    code: Vec<u8>,
}

fn edges<S: CodedSpace>(
    blocks: &mut MemBlocks,
    index: &Index<'_, S>,
    layer: u8,
    id: u32,
) -> (Tid, Vec<Edge>) {
    let records: &RecordLayout = index.layout.records(layer);
    let (block, slot) = records.slots.place(id);
    blocks
        .read(block, |bytes| {
            let bytes = records.slots.get(bytes, PageKind::of_layer(layer), slot)?;
            let record = Record::new(records, bytes, slot)?;
            let codes = record.codes().unwrap();
            let edges = (0..record.len()).map(|at| {
                let powers = [record.header.add_exponent, record.header.scale_exponent].map(power);
                let factor = |all: &[half::f16], power: f32| {
                    let all = if records.factors { all } else { &[] };
                    all.get(at).map_or(0.0, |x| x.to_f32() * power)
                };
                let start = at * records.code_size;
                Edge {
                    id: record.ids()[at],
                    place: record.places()[at],
                    factors: [factor(record.adds(), powers[0]), factor(record.scales(), powers[1])],
                    code: codes[start..start + records.code_size].to_vec(),
                }
            });
            let own = if layer == 0 { index.layout.tid(id) } else { record.header.heap_tid };
            Ok((own, edges.collect()))
        })
        .unwrap()
}

/// An edge that is replaced, and then replaced by what it was, has the bytes that the build gave it.
#[test]
fn edges_that_are_added_are_what_a_build_writes() {
    for (kind, metric, dims, count) in SHAPES.into_iter().take(5) {
        let space = AnySpace::new(kind, metric, dims as i32);
        with_space!(space, own => {
            let values = values_of(kind, 3, dims, count);
            let (mut blocks, index) = index(own, &shape(kind, dims), &values);
            let mut room = Room::new();
            let mut compared = [0, 0];
            for block in 1..blocks.count().unwrap() {
                let kind = blocks.read(block, page_kind).unwrap();
                let layer = match kind {
                    Some(PageKind::Ground) => 0,
                    Some(PageKind::Upper) => 1,
                    _ => continue,
                };
                let id = index.layout.records(layer).slots.id(block, 0).unwrap();
                let (tid, before) = edges(&mut blocks, &index, layer, id);
                let mut graph = InlineGraph::new(&mut blocks, &index, EF_CONSTRUCTION, &mut room);
                let owner = graph.member(tid).unwrap().unwrap();
                if owner.level < layer {
                    continue;
                }
                let layer_of = if layer == 0 { 0 } else { 1 };
                let at = graph.list_at(&owner, layer_of).unwrap();
                if layer > 0 && index.layout.upper.slots.id(at.block(), 0) != Some(id) {
                    // the slot's record is of a higher layer
                    continue;
                }
                let last = before.len() - 1;
                let old = index.layout.tid(before[last].place);
                let other = index.layout.tid(before[0].place);
                // to another element and back; the other one is in the list already, so take a third
                let third = (0..count as u32)
                    .map(|n| index.layout.tid(index.layout.ground.slots.id(1, 0).unwrap() + n))
                    .find(|&tid| {
                        let mut graph = InlineGraph::new(&mut blocks, &index, EF_CONSTRUCTION, &mut room);
                        let member = graph.member(tid).unwrap().unwrap();
                        tid != owner.tid
                            && member.level >= layer
                            && before.iter().all(|edge| index.layout.tid(edge.place) != tid)
                    });
                let Some(third) = third else { continue };
                assert_ne!(other, third);
                let mut graph = InlineGraph::new(&mut blocks, &index, EF_CONSTRUCTION, &mut room);
                for (from, to) in [(old, third), (third, old)] {
                    let edge = EdgeChange { owner, at, layer: layer_of, replaced: Some(from), stands: false };
                    assert!(graph.add_edges(&[edge], Target { tid: to, value: None }, None).unwrap());
                }
                let (_, after) = edges(&mut blocks, &index, layer, id);
                assert_eq!(before.len(), after.len());
                for (before, after) in before.iter().zip(&after) {
                    assert_eq!((before.id, before.place, &before.code), (after.id, after.place, &after.code));
                    for (x, y) in before.factors.iter().zip(after.factors) {
                        // a half has eleven bits, and may have been scaled anew
                        assert!((x - y).abs() <= x.abs() * 2e-3 + 1e-30, "{x} {y}");
                    }
                }
                compared[usize::from(layer)] += 1;
            }
            assert!(compared[0] > 3 && (compared[1] > 0 || count < 90), "{kind:?} {dims} {compared:?}");
        });
    }
}

/// Edges to elements much farther away than all before: factors are scaled anew, and again when the far ones are gone.
#[test]
fn factors_are_scaled_anew() {
    let dims = 24;
    let mut values = random_vectors(3, dims, 60);
    for (n, value) in clustered(4, dims, 60, 3).into_iter().enumerate() {
        let far = 10f32.powi(n as i32 % 12 - 3);
        values.push(crate::testing::hnsw::vector(&value.iter().map(|x| x * far).collect::<Vec<_>>()));
    }
    let (mut blocks, index) = index(l2(dims), &shape(ValueKind::Vector, dims), &[]);
    let space = AnySpace::Vector(l2(dims));
    insert_rows(&mut blocks, &index, 0, &values).unwrap();
    healthy(&mut blocks, space);
    vacuum(&mut blocks, &index, |tid| super::tests::number(tid) >= 60).unwrap();
    assert_eq!(healthy(&mut blocks, space).live, 60);
    insert_rows(&mut blocks, &index, 1000, values.get(60..).unwrap()).unwrap();
    healthy(&mut blocks, space);
}

/// The first edge changes places with another, or becomes one that the list had not; codes go with their edges.
#[test]
fn anchors_change_places() {
    for (kind, metric, dims, count) in SHAPES {
        let space = AnySpace::new(kind, metric, dims as i32);
        with_space!(space, own => {
            let values = values_of(kind, 3, dims, count);
            let (mut blocks, index) = index(own, &shape(kind, dims), &values);
            let mut room = Room::new();
            for n in 0..count.min(20) as u32 {
                let mut graph = InlineGraph::new(&mut blocks, &index, EF_CONSTRUCTION, &mut room);
                let tid = index.layout.tid(index.layout.ground.slots.id(1, 0).unwrap() + n);
                let member = graph.member(tid).unwrap().unwrap();
                let (mut before, mut after) = (Vec::new(), Vec::new());
                graph.list(&member, 0, &mut before).unwrap();
                let last = *before.last().unwrap();
                graph.set_anchor(&member, last, &NoValues).unwrap();
                graph.list(&member, 0, &mut after).unwrap();
                let end = before.len() - 1;
                before.swap(0, end);
                assert_eq!(before, after);
                let other = (0..count as u32)
                    .map(|n| index.layout.tid(index.layout.ground.slots.id(1, 0).unwrap() + n))
                    .find(|tid| *tid != member.tid && !before.contains(tid));
                let Some(other) = other else { continue };
                graph.set_anchor(&member, other, &NoValues).unwrap();
                graph.list(&member, 0, &mut after).unwrap();
                before[0] = other;
                assert_eq!(before, after);
            }
            // the tree of anchors is another now; the codes are right
            let (_, found) = violations(&mut blocks, space);
            let codes: Vec<_> = found.iter().filter(|text| text.contains("code") || text.contains("factor")).collect();
            assert!(codes.is_empty(), "{kind:?} {dims}: {codes:?}");
        });
    }
}

/// Rows of one value: the first in the record, sixteen in a short segment, then pages of them. What was removed is
/// given back, and used again.
#[test]
fn rows_of_one_value_go_to_segments() {
    let dims = 8;
    let space = AnySpace::Vector(l2(dims));
    let (mut blocks, index) = index(l2(dims), &shape(ValueKind::Vector, dims), &random_vectors(3, dims, 50));
    let same: Vec<ValueBuf> = vec![random_vectors(4, dims, 1).remove(0); 3000];
    let fresh = blocks.count().unwrap();
    insert_rows(&mut blocks, &index, 100, &same).unwrap();
    let tally = healthy(&mut blocks, space);
    assert_eq!((tally.live, tally.rows()), (51, 3050));
    // a record, a page of short segments, three of long ones; perhaps a page more that a wrong note led to
    let grown = blocks.count().unwrap();
    assert!(grown <= fresh + 6, "{fresh} {grown}");
    assert_eq!(search(&mut blocks, &index, &same[0]).len(), 3050);
    // every second one, then all but a few, then all
    let number = super::tests::number;
    for (left, dead) in [(1500, (|n| n % 2 == 1) as fn(usize) -> bool), (10, |n| n % 300 != 0), (0, |_| true)]
    {
        vacuum(&mut blocks, &index, |tid| number(tid) >= 100 && dead(number(tid))).unwrap();
        let tally = healthy(&mut blocks, space);
        assert_eq!(tally.rows(), 50 + left);
        assert_eq!(search(&mut blocks, &index, &same[0]).len(), 50 + left);
    }
    insert_rows(&mut blocks, &index, 10_000, &same).unwrap();
    assert_eq!(healthy(&mut blocks, space).rows(), 3050);
    assert!(blocks.count().unwrap() <= grown + 2, "{grown} {}", blocks.count().unwrap());
}

/// After every single change (of large records some) of inserts and vacuums, as a crash may leave it: scans find what
/// was there, inserts and a vacuum go on, and nothing is left reserved.
#[test]
fn every_change_alone_leaves_an_index() {
    for (kind, metric, dims, count, step) in [
        (ValueKind::Vector, Metric::L2, 5, 40, 1),
        (ValueKind::Vector, Metric::L2, 1900, 10, 3),
        (ValueKind::Vector, Metric::L2, 3000, 10, 5),
        (ValueKind::Bit, Metric::Hamming, 30_000, 10, 7),
    ] {
        let space = AnySpace::new(kind, metric, dims as i32);
        with_space!(space, own => {
            let values = values_of(kind, 9, dims, count + 6);
            let (mut blocks, index) = index(own, &shape(kind, dims), values.get(..count).unwrap());
            vacuum(&mut blocks, &index, |tid| super::tests::number(tid) % 7 == 1).unwrap();
            blocks.record();
            // new ones, one more row of a value, the highest level that comes
            insert_rows(&mut blocks, &index, 200, values.get(count..).unwrap()).unwrap();
            insert_rows(&mut blocks, &index, 300, values.get(..3).unwrap()).unwrap();
            vacuum(&mut blocks, &index, |tid| super::tests::number(tid) % 5 == 2).unwrap();
            let changes = blocks.recorded();
            assert!(changes > 20, "{changes}");
            for at in (0..=changes).step_by(step) {
                let mut crashed = blocks.after(at);
                let found = search(&mut crashed, &index, &values[0]);
                assert!(found.len() > count / 2, "{kind:?} {dims} {at}");
                insert_rows(&mut crashed, &index, 500, values.get(count..count + 2).unwrap()).unwrap();
                // what was being inserted is dead, as the heap says after a crash
                vacuum(&mut crashed, &index, |tid| (200..400).contains(&super::tests::number(tid))).unwrap();
                healthy(&mut crashed, space);
                assert_eq!(reserved(&mut crashed, &index), 0, "{kind:?} {dims} {at}");
                insert_rows(&mut crashed, &index, 600, values.get(count + 2..).unwrap()).unwrap();
                healthy(&mut crashed, space);
                assert_eq!(crashed.counts().descending, 0);
            }
        });
    }
}

/// Slots that are reserved.
fn reserved<S: CodedSpace>(blocks: &mut MemBlocks, index: &Index<'_, S>) -> usize {
    let (mut room, mut out) = (Room::new(), Vec::new());
    let count = blocks.count().unwrap();
    let mut graph = InlineGraph::new(blocks, index, EF_CONSTRUCTION, &mut room);
    (1..count).for_each(|page| graph.reserved(page, &mut out).unwrap());
    out.len()
}

/// An insert that fails between its changes leaves a slot reserved; a vacuum frees it once that insert is over, and the
/// next insert uses it, with the pages that it has already.
#[test]
fn places_that_were_reserved_are_freed() {
    let dims = 3000;
    let values = values_of(ValueKind::Vector, 9, dims, 20);
    let (mut blocks, index) = index(l2(dims), &shape(ValueKind::Vector, dims), values.get(..12).unwrap());
    let mut left = 0;
    for n in 1..60 {
        blocks.fail_at(n * 7);
        if insert_rows(&mut blocks, &index, 200, values.get(12..13).unwrap()).is_ok() {
            break;
        }
        blocks.fail_never();
        blocks.end_transaction();
        left = left.max(reserved(&mut blocks, &index));
    }
    blocks.fail_never();
    assert!(left > 0);
    let count = blocks.count().unwrap();
    vacuum(&mut blocks, &index, |tid| super::tests::number(tid) >= 200).unwrap();
    assert_eq!(reserved(&mut blocks, &index), 0);
    healthy(&mut blocks, AnySpace::Vector(l2(dims)));
    insert_rows(&mut blocks, &index, 300, values.get(13..15).unwrap()).unwrap();
    healthy(&mut blocks, AnySpace::Vector(l2(dims)));
    // chains that were begun are completed
    let most = count + 2 * index.layout.ground.rest_pages as u32;
    assert!(blocks.count().unwrap() <= most, "{count} {}", blocks.count().unwrap());
}

/// An edge back dirties its id, its factors and its code, and nothing else of the record.
#[test]
fn an_edge_changes_few_bytes() {
    let dims = 384;
    let values = values_of(ValueKind::Vector, 9, dims, 200);
    let (mut blocks, index) = index(l2(dims), &shape(ValueKind::Vector, dims), &values);
    let mut room = Room::new();
    let mut graph = InlineGraph::new(&mut blocks, &index, EF_CONSTRUCTION, &mut room);
    let tid = |n: u32| index.layout.tid(index.layout.ground.slots.id(1, 0).unwrap() + n);
    let (owner, mut list) = (graph.member(tid(3)).unwrap().unwrap(), Vec::new());
    graph.list(&owner, 0, &mut list).unwrap();
    let new = (0..200).map(tid).find(|tid| *tid != owner.tid && !list.contains(tid)).unwrap();
    graph.blocks.reset_counts();
    let replaced = list.last().copied();
    let edge = EdgeChange { owner, at: owner.list, layer: 0, replaced, stands: false };
    assert!(graph.add_edges(&[edge], Target { tid: new, value: None }, Some(owner.tid)).unwrap());
    let counts = blocks.counts();
    // an id, two factors, a code
    let most = 4 + 4 + index.layout.ground.code_size as u64;
    assert!(counts.changes == 1 && counts.pages == 1 && counts.bytes <= most, "{counts:?}");
}

/// Whatever is on the pages, changes come to an end, or to an error that names block and slot.
#[test]
fn damaged_pages_are_errors() {
    for (kind, metric, dims, count) in [SHAPES[0], SHAPES[5]] {
        let space = AnySpace::new(kind, metric, dims as i32);
        with_space!(space, own => {
            let mut values = values_of(kind, 1, dims, count);
            let again: Vec<ValueBuf> = values.iter().take(20).cloned().collect();
            values.extend(again);
            let (mut whole, index) = index(own, &shape(kind, dims), &values);
            vacuum(&mut whole, &index, |tid| super::tests::number(tid) % 5 == 1).unwrap();
            let mut rng = SmallRng::seed_from_u64(1);
            let (mut failed, mut fine) = (0, 0);
            let others = values_of(kind, 7, dims, 4);
            for round in 0..60 {
                let mut blocks = whole.copy();
                let count = blocks.count().unwrap();
                for _ in 0..1 + round % 8 {
                    let (block, at) = (rng.random_range(1..count), rng.random_range(0..crate::testing::PAGE_SIZE));
                    let at = if round % 2 == 0 { at % 128 } else { at };
                    blocks.edit(block, |bytes| bytes[at] = rng.random());
                }
                if round % 10 == 0 {
                    blocks.cut(count / 2);
                }
                let result = insert_rows(&mut blocks, &index, 900, &others);
                blocks.end_transaction();
                let equal = insert_rows(&mut blocks, &index, 950, values.get(..3).unwrap());
                blocks.end_transaction();
                let vacuumed = vacuum(&mut blocks, &index, |tid| super::tests::number(tid) % 4 == 2);
                blocks.end_transaction();
                for result in [result, equal, vacuumed.map(|_| ())] {
                    match result {
                        Ok(()) => fine += 1,
                        Err(MemError::Corrupt(_)) => failed += 1,
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }
            assert!(failed > 10 && fine > 20, "{kind:?} {dims}: {failed} failed, {fine} did not");
        });
    }
}

/// The entry point comes with its record in the highest layer.
#[test]
fn the_meta_page_names_the_highest_record() {
    let dims = 5;
    let (mut blocks, index) = index(l2(dims), &shape(ValueKind::Vector, dims), &random_vectors(3, dims, 400));
    let before = read_meta(&mut blocks).unwrap();
    let (mut room, mut other) = (Room::new(), None::<Member>);
    for n in 0..400 {
        let tid = index.layout.tid(index.layout.ground.slots.id(1, 0).unwrap() + n);
        let mut graph = InlineGraph::new(&mut blocks, &index, EF_CONSTRUCTION, &mut room);
        let member = graph.member(tid).unwrap().unwrap();
        if member.level > 0 && before.entry().unwrap().unwrap().tid != tid {
            other = Some(member);
        }
    }
    let other = other.unwrap();
    let mut graph = InlineGraph::new(&mut blocks, &index, EF_CONSTRUCTION, &mut room);
    let mut asked = 0;
    let entry = crate::hnsw::meta::EntryPoint { tid: other.tid, level: other.level };
    let set = |meta: &mut crate::hnsw::meta::MetaPage| {
        asked += 1;
        meta.set_entry_point(Some(entry));
        true
    };
    graph.update_meta(set).unwrap();
    assert_eq!(asked, 2);
    let meta = read_meta(&mut blocks).unwrap().entry().unwrap().unwrap();
    assert_eq!((meta.tid, meta.level), (other.tid, other.level));
    let (block, slot) = index.layout.upper.slots.place(meta.id);
    let found = blocks.read(block, |bytes| {
        let records = &index.layout.upper;
        let record = Record::new(records, records.slots.get(bytes, PageKind::Upper, slot)?, slot)?;
        Ok((record.header.heap_tid, record.header.layer, record.header.state))
    });
    assert_eq!(found, Ok((other.tid, other.level, state::LIVE)));
    assert!(!search(&mut blocks, &index, &random_vectors(9, dims, 1)[0]).is_empty());
}

#[path = "returned_tests.rs"]
mod returned;
