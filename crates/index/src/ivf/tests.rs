//! Clustering on data with known clusters; indexes in memory against brute force.

use half::f16;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use vector_kernels::kernels;
use zerocopy::{Immutable, IntoBytes};

use super::centre_cache::Centres;
use super::cluster::kmeans::{Clusters, Plan, Task, kmeans, memory, plan};
use super::cluster::panels::Component;
use super::cluster::sample::{Encoding, Sample};
use super::format::read_meta;
use super::insert::{Inserter, insert};
use super::lists::{Met, NoTable, Services, Unpack};
use super::load::{LoadOptions, Loader};
use super::scan::{Scan, ScanSettings};
use super::tally::Tally;
use super::v1::layout::PAGE_ID;
use super::v1::{Pages, entry_form};
use super::vacuum::Vacuum;
use crate::space::{AnySpace, Dense, Metric, ValueBuf, ValueKind, varlena_header};
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{PageMut, Tid};
use crate::testing::{MemBlocks, PAGE_SIZE};
use crate::value::DenseView;
use crate::work::runs::Runs;
use crate::work::runs::testing::Kept;
use crate::work::workers::{Idle, Workers};

fn cluster<T: Encoding + IntoBytes + Immutable>(
    sample: &Sample<T>,
    lists: usize,
    bounds: usize,
    helpers: usize,
) -> Clusters<T> {
    let by = |codes| {
        // with one bound there is no memory for sums either
        let task = Task { lists, seed: 7, plan: Plan { bounds, sums: bounds > 1, codes } };
        kmeans(sample, task, &mut Workers::new(helpers, &mut Idle)).unwrap()
    };
    let (found, by_codes) = (by(false), by(true));
    // codes leave distances out and change nothing
    assert!(found.centres.as_bytes() == by_codes.centres.as_bytes());
    assert_eq!(found.steps, by_codes.steps);
    by_codes
}

fn lanes<T: Encoding>(clusters: &Clusters<T>, width: usize) -> Vec<Vec<T::Component>> {
    let rows = clusters.centres.chunks_exact(width);
    rows.map(|row| {
        let mut lanes = vec![T::Component::default(); width];
        T::load(kernels(), row, &mut lanes);
        lanes
    })
    .collect()
}

fn inertia<T: Encoding>(sample: &Sample<T>, clusters: &Clusters<T>) -> f64 {
    let centres = lanes(clusters, sample.width());
    let mut row = vec![T::Component::default(); sample.width()];
    (0..sample.len())
        .map(|i| {
            T::load(kernels(), sample.row(i), &mut row);
            let nearest = centres
                .iter()
                .map(|centre| T::Component::distance(kernels(), &row, centre))
                .fold(f32::INFINITY, f32::min);
            f64::from(nearest)
        })
        .sum()
}

/// `clusters` points far from each other, `each` rows close around every one.
fn blobs(clusters: usize, each: usize, dims: usize, rng: &mut SmallRng) -> Vec<Vec<f32>> {
    let centres: Vec<Vec<f32>> =
        (0..clusters).map(|_| (0..dims).map(|_| rng.random::<f32>() * 100.0).collect()).collect();
    let row = |centre: &Vec<f32>, rng: &mut SmallRng| {
        centre.iter().map(|x| x + rng.random::<f32>() - 0.5).collect()
    };
    (0..clusters * each).map(|i| row(&centres[i % clusters], rng)).collect()
}

fn dense<T: Encoding<Component = f32> + Default>(rows: &[Vec<f32>], normalized: bool) -> Sample<T> {
    let dims = rows[0].len();
    let mut sample = Sample::new(dims, dims, normalized);
    for row in rows {
        let mut row = row.clone();
        if normalized {
            assert!(f32::normalize(kernels(), &mut row));
        }
        let mut stored = Vec::new();
        T::store(kernels(), &row, &mut stored);
        sample.push(&stored, T::default());
    }
    sample
}

