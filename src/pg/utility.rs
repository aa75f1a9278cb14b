//! Commands that cannot run inside a transaction block, run by a procedure that was called outside of one.

use core::ffi::CStr;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys;

use super::call::Call;
use super::server;

/// Why a command cannot be run here.
#[derive(Debug)]
pub struct NotHere {
    /// the SQLSTATE
    pub code: PgSqlErrorCode,
    /// in words
    pub message: &'static str,
}

/// Returns whether `call` is a CALL by the client itself, outside of a transaction block: only then may the transaction
/// that it runs in be ended, as commands like CREATE INDEX CONCURRENTLY do.
pub fn is_top_level(call: &Call<'_>) -> bool {
    let context = call.context();
    // SAFETY: the node of a live call, whose tag is looked at before its field.
    unsafe {
        !context.is_null()
            && (*context).type_ == pg_sys::NodeTag::T_CallContext
            && !(*context.cast::<pg_sys::CallContext>()).atomic
            // a block of a procedural language around the CALL holds a connection over the end of the transaction
            && !server::SPI_inside_nonatomic_context()
    }
}

/// Runs a command as if the client had sent it. It may end the transaction and begin another: nothing that lives in one
/// may be held, and what the caller owns is Rust's.
///
/// # Errors
/// When `call` is not one that may.
pub fn run_top_level(call: &Call<'_>, sql: &CStr) -> Result<(), NotHere> {
    if !is_top_level(call) {
        return Err(NotHere {
            code: PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
            message: "CREATE INDEX CONCURRENTLY needs a CALL outside of a transaction block",
        });
    }
    // What the server does with a client's utility command (exec_simple_query and PortalRunUtility). Such commands let
    // their snapshot go themselves. The statement is made again from its text, so the command may scribble on it.
    // SAFETY: one snapshot is active, and no other; a procedure's portal stays over the ends of transactions, and with
    // it the memory that was current, to which this returns. The text outlives the call.
    unsafe {
        let memory = pg_sys::CurrentMemoryContext;
        // those of the procedure itself, which runs no statement of its own any more
        #[cfg(not(feature = "pg13"))]
        server::ForgetPortalSnapshots();
        forget_snapshots();
        let list = server::pg_parse_query(sql.as_ptr());
        if !list.is_null() && (*list).length == 1 {
            let raw: *mut pg_sys::RawStmt = (*(*list).elements).ptr_value.cast();
            let statement: *mut pg_sys::PlannedStmt =
                server::palloc0(size_of::<pg_sys::PlannedStmt>()).cast();
            (*statement).type_ = pg_sys::NodeTag::T_PlannedStmt;
            (*statement).commandType = pg_sys::CmdType::CMD_UTILITY;
            (*statement).canSetTag = true;
            (*statement).utilityStmt = (*raw).stmt;
            server::PushActiveSnapshot(server::GetTransactionSnapshot());
            server::ProcessUtility(
                statement,
                sql.as_ptr(),
                #[cfg(not(feature = "pg13"))]
                false,
                pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL,
                core::ptr::null_mut(),
                core::ptr::null_mut(),
                pg_sys::None_Receiver,
                core::ptr::null_mut(),
            );
        }
        pg_sys::MemoryContextSwitchTo(memory);
        forget_snapshots();
    }
    Ok(())
}

/// Lets snapshots go that are still active.
///
/// # Safety
/// Nobody uses them: the caller is a procedure that was called at top level, and reads nothing.
unsafe fn forget_snapshots() {
    // SAFETY: the caller's contract. (The server's own function for those of a portal came to PostgreSQL 13 in a minor
    // release; there the portal does without being told.)
    unsafe {
        while server::ActiveSnapshotSet() {
            server::PopActiveSnapshot();
        }
    }
}
