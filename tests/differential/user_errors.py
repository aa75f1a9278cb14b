"""Errors of user code that runs inside an index's build, insert, scan or vacuum: every field as pgvector's, byte for
byte.

Functions and domains of an expression index raise errors of every sort. Both prefixes hold the same server binary, so
even the place in the server's source must agree. Our server runs with RUST_BACKTRACE set, which must show nowhere.
"""

from __future__ import annotations

import threading
import time

from psycopg import pq
from psycopg.pq import DiagnosticField as Diag
from psycopg.pq import ExecStatus

from vector_testing import results
from vector_testing.cluster import Cluster

FIELDS = [field for field in Diag if field is not Diag.SEVERITY]
# An error of the extension itself has another place in another library.
PLACE = {"SOURCE_FILE", "SOURCE_LINE", "SOURCE_FUNCTION"}
OURS = b"vector"

# name: the body of a plpgsql function of (v vector), which has said before that a row is a bad one
RAISES = {
    "raise": "RAISE EXCEPTION 'no'",
    "all_options": "RAISE EXCEPTION 'no: %', v USING ERRCODE = '45678', DETAIL = 'the detail', HINT = 'the hint', COLUMN = 'c', CONSTRAINT = 'k', DATATYPE = 'd', TABLE = 't', SCHEMA = 's'",
    "own_sqlstate": "RAISE EXCEPTION 'no' USING ERRCODE = '45678', COLUMN = 'c'",
    "condition": "RAISE unique_violation USING MESSAGE = 'seen', CONSTRAINT = 'some_key'",
    "empty_message": "RAISE SQLSTATE 'AB123'",
    "percent": "RAISE EXCEPTION USING MESSAGE = '100% %s %d %n', DETAIL = '%s%n', HINT = '%'",
    "lines": "RAISE EXCEPTION USING MESSAGE = E'one\\ntwo', DETAIL = E'three\\nfour\\n', HINT = E'\\tfive'",
    "long": "RAISE EXCEPTION USING MESSAGE = repeat('m', 20000), DETAIL = repeat('d', 20000), HINT = repeat('h', 20000)",
    "not_ascii": "RAISE EXCEPTION USING MESSAGE = 'façon', DETAIL = 'détail: ' || repeat('é', 300), HINT = 'öffnen', COLUMN = 'größe', ERRCODE = '45001'",
    "division": "PERFORM 1 / (v <-> v)::int",
    "cast": "PERFORM v::vector(2)",
    "number": "PERFORM 'abc'::int",
    "text": "PERFORM '[1,x]'::text::vector",
    "operator": "PERFORM v <-> '[1]'",
    "json": "PERFORM '{\"a\": [1, 2'::json",
    "function": "PERFORM no_such_function(v)",
    "syntax": "EXECUTE 'SELECT 1 +* FROM nowhere'",
    "syntax_not_ascii": "EXECUTE 'SELECT ''déjà'' vu encore'",
    "missing_table": "EXECUTE 'SELECT a, b FROM no_such_table'",
    "missing_column": "EXECUTE 'SELECT no_such_column FROM things'",
    "domain": "PERFORM (-1)::positive",
    "domain_null": "PERFORM NULL::positive",
    "not_null": "PERFORM put('NULL, 1')",
    "check": "PERFORM put('-7, 1')",
    "unique": "PERFORM put('1, 1')",
    "foreign_key": "PERFORM put('2, 99')",
    "too_long": "PERFORM 'abcd'::varchar(3)::text || repeat('x', 5)::char(2); PERFORM put('3, 1, repeat(''x'', 50)')",
    "assert": "ASSERT v IS NULL, 'an assertion'",
    "case_not_found": "CASE WHEN v IS NULL THEN NULL; END CASE",
    "no_data": "DECLARE r record; BEGIN SELECT 1 AS a INTO STRICT r WHERE false; END",
    "nested": "PERFORM deep(5)",
    "again": "BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN RAISE; END",
    "other": "BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN RAISE EXCEPTION 'other' USING ERRCODE = '45002', DETAIL = SQLERRM; END",
    "caught_before": "BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN NULL; END; RAISE EXCEPTION 'after one that was caught' USING ERRCODE = '45003'",
    "write": "CREATE TABLE in_function ()",
    "cancel": "PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(10)",
    "statement_timeout": "PERFORM set_config('statement_timeout', '1', true); PERFORM later()",
    "lock_timeout": "PERFORM set_config('lock_timeout', '20', true); EXECUTE 'SELECT * FROM locked'",
    "lock_nowait": "EXECUTE 'LOCK TABLE locked IN SHARE MODE NOWAIT'",
}

