"""Values stored out of line while their table changes: a build beside a vacuum of the toast table alone, and chunks
that an aborted transaction or a deletion left.
"""

from __future__ import annotations

import re
import threading
import time

import psycopg

from vector_testing.invariants import run
from vector_testing.results import Score
from vector_testing.server import Server

ROWS, WIDTH = 60, 1900
OPTIONS = {"hnsw": "", "ivfflat": " WITH (lists = 3)"}
# Stops a build at one row for as long as somebody holds the lock.
GATE = """
CREATE FUNCTION gate(id int, at int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    IF id = at THEN
        PERFORM pg_advisory_xact_lock_shared(1);
    END IF;
    RETURN true;
END $$
"""


def toast_table(connection: psycopg.Connection, table: str) -> str:
    return connection.execute(
        "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = %s::regclass", [table]
    ).fetchone()[0]


def fill(connection: psycopg.Connection, table: str, compressed: bool) -> None:
    storage = "EXTENDED" if compressed else "EXTERNAL"
    number = "(random() * 40 + id + j)::int % 40" if compressed else "random() + id + j * 0"
    run(
        connection,
        f"CREATE TABLE {table} (id int, v vector({WIDTH})) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off)",
        f"ALTER TABLE {table} ALTER v SET STORAGE {storage}",
        f"INSERT INTO {table} SELECT id, (SELECT array_agg({number}) FROM generate_series(1, {WIDTH}) j)::vector FROM generate_series(1, {ROWS}) id",
    )


