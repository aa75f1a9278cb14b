//! Healthy ivfflat indexes on blocks in memory, each made from a seed.
#![cfg(any(test, feature = "testing"))]
#![allow(clippy::unwrap_used)]

use std::sync::OnceLock;

use super::hnsw::{random_vectors, row, vector};
use super::memory::{MemBlocks, PAGE_SIZE};
use crate::ivf::centre_cache::Centres;
use crate::ivf::check::check;
use crate::ivf::insert::{Inserter, insert};
use crate::ivf::lists::{NoTable, Services, Unpack};
use crate::ivf::load::{LoadOptions, Loader};
use crate::ivf::scan::{Scan, ScanSettings};
use crate::ivf::tally::Tally;
use crate::ivf::v1::layout::PAGE_ID;
use crate::ivf::v1::{Pages, entry_form};
use crate::ivf::vacuum::Vacuum;
use crate::space::{AnySpace, Dense, Metric, ValueBuf, ValueKind};
use crate::storage::page::Tid;
use crate::value::VectorView;
use crate::work::runs::Runs;
use crate::work::workers::{Idle, Workers};

/// Dimensions of [`used`].
pub const DIMS: usize = 5;
/// Its lists.
pub const LISTS: usize = 6;

/// What the server does for a scan, where nothing is spilled and nothing compressed.
#[derive(Debug, Default)]
pub struct Nothing;

impl Runs for Nothing {
    fn write(&mut self, _: &[u8]) {}
    fn end_run(&mut self) {}
    fn read(&mut self, _: usize, _: &mut [u8]) -> usize {
        0
    }
    fn clear(&mut self) {}
}

impl Unpack for Nothing {
    fn unpack(&mut self, _: &[u8], _: &mut ValueBuf) -> bool {
        false
    }
}

/// The space of [`used`].
pub fn space() -> Dense<f32> {
    match AnySpace::new(ValueKind::Vector, Metric::L2, DIMS as i32) {
        AnySpace::Vector(space) => space,
        _ => unreachable!(),
    }
}

fn elements(value: &ValueBuf) -> &[f32] {
    VectorView::new(value.bytes()).unwrap().elements()
}

/// An index of `values` whose centres are the first [`LISTS`] of them; the rows are [`row`] 0 and on.
pub fn build(values: &[ValueBuf]) -> MemBlocks {
    let mut blocks = MemBlocks::new(PAGE_ID);
    let centres = values.iter().take(LISTS).flat_map(|value| elements(value).iter().copied()).collect();
    let options = LoadOptions { dims: DIMS, width: DIMS, metric: Metric::L2, memory: usize::MAX };
    let (mut loader, mut idle) = (Loader::new(options, entry_form(8 + 4 * DIMS), centres), Idle);
    let mut workers = Workers::new(0, &mut idle);
    loader.prepare(&mut workers).unwrap();
    for (n, value) in values.iter().enumerate() {
        loader.push(row(n), elements(value), &mut workers, &mut Nothing).unwrap();
    }
    loader.write(&mut Pages(&mut blocks), PAGE_SIZE, &mut workers, &mut Nothing, &mut |_| ()).unwrap();
    blocks
}

/// An index of a few pages that was built, vacuumed and inserted into.
pub fn used() -> MemBlocks {
    static MADE: OnceLock<MemBlocks> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let mut blocks = build(&random_vectors(6, DIMS, 200));
        Vacuum::default().run(&mut Pages(&mut blocks), &mut |tid| tid.offset().is_multiple_of(10)).unwrap();
        let (mut inserter, mut centres) = Default::default();
        for (n, value) in random_vectors(7, DIMS, 5).iter().enumerate() {
            insert(
                &mut Pages(&mut blocks),
                space(),
                value.bytes(),
                row(500 + n),
                &mut inserter,
                &mut centres,
            )
            .unwrap();
        }
        blocks
    });
    made.copy()
}

/// The rows of a scan over `probes` lists, nearest first; the error that ended it, if one did.
pub fn search(blocks: &mut MemBlocks, query: &ValueBuf, probes: usize) -> (Vec<Tid>, Option<String>) {
    let settings = ScanSettings { probes, asked: false, max_probes: probes, memory: usize::MAX };
    let (mut scan, mut runs, mut unpack) = (Scan::default(), Nothing, Nothing);
    let mut services = Services { runs: &mut runs, unpack: &mut unpack, table: &mut NoTable };
    let mut rows = Vec::new();
    loop {
        match scan.next(&mut Pages(blocks), space(), Some(query.bytes()), &settings, &mut services) {
            Ok(Some(row)) => rows.push(row),
            Ok(None) => return (rows, None),
            Err(error) => return (rows, Some(format!("{error:?}"))),
        }
        assert!(rows.len() < 100_000, "a scan without end");
    }
}

/// Does everything with an index of [`space`] that can be done, however damaged it is: each operation comes to its end,
/// or to an error.
pub fn exercise(blocks: &mut MemBlocks) {
    for deep in [true, false] {
        check(&mut Pages(blocks), space(), deep, &mut Nothing, &mut Tally::default()).unwrap();
    }
    let _ = crate::ivf::format::info(blocks);
    let value = vector(&[0.1; DIMS]);
    for probes in [1, LISTS, usize::from(u16::MAX)] {
        search(blocks, &value, probes);
    }
    let (mut inserter, mut centres) = (Inserter::default(), Centres::default());
    let _ = insert(&mut Pages(blocks), space(), value.bytes(), row(0), &mut inserter, &mut centres);
    let _ = Vacuum::default().run(&mut Pages(blocks), &mut |tid| tid.offset() == 1);
    let _ = centres.load(&mut Pages(blocks), space(), usize::MAX);
    let _ = insert(&mut Pages(blocks), space(), value.bytes(), row(1), &mut inserter, &mut centres);
}
