//! The `ivfflat` access method: registered, so that catalogs are complete, and not built yet.

use pgrx::pg_sys::Datum;

use crate::error::Error;
use crate::pg::call::Call;
use crate::pg::ereport::{IntoReport, Report};
use crate::pg::index_am::{self, Unbuilt};

struct Ivfflat;

impl Unbuilt for Ivfflat {
    const SUPPORT_FUNCTIONS: u16 = 5;

    fn report() -> Report {
        Error::NotBuilt("ivfflat").into_report()
    }
}

/// The handler function of the access method.
pub fn handler(_: Call<'_>) -> Result<Datum, Error> {
    Ok(index_am::routine::<Ivfflat>())
}

/// The type support functions of the operator classes, which only the access method calls.
pub fn support(_: Call<'_>) -> Result<Datum, Error> {
    Err(Error::NotBuilt("ivfflat"))
}
