//! Runs of entries in the order of filter keys: what scans find by them is what they find by lists, whatever was added
//! and removed, beside others, and after a crash.

use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::info::gather;
use super::layout::{Geometry, PageKind, page_kind};
use super::runs::RunTrees;
use super::{Index, Memory};
use crate::filter::{KEY_SIZE, Kind, NULL, Operator, Program, of_integer};
use crate::ivf::lists::ReadLists;
use crate::ivf::scan::ScanSettings;
use crate::quant::space::{CodedSpace, Cosine};
use crate::runs::Tree;
use crate::space::{AnySpace, Dense, Metric, ValueKind};
use crate::storage::blocks::BlockStore;
use crate::storage::page::Tid;
use crate::testing::packed::{
    add_keyed, build_with_runs, keyed_index, opened, search_by, search_where, vacuum, value_of, violations,
};
use crate::testing::{MemBlocks, PAGE_SIZE};

fn dense(metric: Metric, dims: usize) -> Dense<f32> {
    match AnySpace::new(ValueKind::Vector, metric, dims as i32) {
        AnySpace::Vector(space) => space,
        _ => panic!("not a space of vectors"),
    }
}

fn l2(dims: usize) -> Dense<f32> {
    dense(Metric::L2, dims)
}

const ALL: ScanSettings = ScanSettings { probes: 2, asked: false, max_probes: 2, memory: usize::MAX };
/// Columns of all indexes here.
const COLUMNS: usize = 2;

/// Rows around a few places, and these as centres.
fn scattered(lists: usize, count: usize, dims: usize, seed: u64) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut vector =
        |spread: f32| -> Vec<f32> { (0..dims).map(|_| rng.random_range(-spread..spread)).collect() };
    let middles: Vec<Vec<f32>> = (0..lists).map(|_| vector(1.0)).collect();
    let rows = (0..count)
        .map(|n| middles[n % lists].iter().zip(vector(0.7)).map(|(a, b)| a + b).collect())
        .collect();
    (middles, rows)
}

/// The keys of a row: few values with NULLs, and many.
fn keys_of(n: u32) -> Vec<u64> {
    let first = if n % 11 == 7 { NULL } else { of_integer(i64::from(n % 5)) };
    vec![first, of_integer(i64::from(n.wrapping_mul(7919) % 1000))]
}

fn built(runs: usize, dims: usize, count: usize, seed: u64) -> (MemBlocks, Vec<Vec<f32>>) {
    let (middles, rows) = scattered(4, count, dims, seed);
    let keys: Vec<_> = (0..count as u32).map(keys_of).collect();
    (build_with_runs(runs, l2(dims), &middles, &rows, &keys, usize::MAX), rows)
}

/// Conditions drawn, on one column or both.
fn conditions(rng: &mut SmallRng) -> Program {
    let mut program = Program::new();
    let on = rng.random_range(1..4);
    if on & 1 == 1 {
        match rng.random_range(0..3) {
            0 => program.add_null(0, rng.random()).unwrap(),
            1 => program
                .add(0, Kind::Exact, Operator::Equal, Some(of_integer(rng.random_range(0..6))))
                .unwrap(),
            _ => {
                program.add(0, Kind::Exact, Operator::Less, Some(of_integer(rng.random_range(0..6)))).unwrap()
            }
        }
    }
    if on & 2 == 2 {
        let from = rng.random_range(0..1000);
        program.add(1, Kind::Exact, Operator::GreaterEqual, Some(of_integer(from))).unwrap();
        let to = from + rng.random_range(0..300);
        program.add(1, Kind::Exact, Operator::LessEqual, Some(of_integer(to))).unwrap();
    }
    program
}

fn meets(program: &Program, keys: &[u64]) -> bool {
    program.matches(zerocopy::IntoBytes::as_bytes(keys))
}

fn equal(column: usize, value: i64) -> Program {
    let mut program = Program::new();
    program.add(column, Kind::Exact, Operator::Equal, Some(of_integer(value))).unwrap();
    program
}

