//! Both page layouts of ivfflat over the same lists: recall@10, CPU per query, blocks read, bytes, and what builds
//! cost, over `probes`.
//!
//! ```sh
//! cargo bench -p vector-benches --bench ivf_layouts -- FILE.npy|clustered|uniform l2|ip|cosine [key=value ...]
//! ```
//!
//! FILE.npy holds rows of f32, such as the SQL benchmark caches. Keys: `kind` (vector, halfvec), `rows`, `queries`,
//! `dims` (of made data), `lists`, `seed`, `rounds`, `limit`, `probes` (one number only), `only` (1: packed alone),
//! `kmeans` (0: centres are rows).
//! Blocks are plain memory whose reads cost what a buffer's cost. Layouts take turns in each round; the fastest round
//! of each counts.

#[allow(dead_code)]
#[path = "support/blocks.rs"]
mod blocks;
#[allow(dead_code)]
#[path = "support/data.rs"]
mod data;

use std::collections::HashMap;
use std::error::Error;

use cpu_time::ThreadTime;
use half::f16;
use vector_index::ivf::centre_cache::Centres;
use vector_index::ivf::cluster::kmeans::{Plan, Task, kmeans};
use vector_index::ivf::cluster::sample::Sample;
use vector_index::ivf::format::{Layout, Memory, read_meta};
use vector_index::ivf::insert::{Inserter, insert};
use vector_index::ivf::lists::{NoTable, Services, Unpack};
use vector_index::ivf::load::{Element, LoadOptions, Loader, value_size, write_value};
use vector_index::ivf::packed::Index;
use vector_index::ivf::packed::code::Coder;
use vector_index::ivf::scan::{Scan, ScanSettings};
use vector_index::quant::space::{CodedSpace, Cosine};
use vector_index::space::{AnySpace, Metric, ValueBuf, ValueKind};
use vector_index::storage::page::Tid;
use vector_index::with_lists;
use vector_index::work::runs::Runs;
use vector_index::work::workers::{Idle, Workers};

use blocks::{PAGE_SIZE, Plain};
use data::{encode, made, read_npy, shuffle};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [source, metric, options @ ..] = args.as_slice() else {
        println!("usage: ivf_layouts FILE.npy|clustered|uniform l2|ip|cosine [key=value ...]");
        return Ok(());
    };
    let options: HashMap<&str, &str> = options.iter().filter_map(|o| o.split_once('=')).collect();
    let number = |key: &str, default: usize| match options.get(key) {
        Some(value) => value.parse().map_err(|_| format!("{key}={value}")),
        None => Ok(default),
    };
    let half = options.get("kind") == Some(&"halfvec");
    let kind = if half { ValueKind::Halfvec } else { ValueKind::Vector };
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
    let lists = number("lists", (4.0 * (rows.len() as f64).sqrt()) as usize)?;
    println!(
        "{source} {metric} {kind:?}: {} rows of {dim}, {} queries, {lists} lists",
        rows.len(),
        held.len()
    );
    let run = Run {
        dim,
        lists,
        cosine: metric == "cosine",
        spherical: metric != "l2",
        seed: number("seed", 1)? as u64,
        rounds: number("rounds", 3)?,
        limit: number("limit", 10)?,
        probes: number("probes", 0)?,
        only: number("only", 0)? == 1,
        kmeans: number("kmeans", 1)? == 1,
    };
    let value = |row: usize, unit| encode(kind, &data[row * dim..(row + 1) * dim], unit);
    let [given, given_queries] = [rows, held].map(|l| l.iter().map(|&r| value(r, false)).collect::<Vec<_>>());
    let [unit, unit_queries] = [rows, held].map(|l| l.iter().map(|&r| value(r, true)).collect::<Vec<_>>());
    let first = if run.cosine { (&unit, &unit_queries) } else { (&given, &given_queries) };
    let second = (&given, &given_queries);
    let metric = if metric == "l2" { Metric::L2 } else { Metric::InnerProduct };
    match (AnySpace::new(kind, metric, dim as i32), run.cosine) {
        (AnySpace::Vector(space), true) => {
            run.compare::<f32, _, _>(space, first, Cosine::<f32>::new(dim as i32), second)
        }
        (AnySpace::Halfvec(space), true) => {
            run.compare::<f16, _, _>(space, first, Cosine::<f16>::new(dim as i32), second)
        }
        (AnySpace::Vector(space), false) => run.compare::<f32, _, _>(space, first, space, second),
        (AnySpace::Halfvec(space), false) => run.compare::<f16, _, _>(space, first, space, second),
        _ => Err("no such space".into()),
    }
}

