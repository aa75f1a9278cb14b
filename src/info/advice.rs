//! `vector_advice()` and `vector_advice_apply(…)`: facts about every column of vectors, and what to do about them.

mod indexes;

use std::ffi::CString;
use std::time::Instant;

use half::f16;
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum, Oid};
use vector_index::advice::{Advice, Column, Key, Machine, Order, Statement, advise_column};
use vector_index::space::ValueKind;
use vector_index::work::memory::{filled, push};

use super::facts::catalog_only;
use super::rows;
use crate::error::Error;
use crate::pg::attempt::attempt;
use crate::pg::call::Call;
use crate::pg::ereport::{self, Report};
use crate::pg::spi::Spi;
use crate::pg::srf::Cell;
use crate::pg::user::RunAs;
use crate::pg::{guc, interrupts, memory, utility};
use crate::{hnsw, ivfflat};

/// Neighbours and queries of a measured recall.
const K: usize = 10;
const QUERIES: usize = 30;
/// Seconds that measuring an index may take about, or it is left out.
const CHEAP: f64 = 1.0;
/// Bytes of a table that may be read so often, whatever the catalog says of its rows: it may not know.
const SCANNED: u64 = 256 << 20;
/// Bytes of an index whose pages are counted.
const COUNTED: u64 = 256 << 20;

/// A piece of advice, with what it is about in the server's encoding.
struct Finding {
    table: Oid,
    column: Vec<u8>,
    index: Oid,
    advice: Advice,
    sql: Option<Vec<u8>>,
}

/// A column and the names it has in SQL.
struct Known {
    table: Oid,
    facts: Column,
    /// with schema, quoted
    table_name: Vec<u8>,
    /// quoted
    column_name: Vec<u8>,
    /// not quoted
    bare: (Vec<u8>, Vec<u8>),
    partitioned: bool,
    /// whether reading it runs policies, asks a foreign server or reads partitions of others, or cannot be done now
    guarded: bool,
    /// the table's owner, as whom it may be read; none where the caller may not act as the owner, whose code a query
    /// runs
    owner: Option<Oid>,
}

/// `vector_advice() RETURNS TABLE (relation regclass, attribute text, index regclass, action text, why text,
/// size bigint, build_time interval, memory bigint, latency_ms double precision, sql text)`
pub fn advice(call: Call<'_>) -> Result<Datum, Error> {
    let mut rows = rows(&call, 10)?;
    let spi = Spi::connect()?;
    for Finding { table, column, index, advice, sql } in findings(&spi, None)? {
        let expected = advice.expected;
        let bytes = |bytes: Option<u64>| {
            bytes.map_or(Cell::Null, |bytes| Cell::Bigint(i64::try_from(bytes).unwrap_or(i64::MAX)))
        };
        rows.put([
            Cell::Oid(table),
            Cell::Bytes(&column),
            if index == pg_sys::InvalidOid { Cell::Null } else { Cell::Oid(index) },
            Cell::Text(advice.action),
            Cell::Text(&advice.why),
            bytes(expected.size),
            expected.build.map_or(Cell::Null, Cell::Seconds),
            bytes(expected.memory),
            expected.latency.map_or(Cell::Null, |seconds| Cell::Float((seconds * 1e6).round() / 1e3)),
            sql.as_deref().map_or(Cell::Null, Cell::Bytes),
        ]);
    }
    Ok(Datum::from(0usize))
}

