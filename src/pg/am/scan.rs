//! Callbacks of scans: rows in the order of distances, with or without their values.

use core::ffi::{c_char, c_int};

use pgrx::pg_sys::{self, Datum};
use vector_index::filter::Program;
use vector_index::storage::page::Damage;

use super::{AccessMethod, run};
use crate::pg::columns::Columns;
use crate::pg::ereport::{self, Report};
use crate::pg::guard;
use crate::pg::owned::Owned;
use crate::pg::relation::Rel;
use crate::pg::server;
use crate::pg::table_rows::{SeenRows, TableRows};
use crate::pg::toast::last_row;
use crate::pg::vacuum::item_pointer;
use crate::pg::varlena;

/// The query of a scan.
#[derive(Clone, Copy)]
pub struct ScanCall<'s> {
    scan: pg_sys::IndexScanDesc,
    /// the index
    pub index: Rel<'s>,
}

impl ScanCall<'_> {
    /// Whether there are conditions on columns.
    pub fn has_conditions(&self) -> bool {
        // SAFETY: the server's scan.
        unsafe { (*self.scan).numberOfKeys > 0 }
    }

    /// Makes the conditions a program. A server error unwinds.
    ///
    /// # Errors
    /// Columns of another index, or no memory.
    pub fn compile(&self, columns: &Columns, program: &mut Program) -> Result<(), Damage> {
        if !columns.are_of(self.index) {
            return Err(Damage::internal("conditions on columns of another index"));
        }
        // SAFETY: the scan has as many conditions as it says, of this index.
        unsafe {
            let count = usize::try_from((*self.scan).numberOfKeys).unwrap_or(0);
            let keys =
                if count == 0 { &[] } else { core::slice::from_raw_parts((*self.scan).keyData, count) };
            columns.compile(keys, program)
        }
    }

    /// The rows of the table that the scan may return. `rows` is the scan's own.
    pub fn table<'r>(&self, rows: &'r mut TableRows) -> SeenRows<'r> {
        // SAFETY: `check_scan` has seen that the snapshot is of the MVCC kind; the server keeps it and the table for as
        // long as the scan.
        unsafe { rows.seen(Rel::new((*self.scan).heapRelation), self.index, (*self.scan).xs_snapshot) }
    }

    /// The value to order by, a whole varlena; `None` for NULL.
    pub fn query(&self) -> Option<&[u8]> {
        // SAFETY: `check_scan` has seen that there is an order-by key, which is of a varlena type.
        unsafe {
            let key = &*(*self.scan).orderByData;
            if key.sk_flags & pg_sys::SK_ISNULL as c_int != 0 {
                return None;
            }
            // the executor has fetched it already; if ever not, the copy lives in the current memory context
            Some(varlena::whole(server::pg_detoast_datum(key.sk_argument.cast_mut_ptr())))
        }
    }
}

/// Values of a row's columns; NULL at first.
pub struct Returned {
    values: [Datum; MOST],
    nulls: [bool; MOST],
}

/// Columns of an index, at most.
const MOST: usize = pg_sys::INDEX_MAX_KEYS as usize;

impl Returned {
    /// A row of NULLs.
    pub const fn new() -> Self {
        Returned { values: [Datum::null(); MOST], nulls: [true; MOST] }
    }

    /// The value of the column of this number, from 0; none where it is NULL.
    pub fn get(&self, column: usize) -> Option<Datum> {
        self.values.get(column).copied().filter(|_| self.nulls.get(column) == Some(&false))
    }

    /// Sets the value of the column of this number, from 0.
    pub fn set(&mut self, column: usize, value: Datum) {
        if let (Some(place), Some(null)) = (self.values.get_mut(column), self.nulls.get_mut(column)) {
            (*place, *null) = (value, false);
        }
    }
}

/// What `opaque` of a scan points to: the state, and whether its first row was fetched.
struct Opaque<S> {
    state: S,
    started: bool,
    /// what lives as long as the scan
    memory: pg_sys::MemoryContext,
    /// the values of the row returned last, or null
    tuple: pg_sys::HeapTuple,
}

impl<S> Drop for Opaque<S> {
    /// What it has told of its last row refers to it.
    fn drop(&mut self) {
        last_row::forget();
    }
}

