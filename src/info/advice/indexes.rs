//! Advice on indexes that there are.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Oid;
use vector_index::advice::{
    self, Counted, Index, LOW_RECALL, Machine, Statement, TARGET_RECALL, advise_index,
};
use vector_index::ivf;
use vector_index::space::ValueKind;
use vector_index::work::memory::push;

use super::super::METHODS;
use super::super::facts::{Subject, catalog_only};
use super::super::measure::Trial;
use super::super::tune::climb;
use super::{CHEAP, COUNTED, Finding, K, QUERIES, SCANNED, machine};
use crate::error::{CorruptIndex, Error};
use crate::pg::activity::Activity;
use crate::pg::attempt::{Caught, attempt};
use crate::pg::inspect::{is_gone, may_observe, observe};
use crate::pg::interrupts;
use crate::pg::spi::Spi;
use crate::pg::user::RunAs;
use crate::{hnsw, ivfflat};

const INDEXES: &str = "SELECT c.oid, x.indrelid, m.amname, x.indisvalid AND x.indisready, pg_catalog.pg_relation_size(c.oid), \
    COALESCE(pg_catalog.pg_stat_get_numscans(c.oid), 0), COALESCE(pg_catalog.pg_stat_get_numscans(t.oid), 0), \
    GREATEST(t.reltuples, 0), COALESCE(pg_catalog.pg_stat_get_dead_tuples(t.oid), 0), c.relowner, \
    x.indexprs IS NULL AND x.indpred IS NULL AND y.typtype = 'b' AND NOT t.relrowsecurity AND NOT x.indcheckxmin \
        AND t.relispopulated AND pg_catalog.pg_table_size(t.oid) <= {SCANNED} \
        AND pg_catalog.has_column_privilege(t.oid, x.indkey[0], 'SELECT') AND pg_catalog.pg_has_role(t.relowner, 'USAGE'), \
    a.atttypmod, a.attname, pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.format('%I.%I', tn.nspname, t.relname), \
    y.typname \
    FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid AND c.relkind = 'i' \
    JOIN pg_catalog.pg_am m ON m.oid = c.relam AND m.amname IN ('hnsw', 'ivfflat') \
    JOIN pg_catalog.pg_class t ON t.oid = x.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1 JOIN pg_catalog.pg_type y ON y.oid = a.atttypid \
    WHERE NOT pg_catalog.pg_is_other_temp_schema(t.relnamespace) \
    AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery()) AND pg_catalog.has_schema_privilege(tn.oid, 'USAGE') \
    AND pg_catalog.has_any_column_privilege(t.oid, 'SELECT') ORDER BY tn.nspname, t.relname, c.relname";

/// An index, as the catalog has it.
struct Listed {
    index: Oid,
    table: Oid,
    owner: Oid,
    facts: Index,
    /// whether it may be measured: as the table's owner, and no index expression, predicate or policy in the way
    plain: bool,
    value: u64,
    kind: ValueKind,
    dims: u32,
    names: [Vec<u8>; 3],
}

