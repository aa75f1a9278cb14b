//! Whose privileges a function's statements have.

use core::ffi::c_int;

use pgrx::pg_sys::{self, Oid};

use super::server;

/// While it lives, statements run as another role, with nothing allowed that an index expression must not do
/// (SECURITY_RESTRICTED_OPERATION); put back when it is dropped, or when the (sub)transaction ends by an error.
pub struct RunAs {
    user: Oid,
    context: c_int,
}

impl RunAs {
    /// Begins to run as `owner`, a role that the caller may act as: code that the owner chose gets no privilege of a
    /// mightier caller.
    pub fn owner(owner: Oid) -> Self {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: both functions read and write variables of the backend, within a transaction.
        unsafe {
            server::GetUserIdAndSecContext(&mut user, &mut context);
            server::SetUserIdAndSecContext(owner, context | pg_sys::SECURITY_RESTRICTED_OPERATION as c_int);
        }
        RunAs { user, context }
    }
}

impl Drop for RunAs {
    fn drop(&mut self) {
        // SAFETY: as in `owner`; the values were current then. While an error unwinds the (sub)transaction's end sets
        // the same ones, or those of a caller further out.
        unsafe { server::SetUserIdAndSecContext(self.user, self.context) };
    }
}