/// `vector_advice_apply(relation regclass, concurrently boolean)`: creates the indexes that are advised, of one
/// table or of all that the caller owns. Nothing else is done, and nothing dropped.
pub fn apply(call: Call<'_>) -> Result<(), Error> {
    let table = (!call.is_null(0)).then(|| call.oid(0));
    let concurrently = !call.is_null(1) && call.bool(1);
    if concurrently && !utility::is_top_level(&call) {
        return Err(Error::Hinted(
            PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
            "indexes cannot be created concurrently inside a transaction block, function or other block"
                .into(),
            "CALL the procedure by itself, or run the statements that vector_advice() returns by psql's \\gexec.",
        ));
    }
    let spi = Spi::connect()?;
    if let Some(table) = table {
        may_have_columns(&spi, table)?;
    }
    let mut statements = Vec::new();
    for finding in findings(&spi, Some(table))? {
        let creates =
            matches!(finding.advice.statement, Statement::CreateIndex(..) | Statement::CreateLists(..));
        if let (true, Some(sql)) = (creates, finding.sql) {
            push(&mut statements, sql)?;
        }
    }
    let say = |what: &str, sql: &[u8]| {
        let text = [what.as_bytes(), sql].concat();
        ereport::notice(Report::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, &text));
    };
    let mut created = 0;
    if !concurrently {
        for sql in &statements {
            let sql = without_concurrently(sql);
            say("running: ", &sql);
            spi.run(&sql)?;
            created += 1;
        }
    }
    drop(spi);
    // each of these ends the transaction: nothing of the server is held here
    for sql in statements.iter().filter(|_| concurrently) {
        if !sql.starts_with(CONCURRENTLY) {
            say("skipped, since partitioned tables cannot be indexed concurrently: ", sql);
            continue;
        }
        say("running: ", sql);
        let sql = CString::new(sql.as_slice()).map_err(|_| {
            Error::Fixed(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "statement with a zero byte")
        })?;
        utility::run_top_level(&call, &sql).map_err(|e| Error::Fixed(e.code, e.message))?;
        created += 1;
    }
    let text = format!("vector_advice_apply: {created} indexes created");
    ereport::notice(Report::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, text.as_bytes()));
    Ok(())
}

/// That a relation may have columns of vectors that can be indexed.
///
/// # Errors
/// There is none, or one of another kind.
fn may_have_columns(spi: &Spi, relation: Oid) -> Result<(), Error> {
    let number = relation.to_u32();
    let _settings = catalog_only();
    let sql = format!(
        "SELECT c.relkind IN ('r', 'm', 'p'), c.relname FROM pg_catalog.pg_class c WHERE c.oid = {number}"
    );
    let mut found = None;
    spi.query::<Error>(sql.as_bytes(), |row| {
        found = Some((row.bool(0), row.text(1).unwrap_or_default()));
        Ok(())
    })?;
    match found {
        Some((true, _)) => Ok(()),
        Some((false, name)) => Err(Error::Message(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("\"{}\" is not a table or materialized view", String::from_utf8_lossy(&name)),
        )),
        None => Err(Error::Message(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("relation with OID {number} does not exist"),
        )),
    }
}

const CONCURRENTLY: &[u8] = b"CREATE INDEX CONCURRENTLY ";

fn without_concurrently(sql: &[u8]) -> Vec<u8> {
    match sql.strip_prefix(CONCURRENTLY) {
        Some(rest) => [b"CREATE INDEX ".as_slice(), rest].concat(),
        None => sql.into(),
    }
}

/// Everything that can be said, of all tables that the caller sees; or of one that is to be changed, or of all that the
/// caller may change.
fn findings(spi: &Spi, changes: Option<Option<Oid>>) -> Result<Vec<Finding>, Error> {
    let settings = catalog_only();
    let mut schema = Vec::new();
    let namespace = "SELECT pg_catalog.format('%I', n.nspname) FROM pg_catalog.pg_extension e \
        JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'";
    spi.query::<Error>(namespace.as_bytes(), |row| {
        schema = row.text(0).unwrap_or_default();
        Ok(())
    })?;
    let mut columns = columns(spi, changes)?;
    let queries = statements(spi)?;
    let mut found = Vec::new();
    for column in &mut columns {
        interrupts::check();
        complete(spi, &schema, column, &queries)?;
        let machine = machine(column.facts.kind, column.facts.dims.unwrap_or(0))?;
        for advice in advise_column(&column.facts, &machine) {
            let sql = column_sql(&schema, column, &advice.statement);
            let finding = Finding {
                table: column.table,
                column: column.bare.1.clone(),
                index: pg_sys::InvalidOid,
                advice,
                sql,
            };
            push(&mut found, finding)?;
        }
    }
    drop(settings);
    if changes.is_none() {
        indexes::add(spi, &mut found)?;
    }
    Ok(found)
}

