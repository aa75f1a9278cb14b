//! Inline indexes of hnsw built with a part of the memory that all rows would take, beside one that has it all: CPU
//! seconds up to finished pages, parts, bytes of temporary files, and recall@10 over `ef_search`.
//!
//! ```sh
//! cargo bench -p vector-benches --bench hnsw_parts -- FILE.npy|clustered|uniform l2|ip|cosine|hamming [key=value ...]
//! ```
//!
//! FILE.npy holds rows of f32, such as the SQL benchmark caches. Keys: `kind` (vector, halfvec, bit), `rows`,
//! `queries`, `dims` (of made data), `m`, `efc`, `seed`, `threads`, `rounds`, and `times` (divisors of the memory, by
//! commas). In each round every build takes its turn; the fastest counts.

#[allow(dead_code)]
#[path = "support/blocks.rs"]
mod blocks;
#[allow(dead_code)]
#[path = "support/data.rs"]
mod data;

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::AtomicU64;

use cpu_time::ProcessTime;
use half::f16;
use vector_index::filter::Packings;
use vector_index::hnsw::build::{Builder, Params, Pushed};
use vector_index::hnsw::inline::bulk_write::PagePlan;
use vector_index::hnsw::inline::layout::Shape;
use vector_index::hnsw::inline::meta::InlineMeta;
use vector_index::hnsw::inline::parts::Spilled;
use vector_index::hnsw::inline::scan::{Index, Scan, Shared};
use vector_index::hnsw::params::max_level;
use vector_index::hnsw::scan::{IterativeScan, ScanSettings};
use vector_index::quant::space::{CodedSpace, Cosine};
use vector_index::space::{AnySpace, Metric, ValueBuf, ValueKind};
use vector_index::storage::page::{Corruption, Tid};
use vector_index::with_space;
use vector_index::work::runs::MemoryFiles;
use vector_index::work::workers::{Idle, Workers};

use blocks::{PAGE_SIZE, Plain};
use data::{encode, made, read_npy, shuffle};

const LADDER: [usize; 5] = [10, 20, 40, 80, 160];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [source, metric, options @ ..] = args.as_slice() else {
        println!("usage: hnsw_parts FILE.npy|clustered|uniform l2|ip|cosine|hamming [key=value ...]");
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
    let (count, queries) = (number("rows", 50_000)?, number("queries", 500)?);
    let (data, dims) = match source.as_str() {
        "clustered" => made(number("dims", 128)?, count + queries, 200),
        "uniform" => made(number("dims", 128)?, count + queries, 0),
        path => read_npy(path)?,
    };
    let mut order: Vec<usize> = (0..data.len() / dims).collect();
    shuffle(&mut order);
    let (order, held) = order.split_at(order.len() - queries.min(order.len() / 2));
    let value = |row: usize| encode(kind, &data[row * dims..(row + 1) * dims], false);
    let values: Vec<ValueBuf> = order.iter().take(count).map(|&row| value(row)).collect();
    let queries: Vec<ValueBuf> = held.iter().map(|&row| value(row)).collect();
    let m = number("m", 16)?;
    let run = Run {
        shape: Shape::new(kind, dims, m, Packings::NONE, PAGE_SIZE),
        params: Params {
            m,
            ef_construction: number("efc", 64)?,
            max_level: max_level(PAGE_SIZE, m),
            threads: number("threads", 1)?,
            budget: 8 << 30,
            seed: number("seed", 1)? as u64,
            coded: true,
        },
        rounds: number("rounds", 1)?,
        times: options
            .get("times")
            .unwrap_or(&"2,4,16")
            .split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()?,
    };
    println!("{source} {metric} {kind:?}: {} rows of {dims}, {} queries", values.len(), queries.len());
    match (metric.as_str(), kind) {
        ("cosine", ValueKind::Halfvec) => run.compare(Cosine::<f16>::new(dims as i32), &values, &queries),
        ("cosine", _) => run.compare(Cosine::<f32>::new(dims as i32), &values, &queries),
        (name, _) => {
            let metric = match name {
                "l2" => Metric::L2,
                "hamming" => Metric::Hamming,
                _ => Metric::InnerProduct,
            };
            with_space!(AnySpace::new(kind, metric, dims as i32), space => run.compare(space, &values, &queries))
        }
    }
}

struct Run {
    shape: Shape,
    params: Params,
    rounds: usize,
    times: Vec<usize>,
}

/// What a build came to.
struct Figures {
    seconds: f64,
    parts: usize,
    spilled: usize,
    recall: Vec<f64>,
}

