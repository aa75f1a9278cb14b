//! Filter columns: what a scan with conditions finds, and that the keys stay with their rows.

use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::layout::CodePage;
use super::{Lists, Memory, tune};
use crate::filter::{KEY_SIZE, Kind, NULL, Operator, Program, of_integer, put_item};
use crate::ivf::check::check;
use crate::ivf::lists::{NoTable, ReadLists, Services};
use crate::ivf::packed::layout::{PageKind, page_kind};
use crate::ivf::scan::ScanSettings;
use crate::ivf::tally::Tally;
use crate::space::{AnySpace, Dense, Metric, ValueBuf, ValueKind};
use crate::storage::blocks::BlockStore;
use crate::storage::page::Tid;
use crate::testing::ivf::Nothing;
use crate::testing::packed::{
    add_keyed, build, build_keyed, opened, search, search_where, vacuum, value_of, violations,
};
use crate::testing::{MemBlocks, PAGE_SIZE};
use crate::work::runs::testing::Kept;

fn l2(dims: usize) -> Dense<f32> {
    match AnySpace::new(ValueKind::Vector, Metric::L2, dims as i32) {
        AnySpace::Vector(space) => space,
        _ => panic!("not a space of vectors"),
    }
}

/// Rows without clusters, and some of them as centres.
fn scattered(lists: usize, count: usize, dims: usize, seed: u64) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let rows: Vec<Vec<f32>> =
        (0..count).map(|_| (0..dims).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
    (rows.iter().step_by(count / lists).take(lists).cloned().collect(), rows)
}

/// The keys of row `n`: its number modulo `of` and, but for every ninth row, the number itself.
fn keys_of(n: u32, of: u32) -> Vec<u64> {
    vec![of_integer(i64::from(n % of)), if n % 9 == 8 { NULL } else { of_integer(i64::from(n)) }]
}

fn equal(column: usize, value: i64) -> Program {
    let mut program = Program::new();
    program.add(column, Kind::Exact, Operator::Equal, Some(of_integer(value))).unwrap();
    program
}

fn settings(probes: usize) -> ScanSettings {
    ScanSettings { probes, asked: false, max_probes: probes, memory: usize::MAX }
}

