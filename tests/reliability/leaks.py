"""A backend that works for long: its memory, threads and files after many rescans, cursors, temporary tables, builds,
errors, plans, inserts and vacuums.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from reliability.faults import WAIT_KEY, available
from vector_testing.data import OPCLASSES, PLAIN, Data, Opclass
from vector_testing.invariants import ALL, by_index, index_problems, run
from vector_testing.process import memory, threads
from vector_testing.results import Score
from vector_testing.server import Server

ROWS = 3000
WIDE = 1536
# What the server's caches and the C library may keep without anything being lost, in bytes.
SLACK, CONTEXT_SLACK, PEAK_SLACK = 3 << 20, 512 << 10, 512 << 10
# Elements that a vacuum removes at once, and less than its list of them takes.
DYING, VACUUM_SLACK = 60_000, 512 << 10
# Ended hnsw scans leave their tables to the next ones, up to this.
SPARE = 4 << 20
# The C library gives back what is freed, as far as it can: what it keeps for later would hide what is lost.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "0"}


@dataclass
class Use:
    """What a backend holds."""

    private: int
    contexts: int
    threads: int
    files: int

    def __sub__(self, other: Use) -> Use:
        return Use(
            self.private - other.private,
            self.contexts - other.contexts,
            self.threads - other.threads,
            self.files - other.files,
        )

    def __str__(self) -> str:
        return f"{self.private / 1024:+.0f} kB private, {self.contexts / 1024:+.0f} kB in contexts, {self.threads:+} threads, {self.files:+} files"


class Gauge:
    """Looks at one backend from outside, and from inside between its statements."""

    def __init__(self, connection: psycopg.Connection):
        self.connection, self.pid = connection, connection.info.backend_pid
        # The view is of PostgreSQL 14 and later.
        self.contexts = connection.execute("SELECT to_regclass('pg_backend_memory_contexts') IS NOT NULL").fetchone()[0]

    def now(self) -> Use:
        total = (
            self.connection.execute("SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts").fetchone()[0]
            if self.contexts
            else 0
        )
        # Files of tables and indexes that exist may stay open; what was dropped or was temporary may not.
        gone = sum("(deleted)" in str(link) or "pgsql_tmp" in str(link) for link in self.links())
        return Use(memory(self.pid), total, threads(self.pid), gone)

    def links(self) -> list[Path]:
        found = []
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found.append(entry.readlink())
            except OSError:
                continue
        return found

    def peak(self, statement: str) -> int:
        """The most private bytes while it runs: what a query holds is gone at its end."""
        most, done = [memory(self.pid)], threading.Event()

        def watch() -> None:
            while not done.wait(0.002):
                most.append(memory(self.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            self.connection.execute(statement)
        finally:
            done.set()
            watcher.join()
        return max(most)

    def grown(self, step: Callable[[], None], warm: int, rounds: int) -> Use:
        for _ in range(warm):
            step()
        before = self.now()
        for _ in range(rounds):
            step()
        return self.now() - before


@contextmanager
def backend(server: Server) -> Iterator[Gauge]:
    """A backend of its own for each group of tests: free memory left by one would hide what another loses."""
    connection = server.connect()
    # Pages of temporary tables are kept up to this for the backend's life.
    run(connection, "SET temp_buffers = '800kB'", "LOAD 'vector'")
    try:
        yield Gauge(connection)
    finally:
        connection.close()


def flat(
    score: Score,
    name: str,
    gauge: Gauge,
    step: Callable[[], None],
    rounds: int,
    warm: int | None = None,
    slack: int = SLACK,
) -> None:
    warm = max(2, rounds // 5) if warm is None else warm
    use = gauge.grown(step, warm, rounds)
    ok = use.private <= slack and use.contexts <= CONTEXT_SLACK and use.threads == 0 and use.files <= 0
    score.check(f"{name}, {rounds} times: nothing is kept", ok, use)


def same_peak(score: Score, name: str, gauge: Gauge, statement: Callable[[int], str], count: int) -> None:
    """A query that does something `count` times needs no more memory than one that does it a tenth as often."""
    gauge.connection.execute(statement(count // 10))
    few = gauge.peak(statement(count // 10))
    many = gauge.peak(statement(count))
    score.check(
        f"{name}, {count} in one query: memory does not grow with their number",
        many - few <= PEAK_SLACK,
        f"{(many - few) / 1024:+.0f} kB",
    )


def failing(connection: psycopg.Connection, statement: str, code: str) -> None:
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        if error.sqlstate != code:
            raise
    else:
        raise AssertionError(f"no error {code} from {statement[:80]}")


def leaks_are_seen(score: Score, gauge: Gauge) -> None:
    """The instruments themselves: kept plans and kept rows must show."""
    connection, number = gauge.connection, iter(range(1_000_000))

    def keep() -> None:
        connection.execute(
            f"PREPARE kept{next(number)} AS SELECT {', '.join(f'{n} + $1::int AS c{n}' for n in range(60))}"
        )

    use = gauge.grown(keep, 5, 100)
    score.check(
        "the gauge sees memory that is kept",
        use.private > SLACK and (use.contexts > CONTEXT_SLACK or not gauge.contexts),
        use,
    )
    connection.execute("DEALLOCATE ALL")
    few, many = (
        gauge.peak(f"SELECT length(string_agg(repeat('x', 100), '')) FROM generate_series(1, {count})")
        for count in (20_000, 200_000)
    )
    score.check("the gauge sees memory that a query piles up", many - few > SLACK, f"{(many - few) / 1024:+.0f} kB")


def rescans(score: Score, gauge: Gauge, opclass: Opclass, count: int) -> None:
    connection, column = gauge.connection, opclass.column
    run(
        connection,
        f"CREATE INDEX i ON t USING {opclass.am} ({column} {opclass.name}){opclass.options}",
        "SET ivfflat.probes = 2",
        "SET hnsw.ef_search = 10",
    )
    run(
        connection,
        "SET enable_seqscan = off",
        "SET enable_indexonlyscan = off",
        "SET enable_material = off",
        "SET enable_memoize = off",
        "SET jit = off",
    )

    def statement(times: int) -> str:
        return f"SELECT count(near.id) FROM (SELECT q.* FROM q CROSS JOIN q other LIMIT {times}) q, LATERAL (SELECT t.id FROM t ORDER BY t.{column} {opclass.operator} q.{column} LIMIT 3) near"

    plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN (COSTS OFF) {statement(10)}"))
    if score.check(
        f"{opclass.am} {opclass.name}: rescans come from a nested loop",
        "Nested Loop" in plan and "Index Scan using i on t" in plan,
        "" if "Index Scan using i on t" in plan else plan,
    ):
        same_peak(score, f"{opclass.am} {opclass.name}: rescans", gauge, statement, count)
    run(connection, "DROP INDEX i", "RESET ALL")


def out_of_line(score: Score, gauge: Gauge, am: str, count: int) -> None:
    """Queries and rows of six kilobytes, which each use fetches anew."""
    connection = gauge.connection
    run(connection, "CREATE TABLE wide (id int, v vector)", f"ALTER TABLE wide ALTER v TYPE vector({WIDE})")
    run(
        connection,
        f"INSERT INTO wide SELECT n, (SELECT array_agg(sin(n * d + {len(am)})) FROM generate_series(1, {WIDE}) d)::vector FROM generate_series(1, 300) n",
    )
    run(
        connection,
        f"CREATE INDEX iw ON wide USING {am} (v vector_cosine_ops){' WITH (lists = 5)' if am == 'ivfflat' else ''}",
        "SET enable_seqscan = off",
        "SET enable_material = off",
        "SET enable_memoize = off",
    )

    def statement(times: int) -> str:
        return f"SELECT count(near.id) FROM (SELECT q.* FROM wide q CROSS JOIN wide other LIMIT {times}) q, LATERAL (SELECT w.id FROM wide w ORDER BY w.v <=> q.v LIMIT 2) near"

    same_peak(score, f"{am}: rescans with queries out of line", gauge, statement, count)
    same_peak(
        score,
        f"{am}: inserts of rows out of line",
        gauge,
        lambda times: (
            f"INSERT INTO wide SELECT 1000 + w.id, w.v + w.v FROM (SELECT w.* FROM wide w CROSS JOIN q LIMIT {times}) w"
        ),
        count // 4,
    )
    run(connection, "DROP TABLE wide", "RESET ALL")


def scans(score: Score, gauge: Gauge, data: Data, am: str, rounds: int) -> None:
    connection, opclass = gauge.connection, PLAIN[am]
    run(connection, f"CREATE INDEX i ON t USING {am} (v {opclass.name}){opclass.options}")
    by_index(connection, [f"SET {am}.iterative_scan = relaxed_order", "SET ivfflat.probes = 2"])
    queries = iter([data.text(row, "v") for row in data.rows(4000)] * 100)

    def question(limit: str = "") -> str:
        return f"SELECT id FROM t ORDER BY v <-> '{next(queries)}' {limit}"

    def held() -> None:
        with connection.transaction():
            run(connection, f"DECLARE held CURSOR WITH HOLD FOR {question('LIMIT 200')}", "FETCH 10 FROM held")
        run(connection, "FETCH 50 FROM held", "CLOSE held")

    def left_open() -> None:
        with connection.transaction():
            for name in ("a", "b", "c"):
                run(connection, f"DECLARE {name} CURSOR FOR {question()}", f"FETCH 20 FROM {name}")

    def aborted() -> None:
        failing(connection, f"SELECT 1 / (near.id * 0) FROM ({question('LIMIT 5')}) near", "22012")
        with connection.transaction():
            for _ in range(3):
                run(connection, "SAVEPOINT s", f"DECLARE c CURSOR FOR {question()}", "FETCH 20 FROM c")
                failing(connection, f"SELECT 1 / (near.id * 0) FROM ({question('LIMIT 5')}) near", "22012")
                run(connection, "ROLLBACK TO s")

    def wrong() -> None:
        failing(connection, "SELECT id FROM t ORDER BY v <-> '[1,2]' LIMIT 1", "22000")
        failing(connection, "INSERT INTO t (id, v) VALUES (0, '[1,2]')", "22000")

    def planned() -> None:
        run(connection, "PREPARE p AS SELECT id FROM t ORDER BY v <-> $1 LIMIT 3")
        for mode in ("force_generic_plan", "force_custom_plan"):
            run(connection, f"SET plan_cache_mode = {mode}", f"EXECUTE p('{next(queries)}')")
        run(connection, "DEALLOCATE p", "SELECT nearest()")

    run(
        connection,
        "CREATE OR REPLACE FUNCTION nearest() RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint := 0; r record; BEGIN FOR r IN SELECT id FROM t ORDER BY v <-> (SELECT v FROM q WHERE id = 3) LIMIT 5 LOOP n := n + r.id; END LOOP; BEGIN PERFORM 1 / (id * 0) FROM t ORDER BY v <-> (SELECT v FROM q WHERE id = 4) LIMIT 1; EXCEPTION WHEN division_by_zero THEN n := n + 1; END; RETURN n; END $$",
    )
    flat(score, f"{am}: cursors held over a commit", gauge, held, 40 * rounds)
    flat(score, f"{am}: cursors that a commit closes", gauge, left_open, 40 * rounds)
    flat(score, f"{am}: scans that errors end", gauge, aborted, 40 * rounds)
    flat(score, f"{am}: wrong dimensions", gauge, wrong, 100 * rounds)
    flat(score, f"{am}: plans made, kept and dropped", gauge, planned, 60 * rounds)
    run(connection, "RESET ALL", "DROP INDEX i", "DROP FUNCTION nearest")


def builds(score: Score, gauge: Gauge, am: str, rounds: int) -> None:
    connection = gauge.connection
    options = PLAIN[am].options
    run(
        connection,
        "CREATE FUNCTION thrown(id int, v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF id > 1500 THEN RAISE 'thrown'; END IF; RETURN v; END $$",
    )

    def temporary() -> None:
        run(
            connection,
            "CREATE TEMP TABLE p AS SELECT id, v FROM t LIMIT 200",
            f"CREATE INDEX ip ON p USING {am} (v vector_cosine_ops){options}",
            "SET enable_seqscan = off",
        )
        run(
            connection,
            "SELECT id FROM p ORDER BY v <=> (SELECT v FROM q WHERE id = 1) LIMIT 5",
            "DELETE FROM p WHERE id % 2 = 0",
            "VACUUM p",
            "INSERT INTO p SELECT id, v FROM t LIMIT 20",
            "DROP TABLE p",
            "RESET enable_seqscan",
        )

    def built() -> None:
        run(connection, f"CREATE INDEX i ON t USING {am} (v vector_l2_ops){options}", "REINDEX INDEX i", "DROP INDEX i")

    def thrown() -> None:
        failing(
            connection, f"CREATE INDEX i ON t USING {am} ((thrown(id, v)::vector(16)) vector_l2_ops){options}", "P0001"
        )

    def spilled() -> None:
        run(
            connection,
            "SET maintenance_work_mem = '1MB'",
            "SET client_min_messages = warning",
            f"CREATE INDEX i ON t USING {am} (s sparsevec_l2_ops)"
            if am == "hnsw"
            else "CREATE INDEX i ON t USING ivfflat (v vector_l2_ops) WITH (lists = 10)",
            "DROP INDEX i",
            "RESET maintenance_work_mem",
        )

    flat(score, f"{am}: temporary tables, indexed and dropped", gauge, temporary, 15 * rounds)
    flat(score, f"{am}: builds", gauge, built, 3 * rounds)
    flat(score, f"{am}: builds that an error ends", gauge, thrown, 6 * rounds)
    flat(score, f"{am}: builds beyond maintenance_work_mem", gauge, spilled, rounds, warm=1)
    run(connection, "DROP FUNCTION thrown")


def writes(score: Score, gauge: Gauge, data: Data, am: str, rounds: int) -> None:
    connection = gauge.connection
    options = PLAIN[am].options
    run(
        connection,
        "CREATE TABLE w (id int, v vector(16))",
        "INSERT INTO w SELECT id, v FROM t LIMIT 1000",
        f"CREATE INDEX iw ON w USING {am} (v vector_cosine_ops){options}",
    )
    same_peak(
        score,
        f"{am}: inserts",
        gauge,
        lambda times: f"INSERT INTO w SELECT t.id, q.v + t.v FROM t CROSS JOIN q LIMIT {times}",
        2000 * rounds,
    )
    rows = [data.text(row, "v") for row in data.rows(500)]
    texts = iter(rows * 1000)
    flat(
        score,
        f"{am}: single inserts",
        gauge,
        lambda: run(connection, f"INSERT INTO w VALUES (0, '{next(texts)}')"),
        400 * rounds,
    )

    def vacuumed() -> None:
        run(connection, "DELETE FROM w WHERE id % 10 = 3", "VACUUM w", "INSERT INTO w SELECT 3, v FROM t LIMIT 200")

    flat(score, f"{am}: vacuums", gauge, vacuumed, 3 * rounds)
    if index_problems(connection, am, "iw") is not None:
        flat(
            score,
            f"{am}: {am}_check",
            gauge,
            lambda: run(connection, f"SELECT * FROM {am}_check('iw', true)"),
            3 * rounds,
        )
    run(connection, "DROP TABLE w")


def given_back(server: Server, score: Score, am: str, rounds: int) -> None:
    """One search over everything, then small ones: what the large one took is not kept for the life of the backend."""
    with server.connect() as connection:
        run(
            connection,
            "CREATE TABLE big (id int, v vector(4))",
            f"INSERT INTO big SELECT n, ARRAY[random(), random(), random(), random()]::vector FROM generate_series(1, {15000 * rounds}) n",
        )
        run(
            connection,
            "SET maintenance_work_mem = '256MB'",
            f"CREATE INDEX ib ON big USING {am} (v vector_l2_ops){' WITH (m = 6, ef_construction = 20)' if am == 'hnsw' else PLAIN[am].options}",
        )
    with backend(server) as gauge:
        connection = gauge.connection

        def small() -> None:
            by_index(connection, [])
            for _ in range(20):
                run(connection, "SELECT id FROM big ORDER BY v <-> '[0.5,0.5,0.5,0.5]' LIMIT 10")
            run(connection, "INSERT INTO big VALUES (0, '[0.5,0.5,0.5,0.5]')", "RESET ALL")

        small()
        small()
        before = gauge.now()
        by_index(connection, [*ALL[am], "SET work_mem = '256MB'"])
        most = gauge.peak("SELECT count(*) FROM (SELECT id FROM big ORDER BY v <-> '[0.1,0.1,0.1,0.1]') everything")
        run(connection, "RESET ALL")
        small()
        use = gauge.now() - before
        score.check(
            f"{am}: a search over everything gives its memory back",
            use.private <= SLACK + SPARE and use.contexts <= CONTEXT_SLACK,
            f"it took {(most - before.private) / 1024:.0f} kB; {use}",
        )
        run(connection, "DROP TABLE big")


def interrupted_vacuums(prefix: str, score: Score) -> None:
    """A vacuum that has listed what is to go, and comes to no end: the list goes with its transaction."""
    with allocating(prefix, "leaks_vacuum") as server, server.connect() as control:
        run(control, "CREATE EXTENSION vector")
        if not available(control):
            score.skip("hnsw: interrupted vacuums", "the extension was built without fault points")
            return
        run(
            control,
            "CREATE TABLE v (id int, v vector(4)) WITH (autovacuum_enabled = off)",
            "SET maintenance_work_mem = '256MB'",
        )
        run(
            control,
            f"INSERT INTO v SELECT n, ARRAY[random(), random(), random(), random()]::vector FROM generate_series(1, {DYING}) n",
        )
        run(
            control,
            "CREATE INDEX iv ON v USING hnsw (v vector_l2_ops) WITH (m = 2, ef_construction = 8)",
            "DELETE FROM v WHERE id > 10",
        )
        vacuum = "VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) v"
        for name, rule, code in (("an error ends", "error", "58000"), ("a cancel ends", "wait", "57014")):
            with backend(server) as gauge:
                connection = gauge.connection
                # what any vacuum makes the server's caches keep
                run(
                    connection,
                    "CREATE TEMP TABLE few AS SELECT * FROM v LIMIT 10",
                    "CREATE INDEX ON few USING hnsw (v vector_l2_ops)",
                    "DELETE FROM few",
                    "VACUUM few",
                )
                before = gauge.now()
                run(control, f"SELECT pg_advisory_lock({WAIT_KEY}, {gauge.pid})")
                run(connection, f"SET vector.fault_point = 'hnsw.vacuum.confirmed:{rule}'")
                seen: list[int] = []
                watching = threading.Thread(target=cancel_when_stopped, args=(control, gauge.pid, seen))
                if rule == "wait":
                    watching.start()
                failing(connection, vacuum, code)
                if rule == "wait":
                    watching.join()
                run(control, "SELECT pg_advisory_unlock_all()")
                use = gauge.now() - before
                ok = use.private <= VACUUM_SLACK and use.contexts <= CONTEXT_SLACK and len(seen) == (rule == "wait")
                score.check(f"hnsw: a vacuum of {DYING} elements that {name}: nothing is kept", ok, use)
        run(control, vacuum)
        left = control.execute("SELECT * FROM hnsw_check('iv', true)").fetchall()
        score.check("hnsw: the next vacuum removes what the interrupted ones left", not left, left[:3])


def cancel_when_stopped(control: psycopg.Connection, pid: int, seen: list[int]) -> None:
    """Cancels a backend once it waits at its fault point."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if control.execute(
            "SELECT 1 FROM pg_locks WHERE pid = %s AND locktype = 'advisory' AND NOT granted", (pid,)
        ).fetchone():
            seen.append(pid)
            control.execute("SELECT pg_cancel_backend(%s)", (pid,))
            return
        time.sleep(0.01)


