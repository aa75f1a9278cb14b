//! Direct declarations of server functions, without pgrx's guard. See the module `pg` for when they may be used.

use core::ffi::{c_char, c_int};

use pgrx::pg_sys::varlena;

unsafe extern "C-unwind" {
    // src/backend/utils/fmgr/fmgr.c
    pub fn pg_detoast_datum(datum: *mut varlena) -> *mut varlena;
    pub fn pg_detoast_datum_slice(datum: *mut varlena, first: i32, count: i32) -> *mut varlena;

    // src/backend/utils/error/elog.c
    pub fn errstart(elevel: c_int, domain: *const c_char) -> bool;
    pub fn errcode(sqlerrcode: c_int) -> c_int;
    pub fn errmsg_internal(format: *const c_char, ...) -> c_int;
    pub fn errdetail_internal(format: *const c_char, ...) -> c_int;
    pub fn errhint(format: *const c_char, ...) -> c_int;
    pub fn errfinish(filename: *const c_char, lineno: c_int, funcname: *const c_char);
}

#[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
unsafe extern "C-unwind" {
    pub fn errsave_start(context: *mut pgrx::pg_sys::Node, domain: *const c_char) -> bool;
    pub fn errsave_finish(
        context: *mut pgrx::pg_sys::Node,
        filename: *const c_char,
        lineno: c_int,
        funcname: *const c_char,
    );
}
