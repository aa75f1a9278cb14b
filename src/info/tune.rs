//! `vector_index_tune(index, target_recall, k, queries)`: the least `hnsw.ef_search` or `ivfflat.probes` that reaches a
//! recall.

use core::ffi::CStr;
use std::ffi::CString;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;
use vector_index::hnsw::params::{MAX_EF_SEARCH, MIN_EF_SEARCH};
use vector_index::ivf::format::MAX_LISTS;
use vector_index::recall::{Estimate, Ladder};
use vector_index::work::memory::push;

use super::facts::Subject;
use super::measure::{Latency, Trial};
use super::recall::MOST;
use super::{in_range, number, rows};
use crate::error::Error;
use crate::pg::activity::Activity;
use crate::pg::call::Call;
use crate::pg::ereport::{self, Report};
use crate::pg::planner::Settings;
use crate::pg::spi::Spi;
use crate::pg::srf::Cell;
use crate::pg::user::RunAs;

/// A setting that was tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) value: u32,
    pub(super) estimate: Option<Estimate>,
    latency: Latency,
}

/// The setting that decides about an index's recall.
pub(super) fn setting(graph: bool) -> &'static CStr {
    if graph { c"hnsw.ef_search" } else { c"ivfflat.probes" }
}

/// `vector_index_tune(index regclass, target_recall double precision, k integer, queries integer)` to a row for each
/// setting tried
pub fn tune(call: Call<'_>) -> Result<Datum, Error> {
    let target = call.f64(1);
    if !(target > 0.0 && target <= 1.0) {
        return Err(Error::Message(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("target_recall must be above 0 and at most 1, not {target}"),
        ));
    }
    let (k, queries) = (in_range("k", call.i32(2), MOST)?, in_range("queries", call.i32(3), MOST)?);
    let mut rows = rows(&call, 8)?;
    let spi = Spi::connect()?;
    let subject = Subject::of(&spi, call.oid(0))?;
    let _owner = subject.run_as.map(RunAs::owner);
    let activity = Activity::of("vector_index_tune");
    let trial = Trial::prepare(&spi, &subject, &activity, k, queries)?;
    let (mut steps, found) = climb(&trial, &subject, target)?;
    steps.sort_unstable_by_key(|step| step.value);
    let name = setting(subject.graph).to_str().unwrap_or_default();
    for step in steps {
        rows.put([
            Cell::Text(name),
            Cell::Int(i32::try_from(step.value).unwrap_or(i32::MAX)),
            number(step.estimate.map(|e| e.recall)),
            number(step.estimate.map(|e| e.low)),
            number(step.estimate.map(|e| e.high)),
            number(step.latency.p50),
            number(step.latency.p95),
            Cell::Bool(found == Some(step.value)),
        ]);
    }
    Ok(Datum::from(0usize))
}

/// Tries settings until the least is found that reaches `target`; returns all that were tried, and that one. Says at
/// DEBUG1 how far it is.
pub(super) fn climb(
    trial: &Trial<'_>,
    subject: &Subject,
    target: f64,
) -> Result<(Vec<Step>, Option<u32>), Error> {
    if trial.queries() == 0 {
        return Ok((Vec::new(), None));
    }
    let settings = Settings::begin();
    let mut ladder = if subject.graph {
        Ladder::new(MIN_EF_SEARCH as u32, 10, MAX_EF_SEARCH as u32)
    } else {
        Ladder::new(1, 1, subject.lists.clamp(1, MAX_LISTS))
    };
    let mut steps = Vec::new();
    while let Some(value) = ladder.next() {
        let text = CString::new(value.to_string()).unwrap_or_default();
        settings.set(setting(subject.graph), &text);
        let label = format!("{} = {value}, ", setting(subject.graph).to_string_lossy());
        let (estimate, latency) = trial.ask(&label)?;
        ladder.tell(estimate.is_some_and(|e| e.recall >= target))?;
        push(&mut steps, Step { value, estimate, latency })?;
        let recall = estimate.map_or(0.0, |e| e.recall);
        let progress = format!("{} = {value}: recall {recall:.4}", setting(subject.graph).to_string_lossy());
        ereport::debug(Report::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, progress.as_bytes()));
    }
    Ok((steps, ladder.found()))
}
