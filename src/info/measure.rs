//! Answers through an index, compared with exact ones: the same statements that a client would send, run as the table's
//! owner where the caller may act as the owner ([`Subject::run_as`]), else as the caller.
//!
//! What the answers should be is found in one pass over the table, for all queries (or as many as have room in memory);
//! how long an exact answer takes is measured with a few of them.
//!
//! Which plan answers is not left to chance. For the exact side the planner is shown no index of the table, for the
//! other side the one index alone ([`IndexChoice`]), and sorting is discouraged; row-level security, expressions and
//! predicates work as in any query. Nothing is changed that outlives the call.

use pgrx::PgSqlErrorCode;

use super::facts::Subject;
use crate::error::Error;
use crate::pg::activity::Activity;
use crate::pg::interrupts;
use crate::pg::operator::Distance;
use crate::pg::planner::{IndexChoice, Settings};
use crate::pg::spi::{Prepared, Spi, Value};
use vector_index::recall::{Estimate, Nearest, estimate, quantile};
use vector_index::work::memory::{collected, filled, push, with_room};

/// A query and what its answer must come up to.
#[derive(Clone, Copy, Debug)]
struct Question {
    value: Value,
    /// distance of the last of its neighbours
    bound: f64,
    /// how many it has, at most `k`
    neighbours: usize,
}

/// Queries whose exact answers are timed.
const TIMED: usize = 5;
/// Bytes of distances that are kept while the table is read.
const DISTANCES: usize = 64 << 20;

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
    activity: &'s Activity,
    search: Prepared<'s>,
    questions: Vec<Question>,
    k: usize,
    /// of the exact answers
    pub exact: Latency,
    // put back last
    _settings: Settings,
}

impl<'s> Trial<'s> {
    /// Draws up to `queries` values from the table and finds their `k` nearest rows exactly.
    ///
    /// # Errors
    /// No permission to read the table; an index that the planner does not use; no memory.
    pub fn prepare(
        spi: &'s Spi,
        subject: &'s Subject,
        activity: &'s Activity,
        k: usize,
        queries: usize,
    ) -> Result<Self, Error> {
        activity.say(format_args!("drawing queries"));
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
        let questions = answers(spi, subject, activity, &values, k)?;
        let exact = spi.prepare(&subject.exact(k), subject.kind)?;
        let mut took = Vec::new();
        for (n, question) in questions.iter().take(TIMED).enumerate() {
            activity.say(format_args!("timing exact answer {} of {}", n + 1, questions.len().min(TIMED)));
            interrupts::check();
            if n == 0 {
                // planned before the first one counts
                exact.run(question.value, |_| ())?;
            }
            push(&mut took, milliseconds(exact.run(question.value, |_| ())?))?;
        }
        choice.only(Some(subject.index));
        let search = spi.prepare(&subject.through_index(k), subject.kind)?;
        if let Some(question) = questions.first() {
            used_by_plan(spi, subject, k, question.value)?;
        }
        let exact = Latency::of(took);
        Ok(Trial { choice, subject, activity, search, questions, k, exact, _settings: settings })
    }

    /// How many queries there are.
    pub fn queries(&self) -> usize {
        self.questions.len()
    }

    /// Asks every question of the index under the settings of now, `label`. A row that is as near as the last exact
    /// neighbour counts, whichever of equals it is. The estimate is `None` when there was nothing to ask.
    ///
    /// # Errors
    /// Those of the queries; no memory.
    pub fn ask(&self, label: &str) -> Result<(Option<Estimate>, Latency), Error> {
        self.choice.only(Some(self.subject.index));
        let (mut shares, mut took) = (Vec::new(), Vec::new());
        for (n, question) in self.questions.iter().enumerate() {
            self.activity.say(format_args!("{label}query {} of {}", n + 1, self.questions.len()));
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

/// Finds the `k` nearest rows of each of `values`, exactly.
fn answers(
    spi: &Spi,
    subject: &Subject,
    activity: &Activity,
    values: &[Value],
    k: usize,
) -> Result<Vec<Question>, Error> {
    let mut distance = Distance::of(subject.function);
    let mut questions = with_room(values.len())?;
    let together = (DISTANCES / Nearest::most_bytes(k)).max(1);
    let (mut out, mut rows, mut failed) = (filled(0.0, together.min(values.len()))?, 0u64, None);
    for values in values.chunks(together) {
        let mut nearest: Vec<Nearest> = collected(values.iter().map(|_| Nearest::new(k)))?;
        spi.stream::<Error>(&subject.all(), |row| {
            interrupts::check();
            rows += 1;
            activity.say(format_args!("exact answers, {rows} rows read"));
            row.with_value(0, |value| {
                distance.all(value, values, &mut out);
                for (nearest, &distance) in nearest.iter_mut().zip(&out) {
                    failed = nearest.offer(distance).err().or(failed);
                }
            });
            failed.map_or(Ok(()), |memory| Err(memory.into()))
        })?;
        for (nearest, &value) in nearest.into_iter().zip(values) {
            let (neighbours, bound) = nearest.end();
            questions.push(Question { value, bound, neighbours });
        }
    }
    Ok(questions)
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
