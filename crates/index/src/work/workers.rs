//! Threads for the work of one build, in a pool of their own. The calling thread works too and looks after its host
//! meanwhile; helpers only compute.
//!
//! The pool is started when there is work for more than one thread and ends with its [`Workers`], which join
//! its threads: none is left idle in a backend. It is rayon's, with threads started here: they inherit what the
//! host arranges (a backend blocks all signals), and they can be joined, which rayon's own cannot. What rayon
//! allocates is small ([`memory::SMALL`](crate::work::memory::SMALL)): queues of jobs, a few hundred bytes a
//! thread.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::work::memory::{OutOfMemory, can_allocate};

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
    host: Host<'h>,
    pool: Option<Pool>,
}

/// How often the host is looked after.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Stack of a helper, which needs little.
const STACK: usize = 512 << 10;

/// The host, and when it was looked after last.
struct Host<'h> {
    coordinator: &'h mut dyn Coordinator,
    last: Instant,
}

impl Host<'_> {
    fn poll_when_due(&mut self) {
        if self.last.elapsed() >= POLL_INTERVAL {
            self.coordinator.poll();
            self.last = Instant::now();
        }
    }
}

/// A thread at work.
pub struct Worker<'a, 'h> {
    stop: &'a AtomicBool,
    /// of the calling thread
    host: Option<&'a mut Host<'h>>,
}

impl Worker<'_, '_> {
    /// Returns whether to go on, to be asked every millisecond or so. When not, a thread has panicked, the calling
    /// one perhaps: that unwinds now or soon, and nobody will look at the results. It looks after its host here.
    #[inline]
    pub fn goes_on(&mut self) -> bool {
        if let Some(host) = &mut self.host {
            host.poll_when_due();
        }
        !self.stop.load(Ordering::Relaxed)
    }

    /// Set when the work is to stop, for code that cannot ask [`Self::goes_on`].
    pub fn stop(&self) -> &AtomicBool {
        self.stop
    }
}

/// Tells helpers to stop, however the calling thread leaves.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Tells the waiting thread that one more is done, however it ends; when by a panic, all others that they may stop.
struct Done<'a> {
    running: &'a AtomicUsize,
    caller: &'a Thread,
    stop: &'a AtomicBool,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.stop.store(true, Ordering::Relaxed);
        }
        if self.running.fetch_sub(1, Ordering::Release) == 1 {
            self.caller.unpark();
        }
    }
}

impl<'h> Workers<'h> {
    /// The calling thread with `helpers` others, which are started when there is work for them.
    pub fn new(helpers: usize, host: &'h mut dyn Coordinator) -> Self {
        Workers { helpers, host: Host { coordinator: host, last: Instant::now() }, pool: None }
    }

    /// Returns the number of threads that work, at most.
    pub fn threads(&self) -> usize {
        self.helpers + 1
    }

    /// From now on, no more than `threads` threads work.
    pub fn limit(&mut self, threads: usize) {
        self.helpers = self.helpers.min(threads.saturating_sub(1));
    }

    /// Gives the host a chance, between two pieces of work that only the calling thread does.
    pub fn poll(&mut self) {
        self.host.coordinator.poll();
    }

    /// As [`Self::poll`], when it is time.
    pub fn poll_when_due(&mut self) {
        self.host.poll_when_due();
    }

    /// Does `work` on as many threads as there are, and no more than `most`: once on each, with scratch memory
    /// of its own. What is shared out among them, and when it is used up, `work` knows. Where there is no
    /// memory for a helper's stack or scratch, the others do its part. A panic of any of them goes on in the
    /// calling thread, once all have stopped.
    ///
    /// # Errors
    /// No memory for the calling thread's scratch; nothing was done then.
    pub fn run<S>(
        &mut self,
        most: usize,
        scratch: impl Fn() -> Result<S, OutOfMemory> + Sync,
        work: impl Fn(&mut S, &mut Worker<'_, '_>) + Sync,
    ) -> Result<(), OutOfMemory> {
        let mut own = scratch()?;
        let wanted = self.helpers.min(most.saturating_sub(1));
        if wanted > 0 && self.pool.is_none() {
            self.pool = Pool::start(self.helpers, self.host.coordinator);
            // with fewer than wanted from now on
            self.helpers = self.pool.as_ref().map_or(0, |pool| pool.handles.len());
        }
        let stop = AtomicBool::new(false);
        let helpers = wanted.min(self.helpers);
        let (host, pool) = (&mut self.host, self.pool.as_ref().and_then(|pool| pool.pool.as_ref()));
        let Some(pool) = pool.filter(|_| helpers > 0) else {
            work(&mut own, &mut Worker { stop: &stop, host: Some(host) });
            return Ok(());
        };
        let (running, caller) = (AtomicUsize::new(helpers), thread::current());
        let help = || {
            let _done = Done { running: &running, caller: &caller, stop: &stop };
            if let Ok(mut scratch) = scratch() {
                work(&mut scratch, &mut Worker { stop: &stop, host: None });
            }
        };
        // leaving the scope waits for the helpers, also when this thread unwinds
        pool.in_place_scope(|scope| {
            let _stop = StopOnDrop(&stop);
            (0..helpers).for_each(|_| scope.spawn(|_| help()));
            work(&mut own, &mut Worker { stop: &stop, host: Some(&mut *host) });
            while running.load(Ordering::Acquire) > 0 {
                thread::park_timeout(POLL_INTERVAL);
                host.poll_when_due();
            }
        });
        Ok(())
    }