fn numbers(rows: &[Tid]) -> BTreeSet<u32> {
    let numbers: BTreeSet<u32> = rows.iter().map(|row| row.block()).collect();
    assert_eq!(numbers.len(), rows.len(), "a row twice");
    numbers
}

#[track_caller]
fn sound(blocks: &mut MemBlocks, dims: usize) {
    assert_eq!(violations(blocks, l2(dims)), Vec::<String>::new());
}

/// Compares what scans of an index find by runs, by lists and by either with what there is.
fn compare<S: for<'v> CodedSpace<View<'v> = &'v [f32]>>(space: S, dims: usize, count: usize) {
    let mut rng = SmallRng::seed_from_u64(1);
    let (middles, rows) = scattered(4, count, dims, 2);
    let keys: Vec<_> = (0..count as u32).map(keys_of).collect();
    for runs in 1..=COLUMNS {
        let mut blocks = build_with_runs(runs, space, &middles, &rows, &keys, usize::MAX);
        assert_eq!(opened(&mut blocks).unwrap().runs.count(), runs);
        assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
        let (mut right, mut wanted) = (0, 0);
        for _ in 0..30 {
            let filter = conditions(&mut rng);
            let expected: Vec<u32> =
                (0..count as u32).filter(|&n| meets(&filter, &keys[n as usize])).collect();
            let value = value_of(rows.choose(&mut rng).unwrap());
            let (nulls, error) = search_by(true, &mut blocks, space, None, &filter, ALL, usize::MAX);
            assert_eq!((numbers(&nulls), error), (expected.iter().copied().collect(), None));
            let query = Some(value.bytes());
            let (found, error) = search_by(true, &mut blocks, space, query, &filter, ALL, usize::MAX);
            assert_eq!((numbers(&found), error), (expected.iter().copied().collect(), None));
            let (listed, _) = search_by(false, &mut blocks, space, query, &filter, ALL, usize::MAX);
            assert_eq!(numbers(&listed), numbers(&found));
            let (chosen, _) = search_where(&mut blocks, space, query, &filter, ALL, usize::MAX);
            assert_eq!(numbers(&chosen), numbers(&found));
            // lists, where no tree is of a column with conditions, have their own order
            let free = crate::runs::read::is_free(Tree { column: 0, root: 1 }, &filter);
            if runs == 1 && free {
                continue;
            }
            // the first ten are the nearest, but for a bound that is wrong now and then
            let view = space.view(value.bytes()).unwrap();
            let far = |n: &u32| {
                let value = value_of(&rows[*n as usize]);
                space.exact(space.view(value.bytes()).unwrap(), view)
            };
            let mut nearest = expected.clone();
            nearest.sort_by(|a, b| far(a).total_cmp(&far(b)));
            nearest.truncate(10);
            let (first, _) = search_by(true, &mut blocks, space, query, &filter, ALL, 10);
            let distances: Vec<f64> = first.iter().map(|row| far(&row.block())).collect();
            assert!(distances.is_sorted());
            assert_eq!(first.len(), nearest.len());
            wanted += nearest.len();
            right += first.iter().filter(|row| nearest.contains(&row.block())).count();
        }
        assert!(right * 100 >= wanted * 96, "{dims}: {right} of {wanted}");
    }
}

#[test]
fn runs_find_what_lists_find() {
    compare(l2(8), 8, 3000);
    compare(Cosine::<f32>::new(100), 100, 1500);
    compare(l2(300), 300, 800);
    compare(dense(Metric::InnerProduct, 100), 100, 800);
    compare(dense(Metric::InnerProduct, 300), 300, 800);
    compare(l2(1900), 1900, 150);
    compare(l2(2500), 2500, 60);
}

