//! Scans with conditions, against a look at all rows.

use std::collections::BTreeSet;

use super::super::layout;
use super::super::meta::read_meta;
use super::super::run::{KINDS, name};
use super::*;
use crate::filter::{Kind, LAST, MAX_COLUMNS, NULL, Operator, Packing, Packings, of_hash, of_integer};
use crate::hnsw::check::Subject;
use crate::ivf::packed::layout::{Entry, clear_live, put_entry};
use crate::runs::page::{self, Bound};
use crate::storage::page::{INVALID_BLOCK, PageMut};
use crate::storage::verify::Violation;
use crate::testing::hnsw::{vacuum, workspace};

/// Dimensions whose records, whole ones, have the keys of neighbours, or have not, since they would cost too much.
fn dims_where(edge_keys: bool) -> usize {
    let layout = |dims: usize| {
        let shape = Shape { filters: packings(), ..shape(ValueKind::Vector, dims) };
        layout::Layout::new(shape, PAGE_SIZE).unwrap().ground
    };
    let right = |dims: &usize| (layout(*dims).edge_keys > 0) == edge_keys && layout(*dims).is_whole();
    (16..400).find(right).unwrap()
}

/// A row of a table: its value and the keys of two columns.
struct Line {
    item: ValueBuf,
    keys: [u64; 2],
}

const SIZE: usize = 13;
const PAGE_HEADER: usize = 24;

fn packings() -> Packings {
    Packings::new([Packing::Signed4, Packing::Whole]).unwrap().with_runs(2)
}

/// Rows whose first column counts from 0 to 999 in disorder; the second is 1 where the vector is on one side, or NULL.
/// Every 20th row has the vector of the one before.
fn lines(kind: ValueKind, dims: usize, count: usize) -> Vec<Line> {
    let values = clustered(2, dims, count, 5);
    let line = |n: usize| {
        let elements = &values[if n % 20 == 19 { n - 1 } else { n }];
        let keys = [of_integer(n as i64 * 617 % 1000), if elements[0] > 0.0 { of_integer(1) } else { NULL }];
        let mut item = ValueBuf::new();
        packings().put_item(value(kind, elements).bytes(), &keys, &mut item).unwrap();
        Line { item, keys }
    };
    (0..count).map(line).collect()
}

fn query(kind: ValueKind, elements: &[f32]) -> ValueBuf {
    let mut item = ValueBuf::new();
    packings().put_item(value(kind, elements).bytes(), &[0; 2], &mut item).unwrap();
    item
}

fn indexed<S: CodedSpace>(
    space: S,
    kind: ValueKind,
    dims: usize,
    lines: &[Line],
) -> (MemBlocks, Index<'static, S>) {
    let items: Vec<ValueBuf> = lines.iter().map(|line| line.item.clone()).collect();
    index(space, &Shape { filters: packings(), ..shape(kind, dims) }, &items)
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
                    // as many as a batch has at least
                    assert!(rows[..20].windows(2).all(|pair| pair[0].1 <= pair[1].1));
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
        (ValueKind::Vector, Metric::L2, dims_where(false)),
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
        packings()
            .put_item(value(ValueKind::Vector, &[(n % 10) as f32, 1.0]).bytes(), &keys, &mut item)
            .unwrap();
        items.push(item);
    }
    let space = l2_of_items(2);
    let graph = graph(space, &items);
    assert_eq!(graph.len(), 30);
    let shape = Shape { filters: packings(), ..shape(ValueKind::Vector, 2) };
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
        (ValueKind::Vector, Metric::L2, dims_where(false), 300),
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
        packings().put_item(value(ValueKind::Vector, &[1.0; 3]).bytes(), &keys, &mut item).unwrap();
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

