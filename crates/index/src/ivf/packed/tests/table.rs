//! Indexes that take exact distances from the table.

use std::collections::BTreeSet;

use zerocopy::IntoBytes;

use super::{all, blobs, l2, numbers, sorted};
use crate::filter::{Kind, Operator, Program, of_integer};
use crate::ivf::lists::{AuditLists, TableValues};
use crate::ivf::packed::layout::{CodePage, PageKind, page_kind};
use crate::ivf::packed::{Index, Lists, Memory};
use crate::space::{Dense, ValueBuf};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{INVALID_BLOCK, Tid};
use crate::testing::PAGE_SIZE;
use crate::testing::ivf::Nothing;
use crate::testing::packed::{
    add, add_keyed, build, build_as, build_index, index, keyed_index, opened, search, search_any,
    search_with, vacuum, value_of, violations,
};
use crate::work::memory::OutOfMemory;

/// A table in memory: row `n` is (n, 1).
struct Table<'t> {
    rows: &'t [Vec<f32>],
    /// rows that nobody sees
    gone: BTreeSet<u32>,
    /// rows asked for
    asked: usize,
    held: bool,
}

impl<'t> Table<'t> {
    fn new(rows: &'t [Vec<f32>]) -> Self {
        Table { rows, gone: BTreeSet::new(), asked: 0, held: false }
    }
}

impl TableValues for Table<'_> {
    fn value(&mut self, row: Tid, out: &mut ValueBuf) -> Result<bool, OutOfMemory> {
        (self.asked, self.held) = (self.asked + 1, true);
        let there = self.rows.get(row.block() as usize).filter(|_| !self.gone.contains(&row.block()));
        there.map_or(Ok(false), |value| out.try_copy_from(value_of(value).bytes()).map(|()| true))
    }

    fn pause(&mut self) {
        self.held = false;
    }
}

fn without_values(space: Dense<f32>, dims: usize) -> Index {
    index(&space, dims).without_values().unwrap()
}

#[test]
fn a_check_knows_the_code_and_the_keys_of_a_row() {
    for (dims, count) in [(3, 300), (100, 500), (1900, 60)] {
        let (middles, mut rows) = blobs(3, count, dims, 5);
        // rows that are centres have no residual
        rows[7] = middles[1].clone();
        let space = l2(dims);
        let keys: Vec<_> = (0..count as u64).map(|n| vec![n]).collect();
        let index = keyed_index(&space, dims, 1).without_values().unwrap();
        let keyed = rows.iter().zip(keys.iter().map(Vec::as_slice));
        let mut blocks = build_index(index, space, &middles, keyed, usize::MAX, &mut Nothing);
        let index = opened(&mut blocks).unwrap();
        let mut found = Vec::new();
        for block in 0..blocks.count().unwrap() {
            let rows = blocks.read(block, |bytes| {
                let Ok(page) = CodePage::new(&index.geometry, bytes) else { return Ok(Vec::new()) };
                Ok(page.blocks().flat_map(|block| block.rows[..block.len].to_vec()).collect())
            });
            let rows = rows.unwrap().into_iter().enumerate();
            found.extend(rows.map(|(slot, row)| (row.block() as usize, Tid::new(block, slot as u16 + 1))));
        }
        assert_eq!(found.len(), count);
        let mut memory = Memory::default();
        let mut lists = Lists { blocks: &mut blocks, index, memory: &mut memory };
        let item = |row: usize, key: u64| {
            let mut item = value_of(&rows[row]).bytes().to_vec();
            item.extend(key.to_ne_bytes());
            item
        };
        for &(row, place) in &found {
            let (same, key) = (item(row, row as u64), item(row, row as u64 + 1));
            assert_eq!(lists.fits(space, place, &same).unwrap(), Some(true), "{dims}: {row}");
            assert_eq!(lists.fits(space, place, &key).unwrap(), Some(false), "{dims}: {row}");
            let other = (row + 1) % count;
            assert_eq!(
                lists.fits(space, place, &item(other, row as u64)).unwrap(),
                Some(false),
                "{dims}: {row}"
            );
        }
        assert_eq!(lists.fits(space, found[0].1, &[0; 3]).unwrap(), Some(false));
        assert_eq!(lists.fits(space, Tid::new(found[0].1.block(), 2000), &item(0, 0)).unwrap(), None);
    }
}

