//! Seeded workloads of the pure crates, one after the other, for a profiler that counts instructions. Each runs
//! inside [`measured`], at whose end
//! `valgrind --tool=callgrind --toggle-collect=*measured* --dump-after=*measured*` writes what it counted; its
//! name is printed in the same order. `scripts/bench-lock.sh` compares the counts with those of `baseline.tsv`.

mod blocks;
mod data;

use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::AtomicU64;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use vector_index::filter::Packings;
use vector_index::hnsw::build::{Builder, Graph as Built, Params};
use vector_index::hnsw::format::{Form, Graph, Layout, Scan, Vacuum, Workspace, insert, write_index};
use vector_index::hnsw::meta::MetaPage;
use vector_index::hnsw::params::max_level;
use vector_index::hnsw::scan::{IterativeScan, ScanSettings};
use vector_index::ivf::cluster::kmeans::{Plan, Task, kmeans};
use vector_index::ivf::cluster::sample::Sample;
use vector_index::ivf::lists::{NoTable, Services, Unpack};
use vector_index::ivf::load::{LoadOptions, Loader};
use vector_index::ivf::scan as ivf_scan;
use vector_index::ivf::v1::{Pages, entry_form};
use vector_index::space::{AnySpace, Dense, Metric, Space, ValueBuf, ValueKind};
use vector_index::storage::page::Tid;
use vector_index::text::{dense_capacity, dense_text_size, parse_dense, parse_sparse, print_dense};
use vector_index::work::runs::Runs;
use vector_index::work::workers::{Idle, Workers};

use self::blocks::{PAGE_SIZE, Plain};
use self::data::{rows, value};

type Answer = Result<(), Box<dyn Error>>;

/// Dimensions of the graphs whose distances are exact, and of those built on copies of one byte per element.
const DIMS: usize = 32;
const CODED_DIMS: usize = 96;
const M: usize = 16;
const EF_CONSTRUCTION: usize = 64;

fn main() -> Answer {
    let l2 = |dims: usize| match AnySpace::new(ValueKind::Vector, Metric::L2, dims as i32) {
        AnySpace::Vector(space) => Ok(space),
        _ => Err("not a space of vectors"),
    };
    hnsw(l2(DIMS)?)?;
    coded(l2(CODED_DIMS)?)?;
    ivf(l2(DIMS)?)?;
    text()
}

/// The border of what is counted. Callgrind knows it by its name, so it stays a function.
#[inline(never)]
fn measured(name: &str, work: &mut dyn FnMut() -> Answer) -> Answer {
    work()?;
    println!("{name}");
    Ok(())
}

/// The heap TID of row `n`.
fn tid(n: usize) -> Tid {
    Tid::new((n / 50) as u32, (n % 50) as u16 + 1)
}

fn built<S: Space>(space: S, values: &[ValueBuf], coded: bool) -> Result<Built<S>, Box<dyn Error>> {
    let params = Params {
        m: M,
        ef_construction: EF_CONSTRUCTION,
        max_level: max_level(PAGE_SIZE, M),
        threads: 0,
        budget: usize::MAX,
        seed: 1,
        coded,
    };
    let mut builder = Builder::new(space, params);
    for (n, value) in values.iter().enumerate() {
        builder.push(tid(n), value.bytes())?;
    }
    Ok(builder.build(&AtomicU64::new(0), &mut Idle).map_err(|_| "out of memory")?)
}

fn written<S: vector_index::quant::space::CodedSpace>(
    space: S,
    graph: &Built<S>,
    dims: usize,
) -> Result<Plain, Box<dyn Error>> {
    let mut blocks = Plain::default();
    let meta = MetaPage::new(dims as u32, M as u16, EF_CONSTRUCTION as u16);
    let form = Form { layout: Layout::V1, meta, seed: 0, filters: Packings::NONE };
    write_index(&form, &mut blocks, space, Some(graph), &mut Workers::new(0, &mut Idle), 0)?;
    Ok(blocks)
}

fn hnsw(space: Dense<f32>) -> Answer {
    let values: Vec<ValueBuf> = rows(1, 0, 2500, DIMS).iter().map(|r| value(r)).collect();
    let more: Vec<ValueBuf> = rows(1, 1, 150, DIMS).iter().map(|r| value(r)).collect();
    let queries: Vec<ValueBuf> = rows(1, 2, 250, DIMS).iter().map(|r| value(r)).collect();
    let mut graph = None;
    measured("hnsw build", &mut || {
        graph = Some(built(space, &values, false)?);
        Ok(())
    })?;
    let mut blocks = written(space, &graph.ok_or("no graph")?, DIMS)?;
    let graph = Graph { space, m: M, ef_construction: EF_CONSTRUCTION };

    measured("hnsw search", &mut || search(&mut blocks, space, &queries, 40))?;
    measured("hnsw search, ef 200", &mut || search(&mut blocks, space, &queries[..60], 200))?;
    let (mut workspace, mut rng) = (Workspace::new(), SmallRng::seed_from_u64(3));
    measured("hnsw insert", &mut || {
        for (n, value) in more.iter().enumerate() {
            insert(&mut blocks, &graph, &mut workspace, value.bytes(), tid(values.len() + n), &mut rng)?;
        }
        Ok(())
    })?;
    measured("hnsw vacuum of a tenth", &mut || {
        let removed =
            Vacuum::new().run(&mut blocks, &graph, &mut |tid: Tid| tid.offset().is_multiple_of(10))?;
        black_box(removed);
        Ok(())
    })
}

