"""Builds, vacuums and scans that are cancelled or terminated leave no threads, no memory, no files, and a backend that
works.
"""

from __future__ import annotations

import contextlib
import random
import re
import signal
import threading
import time
from pathlib import Path

import psycopg

from vector_testing.data import PLAIN, Data
from vector_testing.invariants import ALL, by_index, invariants, run
from vector_testing.process import cpu, memory, threads
from vector_testing.results import Score
from vector_testing.server import Server

ROWS, WIDTH = 15000, 128
OPTIONS = {"hnsw": " WITH (ef_construction = 300)", "ivfflat": " WITH (lists = 800)"}


def listeners(pid: int) -> tuple[int, int]:
    """The threads beside the backend's own, and those of them that would take a signal meant for it."""
    meant = sum(
        1 << number - 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM, signal.SIGQUIT)
    )
    seen, open_ = 0, 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            status = (task / "status").read_text()
        except OSError:
            continue
        # Of a thread that has just ended the kernel shows every mask as empty, also that of the handlers all threads
        # share.
        if re.search(r"^SigCgt:\s+0+$", status, re.M):
            continue
        found = re.search(r"^SigBlk:\s+(\w+)", status, re.M)
        if found and task.name != str(pid):
            seen += 1
            open_ += int(found[1], 16) & meant != meant
    return seen, open_


def files(server: Server) -> set[str]:
    """Every file of relations and every temporary one. What was dropped goes at the next checkpoint."""
    data = server.base / "data"
    kept = re.compile(r"^(t?\d+_)?\d+(_(fsm|vm|init))?(\.\d+)?$")
    return {
        str(path.relative_to(data))
        for path in (data / "base").rglob("*")
        if path.is_file() and (kept.match(path.name) or "pgsql_tmp" in str(path))
    }


def shared_memory(server: Server) -> set[str]:
    """Segments of dynamic shared memory; the server keeps them as files of its own for this test."""
    return {path.name for path in (server.base / "data" / "pg_dynshmem").iterdir()}


def interrupted(
    server: Server, connection: psycopg.Connection, statement: str, how: str, after: float
) -> tuple[str, float]:
    """Runs the statement, ends it after that many seconds; the SQLSTATE, and how long it still worked after a request
    to end.
    """
    pid = connection.info.backend_pid
    helper = None
    sent: list[float] = []
    if how == "statement_timeout":
        run(connection, f"SET statement_timeout = {int(after * 1000)}")
    else:
        other = server.connect()

        def send() -> None:
            time.sleep(after)
            sent.append(cpu(pid))
            other.execute(f"SELECT {how}({pid})")
            other.close()

        helper = threading.Thread(target=send)
        helper.start()
    code = "none"
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        code = error.sqlstate or "lost"
    ended = cpu(pid)
    if helper is not None:
        helper.join()
    took = max(0.0, ended - sent[0]) if sent else 0.0
    if not connection.closed and how == "statement_timeout":
        restored = False
        while not restored:
            # of a millisecond, this statement may take more itself
            with contextlib.suppress(psycopg.errors.QueryCanceled):
                run(connection, "SET statement_timeout = 0")
                restored = True
    return code, took