#[test]
fn values_of_the_table_order_rows_as_own_ones_do() {
    for (dims, count) in [(3, 300), (100, 900), (768, 200), (1900, 60), (16_000, 12)] {
        let (middles, rows) = blobs(4, count, dims, 1);
        let space = l2(dims);
        let mut own = build(space, &middles, &rows, usize::MAX, &mut Nothing);
        let no_values = without_values(space, dims);
        let mut blocks = build_as(no_values, space, &middles, &rows, usize::MAX, &mut Nothing);
        let opened = opened(&mut blocks).unwrap();
        assert_eq!((opened.geometry, opened.rerank()), (no_values.geometry, "heap"));
        assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
        assert!(blocks.count().unwrap() <= own.count().unwrap());
        let mut table = Table::new(&rows);
        for row in rows.iter().step_by((count / 12).max(1)) {
            let query = value_of(row);
            let expected = search(&mut own, space, Some(query.bytes()), all(4), usize::MAX);
            let found = search_with(&mut blocks, &mut table, space, Some(query.bytes()), all(4), usize::MAX);
            // a page may hold another number of entries, and an open block other bounds: rows in order all the same
            assert_eq!((sorted(&found.0), &found.1), (sorted(&expected.0), &None));
            let first = |rows: &[Tid]| numbers(&rows[..10.min(count)]).into_iter().collect::<BTreeSet<_>>();
            assert!(first(&found.0).intersection(&first(&expected.0)).count() >= 9.min(count), "{dims}");
            assert!(!table.held, "nothing is held between two calls");
        }
    }
}

#[test]
fn an_index_without_values_is_an_eighth_of_a_byte_per_dimension() {
    let (middles, rows) = blobs(8, 4000, 768, 2);
    let space = l2(768);
    let no_values = without_values(space, 768);
    let mut blocks = build_as(no_values, space, &middles, &rows, usize::MAX, &mut Nothing);
    let bytes = blocks.count().unwrap() as usize * PAGE_SIZE / rows.len();
    assert!(bytes < 160, "{bytes} bytes a row");
    let (query, mut table) = (value_of(&rows[17]), Table::new(&rows));
    let (first, _) = search_with(&mut blocks, &mut table, space, Some(query.bytes()), all(8), 10);
    assert_eq!(first[0].block(), 17);
    assert!((10..600).contains(&table.asked), "{} rows asked for", table.asked);
}

#[test]
fn rows_that_the_table_does_not_show_are_passed_over() {
    let (middles, rows) = blobs(3, 300, 40, 8);
    let space = l2(40);
    let mut blocks =
        build_as(without_values(space, 40), space, &middles, &rows[..150], usize::MAX, &mut Nothing);
    let mut memory = Memory::default();
    for (n, row) in (0..).zip(&rows).skip(150) {
        add(&mut blocks, space, value_of(row).bytes(), Tid::new(n, 1), &mut memory).unwrap();
    }
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
    let (query, mut table) = (value_of(&rows[3]), Table::new(&rows));
    table.gone = (0..300).filter(|row| row % 3 == 0).collect();
    let left: Vec<u32> = (0..300).filter(|row| row % 3 != 0).collect();
    let (found, error) = search_with(&mut blocks, &mut table, space, Some(query.bytes()), all(3), usize::MAX);
    assert_eq!((sorted(&found), error), (left.clone(), None));

    let met = vacuum(&mut blocks, &mut |row| row.block() % 3 == 0).unwrap();
    assert_eq!((met.removed, met.kept), (100, 200));
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
    table.asked = 0;
    let (found, _) = search_with(&mut blocks, &mut table, space, Some(query.bytes()), all(3), usize::MAX);
    assert_eq!((sorted(&found), table.asked), (left, 200));
    let pages = blocks.count().unwrap();
    for (n, row) in (0..).zip(&rows).filter(|(n, _)| n % 3 == 0) {
        add(&mut blocks, space, value_of(row).bytes(), Tid::new(n, 1), &mut memory).unwrap();
    }
    assert!(blocks.count().unwrap() <= pages + 1);
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
}

