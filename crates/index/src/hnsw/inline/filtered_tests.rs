//! Scans with conditions, against a look at all rows.

use std::collections::BTreeSet;

use super::super::layout::{self, put_key_entry};
use super::*;
use crate::filter::{KEY_SIZE, Kind, MAX_COLUMNS, NULL, Operator, of_integer, put_item};
use crate::hnsw::check::Subject;
use crate::storage::page::PageMut;
use crate::storage::verify::Violation;
use crate::testing::hnsw::{vacuum, workspace};

/// A row of a table: its value and the keys of two columns.
struct Line {
    item: ValueBuf,
    keys: [u64; 2],
}

const SIZE: usize = 2 * KEY_SIZE;

/// Rows whose first column counts from 0 to 999 in disorder; the second is 1 where the vector is on one side, or NULL.
/// Every 20th row has the vector of the one before.
fn lines(kind: ValueKind, dims: usize, count: usize) -> Vec<Line> {
    let values = clustered(2, dims, count, 5);
    let line = |n: usize| {
        let elements = &values[if n % 20 == 19 { n - 1 } else { n }];
        let keys = [of_integer(n as i64 * 617 % 1000), if elements[0] > 0.0 { of_integer(1) } else { NULL }];
        let mut item = ValueBuf::new();
        put_item(value(kind, elements).bytes(), &keys, &mut item).unwrap();
        Line { item, keys }
    };
    (0..count).map(line).collect()
}

fn query(kind: ValueKind, elements: &[f32]) -> ValueBuf {
    let mut item = ValueBuf::new();
    put_item(value(kind, elements).bytes(), &[0; 2], &mut item).unwrap();
    item
}

fn indexed<S: CodedSpace>(
    space: S,
    kind: ValueKind,
    dims: usize,
    lines: &[Line],
) -> (MemBlocks, Index<'static, S>) {
    let items: Vec<ValueBuf> = lines.iter().map(|line| line.item.clone()).collect();
    index(space, &Shape { filter_size: SIZE, ..shape(kind, dims) }, &items)
}

/// Conditions, and which rows meet them.
type Condition = (fn(&mut Scan), fn(&[u64; 2]) -> bool);

fn below(scan: &mut Scan, most: i64) {
    scan.filter().add(0, Kind::Exact, Operator::Less, Some(of_integer(most))).unwrap();
}

const CONDITIONS: [Condition; 7] = [
    (|scan| below(scan, 500), |keys| keys[0] < of_integer(500)),
    (|scan| below(scan, 100), |keys| keys[0] < of_integer(100)),
    (|scan| below(scan, 10), |keys| keys[0] < of_integer(10)),
    (|scan| below(scan, -1), |_| false),
    (|scan| scan.filter().add_null(1, true).unwrap(), |keys| keys[1] == NULL),
    (|scan| scan.filter().add_null(1, false).unwrap(), |keys| keys[1] != NULL),
    (
        |scan| {
            below(scan, 100);
            scan.filter().add_null(1, false).unwrap();
        },
        |keys| keys[0] < of_integer(100) && keys[1] != NULL,
    ),
];

fn drain<S: CodedSpace>(
    blocks: &mut MemBlocks,
    index: &Index<S>,
    query: Option<&[u8]>,
    settings: &ScanSettings,
    condition: fn(&mut Scan),
) -> Vec<(Tid, f64)> {
    let mut scan = Scan::new();
    condition(&mut scan);
    let mut rows = Vec::new();
    while let Some(found) = scan.next(blocks, index, query, settings).unwrap() {
        rows.push(found);
    }
    // nothing comes after the end
    assert_eq!(scan.next(blocks, index, query, settings).unwrap(), None);
    rows
}

