//! Kernels next to the `simsimd` crate, on data hot in the first cache and streamed from memory.
//!
//! `cargo bench -p vector-benches --bench kernels`, then `python3 benches/kernels_table.py` for the ratios.
//! `VECTOR_SIMD` chooses the tier of our side; `KERNELS_MIB` the size of the array in memory (default 512).
#![allow(missing_docs)]

use cpu_time::ThreadTime;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkId, Throughput, criterion_group, criterion_main};
use simsimd::{BinarySimilarity, SpatialSimilarity};
use std::hint::black_box;
use std::time::Duration;
use vector_kernels::{f16, kernels};

/// Processor time of the benchmarking thread: neighbours on a shared machine do not count.
struct ProcessorTime;

impl Measurement for ProcessorTime {
    type Intermediate = ThreadTime;
    type Value = Duration;

    fn start(&self) -> ThreadTime {
        ThreadTime::now()
    }
    fn end(&self, start: ThreadTime) -> Duration {
        start.elapsed()
    }
    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

type Criterion = criterion::Criterion<ProcessorTime>;

const DIMENSIONS: [usize; 5] = [96, 128, 384, 768, 1536];

/// Elements that start 16 bytes past a cache line, as an allocator or a database page places them: no kernel
/// gets aligned vectors by luck.
struct Placed<T> {
    store: Vec<T>,
    start: usize,
    n: usize,
}

impl<T: Copy + Default> Placed<T> {
    fn new(n: usize, value: impl FnMut(usize) -> T) -> Self {
        let line = 64 / size_of::<T>();
        let mut store = vec![T::default(); n + 2 * line];
        let start = store.as_ptr().align_offset(64) + line / 4;
        for (slot, x) in store[start..].iter_mut().zip((0..n).map(value)) {
            *slot = x;
        }
        Placed { store, start, n }
    }