/// What no scan here needs.
struct Nothing;

impl Runs for Nothing {
    fn write(&mut self, _: &[u8]) {}
    fn end_run(&mut self) {}
    fn read(&mut self, _: usize, _: &mut [u8]) -> usize {
        0
    }
    fn clear(&mut self) {}
}

impl Unpack for Nothing {
    fn unpack(&mut self, _: &[u8], _: &mut ValueBuf) -> bool {
        false
    }
}

type Set<'a> = (&'a Vec<ValueBuf>, &'a Vec<ValueBuf>);

struct Run {
    dim: usize,
    lists: usize,
    cosine: bool,
    spherical: bool,
    seed: u64,
    rounds: usize,
    limit: usize,
    probes: usize,
    only: bool,
    kmeans: bool,
}

/// What a layout does at one number of probes.
#[derive(Clone, Copy)]
struct Figures {
    right: usize,
    micros: f64,
    reads: u64,
}

/// A layout's index and what scans of a backend keep.
struct Opened<S> {
    blocks: Plain,
    space: S,
    layout: Layout,
    centres: Centres,
    memory: Memory,
    scan: Scan,
}

impl Run {
    fn compare<T, S, P>(
        &self,
        first: S,
        (first_rows, first_queries): Set<'_>,
        second: P,
        (rows, queries): Set<'_>,
    ) -> Result<(), Box<dyn Error>>
    where
        T: Element + Default,
        S: for<'v> CodedSpace<View<'v> = &'v [T]>,
        P: for<'v> CodedSpace<View<'v> = &'v [T]>,
    {
        let started = ThreadTime::now();
        let centres = self.centres::<T, _>(second, rows)?;
        println!("k-means: {:.2} CPU s", started.elapsed().as_secs_f64());
        let packed =
            Index::new(second.kind(), second.estimate(), self.dim, PAGE_SIZE, 5).ok_or("no codes")?;
        let mut old = self.build::<T, _>(first, Layout::V1, &centres, first_rows)?;
        let mut new = self.build::<T, _>(second, Layout::Packed(packed), &centres, rows)?;
        let (old_bytes, new_bytes) = (old.blocks.size() / rows.len(), new.blocks.size() / rows.len());
        println!("bytes a row: {old_bytes}, {new_bytes} ({:.2})", new_bytes as f64 / old_bytes as f64);
        let tenth = nearest(second, rows, queries, self.limit)?;
        println!("probes | recall, us, reads: first | packed | ratio of CPU");
        let mut probes = self.probes.max(1);
        while probes <= self.lists {
            let mut best = [Figures { right: 0, micros: f64::INFINITY, reads: 0 }; 2];
            for _ in 0..self.rounds {
                let none = Figures { right: 0, micros: 0.0, reads: 0 };
                let figures = [
                    if self.only {
                        none
                    } else {
                        self.search(&mut old, first_queries, probes, second, rows, queries, &tenth)?
                    },
                    self.search(&mut new, queries, probes, second, rows, queries, &tenth)?,
                ];
                for (best, now) in best.iter_mut().zip(figures) {
                    *best = Figures { micros: best.micros.min(now.micros), ..now };
                }
            }
            let [old, new] = best;
            let recall = |f: &Figures| f.right as f64 / (queries.len() * self.limit) as f64;
            println!(
                "{probes:6} | {:.4} {:8.1} {:6} | {:.4} {:8.1} {:6} | {:.3}",
                recall(&old),
                old.micros,
                old.reads,
                recall(&new),
                new.micros,
                new.reads,
                new.micros / old.micros
            );
            if self.probes > 0 || recall(&old) >= 0.999 && recall(&new) > 0.99 {
                break;
            }
            probes += (probes / 2).max(1);
        }
        println!("us to find lists: probes | first | packed, with centres in memory | without");
        for probes in [1, 10, 30, 100, 300].into_iter().filter(|probes| probes * 4 <= self.lists) {
            let first = self.find(&mut old, first_queries, probes)?;
            let within = self.find(&mut new, queries, probes)?;
            let centres = core::mem::take(&mut new.centres);
            let without = self.find(&mut new, queries, probes)?;
            new.centres = centres;
            println!("{probes:6} | {first:8.1} | {within:8.1} | {without:8.1}");
        }
        let added = rows.len().min(2000);
        for (name, micros) in [
            ("first", self.add(&mut old, &first_rows[..added])?),
            ("packed", self.add(&mut new, &rows[..added])?),
        ] {
            println!("insert, {name}: {micros:.1} us");
        }
        Ok(())
    }

