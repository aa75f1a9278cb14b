mod centres;
mod included;
mod table;

use std::collections::BTreeSet;

use half::f16;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::ivf::lists::NoTable;
use crate::ivf::load::Element;
use crate::ivf::packed::layout::{CodePage, PAGE_ID, PageKind, page_kind};
use crate::ivf::scan::ScanSettings;
use crate::quant::space::{CodedSpace, Cosine};
use crate::space::{AnySpace, Dense, Metric};
use crate::storage::blocks::BlockStore;
use crate::storage::page::Tid;
use crate::testing::ivf::Nothing;
use crate::testing::packed::{add, build, opened, search, vacuum, value_of, violations};
use crate::testing::{MemBlocks, PAGE_SIZE};
use crate::work::runs::testing::Kept;

fn l2(dims: usize) -> Dense<f32> {
    dense(Metric::L2, dims)
}

fn dense(metric: Metric, dims: usize) -> Dense<f32> {
    match AnySpace::new(ValueKind::Vector, metric, dims as i32) {
        AnySpace::Vector(space) => space,
        _ => panic!("not a space of vectors"),
    }
}

fn half(metric: Metric, dims: usize) -> Dense<f16> {
    match AnySpace::new(ValueKind::Halfvec, metric, dims as i32) {
        AnySpace::Halfvec(space) => space,
        _ => panic!("not a space of halfvecs"),
    }
}

/// Rows around as many middles as there are lists, and the middles.
fn blobs(lists: usize, count: usize, dims: usize, seed: u64) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut point = |around: Option<&Vec<f32>>| -> Vec<f32> {
        let scale = if around.is_some() { 0.5 } else { 1.0 };
        (0..dims).map(|at| around.map_or(0.0, |m| m[at]) + rng.random_range(-scale..scale)).collect()
    };
    let middles: Vec<_> = (0..lists).map(|_| point(None)).collect();
    let rows = (0..count).map(|n| point(Some(&middles[n % lists]))).collect();
    (middles, rows)
}

fn all(probes: usize) -> ScanSettings {
    ScanSettings { probes, asked: false, max_probes: probes, memory: usize::MAX }
}

fn numbers(rows: &[Tid]) -> Vec<u32> {
    rows.iter().map(|row| row.block()).collect()
}

fn sorted(rows: &[Tid]) -> Vec<u32> {
    let mut rows = numbers(rows);
    rows.sort_unstable();
    rows
}

/// Builds, and compares scans over all lists with all distances: every row comes once, and of the first ten nearly
/// all are the ten nearest, in their order.
fn compare<T: Element, S: for<'v> CodedSpace<View<'v> = &'v [T]>>(
    space: S,
    middles: &[Vec<T>],
    rows: &[Vec<T>],
    queries: &[Vec<T>],
) {
    let mut blocks = build(space, middles, rows, usize::MAX, &mut Nothing);
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
    let (mut found, mut wanted) = (0, 0);
    for query in queries {
        let value = value_of(query);
        let (tids, error) = search(&mut blocks, space, Some(value.bytes()), all(middles.len()), usize::MAX);
        assert_eq!(error, None);
        assert_eq!(sorted(&tids), (0..rows.len() as u32).collect::<Vec<_>>());
        let distance = |row: u32| {
            let value = value_of(&rows[row as usize]);
            space.exact(space.view(value.bytes()).unwrap(), query)
        };
        let mut exact: Vec<u32> = (0..rows.len() as u32).collect();
        exact.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
        let first = &numbers(&tids)[..10];
        // a bound may be wrong: its row comes when all others have come
        let falls = |pair: &[Tid]| distance(pair[0].block()) > distance(pair[1].block());
        let ends = tids.windows(2).position(falls).map_or(rows.len(), |at| at + 1);
        assert!(ends * 8 >= rows.len() * 7, "only {ends} of {} come in order", rows.len());
        assert!(tids.windows(2).filter(|pair| falls(pair)).count() <= 1, "then the others, in order");
        found += exact[..10].iter().filter(|row| first.contains(row)).count();
        wanted += 10;
    }
    assert!(found * 100 >= wanted * 95, "{found} of {wanted}");
}

