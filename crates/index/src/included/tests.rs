//! The tree alone, on blocks in memory.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::check::audit;
use super::page::{END, Front, children, front};
use super::{HEAD, Tree, add, add_root, largest, read, remove};
use crate::hnsw::inline::layout::PageKind;
use crate::space::ValueBuf;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Cause, Tid};
use crate::storage::verify::is_zero;
use crate::testing::{MemBlocks, MemError, PAGE_SIZE};

const TREE: Tree = PageKind::INCLUDED;

/// Values of a row of so many bytes, a multiple of eight, each byte after the head of them `fill`.
fn values(row: Tid, size: usize, fill: u8) -> Vec<u8> {
    let mut values = vec![fill; size];
    values[..6].copy_from_slice(zerocopy::IntoBytes::as_bytes(&row));
    // flags beside the size are no part of it
    values[6..HEAD].copy_from_slice(&(size as u16 | 0xc000).to_ne_bytes());
    values
}

/// Blocks with a tree whose root is block 1, as in an index.
fn empty() -> (MemBlocks, u32) {
    let mut blocks = MemBlocks::new(TREE.page_id);
    let meta = add_root(&mut blocks, TREE).unwrap();
    assert_eq!(meta, 0);
    let root = add_root(&mut blocks, TREE).unwrap();
    (blocks, root)
}

#[track_caller]
fn told(blocks: &mut MemBlocks, root: u32) -> (Vec<String>, Vec<u64>) {
    let mut told = Vec::new();
    let count = blocks.count().unwrap();
    let found = audit(blocks, TREE, root, count, &mut |violation| told.push(violation.to_string())).unwrap();
    // no page is lost, either, but those that an interrupted change has added
    if told.is_empty() {
        let unknown: Vec<u32> = (1..count).filter(|&block| !found.known[block as usize]).collect();
        assert!(unknown.iter().all(|&block| blocks.read(block, |bytes| Ok(is_zero(bytes))).unwrap()));
    }
    (told, found.rows)
}

#[track_caller]
fn same(blocks: &mut MemBlocks, root: u32, expected: &BTreeMap<u64, Vec<u8>>) {
    let (faults, rows) = told(blocks, root);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(rows, expected.keys().copied().collect::<Vec<_>>());
    let mut out = ValueBuf::new();
    for (&row, values) in expected {
        assert!(read(blocks, TREE, root, Tid::from_packed(row), &mut out).unwrap());
        assert_eq!(out.bytes(), values);
    }
}

fn height(blocks: &mut MemBlocks, root: u32) -> u8 {
    blocks.read(root, |bytes| Ok(front(TREE, bytes)?.0.level)).unwrap()
}

#[test]
fn values_come_back_whatever_their_order_and_size() {
    // row by row, and in batches
    for (order, batch) in (0..5u32).flat_map(|order| [(order, 1), (order, 50)]) {
        let mut rng = SmallRng::seed_from_u64(u64::from(order));
        let (mut blocks, root) = empty();
        let mut expected = BTreeMap::new();
        // some of almost a page, most of them small
        let size = |rng: &mut SmallRng| match rng.random_range(0..40) {
            0 => rng.random_range(HEAD / 8..=largest(PAGE_SIZE) / 8) * 8,
            1 => largest(PAGE_SIZE),
            _ => rng.random_range(1..12) * 8,
        };
        let mut waiting = Vec::new();
        for n in 0..6000u32 {
            let number = match order {
                0 => n,
                1 => 6000 - n,
                2 => n.wrapping_mul(0x9E37_79B9) % 3000,
                3 => n / 2 + (n % 2) * 3000,
                // a scan that begins in the middle
                _ => (n + 4000) % 6000,
            };
            let row = Tid::new(number / 60, (number % 60) as u16 + 1);
            let values = values(row, size(&mut rng), n as u8);
            waiting.extend_from_slice(&values);
            expected.insert(row.packed(), values);
            if (n + 1) % batch == 0 {
                add(&mut blocks, TREE, root, &waiting).unwrap();
                waiting.clear();
            }
        }
        assert!(height(&mut blocks, root) > 0);
        same(&mut blocks, root, &expected);
        let mut out = ValueBuf::new();
        assert!(!read(&mut blocks, TREE, root, Tid::new(5000, 1), &mut out).unwrap());
    }
}