const COLUMNS: &str = "SELECT c.oid, t.typname, a.atttypmod, \
    CASE WHEN c.relkind = 'p' THEN (SELECT sum(l.reltuples) FROM pg_catalog.pg_partition_tree(c.oid) p \
            JOIN pg_catalog.pg_class l ON l.oid = p.relid WHERE p.isleaf AND l.reltuples >= 0 AND l.relpages > 0) \
         WHEN c.reltuples < 0 OR c.relpages = 0 AND pg_catalog.pg_relation_size(c.oid) > 0 THEN NULL \
         WHEN pg_catalog.pg_relation_size(c.oid) = 0 THEN NULL ELSE c.reltuples END, \
    CASE WHEN c.relkind = 'p' THEN EXISTS (SELECT FROM pg_catalog.pg_partition_tree(c.oid) p \
            WHERE p.isleaf AND pg_catalog.pg_relation_size(p.relid) > 0) \
         ELSE pg_catalog.pg_relation_size(c.oid) > 0 END, \
    COALESCE(CASE WHEN c.relkind = 'p' THEN (SELECT sum(s.seq_scan) FROM pg_catalog.pg_partition_tree(c.oid) p \
            JOIN pg_catalog.pg_stat_user_tables s ON s.relid = p.relid WHERE p.isleaf) \
         ELSE pg_catalog.pg_stat_get_numscans(c.oid) END, 0)::bigint, \
    i.indexed, pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.format('%I', a.attname), \
    c.relname, a.attname, c.relkind = 'p', \
    c.relrowsecurity OR NOT c.relispopulated OR c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery() \
        OR c.relkind = 'p' AND EXISTS (SELECT FROM pg_catalog.pg_partition_tree(c.oid) p \
            JOIN pg_catalog.pg_class l ON l.oid = p.relid WHERE l.relkind = 'f' OR l.relowner <> c.relowner \
            OR l.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery()), \
    CASE WHEN pg_catalog.pg_has_role(c.relowner, 'USAGE') THEN c.relowner END \
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_type t ON t.oid = a.atttypid, \
    LATERAL (SELECT EXISTS (SELECT FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class ic ON ic.oid = x.indexrelid \
        JOIN pg_catalog.pg_am m ON m.oid = ic.relam AND m.amname IN ('hnsw', 'ivfflat') \
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = x.indexrelid \
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum \
        WHERE x.indrelid = c.oid) AS indexed) i \
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition \
    AND NOT pg_catalog.pg_is_other_temp_schema(c.relnamespace) \
    AND (a.atttypid = 'pg_catalog.bit'::pg_catalog.regtype AND (a.atttypmod >= 64 OR i.indexed) \
        OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
            WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e' \
            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND e.extname = 'vector')) \
    AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') ";

/// The columns of vectors that the caller may read.
fn columns(spi: &Spi, changes: Option<Option<Oid>>) -> Result<Vec<Known>, Error> {
    let chosen = match changes {
        None => String::new(),
        Some(None) => "AND pg_catalog.pg_has_role(c.relowner, 'USAGE') ".into(),
        Some(Some(table)) => format!("AND c.oid = {} ", table.to_u32()),
    };
    let sql = format!("{COLUMNS}{chosen}ORDER BY n.nspname, c.relname, a.attnum");
    let mut found = Vec::new();
    spi.query::<Error>(sql.as_bytes(), |row| {
        let text = |n| row.text(n).unwrap_or_default();
        let kind = match text(1).as_slice() {
            b"vector" => ValueKind::Vector,
            b"halfvec" => ValueKind::Halfvec,
            b"sparsevec" => ValueKind::Sparsevec,
            _ => ValueKind::Bit,
        };
        let typmod: i64 = row.number(2).unwrap_or(-1);
        let dims = u32::try_from(typmod).ok().filter(|&dims| dims > 0);
        let facts = Column {
            kind,
            dims,
            declared: dims.is_some(),
            rows: row.number(3),
            filled: row.bool(4),
            scans: row.number(5).unwrap_or(0),
            indexed: row.bool(6),
            queries: None,
        };
        let known = Known {
            table: row.oid(0),
            facts,
            table_name: text(7),
            column_name: text(8),
            bare: (text(9), text(10)),
            partitioned: row.bool(11),
            guarded: row.bool(12),
            owner: row.number::<u32>(13).map(Oid::from),
        };
        Ok(push(&mut found, known)?)
    })?;
    Ok(found)
}

