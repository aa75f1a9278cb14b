//! What an index build tells the server: its progress, and the finished fork for the log.

use core::ffi::c_int;

use pgrx::pg_sys::{self, ForkNumber};

use super::relation::Rel;
use super::server;

/// Sets a progress counter of CREATE INDEX (src/include/commands/progress.h).
pub fn progress(counter: u32, value: i64) {
    // SAFETY: writes to this backend's own progress entry.
    unsafe { server::pgstat_progress_update_param(counter as c_int, value) };
}

/// Logs a finished fork, when the relation needs it.
pub fn log_fork(index: Rel<'_>, fork: ForkNumber::Type) {
    let init = fork == ForkNumber::INIT_FORKNUM;
    if !init && !index.needs_wal() {
        return;
    }
    let (blocks, run) = (index.blocks(fork), log_run());
    for start in (0..blocks).step_by(run as usize) {
        let end = start.saturating_add(run).min(blocks);
        // SAFETY: the relation is open and no buffer of it is locked; pages have the standard layout.
        unsafe { server::log_newpage_range(index.as_ptr(), fork, start, end, true) };
    }
}

/// Blocks that are logged at once. The server pins all of a record's, up to 32, and with few shared buffers
/// there are not as many for one backend.
fn log_run() -> u32 {
    // SAFETY: a plain variable, set when the server starts.
    let buffers = unsafe { pg_sys::NBuffers };
    if buffers >= 1024 { 1 << 16 } else { (buffers / 16).clamp(1, 32) as u32 }
}
