//! How far a long function is, for everybody who looks at `pg_stat_activity`: before the text of the query that runs
//! stands a comment. (The views pg_stat_progress_* have rows for commands of the server alone.)

use std::cell::Cell;
use std::ffi::CString;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::server;

/// Says how far a function is; the query's text is put back when it is dropped.
pub struct Activity {
    name: &'static str,
    last: Cell<Option<Instant>>,
}

/// Bytes of a query's text that are copied; track_activity_query_size is 1024 where nobody has set it.
const MOST: usize = 64 << 10;

/// Looks by others come no more often.
const INTERVAL: Duration = Duration::from_millis(50);

impl Activity {
    /// That of the function `name`. Says nothing yet.
    pub const fn of(name: &'static str) -> Self {
        Activity { name, last: Cell::new(None) }
    }

    /// Says what is being done, in ASCII; not every time when that is often.
    pub fn say(&self, what: core::fmt::Arguments<'_>) {
        if self.last.get().is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        self.last.set(Some(Instant::now()));
        // SAFETY: a C string of the backend, which the running query keeps, or null.
        let query = unsafe {
            let query = pg_sys::debug_query_string;
            if query.is_null() { &[] } else { core::ffi::CStr::from_ptr(query).to_bytes() }
        };
        // what is shown ends much sooner, mostly
        let query = query.get(..MOST).unwrap_or(query);
        let text = [format!("/* {}: {what} */ ", self.name).as_bytes(), query].concat();
        if let Ok(text) = CString::new(text) {
            report(text.as_ptr());
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        // SAFETY: as in `say`.
        let query = unsafe { pg_sys::debug_query_string };
        if self.last.get().is_some() && !query.is_null() {
            report(query);
        }
    }
}

/// Shows a text, which is copied, in the place of the query's. Cannot fail (backend_status.c).
fn report(text: *const core::ffi::c_char) {
    // SAFETY: a C string.
    unsafe {
        #[cfg(not(feature = "pg13"))]
        let id = server::pgstat_get_my_query_id();
        server::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text);
        // which goes with the text
        #[cfg(not(feature = "pg13"))]
        server::pgstat_report_query_id(id, true);
    }
}
