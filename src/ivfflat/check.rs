//! `ivfflat_check(index, deep)`: the invariants of an index, and of what it holds of its table.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{Datum, ForkNumber};
use vector_index::ivf::check::Check;
use vector_index::ivf::scan::{Unpack, read_meta};
use vector_index::ivf::v1::layout::{Entry, META_BLOCK, PAGE_ID, Packed};
use vector_index::space::{AnySpace, Space, ValueBuf};
use vector_index::storage::blocks::BlockStore;
use vector_index::storage::page::{INVALID_BLOCK, Page, Tid};
use vector_index::storage::verify::{Violation, Violations};
use vector_index::with_space;
use vector_index::work::memory::OutOfMemory;

use super::opclass::{Decompress, OpClass};
use super::{Ivfflat, corrupted};
use crate::error::Error;
use crate::pg::am::AccessMethod;
use crate::pg::call::Call;
use crate::pg::inspect::{Inspection, ReadBlocks, inspect};
use crate::pg::srf::{Cell, Rows};

/// `ivfflat_check(index regclass, deep boolean) RETURNS TABLE (block bigint, "offset" integer, violation text)`
pub fn check(call: Call<'_>) -> Result<Datum, Error> {
    let (index, deep) = (call.oid(0), call.bool(1));
    let Some(mut rows) = Rows::begin(&call, 3) else {
        return Err(Error::Fixed(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "set-valued function called in context that cannot accept a set",
        ));
    };
    let violations = inspect(index, Ivfflat::NAME, |inspection| run(inspection, deep))??;
    violations.iter().for_each(|violation| put(&mut rows, violation));
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

fn run(inspection: Inspection<'_>, deep: bool) -> Result<Violations, Error> {
    let index = inspection.index;
    let op = OpClass::of(index)?;
    let mut blocks = ReadBlocks::new(index);
    let mut check = Check::default();
    // without a meta page the check says so and looks no further
    let dims = read_meta(&mut blocks).map_or(0, |meta| meta.dimensions);
    let declared = index.typmod(0);
    if declared > 0 && dims > 0 && declared != i32::from(dims) {
        let what = format!("dimensions are {dims}, and {declared} in the table");
        check.violations.push(Violation::at(META_BLOCK, 0, what));
    }
    let space = op.space(dims);
    let checked = with_space!(space, space => check.run(&mut blocks, space, deep, &mut Decompress));
    checked.map_err(|c| corrupted(index, c))?;
    if deep && dims > 0 && !check.out_of_memory() {
        compare(inspection, op, &space, &mut blocks, &mut check)?;
    }
    if check.out_of_memory() { Err(OutOfMemory.into()) } else { Ok(check.violations) }
}

/// Looks whether each visible row of the table is in the index, with its value.
fn compare(
    inspection: Inspection<'_>,
    op: OpClass,
    space: &AnySpace,
    blocks: &mut ReadBlocks<'_>,
    check: &mut Check,
) -> Result<(), Error> {
    let (mut found, mut buffer) = (core::mem::take(&mut check.violations), ValueBuf::new());
    inspection.visible_rows(&mut |row, value| {
        let Some(value) = value else { return Ok(()) };
        let violation = match op.form(value, &mut buffer) {
            Ok(None) => None,
            Err(_) => {
                Some(Violation::of_index(format!("row {row} of the table has a value that no index takes")))
            }
            Ok(Some(value)) => match check.find(row) {
                None => Some(Violation::of_index(format!("row {row} of the table is not in the index"))),
                Some(place) if !same_value(blocks, space, op.normalized, place, value) => {
                    let what = format!("row {row} of the table has another value");
                    Some(Violation::at(place.block(), place.offset(), what))
                }
                Some(_) => None,
            },
        };
        if let Some(violation) = violation {
            found.push(violation);
        }
        Ok(())
    })?;
    let end = inspection.heap.blocks(ForkNumber::MAIN_FORKNUM);
    for (row, place) in check.rows_from(end) {
        let what = format!("row {row} is behind the end of the table");
        found.push(Violation::at(place.block(), place.offset(), what));
    }
    check.violations = found;
    Ok(())
}

/// Whether the entry holds `value`. Entries that cannot be read have been told of.
fn same_value(
    blocks: &mut ReadBlocks<'_>,
    space: &AnySpace,
    normalized: bool,
    place: Tid,
    value: &[u8],
) -> bool {
    let same = |stored: &[u8]| {
        stored == value || normalized && with_space!(*space, space => same_direction(space, stored, value))
    };
    let same = blocks.read(place.block(), |bytes| {
        let item = Page::new(bytes, PAGE_ID)?.item(place.offset())?;
        Ok(match Entry::new(item, place.offset())?.value {
            Packed::Compressed(compressed) => {
                let mut unpacked = ValueBuf::new();
                Decompress.unpack(compressed, &mut unpacked) && same(unpacked.bytes())
            }
            stored => stored.with(same).unwrap_or(true),
        })
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