/// Adds what the catalog does not say: dimensions of a column whose type has none, from one row, and how it is queried.
fn complete(
    spi: &Spi,
    schema: &[u8],
    column: &mut Known,
    queries: &[(Vec<u8>, i64, f64)],
) -> Result<(), Error> {
    let dense = matches!(column.facts.kind, ValueKind::Vector | ValueKind::Halfvec);
    // (a policy is somebody else's code; a foreign server is somebody else's machine)
    let unknown = column.facts.dims.is_none() && dense && !column.facts.indexed && !column.guarded;
    if let Some(owner) = column.owner.filter(|_| unknown) {
        let (name, only) = (&column.column_name, if column.partitioned { "" } else { "ONLY " });
        let sql = [
            b"SELECT ".as_slice(),
            schema,
            b".vector_dims(",
            name,
            b") FROM ",
            only.as_bytes(),
            &column.table_name,
            b" WHERE ",
            name,
            b" IS NOT NULL LIMIT 1",
        ]
        .concat();
        // gone meanwhile, not to be read by its owner, code of the owner that fails: nothing is known then
        let asked = attempt(|| {
            let (_owner, mut dims) = (RunAs::owner(owner), None);
            spi.query::<Error>(&sql, |row| {
                dims = row.number(0);
                Ok(())
            })?;
            Ok::<_, Error>(dims)
        });
        column.facts.dims = asked.unwrap_or(Ok(None))?;
    }
    for (text, calls, milliseconds) in queries {
        if !(has_word(text, &column.bare.0) && has_word(text, &column.bare.1)) {
            continue;
        }
        let order = Order::ALL.into_iter().find(|order| {
            order.suits(column.facts.kind) && text.windows(3).any(|part| part == order.operator().as_bytes())
        });
        let Some(order) = order else { continue };
        if column.facts.queries.is_none_or(|(_, most, _)| *calls > most) {
            column.facts.queries = Some((order, *calls, milliseconds / 1e3));
        }
    }
    Ok(())
}

/// Whether `word` stands in `text` between other characters than those of names.
fn has_word(text: &[u8], word: &[u8]) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80);
    !word.is_empty()
        && text.windows(word.len()).enumerate().any(|(at, window)| {
            window == word
                && !part(at.checked_sub(1).and_then(|at| text.get(at)))
                && !part(text.get(at + word.len()))
        })
}

/// Texts, calls and milliseconds of a call of the statements that order by a distance, from pg_stat_statements when it
/// is there and loaded.
fn statements(spi: &Spi) -> Result<Vec<(Vec<u8>, i64, f64)>, Error> {
    let mut view = None;
    let installed = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_extension e \
        JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
        JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'pg_stat_statements' \
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'mean_exec_time' \
        WHERE e.extname = 'pg_stat_statements' AND pg_catalog.has_table_privilege(c.oid, 'SELECT') \
        AND pg_catalog.current_setting('pg_stat_statements.max', true) IS NOT NULL";
    spi.query::<Error>(installed.as_bytes(), |row| {
        view = row.text(0);
        Ok(())
    })?;
    let Some(view) = view else { return Ok(Vec::new()) };
    let sql = [
        b"SELECT s.query, s.calls, s.mean_exec_time FROM ".as_slice(),
        &view,
        b" s WHERE s.query ~ '(<->|<#>|<=>|<[+]>|<~>|<%>)' AND s.dbid = (SELECT d.oid FROM pg_catalog.pg_database d \
            WHERE d.datname = pg_catalog.current_database()) ORDER BY s.calls DESC LIMIT 1000",
    ]
    .concat();
    let mut found = Vec::new();
    spi.query::<Error>(&sql, |row| {
        let statement =
            (row.text(0).unwrap_or_default(), row.number(1).unwrap_or(0), row.number(2).unwrap_or(0.0));
        Ok(push(&mut found, statement)?)
    })?;
    Ok(found)
}