#[test]
fn entries_come_and_go_with_their_rows() {
    for (dims, count) in [(8, 2000), (100, 800), (1900, 60)] {
        let space = l2(dims);
        let (mut blocks, rows) = built(COLUMNS, dims, count, 3);
        let mut rng = SmallRng::seed_from_u64(4);
        let (mut memory, mut next) = (Memory::default(), count as u32);
        let mut live: BTreeSet<u32> = (0..next).collect();
        let mut pages = 0;
        for round in 0..6u32 {
            for row in &rows {
                let value = value_of(row);
                add_keyed(&mut blocks, space, value.bytes(), &keys_of(next), Tid::new(next, 1), &mut memory)
                    .unwrap();
                live.insert(next);
                next += 1;
            }
            // the oldest go, and some of the others
            let dead = |n: u32| n + (count as u32) < next || n % 13 == round;
            vacuum(&mut blocks, &mut |row| dead(row.block())).unwrap();
            live.retain(|&n| !dead(n));
            sound(&mut blocks, dims);
            for _ in 0..5 {
                let (filter, query) = (conditions(&mut rng), value_of(rows.choose(&mut rng).unwrap()));
                let (found, error) =
                    search_by(true, &mut blocks, space, Some(query.bytes()), &filter, ALL, usize::MAX);
                let expected = live.iter().copied().filter(|&n| meets(&filter, &keys_of(n))).collect();
                assert_eq!((numbers(&found), error), (expected, None), "{dims} {round}");
            }
            let index = opened(&mut blocks).unwrap();
            let now = gather(&mut blocks, &index).unwrap().pages.runs.unwrap();
            // room of entries that are gone is used again
            assert!(round < 2 || now <= pages + pages / 2, "{now} pages of runs, {pages} before");
            pages = pages.max(now);
        }
    }
}

#[test]
fn an_empty_index_gets_entries() {
    let space = l2(20);
    let (middles, rows) = scattered(3, 400, 20, 5);
    let index = keyed_index(&space, 20, COLUMNS).with_runs(1);
    let mut blocks = crate::testing::packed::build_index(
        index,
        space,
        &middles,
        core::iter::empty::<(&Vec<f32>, &[u64])>(),
        usize::MAX,
        &mut crate::testing::ivf::Nothing,
    );
    sound(&mut blocks, 20);
    let mut memory = Memory::default();
    for (n, row) in (0..).zip(&rows) {
        add_keyed(&mut blocks, space, value_of(row).bytes(), &keys_of(n), Tid::new(n, 1), &mut memory)
            .unwrap();
    }
    sound(&mut blocks, 20);
    let query = value_of(&rows[9]);
    let (found, error) =
        search_by(true, &mut blocks, space, Some(query.bytes()), &equal(0, 4), ALL, usize::MAX);
    let expected = (0..400).filter(|&n| n % 5 == 4 && n % 11 != 7).collect();
    assert_eq!((numbers(&found), error), (expected, None));
    assert_eq!(found[0].block(), 9);
}

#[test]
fn little_memory_makes_the_same_trees() {
    let space = l2(60);
    let (middles, rows) = scattered(5, 9000, 60, 6);
    let keys: Vec<_> = (0..9000).map(keys_of).collect();
    let mut roomy = build_with_runs(COLUMNS, space, &middles, &rows, &keys, usize::MAX);
    let mut tight = build_with_runs(COLUMNS, space, &middles, &rows, &keys, 1 << 20);
    let count = roomy.count().unwrap();
    assert_eq!(tight.count().unwrap(), count);
    let page = |blocks: &mut MemBlocks, at| blocks.read(at, |bytes| Ok(bytes.to_vec())).unwrap();
    assert!((0..count).all(|block| page(&mut roomy, block) == page(&mut tight, block)));
}