impl<S> Opaque<S> {
    /// Frees the values of the row before.
    ///
    /// # Safety
    /// The scan has no use for them any more.
    unsafe fn clear(&mut self, scan: pg_sys::IndexScanDesc) {
        let tuple = core::mem::replace(&mut self.tuple, core::ptr::null_mut());
        if !tuple.is_null() {
            // SAFETY: `form` made the tuple, in memory that the scan has.
            unsafe {
                (*scan).xs_hitup = core::ptr::null_mut();
                server::pfree(tuple.cast());
            }
        }
    }

    /// Makes a tuple of a row's values.
    ///
    /// # Safety
    /// The scan is open, and the values are of its index's columns.
    unsafe fn form(&mut self, scan: pg_sys::IndexScanDesc, row: &mut Returned) {
        // SAFETY: there are as many values as an index may have columns; the memory is the scan's.
        unsafe {
            let columns = (*(*scan).indexRelation).rd_att;
            let before = core::ptr::replace(&raw mut pg_sys::CurrentMemoryContext, self.memory);
            self.tuple = server::heap_form_tuple(columns, row.values.as_mut_ptr(), row.nulls.as_mut_ptr());
            pg_sys::CurrentMemoryContext = before;
            (*scan).xs_hitup = self.tuple;
            (*scan).xs_hitupdesc = columns;
        }
    }
}

pub(super) unsafe extern "C-unwind" fn begin_scan<A: AccessMethod>(
    index: pg_sys::Relation,
    keys: c_int,
    order_bys: c_int,
) -> pg_sys::IndexScanDesc {
    // SAFETY: the server passes an open index. The state is owned by the memory that the scan is in: when amendscan
    // does not come, it is dropped with that.
    unsafe {
        run(|| {
            let scan = server::RelationGetIndexScan(index, keys, order_bys);
            let state = A::begin_scan(Rel::new(index))?;
            let (memory, tuple) = (pg_sys::CurrentMemoryContext, core::ptr::null_mut());
            (*scan).opaque = Owned::give(Opaque { state, started: false, memory, tuple }).cast();
            Ok::<_, A::Error>(scan)
        })
    }
}

unsafe fn opaque<'a, A: AccessMethod>(scan: pg_sys::IndexScanDesc) -> Option<&'a mut Opaque<A::Scan>> {
    // SAFETY: `begin_scan` put it there; one callback of a scan runs at a time.
    unsafe { Owned::value((*scan).opaque.cast()) }
}

pub(super) unsafe extern "C-unwind" fn rescan<A: AccessMethod>(
    scan: pg_sys::IndexScanDesc,
    keys: pg_sys::ScanKey,
    _: c_int,
    order_bys: pg_sys::ScanKey,
    _: c_int,
) {
    // SAFETY: the server passes its scan and as many keys as it was begun with; source and target may be the same.
    unsafe {
        guard::entry(|| {
            if let Some(opaque) = opaque::<A>(scan) {
                last_row::forget();
                opaque.started = false;
                opaque.clear(scan);
                A::rescan(&mut opaque.state);
            }
        });
        if !keys.is_null() && (*scan).numberOfKeys > 0 {
            core::ptr::copy(keys, (*scan).keyData, (*scan).numberOfKeys as usize);
        }
        if !order_bys.is_null() && (*scan).numberOfOrderBys > 0 {
            core::ptr::copy(order_bys, (*scan).orderByData, (*scan).numberOfOrderBys as usize);
        }
    }
}

pub(super) unsafe extern "C-unwind" fn get_tuple<A: AccessMethod>(
    scan: pg_sys::IndexScanDesc,
    _: pg_sys::ScanDirection::Type,
) -> bool {
    // SAFETY: the server passes a scan begun here, whose index is open.
    unsafe {
        let found = run(|| {
            let Some(opaque) = opaque::<A>(scan) else { return Ok::<_, A::Error>(None) };
            if !opaque.started {
                count_scan((*scan).indexRelation);
                #[cfg(feature = "pg18")]
                if let Some(instrument) = (*scan).instrument.as_mut() {
                    instrument.nsearches += 1;
                }
                if let Err(report) = check_scan::<A>(scan) {
                    return Ok(Some(Err(report)));
                }
                opaque.started = true;
            }
            let call = ScanCall { scan, index: Rel::new((*scan).indexRelation) };
            last_row::forget();
            opaque.clear(scan);
            loop {
                let Some(row) = A::next(&mut opaque.state, call)? else { return Ok(None) };
                if (*scan).xs_want_itup {
                    let mut values = Returned::new();
                    if !A::values(&mut opaque.state, call, &mut values)? {
                        continue;
                    }
                    opaque.form(scan, &mut values);
                } else {
                    let known = A::known(&opaque.state);
                    last_row::remember(known, call.index, Rel::new((*scan).heapRelation), row);
                }
                return Ok(Some(Ok((row, A::rechecks(&opaque.state)))));
            }
        });
        match found {
            Some(Ok((row, rechecks))) => {
                (*scan).xs_heaptid = item_pointer(row);
                (*scan).xs_recheck = rechecks;
                (*scan).xs_recheckorderby = false;
                true
            }
            Some(Err(report)) => ereport::raise(report),
            None => false,
        }
    }
}