# the same for functions in SQL, of which the first two are inlined
SQL_FUNCTIONS = {
    "sql_division": "SELECT CASE WHEN public.bad_row(v) THEN ('[' || 1 / public.l2_distance(v, v)::int || ',1,1]')::public.vector ELSE v END",
    "sql_domain": "SELECT CASE WHEN public.bad_row(v) THEN ('[' || (-1 - public.l2_distance(v, v)::int)::public.positive::text || ',1,1]')::public.vector ELSE v END",
    "sql_set": "SELECT CASE WHEN public.bad_row(v) THEN ('[' || 1 / public.l2_distance(v, v)::int || ',1,1]')::public.vector ELSE v END",
}

SETUP = [
    "CREATE EXTENSION vector",
    "CREATE DOMAIN positive AS int NOT NULL CHECK (value > 0)",
    "CREATE TABLE parents (id int PRIMARY KEY)",
    "INSERT INTO parents VALUES (1)",
    "CREATE TABLE things (id int NOT NULL, parent int REFERENCES parents, name varchar(10), CONSTRAINT id_key UNIQUE (id), CONSTRAINT id_check CHECK (id > 0))",
    "INSERT INTO things VALUES (1, 1)",
    "CREATE TABLE locked (id int)",
    # whether a row is bad now: builds that are to work come before those that fail
    "CREATE FUNCTION bad_row(v vector) RETURNS bool LANGUAGE sql IMMUTABLE AS $$ SELECT current_setting('test.bad', true) = 'on' AND public.l2_distance(v, '[6,6,6]') = 0 $$",
    "CREATE FUNCTION put(what text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'INSERT INTO public.things VALUES (' || what || ')'; END $$",
    "CREATE FUNCTION deep(n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF n = 0 THEN RAISE EXCEPTION 'deep down' USING ERRCODE = '45004'; END IF; PERFORM deep(n - 1); END $$",
    "CREATE FUNCTION later() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(10); END $$",
]


def functions() -> list[str]:
    made = []
    for name, body in RAISES.items():
        made.append(
            f"CREATE FUNCTION f_{name}(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE SET search_path = public AS $f$ BEGIN IF bad_row(v) THEN {body}; END IF; RETURN v; END $f$"
        )
        made.append(
            f"CREATE FUNCTION p_{name}(v vector) RETURNS bool LANGUAGE plpgsql IMMUTABLE SET search_path = public AS $f$ BEGIN IF bad_row(v) THEN {body}; END IF; RETURN true; END $f$"
        )
    for name, body in SQL_FUNCTIONS.items():
        setting = " SET search_path = public" if name == "sql_set" else ""
        made.append(
            f"CREATE FUNCTION f_{name}(v vector) RETURNS vector LANGUAGE sql IMMUTABLE{setting} AS $f$ {body} $f$"
        )
        made.append(
            f"CREATE FUNCTION p_{name}(v vector) RETURNS bool LANGUAGE sql IMMUTABLE{setting} AS $f$ SELECT public.f_{name}(v) IS NOT NULL $f$"
        )
    return made


class Session:
    """A connection that answers with all fields of an error, as bytes."""

    def __init__(self, conninfo: str):
        self.conn = pq.PGconn.connect(conninfo.encode())
        if self.conn.status != pq.ConnStatus.OK:
            raise RuntimeError(self.conn.error_message.decode("utf8", "replace"))
        self.conn.notice_handler = lambda _result: None

    def run(self, sql: str) -> dict[str, bytes] | None:
        result = self.conn.exec_(sql.encode())
        if result.status in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            return None
        if self.conn.status != pq.ConnStatus.OK:
            raise RuntimeError(f"connection lost: {sql}: {self.conn.error_message!r}")
        return {field.name: value for field in FIELDS if (value := result.error_field(field)) is not None}

    def must(self, sql: str) -> None:
        if error := self.run(sql):
            raise RuntimeError(f"{sql}: {error}")

    def close(self) -> None:
        self.conn.finish()


