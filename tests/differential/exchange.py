"""Values on disk: each side opens a copy of the other's data directory, reads every value and writes new ones."""

from __future__ import annotations

from differential.compare import Score
from vector_testing.client import Client
from vector_testing.cluster import Cluster

DATABASE = "exchange"

CREATE = [
    "CREATE EXTENSION vector",
    """CREATE TABLE kept AS SELECT i AS id,
         CASE WHEN i % 7 <> 0 THEN ARRAY(SELECT (i * j % 101) / 8.0 - 5 FROM generate_series(1, 1 + i % 40) j)::real[]::vector END AS v,
         CASE WHEN i % 5 <> 0 THEN ARRAY(SELECT (i * j % 97) / 4.0 - 9 FROM generate_series(1, 1 + i % 40) j)::real[]::halfvec END AS h,
         CASE WHEN i % 3 <> 0 THEN ARRAY(SELECT CASE WHEN (i + j) % 4 = 0 THEN (i * j % 89) / 8.0 ELSE 0 END FROM generate_series(1, 1 + i % 60) j)::real[]::sparsevec END AS s,
         binary_quantize(ARRAY(SELECT (i * j % 7) - 3 FROM generate_series(1, 8 + i % 40) j)::real[]::vector)::varbit AS b
       FROM generate_series(1, 2000) i""",
    # Long values, so that some lie out of line.
    """INSERT INTO kept SELECT 10000 + i, ARRAY(SELECT (i * j % 101) / 8.0 FROM generate_series(1, i * 1500) j)::real[]::vector, ARRAY(SELECT (i * j % 101) / 8.0 FROM generate_series(1, i * 1500) j)::real[]::halfvec,
         ('{1:1,1000000000:' || i || '}/1000000000')::sparsevec, repeat('01', i * 100)::varbit FROM generate_series(1, 10) i""",
    "INSERT INTO kept VALUES (20001, '[-0,0,1e-45,3.4028235e38]', '[-0,0,5.9604645e-08,65504]', '{}/1', ''), (20002, NULL, NULL, NULL, NULL)",
    "CREATE TABLE limited (v vector(3), h halfvec(3), s sparsevec(3), a vector(2)[])",
    "INSERT INTO limited VALUES ('[1,2,3]', '[4,5,6]', '{2:7}/3', '{\"[1,2]\",NULL}')",
    "CREATE INDEX kept_v ON kept (v) WHERE id < 10000",
    "CREATE INDEX kept_h ON kept (h) WHERE id < 10000",
    "CREATE INDEX kept_s ON kept (s)",
    "CREATE VIEW nearest AS SELECT id, v <-> '[1,2,3]' AS l2, v <=> '[1,2,3]' AS cosine, h <#> '[1,2,3]' AS ip, s <+> '{1:1}/3' AS l1 FROM kept WHERE vector_dims(v) = 3 AND vector_dims(h) = 3 AND s::text LIKE '%/3'",
    "CREATE TABLE derived (id int, v vector, n float8 GENERATED ALWAYS AS (round(l2_norm(v::halfvec)::numeric, 3)) STORED, CHECK (vector_dims(v) < 5), d vector DEFAULT '[1,2]')",
    "INSERT INTO derived VALUES (1, '[3,4]'), (2, '[1]')",
    "CREATE FUNCTION closest(q vector) RETURNS int LANGUAGE sql AS 'SELECT id FROM kept WHERE vector_dims(v) = vector_dims(q) ORDER BY v <-> q, id LIMIT 1'",
    "CREATE MATERIALIZED VIEW means AS SELECT id % 10 AS g, avg(v) AS m, sum(h) AS t FROM kept WHERE vector_dims(v) = 5 AND vector_dims(h) = 5 GROUP BY 1",
    "ANALYZE",
]