#[test]
#[cfg(not(miri))]
fn a_crash_at_any_change_leaves_whole_trees() {
    for dims in [40, 700] {
        let space = l2(dims);
        let (mut blocks, rows) = built(COLUMNS, dims, 300, 7);
        blocks.record();
        let mut memory = Memory::default();
        let (mut settled, mut live) = (Vec::new(), (0..300u32).collect::<BTreeSet<_>>());
        for n in 0..60u32 {
            // rows of one key, so that leaves are divided
            let keys = [of_integer(2), of_integer(500)];
            let value = value_of(&rows[n as usize]);
            add_keyed(&mut blocks, space, value.bytes(), &keys, Tid::new(5000 + n, 1), &mut memory).unwrap();
            live.insert(5000 + n);
            if n % 20 == 13 {
                settled.push((blocks.recorded(), live.clone()));
                vacuum(&mut blocks, &mut |row| row.block() % 7 == n % 7).unwrap();
                live.retain(|row| row % 7 != n % 7);
            }
            settled.push((blocks.recorded(), live.clone()));
        }
        let keys = |n: u32| if n >= 5000 { vec![of_integer(2), of_integer(500)] } else { keys_of(n) };
        for changes in 0..=blocks.recorded() {
            let mut after = blocks.after(changes);
            sound(&mut after, dims);
            // rows whose insert had ended, and which no vacuum has begun to remove
            let known = settled.iter().take_while(|(at, _)| *at <= changes).last();
            let next = settled.iter().find(|(at, _)| *at > changes);
            let filter = equal(0, 2);
            let query = value_of(&rows[0]);
            let query = Some(query.bytes());
            for by_runs in [true, false] {
                let (found, error) = search_by(by_runs, &mut after, space, query, &filter, ALL, usize::MAX);
                assert_eq!(error, None);
                let found = numbers(&found);
                if let (Some((_, before)), Some((_, then))) = (known, next) {
                    let must = before.intersection(then).filter(|&&n| meets(&filter, &keys(n)));
                    assert!(must.clone().all(|n| found.contains(n)), "{dims}: after {changes}");
                }
            }
            if changes % 5 == 0 {
                // and goes on from there
                let value = value_of(&rows[1]);
                add_keyed(&mut after, space, value.bytes(), &keys_of(3), Tid::new(9000, 1), &mut memory)
                    .unwrap();
                vacuum(&mut after, &mut |row| row.block() >= 5000).unwrap();
                sound(&mut after, dims);
            }
        }
    }
}

#[test]
#[cfg(not(miri))]
fn scans_of_runs_among_writers_and_vacuums_find_every_row_that_stays() {
    let space = l2(24);
    let (blocks, rows) = built(COLUMNS, 24, 3000, 8);
    let stays = |row: Tid| row.block() < 3000 && row.block().is_multiple_of(10);
    std::thread::scope(|scope| {
        for thread in 0..2u32 {
            let (mut blocks, rows) = (blocks.share(), &rows);
            scope.spawn(move || {
                let mut memory = Memory::default();
                for n in 0..500u32 {
                    let (value, number) = (value_of(&rows[n as usize]), 10_000 * (thread + 1) + n);
                    let keys = keys_of(n % 50);
                    add_keyed(&mut blocks, space, value.bytes(), &keys, Tid::new(number, 1), &mut memory)
                        .unwrap();
                }
            });
        }
        let mut sweeping = blocks.share();
        scope.spawn(move || {
            for round in 1..=12u32 {
                // (a row of an insert that is under way is in no vacuum's list)
                vacuum(&mut sweeping, &mut |row| {
                    !stays(row) && row.block() < 10_000 && row.block() % 13 < round
                })
                .unwrap();
            }
        });
        for reader in 0..2 {
            let (mut blocks, rows) = (blocks.share(), &rows);
            scope.spawn(move || {
                let mut rng = SmallRng::seed_from_u64(reader);
                for n in 0..40 {
                    let (filter, query) = (conditions(&mut rng), value_of(&rows[n * 7]));
                    let query = Some(query.bytes()).filter(|_| n % 8 != 5);
                    let (found, error) = search_by(true, &mut blocks, space, query, &filter, ALL, usize::MAX);
                    assert_eq!(error, None);
                    let found = numbers(&found);
                    let kept: BTreeSet<u32> = found.into_iter().filter(|&n| stays(Tid::new(n, 1))).collect();
                    let wanted = (0..3000).step_by(10).filter(|&n| meets(&filter, &keys_of(n))).collect();
                    assert_eq!(kept, wanted);
                }
            });
        }
    });
    let mut blocks = blocks;
    sound(&mut blocks, 24);
}

