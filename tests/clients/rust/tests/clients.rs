//! The crate `pgvector` with tokio-postgres: everything binary. The server is the one of PGHOST, PGPORT, PGUSER and
//! PGDATABASE: scripts/clients.sh starts one.

use futures_util::pin_mut;
use pgvector::{Bit, HalfVector, SparseVector, Vector};
use std::env;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Config, NoTls};

const ROWS: usize = 300;
const DIMS: usize = 16;

async fn connect() -> Client {
    let mut config = Config::new();
    config
        .host(env::var("PGHOST").expect("PGHOST"))
        .port(env::var("PGPORT").expect("PGPORT").parse().expect("a port"))
        .user(env::var("PGUSER").expect("PGUSER"))
        .dbname(env::var("PGDATABASE").expect("PGDATABASE"));
    let (client, connection) = config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    // Tests run beside each other, and an extension is created once.
    client
        .batch_execute(
            "SELECT pg_advisory_lock(1); CREATE EXTENSION IF NOT EXISTS vector; SELECT pg_advisory_unlock(1)",
        )
        .await
        .expect("the extension");
    client
}

/// The same rows at every run; eighths are exact in half precision.
fn rows() -> Vec<Vec<f32>> {
    let mut state = 42u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) as f32 / 65536.0 * 64.0 - 32.0).round() / 8.0 + 0.0
    };
    (0..ROWS).map(|_| (0..DIMS).map(|_| next()).collect()).collect()
}

fn thinned(row: &[f32]) -> Vec<f32> {
    let keep = |(i, &x): (usize, &f32)| if i == 0 || x > 1.0 { x + 0.5 } else { 0.0 };
    row.iter().enumerate().map(keep).collect()
}

fn bits(row: &[f32]) -> Bit {
    Bit::new(&row.iter().map(|&x| x > 0.0).collect::<Vec<_>>())
}

/// A table made by binary COPY; returns the type of its values.
async fn fill<T: ToSql + Sync>(client: &Client, table: &str, kind: &str, values: &[T]) -> Type {
    client
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (id int PRIMARY KEY, e {kind}({DIMS}))"
        ))
        .await
        .expect("a table");
    let statement = client.prepare(&format!("SELECT e FROM {table}")).await.expect("a statement");
    let kind = statement.columns()[0].type_().clone();
    let sink = client.copy_in(&format!("COPY {table} FROM STDIN (FORMAT binary)")).await.expect("COPY");
    let writer = BinaryCopyInWriter::new(sink, &[Type::INT4, kind.clone()]);
    pin_mut!(writer);
    for (number, value) in values.iter().enumerate() {
        writer.as_mut().write(&[&(number as i32), value]).await.expect("a row");
    }
    assert_eq!(writer.finish().await.expect("the end of COPY"), values.len() as u64);
    client.batch_execute(&format!("ANALYZE {table}")).await.expect("ANALYZE");
    kind
}

