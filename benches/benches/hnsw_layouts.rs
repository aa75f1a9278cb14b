//! Both page layouts of hnsw on the same graph: recall@10, CPU per query, blocks read, and bytes, over `ef_search`.
//!
//! ```sh
//! cargo bench -p vector-benches --bench hnsw_layouts -- FILE.npy|clustered|uniform l2|ip|cosine|hamming [key=value ...]
//! ```
//!
//! FILE.npy holds rows of f32, such as the SQL benchmark caches. Keys: `kind` (vector, halfvec, bit), `rows`,
//! `queries`, `dims` (of made data), `m`, `efc`, `seed`, `rounds`, `only` (1: the second layout alone), and `caution`
//! (deviations; several, by commas, to calibrate). Blocks are plain memory, side by side as shared buffers are, whose
//! reads cost what a pinned and share-locked buffer costs: four atomic operations on a header of its own cache line.
//! The fastest round of each system counts.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cpu_time::ThreadTime;
use half::f16;
use vector_index::hnsw::build::{Builder, Graph, Params};
use vector_index::hnsw::format::{Form, Layout, Scan, write_index};
use vector_index::hnsw::inline::bulk_write::PagePlan as InlinePlan;
use vector_index::hnsw::inline::layout::Shape;
use vector_index::hnsw::inline::meta::InlineMeta;
use vector_index::hnsw::inline::scan::{Index, Scan as InlineScan, Shared};
use vector_index::hnsw::meta::MetaPage;
use vector_index::hnsw::params::max_level;
use vector_index::hnsw::scan::{IterativeScan, ScanSettings};
use vector_index::quant::rabitq::Bits;
use vector_index::quant::space::{CodedSpace, Cosine};
use vector_index::space::{AnySpace, Metric, Space, ValueBuf, ValueKind, normalize, varlena_header};
use vector_index::storage::blocks::{BlockStore, LockMode, OperationLock, PageRef, PageUpdate};
use vector_index::storage::page::{Corruption, Damage, Tid};
use vector_index::work::workers::{Idle, Workers};
use vector_kernels::prefetch_line;

const PAGE_SIZE: usize = 8192;
const LADDER: [usize; 6] = [10, 20, 40, 80, 160, 320];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [source, metric, options @ ..] = args.as_slice() else {
        println!("usage: hnsw_layouts FILE.npy|clustered|uniform l2|ip|cosine|hamming [key=value ...]");
        return Ok(());
    };
    let options: HashMap<&str, &str> = options.iter().filter_map(|o| o.split_once('=')).collect();
    let number = |key: &str, default: usize| match options.get(key) {
        Some(value) => value.parse().map_err(|_| format!("{key}={value}")),
        None => Ok(default),
    };
    let kind = match options.get("kind").copied().unwrap_or("vector") {
        "halfvec" => ValueKind::Halfvec,
        "bit" => ValueKind::Bit,
        _ => ValueKind::Vector,
    };
    let wanted = number("rows", 20_000)? + number("queries", 300)?;
    let (data, dim) = match source.as_str() {
        "clustered" => made(number("dims", 128)?, wanted, 200),
        "uniform" => made(number("dims", 128)?, wanted, 0),
        path => read_npy(path)?,
    };
    let mut order: Vec<usize> = (0..data.len() / dim).collect();
    shuffle(&mut order);
    let queries = number("queries", 300)?.min(order.len() / 2);
    let (order, held) = order.split_at(order.len() - queries);
    let rows = &order[..number("rows", 20_000)?.min(order.len())];
    let m = number("m", 16)?;
    let cautions = options.get("caution").map(|list| list.split(',').map(str::parse::<f32>).collect());
    let run = Run {
        m,
        ef_construction: number("efc", 64)?,
        seed: number("seed", 1)? as u64,
        rounds: number("rounds", 3)?,
        shape: Shape { kind, dims: dim, m, bits: Bits::for_dims(dim), filter_size: 0 },
        only: number("only", 0)? > 0,
        cautions: cautions.transpose()?.unwrap_or_default(),
    };
    println!("{source} {metric} {kind:?}: {} rows of {dim}, {} queries, m {m}", rows.len(), held.len());
    let value = |row: usize, unit| encode(kind, &data[row * dim..(row + 1) * dim], unit);
    let [given, given_queries] = [rows, held].map(|l| l.iter().map(|&r| value(r, false)).collect::<Vec<_>>());
    let [unit, unit_queries] = [rows, held].map(|l| l.iter().map(|&r| value(r, true)).collect::<Vec<_>>());
    let plain = |metric| AnySpace::new(kind, metric, dim as i32);
    let (first, second) = ((&unit, &unit_queries), (&given, &given_queries));
    match (metric.as_str(), plain(if metric == "l2" { Metric::L2 } else { Metric::InnerProduct }), kind) {
        ("cosine", AnySpace::Vector(space), _) => {
            run.compare(space, first, Cosine::<f32>::new(dim as i32), second)
        }
        ("cosine", AnySpace::Halfvec(space), _) => {
            run.compare(space, first, Cosine::<f16>::new(dim as i32), second)
        }
        (_, AnySpace::Vector(space), _) => run.compare(space, second, space, second),
        (_, AnySpace::Halfvec(space), _) => run.compare(space, second, space, second),
        (_, _, ValueKind::Bit) => match plain(Metric::Hamming) {
            AnySpace::Bit(space) => run.compare(space, second, space, second),
            _ => Ok(()),
        },
        _ => Err("no such space".into()),
    }
}

