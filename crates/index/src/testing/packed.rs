//! Packed ivfflat indexes on blocks in memory, built, searched and changed.
#![cfg(any(test, feature = "testing"))]
#![allow(clippy::unwrap_used)]

use super::ivf::Nothing;
use super::memory::{MemBlocks, PAGE_SIZE};
use crate::filter::{KEY_SIZE, Program};
use crate::ivf::centre_cache::Centres;
use crate::ivf::check::check;
use crate::ivf::format::{Layout, read_meta};
use crate::ivf::insert::{InsertError, Inserter, insert_keyed};
use crate::ivf::lists::{Met, NoTable, Services, TableValues};
use crate::ivf::load::{Element, LoadOptions, Loader, write_value};
use crate::ivf::packed::code::Coder;
use crate::ivf::packed::layout::PAGE_ID;
use crate::ivf::packed::runs::RunBuild;
use crate::ivf::packed::{Index, Lists, Memory};
use crate::ivf::scan::{Scan, ScanSettings};
use crate::ivf::tally::Tally;
use crate::ivf::vacuum::Vacuum;
use crate::quant::space::CodedSpace;
use crate::space::ValueBuf;
use crate::storage::page::Tid;
use crate::work::runs::Runs;
use crate::work::runs::testing::Kept;
use crate::work::workers::{Idle, Workers};

/// Seed of the rotations.
const SEED: u64 = 77;

/// A value of these elements.
pub fn value_of<T: Element>(elements: &[T]) -> ValueBuf {
    let (mut bytes, mut value) = (Vec::new(), ValueBuf::new());
    write_value(elements.len(), elements, &mut bytes);
    value.copy_from(&bytes);
    value
}

/// What an index of values of the space is built with.
pub fn index<S: CodedSpace>(space: &S, dims: usize) -> Index {
    Index::new(space.kind(), space.estimate(), dims, PAGE_SIZE, SEED).unwrap()
}

/// The same with so many filter columns.
pub fn keyed_index<S: CodedSpace>(space: &S, dims: usize, columns: usize) -> Index {
    let size = columns * KEY_SIZE;
    Index::with_keys(space.kind(), space.estimate(), dims, PAGE_SIZE, SEED, size).unwrap()
}

/// An index with filter columns, of rows with these keys; otherwise as [`build`] makes one.
pub fn build_keyed<T: Element, S: for<'v> CodedSpace<View<'v> = &'v [T]>>(
    space: S,
    centres: &[Vec<T>],
    rows: &[Vec<T>],
    keys: &[Vec<u64>],
    memory: usize,
    runs: &mut dyn Runs,
) -> MemBlocks {
    let index = keyed_index(&space, centres[0].len(), keys[0].len());
    build_index(index, space, centres, rows.iter().zip(keys.iter().map(Vec::as_slice)), memory, runs)
}

/// The same with runs of the first columns, so many of them.
pub fn build_with_runs<T: Element, S: for<'v> CodedSpace<View<'v> = &'v [T]>>(
    runs: usize,
    space: S,
    centres: &[Vec<T>],
    rows: &[Vec<T>],
    keys: &[Vec<u64>],
    memory: usize,
) -> MemBlocks {
    let index = keyed_index(&space, centres[0].len(), keys[0].len()).with_runs(runs);
    let rows = rows.iter().zip(keys.iter().map(Vec::as_slice));
    build_index(index, space, centres, rows, memory, &mut Kept::default())
}

/// An index of `rows` around `centres`, built with so much memory; row `n` has the TID (n, 1).
pub fn build<T: Element, S: for<'v> CodedSpace<View<'v> = &'v [T]>>(
    space: S,
    centres: &[Vec<T>],
    rows: &[Vec<T>],
    memory: usize,
    runs: &mut dyn Runs,
) -> MemBlocks {
    build_as(index(&space, centres[0].len()), space, centres, rows, memory, runs)
}