#[test]
fn a_batch_is_the_same_as_row_by_row_and_fills_pages() {
    let (mut blocks, root) = empty();
    let (mut batch, mut expected) = (Vec::new(), BTreeMap::new());
    for n in 0..60_000u32 {
        let row = Tid::new(n / 100, (n % 100) as u16 + 1);
        let values = values(row, 16, n as u8);
        batch.extend_from_slice(&values);
        expected.insert(row.packed(), values);
    }
    for part in batch.chunks(1600) {
        add(&mut blocks, TREE, root, part).unwrap();
    }
    same(&mut blocks, root, &expected);
    // 18 bytes each
    let pages = blocks.count().unwrap();
    assert!(pages < 60_000 * 18 / (PAGE_SIZE as u32 - 60) + 8, "{pages} pages");
}

#[test]
fn directories_are_divided() {
    let (mut blocks, root) = empty();
    let mut expected = BTreeMap::new();
    // one row fills a leaf
    for n in 0..2500u32 {
        let row = Tid::new(n.wrapping_mul(7919) % 2500, 1);
        let values = values(row, largest(PAGE_SIZE), n as u8);
        add(&mut blocks, TREE, root, &values).unwrap();
        expected.insert(row.packed(), values);
    }
    assert_eq!(height(&mut blocks, root), 2);
    same(&mut blocks, root, &expected);
}

#[test]
fn removed_values_leave_room_for_others() {
    let mut rng = SmallRng::seed_from_u64(5);
    let (mut blocks, root) = empty();
    let mut expected: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut pages = 0;
    for round in 0..12 {
        for n in 0..2000u32 {
            let row = Tid::new(n / 20, (n % 20) as u16 + 1);
            expected.entry(row.packed()).or_insert_with(|| {
                let values = values(row, rng.random_range(1..20) * 8, round);
                add(&mut blocks, TREE, root, &values).unwrap();
                values
            });
        }
        same(&mut blocks, root, &expected);
        if round == 2 {
            pages = blocks.count().unwrap();
        }
        let dead: Vec<u64> = expected.keys().copied().filter(|_| rng.random_range(0..3) > 0).collect();
        let mut is_dead = |row: Tid| dead.binary_search(&row.packed()).is_ok();
        let removed = remove(&mut blocks, TREE, root, &mut Vec::new(), &mut is_dead).unwrap();
        assert_eq!(removed, dead.len() as u64);
        expected.retain(|row, _| dead.binary_search(row).is_err());
        same(&mut blocks, root, &expected);
    }
    let grown = blocks.count().unwrap();
    assert!(grown <= pages + pages / 2, "{grown} pages after {pages}");
}

/// The only leaf becomes a directory while a pass asks about its rows.
#[test]
fn a_pass_goes_on_when_the_first_page_is_divided() {
    let (mut blocks, root) = empty();
    let mut expected = BTreeMap::new();
    for n in 0..400u32 {
        let row = Tid::new(n, 1);
        expected.insert(row.packed(), values(row, 64, n as u8));
    }
    for own in expected.values().take(40) {
        add(&mut blocks, TREE, root, own).unwrap();
    }
    assert_eq!(height(&mut blocks, root), 0);
    let mut other = blocks.share();
    let mut divided = false;
    let mut is_dead = |row: Tid| {
        if !divided {
            divided = true;
            for own in expected.values().skip(40) {
                add(&mut other, TREE, root, own).unwrap();
            }
        }
        row.block().is_multiple_of(2)
    };
    let removed = remove(&mut blocks, TREE, root, &mut Vec::new(), &mut is_dead).unwrap();
    assert_eq!(removed, 200);
    assert_eq!(height(&mut blocks, root), 1);
    expected.retain(|&row, _| Tid::from_packed(row).block() % 2 == 1);
    same(&mut blocks, root, &expected);
}

/// Each operation on blocks fails once: what was there before is there afterwards, and the row is there or not.
#[test]
fn what_is_interrupted_leaves_a_sound_tree() {
    let (mut blocks, root) = empty();
    let mut expected = BTreeMap::new();
    let mut rng = SmallRng::seed_from_u64(9);
    for n in 0..900u32 {
        let row = Tid::new(n.wrapping_mul(613) % 900, 1);
        let own = values(row, rng.random_range(1..=largest(PAGE_SIZE) / 8 / 3) * 8, n as u8);
        let mut step = 1;
        loop {
            blocks.fail_at(step);
            match add(&mut blocks, TREE, root, &own) {
                Ok(()) => break,
                Err(MemError::Injected) => {}
                Err(other) => panic!("{other:?}"),
            }
            blocks.fail_never();
            if n % 50 == 0 {
                let (faults, rows) = told(&mut blocks, root);
                assert_eq!(faults, Vec::<String>::new());
                assert!(expected.keys().all(|row| rows.binary_search(row).is_ok()));
            }
            step += 1;
        }
        blocks.fail_never();
        expected.insert(row.packed(), own);
    }
    same(&mut blocks, root, &expected);
}