/// Whatever the type and the conditions: all rows that match come, each once; the nearest first, as well as a search
/// finds them; in order wherever one batch has them all.
fn check<S: CodedSpace>(space: S, kind: ValueKind, dims: usize, count: usize) {
    let lines = lines(kind, dims, count);
    let (mut blocks, index) = indexed(space, kind, dims, &lines);
    let (mut found, mut all) = (0, 0);
    for elements in clustered(3, dims, 6, 5) {
        let query = query(kind, &elements);
        let view = space.view(query.bytes()).unwrap();
        let exact = |row: usize| space.exact(view, space.view(lines[row].item.bytes()).unwrap());
        for (condition, matches) in CONDITIONS {
            let matching: BTreeSet<usize> = (0..count).filter(|&n| matches(&lines[n].keys)).collect();
            let mut distances: Vec<f64> = matching.iter().map(|&n| exact(n)).collect();
            distances.sort_by(f64::total_cmp);
            for iterative in [IterativeScan::Off, IterativeScan::Relaxed, IterativeScan::Strict] {
                let settings = settings(40, iterative);
                let rows = drain(&mut blocks, &index, Some(query.bytes()), &settings, condition);
                let numbers: BTreeSet<usize> = rows.iter().map(|(row, _)| number(*row)).collect();
                assert_eq!(numbers.len(), rows.len(), "a row twice");
                assert!(rows.iter().all(|(row, distance)| exact(number(*row)) == *distance));
                assert!(numbers.is_subset(&matching));
                let ordered = rows.windows(2).all(|pair| pair[0].1 <= pair[1].1);
                if matching.len() < 40 {
                    let returned: Vec<f64> = rows.iter().map(|row| row.1).collect();
                    assert_eq!(returned, distances, "{kind:?} {dims}");
                } else if iterative == IterativeScan::Strict {
                    assert!(ordered && rows.len() * 10 > matching.len() * 8);
                } else {
                    assert_eq!(numbers, matching);
                    assert!(rows[..40].windows(2).all(|pair| pair[0].1 <= pair[1].1));
                }
                let ten = 10.min(distances.len());
                let last = ten.checked_sub(1).map_or(0.0, |at| distances[at] + 1e-9);
                found += rows.iter().take(ten).filter(|row| row.1 <= last).count();
                all += ten;
            }
            // to NULL everything is equally near
            let settings = settings(40, IterativeScan::Off);
            let rows = drain(&mut blocks, &index, None, &settings, condition);
            assert_eq!(rows.len(), matching.len());
            assert!(rows.iter().all(|(row, _)| matching.contains(&number(*row))));
        }
    }
    let recall = found as f64 / all as f64;
    assert!(recall > 0.98, "{kind:?} {dims}: {recall}");
}

#[test]
fn all_rows_that_match_come_once_and_the_nearest_first() {
    for (kind, metric, dims) in [
        (ValueKind::Vector, Metric::L2, 3),
        (ValueKind::Vector, Metric::InnerProduct, 24),
        (ValueKind::Halfvec, Metric::L2, 100),
        (ValueKind::Bit, Metric::Hamming, 61),
        (ValueKind::Bit, Metric::Jaccard, 200),
    ] {
        crate::with_space!(AnySpace::new(kind, metric, dims as i32).of_items(SIZE), space => {
            check(space, kind, dims, 800);
        });
    }
}

#[test]
fn all_rows_that_match_come_by_their_angle() {
    for kind in [ValueKind::Vector, ValueKind::Halfvec] {
        crate::with_space!(AnySpace::by_angle(kind, 40).unwrap().of_items(SIZE), space => {
            check(space, kind, 40, 800);
        });
    }
}

/// Values and codes elsewhere than the head of the record.
#[test]
fn all_rows_that_match_come_where_records_are_cut() {
    for (kind, metric, dims) in [
        (ValueKind::Vector, Metric::L2, 1536),
        (ValueKind::Vector, Metric::L2, 4000),
        (ValueKind::Bit, Metric::Hamming, 8000),
    ] {
        crate::with_space!(AnySpace::new(kind, metric, dims as i32).of_items(SIZE), space => {
            check(space, kind, dims, 200);
        });
    }
}