/// The blocks of a column's tree: its pages by level, the root first.
fn tree(blocks: &mut MemBlocks, column: usize) -> Vec<Vec<u32>> {
    let mut block = blocks.read(0, |bytes| Ok(InlineMeta::read(bytes)?.roots[column])).unwrap();
    let mut levels = Vec::new();
    loop {
        let (mut level, mut at, mut below) = (Vec::new(), block, None);
        while at != INVALID_BLOCK {
            level.push(at);
            let (next, child) = blocks
                .read(at, |bytes| {
                    let (front, next) = page::front(KINDS, bytes)?;
                    let directory = !front.is_leaf();
                    Ok((next, directory.then(|| page::children(bytes, &front).unwrap()[0].block)))
                })
                .unwrap();
            below = below.or(child);
            at = next;
        }
        levels.push(level);
        match below {
            Some(below) => block = below,
            None => return levels,
        }
    }
}

#[test]
fn a_check_tells_of_filter_keys_that_are_not_those_of_the_rows() {
    let dims = dims_where(true);
    let any = AnySpace::new(ValueKind::Vector, Metric::L2, dims as i32).of_items(SIZE);
    let lines = lines(ValueKind::Vector, dims, 700);
    let make = || indexed(l2_of_items(dims), ValueKind::Vector, dims, &lines);
    let (mut blocks, index) = make();
    healthy(&mut blocks, any);
    let (layout, geometry) = (index.layout, index.layout.runs.unwrap());
    let levels = tree(&mut blocks, 0);
    let [roots, leaves] = levels.as_slice() else { panic!("{levels:?}") };
    let (root, first) = (roots[0], leaves[0]);
    assert!(leaves.len() > 2);
    let has = |told: &[String], what: &str| told.iter().any(|told| told.contains(what));
    const LOST: &str = "filter keys are not where passes look";
    // an entry's second key, its first one, its life, its node
    let keys = PAGE_HEADER + 24 + 3 * 2 * crate::filter::KEY_SIZE;
    let second = told(&mut blocks, any, first, |bytes| bytes[keys + 8] ^= 1);
    assert!(second.len() == 1 && has(&second, LOST), "{second:?}");
    let (mut blocks, _) = make();
    let other = told(&mut blocks, any, first, |bytes| bytes[keys + 7] ^= 0x7f);
    assert!(has(&other, LOST) && has(&other, "on another page than their order says"), "{other:?}");
    let (mut blocks, _) = make();
    let dead = told(&mut blocks, any, first, |bytes| clear_live(&geometry, bytes, &[3]));
    assert!(dead.len() == 1 && has(&dead, LOST), "{dead:?}");
    let (mut blocks, _) = make();
    let twice = told(&mut blocks, any, leaves[1], |bytes| {
        let (front, _) = page::front(KINDS, bytes).unwrap();
        let entries = page::entries(&geometry, bytes, &front).unwrap();
        let block = entries.blocks().next().unwrap();
        let (id, own) = (page::name_of(&block, 0).unwrap().block(), block.keys_of(0).to_vec());
        let at = usize::from(front.count);
        let entry = Entry { row: name(id), place: Tid::INVALID, add: 0.0, scale: 0.0 };
        put_entry(&geometry, bytes, at, &entry, &vec![0; geometry.code], &own).unwrap();
        let count = PAGE_HEADER + 2;
        bytes[count..count + 2].copy_from_slice(&(at as u16 + 1).to_ne_bytes());
    });
    assert!(twice.len() == 1 && has(&twice, "filter keys that passes come to twice"), "{twice:?}");
    // the same of the second column's tree, where the first one's is whole
    let (mut blocks, _) = make();
    let second = tree(&mut blocks, 1);
    let (second_root, leaf) = (second[0][0], second[1][0]);
    let dead = told(&mut blocks, any, leaf, |bytes| clear_live(&geometry, bytes, &[3]));
    assert!(dead.len() == 1 && has(&dead, LOST), "{dead:?}");
    let (mut blocks, _) = make();
    let swapped = told(&mut blocks, any, 0, |bytes| {
        let mut meta = InlineMeta::read(bytes).unwrap();
        meta.roots.swap(0, 1);
        PageMut::new(bytes, PAGE_ID).unwrap().set_contents(zerocopy::IntoBytes::as_bytes(&meta));
    });
    assert!(has(&swapped, "on another page than their order says"), "{swapped:?}");
    let (mut blocks, _) = make();
    let same = told(&mut blocks, any, 0, |bytes| {
        let mut meta = InlineMeta::read(bytes).unwrap();
        meta.roots[2] = second_root;
        PageMut::new(bytes, PAGE_ID).unwrap().set_contents(zerocopy::IntoBytes::as_bytes(&meta));
    });
    assert!(has(&same, "filter keys of a column that has none"), "{same:?}");
    // a record's own keys, and those of its neighbours
    let (mut blocks, _) = make();
    let record = layout.ground.slots.range(0).start;
    let own = layout.ground.own_keys().start;
    let own = told(&mut blocks, any, 1, |bytes| bytes[record + own] ^= 1);
    assert!(has(&own, "filter keys are not where passes look"), "{own:?}");
    assert!(has(&own, "edge with filter keys that are not those of the element"), "{own:?}");
    let (mut blocks, _) = make();
    let of_neighbour = layout.ground.edge_keys_of(0).start;
    let edge = told(&mut blocks, any, 1, |bytes| bytes[record + of_neighbour] ^= 1);
    assert!(has(&edge, "edge with filter keys that are not those of the element"), "{edge:?}");
    // the tree begins too low, lacks a leaf, or goes round
    let (mut blocks, _) = make();
    let low = told(&mut blocks, any, 0, |bytes| {
        let mut meta = InlineMeta::read(bytes).unwrap();
        meta.roots[0] = first;
        PageMut::new(bytes, PAGE_ID).unwrap().set_contents(zerocopy::IntoBytes::as_bytes(&meta));
    });
    assert!(has(&low, "filter keys that scans do not come to") && has(&low, "ends elsewhere"), "{low:?}");
    let (mut blocks, _) = make();
    let lacks = told(&mut blocks, any, root, |bytes| {
        let (front, _) = page::front(KINDS, bytes).unwrap();
        let children = page::children(bytes, &front).unwrap()[..leaves.len() - 1].to_vec();
        page::put_children(bytes, &front, &children);
    });
    assert!(has(&lacks, "do not come to") && has(&lacks, "ends elsewhere"), "{lacks:?}");
    let (mut blocks, _) = make();
    let round = told(&mut blocks, any, root, |bytes| {
        let (front, _) = page::front(KINDS, bytes).unwrap();
        let mut children = page::children(bytes, &front).unwrap().to_vec();
        children[1].block = first;
        page::put_children(bytes, &front, &children);
    });
    assert!(has(&round, "that was there before"), "{round:?}");
    let (mut blocks, index) = make();
    let round =
        told(&mut blocks, any, leaves[2], |bytes| PageMut::new(bytes, PAGE_ID).unwrap().set_next(first));
    assert!(has(&round, "ends elsewhere"), "{round:?}");
    let mut scan = Scan::new();
    scan.filter().add_null(0, false).unwrap();
    let settings = settings(40, IterativeScan::Off);
    let query = query(ValueKind::Vector, &vec![0.0; dims]);
    // what leads back is like what was divided: the scan goes down the tree again, and on
    let mut found = BTreeSet::new();
    while let Some((row, _)) = scan.next(&mut blocks, &index, Some(query.bytes()), &settings).unwrap() {
        assert!(found.insert(number(row)), "a pass in a circle");
    }
    assert!(found.len() > 100, "{}", found.len());
}

