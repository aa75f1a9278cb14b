//! The `hnsw` access method: pgvector's, on its pages and on others. README.md has its structure, its pages and its
//! protocol.

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
use vector_index::hnsw::choice::{automatic, has_inline};
use vector_index::hnsw::format::{self, Cache, Layout, Opened};
use vector_index::hnsw::meta::META_BLOCK;
use vector_index::space::AnySpace;
use vector_index::storage::page::{Corruption, Damage, Tid};

use crate::error::Error;
use crate::filters::{self, Further};
use crate::layout::{self, Wanted};
use crate::opclass::{OpClass, VectorMethod};
use crate::pg::alter::{self, Watched};
use crate::pg::am::{self, AccessMethod, BuildCall, Built, Cost, CostCall, Returned, ScanCall};
use crate::pg::backend::PerBackend;
use crate::pg::blocks::{IndexBlocks, PAGE_SIZE};
use crate::pg::call::Call;
use crate::pg::columns::{Columns, RowColumns};
use crate::pg::ereport::{IntoReport, Report};
use crate::pg::relation::Rel;
use crate::pg::toast::last_row::Known;
use crate::pg::vacuum::BulkDelete;

pub use options::{HnswOptions, prefers_own_pages, register};

/// The access method.
pub struct Hnsw;

impl AccessMethod for Hnsw {
    const NAME: &'static str = "hnsw";
    const SUPPORT_FUNCTIONS: u16 = 3;
    const FILTER_COLUMNS: bool = true;
    const INCLUDE_COLUMNS: bool = true;
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

    fn known(scan: &scan::HnswScan) -> Option<Known<'_>> {
        scan.known()
    }

    fn next(scan: &mut scan::HnswScan, call: ScanCall<'_>) -> Result<Option<Tid>, Error> {
        scan.next(call)
    }

    fn can_return(index: Rel<'_>, column: usize) -> bool {
        // an index that is being built has no meta page yet, and damage is told by whoever scans it
        let opened = open(index, &mut IndexBlocks::new(index));
        let own = opened.is_ok_and(|opened| opened.layout() == Layout::Inline);
        let returns = |n| filter_columns(index).is_ok_and(|columns| columns.returns(n));
        own && (column >= index.key_columns() || column.checked_sub(1).is_none_or(returns))
    }

    fn end_scan(scan: &mut scan::HnswScan) {
        scan.release();
    }

    fn values(scan: &mut scan::HnswScan, call: ScanCall<'_>, row: &mut Returned) -> Result<bool, Error> {
        scan.values(call, row)
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
    filters::operator_class::<Hnsw>(index)
}

/// The filter columns of an index.
///
/// # Errors
/// Columns that cannot be filter columns.
fn filter_columns(index: Rel<'_>) -> Result<Columns, Error> {
    filters::of::<Hnsw>(index)
}

/// The same of an index that was opened: its records have a key for each.
///
/// # Errors
/// Others than its records have.
fn opened_columns(index: Rel<'_>, opened: &Opened) -> Result<Columns, Error> {
    let columns = filters::of::<Hnsw>(index)?;
    let present = opened.filters();
    filters::same::<Hnsw>(index, columns.packings().with_runs(present.runs()) == present, META_BLOCK)?;
    Ok(columns)
}

/// The space of an index's values, with keys behind them.
fn space_of(op: &OpClass, opened: &Opened) -> AnySpace {
    // dimensions of an index of this format fit an i32
    let dims = i32::try_from(opened.meta.dimensions).unwrap_or(i32::MAX);
    op.space(dims).of_items(opened.filters().bytes())
}

/// The layout that an index is built with, which has these filter columns.
///
/// # Errors
/// A layout that was asked for by name, and does not hold such values.
fn layout_of(
    index: Rel<'_>,
    op: &OpClass,
    columns: &Columns,
    options: &HnswOptions,
) -> Result<Layout, Error> {
    let possible = has_inline(op.kind, op.metric);
    let wanted = options.layout;
    let included = index.columns() > index.key_columns();
    match wanted {
        Wanted::Auto | Wanted::PreferOwn if possible && (included || !columns.is_empty()) => {
            Ok(Layout::Inline)
        }
        Wanted::Auto | Wanted::PreferOwn | Wanted::Pgvector if included || !columns.is_empty() => {
            let what = if columns.is_empty() { Further::Include } else { Further::Filter };
            Err(filters::refused::<Hnsw>(what, possible.then_some("Use WITH (layout = inline).")))
        }
        Wanted::Own if !possible => Err(Error::Hinted(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "layout inline does not support this operator class".to_owned(),
            "It supports L2, inner product and cosine distance of vector and halfvec, and bit. Use layout = pgvector.",
        )),
        Wanted::Own => Ok(Layout::Inline),
        Wanted::PreferOwn if possible => Ok(Layout::Inline),
        Wanted::Auto => {
            // neither is below zero where an index can be made
            let (dims, m) = (index.typmod(0).max(0) as usize, options.m.max(0) as usize);
            Ok(automatic(op.kind, op.metric, dims, m, PAGE_SIZE))
        }
        Wanted::PreferOwn | Wanted::Pgvector => Ok(Layout::V1),
    }
}

/// What there is to watch when storage parameters are altered.
pub const WATCHED: Watched = Watched { method: c"hnsw", options: &options::OPTIONS, altered };

/// The layout or the runs that an index is to have may have been altered: says so when they are not what it has.
fn altered(index: Rel<'_>, before: &alter::Values, after: &alter::Values) -> Result<(), Report> {
    let Some(options) = options::altered_pages(before, after) else { return Ok(()) };
    let look = || {
        let columns = filter_columns(index)?;
        let wanted = layout_of(index, &operator_class(index)?, &columns, &options)?;
        let opened = open(index, &mut IndexBlocks::new(index))?;
        if opened.layout() != wanted {
            layout::tell_unchanged(&index.name(), opened.layout().name());
        } else if opened.filters().runs() != options.packings(&columns).runs() {
            let (name, runs) = (index.name(), opened.filters().runs());
            layout::tell(&format!("index \"{name}\" keeps its runs, {runs}, until it is rebuilt"));
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
    if opened.has_included() != (index.columns() > index.key_columns()) {
        return Err(corrupted(index, Damage::at(0, "other INCLUDE columns than its table").on(META_BLOCK)));
    }
    Ok(opened)
}

/// The error for damage in an index.
#[cold]
fn corrupted(index: Rel<'_>, corruption: Corruption) -> Error {
    Error::of_index(Hnsw::NAME, index.name(), corruption)
}
