//! The callbacks of an index access method (src/include/access/amapi.h) behind one trait. Each callback guards, wraps
//! what the server passed in typed values, and calls a safe function.

use core::ffi::{CStr, c_char, c_int, c_void};

use pgrx::pg_sys::{self, Datum, ForkNumber};
use vector_index::filter::Program;
use vector_index::storage::page::{Damage, Tid};

use super::columns::{Columns, RowColumns};
use super::ereport::{self, Report};
use super::guard;
use super::owned::Owned;
use super::relation::Rel;
use super::server;
use super::vacuum::{BulkDelete, item_pointer, tid};
use super::varlena;

/// What a build counted.
pub struct Built {
    /// rows the table has
    pub heap_rows: f64,
    /// rows the index holds
    pub index_rows: f64,
}

/// One call of ambuild.
pub struct BuildCall<'b> {
    /// the table
    pub heap: Rel<'b>,
    /// the index, empty
    pub index: Rel<'b>,
    /// for the table scan
    pub info: *mut pg_sys::IndexInfo,
}

/// What the planner asks and is answered (amcostestimate).
pub struct CostCall {
    /// the planner's state
    pub root: *mut pg_sys::PlannerInfo,
    /// the path whose cost is asked
    pub path: *mut pg_sys::IndexPath,
    /// how often the scan is expected to run
    pub loop_count: f64,
}

/// The answer.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// before the first row
    pub startup: f64,
    /// for all rows
    pub total: f64,
    /// share of the table's rows
    pub selectivity: f64,
    /// of the index's order with the table's
    pub correlation: f64,
    /// pages read
    pub pages: f64,
}

impl CostCall {
    /// Whether the scan is asked to order its rows: what these access methods are for.
    pub fn ordered(&self) -> bool {
        // SAFETY: the planner passes the path it is making.
        unsafe { !(*self.path).indexorderbys.is_null() }
    }

    /// The cost of a scan that must never be chosen.
    pub fn never(&self) -> Cost {
        // From 18 on the number of disabled nodes counts before any cost; a scan that is switched off has one.
        #[cfg(feature = "pg18")]
        // SAFETY: the planner passes the path it is making.
        unsafe {
            (*self.path).path.disabled_nodes = 2;
        }
        Cost { startup: f64::INFINITY, total: f64::INFINITY, selectivity: 0.0, correlation: 0.0, pages: 0.0 }
    }

    /// Runs `look` with the index open.
    pub fn with_index<R>(&self, look: impl FnOnce(Rel<'_>) -> R) -> R {
        // SAFETY: the planner holds a lock on the index; what is opened is closed, or by the transaction's end.
        unsafe {
            let index = server::index_open((*(*self.path).indexinfo).indexoid, pg_sys::NoLock as c_int);
            let result = look(Rel::new(index));
            server::index_close(index, pg_sys::NoLock as c_int);
            result
        }
    }

    /// The server's generic estimate (src/backend/utils/adt/selfuncs.c).
    pub fn generic(&self) -> pg_sys::GenericCosts {
        let mut costs = pg_sys::GenericCosts::default();
        // SAFETY: the planner's own arguments, and a zeroed struct as the function asks.
        unsafe { server::genericcostestimate(self.root, self.path, self.loop_count, &mut costs) };
        costs
    }

    /// Whether there are conditions on columns.
    pub fn filtered(&self) -> bool {
        // SAFETY: the planner passes the path it is making.
        unsafe { !(*self.path).indexclauses.is_null() }
    }

    /// The number of the index's pages, as the planner knows it.
    pub fn index_pages(&self) -> f64 {
        // SAFETY: the path has its index.
        unsafe { f64::from((*(*self.path).indexinfo).pages) }
    }

    /// What the server's settings ask for an index's row and for an operator.
    pub fn cpu_costs(&self) -> (f64, f64) {
        // SAFETY: variables of the server, which only the backend's own thread sets.
        unsafe { (pg_sys::cpu_index_tuple_cost, pg_sys::cpu_operator_cost) }
    }

    /// The number of rows in the index, as the planner knows it.
    pub fn tuples(&self) -> f64 {
        // SAFETY: the path has its index.
        unsafe { (*(*self.path).indexinfo).tuples }
    }

    /// Pages of the table's main fork, as the planner knows it.
    pub fn table_pages(&self) -> f64 {
        // SAFETY: the path has its index, which has its table.
        unsafe { f64::from((*(*(*self.path).indexinfo).rel).pages) }
    }

    /// seq_page_cost where the index is.
    pub fn seq_page_cost(&self) -> f64 {
        let mut cost = 0.0;
        // SAFETY: the path has its index; one of the two answers may be left out.
        unsafe {
            let space = (*(*self.path).indexinfo).reltablespace;
            server::get_tablespace_page_costs(space, core::ptr::null_mut(), &mut cost);
        }
        cost
    }
}

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

/// An index access method. Errors are raised after everything that a callback made has been dropped.
pub trait AccessMethod: 'static {
    /// Its name in SQL.
    const NAME: &'static str;
    /// Number of support functions an operator class may have.
    const SUPPORT_FUNCTIONS: u16;
    /// Whether further columns may follow the first one, for conditions.
    const FILTER_COLUMNS: bool;
    /// Why something fails.
    type Error: ereport::IntoReport;
    /// The state of a scan; dropped with the scan or with the query's memory.
    type Scan;