type Set<'a> = (&'a Vec<ValueBuf>, &'a Vec<ValueBuf>);

struct Run {
    m: usize,
    ef_construction: usize,
    seed: u64,
    rounds: usize,
    shape: Shape,
    cautions: Vec<f32>,
    only: bool,
}

/// What a system does at one place of the ladder.
#[derive(Clone, Copy, Default)]
struct Figures {
    right: usize,
    micros: f64,
    reads: u64,
}

impl Run {
    fn compare<S: CodedSpace, T: CodedSpace>(
        &self,
        first: S,
        (first_values, first_queries): Set<'_>,
        second: T,
        (values, queries): Set<'_>,
    ) -> Result<(), Box<dyn Error>> {
        let mut old = Plain::new(0);
        if !self.only {
            let graph = self.build(first, first_values)?;
            old = write_first(first, &graph, self)?;
        }
        let graph = self.build(second, values)?;
        let meta = InlineMeta::new(&self.shape, self.ef_construction as u16, 7);
        let shared = Shared::new(&meta, PAGE_SIZE)?;
        let mut index = Index::new(&shared, second);
        let mut new = write_inline(&graph, &index, meta)?;
        drop(graph);
        let (old_bytes, new_bytes) = (old.size() / values.len(), new.size() / values.len());
        println!("bytes a row: {old_bytes}, {new_bytes} ({:.2})", new_bytes as f64 / old_bytes as f64);
        let tenth = nearest(second, values, queries)?;
        let cautions = if self.cautions.is_empty() { vec![index.caution()] } else { self.cautions.clone() };
        let base = if self.only {
            vec![Figures::default(); LADDER.len()]
        } else {
            self.ladder(
                &mut old,
                |blocks, query, settings, scan: &mut Scan| {
                    scan.reset();
                    let value = first_queries[query].bytes();
                    let mut rows = Vec::new();
                    while let Some(row) =
                        scan.next(blocks, first, Some(value), settings).map_err(|e| format!("{e:?}"))?
                    {
                        rows.push(row);
                    }
                    Ok(rows)
                },
                Scan::new(),
                second,
                values,
                queries,
                &tenth,
            )?
        };
        for caution in cautions {
            index.set_caution(caution);
            let index = &index;
            let found = self.ladder(
                &mut new,
                |blocks, query, settings, scan: &mut InlineScan| {
                    scan.reset();
                    let value = queries[query].bytes();
                    let mut rows = Vec::new();
                    let next = |scan: &mut InlineScan, blocks: &mut Plain| {
                        scan.next(blocks, index, Some(value), settings).map_err(|e| format!("{e:?}"))
                    };
                    while let Some((row, _)) = next(scan, blocks)? {
                        rows.push(row);
                    }
                    Ok(rows)
                },
                InlineScan::new(),
                second,
                values,
                queries,
                &tenth,
            )?;
            println!(
                "caution {caution}:   ef | recall, us, reads: first | inline | ratio, recall difference"
            );
            let mut sum = 0.0;
            for ((ef, old), new) in LADDER.iter().zip(&base).zip(&found) {
                let recall = |f: &Figures| f.right as f64 / (queries.len() * 10) as f64;
                sum += recall(new) - recall(old);
                println!(
                    "{ef:14} | {:.4} {:7.1} {:6} | {:.4} {:7.1} {:6} | {:.3} {:+.4}",
                    recall(old),
                    old.micros,
                    old.reads,
                    recall(new),
                    new.micros,
                    new.reads,
                    new.micros / old.micros,
                    recall(new) - recall(old),
                );
            }
            println!("mean recall difference {:+.4}", sum / LADDER.len() as f64);
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn ladder<T: CodedSpace, C>(
        &self,
        blocks: &mut Plain,
        mut scan: impl FnMut(&mut Plain, usize, &ScanSettings, &mut C) -> Result<Vec<Tid>, String>,
        mut state: C,
        space: T,
        values: &[ValueBuf],
        queries: &[ValueBuf],
        tenth: &[f64],
    ) -> Result<Vec<Figures>, Box<dyn Error>> {
        let mut all = vec![Figures { micros: f64::INFINITY, ..Figures::default() }; LADDER.len()];
        for _ in 0..self.rounds {
            for (figures, ef_search) in all.iter_mut().zip(LADDER) {
                let settings = ScanSettings {
                    ef_search,
                    iterative: IterativeScan::Off,
                    max_tuples: 20_000,
                    max_memory: 64 << 20,
                };
                let mut found = Vec::new();
                blocks.reads = 0;
                let started = ThreadTime::now();
                for query in 0..queries.len() {
                    found.push(scan(blocks, query, &settings, &mut state)?);
                }
                let micros = started.elapsed().as_secs_f64() * 1e6 / queries.len() as f64;
                figures.micros = figures.micros.min(micros);
                figures.reads = blocks.reads / queries.len() as u64;
                figures.right = 0;
                for ((rows, query), tenth) in found.iter().zip(queries).zip(tenth) {
                    let query = space.view(query.bytes())?;
                    for row in rows.iter().take(10) {
                        let value = space.view(values[row.block() as usize].bytes())?;
                        figures.right += usize::from(space.exact(query, value) <= *tenth);
                    }
                }
            }
        }
        Ok(all)
    }

    fn build<S: Space>(&self, space: S, values: &[ValueBuf]) -> Result<Graph<S>, Box<dyn Error>> {
        let params = Params {
            m: self.m,
            ef_construction: self.ef_construction,
            max_level: max_level(PAGE_SIZE, self.m),
            threads: 0,
            budget: 8 << 30,
            seed: self.seed,
            coded: true,
        };
        let started = ThreadTime::now();
        let mut builder = Builder::new(space, params);
        for (row, value) in values.iter().enumerate() {
            builder.push(Tid::new(row as u32, 1), value.bytes())?;
        }
        let graph = builder.build(&AtomicU64::new(0), &mut Idle).map_err(|_| "out of memory")?;
        println!("build: {:.2} CPU s", started.elapsed().as_secs_f64());
        Ok(graph)
    }
}

/// The exact distance of the tenth nearest row of each query: whatever is as near is right.
fn nearest<T: CodedSpace>(
    space: T,
    values: &[ValueBuf],
    queries: &[ValueBuf],
) -> Result<Vec<f64>, Box<dyn Error>> {
    let views = values.iter().map(|v| space.view(v.bytes())).collect::<Result<Vec<_>, _>>()?;
    let mut tenth = Vec::new();
    for query in queries {
        let query = space.view(query.bytes())?;
        let mut all: Vec<f64> = views.iter().map(|v| space.exact(query, *v)).collect();
        let at = 9.min(all.len() - 1);
        // the first layout compares unit vectors, rounded
        tenth.push(*all.select_nth_unstable_by(at, f64::total_cmp).1 + 1e-6);
    }
    Ok(tenth)
}

fn write_first<S: CodedSpace>(space: S, graph: &Graph<S>, run: &Run) -> Result<Plain, Box<dyn Error>> {
    let meta = MetaPage::new(run.shape.dims as u32, run.m as u16, run.ef_construction as u16);
    let mut blocks = Plain::new(0);
    let form = Form { layout: Layout::V1, meta, seed: 0, filter_size: 0 };
    write_index(&form, &mut blocks, space, Some(graph), &mut Workers::new(0, &mut Idle), 0)?;
    Ok(blocks)
}

fn write_inline<T: CodedSpace>(
    graph: &Graph<T>,
    index: &Index<T>,
    mut meta: InlineMeta,
) -> Result<Plain, Box<dyn Error>> {
    let started = ThreadTime::now();
    let mut host = Idle;
    let mut workers = Workers::new(0, &mut host);
    let plan = InlinePlan::new(graph, index, 4 << 30, &mut workers)?;
    meta.set_entry(plan.entry());
    let mut blocks = Plain::new(plan.count());
    meta.write(blocks.page_mut(0));
    plan.write(&mut workers, |block, bytes| {
        blocks.page_mut(block).copy_from_slice(bytes);
        Ok::<_, Corruption>(())
    })?;
    println!("inline pages: {:.2} CPU s", started.elapsed().as_secs_f64());
    Ok(blocks)
}

/// A buffer's header in a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Header {
    pins: AtomicU32,
    lock: AtomicU32,
}

/// A block, aligned as a buffer is.
#[repr(align(8192))]
struct Page([u8; PAGE_SIZE]);

/// Blocks in plain memory.
struct Plain {
    /// side by side, as shared buffers are
    pages: Vec<Page>,
    headers: Vec<Header>,
    reads: u64,
}

impl Plain {
    fn new(blocks: u32) -> Self {
        let mut plain = Plain { pages: Vec::new(), headers: Vec::new(), reads: 0 };
        (0..blocks).for_each(|_| plain.add());
        plain
    }