def sample(score: Score, gauge: Gauge) -> None:
    """A sample goes block by block; where maintenance_work_mem has no room to remember values stored out of line, each
    is fetched at once.
    """
    connection, width, blocks, rows = gauge.connection, 700, 12_000, 10_000
    if not gauge.contexts:
        score.skip("ivfflat: a sample of many blocks", "no pg_backend_memory_contexts")
        return
    run(
        connection,
        f"CREATE TABLE wide (id int, pad text, v vector({width}))",
        "ALTER TABLE wide ALTER v SET STORAGE EXTERNAL",
        "ALTER TABLE wide ALTER pad SET STORAGE PLAIN",
        f"INSERT INTO wide SELECT id, repeat('x', 6000), array_fill(id, ARRAY[{width}])::vector FROM generate_series(1, {blocks}) id",
        """CREATE FUNCTION taken(id int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$
        BEGIN
            IF id % 1000 = 0 THEN
                RAISE NOTICE '%', (SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts);
            END IF;
            RETURN true;
        END $$""",
        "SET max_parallel_maintenance_workers = 0",
    )
    seen: list[int] = []
    connection.add_notice_handler(lambda notice: seen.append(int(notice.message_primary or 0)))
    # What the sample takes, and little more.
    enough = (rows + 1) * (width * 4 + 8) // 1024 + 150
    run(
        connection,
        f"SET maintenance_work_mem = '{enough}kB'",
        "CREATE INDEX ON wide USING ivfflat (v vector_l2_ops) WITH (lists = 1) WHERE taken(id)",
    )
    grown = max(seen) - min(seen) if seen else None
    score.check(
        "ivfflat: a sample of many blocks keeps what it fetched and nothing else",
        grown is not None and grown <= CONTEXT_SLACK,
        f"{grown} bytes in contexts more",
    )
    run(connection, "DROP TABLE wide", "DROP FUNCTION taken")