    /// Does `work` on every chunk, in any order, each thread with scratch memory of its own. `work` calls its
    /// last argument every millisecond or so and returns early, leaving its chunk half done, when that answers
    /// false: a thread has panicked then, and nobody will look at the results. Where there is no memory for a
    /// helper's stack or scratch, the others do its part.
    ///
    /// # Errors
    /// No memory for the calling thread's scratch; nothing was done then.
    pub fn each<C, S>(
        &mut self,
        chunks: impl Iterator<Item = C> + Send,
        scratch: impl Fn() -> Result<S, OutOfMemory> + Sync,
        work: impl Fn(&mut S, C, &mut dyn FnMut() -> bool) + Sync,
    ) -> Result<(), OutOfMemory>
    where
        C: Send,
    {
        let most = chunks.size_hint().0;
        let queue = Mutex::new(chunks);
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        self.run(most, scratch, |scratch, worker| {
            while let Some(chunk) = next() {
                work(scratch, chunk, &mut || worker.goes_on());
                if !worker.goes_on() {
                    break;
                }
            }
        })
    }
}

/// Helpers, waiting for work.
struct Pool {
    pool: Option<ThreadPool>,
    handles: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `helpers` threads, or as many of them as the system lets; none when that is none.
    fn start(helpers: usize, host: &mut dyn Coordinator) -> Option<Self> {
        let mut wanted = helpers;
        // What a thread begins with (its thread-local data) the C library asks for, and ends the process without: the
        // reserve must be left when all have their stacks.
        while wanted > 0 && !can_allocate(wanted.saturating_mul(STACK)) {
            wanted -= 1;
        }
        while wanted > 0 {
            let mut started = Pool { pool: None, handles: Vec::new() };
            started.handles.try_reserve(wanted).ok()?;
            let handles = &mut started.handles;
            let mut pool = None;
            host.spawn_with(&mut || {
                let threads = ThreadPoolBuilder::new().num_threads(wanted).spawn_handler(|thread| {
                    let builder = thread::Builder::new().name("vector build".into()).stack_size(STACK);
                    handles.push(builder.spawn(|| thread.run())?);
                    Ok(())
                });
                pool = threads.build().ok();
            });
            started.pool = pool;
            if started.pool.is_some() {
                return Some(started);
            }
            // those that could be started have been told to end; without the one that could not, they are a pool
            wanted = started.handles.len().min(wanted - 1);
        }
        None
    }
}

