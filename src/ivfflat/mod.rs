//! The `ivfflat` access method: pgvector's, on its pages and on others. README.md has its structure, its pages and its
//! protocol.

mod build;
mod centres;
pub mod check;
mod cost;
pub mod info;
mod insert;
mod memory;
mod options;
mod scan;
mod table;
mod vacuum;

use core::ffi::CStr;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum};
use vector_index::ivf::choice::{automatic, has_packed};
use vector_index::ivf::format::{self, Layout, META_BLOCK, Meta};
use vector_index::ivf::lists::Unpack;
use vector_index::space::{Metric, ValueBuf, ValueKind};
use vector_index::storage::page::{Corruption, Damage, Tid};

use crate::error::Error;
use crate::filters::{self, Further};
use crate::layout::{self, Wanted};
use crate::opclass::{OpClass, VectorMethod};
use crate::pg::alter::{self, Watched};
use crate::pg::am::{self, AccessMethod, BuildCall, Built, Cost, CostCall, Returned, ScanCall};
use crate::pg::blocks::IndexBlocks;
use crate::pg::call::Call;
use crate::pg::columns::{Columns, RowColumns};
use crate::pg::ereport::{IntoReport, Report};
use crate::pg::relation::Rel;
use crate::pg::toast::last_row::Known;
use crate::pg::vacuum::BulkDelete;
use crate::pg::varlena;

use options::Rerank;
pub use options::{IvfflatOptions, prefers_own_pages, register};

/// The access method.
pub struct Ivfflat;

impl AccessMethod for Ivfflat {
    const NAME: &'static str = "ivfflat";
    const SUPPORT_FUNCTIONS: u16 = 5;
    const FILTER_COLUMNS: bool = true;
    const INCLUDE_COLUMNS: bool = true;
    type Error = Error;
    type Scan = scan::IvfScan;

    fn build(call: BuildCall<'_>) -> Result<Built, Error> {
        build::build(call)
    }

    fn build_empty(index: Rel<'_>) -> Result<(), Error> {
        build::build_empty(index)
    }

    fn insert(index: Rel<'_>, value: &[u8], columns: RowColumns<'_>, row: Tid) -> Result<(), Error> {
        insert::insert(index, value, columns, row)
    }

    fn bulk_delete(call: BulkDelete<'_>) -> Result<(), Error> {
        vacuum::bulk_delete(call)
    }

    fn cost(call: &CostCall) -> Result<Cost, Error> {
        cost::estimate(call)
    }

    fn options(reloptions: Datum, validate: bool) -> *mut pg_sys::bytea {
        options::parse(reloptions, validate)
    }

    fn phase(number: i64) -> Option<&'static CStr> {
        build::phase(number)
    }

    fn begin_scan(index: Rel<'_>) -> Result<scan::IvfScan, Error> {
        scan::IvfScan::begin(index)
    }

    fn rescan(scan: &mut scan::IvfScan) {
        scan.rescan();
    }

    fn end_scan(scan: &mut scan::IvfScan) {
        scan.end();
    }

    fn rechecks(scan: &scan::IvfScan) -> bool {
        scan.rechecks()
    }

    fn known(scan: &scan::IvfScan) -> Option<Known<'_>> {
        scan.known()
    }

    fn next(scan: &mut scan::IvfScan, call: ScanCall<'_>) -> Result<Option<Tid>, Error> {
        scan.next(call)
    }

    /// All columns of an index with INCLUDE columns: without any it has nothing that a vacuum waits at.
    fn can_return(index: Rel<'_>, _: usize) -> bool {
        // an index that is being built has no meta page yet, and damage is told by whoever scans it
        read_meta(index, &mut IndexBlocks::new(index)).is_ok_and(|meta| meta.layout.has_included())
    }

    fn values(scan: &mut scan::IvfScan, call: ScanCall<'_>, row: &mut Returned) -> Result<bool, Error> {
        scan.values(call, row)
    }
}

impl VectorMethod for Ivfflat {
    fn takes(op: &OpClass) -> bool {
        match (op.kind, op.metric) {
            (ValueKind::Vector | ValueKind::Halfvec, Metric::L2) | (ValueKind::Bit, Metric::Hamming) => {
                !op.normalized && !op.spherical
            }
            (ValueKind::Vector | ValueKind::Halfvec, Metric::InnerProduct) => op.spherical,
            _ => false,
        }
    }
}

/// The server's decompression.
struct Decompress;

impl Unpack for Decompress {
    fn unpack(&mut self, compressed: &[u8], out: &mut ValueBuf) -> bool {
        // the header of a compressed value: its own length and that of what it stands for
        const HEADER: usize = 8;
        compressed.len() > HEADER && varlena::decompress(compressed, |value| out.try_copy_from(value).is_ok())
    }
}

/// The handler function of the access method.
pub fn handler(_: Call<'_>) -> Result<Datum, Error> {
    Ok(am::routine::<Ivfflat>())
}

/// The operator class of an index.
///
/// # Errors
/// One that is not this extension's.
fn operator_class(index: Rel<'_>) -> Result<OpClass, Error> {
    filters::operator_class::<Ivfflat>(index)
}

