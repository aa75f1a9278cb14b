//! How the server calls functions of this library: the border between its calls and safe bodies.
//!
//! [`functions!`] gives each symbol its version-1 info record and a body. Ordinary bodies run under a guard,
//! which turns a Rust panic into an SQL error and lets server errors unwind (`pg::guard`). Those under `hot`
//! are called once per row and run bare. They must not panic: their bodies look at slices through checked
//! views, call kernels, fetch values stored out of line and allocate their results. Both of these may raise a
//! server error, which jumps over them: they own nothing that needs dropping.

mod distance;

use pgrx::pg_sys::{Datum, FunctionCallInfo, Pg_finfo_record};

use crate::error::Error;
use crate::pg::call::{Call, Return};
use crate::pg::ereport::{self, IntoReport};
use crate::pg::guard;

pub use distance::distance_of;

/// What every info record says.
pub static VERSION_1: Pg_finfo_record = Pg_finfo_record { api_version: 1 };

/// An ordinary function: guarded, errors raised after the guard has returned.
///
/// # Safety
/// As for [`Call::new`].
pub unsafe fn guarded<R: Return>(fcinfo: FunctionCallInfo, body: fn(Call<'_>) -> Result<R, Error>) -> Datum {
    // SAFETY: the caller's contract; the closure owns nothing.
    let result = unsafe {
        guard::entry(move || {
            let call = Call::new(fcinfo);
            body(call).map(|value| value.into_datum(call)).map_err(Error::into_report)
        })
    };
    match result {
        Ok(datum) => datum,
        // SAFETY: this frame and those up to fmgr hold only Copy values.
        Err(report) => unsafe { ereport::raise(report) },
    }
}

/// An input function: its errors may be saved instead of raised.
///
/// # Safety
/// As for [`Call::new`].
pub unsafe fn input(fcinfo: FunctionCallInfo, body: fn(Call<'_>) -> Result<Datum, Error>) -> Datum {
    // SAFETY: the caller's contract; the closure owns nothing.
    let (result, context) = unsafe {
        guard::entry(move || {
            let call = Call::new(fcinfo);
            (body(call).map_err(Error::into_report), call.context())
        })
    };
    match result {
        Ok(datum) => datum,
        Err(report) => {
            // SAFETY: this frame and those up to fmgr hold only Copy values; the context is the call's own.
            unsafe { ereport::save_or_raise(context, report) };
            Datum::from(0usize)
        }
    }
}

/// A function called once per row.
///
/// # Safety
/// As for [`Call::new`]; `body` must not panic and must hold nothing that needs dropping while it reads its
/// arguments.
#[inline(always)]
pub unsafe fn hot<R: Return>(
    fcinfo: FunctionCallInfo,
    body: impl FnOnce(Call<'_>) -> Result<R, vector_index::ValueError>,
) -> Datum {
    // SAFETY: the caller's contract.
    let call = unsafe { Call::new(fcinfo) };
    match body(call) {
        Ok(value) => value.into_datum(call),
        // SAFETY: a ValueError and a Call are Copy; nothing is alive that needs dropping.
        Err(error) => unsafe { raise_value(error) },
    }
}

/// # Safety
/// As for [`ereport::raise`].
#[cold]
#[inline(never)]
unsafe fn raise_value(error: vector_index::ValueError) -> ! {
    // SAFETY: into_report can only fail to allocate, which the guard turns into an error; the report is Copy.
    unsafe {
        let report = guard::entry(move || Error::from(error).into_report());
        ereport::raise(report)
    }
}

/// C symbols with their bodies, and how they are called: `input`, `guarded` or `hot`.
macro_rules! functions {
    ($how:ident: $($symbol:ident => $body:expr;)*) => { $(
        const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($symbol)))]
            extern "C-unwind" fn finfo() -> &'static ::pgrx::pg_sys::Pg_finfo_record {
                &$crate::fmgr::VERSION_1
            }

            #[unsafe(export_name = stringify!($symbol))]
            unsafe extern "C-unwind" fn entry(fcinfo: ::pgrx::pg_sys::FunctionCallInfo) -> ::pgrx::pg_sys::Datum {
                // SAFETY: fmgr passes a live call of the function that sql/vector.sql declares for this symbol.
                unsafe { $crate::fmgr::$how(fcinfo, $body) }
            }
        };
    )* };
}

/// What the server calls when it loads the library.
macro_rules! on_load {
    ($body:block) => {
        #[allow(non_snake_case)]
        #[unsafe(no_mangle)]
        pub extern "C-unwind" fn _PG_init() {
            $crate::fmgr::load(|| $body);
        }
    };
}

/// Runs what is done when the library is loaded, guarded.
pub fn load(body: fn()) {
    guard::install_panic_hook();
    // SAFETY: called by the server; nothing needs dropping.
    unsafe { guard::entry(body) };
}

pub(crate) use {functions, on_load};