#[test]
fn clusters_that_are_there_are_found() {
    let mut rng = SmallRng::seed_from_u64(1);
    let rows = blobs(40, if cfg!(miri) { 2 } else { 50 }, 8, &mut rng);
    let floats = dense::<f32>(&rows, false);
    // uniform in a box of side 1: a twelfth per dimension
    let per_row = inertia(&floats, &cluster(&floats, 40, 3, 0)) / rows.len() as f64;
    assert!(per_row < 8.0 / 12.0 * 1.05, "{per_row}");
    let halves = dense::<f16>(&rows, false);
    let per_row = inertia(&halves, &cluster(&halves, 40, 3, 0)) / rows.len() as f64;
    assert!(per_row < 8.0 / 12.0 * 1.1, "{per_row}");
}

#[test]
fn bounds_and_threads_change_the_work_but_not_the_result() {
    let mut rng = SmallRng::seed_from_u64(2);
    let rows: Vec<Vec<f32>> = (0..if cfg!(miri) { 60 } else { 2000 })
        .map(|_| (0..9).map(|_| rng.random::<f32>() - 0.5).collect())
        .collect();
    for normalized in [false, true] {
        let sample = dense::<f32>(&rows, normalized);
        let one = cluster(&sample, 50, 4, 0);
        let other = cluster(&sample, 50, 4, 3);
        assert_eq!(one.steps, other.steps);
        assert_eq!(one.centres, other.centres);
        // with other bounds, other rows meet a panel together, which rounds a little differently
        let best = inertia(&sample, &one);
        for bounds in [1, 2, 100] {
            let other = inertia(&sample, &cluster(&sample, 50, bounds, 0));
            assert!((other / best - 1.0).abs() < 0.02, "{bounds} bounds: {other}, not {best}");
        }
        if normalized {
            assert!(one.centres.chunks(9).all(|c| (kernels().norm_f32(c) - 1.0).abs() < 1e-6));
        }
    }
}

/// Lloyd's algorithm as in a textbook, from the centres given, until nothing changes.
fn textbook(rows: &[Vec<f32>], mut centres: Vec<Vec<f32>>) -> f64 {
    let distance = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(x - y) * f64::from(x - y)).sum()
    };
    let nearest = |row: &[f32], centres: &[Vec<f32>]| {
        let all = centres.iter().map(|c| distance(row, c)).enumerate();
        all.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
    };
    let mut total = f64::INFINITY;
    loop {
        let found: Vec<(usize, f64)> = rows.iter().map(|row| nearest(row, &centres)).collect();
        let sum: f64 = found.iter().map(|f| f.1).sum();
        if sum >= total * (1.0 - 1e-9) {
            return sum;
        }
        total = sum;
        for (c, centre) in centres.iter_mut().enumerate() {
            let mine: Vec<&Vec<f32>> =
                rows.iter().zip(&found).filter(|(_, f)| f.0 == c).map(|(r, _)| r).collect();
            if !mine.is_empty() {
                for (i, x) in centre.iter_mut().enumerate() {
                    *x = (mine.iter().map(|r| f64::from(r[i])).sum::<f64>() / mine.len() as f64) as f32;
                }
            }
        }
    }
}

/// Where Lloyd's steps end, each centre is the mean of the rows that are nearest to it: brute force finds no other.
#[test]
fn the_result_is_a_local_optimum() {
    let mut rng = SmallRng::seed_from_u64(11);
    let rows: Vec<Vec<f32>> = (0..if cfg!(miri) { 80 } else { 1200 })
        .map(|_| (0..7).map(|_| rng.random::<f32>() * rng.random::<f32>()).collect())
        .collect();
    let sample = dense::<f32>(&rows, false);
    for (lists, bounds) in [(40, 3), (40, 1), (70, 5)] {
        let centres = lanes(&cluster(&sample, lists, bounds, 1), 7);
        let mut sums = vec![(vec![0f64; 7], 0u32); lists];
        for row in &rows {
            let to = |c: usize| kernels().l2_squared_f32(row, &centres[c]);
            let nearest = (0..lists).min_by(|&a, &b| to(a).total_cmp(&to(b))).unwrap();
            sums[nearest].0.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            sums[nearest].1 += 1;
        }
        for (centre, (sum, count)) in centres.iter().zip(sums) {
            let mean: Vec<f32> = sum.iter().map(|x| (x / f64::from(count)) as f32).collect();
            assert!(kernels().l2_squared_f32(centre, &mean) < 1e-9, "{lists} lists, {bounds} bounds");
        }
    }
}