    fn add(&mut self) {
        self.pages.push(Page([0; PAGE_SIZE]));
        self.headers.push(Header::default());
    }

    fn size(&self) -> usize {
        self.pages.len() * PAGE_SIZE
    }

    fn page(&self, block: u32) -> &[u8] {
        &self.pages[block as usize].0
    }

    fn page_mut(&mut self, block: u32) -> &mut [u8] {
        &mut self.pages[block as usize].0
    }
}

/// A change, made at once: nobody else is there.
struct Change<'a> {
    plain: &'a mut Plain,
    held: Vec<u32>,
}

impl PageUpdate for Change<'_> {
    type Error = Corruption;
    fn open(&mut self, block: u32) -> Result<PageRef, Corruption> {
        self.held.push(block);
        Ok(PageRef(self.held.len() - 1))
    }
    fn extend(&mut self) -> Result<PageRef, Corruption> {
        self.plain.add();
        self.open(self.plain.pages.len() as u32 - 1)
    }
    fn block(&self, at: PageRef) -> u32 {
        self.held[at.0]
    }
    fn bytes(&self, at: PageRef) -> &[u8] {
        self.plain.page(self.held[at.0])
    }
    fn bytes_mut(&mut self, at: PageRef) -> Result<&mut [u8], Corruption> {
        Ok(self.plain.page_mut(self.held[at.0]))
    }
    fn commit(self) -> Result<(), Corruption> {
        Ok(())
    }
}

