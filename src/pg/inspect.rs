//! Looking at an index from an SQL function: opened by its OID, its table locked, its blocks only read.

use core::ffi::{CStr, c_int};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Buffer, ForkNumber};
use vector_index::storage::blocks::{BlockStore, LockMode, OperationLock, PageRef, PageUpdate};
use vector_index::storage::page::{Corruption, Damage};
use zerocopy::IntoBytes;

use super::blocks::PAGE_SIZE;
use super::interrupts;
use super::relation::Rel;
use super::server;
use super::table_scan::{self, Further, WholeRow};

/// Why an index cannot be looked at.
#[derive(Debug)]
pub struct InspectError {
    /// the SQLSTATE
    pub code: PgSqlErrorCode,
    /// in words
    pub message: String,
    /// what to do about it
    pub hint: Option<&'static str>,
}

fn refused<R>(code: PgSqlErrorCode, message: String) -> Result<R, InspectError> {
    Err(InspectError { code, message, hint: None })
}

/// An index that is not valid.
fn invalid<R>(name: &str) -> Result<R, InspectError> {
    Err(InspectError {
        code: PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        message: format!("index \"{name}\" is not valid, and so not complete"),
        hint: Some(
            "Wait for the CREATE INDEX CONCURRENTLY that makes it; when that failed, drop the index, or rebuild it with \
             REINDEX INDEX CONCURRENTLY.",
        ),
    })
}

/// That there is a relation. A server error unwinds.
///
/// # Errors
/// There is none.
fn exists(oid: pg_sys::Oid) -> Result<(), InspectError> {
    // SAFETY: looks the relation up in the catalog.
    if unsafe { server::get_rel_relkind(oid) } != 0 {
        return Ok(());
    }
    let message = format!("relation with OID {} does not exist", oid.to_u32());
    refused(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, message)
}

/// Whether there is no relation of this OID. A server error unwinds.
pub fn is_gone(oid: pg_sys::Oid) -> bool {
    exists(oid).is_err()
}

/// An index and its table, open and locked.
#[derive(Clone, Copy)]
pub struct Inspection<'r> {
    /// the index
    pub index: Rel<'r>,
    /// its table
    pub heap: Rel<'r>,
}

