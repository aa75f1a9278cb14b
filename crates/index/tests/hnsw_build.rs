//! The memory of a build, as the allocator sees it.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use vector_index::hnsw::build::{Builder, Params, Pushed};
use vector_index::space::{AnySpace, Metric, ValueKind, varlena_header};
use vector_index::storage::page::Tid;
use vector_index::work::memory::RESERVE;
use vector_index::work::workers::Idle;

/// Counts what is allocated, and the most there ever was. What is as large as the reserve is only tried, and let go
/// untouched: whether there would be as much.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() < RESERVE {
            PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        if layout.size() < RESERVE {
            NOW.fetch_sub(layout.size(), Relaxed);
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Thread handles, names and the like, which the budget leaves out.
const SMALL_CHANGE: usize = 16 << 10;

#[test]
fn a_build_stays_within_its_budget() {
    // the last leaves room for copies of the values
    for (budget, dims, rows) in
        [(64 << 10, 4, u32::MAX), (200 << 10, 32, u32::MAX), (600 << 10, 8, u32::MAX), (900 << 10, 80, 1500)]
    {
        for threads in [0, 2] {
            let AnySpace::Vector(space) = AnySpace::new(ValueKind::Vector, Metric::L2, dims) else {
                unreachable!()
            };
            let m = 4;
            let params =
                Params { m, ef_construction: 10, max_level: 60, threads, budget, seed: 1, coded: true };
            let size = 8 + 4 * dims as usize;
            let mut words = vec![0u32; size / 4];
            let before = NOW.load(Relaxed);
            PEAK.store(before, Relaxed);
            let mut builder = Builder::new(space, params);
            words[0] = u32::from_ne_bytes(varlena_header(size));
            words[1] = u32::from_ne_bytes([dims.to_ne_bytes()[0], dims.to_ne_bytes()[1], 0, 0]);
            let mut state = 1u32;
            for row in 0..rows {
                for word in &mut words[2..] {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *word =
                        (f32::from((state >> 16) as u16) / if row % 5 == 0 { 1.0 } else { 7.0 }).to_bits();
                }
                if row % 7 == 0 {
                    words[2..].fill(0);
                }
                let bytes = zerocopy::IntoBytes::as_bytes(words.as_slice());
                if builder.push(Tid::new(row, 1), bytes).unwrap() == Pushed::Full {
                    break;
                }
            }
            assert!(builder.memory() <= budget);
            let elements = builder.len();
            assert!(elements > 50, "{elements} of {dims} in {budget}");
            // the budget is used, too
            let used = builder.memory();
            assert!(rows < u32::MAX || used > budget / 4 * 3, "{used} of {budget}");
            let graph = builder.build(&AtomicU64::new(0), &mut Idle).unwrap();
            assert_eq!(graph.len(), elements);
            let peak = PEAK.load(Relaxed) - before;
            assert!(
                peak <= budget + SMALL_CHANGE,
                "{peak} bytes at most, budget {budget}, {dims} dimensions"
            );
            drop(graph);
            assert!(NOW.load(Relaxed) <= before + SMALL_CHANGE);
        }
    }
}