def operations(method: str, name: str) -> list[tuple[str, list[str], str, list[str]]]:
    """What is done: its name, the steps before it, the statement that fails, the steps after it."""
    on, off = "SET test.bad = 'on'", "SET test.bad = 'off'"
    options = " WITH (lists = 1)" if method == "ivfflat" else ""
    expression = f"USING {method} ((f_{name}(e)::vector(3)) vector_l2_ops){options}"
    predicate = f"USING {method} (e vector_l2_ops){options} WHERE p_{name}(e)"
    rows = "INSERT INTO t SELECT ARRAY[i, i % 3, 1]::vector FROM generate_series(1, 20) i"
    bad = "INSERT INTO t VALUES ('[6,6,6]')"
    table, drop = ["CREATE TABLE t (e vector(3))", off], ["DROP TABLE t"]
    full = [*table, rows, bad]
    built = [*full, f"CREATE INDEX i ON t {expression}", on]
    good = [*table, rows, f"CREATE INDEX i ON t {expression}", on]
    partial = [*table, rows, f"CREATE INDEX i ON t {predicate}", on]
    return [
        ("create", [*full, on], f"CREATE INDEX i ON t {expression}", drop),
        ("create partial", [*full, on], f"CREATE INDEX i ON t {predicate}", drop),
        ("create concurrently", [*full, on], f"CREATE INDEX CONCURRENTLY i ON t {expression}", drop),
        ("reindex", built, "REINDEX INDEX i", drop),
        ("reindex concurrently", built, "REINDEX INDEX CONCURRENTLY i", drop),
        ("insert", good, bad, drop),
        ("insert partial", partial, bad, drop),
        ("update", good, "UPDATE t SET e = '[6,6,6]' WHERE e = '[7,1,1]'", drop),
        (
            "insert in a block",
            good,
            "DO $$ BEGIN INSERT INTO t VALUES ('[6,6,6]'); EXCEPTION WHEN assert_failure THEN RAISE; END $$",
            drop,
        ),
        ("analyze", built, "ANALYZE t", drop),
        ("vacuum full", built, "VACUUM FULL t", drop),
        (
            "scan",
            [
                *full,
                "CREATE INDEX i ON t USING " + method + f" (e vector_l2_ops){options}",
                on,
                "SET enable_seqscan = off",
            ],
            f"SELECT e FROM t ORDER BY e <-> (SELECT f_{name}('[6,6,6]')) LIMIT 3",
            [*drop, "RESET enable_seqscan"],
        ),
        (
            "rows of a scan",
            [
                *full,
                "CREATE INDEX i ON t USING " + method + f" (e vector_l2_ops){options}",
                on,
                "SET enable_seqscan = off",
            ],
            f"SELECT f_{name}(e) FROM t ORDER BY e <-> '[5,5,5]' LIMIT 20",
            [*drop, "RESET enable_seqscan"],
        ),
    ]


# Errors that the access method or a type raises, in the same places.
OWN = [
    (
        "insert of other dimensions",
        ["CREATE TABLE t (e vector)", "CREATE INDEX i ON t USING {m} ((e::vector(3)) vector_l2_ops)"],
        "INSERT INTO t VALUES ('[1,2]')",
    ),
    (
        "create with other dimensions",
        ["CREATE TABLE t (e vector)", "INSERT INTO t VALUES ('[1,2,3]'), ('[1,2]')"],
        "CREATE INDEX i ON t USING {m} ((e::vector(3)) vector_l2_ops)",
    ),
    ("create without dimensions", ["CREATE TABLE t (e vector)"], "CREATE INDEX i ON t USING {m} (e vector_l2_ops)"),
    (
        "query of other dimensions",
        [
            "CREATE TABLE t (e vector(3))",
            "INSERT INTO t VALUES ('[1,2,3]'), ('[2,2,3]')",
            "CREATE INDEX i ON t USING {m} (e vector_l2_ops)",
            "SET enable_seqscan = off",
        ],
        "SELECT * FROM t ORDER BY e <-> '[1,2]' LIMIT 1",
    ),
    (
        "query of other dimensions, cosine",
        [
            "CREATE TABLE t (e vector(3))",
            "INSERT INTO t VALUES ('[1,2,3]'), ('[2,2,3]')",
            "CREATE INDEX i ON t USING {m} (e vector_cosine_ops)",
            "SET enable_seqscan = off",
        ],
        "SELECT * FROM t ORDER BY e <=> '[1,2]' LIMIT 1",
    ),
    (
        "halfvec query of other dimensions",
        [
            "CREATE TABLE t (e halfvec(3))",
            "INSERT INTO t VALUES ('[1,2,3]'), ('[2,2,3]')",
            "CREATE INDEX i ON t USING {m} (e halfvec_l2_ops)",
            "SET enable_seqscan = off",
        ],
        "SELECT * FROM t ORDER BY e <-> '[1,2]' LIMIT 1",
    ),
    (
        "bit query of another length",
        [
            "CREATE TABLE t (e bit(3))",
            "INSERT INTO t VALUES ('101'), ('111')",
            "CREATE INDEX i ON t USING {m} (e bit_hamming_ops)",
            "SET enable_seqscan = off",
        ],
        "SELECT * FROM t ORDER BY e <~> '10' LIMIT 1",
    ),
    (
        "query of other dimensions, no rows",
        ["CREATE TABLE t (e vector(3))", "CREATE INDEX i ON t USING {m} (e vector_l2_ops)", "SET enable_seqscan = off"],
        "SELECT * FROM t ORDER BY e <-> '[1,2]' LIMIT 1",
    ),
    (
        "bad option",
        ["CREATE TABLE t (e vector(3))"],
        "CREATE INDEX i ON t USING {m} (e vector_l2_ops) WITH (m = 1000000, lists = 1000000)",
    ),
    ("setting", [], "SET {m}.iterative_scan = 'sideways'"),
]