    fn get(&self) -> &[T] {
        &self.store[self.start..self.start + self.n]
    }
}

/// Cheap reproducible numbers between -1 and 1.
fn number(i: usize) -> f32 {
    let z = (i as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

/// The same halves under the peer's name for them.
#[allow(unsafe_code)]
fn peer_halves(a: &[f16]) -> &[simsimd::f16] {
    const { assert!(size_of::<f16>() == size_of::<simsimd::f16>()) };
    // SAFETY: both types are transparent wrappers of u16, with the same size and alignment.
    unsafe { std::slice::from_raw_parts(a.as_ptr().cast(), a.len()) }
}

/// One pair of vectors, again and again.
fn hot<T: Copy + Default, R, S>(
    c: &mut Criterion,
    name: &str,
    convert: fn(f32) -> T,
    ours: impl Fn(&[T], &[T]) -> R,
    theirs: impl Fn(&[T], &[T]) -> S,
) {
    let mut group = c.benchmark_group(format!("hot-{name}"));
    for d in DIMENSIONS {
        let a = Placed::new(d, |i| convert(number(i)));
        let b = Placed::new(d, |i| convert(number(i + d)));
        let (a, b) = (a.get(), b.get());
        group.bench_function(BenchmarkId::new("vector", d), |bench| {
            bench.iter(|| ours(black_box(a), black_box(b)))
        });
        group.bench_function(BenchmarkId::new("simsimd", d), |bench| {
            bench.iter(|| theirs(black_box(a), black_box(b)))
        });
    }
    group.finish();
}

/// One query against every row of an array that no cache holds.
fn memory<T: Copy + Default>(
    c: &mut Criterion,
    name: &str,
    array: &[T],
    ours: impl Fn(&[T], &[T]) -> f64,
    theirs: impl Fn(&[T], &[T]) -> f64,
) {
    let mut group = c.benchmark_group(format!("memory-{name}"));
    group.sample_size(10).throughput(Throughput::Bytes(size_of_val(array) as u64));
    for d in DIMENSIONS {
        let query = Placed { store: array[..d].to_vec(), start: 0, n: d };
        let query = query.get();
        group.bench_function(BenchmarkId::new("vector", d), |bench| {
            bench.iter(|| array.chunks_exact(d).map(|row| ours(black_box(query), row)).sum::<f64>())
        });
        group.bench_function(BenchmarkId::new("simsimd", d), |bench| {
            bench.iter(|| array.chunks_exact(d).map(|row| theirs(black_box(query), row)).sum::<f64>())
        });
    }
    group.finish();
}

fn peer_l2<T: SpatialSimilarity>(a: &[T], b: &[T]) -> f64 {
    T::l2sq(a, b).unwrap_or(0.0)
}

fn peer_ip<T: SpatialSimilarity>(a: &[T], b: &[T]) -> f64 {
    T::dot(a, b).unwrap_or(0.0)
}

fn peer_cosine<T: SpatialSimilarity>(a: &[T], b: &[T]) -> f64 {
    T::cos(a, b).unwrap_or(0.0)
}

fn hot_f32(c: &mut Criterion) {
    let k = kernels();
    hot(c, "l2-f32", |x| x, |a, b| k.l2_squared_f32(a, b), peer_l2);
    hot(c, "ip-f32", |x| x, |a, b| k.inner_product_f32(a, b), peer_ip);
    hot(c, "cosine-f32", |x| x, |a, b| k.cosine_similarity_f32(a, b), peer_cosine);
}

fn hot_f16(c: &mut Criterion) {
    let (k, h) = (kernels(), peer_halves);
    hot(c, "l2-f16", f16::from_f32, |a, b| k.l2_squared_f16(a, b), |a, b| peer_l2(h(a), h(b)));
    hot(c, "ip-f16", f16::from_f32, |a, b| k.inner_product_f16(a, b), |a, b| peer_ip(h(a), h(b)));
    hot(c, "cosine-f16", f16::from_f32, |a, b| k.cosine_similarity_f16(a, b), |a, b| peer_cosine(h(a), h(b)));
}

fn mebibytes() -> usize {
    std::env::var("KERNELS_MIB").ok().and_then(|v| v.parse().ok()).unwrap_or(512)
}

fn memory_f32(c: &mut Criterion) {
    let k = kernels();
    let array = Placed::new((mebibytes() << 20) / 4, number);
    let array = array.get();
    memory(c, "l2-f32", array, |a, b| f64::from(k.l2_squared_f32(a, b)), peer_l2);
    memory(c, "ip-f32", array, |a, b| f64::from(k.inner_product_f32(a, b)), peer_ip);
    memory(c, "cosine-f32", array, |a, b| k.cosine_similarity_f32(a, b), peer_cosine);
}

fn memory_f16(c: &mut Criterion) {
    let (k, h) = (kernels(), peer_halves);
    let array = Placed::new((mebibytes() << 20) / 2, |i| f16::from_f32(number(i)));
    let array = array.get();
    memory(c, "l2-f16", array, |a, b| f64::from(k.l2_squared_f16(a, b)), |a, b| peer_l2(h(a), h(b)));
    memory(c, "ip-f16", array, |a, b| f64::from(k.inner_product_f16(a, b)), |a, b| peer_ip(h(a), h(b)));
    memory(c, "cosine-f16", array, |a, b| k.cosine_similarity_f16(a, b), |a, b| peer_cosine(h(a), h(b)));
}

fn hot_bits(c: &mut Criterion) {
    let k = kernels();
    let a = Placed::new(128, |i| (number(i) * 128.0) as i8 as u8);
    let b = Placed::new(128, |i| (number(i + 128) * 128.0) as i8 as u8);
    let (a, b) = (a.get(), b.get());
    let mut group = c.benchmark_group("hot-hamming-bits");
    group.bench_function(BenchmarkId::new("vector", 1024), |bench| {
        bench.iter(|| k.hamming(black_box(a), black_box(b)))
    });
    group.bench_function(BenchmarkId::new("simsimd", 1024), |bench| {
        bench.iter(|| <u8 as BinarySimilarity>::hamming(black_box(a), black_box(b)))
    });
    group.finish();
    let mut group = c.benchmark_group("hot-jaccard-bits");
    group.bench_function(BenchmarkId::new("vector", 1024), |bench| {
        bench.iter(|| k.jaccard_distance(black_box(a), black_box(b)))
    });
    group.bench_function(BenchmarkId::new("simsimd", 1024), |bench| {
        bench.iter(|| <u8 as BinarySimilarity>::jaccard(black_box(a), black_box(b)))
    });
    group.finish();
}

/// What the memory gives to one core: a sum over 64-bit words, eight at a time.
fn memory_read(c: &mut Criterion) {
    let mib = mebibytes();
    let array: Vec<u64> = (0..(mib << 20) / 8).map(|i| i as u64).collect();
    let mut group = c.benchmark_group("memory-read-u64");
    group.sample_size(10).throughput(Throughput::Bytes((array.len() * 8) as u64));
    group.bench_function(BenchmarkId::new("read", mib), |bench| {
        bench.iter(|| {
            let mut sums = [0u64; 8];
            for words in black_box(&array).as_chunks::<8>().0 {
                for lane in 0..8 {
                    sums[lane] = sums[lane].wrapping_add(words[lane]);
                }
            }
            sums
        })
    });
    group.finish();
}

criterion_group!(
    name = benches;
    config = criterion::Criterion::default().with_measurement(ProcessorTime);
    targets = hot_f32, hot_f16, hot_bits, memory_read, memory_f32, memory_f16
);
criterion_main!(benches);
