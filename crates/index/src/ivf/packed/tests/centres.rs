//! Codes of centres.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{all, blobs, dense, half, halves, l2};
use crate::ivf::centre_cache::Centres;
use crate::ivf::lists::{ListPlace, ReadLists};
use crate::ivf::load::Element;
use crate::ivf::packed::layout::{CodePage, PageKind, page_kind};
use crate::ivf::packed::{Index, Lists, Memory, centre_codes};
use crate::quant::space::{CodedSpace, Cosine};
use crate::space::Metric;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::Tid;
use crate::testing::MemBlocks;
use crate::testing::ivf::Nothing;
use crate::testing::packed::{add, build_as, index, opened, search, value_of, violations};
use crate::work::ordered::from_order_key;

const LISTS: usize = 700;

/// An index with codes of centres, whether they pay or not.
fn build_coded<T: Element, S: for<'v> CodedSpace<View<'v> = &'v [T]>>(
    space: S,
    centres: &[Vec<T>],
    rows: &[Vec<T>],
) -> MemBlocks {
    let index = Index { centre_codes: 1, ..index(&space, centres[0].len()) };
    build_as(index, space, centres, rows, usize::MAX, &mut Nothing)
}

/// The `count` nearest lists by their codes, by the pages alone or with centres in memory: their places and distances,
/// nearest first.
fn nearest<T: Element, S: for<'v> CodedSpace<View<'v> = &'v [T]>>(
    blocks: &mut MemBlocks,
    space: S,
    query: &[T],
    count: usize,
    kept: bool,
) -> Vec<(f32, ListPlace)> {
    let (index, mut memory) = (opened(blocks).unwrap(), Memory::default());
    assert!(index.centre_codes > 0, "codes pay for {} lists", index.lists);
    let mut lists = Lists { blocks, index, memory: &mut memory };
    let mut centres = Centres::default();
    if kept {
        centres.load(&mut lists, space, usize::MAX).unwrap();
        assert_eq!(centres.places().len(), index.lists as usize);
    }
    let (mut found, mut places) = (Vec::new(), Vec::new());
    let to = (&mut found, &mut places);
    assert!(lists.nearest_lists(space, query, count, &centres, to).unwrap());
    assert!(found.len() >= count);
    found.sort_unstable();
    found.iter().map(|key| (from_order_key((key >> 32) as u32), places[*key as u32 as usize])).collect()
}

fn compare<T: Element, S: for<'v> CodedSpace<View<'v> = &'v [T]>>(
    space: S,
    middles: &[Vec<T>],
    rows: &[Vec<T>],
    queries: &[Vec<T>],
) {
    let mut blocks = build_coded(space, middles, rows);
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
    let (index, mut memory, mut places) = (opened(&mut blocks).unwrap(), Memory::default(), Vec::new());
    let mut lists = Lists { blocks: &mut blocks, index, memory: &mut memory };
    lists
        .each_list(&mut |list| {
            places.push(list.place);
            Ok(true)
        })
        .unwrap();
    let (mut right, mut wanted) = (0, 0);
    for (at, query) in queries.iter().enumerate() {
        let mut exact: Vec<(f32, usize)> =
            middles.iter().enumerate().map(|(n, middle)| (space.distance(middle, query), n)).collect();
        exact.sort_by(|a, b| a.0.total_cmp(&b.0));
        for count in [1, 7, 40] {
            let found = nearest(&mut blocks, space, query, count, at % 2 == 0);
            for (distance, place) in &found {
                let number = places.iter().position(|other| other == place).unwrap();
                assert_eq!(*distance, space.distance(&middles[number], query));
            }
            let last = exact[count - 1].0;
            right += found[..count].iter().filter(|(distance, _)| *distance <= last).count();
            wanted += count;
        }
    }
    assert!(right * 100 >= wanted * 99, "{right} of {wanted}");
}

#[test]
fn lists_found_by_codes_are_the_nearest() {
    for dims in [20, 100, 1900] {
        let (middles, rows) = blobs(LISTS, LISTS, dims, 21);
        let queries: Vec<_> = rows.iter().step_by(if dims > 1000 { 60 } else { 17 }).cloned().collect();
        let (middles_16, rows_16, queries_16) = (halves(&middles), halves(&rows), halves(&queries));
        compare(l2(dims), &middles, &rows, &queries);
        if dims > 1000 {
            continue;
        }
        compare(dense(Metric::InnerProduct, dims), &middles, &rows, &queries);
        compare(Cosine::<f32>::new(dims as i32), &middles, &rows, &queries);
        compare(half(Metric::L2, dims), &middles_16, &rows_16, &queries_16);
    }
}

