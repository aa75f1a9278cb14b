//! The function of an operator, called without a query.

use core::mem::MaybeUninit;

use pgrx::pg_sys::{self, Datum, Oid};

use super::spi::Value;
use super::{ffi, guard, server};

/// A function of two values of a type to a `float8`.
pub struct Distance(Box<pg_sys::FmgrInfo>);

impl Distance {
    /// Looks a function up.
    pub fn of(function: Oid) -> Self {
        let mut info: Box<MaybeUninit<pg_sys::FmgrInfo>> = Box::new(MaybeUninit::zeroed());
        // SAFETY: the struct is filled, or an error unwinds; what it leads to lives as long as the current memory
        // context, in which it is used.
        unsafe {
            server::fmgr_info(function, info.as_mut_ptr());
            Distance(info.assume_init())
        }
    }

    /// The distances of `value` from each of `others`, as many as `out` takes.
    pub fn all(&mut self, value: Value, others: &[Value], out: &mut [f64]) {
        let function = &raw mut *self.0;
        // SAFETY: the function was declared to take two such values and to return a float8 (callers); the loop holds
        // nothing that needs dropping.
        unsafe {
            guard::call(|| {
                for (other, out) in others.iter().zip(out) {
                    let distance: Datum =
                        ffi::FunctionCall2Coll(function, pg_sys::InvalidOid, value.datum(), other.datum());
                    *out = f64::from_bits(distance.value() as u64);
                }
            });
        }
    }
}
