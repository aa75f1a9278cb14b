//! The tree alone: entries of nodes that need not exist.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Dying, KINDS, bound as bound_of};
use crate::filter::{KEY_SIZE, Kind, MAX_COLUMNS, Operator, Packing, Packings, Program};
use crate::hnsw::check::Subject;
use crate::hnsw::format::{Layout, check};
use crate::hnsw::inline::codec::PreparedQuery;
use crate::hnsw::inline::graph::{InlineGraph, Room};
use crate::hnsw::inline::layout::{PAGE_ID, Shape};
use crate::hnsw::inline::meta::{InlineMeta, read_meta};
use crate::hnsw::inline::scan::{Index, Shared, reader};
use crate::ivf::packed::code::Factors;
use crate::quant::rabitq::Bits;
use crate::runs::page::{Bound, children, entries, front, key_of, name_of};
use crate::runs::read::{extent, first_place};
use crate::space::{AnySpace, Dense, Metric, ValueKind};
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{INVALID_BLOCK, Tid};
use crate::testing::{MemBlocks, MemError, PAGE_SIZE};

const DIMS: usize = 2;

fn space(size: usize) -> Dense<f32> {
    match AnySpace::new(ValueKind::Vector, Metric::L2, DIMS as i32).of_items(size) {
        AnySpace::Vector(space) => space,
        _ => unreachable!(),
    }
}

fn empty(size: usize) -> (MemBlocks, Index<'static, Dense<f32>>) {
    // of as many columns as keys of eight bytes; values are not looked at
    let filters = Packings::new((0..size / KEY_SIZE).map(|_| Packing::Whole)).unwrap();
    let shape = Shape { kind: ValueKind::Vector, dims: DIMS, m: 4, bits: Bits::TWO, filters };
    let meta = InlineMeta::new(&shape, 16, 11);
    let index = Index::new(Box::leak(Box::new(Shared::new(&meta, PAGE_SIZE).unwrap())), space(size));
    let mut blocks = MemBlocks::new(PAGE_ID);
    let mut change = blocks.update().unwrap();
    let page = change.extend().unwrap();
    meta.write(change.bytes_mut(page).unwrap());
    change.commit().unwrap();
    (blocks, index)
}

fn keys(key: u64, size: usize) -> Vec<u8> {
    let mut keys = vec![7; size];
    keys[..KEY_SIZE].copy_from_slice(&key.to_ne_bytes());
    keys
}

fn id_of(bound: &Bound) -> u32 {
    Tid::from_packed(bound.name).block()
}

fn dying(bound: Bound) -> Dying {
    (id_of(&bound), [bound.key; MAX_COLUMNS])
}

fn share<B: BlockStore>(blocks: &mut B, tree: crate::runs::Tree, filter: &Program) -> Result<f64, B::Error> {
    extent(blocks, KINDS, tree, filter).map(|extent| extent.share)
}

fn add(
    blocks: &mut MemBlocks,
    index: &Index<'_, Dense<f32>>,
    room: &mut Room,
    bound: Bound,
) -> Result<(), MemError> {
    let geometry = index.layout.runs.unwrap();
    let tree = read_meta(blocks)?.tree(0);
    let mut graph = InlineGraph::new(blocks, index, 16, room);
    graph.room.edits.tree.code = vec![id_of(&bound) as u8; geometry.code];
    let factors = Factors { add: id_of(&bound) as f32, scale: 1.0 };
    graph.add_entry(&geometry, tree, (id_of(&bound), factors), &keys(bound.key, geometry.filter_size), false)
}

