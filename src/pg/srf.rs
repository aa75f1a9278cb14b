//! Functions that return a set of rows, all at once (src/backend/utils/fmgr/README, "materialize mode").

use pgrx::pg_sys::{self, Datum};

use super::call::Call;
use super::server;

/// One value of a row.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'t> {
    /// NULL
    Null,
    /// an integer
    Int(i32),
    /// a bigint
    Bigint(i64),
    /// a float8
    Float(f64),
    /// a boolean
    Bool(bool),
    /// an oid, or a type that is one
    Oid(pg_sys::Oid),
    /// a text, in ASCII or the server's encoding
    Text(&'t str),
    /// the same, as bytes
    Bytes(&'t [u8]),
    /// an interval, in seconds
    Seconds(f64),
}

/// The rows of a call's result.
pub struct Rows {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
}

impl Rows {
    /// Begins the result of `call`, no rows yet. `None` when the caller cannot take rows, or not all at once, or when
    /// the function was not declared to return `columns` columns.
    pub fn begin(call: &Call<'_>, columns: usize) -> Option<Self> {
        let fcinfo = call.as_ptr();
        // SAFETY: the call is live. resultinfo is null or a node, whose tag is looked at before its fields. What the
        // result needs is made in the memory that the caller keeps until it has read it.
        unsafe {
            let info = (*fcinfo).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            if info.is_null() || (*info).type_ != pg_sys::NodeTag::T_ReturnSetInfo {
                return None;
            }
            let materialize = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
            if (*info).allowedModes & materialize as core::ffi::c_int == 0 {
                return None;
            }
            let previous = pg_sys::MemoryContextSwitchTo((*(*info).econtext).ecxt_per_query_memory);
            let mut descriptor = core::ptr::null_mut();
            let class = server::get_call_result_type(fcinfo, core::ptr::null_mut(), &mut descriptor);
            let fits = class == pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE
                && usize::try_from((*descriptor).natts) == Ok(columns);
            if fits {
                (*info).returnMode = materialize;
                (*info).setResult = server::tuplestore_begin_heap(false, false, pg_sys::work_mem);
                (*info).setDesc = descriptor;
            }
            pg_sys::MemoryContextSwitchTo(previous);
            fits.then(|| Rows { store: (*info).setResult, descriptor })
        }
    }

    /// Adds a row, whose cells have the types of the columns that `begin` was told of.
    pub fn put<const N: usize>(&mut self, cells: [Cell<'_>; N]) {
        let mut values = [Datum::from(0usize); N];
        let mut nulls = [false; N];
        for ((value, null), cell) in values.iter_mut().zip(&mut nulls).zip(cells) {
            match cell {
                Cell::Null => *null = true,
                Cell::Int(n) => *value = Datum::from(n),
                Cell::Bigint(n) => *value = Datum::from(n),
                Cell::Float(n) => *value = Datum::from(n.to_bits()),
                Cell::Bool(b) => *value = Datum::from(b),
                Cell::Oid(oid) => *value = Datum::from(oid.to_u32()),
                Cell::Text(text) => *value = text_datum(text.as_bytes()),
                Cell::Bytes(text) => *value = text_datum(text),
                Cell::Seconds(seconds) => *value = interval(seconds),
            }
        }
        // SAFETY: store and descriptor were made by `begin` and live as long as the call; a row is copied, so its
        // texts can go. The arrays have a value for each column.
        unsafe {
            if usize::try_from((*self.descriptor).natts) == Ok(N) {
                server::tuplestore_putvalues(
                    self.store,
                    self.descriptor,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                );
            }
            for (value, cell) in values.iter().zip(cells) {
                if matches!(cell, Cell::Text(_) | Cell::Bytes(_) | Cell::Seconds(_)) {
                    server::pfree(value.cast_mut_ptr());
                }
            }
        }
    }
}

/// A text in the current memory context.
fn text_datum(text: &[u8]) -> Datum {
    let length = i32::try_from(text.len()).unwrap_or(0);
    // SAFETY: the text is readable for that length, which the function copies.
    Datum::from(unsafe { server::cstring_to_text_with_len(text.as_ptr().cast(), length) })
}

/// An interval in the current memory context (Interval, src/include/datatype/timestamp.h: microseconds, days, months).
fn interval(seconds: f64) -> Datum {
    // SAFETY: the memory has the struct's size, and is the caller's alone. A float beyond i64 saturates.
    unsafe {
        let interval: *mut pg_sys::Interval = server::palloc0(size_of::<pg_sys::Interval>()).cast();
        (*interval).time = (seconds * 1e6) as i64;
        Datum::from(interval)
    }
}