def build_beside_vacuum(server: Server, score: Score, am: str, at: int, compressed: bool) -> None:
    """Rows die that an old snapshot may see; a build begins; the snapshot ends, and the toast table is vacuumed."""
    name = f"{am}: a build that stood at row {at}, {'compressed' if compressed else 'plain'} values, beside a vacuum of the toast table"
    connection, old, builder = server.connect(), server.connect(), server.connect()
    fill(connection, "t", compressed)
    toast = toast_table(connection, "t")
    run(old, "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT FROM t LIMIT 1")
    run(connection, "DELETE FROM t WHERE id % 3 = 0", "SELECT pg_advisory_lock(1)")
    ended: list[str] = []

    def build() -> None:
        try:
            builder.execute(f"CREATE INDEX i ON t USING {am} (v vector_l2_ops){OPTIONS[am]} WHERE gate(id, {at})")
            ended.append("built")
        except psycopg.Error as error:
            ended.append(f"{error.sqlstate} {error}")

    thread = threading.Thread(target=build)
    thread.start()
    waiting = f"SELECT 1 FROM pg_locks WHERE pid = {builder.info.backend_pid} AND locktype = 'advisory' AND NOT granted"
    deadline = time.monotonic() + 20
    while (
        not (stood := connection.execute(waiting).fetchone() is not None)
        and thread.is_alive()
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    run(old, "COMMIT")
    said: list[str] = []
    connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
    run(connection, f"VACUUM (VERBOSE) {toast}")
    removed = [int(a or b) for a, b in re.findall(r"tuples: (\d+) removed|found (\d+) removable", " ".join(said))]
    run(connection, "SELECT pg_advisory_unlock(1)")
    thread.join()
    score.check(
        f"{name}: it stood there, and values went", stood and sum(removed) >= ROWS // 3, f"chunks removed: {removed}"
    )
    score.check(f"{name}: is built", ended == ["built"], ended)
    if ended == ["built"]:
        run(
            connection,
            "SET enable_seqscan = off",
            "SET ivfflat.probes = 3",
            "SET hnsw.ef_search = 200",
            "SET enable_sort = off",
        )
        found = connection.execute(
            f"SELECT id FROM t WHERE gate(id, {at}) ORDER BY v <-> (SELECT v FROM t LIMIT 1)"
        ).fetchall()
        wanted = [number for number in range(1, ROWS + 1) if number % 3]
        score.check(
            f"{name}: every living row is found",
            sorted(row[0] for row in found) == wanted,
            f"{len(found)} of {len(wanted)}",
        )
    run(connection, "DROP TABLE t")
    for each in (connection, old, builder):
        each.close()


def damaged(server: Server, score: Score, am: str) -> None:
    """What is missing of a living row is no row that died."""
    connection = server.connect()
    try:
        run(connection, "CREATE EXTENSION IF NOT EXISTS pg_surgery")
    except psycopg.Error as error:
        score.skip(f"{am}: a living row without its value", f"no pg_surgery: {error.sqlstate}")
        connection.close()
        return
    fill(connection, "t", False)
    toast = toast_table(connection, "t")
    place = connection.execute(f"SELECT ctid::text FROM {toast} ORDER BY chunk_id DESC LIMIT 1").fetchone()[0]
    run(connection, f"SELECT heap_force_kill('{toast}'::regclass, ARRAY['{place}']::tid[])")
    code = "built"
    try:
        connection.execute(f"CREATE INDEX i ON t USING {am} (v vector_l2_ops){OPTIONS[am]}")
    except psycopg.Error as error:
        code = error.sqlstate or "lost"
    score.check(f"{am}: a living row without its value is told of", code == "XX001", code)
    run(connection, "DROP TABLE t")
    connection.close()


def stale_chunks(server: Server, score: Score, what: str) -> None:
    """A number of the toast table is given out a second time while chunks without an index entry have it: of an aborted
    transaction, without a hint, or deleted ones.
    """
    connection = server.connect()
    run(
        connection,
        f"CREATE TABLE a (id int, v vector({WIDTH})) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off)",
        "ALTER TABLE a ALTER v SET STORAGE EXTERNAL",
        f"INSERT INTO a VALUES (1, array_fill(1, ARRAY[{WIDTH}])::vector)",
        "CHECKPOINT",
    )
    toast = toast_table(connection, "a")
    run(connection, "BEGIN", f"INSERT INTO a VALUES (2, array_fill(7, ARRAY[{WIDTH}])::vector)")
    number = connection.execute(f"SELECT max(chunk_id::text::bigint) FROM {toast}").fetchone()[0]
    run(
        connection,
        *(["ROLLBACK"] if what == "aborted" else ["COMMIT", "DELETE FROM a WHERE id = 2"]),
        f"REINDEX TABLE {toast}",
    )
    # The hint that the aborted chunks got just now is in memory only.
    server.kill_all()
    connection.close()
    server.start()
    server.stop()
    reset = server.tool("pg_resetwal", "-o", str(number), str(server.base / "data"))
    server.start()
    connection = server.connect()
    run(connection, f"INSERT INTO a VALUES (2, array_fill(2, ARRAY[{WIDTH}])::vector)")
    question = f"SELECT id, v <-> array_fill(0, ARRAY[{WIDTH}])::vector, (v::real[])[1] FROM a ORDER BY id"
    found = connection.execute(question).fetchall()
    # Afterwards, because this one leaves hints.
    again = connection.execute(f"SELECT max(chunk_id::text::bigint) FROM {toast}").fetchone()[0]
    score.check(
        f"toast: the number of {what} chunks is given out again",
        again == number,
        f"{again}, {number} wanted; {reset.stdout.strip()[:200]}",
    )
    right = all(abs(distance / value - WIDTH**0.5) < 1e-3 and value == row for row, distance, value in found)
    score.check(f"toast: a function takes the value of the row, not that of the {what} one", right, found)
    run(connection, "DROP TABLE a")
    connection.close()


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    with Server(prefix, "toast", {"bgwriter_lru_maxpages": "0"}) as server:
        connection = server.connect()
        run(connection, "CREATE EXTENSION vector", GATE)
        connection.close()
        for am in ams:
            for at in (1, ROWS - 1):
                build_beside_vacuum(server, score, am, at, compressed=False)
            build_beside_vacuum(server, score, am, ROWS - 1, compressed=True)
            damaged(server, score, am)
        for what in ("aborted", "deleted"):
            stale_chunks(server, score, what)
        score.check("toast: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
