//! Both page layouts of hnsw on the same graph: recall, CPU per query, blocks read, and bytes, over `ef_search`.
//!
//! ```sh
//! cargo bench -p vector-benches --bench hnsw_layouts -- FILE.npy|clustered|uniform l2|ip|cosine|hamming [key=value ...]
//! ```
//!
//! FILE.npy holds rows of f32, such as the SQL benchmark caches. Keys: `kind` (vector, halfvec, bit), `rows`,
//! `queries`, `dims` (of made data), `m`, `efc`, `seed`, `rounds`, `only` (1: the second layout alone), `threads` and
//! `coded` (0: exact distances) of the build, and, several by commas to calibrate, `doubled` (elements of a code that
//! have two bits) and `caution` (deviations). Recall is that of the ten nearest and a query's rows are all that its
//! scan returns, unless `limit` says how many: these count then, and are all, of iterative scans in relaxed order, or
//! with `strict=1` in strict order. With `every`, so many rows of one pass a filter, which looks at what a scan
//! returns. Blocks are plain memory, side by side as shared buffers are, whose reads cost what a pinned and
//! share-locked buffer costs: four atomic operations on a header of its own cache line. The fastest round of each
//! system counts.

#[allow(dead_code)]
#[path = "support/blocks.rs"]
mod blocks;
#[allow(dead_code)]
#[path = "support/data.rs"]
mod data;

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::AtomicU64;

use blocks::{PAGE_SIZE, Plain};
use cpu_time::ThreadTime;
use data::{encode, made, read_npy, shuffle};
use half::f16;
use vector_index::filter::Packings;
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
use vector_index::quant::rotation::Rotation;
use vector_index::quant::space::{CodedSpace, Cosine};
use vector_index::space::{AnySpace, Metric, Space, ValueBuf, ValueKind};
use vector_index::storage::page::{Corruption, Tid};
use vector_index::work::workers::{Idle, Workers};

