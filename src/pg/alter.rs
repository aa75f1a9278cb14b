//! Noticing that somebody altered the storage parameters of an index, whose pages stay as they are.
//!
//! A hook of the server's object access: unlike the hook for utility commands, it is asked after the library was loaded
//! by the very command that needs it.

use core::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;

use pgrx::pg_sys::{self, Datum, Oid};

use super::ereport::{self, Report};
use super::guard;
use super::relation::Rel;
use super::reloptions::Options;
use super::server;

/// Storage parameters of an access method, at most.
pub const PARAMETERS: usize = 4;

/// The values of an access method's storage parameters, in the order of their description; further ones are 0.
pub type Values = [i32; PARAMETERS];

/// An access method, and what is done about its indexes.
pub struct Watched {
    /// the access method's name
    pub method: &'static CStr,
    /// its storage parameters
    pub options: &'static Options,
    /// called with an index whose parameters were altered: what they were, what they are from now on
    pub altered: fn(Rel<'_>, &Values, &Values) -> Result<(), Report>,
}

static WATCHED: OnceLock<&'static [Watched]> = OnceLock::new();

/// The hook that was there before ours.
static mut PREVIOUS: pg_sys::object_access_hook_type = None;

/// Begins to watch; from _PG_init.
pub fn watch(methods: &'static [Watched]) {
    if WATCHED.set(methods).is_ok() {
        // SAFETY: the server's hook variable and ours, of the backend's one thread.
        unsafe {
            PREVIOUS = pg_sys::object_access_hook;
            pg_sys::object_access_hook = Some(accessed);
        }
    }
}

unsafe extern "C-unwind" fn accessed(
    access: pg_sys::ObjectAccessType::Type,
    class: Oid,
    object: Oid,
    part: c_int,
    argument: *mut c_void,
) {
    // SAFETY: the server's arguments. Nothing here needs dropping, and the hook before ours has the same contract.
    unsafe {
        if let Some(previous) = PREVIOUS {
            previous(access, class, object, part, argument);
        }
        if access == pg_sys::ObjectAccessType::OAT_POST_ALTER
            && class == pg_sys::RelationRelationId
            && part == 0
            && !argument.is_null()
            && !(*argument.cast::<pg_sys::ObjectAccessPostAlter>()).is_internal
        {
            guard::entry(|| look(object));
        }
    }
}

/// Looks at a relation that a command has changed in the catalog, and tells when it is an index of ours whose
/// parameters differ.
///
/// # Safety
/// Called by the server's hook: the command has the relation locked.
unsafe fn look(relation: Oid) {
    // SAFETY: the caller's contract; what is opened is closed, or by the transaction's end.
    unsafe {
        if server::get_rel_relkind(relation) != pg_sys::RELKIND_INDEX as core::ffi::c_char {
            return;
        }
        let index = server::index_open(relation, pg_sys::NoLock as c_int);
        let method = server::get_am_name((*(*index).rd_rel).relam);
        let known = WATCHED.get().copied().unwrap_or_default();
        let named = |watched: &&Watched| !method.is_null() && CStr::from_ptr(method) == watched.method;
        if let Some(watched) = known.iter().find(named) {
            // the command counter stands still: the cache has the row as it was
            let before = watched.options.values((*index).rd_options);
            let after = read_now(relation, watched.options, (*(*index).rd_indam).amoptions);
            if let Some(after) = after.filter(|after| *after != before)
                && let Err(report) = (watched.altered)(Rel::new(index), &before, &after)
            {
                ereport::unwind(report);
            }
        }
        server::index_close(index, pg_sys::NoLock as c_int);
    }
}

/// The values in the index's row as the command has just written it.
///
/// # Safety
/// The index is of the options' access method, whose callback `parse` is.
unsafe fn read_now(index: Oid, options: &Options, parse: pg_sys::amoptions_function) -> Option<Values> {
    // SAFETY: pg_class is opened and closed here; the scan's key compares oids, and its snapshot is the server's own
    // that sees changes of this command. The tuple is looked at before the scan ends.
    unsafe {
        let mut key = pg_sys::ScanKeyData::default();
        server::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_class_oid as i16,
            pg_sys::BTEqualStrategyNumber as u16,
            Oid::from(pg_sys::F_OIDEQ),
            Datum::from(index),
        );
        let class = server::table_open(pg_sys::RelationRelationId, pg_sys::AccessShareLock as c_int);
        let by_oid = Oid::from(pg_sys::ClassOidIndexId);
        let scan =
            server::systable_beginscan(class, by_oid, true, &raw mut pg_sys::SnapshotSelfData, 1, &mut key);
        let tuple = server::systable_getnext(scan);
        let values = (!tuple.is_null())
            .then(|| options.values(server::extractRelOptions(tuple, (*class).rd_att, parse)));
        server::systable_endscan(scan);
        server::table_close(class, pg_sys::AccessShareLock as c_int);
        values
    }
}
