//! Threads in a backend: how many there may be, and the backend's own duties while they work for it.

use pgrx::pg_sys;
use vector_index::work::memory::is_short;
use vector_index::work::workers::Coordinator;

use super::ereport::{self, Report};
use super::relation::Rel;
use super::{interrupts, memory};

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

/// A backend as the host of threads: it serves interrupts, raises an error when memory has run out, and tells
/// what was done.
pub struct Backend<'p> {
    progress: &'p mut dyn FnMut(),
}

impl<'p> Backend<'p> {
    /// A backend that calls `progress` every few milliseconds.
    pub fn new(progress: &'p mut dyn FnMut()) -> Self {
        Backend { progress }
    }
}

impl Coordinator for Backend<'_> {
    fn poll(&mut self) {
        (self.progress)();
        interrupts::check();
        if is_short() {
            ereport::unwind(memory::wanting());
        }
    }

    fn spawn_with(&mut self, spawn: &mut dyn FnMut()) {
        let _blocked = SignalsBlocked::new();
        spawn();
    }
}

/// Blocks every signal for threads started while it lives: signals belong to the backend's own thread.
struct SignalsBlocked {
    previous: libc::sigset_t,
}

impl SignalsBlocked {
    /// Blocks them.
    fn new() -> Self {
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
