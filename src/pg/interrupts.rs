//! Cancels, timeouts and whatever else waits to be served (src/include/miscadmin.h).

use pgrx::pg_sys;

use super::server;

/// Serves what waits; an error unwinds. No lock on a buffer is held, or interrupts are held off.
#[inline]
pub fn check() {
    // SAFETY: the flag is set by signal handlers, hence volatile; the function may be called wherever a query may end.
    unsafe {
        if (&raw const pg_sys::InterruptPending).read_volatile() != 0 {
            server::ProcessInterrupts();
        }
    }
}
