//! Indexes whose lists another library wrote: edges twice, anchors without an edge back, whatever the format allows.
//! Nothing is promised of how they hang together, but every operation comes to its end.
#![cfg(test)]

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use zerocopy::FromBytes;

use super::format::{Graph, Layout, insert};
use super::graph::GraphRead;
use super::inline::layout::{PageKind, RecordHeader, page_kind};
use super::inline::meta::InlineMeta;
use super::meta::{META_BLOCK, PAGE_ID};
use super::params::layer_range;
use super::scan::{IterativeScan, ScanSettings};
use super::v1::graph::PageGraph;
use super::v1::layout::neighbour_slots_mut;
use crate::space::{AnySpace, Dense, Metric, ValueKind};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{PageMut, Tid};
use crate::testing::MemBlocks;
use crate::testing::hnsw::{LAYOUTS, build_in, opened, row, scan as scanning, vacuum, vector, workspace};

const DIMS: usize = 2;
/// Operations after which an insert or a vacuum of a small index would have no end.
const MANY: u64 = 300_000;

fn graph(m: usize) -> Graph<Dense<f32>> {
    match AnySpace::new(ValueKind::Vector, Metric::L2, DIMS as i32) {
        AnySpace::Vector(space) => Graph { space, m, ef_construction: 12 },
        _ => unreachable!(),
    }
}

/// Rounds of the long tests: `VECTOR_TEST_ROUNDS` times the short ones.
fn rounds(short: u64) -> u64 {
    let times = std::env::var("VECTOR_TEST_ROUNDS").ok().and_then(|times| times.parse::<u64>().ok());
    short * times.unwrap_or(1)
}

/// How the lists of layer 0 are changed.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// the anchor once more, in the last place
    AnchorTwice,
    /// every edge twice
    AllTwice,
    /// in another order
    Shuffled,
    /// to elements drawn, the owner itself among them
    Drawn,
    /// all to one of three
    One,
}

impl Way {
    /// Changes a list, of which `count` slots are filled; `drawn` gives one of so many elements.
    fn change<T: Copy>(
        self,
        slots: &mut [T],
        count: usize,
        all: usize,
        rng: &mut SmallRng,
        drawn: impl Fn(usize) -> T,
    ) {
        match self {
            Way::AnchorTwice if count > 1 => slots[count - 1] = slots[0],
            Way::AnchorTwice => {}
            Way::AllTwice => (0..count).for_each(|at| slots[at] = slots[at / 2 * 2]),
            Way::Shuffled => (0..count).for_each(|at| slots.swap(at, rng.random_range(at..count))),
            Way::Drawn => slots.fill_with(|| drawn(rng.random_range(0..all))),
            Way::One => slots.fill(drawn(rng.random_range(0..all.min(3)))),
        }
    }
}

fn scramble(blocks: &mut MemBlocks, m: usize, rng: &mut SmallRng, way: Way) {
    match opened(blocks).layout() {
        Layout::V1 => scramble_tuples(blocks, m, rng, way),
        Layout::Inline => scramble_records(blocks, rng, way),
    }
}

fn scramble_tuples(blocks: &mut MemBlocks, m: usize, rng: &mut SmallRng, way: Way) {
    let mut all = BTreeMap::new();
    let mut index = PageGraph::new(blocks, graph(2));
    for page in index.pages().unwrap() {
        let looked = index.visit_page(page, false, |element| {
            if !element.deleted {
                all.insert(element.member.tid.packed(), (element.member.list, element.member.level));
            }
            Ok(())
        });
        looked.unwrap();
    }
    let tids: Vec<u64> = all.keys().copied().collect();
    for &(list, level) in all.values() {
        blocks.edit(list.block(), |bytes| {
            let mut page = PageMut::new(bytes, PAGE_ID).unwrap();
            let slots = neighbour_slots_mut(page.item_mut(list.offset()).unwrap(), list.offset()).unwrap();
            let ground = &mut slots[layer_range(level, 0, m)];
            let count = ground.iter().take_while(|tid| tid.is_valid()).count();
            way.change(ground, count, tids.len(), rng, |n| Tid::from_packed(tids[n]));
        });
    }
}

