"""Statements in order, over two sessions: values out of line while rows are updated, rolled back, vacuumed and read by
older snapshots.
"""

from __future__ import annotations

from collections.abc import Iterator

from differential.cases import Case
from vector_testing.client import Client, Outcome
from vector_testing.cluster import Cluster

DISTANCES = "sum(l2_distance(v, q)), sum(inner_product(h, q::halfvec)), sum(l1_distance(s, q::sparsevec)), sum(hamming_distance(b, binary_quantize(q)))"
QUERY = "(SELECT ARRAY(SELECT (i % 5) - 2 FROM generate_series(1, 2000) i)::vector AS q) AS query"
LOOK = f"SELECT count(*), {DISTANCES} FROM wide, {QUERY}"
EACH = f"SELECT id, l2_distance(v, q), inner_product(h, q::halfvec), vector_dims(v), vector_norm(v), l2_norm(s), v < q FROM wide, {QUERY} ORDER BY id"


def rows(first: int, last: int, shift: int) -> str:
    number = f"(i * id + {shift}) % 7 - 3"
    dense = f"ARRAY(SELECT {number} FROM generate_series(1, 2000) i)"
    return (
        f"SELECT id, {dense}::vector, {dense}::halfvec, ARRAY(SELECT CASE WHEN i % 2 = 0 THEN {number} ELSE 0 END FROM generate_series(1, 2000) i)::sparsevec, "
        f"binary_quantize({dense}::vector) FROM generate_series({first}, {last}) AS ids(id)"
    )


