//! Scans of inline hnsw indexes with conditions on filter columns: CPU per query, blocks read, and recall against
//! the nearest of the rows that match, beside the same index's scans without conditions.
//!
//! ```sh
//! cargo bench -p vector-benches --bench hnsw_filters -- FILE.npy|clustered|uniform l2|ip|cosine [key=value ...]
//! ```
//!
//! FILE.npy holds rows of f32, such as the SQL benchmark caches. Keys: `kind` (vector, halfvec), `rows`, `queries`,
//! `dims` (of made data), `m`, `efc`, `ef`, `limit`, `seed`, `rounds`, `first` (number, centre) `runs` (0 to 2) and
//! `only` (the number of a condition, to profile it). One filter column is a random number, of which a range matches a
//! share of the rows; the other is the row's nearest of a hundred centres, which are rows themselves: `near` is the
//! centre nearest to the query, `far` the one that is farther than half of them. The index has runs of codes by the
//! column that comes `first`, or by both; with `runs=0` it has no filter columns, and is only built and searched
//! without conditions. In each round every condition takes its turn; the fastest counts. A query ends with its tenth
//! row, or with as many as `limit` says (a scan without conditions is iterative then, where these are more than `ef`),
//! and it is an error when rows that match are missing.

#[allow(dead_code)]
#[path = "support/blocks.rs"]
mod blocks;
#[allow(dead_code)]
#[path = "support/data.rs"]
mod data;

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::AtomicU64;

use cpu_time::ThreadTime;
use vector_index::filter::{Kind, Operator, Packing, Packings, Program, of_integer};
use vector_index::hnsw::build::{Builder, Params};
use vector_index::hnsw::inline::bulk_write::PagePlan;
use vector_index::hnsw::inline::layout::Shape;
use vector_index::hnsw::inline::meta::InlineMeta;
use vector_index::hnsw::inline::scan::{Index, Scan, Shared};
use vector_index::hnsw::params::max_level;
use vector_index::hnsw::scan::{IterativeScan, ScanSettings};
use vector_index::quant::space::CodedSpace;
use vector_index::space::{AnySpace, Metric, ValueBuf, ValueKind};
use vector_index::storage::page::{Corruption, Tid};
use vector_index::with_space;
use vector_index::work::workers::{Idle, Workers};

use blocks::{PAGE_SIZE, Plain};
use data::{encode, made, read_npy, shuffle};

/// Random numbers are below this.
const NUMBERS: i64 = 10_000;
const CENTRES: usize = 100;
/// What a query asks for.
#[derive(Clone, Copy, Debug)]
enum Condition {
    None,
    /// the random number is below this
    Below(i64),
    Near,
    Far,
}