fn l2_of_items(dims: usize) -> Dense<f32> {
    match AnySpace::new(ValueKind::Vector, Metric::L2, dims as i32).of_items(SIZE) {
        AnySpace::Vector(space) => space,
        _ => unreachable!(),
    }
}

/// A pass that has no room for all that matches is followed by others: everything comes once, in order.
#[test]
fn passes_with_little_memory_return_everything_in_order() {
    let lines = lines(ValueKind::Vector, 8, 900);
    let (mut blocks, index) = indexed(l2_of_items(8), ValueKind::Vector, 8, &lines);
    let query = query(ValueKind::Vector, &[0.1; 8]);
    for (max_memory, most) in [(0, 80), (4096, 80), (4096, 400), (0, 400)] {
        let settings = ScanSettings { max_memory, ..settings(10, IterativeScan::Off) };
        let mut scan = Scan::new();
        below(&mut scan, most);
        let mut rows = Vec::new();
        while let Some(found) = scan.next(&mut blocks, &index, Some(query.bytes()), &settings).unwrap() {
            rows.push(found);
        }
        let matching = lines.iter().filter(|line| line.keys[0] < of_integer(most)).count();
        let numbers: BTreeSet<usize> = rows.iter().map(|(row, _)| number(*row)).collect();
        assert_eq!((numbers.len(), rows.len()), (matching, matching));
        // past what the graph gave
        assert!(rows[10..].windows(2).filter(|pair| pair[0].1 > pair[1].1).count() <= 1);
    }
}

#[test]
fn rows_share_a_node_only_where_their_keys_are_equal() {
    let mut items = Vec::new();
    for n in 0..300 {
        let mut item = ValueBuf::new();
        let keys = [of_integer(n % 3), NULL];
        put_item(value(ValueKind::Vector, &[(n % 10) as f32, 1.0]).bytes(), &keys, &mut item).unwrap();
        items.push(item);
    }
    let space = l2_of_items(2);
    let graph = graph(space, &items);
    assert_eq!(graph.len(), 30);
    let shape = Shape { filter_size: SIZE, ..shape(ValueKind::Vector, 2) };
    let (mut blocks, index) = write(space, &shape, &graph, 0, 0);
    let query = query(ValueKind::Vector, &[4.0, 1.0]);
    let settings = settings(10, IterativeScan::Off);
    let rows = drain(&mut blocks, &index, Some(query.bytes()), &settings, |scan| {
        scan.filter().add(0, Kind::Exact, Operator::Equal, Some(of_integer(1))).unwrap();
    });
    assert_eq!(rows.len(), 100);
    assert!(rows.iter().all(|(row, _)| number(*row) % 3 == 1));
    assert!(rows[..10].iter().all(|row| row.1 == 0.0));
}

#[test]
fn a_scan_forgets_its_conditions() {
    let lines = lines(ValueKind::Vector, 4, 100);
    let (mut blocks, index) = indexed(l2_of_items(4), ValueKind::Vector, 4, &lines);
    let query = query(ValueKind::Vector, &[0.0; 4]);
    let settings = settings(200, IterativeScan::Off);
    let mut scan = Scan::new();
    below(&mut scan, -1);
    assert_eq!(scan.next(&mut blocks, &index, Some(query.bytes()), &settings).unwrap(), None);
    scan.reset();
    let mut count = 0;
    while scan.next(&mut blocks, &index, Some(query.bytes()), &settings).unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, lines.len());
    assert!(scan.filter().add_null(MAX_COLUMNS, true).is_err());
}

#[test]
fn an_empty_index_has_no_rows_that_match() {
    let (mut blocks, index) = indexed(l2_of_items(4), ValueKind::Vector, 4, &[]);
    let query = query(ValueKind::Vector, &[0.0; 4]);
    let settings = settings(40, IterativeScan::Off);
    for (condition, _) in CONDITIONS {
        assert_eq!(drain(&mut blocks, &index, Some(query.bytes()), &settings, condition), []);
    }
}