impl BlockStore for Plain {
    type Error = Corruption;
    type Update<'a> = Change<'a>;

    fn page_size(&self) -> usize {
        PAGE_SIZE
    }

    fn count(&mut self) -> Result<u32, Corruption> {
        Ok(self.headers.len() as u32)
    }

    #[inline(always)]
    fn read<R>(
        &mut self,
        block: u32,
        look: impl FnOnce(&[u8]) -> Result<R, Damage>,
    ) -> Result<R, Corruption> {
        self.reads += 1;
        let missing = Damage::at(0, "block does not exist").on(block);
        let header = self.headers.get(block as usize).ok_or(missing)?;
        header.pins.fetch_add(1, Ordering::AcqRel);
        header.lock.fetch_add(1, Ordering::AcqRel);
        let result = look(self.page(block)).map_err(|damage| damage.on(block));
        header.lock.fetch_sub(1, Ordering::AcqRel);
        header.pins.fetch_sub(1, Ordering::AcqRel);
        result
    }

    fn prefetch_blocks(&mut self, tids: &[Tid]) {
        for tid in tids {
            if let Some(header) = self.headers.get(tid.block() as usize) {
                prefetch_line(std::ptr::from_ref(header).cast());
                let page = self.page(tid.block());
                prefetch_line(page.as_ptr());
                prefetch_line(page.as_ptr().wrapping_add(24 + 4 * usize::from(tid.offset())));
            }
        }
    }

    fn prefetch_item(&mut self, tid: Tid, size: usize) {
        if (tid.block() as usize) < self.headers.len() {
            let page = self.page(tid.block());
            let at = 20 + 4 * usize::from(tid.offset());
            let line =
                page.get(at..at + 4).and_then(|b| b.first_chunk::<4>()).map_or(0, |b| u32::from_ne_bytes(*b));
            self.prefetch_bytes(tid.block(), (line & 0x7fff) as usize, size);
        }
    }