/// All entries that live, leaf by leaf, and the number of levels.
fn all(blocks: &mut MemBlocks, index: &Index<'_, Dense<f32>>) -> (Vec<Bound>, u8) {
    let geometry = index.layout.runs.unwrap();
    let (mut block, mut found, mut levels) = (read_meta(blocks).unwrap().tree(0).root, Vec::new(), 0);
    while block != INVALID_BLOCK {
        block = blocks
            .read(block, |bytes| {
                let (front, next) = front(KINDS, bytes)?;
                if !front.is_leaf() {
                    levels = levels.max(front.level);
                    return Ok(children(bytes, &front)?[0].block);
                }
                let start = found.len();
                for block in entries(&geometry, bytes, &front)?.blocks() {
                    for slot in (0..block.len).filter(|slot| block.live >> slot & 1 == 1) {
                        let (id, own) = (name_of(&block, slot).unwrap().block(), block.keys_of(slot));
                        assert!(own[KEY_SIZE..].iter().all(|&byte| byte == 7));
                        assert_eq!((block.add[slot], block.scale[slot]), (id as f32, 1.0));
                        let mut code = vec![0; geometry.code];
                        crate::ivf::packed::layout::code_of(&block, slot, &mut code);
                        assert_eq!(code, vec![id as u8; geometry.code]);
                        found.push(bound_of(key_of(own, 0), id));
                    }
                }
                found[start..].sort();
                Ok(next)
            })
            .unwrap();
    }
    (found, levels)
}

#[track_caller]
fn healthy(blocks: &mut MemBlocks, size: usize) {
    let any = AnySpace::new(ValueKind::Vector, Metric::L2, DIMS as i32).of_items(size);
    let mut told = Vec::new();
    let mut tell = |violation: crate::storage::verify::Violation| told.push(violation.to_string());
    check(Layout::Inline, blocks, &Subject { space: any, unit: false }, true, &mut tell).unwrap();
    assert_eq!(told, Vec::<String>::new());
}

/// Ascending, descending, in disorder, and of one key; wide entries, so that directories are divided, too.
#[test]
fn pages_are_divided_whatever_the_order() {
    let size = 8 * KEY_SIZE;
    let count = 40_000u32;
    for order in 0..4 {
        let (mut blocks, index) = empty(size);
        let mut room = Room::new();
        let bound = |n: u32| match order {
            0 => bound_of(u64::from(n), n),
            1 => bound_of(u64::from(count - n), n),
            2 => bound_of(u64::from(n.wrapping_mul(0x9E37_79B9) % 5000), n),
            _ => bound_of(5, n.wrapping_mul(7919) % count),
        };
        for n in 0..count {
            add(&mut blocks, &index, &mut room, bound(n)).unwrap();
        }
        let mut expected: Vec<Bound> = (0..count).map(bound).collect();
        expected.sort();
        let (found, levels) = all(&mut blocks, &index);
        assert_eq!(levels, 2);
        assert!(found == expected, "{order}");
        healthy(&mut blocks, size);
        if order != 2 {
            continue;
        }
        let tree = read_meta(&mut blocks).unwrap().tree(0);
        for (first, last) in [(0, 49), (1000, 1999), (4000, 4999), (17, 17)] {
            let mut filter = Program::new();
            filter.add(0, Kind::Exact, Operator::GreaterEqual, Some(first)).unwrap();
            filter.add(0, Kind::Exact, Operator::LessEqual, Some(last)).unwrap();
            let wanted = expected.iter().filter(|bound| (first..=last).contains(&bound.key)).count();
            let about = share(&mut blocks, tree, &filter).unwrap() * f64::from(count);
            assert!((about - wanted as f64).abs() < 400.0 + 0.2 * wanted as f64, "{about} {wanted}");
            let query = PreparedQuery::new();
            let (mut path, mut ids, mut found) = (Vec::new(), Vec::new(), BTreeSet::new());
            let mut place = first_place(&mut blocks, KINDS, tree, &filter, &mut path).unwrap();
            while let Some(here) = place {
                let mut reader = reader(&mut blocks, &index, None, &query, 0.0).filtered(Some(&filter));
                place = reader.matching_of(tree, &here, &mut ids, &mut path).unwrap();
                assert!(ids.iter().all(|&id| found.insert(id)));
            }
            assert_eq!(found.len(), wanted);
        }
    }
}

