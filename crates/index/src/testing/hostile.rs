//! Damaged pages and odd sequences of operations, systematically and at random: the short forms of what the
//! fuzz targets do for hours. `VECTOR_HOSTILE=n` does n times as much.
#![cfg(test)]

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::operations::{Operation, hnsw_operations, ivf_operations};
use super::{MemBlocks, PAGE_SIZE, hnsw, ivf};
use crate::hnsw::format::Layout;
use crate::storage::blocks::BlockStore;
use crate::storage::page::Page;

/// How much more than usual is asked for.
fn effort() -> usize {
    std::env::var("VECTOR_HOSTILE").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// The bytes of a block that mean something: all but the room between line pointers and items.
fn meaningful(blocks: &mut MemBlocks, block: u32) -> Vec<usize> {
    let (lower, upper) = blocks
        .read(block, |bytes| {
            let field = |at: usize| usize::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
            Ok((field(12), field(14)))
        })
        .unwrap();
    (0..lower.min(PAGE_SIZE)).chain(upper.min(PAGE_SIZE)..PAGE_SIZE).collect()
}

/// Flips bits of every block, one at a time, and does everything with what that makes of the index. Every `stride`-th
/// bit, so that every field of every kind of tuple comes by; all of them when the effort is so large.
fn flips(index: &MemBlocks, stride: usize, exercise: fn(&mut MemBlocks)) {
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
fn small_hnsw() -> MemBlocks {
    let graph = hnsw::graph();
    let mut blocks =
        hnsw::build(graph.space, hnsw::DIMS as u32, &graph, &hnsw::random_vectors(3, hnsw::DIMS, 12));
    let mut vacuum = crate::hnsw::format::Vacuum::new();
    vacuum.run(&mut blocks, &graph, &mut |row| row == hnsw::row(4)).unwrap();
    blocks
}

fn small_ivf() -> MemBlocks {
    ivf::build(&hnsw::random_vectors(3, ivf::DIMS, 10))
}

#[test]
fn small_indexes_have_every_kind_of_tuple() {
    for mut blocks in [small_hnsw(), small_ivf()] {
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
    flips(&small_hnsw(), 37, hnsw::exercise);
    flips(&hnsw::used(), 4001, hnsw::exercise);
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
        (hnsw::used(), hnsw::exercise as fn(&mut MemBlocks)),
        (ivf::used(), ivf::exercise as fn(&mut MemBlocks)),
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