const CONDITIONS: [Condition; 8] = [
    Condition::None,
    Condition::Below(NUMBERS / 2),
    Condition::Below(NUMBERS / 10),
    Condition::Below(NUMBERS / 100),
    Condition::Below(NUMBERS / 1000),
    Condition::Below(1),
    Condition::Near,
    Condition::Far,
];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [source, metric, options @ ..] = args.as_slice() else {
        println!("usage: hnsw_filters FILE.npy|clustered|uniform l2|ip|cosine [key=value ...]");
        return Ok(());
    };
    let options: HashMap<&str, &str> = options.iter().filter_map(|o| o.split_once('=')).collect();
    let number = |key: &str, default: usize| match options.get(key) {
        Some(value) => value.parse().map_err(|_| format!("{key}={value}")),
        None => Ok(default),
    };
    let kind = match options.get("kind").copied().unwrap_or("vector") {
        "halfvec" => ValueKind::Halfvec,
        _ => ValueKind::Vector,
    };
    let (rows, queries) = (number("rows", 20_000)?, number("queries", 200)?);
    let (data, dims) = match source.as_str() {
        "clustered" => made(number("dims", 128)?, rows + queries, 200),
        "uniform" => made(number("dims", 128)?, rows + queries, 0),
        path => read_npy(path)?,
    };
    let mut order: Vec<usize> = (0..data.len() / dims).collect();
    shuffle(&mut order);
    let (order, held) = order.split_at(order.len() - queries.min(order.len() / 2));
    let order = order.get(..rows).unwrap_or(order);
    // fewer have not all of the numbers, and the shares would be others
    if order.len() < NUMBERS as usize {
        return Err("too few rows".into());
    }
    let value = |row: &usize| encode(kind, &data[row * dims..(row + 1) * dims], false);
    let (values, queries): (Vec<_>, Vec<_>) =
        (order.iter().map(value).collect(), held.iter().map(value).collect());
    let m = number("m", 16)?;
    let filters = match number("runs", 2)? {
        0 => Packings::NONE,
        runs => packings().with_runs(runs),
    };
    let run = Run {
        shape: Shape::new(kind, dims, m, filters, PAGE_SIZE),
        params: Params {
            m,
            ef_construction: number("efc", 64)?,
            max_level: max_level(PAGE_SIZE, m),
            threads: 0,
            budget: 8 << 30,
            seed: number("seed", 1)? as u64,
            coded: true,
        },
        ef_search: number("ef", 40)?,
        conditions: match (filters.is_empty(), options.get("only")) {
            (true, _) => vec![Condition::None],
            (false, None) => CONDITIONS.to_vec(),
            (false, Some(only)) => {
                let only: usize = only.parse().map_err(|_| "only=number")?;
                vec![Condition::None, *CONDITIONS.get(only).ok_or("no such condition")?]
            }
        },
        swapped: options.get("first") == Some(&"centre"),
        limit: number("limit", 10)?,
        rounds: number("rounds", 3)?,
    };
    println!("{source} {metric} {kind:?}: {} rows of {dims}, {} queries", values.len(), queries.len());
    let space = match metric.as_str() {
        "cosine" => AnySpace::by_angle(kind, dims as i32).ok_or("no such space")?,
        "l2" => AnySpace::new(kind, Metric::L2, dims as i32),
        "ip" => AnySpace::new(kind, Metric::InnerProduct, dims as i32),
        _ => return Err("no such space".into()),
    };
    with_space!(space.of_items(filters.bytes()), space => run.measure(space, &values, &queries))
}

/// Two integers of four bytes.
fn packings() -> Packings {
    Packings::new([Packing::Signed4; 2]).unwrap_or_default()
}

/// A row, or a query, with what its centres are.
struct Line {
    item: ValueBuf,
    number: i64,
    /// of a row: its nearest; of a query: the near and the far one
    centres: [usize; 2],
}

impl Condition {
    fn matches(self, query: &Line, row: &Line) -> bool {
        match self {
            Condition::None => true,
            Condition::Below(end) => row.number < end,
            Condition::Near => row.centres[0] == query.centres[0],
            Condition::Far => row.centres[0] == query.centres[1],
        }
    }

    fn put(self, query: &Line, swapped: bool, filter: &mut Program) -> Result<(), Box<dyn Error>> {
        let [number, centre_column] = if swapped { [1, 0] } else { [0, 1] };
        let added = match self {
            Condition::None => return Ok(()),
            Condition::Below(end) => filter.add(number, Kind::Exact, Operator::Less, Some(of_integer(end))),
            Condition::Near | Condition::Far => {
                let centre = query.centres[usize::from(matches!(self, Condition::Far))];
                filter.add(centre_column, Kind::Exact, Operator::Equal, Some(of_integer(centre as i64)))
            }
        };
        added.map_err(|damage| format!("{damage:?}").into())
    }
}

struct Run {
    shape: Shape,
    params: Params,
    ef_search: usize,
    conditions: Vec<Condition>,
    /// whether the centre is the first filter column
    swapped: bool,
    /// rows of a query
    limit: usize,
    rounds: usize,
}