/// Of inline pages nobody else writes any, but such edges may be among what damage leaves; the codes are those of
/// others.
fn scramble_records(blocks: &mut MemBlocks, rng: &mut SmallRng, way: Way) {
    let layout = blocks.read(META_BLOCK, InlineMeta::read).unwrap().layout(blocks.page_size()).unwrap();
    let slots = layout.ground.slots;
    let mut all = Vec::new();
    let count = blocks.count().unwrap();
    for block in META_BLOCK + 1..count {
        let found = blocks.read(block, |bytes| {
            let ground = page_kind(bytes)? == Some(PageKind::Ground);
            let used = (0..slots.per_page).filter(|&slot| ground && slots.is_used(bytes, slot));
            Ok(used.filter_map(|slot| slots.id(block, slot)).collect::<Vec<u32>>())
        });
        all.extend(found.unwrap());
    }
    for &id in &all {
        let (block, slot) = slots.place(id);
        blocks.edit(block, |bytes| {
            let record = slots.get_mut(bytes, PageKind::Ground, slot).unwrap();
            let (header, rest) = RecordHeader::mut_from_prefix(record).unwrap();
            let count = usize::from(header.neighbours);
            let (ids, _) = <[u32]>::mut_from_prefix_with_elems(rest, count).unwrap();
            way.change(ids, count, all.len(), rng, |n| all[n]);
        });
    }
}

/// All rows that a scan without limits returns, in order.
fn scan(blocks: &mut MemBlocks, graph: &Graph<Dense<f32>>) -> Vec<u64> {
    let (iterative, max_tuples, max_memory) = (IterativeScan::Relaxed, u64::MAX, usize::MAX);
    let settings = ScanSettings { ef_search: 10, iterative, max_tuples, max_memory };
    let query = vector(&[0.0, 0.0]);
    let (mut scan, mut rows) = (scanning(blocks), Vec::new());
    while let Some(row) = scan.next(blocks, graph.space, Some(query.bytes()), &settings).unwrap() {
        rows.push(row.packed());
    }
    rows.sort_unstable();
    rows
}

#[test]
fn lists_of_any_kind_keep_nothing_from_its_end() {
    let ways = [Way::AnchorTwice, Way::AllTwice, Way::Shuffled, Way::Drawn, Way::One];
    for (way, m, seed) in ways.into_iter().flat_map(|way| (0..rounds(4)).map(move |n| (way, 2 + n % 4, n))) {
        for layout in LAYOUTS {
            let (m, what) = (m as usize, format!("{layout:?}, {way:?}, m {m}, seed {seed}"));
            let graph = graph(m);
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut blocks = build_in(layout, graph.space, DIMS as u32, &graph, &[]);
            let (mut workspace, mut next) = (workspace(&mut blocks), 0);
            let mut live: Vec<u64> = Vec::new();
            for round in 0..4 {
                for n in 0..40 {
                    let equal = seed % 3 == 0 && n % 2 == 0;
                    let x = if equal { 1.0 } else { rng.random_range(-3.0..3.0) };
                    let (value, tid) = (vector(&[x, 1.0]), row(next));
                    next += 1;
                    blocks.fail_at(MANY);
                    let done = insert(&mut blocks, &graph, &mut workspace, value.bytes(), tid, &mut rng);
                    blocks.fail_never();
                    assert_eq!(done, Ok(()), "insert {n} of round {round}, {what}");
                    live.push(tid.packed());
                }
                assert_eq!(scan(&mut blocks, &graph), live, "round {round}, {what}");
                scramble(&mut blocks, m, &mut rng, way);
                let part = if round == 2 { 0.95 } else { 0.3 };
                let (gone, kept): (Vec<u64>, Vec<u64>) = live.iter().partition(|_| rng.random_bool(part));
                let mut vacuum = vacuum(&mut blocks);
                blocks.fail_at(MANY);
                let done = vacuum.run(&mut blocks, &graph, &mut |tid: Tid| gone.contains(&tid.packed()));
                blocks.fail_never();
                assert_eq!(done.map(|done| done.removed), Ok(gone.len() as u64), "round {round}, {what}");
                live = kept;
                if round == 0 {
                    scramble(&mut blocks, m, &mut rng, way);
                }
            }
        }
    }
}