    fn prefetch_bytes(&mut self, block: u32, start: usize, size: usize) {
        if let Some(header) = self.headers.get(block as usize) {
            prefetch_line(std::ptr::from_ref(header).cast());
            let page = self.page(block).as_ptr();
            prefetch_line(page);
            for at in (start..start + size).step_by(64) {
                prefetch_line(page.wrapping_add(at));
            }
        }
    }

    fn update(&mut self) -> Result<Change<'_>, Corruption> {
        Ok(Change { plain: self, held: Vec::new() })
    }

    fn lock(&mut self, _: OperationLock, _: LockMode) -> Result<(), Corruption> {
        Ok(())
    }

    fn unlock(&mut self, _: OperationLock, _: LockMode) {}
}

/// A two-dimensional array of little-endian f32 in NumPy's format (numpy.lib.format, version 1.0).
fn read_npy(path: &str) -> Result<(Vec<f32>, usize), Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let header = bytes.get(8..10).and_then(|b| b.first_chunk::<2>()).ok_or("not a .npy file")?;
    let start = 10 + usize::from(u16::from_le_bytes(*header));
    let text = String::from_utf8_lossy(bytes.get(10..start).ok_or("short header")?).into_owned();
    let shape = text.split_once("'shape': (").ok_or("no shape")?.1.split(')').next().unwrap_or("");
    let dim = shape.split(',').nth(1).ok_or("one dimension")?.trim().parse()?;
    if !text.contains("'<f4'") || text.contains("'fortran_order': True") {
        return Err("not rows of f32".into());
    }
    let (numbers, _) = bytes[start..].as_chunks::<4>();
    Ok((numbers.iter().map(|b| f32::from_le_bytes(*b)).collect(), dim))
}

/// Made rows: around so many centres, which differ as much as rows of one do, or without them.
fn made(dims: usize, rows: usize, centres: usize) -> (Vec<f32>, usize) {
    let mut state = 9u64;
    let mut normal = move || {
        let sum: i64 = (0..4)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as i64 - (1 << 23)
            })
            .sum();
        sum as f32 / (1 << 24) as f32
    };
    let middles: Vec<f32> = (0..centres.max(1) * dims).map(|_| normal()).collect();
    // few directions in which rows differ much, many in which they do little, as embeddings have them
    let weights: Vec<f32> = (0..dims).map(|d| 1.0 / (1.0 + d as f32 / 8.0).sqrt()).collect();
    let mut data = Vec::with_capacity(rows * dims);
    for row in 0..rows {
        let middle = if centres == 0 { &[][..] } else { &middles[row % centres * dims..][..dims] };
        for (d, weight) in weights.iter().enumerate() {
            data.push((normal() + middle.get(d).copied().unwrap_or(0.0)) * weight);
        }
    }
    (data, dims)
}

fn encode(kind: ValueKind, row: &[f32], unit: bool) -> ValueBuf {
    let mut buf = ValueBuf::new();
    let payload: Vec<u8> = match kind {
        ValueKind::Halfvec => row.iter().flat_map(|x| f16::from_f32(*x).to_ne_bytes()).collect(),
        ValueKind::Bit => row
            .chunks(8)
            .map(|c| c.iter().enumerate().map(|(i, x)| u8::from(*x > 0.0) << (7 - i)).sum())
            .collect(),
        _ => row.iter().flat_map(|x| x.to_ne_bytes()).collect(),
    };
    let size = 8 + payload.len();
    let bytes = buf.reset(size);
    bytes[..4].copy_from_slice(&varlena_header(size));
    match kind {
        ValueKind::Bit => bytes[4..8].copy_from_slice(&(row.len() as i32).to_ne_bytes()),
        _ => bytes[4..6].copy_from_slice(&(row.len() as i16).to_ne_bytes()),
    }
    bytes[8..].copy_from_slice(&payload);
    let mut normalized = ValueBuf::new();
    if unit && matches!(normalize(kind, buf.bytes(), &mut normalized), Ok(true)) { normalized } else { buf }
}

fn shuffle(order: &mut [usize]) {
    let mut state = 42u64;
    for at in (1..order.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (state >> 33) as usize % (at + 1));
    }
}