fn halves(rows: &[Vec<f32>]) -> Vec<Vec<f16>> {
    rows.iter().map(|row| row.iter().map(|&x| f16::from_f32(x)).collect()).collect()
}

#[test]
fn scans_find_what_all_distances_find() {
    // blocks that are transposed, ones that never are, values on several pages, more dimensions than anything
    for (dims, count) in [(3, 300), (100, 900), (768, 200), (1900, 60), (4100, 24), (16_000, 12)] {
        let (middles, rows) = blobs(4, count, dims, 1);
        let queries: Vec<_> = rows.iter().step_by((count / 12).max(1)).cloned().collect();
        let (middles_16, rows_16, queries_16) = (halves(&middles), halves(&rows), halves(&queries));
        compare(l2(dims), &middles, &rows, &queries);
        compare(half(Metric::InnerProduct, dims), &middles_16, &rows_16, &queries_16);
        if dims <= 1900 {
            compare(dense(Metric::InnerProduct, dims), &middles, &rows, &queries);
            compare(Cosine::<f32>::new(dims as i32), &middles, &rows, &queries);
            compare(half(Metric::L2, dims), &middles_16, &rows_16, &queries_16);
            compare(Cosine::<f16>::new(dims as i32), &middles_16, &rows_16, &queries_16);
        }
    }
}

#[test]
fn few_values_are_read_for_the_first_rows() {
    let (middles, rows) = blobs(8, 4000, 128, 2);
    let mut blocks = build(l2(128), &middles, &rows, usize::MAX, &mut Nothing);
    let query = value_of(&rows[17]);
    blocks.reset_counts();
    let (first, _) = search(&mut blocks, l2(128), Some(query.bytes()), all(8), 10);
    assert_eq!(first[0].block(), 17);
    let few = blocks.counts().reads;
    assert!(few < 400, "{few} blocks read");
    let (more, _) = search(&mut blocks, l2(128), Some(query.bytes()), all(8), 400);
    assert_eq!(more[..10], first[..]);
    assert!(blocks.counts().reads - few > few);
}

#[test]
fn iterative_scans_go_from_batch_to_batch_and_null_queries_give_all() {
    let (middles, rows) = blobs(6, 600, 20, 3);
    let mut blocks = build(l2(20), &middles, &rows, usize::MAX, &mut Nothing);
    let query = value_of(&rows[6]);
    let one = ScanSettings { probes: 1, asked: false, max_probes: 1, memory: usize::MAX };
    let (near, _) = search(&mut blocks, l2(20), Some(query.bytes()), one, usize::MAX);
    let on = ScanSettings { max_probes: 6, ..one };
    let (rest, _) = search(&mut blocks, l2(20), Some(query.bytes()), on, usize::MAX);
    assert!(near.len() < 600 && rest[..near.len()] == near[..]);
    assert_eq!(sorted(&rest), (0..600).collect::<Vec<_>>());
    let (none, _) = search(&mut blocks, l2(20), None, all(6), usize::MAX);
    assert_eq!(sorted(&none), (0..600).collect::<Vec<_>>());
    let other = value_of(&[1.0f32; 3]);
    assert!(search(&mut blocks, l2(20), Some(other.bytes()), one, 1).1.is_some());
}