impl Drop for Pool {
    /// Ends the threads. They have no work: each [`Workers::run`] waited for it.
    fn drop(&mut self) {
        self.pool = None;
        for handle in self.handles.drain(..) {
            // what a helper's work panicked with has gone to who asked for it
            let _ = handle.join();
        }
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

    /// Counts itself while its thread lives.
    struct Alive(&'static AtomicUsize);

    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn threads_are_started_once_and_end_with_their_workers() {
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static HERE: Alive = {
            ALIVE.fetch_add(1, Ordering::SeqCst);
            Alive(&ALIVE)
        });
        let mut host = Idle;
        let mut workers = Workers::new(3, &mut host);
        let (arrived, caller) = (AtomicUsize::new(0), thread::current().id());
        for _ in 0..3 {
            arrived.store(0, Ordering::SeqCst);
            let meet = |(): &mut (), worker: &mut Worker<'_, '_>| {
                if thread::current().id() != caller {
                    HERE.with(|_| ());
                }
                // all of them are at work at the same time
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < 4 && worker.goes_on() {
                    thread::yield_now();
                }
            };
            workers.run(usize::MAX, || Ok(()), meet).unwrap();
            assert_eq!(ALIVE.load(Ordering::SeqCst), 3);
        }
        drop(workers);
        assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_helper_that_panics_is_heard_of() {
        let mut host = Idle;
        let mut workers = Workers::new(2, &mut host);
        let caller = thread::current().id();
        let work = |(): &mut (), _: usize, _: &mut dyn FnMut() -> bool| {
            if thread::current().id() != caller {
                std::panic::resume_unwind(Box::new("told"));
            }
            thread::sleep(Duration::from_millis(1));
        };
        let result = catch_unwind(AssertUnwindSafe(|| workers.each(0..1000, || Ok(()), work)));
        assert_eq!(result.unwrap_err().downcast_ref::<&str>(), Some(&"told"));
        // and the pool is as good as before
        let count = AtomicUsize::new(0);
        let add =
            |(): &mut (), _: usize, _: &mut dyn FnMut() -> bool| _ = count.fetch_add(1, Ordering::Relaxed);
        workers.each(0..100, || Ok(()), add).unwrap();
        assert_eq!(count.into_inner(), 100);
    }

    #[test]
    fn a_helper_that_panics_stops_the_others() {
        let mut host = Idle;
        let mut workers = Workers::new(2, &mut host);
        let (caller, begun) = (thread::current().id(), Instant::now());
        let first = AtomicBool::new(true);
        let work = |(): &mut (), worker: &mut Worker<'_, '_>| {
            if thread::current().id() != caller && first.swap(false, Ordering::SeqCst) {
                std::panic::resume_unwind(Box::new("told"));
            }
            while worker.goes_on() && begun.elapsed() < Duration::from_secs(20) {
                thread::sleep(Duration::from_millis(1));
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| workers.run(usize::MAX, || Ok(()), work)));
        assert_eq!(result.unwrap_err().downcast_ref::<&str>(), Some(&"told"));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    /// Notes who polls, and unwinds at the given poll.
    struct Polled {
        by: Vec<thread::ThreadId>,
        last: usize,
    }

    impl Coordinator for Polled {
        fn poll(&mut self) {
            self.by.push(thread::current().id());
            if self.by.len() == self.last {
                std::panic::resume_unwind(Box::new("cancelled"));
            }
        }

        fn spawn_with(&mut self, spawn: &mut dyn FnMut()) {
            spawn();
        }
    }

    #[test]
    fn only_the_calling_thread_polls_while_it_works_and_while_it_waits() {
        for waits in [false, true] {
            let mut host = Polled { by: Vec::new(), last: 3 };
            let caller = thread::current().id();
            let work = |(): &mut (), worker: &mut Worker<'_, '_>| {
                let own = thread::current().id() == caller;
                while own != waits && worker.goes_on() {
                    thread::sleep(Duration::from_millis(1));
                }
            };
            let run = || Workers::new(2, &mut host).run(usize::MAX, || Ok(()), work);
            let result = catch_unwind(AssertUnwindSafe(run));
            assert_eq!(result.unwrap_err().downcast_ref::<&str>(), Some(&"cancelled"));
            assert_eq!(host.by, [caller; 3]);
        }
    }

    #[test]
    fn a_limit_holds_for_threads_that_were_started_before() {
        let mut host = Idle;
        let mut workers = Workers::new(3, &mut host);
        let caller = thread::current().id();
        for threads in [4, 2, 1] {
            workers.limit(threads);
            assert_eq!(workers.threads(), threads);
            let (runs, own) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let work = |(): &mut (), _: &mut Worker<'_, '_>| {
                runs.fetch_add(1, Ordering::SeqCst);
                own.fetch_add(usize::from(thread::current().id() == caller), Ordering::SeqCst);
            };
            workers.run(usize::MAX, || Ok(()), work).unwrap();
            assert_eq!((runs.into_inner(), own.into_inner()), (threads, 1));
        }
    }

    #[test]
    fn without_room_for_all_the_others_do_the_work() {
        let (mut numbers, given) = ([0; 500], std::sync::atomic::AtomicUsize::new(0));
        // the calling thread asks first, then one helper of three gets something
        let scratch = || if given.fetch_add(1, Ordering::Relaxed) < 2 { Ok(()) } else { Err(OutOfMemory) };
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