/// Opens the index `oid` of access method `method` and runs `look`, as the owner of the table and with nothing allowed
/// that an index expression must not do.
///
/// The table is locked in SHARE mode: neither rows nor the index change meanwhile. On a standby, where that lock cannot
/// be had, nothing is kept from changing while the log is replayed.
///
/// # Errors
/// A relation that is no such index, or one that cannot be looked at.
pub fn inspect<R>(
    oid: pg_sys::Oid,
    method: &str,
    look: impl FnOnce(Inspection<'_>) -> R,
) -> Result<R, InspectError> {
    exists(oid)?;
    // SAFETY: guarded calls, in the order that src/backend/commands/indexcmds.c follows: the table is locked before the
    // index. An error leaves by unwinding; the transaction's end closes and unlocks, and gives user and settings back.
    unsafe {
        let lock = if server::RecoveryInProgress() {
            pg_sys::AccessShareLock as c_int
        } else {
            pg_sys::ShareLock as c_int
        };
        let heap_oid = server::IndexGetRelation(oid, true);
        if heap_oid == pg_sys::InvalidOid {
            // says what it is, or that there is none
            let index = server::index_open(oid, pg_sys::AccessShareLock as c_int);
            let name = Rel::new(index).name();
            server::index_close(index, pg_sys::AccessShareLock as c_int);
            return refused(
                PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                format!("index \"{name}\" has no table"),
            );
        }
        let heap = server::table_open(heap_oid, lock);

        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        server::GetUserIdAndSecContext(&mut user, &mut context);
        let restricted = context | pg_sys::SECURITY_RESTRICTED_OPERATION as c_int;
        server::SetUserIdAndSecContext((*(*heap).rd_rel).relowner, restricted);
        let settings = server::NewGUCNestLevel();
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        server::RestrictSearchPath();

        let index = server::index_open(oid, pg_sys::AccessShareLock as c_int);
        let inspection = Inspection { index: Rel::new(index), heap: Rel::new(heap) };
        let same = server::IndexGetRelation(oid, true) == heap_oid;
        let result = inspection.check(method, same).map(|()| look(inspection));

        server::index_close(index, pg_sys::AccessShareLock as c_int);
        server::AtEOXact_GUC(false, settings);
        server::SetUserIdAndSecContext(user, context);
        server::table_close(heap, lock);
        result
    }
}

/// Opens the index `oid`, of an access method that `own` knows by name, and runs `look`, for somebody who owns
/// its table or may look at any (`pg_stat_scan_tables`, as with pgstattuple). Readers and writers go on
/// meanwhile. Nothing of the index is executed.
///
/// # Errors
/// A relation that is no such index, one that cannot be looked at, or somebody who may not.
pub fn observe<R>(
    oid: pg_sys::Oid,
    own: &[&'static str],
    look: impl FnOnce(Rel<'_>, &'static str) -> R,
) -> Result<R, InspectError> {
    exists(oid)?;
    let share = pg_sys::AccessShareLock as c_int;
    // SAFETY: guarded calls. An error leaves by unwinding; the transaction's end closes and unlocks. The table
    // is locked before the index, as everywhere.
    unsafe {
        let heap_oid = server::IndexGetRelation(oid, true);
        let heap = (heap_oid != pg_sys::InvalidOid).then(|| server::table_open(heap_oid, share));
        // says what it is, or that there is none
        let index = server::index_open(oid, share);
        let rel = Rel::new(index);
        let class = &*(*index).rd_rel;
        let user = server::GetUserId();
        let allowed = server::has_privs_of_role(user, class.relowner)
            || server::has_privs_of_role(user, READERS.into());
        let method = server::get_am_name(class.relam);
        let method =
            own.iter().find(|name| !method.is_null() && CStr::from_ptr(method).to_bytes() == name.as_bytes());
        let temporary = class.relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP && !(*index).rd_islocaltemp;
        let name = rel.name();
        let result = match method {
            _ if !allowed => refused(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("permission denied for index {name}"),
            ),
            None => {
                let message = format!("\"{name}\" is not an index of access method {}", own.join(" or "));
                refused(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, message)
            }
            Some(_) if class.relkind as u8 != pg_sys::RELKIND_INDEX => {
                let message =
                    format!("\"{name}\" is a partitioned index, whose parts are looked at one by one");
                refused(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, message)
            }
            Some(_) if temporary => {
                let message = format!("index \"{name}\" belongs to a temporary table of another session");
                refused(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message)
            }
            Some(_)
                if class.relpersistence as u8 == pg_sys::RELPERSISTENCE_UNLOGGED
                    && server::RecoveryInProgress() =>
            {
                let message = format!("index \"{name}\" is not logged, and so empty during recovery");
                refused(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message)
            }
            Some(_) if !(*(*index).rd_index).indisvalid => invalid(&name),
            Some(method) => Ok(look(rel, method)),
        };
        server::index_close(index, share);
        if let Some(heap) = heap {
            server::table_close(heap, share);
        }
        result
    }
}

/// Whether an index of `oid` may be looked at by [`observe`]: of the owner, or for a reader of statistics.
pub fn may_observe(owner: pg_sys::Oid) -> bool {
    // SAFETY: both functions read the catalog.
    unsafe {
        let user = server::GetUserId();
        server::has_privs_of_role(user, owner) || server::has_privs_of_role(user, READERS.into())
    }
}

/// The role `pg_stat_scan_tables` (src/include/catalog/pg_authid.dat).
const READERS: u32 = 3377;

/// Reads every block of the index into the shared buffers, as many as they have; returns how many. Those of `first`
/// have just been read.
pub fn warm(index: Rel<'_>, first: core::ops::Range<u32>) -> u32 {
    // SAFETY: a plain variable of the server, set at its start; the relation is open and the blocks exist, of one that
    // only grows while it is locked. The buffer is let go at once.
    unsafe {
        let most = u32::try_from(pg_sys::NBuffers).unwrap_or(0);
        let read = u32::try_from(first.len()).unwrap_or(u32::MAX);
        let mut left = most.saturating_sub(read);
        for block in (0..index.blocks(ForkNumber::MAIN_FORKNUM)).filter(|block| !first.contains(block)) {
            interrupts::check();
            if left == 0 {
                break;
            }
            left -= 1;
            let buffer = server::ReadBufferExtended(
                index.as_ptr(),
                ForkNumber::MAIN_FORKNUM,
                block,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                core::ptr::null_mut(),
            );
            server::ReleaseBuffer(buffer);
        }
        most.max(read) - left
    }
}

impl Inspection<'_> {
    fn check(&self, method: &str, same_table: bool) -> Result<(), InspectError> {
        let name = self.index.name();
        // SAFETY: the index is open, so it has its pg_class and pg_index rows. get_am_name answers null or a copy.
        let (kind, persistence, local, valid, own) = unsafe {
            let index = &*self.index.as_ptr();
            let class = &*index.rd_rel;
            let own = server::get_am_name(class.relam);
            let own = !own.is_null() && CStr::from_ptr(own).to_bytes() == method.as_bytes();
            (
                class.relkind as u8,
                class.relpersistence as u8,
                index.rd_islocaltemp,
                (*index.rd_index).indisvalid,
                own,
            )
        };
        if !own {
            let message = format!("\"{name}\" is not an index of access method {method}");
            return refused(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, message);
        }
        if kind != pg_sys::RELKIND_INDEX {
            let message = format!("\"{name}\" is a partitioned index, whose parts are checked one by one");
            return refused(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, message);
        }
        if !same_table {
            let message = format!("index \"{name}\" was replaced while its table was being locked");
            return refused(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, message);
        }
        if persistence == pg_sys::RELPERSISTENCE_TEMP && !local {
            let message = format!("index \"{name}\" belongs to a temporary table of another session");
            return refused(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message);
        }
        if !valid {
            return invalid(&name);
        }
        Ok(())
    }

    /// Shows every row of the table that is visible to the transaction and that the index must hold, by its TID in the
    /// index and its value, `None` for NULL.
    ///
    /// # Errors
    /// When the transaction sees rows of a time before the index, which it need not hold.
    pub fn visible_rows(&self, further: Further<'_>, row: &mut WholeRow<'_>) -> Result<(), InspectError> {
        // SAFETY: both relations are open; the info is made for this index, in the current memory context. Marked as a
        // concurrent build, it lets the table be scanned with a snapshot of the transaction.
        unsafe {
            let index = &*self.index.as_ptr();
            if (*index.rd_index).indcheckxmin
                && pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as c_int
                && !server::TransactionIdPrecedes(
                    made_by(index.rd_indextuple),
                    (*server::GetTransactionSnapshot()).xmin,
                )
            {
                let name = self.index.name();
                let message = format!("the transaction's snapshot is older than index \"{name}\"");
                return refused(PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE, message);
            }
            let info = server::BuildIndexInfo(self.index.as_ptr());
            (*info).ii_Concurrent = true;
            table_scan::scan_whole_table(self.heap, self.index, info, further, row);
        }
        Ok(())
    }
}

/// HeapTupleHeaderGetXmin (src/include/access/htup_details.h).
///
/// # Safety
/// `tuple` is a heap tuple.
unsafe fn made_by(tuple: pg_sys::HeapTuple) -> pg_sys::TransactionId {
    // SAFETY: the caller's contract.
    unsafe {
        let header = &*(*tuple).t_data;
        let frozen = pg_sys::HEAP_XMIN_FROZEN as u16;
        if header.t_infomask & frozen == frozen {
            return pg_sys::FrozenTransactionId;
        }
        header.t_choice.t_heap.t_xmin
    }
}

/// The blocks of an index, to be read and not changed. Reading goes through the guard: a server error unwinds, so
/// readers may own what they like.
pub struct ReadBlocks<'r> {
    relation: Rel<'r>,
    strategy: pg_sys::BufferAccessStrategy,
    count: u32,
    page: Vec<u64>,
}