#[test]
fn rows_are_added_and_removed_and_room_is_used_again() {
    for dims in [5, 100, 600, 1900, 2500, 5000] {
        let (middles, rows) = blobs(3, if dims > 1000 { 60 } else { 500 }, dims, 4);
        let space = l2(dims);
        let mut blocks = build(space, &middles, &rows, usize::MAX, &mut Nothing);
        let (count, mut memory) = (rows.len() as u32, Memory::default());
        for (n, row) in (count..).zip(&rows) {
            add(&mut blocks, space, value_of(row).bytes(), Tid::new(n, 1), &mut memory).unwrap();
        }
        assert_eq!(violations(&mut blocks, space), Vec::<String>::new(), "{dims}");
        let (found, error) = search(&mut blocks, space, None, all(3), usize::MAX);
        assert_eq!((sorted(&found), error), ((0..2 * count).collect(), None));
        let query = value_of(&rows[3]);
        let (found, _) = search(&mut blocks, space, Some(query.bytes()), all(1), 2);
        assert_eq!(sorted(&found), [3, count + 3]);

        let met = vacuum(&mut blocks, &mut |row| row.block() % 3 == 0).unwrap();
        let left: Vec<u32> = (0..2 * count).filter(|row| row % 3 != 0).collect();
        assert_eq!((met.kept, met.removed), (left.len() as u64, u64::from(2 * count) - left.len() as u64));
        assert_eq!(violations(&mut blocks, space), Vec::<String>::new(), "{dims}");
        assert_eq!(sorted(&search(&mut blocks, space, None, all(3), usize::MAX).0), left);
        assert_eq!(sorted(&search(&mut blocks, space, Some(query.bytes()), all(3), usize::MAX).0), left);

        let pages = blocks.count().unwrap();
        for n in (0..2 * count).filter(|n| n % 3 == 0) {
            let value = value_of(&rows[(n % count) as usize]);
            add(&mut blocks, space, value.bytes(), Tid::new(n, 1), &mut memory).unwrap();
        }
        assert!(blocks.count().unwrap() <= pages + 3, "{dims}: {pages} and {}", blocks.count().unwrap());
        assert_eq!(violations(&mut blocks, space), Vec::<String>::new(), "{dims}");
        let all_rows = sorted(&search(&mut blocks, space, Some(query.bytes()), all(3), usize::MAX).0);
        assert_eq!(all_rows, (0..2 * count).collect::<Vec<_>>());
    }
}

#[test]
fn an_empty_index_grows() {
    let space = Cosine::<f32>::new(30);
    let (middles, rows) = blobs(7, 800, 30, 5);
    let mut blocks = build(space, &middles, &[], usize::MAX, &mut Nothing);
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
    let mut memory = Memory::default();
    for (n, row) in (0..).zip(&rows) {
        add(&mut blocks, space, value_of(row).bytes(), Tid::new(n, 1), &mut memory).unwrap();
    }
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
    let query = value_of(&rows[5]);
    let (found, _) = search(&mut blocks, space, Some(query.bytes()), all(7), usize::MAX);
    assert_eq!((found[0].block(), found.len()), (5, 800));
}

#[test]
fn equal_rows_are_all_found() {
    let space = l2(64);
    let rows = vec![vec![0.25f32; 64]; 3000];
    let mut blocks = build(space, &rows[..2], &rows, usize::MAX, &mut Nothing);
    let query = value_of(&rows[0]);
    blocks.reset_counts();
    let (found, _) = search(&mut blocks, space, Some(query.bytes()), all(2), 10);
    assert_eq!(found.len(), 10);
    let (found, _) = search(&mut blocks, space, Some(query.bytes()), all(2), usize::MAX);
    assert_eq!(sorted(&found), (0..3000).collect::<Vec<_>>());
}

#[test]
fn what_does_not_fit_in_memory_comes_out_the_same() {
    let (middles, rows) = blobs(5, 3000, 60, 6);
    let mut roomy = build(l2(60), &middles, &rows, usize::MAX, &mut Nothing);
    let mut runs = Kept::default();
    let mut tight = build(l2(60), &middles, &rows, 400_000, &mut runs);
    assert!(runs.0.len() > 1);
    let count = roomy.count().unwrap();
    assert_eq!(tight.count().unwrap(), count);
    let page = |blocks: &mut MemBlocks, at| blocks.read(at, |bytes| Ok(bytes.to_vec())).unwrap();
    assert!((0..count).all(|block| page(&mut roomy, block) == page(&mut tight, block)));
}