#[test]
#[cfg(not(miri))]
fn inertia_is_below_that_of_plain_k_means() {
    let mut rng = SmallRng::seed_from_u64(3);
    let rows: Vec<Vec<f32>> = (0..1500)
        .map(|_| {
            let scale = rng.random::<f32>();
            (0..12).map(|_| scale * (rng.random::<f32>() + rng.random::<f32>() - 1.0)).collect()
        })
        .collect();
    let sample = dense::<f32>(&rows, false);
    let mut plain = Vec::new();
    for seed in 0..3 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let seeds =
            super::cluster::seed::seed(&sample, None, 30, &mut rng, &mut Workers::new(0, &mut Idle)).unwrap();
        assert_eq!(seeds.rows.len(), 30);
        plain.push(textbook(&rows, seeds.rows.iter().map(|&r| rows[r as usize].clone()).collect()));
    }
    let best = plain.iter().copied().fold(f64::INFINITY, f64::min);
    let ours = inertia(&sample, &cluster(&sample, 30, 2, 0));
    assert!(ours <= best * 1.002, "{ours} against {plain:?}");
}

#[test]
fn seeds_tell_each_rows_nearest() {
    let mut rng = SmallRng::seed_from_u64(4);
    let rows = blobs(5, 30, 3, &mut rng);
    let sample = dense::<f32>(&rows, false);
    let seeds =
        super::cluster::seed::seed(&sample, None, 37, &mut rng, &mut Workers::new(1, &mut Idle)).unwrap();
    let mut different = seeds.rows.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!((seeds.rows.len(), different.len()), (37, 37));
    for (i, row) in rows.iter().enumerate() {
        let to = |s: u32| kernels().l2_squared_f32(row, &rows[seeds.rows[s as usize] as usize]);
        let least = (0..37).map(to).fold(f32::INFINITY, f32::min);
        assert!((to(seeds.nearest[i]) - least).abs() <= 1e-3, "row {i}");
        assert!((seeds.distances[i] - least).abs() <= 1e-3 * least.max(1.0), "row {i}");
    }
}

#[test]
fn fewer_different_rows_than_lists() {
    let rows: Vec<Vec<f32>> = (0..30).map(|i| vec![(i % 3) as f32, 1.0, -1.0]).collect();
    for normalized in [false, true] {
        let sample = dense::<f32>(&rows, normalized);
        let found = cluster(&sample, 20, 2, 0);
        assert_eq!(found.centres.len(), 20 * 3);
        assert!(inertia(&sample, &found) < 1e-9);
        assert!(found.centres.iter().all(|x| x.is_finite()));
    }
    let none = Sample::<f32>::new(3, 3, true);
    let found = cluster(&none, 5, 1, 0);
    assert_eq!(found.centres.len(), 5 * 3);
    assert!(found.centres.chunks(3).all(|c| (kernels().norm_f32(c) - 1.0).abs() < 1e-6));
}

#[test]
fn extreme_values_do_no_harm() {
    let rows: Vec<Vec<f32>> = (0..200)
        .map(|i| vec![f32::MAX * ((i % 7) as f32 / 3.0 - 1.0), i as f32, f32::MIN_POSITIVE])
        .collect();
    let sample = dense::<f32>(&rows, false);
    let found = cluster(&sample, 20, 2, 0);
    assert!(found.centres.len() == 60 && found.centres.iter().all(|x| x.is_finite()));
}

