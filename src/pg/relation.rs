//! Relations that a callback was given: open and locked for as long as it runs.

use core::ffi::CStr;
use core::marker::PhantomData;

use pgrx::pg_sys::{self, ForkNumber};

use super::server;

/// An open relation. Copying it is free; `'r` ends with the callback.
#[derive(Clone, Copy)]
pub struct Rel<'r> {
    relation: pg_sys::Relation,
    lifetime: PhantomData<&'r ()>,
}

/// A relation and its file: tablespace, database and number. Other contents, by REINDEX or TRUNCATE, are another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId([u32; 4]);

impl<'r> Rel<'r> {
    /// Wraps what the server passed.
    ///
    /// # Safety
    /// `relation` is open, and locked as the callback it was passed to is promised, for all of `'r`.
    #[inline]
    pub unsafe fn new(relation: pg_sys::Relation) -> Self {
        Rel { relation, lifetime: PhantomData }
    }

    /// The server's pointer.
    #[inline]
    pub fn as_ptr(self) -> pg_sys::Relation {
        self.relation
    }

    /// Its number in the catalogs.
    pub fn oid(self) -> pg_sys::Oid {
        // SAFETY: the relation is open.
        unsafe { (*self.relation).rd_id }
    }

    /// Its name.
    pub fn name(self) -> String {
        // SAFETY: an open relation has its pg_class row, whose name ends with NUL.
        unsafe { CStr::from_ptr((*(*self.relation).rd_rel).relname.data.as_ptr()) }
            .to_string_lossy()
            .into_owned()
    }

    /// The number of blocks of a fork. A server error (the file is gone) unwinds.
    pub fn blocks(self, fork: ForkNumber::Type) -> u32 {
        // SAFETY: the relation is open; the function looks at the file's size.
        unsafe { server::RelationGetNumberOfBlocksInFork(self.relation, fork) }
    }

    /// How many rows a table has, as the planner estimates it: from its size now, and what ANALYZE found.
    pub fn estimated_rows(self) -> f64 {
        let (mut pages, mut rows, mut visible) = (0, 0.0, 0.0);
        // SAFETY: the relation is open, and there is room for what is asked.
        unsafe {
            server::estimate_rel_size(
                self.relation,
                core::ptr::null_mut(),
                &raw mut pages,
                &raw mut rows,
                &raw mut visible,
            );
        }
        rows
    }

    /// Which file it is in.
    pub fn file(self) -> FileId {
        // SAFETY: the relation is open.
        let id = unsafe { (*self.relation).rd_id };
        let [space, database, number] = self.place();
        FileId([id, space, database, number].map(u32::from))
    }

    /// Tablespace, database and number of its file.
    pub fn place(self) -> [pg_sys::Oid; 3] {
        // SAFETY: the relation is open.
        let rel = unsafe { &*self.relation };
        #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
        let place = [rel.rd_node.spcNode, rel.rd_node.dbNode, rel.rd_node.relNode];
        #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
        let place = [rel.rd_locator.spcOid, rel.rd_locator.dbOid, rel.rd_locator.relNumber];
        place
    }

    /// The number of the table's column that is an index's first one, from 1; none when that is an expression.
    pub fn table_column(self) -> Option<core::ffi::c_int> {
        // SAFETY: an open index has its pg_index row, whose indkey has a number for each of its columns, at least one.
        let number = unsafe { *(*(*self.relation).rd_index).indkey.values.as_ptr() };
        (number > 0).then(|| number.into())
    }

    /// Whether changes must be logged (RelationNeedsWAL, src/include/utils/rel.h).
    pub fn needs_wal(self) -> bool {
        // SAFETY: the relation is open.
        unsafe {
            let rel = &*self.relation;
            let permanent =
                (*rel.rd_rel).relpersistence == pg_sys::RELPERSISTENCE_PERMANENT as core::ffi::c_char;
            #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
            let first = rel.rd_firstRelfilenodeSubid;
            #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
            let first = rel.rd_firstRelfilelocatorSubid;
            let minimal = pg_sys::wal_level < pg_sys::WalLevel::WAL_LEVEL_REPLICA as core::ffi::c_int;
            let new_here = rel.rd_createSubid != 0 || first != 0;
            permanent && !(minimal && new_here)
        }
    }

    /// The type modifier of column `n` (from 0); -1 when it has none.
    pub fn typmod(self, n: usize) -> i32 {
        // SAFETY: the relation is open and the caller asks for one of its columns.
        unsafe { (*attribute((*self.relation).rd_att, n)).atttypmod }
    }

    /// The number of key columns of an index.
    pub fn key_columns(self) -> usize {
        // SAFETY: an open index has its pg_index row.
        unsafe { usize::try_from((*(*self.relation).rd_index).indnkeyatts).unwrap_or(0) }
    }

    /// The number of all columns of an index.
    pub fn columns(self) -> usize {
        // SAFETY: as in `key_columns`.
        unsafe { usize::try_from((*(*self.relation).rd_index).indnatts).unwrap_or(0) }
    }

    /// Whether values of column `n` (from 0) may be stored out of line.
    pub fn is_varlena(self, n: usize) -> bool {
        // SAFETY: as in `typmod`.
        unsafe { (*attribute((*self.relation).rd_att, n)).attlen == -1 }
    }

    /// The type of column `n` (from 0).
    pub fn type_of(self, n: usize) -> pg_sys::Oid {
        // SAFETY: as in `typmod`.
        unsafe { (*attribute((*self.relation).rd_att, n)).atttypid }
    }

    /// The name of the type of column `n`, from 0, as the server writes it in messages. A server error unwinds.
    pub fn type_name(self, n: usize) -> String {
        // SAFETY: a text in the current memory context, which ends with NUL.
        unsafe { CStr::from_ptr(server::format_type_be(self.type_of(n))) }.to_string_lossy().into_owned()
    }

    /// The address of support function `number` of the first column's operator class; `None` when it has none.
    pub fn support_function(self, number: u16) -> Option<usize> {
        // SAFETY: the relation is an open index with at least one column; the server checks that the access method
        // has a function of this number.
        unsafe {
            if server::index_getprocid(self.relation, 1, number) == pg_sys::InvalidOid {
                return None;
            }
            let info = server::index_getprocinfo(self.relation, 1, number);
            (*info).fn_addr.map(|f| f as usize)
        }
    }
}

/// A column of a descriptor.
///
/// # Safety
/// There is one of this number, from 0.
#[cfg(feature = "pg18")]
pub(super) unsafe fn attribute(desc: pg_sys::TupleDesc, n: usize) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: the caller's contract is that of TupleDescAttr.
    unsafe { pg_sys::TupleDescAttr(desc, n as core::ffi::c_int) }
}

/// A column of a descriptor.
///
/// # Safety
/// There is one of this number, from 0.
#[cfg(not(feature = "pg18"))]
pub(super) unsafe fn attribute(desc: pg_sys::TupleDesc, n: usize) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: the descriptor is followed by its columns, of which there are more than `n`.
    unsafe { (*desc).attrs.as_ptr().add(n) }
}