#[test]
fn candidates_beyond_the_memory_come_from_runs() {
    let (middles, rows) = blobs(2, 3000, 16, 7);
    let mut blocks = build(l2(16), &middles, &rows, usize::MAX, &mut Nothing);
    let query = value_of(&rows[1]);
    let (expected, _) = search(&mut blocks, l2(16), Some(query.bytes()), all(2), usize::MAX);
    let index = opened(&mut blocks).unwrap();
    let (mut scan, mut memory, mut runs, mut unpack) =
        (crate::ivf::scan::Scan::default(), Memory::default(), Kept::default(), Nothing);
    let mut services =
        crate::ivf::lists::Services { runs: &mut runs, unpack: &mut unpack, table: &mut NoTable };
    let mut lists = Lists { blocks: &mut blocks, index, memory: &mut memory };
    let settings = ScanSettings { probes: 2, asked: false, max_probes: 2, memory: 4000 };
    let mut found = Vec::new();
    while let Some(row) =
        scan.next(&mut lists, l2(16), Some(query.bytes()), &settings, &mut services).unwrap()
    {
        found.push(row);
    }
    assert!(runs.0.len() > 1, "{}", runs.0.len());
    let differ = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
    assert!(found.len() == expected.len() && differ == 0, "{} {} {differ}", found.len(), expected.len());
}

/// The kinds of all pages.
fn kinds(blocks: &mut MemBlocks) -> Vec<Option<PageKind>> {
    let count = blocks.count().unwrap();
    (1..count).map(|block| blocks.read(block, page_kind).unwrap()).collect()
}