/// Adds what there is to say of the indexes on tables that the caller may read.
pub(super) fn add(spi: &Spi, found: &mut Vec<Finding>) -> Result<(), Error> {
    let mut listed = Vec::new();
    let settings = catalog_only();
    let sql = INDEXES.replace("{SCANNED}", &SCANNED.to_string());
    spi.query::<Error>(sql.as_bytes(), |row| {
        let text = |n| row.text(n).unwrap_or_default();
        let kind = match text(15).as_slice() {
            b"halfvec" => ValueKind::Halfvec,
            b"sparsevec" => ValueKind::Sparsevec,
            b"bit" => ValueKind::Bit,
            _ => ValueKind::Vector,
        };
        let dims = row.number::<i64>(11).and_then(|dims| u32::try_from(dims).ok()).unwrap_or(0);
        let facts = Index {
            graph: text(2) == b"hnsw",
            valid: row.bool(3),
            size: row.number(4).unwrap_or(0),
            scans: row.number(5).unwrap_or(0),
            table_scans: row.number(6).unwrap_or(0),
            rows: row.number(7).unwrap_or(0.0),
            dead_rows: row.number(8).unwrap_or(0.0),
            counted: None,
            recall: None,
            enough: None,
        };
        let index = Listed {
            index: row.oid(0),
            table: row.oid(1),
            owner: row.oid(9),
            facts,
            plain: row.bool(10),
            value: advice::value_size(kind, dims),
            kind,
            dims,
            names: [text(12), text(13), text(14)],
        };
        Ok(push(&mut listed, index)?)
    })?;
    drop(settings);
    let activity = Activity::of("vector_advice");
    let count = listed.len();
    for (n, mut index) in listed.into_iter().enumerate() {
        interrupts::check();
        activity.say(format_args!("index {} of {count}", n + 1));
        let machine = machine(index.kind, index.dims)?;
        let advised = match look(spi, &mut index, &machine)? {
            Seen::Whole => advise_index(&index.facts, &machine),
            Seen::Damaged(damage) => Vec::from([advice::advise_damaged(&index.facts, &damage)]),
            Seen::Gone => continue,
        };
        for advice in advised {
            let sql = index_sql(&index, &advice.statement);
            let column = index.names[0].clone();
            push(found, Finding { table: index.table, column, index: index.index, advice, sql })?;
        }
    }
    Ok(())
}

/// SQLSTATEs of an index, or a table, that cannot be read.
const DAMAGED: [PgSqlErrorCode; 2] =
    [PgSqlErrorCode::ERRCODE_INDEX_CORRUPTED, PgSqlErrorCode::ERRCODE_DATA_CORRUPTED];
/// SQLSTATEs of an index that is not, or no longer, what the list said of it.
const GONE: [PgSqlErrorCode; 4] = [
    PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
    PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
    PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
    PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
];

/// What became of a look at an index.
enum Seen {
    /// what may be known is
    Whole,
    /// what is wrong with it
    Damaged(String),
    /// it was dropped or became invalid meanwhile
    Gone,
}

/// Counts and measures, where that is allowed and cheap. An index that is damaged or gone does not keep others from
/// being looked at, nor does what its owner's code does when it is measured.
fn look(spi: &Spi, index: &mut Listed, machine: &Machine) -> Result<Seen, Error> {
    if !index.facts.valid {
        return Ok(Seen::Whole);
    }
    match attempt(|| count(index)) {
        Ok(Ok(())) => (),
        Ok(Err(Error::Corrupted(damage))) => return Ok(damaged(&damage)),
        Ok(Err(Error::Message(code, _) | Error::Hinted(code, ..))) if GONE.contains(&code) => {
            return Ok(Seen::Gone);
        }
        Ok(Err(other)) => return Err(other),
        Err(Caught { code, message }) if DAMAGED.contains(&code) => {
            return Ok(Seen::Damaged(legible(&message, code)));
        }
        // (the server calls it a fault of its own when what it opens was dropped a moment before)
        Err(Caught { code, .. }) if GONE.contains(&code) || is_gone(index.index) => return Ok(Seen::Gone),
        Err(Caught { code, message }) => return Err(Error::Message(code, legible(&message, code))),
    }
    Ok(match attempt(|| measure(spi, index, machine)) {
        Ok(Err(Error::Corrupted(damage))) => damaged(&damage),
        Err(Caught { code, message }) if DAMAGED.contains(&code) => Seen::Damaged(legible(&message, code)),
        Ok(Err(no_memory @ Error::Fixed(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, _))) => return Err(no_memory),
        // what was counted stands
        Ok(_) | Err(_) => Seen::Whole,
    })
}

fn damaged(damage: &CorruptIndex) -> Seen {
    let what = damage.corruption.to_string();
    Seen::Damaged(legible(what.as_bytes(), PgSqlErrorCode::ERRCODE_INDEX_CORRUPTED))
}

