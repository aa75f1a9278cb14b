"""A backend whose memory ends answers an error or goes on with less; it does not take the server down."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import psycopg

from vector_testing.data import DIMS, PLAIN, Data
from vector_testing.invariants import ALL, invariants, run
from vector_testing.results import Score
from vector_testing.server import Server

# Megabytes above what the backend has at that moment, and in the long form those between, too.
SHORT = (3, 6, 12, 25, 70)
LONG = (*range(1, 24), *range(24, 101, 4))
OUT_OF_MEMORY = "53200"
MANY, WIDE, WIDTH = 150_000, 200, 1900
# A literal that is wrong, and longer than any message should be.
LITERAL = 20_000_000


def address_space(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def limit(pid: int, megabytes: int | None) -> None:
    """Bounds the address space of a process to what it has and so much more, or not at all."""
    owner = os.stat(f"/proc/{pid}")
    # Limits of other users' processes are not even root's everywhere: a child becomes the server's user.
    child = os.fork() if os.geteuid() != owner.st_uid else None
    if child:
        if os.waitpid(child, 0)[1]:
            raise PermissionError(f"cannot limit process {pid}")
        return
    try:
        if child == 0:
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)
        hard = resource.prlimit(pid, resource.RLIMIT_AS)[1]
        soft = hard if megabytes is None else address_space(pid) + megabytes * 1_000_000
        resource.prlimit(pid, resource.RLIMIT_AS, (soft, hard))
    except OSError:
        if child == 0:
            os._exit(1)
        raise
    if child == 0:
        os._exit(0)


class Steps:
    """Runs statements under one limit after the other, each time in a new backend."""

    def __init__(self, server: Server, score: Score, steps: tuple[int, ...]):
        self.server, self.score, self.steps = server, score, steps

    def each(self, name: str, act, before: tuple[str, ...] = (), also: tuple[str, ...] = ()) -> None:
        """`act` works on a connection; it may raise that memory is wanting, and `also` what is wrong with its
        statement.
        """
        short = whole = 0
        wrong = []
        for step in self.steps:
            connection = self.server.connect()
            run(connection, "LOAD 'vector'", *before)
            pid = connection.info.backend_pid
            limit(pid, step)
            try:
                act(connection)
                whole += 1
            except psycopg.Error as error:
                code = error.sqlstate or "the connection was lost"
                short += code == OUT_OF_MEMORY
                whole += code in also
                if code != OUT_OF_MEMORY and code not in also:
                    wrong.append(f"{step} MB: {code} {str(error)[:100]}")
            try:
                limit(pid, None)
                if connection.execute("SELECT pg_backend_pid()").fetchone()[0] != pid:
                    wrong.append(f"{step} MB: another backend answers")
            except (psycopg.Error, OSError) as error:
                wrong.append(f"{step} MB: then {type(error).__name__}")
            connection.close()
        self.score.check(
            f"{name}: an error or less memory, and the session lives",
            not wrong,
            "; ".join(wrong[:3]) or f"{short} errors, {whole} went on",
        )

    def query(self, name: str, statement: str, *before: str, also: tuple[str, ...] = ()) -> None:
        self.each(name, lambda connection: connection.execute(statement), before, also)


def tables(server: Server, seed: int) -> None:
    connection = server.connect()
    run(
        connection,
        "CREATE EXTENSION vector",
        "CREATE TABLE many (id int, v vector(3))",
        f"INSERT INTO many SELECT i, ARRAY[i % 1000, i / 1000, i % 7]::vector FROM generate_series(1, {MANY}) i",
        f"CREATE TABLE wide (id int, v vector({WIDTH}), h halfvec({WIDTH}))",
        "ALTER TABLE wide ALTER v SET STORAGE EXTERNAL, ALTER h SET STORAGE EXTERNAL",
        f"INSERT INTO wide SELECT i, a, a FROM (SELECT i, (SELECT array_agg((random() * i + j)::int % 9)::vector FROM generate_series(1, {WIDTH}) j) a FROM generate_series(1, {WIDE}) i) made",
    )
    for am in PLAIN:
        run(connection, f"CREATE TABLE {am} (id int, v vector({DIMS}))")
        Data(seed).copy(connection, am, 1, 4000, "v")
    run(connection, "ANALYZE")
    connection.close()


def values(steps: Steps) -> None:
    """Input, output, casts, aggregates, exact distances."""
    numbers = "(SELECT array_agg(i % 97 + 0.5) FROM generate_series(1, 16000) i)"
    for kind in ("vector", "halfvec", "sparsevec"):
        steps.query(f"{kind}: a long literal that is wrong", f"SELECT repeat('x', {LITERAL})::{kind}", also=("22P02",))
        steps.query(
            f"{kind}: a long number",
            f"SELECT ('{'{1:' if kind == 'sparsevec' else '['}' || repeat('9', {LITERAL}))::{kind}",
            also=("22P02", "22003"),
        )
        for element in ("int4", "float4", "float8", "numeric"):
            steps.query(f"{element}[] to {kind}", f"SELECT {numbers}::{element}[]::{kind}::text::{kind}")
    steps.query("a long array to sparsevec", "SELECT array_fill(0::int4, ARRAY[5000000])::sparsevec")
    steps.query(
        "a long array with too many elements",
        "SELECT array_fill(1::float8, ARRAY[5000000])::sparsevec",
        also=("54000",),
    )
    steps.query(
        "casts and functions",
        "SELECT sum(vector_norm(l2_normalize(v::halfvec::sparsevec::vector))), sum((v::real[])[1]), sum(l2_norm(l2_normalize(h::sparsevec))) FROM wide",
    )
    steps.query("aggregates", "SELECT avg(v), sum(v), avg(h), sum(h), avg(v + v), avg(v || v) FROM wide")
    steps.query(
        "exact distances",
        "SELECT id FROM wide ORDER BY v <-> (SELECT v FROM wide LIMIT 1), h <=> (SELECT h FROM wide LIMIT 1)",
    )
    connection = steps.server.connect()
    with connection.cursor().copy("COPY wide TO STDOUT (FORMAT binary)") as copy:
        rows = b"".join(bytes(block) for block in copy)
    run(connection, "CREATE TABLE received (LIKE wide)")
    connection.close()

    def receive(connection: psycopg.Connection) -> None:
        with connection.cursor().copy("COPY received FROM STDIN (FORMAT binary)") as copy:
            copy.write(rows)

    steps.each("binary input", receive)
    steps.query("binary output", "COPY wide TO '/dev/null' (FORMAT binary)")


def indexes(server: Server, steps: Steps, am: str, seed: int) -> None:
    opclass, data = PLAIN[am], Data(seed)
    connection = server.connect()
    lists = {"hnsw": " WITH (m = 4, ef_construction = 8)", "ivfflat": " WITH (lists = 30)"}[am]
    small = {"hnsw": "many WHERE id <= 4000", "ivfflat": "many"}[am]
    run(
        connection,
        "SET maintenance_work_mem = '1GB'",
        f"CREATE TABLE scanned AS SELECT * FROM {small}",
        f"CREATE INDEX scanned_v ON scanned USING {am} (v vector_l2_ops){lists}",
    )
    run(
        connection,
        f"CREATE INDEX {am}_v ON {am} USING {am} (v {opclass.name}){opclass.options}",
        f"CREATE TABLE built (LIKE {am})",
        f"INSERT INTO built SELECT * FROM {am}",
    )
    settings = (
        "SET work_mem = '1GB'",
        "SET maintenance_work_mem = '1GB'",
        "SET enable_seqscan = off",
        "SET enable_sort = off",
        *ALL[am],
    )

    steps.query(
        f"{am}: a scan of everything",
        "SELECT count(*) FROM (SELECT id FROM scanned ORDER BY v <-> '[1,2,3]') found",
        *settings,
    )
    # The second one has the centres in memory.
    query = data.text(data.rows(1)[0], "v")
    steps.query(
        f"{am}: scans",
        f"SELECT count((SELECT id FROM {am} ORDER BY v <-> a.v LIMIT 1)) FROM {am} a WHERE id <= 200",
        *settings,
        f"SELECT id FROM {am} ORDER BY v <-> '{query}' LIMIT 1",
    )
    for workers in (2,) if steps.steps is SHORT else (0, 2):
        before = (*settings, f"SET max_parallel_maintenance_workers = {workers}")
        steps.query(
            f"{am}: a build with {workers} workers",
            f"CREATE INDEX ON built USING {am} (v {opclass.name}){opclass.options}",
            *before,
        )
        run(connection, "DROP TABLE built", f"CREATE TABLE built (LIKE {am})", f"INSERT INTO built SELECT * FROM {am}")
        steps.query(f"{am}: a build of many rows with {workers} workers", "REINDEX INDEX scanned_v", *before)
        for column, kind in (("v", "vector"), ("h", "halfvec")):
            steps.query(
                f"{am}: a build of long {kind}s with {workers} workers",
                f"CREATE INDEX ON wide USING {am} ({column} {kind}_l2_ops)",
                *before,
            )
            run(connection, f"DROP INDEX IF EXISTS wide_{column}_idx")
    steps.query(
        f"{am}: inserts",
        f"INSERT INTO {am} SELECT id + last, v FROM {am}, (SELECT max(id) last FROM {am}) l WHERE id < 10000 AND id % 16 = 3",
        *settings,
    )
    # to the other side of the origin and back: doubled at each of many steps, they would be alone far outside
    steps.query(f"{am}: updates", f"UPDATE {am} SET v = v - (v + v) WHERE id % 29 = 4", *settings)
    run(connection, f"ALTER TABLE {am} SET (autovacuum_enabled = off)")

    def vacuum(connection: psycopg.Connection) -> None:
        connection.execute(f"VACUUM (INDEX_CLEANUP on) {am}")

    deletes = (
        *settings,
        f"DELETE FROM {am} WHERE id < 10000 AND id % 40 = (SELECT count(*) FROM vacuumed) % 40",
        "INSERT INTO vacuumed VALUES (1)",
    )
    run(connection, "CREATE TABLE IF NOT EXISTS vacuumed (n int)")
    steps.each(f"{am}: vacuums", vacuum, deletes)
    steps.query(f"{am}: checks", f"SELECT * FROM {am}_check('scanned_v', true)", *settings)
    run(connection, "RESET ALL", f"VACUUM {am}")
    invariants(steps.score, f"{am}: after all that", connection, data, opclass, am, f"{am}_v")
    run(connection, "DROP TABLE scanned, built")
    connection.close()


def sample(server: Server, score: Score) -> None:
    """What clustering needs is asked for beside the sample, which is there already: with memory for the sample once,
    not twice, it is built.
    """
    rows, width = 10_000, 1000
    connection = server.connect()
    run(
        connection,
        f"CREATE TABLE sampled (v vector({width}))",
        f"INSERT INTO sampled SELECT array_fill(i % 100, ARRAY[{width}])::vector FROM generate_series(1, {rows}) i",
        "SET maintenance_work_mem = '1GB'",
        "SET max_parallel_maintenance_workers = 0",
    )
    # Its codes take a quarter of it, and the rest is left to small allocations.
    limit(connection.info.backend_pid, rows * width * 4 * 3 // 2_000_000 + 25)
    code = "built"
    try:
        connection.execute("CREATE INDEX ON sampled USING ivfflat (v vector_l2_ops) WITH (lists = 10)")
    except psycopg.Error as error:
        code = error.sqlstate or "the connection was lost"
    score.check("ivfflat: a build with memory for its sample once", code == "built", code)
    connection.close()


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    if not hasattr(resource, "prlimit"):
        score.skip("memory", "limits of another process cannot be set here")
        return
    settings = {"shared_buffers": "64MB", "max_parallel_workers_per_gather": "0", "jit": "off", "max_wal_size": "4GB"}
    steps = LONG if options.rounds > 3 else SHORT
    with Server(prefix, "memory", settings) as server:
        tables(server, options.seed)
        values(Steps(server, score, steps))
        for am in ams:
            indexes(server, Steps(server, score, steps), am, options.seed)
        if "ivfflat" in ams:
            sample(server, score)
        log = server.log()
        score.check(
            "memory: no process was ended",
            "was terminated by signal" not in log and "all server processes terminated" not in log,
            [line for line in log.splitlines() if "terminated by" in line][:3],
        )
        score.check("memory: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