/// Entries that are freed are gone, their leaves are filled again, and no leaf is divided while a quarter of it is
/// free.
#[test]
fn freed_entries_leave_room() {
    let size = KEY_SIZE;
    let (mut blocks, index) = empty(size);
    let mut room = Room::new();
    let bound = |n: u32| bound_of(u64::from(n % 100), n);
    for n in 0..5000 {
        add(&mut blocks, &index, &mut room, bound(n)).unwrap();
    }
    let count = blocks.count().unwrap();
    for round in 0..6u32 {
        let (from, to) = (round * 5000, (round + 1) * 5000);
        for half in [from..from + 2500, from + 2500..to] {
            room.edits.dying = half.clone().rev().map(|n| dying(bound(n))).collect();
            InlineGraph::new(&mut blocks, &index, 16, &mut room).free_entries().unwrap();
            assert!(room.edits.dying.is_empty());
            for n in half {
                add(&mut blocks, &index, &mut room, bound(n + 5000)).unwrap();
            }
            healthy(&mut blocks, size);
        }
        let mut expected: Vec<Bound> = (to..to + 5000).map(bound).collect();
        expected.sort();
        assert!(all(&mut blocks, &index).0 == expected);
    }
    let more = blocks.count().unwrap() - count;
    assert!(more <= count / 2, "{more} of {count}");
}

