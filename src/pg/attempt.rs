//! What may fail without failing the whole: in a subtransaction, as an exception block of PL/pgSQL
//! (src/pl/plpgsql/src/pl_exec.c, exec_stmt_block).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys;

use super::{guard, server};

/// A server error that was caught.
#[derive(Debug)]
pub struct Caught {
    /// the SQLSTATE
    pub code: PgSqlErrorCode,
    /// its text, in the server's encoding
    pub message: Vec<u8>,
}

/// Runs `body`, which changes nothing in the server: what it may leave behind when it fails is memory of the current
/// context. A server error with `code` is returned, any other goes on.
///
/// # Errors
/// That.
pub fn catch<R>(code: PgSqlErrorCode, body: impl FnOnce() -> R) -> Result<R, Caught> {
    // SAFETY: the error's data is copied into the memory context of before, as the server asks, and freed.
    unsafe {
        let memory = pg_sys::CurrentMemoryContext;
        let payload = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(result) => return Ok(result),
            Err(payload) => payload,
        };
        if !guard::is_server_error(&*payload) {
            resume_unwind(payload);
        }
        drop(payload);
        pg_sys::MemoryContextSwitchTo(memory);
        let error = server::CopyErrorData();
        server::FlushErrorState();
        if PgSqlErrorCode::from((*error).sqlerrcode) != code {
            server::rethrow(error);
        }
        Err(taken(error))
    }
}

/// What is kept of an error, which is freed.
///
/// # Safety
/// It is a copy.
unsafe fn taken(error: *mut pg_sys::ErrorData) -> Caught {
    // SAFETY: the caller's contract; a message ends with NUL.
    unsafe {
        let code = PgSqlErrorCode::from((*error).sqlerrcode);
        let message = match (*error).message.is_null() {
            true => Vec::new(),
            false => core::ffi::CStr::from_ptr((*error).message).to_bytes().into(),
        };
        server::FreeErrorData(error);
        Caught { code, message }
    }
}

/// Whether an error is none of what was attempted: the caller or the operator wants an end, or there is no memory left.
fn is_not_its_own(code: PgSqlErrorCode) -> bool {
    matches!(
        code,
        PgSqlErrorCode::ERRCODE_QUERY_CANCELED
            | PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN
            | PgSqlErrorCode::ERRCODE_CRASH_SHUTDOWN
            | PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY
    )
}

/// Runs `body`. A server error is returned, and all that `body` did in the server undone; but that somebody wants the
/// statement to end, or that there is no memory, goes on.
///
/// # Errors
/// Those.
pub fn attempt<R>(body: impl FnOnce() -> R) -> Result<R, Caught> {
    // SAFETY: within a transaction, as every function; the subtransaction that is begun here ends here, however `body`
    // ends. Memory context and resource owner are put back to those of before, as its end leaves others.
    unsafe {
        let (memory, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        let put_back = || {
            pg_sys::MemoryContextSwitchTo(memory);
            pg_sys::CurrentResourceOwner = owner;
        };
        server::BeginInternalSubTransaction(core::ptr::null());
        pg_sys::MemoryContextSwitchTo(memory);
        let payload = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(result) => {
                server::ReleaseCurrentSubTransaction();
                put_back();
                return Ok(result);
            }
            Err(payload) => payload,
        };
        pg_sys::MemoryContextSwitchTo(memory);
        if !guard::is_server_error(&*payload) {
            server::RollbackAndReleaseCurrentSubTransaction();
            put_back();
            resume_unwind(payload);
        }
        drop(payload);
        let error = server::CopyErrorData();
        server::FlushErrorState();
        server::RollbackAndReleaseCurrentSubTransaction();
        put_back();
        let code = PgSqlErrorCode::from((*error).sqlerrcode);
        if is_not_its_own(code) {
            server::rethrow(error);
        }
        Err(taken(error))
    }
}
