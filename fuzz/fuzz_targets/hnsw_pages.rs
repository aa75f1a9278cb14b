//! An hnsw index with damaged bytes: checks, scans, inserts and vacuums end, with an error or without.
#![no_main]

use vector_index::hnsw::format::Layout;
use vector_index::testing::hnsw::{exercise, used};

libfuzzer_sys::fuzz_target!(|damage: &[u8]| {
    let mut blocks = used();
    let mut changes = damage.chunks_exact(4);
    for change in &mut changes {
        let (block, at) = (u32::from(change[0] & 7), u16::from_ne_bytes([change[1], change[2]]));
        blocks.edit(block, |bytes| bytes[usize::from(at) % 8192] = change[3]);
    }
    if let [blocks_left] = changes.remainder() {
        blocks.cut((*blocks_left).into());
    }
    exercise(Layout::V1, &mut blocks);
});