/// The filter columns of an index that is there: its rows have a key for each.
///
/// # Errors
/// Others than its rows have.
fn opened_columns(index: Rel<'_>, layout: &Layout) -> Result<Columns, Error> {
    filters::of_opened::<Ivfflat>(index, layout.filter_size(), META_BLOCK)
}

/// The same for an index that is there: values stand as its layout keeps them.
///
/// # Errors
/// One that is not this extension's.
fn operator_class_of(index: Rel<'_>, meta: &Meta) -> Result<OpClass, Error> {
    Ok(operator_class(index)?.keeping_lengths(meta.layout.keeps_lengths()))
}

/// Whether an index has INCLUDE columns.
fn has_included(index: Rel<'_>) -> bool {
    index.columns() > index.key_columns()
}

/// Whether an index with these filter columns is built with packed lists.
///
/// # Errors
/// A layout that was asked for by name, and does not hold such values.
fn is_packed(
    index: Rel<'_>,
    op: &OpClass,
    columns: &Columns,
    options: &IvfflatOptions,
) -> Result<bool, Error> {
    let (possible, wanted) = (has_packed(op.kind, op.metric), options.layout);
    let further = !columns.is_empty() || has_included(index);
    match wanted {
        Wanted::Auto | Wanted::PreferOwn if possible && further => Ok(true),
        Wanted::Auto | Wanted::PreferOwn | Wanted::Pgvector if further => {
            let what = if columns.is_empty() { Further::Include } else { Further::Filter };
            Err(filters::refused::<Ivfflat>(what, possible.then_some("Use WITH (layout = packed).")))
        }
        Wanted::Own if !possible => Err(Error::Hinted(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            String::from("layout packed does not support this operator class"),
            "It supports L2, inner product and cosine distance of vector and halfvec. Use layout = pgvector.",
        )),
        Wanted::Own => Ok(true),
        Wanted::PreferOwn => Ok(possible),
        Wanted::Auto => Ok(automatic(op.kind, op.metric, index.typmod(0))),
        Wanted::Pgvector => Ok(false),
    }
}

/// Whether an index is built without values, `packed` or not.
///
/// # Errors
/// One that was asked for and is not packed, or has INCLUDE columns: scans in the order of distances need the vector
/// itself, so that none would be an index-only scan.
fn is_without_values(index: Rel<'_>, packed: bool, options: &IvfflatOptions) -> Result<bool, Error> {
    match options.rerank {
        Rerank::Heap if !packed => Err(Error::Hinted(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            String::from("rerank = heap needs layout packed"),
            "Use WITH (layout = packed, rerank = heap).",
        )),
        Rerank::Heap if has_included(index) => Err(Error::Hinted(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            String::from("rerank = heap does not support INCLUDE columns"),
            "Index-only scans return the vector, which such an index does not have. Leave out rerank = heap.",
        )),
        wanted => Ok(wanted == Rerank::Heap),
    }
}

/// What there is to watch when storage parameters are altered.
pub const WATCHED: Watched = Watched { method: c"ivfflat", options: &options::OPTIONS, altered };

/// The layout that an index is to have may have been altered: says so when it is not what the index has.
fn altered(index: Rel<'_>, before: &alter::Values, after: &alter::Values) -> Result<(), Report> {
    let Some(options) = options::altered_layout(before, after) else { return Ok(()) };
    let look = || {
        let columns = filters::of::<Ivfflat>(index)?;
        let wanted = is_packed(index, &operator_class(index)?, &columns, &options)?;
        let without_values = is_without_values(index, wanted, &options)?;
        let present = read_meta(index, &mut IndexBlocks::new(index))?.layout;
        match present.coded() {
            Some(index_now) if wanted && index_now.geometry.own_values != without_values => {
                let runs = index_now.runs.count();
                if index_now.with_wanted_runs(options.runs).runs.count() != runs {
                    let name = index.name();
                    layout::tell(&format!("index \"{name}\" keeps its runs, {runs}, until it is rebuilt"));
                }
            }
            Some(index_now) if wanted => {
                let message = format!(
                    "index \"{}\" keeps rerank = {} until it is rebuilt",
                    index.name(),
                    index_now.rerank()
                );
                layout::tell(&message);
            }
            coded if coded.is_some() != wanted => layout::tell_unchanged(&index.name(), present.name()),
            _ => {}
        }
        Ok::<_, Error>(())
    };
    look().map_err(IntoReport::into_report)
}

/// The meta page.
///
/// # Errors
/// None that can be read, or one of other columns: its dimensions would be those of queries and rows.
fn read_meta(index: Rel<'_>, blocks: &mut IndexBlocks<'_>) -> Result<Meta, Error> {
    let meta = format::read_meta(blocks).map_err(|c| corrupted(index, c))?;
    let declared = index.typmod(0);
    if declared > 0 && i32::from(meta.dimensions) != declared {
        return Err(corrupted(index, Damage::at(0, "other dimensions than its column").on(META_BLOCK)));
    }
    if meta.layout.has_included() != has_included(index) {
        return Err(corrupted(index, Damage::at(0, "other INCLUDE columns than its table").on(META_BLOCK)));
    }
    Ok(meta)
}

/// The error for damage in an index.
#[cold]
fn corrupted(index: Rel<'_>, corruption: Corruption) -> Error {
    Error::of_index(Ivfflat::NAME, index.name(), corruption)
}