#[test]
fn scans_with_codes_of_centres_find_what_scans_of_all_centres_find() {
    let (middles, rows) = blobs(LISTS, 4 * LISTS, 64, 22);
    let space = l2(64);
    let mut blocks = build_coded(space, &middles, &rows);
    let index = opened(&mut blocks).unwrap();
    let (mut same, mut queries) = (0, 0);
    for query in rows.iter().step_by(41) {
        let query = value_of(query);
        let found = search(&mut blocks, space, Some(query.bytes()), all(20), 10).0;
        // more than a quarter of the lists: all centres are compared
        let every = search(&mut blocks, space, Some(query.bytes()), all(LISTS), 10).0;
        same += usize::from(found[0] == every[0]);
        queries += 1;
    }
    assert!(same + 1 >= queries, "{same} of {queries}");
    // few pages are read before the first row: those of codes, and of the centres that may be nearest
    blocks.reset_counts();
    let query = value_of(&rows[5]);
    search(&mut blocks, space, Some(query.bytes()), all(1), 1);
    let reads = blocks.counts().reads;
    assert!(index.centre_codes > 0 && reads < 60, "{reads}");
}

#[test]
fn inserts_find_their_list_by_codes() {
    let (middles, rows) = blobs(LISTS, LISTS, 48, 23);
    let space = l2(48);
    let mut blocks = build_coded(space, &middles, &rows);
    let mut memory = Memory::default();
    for (n, row) in rows.iter().enumerate().step_by(9) {
        let tid = Tid::new(10_000 + n as u32, 1);
        add(&mut blocks, space, value_of(row).bytes(), tid, &mut memory).unwrap();
        // beside the equal row that was built
        let found = search(&mut blocks, space, Some(value_of(row).bytes()), all(1), 2).0;
        assert!(found.contains(&tid), "row {n}");
    }
    assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
}

#[test]
fn centres_without_direction_or_number_are_no_harm() {
    let mut rng = SmallRng::seed_from_u64(3);
    let mut middles: Vec<Vec<f32>> =
        (0..LISTS / 2).map(|_| (0..32).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
    // their middle is nothing
    middles.extend(middles.clone().iter().map(|middle| middle.iter().map(|x| -x).collect()));
    let query = middles[9].clone();
    for scale in [1.0f32, 1e-20, 3e18] {
        let scaled: Vec<Vec<f32>> =
            middles.iter().map(|middle| middle.iter().map(|x| x * scale).collect()).collect();
        let space = Cosine::<f32>::new(32);
        let mut blocks = build_coded(space, &scaled, &scaled[..5]);
        let found = nearest(&mut blocks, space, &query, 1, false);
        assert!(found[0].0 < -0.9999, "{scale}: {found:?}");
        for space in [l2(32), dense(Metric::InnerProduct, 32)] {
            let mut blocks = build_coded(space, &scaled, &scaled[..5]);
            let query: Vec<f32> = query.iter().map(|x| x * scale).collect();
            assert!(nearest(&mut blocks, space, &query, 5, true).len() >= 5);
            assert_eq!(violations(&mut blocks, space), Vec::<String>::new());
        }
    }
}

#[test]
fn damaged_codes_of_centres_are_told() {
    let (middles, rows) = blobs(LISTS, LISTS, 64, 24);
    let space = l2(64);
    let build = || build_coded(space, &middles, &rows);
    let mut built = build();
    let index = opened(&mut built).unwrap();
    let first = index.centre_codes;
    let plan = centre_codes::Plan::of(&index).unwrap();
    assert!(plan.pages() > 1);
    assert_eq!(built.read(first, |bytes| Ok(page_kind(bytes))).unwrap(), Ok(Some(PageKind::CentreCodes)));
    let query = value_of(&rows[3]);
    let codes = 24 + 16 + 8 + 256;
    let cases = [
        ("kind", 24..25, 9, true),
        ("entries", 26..27, 7, true),
        ("a factor", 24 + 16 + 8 + 3..24 + 16 + 8 + 4, 0x40, false),
        ("codes", codes..codes + 16 * 40, 0xff, false),
        ("a list", codes + 32 * 32 + 1..codes + 32 * 32 + 2, 0xff, false),
    ];
    for (what, range, byte, ends) in cases {
        let mut blocks = build();
        let mut change = blocks.update().unwrap();
        let slot = change.open(first).unwrap();
        change.bytes_mut(slot).unwrap()[range].iter_mut().for_each(|place| *place ^= byte);
        change.commit().unwrap();
        let told = violations(&mut blocks, space);
        assert!(told.iter().any(|told| told.contains(&first.to_string())), "{what}: {told:?}");
        let (_, error) = search(&mut blocks, space, Some(query.bytes()), all(LISTS / 4), 10);
        assert!(!ends || error.is_some(), "{what}");
    }
    // fewer than there are lists
    let mut blocks = build();
    let mut change = blocks.update().unwrap();
    let slot = change.open(first).unwrap();
    let entries =
        CodePage::of_kind(&plan.geometry, change.bytes(slot), PageKind::CentreCodes).unwrap().len() as u16;
    change.bytes_mut(slot).unwrap()[26..28].copy_from_slice(&(entries - 1).to_ne_bytes());
    change.commit().unwrap();
    let (_, error) = search(&mut blocks, space, Some(query.bytes()), all(3), 10);
    assert!(error.unwrap().contains("another number of centres"));
    assert!(!violations(&mut blocks, space).is_empty());
}
