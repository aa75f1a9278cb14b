//! Answers through an index, compared with exact ones: the same statements that a client would send, run as the caller
//! (or as the table's owner: [`Subject::run_as`]).
//!
//! Which plan answers is not left to chance. For the exact side the planner is shown no index of the table, for the
//! other side the one index alone ([`IndexChoice`]), and sorting is discouraged; row-level security, expressions and
//! predicates work as in any query. Nothing is changed that outlives the call.

use pgrx::PgSqlErrorCode;

use super::facts::Subject;
use crate::error::Error;
use crate::pg::interrupts;
use crate::pg::planner::{IndexChoice, Settings};
use crate::pg::spi::{Prepared, Spi, Value};
use vector_index::recall::{Estimate, estimate, quantile};
use vector_index::work::memory::push;

/// A query and what its answer must come up to.
#[derive(Clone, Copy, Debug)]
struct Question {
    value: Value,
    /// distance of the last of its neighbours
    bound: f64,
    /// how many it has, at most `k`
    neighbours: usize,
}

/// Latencies of a side, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    /// half of the queries took no longer
    pub p50: Option<f64>,
    /// nineteen of twenty queries took no longer
    pub p95: Option<f64>,
}

impl Latency {
    fn of(mut milliseconds: Vec<f64>) -> Self {
        milliseconds.sort_unstable_by(f64::total_cmp);
        Latency { p50: quantile(&milliseconds, 0.5), p95: quantile(&milliseconds, 0.95) }
    }
}

/// Questions with known answers, to be asked of an index under one setting after another.
pub struct Trial<'s> {
    choice: IndexChoice,
    subject: &'s Subject,
    search: Prepared<'s>,
    questions: Vec<Question>,
    k: usize,
    /// of the exact answers
    pub exact: Latency,
    // put back last
    _settings: Settings,
}

impl<'s> Trial<'s> {
    /// Draws up to `queries` values from the table and finds their `k` nearest rows exactly, by a sequential scan each.
    ///
    /// # Errors
    /// No permission to read the table; an index that the planner does not use; no memory.
    pub fn prepare(spi: &'s Spi, subject: &'s Subject, k: usize, queries: usize) -> Result<Self, Error> {
        let settings = Settings::begin();
        for (name, value) in [
            // a plan once, not for each query; and none in parallel or compiled, which the cost of what is
            // switched off would ask for
            (c"plan_cache_mode", c"force_generic_plan"),
            (c"jit", c"off"),
            (c"enable_indexscan", c"on"),
            (c"enable_seqscan", c"off"),
            (c"enable_bitmapscan", c"off"),
            (c"enable_sort", c"off"),
        ] {
            settings.set(name, value);
        }
        let choice = IndexChoice::of(subject.table);
        let mut values = Vec::new();
        spi.query::<Error>(&subject.sample(queries), |row| {
            if let Some(value) = row.value(0) {
                push(&mut values, value)?;
            }
            Ok(())
        })?;
        let exact = spi.prepare(&subject.exact(k), subject.kind)?;
        let (mut questions, mut took) = (Vec::new(), Vec::new());
        for (n, value) in values.into_iter().enumerate() {
            let mut question = Question { value, bound: f64::NEG_INFINITY, neighbours: 0 };
            let ask = |question: &mut Question| {
                (question.bound, question.neighbours) = (f64::NEG_INFINITY, 0);
                exact.run(value, |row| {
                    // rows at no distance come last
                    if let Some(distance) = row.float8(0).filter(|distance| !distance.is_nan()) {
                        question.bound = question.bound.max(distance);
                        question.neighbours += 1;
                    }
                })
            };
            if n == 0 {
                // planned, and the table read, before the first one counts
                ask(&mut question)?;
            }
            let time = ask(&mut question)?;
            interrupts::check();
            push(&mut took, milliseconds(time))?;
            push(&mut questions, question)?;
        }
        choice.only(Some(subject.index));
        let search = spi.prepare(&subject.through_index(k), subject.kind)?;
        if let Some(question) = questions.first() {
            used_by_plan(spi, subject, k, question.value)?;
        }
        Ok(Trial { choice, subject, search, questions, k, exact: Latency::of(took), _settings: settings })
    }

    /// How many queries there are.
    pub fn queries(&self) -> usize {
        self.questions.len()
    }

    /// Asks every question of the index under the settings of now. A row that is as near as the last exact neighbour
    /// counts, whichever of equals it is. The estimate is `None` when there was nothing to ask.
    ///
    /// # Errors
    /// Those of the queries; no memory.
    pub fn ask(&self) -> Result<(Option<Estimate>, Latency), Error> {
        self.choice.only(Some(self.subject.index));
        let (mut shares, mut took) = (Vec::new(), Vec::new());
        for (n, question) in self.questions.iter().enumerate() {
            interrupts::check();
            if n == 0 {
                // planned, and the way into the index read, before the first one counts
                self.search.run(question.value, |_| ())?;
            }
            let mut found = 0;
            let time = self.search.run(question.value, |row| {
                found += usize::from(row.float8(0).is_some_and(|distance| distance <= question.bound));
            })?;
            push(&mut took, milliseconds(time))?;
            if question.neighbours > 0 {
                let share = found.min(question.neighbours) as f64 / question.neighbours as f64;
                push(&mut shares, share)?;
            }
        }
        Ok((estimate(&shares, self.k as f64), Latency::of(took)))
    }
}

fn milliseconds(time: core::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Makes sure that the planner takes the index.
///
/// # Errors
/// When it does not: a policy or a setting keeps it from doing so.
fn used_by_plan(spi: &Spi, subject: &Subject, k: usize, value: Value) -> Result<(), Error> {
    let sql = [b"EXPLAIN (FORMAT JSON, COSTS OFF) ".as_slice(), &subject.through_index(k)].concat();
    let plan = spi.explain(&sql, subject.kind, value)?;
    // No other index of the table is in sight, while policies may look into other tables. A text that is quoted within
    // the plan cannot hold this key, its quotes are escaped.
    let key = [b"\"Index Name\": ".as_slice(), &subject.json_name].concat();
    if plan.windows(key.len()).any(|part| part == key) {
        return Ok(());
    }
    Err(Error::Hinted(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the planner does not use the index".into(),
        "An index that was made after the transaction's snapshot is not used by it; try again in a new transaction.",
    ))
}
