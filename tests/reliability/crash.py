"""kill -9 of a backend, or of the whole server, in the middle of builds (concurrent ones too), of inserts and of
vacuums; then recovery.
"""

from __future__ import annotations

import random
import threading
import time

import psycopg

from vector_testing.data import PLAIN, Data, Opclass
from vector_testing.invariants import exact, invariants, run
from vector_testing.results import Score
from vector_testing.server import Server, filters, include

ROWS = 6000


def strike(server: Server, pid: int, whole: bool) -> None:
    if whole:
        server.kill_all()
        server.start()
    else:
        server.kill_backend(pid)


def in_build(server: Server, score: Score, opclass: Opclass, data: Data, whole: bool, random_: random.Random) -> None:
    name = f"{opclass.am}: killed in a build ({'the server' if whole else 'a backend'})"
    for delay in (0.5, 0.2, 0.08, 0.03, 0.01):
        connection = server.connect()
        lost = threading.Event()

        def build() -> None:
            try:
                run(
                    connection,
                    "SET maintenance_work_mem = '256MB'",
                    f"CREATE INDEX big_i ON big USING {opclass.am} (v {opclass.name}{filters()}){include()}{' WITH (lists = 500)' if opclass.am == 'ivfflat' else ''}",
                )
            except psycopg.OperationalError:
                lost.set()

        worker = threading.Thread(target=build)
        worker.start()
        time.sleep(delay * (0.5 + random_.random()))
        strike(server, connection.info.backend_pid, whole)
        worker.join()
        connection.close()
        connection = server.connect()
        if lost.is_set():
            break
        run(connection, "DROP INDEX IF EXISTS big_i")
        connection.close()
    if not score.check(f"{name}: it was in the middle", lost.is_set()):
        return
    there = connection.execute("SELECT count(*) FROM pg_class WHERE relname = 'big_i'").fetchone()[0]
    rows = connection.execute("SELECT count(*) FROM big").fetchone()[0]
    score.check(f"{name}: no index, every row", (there, rows) == (0, 2 * ROWS), (there, rows))
    connection.close()


def in_inserts(
    server: Server, score: Score, opclass: Opclass, data: Data, whole: bool, random_: random.Random, first: int
) -> int:
    name = f"{opclass.am}: killed in inserts ({'the server' if whole else 'a backend'})"
    committed: list[int] = []
    pids: list[int] = []
    ready = threading.Barrier(5)

    def insert(start: int, rows: list[str]) -> None:
        with server.connect() as connection:
            pids.append(connection.info.backend_pid)
            ready.wait()
            try:
                for number, text in enumerate(rows):
                    connection.execute(f"INSERT INTO t (id, v) VALUES ({start + number}, '{text}')")
                    committed.append(start + number)
            except psycopg.OperationalError:
                return

    writers = [
        threading.Thread(target=insert, args=(first + 10000 * n, [data.text(row, "v") for row in data.rows(3000)]))
        for n in range(4)
    ]
    for writer in writers:
        writer.start()
    ready.wait()
    time.sleep(0.1 + random_.random() * 0.5)
    strike(server, random_.choice(pids), whole)
    for writer in writers:
        writer.join()
    connection = server.connect()
    there = {row[0] for row in connection.execute("SELECT id FROM t")}
    score.check(
        f"{name}: every commit is there",
        set(committed) <= there,
        f"{len(committed)} commits, {len(set(committed) - there)} lost",
    )
    invariants(score, name, connection, data, opclass)
    connection.close()
    return first + 40000


def in_vacuum(
    server: Server, score: Score, opclass: Opclass, data: Data, whole: bool, random_: random.Random, part: int
) -> None:
    name = f"{opclass.am}: killed in a vacuum ({'the server' if whole else 'a backend'})"
    connection = server.connect()
    run(connection, f"DELETE FROM t WHERE id % 5 = {part % 5}")
    lost = threading.Event()

    def vacuum() -> None:
        try:
            # It pauses often enough to be met in the middle.
            run(connection, "SET vacuum_cost_delay = '2ms'", "SET vacuum_cost_limit = 20", "VACUUM t")
        except psycopg.OperationalError:
            lost.set()

    worker = threading.Thread(target=vacuum)
    worker.start()
    time.sleep(random_.random() * 0.4)
    strike(server, connection.info.backend_pid, whole)
    worker.join()
    connection.close()
    connection = server.connect()
    invariants(score, f"{name}, {'in the middle' if lost.is_set() else 'after its end'}", connection, data, opclass)
    data.copy(connection, "t", 100_000_000 + 1000 * part, 300, "v")
    run(connection, "VACUUM t")
    invariants(score, f"{name}, inserted and vacuumed again", connection, data, opclass)
    connection.close()


