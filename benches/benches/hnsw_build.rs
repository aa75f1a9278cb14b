//! Builds a graph in memory from real data and searches it: CPU seconds of the build, memory, and recall@10 with the
//! distances it took, over `ef`.
//!
//! ```sh
//! cargo bench -p vector-benches --bench hnsw_build -- FILE.npy l2|ip|cosine|l1|hamming [key=value ...]
//! ```
//!
//! FILE.npy holds rows of f32, such as the SQL benchmark caches. Keys: `kind` (vector, halfvec, bit), `rows`,
//! `queries`, `m`, `efc`, `threads`, `seed`, `coded`, `repeat`. Queries are taken from the end of the file,
//! rows from its beginning, in an order shuffled with a fixed seed.

#[allow(dead_code)]
#[path = "support/data.rs"]
mod data;

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use cpu_time::ProcessTime;
use vector_index::hnsw::build::{Builder, Graph, Params, Pushed};
use vector_index::hnsw::params::max_level;
use vector_index::hnsw::search::{CandidateQueue, Scored, Store, search_layer};
use vector_index::space::{AnySpace, Metric, Space, ValueBuf, ValueKind};
use vector_index::storage::page::Tid;
use vector_index::with_space;
use vector_index::work::workers::Idle;

use data::{encode, read_npy, shuffle};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [file, metric, options @ ..] = args.as_slice() else {
        println!("usage: hnsw_build FILE.npy l2|ip|cosine|l1|hamming [key=value ...]");
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
    let unit = metric == "cosine";
    let metric = match metric.as_str() {
        "l2" => Metric::L2,
        "l1" => Metric::L1,
        "hamming" => Metric::Hamming,
        _ => Metric::InnerProduct,
    };
    let (data, dim) = read_npy(file)?;
    let mut order: Vec<usize> = (0..data.len() / dim).collect();
    shuffle(&mut order);
    let queries = number("queries", 1000)?.min(order.len() / 2);
    let (order, held) = order.split_at(order.len() - queries);
    let rows = &order[..number("rows", usize::MAX)?.min(order.len())];
    let value = |row: usize| encode(kind, &data[row * dim..(row + 1) * dim], unit);
    let m = number("m", 16)?;
    let params = Params {
        m,
        ef_construction: number("efc", 64)?,
        max_level: max_level(8192, m),
        threads: number("threads", 1)?,
        budget: number("budget", 8 << 30)?,
        seed: number("seed", 1)? as u64,
        coded: number("coded", 1)? != 0,
    };
    println!("{file}: {} rows of {dim}, {} queries, {params:?}", rows.len(), held.len());
    with_space!(AnySpace::new(kind, metric, dim as i32), space => {
        let values: Vec<ValueBuf> = rows.iter().map(|&r| value(r)).collect();
        let queries: Vec<ValueBuf> = held.iter().map(|&r| value(r)).collect();
        let mut graph = None;
        for _ in 0..number("repeat", 1)? {
            graph = Some(build(space, params, &values)?);
        }
        if let Some(graph) = graph {
            measure(space, &graph, &values, &queries)?;
        }
    });
    Ok(())
}

fn build<S: Space>(space: S, params: Params, values: &[ValueBuf]) -> Result<Graph<S>, Box<dyn Error>> {
    let started = (ProcessTime::now(), std::time::Instant::now());
    let mut builder = Builder::new(space, params);
    for (row, value) in values.iter().enumerate() {
        if builder.push(Tid::new(row as u32, 1), value.bytes())? == Pushed::Full {
            return Err("the budget is too small".into());
        }
    }
    let pushed = started.0.elapsed();
    let memory = builder.memory();
    let graph = builder.build(&AtomicU64::new(0), &mut Idle).map_err(|_| "out of memory")?;
    println!(
        "build: {:.2} CPU s, {:.2} s; of it push {:.3} CPU s; {} elements, {} reattached, {} bytes each",
        started.0.elapsed().as_secs_f64(),
        started.1.elapsed().as_secs_f64(),
        pushed.as_secs_f64(),
        graph.len(),
        graph.reattached(),
        memory / graph.len().max(1),
    );
    Ok(graph)
}

struct Query<'a, S: Space> {
    space: S,
    graph: &'a Graph<S>,
    query: S::View<'a>,
    visited: Vec<u32>,
    stamp: u32,
    distances: usize,
}

impl<S: Space> Query<'_, S> {
    fn score(&mut self, node: u32) -> Option<Scored> {
        self.distances += 1;
        let view = self.space.view(self.graph.element(node)?.value()).ok()?;
        Some(Scored { node, distance: self.space.distance(self.query, view) })
    }
}

impl<S: Space> Store for Query<'_, S> {
    type Error = ();
    fn out_of_memory(&self) {}
    fn expand(&mut self, node: u32, layer: u8, bound: f32, out: &mut Vec<Scored>) -> Result<(), ()> {
        for id in self.graph.element(node).ok_or(())?.neighbours(layer) {
            if std::mem::replace(&mut self.visited[id as usize], self.stamp) != self.stamp {
                out.extend(self.score(id).filter(|s| s.distance < bound));
            }
        }
        Ok(())
    }
}

fn measure<S: Space>(
    space: S,
    graph: &Graph<S>,
    values: &[ValueBuf],
    queries: &[ValueBuf],
) -> Result<(), Box<dyn Error>> {
    let Some(entry) = graph.entry() else { return Ok(()) };
    let views = values.iter().map(|v| space.view(v.bytes())).collect::<Result<Vec<_>, _>>()?;
    // the distance of the tenth nearest row: whatever is as near is right
    let mut tenth = Vec::new();
    let done = AtomicU64::new(0);
    for query in queries {
        let query = space.view(query.bytes())?;
        let mut all: Vec<f32> = views.iter().map(|v| space.distance(query, *v)).collect();
        let at = 9.min(all.len() - 1);
        tenth.push(*all.select_nth_unstable_by(at, f32::total_cmp).1);
        done.fetch_add(1, Ordering::Relaxed);
    }
    let mut store =
        Query { space, graph, query: views[0], visited: vec![0; graph.len()], stamp: 0, distances: 0 };
    let (mut pool, mut out) = (CandidateQueue::new(), Vec::new());
    let top = graph.element(entry).map_or(0, |e| e.level());
    for ef in [10, 20, 40, 100, 200, 400] {
        let mut right = 0;
        store.distances = 0;
        let started = ProcessTime::now();
        for (query, tenth) in queries.iter().zip(&tenth) {
            store.query = space.view(query.bytes())?;
            pool.clear();
            pool.extend_one(store.score(entry));
            for layer in (0..=top).rev() {
                store.stamp += 1;
                pool.restart();
                for s in pool.iter() {
                    store.visited[s.node as usize] = store.stamp;
                }
                let ef = if layer == 0 { ef } else { 1 };
                let _ = search_layer(&mut store, &mut pool, &mut out, ef, layer, None);
            }
            right += pool.iter().take(10).filter(|s| s.distance <= *tenth).count();
        }
        let n = queries.len().max(1);
        println!(
            "ef {ef:4}: recall@10 {:.4}, {:5} distances, {:6.1} CPU us",
            right as f64 / n as f64 / 10.0,
            store.distances / n,
            started.elapsed().as_secs_f64() * 1e6 / n as f64,
        );
    }
    Ok(())
}

trait ExtendOne {
    fn extend_one(&mut self, scored: Option<Scored>);
}

impl ExtendOne for CandidateQueue {
    fn extend_one(&mut self, scored: Option<Scored>) {
        if let Some(scored) = scored {
            self.offer(scored, true, 1);
        }
    }
}