/// Values come back, through COPY and as parameters; NULL too; every operator's index finds what a pass over
/// the table finds.
async fn kind<T>(name: &str, values: Vec<T>, measures: &[(&str, &str)])
where
    T: ToSql + Sync + Clone + PartialEq + std::fmt::Debug + for<'a> FromSql<'a>,
{
    let client = connect().await;
    let table = format!("rust_{name}");
    fill(&client, &table, name, &values).await;
    client
        .execute(&format!("INSERT INTO {table} VALUES (1000, $1), (1001, $2)"), &[&values[0], &None::<T>])
        .await
        .expect("INSERT");
    let back: Vec<Option<T>> = client
        .query(&format!("SELECT e FROM {table} ORDER BY id"), &[])
        .await
        .expect("SELECT")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(back[..ROWS], values.iter().cloned().map(Some).collect::<Vec<_>>());
    assert_eq!(back[ROWS..], [Some(values[0].clone()), None]);

    for (operator, measure) in measures {
        client
            .batch_execute(&format!(
                "DROP INDEX IF EXISTS {table}_i; CREATE INDEX {table}_i ON {table} USING hnsw (e {name}_{measure}_ops)"
            ))
            .await
            .expect("CREATE INDEX");
        let question = format!("SELECT e {operator} $1 FROM {table} ORDER BY e {operator} $1 LIMIT 10");
        let mut found = 0;
        for query in &values[..20] {
            client.batch_execute("SET enable_indexscan = off; SET enable_seqscan = on").await.expect("SET");
            let exact = distances(&client, &question, query).await;
            client.batch_execute("SET enable_indexscan = on; SET enable_seqscan = off").await.expect("SET");
            let got = distances(&client, &question, query).await;
            assert!(got.windows(2).all(|pair| pair[0] <= pair[1]), "{got:?}");
            let limit = exact[9] + 1e-4 * (1.0 + exact[9].abs());
            found += got.iter().filter(|&&d| d <= limit).count();
        }
        assert!(found >= 190, "{name} {operator}: {found} of 200");
        let plan = client.query(&format!("EXPLAIN {question}"), &[&values[0]]).await.expect("EXPLAIN");
        assert!(plan.iter().any(|row| row.get::<_, &str>(0).contains(" Scan using")));
    }
}

async fn distances<T: ToSql + Sync>(client: &Client, question: &str, query: &T) -> Vec<f64> {
    let rows = client.query(question, &[query]).await.expect("neighbours");
    rows.iter().map(|row| row.get(0)).collect()
}

const DENSE: [(&str, &str); 4] = [("<->", "l2"), ("<#>", "ip"), ("<=>", "cosine"), ("<+>", "l1")];

#[tokio::test]
async fn vector() {
    kind("vector", rows().into_iter().map(Vector::from).collect(), &DENSE).await;
}

#[tokio::test]
async fn halfvec() {
    let values = rows().iter().map(|row| HalfVector::from_f32_slice(row)).collect();
    kind("halfvec", values, &DENSE).await;
}

#[tokio::test]
async fn sparsevec() {
    let values = rows().iter().map(|row| SparseVector::from_dense(&thinned(row))).collect();
    kind("sparsevec", values, &DENSE).await;
}

#[tokio::test]
async fn bit() {
    let values = rows().iter().map(|row| bits(row)).collect();
    kind("bit", values, &[("<~>", "hamming"), ("<%>", "jaccard")]).await;
}

#[tokio::test]
async fn ivfflat_expression_and_partial_indexes() {
    let client = connect().await;
    let values: Vec<Vector> = rows().into_iter().map(Vector::from).collect();
    fill(&client, "rust_indexes", "vector", &values).await;
    client
        .batch_execute("SET enable_seqscan = off; SET enable_sort = off; SET ivfflat.probes = 6")
        .await
        .expect("SET");
    for (index, condition, order) in [
        ("ivfflat (e vector_l2_ops) WITH (lists = 6)", "true", "e <-> $1"),
        ("ivfflat (e vector_cosine_ops) WITH (lists = 6)", "true", "e <=> $1"),
        ("hnsw ((e::halfvec(16)) halfvec_l2_ops)", "true", "e::halfvec(16) <-> $1::vector::halfvec(16)"),
        ("hnsw (e vector_l2_ops) WHERE id % 10 = 5", "id % 10 = 5", "e <-> $1"),
    ] {
        client
            .batch_execute(&format!("CREATE INDEX rust_i ON rust_indexes USING {index}"))
            .await
            .expect("CREATE INDEX");
        let question = format!("SELECT id FROM rust_indexes WHERE {condition} ORDER BY {order} LIMIT 5");
        let plan = client.query(&format!("EXPLAIN {question}"), &[&values[5]]).await.expect("EXPLAIN");
        assert!(plan.iter().any(|row| row.get::<_, &str>(0).contains(" Scan using rust_i")), "{index}");
        let found = client.query(&question, &[&values[5]]).await.expect("rows");
        assert_eq!((found.len(), found[0].get::<_, i32>(0)), (5, 5), "{index}");
        client.batch_execute("DROP INDEX rust_i").await.expect("DROP INDEX");
    }
}

