//! Sequences of operations on an index, beside a plain list of its rows.
#![cfg(any(test, feature = "testing"))]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::memory::MemBlocks;
use super::{hnsw, ivf};
use crate::hnsw::format::{Layout, insert};
use crate::hnsw::scan::{IterativeScan, ScanSettings};
use crate::ivf::v1::Pages;
use crate::space::ValueBuf;
use crate::storage::page::Tid;
use crate::value::VectorView;

/// What is done next; the numbers are reduced to what there is.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// a new row with one of a few values, so that many are equal
    Insert(u8),
    /// a row dies; vacuum will remove it
    Delete(u8),
    /// the rows that died leave the index
    Vacuum,
    /// everything is searched for, from one of the values
    Scan(u8),
}

impl Operation {
    /// An operation from two bytes: any two are one.
    pub fn of(kind: u8, argument: u8) -> Self {
        match kind % 8 {
            0..4 => Operation::Insert(argument),
            4 | 5 => Operation::Delete(argument),
            6 => Operation::Vacuum,
            _ => Operation::Scan(argument),
        }
    }
}

/// One of 256 values: near ones, equal ones, and some far away.
fn value(n: u8) -> ValueBuf {
    let n = f32::from(n);
    let far = if n > 250.0 { 1e4 * (n - 250.0) } else { 0.0 };
    hnsw::vector(&[n % 7.0 + far, (n % 11.0) / 2.0, n % 3.0, 1.0, (n / 5.0).floor()])
}

fn distance(a: &ValueBuf, b: &ValueBuf) -> f32 {
    let elements = |value: &ValueBuf| VectorView::new(value.bytes()).unwrap().elements().to_vec();
    elements(a).iter().zip(elements(b)).map(|(x, y)| (x - y) * (x - y)).sum()
}

/// A TID that can be sorted.
type Key = (u32, u16);

fn key(row: Tid) -> Key {
    (row.block(), row.offset())
}

/// The rows as they should be: what lives and what is dead but still in the index.
#[derive(Default)]
struct Rows {
    live: BTreeMap<Key, u8>,
    dead: BTreeMap<Key, u8>,
    next: usize,
}

impl Rows {
    fn add(&mut self, n: u8) -> Tid {
        let row = hnsw::row(self.next);
        self.next += 1;
        self.live.insert(key(row), n);
        row
    }

    fn kill(&mut self, which: u8) {
        let victim = self.live.keys().nth(usize::from(which) % self.live.len().max(1)).copied();
        if let Some((row, n)) = victim.and_then(|row| self.live.remove_entry(&row)) {
            self.dead.insert(row, n);
        }
    }

    /// What a scan must find: each row at most once, none that was vacuumed, living ones all where `all` says so, and
    /// with `ordered` by ascending distance.
    fn judge(&self, found: &[Tid], query: &ValueBuf, all: bool, ordered: bool) {
        let mut missing = self.live.clone();
        let mut seen = BTreeMap::new();
        let mut last = 0.0;
        for row in found {
            assert!(seen.insert(key(*row), ()).is_none(), "{row:?} twice");
            let n = missing.remove(&key(*row)).or_else(|| self.dead.get(&key(*row)).copied());
            let Some(n) = n else { panic!("{row:?} is no row") };
            let far = distance(query, &value(n));
            assert!(!ordered || far >= last * (1.0 - 1e-5), "{row:?} at {far} comes after {last}");
            last = far;
        }
        assert!(!all || missing.is_empty(), "{} of {} rows are missing", missing.len(), self.live.len());
    }
}

/// An hnsw index. `all` insists on every row in every scan.
pub fn hnsw_operations(layout: Layout, operations: impl IntoIterator<Item = Operation>, all: bool) {
    let graph = hnsw::graph();
    let mut blocks = hnsw::build_in(layout, graph.space, hnsw::DIMS as u32, &graph, &[]);
    let (mut rows, mut rng) = (Rows::default(), SmallRng::seed_from_u64(5));
    let mut workspace = hnsw::workspace(&mut blocks);
    for operation in operations {
        match operation {
            Operation::Insert(n) => {
                let row = rows.add(n);
                insert(&mut blocks, &graph, &mut workspace, value(n).bytes(), row, &mut rng).unwrap();
            }
            Operation::Delete(which) => rows.kill(which),
            Operation::Vacuum => {
                let dead = core::mem::take(&mut rows.dead);
                let mut vacuum = hnsw::vacuum(&mut blocks);
                vacuum.run(&mut blocks, &graph, &mut |row: Tid| dead.contains_key(&key(row))).unwrap();
            }
            Operation::Scan(n) => {
                let query = value(n);
                rows.judge(&hnsw_scan(&mut blocks, &query, IterativeScan::Relaxed), &query, all, false);
                rows.judge(&hnsw_scan(&mut blocks, &query, IterativeScan::Strict), &query, false, true);
            }
        }
        blocks.end_transaction();
    }
}

fn hnsw_scan(blocks: &mut MemBlocks, query: &ValueBuf, iterative: IterativeScan) -> Vec<Tid> {
    let settings = ScanSettings { ef_search: 10, iterative, max_tuples: 100_000, max_memory: 1 << 24 };
    let (mut scan, mut found) = (hnsw::scan(blocks), Vec::new());
    while let Some(row) = scan.next(blocks, hnsw::graph().space, Some(query.bytes()), &settings).unwrap() {
        found.push(row);
        assert!(found.len() < 100_000, "a scan without end");
    }
    blocks.end_transaction();
    found
}

/// An ivfflat index: every scan over all lists finds every row in order.
pub fn ivf_operations(operations: impl IntoIterator<Item = Operation>) {
    let centres: Vec<ValueBuf> = (0..ivf::LISTS as u8).map(|n| value(n * 40)).collect();
    let mut blocks = ivf::build(&centres);
    let mut rows = Rows::default();
    (0..ivf::LISTS as u8).for_each(|n| _ = rows.add(n * 40));
    let (mut inserter, mut kept) = Default::default();
    for operation in operations {
        match operation {
            Operation::Insert(n) => {
                let row = rows.add(n);
                let value = value(n);
                crate::ivf::insert::insert(
                    &mut Pages(&mut blocks),
                    ivf::space(),
                    value.bytes(),
                    row,
                    &mut inserter,
                    &mut kept,
                )
                .unwrap();
            }
            Operation::Delete(which) => rows.kill(which),
            Operation::Vacuum => {
                let dead = core::mem::take(&mut rows.dead);
                let mut vacuum = crate::ivf::vacuum::Vacuum::default();
                vacuum.run(&mut Pages(&mut blocks), &mut |row| dead.contains_key(&key(row))).unwrap();
            }
            Operation::Scan(n) => {
                let query = value(n);
                let (found, error) = ivf::search(&mut blocks, &query, ivf::LISTS);
                assert_eq!(error, None);
                rows.judge(&found, &query, true, true);
            }
        }
    }
}