/// A message, unless it is in another language or encoding.
fn legible(message: &[u8], code: PgSqlErrorCode) -> String {
    match core::str::from_utf8(message) {
        Ok(message) if message.is_ascii() => message.into(),
        _ => format!("SQLSTATE {}", sqlstate(code)),
    }
}

/// Five characters of six bits each (MAKE_SQLSTATE, src/include/utils/elog.h).
fn sqlstate(code: PgSqlErrorCode) -> String {
    (0..5).map(|n| char::from(b'0' + (code as i32 >> (6 * n) & 0x3f) as u8)).collect()
}

/// Counts elements, or rows and lists.
fn count(index: &mut Listed) -> Result<(), Error> {
    if may_observe(index.owner) && index.facts.size <= COUNTED {
        index.facts.counted = Some(observe(index.index, &METHODS, |index, method| {
            Ok::<_, Error>(if method == "hnsw" {
                let info = hnsw::info::describe(index)?.0;
                Counted::Graph(info.elements, info.dying, info.deleted, info.m.into())
            } else {
                let (info, options) = ivfflat::info::describe(index)?;
                let (usual, by_itself) = if info.layout == ivf::format::Layout::V1.name() {
                    (advice::usual_lists(info.rows as f64), false)
                } else {
                    // a table that grew or shrank a little needs no others
                    let by_rows = |times: f64| {
                        u32::from(ivf::choice::lists(info.rows as f64 * times, info.dimensions as u16))
                    };
                    let usual = if (by_rows(0.25)..=by_rows(4.0)).contains(&info.lists) {
                        info.lists
                    } else {
                        by_rows(1.0)
                    };
                    (usual, options.lists.is_none())
                };
                Counted::Lists(info.rows, info.lists, info.list_rows.imbalance, usual, by_itself)
            })
        })??);
    }
    Ok(())
}

/// Measures recall, and the setting with which it is enough.
fn measure(spi: &Spi, index: &mut Listed, machine: &Machine) -> Result<(), Error> {
    let once = advice::exact_seconds(index.facts.rows, index.value, machine);
    if !index.plain || once * QUERIES as f64 > CHEAP {
        return Ok(());
    }
    let subject = Subject::of(spi, index.index)?;
    // the caller may act as the owner: the list says so
    let _owner = subject.run_as.map(RunAs::owner);
    let activity = Activity::of("vector_advice");
    let trial = Trial::prepare(spi, &subject, &activity, K, QUERIES)?;
    let recall = trial.ask("")?.0.map(|estimate| estimate.recall);
    if trial.queries() * 2 < QUERIES {
        return Ok(());
    }
    index.facts.recall = recall;
    if recall.is_some_and(|recall| recall < LOW_RECALL) {
        index.facts.enough = climb(&trial, &subject, TARGET_RECALL)?.1;
    }
    Ok(())
}

/// The SQL of a statement about an index.
fn index_sql(index: &Listed, statement: &Statement) -> Option<Vec<u8>> {
    let [_, name, table] = &index.names;
    let with = |front: &str, name: &[u8], back: String| [front.as_bytes(), name, back.as_bytes()].concat();
    Some(match *statement {
        Statement::Reindex => with("REINDEX INDEX CONCURRENTLY ", name, String::new()),
        Statement::SetLists(lists) => with("ALTER INDEX ", name, format!(" SET (lists = {lists})")),
        Statement::SetM(m) => {
            let ef = (2 * m).max(64);
            with("ALTER INDEX ", name, format!(" SET (m = {m}, ef_construction = {ef})"))
        }
        Statement::Vacuum => with("VACUUM ", table, String::new()),
        Statement::EfSearch(value) => format!("SET hnsw.ef_search = {value}").into_bytes(),
        Statement::Probes(value) => format!("SET ivfflat.probes = {value}").into_bytes(),
        _ => return None,
    })
}
