//! Only benchmarks live here: `cargo bench -p vector-benches`.
