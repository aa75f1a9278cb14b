//! Any operations on an ivfflat index: scans over all lists give exactly the rows that there are, in order.
#![no_main]

use vector_index::testing::operations::{Operation, ivf_operations};

libfuzzer_sys::fuzz_target!(|steps: &[u8]| {
    ivf_operations(steps.chunks_exact(2).take(500).map(|step| Operation::of(step[0], step[1])));
});