#[test]
fn bits_are_clustered_by_majority() {
    let mut rng = SmallRng::seed_from_u64(5);
    let (dims, width) = (77, 10);
    let patterns: Vec<Vec<u8>> = (0..12).map(|_| (0..width).map(|_| rng.random()).collect()).collect();
    let mut sample = Sample::<u8>::new(dims, width, false);
    for i in 0..600 {
        let mut row = patterns[i % 12].clone();
        row[rng.random_range(0..9)] ^= 1 << rng.random_range(0..8);
        row[9] &= 0b1111_1000;
        sample.push(&row, 0);
    }
    let found = cluster(&sample, 12, 1, 0);
    assert_eq!(inertia(&sample, &found), 600.0);
    assert!(found.centres.chunks(10).all(|c| c[9] & 7 == 0));
    assert!((0..30).all(|_| {
        let mut out = [0u8; 10];
        u8::random(&mut rng, dims, &mut out);
        out[9] & 7 == 0
    }));
}

#[test]
fn memory_is_known_before_it_is_taken() {
    let needed = memory::<f32>(50_000, 1000, 100, 1);
    assert!((22_000_000..25_000_000).contains(&needed), "{needed}");
    // without k-means nothing but the values
    assert!(memory::<f16>(1, 100, 4000, 1) < 1_600_000);
    assert_eq!(plan::<f32>(50_000, 1000, 100, 1, needed - 1), Err(needed));
    let fits = |bounds, sums, taken| Ok((Plan { bounds, sums, codes: false }, taken));
    assert_eq!(plan::<f32>(50_000, 1000, 100, 1, needed), fits(1, false, needed));
    assert_eq!(plan::<f32>(50_000, 1000, 100, 1, needed + 700_000), fits(4, false, needed + 600_000));
    // 8 bytes per list and dimension, 12 per row, 4 per list
    let sums = 1000 * 100 * 8 + 50_000 * 12 + 1000 * 4;
    let more = needed + 2 * sums + 1;
    let (some, taken) = plan::<f32>(50_000, 1000, 100, 1, more).unwrap();
    assert!(some.sums && !some.codes && (needed + sums..=more).contains(&taken), "{some:?} {taken}");
    let (all, taken) = plan::<f32>(50_000, 1000, 100, 1, 1 << 40).unwrap();
    assert_eq!(all, Plan { bounds: 63, sums: true, codes: kernels().fast_byte_panels() });
    assert!(taken >= needed + sums + 62 * 200_000 + if all.codes { 50_000 * 100 } else { 0 }, "{taken}");
    assert_eq!(plan::<f16>(u64::MAX, u64::MAX, u64::MAX, 1, 1 << 40), Err(u64::MAX));
}

/// Runs that no test here needs, and nothing compressed.
struct None_;

impl Runs for None_ {
    fn write(&mut self, _: &[u8]) {
        panic!("spilled");
    }
    fn end_run(&mut self) {}
    fn read(&mut self, _: usize, _: &mut [u8]) -> usize {
        0
    }
    fn clear(&mut self) {}
}

impl Unpack for None_ {
    fn unpack(&mut self, _: &[u8], _: &mut ValueBuf) -> bool {
        false
    }
}

pub(super) fn value(row: &[f32]) -> ValueBuf {
    let mut buf = ValueBuf::new();
    let size = DenseView::<f32>::size(row.len());
    let bytes = buf.reset(size);
    bytes[..4].copy_from_slice(&varlena_header(size));
    DenseView::<f32>::init(bytes).unwrap().copy_from_slice(row);
    buf
}

fn space(dims: i32) -> Dense<f32> {
    match AnySpace::new(ValueKind::Vector, Metric::L2, dims) {
        AnySpace::Vector(space) => space,
        _ => panic!("not a space of vectors"),
    }
}

/// Builds an index of the rows, whose TIDs are their numbers and offset 1.
fn build(rows: &[Vec<f32>], lists: usize) -> MemBlocks {
    let sample = dense::<f32>(rows, false);
    let centres = cluster(&sample, lists, 2, 0).centres;
    let mut blocks = MemBlocks::new(PAGE_ID);
    load(rows, centres, usize::MAX, &mut None_, &mut blocks);
    blocks
}

