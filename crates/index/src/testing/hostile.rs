//! Damaged pages and odd sequences of operations, systematically and at random: the short forms of what the
//! fuzz targets do for hours. `VECTOR_HOSTILE=n` does n times as much.
#![cfg(test)]

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::operations::{Operation, hnsw_operations, ivf_operations};
use super::{MemBlocks, PAGE_SIZE, hnsw, ivf};
use crate::hnsw::format::Layout;
use crate::hnsw::inline::layout as inline;
use crate::storage::blocks::BlockStore;
use crate::storage::page::Page;

/// How much more than usual is asked for.
fn effort() -> usize {
    std::env::var("VECTOR_HOSTILE").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// The bytes of a block that mean something: all but the room between line pointers and items, and what free slots do
/// not hold.
fn meaningful(blocks: &mut MemBlocks, block: u32) -> Vec<usize> {
    blocks
        .read(block, |bytes| {
            if let Ok(Some(_)) = inline::page_kind(bytes) {
                return Ok(of_slots(bytes));
            }
            let field = |at: usize| usize::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
            let (lower, upper) = (field(12), field(14));
            Ok((0..lower.min(PAGE_SIZE)).chain(upper.min(PAGE_SIZE)..PAGE_SIZE).collect())
        })
        .unwrap()
}

/// The same of a page of slots.
fn of_slots(bytes: &[u8]) -> Vec<usize> {
    let (slots, size) = (
        usize::from(bytes[26]) | usize::from(bytes[27]) << 8,
        usize::from(bytes[28]) | usize::from(bytes[29]) << 8,
    );
    let start = 32 + slots.div_ceil(64) * 8;
    let mut places: Vec<usize> = (0..start).chain(PAGE_SIZE - 8..PAGE_SIZE).collect();
    for slot in 0..slots {
        let used = bytes[32 + slot / 8] >> (slot % 8) & 1 == 1;
        let from = start + slot * size;
        places.extend(from..from + if used { size } else { size.min(48) });
    }
    places
}

/// Flips bits of every block, one at a time, and does everything with what that makes of the index. Every `stride`-th
/// bit, so that every field of every kind of tuple comes by; all of them when the effort is so large.
fn flips(index: &MemBlocks, stride: usize, exercise: impl Fn(&mut MemBlocks)) {
    let stride = (stride / effort()).max(1);
    let mut index = index.copy();
    let mut at = 0;
    for block in 0..index.count().unwrap() {
        for byte in meaningful(&mut index, block) {
            for bit in 0..8 {
                at += 1;
                if at % stride == 0 {
                    let mut damaged = index.copy();
                    damaged.edit(block, |bytes| bytes[byte] ^= 1 << bit);
                    exercise(&mut damaged);
                }
            }
        }
    }
}

/// Few rows of few connections, and a row that is dead: every kind of tuple within some thousand bits.
fn small_hnsw(layout: Layout, dims: usize) -> MemBlocks {
    let graph = hnsw::graph_of(dims);
    let mut values = hnsw::random_vectors(3, dims, 12);
    if layout == Layout::Inline {
        values.extend(vec![values[7].clone(); 10]);
    }
    let mut blocks = hnsw::build_in(layout, graph.space, dims as u32, &graph, &values);
    hnsw::vacuum(&mut blocks).run(&mut blocks, &graph, &mut |row| row == hnsw::row(4)).unwrap();
    hnsw::insert_all(&mut blocks, &graph, 100, &values[7..8], &mut SmallRng::seed_from_u64(1));
    blocks
}

fn small_ivf() -> MemBlocks {
    ivf::build(&hnsw::random_vectors(3, ivf::DIMS, 10))
}

#[test]
fn small_indexes_have_every_kind_of_tuple() {
    for mut blocks in [small_hnsw(Layout::V1, hnsw::DIMS), small_ivf()] {
        let id = if blocks.count().unwrap() == 2 {
            crate::hnsw::meta::PAGE_ID
        } else {
            crate::ivf::v1::layout::PAGE_ID
        };
        for block in 1..blocks.count().unwrap() {
            let items = blocks.read(block, |bytes| Ok(Page::new(bytes, id)?.max_offset())).unwrap();
            assert!(items > 0, "block {block}");
        }
    }
}

// coprime with 8, so that the bit moves on from byte to byte

#[test]
#[cfg(not(miri))]
fn any_bit_of_an_hnsw_index_may_flip() {
    let exercise = |blocks: &mut MemBlocks| hnsw::exercise(Layout::V1, blocks);
    flips(&small_hnsw(Layout::V1, hnsw::DIMS), 37, exercise);
    flips(&hnsw::used(), 4001, exercise);
}

#[test]
#[cfg(not(miri))]
fn any_bit_of_an_inline_index_may_flip() {
    let exercise = |blocks: &mut MemBlocks| hnsw::exercise(Layout::Inline, blocks);
    flips(&small_hnsw(Layout::Inline, hnsw::DIMS), 37, exercise);
    flips(&hnsw::used_in(Layout::Inline), 1201, exercise);
}

/// Values apart from their records, and rests of several pages.
#[test]
#[cfg(not(miri))]
fn any_bit_of_large_inline_records_may_flip() {
    for dims in [2000, 3000] {
        let index = small_hnsw(Layout::Inline, dims);
        let (before, graph) = (hnsw::opened(&mut index.copy()), hnsw::graph_of(dims));
        flips(&index, 20_011, |blocks| hnsw::exercise_as(&before, &graph, dims, blocks));
    }
}

#[test]
#[cfg(not(miri))]
fn any_bit_of_an_ivfflat_index_may_flip() {
    flips(&small_ivf(), 37, ivf::exercise);
    flips(&ivf::used(), 1201, ivf::exercise);
}

/// Pages of nothing but noise, some with a header that passes.
#[test]
#[cfg(not(miri))]
fn noise_is_no_index() {
    let mut rng = SmallRng::seed_from_u64(77);
    for (index, exercise) in [
        (hnsw::used(), (|blocks| hnsw::exercise(Layout::V1, blocks)) as fn(&mut MemBlocks)),
        (hnsw::used_in(Layout::Inline), |blocks| hnsw::exercise(Layout::Inline, blocks)),
        (ivf::used(), ivf::exercise),
    ] {
        for _ in 0..40 * effort() {
            let mut blocks = index.copy();
            for block in 0..blocks.count().unwrap() {
                let (from, to) = match rng.random_range(0..4) {
                    0 => (0, PAGE_SIZE),             // the whole page
                    1 => (24, PAGE_SIZE - 8),        // all but header and special space
                    2 => (PAGE_SIZE / 2, PAGE_SIZE), // the items at the end
                    _ => continue,
                };
                blocks.edit(block, |bytes| rng.fill(&mut bytes[from..to]));
            }
            exercise(&mut blocks);
        }
    }
}

/// Any operations, in any order.
fn sequences(most: usize) -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec((any::<u8>(), any::<u8>()).prop_map(|(kind, n)| Operation::of(kind, n)), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16 * effort() as u32))]

    #[test]
    #[cfg(not(miri))]
    fn hnsw_keeps_to_what_was_done(operations in sequences(120)) {
        hnsw_operations(Layout::V1, operations, true);
    }

    #[test]
    #[cfg(not(miri))]
    fn inline_hnsw_keeps_to_what_was_done(operations in sequences(120)) {
        hnsw_operations(Layout::Inline, operations, true);
    }

    #[test]
    #[cfg(not(miri))]
    fn ivfflat_keeps_to_what_was_done(operations in sequences(120)) {
        ivf_operations(operations);
    }
}