#[tokio::test]
async fn iterative_scans_and_portals() {
    let mut client = connect().await;
    let values: Vec<Vector> = rows().into_iter().map(Vector::from).collect();
    fill(&client, "rust_iterative", "vector", &values).await;
    client
        .batch_execute(
            "CREATE INDEX ON rust_iterative USING hnsw (e vector_l2_ops); SET enable_seqscan = off;
             SET enable_sort = off; SET hnsw.ef_search = 10; SET enable_bitmapscan = off",
        )
        .await
        .expect("CREATE INDEX");
    let question = "SELECT id FROM rust_iterative WHERE id % 10 = 3 ORDER BY e <-> $1 LIMIT 20";
    let count = |found: Result<Vec<_>, _>| found.expect("rows").len();
    assert!(count(client.query(question, &[&values[0]]).await) < 20);
    for mode in ["strict_order", "relaxed_order"] {
        client.batch_execute(&format!("SET hnsw.iterative_scan = {mode}")).await.expect("SET");
        assert_eq!(count(client.query(question, &[&values[0]]).await), 20);
    }
    // A portal fetches a few rows at a time from one scan.
    let transaction = client.transaction().await.expect("BEGIN");
    let portal = transaction
        .bind("SELECT id FROM rust_iterative ORDER BY e <-> $1", &[&values[2]])
        .await
        .expect("a portal");
    let mut seen: Vec<i32> = Vec::new();
    loop {
        let some = transaction.query_portal(&portal, 13).await.expect("some rows");
        if some.is_empty() {
            break;
        }
        seen.extend(some.iter().map(|row| row.get::<_, i32>(0)));
    }
    assert_eq!(seen[0], 2);
    seen.sort_unstable();
    assert_eq!(seen, (0..ROWS as i32).collect::<Vec<_>>());
}

#[tokio::test]
async fn errors_have_their_codes() {
    let mut client = connect().await;
    let values: Vec<Vector> = rows().into_iter().map(Vector::from).collect();
    fill(&client, "rust_failing", "vector", &values).await;
    let short = Vector::from(vec![1.0, 2.0]);
    let bad = Vector::from(vec![f32::NAN; DIMS]);
    let large = Vector::from(vec![1e30; DIMS]);
    let insert = "INSERT INTO rust_failing VALUES (-1, $1)";
    for (statement, value, code, words) in [
        (insert, &short, SqlState::DATA_EXCEPTION, "expected 16 dimensions, not 2"),
        (insert, &bad, SqlState::DATA_EXCEPTION, "NaN not allowed in vector"),
        (
            "SELECT e <-> $1 FROM rust_failing",
            &short,
            SqlState::DATA_EXCEPTION,
            "different vector dimensions 16 and 2",
        ),
        (
            "SELECT $1::vector * $1",
            &large,
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            "value out of range: overflow",
        ),
    ] {
        let error = client.query(statement, &[value]).await.expect_err(words);
        let error = error.as_db_error().expect("an error of the server");
        assert_eq!((error.code(), error.message()), (&code, words));
    }
    let transaction = client.transaction().await.expect("BEGIN");
    transaction.execute(insert, &[&values[0]]).await.expect("INSERT");
    assert!(transaction.execute(insert, &[&short]).await.is_err());
    let failed = transaction.query("SELECT 1", &[]).await.expect_err("25P02");
    assert_eq!(failed.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
    transaction.rollback().await.expect("ROLLBACK");
    let rows: i64 = client.query_one("SELECT count(*) FROM rust_failing", &[]).await.expect("a count").get(0);
    assert_eq!(rows, ROWS as i64);
}