fn load(rows: &[Vec<f32>], centres: Vec<f32>, memory: usize, runs: &mut dyn Runs, blocks: &mut MemBlocks) {
    let dims = rows[0].len();
    let mut loader = Loader::new(
        LoadOptions { dims, width: dims, metric: Metric::L2, memory },
        entry_form(8 + 4 * dims),
        centres,
    );
    let (mut idle, mut told) = (Idle, 0);
    let mut workers = Workers::new(1, &mut idle);
    loader.prepare(&mut workers).unwrap();
    for (i, row) in rows.iter().enumerate() {
        loader.push(Tid::new(i as u32, 1), row, &mut workers, runs).unwrap();
    }
    assert_eq!(loader.count(), rows.len() as u64);
    loader.write(&mut Pages(blocks), PAGE_SIZE, &mut workers, runs, &mut |done| told = done).unwrap();
    assert_eq!(told, rows.len() as u64);
}

#[test]
#[cfg(not(miri))]
fn what_does_not_fit_in_memory_comes_out_the_same() {
    let mut rng = SmallRng::seed_from_u64(10);
    let rows = blobs(5, 700, 60, &mut rng);
    let centres = cluster(&dense::<f32>(&rows, false), 5, 1, 0).centres;
    let (mut roomy, mut tight) = (MemBlocks::new(PAGE_ID), MemBlocks::new(PAGE_ID));
    load(&rows, centres.clone(), usize::MAX, &mut None_, &mut roomy);
    let mut runs = Kept::default();
    load(&rows, centres.clone(), 400_000, &mut runs, &mut tight);
    assert!(runs.0.len() > 1);
    // less than anything needs: it goes on with the least there is
    let (mut least, mut runs) = (MemBlocks::new(PAGE_ID), Kept::default());
    load(&rows, centres, 1000, &mut runs, &mut least);
    let count = roomy.count().unwrap();
    assert_eq!((tight.count().unwrap(), least.count().unwrap()), (count, count));
    for block in 0..count {
        let page = |blocks: &mut MemBlocks| blocks.read(block, |bytes| Ok(bytes.to_vec())).unwrap();
        assert_eq!(page(&mut roomy), page(&mut tight), "block {block}");
        assert_eq!(page(&mut roomy), page(&mut least), "block {block}");
    }
}

fn check(blocks: &mut MemBlocks, dims: i32) -> Vec<String> {
    let mut tally = Tally::default();
    super::check::check(&mut Pages(blocks), space(dims), true, &mut None_, &mut tally).unwrap();
    tally.violations.iter().map(ToString::to_string).collect()
}

fn search(
    blocks: &mut MemBlocks,
    query: Option<&[f32]>,
    dims: i32,
    probes: usize,
    max_probes: usize,
) -> Vec<u32> {
    let query = query.map(value);
    let (mut scan, mut runs, mut unpack) = (Scan::default(), None_, None_);
    let settings = ScanSettings { probes, asked: false, max_probes, memory: usize::MAX };
    let mut services = Services { runs: &mut runs, unpack: &mut unpack, table: &mut NoTable };
    let query = query.as_ref().map(ValueBuf::bytes);
    core::iter::from_fn(|| {
        scan.next(&mut Pages(blocks), space(dims), query, &settings, &mut services).unwrap()
    })
    .map(Tid::block)
    .collect()
}

fn sorted(mut rows: Vec<u32>) -> Vec<u32> {
    rows.sort_unstable();
    rows
}

