//! A table with an index, for the tests of anchors: what must hold of it at every moment.
#![cfg(test)]

use std::collections::{BTreeSet, HashMap, HashSet};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::format::{Graph, Layout, Vacuumed, Workspace, insert};
use super::graph::GraphRead;
use super::inline::graph::{InlineGraph, Room};
use super::inline::meta::InlineMeta;
use super::inline::scan::{Index, Shared};
use super::meta::{META_BLOCK, MetaPage, read_meta};
use super::params::layer_range;
use super::v1::graph::PageGraph;
use crate::space::{AnySpace, Dense, Metric, ValueBuf, ValueKind};
use crate::storage::blocks::BlockStore;
use crate::storage::page::Tid;
use crate::testing::hnsw::{build_in, row, vacuum, vector, workspace};
use crate::testing::{MemBlocks, MemError};

pub(super) const DIMS: usize = 3;

pub(super) fn graph(m: usize) -> Graph<Dense<f32>> {
    match AnySpace::new(ValueKind::Vector, Metric::L2, DIMS as i32) {
        AnySpace::Vector(space) => Graph { space, m, ef_construction: 12 },
        _ => unreachable!(),
    }
}

/// An element of the picture that a test takes of an index.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) rows: Vec<Tid>,
    pub(super) ground: Vec<u64>,
    pub(super) upper: Vec<u64>,
}

/// All elements that are not deleted, by packed TID.
pub(super) fn picture(blocks: &mut MemBlocks, m: usize) -> HashMap<u64, Shown> {
    let mut inline = None;
    blocks
        .read(META_BLOCK, |bytes| {
            let common = MetaPage::read(bytes)?;
            inline =
                (Layout::of(&common) == Some(Layout::Inline)).then(|| InlineMeta::read(bytes)).transpose()?;
            Ok(())
        })
        .unwrap();
    let space = graph(m).space;
    match inline {
        None => picture_of(&mut PageGraph::new(blocks, graph(m)), m),
        Some(meta) => {
            let (shared, mut room) = (Shared::new(&meta, blocks.page_size()).unwrap(), Room::new());
            picture_of(&mut InlineGraph::new(blocks, &Index::new(&shared, space), 12, &mut room), m)
        }
    }
}

fn picture_of<G: GraphRead<Error: std::fmt::Debug>>(graph: &mut G, m: usize) -> HashMap<u64, Shown> {
    let mut found = Vec::new();
    for page in graph.pages().unwrap() {
        let shown = graph.visit_page(page, false, |element| {
            if !element.deleted {
                found.push((element.member, element.rows.to_vec()));
            }
            Ok(())
        });
        shown.unwrap();
    }
    let mut shown = HashMap::new();
    for (member, mut rows) in found {
        let mut part = None;
        while graph.next_rows(&member, &mut part, &mut rows).unwrap() {}
        let (ground, upper) = graph
            .lists(&member, |lists| {
                let of = |layer| {
                    let slots = lists.all.get(layer_range(member.level, layer, m)).unwrap();
                    slots.iter().filter(|tid| tid.is_valid()).map(|tid| tid.packed()).collect::<Vec<_>>()
                };
                Ok((of(0), (1..=member.level).flat_map(of).collect::<Vec<_>>()))
            })
            .unwrap();
        shown.insert(member.tid.packed(), Shown { rows, ground, upper });
    }
    shown
}

pub(super) fn walk(from: u64, edges: impl Fn(u64) -> Vec<u64>) -> HashSet<u64> {
    let (mut seen, mut left) = (HashSet::from([from]), vec![from]);
    while let Some(at) = left.pop() {
        left.extend(edges(at).into_iter().filter(|&next| seen.insert(next)));
    }
    seen
}

/// What is wrong: a row of `committed` that some descent would not find, or an anchor without the edge back.
pub(super) fn faults(blocks: &mut MemBlocks, m: usize, committed: &BTreeSet<u64>) -> Vec<String> {
    let shown = picture(blocks, m);
    let mut faults = Vec::new();
    let mut places = HashMap::new();
    for (&tid, element) in &shown {
        for row in &element.rows {
            if places.insert(row.packed(), tid).is_some() {
                faults.push(format!("row {row} is in two places"));
            }
        }
    }
    let missing = committed.iter().filter(|row| !places.contains_key(row)).count();
    if missing > 0 {
        faults.push(format!("{missing} rows are in no element"));
    }
    let live: BTreeSet<u64> = committed.iter().filter_map(|row| places.get(row)).copied().collect();
    let Some(&first) = live.first() else { return faults };
    let Some(entry) = read_meta(blocks).unwrap().entry_point().unwrap() else {
        faults.push(format!("no entry point, and {} elements live", live.len()));
        return faults;
    };
    // an element whose place another vacuum freed, or that was reused, is not followed by its old edges
    let ground = |at: u64| shown.get(&at).map_or(vec![], |element| element.ground.clone());
    let all = |at: u64| {
        let element = shown.get(&at);
        element.map_or(vec![], |element| [element.ground.clone(), element.upper.clone()].concat())
    };
    let mut back: HashMap<u64, Vec<u64>> = HashMap::new();
    for (&tid, element) in &shown {
        for &edge in &element.ground {
            back.entry(edge).or_default().push(tid);
        }
    }
    let from_first = walk(first, ground);
    let unreachable = live.iter().filter(|tid| !from_first.contains(tid)).count();
    if unreachable > 0 {
        faults.push(format!("{unreachable} of {} elements are not reached from {first:x}", live.len()));
    }
    let to_first = walk(first, |at| back.get(&at).cloned().unwrap_or_default());
    let met = walk(entry.tid.packed(), all);
    let stray = met.iter().filter(|tid| shown.contains_key(tid) && !to_first.contains(tid)).count();
    if stray > 0 {
        faults.push(format!("{stray} of {} elements do not lead back", met.len()));
    }
    for tid in live.iter().filter(|_| live.len() > 1) {
        let anchor = shown[tid].ground.first();
        let mutual = anchor.and_then(|anchor| shown.get(anchor)).is_some_and(|a| a.ground.contains(tid));
        if !mutual {
            faults.push(format!("the anchor of {tid:x} has no edge back"));
        }
    }
    faults
}