A, B = 0, 1
STEPS: list[tuple[int, str]] = [
    (A, "CREATE TABLE wide (id int, v vector, h halfvec, s sparsevec, b varbit)"),
    (A, "ALTER TABLE wide ALTER COLUMN b SET STORAGE external, ALTER COLUMN b SET COMPRESSION pglz"),
    (A, f"INSERT INTO wide {rows(1, 40, 0)}"),
    (A, LOOK),
    (A, EACH),
    # Rolled-back and dead chunks lie between the live ones.
    (A, "BEGIN"),
    (A, f"INSERT INTO wide {rows(41, 50, 3)}"),
    (A, LOOK),
    (B, LOOK),
    (A, "ROLLBACK"),
    (A, LOOK),
    (A, "UPDATE wide SET v = v + v WHERE id % 3 = 0"),
    (A, EACH),
    (A, "DELETE FROM wide WHERE id % 5 = 0"),
    (A, LOOK),
    (A, f"INSERT INTO wide {rows(51, 60, 1)}"),
    (A, EACH),
    (A, "VACUUM wide"),
    (A, f"INSERT INTO wide {rows(61, 75, 2)}"),
    (A, EACH),
    # Savepoints, and a cursor that reads rows its own transaction has changed since.
    (A, "BEGIN"),
    (A, f"DECLARE held CURSOR FOR SELECT id, l2_distance(v, q) FROM wide, {QUERY} ORDER BY id"),
    (A, "FETCH 5 FROM held"),
    (A, "SAVEPOINT one"),
    (A, "UPDATE wide SET v = v * v, h = h + h"),
    (A, EACH),
    (A, "FETCH 5 FROM held"),
    (A, "ROLLBACK TO one"),
    (A, EACH),
    (A, "FETCH ALL FROM held"),
    (A, "COMMIT"),
    # An older snapshot still sees what another session has replaced and vacuumed.
    (B, "BEGIN ISOLATION LEVEL REPEATABLE READ"),
    (B, LOOK),
    (A, "UPDATE wide SET v = v + v, h = h - h, s = s"),
    (A, "VACUUM wide"),
    (B, LOOK),
    (B, EACH),
    (A, LOOK),
    (B, "COMMIT"),
    (B, LOOK),
    (B, "BEGIN ISOLATION LEVEL REPEATABLE READ"),
    (B, "SELECT count(*) FROM wide"),
    (A, "DELETE FROM wide WHERE id < 20"),
    (A, "VACUUM wide"),
    (B, EACH),
    (B, "ROLLBACK"),
    (A, "VACUUM wide"),
    (A, EACH),
    # One session's tables change their shape and their files while it may remember where values lay.
    (A, "VACUUM FULL wide"),
    (A, EACH),
    (B, EACH),
    (A, "CREATE TABLE other AS SELECT id + 100 AS id, v, h, s, b FROM wide"),
    (A, "SELECT sum(l2_distance(wide.v, other.v)) FROM wide JOIN other ON other.id = wide.id + 100"),
    (
        A,
        "SELECT sum(l2_distance(w.v, o.v)), sum(l1_distance(w.h, o.h)) FROM wide w, other o WHERE (w.id + o.id) % 11 = 0",
    ),
    (A, "TRUNCATE wide"),
    (A, LOOK),
    (A, "INSERT INTO wide SELECT * FROM other"),
    (A, EACH),
    (A, "DROP TABLE other"),
    (A, EACH),
    (A, "BEGIN"),
    (A, "DROP TABLE wide"),
    (A, "CREATE TABLE wide (id int, v vector, h halfvec, s sparsevec, b varbit)"),
    (A, f"INSERT INTO wide {rows(1, 8, 5)}"),
    (A, EACH),
    (A, "ROLLBACK"),
    (A, EACH),
    (A, "ALTER TABLE wide SET (toast_tuple_target = 128)"),
    (
        A,
        "INSERT INTO wide SELECT id, subvector(v, 1, 100), subvector(h, 1, 100), subvector(v, 1, 100)::sparsevec, b FROM wide WHERE id % 4 = 0",
    ),
    (A, "SELECT id, vector_dims(v), vector_norm(v), pg_column_size(v) FROM wide ORDER BY id, 2"),
    (A, "DELETE FROM wide WHERE vector_dims(v) = 100"),
    (A, "ALTER TABLE wide ALTER COLUMN v SET STORAGE extended, ALTER COLUMN h SET STORAGE main"),
    (A, "UPDATE wide SET v = v + v, h = h + h"),
    (A, EACH),
    # Temporary tables keep their values apart; sorting and hashing carry pointers to them about.
    (A, "CREATE TEMP TABLE mine AS SELECT * FROM wide"),
    (A, EACH.replace("FROM wide", "FROM mine")),
    (A, "SELECT count(DISTINCT v), count(DISTINCT h) FROM mine"),
    (A, "SET enable_sort = off"),
    (A, EACH),
    (A, "RESET enable_sort"),
    (
        A,
        f"SELECT id, d FROM (SELECT id, v <-> q AS d, v FROM wide, {QUERY} ORDER BY d LIMIT 7) t ORDER BY v <=> v, d, id",
    ),
    (
        A,
        "WITH kept AS MATERIALIZED (SELECT id, v FROM wide) SELECT k.id, l2_distance(k.v, w.v) FROM kept k JOIN wide w ON w.id > k.id AND w.id < k.id + 3 ORDER BY 1, 2",
    ),
    (
        A,
        "DO $$ DECLARE x vector; d float8 := 0; r record; BEGIN FOR r IN SELECT id, v FROM wide LOOP x := r.v; d := d + (x <-> r.v) + vector_norm(r.v); UPDATE wide SET v = r.v WHERE id = r.id; END LOOP; RAISE NOTICE 'sum %', round(d::numeric, 3); END $$",
    ),
    (A, EACH),
    (A, "SELECT l2_distance(v, '[1,2]') FROM wide"),
    (A, LOOK),
    (A, "DROP TABLE wide, mine"),
]


def outcomes(theirs: Cluster, ours: Cluster) -> Iterator[tuple[Case, Outcome, Outcome]]:
    # A parallel sum adds in any order.
    serial = ["SET max_parallel_workers_per_gather = 0"]
    left = [Client(theirs.conninfo(), serial) for _ in (A, B)]
    right = [Client(ours.conninfo(), serial) for _ in (A, B)]
    for session, sql in STEPS:
        yield (
            Case(f"/* session {'AB'[session]} */ {sql}", (), "scenario"),
            left[session].simple(sql),
            right[session].simple(sql),
        )
    for client in left + right:
        client.close()