#[test]
fn an_index_is_built_searched_filled_and_vacuumed() {
    let mut rng = SmallRng::seed_from_u64(6);
    // values with short headers, whole ones, and such that few fit on a page
    for dims in if cfg!(miri) { vec![5] } else { vec![5, 40, 500] } {
        let rows = blobs(20, if cfg!(miri) { 3 } else { 30 }, dims, &mut rng);
        let mut blocks = build(&rows, 20);
        let dims = dims as i32;
        assert_eq!(check(&mut blocks, dims), Vec::<String>::new());
        assert_eq!(usize::from(read_meta(&mut blocks).unwrap().lists), 20);
        let count = rows.len() as u32;
        for query in [0usize, 7, 33] {
            let found = search(&mut blocks, Some(&rows[query]), dims, 20, 20);
            let mut expected: Vec<u32> = (0..count).collect();
            let to = |i: u32| kernels().l2_squared_f32(&rows[i as usize], &rows[query]);
            expected.sort_by(|&a, &b| to(a).total_cmp(&to(b)));
            assert_eq!(found, expected);
            // the rows of the query's own cluster first, then lists in any order of their distance
            let some = search(&mut blocks, Some(&rows[query]), dims, 1, 1);
            assert!(some.iter().all(|row| row % 20 == query as u32 % 20) && some[0] == query as u32);
            let all = search(&mut blocks, Some(&rows[query]), dims, 1, 20);
            assert_eq!(all[..some.len()], some);
            assert_eq!(sorted(all), (0..count).collect::<Vec<_>>());
        }
        assert_eq!(sorted(search(&mut blocks, None, dims, 20, 20)), (0..count).collect::<Vec<_>>());

        let (mut inserter, mut centres) = (Inserter::default(), Centres::default());
        for (i, row) in rows.iter().enumerate() {
            if i == rows.len() / 2 {
                centres.load(&mut Pages(&mut blocks), space(dims), usize::MAX).unwrap();
                assert!(!centres.is_empty());
            }
            insert(
                &mut Pages(&mut blocks),
                space(dims),
                value(row).bytes(),
                Tid::new(count + i as u32, 1),
                &mut inserter,
                &mut centres,
            )
            .unwrap();
        }
        centres.load(&mut Pages(&mut blocks), space(dims), 100).unwrap();
        assert!(centres.is_empty());
        assert_eq!(check(&mut blocks, dims), Vec::<String>::new());
        let found = search(&mut blocks, Some(&rows[3]), dims, 1, 1);
        assert!(found.contains(&3) && found.contains(&(count + 3)));
        assert_eq!(sorted(search(&mut blocks, None, dims, 20, 20)), (0..2 * count).collect::<Vec<_>>());

        let mut vacuum = Vacuum::default();
        vacuum.run(&mut Pages(&mut blocks), &mut |row| row.block() % 3 == 0).unwrap();
        let left: Vec<u32> = (0..2 * count).filter(|row| row % 3 != 0).collect();
        let kept = left.len() as u64;
        assert_eq!(vacuum.met, Met { removed: u64::from(2 * count) - kept, kept });
        assert_eq!(check(&mut blocks, dims), Vec::<String>::new());
        assert_eq!(sorted(search(&mut blocks, None, dims, 20, 20)), left);

        // room that the vacuum made is used again
        let pages = blocks.count().unwrap();
        for (i, row) in rows.iter().enumerate().filter(|(i, _)| i % 3 == 0) {
            insert(
                &mut Pages(&mut blocks),
                space(dims),
                value(row).bytes(),
                Tid::new(i as u32, 1),
                &mut inserter,
                &mut centres,
            )
            .unwrap();
        }
        assert_eq!(blocks.count().unwrap(), pages);
        assert_eq!(check(&mut blocks, dims), Vec::<String>::new());
    }
}

#[test]
fn an_insert_does_not_undo_a_vacuums_reset() {
    let rows = vec![vec![1.0; 500]; 40];
    let mut blocks = build(&rows, 1);
    let mut vacuum = Vacuum::default();
    vacuum.run(&mut Pages(&mut blocks), &mut |row| row.block() < 4).unwrap();
    let before = blocks.count().unwrap();
    let (mut inserter, mut centres) = Default::default();
    for i in 0..4 {
        insert(
            &mut Pages(&mut blocks),
            space(500),
            value(&rows[0]).bytes(),
            Tid::new(i, 1),
            &mut inserter,
            &mut centres,
        )
        .unwrap();
    }
    assert_eq!(blocks.count().unwrap(), before);
}

