//! `vector_index_recall(index, k, queries)`: how much of the exact answer an index gives under the session's settings.

use pgrx::pg_sys::Datum;

use super::facts::Subject;
use super::measure::{Latency, Trial};
use super::{in_range, number, rows};
use crate::error::Error;
use crate::pg::activity::Activity;
use crate::pg::call::Call;
use crate::pg::spi::Spi;
use crate::pg::srf::Cell;
use crate::pg::user::RunAs;

/// Neighbours and queries, at most.
pub(super) const MOST: i32 = 10_000;

/// `vector_index_recall(index regclass, k integer, queries integer)` to a row of recall, its interval, the number of
/// queries, and latencies in milliseconds
pub fn recall(call: Call<'_>) -> Result<Datum, Error> {
    let (k, queries) = (in_range("k", call.i32(1), MOST)?, in_range("queries", call.i32(2), MOST)?);
    let mut rows = rows(&call, 8)?;
    let spi = Spi::connect()?;
    let subject = Subject::of(&spi, call.oid(0))?;
    let _owner = subject.run_as.map(RunAs::owner);
    let activity = Activity::of("vector_index_recall");
    let trial = Trial::prepare(&spi, &subject, &activity, k, queries)?;
    let (estimate, latency) = trial.ask("")?;
    let Latency { p50, p95 } = trial.exact;
    rows.put([
        number(estimate.map(|e| e.recall)),
        number(estimate.map(|e| e.low)),
        number(estimate.map(|e| e.high)),
        Cell::Int(i32::try_from(trial.queries()).unwrap_or(MOST)),
        number(latency.p50),
        number(latency.p95),
        number(p50),
        number(p95),
    ]);
    Ok(Datum::from(0usize))
}