/// The same as `index` says.
pub fn build_as<T: Element, S: for<'v> CodedSpace<View<'v> = &'v [T]>>(
    index: Index,
    space: S,
    centres: &[Vec<T>],
    rows: &[Vec<T>],
    memory: usize,
    runs: &mut dyn Runs,
) -> MemBlocks {
    build_index(index, space, centres, rows.iter().map(|row| (row, &[][..])), memory, runs)
}

/// The same of rows with filter keys.
pub fn build_index<'r, T: Element, S: for<'v> CodedSpace<View<'v> = &'v [T]>>(
    index: Index,
    space: S,
    centres: &[Vec<T>],
    rows: impl Iterator<Item = (&'r Vec<T>, &'r [u64])>,
    memory: usize,
    runs: &mut dyn Runs,
) -> MemBlocks {
    let dims = centres[0].len();
    let options = LoadOptions { dims, width: dims, metric: space.metric(), memory };
    let mut loader = Loader::new(options, index.entry_form(), centres.concat());
    let coder = Coder::new(index, space, centres.len(), |at, out| {
        *out = value_of(&centres[at]);
        Ok(())
    });
    let coder = coder.unwrap();
    let built_runs =
        RunBuild::new(&index, coder.run_centre(), memory / 4, || Box::new(Kept::default())).unwrap();
    loader.set_coder(Box::new(coder), Coder::<S>::memory(&index, centres.len()));
    let mut idle = Idle;
    let mut workers = Workers::new(1, &mut idle);
    loader.prepare(&mut workers).unwrap();
    for (n, (row, keys)) in rows.enumerate() {
        loader.push_keyed(Tid::new(n as u32, 1), row, keys, &mut workers, runs).unwrap();
    }
    let (mut blocks, mut memory) = (MemBlocks::new(PAGE_ID), Memory::default());
    memory.built_runs = built_runs;
    let mut lists = Lists { blocks: &mut blocks, index, memory: &mut memory };
    loader.write(&mut lists, PAGE_SIZE, &mut workers, runs, &mut |_| ()).unwrap();
    lists.write_runs().unwrap();
    blocks
}

/// What the meta page says.
pub fn opened(blocks: &mut MemBlocks) -> Option<Index> {
    match read_meta(blocks).ok()?.layout {
        Layout::Packed(index) => Some(index),
        Layout::V1 => None,
    }
}

/// Up to `most` rows of a scan with these settings, nearest first; the error that ended it, if one did.
pub fn search<S: CodedSpace>(
    blocks: &mut MemBlocks,
    space: S,
    query: Option<&[u8]>,
    settings: ScanSettings,
    most: usize,
) -> (Vec<Tid>, Option<String>) {
    search_any(blocks, &mut NoTable, space, query, &Program::new(), settings, most)
}

/// The same under conditions.
pub fn search_where<S: CodedSpace>(
    blocks: &mut MemBlocks,
    space: S,
    query: Option<&[u8]>,
    conditions: &Program,
    settings: ScanSettings,
    most: usize,
) -> (Vec<Tid>, Option<String>) {
    search_any(blocks, &mut NoTable, space, query, conditions, settings, most)
}

/// The same with a table.
pub fn search_with<S: CodedSpace>(
    blocks: &mut MemBlocks,
    table: &mut dyn TableValues,
    space: S,
    query: Option<&[u8]>,
    settings: ScanSettings,
    most: usize,
) -> (Vec<Tid>, Option<String>) {
    search_any(blocks, table, space, query, &Program::new(), settings, most)
}

/// The same by runs of entries in the order of filter keys, or by lists alone.
pub fn search_by<S: CodedSpace>(
    runs: bool,
    blocks: &mut MemBlocks,
    space: S,
    query: Option<&[u8]>,
    conditions: &Program,
    settings: ScanSettings,
    most: usize,
) -> (Vec<Tid>, Option<String>) {
    let way = (Some(runs), conditions);
    search_in(blocks, &mut NoTable, space, query, way, settings, most)
}

