//! PostgreSQL behind safe types. Nothing here knows vectors.
//!
//! Two ways of calling the server: through [`server`], whose functions have a guard that turns a server error into a
//! Rust panic, which unwinds (and drops) properly and becomes the same error again at the border ([`guard`]); and,
//! where a call per row would feel the guard's cost, through the few functions of [`ffi`], whose errors jump over
//! Rust frames and so may only be called where nothing on the stack needs dropping. Types, constants and variables
//! come from `pgrx::pg_sys`; its functions are not called, since their guard keeps a part of an error only.

pub mod activity;
pub mod alter;
pub mod am;
pub mod array;
pub mod attempt;
pub mod backend;
pub mod bits;
pub mod blocks;
pub mod build;
pub mod call;
mod change;
pub mod columns;
pub mod ereport;
mod extend;
#[cfg(feature = "fault_points")]
pub mod faults;
pub mod ffi;
mod free_space;
pub mod guard;
pub mod guc;
pub mod included;
pub mod inspect;
pub mod interrupts;
pub mod kept_rows;
pub mod memory;
pub mod operator;
pub mod owned;
pub mod planner;
pub mod prefetch;
pub mod recent_buffers;
pub mod relation;
pub mod reloptions;
pub mod sample;
pub mod server;
pub mod spi;
pub mod spill;
pub mod srf;
pub mod table_rows;
pub mod table_scan;
pub mod threads;
pub mod toast;
pub mod user;
pub mod utility;
pub mod vacuum;
pub mod varlena;

// Float8 and int8 are passed by value, and pointers fit a Datum: 64-bit platforms only, as pgrx.
const _: () = assert!(size_of::<pgrx::pg_sys::Datum>() == 8);
