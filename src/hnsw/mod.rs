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

use pgrx::pg_sys::{self, Datum};
use vector_index::hnsw::format::{self, Cache, Opened};
use vector_index::hnsw::meta::META_BLOCK;
use vector_index::storage::page::{Corruption, Damage, Tid};

use crate::error::Error;
use crate::opclass::{OpClass, VectorMethod};
use crate::pg::am::{self, AccessMethod, BuildCall, Built, Cost, CostCall, ScanCall};
use crate::pg::backend::PerBackend;
use crate::pg::blocks::IndexBlocks;
use crate::pg::call::Call;
use crate::pg::relation::Rel;
use crate::pg::vacuum::BulkDelete;

pub use options::register;

/// The access method.
pub struct Hnsw;

impl AccessMethod for Hnsw {
    const NAME: &'static str = "hnsw";
    const SUPPORT_FUNCTIONS: u16 = 3;
    type Error = Error;
    type Scan = scan::HnswScan;

    fn build(call: BuildCall<'_>) -> Result<Built, Error> {
        build::build(call)
    }

    fn build_empty(index: Rel<'_>) -> Result<(), Error> {
        build::build_empty(index)
    }

    fn insert(index: Rel<'_>, value: &[u8], row: Tid) -> Result<(), Error> {
        insert::insert(index, value, row)
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
    Ok(opened)
}

/// The error for damage in an index.
#[cold]
fn corrupted(index: Rel<'_>, corruption: Corruption) -> Error {
    Error::of_index(Hnsw::NAME, index.name(), corruption)
}