const LADDER: [usize; 8] = [10, 14, 20, 28, 40, 80, 160, 320];

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
    let chosen = Shape::new(kind, dim, m, Packings::NONE, PAGE_SIZE);
    let padded = Rotation::padded_to(dim);
    let coded = |doubled: &str| {
        let doubled: usize = doubled.parse().map_err(|_| format!("doubled={doubled}"))?;
        let mixed = u16::try_from(doubled).ok().and_then(|doubled| Bits::new(1, doubled, padded));
        let bits = if doubled == padded { Some(Bits::TWO) } else { mixed };
        bits.map(|bits| Shape { bits, ..chosen }).ok_or(format!("doubled={doubled}: no such code"))
    };
    let shapes: Result<Vec<Shape>, String> = match options.get("doubled") {
        Some(list) => list.split(',').map(coded).collect(),
        None => Ok(vec![chosen]),
    };
    let run = Run {
        m,
        ef_construction: number("efc", 64)?,
        seed: number("seed", 1)? as u64,
        rounds: number("rounds", 3)?,
        threads: number("threads", 1)?,
        coded: number("coded", 1)? > 0,
        shapes: shapes?,
        only: number("only", 0)? > 0,
        strict: number("strict", 0)? > 0,
        every: number("every", 1)?.max(1),
        limit: options.contains_key("limit").then(|| number("limit", 10)).transpose()?,
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
    threads: usize,
    coded: bool,
    shapes: Vec<Shape>,
    cautions: Vec<f32>,
    only: bool,
    /// rows of a query, where it is iterative
    limit: Option<usize>,
    strict: bool,
    /// of so many rows one passes the filter
    every: usize,
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
        let passing: Vec<_> = values.iter().step_by(self.every).cloned().collect();
        let tenth = nearest(second, &passing, queries, self.counted())?;
        drop(passing);
        let passes = |row: &Tid| (row.block() as usize).is_multiple_of(self.every);
        let most = self.limit.unwrap_or(usize::MAX);
        let base = if self.only {
            vec![Figures::default(); LADDER.len()]
        } else {
            self.ladder(
                &mut old,
                |blocks, query, settings, scan: &mut Scan| {
                    scan.reset();
                    let value = first_queries[query].bytes();
                    let mut rows = Vec::new();
                    while rows.len() < most
                        && let Some(row) =
                            scan.next(blocks, first, Some(value), settings).map_err(|e| format!("{e:?}"))?
                    {
                        rows.extend(Some(row).filter(passes));
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
        for shape in &self.shapes {
            let meta = InlineMeta::new(shape, self.ef_construction as u16, 7);
            let shared = Shared::new(&meta, PAGE_SIZE)?;
            let mut index = Index::new(&shared, second);
            let mut new = write_inline(&graph, &index, meta)?;
            let (old_bytes, new_bytes) = (old.size() / values.len(), new.size() / values.len());
            let share = new_bytes as f64 / old_bytes as f64;
            println!("{:?}: bytes a row: {old_bytes}, {new_bytes} ({share:.3})", shape.bits);
            let cautions =
                if self.cautions.is_empty() { vec![index.caution()] } else { self.cautions.clone() };
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
                        while rows.len() < most
                            && let Some((row, _)) = next(scan, blocks)?
                        {
                            rows.extend(Some(row).filter(passes));
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
                    let recall = |f: &Figures| f.right as f64 / (queries.len() * self.counted()) as f64;
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
        }
        Ok(())
    }

    /// Rows that are to be the nearest.
    fn counted(&self) -> usize {
        self.limit.unwrap_or(10)
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
                    iterative: match self.limit {
                        Some(_) if self.strict => IterativeScan::Strict,
                        Some(_) => IterativeScan::Relaxed,
                        None => IterativeScan::Off,
                    },
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
                    for row in rows.iter().take(self.counted()) {
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
            threads: self.threads,
            budget: 8 << 30,
            seed: self.seed,
            coded: self.coded,
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

/// The exact distance of the last of the nearest rows of each query: whatever is as near is right.
fn nearest<T: CodedSpace>(
    space: T,
    values: &[ValueBuf],
    queries: &[ValueBuf],
    counted: usize,
) -> Result<Vec<f64>, Box<dyn Error>> {
    let views = values.iter().map(|v| space.view(v.bytes())).collect::<Result<Vec<_>, _>>()?;
    let mut tenth = Vec::new();
    for query in queries {
        let query = space.view(query.bytes())?;
        let mut all: Vec<f64> = views.iter().map(|v| space.exact(query, *v)).collect();
        let at = counted.clamp(1, all.len()) - 1;
        // the first layout compares unit vectors, rounded
        tenth.push(*all.select_nth_unstable_by(at, f64::total_cmp).1 + 1e-6);
    }
    Ok(tenth)
}

fn write_first<S: CodedSpace>(space: S, graph: &Graph<S>, run: &Run) -> Result<Plain, Box<dyn Error>> {
    let meta = MetaPage::new(run.shapes[0].dims as u32, run.m as u16, run.ef_construction as u16);
    let mut blocks = Plain::new(0);
    let form = Form { layout: Layout::V1, meta, seed: 0, filters: Packings::NONE };
    write_index(&form, &mut blocks, space, Some(graph), &mut Workers::new(0, &mut Idle), 0)?;
    Ok(blocks)
}

fn write_inline<T: CodedSpace>(
    graph: &Graph<T>,
    index: &Index<T>,
    meta: InlineMeta,
) -> Result<Plain, Box<dyn Error>> {
    let started = ThreadTime::now();
    let mut host = Idle;
    let mut workers = Workers::new(0, &mut host);
    let plan = InlinePlan::new(graph, index, 4 << 30, &mut workers)?;
    let mut blocks = Plain::new(plan.count());
    plan.meta(meta).write(blocks.page_mut(0));
    plan.write(&mut workers, |block, bytes| {
        blocks.page_mut(block).copy_from_slice(bytes);
        Ok::<_, Corruption>(())
    })?;
    println!("inline pages: {:.2} CPU s", started.elapsed().as_secs_f64());
    Ok(blocks)
}