/// Nothing that a check finds wrong.
#[track_caller]
fn healthy(blocks: &mut MemBlocks, space: AnySpace) {
    let subject = Subject { space, unit: false };
    let mut told = Vec::new();
    let mut tell = |violation: Violation| told.push(violation.to_string());
    crate::hnsw::format::check(Layout::Inline, blocks, &subject, true, &mut tell).unwrap();
    assert_eq!(told, Vec::<String>::new());
}

/// Rows that come and go one by one: keys stand beside every edge, and scans with conditions find the rows there are.
fn churn<S: CodedSpace>(any: AnySpace, space: S, kind: ValueKind, dims: usize, count: usize) {
    let lines = lines(kind, dims, count);
    let built = count / 3;
    let (mut blocks, index) = indexed(space, kind, dims, &lines[..built]);
    healthy(&mut blocks, any);
    let graph = crate::hnsw::format::Graph { space, m: M, ef_construction: EF_CONSTRUCTION };
    let mut rng = SmallRng::seed_from_u64(5);
    let mut insert = |blocks: &mut MemBlocks, rows: core::ops::Range<usize>| {
        let mut workspace = workspace(blocks);
        for n in rows {
            let item = lines[n].item.bytes();
            crate::hnsw::format::insert(blocks, &graph, &mut workspace, item, row(n), &mut rng).unwrap();
        }
    };
    insert(&mut blocks, built..count);
    healthy(&mut blocks, any);
    let gone = |n: usize| n % 3 == 1;
    let removed = vacuum(&mut blocks).run(&mut blocks, &graph, &mut |row| gone(number(row))).unwrap().removed;
    assert_eq!(removed as usize, (0..count).filter(|&n| gone(n)).count());
    healthy(&mut blocks, any);
    let query = query(kind, &clustered(3, dims, 1, 5)[0]);
    let settings = settings(20, IterativeScan::Off);
    let mut there: BTreeSet<usize> = (0..count).filter(|&n| !gone(n)).collect();
    for again in [false, true] {
        if again {
            // into the places of those that went
            let back: Vec<usize> = (0..count).filter(|&n| gone(n)).collect();
            back.iter().for_each(|&n| insert(&mut blocks, n..n + 1));
            there.extend(back);
            healthy(&mut blocks, any);
        }
        for (condition, matches) in CONDITIONS {
            let rows = drain(&mut blocks, &index, Some(query.bytes()), &settings, condition);
            let numbers: BTreeSet<usize> = rows.iter().map(|(row, _)| number(*row)).collect();
            assert_eq!(numbers.len(), rows.len());
            let matching = there.iter().copied().filter(|&n| matches(&lines[n].keys));
            assert_eq!(numbers, matching.collect::<BTreeSet<_>>());
        }
    }
}

#[test]
fn keys_follow_rows_that_come_and_go() {
    for (kind, metric, dims, count) in [
        (ValueKind::Vector, Metric::L2, 12, 450),
        (ValueKind::Halfvec, Metric::InnerProduct, 30, 300),
        (ValueKind::Bit, Metric::Hamming, 200, 300),
        (ValueKind::Vector, Metric::L2, 1536, 90),
        (ValueKind::Vector, Metric::L2, 4000, 60),
    ] {
        let any = AnySpace::new(kind, metric, dims as i32).of_items(SIZE);
        crate::with_space!(any, space => churn(any, space, kind, dims, count));
    }
}

