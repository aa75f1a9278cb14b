//! Threads for work that is cut into chunks. The calling thread works too and looks after its host meanwhile; helpers
//! only compute.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::work::memory::OutOfMemory;

/// What the calling thread owes to the program that it belongs to: a PostgreSQL backend.
pub trait Coordinator {
    /// Called every few milliseconds, by the calling thread only. It may unwind: helpers are stopped and joined then.
    fn poll(&mut self);

    /// Runs `spawn`, which starts threads: they inherit what the host arranges around it, such as blocked signals.
    fn spawn_with(&mut self, spawn: &mut dyn FnMut());
}

/// A host that asks for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Idle;

impl Coordinator for Idle {
    fn poll(&mut self) {}

    fn spawn_with(&mut self, spawn: &mut dyn FnMut()) {
        spawn();
    }
}

/// The calling thread and its helpers.
pub struct Workers<'h> {
    helpers: usize,
    host: &'h mut dyn Coordinator,
}

const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Stack of a helper, which needs little.
const STACK: usize = 512 << 10;

/// Tells helpers to stop, however the calling thread leaves.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl<'h> Workers<'h> {
    /// The calling thread with `helpers` others.
    pub fn new(helpers: usize, host: &'h mut dyn Coordinator) -> Self {
        Workers { helpers, host }
    }

    /// The number of threads that work, at most.
    pub fn threads(&self) -> usize {
        self.helpers + 1
    }

    /// From now on, no more than `threads` threads work.
    pub fn limit(&mut self, threads: usize) {
        self.helpers = self.helpers.min(threads.saturating_sub(1));
    }

    /// Gives the host a chance, between two pieces of work that only the calling thread does.
    pub fn poll(&mut self) {
        self.host.poll();
    }

    /// Does `work` on every chunk, in any order, each thread with scratch memory of its own. `work` calls its last
    /// argument every millisecond or so and returns early, leaving its chunk half done, when that answers false: the
    /// calling thread is unwinding then, and nobody will look at the results. Where there is no memory for a helper's stack
    /// or scratch, the others do its part.
    ///
    /// # Errors
    /// No memory for the calling thread's scratch; nothing was done then, or only a part.
    pub fn each<C, S>(
        &mut self,
        chunks: impl Iterator<Item = C> + Send,
        scratch: impl Fn() -> Result<S, OutOfMemory> + Sync,
        work: impl Fn(&mut S, C, &mut dyn FnMut() -> bool) + Sync,
    ) -> Result<(), OutOfMemory>
    where
        C: Send,
    {
        // the calling thread takes one
        let others = chunks.size_hint().0.saturating_sub(1);
        let (queue, stop) = (Mutex::new(chunks), AtomicBool::new(false));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let help = || {
            let Ok(mut scratch) = scratch() else { return };
            while !stop.load(Relaxed) {
                let Some(chunk) = next() else { break };
                work(&mut scratch, chunk, &mut || !stop.load(Relaxed));
            }
        };
        thread::scope(|scope| {
            let _stop = StopOnDrop(&stop);
            let mut scratch = scratch()?;
            let mut handles = Vec::new();
            let helpers = self.helpers.min(others);
            if helpers > 0 && handles.try_reserve(helpers).is_ok() {
                self.host.spawn_with(&mut || {
                    for _ in 0..helpers {
                        // too few threads on this machine: the others do the work
                        let thread = thread::Builder::new().stack_size(STACK);
                        let Ok(handle) = thread.spawn_scoped(scope, help) else { break };
                        handles.push(handle);
                    }
                });
            }
            let mut last = Instant::now();
            let mut beat = || {
                if last.elapsed() >= POLL_INTERVAL {
                    self.host.poll();
                    last = Instant::now();
                }
                true
            };
            while let Some(chunk) = next() {
                work(&mut scratch, chunk, &mut beat);
                beat();
            }
            while !handles.iter().all(|handle| handle.is_finished()) {
                thread::sleep(Duration::from_micros(200));
                beat();
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn every_chunk_is_worked_on_once() {
        for helpers in [0, 3] {
            let mut numbers = vec![0; 1000];
            Workers::new(helpers, &mut Idle)
                .each(
                    numbers.chunks_mut(7),
                    || Ok(()),
                    |(), chunk, beat| {
                        assert!(beat());
                        chunk.iter_mut().for_each(|n| *n += 1);
                    },
                )
                .unwrap();
            assert!(numbers.iter().all(|&n| n == 1));
        }
    }

    #[test]
    fn without_room_for_all_the_others_do_the_work() {
        let (mut numbers, given) = ([0; 500], std::sync::atomic::AtomicUsize::new(0));
        // the calling thread asks first, then one helper of three gets something
        let scratch = || if given.fetch_add(1, Relaxed) < 2 { Ok(()) } else { Err(OutOfMemory) };
        let work = |(): &mut (), chunk: &mut [i32], _: &mut dyn FnMut() -> bool| chunk.fill(1);
        Workers::new(3, &mut Idle).each(numbers.chunks_mut(3), scratch, work).unwrap();
        assert!(numbers.iter().all(|&n| n == 1));
        let none = Workers::new(3, &mut Idle).each(numbers.chunks_mut(3), || Err(OutOfMemory), work);
        assert_eq!(none, Err(OutOfMemory));
    }

    struct Cancelled;

    impl Coordinator for Cancelled {
        fn poll(&mut self) {
            std::panic::resume_unwind(Box::new(()));
        }

        fn spawn_with(&mut self, spawn: &mut dyn FnMut()) {
            spawn();
        }
    }

    #[test]
    fn a_tick_that_unwinds_stops_the_helpers() {
        let mut host = Cancelled;
        let endless = |(): &mut (), _: usize, beat: &mut dyn FnMut() -> bool| while beat() {};
        let result =
            catch_unwind(AssertUnwindSafe(|| Workers::new(2, &mut host).each(0..100, || Ok(()), endless)));
        assert!(result.is_err());
    }
}