/// Blocks of a kind.
fn of_kind(blocks: &mut MemBlocks, kind: PageKind) -> Vec<u32> {
    let count = blocks.count().unwrap();
    (1..count).filter(|&block| blocks.read(block, page_kind).unwrap() == Some(kind)).collect()
}

#[test]
fn entries_that_are_wrong_are_told() {
    let (dims, space) = (20, l2(20));
    let (mut healthy, rows) = built(COLUMNS, dims, 1200, 9);
    sound(&mut healthy, dims);
    let geometry = *opened(&mut healthy).unwrap().runs.geometry().unwrap();
    let leaf = of_kind(&mut healthy, PageKind::Runs)[0];
    let told = |change: &dyn Fn(&mut [u8])| {
        let mut blocks = healthy.copy();
        blocks.edit(leaf, |bytes| change(bytes));
        violations(&mut blocks, space)
    };
    // a key, a life, a place
    let first = geometry.start + 3 * geometry.filter_size;
    let key = told(&|bytes| bytes[first + KEY_SIZE] ^= 1);
    assert!(key.iter().any(|told| told.contains("are not those of its list")), "{key:?}");
    let dead = told(&|bytes| super::layout::clear_live(&geometry, bytes, &[3]));
    assert!(dead.len() == 1 && dead[0].contains("not where passes look"), "{dead:?}");
    let block = geometry.start + geometry.entries() * geometry.filter_size;
    let place = block + geometry.block_size - geometry.block_size % 8 - 12 * 32 + 6 * 32 + 6 * 3;
    let moved = told(&|bytes| bytes[place..place + 6].fill(1));
    assert!(!moved.is_empty());
    // of the last tree nothing may be there: its insert did not come so far
    let mut blocks = healthy.copy();
    let last = *of_kind(&mut blocks, PageKind::Runs).last().unwrap();
    blocks.edit(last, |bytes| super::layout::clear_live(&geometry, bytes, &[3]));
    sound(&mut blocks, dims);
    // a scan that comes to an entry without its value says where
    let mut blocks = healthy.copy();
    for leaf in of_kind(&mut healthy, PageKind::Runs) {
        blocks.edit(leaf, |bytes| {
            let count = usize::from(u16::from_ne_bytes([bytes[26], bytes[27]]));
            for at in 0..count {
                let block = block + at / 32 * geometry.block_size;
                let rows = 8 + 8 * 32 + geometry.code * 32;
                let place = block + rows + 6 * 32 + 6 * (at % 32);
                bytes[place + 4] ^= 1;
            }
        });
    }
    let query = value_of(&rows[0]);
    let (_, error) = search_by(true, &mut blocks, space, Some(query.bytes()), &equal(0, 1), ALL, 10);
    assert!(error.is_some_and(|error| error.contains("no value where an entry says")));
}

#[test]
fn damaged_trees_are_survived() {
    let mut rng = SmallRng::seed_from_u64(10);
    let (dims, space) = (40, l2(40));
    let (mut healthy, rows) = built(COLUMNS, dims, 1500, 10);
    let mut pages = of_kind(&mut healthy, PageKind::Runs);
    for kind in [PageKind::RunsDirectory, PageKind::RunsCentre] {
        pages.extend(of_kind(&mut healthy, kind));
    }
    pages.push(0);
    let query = value_of(&rows[0]);
    let (mut errors, mut found) = (0, 0);
    for _ in 0..if cfg!(miri) { 5 } else { 600 } {
        let mut blocks = healthy.copy();
        for _ in 0..rng.random_range(1..4) {
            let (block, byte) = (*pages.choose(&mut rng).unwrap(), rng.random());
            let at = match rng.random_range(0..3) {
                0 => rng.random_range(0..100),
                1 => rng.random_range(PAGE_SIZE - 8..PAGE_SIZE),
                _ => rng.random_range(0..PAGE_SIZE),
            };
            blocks.edit(block, |bytes| bytes[at] = byte);
        }
        let filter = conditions(&mut rng);
        let query = Some(query.bytes());
        errors +=
            usize::from(search_by(true, &mut blocks, space, query, &filter, ALL, usize::MAX).1.is_some());
        found += usize::from(!violations(&mut blocks, space).is_empty());
        let _ = crate::ivf::format::info(&mut blocks);
        let mut memory = Memory::default();
        let value = value_of(&rows[3]);
        let _ = add_keyed(&mut blocks, space, value.bytes(), &keys_of(2), Tid::new(7, 7), &mut memory);
        let _ = vacuum(&mut blocks, &mut |row| row.block() % 3 == 0);
        let _ = add_keyed(&mut blocks, space, value.bytes(), &keys_of(2), Tid::new(7, 8), &mut memory);
    }
    assert!(cfg!(miri) || errors > 40 && found > 300, "{errors} {found}");
}