/// Seconds of a distance between values of a kind on this machine: the least of three rounds over some of them.
fn distance_seconds(kind: ValueKind, dims: u32) -> Result<f64, Error> {
    const VALUES: usize = 64;
    let (dims, kernels) = (dims.clamp(1, 16_000) as usize, vector_kernels::kernels());
    let values = |len: usize| filled(0.5f32, len * VALUES);
    let rounds = (400_000 / dims).clamp(VALUES, 20_000);
    let mut least = f64::INFINITY;
    let mut time = |distance: &dyn Fn(usize) -> f64| {
        for _ in 0..3 {
            let began = Instant::now();
            for n in 0..rounds {
                core::hint::black_box(distance(n % VALUES));
            }
            least = least.min(began.elapsed().as_secs_f64() / rounds as f64);
        }
    };
    match kind {
        ValueKind::Vector => {
            let values = values(dims)?;
            let (query, rest) = values.split_at(dims);
            time(&|n| {
                f64::from(
                    kernels.l2_squared_f32(
                        query,
                        rest.chunks_exact(dims).nth(n % (VALUES - 1)).unwrap_or(query),
                    ),
                )
            });
        }
        ValueKind::Halfvec => {
            let values = filled(f16::from_f32(0.5), dims * VALUES)?;
            let (query, rest) = values.split_at(dims);
            time(&|n| {
                f64::from(
                    kernels.l2_squared_f16(
                        query,
                        rest.chunks_exact(dims).nth(n % (VALUES - 1)).unwrap_or(query),
                    ),
                )
            });
        }
        ValueKind::Bit => {
            let bytes = dims.div_ceil(8);
            let values = filled(0x55u8, bytes * VALUES)?;
            let (query, rest) = values.split_at(bytes);
            time(&|n| {
                kernels.hamming(query, rest.chunks_exact(bytes).nth(n % (VALUES - 1)).unwrap_or(query)) as f64
            });
        }
        // a hundred sorted indices merged with a hundred others take about as long as a thousand dimensions
        ValueKind::Sparsevec => return distance_seconds(ValueKind::Vector, 1000),
    }
    Ok(least)
}

fn machine(kind: ValueKind, dims: u32) -> Result<Machine, Error> {
    Ok(Machine {
        distance: distance_seconds(kind, dims)?,
        shared_buffers: guc::shared_buffers(),
        maintenance_memory: guc::maintenance_work_mem() as u64,
        threads: 1 + guc::maintenance_workers(),
        memory: memory::physical(),
        automatic: hnsw::prefers_own_pages() && ivfflat::prefers_own_pages(),
    })
}

/// The SQL of a statement about a column.
fn column_sql(schema: &[u8], column: &Known, statement: &Statement) -> Option<Vec<u8>> {
    let table = column.table_name.as_slice();
    Some(match *statement {
        Statement::Analyze => [b"ANALYZE ".as_slice(), table].concat(),
        Statement::MaintenanceMemory(megabytes) => {
            format!("SET maintenance_work_mem = '{megabytes}MB'").into_bytes()
        }
        Statement::CreateIndex(key, order) | Statement::CreateLists(key, order, _) => {
            let name = column.column_name.as_slice();
            let (key, kind) = match key {
                Key::Column => (name.into(), kind_name(column.facts.kind)),
                Key::Halfvec(dims) => {
                    let cast = format!(".halfvec({dims}))");
                    ([b"(".as_slice(), name, b"::", schema, cast.as_bytes()].concat(), "halfvec")
                }
                Key::Binary(dims) => {
                    let cast = format!(")::bit({dims}))");
                    ([b"(".as_slice(), schema, b".binary_quantize(", name, cast.as_bytes()].concat(), "bit")
                }
            };
            let opclass = format!(".{kind}_{}_ops)", order.word());
            // partitioned tables cannot be indexed concurrently
            let create = if column.partitioned { b"CREATE INDEX ".as_slice() } else { CONCURRENTLY };
            let (method, options) = match *statement {
                Statement::CreateLists(.., lists) => ("ivfflat", format!(" WITH (lists = {lists})")),
                _ => ("hnsw", String::new()),
            };
            let using = format!(" USING {method} (");
            let parts: [&[u8]; 9] = [
                create,
                b"ON ",
                table,
                using.as_bytes(),
                &key,
                b" ",
                schema,
                opclass.as_bytes(),
                options.as_bytes(),
            ];
            parts.concat()
        }
        _ => return None,
    })
}

fn kind_name(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Vector => "vector",
        ValueKind::Halfvec => "halfvec",
        ValueKind::Sparsevec => "sparsevec",
        ValueKind::Bit => "bit",
    }
}