/// A table with its index.
pub(super) struct Table {
    pub(super) layout: Layout,
    pub(super) m: usize,
    pub(super) blocks: MemBlocks,
    pub(super) workspace: Workspace,
    pub(super) rng: SmallRng,
    pub(super) next: usize,
    /// rows that are there
    pub(super) committed: BTreeSet<u64>,
    /// rows that are gone, or never came
    pub(super) dead: HashSet<u64>,
    pub(super) story: Vec<String>,
}

impl Table {
    pub(super) fn new(layout: Layout, m: usize, seed: u64) -> Self {
        let graph = graph(m);
        let mut blocks = build_in(layout, graph.space, DIMS as u32, &graph, &[]);
        Table {
            layout,
            m,
            workspace: workspace(&mut blocks),
            blocks,
            rng: SmallRng::seed_from_u64(seed),
            next: 0,
            committed: BTreeSet::new(),
            dead: HashSet::new(),
            story: Vec::new(),
        }
    }

    /// A value among equal ones, clusters far apart, outliers, and others.
    pub(super) fn value(&mut self) -> ValueBuf {
        let rng = &mut self.rng;
        let mut at = |middle: f32, around: f32| -> Vec<f32> {
            (0..DIMS).map(|_| middle + rng.random_range(-around..around)).collect()
        };
        let elements = match at(0.0, 1.0)[0] {
            kind if kind < -0.6 => vec![0.25; DIMS],
            kind if kind < -0.5 => vec![7.0; DIMS],
            kind if kind < 0.0 => at(1000.0 * (kind * 10.0).ceil(), 1.0),
            kind if kind < 0.1 => at(0.0, 1e6),
            _ => at(0.0, 2.0),
        };
        vector(&elements)
    }

    pub(super) fn insert(&mut self) {
        let value = self.value();
        self.insert_value(&value);
    }

    pub(super) fn insert_value(&mut self, value: &ValueBuf) {
        let tid = row(self.next);
        self.next += 1;
        let graph = graph(self.m);
        let done = insert(&mut self.blocks, &graph, &mut self.workspace, value.bytes(), tid, &mut self.rng);
        self.blocks.end_transaction();
        match done {
            Ok(()) => self.committed.insert(tid.packed()),
            Err(error) => {
                assert_eq!(error, MemError::Injected);
                self.dead.insert(tid.packed())
            }
        };
    }

    /// Deletes about that part of the rows.
    pub(super) fn delete(&mut self, part: f64) {
        for row in std::mem::take(&mut self.committed) {
            let keep = !self.rng.random_bool(part);
            if keep {
                self.committed.insert(row)
            } else {
                self.dead.insert(row)
            };
        }
    }

    pub(super) fn vacuum(&mut self) -> Result<Vacuumed, MemError> {
        let dead = &self.dead;
        let graph = graph(self.m);
        let mut vacuum = vacuum(&mut self.blocks.share());
        let done = vacuum.run(&mut self.blocks, &graph, &mut |row: Tid| dead.contains(&row.packed()));
        self.blocks.end_transaction();
        if done.is_ok() {
            self.dead.clear();
        }
        done
    }

    #[track_caller]
    pub(super) fn check(&mut self, what: &str) {
        self.story.push(what.to_string());
        let found = faults(&mut self.blocks, self.m, &self.committed);
        assert!(found.is_empty(), "{:?}, m {}: {found:#?} after {:?}", self.layout, self.m, self.story);
    }

    pub(super) fn step(&mut self) {
        match self.rng.random_range(0..10) {
            0..5 => {
                let count = self.rng.random_range(1..12);
                (0..count).for_each(|_| self.insert());
                self.check(&format!("{count} inserts"));
            }
            5 | 6 => {
                let at = self.rng.random_range(1..60);
                let named = self.rng.random_bool(0.5);
                if named {
                    self.blocks.stop_at(at % 4 + 1)
                } else {
                    self.blocks.fail_at(at)
                };
                self.insert();
                self.blocks.fail_never();
                self.check("an insert that was stopped");
            }
            what => {
                let all = self.rng.random_bool(0.25);
                self.delete(if all { 1.0 } else { 0.4 });
                if what == 7 {
                    let done = self.vacuum();
                    assert!(done.is_ok(), "{done:?} after {:?}", self.story);
                    self.check("a vacuum");
                    return;
                }
                let at = self.rng.random_range(1..40);
                let named = self.rng.random_bool(0.5);
                if named {
                    self.blocks.stop_at(at)
                } else {
                    self.blocks.fail_at(at * 40)
                };
                let done = self.vacuum();
                self.blocks.fail_never();
                assert!(matches!(done, Ok(_) | Err(MemError::Injected)), "{done:?} after {:?}", self.story);
                self.check("a vacuum that was stopped");
            }
        }
    }
}