#[test]
fn pages_that_are_not_needed_are_free_for_other_lists() {
    let space = l2(8);
    let middles = [vec![0.0f32; 8], vec![9.0; 8]];
    let mut rng = SmallRng::seed_from_u64(8);
    let rows: Vec<Vec<f32>> =
        (0..4000).map(|_| (0..8).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
    let mut blocks = build(space, &middles, &rows, usize::MAX, &mut Nothing);
    vacuum(&mut blocks, &mut |row| row.block() % 20 != 0).unwrap();
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
    let free =
        |blocks: &mut MemBlocks| kinds(blocks).iter().filter(|kind| **kind == Some(PageKind::Free)).count();
    let before = free(&mut blocks);
    assert!(before >= 8, "{before}");
    let (pages, mut memory) = (blocks.count().unwrap(), Memory::default());
    for n in 0..600 {
        let value = value_of(&[9.0 + n as f32 / 1000.0; 8]);
        add(&mut blocks, space, value.bytes(), Tid::new(10_000 + n, 1), &mut memory).unwrap();
    }
    assert!(free(&mut blocks) < before && blocks.count().unwrap() <= pages);
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
    let (found, _) = search(&mut blocks, space, Some(value_of(&rows[0]).bytes()), all(2), usize::MAX);
    let expected: Vec<u32> = (0..4000).step_by(20).chain(10_000..10_600).collect();
    assert_eq!(sorted(&found), expected);
}

#[test]
fn a_crash_at_any_change_leaves_a_sound_index() {
    for dims in [40, 700, 4500] {
        let space = l2(dims);
        let (middles, rows) = blobs(2, if dims > 1000 { 6 } else { 300 }, dims, 9);
        let mut blocks = build(space, &middles, &rows, usize::MAX, &mut Nothing);
        blocks.record();
        let mut memory = Memory::default();
        for n in 0..20u32 {
            let value = value_of(&rows[n as usize % rows.len()]);
            add(&mut blocks, space, value.bytes(), Tid::new(5000 + n, 1), &mut memory).unwrap();
            if n % 7 == 3 {
                vacuum(&mut blocks, &mut |row| row.block() % 7 == n % 7).unwrap();
            }
        }
        for changes in (0..=blocks.recorded()).step_by(if dims == 40 { 1 } else { 3 }) {
            let mut after = blocks.after(changes);
            assert_eq!(violations(&mut after, space), Vec::<String>::new(), "{dims}: after {changes}");
            let (found, error) =
                search(&mut after, space, Some(value_of(&rows[0]).bytes()), all(2), usize::MAX);
            let once: BTreeSet<u32> = found.iter().map(|row| row.block()).collect();
            assert_eq!((once.len(), error), (found.len(), None));
            // and goes on from there
            add(&mut after, space, value_of(&rows[1]).bytes(), Tid::new(9000, 1), &mut memory).unwrap();
            vacuum(&mut after, &mut |row| row.block() >= 5000).unwrap();
            assert_eq!(violations(&mut after, space), Vec::<String>::new(), "{dims}: after {changes}");
        }
    }
}

#[test]
fn damage_is_told_and_survived() {
    let mut rng = SmallRng::seed_from_u64(10);
    let space = l2(40);
    let (middles, rows) = blobs(3, 400, 40, 10);
    let mut healthy = build(space, &middles, &rows, usize::MAX, &mut Nothing);
    healthy.add_zero_block();
    assert_eq!(violations(&mut healthy, space), Vec::<String>::new());
    let count = healthy.count().unwrap();
    let query = value_of(&rows[0]);
    let mut errors = 0;
    for _ in 0..if cfg!(miri) { 5 } else { 600 } {
        let mut blocks = healthy.copy();
        for _ in 0..rng.random_range(1..4) {
            let (block, byte) = (rng.random_range(0..count), rng.random());
            // fronts and special areas more often than what lies between
            let at = match rng.random_range(0..3) {
                0 => rng.random_range(0..80),
                1 => rng.random_range(PAGE_SIZE - 8..PAGE_SIZE),
                _ => rng.random_range(0..PAGE_SIZE),
            };
            blocks.edit(block, |bytes| bytes[at] = byte);
        }
        errors +=
            usize::from(search(&mut blocks, space, Some(query.bytes()), all(3), usize::MAX).1.is_some());
        violations(&mut blocks, space);
        let _ = crate::ivf::format::info(&mut blocks);
        let mut memory = Memory::default();
        let _ = add(&mut blocks, space, query.bytes(), Tid::new(7, 7), &mut memory);
        let _ = vacuum(&mut blocks, &mut |row| row.block() % 3 == 0);
        let _ = add(&mut blocks, space, query.bytes(), Tid::new(7, 8), &mut memory);
    }
    assert!(cfg!(miri) || errors > 40, "{errors}");
}

#[test]
#[cfg(not(miri))]
fn scans_among_writers_and_vacuums_find_every_row_that_stays() {
    let space = l2(24);
    let (middles, rows) = blobs(3, 3000, 24, 11);
    let blocks = build(space, &middles, &rows, usize::MAX, &mut Nothing);
    // rows whose number is a multiple of ten stay
    let stays = |row: Tid| row.block() < 3000 && row.block().is_multiple_of(10);
    std::thread::scope(|scope| {
        for thread in 0..2u32 {
            let (mut blocks, rows) = (blocks.share(), &rows);
            scope.spawn(move || {
                let mut memory = Memory::default();
                for n in 0..500u32 {
                    let value = value_of(&rows[n as usize]);
                    let row = Tid::new(10_000 * (thread + 1) + n, 1);
                    add(&mut blocks, space, value.bytes(), row, &mut memory).unwrap();
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
                    let (found, error) = search(&mut blocks, space, Some(query.bytes()), all(3), usize::MAX);
                    assert_eq!(error, None);
                    let mut kept: Vec<u32> =
                        found.iter().filter(|row| stays(**row)).map(|row| row.block()).collect();
                    kept.sort_unstable();
                    assert_eq!(kept, (0..3000).step_by(10).collect::<Vec<_>>());
                }
            });
        }
    });
    let mut blocks = blocks;
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
}

#[test]
fn another_layout_is_no_packed_index() {
    let mut blocks = crate::testing::ivf::used();
    assert!(opened(&mut blocks).is_none());
    let (middles, rows) = blobs(2, 50, 6, 12);
    let mut blocks = build(l2(6), &middles, &rows, usize::MAX, &mut Nothing);
    let index = opened(&mut blocks).unwrap();
    assert_eq!((index.lists, index.geometry.dims, index.probes.known()), (2, 6, None));
    let old = blocks.read(0, |bytes| Ok(crate::ivf::v1::layout::MetaPage::read(bytes).is_err()));
    assert!(old.unwrap());
    let codes = blocks.read(3, |bytes| Ok(CodePage::new(&index.geometry, bytes).is_ok())).unwrap();
    assert!(!codes && PAGE_ID == 0xFF85);
    let info = crate::ivf::format::info(&mut blocks).unwrap();
    assert_eq!((info.rows, info.lists, info.layout), (50, 2, "packed"));
}

/// Who asks for all lists wants the nearest, and gets them.
#[test]
fn all_lists_by_name_give_the_exact_answer() {
    let mut rng = SmallRng::seed_from_u64(14);
    let mut bounded = 0;
    for dims in [16, 24, 100] {
        let mut draw = || (0..dims).map(|_| rng.random_range(-1.0f32..1.0)).collect::<Vec<f32>>();
        let rows: Vec<Vec<f32>> = (0..3000).map(|_| draw()).collect();
        let space = l2(dims);
        let mut blocks = build(space, &rows[..10], &rows, usize::MAX, &mut Nothing);
        let mut missed = [0; 3];
        for _ in 0..150 {
            let query = draw();
            let distance =
                |row: &Vec<f32>| row.iter().zip(&query).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            let mut exact: Vec<u32> = (0..3000).collect();
            exact.sort_by(|&a, &b| distance(&rows[a as usize]).total_cmp(&distance(&rows[b as usize])));
            let value = value_of(&query);
            let settings = [(10, true), (10, false), (9, true)]
                .map(|(probes, asked)| ScanSettings { asked, ..all(probes) });
            for (settings, missed) in settings.iter().zip(&mut missed) {
                let (found, _) = search(&mut blocks, space, Some(value.bytes()), *settings, 10);
                *missed +=
                    exact[..10].iter().filter(|&&row| found.iter().all(|tid| tid.block() != row)).count();
            }
        }
        assert!(missed[0] == 0 && missed[2] > 0, "{dims}: {missed:?}");
        bounded += missed[1];
    }
    // as tight as bounds are otherwise, a few are missed
    assert!(bounded > 0);
}

#[test]
fn an_index_knows_how_many_lists_to_look_at() {
    // without clusters: neighbours are in several lists
    let mut rng = SmallRng::seed_from_u64(13);
    let rows: Vec<Vec<f32>> =
        (0..3000).map(|_| (0..24).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
    let middles = rows[..30].to_vec();
    let space = l2(24);
    let mut blocks = build(space, &middles, &rows, usize::MAX, &mut Nothing);
    let index = opened(&mut blocks).unwrap();
    let (mut memory, mut runs, mut unpack) = (Memory::default(), Nothing, Nothing);
    let mut services =
        crate::ivf::lists::Services { runs: &mut runs, unpack: &mut unpack, table: &mut NoTable };
    let mut lists = Lists { blocks: &mut blocks, index, memory: &mut memory };
    let told = tune::tune(&mut lists, space, 8 << 20, &mut services, |at, out| {
        *out = value_of(&rows[at * 29]);
        Ok(at < 80)
    });
    let probes = told.unwrap() as usize;
    let meta = crate::ivf::format::read_meta(&mut blocks).unwrap();
    assert_eq!(meta.probes, Some(probes as u32));
    assert!((2..=30).contains(&probes), "{probes}");
    let recall = |probes: usize, blocks: &mut MemBlocks| {
        let (mut found, mut wanted) = (0, 0);
        for row in rows.iter().skip(11).step_by(151) {
            let query: Vec<f32> = row.iter().map(|x| x + 0.05).collect();
            let mut exact: Vec<u32> = (0..3000).collect();
            let distance =
                |n: u32| rows[n as usize].iter().zip(&query).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            exact.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            let value = value_of(&query);
            let (tids, _) = search(blocks, space, Some(value.bytes()), all(probes), 10);
            found += tids.iter().filter(|tid| exact[..10].contains(&tid.block())).count();
            wanted += 10;
        }
        f64::from(found as u32) / f64::from(wanted)
    };
    let good = recall(probes, &mut blocks);
    assert!((0.88..=1.0).contains(&good), "{good} with {probes} probes");
    assert!(recall(1, &mut blocks) < good);
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
}
