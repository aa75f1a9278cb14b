//! The callbacks of an index access method (src/include/access/amapi.h) behind one trait. Each callback guards, wraps
//! what the server passed in typed values, and calls a safe function.

mod scan;

use core::ffi::{CStr, c_char, c_int, c_void};

use pgrx::PgList;
use pgrx::pg_sys::{self, Datum, ForkNumber};
use vector_index::storage::page::Tid;

pub use scan::{Returned, ScanCall};
use scan::{begin_scan, can_return, end_scan, get_tuple, rescan};

use super::blocks::PAGE_SIZE;
use super::columns::RowColumns;
use super::ereport;
use super::guard;
use super::relation::Rel;
use super::server;
use super::toast::last_row::Known;
use super::vacuum::{BulkDelete, tid};
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

    /// Whether rows without a vector are asked for: an index has none of them.
    pub fn wants_null(&self) -> bool {
        // SAFETY: an index path's clauses are a list of IndexClause, whose expressions are nodes.
        unsafe {
            PgList::<pg_sys::IndexClause>::from_pg((*self.path).indexclauses).iter_ptr().any(|clause| {
                let test = (*(*clause).rinfo).clause.cast::<pg_sys::NullTest>();
                (*clause).indexcol == 0
                    && (*test.cast::<pg_sys::Node>()).type_ == pg_sys::NodeTag::T_NullTest
                    && (*test).nulltesttype == pg_sys::NullTestType::IS_NULL
            })
        }
    }

    /// The cost of a scan for the rows that match: where all are wanted it is more than to read the table and sort it.
    /// An index has no rows without a vector, and its order is not exact to the last row; with a LIMIT or a cursor the
    /// nearest are what was asked for.
    pub fn of_matches(&self, cost: Cost) -> Cost {
        // SAFETY: the planner passes its state (tuple_fraction: 0 for all rows, src/include/nodes/pathnodes.h).
        let all = unsafe { (*self.root).tuple_fraction <= 0.0 };
        if !all {
            return cost;
        }
        let rows = self.tuples().max(2.0);
        // SAFETY: variables of the server, which only the backend's own thread sets.
        let (page, tuple, operator) = unsafe {
            let page = pg_sys::seq_page_cost.max(pg_sys::random_page_cost);
            (page, pg_sys::cpu_tuple_cost, pg_sys::cpu_operator_cost)
        };
        let more = 2.0 * (self.table_pages() * page + rows * (tuple + 2.0 * operator * rows.log2()));
        Cost { startup: cost.startup + more, total: cost.total + more, ..cost }
    }

    /// The share of rows that meet the conditions on the column of this number, from 0.
    pub fn share_of(&self, column: i16) -> f64 {
        // SAFETY: the planner's own arguments; an index path's clauses are a list of IndexClause.
        unsafe {
            let mut conditions = core::ptr::null_mut();
            for clause in PgList::<pg_sys::IndexClause>::from_pg((*self.path).indexclauses).iter_ptr() {
                if (*clause).indexcol == column {
                    conditions = server::lappend(conditions, (*clause).rinfo.cast());
                }
            }
            let relation = (*(*(*self.path).indexinfo).rel).relid as c_int;
            let inner = pg_sys::JoinType::JOIN_INNER;
            server::clauselist_selectivity(self.root, conditions, relation, inner, core::ptr::null_mut())
        }
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

    /// The share of values of so many bytes that the table's own pages can have: those out of line are on pages that
    /// the planner counts in no plan, neither a sort's nor a sequential scan's. It is more than the true share where
    /// rows have other wide columns.
    pub fn share_in_line(&self, value_bytes: f64) -> f64 {
        // SAFETY: the path has its index, which has its table.
        let rows = unsafe { (*(*(*self.path).indexinfo).rel).tuples };
        let values = rows.max(1.0) * value_bytes.max(1.0);
        (self.table_pages() * PAGE_SIZE as f64 / values).min(1.0)
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

/// An index access method. Errors are raised after everything that a callback made has been dropped.
pub trait AccessMethod: 'static {
    /// Its name in SQL.
    const NAME: &'static str;
    /// Number of support functions an operator class may have.
    const SUPPORT_FUNCTIONS: u16;
    /// Whether further columns may follow the first one, for conditions.
    const FILTER_COLUMNS: bool;
    /// Whether it may have INCLUDE columns, for index-only scans.
    const INCLUDE_COLUMNS: bool;
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
    /// What is known of the row that `next` has returned.
    fn known(_scan: &Self::Scan) -> Option<Known<'_>> {
        None
    }
    /// Whether scans give back the values of the column of this number, from 0.
    fn can_return(_index: Rel<'_>, _column: usize) -> bool {
        false
    }
    /// The values of the row that `next` has returned, of columns that can be returned, valid until the next call;
    /// false when no row has them any more. The table may be asked whether its page is all visible until then, too.
    fn values(_scan: &mut Self::Scan, _call: ScanCall<'_>, _row: &mut Returned) -> Result<bool, Self::Error> {
        Ok(false)
    }
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
    routine.amcanreturn = Some(can_return::<A>);
    routine.amcanmulticol = A::FILTER_COLUMNS;
    routine.amcaninclude = A::INCLUDE_COLUMNS;
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
