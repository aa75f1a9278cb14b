//! Any operations on an hnsw index: scans give no row twice and none that is gone, strict ones in order.
#![no_main]

use vector_index::testing::operations::{Operation, hnsw_operations};

libfuzzer_sys::fuzz_target!(|steps: &[u8]| {
    let operations = steps.chunks_exact(2).take(500).map(|step| Operation::of(step[0], step[1]));
    hnsw_operations(operations, true);
});