    /// Builds the index over the table.
    fn build(call: BuildCall<'_>) -> Result<Built, Self::Error>;
    /// Writes the init fork of an unlogged index.
    fn build_empty(index: Rel<'_>) -> Result<(), Self::Error>;
    /// Adds a row; `value` is that of the first column, a whole varlena.
    fn insert(index: Rel<'_>, value: &[u8], columns: RowColumns<'_>, row: Tid) -> Result<(), Self::Error>;
    /// Removes rows.
    fn bulk_delete(call: BulkDelete<'_>) -> Result<(), Self::Error>;
    /// Estimates a scan.
    fn cost(call: &CostCall) -> Result<Cost, Self::Error>;
    /// Parses storage parameters.
    fn options(reloptions: Datum, validate: bool) -> *mut pg_sys::bytea;
    /// The name of a build phase.
    fn phase(number: i64) -> Option<&'static CStr>;
    /// Begins a scan.
    fn begin_scan(index: Rel<'_>) -> Result<Self::Scan, Self::Error>;
    /// Forgets the query; the next call of `next` begins again.
    fn rescan(scan: &mut Self::Scan);
    /// The scan ends in good order, before its state is dropped; not called after an error.
    fn end_scan(_scan: &mut Self::Scan) {}
    /// Whether the conditions must be looked at again, of the row that `next` has returned.
    fn rechecks(_scan: &Self::Scan) -> bool {
        false
    }
    /// The next row, nearest first.
    fn next(scan: &mut Self::Scan, call: ScanCall<'_>) -> Result<Option<Tid>, Self::Error>;
}

/// Runs a callback's body and raises its error when nothing of it is left.
///
/// # Safety
/// The caller is a function that the server called and holds nothing that needs dropping.
#[inline(always)]
unsafe fn run<R, E: ereport::IntoReport>(body: impl FnOnce() -> Result<R, E>) -> R {
    // SAFETY: the caller's contract; the report is Copy.
    match unsafe { guard::entry(|| body().map_err(ereport::IntoReport::into_report)) } {
        Ok(value) => value,
        // SAFETY: the caller's contract.
        Err(report) => unsafe { ereport::raise(report) },
    }
}

unsafe extern "C-unwind" fn build<A: AccessMethod>(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    // SAFETY: the server passes open relations, locked for the build.
    unsafe {
        run(|| {
            let built = A::build(BuildCall { heap: Rel::new(heap), index: Rel::new(index), info })?;
            let result: *mut pg_sys::IndexBuildResult =
                server::palloc0(size_of::<pg_sys::IndexBuildResult>()).cast();
            (*result).heap_tuples = built.heap_rows;
            (*result).index_tuples = built.index_rows;
            Ok::<_, A::Error>(result)
        })
    }
}

unsafe extern "C-unwind" fn build_empty<A: AccessMethod>(index: pg_sys::Relation) {
    // SAFETY: the server passes an open relation.
    unsafe { run(|| A::build_empty(Rel::new(index))) }
}

#[inline(always)]
unsafe fn insert_row<A: AccessMethod>(
    index: pg_sys::Relation,
    values: *mut Datum,
    isnull: *mut bool,
    row: pg_sys::ItemPointer,
) -> bool {
    // SAFETY: the server passes an open index and arrays of its columns.
    unsafe {
        run(|| {
            if *isnull {
                return Ok(());
            }
            let given = (*values).cast_mut_ptr::<pg_sys::varlena>();
            let value = server::pg_detoast_datum(given);
            let index = Rel::new(index);
            let columns = RowColumns::new(index, values, isnull);
            let result = A::insert(index, varlena::whole(value), columns, tid(*row));
            // rows of one statement share their memory
            if value != given {
                server::pfree(value.cast());
            }
            result
        });
    }
    false
}

#[cfg(feature = "pg13")]
unsafe extern "C-unwind" fn insert<A: AccessMethod>(
    index: pg_sys::Relation,
    values: *mut Datum,
    isnull: *mut bool,
    row: pg_sys::ItemPointer,
    _: pg_sys::Relation,
    _: pg_sys::IndexUniqueCheck::Type,
    _: *mut pg_sys::IndexInfo,
) -> bool {
    // SAFETY: the server's arguments.
    unsafe { insert_row::<A>(index, values, isnull, row) }
}

#[cfg(not(feature = "pg13"))]
unsafe extern "C-unwind" fn insert<A: AccessMethod>(
    index: pg_sys::Relation,
    values: *mut Datum,
    isnull: *mut bool,
    row: pg_sys::ItemPointer,
    _: pg_sys::Relation,
    _: pg_sys::IndexUniqueCheck::Type,
    _: bool,
    _: *mut pg_sys::IndexInfo,
) -> bool {
    // SAFETY: the server's arguments.
    unsafe { insert_row::<A>(index, values, isnull, row) }
}

unsafe extern "C-unwind" fn bulk_delete<A: AccessMethod>(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
    callback: pg_sys::IndexBulkDeleteCallback,
    state: *mut c_void,
) -> *mut pg_sys::IndexBulkDeleteResult {
    // SAFETY: the server passes an open index, and null or the statistics of an earlier call.
    unsafe {
        run(|| {
            let stats = if stats.is_null() {
                server::palloc0(size_of::<pg_sys::IndexBulkDeleteResult>()).cast()
            } else {
                stats
            };
            A::bulk_delete(BulkDelete::new(info, &mut *stats, callback, state))?;
            Ok::<_, A::Error>(stats)
        })
    }
}

/// Nothing changed: nothing to do. Else the number of pages is brought up to date.
unsafe extern "C-unwind" fn vacuum_cleanup(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
) -> *mut pg_sys::IndexBulkDeleteResult {
    // SAFETY: the server passes an open index, and null or its statistics.
    unsafe {
        if !(*info).analyze_only && !stats.is_null() {
            (*stats).num_pages = guard::entry(|| Rel::new((*info).index).blocks(ForkNumber::MAIN_FORKNUM));
        }
    }
    stats
}

unsafe extern "C-unwind" fn cost_estimate<A: AccessMethod>(
    root: *mut pg_sys::PlannerInfo,
    path: *mut pg_sys::IndexPath,
    loop_count: f64,
    startup: *mut pg_sys::Cost,
    total: *mut pg_sys::Cost,
    selectivity: *mut pg_sys::Selectivity,
    correlation: *mut f64,
    pages: *mut f64,
) {
    // SAFETY: the planner's arguments, and five places to write to.
    unsafe {
        let cost = run(|| A::cost(&CostCall { root, path, loop_count }));
        (*startup, *total, *selectivity) = (cost.startup, cost.total, cost.selectivity);
        (*correlation, *pages) = (cost.correlation, cost.pages);
    }
}

unsafe extern "C-unwind" fn options<A: AccessMethod>(
    reloptions: Datum,
    validate: bool,
) -> *mut pg_sys::bytea {
    // SAFETY: called by the server; the body only calls guarded functions.
    unsafe { guard::entry(|| A::options(reloptions, validate)) }
}

unsafe extern "C-unwind" fn validate(_: pg_sys::Oid) -> bool {
    true
}

unsafe extern "C-unwind" fn phase_name<A: AccessMethod>(phase: i64) -> *mut c_char {
    A::phase(phase).map_or(core::ptr::null_mut(), |name| name.as_ptr().cast_mut())
}

/// What `opaque` of a scan points to: the state, and whether its first row was fetched.
struct Opaque<S> {
    state: S,
    started: bool,
}

unsafe extern "C-unwind" fn begin_scan<A: AccessMethod>(
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
            (*scan).opaque = Owned::give(Opaque { state, started: false }).cast();
            Ok::<_, A::Error>(scan)
        })
    }
}

unsafe fn opaque<'a, A: AccessMethod>(scan: pg_sys::IndexScanDesc) -> Option<&'a mut Opaque<A::Scan>> {
    // SAFETY: `begin_scan` put it there; one callback of a scan runs at a time.
    unsafe { Owned::value((*scan).opaque.cast()) }
}

unsafe extern "C-unwind" fn rescan<A: AccessMethod>(
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
                opaque.started = false;
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

unsafe extern "C-unwind" fn get_tuple<A: AccessMethod>(
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
            let row = A::next(&mut opaque.state, call)?;
            Ok(row.map(|row| Ok((row, A::rechecks(&opaque.state)))))
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

unsafe extern "C-unwind" fn end_scan<A: AccessMethod>(scan: pg_sys::IndexScanDesc) {
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

/// The routine, in the current memory context.
pub fn routine<A: AccessMethod>() -> Datum {
    // SAFETY: the allocation has the size of the node, zero is a valid value of each of its fields (false, no
    // callback), and the tag is its own.
    let routine = unsafe {
        let node: *mut pg_sys::IndexAmRoutine = server::palloc0(size_of::<pg_sys::IndexAmRoutine>()).cast();
        (*node).type_ = pg_sys::NodeTag::T_IndexAmRoutine;
        &mut *node
    };
    routine.amsupport = A::SUPPORT_FUNCTIONS;
    routine.amcanorderbyop = true;
    routine.amoptionalkey = true;
    routine.amcanmulticol = A::FILTER_COLUMNS;
    routine.amsearcharray = A::FILTER_COLUMNS;
    routine.amsearchnulls = A::FILTER_COLUMNS;
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    {
        routine.amcanbuildparallel = true;
    }
    routine.amparallelvacuumoptions = pg_sys::VACUUM_OPTION_PARALLEL_BULKDEL as u8;
    routine.ambuild = Some(build::<A>);
    routine.ambuildempty = Some(build_empty::<A>);
    routine.aminsert = Some(insert::<A>);
    routine.ambulkdelete = Some(bulk_delete::<A>);
    routine.amvacuumcleanup = Some(vacuum_cleanup);
    routine.amcostestimate = Some(cost_estimate::<A>);
    routine.amoptions = Some(options::<A>);
    routine.ambuildphasename = Some(phase_name::<A>);
    routine.amvalidate = Some(validate);
    routine.ambeginscan = Some(begin_scan::<A>);
    routine.amrescan = Some(rescan::<A>);
    routine.amgettuple = Some(get_tuple::<A>);
    routine.amendscan = Some(end_scan::<A>);
    Datum::from(core::ptr::from_mut(routine))
}