/// An index whose rows have the same vector and other keys: a node for each, and all of them are found.
#[test]
fn many_equal_vectors_with_other_keys() {
    let any = AnySpace::new(ValueKind::Vector, Metric::L2, 3).of_items(SIZE);
    let space = l2_of_items(3);
    let (mut blocks, index) = indexed(space, ValueKind::Vector, 3, &[]);
    let graph = crate::hnsw::format::Graph { space, m: M, ef_construction: EF_CONSTRUCTION };
    let mut workspace = workspace(&mut blocks);
    let mut rng = SmallRng::seed_from_u64(5);
    for n in 0..400 {
        let mut item = ValueBuf::new();
        let keys = [of_integer(n as i64 % 100), NULL];
        put_item(value(ValueKind::Vector, &[1.0; 3]).bytes(), &keys, &mut item).unwrap();
        crate::hnsw::format::insert(&mut blocks, &graph, &mut workspace, item.bytes(), row(n), &mut rng)
            .unwrap();
    }
    healthy(&mut blocks, any);
    let query = query(ValueKind::Vector, &[1.0; 3]);
    for key in [0, 7, 99] {
        let mut scan = Scan::new();
        scan.filter().add(0, Kind::Exact, Operator::Equal, Some(of_integer(key))).unwrap();
        let mut rows = BTreeSet::new();
        let settings = settings(10, IterativeScan::Off);
        while let Some((row, _)) = scan.next(&mut blocks, &index, Some(query.bytes()), &settings).unwrap() {
            assert!(rows.insert(number(row)));
        }
        assert_eq!(rows, (0..400).filter(|n| (*n % 100) as i64 == key).collect());
    }
}

/// What a check says of an index after a change of one block.
fn told(blocks: &mut MemBlocks, space: AnySpace, block: u32, change: impl FnOnce(&mut [u8])) -> Vec<String> {
    let mut update = blocks.update().unwrap();
    let page = update.open(block).unwrap();
    change(update.bytes_mut(page).unwrap());
    update.commit().unwrap();
    let mut told = Vec::new();
    let mut tell = |violation: Violation| told.push(violation.to_string());
    crate::hnsw::format::check(Layout::Inline, blocks, &Subject { space, unit: false }, true, &mut tell)
        .unwrap();
    told
}