fn search(blocks: &mut Plain, space: Dense<f32>, queries: &[ValueBuf], ef_search: usize) -> Answer {
    let settings =
        ScanSettings { ef_search, iterative: IterativeScan::Off, max_tuples: 20_000, max_memory: usize::MAX };
    let mut scan = Scan::new();
    for query in queries {
        for _ in 0..10 {
            let row = scan.next(blocks, space, Some(query.bytes()), &settings);
            black_box(row.map_err(|e| format!("{e:?}"))?);
        }
        scan.reset();
    }
    Ok(())
}

fn coded(space: Dense<f32>) -> Answer {
    let values: Vec<ValueBuf> = rows(2, 0, 1500, CODED_DIMS).iter().map(|r| value(r)).collect();
    measured("hnsw build on codes", &mut || {
        black_box(built(space, &values, true)?.len());
        Ok(())
    })
}

/// Nothing goes outside.
struct Roomy;

impl Runs for Roomy {
    fn write(&mut self, _: &[u8]) {}
    fn end_run(&mut self) {}
    fn read(&mut self, _: usize, _: &mut [u8]) -> usize {
        0
    }
    fn clear(&mut self) {}
}

impl Unpack for Roomy {
    fn unpack(&mut self, _: &[u8], _: &mut ValueBuf) -> bool {
        false
    }
}

fn ivf(space: Dense<f32>) -> Answer {
    const LISTS: usize = 100;
    let table = rows(3, 0, 5000, DIMS);
    let queries: Vec<ValueBuf> = rows(3, 1, 200, DIMS).iter().map(|r| value(r)).collect();
    let mut sample = Sample::new(DIMS, DIMS, false);
    table.iter().for_each(|row| sample.push(row, 0.0));
    let mut idle = Idle;
    let mut workers = Workers::new(0, &mut idle);
    let mut centres = Vec::new();
    measured("k-means", &mut || {
        centres = kmeans(
            &sample,
            Task { lists: LISTS, seed: 7, plan: Plan { bounds: 8, sums: true, codes: false } },
            &mut workers,
        )
        .map_err(|_| "out of memory")?
        .centres;
        Ok(())
    })?;
    let mut blocks = Plain::default();
    measured("ivf load", &mut || {
        let options = LoadOptions { dims: DIMS, width: DIMS, metric: Metric::L2, memory: usize::MAX };
        let mut loader = Loader::new(options, entry_form(8 + 4 * DIMS), std::mem::take(&mut centres));
        loader.prepare(&mut workers).map_err(|_| "out of memory")?;
        for (n, row) in table.iter().enumerate() {
            loader.push(tid(n), row, &mut workers, &mut Roomy).map_err(|_| "out of memory")?;
        }
        loader.write(&mut Pages(&mut blocks), PAGE_SIZE, &mut workers, &mut Roomy, &mut |_| ())?;
        Ok(())
    })?;
    measured("ivf search", &mut || {
        let settings =
            ivf_scan::ScanSettings { probes: 10, asked: false, max_probes: 10, memory: usize::MAX };
        let mut scan = ivf_scan::Scan::default();
        for query in &queries {
            for _ in 0..10 {
                let mut services = Services { runs: &mut Roomy, unpack: &mut Roomy, table: &mut NoTable };
                let row =
                    scan.next(&mut Pages(&mut blocks), space, Some(query.bytes()), &settings, &mut services);
                black_box(row.map_err(|e| format!("{e:?}"))?);
            }
            scan.reset(&mut Roomy);
        }
        Ok(())
    })
}

fn text() -> Answer {
    const DIMS: usize = 768;
    let table = rows(4, 0, 60, DIMS);
    let mut printed: Vec<Vec<u8>> = table.iter().map(|_| vec![0; dense_text_size(DIMS)]).collect();
    measured("vector to text", &mut || {
        for (row, out) in table.iter().zip(&mut printed) {
            let length = print_dense(row, out);
            out.truncate(length);
        }
        Ok(())
    })?;
    measured("vector from text", &mut || {
        for text in &printed {
            let mut out = vec![0f32; dense_capacity(text)];
            black_box(parse_dense(text, &mut out).map_err(|e| format!("{e:?}"))?);
        }
        Ok(())
    })?;
    let sparse: Vec<String> = table
        .iter()
        .map(|row| {
            let elements = row.iter().enumerate().map(|(at, x)| format!("{}:{x}", 3 * at + 1));
            format!("{{{}}}/4000", elements.collect::<Vec<_>>().join(","))
        })
        .collect();
    measured("sparsevec from text", &mut || {
        for text in &sparse {
            black_box(parse_sparse(text.as_bytes(), -1).map_err(|e| format!("{e:?}"))?);
        }
        Ok(())
    })
}
