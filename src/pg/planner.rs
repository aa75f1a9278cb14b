//! What the planner may choose from, for statements that a function runs to compare plans: one index of a
//! table, or none; and settings that end with the function.

use core::ffi::{CStr, c_int};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use pgrx::pg_sys::{self, Oid, PlannerInfo, RelOptInfo};

use super::server;

/// The table whose indexes are hidden (0 for none), the index that is not (0 for none), and whether the hook is in
/// place: variables of the backend's one thread.
static TABLE: AtomicU32 = AtomicU32::new(0);
static INDEX: AtomicU32 = AtomicU32::new(0);
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// The hook that was there before ours.
static mut PREVIOUS: pg_sys::get_relation_info_hook_type = None;

/// While it lives, the planner sees of a table's indexes one at most. Told to the planner by a hook, so that
/// the catalog stays as it is and nobody else notices.
pub struct IndexChoice {
    before: (u32, u32),
}

impl IndexChoice {
    /// Hides the indexes of `table`.
    pub fn of(table: Oid) -> Self {
        let before = (TABLE.swap(table.to_u32(), Relaxed), INDEX.swap(0, Relaxed));
        if !INSTALLED.swap(true, Relaxed) {
            // For good, as hooks are: a library that is loaded later keeps ours as the one before its own.
            // SAFETY: the server's hook variable and ours, of the backend's one thread.
            unsafe {
                PREVIOUS = pg_sys::get_relation_info_hook;
                pg_sys::get_relation_info_hook = Some(hide);
            }
        }
        IndexChoice { before }
    }

    /// From now on the planner sees `index`, or none.
    pub fn only(&self, index: Option<Oid>) {
        INDEX.store(index.map_or(0, Oid::to_u32), Relaxed);
    }
}

impl Drop for IndexChoice {
    fn drop(&mut self) {
        TABLE.store(self.before.0, Relaxed);
        INDEX.store(self.before.1, Relaxed);
        // Functions that policies and expressions called meanwhile have kept their plans, made without the indexes and
        // under settings that nobody else has: all plans are made anew when they are next used.
        // SAFETY: marks the backend's saved plans, allocates nothing and raises nothing (plancache.c).
        unsafe { server::ResetPlanCache() };
    }
}

unsafe extern "C-unwind" fn hide(
    root: *mut PlannerInfo,
    table: Oid,
    inherits: bool,
    relation: *mut RelOptInfo,
) {
    // SAFETY: the planner passes its node for the table, whose list of indexes it has just made and nobody else
    // has; leaving elements out of such a list is what the hook is for (plancat.c). Nothing here needs
    // dropping, and the hook before ours has the same contract.
    unsafe {
        if let Some(previous) = PREVIOUS {
            previous(root, table, inherits, relation);
        }
        let list = (*relation).indexlist;
        if table.to_u32() != TABLE.load(Relaxed) || list.is_null() {
            return;
        }
        let wanted = INDEX.load(Relaxed);
        let mut kept = 0;
        for n in 0..(*list).length {
            let cell = *(*list).elements.add(n as usize);
            if (*cell.ptr_value.cast::<pg_sys::IndexOptInfo>()).indexoid.to_u32() == wanted {
                *(*list).elements.add(kept as usize) = cell;
                kept += 1;
            }
        }
        (*list).length = kept;
        if kept == 0 {
            (*relation).indexlist = core::ptr::null_mut();
        }
    }
}

/// Settings that are put back when it is dropped, or when the (sub)transaction ends by an error.
pub struct Settings(c_int);

impl Settings {
    /// Begins.
    pub fn begin() -> Self {
        // SAFETY: within a transaction, as every function.
        Settings(unsafe { server::NewGUCNestLevel() })
    }

    /// Sets `name` to `value`, as the session's user may.
    pub fn set(&self, name: &CStr, value: &CStr) {
        // SAFETY: two C strings, which are copied.
        unsafe {
            server::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the level was begun by this value, and those above it have ended.
            unsafe { server::AtEOXact_GUC(false, self.0) };
        }
    }
}
