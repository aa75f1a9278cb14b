//! The `hnsw` access method: pgvector's, page for page. README.md has its structure, its pages and its protocol.

mod build;
pub mod check;
mod cost;
pub mod info;
mod insert;
mod options;
mod scan;
mod vacuum;

use core::ffi::CStr;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum};
use vector_index::filter::MAX_COLUMNS;
use vector_index::hnsw::choice::{automatic, has_inline};
use vector_index::hnsw::format::{self, Cache, Layout, Opened};
use vector_index::hnsw::meta::META_BLOCK;
use vector_index::space::AnySpace;
use vector_index::storage::page::{Corruption, Damage, Tid};

use crate::error::Error;
use crate::layout::{self, Wanted};
use crate::opclass::{OpClass, VectorMethod};
use crate::pg::alter::{self, Watched};
use crate::pg::am::{self, AccessMethod, BuildCall, Built, Cost, CostCall, ScanCall};
use crate::pg::backend::PerBackend;
use crate::pg::blocks::{IndexBlocks, PAGE_SIZE};
use crate::pg::call::Call;
use crate::pg::columns::{Columns, Refused, RowColumns};
use crate::pg::ereport::{IntoReport, Report};
use crate::pg::relation::Rel;
use crate::pg::vacuum::BulkDelete;

pub use options::{HnswOptions, register};

/// The access method.
pub struct Hnsw;

impl AccessMethod for Hnsw {
    const NAME: &'static str = "hnsw";
    const SUPPORT_FUNCTIONS: u16 = 3;
    const FILTER_COLUMNS: bool = true;
    type Error = Error;
    type Scan = scan::HnswScan;

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

    fn begin_scan(index: Rel<'_>) -> Result<scan::HnswScan, Error> {
        scan::HnswScan::begin(index)
    }

    fn rescan(scan: &mut scan::HnswScan) {
        scan.rescan();
    }

    fn rechecks(scan: &scan::HnswScan) -> bool {
        scan.rechecks()
    }

    fn next(scan: &mut scan::HnswScan, call: ScanCall<'_>) -> Result<Option<Tid>, Error> {
        scan.next(call)
    }
}

impl VectorMethod for Hnsw {
    fn takes(_: &OpClass) -> bool {
        true
    }
}

/// The handler function of the access method.
pub fn handler(_: Call<'_>) -> Result<Datum, Error> {
    Ok(am::routine::<Hnsw>())
}

/// The operator class of an index.
///
/// # Errors
/// One that is not this extension's.
fn operator_class(index: Rel<'_>) -> Result<OpClass, Error> {
    OpClass::of::<Hnsw>(index).map_err(|error| match error {
        Error::Message(code, message) if Columns::could_have_first(index) => {
            Error::Hinted(code, message, "The vector is the first column, and filter columns follow it.")
        }
        other => other,
    })
}

/// The filter columns of an index.
///
/// # Errors
/// Columns that cannot be filter columns.
fn filter_columns(index: Rel<'_>) -> Result<Columns, Error> {
    Columns::of(index).map_err(|refused| match refused {
        Refused::TooMany => Error::Message(
            PgSqlErrorCode::ERRCODE_TOO_MANY_COLUMNS,
            format!("hnsw indexes have at most {MAX_COLUMNS} filter columns"),
        ),
        Refused::Type(column) => Error::Hinted(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("column {column} of index \"{}\" cannot be a filter column", index.name()),
            "The vector is the first column. Those that follow it have the default operator classes of their types.",
        ),
    })
}

/// The same of an index that was opened: its records have a key for each.
///
/// # Errors
/// Others than its records have.
fn opened_columns(index: Rel<'_>, opened: &Opened) -> Result<Columns, Error> {
    let columns = filter_columns(index)?;
    if columns.bytes() == opened.filter_size() {
        Ok(columns)
    } else {
        Err(corrupted(index, Damage::at(0, "other filter columns than its table").on(META_BLOCK)))
    }
}

