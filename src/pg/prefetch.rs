//! Asking for the values of the next rows while this one is worked on.
//!
//! A heap page fills from its end, so a sequential scan reads each page backwards, one row's length at a time,
//! while the work on a value runs forwards: the processor's own prefetchers follow neither. But two consecutive
//! values tell where the next ones lie, and the executor's work between two calls leaves time to fetch them.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use vector_kernels::prefetch_line;

/// Where an argument's last value lay, and how far it was from the one before. One backend runs one function at a
/// time, so this is never contended; when two scans take turns, predictions are wrong and nothing else.
pub struct Stride {
    last: AtomicUsize,
    step: AtomicUsize,
}

/// Fewer bytes than this the processor fetches well enough alone.
const SHORTEST: usize = 192;
/// A page: what lies further apart was not next to each other.
const FURTHEST: usize = 8192;
/// What the first-level cache may hold for later: two rows, or one, or the front of a long one.
const PREFETCH_DISTANCE_BYTES: usize = 4096;
const LINE: usize = 64;

impl Stride {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Stride { last: AtomicUsize::new(0), step: AtomicUsize::new(0) }
    }

    /// Notes that the current value is `value`, and prefetches the one that follows (or the one after it) at the
    /// distance that values have had.
    #[inline(always)]
    pub fn follow(&self, value: &[u8]) {
        if value.len() < SHORTEST {
            return;
        }
        let here = value.as_ptr().addr();
        let mut step = here.wrapping_sub(self.last.load(Relaxed));
        self.last.store(here, Relaxed);
        if step == 0 {
            return; // a constant
        }
        if step.wrapping_add(FURTHEST) > 2 * FURTHEST {
            // another page: rows are likely as far apart there
            step = self.step.load(Relaxed);
        } else {
            self.step.store(step, Relaxed);
        }
        if step == 0 {
            return;
        }
        let ahead = if value.len() > PREFETCH_DISTANCE_BYTES / 2 { step } else { step.wrapping_mul(2) };
        // one line more on either side: the row's header lies before its value
        let next = value.as_ptr().wrapping_byte_add(ahead).wrapping_byte_sub(LINE);
        for line in (0..value.len().min(PREFETCH_DISTANCE_BYTES) + 2 * LINE).step_by(LINE) {
            prefetch_line(next.wrapping_byte_add(line));
        }
    }
}
