//! Threads that share work, and the calling thread that waits for them and looks after its own business meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::insert::Stop;

/// How often the calling thread looks up.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Stack of a working thread, which needs little.
const STACK: usize = 256 << 10;

/// What makes the work stop: a flag, and the calling thread's `poll` when it returns true.
pub(super) struct Workers<'a, T> {
    stop: &'a AtomicBool,
    poll: T,
    last: Instant,
}

impl<'a, T: FnMut() -> bool> Workers<'a, T> {
    /// Stops by `stop` and `poll`.
    pub fn new(stop: &'a AtomicBool, poll: T) -> Self {
        Workers { stop, poll, last: Instant::now() }
    }

    /// The flag.
    pub fn stop(&self) -> &'a AtomicBool {
        self.stop
    }

    fn poll(&mut self) {
        self.last = Instant::now();
        if (self.poll)() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Runs `poll` when it is time.
    ///
    /// # Errors
    /// When the work is to stop.
    pub fn check(&mut self) -> Result<(), Stop> {
        if self.last.elapsed() >= POLL_INTERVAL {
            self.poll();
        }
        if self.stop.load(Ordering::Relaxed) { Err(Stop) } else { Ok(()) }
    }

    /// Calls `step` again and again with its scratch memory and the flag, on `threads` threads, until it returns false
    /// or the flag is set; with none, or when none can be started, on the calling thread. There is scratch
    /// memory for each.
    pub fn run<S: Send>(
        &mut self,
        threads: usize,
        scratches: &mut [S],
        step: impl Fn(&mut S, &AtomicBool) -> bool + Sync,
    ) {
        let (stop, running, caller) = (self.stop, AtomicUsize::new(0), thread::current());
        let mut started = false;
        thread::scope(|scope| {
            // a tick may unwind: the threads must not go on then
            let unwinding = StopOnDrop(stop);
            for scratch in scratches.iter_mut().take(threads) {
                running.fetch_add(1, Ordering::Relaxed);
                let (step, done) = (&step, Done(&running, &caller));
                let work = move || {
                    let _done = done;
                    while !stop.load(Ordering::Relaxed) && step(scratch, stop) {}
                };
                let thread = thread::Builder::new().name("hnsw build".into()).stack_size(STACK);
                if thread.spawn_scoped(scope, work).is_err() {
                    break;
                }
                started = true;
            }
            while running.load(Ordering::Acquire) > 0 {
                thread::park_timeout(POLL_INTERVAL);
                self.poll();
            }
            std::mem::forget(unwinding);
        });
        if let (false, Some(scratch)) = (started, scratches.first_mut()) {
            while self.check().is_ok() && step(scratch, stop) {}
        }
    }
}

/// Sets the flag.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Tells the waiting thread that one more is done, however it ends.
struct Done<'a>(&'a AtomicUsize, &'a Thread);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if self.0.fetch_sub(1, Ordering::Release) == 1 {
            self.1.unpark();
        }
    }
}