/// The same with a table.
pub fn search_any<S: CodedSpace>(
    blocks: &mut MemBlocks,
    table: &mut dyn TableValues,
    space: S,
    query: Option<&[u8]>,
    conditions: &Program,
    settings: ScanSettings,
    most: usize,
) -> (Vec<Tid>, Option<String>) {
    search_in(blocks, table, space, query, (None, conditions), settings, most)
}

/// The same by runs, by lists, or as the scan chooses.
pub fn search_in<S: CodedSpace>(
    blocks: &mut MemBlocks,
    table: &mut dyn TableValues,
    space: S,
    query: Option<&[u8]>,
    (runs, conditions): (Option<bool>, &Program),
    settings: ScanSettings,
    most: usize,
) -> (Vec<Tid>, Option<String>) {
    let insists = runs;
    let Some(index) = opened(blocks) else { return (Vec::new(), Some("no index".into())) };
    let (mut scan, mut memory, mut runs, mut unpack) = (Scan::default(), Memory::default(), Nothing, Nothing);
    scan.filter().clone_from(conditions);
    scan.insist_on_runs(insists);
    let mut services = Services { runs: &mut runs, unpack: &mut unpack, table };
    let mut lists = Lists { blocks, index, memory: &mut memory };
    let mut rows = Vec::new();
    if let Err(error) = scan.begin(&mut lists, space, query, &settings, &mut Centres::default()) {
        return (rows, Some(format!("{error:?}")));
    }
    while rows.len() < most {
        match scan.next(&mut lists, space, query, &settings, &mut services) {
            Ok(Some(row)) => rows.push(row),
            Ok(None) => return (rows, None),
            Err(error) => return (rows, Some(format!("{error:?}"))),
        }
        assert!(rows.len() < 1_000_000, "a scan without end");
    }
    (rows, None)
}

/// Adds a row.
///
/// # Errors
/// In words.
pub fn add<S: CodedSpace>(
    blocks: &mut MemBlocks,
    space: S,
    value: &[u8],
    row: Tid,
    memory: &mut Memory,
) -> Result<(), String> {
    add_keyed(blocks, space, value, &[], row, memory)
}

/// Adds a row with its filter keys.
///
/// # Errors
/// In words.
pub fn add_keyed<S: CodedSpace>(
    blocks: &mut MemBlocks,
    space: S,
    value: &[u8],
    keys: &[u64],
    row: Tid,
    memory: &mut Memory,
) -> Result<(), String> {
    let index = opened(blocks).ok_or("no index")?;
    let mut lists = Lists { blocks, index, memory };
    let (mut inserter, mut centres) = (Inserter::default(), Centres::default());
    let added = insert_keyed(&mut lists, space, value, keys, row, &mut inserter, &mut centres);
    added.map_err(|error| match error {
        InsertError::Store(error) => format!("{error:?}"),
        InsertError::Value(error) => format!("{error:?}"),
    })
}

/// Removes rows; returns what it met.
///
/// # Errors
/// In words.
pub fn vacuum(blocks: &mut MemBlocks, is_dead: &mut dyn FnMut(Tid) -> bool) -> Result<Met, String> {
    let index = opened(blocks).ok_or("no index")?;
    let (mut vacuum, mut memory) = (Vacuum::default(), Memory::default());
    let run = vacuum.run(&mut Lists { blocks, index, memory: &mut memory }, is_dead);
    run.map(|()| vacuum.met).map_err(|error| format!("{error:?}"))
}

/// Violations of an index, in words.
pub fn violations<S: CodedSpace>(blocks: &mut MemBlocks, space: S) -> Vec<String> {
    let Some(index) = opened(blocks) else { return vec!["no index".into()] };
    let (mut tally, mut memory) = (Tally::default(), Memory::default());
    let mut lists = Lists { blocks, index, memory: &mut memory };
    check(&mut lists, space, true, &mut Nothing, &mut tally).unwrap();
    tally.violations.iter().map(ToString::to_string).collect()
}