#[test]
fn a_check_tells_of_filter_keys_that_are_not_those_of_the_rows() {
    let any = AnySpace::new(ValueKind::Vector, Metric::L2, 4).of_items(SIZE);
    let lines = lines(ValueKind::Vector, 4, 700);
    let make = || indexed(l2_of_items(4), ValueKind::Vector, 4, &lines);
    let (mut blocks, index) = make();
    healthy(&mut blocks, any);
    let layout = index.layout;
    let first = blocks.read(0, |bytes| Ok(InlineMeta::read(bytes)?.keys)).unwrap();
    let has = |told: &[String], what: &str| told.iter().any(|told| told.contains(what));
    // an entry's keys, its use, its node
    let entry = layout.keys.range(3).start;
    let keys = told(&mut blocks, any, first, |bytes| bytes[entry + 8] ^= 1);
    assert!(keys.len() == 1 && has(&keys, "filter keys are not where passes look"), "{keys:?}");
    let (mut blocks, _) = make();
    let unused = told(&mut blocks, any, first, |bytes| layout.keys.set_used(bytes, 3, false));
    assert!(
        has(&unused, "not where passes look") && has(&unused, "free entry with filter keys"),
        "{unused:?}"
    );
    let (mut blocks, _) = make();
    let other = told(&mut blocks, any, first, |bytes| bytes[entry] ^= 1);
    assert!(has(&other, "not where passes look"), "{other:?}");
    // a record's own keys, and those of its neighbours
    let (mut blocks, _) = make();
    let record = layout.ground.slots.range(0).start;
    let own = layout.ground.filter_values(layout.ground.neighbours).start;
    let own = told(&mut blocks, any, 1, |bytes| bytes[record + own] ^= 1);
    assert!(has(&own, "filter keys that are not those behind its value"), "{own:?}");
    let (mut blocks, _) = make();
    let of_neighbour = layout.ground.filter_values(0).start;
    let edge = told(&mut blocks, any, 1, |bytes| bytes[record + of_neighbour] ^= 1);
    assert!(has(&edge, "edge with filter keys that are not those of the element"), "{edge:?}");
    // the chain of pages ends early, or goes round
    let (mut blocks, _) = make();
    let ended = told(&mut blocks, any, 0, |bytes| {
        let meta = InlineMeta { keys: first + 1, ..InlineMeta::read(bytes).unwrap() };
        PageMut::new(bytes, PAGE_ID).unwrap().set_contents(zerocopy::IntoBytes::as_bytes(&meta));
    });
    assert!(has(&ended, "filter keys that scans do not come to"), "{ended:?}");
    let (mut blocks, _) = make();
    let round =
        told(&mut blocks, any, first + 1, |bytes| PageMut::new(bytes, PAGE_ID).unwrap().set_next(first));
    assert!(has(&round, "which was there before"), "{round:?}");
    let mut scan = Scan::new();
    below(&mut scan, 5);
    let settings = settings(40, IterativeScan::Off);
    let query = query(ValueKind::Vector, &[0.0; 4]);
    let ended = loop {
        match scan.next(&mut blocks, &index, Some(query.bytes()), &settings) {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(ended.is_err(), "a pass in a circle");
}

/// An entry that a crash left behind for a node whose place another has taken: nothing comes twice, or wrongly.
#[test]
fn entries_that_were_left_over_are_passed_over() {
    let lines = lines(ValueKind::Vector, 4, 300);
    let (mut blocks, index) = indexed(l2_of_items(4), ValueKind::Vector, 4, &lines);
    let layout = index.layout;
    let first = blocks.read(0, |bytes| Ok(InlineMeta::read(bytes)?.keys)).unwrap();
    // nodes 0 to 9 get a second entry each, with keys of everybody else's
    let mut update = blocks.update().unwrap();
    let page = update.open(first).unwrap();
    let bytes = update.bytes_mut(page).unwrap();
    for n in 0..10 {
        let slot = 300 + n;
        assert!(slot < layout.keys.per_page && !layout.keys.is_used(bytes, slot));
        let id = layout.ground.slots.per_page as u32 + n as u32;
        let keys = [of_integer(5).to_ne_bytes(), of_integer(1).to_ne_bytes()].concat();
        put_key_entry(&mut bytes[layout.keys.range(slot)], id, &keys);
        layout.keys.set_used(bytes, slot, true);
    }
    update.commit().unwrap();
    let query = query(ValueKind::Vector, &[0.1; 4]);
    let settings = settings(40, IterativeScan::Off);
    for (condition, matches) in CONDITIONS {
        let rows = drain(&mut blocks, &index, Some(query.bytes()), &settings, condition);
        let numbers: BTreeSet<usize> = rows.iter().map(|(row, _)| number(*row)).collect();
        assert_eq!(numbers.len(), rows.len());
        assert_eq!(numbers, (0..300).filter(|&n| matches(&lines[n].keys)).collect());
    }
    let any = AnySpace::new(ValueKind::Vector, Metric::L2, 4).of_items(SIZE);
    healthy(&mut blocks, any);
}

/// When a search gives up: never where much matches, at once where little does, and in time where it was mistaken.
#[test]
fn searches_give_up_where_a_pass_is_shorter() {
    let layout =
        layout::Layout::new(Shape { filter_size: 8, ..shape(ValueKind::Vector, 100) }, PAGE_SIZE).unwrap();
    let blocks = (100_000.0 * layout.ground.cost(PAGE_SIZE) as f64 / PAGE_SIZE as f64) as u32;
    let gives_up = |matching: usize| {
        let mut patience = super::super::filtered::Patience::new(blocks, &layout);
        (0..100_000u64).find(|&expanded| {
            let over = patience.is_over(expanded, 40);
            let neighbours: Vec<bool> =
                (0..32).map(|n| (n + expanded as usize * 7) % 1000 < matching).collect();
            patience.note(&neighbours);
            over
        })
    };
    assert_eq!(gives_up(0), Some(20));
    assert_eq!(gives_up(5), Some(20));
    assert!(gives_up(100).is_none_or(|at| at > 2000));
    assert!(gives_up(500).is_none_or(|at| at > 10_000));
    assert!(gives_up(30).is_some());
}
