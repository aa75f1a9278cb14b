//! `hnsw_check(index, deep)`: the invariants of an index, and of what it holds of its table.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;
use vector_index::filter::{Packings, put_packed};
use vector_index::hnsw::check::{CheckError, Found, OutOfReach, Subject};
use vector_index::hnsw::format::{Cache, Opened, check as check_index, open, read_included, read_value};
use vector_index::hnsw::meta::META_BLOCK;
use vector_index::space::ValueBuf;
use vector_index::storage::verify::Violation;

use super::{Hnsw, corrupted, opened_columns, operator_class};
use crate::check::{self, Report};
use crate::error::Error;
use crate::pg::call::Call;
use crate::pg::included::Included;
use crate::pg::inspect::{Inspection, ReadBlocks};
use crate::pg::table_scan::Further;

/// The SQL function.
pub fn check(call: Call<'_>) -> Result<Datum, Error> {
    check::check::<Hnsw>(call, run)
}

fn run(inspection: Inspection<'_>, deep: bool, report: &mut Report<'_>) -> Result<(), Error> {
    let index = inspection.index;
    let op = operator_class(index)?;
    let mut blocks = ReadBlocks::new(index);
    // without a meta page the check says so and looks no further
    let opened = open(&mut blocks, &mut Cache::new()).ok();
    let dims = opened.as_ref().map_or(0, |opened| i32::try_from(opened.meta.dimensions).unwrap_or(i32::MAX));
    let layout = opened.as_ref().map(Opened::layout).unwrap_or_default();
    let op = op.keeping_lengths(layout.keeps_lengths());
    check::compare_dimensions(inspection, META_BLOCK, dims, report);
    let filters = opened.as_ref().map_or(Packings::NONE, Opened::filters);
    let subject = Subject { space: op.space(dims).of_items(filters.bytes()), unit: op.is_unit() };
    let checked = check_index(layout, &mut blocks, &subject, deep, report);
    let census = match checked {
        Ok(census) => census,
        Err(CheckError::Store(corruption)) => return Err(corrupted(index, corruption)),
        Err(CheckError::OutOfMemory) => {
            return Err(Error::Fixed(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory"));
        }
    };
    let Some(opened) = opened.filter(|_| deep && dims > 0) else { return Ok(()) };
    let (mut out_of_reach, mut buffer) = (OutOfReach::default(), ValueBuf::new());
    let columns = opened_columns(index, &opened)?;
    let included = Included::of(index);
    let further = Further { columns: &columns, included: included.as_ref() };
    let mut kept = ValueBuf::new();
    check::compare_items(
        inspection,
        &op,
        further,
        put_packed,
        report,
        |row, (value, included_values), report| {
            let Some(Found { element, reached }) = census.find(row) else { return false };
            if !reached {
                out_of_reach.note(row, element, report);
            }
            let same = read_value(&opened, &mut blocks, &mut buffer, element, |stored| {
                Ok(check::same_value(&op, &subject.space, stored, value))
            });
            // elements that cannot be read have been told of
            if !same.unwrap_or(true) {
                check::other_value(row, element, report);
            }
            // neither are rows without values told of again
            if let (Some(included), Ok(true)) =
                (&included, read_included(&opened, &mut blocks, row, &mut kept))
                && !included.are_same(kept.bytes(), included_values).unwrap_or(false)
            {
                let those = if included_values.is_empty() { "too large" } else { "other" };
                let what = format!("row {row} of the table has {those} included values");
                report(Violation::at(element.block(), element.offset(), what));
            }
            true
        },
    )?;
    out_of_reach.end(report);
    check::behind_end(census.rows_from(check::end_of_table(inspection)), report);
    Ok(())
}