#[test]
fn conditions_hold_where_values_are_those_of_the_table() {
    for (dims, count) in [(40, 600), (1900, 60)] {
        let (middles, rows) = blobs(3, count as usize, dims, 8);
        let space = l2(dims);
        let keys: Vec<[u64; 2]> = (0..count).map(|n| [of_integer(n % 5), of_integer(n)]).collect();
        let no_values = keyed_index(&space, dims, 2).without_values().unwrap();
        let with_keys = rows.iter().zip(keys.iter().map(<[u64; 2]>::as_slice)).take(count as usize / 2);
        let mut blocks = build_index(no_values, space, &middles, with_keys, usize::MAX, &mut Nothing);
        assert_eq!(opened(&mut blocks).unwrap().geometry, no_values.geometry);
        let mut memory = Memory::default();
        for (n, (row, keys)) in (0..).zip(rows.iter().zip(&keys)).skip(count as usize / 2) {
            add_keyed(&mut blocks, space, value_of(row).bytes(), keys, Tid::new(n, 1), &mut memory).unwrap();
        }
        assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
        let (query, mut table) = (value_of(&rows[3]), Table::new(&rows));
        table.gone = (0..count as u32).filter(|row| row % 3 == 0).collect();
        let mut conditions = Program::new();
        conditions.add(0, Kind::Exact, Operator::Equal, Some(of_integer(2))).unwrap();
        let look = |blocks: &mut _, table: &mut Table<'_>| {
            let query = Some(query.bytes());
            let found = search_any(blocks, table, space, query, &conditions, all(1), usize::MAX);
            assert_eq!(found.1, None);
            sorted(&found.0)
        };
        let left: Vec<u32> = (0..count as u32).filter(|row| row % 3 != 0 && row % 5 == 2).collect();
        assert_eq!(look(&mut blocks, &mut table), left);
        vacuum(&mut blocks, &mut |row| row.block() % 3 == 0).unwrap();
        assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
        table.asked = 0;
        assert_eq!((look(&mut blocks, &mut table), table.asked), (left.clone(), left.len()));
    }
}

#[test]
fn lists_are_looked_at_behind_those_of_which_the_table_shows_no_row() {
    let space = l2(16);
    let middles: Vec<Vec<f32>> = (0..4).map(|list| vec![list as f32 * 10.0; 16]).collect();
    // list by list, 30 rows each
    let rows: Vec<Vec<f32>> = (0..120)
        .map(|n| (0..16).map(|at| middles[n / 30][at] + ((n * 7 + at * 5) % 11) as f32 / 20.0).collect())
        .collect();
    let no_values = keyed_index(&space, 16, 1).without_values().unwrap();
    let keys = [of_integer(1)];
    let keyed = rows.iter().map(|row| (row, &keys[..]));
    let mut blocks = build_index(no_values, space, &middles, keyed, usize::MAX, &mut Nothing);
    let mut conditions = Program::new();
    conditions.add(0, Kind::Exact, Operator::Equal, Some(of_integer(1))).unwrap();
    for query in [Some(value_of(&rows[3])), None] {
        let query = query.as_ref().map(ValueBuf::bytes);
        for gone in [0, 29, 30, 60, 90, 119, 120] {
            let mut table = Table::new(&rows);
            table.gone = (0..gone).collect();
            let found = search_any(&mut blocks, &mut table, space, query, &conditions, all(1), usize::MAX);
            // without a query nobody asks the table
            let left: Vec<u32> = (if query.is_some() { gone } else { 0 }..120).collect();
            assert_eq!((sorted(&found.0), found.1), (left, None), "{gone}");
        }
    }
}

