//! The routine of an index access method whose algorithms are not built yet: operator classes can be made and
//! catalogs restored, everything that would touch an index says so.

use pgrx::pg_sys::{self, Datum};

use super::ereport::{self, Report};

/// An access method that exists by name only.
pub trait Unbuilt {
    /// Number of support functions an operator class may have.
    const SUPPORT_FUNCTIONS: u16;
    /// The error of every operation.
    fn report() -> Report;
}

/// # Safety
/// Called by PostgreSQL, directly: see [`ereport::raise`].
unsafe fn refuse<A: Unbuilt>() -> ! {
    // SAFETY: the guard turns a failure to make the report into an error; the report is Copy, and the callbacks
    // below hold nothing.
    unsafe {
        let report = pg_sys::submodules::panic::pgrx_extern_c_guard(A::report);
        ereport::raise(report)
    }
}

// Each callback has the signature of amapi.h and only refuses.
macro_rules! refusing {
    ($($name:ident($($arg:ty),*) $(-> $ret:ty)?;)*) => { $(
        unsafe extern "C-unwind" fn $name<A: Unbuilt>($(_: $arg),*) $(-> $ret)? {
            // SAFETY: PostgreSQL called this frame, which holds nothing.
            unsafe { refuse::<A>() }
        }
    )* };
}

refusing! {
    build(pg_sys::Relation, pg_sys::Relation, *mut pg_sys::IndexInfo) -> *mut pg_sys::IndexBuildResult;
    build_empty(pg_sys::Relation);
    bulk_delete(
        *mut pg_sys::IndexVacuumInfo, *mut pg_sys::IndexBulkDeleteResult,
        pg_sys::IndexBulkDeleteCallback, *mut core::ffi::c_void
    ) -> *mut pg_sys::IndexBulkDeleteResult;
    begin_scan(pg_sys::Relation, core::ffi::c_int, core::ffi::c_int) -> pg_sys::IndexScanDesc;
    rescan(pg_sys::IndexScanDesc, pg_sys::ScanKey, core::ffi::c_int, pg_sys::ScanKey, core::ffi::c_int);
    get_tuple(pg_sys::IndexScanDesc, pg_sys::ScanDirection::Type) -> bool;
    end_scan(pg_sys::IndexScanDesc);
}

#[cfg(feature = "pg13")]
refusing! {
    insert(
        pg_sys::Relation, *mut Datum, *mut bool, pg_sys::ItemPointer, pg_sys::Relation,
        pg_sys::IndexUniqueCheck::Type, *mut pg_sys::IndexInfo
    ) -> bool;
}

#[cfg(not(feature = "pg13"))]
refusing! {
    insert(
        pg_sys::Relation, *mut Datum, *mut bool, pg_sys::ItemPointer, pg_sys::Relation,
        pg_sys::IndexUniqueCheck::Type, bool, *mut pg_sys::IndexInfo
    ) -> bool;
}

/// Nothing was deleted (that would have been refused), so there is nothing to clean up; ANALYZE comes here too.
unsafe extern "C-unwind" fn vacuum_cleanup(
    _: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
) -> *mut pg_sys::IndexBulkDeleteResult {
    stats
}

/// More than any other plan, and finite: the planner takes the difference of two costs, and infinities give NaN.
const NEVER: f64 = 1e300;

/// An index that exists (the database was pgvector's) is never worth a scan: queries stay exact.
unsafe extern "C-unwind" fn cost_estimate(
    _: *mut pg_sys::PlannerInfo,
    path: *mut pg_sys::IndexPath,
    _: f64,
    startup_cost: *mut pg_sys::Cost,
    total_cost: *mut pg_sys::Cost,
    selectivity: *mut pg_sys::Selectivity,
    correlation: *mut f64,
    pages: *mut f64,
) {
    // From 18 on the number of disabled nodes counts before any cost; a scan that is switched off has one.
    #[cfg(feature = "pg18")]
    // SAFETY: the planner passes the path it is making.
    unsafe {
        (*path).path.disabled_nodes = 2;
    }
    #[cfg(not(feature = "pg18"))]
    let _ = path;
    // SAFETY: the planner passes five places to write to.
    unsafe {
        *startup_cost = NEVER;
        *total_cost = NEVER;
        *selectivity = 0.0;
        *correlation = 0.0;
        *pages = 0.0;
    }
}

/// Storage parameters are kept in the catalog as they are.
unsafe extern "C-unwind" fn options(_: Datum, _: bool) -> *mut pg_sys::bytea {
    core::ptr::null_mut()
}

unsafe extern "C-unwind" fn validate(_: pg_sys::Oid) -> bool {
    true
}

/// The routine, in the current memory context.
pub fn routine<A: Unbuilt>() -> Datum {
    // SAFETY: the allocation has the size of the node, zero is a valid value of each of its fields (false, no
    // callback), and the tag is its own.
    let routine = unsafe {
        let node: *mut pg_sys::IndexAmRoutine = pg_sys::palloc0(size_of::<pg_sys::IndexAmRoutine>()).cast();
        (*node).type_ = pg_sys::NodeTag::T_IndexAmRoutine;
        &mut *node
    };
    routine.amsupport = A::SUPPORT_FUNCTIONS;
    routine.amcanorderbyop = true;
    routine.amoptionalkey = true;
    routine.ambuild = Some(build::<A>);
    routine.ambuildempty = Some(build_empty::<A>);
    routine.aminsert = Some(insert::<A>);
    routine.ambulkdelete = Some(bulk_delete::<A>);
    routine.amvacuumcleanup = Some(vacuum_cleanup);
    routine.amcostestimate = Some(cost_estimate);
    routine.amoptions = Some(options);
    routine.amvalidate = Some(validate);
    routine.ambeginscan = Some(begin_scan::<A>);
    routine.amrescan = Some(rescan::<A>);
    routine.amgettuple = Some(get_tuple::<A>);
    routine.amendscan = Some(end_scan::<A>);
    Datum::from(core::ptr::from_mut(routine))
}