/// What scans with a condition come to.
#[derive(Clone, Copy)]
struct Figures {
    micros: f64,
    reads: u64,
    right: usize,
    returned: usize,
}

impl Run {
    fn measure<S: CodedSpace>(
        &self,
        space: S,
        values: &[ValueBuf],
        queries: &[ValueBuf],
    ) -> Result<(), Box<dyn Error>> {
        let (rows, queries) = lines(&space, self.shape.filters, values, queries, self.swapped)?;
        let meta = InlineMeta::new(&self.shape, self.params.ef_construction as u16, 7);
        let shared = Shared::new(&meta, PAGE_SIZE)?;
        let index = Index::new(&shared, space);
        let mut blocks = self.build(space, &index, meta, &rows)?;
        let truth = self
            .conditions
            .iter()
            .map(|&condition| nearest(&space, &rows, &queries, condition, self.limit))
            .collect::<Result<Vec<_>, _>>()?;
        let mut all =
            vec![Figures { micros: f64::INFINITY, reads: 0, right: 0, returned: 0 }; self.conditions.len()];
        for _ in 0..self.rounds.max(1) {
            for ((figures, &condition), truth) in all.iter_mut().zip(&self.conditions).zip(&truth) {
                self.scan(&mut blocks, &index, &queries, condition, truth, figures)?;
            }
        }
        println!("ef_search {}: matching rows | us (of unfiltered), reads | recall", self.ef_search);
        let unfiltered = all[0].micros;
        for ((figures, &condition), truth) in all.iter().zip(&self.conditions).zip(&truth) {
            let wanted: usize = truth.iter().map(|truth| truth.matching.min(self.limit)).sum();
            let matching: usize = truth.iter().map(|truth| truth.matching).sum();
            println!(
                "{:12} {:9.1} | {:8.1} ({:6.3}) {:7} | {:.4}",
                format!("{condition:?}"),
                matching as f64 / queries.len().max(1) as f64,
                figures.micros,
                figures.micros / unfiltered,
                figures.reads,
                figures.right as f64 / wanted.max(1) as f64,
            );
            if figures.returned != wanted {
                return Err(format!("{} rows instead of {wanted}", figures.returned).into());
            }
        }
        Ok(())
    }

    fn build<S: CodedSpace>(
        &self,
        space: S,
        index: &Index<S>,
        meta: InlineMeta,
        rows: &[Line],
    ) -> Result<Plain, Box<dyn Error>> {
        let started = ThreadTime::now();
        let mut builder = Builder::new(space, self.params);
        for (number, row) in rows.iter().enumerate() {
            builder.push(Tid::new(number as u32, 1), row.item.bytes())?;
        }
        let graph = builder.build(&AtomicU64::new(0), &mut Idle).map_err(|_| "out of memory")?;
        let (built, mut host) = (started.elapsed(), Idle);
        let mut workers = Workers::new(0, &mut host);
        let plan = PagePlan::new(&graph, index, 4 << 30, &mut workers)?;
        let mut blocks = Plain::new(plan.count());
        plan.meta(meta).write(blocks.page_mut(0));
        plan.write(&mut workers, |block, bytes| {
            blocks.page_mut(block).copy_from_slice(bytes);
            Ok::<_, Corruption>(())
        })?;
        let pages = started.elapsed() - built;
        println!("build: {:.2} CPU s, pages {:.2}", built.as_secs_f64(), pages.as_secs_f64());
        println!("bytes a row: {}", blocks.size() / rows.len());
        Ok(blocks)
    }

