//! `hnsw_check(index, deep)`: the invariants of an index, and of what it holds of its table.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;
use vector_index::hnsw::check::{Census, CheckError, Found, OutOfReach, Subject, check as check_index};
use vector_index::hnsw::v1::layout::{Element, META_BLOCK, PAGE_ID};
use vector_index::hnsw::v1::reader::read_meta;
use vector_index::space::{AnySpace, Space, ValueBuf};
use vector_index::storage::blocks::BlockStore;
use vector_index::storage::page::{INVALID_BLOCK, Page, Tid};
use vector_index::storage::verify::Violation;
use vector_index::with_space;

use super::opclass::OpClass;
use super::{Hnsw, corrupted};
use crate::error::Error;
use crate::pg::am::AccessMethod;
use crate::pg::call::Call;
use crate::pg::inspect::{Inspection, ReadBlocks, inspect};
use crate::pg::srf::{Cell, Rows};

/// `hnsw_check(index regclass, deep boolean) RETURNS TABLE (block bigint, "offset" integer, violation text)`
pub fn check(call: Call<'_>) -> Result<Datum, Error> {
    let (index, deep) = (call.oid(0), call.bool(1));
    let Some(mut rows) = Rows::begin(&call, 3) else {
        return Err(Error::Fixed(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "set-valued function called in context that cannot accept a set",
        ));
    };
    inspect(index, Hnsw::NAME, |inspection| {
        run(inspection, deep, &mut |violation| put(&mut rows, &violation))
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

fn run(inspection: Inspection<'_>, deep: bool, report: &mut dyn FnMut(Violation)) -> Result<(), Error> {
    let index = inspection.index;
    let op = OpClass::of(index)?;
    let mut blocks = ReadBlocks::new(index);
    // without a meta page the check says so and looks no further
    let dims = match read_meta(&mut blocks) {
        Ok(meta) => i32::try_from(meta.dimensions).unwrap_or(i32::MAX),
        Err(_) => 0,
    };
    let declared = index.typmod(0);
    if declared > 0 && dims > 0 && declared != dims {
        let what = format!("dimensions are {dims}, and {declared} in the table");
        report(Violation::at(META_BLOCK, 0, what));
    }
    let subject = Subject { space: op.space(dims), unit: op.normalized };
    let census = match check_index(&mut blocks, &subject, deep, report) {
        Ok(census) => census,
        Err(CheckError::Store(corruption)) => return Err(corrupted(index, corruption)),
        Err(CheckError::OutOfMemory) => {
            return Err(Error::Fixed(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory"));
        }
    };
    if deep && dims > 0 {
        compare(inspection, op, &subject.space, &mut blocks, &census, report)?;
    }
    Ok(())
}

/// Looks whether each visible row of the table is in the index, with its value, and whether searches come to it.
fn compare(
    inspection: Inspection<'_>,
    op: OpClass,
    space: &AnySpace,
    blocks: &mut ReadBlocks<'_>,
    census: &Census,
    report: &mut dyn FnMut(Violation),
) -> Result<(), Error> {
    let (mut buffer, mut out_of_reach) = (ValueBuf::new(), OutOfReach::default());
    inspection.visible_rows(&mut |row, value| {
        let Some(value) = value else { return Ok(()) };
        let formed = match op.form(value, &mut buffer) {
            Ok(Some(formed)) => formed,
            Ok(None) => return Ok(()),
            Err(_) => {
                report(Violation::of_index(format!(
                    "row {row} of the table has a value that no index takes"
                )));
                return Ok(());
            }
        };
        match census.find(row) {
            None => report(Violation::of_index(format!("row {row} of the table is not in the index"))),
            Some(Found { element, reached }) => {
                if !reached {
                    out_of_reach.note(row, element, report);
                }
                if !same_value(blocks, space, op.normalized, element, formed) {
                    let what = format!("row {row} of the table has another value");
                    report(Violation::at(element.block(), element.offset(), what));
                }
            }
        }
        Ok(())
    })?;
    out_of_reach.end(report);
    let end = inspection.heap.blocks(pgrx::pg_sys::ForkNumber::MAIN_FORKNUM);
    for (row, element) in census.rows_from(end) {
        let what = format!("row {row} is behind the end of the table");
        report(Violation::at(element.block(), element.offset(), what));
    }
    Ok(())
}

/// Whether the element holds `value`. Elements that cannot be read have been told of.
fn same_value(
    blocks: &mut ReadBlocks<'_>,
    space: &AnySpace,
    normalized: bool,
    element: Tid,
    value: &[u8],
) -> bool {
    let same = blocks.read(element.block(), |bytes| {
        let item = Page::new(bytes, PAGE_ID)?.item(element.offset())?;
        let stored = Element::new(item, element.offset())?.value;
        Ok(stored == value
            || normalized && with_space!(*space, space => same_direction(space, stored, value)))
    });
    same.unwrap_or(true)
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