READ = [
    "SELECT id, v, h, s, b FROM kept ORDER BY id",
    "SELECT id, encode(vector_send(v), 'hex'), encode(halfvec_send(h), 'hex'), encode(sparsevec_send(s), 'hex') FROM kept WHERE id < 200 OR id > 20000 ORDER BY id",
    "SELECT pg_column_size(v), pg_column_size(h), pg_column_size(s), pg_column_size(b) FROM kept ORDER BY id",
    "SELECT * FROM limited",
    "SELECT id, v FROM kept WHERE v > '[1,2,3]' AND id < 10000 ORDER BY v, id LIMIT 50",
    "SELECT id, s FROM kept WHERE s < '{1:1}/9' ORDER BY s DESC, id LIMIT 50",
    "SELECT id FROM kept WHERE h = '[1,2,3]' AND id < 10000",
    "SELECT id, round(l2::numeric, 3), round(cosine::numeric, 3), ip, l1 FROM nearest ORDER BY id",
    "SELECT * FROM derived ORDER BY id",
    "SELECT closest('[1,2,3]'), closest('[0,0,0,0]')",
    "SELECT * FROM means ORDER BY g",
    "SELECT avg(v), sum(h) FROM kept WHERE vector_dims(v) = 11 AND vector_dims(h) = 11",
    "SELECT attname, null_frac, avg_width, n_distinct FROM pg_stats WHERE tablename = 'kept' ORDER BY 1",
    "SELECT tablename, attname, format_type(atttypid, atttypmod) FROM pg_stats JOIN pg_attribute USING (attname) WHERE tablename IN ('kept', 'limited') AND attrelid = tablename::regclass ORDER BY 1, 2",
]

WRITE = [
    "INSERT INTO kept SELECT id + 30000, v, h, s, b FROM kept WHERE id < 500",
    "UPDATE kept SET v = v + v, h = h - h WHERE id % 9 = 0 AND id < 10000",
    "INSERT INTO derived (id, v) VALUES (3, '[5,12]')",
    "REINDEX DATABASE exchange",
    "REFRESH MATERIALIZED VIEW means",
]


def snapshot(client: Client) -> list[str]:
    return [client.simple(sql).describe() for sql in READ]


def connect(cluster: Cluster) -> Client:
    return Client(cluster.conninfo(DATABASE), ["SET extra_float_digits = 1", "SET enable_seqscan = off"])


def compare(score: Score, name: str, before: list[str], after: list[str]) -> None:
    for sql, one, two in zip(READ, before, after):
        score.check(
            f"{name}: {sql}", one == two and not one.startswith("ERROR"), f"before {one[:300]}\n  after {two[:300]}"
        )


def version_of(client: Client) -> str:
    return client.must("SELECT extversion FROM pg_extension WHERE extname = 'vector'")[0][0]


def update_and_back(client: Client, score: Score, name: str, own: str) -> None:
    """The other side's database is brought up to this side's version, and one step back; values stay readable."""
    before = snapshot(client)
    first = version_of(client)
    done = client.simple("ALTER EXTENSION vector UPDATE")
    score.check(
        f"{name}: ALTER EXTENSION vector UPDATE from {first}",
        done.error is None and version_of(client) == own,
        f"{done.describe()} now {version_of(client)}, expected {own}",
    )
    compare(score, f"{name} after update", before, snapshot(client))
    back = client.must(
        f"SELECT target FROM pg_extension_update_paths('vector') WHERE source = '{own}' AND target LIKE '0.8.%' AND path = source || '--' || target"
    )
    if own.startswith("0."):
        return
    score.check(f"{name}: a step back exists", len(back) == 1, repr(back))
    for target in [*(row[0] for row in back), own]:
        done = client.simple(f"ALTER EXTENSION vector UPDATE TO '{target}'")
        score.check(f"{name}: update to {target}", done.error is None and version_of(client) == target, done.describe())
        compare(score, f"{name} at {target}", before, snapshot(client))


def run(writer: Cluster, reader: Cluster, score: Score, who: str) -> None:
    """`writer` makes a database and stops; the reader's server opens a copy, changes it, and hands it back."""
    name = f"data directory of {who}"
    admin = Client(writer.conninfo())
    admin.must(f"CREATE DATABASE {DATABASE}")
    admin.close()
    client = connect(writer)
    for statement in CREATE:
        client.must(statement)
    before = snapshot(client)
    client.close()
    writer.stop()
    try:
        opened = Cluster(reader.prefix, "opened", reader.settings)
        opened.copy_data_of(writer)
        with opened:
            client = connect(opened)
            compare(score, name, before, snapshot(client))
            own = client.must("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")[0][0]
            # pgvector has no script from a version it does not know; the way back is this project's own step.
            if not own.startswith("0.") or version_of(client).startswith("0."):
                update_and_back(client, score, name, own)
            for statement in WRITE:
                done = client.simple(statement)
                score.check(f"{name}: {statement}", done.error is None, done.describe())
            changed = snapshot(client)
            client.close()
            opened.stop()
            returned = Cluster(writer.prefix, "returned", writer.settings)
            returned.copy_data_of(opened)
            with returned:
                client = connect(returned)
                compare(score, f"{name}, changed by the other and returned", changed, snapshot(client))
                client.close()
    finally:
        writer.start()
        admin = Client(writer.conninfo())
        admin.must(f"DROP DATABASE {DATABASE}")
        admin.close()