    fn scan<S: CodedSpace>(
        &self,
        blocks: &mut Plain,
        index: &Index<S>,
        queries: &[Line],
        condition: Condition,
        truth: &[Truth],
        figures: &mut Figures,
    ) -> Result<(), Box<dyn Error>> {
        let settings = ScanSettings {
            ef_search: self.ef_search,
            iterative: if self.limit > self.ef_search { IterativeScan::Relaxed } else { IterativeScan::Off },
            max_tuples: 20_000,
            max_memory: 64 << 20,
        };
        (figures.right, figures.returned, blocks.reads) = (0, 0, 0);
        let mut scan = Scan::new();
        let started = ThreadTime::now();
        for (query, truth) in queries.iter().zip(truth) {
            scan.reset();
            condition.put(query, self.swapped, scan.filter())?;
            for _ in 0..self.limit {
                let found = scan.next(blocks, index, Some(query.item.bytes()), &settings);
                let Some((_, distance)) = found.map_err(|error| format!("{error:?}"))? else { break };
                figures.returned += 1;
                figures.right += usize::from(distance <= truth.last);
            }
        }
        let micros = started.elapsed().as_secs_f64() * 1e6 / queries.len().max(1) as f64;
        figures.micros = figures.micros.min(micros);
        figures.reads = blocks.reads / queries.len().max(1) as u64;
        Ok(())
    }
}

/// What a scan should find.
struct Truth {
    matching: usize,
    /// the exact distance of the last of the nearest: whatever is as near is right
    last: f64,
}

fn nearest<S: CodedSpace>(
    space: &S,
    rows: &[Line],
    queries: &[Line],
    condition: Condition,
    limit: usize,
) -> Result<Vec<Truth>, Box<dyn Error>> {
    let mut all = Vec::new();
    for query in queries {
        let view = space.view(query.item.bytes())?;
        let mut distances = Vec::new();
        for row in rows.iter().filter(|row| condition.matches(query, row)) {
            distances.push(space.exact(view, space.view(row.item.bytes())?));
        }
        distances.sort_unstable_by(f64::total_cmp);
        let last = distances.get(..limit.min(distances.len())).and_then(|nearest| nearest.last());
        all.push(Truth { matching: distances.len(), last: last.copied().unwrap_or(f64::INFINITY) });
    }
    Ok(all)
}

/// Rows and queries with their keys.
fn lines<S: CodedSpace>(
    space: &S,
    filters: Packings,
    values: &[ValueBuf],
    queries: &[ValueBuf],
    swapped: bool,
) -> Result<(Vec<Line>, Vec<Line>), Box<dyn Error>> {
    let item = |value: &ValueBuf, keys: [i64; 2]| {
        let mut item = ValueBuf::new();
        filters.put_item(value.bytes(), &keys.map(of_integer), &mut item).map_err(|_| "out of memory")?;
        Ok::<_, Box<dyn Error>>(item)
    };
    // rows come in a random order
    let centres =
        values.iter().take(CENTRES).map(|value| item(value, [0; 2])).collect::<Result<Vec<_>, _>>()?;
    let ranked = |item: &ValueBuf| {
        let view = space.view(item.bytes())?;
        let mut ranked = Vec::new();
        for (at, centre) in centres.iter().enumerate() {
            ranked.push((space.exact(view, space.view(centre.bytes())?), at));
        }
        ranked.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        Ok::<_, Box<dyn Error>>([ranked[0].1, ranked[CENTRES / 2].1])
    };
    let mut numbers: Vec<usize> = (0..values.len()).collect();
    shuffle(&mut numbers);
    let mut rows = Vec::new();
    for (value, number) in values.iter().zip(numbers) {
        let centres = ranked(&item(value, [0; 2])?)?;
        let number = number as i64 % NUMBERS;
        let mut keys = [number, centres[0] as i64];
        if swapped {
            keys.reverse();
        }
        rows.push(Line { item: item(value, keys)?, number, centres });
    }
    let mut asked = Vec::new();
    for value in queries {
        let item = item(value, [0; 2])?;
        asked.push(Line { centres: ranked(&item)?, item, number: 0 });
    }
    Ok((rows, asked))
}