#[test]
fn damage_is_told_and_survived() {
    let mut rng = SmallRng::seed_from_u64(8);
    let rows = blobs(6, 8, 5, &mut rng);
    let mut healthy = build(&rows, 6);
    healthy.add_zero_block();
    assert_eq!(check(&mut healthy, 5), Vec::<String>::new());
    let count = healthy.count().unwrap();
    for _ in 0..if cfg!(miri) { 20 } else { 500 } {
        let mut blocks = healthy.copy();
        for _ in 0..rng.random_range(1..4) {
            let (at, byte) = (rng.random_range(0..PAGE_SIZE), rng.random());
            blocks.edit(rng.random_range(0..count), |bytes| bytes[at] = byte);
        }
        let (mut scan, mut runs, mut unpack) = (Scan::default(), None_, None_);
        let settings = ScanSettings { probes: 6, asked: false, max_probes: 6, memory: usize::MAX };
        let mut services = Services { runs: &mut runs, unpack: &mut unpack, table: &mut NoTable };
        let query = value(&rows[0]);
        while let Ok(Some(_)) =
            scan.next(&mut Pages(&mut blocks), space(5), Some(query.bytes()), &settings, &mut services)
        {
        }
        let _ =
            super::check::check(&mut Pages(&mut blocks), space(5), true, &mut None_, &mut Tally::default());
        let _ = Vacuum::default().run(&mut Pages(&mut blocks), &mut |row| row.block() == 3);
        let _ = insert(
            &mut Pages(&mut blocks),
            space(5),
            query.bytes(),
            Tid::new(1, 1),
            &mut Inserter::default(),
            &mut Centres::default(),
        );
    }
}

#[test]
fn chains_that_lead_into_themselves_end() {
    let mut blocks = build(&vec![vec![0.0, 1.0]; 3], 1);
    let last = blocks.count().unwrap() - 1;
    let mut change = blocks.update().unwrap();
    let slot = change.open(last).unwrap();
    PageMut::new(change.bytes_mut(slot).unwrap(), PAGE_ID).unwrap().set_next(last);
    change.commit().unwrap();
    let (mut scan, mut runs, mut unpack) = (Scan::default(), None_, None_);
    let settings = ScanSettings { probes: 1, asked: false, max_probes: 1, memory: usize::MAX };
    let mut services = Services { runs: &mut runs, unpack: &mut unpack, table: &mut NoTable };
    assert!(scan.next(&mut Pages(&mut blocks), space(2), None, &settings, &mut services).is_err());
    assert!(!check(&mut blocks, 2).is_empty());
}

#[test]
#[cfg(not(miri))]
fn writers_together_lose_nothing() {
    let mut rng = SmallRng::seed_from_u64(9);
    let rows = blobs(4, 25, 300, &mut rng);
    let mut blocks = build(&rows, 4);
    let count = rows.len() as u32;
    std::thread::scope(|scope| {
        for thread in 1..=4u32 {
            let (mut blocks, rows) = (blocks.share(), &rows);
            scope.spawn(move || {
                let (mut inserter, mut centres) = Default::default();
                for (i, row) in rows.iter().enumerate() {
                    let row_tid = Tid::new(thread * count + i as u32, 1);
                    insert(
                        &mut Pages(&mut blocks),
                        space(300),
                        value(row).bytes(),
                        row_tid,
                        &mut inserter,
                        &mut centres,
                    )
                    .unwrap();
                    if thread == 1 && i % 20 == 0 {
                        Vacuum::default()
                            .run(&mut Pages(&mut blocks), &mut |row| row.block() < i as u32)
                            .unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(check(&mut blocks, 300), Vec::<String>::new());
    let left = sorted(search(&mut blocks, None, 300, 4, 4));
    assert_eq!(left, (80..5 * count).collect::<Vec<_>>());
}