/// Not on a standby, whose replay of vacuums waits for no scan: README.md of hnsw.
pub(super) unsafe extern "C-unwind" fn can_return<A: AccessMethod>(
    index: pg_sys::Relation,
    column: c_int,
) -> bool {
    // SAFETY: the server passes an open index, and the number of a column from 1.
    unsafe {
        guard::entry(|| {
            let index = Rel::new(index);
            let Some(column) = usize::try_from(column).ok().and_then(|column| column.checked_sub(1)) else {
                return false;
            };
            let class = &*(*index.as_ptr()).rd_rel;
            let stored = class.relkind == pg_sys::RELKIND_INDEX as c_char;
            // another session's pages are in its memory
            let temporary = class.relpersistence == pg_sys::RELPERSISTENCE_TEMP as c_char;
            let ours = !temporary || (*index.as_ptr()).rd_islocaltemp;
            // A vacuum may then remove rows that an old snapshot sees: the server tells such scans when they read the
            // table.
            #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15", feature = "pg16"))]
            if pg_sys::old_snapshot_threshold >= 0 {
                return false;
            }
            stored && ours && !server::RecoveryInProgress() && A::can_return(index, column)
        })
    }
}

/// What every scan must have: an order, and a snapshot under which a row that vanished since is no harm (the index does
/// not keep its pages pinned; see index-locking in the server's documentation).
unsafe fn check_scan<A: AccessMethod>(scan: pg_sys::IndexScanDesc) -> Result<(), Report> {
    let refuse =
        |message: String| Err(Report::new(pgrx::PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message.as_bytes()));
    // SAFETY: the server's scan; without order-by keys their array is null.
    unsafe {
        if (*scan).orderByData.is_null() {
            return refuse(format!("cannot scan {} index without order", A::NAME));
        }
        let kind = (*(*scan).xs_snapshot).snapshot_type;
        let mvcc = kind == pg_sys::SnapshotType::SNAPSHOT_MVCC
            || kind == pg_sys::SnapshotType::SNAPSHOT_HISTORIC_MVCC;
        if !mvcc {
            return refuse(format!("non-MVCC snapshots are not supported with {}", A::NAME));
        }
        if (*scan).heapRelation.is_null() {
            return refuse(format!("cannot scan {} index without its table", A::NAME));
        }
        // or all rows would be passed over for want of their values
        if (*scan).xs_want_itup && !A::can_return(Rel::new((*scan).indexRelation), 0) {
            return refuse(format!("cannot return values of {} index", A::NAME));
        }
    }
    Ok(())
}

/// pgstat_count_index_scan (src/include/pgstat.h).
unsafe fn count_scan(index: pg_sys::Relation) {
    // SAFETY: the relation is open; where statistics are on but not yet attached, they are attached first.
    unsafe {
        #[cfg(not(any(feature = "pg13", feature = "pg14")))]
        if (*index).pgstat_info.is_null() && (*index).pgstat_enabled {
            server::pgstat_assoc_relation(index);
        }
        if let Some(info) = (*index).pgstat_info.as_mut() {
            #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
            {
                info.t_counts.t_numscans += 1;
            }
            #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
            {
                info.counts.numscans += 1;
            }
        }
    }
}

pub(super) unsafe extern "C-unwind" fn end_scan<A: AccessMethod>(scan: pg_sys::IndexScanDesc) {
    // SAFETY: the server ends a scan once; what the memory's own callback finds later is empty.
    unsafe {
        guard::entry(|| {
            if let Some(opaque) = opaque::<A>(scan) {
                A::end_scan(&mut opaque.state);
            }
            let state = core::mem::replace(&mut (*scan).opaque, core::ptr::null_mut());
            Owned::<Opaque<A::Scan>>::end(state.cast());
        });
    }
}