/// The shortest run is taken where it is short, and lists where it is long.
#[test]
fn scans_choose() {
    let dims = 16;
    let (mut blocks, rows) = built(COLUMNS, dims, 6000, 11);
    let index = opened(&mut blocks).unwrap();
    let mut memory = Memory::default();
    let mut both = equal(1, 17);
    both.add(0, Kind::Exact, Operator::Equal, Some(of_integer(3))).unwrap();
    let mut lists = super::Lists { blocks: &mut blocks, index, memory: &mut memory };
    let run = lists.choose_run(&both).unwrap().unwrap();
    assert_eq!(run.tree.column, 1);
    assert!((4000.0..8000.0).contains(&run.rows) && run.entries < 400.0, "{run:?}");
    assert!(run.prices.run(10.0) < run.prices.lists(20.0, 6000.0, 0.01));
    assert!(run.prices.run(100_000.0) > run.prices.lists(20.0, 6000.0, 0.5));
    let mut none = Program::new();
    none.add_null(0, false).unwrap();
    assert_eq!(lists.choose_run(&none).unwrap().unwrap().tree.column, 0);
    drop(rows);
}

/// Trees of fewer columns than there are, of values that are too long for codes, by default.
#[test]
fn as_many_runs_as_fit() {
    let planned = |dims: usize, columns: usize, own: bool| {
        let geometry = Geometry::of(ValueKind::Vector, dims, PAGE_SIZE, columns * KEY_SIZE, own).unwrap();
        RunTrees::by_default(ValueKind::Vector, &geometry)
    };
    assert_eq!([planned(100, 2, true), planned(384, 2, true), planned(384, 1, true)], [1, 2, 1]);
    assert_eq!([planned(3, 2, true), planned(100, 0, true), planned(100, 2, false)], [1, 0, 0]);
    let index = |dims| {
        let space = l2(dims);
        Index::with_keys(space.kind(), space.estimate(), dims, PAGE_SIZE, 1, KEY_SIZE).unwrap()
    };
    assert_eq!(index(100).with_runs(8).runs.count(), 1);
    assert_eq!(index(16_000).with_wanted_runs(None).runs.count(), 0);
}

/// A leaf that another change has filled or divided between two looks.
#[test]
fn changes_that_fail_leave_whole_trees() {
    let (dims, space) = (30, l2(30));
    let (mut blocks, rows) = built(COLUMNS, dims, 500, 12);
    let mut memory = Memory::default();
    for n in 0..60u32 {
        let (row, keys) = (Tid::new(7000 + n, 1), [of_integer(1), of_integer(i64::from(n % 3))]);
        let value = value_of(&rows[n as usize]);
        let mut step = 0;
        loop {
            if n % 6 != 0 {
                break;
            }
            let mut failing = blocks.copy();
            failing.fail_at(step);
            let failed = add_keyed(&mut failing, space, value.bytes(), &keys, row, &mut memory).is_err();
            sound(&mut failing.copy(), dims);
            if !failed {
                break;
            }
            step += 3;
        }
        add_keyed(&mut blocks, space, value.bytes(), &keys, row, &mut memory).unwrap();
    }
    sound(&mut blocks, dims);
}