    fn centres<T, S>(&self, space: S, rows: &[ValueBuf]) -> Result<Vec<T>, Box<dyn Error>>
    where
        T: Element + Default,
        S: for<'v> CodedSpace<View<'v> = &'v [T]>,
    {
        let mut sample = Sample::<T>::new(self.dim, self.dim, self.spherical);
        let count = (self.lists * 50).max(10_000).min(rows.len());
        if !sample.reserve(count) {
            return Err("no memory".into());
        }
        for row in rows.iter().step_by(rows.len() / count) {
            sample.push(space.view(row.bytes())?, T::default());
        }
        if self.spherical {
            // as a build draws it: at unit length
            let mut unit = Sample::<T>::new(self.dim, self.dim, true);
            unit.reserve(count);
            for row in rows.iter().step_by(rows.len() / count) {
                let mut out = ValueBuf::new();
                if vector_index::space::normalize(space.kind(), row.bytes(), &mut out)? {
                    unit.push(space.view(out.bytes())?, T::default());
                }
            }
            sample = unit;
        }
        if !self.kmeans {
            return Ok((0..self.lists).flat_map(|at| sample.row(at * count / self.lists).to_vec()).collect());
        }
        let plan = Plan { bounds: 16, sums: true, codes: vector_kernels::kernels().fast_byte_panels() };
        let task = Task { lists: self.lists, seed: self.seed, plan };
        Ok(kmeans(&sample, task, &mut Workers::new(0, &mut Idle)).map_err(|_| "no memory")?.centres)
    }

    fn build<T, S>(
        &self,
        space: S,
        layout: Layout,
        centres: &[T],
        rows: &[ValueBuf],
    ) -> Result<Opened<S>, Box<dyn Error>>
    where
        T: Element,
        S: for<'v> CodedSpace<View<'v> = &'v [T]>,
    {
        let started = ThreadTime::now();
        let dim = self.dim;
        let options = LoadOptions { dims: dim, width: dim, metric: space.metric(), memory: 8 << 30 };
        let mut loader = Loader::new(options, layout.entry_form(value_size::<T>(dim)), centres.to_vec());
        if let Layout::Packed(index) = layout {
            let mut value = Vec::new();
            let coder = Coder::new(index, space, self.lists, |at, out| {
                write_value(dim, &centres[at * dim..(at + 1) * dim], &mut value);
                out.try_copy_from(&value)
            })?;
            loader.set_coder(Box::new(coder), Coder::<S>::memory(&index, self.lists));
        }
        let mut idle = Idle;
        let mut workers = Workers::new(0, &mut idle);
        loader.prepare(&mut workers).map_err(|_| "no memory")?;
        for (n, row) in rows.iter().enumerate() {
            let row = space.view(row.bytes())?;
            loader.push(Tid::new(n as u32, 1), row, &mut workers, &mut Nothing).map_err(|_| "no memory")?;
        }
        let (mut blocks, mut memory) = (Plain::new(0), Memory::default());
        with_lists!(layout, &mut blocks, &mut memory, lists => {
            loader.write(lists, PAGE_SIZE, &mut workers, &mut Nothing, &mut |_| ())
        })?;
        println!("{}: loaded in {:.2} CPU s", layout.name(), started.elapsed().as_secs_f64());
        let layout = read_meta(&mut blocks)?.layout;
        let mut centres = Centres::default();
        with_lists!(layout, &mut blocks, &mut memory, lists => centres.load(lists, space, usize::MAX))?;
        Ok(Opened { blocks, space, layout, centres, memory, scan: Scan::default() })
    }