#[test]
fn rows_that_are_gone_do_not_count_as_found() {
    let space = l2(8);
    let at = |x: f32, y: f32| [x, y, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0].to_vec();
    let middles = vec![at(0.0, 0.0), at(5.0, 0.0), at(0.0, 6.0), at(90.0, 0.0)];
    let mut rows: Vec<Vec<f32>> = (0..10).map(|n| at(0.1 * n as f32, 0.0)).collect();
    // as far as each other, in two lists
    rows.extend((0..12).map(|n| at(4.0 + 0.2 * n as f32, 0.0)));
    rows.extend((0..20).map(|n| at(0.0, 4.05 + 0.2 * n as f32)));
    rows.extend((0..20).map(|n| at(90.0 + 0.2 * n as f32, 0.0)));
    let no_values = keyed_index(&space, 8, 1).without_values().unwrap();
    let keys = [of_integer(1)];
    let keyed = rows.iter().map(|row| (row, &keys[..]));
    let mut blocks = build_index(no_values, space, &middles, keyed, usize::MAX, &mut Nothing);
    let mut conditions = Program::new();
    conditions.add(0, Kind::Exact, Operator::Equal, Some(of_integer(1))).unwrap();
    let (query, mut table) = (value_of(&rows[0]), Table::new(&rows));
    table.gone = (0..9).collect();
    let (found, _) =
        search_any(&mut blocks, &mut table, space, Some(query.bytes()), &conditions, all(1), usize::MAX);
    let mut nearest: Vec<u32> = (9..62).collect();
    let length = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>();
    nearest.sort_by(|&a, &b| length(&rows[a as usize]).total_cmp(&length(&rows[b as usize])));
    assert_eq!(numbers(&found), nearest);
    // and whoever waits for a row that nobody sees can be cancelled
    table.gone = (0..62).collect();
    table.asked = 0;
    blocks.reset_counts();
    search_any(&mut blocks, &mut table, space, Some(query.bytes()), &conditions, all(1), usize::MAX);
    assert!(table.asked == 62 && blocks.counts().pauses >= 62, "{}", blocks.counts().pauses);
}

#[test]
fn an_entry_without_a_row_asks_the_table_for_nothing() {
    let (middles, rows) = blobs(2, 50, 20, 9);
    let space = l2(20);
    let mut blocks = build_as(without_values(space, 20), space, &middles, &rows, usize::MAX, &mut Nothing);
    let (query, known) = (value_of(&rows[3]), Tid::new(3, 1));
    for other in [Tid::new(INVALID_BLOCK, 1), Tid::INVALID] {
        let mut blocks = blocks.copy();
        let mut places = 0;
        for block in 0..blocks.count().unwrap() {
            blocks.edit(block, |bytes| {
                for at in 0..if page_kind(bytes) == Ok(Some(PageKind::Codes)) { PAGE_SIZE - 6 } else { 0 } {
                    if bytes[at..].starts_with(known.as_bytes()) {
                        bytes[at..at + 6].copy_from_slice(other.as_bytes());
                        places += 1;
                    }
                }
            });
        }
        assert_eq!(places, 1);
        let mut table = Table::new(&rows);
        let (_, error) = search_with(&mut blocks, &mut table, space, Some(query.bytes()), all(2), usize::MAX);
        assert!(error.is_some_and(|error| error.contains("without a row")));
    }
    let found = search_with(&mut blocks, &mut Table::new(&rows), space, Some(query.bytes()), all(2), 1);
    assert_eq!(found, (vec![known], None));
}

#[test]
fn a_row_of_another_kind_than_the_index_is_damage() {
    let (middles, rows) = blobs(2, 50, 20, 9);
    let space = l2(20);
    let mut blocks = build_as(without_values(space, 20), space, &middles, &rows, usize::MAX, &mut Nothing);
    let others = vec![vec![0.5f32; 3]; 50];
    let query = value_of(&rows[3]);
    let (found, error) =
        search_with(&mut blocks, &mut Table::new(&others), space, Some(query.bytes()), all(2), usize::MAX);
    assert!(found.is_empty() && error.is_some_and(|error| error.contains("another kind")));
}
