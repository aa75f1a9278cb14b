//! `ivfflat_check(index, deep)`: the invariants of an index, and of what it holds of its table.

use pgrx::pg_sys::Datum;
use vector_index::filter::put_item;
use vector_index::ivf::check::check as check_lists;
use vector_index::ivf::format::{Layout, META_BLOCK, Memory, packed_lists, read_meta};
use vector_index::ivf::lists::{AuditLists, ReadLists};
use vector_index::ivf::tally::Tally;
use vector_index::space::ValueBuf;
use vector_index::storage::verify::Violation;
use vector_index::work::memory::OutOfMemory;
use vector_index::{with_lists, with_space};

use super::{Decompress, Ivfflat, corrupted, opened_columns, operator_class};
use crate::check::{self, Report};
use crate::error::Error;
use crate::pg::call::Call;
use crate::pg::included::Included;
use crate::pg::inspect::{Inspection, ReadBlocks};
use crate::pg::table_scan::Further;

/// The SQL function.
pub fn check(call: Call<'_>) -> Result<Datum, Error> {
    check::check::<Ivfflat>(call, run)
}

fn run(inspection: Inspection<'_>, deep: bool, report: &mut Report<'_>) -> Result<(), Error> {
    let index = inspection.index;
    let op = operator_class(index)?;
    let mut blocks = ReadBlocks::new(index);
    let (mut found, mut unpacked, mut memory) = (Tally::default(), ValueBuf::new(), Memory::default());
    // without a meta page the check says so and looks no further
    let (layout, dims) =
        read_meta(&mut blocks).map_or((Layout::V1, 0), |meta| (meta.layout, i32::from(meta.dimensions)));
    let op = op.keeping_lengths(layout.keeps_lengths());
    check::compare_dimensions(inspection, META_BLOCK, dims, report);
    let space = op.space(dims);
    let filter_size = layout.filter_size();
    let checked = with_space!(space, space => with_lists!(layout, &mut blocks, &mut memory, lists => {
        check_lists(lists, space, deep, &mut Decompress, &mut found)
    }));
    checked.map_err(|c| corrupted(index, c))?;
    if found.out_of_memory() {
        return Err(OutOfMemory.into());
    }
    found.violations.iter().cloned().for_each(&mut *report);
    if !deep || dims == 0 {
        return Ok(());
    }
    let columns = opened_columns(index, &layout)?;
    let items = space.of_items(filter_size);
    let put_item = |value: &[u8], keys: &[u8], item: &mut ValueBuf| {
        let keys = columns.packings().unpack(keys);
        put_item(value, keys.get(..columns.len()).unwrap_or_default(), item)
    };
    let included = Included::with_filters(index).filter(|_| layout.has_included());
    let further = Further { columns: &columns, included: included.as_ref() };
    let mut kept = ValueBuf::new();
    check::compare_items(
        inspection,
        &op,
        further,
        put_item,
        report,
        |row, (value, included_values), report| {
            let Some(place) = found.find(row) else { return false };
            if found.lacks_entries(row) {
                let what = format!("filter keys of row {row} are not where passes look");
                report(Violation::at(place.block(), place.offset(), what));
            }
            let same = |stored: &[u8]| check::same_value(&op, &items, stored, value);
            let same = with_space!(space, space => with_lists!(layout, &mut blocks, &mut memory, lists => {
                match lists.value_at(place, &mut Decompress, &mut unpacked, same) {
                    Ok(None) => lists.fits(space, place, value),
                    known => known,
                }
            }));
            // entries that cannot be read have been told of
            if !same.ok().flatten().unwrap_or(true) {
                check::other_value(row, place, report);
            }
            // neither are rows without values told of again
            if let (Some(included), Some(mut lists)) =
                (&included, packed_lists(layout, &mut blocks, &mut memory))
                && let Ok(true) = lists.read_included(row, &mut kept)
                && !included.are_same(kept.bytes(), included_values).unwrap_or(false)
            {
                let those = if included_values.is_empty() { "too large" } else { "other" };
                let what = format!("row {row} of the table has {those} included values");
                report(Violation::at(place.block(), place.offset(), what));
            }
            true
        },
    )?;
    check::behind_end(found.rows_from(check::end_of_table(inspection)), report);
    Ok(())
}
