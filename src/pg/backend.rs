//! One value per backend, reused from call to call: workspaces of operations that must not allocate each time.

use core::cell::{Cell, UnsafeCell};

use pgrx::pg_sys;

use super::ffi;

/// A value that its backend makes on first use and keeps.
pub struct PerBackend<T> {
    value: UnsafeCell<Option<T>>,
    /// the (sub)transaction that uses it
    user: Cell<Option<(i64, u32)>>,
}

// SAFETY: a backend runs SQL on one thread, and `with` refuses any other.
unsafe impl<T> Sync for PerBackend<T> {}

impl<T> PerBackend<T> {
    /// Nothing made yet.
    pub const fn new() -> Self {
        PerBackend { value: UnsafeCell::new(None), user: Cell::new(None) }
    }

    /// Runs `body` with the value. A server error that leaves `body` by a jump leaves the value as it is: whoever uses
    /// it next begins by resetting it.
    pub fn with<R>(&'static self, make: fn() -> T, body: impl FnOnce(&mut T) -> R) -> R {
        pg_sys::submodules::thread_check::check_active_thread();
        // SAFETY: both functions read variables of the current transaction.
        let current =
            unsafe { (ffi::GetCurrentTransactionStartTimestamp(), ffi::GetCurrentSubTransactionId()) };
        if self.user.get() == Some(current) {
            // used by a caller of ours: it keeps its own
            return body(&mut make());
        }
        // An error ends its subtransaction, so a user of another one is gone.
        self.user.set(Some(current));
        // SAFETY: this thread's alone (checked above), and nobody else uses it: a user within this subtransaction was
        // excluded, one of another was jumped over.
        let result = body(unsafe { &mut *self.value.get() }.get_or_insert_with(make));
        self.user.set(None);
        result
    }
}
