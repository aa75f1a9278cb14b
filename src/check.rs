//! What the checks of both access methods share: the call, what is compared with the table, and how it is told.
//!
//! `hnsw_check` and `ivfflat_check(index regclass, deep boolean)
//! RETURNS TABLE (block bigint, "offset" integer, violation text)`.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{Datum, ForkNumber};
use vector_index::space::{AnySpace, Space, ValueBuf};
use vector_index::storage::page::{INVALID_BLOCK, Tid};
use vector_index::storage::verify::Violation;
use vector_index::with_space;
use vector_index::work::memory::OutOfMemory;

use crate::error::Error;
use crate::opclass::{OpClass, VectorMethod};
use crate::pg::call::Call;
use crate::pg::ereport::IntoReport;
use crate::pg::inspect::{Inspection, inspect};
use crate::pg::srf::{Cell, Rows};
use crate::pg::table_scan::Further;

/// What is told of each violation.
pub type Report<'r> = dyn FnMut(Violation) + 'r;

/// Runs the check of an index of `A` that the call names: `look` gets the index with its table, and whether the
/// check is deep.
///
/// # Errors
/// A relation that is no such index, or one that cannot be looked at. Damage is none: it is what is reported.
pub fn check<A: VectorMethod>(
    call: Call<'_>,
    look: impl FnOnce(Inspection<'_>, bool, &mut Report<'_>) -> Result<(), Error>,
) -> Result<Datum, Error> {
    let (index, deep) = (call.oid(0), call.bool(1));
    let Some(mut rows) = Rows::begin(&call, 3) else {
        return Err(Error::Fixed(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "set-valued function called in context that cannot accept a set",
        ));
    };
    inspect(index, A::NAME, |inspection| {
        look(inspection, deep, &mut |violation| put(&mut rows, &violation))
    })??;
    Ok(Datum::from(0usize))
}

/// Block and offset are NULL where a violation has none.
fn put(rows: &mut Rows, violation: &Violation) {
    let (block, offset) = match (violation.block, violation.offset) {
        (INVALID_BLOCK, _) => (Cell::Null, Cell::Null),
        (block, 0) => (Cell::Bigint(block.into()), Cell::Null),
        (block, offset) => (Cell::Bigint(block.into()), Cell::Int(offset.into())),
    };
    rows.put([block, offset, Cell::Text(&violation.what)]);
}

/// Reports when the column has other dimensions than the meta page, `meta_block`, says; 0 is for none that it says.
pub fn compare_dimensions(inspection: Inspection<'_>, meta_block: u32, dims: i32, report: &mut Report<'_>) {
    let declared = inspection.index.typmod(0);
    if declared > 0 && dims > 0 && declared != dims {
        let what = format!("dimensions are {dims}, and {declared} in the table");
        report(Violation::at(meta_block, 0, what));
    }
}

/// Looks whether each visible row of the table is in the index, with its value. `put_item` puts the packed keys of
/// filter columns behind a value, `find` gets a row, its value as the index keeps it, and those of INCLUDE columns; it
/// reports what there is to report of its place, and returns whether there is one.
///
/// # Errors
/// Those of reading the table.
pub fn compare_items(
    inspection: Inspection<'_>,
    op: &OpClass,
    further: Further<'_>,
    put_item: impl Fn(&[u8], &[u8], &mut ValueBuf) -> Result<(), OutOfMemory>,
    report: &mut Report<'_>,
    mut find: impl FnMut(Tid, (&[u8], &[u8]), &mut Report<'_>) -> bool,
) -> Result<(), Error> {
    let (mut buffer, mut item) = (ValueBuf::new(), ValueBuf::new());
    inspection.visible_rows(further, &mut |row, value, beside| {
        let Some(value) = value else { return Ok(()) };
        match op.form(value, &mut buffer) {
            Ok(None) => {}
            Err(_) => {
                let what = format!("row {row} of the table has a value that no index takes");
                report(Violation::of_index(what));
            }
            Ok(Some(mut formed)) => {
                if !beside.keys.is_empty() {
                    put_item(formed, beside.keys, &mut item)
                        .map_err(|memory| Error::from(memory).into_report())?;
                    formed = item.bytes();
                }
                if !find(row, (formed, beside.included), report) {
                    report(Violation::of_index(format!("row {row} of the table is not in the index")));
                }
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// Reports that the place of a row holds another value.
pub fn other_value(row: Tid, place: Tid, report: &mut Report<'_>) {
    let what = format!("row {row} of the table has another value");
    report(Violation::at(place.block(), place.offset(), what));
}

/// The first block behind the end of the table.
pub fn end_of_table(inspection: Inspection<'_>) -> u32 {
    inspection.heap.blocks(ForkNumber::MAIN_FORKNUM)
}

/// Reports rows behind the end of the table, with their places.
pub fn behind_end(rows: impl Iterator<Item = (Tid, Tid)>, report: &mut Report<'_>) {
    for (row, place) in rows {
        let what = format!("row {row} is behind the end of the table");
        report(Violation::at(place.block(), place.offset(), what));
    }
}

/// Whether what is stored is `value`.
pub fn same_value(op: &OpClass, space: &AnySpace, stored: &[u8], value: &[u8]) -> bool {
    stored == value || op.is_unit() && with_space!(*space, space => same_direction(space, stored, value))
}

/// Whether two values of unit length are the same but for rounding: each library, and each CPU, sums a norm in an order
/// of its own.
fn same_direction<S: Space>(space: S, a: &[u8], b: &[u8]) -> bool {
    match (space.view(a), space.view(b)) {
        // minus their inner product, which is 1 in halfvec to about three digits
        (Ok(a), Ok(b)) => space.distance(a, b) < -0.99,
        _ => false,
    }
}