/// Those of a record that is cut stand in it twice.
#[test]
fn a_check_compares_the_keys_in_a_slot_with_those_behind_the_value() {
    let any = AnySpace::new(ValueKind::Vector, Metric::L2, 1536).of_items(SIZE);
    let lines = lines(ValueKind::Vector, 1536, 30);
    let (mut blocks, index) = indexed(l2_of_items(1536), ValueKind::Vector, 1536, &lines);
    healthy(&mut blocks, any);
    let records = index.layout.ground;
    assert!(!records.is_whole());
    let own = records.slots.range(0).start + records.own_keys().start;
    let told = told(&mut blocks, any, 1, |bytes| bytes[own] ^= 1);
    assert!(told.iter().any(|told| told.contains("not those behind its value")), "{told:?}");
}

/// An entry that a crash left behind for a node whose place another has taken: nothing comes twice, or wrongly.
#[test]
fn entries_that_were_left_over_are_passed_over() {
    let lines = lines(ValueKind::Vector, 4, 300);
    let (mut blocks, index) = indexed(l2_of_items(4), ValueKind::Vector, 4, &lines);
    let (layout, geometry) = (index.layout, index.layout.runs.unwrap());
    let keys = [of_integer(5).to_ne_bytes(), of_integer(1).to_ne_bytes()].concat();
    // nodes 0 to 9 get a second entry each, with keys of everybody else's
    let first = *tree(&mut blocks, 0).last().unwrap().first().unwrap();
    let mut update = blocks.update().unwrap();
    let page = update.open(first).unwrap();
    let bytes = update.bytes_mut(page).unwrap();
    let (front, _) = page::front(KINDS, bytes).unwrap();
    assert!(front.end() > Bound::last_of(of_integer(5)));
    for n in 0..10 {
        let at = usize::from(front.count) + n;
        let id = layout.ground.slots.per_page as u32 + n as u32;
        let entry = Entry { row: name(id), place: Tid::INVALID, add: 0.0, scale: 0.0 };
        put_entry(&geometry, bytes, at, &entry, &vec![0; geometry.code], &keys).unwrap();
    }
    let count = front.count + 10;
    bytes[PAGE_HEADER + 2..PAGE_HEADER + 4].copy_from_slice(&count.to_ne_bytes());
    update.commit().unwrap();
    let query = query(ValueKind::Vector, &[0.1; 4]);
    for max_memory in [0, 64 << 20] {
        let settings = ScanSettings { max_memory, ..settings(40, IterativeScan::Off) };
        for (condition, matches) in CONDITIONS {
            let rows = drain(&mut blocks, &index, Some(query.bytes()), &settings, condition);
            let numbers: BTreeSet<usize> = rows.iter().map(|(row, _)| number(*row)).collect();
            assert_eq!(numbers.len(), rows.len());
            assert_eq!(numbers, (0..300).filter(|&n| matches(&lines[n].keys)).collect());
        }
    }
    let any = AnySpace::new(ValueKind::Vector, Metric::L2, 4).of_items(SIZE);
    healthy(&mut blocks, any);
}

