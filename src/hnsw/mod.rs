//! The `hnsw` access method: pgvector's, page for page. README.md has its structure, its pages and its protocol.

mod build;
pub mod check;
mod cost;
mod insert;
pub mod opclass;
mod options;
mod scan;
mod vacuum;

use core::ffi::CStr;

use pgrx::pg_sys::{self, Datum};
use vector_index::page::{Corruption, Tid};

use crate::error::Error;
use crate::pg::am::{self, AccessMethod, BuildCall, Built, Cost, CostCall, ScanCall};
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

/// The handler function of the access method.
pub fn handler(_: Call<'_>) -> Result<Datum, Error> {
    Ok(am::routine::<Hnsw>())
}

/// The error for damage in an index.
#[cold]
fn corrupted(index: Rel<'_>, corruption: Corruption) -> Error {
    Error::of_index(Hnsw::NAME, index.name(), corruption)
}