/// Writers, and somebody who removes, side by side.
#[test]
fn many_at_once() {
    let (blocks, root) = empty();
    let threads = 4u32;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let mut blocks = blocks.share();
            scope.spawn(move || {
                let mut rng = SmallRng::seed_from_u64(u64::from(thread));
                let mut out = ValueBuf::new();
                for n in 0..2000u32 {
                    let row = Tid::new(n * 7919 % 2003, thread as u16 + 1);
                    let own = values(row, rng.random_range(1..30) * 8, thread as u8);
                    add(&mut blocks, TREE, root, &own).unwrap();
                    assert!(read(&mut blocks, TREE, root, row, &mut out).unwrap());
                    assert_eq!(out.bytes(), own);
                }
            });
        }
        let mut blocks = blocks.share();
        scope.spawn(move || {
            for _ in 0..20 {
                // rows of nobody: the pass meets pages that are being divided
                let mut rows = Vec::new();
                assert_eq!(
                    remove(&mut blocks, TREE, root, &mut rows, &mut |row| row.offset() > 9).unwrap(),
                    0
                );
            }
        });
    });
    let mut blocks = blocks.share();
    let (faults, rows) = told(&mut blocks, root);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(rows.len() as u32, threads * 2000);
}

#[test]
fn damage_is_told_and_never_panics() {
    let mut rng = SmallRng::seed_from_u64(3);
    let (mut blocks, root) = empty();
    let mut rows = Vec::new();
    for n in 0..700u32 {
        let row = Tid::new(n, 1);
        add(&mut blocks, TREE, root, &values(row, rng.random_range(1..100) * 8, n as u8)).unwrap();
        rows.push(row);
    }
    let count = blocks.count().unwrap();
    for _ in 0..400 {
        let mut copy = blocks.copy();
        for _ in 0..rng.random_range(1..4) {
            let (block, at) = (rng.random_range(1..count), rng.random_range(0..PAGE_SIZE));
            // most of what decides is in front
            let at = if rng.random_range(0..3) > 0 { at % 120 } else { at };
            copy.edit(block, |bytes| bytes[at] ^= 1 << rng.random_range(0..8));
        }
        let mut out = ValueBuf::new();
        let is_damage = |error: MemError| match error {
            MemError::Corrupt(corruption) => assert_eq!(corruption.cause(), Cause::Damage, "{corruption}"),
            other => panic!("{other:?}"),
        };
        for _ in 0..8 {
            let row = rows[rng.random_range(0..rows.len())];
            let _ = read(&mut copy, TREE, root, row, &mut out).map_err(is_damage);
        }
        let found = audit(&mut copy, TREE, root, count, &mut |_| {});
        let _ = found.map_err(is_damage);
        let row = Tid::new(rng.random_range(0..800), 2);
        let _ = add(&mut copy, TREE, root, &values(row, 160, 1)).map_err(is_damage);
        let _ = remove(&mut copy, TREE, root, &mut Vec::new(), &mut |row| row.block().is_multiple_of(3))
            .map_err(is_damage);
    }
}

#[test]
fn each_fault_is_found() {
    let (mut blocks, root) = empty();
    for n in 0..900u32 {
        let row = Tid::new(n, 1);
        add(&mut blocks, TREE, root, &values(row, 80, n as u8)).unwrap();
    }
    let first = blocks.read(root, |bytes| Ok(children(bytes, &front(TREE, bytes)?.0)?[0].block)).unwrap();
    let cases: [(&str, u32, usize, u8); 6] = [
        ("page of another kind", first, 24, 9),
        ("on another level", first, 25, 1),
        ("their parent says something else", first, 30, 3),
        ("unused bytes", first, 34, 1),
        ("out of order", first, 36, 0),
        ("something where nothing is", first, 36 + 2 * 99 + 1, 1),
    ];
    for (expected, block, at, byte) in cases {
        let mut copy = blocks.copy();
        copy.edit(block, |bytes| match at {
            // two rows in the other order
            36 => bytes.swap(36, 38),
            // as many bytes as a page of its own has are nothing on this one
            _ => bytes[at] = byte,
        });
        if expected == "out of order" {
            copy.edit(block, |bytes| bytes.swap(37, 39));
        }
        let (faults, _) = told(&mut copy, root);
        let found = faults.iter().any(|fault| fault.contains(expected));
        assert!(found || expected == "on another level" && !faults.is_empty(), "{expected}: {faults:?}");
    }
    assert!(Front::new(TREE, 0, END).is_before(END));
}