impl Run {
    fn compare<S: CodedSpace>(
        &self,
        space: S,
        values: &[ValueBuf],
        queries: &[ValueBuf],
    ) -> Result<(), Box<dyn Error>> {
        let views = values.iter().map(|v| space.view(v.bytes())).collect::<Result<Vec<_>, _>>()?;
        let mut tenth = Vec::new();
        for query in queries {
            let query = space.view(query.bytes())?;
            let mut all: Vec<f64> = views.iter().map(|v| space.exact(query, *v)).collect();
            let at = 9.min(all.len() - 1);
            tenth.push(*all.select_nth_unstable_by(at, f64::total_cmp).1 + 1e-6);
        }
        let size = self.shape_value();
        let codes =
            if self.shape.kind == ValueKind::Bit { 0 } else { (self.shape.dims + 8).next_multiple_of(64) };
        let memory = values.len() * (Builder::<S>::element_bytes(self.shape.m, 0, size) + codes)
            + Builder::<S>::scratch_bytes(&self.params, values.len());
        let budgets = [self.params.budget].into_iter().chain(self.times.iter().map(|times| memory / times));
        let mut all: Vec<Option<Figures>> = budgets.clone().map(|_| None).collect();
        for round in 0..self.rounds {
            for (budget, best) in budgets.clone().zip(&mut all) {
                let mut figures = self.build(space, budget, values, queries, &tenth, round == 0)?;
                if let Some(before) = best.take() {
                    figures.seconds = figures.seconds.min(before.seconds);
                    figures.recall = before.recall;
                }
                *best = Some(figures);
            }
        }
        let base = all.first().and_then(Option::as_ref).ok_or("no build")?;
        println!("memory of all {} MB; recall@10 at ef {LADDER:?}", memory >> 20);
        println!("all in memory: {:6.2} CPU s, recall {:.4?}", base.seconds, base.recall);
        for (times, figures) in self.times.iter().zip(all.iter().skip(1).flatten()) {
            let lost = base.recall.iter().zip(&figures.recall).map(|(a, b)| a - b).sum::<f64>();
            println!(
                "1/{times:<3} {:4} parts: {:6.2} CPU s ({:.2}), recall {:.4?}, mean loss {:+.4}, {} MB of files",
                figures.parts,
                figures.seconds,
                figures.seconds / base.seconds,
                figures.recall,
                lost / LADDER.len() as f64,
                figures.spilled >> 20,
            );
        }
        Ok(())
    }

    fn shape_value(&self) -> usize {
        let Shape { kind, dims, .. } = self.shape;
        8 + match kind {
            ValueKind::Bit => dims.div_ceil(8),
            ValueKind::Halfvec => 2 * dims,
            _ => 4 * dims,
        }
    }

    fn build<S: CodedSpace>(
        &self,
        space: S,
        budget: usize,
        values: &[ValueBuf],
        queries: &[ValueBuf],
        tenth: &[f64],
        search: bool,
    ) -> Result<Figures, Box<dyn Error>> {
        let params = Params { budget, ..self.params };
        let mut meta = InlineMeta::new(&self.shape, params.ef_construction as u16, 7);
        let shared = Shared::new(&meta, PAGE_SIZE)?;
        let index = Index::new(&shared, space);
        let mut pages = Plain::new(1);
        let add = |pages: &mut Plain, bytes: &[u8]| {
            pages.add();
            let last = pages.blocks() - 1;
            pages.page_mut(last).copy_from_slice(bytes);
        };
        let mut files = MemoryFiles::default();
        let mut host = Idle;
        let started = ProcessTime::now();
        let mut workers = Workers::new(params.threads.saturating_sub(1), &mut host);
        let mut filling = Some(Builder::new(space, params));
        filling.iter_mut().for_each(|builder| builder.share_elements(0));
        let mut spilled = Spilled::new(params, &index.layout, &mut files);
        for (row, value) in values.iter().enumerate() {
            let tid = Tid::new(row as u32, 1);
            if let Some(builder) = &mut filling {
                if builder.push(tid, value.bytes())? != Pushed::Full {
                    continue;
                }
                if let Some(builder) = filling.take() {
                    spilled.take(builder, &mut files, &mut workers)?;
                }
            }
            spilled.push(&index, &mut files, tid, value.bytes())?;
        }
        let mut figures = Figures { seconds: 0.0, parts: 1, spilled: 0, recall: Vec::new() };
        if let Some(builder) = filling {
            let graph =
                builder.build_part(&AtomicU64::new(0), &mut workers, &|_| false).map_err(|_| "memory")?;
            let plan = PagePlan::new(&graph, &index, 8 << 30, &mut workers)?;
            meta = plan.meta(meta);
            plan.write(&mut workers, |_, bytes| {
                add(&mut pages, bytes);
                Ok::<_, Corruption>(())
            })?;
        } else {
            let merged = spilled.build(&index, &mut files, &AtomicU64::new(0), &mut workers)?;
            (figures.parts, figures.spilled) = (merged.parts(), files.bytes());
            if merged.left_over() > 0 {
                println!("{} rows are left over", merged.left_over());
            }
            meta.set_entry(merged.entry(&index));
            merged.write(&mut files, &index, &mut workers, &mut |_, bytes: &[u8]| {
                add(&mut pages, bytes);
                Ok::<_, Corruption>(())
            })?;
        }
        figures.seconds = started.elapsed().as_secs_f64();
        meta.write(pages.page_mut(0));
        for ef_search in LADDER.into_iter().filter(|_| search) {
            let settings = ScanSettings {
                ef_search,
                iterative: IterativeScan::Off,
                max_tuples: 20_000,
                max_memory: 64 << 20,
            };
            let (mut scan, mut right) = (Scan::new(), 0);
            for (query, tenth) in queries.iter().zip(tenth) {
                scan.reset();
                for _ in 0..10 {
                    let found = scan.next(&mut pages, &index, Some(query.bytes()), &settings);
                    let Some((_, distance)) = found.map_err(|e| format!("{e:?}"))? else { break };
                    right += usize::from(distance <= *tenth);
                }
            }
            figures.recall.push(right as f64 / (10 * queries.len()) as f64);
        }
        Ok(figures)
    }
}