/// The space of an index's values, with keys behind them.
fn space_of(op: &OpClass, opened: &Opened) -> AnySpace {
    // dimensions of an index of this format fit an i32
    let dims = i32::try_from(opened.meta.dimensions).unwrap_or(i32::MAX);
    op.space(dims).of_items(opened.filter_size())
}

/// The layout that an index is built with.
///
/// # Errors
/// A layout that was asked for by name, and does not hold such values.
fn layout_of(op: &OpClass, dims: i32, columns: &Columns, options: &HnswOptions) -> Result<Layout, Error> {
    let possible = has_inline(op.kind, op.metric);
    let wanted = options.layout;
    match wanted {
        Wanted::Auto | Wanted::PreferOwn if possible && !columns.is_empty() => Ok(Layout::Inline),
        Wanted::Auto | Wanted::PreferOwn | Wanted::Pgvector if !columns.is_empty() => Err(if possible {
            Error::Hinted(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "layout pgvector does not support filter columns".to_owned(),
                "Use WITH (layout = inline).",
            )
        } else {
            Error::Fixed(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "hnsw does not support filter columns beside this operator class",
            )
        }),
        Wanted::Own if !possible => Err(Error::Hinted(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "layout inline does not support this operator class".to_owned(),
            "It supports L2, inner product and cosine distance of vector and halfvec, and bit. Use layout = pgvector.",
        )),
        Wanted::Own => Ok(Layout::Inline),
        Wanted::PreferOwn if possible => Ok(Layout::Inline),
        Wanted::Auto => {
            // neither is below zero where an index can be made
            let (dims, m) = (dims.max(0) as usize, options.m.max(0) as usize);
            Ok(automatic(op.kind, op.metric, dims, m, PAGE_SIZE))
        }
        Wanted::PreferOwn | Wanted::Pgvector => Ok(Layout::V1),
    }
}

/// What there is to watch when storage parameters are altered.
pub const WATCHED: Watched = Watched { method: c"hnsw", options: &options::OPTIONS, altered };

/// The layout that an index is to have may have been altered: says so when it is not what the index has.
fn altered(index: Rel<'_>, before: &alter::Values, after: &alter::Values) -> Result<(), Report> {
    let Some(options) = options::altered_layout(before, after) else { return Ok(()) };
    let look = || {
        let wanted = layout_of(&operator_class(index)?, index.typmod(0), &filter_columns(index)?, &options)?;
        let present = open(index, &mut IndexBlocks::new(index))?.layout();
        if present != wanted {
            layout::tell_unchanged(&index.name(), present.name());
        }
        Ok::<_, Error>(())
    };
    look().map_err(IntoReport::into_report)
}

/// What the last indexes of this backend need besides their pages.
static CACHE: PerBackend<Cache> = PerBackend::new();

/// What an index is, by its meta page.
///
/// # Errors
/// None that can be read, or one of another column: its dimensions would be those of queries and rows.
fn open(index: Rel<'_>, blocks: &mut IndexBlocks<'_>) -> Result<Opened, Error> {
    let opened = CACHE.with(Cache::new, |cache| format::open(blocks, cache));
    let opened = opened.map_err(|c| corrupted(index, c))?;
    let declared = index.typmod(0);
    if declared > 0 && i32::try_from(opened.meta.dimensions) != Ok(declared) {
        return Err(corrupted(index, Damage::at(0, "other dimensions than its column").on(META_BLOCK)));
    }
    if let Some(kind) = opened.kind()
        && operator_class(index)?.kind != kind
    {
        return Err(corrupted(index, Damage::at(0, "values of another type than its column").on(META_BLOCK)));
    }
    Ok(opened)
}

/// The error for damage in an index.
#[cold]
fn corrupted(index: Rel<'_>, corruption: Corruption) -> Error {
    Error::of_index(Hnsw::NAME, index.name(), corruption)
}
