//! Functions for people: what an index consists of, how good its answers are, and what to do about a database's
//! vectors.
//!
//! [`info`] counts the contents of the pages. [`measure`] compares answers through an index with exact ones, for
//! [`recall`] (recall and latency under the session's settings) and [`tune`] (the least setting that reaches a
//! recall). [`advice`] collects facts about every column of vectors; the rules that make advice of them are in
//! `vector_index::advice`.

pub mod advice;
mod facts;
#[allow(clippy::module_inception)]
pub mod info;
mod measure;
pub mod recall;
pub mod tune;

use pgrx::PgSqlErrorCode;

use crate::error::Error;
use crate::pg::call::Call;
use crate::pg::srf::{Cell, Rows};

/// The access methods of this extension.
const METHODS: [&str; 2] = ["hnsw", "ivfflat"];

/// Begins the rows of a call's result.
///
/// # Errors
/// A caller that cannot take them.
fn rows(call: &Call<'_>, columns: usize) -> Result<Rows, Error> {
    Rows::begin(call, columns).ok_or(Error::Fixed(
        PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
        "set-valued function called in context that cannot accept a set",
    ))
}

/// A share or a number of milliseconds, to six places; what is behind them says nothing.
fn number(number: Option<f64>) -> Cell<'static> {
    number.map_or(Cell::Null, |number| Cell::Float((number * 1e6).round() / 1e6))
}

/// An argument's value, when it is in its range.
///
/// # Errors
/// When it is not.
fn in_range(name: &str, value: i32, most: i32) -> Result<usize, Error> {
    match usize::try_from(value) {
        Ok(n) if (1..=most).contains(&value) => Ok(n),
        _ => Err(Error::Message(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("{name} must be between 1 and {most}, not {value}"),
        )),
    }
}
