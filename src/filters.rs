//! Filter columns of an index, whichever access method's: those it has, and what is said when it cannot have them.

use pgrx::PgSqlErrorCode;
use vector_index::filter::MAX_COLUMNS;
use vector_index::storage::page::Damage;

use crate::error::Error;
use crate::opclass::{OpClass, VectorMethod};
use crate::pg::columns::{Columns, Refused};
use crate::pg::relation::Rel;

/// The operator class of an index of `A`, whose first column is the vector.
///
/// # Errors
/// One that is not this extension's. Of a filter column in the first place the server's words, which it has no reason
/// to say: the column's type has a default operator class.
pub fn operator_class<A: VectorMethod>(index: Rel<'_>) -> Result<OpClass, Error> {
    OpClass::of::<A>(index).map_err(|error| match error {
        Error::Message(..) if Columns::could_have_first(index) => {
            let (kind, method) = (index.type_name(0), A::NAME);
            Error::Hinted(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                format!("data type {kind} has no default operator class for access method \"{method}\""),
                "The vector is the first column, and filter columns follow it.",
            )
        }
        other => other,
    })
}

/// The filter columns of an index of `A`.
///
/// # Errors
/// Columns that cannot be filter columns.
pub fn of<A: VectorMethod>(index: Rel<'_>) -> Result<Columns, Error> {
    Columns::of(index).map_err(|refused| match refused {
        Refused::TooMany => Error::Message(
            PgSqlErrorCode::ERRCODE_TOO_MANY_COLUMNS,
            format!("{} indexes have at most {MAX_COLUMNS} filter columns", A::NAME),
        ),
        Refused::Type(column) => Error::Hinted(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("column {column} of index \"{}\" cannot be a filter column", index.name()),
            "The vector is the first column. Those that follow it have the default operator classes of their types.",
        ),
    })
}

/// The same of an index whose rows have `size` bytes of keys, as it says itself in its block `meta`.
///
/// # Errors
/// Others than its rows have.
pub fn of_opened<A: VectorMethod>(index: Rel<'_>, size: usize, meta: u32) -> Result<Columns, Error> {
    let columns = of::<A>(index)?;
    same::<A>(index, columns.bytes() == size, meta)?;
    Ok(columns)
}

/// Looks whether the filter columns that an index has are those that its block `meta` tells of.
///
/// # Errors
/// When they are not.
pub fn same<A: VectorMethod>(index: Rel<'_>, same: bool, meta: u32) -> Result<(), Error> {
    if same {
        return Ok(());
    }
    let damage = Damage::at(0, "other filter columns than its table").on(meta);
    Err(Error::of_index(A::NAME, index.name(), damage))
}

/// Columns behind the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Further {
    /// filter columns
    Filter,
    /// INCLUDE columns
    Include,
}

/// The error of an index of `A` with further columns on pages of the first layout: another may have them, as `hint`
/// says, or none of this operator class.
pub fn refused<A: VectorMethod>(columns: Further, hint: Option<&'static str>) -> Error {
    let code = PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;
    let what = match columns {
        Further::Filter => "filter columns",
        Further::Include => "INCLUDE columns",
    };
    match hint {
        Some(hint) => Error::Hinted(code, format!("layout pgvector does not support {what}"), hint),
        None => {
            Error::Message(code, format!("{} does not support {what} beside this operator class", A::NAME))
        }
    }
}
