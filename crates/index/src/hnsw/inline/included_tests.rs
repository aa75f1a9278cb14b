//! Indexes with values of INCLUDE columns, by the operations of the access method.

use super::layout::PageKind;
use super::tests::{index, l2, shape};
use crate::hnsw::check::{Subject, Tally};
use crate::hnsw::format::{
    Cache, Graph, Layout, Opened, Vacuum, add_included, begin_included, check, info, open, read_included,
};
use crate::included;
use crate::space::{AnySpace, ValueBuf, ValueKind};
use crate::storage::page::Tid;
use crate::testing::MemBlocks;
use crate::testing::hnsw::random_vectors;

const DIMS: usize = 6;

fn values_of(row: Tid) -> Vec<u8> {
    let size = 16 + usize::from(row.offset() % 4) * 8;
    let mut values = vec![row.offset() as u8; size];
    values[..6].copy_from_slice(zerocopy::IntoBytes::as_bytes(&row));
    values[6..8].copy_from_slice(&(size as u16).to_ne_bytes());
    values
}

#[track_caller]
fn told(blocks: &mut MemBlocks) -> (Tally, Vec<String>) {
    let subject = Subject { space: AnySpace::Vector(l2(DIMS)), unit: false };
    let mut told = Vec::new();
    let mut report = |violation: crate::storage::verify::Violation| told.push(violation.to_string());
    let tally = check(Layout::Inline, blocks, &subject, true, &mut report).unwrap();
    (tally, told)
}

/// 300 rows, every third of which equals another, each with its values; and the rows.
fn sound() -> (MemBlocks, Opened, Vec<Tid>) {
    let distinct = random_vectors(2, DIMS, 200);
    let values: Vec<ValueBuf> = (0..300).map(|n| distinct[n % 200].clone()).collect();
    let mut blocks = index(l2(DIMS), &shape(ValueKind::Vector, DIMS), &values).0;
    assert!(!open(&mut blocks, &mut Cache::new()).unwrap().has_included());
    begin_included(&mut blocks).unwrap();
    assert!(begin_included(&mut blocks).is_err());
    let opened = open(&mut blocks, &mut Cache::new()).unwrap();
    assert!(opened.has_included());
    let (tally, faults) = told(&mut blocks);
    assert!(
        matches!(&faults[..], [one] if one.contains("has no included values, and so have 299 others")),
        "{faults:?}"
    );
    let rows: Vec<Tid> = tally.rows_from(0).map(|(row, _)| row).collect();
    for &row in &rows {
        add_included(&opened, &mut blocks, &values_of(row)).unwrap();
    }
    (blocks, opened, rows)
}

#[test]
fn each_row_has_its_values_until_a_vacuum() {
    let (mut blocks, opened, rows) = sound();
    assert_eq!(told(&mut blocks).1, Vec::<String>::new());
    let pages = info(&mut blocks).unwrap().pages;
    assert!(pages.included.is_some_and(|pages| pages > 0));
    let mut out = ValueBuf::new();
    for &row in &rows {
        assert!(read_included(&opened, &mut blocks, row, &mut out).unwrap());
        assert_eq!(out.bytes(), values_of(row));
    }
    // that of an insert which did not come to its row
    let stray = Tid::new(4_000, 3);
    add_included(&opened, &mut blocks, &values_of(stray)).unwrap();
    assert_eq!(told(&mut blocks).1, Vec::<String>::new());
    let is_dead = |row: Tid| row == stray || row.packed().is_multiple_of(3);
    let mut vacuum = Vacuum::new();
    vacuum.set_index(&opened);
    let graph = Graph { space: l2(DIMS), m: usize::from(opened.meta.m), ef_construction: 32 };
    let dead = rows.iter().filter(|&&row| is_dead(row)).count() as u64;
    let counted = vacuum.run(&mut blocks, &graph, &mut |row| is_dead(row)).unwrap();
    assert_eq!((counted.removed, counted.kept), (dead, 300 - dead));
    assert_eq!(told(&mut blocks).1, Vec::<String>::new());
    for &row in rows.iter().chain([&stray]) {
        assert_eq!(read_included(&opened, &mut blocks, row, &mut out).unwrap(), !is_dead(row));
    }
}

#[test]
fn rows_without_values_and_lost_pages_are_told() {
    let (blocks, _, rows) = sound();
    let root = open(&mut blocks.copy(), &mut Cache::new()).unwrap().included_root();
    let mut copy = blocks.copy();
    let gone = rows[7];
    included::remove(&mut copy, PageKind::INCLUDED, root, &mut Vec::new(), &mut |row| row == gone).unwrap();
    let (_, faults) = told(&mut copy);
    let expected = format!("row {gone} of the table has no included values");
    assert!(matches!(&faults[..], [one] if one.ends_with(&expected)), "{faults:?}");
    let mut copy = blocks.copy();
    included::add_root(&mut copy, PageKind::INCLUDED).unwrap();
    let (_, faults) = told(&mut copy);
    assert!(
        matches!(&faults[..], [one] if one.ends_with("included values that scans do not come to")),
        "{faults:?}"
    );
    // a tree in a block of another kind
    let mut copy = blocks.copy();
    copy.edit(root, |bytes| bytes[24] = 9);
    assert!(told(&mut copy).1.iter().any(|fault| fault.contains("page of another kind")));
}