fn sorted(rows: &[Tid]) -> Vec<u32> {
    let mut rows: Vec<u32> = rows.iter().map(|row| row.block()).collect();
    rows.sort_unstable();
    rows
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[test]
fn all_rows_that_match_come_once_and_no_others() {
    for (dims, count) in [(8, 3000), (100, 1200), (1900, 80), (5000, 40)] {
        let space = l2(dims);
        let (middles, rows) = scattered(6, count, dims, 1);
        let keys: Vec<_> = (0..count as u32).map(|n| keys_of(n, 7)).collect();
        let mut blocks = build_keyed(space, &middles, &rows, &keys, usize::MAX, &mut Nothing);
        assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
        let query = value_of(&rows[5]);
        for query in [Some(query.bytes()), None] {
            for (value, probes) in [(3, 1), (0, 6), (9, 2)] {
                let found =
                    search_where(&mut blocks, space, query, &equal(0, value), settings(probes), usize::MAX);
                let expected: Vec<u32> = (0..count as u32).filter(|n| i64::from(n % 7) == value).collect();
                assert_eq!((sorted(&found.0), found.1), (expected, None), "{dims} {value}");
            }
            let found = search_where(&mut blocks, space, query, &equal(1, 17), settings(1), usize::MAX);
            let expected: &[u32] = if count > 17 && 17 % 9 != 8 { &[17] } else { &[] };
            assert_eq!(sorted(&found.0), expected);
        }
        // without conditions it is a scan like any other
        let plain = search(&mut blocks, space, Some(query.bytes()), settings(1), usize::MAX).0;
        let mut without = build(space, &middles, &rows, usize::MAX, &mut Nothing);
        assert_eq!(plain, search(&mut without, space, Some(query.bytes()), settings(1), usize::MAX).0);
    }
}

#[test]
fn rows_that_are_all_late_come_at_the_end() {
    // the rows of the second list are nearer to the query than those of the first, though its centre is not
    let space = l2(8);
    let line = |x: f32| [x, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0].to_vec();
    let middles = vec![line(1.0), line(-1.5), line(9.0)];
    let mut rows: Vec<Vec<f32>> = (0..10).map(|n| line(1.0 + n as f32 / 100.0)).collect();
    rows.extend((0..20).map(|n| line(-0.4 - n as f32 / 100.0)));
    rows.extend((0..5).map(|n| line(9.0 + n as f32 / 100.0)));
    let keys = vec![vec![of_integer(0), of_integer(0)]; rows.len()];
    let mut blocks = build_keyed(space, &middles, &rows, &keys, usize::MAX, &mut Nothing);
    let query = value_of(&line(0.0));
    let (found, error) =
        search_where(&mut blocks, space, Some(query.bytes()), &equal(0, 0), settings(1), usize::MAX);
    assert_eq!((sorted(&found), error), ((0..35).collect(), None));
}

#[test]
fn rows_come_in_order_and_few_of_them_read_little() {
    let (dims, space) = (16, l2(16));
    let (middles, rows) = scattered(40, 8000, dims, 2);
    let keys: Vec<_> = (0..8000).map(|n| keys_of(n, 5)).collect();
    let mut blocks = build_keyed(space, &middles, &rows, &keys, usize::MAX, &mut Nothing);
    let query: Vec<f32> = (0..dims).map(|at| at as f32 / 40.0).collect();
    let value = value_of(&query);
    // all of them: but for the few that come late, in order
    let (found, _) =
        search_where(&mut blocks, space, Some(value.bytes()), &equal(0, 2), settings(4), usize::MAX);
    let far = |row: &Tid| distance(&rows[row.block() as usize], &query);
    let falls = |pair: &[Tid]| far(&pair[0]) > far(&pair[1]);
    assert_eq!(found.len(), 1600);
    assert!(found.windows(2).filter(|pair| falls(pair)).count() <= 1, "those in order, then the late ones");
    let late = found.windows(2).position(falls).map_or(0, |at| found.len() - at - 1);
    assert!(late * 10 < found.len(), "{late} come late");
    blocks.reset_counts();
    let (first, _) = search_where(&mut blocks, space, Some(value.bytes()), &equal(0, 2), settings(4), 10);
    let few = blocks.counts().reads;
    assert_eq!(first[..], found[..10]);
    blocks.reset_counts();
    search_where(&mut blocks, space, Some(value.bytes()), &equal(0, 2), settings(4), usize::MAX);
    assert!(few * 2 < blocks.counts().reads, "{few} of {} reads", blocks.counts().reads);
}

#[test]
fn a_search_knows_where_the_rows_that_match_are() {
    let (dims, space) = (16, l2(16));
    let (middles, rows) = scattered(60, 6000, dims, 3);
    let keys: Vec<_> = (0..6000).map(|n| keys_of(n, 20)).collect();
    let mut blocks = build_keyed(space, &middles, &rows, &keys, usize::MAX, &mut Nothing);
    let index = opened(&mut blocks).unwrap();
    let (mut memory, mut runs, mut unpack) = (Memory::default(), Nothing, Nothing);
    let mut table = NoTable;
    let mut services = Services { runs: &mut runs, unpack: &mut unpack, table: &mut table };
    let mut lists = Lists { blocks: &mut blocks, index, memory: &mut memory };
    let probes = tune::tune(&mut lists, space, 8 << 20, &mut services, |at, out| {
        *out = value_of(&rows[at * 59]);
        Ok(at < 80)
    });
    let probes = probes.unwrap() as usize;
    let known = opened(&mut blocks).unwrap().probes;
    assert_eq!(known.known(), Some(probes as u32));
    assert!(probes < 55 && known.more[0] > 0 && known.more.is_sorted(), "{known:?}");
    let (mut found, mut wanted) = (0, 0);
    for row in rows.iter().skip(11).step_by(97) {
        let query: Vec<f32> = row.iter().map(|x| x + 0.05).collect();
        let mut exact: Vec<u32> = (0..6000).filter(|n| n % 20 == 4).collect();
        exact.sort_by(|&a, &b| {
            distance(&rows[a as usize], &query).total_cmp(&distance(&rows[b as usize], &query))
        });
        let value = value_of(&query);
        let (tids, _) =
            search_where(&mut blocks, space, Some(value.bytes()), &equal(0, 4), settings(probes), 10);
        assert_eq!(tids.len(), 10);
        found += tids.iter().filter(|tid| exact[..10].contains(&tid.block())).count();
        wanted += 10;
    }
    assert!(found * 100 >= wanted * 94, "{found} of {wanted}");
}

#[test]
fn keys_stay_with_their_rows_whatever_is_added_and_removed() {
    for dims in [8, 100, 1900, 5000] {
        let space = l2(dims);
        let count = if dims > 1000 { 48 } else { 600 };
        let (middles, rows) = scattered(3, count, dims, 4);
        let keys: Vec<_> = (0..count as u32).map(|n| keys_of(n, 6)).collect();
        let mut blocks = build_keyed(space, &middles, &rows, &keys, usize::MAX, &mut Nothing);
        let mut memory = Memory::default();
        let mut live: BTreeSet<u32> = (0..count as u32).collect();
        let mut next = count as u32;
        for round in 0..4u32 {
            for row in &rows {
                let keys = keys_of(next, 6);
                add_keyed(&mut blocks, space, value_of(row).bytes(), &keys, Tid::new(next, 1), &mut memory)
                    .unwrap();
                live.insert(next);
                next += 1;
            }
            vacuum(&mut blocks, &mut |row| row.block() % 5 < round).unwrap();
            live.retain(|row| row % 5 >= round);
            assert_eq!(violations(&mut blocks, space), Vec::<String>::new(), "{dims}");
            for value in 0..6 {
                let query = value_of(&rows[7]);
                let query = Some(query.bytes()).filter(|_| value % 2 == 0);
                let (found, _) =
                    search_where(&mut blocks, space, query, &equal(0, value), settings(1), usize::MAX);
                let expected: Vec<u32> = live.iter().copied().filter(|n| i64::from(n % 6) == value).collect();
                assert_eq!(sorted(&found), expected, "{dims} {round} {value}");
            }
        }
        // a row without its keys is none of this index
        let error =
            add_keyed(&mut blocks, space, value_of(&rows[0]).bytes(), &[], Tid::new(9, 1), &mut memory);
        assert!(error.is_err());
    }
}

#[test]
fn a_check_reads_values_with_their_keys() {
    for dims in [12, 5000] {
        let space = l2(dims);
        let (middles, rows) = scattered(2, 30, dims, 9);
        let keys: Vec<_> = (0..30).map(|n| keys_of(n, 7)).collect();
        let mut blocks = build_keyed(space, &middles, &rows, &keys, usize::MAX, &mut Nothing);
        vacuum(&mut blocks, &mut |row| row.block() % 4 == 1).unwrap();
        let index = opened(&mut blocks).unwrap();
        let (mut tally, mut memory) = (Tally::default(), Memory::default());
        let mut lists = Lists { blocks: &mut blocks, index, memory: &mut memory };
        check(&mut lists, space, true, &mut Nothing, &mut tally).unwrap();
        for n in 0..30u32 {
            let place = tally.find(Tid::new(n, 1));
            assert_eq!(place.is_none(), n % 4 == 1);
            let Some(place) = place else { continue };
            let mut item = ValueBuf::new();
            put_item(value_of(&rows[n as usize]).bytes(), &keys_of(n, 7), &mut item).unwrap();
            let mut room = ValueBuf::new();
            let same = lists.value_at(place, &mut Nothing, &mut room, |stored| stored == item.bytes());
            assert_eq!(same.unwrap(), Some(true), "{dims} {n}");
        }
        let none = lists.value_at(Tid::new(1, 1), &mut Nothing, &mut ValueBuf::new(), |_| ());
        assert!(none.is_err(), "a page of heads has no entries");
    }
}

#[test]
fn rows_that_waited_outside_have_their_keys() {
    let (middles, rows) = scattered(5, 4000, 60, 5);
    let keys: Vec<_> = (0..4000).map(|n| keys_of(n, 11)).collect();
    let mut roomy = build_keyed(l2(60), &middles, &rows, &keys, usize::MAX, &mut Nothing);
    let mut runs = Kept::default();
    let mut tight = build_keyed(l2(60), &middles, &rows, &keys, 400_000, &mut runs);
    assert!(runs.0.len() > 1);
    let count = roomy.count().unwrap();
    assert_eq!(tight.count().unwrap(), count);
    let page = |blocks: &mut MemBlocks, at| blocks.read(at, |bytes| Ok(bytes.to_vec())).unwrap();
    assert!((0..count).all(|block| page(&mut roomy, block) == page(&mut tight, block)));
}

#[test]
fn damage_is_told_and_survived() {
    let mut rng = SmallRng::seed_from_u64(6);
    let space = l2(40);
    let (middles, rows) = scattered(3, 400, 40, 6);
    let keys: Vec<_> = (0..400).map(|n| keys_of(n, 4)).collect();
    let healthy = build_keyed(space, &middles, &rows, &keys, usize::MAX, &mut Nothing);
    let count = healthy.share().count().unwrap();
    let query = value_of(&rows[0]);
    let mut errors = 0;
    for _ in 0..if cfg!(miri) { 5 } else { 400 } {
        let mut blocks = healthy.copy();
        for _ in 0..rng.random_range(1..4) {
            let (block, byte) = (rng.random_range(0..count), rng.random());
            let at = match rng.random_range(0..3) {
                0 => rng.random_range(0..80),
                1 => rng.random_range(PAGE_SIZE - 8..PAGE_SIZE),
                _ => rng.random_range(0..PAGE_SIZE),
            };
            blocks.edit(block, |bytes| bytes[at] = byte);
        }
        let found =
            search_where(&mut blocks, space, Some(query.bytes()), &equal(0, 1), settings(1), usize::MAX);
        errors += usize::from(found.1.is_some());
        violations(&mut blocks, space);
        let _ = crate::ivf::format::info(&mut blocks);
        let mut memory = Memory::default();
        let _ = add_keyed(&mut blocks, space, query.bytes(), &keys[0], Tid::new(7, 7), &mut memory);
        let _ = vacuum(&mut blocks, &mut |row| row.block() % 3 == 0);
        let _ = add_keyed(&mut blocks, space, query.bytes(), &keys[0], Tid::new(7, 8), &mut memory);
    }
    assert!(cfg!(miri) || errors > 20, "{errors}");
}

#[test]
fn a_page_selects_by_keys_alone() {
    let (middles, rows) = scattered(2, 500, 24, 7);
    let keys: Vec<_> = (0..500).map(|n| keys_of(n, 50)).collect();
    let mut blocks = build_keyed(l2(24), &middles, &rows, &keys, usize::MAX, &mut Nothing);
    let index = opened(&mut blocks).unwrap();
    assert_eq!(index.geometry.filter_size, 2 * KEY_SIZE);
    let program = equal(0, 7);
    let mut met = 0;
    for block in 1..blocks.count().unwrap() {
        let is_code = blocks.read(block, |bytes| Ok(page_kind(bytes)? == Some(PageKind::Codes))).unwrap();
        if !is_code {
            continue;
        }
        met += blocks
            .read(block, |bytes| {
                let page = CodePage::new(&index.geometry, bytes)?;
                let which = page.select(&program);
                let found = page.selected(&which).map(|block| {
                    assert!(
                        (0..block.len)
                            .all(|at| { (block.live >> at & 1 == 1) == (block.rows[at].block() % 50 == 7) })
                    );
                    block.live.count_ones()
                });
                Ok(found.sum::<u32>())
            })
            .unwrap();
    }
    assert_eq!(met, 10);
}

#[test]
#[cfg(not(miri))]
fn scans_among_writers_and_vacuums_find_every_row_that_stays_and_matches() {
    let space = l2(24);
    let (middles, rows) = scattered(3, 3000, 24, 8);
    let keys: Vec<_> = (0..3000).map(|n| keys_of(n, 6)).collect();
    let blocks = build_keyed(space, &middles, &rows, &keys, usize::MAX, &mut Nothing);
    let stays = |row: Tid| row.block() < 3000 && row.block().is_multiple_of(10);
    std::thread::scope(|scope| {
        for thread in 0..2u32 {
            let (mut blocks, rows) = (blocks.share(), &rows);
            scope.spawn(move || {
                let mut memory = Memory::default();
                for n in 0..400u32 {
                    let value = value_of(&rows[n as usize]);
                    let row = Tid::new(10_000 * (thread + 1) + n, 1);
                    add_keyed(&mut blocks, space, value.bytes(), &keys_of(n, 6), row, &mut memory).unwrap();
                }
            });
        }
        let mut sweeping = blocks.share();
        scope.spawn(move || {
            for round in 1..=12u32 {
                vacuum(&mut sweeping, &mut |row| !stays(row) && row.block() % 13 < round).unwrap();
            }
        });
        for _ in 0..2 {
            let (mut blocks, rows) = (blocks.share(), &rows);
            scope.spawn(move || {
                for n in 0..12 {
                    let query = value_of(&rows[n * 7]);
                    let query = Some(query.bytes()).filter(|_| n % 3 > 0);
                    let (found, error) =
                        search_where(&mut blocks, space, query, &equal(0, 2), settings(1), usize::MAX);
                    assert_eq!(error, None);
                    let mut kept: Vec<u32> =
                        found.iter().filter(|row| stays(**row)).map(|row| row.block()).collect();
                    kept.sort_unstable();
                    let expected: Vec<u32> = (0..3000).step_by(10).filter(|n| n % 6 == 2).collect();
                    assert_eq!(kept, expected);
                    let once: BTreeSet<_> = found.iter().map(|row| row.packed()).collect();
                    assert_eq!(once.len(), found.len());
                }
            });
        }
    });
    let mut blocks = blocks;
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
}