def in_concurrent_build(
    server: Server,
    score: Score,
    opclass: Opclass,
    data: Data,
    whole: bool,
    random_: random.Random,
    statement: str,
    first: int,
    pace: list[float],
) -> None:
    """REINDEX or CREATE INDEX CONCURRENTLY while rows come: what was valid stays so, what is not can be rebuilt or
    dropped.
    """
    name = f"{opclass.am}: killed in {' '.join(statement.split()[:3])} ({'the server' if whole else 'a backend'})"
    connection, writer = server.connect(), server.connect()
    lost, done = threading.Event(), threading.Event()

    def build() -> None:
        try:
            run(connection, "SET maintenance_work_mem = '256MB'", statement)
        except psycopg.OperationalError:
            lost.set()
        done.set()

    def write() -> None:
        try:
            for number, row in enumerate(data.rows(400)):
                if done.is_set():
                    return
                writer.execute(f"INSERT INTO t (id, v) VALUES ({first + number}, '{data.text(row, 'v')}')")
                time.sleep(0.002)
        except psycopg.OperationalError:
            return

    threads = [threading.Thread(target=work) for work in (build, write)]
    for thread in threads:
        thread.start()
    done.wait(random_.random() * pace[0])
    strike(server, connection.info.backend_pid, whole)
    for thread in threads:
        thread.join()
    connection.close()
    writer.close()
    connection = server.connect()
    name += "" if lost.is_set() else ", after its end"
    wanted = {row[0] for row in connection.execute("SELECT id FROM t")}
    exact(score, name, connection, opclass, wanted)
    broken = [
        row[0]
        for row in connection.execute(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 't'::regclass AND NOT indisvalid"
        )
    ]
    if "i2" in broken:
        run(connection, "REINDEX INDEX CONCURRENTLY i2")
        exact(score, f"{name}, the invalid index rebuilt", connection, opclass, wanted, index="i2")
        broken.remove("i2")
    run(connection, *(f"DROP INDEX {index}" for index in broken), "DROP INDEX IF EXISTS i2")
    started = time.monotonic()
    run(connection, "REINDEX INDEX CONCURRENTLY i")
    # how long the next one will take, about
    pace[0] = time.monotonic() - started
    exact(score, f"{name}, built again", connection, opclass, wanted)
    connection.close()


def unlogged(server: Server, score: Score, opclass: Opclass, data: Data) -> None:
    name = f"{opclass.am}: an unlogged table after a crash"
    connection = server.connect()
    run(connection, "CREATE UNLOGGED TABLE u (id int, v vector(16))")
    data.copy(connection, "u", 1, 500, "v")
    run(
        connection,
        f"CREATE INDEX iu ON u USING {opclass.am} (v {opclass.name}{filters()}){include()} {opclass.options}",
        "CHECKPOINT",
    )
    connection.close()
    server.kill_all()
    server.start()
    connection = server.connect()
    invariants(score, f"{name}, empty", connection, data, opclass, "u", "iu")
    data.copy(connection, "u", 1, 500, "v")
    # The centres of an index that was made empty are chance.
    invariants(
        score, f"{name}, filled again", connection, data, opclass, "u", "iu", 0.5 if opclass.am == "ivfflat" else None
    )
    run(connection, "DROP TABLE u")
    connection.close()


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    for am in ams:
        random_ = random.Random(options.seed)
        opclass, data = PLAIN[am], Data(options.seed)
        options_ = opclass.options
        # replay compares each page with what the server had when it wrote the record
        with Server(prefix, "crash", {"max_wal_size": "256MB", "wal_consistency_checking": "all"}) as server:
            if server.connect().execute("SHOW data_checksums").fetchone()[0] == "off":
                server.stop()
                server.checksums("--enable", "-N")
                server.start()
            connection = server.connect()
            run(
                connection,
                "CREATE EXTENSION vector",
                "CREATE TABLE t (id int, v vector(16))",
                "CREATE TABLE big (id int, v vector(64))",
            )
            Data(options.seed, 64).copy(connection, "big", 1, 2 * ROWS, "v")
            data.copy(connection, "t", 1, ROWS, "v")
            run(connection, f"CREATE INDEX i ON t USING {am} (v {opclass.name}{filters()}){include()}{options_}")
            connection.close()
            first, pace = 100000, [0.3]
            for whole in (False, True):
                in_build(server, score, opclass, data, whole, random_)
            for number in range(options.rounds):
                first = in_inserts(server, score, opclass, data, number % 2 == 0, random_, first)
                in_vacuum(server, score, opclass, data, number % 2 == 1, random_, number)
                statement = (
                    "REINDEX INDEX CONCURRENTLY i",
                    f"CREATE INDEX CONCURRENTLY i2 ON t USING {am} (v {opclass.name}{filters()}){include()}{options_}",
                )[number % 2]
                in_concurrent_build(server, score, opclass, data, number % 4 > 1, random_, statement, first, pace)
                first += 10000
            unlogged(server, score, opclass, data)
            print(f"# {am}: {3 + 3 * options.rounds} servers and backends killed", flush=True)
            score.check(f"{am}: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
            server.stop()
            done = server.checksums("--check")
            score.check(
                f"{am}: every page has its checksum", done.returncode == 0, done.stdout if done.returncode else ""
            )
