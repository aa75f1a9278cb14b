//! Any operations on an hnsw index: scans give no row twice and none that is gone, strict ones in order.
#![no_main]

use vector_index::hnsw::format::Layout;
use vector_index::testing::operations::{Operation, hnsw_operations};

libfuzzer_sys::fuzz_target!(|steps: &[u8]| {
    let layout = if steps.first().is_some_and(|byte| byte % 2 == 1) { Layout::Inline } else { Layout::V1 };
    let operations = steps.get(1..).unwrap_or_default().chunks_exact(2).take(500);
    hnsw_operations(layout, operations.map(|step| Operation::of(step[0], step[1])), true);
});