impl<'r> ReadBlocks<'r> {
    /// The main fork, read through a small ring of buffers.
    pub fn new(relation: Rel<'r>) -> Self {
        // SAFETY: allocates in the current memory context, and is freed with that.
        let strategy = unsafe { server::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_BULKREAD) };
        ReadBlocks { relation, strategy, count: 0, page: vec![0; PAGE_SIZE / size_of::<u64>()] }
    }

    fn copy(&mut self, buffer: Buffer) {
        // SAFETY: the caller has pinned the buffer and holds its lock; a page has PAGE_SIZE bytes.
        let bytes = unsafe {
            core::slice::from_raw_parts(pg_sys::BufferGetPage(buffer).cast::<u8>().cast_const(), PAGE_SIZE)
        };
        self.page.as_mut_bytes().copy_from_slice(bytes);
    }
}

/// The change of blocks that are not changed: there is none.
pub enum NoChange {}

impl PageUpdate for NoChange {
    type Error = Corruption;
    fn open(&mut self, _: u32) -> Result<PageRef, Corruption> {
        match *self {}
    }
    fn extend(&mut self) -> Result<PageRef, Corruption> {
        match *self {}
    }
    fn block(&self, _: PageRef) -> u32 {
        match *self {}
    }
    fn bytes(&self, _: PageRef) -> &[u8] {
        match *self {}
    }
    fn bytes_mut(&mut self, _: PageRef) -> Result<&mut [u8], Corruption> {
        match *self {}
    }
    fn commit(self) -> Result<(), Corruption> {
        match self {}
    }
}

impl BlockStore for ReadBlocks<'_> {
    type Error = Corruption;
    type Update<'a>
        = NoChange
    where
        Self: 'a;

    fn page_size(&self) -> usize {
        PAGE_SIZE
    }

    fn count(&mut self) -> Result<u32, Corruption> {
        self.count = self.relation.blocks(ForkNumber::MAIN_FORKNUM);
        Ok(self.count)
    }

    fn read<R>(
        &mut self,
        block: u32,
        look: impl FnOnce(&[u8]) -> Result<R, Damage>,
    ) -> Result<R, Corruption> {
        if block >= self.count && block >= self.count()? {
            return Err(Damage::at(0, "block does not exist").on(block));
        }
        // SAFETY: the relation is open and the block exists; the lock is held for the copy alone.
        unsafe {
            let buffer = server::ReadBufferExtended(
                self.relation.as_ptr(),
                ForkNumber::MAIN_FORKNUM,
                block,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                self.strategy,
            );
            server::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as c_int);
            self.copy(buffer);
            server::UnlockReleaseBuffer(buffer);
        }
        look(self.page.as_bytes()).map_err(|damage| damage.on(block))
    }

    fn update(&mut self) -> Result<NoChange, Corruption> {
        Err(Damage::internal("change of blocks that are only read").on(0))
    }

    fn lock(&mut self, _: OperationLock, _: LockMode) -> Result<(), Corruption> {
        Ok(())
    }

    fn unlock(&mut self, _: OperationLock, _: LockMode) {}

    fn pause(&mut self) -> Result<(), Corruption> {
        interrupts::check();
        Ok(())
    }
}