/// Ten writers, mostly into one key, a vacuum beside them, and a reader who sees at any time what was there before it
/// began, once.
#[test]
fn writers_readers_and_vacuums_side_by_side() {
    let size = 2 * KEY_SIZE;
    let (mut blocks, index) = empty(size);
    let mut room = Room::new();
    let bound = |n: u32| bound_of(if n.is_multiple_of(4) { u64::from(n % 9) } else { 4 }, n);
    let (first, per_writer) = (3000u32, 1000u32);
    for n in 0..first {
        add(&mut blocks, &index, &mut room, bound(n)).unwrap();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let writers: Vec<_> = (0..10u32)
            .map(|writer| {
                let (mut blocks, index) = (blocks.share(), &index);
                threads.spawn(move || {
                    let mut room = Room::new();
                    for n in 0..per_writer {
                        let id = first + n * 10 + writer;
                        add(&mut blocks, index, &mut room, bound(id)).unwrap();
                        if n % 50 == 49 {
                            // what it has added itself goes, in part
                            let mine = (n - 49..n).map(|n| first + n * 10 + writer);
                            let gone = mine.filter(|id| id.is_multiple_of(3));
                            room.edits.dying = gone.map(|id| dying(bound(id))).collect();
                            InlineGraph::new(&mut blocks, index, 16, &mut room).free_entries().unwrap();
                        }
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            let (mut blocks, index, done) = (blocks.share(), &index, &done);
            threads.spawn(move || {
                let mut filter = Program::new();
                filter.add(0, Kind::Exact, Operator::Equal, Some(4)).unwrap();
                while !done.load(Ordering::Relaxed) {
                    let query = PreparedQuery::new();
                    let (mut path, mut ids, mut found) = (Vec::new(), Vec::new(), BTreeSet::new());
                    let tree = read_meta(&mut blocks).unwrap().tree(0);
                    let mut place = first_place(&mut blocks, KINDS, tree, &filter, &mut path).unwrap();
                    while let Some(here) = place {
                        let mut reader =
                            reader(&mut blocks, index, None, &query, 0.0).filtered(Some(&filter));
                        place = reader.matching_of(tree, &here, &mut ids, &mut path).unwrap();
                        assert!(ids.iter().all(|&id| found.insert(id)), "an entry twice");
                    }
                    assert!((0..first).filter(|&n| bound(n).key == 4).all(|n| found.contains(&n)));
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    let gone = |id: &u32| *id >= first && id.is_multiple_of(3) && (id - first) / 10 % 50 != 49;
    let mut expected: Vec<Bound> = (0..first + 10 * per_writer).filter(|id| !gone(id)).map(bound).collect();
    expected.sort();
    assert!(all(&mut blocks, &index).0 == expected);
    healthy(&mut blocks, size);
}

/// Wherever a change of the tree fails, what was there is there, in order, and the entry comes with the next attempt.
#[test]
fn changes_that_fail_leave_a_whole_tree() {
    let size = 8 * KEY_SIZE;
    let (mut blocks, index) = empty(size);
    let mut room = Room::new();
    let bound = |n: u32| bound_of(u64::from(n.wrapping_mul(7919) % 1000), n);
    let mut expected = Vec::new();
    for n in 0..400 {
        let mut step = 0;
        loop {
            let mut failing = blocks.copy();
            failing.fail_at(step);
            let failed = add(&mut failing, &index, &mut room, bound(n)).is_err();
            let mut left = failing.copy();
            let (found, _) = all(&mut left, &index);
            assert!(found == expected || found.len() == expected.len() + 1);
            if !failed || n % 20 != 0 && step > 0 {
                break;
            }
            step += 1;
        }
        add(&mut blocks, &index, &mut room, bound(n)).unwrap();
        expected.push(bound(n));
        expected.sort();
    }
    assert!(all(&mut blocks, &index).0 == expected);
    healthy(&mut blocks, size);
}

/// A scan that knows the leaf it will look at next finds its entries where a division has brought them, and where the
/// only leaf became the first directory.
#[test]
fn a_leaf_that_is_divided_before_the_look_at_it() {
    let (mut blocks, index) = empty(KEY_SIZE);
    let geometry = index.layout.runs.unwrap();
    let mut room = Room::new();
    let most = geometry.entries() as u64;
    for n in 0..most {
        add(&mut blocks, &index, &mut room, bound_of(2 * n, n as u32)).unwrap();
    }
    let mut filter = crate::filter::Program::new();
    let upper = 2 * most - 6;
    filter.add(0, crate::filter::Kind::Exact, crate::filter::Operator::GreaterEqual, Some(upper)).unwrap();
    let mut path = Vec::new();
    for round in 0..2u64 {
        let tree = read_meta(&mut blocks).unwrap().tree(0);
        let mut place = first_place(&mut blocks, KINDS, tree, &filter, &mut path).unwrap();
        // as many as divide that leaf
        for n in 0..most {
            let key = if round == 0 { 2 * n + 1 } else { upper - 1 };
            add(&mut blocks, &index, &mut room, bound_of(key, (1000 * (round + 1) + n) as u32)).unwrap();
        }
        let (mut ids, mut found) = (Vec::new(), Vec::new());
        let prepared = crate::hnsw::inline::codec::PreparedQuery::new();
        while let Some(here) = place {
            let mut reader = crate::hnsw::inline::scan::reader(&mut blocks, &index, None, &prepared, 0.0)
                .filtered(Some(&filter));
            place = reader.matching_of(tree, &here, &mut ids, &mut path).unwrap();
            found.extend(ids.iter().copied());
        }
        found.sort_unstable();
        let (mut there, _) = all(&mut blocks, &index);
        there.retain(|bound| bound.key >= upper);
        let mut there: Vec<u32> = there.iter().map(id_of).collect();
        there.sort_unstable();
        assert_eq!(found, there, "{round}");
    }
}

/// How many entries are NULL's, or those of a key at either end.
#[test]
fn shares_of_the_ends() {
    let (mut blocks, index) = empty(KEY_SIZE);
    let mut room = Room::new();
    for n in 0..4000u32 {
        let key = if n % 5 < 2 { crate::filter::NULL } else { u64::from(n % 5) };
        add(&mut blocks, &index, &mut room, bound_of(key, n)).unwrap();
    }
    let tree = read_meta(&mut blocks).unwrap().tree(0);
    for (null, expected) in [(true, 0.4), (false, 0.6)] {
        let mut filter = crate::filter::Program::new();
        filter.add_null(0, null).unwrap();
        let share = share(&mut blocks, tree, &filter).unwrap();
        assert!((share - expected).abs() < 0.1, "{null}: {share}");
    }
}

/// A bound that is no number, of an entry whose code tells nothing, takes no place among the least.
#[test]
fn windows_pass_over_bounds_that_are_no_numbers() {
    let mut window = super::Window::new();
    window.begin(2, [f32::NAN, 3.0, -f32::NAN, 1.0, 2.0].into_iter()).unwrap();
    assert!((2.0..2.1).contains(&window.limit()));
}

#[test]
fn windows_hold_what_was_not_given_out() {
    let mut window = super::Window::new();
    assert!(!window.holds(1));
    window.begin(50, [1.0].into_iter()).unwrap();
    assert!(window.holds(50));
    window.give(10);
    assert!(window.holds(40) && !window.holds(41));
    window.give(100);
    assert!(!window.holds(1) && !window.left_some());
    window.begin(5, [].into_iter()).unwrap();
    window.clear();
    assert!(!window.holds(1));
}