class Judge:
    def __init__(self, show: int):
        self.show = show
        self.passed = 0
        self.failed = 0
        self.silent: list[str] = []

    def compare(
        self, what: str, theirs: dict[str, bytes] | None, ours: dict[str, bytes] | None, fails: bool = True
    ) -> None:
        if fails and theirs is None:
            self.silent.append(what)
        if theirs and ours and ours.get("SOURCE_FILE") == OURS:
            theirs, ours = ({k: v for k, v in error.items() if k not in PLACE} for error in (theirs, ours))
        if theirs == ours:
            self.passed += 1
            return
        self.failed += 1
        if self.failed <= self.show:
            print(f"# differs: {what}")
            for field in sorted((theirs or {}).keys() | (ours or {}).keys()):
                a, b = (theirs or {}).get(field), (ours or {}).get(field)
                if a != b:
                    print(f"    {field}\n        pgvector: {a!r:.600}\n        ours:     {b!r:.600}")


def prepare(cluster: Cluster) -> None:
    admin = Session(cluster.conninfo())
    admin.must("CREATE DATABASE latin1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    admin.close()
    for database in ("postgres", "latin1"):
        session = Session(cluster.conninfo(database))
        for statement in [*SETUP, *functions()]:
            session.must(statement)
        session.close()


def both(left: Session, right: Session, sql: str) -> tuple[dict[str, bytes] | None, dict[str, bytes] | None]:
    """Runs it on both servers at once."""
    answers: list[dict[str, bytes] | None | Exception] = [None, None]

    def go(at: int, session: Session) -> None:
        try:
            answers[at] = session.run(sql)
        except Exception as problem:  # told by the caller's thread
            answers[at] = problem

    other = threading.Thread(target=go, args=(1, right))
    other.start()
    go(0, left)
    other.join()
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers[0], answers[1]


def run_database(database: str, names: list[str], theirs: Cluster, ours: Cluster, judge: Judge) -> None:
    blockers = [Session(cluster.conninfo(database)) for cluster in (theirs, ours)]
    for blocker in blockers:
        blocker.must("BEGIN")
        blocker.must("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
    left, right = (Session(cluster.conninfo(database)) for cluster in (theirs, ours))

    def must(statement: str) -> None:
        for error in both(left, right, statement):
            if error:
                raise RuntimeError(f"{statement}: {error}")

    must("SET max_parallel_maintenance_workers = 0")
    # a case that waits for good ends
    must("SET statement_timeout = '20s'")
    for method in ("hnsw", "ivfflat"):
        for name in names:
            # a concurrent build would wait for the blockers' transactions
            for what, before, statement, after in operations(method, name):
                if "concurrently" in what and name.startswith("lock_"):
                    continue
                for step in before:
                    must(step)
                judge.compare(f"{database}: {method}: {what}: {name}", *both(left, right, statement))
                must("RESET test.bad")
                for step in after:
                    must(step)
        for what, before, statement in OWN:
            for step in before:
                must(step.format(m=method))
            judge.compare(f"{database}: {method}: {what}", *both(left, right, statement.format(m=method)), fails=False)
            must("DROP TABLE IF EXISTS t")
            must("RESET enable_seqscan")
    for session in (left, right, *blockers):
        session.close()


def compare(prefix_theirs: str, prefix_ours: str, show: int, checks: results.Score) -> None:
    """Both prefixes hold the same server binary; at most `show` differences are printed."""
    started = time.monotonic()
    judge = Judge(show)
    names = [*RAISES, *SQL_FUNCTIONS]
    with Cluster(prefix_theirs, "theirs") as theirs, Cluster(prefix_ours, "ours") as ours:
        prepare(theirs)
        prepare(ours)
        run_database("postgres", names, theirs, ours, judge)
        run_database("latin1", ["all_options", "not_ascii", "syntax_not_ascii", "unique"], theirs, ours, judge)
    count = f"{judge.passed + judge.failed} errors of user code"
    checks.check(
        f"{count} arrive whole", not judge.failed, f"{time.monotonic() - started:.0f} s, {judge.failed} differ"
    )
    checks.check(f"{count}: each is one on pgvector too", not judge.silent, "; ".join(judge.silent))
