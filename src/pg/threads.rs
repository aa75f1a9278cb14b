//! Threads in a backend: how many there may be, and the backend's own duties while they work for it.

use core::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use pgrx::pg_sys;

use super::ereport::{self, Report};
use super::interrupts;
use super::relation::Rel;

/// How many threads a build may use: one in the backend's place, and one for every parallel worker that the settings
/// and the table's own parallel_workers allow. (The planner's own count goes by the pages of the table, and a table
/// whose values are stored out of line has few.)
pub fn threads(heap: Rel<'_>) -> usize {
    // SAFETY: settings are plain variables; the table's options are read as the server's own macro
    // RelationGetParallelWorkers does: a table's options are StdRdOptions.
    let workers = unsafe {
        let setting = pg_sys::max_parallel_maintenance_workers.min(pg_sys::max_parallel_workers);
        let table = (*heap.as_ptr()).rd_options.cast::<pg_sys::StdRdOptions>().as_ref();
        match table.map(|options| options.parallel_workers) {
            Some(workers) if workers >= 0 => workers.min(setting),
            _ => setting,
        }
    };
    1 + workers.max(0) as usize
}

/// Tells a reader of DEBUG1 messages how many threads help: pgvector's message for its parallel workers.
pub fn tell_threads(threads: usize) {
    if threads > 1 {
        let message = format!("using {} parallel workers", threads - 1);
        let code = pgrx::PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
        ereport::debug(Report::new(code, message.as_bytes()));
    }
}

/// Blocks every signal for threads started while it lives: signals belong to the backend's own thread.
pub struct SignalsBlocked {
    previous: libc::sigset_t,
}

impl SignalsBlocked {
    /// Blocks them.
    pub fn new() -> Self {
        let mut previous = core::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: both sets are valid for the call, which fails only for an unknown first argument.
        unsafe {
            let mut all = core::mem::MaybeUninit::<libc::sigset_t>::zeroed();
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), previous.as_mut_ptr());
            SignalsBlocked { previous: previous.assume_init() }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set is what the first call gave.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.previous, core::ptr::null_mut()) };
    }
}

/// Serves interrupts while threads work: [`Self::poll`] says when to stop them, [`Self::finish`] raises what came.
#[derive(Default)]
pub struct Interrupts {
    caught: Option<Box<dyn Any + Send>>,
}

impl Interrupts {
    /// Nothing came yet.
    pub fn new() -> Self {
        Interrupts { caught: None }
    }

    /// Serves interrupts; true when the work must stop because one of them is an error (a cancel, a timeout).
    pub fn poll(&mut self) -> bool {
        if self.caught.is_none() {
            self.caught = catch_unwind(AssertUnwindSafe(interrupts::check)).err();
        }
        self.caught.is_some()
    }

    /// Raises the error that stopped the work, when there is one.
    pub fn finish(self) {
        if let Some(error) = self.caught {
            resume_unwind(error);
        }
    }
}