@contextmanager
def allocating(prefix: str, name: str) -> Iterator[Server]:
    """A server whose backends give free memory back."""
    os.environ.update(ALLOCATOR)
    try:
        server = Server(prefix, name)
        server.start()
    finally:
        for variable in ALLOCATOR:
            del os.environ[variable]
    try:
        yield server
    finally:
        server.remove()


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    with allocating(prefix, "leaks") as server:
        work(server, score, ams, options.rounds, Data(options.seed))
        score.check("leaks: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
    if "hnsw" in ams:
        interrupted_vacuums(options.faults or prefix, score)


def work(server: Server, score: Score, ams: list[str], rounds: int, data: Data) -> None:
    with server.connect() as connection:
        run(
            connection,
            "CREATE EXTENSION vector",
            "CREATE TABLE t (id int, v vector(16), h halfvec(16), s sparsevec(48), b bit(64))",
            "CREATE TABLE q (LIKE t)",
        )
        data.copy(connection, "t", 0, ROWS, "vhsb")
        data.copy(connection, "q", 0, 500, "vhsb")
        run(connection, "ALTER TABLE q ADD PRIMARY KEY (id)", "ANALYZE t", "ANALYZE q")
    with backend(server) as gauge:
        leaks_are_seen(score, gauge)
    for am in ams:
        started = time.monotonic()
        # One of each kind of value, and of those that are normalized first.
        chosen = [
            opclass
            for opclass in OPCLASSES
            if opclass.am == am
            and opclass.name in ("vector_cosine_ops", "halfvec_cosine_ops", "sparsevec_cosine_ops", "bit_hamming_ops")
        ]
        for opclass in [PLAIN[am], *chosen]:
            with backend(server) as gauge:
                rescans(score, gauge, opclass, (4000 if opclass is PLAIN[am] else 1000) * rounds)
        with backend(server) as gauge:
            out_of_line(score, gauge, am, 300 * rounds)
        with backend(server) as gauge:
            scans(score, gauge, data, am, rounds)
        with backend(server) as gauge:
            builds(score, gauge, am, rounds)
        with backend(server) as gauge:
            writes(score, gauge, data, am, rounds)
        given_back(server, score, am, rounds)
        if am == "ivfflat":
            with backend(server) as gauge:
                sample(score, gauge)
        print(f"# {am}: {time.monotonic() - started:.1f} s", flush=True)