    /// CPU microseconds of finding the lists of a query.
    fn find<S: CodedSpace>(
        &self,
        index: &mut Opened<S>,
        queries: &[ValueBuf],
        probes: usize,
    ) -> Result<f64, Box<dyn Error>> {
        let settings = ScanSettings { probes, asked: false, max_probes: probes, memory: 4 << 20 };
        let Opened { blocks, space, layout, centres, memory, scan } = index;
        let mut best = f64::INFINITY;
        for _ in 0..self.rounds.max(3) {
            let started = ThreadTime::now();
            for query in queries {
                scan.reset(&mut Nothing);
                with_lists!(*layout, &mut *blocks, &mut *memory, lists => {
                    scan.begin(lists, *space, Some(query.bytes()), &settings, centres)
                })
                .map_err(|error| format!("{error:?}"))?;
            }
            best = best.min(started.elapsed().as_secs_f64() * 1e6 / queries.len() as f64);
        }
        Ok(best)
    }

    #[allow(clippy::too_many_arguments)]
    fn search<S: CodedSpace, P: CodedSpace>(
        &self,
        index: &mut Opened<S>,
        queries: &[ValueBuf],
        probes: usize,
        exact: P,
        rows: &[ValueBuf],
        given: &[ValueBuf],
        tenth: &[f64],
    ) -> Result<Figures, Box<dyn Error>> {
        let settings = ScanSettings { probes, asked: false, max_probes: probes, memory: 4 << 20 };
        let mut all = Vec::new();
        let Opened { blocks, space, layout, centres, memory, scan } = index;
        blocks.reads = 0;
        let started = ThreadTime::now();
        for query in queries {
            let (mut runs, mut unpack) = (Nothing, Nothing);
            let mut services = Services { runs: &mut runs, unpack: &mut unpack, table: &mut NoTable };
            scan.reset(services.runs);
            with_lists!(*layout, &mut *blocks, &mut *memory, lists => {
                scan.begin(lists, *space, Some(query.bytes()), &settings, centres)
            })
            .map_err(|error| format!("{error:?}"))?;
            let mut found = Vec::new();
            with_lists!(*layout, &mut *blocks, &mut *memory, lists => {
                while found.len() < self.limit {
                    let next = scan.next(lists, *space, Some(query.bytes()), &settings, &mut services);
                    match next.map_err(|error| format!("{error:?}"))? {
                        Some(row) => found.push(row),
                        None => break,
                    }
                }
            });
            all.push(found);
        }
        let micros = started.elapsed().as_secs_f64() * 1e6 / queries.len() as f64;
        let mut right = 0;
        for ((found, query), tenth) in all.iter().zip(given).zip(tenth) {
            let query = exact.view(query.bytes())?;
            for row in found {
                let value = exact.view(rows[row.block() as usize].bytes())?;
                right += usize::from(exact.exact(query, value) <= *tenth);
            }
        }
        Ok(Figures { right, micros, reads: blocks.reads / queries.len() as u64 })
    }

    fn add<S: CodedSpace>(&self, index: &mut Opened<S>, rows: &[ValueBuf]) -> Result<f64, Box<dyn Error>> {
        let Opened { blocks, space, layout, centres, memory, .. } = index;
        let mut inserter = Inserter::default();
        let started = ThreadTime::now();
        for (n, row) in rows.iter().enumerate() {
            let tid = Tid::new(10_000_000 + n as u32, 1);
            let added = with_lists!(*layout, &mut *blocks, &mut *memory, lists => {
                insert(lists, *space, row.bytes(), tid, &mut inserter, centres)
            });
            added.map_err(|error| format!("{error:?}"))?;
        }
        Ok(started.elapsed().as_secs_f64() * 1e6 / rows.len() as f64)
    }
}

/// The exact distance of the last of the nearest rows of each query: whatever is as near is right.
fn nearest<P: CodedSpace>(
    space: P,
    values: &[ValueBuf],
    queries: &[ValueBuf],
    limit: usize,
) -> Result<Vec<f64>, Box<dyn Error>> {
    let views = values.iter().map(|v| space.view(v.bytes())).collect::<Result<Vec<_>, _>>()?;
    let mut last = Vec::new();
    for query in queries {
        let query = space.view(query.bytes())?;
        let mut all: Vec<f64> = views.iter().map(|v| space.exact(query, *v)).collect();
        let at = (limit - 1).min(all.len() - 1);
        // the first layout compares unit vectors, rounded
        last.push(*all.select_nth_unstable_by(at, f64::total_cmp).1 + 1e-6);
    }
    Ok(last)
}