/// When a search gives up: never where much matches, early where little does, and in time where it was mistaken.
#[test]
fn searches_give_up_where_a_run_is_shorter() {
    for edge_keys in [true, false] {
        let gives_up_of = |nodes: f64, entries: f64, matching: usize| {
            let run = [entries, entries / 100.0];
            let mut patience = super::super::filtered::Patience::new(40, nodes, run, true, edge_keys);
            (0..100_000u64).find(|&expanded| {
                let over = patience.is_over(expanded);
                let node = expanded as usize * 7;
                let neighbours: Vec<bool> = (0..32).map(|n| (n + node) % 1000 < matching).collect();
                patience.note(&neighbours, node * 61 % 1000 < matching);
                over
            })
        };
        // a short run comes at once, unless so much of the index matches that a search is shorter
        assert_eq!(gives_up_of(400_000.0, 20_000.0, 50), Some(0));
        assert_eq!(gives_up_of(400_000.0, 0.0, 0), Some(0));
        assert_ne!(gives_up_of(30_000.0, 20_000.0, 660), Some(0));
        let gives_up = |entries, matching| gives_up_of(entries, entries, matching);
        for matching in [0, 5] {
            // twenty nodes that fail tell less than all their neighbours
            let at = gives_up(100_000.0, matching).unwrap();
            assert!(at == 20 || !edge_keys && at <= 160, "{matching}: {at}");
        }
        assert!(gives_up(1_000_000.0, 100).is_none_or(|at| at > 1000));
        assert!(gives_up(100_000.0, 500).is_none_or(|at| at > 500));
        assert!(gives_up(100_000.0, 30).is_some());
    }
}

#[path = "filtered_runs_tests.rs"]
mod runs;
#[path = "filtered_vacuum_tests.rs"]
mod vacuums;
#[path = "wider_tests.rs"]
mod wider;