def builds(server: Server, score: Score, am: str, random_: random.Random) -> None:
    connection = server.connect()
    create = f"CREATE INDEX i ON t USING {am} (v {PLAIN[am].name}){OPTIONS[am]}"
    run(connection, "SET maintenance_work_mem = '512MB'", "CHECKPOINT")
    # The first ones, so that what a backend keeps for good is there already.
    for after in (0.1, 0.3, 0.5):
        interrupted(server, connection, create, "statement_timeout", after)
        run(connection, "DROP INDEX IF EXISTS i", "CHECKPOINT")
    pid = connection.info.backend_pid
    building = threading.Thread(target=connection.execute, args=(create,))
    building.start()
    helpers, listening = 0, 0
    while building.is_alive():
        seen, open_ = listeners(pid)
        helpers, listening = max(helpers, seen), max(listening, open_)
        time.sleep(0.002)
    score.check(
        f"{am}: threads of a build take no signals", helpers > 0 and listening == 0, f"{listening} of {helpers} do"
    )
    run(connection, "DROP INDEX i", "CHECKPOINT")
    before, memory_before, threads_before, shared_before = (
        files(server),
        memory(pid),
        threads(pid),
        shared_memory(server),
    )
    hits, late, slowest, pace = 0, 0, 0.0, 0.8
    for attempt in range(12):
        how = ("statement_timeout", "pg_cancel_backend")[attempt % 2]
        code, took = interrupted(server, connection, create, how, 0.01 + random_.random() ** 2 * pace)
        if code == "none":
            late += 1
            pace *= 0.6
            run(connection, "DROP INDEX i")
            continue
        hits += 1
        slowest = max(slowest, took)
        if code != "57014":
            score.check(f"{am}: a cancelled build says so", False, f"{how}: {code}")
    score.check(f"{am}: builds were cancelled in the middle", hits >= 3, f"{hits} cancelled, {late} finished first")
    score.check(
        f"{am}: a cancel ends a build within a second of work", slowest < 1, f"the slowest worked {slowest:.2f} s"
    )
    run(connection, "CHECKPOINT")
    score.check(
        f"{am}: cancelled builds leave no threads",
        threads(pid) == threads_before,
        f"{threads(pid)}, before {threads_before}",
    )
    grown = (memory(pid) - memory_before) / 1e6
    score.check(f"{am}: cancelled builds leave no memory", grown < 40, f"{grown:.1f} MB more")
    score.check(
        f"{am}: cancelled builds leave no files", not files(server) - before, sorted(files(server) - before)[:5]
    )
    score.check(
        f"{am}: cancelled builds leave no shared memory",
        not shared_memory(server) - shared_before,
        shared_memory(server) - shared_before,
    )
    for _ in range(3):
        code, took = interrupted(server, connection, create, "pg_terminate_backend", 0.05 + random_.random() * 0.3)
        if code == "none":
            # the build was faster than the request, which ends the idle backend then
            connection.close()
            connection = server.connect()
            run(connection, "SET maintenance_work_mem = '512MB'", "DROP INDEX i")
            pid = connection.info.backend_pid
            continue
        gone = time.monotonic() + 5
        while Path(f"/proc/{pid}").exists() and time.monotonic() < gone:
            time.sleep(0.01)
        score.check(
            f"{am}: a terminated build ends its backend",
            code == "57P01" and not Path(f"/proc/{pid}").exists(),
            f"{code}, {took:.2f} s",
        )
        connection.close()
        connection = server.connect()
        run(connection, "SET maintenance_work_mem = '512MB'")
        pid = connection.info.backend_pid
    run(connection, "CHECKPOINT")
    score.check(
        f"{am}: terminated builds leave no files", not files(server) - before, sorted(files(server) - before)[:5]
    )

    # CREATE INDEX CONCURRENTLY leaves an invalid index, as for every access method; it can be rebuilt or dropped.
    code, _ = interrupted(server, connection, create.replace("INDEX", "INDEX CONCURRENTLY"), "statement_timeout", 0.2)
    if code == "57014":
        run(connection, "INSERT INTO t SELECT 1000000 + id, v FROM t LIMIT 10", "REINDEX INDEX CONCURRENTLY i")
        valid = connection.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass").fetchone()[0]
        score.check(f"{am}: an invalid index is repaired by REINDEX", valid)
    run(connection, "DROP INDEX IF EXISTS i")
    connection.close()


def work(server: Server, score: Score, am: str, random_: random.Random, seed: int) -> None:
    """Vacuum, insert and scan, cancelled in the middle, on an index that must stay whole."""
    connection = server.connect()
    data = Data(seed)
    opclass = PLAIN[am]
    run(connection, "CREATE TABLE w (id int, v vector(16))")
    data.copy(connection, "w", 1, 6000, "v")
    run(
        connection,
        f"CREATE INDEX iw ON w USING {am} (v {opclass.name}){opclass.options}",
        "DELETE FROM w WHERE id % 3 = 0",
    )
    counts = {"VACUUM": 0, "INSERT": 0, "SELECT": 0}
    # How long each may take before it is ended: shorter when it was too late, longer when it was not.
    pace = dict.fromkeys(counts, 0.2)

    def attempt(what: str, statement: str, how: str) -> bool:
        code, _ = interrupted(server, connection, statement, how, max(0.001, pace[what] * random_.random()))
        pace[what] *= 1.2 if code == "57014" else 0.6
        counts[what] += code == "57014"
        return code == "57014"

    first = 10000
    for _ in range(12):
        attempt("VACUUM", "VACUUM w", "statement_timeout")
        if not attempt("INSERT", f"INSERT INTO w SELECT {first} + id, v FROM w WHERE id < 6000", "statement_timeout"):
            run(connection, f"DELETE FROM w WHERE id >= {first}")
        first += 10000
        by_index(connection, ALL[am])
        attempt("SELECT", "SELECT count((SELECT id FROM w ORDER BY v <-> a.v LIMIT 1)) FROM w a", "pg_cancel_backend")
        run(connection, "RESET ALL")
    score.check(
        f"{am}: work was cancelled in the middle",
        sum(counts.values()) >= 8 and counts["INSERT"] and counts["SELECT"],
        counts,
    )
    invariants(score, f"{am}: after cancelled work", connection, data, opclass, "w", "iw")
    run(connection, "VACUUM w")
    invariants(score, f"{am}: after cancelled work and a whole vacuum", connection, data, opclass, "w", "iw")
    run(connection, "DROP TABLE w")
    connection.close()


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    with Server(
        prefix, "cancel", {"max_parallel_maintenance_workers": "2", "dynamic_shared_memory_type": "mmap"}
    ) as server:
        connection = server.connect()
        run(
            connection,
            "CREATE EXTENSION vector",
            f"CREATE TABLE t (id int, v vector({WIDTH})) WITH (parallel_workers = 2)",
        )
        Data(options.seed, WIDTH).copy(connection, "t", 1, ROWS, "v")
        run(connection, "ANALYZE t")
        connection.close()
        random_ = random.Random(options.seed)
        for am in ams:
            builds(server, score, am, random_)
            work(server, score, am, random_, options.seed)
        score.check("cancel: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
