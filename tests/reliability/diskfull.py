"""No space left: a build and inserts fail with an error, and afterwards everything is as before."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

import psycopg

from vector_testing.data import PLAIN, Data
from vector_testing.invariants import invariants, run
from vector_testing.results import Score
from vector_testing.server import Server, second

SIZE_MB = 4


def attempt(connection: psycopg.Connection, statement: str) -> str:
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        return error.sqlstate or "lost"
    return "none"


def cycle(server: Server, score: Score, am: str, place: str, seed: int) -> None:
    opclass, data = PLAIN[am], Data(seed)
    connection = server.connect()
    run(
        connection,
        f"CREATE TABLESPACE small LOCATION '{place}'",
        "CREATE TABLE t (id int, v vector(16))",
        "CREATE TABLE large (id int, v vector(128))",
    )
    Data(seed, 128).copy(connection, "large", 1, 12000, "v")
    data.copy(connection, "t", 1, 3000, "v")
    create = f"CREATE INDEX big_i ON large USING {am} (v {opclass.name}){opclass.options} TABLESPACE small"
    for number in (1, 2):
        code = attempt(connection, create)
        score.check(f"{am}: a build on a full disk says so ({number})", code == "53100", code)
    run(connection, "CHECKPOINT")
    code = attempt(connection, f"CREATE INDEX i ON t USING {am} (v {opclass.name}){opclass.options} TABLESPACE small")
    if not score.check(f"{am}: nothing of the failed builds is left in the way", code == "none", code):
        return
    # Fill up with single statements, so that each is undone alone. Values all differ: a graph of thousands of equal
    # ones leaves some of them behind.
    full = 0
    for number in range(200):
        code = attempt(
            connection,
            f"INSERT INTO t SELECT {10000 * (number + 1)} + id, v + '[{','.join(str(number + 1) for _ in range(16))}]' FROM t WHERE id <= 500",
        )
        if code != "none":
            full += 1
            score.check(f"{am}: an insert into a full index says so", code == "53100", code)
            if full == 3:
                break
    score.check(f"{am}: the index filled the disk", full == 3)
    invariants(score, f"{am}: with the disk full", connection, data, opclass)
    run(connection, "DELETE FROM t WHERE id > 3000 AND id % 2 = 0")
    code = attempt(connection, "VACUUM t")
    if code == "53100" and second():
        # As with the server's own indexes, the map of free space is made when there is some: it takes three blocks.
        invariants(score, f"{am}: after a vacuum without room for its map", connection, data, opclass)
        subprocess.run(["mount", "-o", f"remount,size={2 * SIZE_MB}m", place], check=True)
        code = attempt(connection, "VACUUM t")
    score.check(f"{am}: a vacuum ends", code == "none", code)
    invariants(score, f"{am}: after a vacuum with the disk full", connection, data, opclass)
    # Beside rows that were deleted: the lists around the first rows have lost none, and their pages are full.
    run(
        connection,
        f"INSERT INTO t SELECT 5000000 + id, v + '[{','.join(['0.01'] * 16)}]' FROM t WHERE id > 3000 ORDER BY id LIMIT 200",
    )
    invariants(score, f"{am}: after inserts into what was freed", connection, data, opclass)
    run(connection, "DROP TABLE t, large", "CHECKPOINT", "DROP TABLESPACE small")
    connection.close()


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    if os.geteuid() != 0:
        score.skip("diskfull", "only root can mount a small file system")
        return
    place = tempfile.mkdtemp(prefix="vector-small-")
    try:
        with Server(prefix, "diskfull") as server:
            connection = server.connect()
            run(connection, "CREATE EXTENSION vector")
            connection.close()
            owner = (server.base / "data").stat()
            for am in ams:
                mounted = subprocess.run(
                    [
                        "mount",
                        "-t",
                        "tmpfs",
                        "-o",
                        f"size={SIZE_MB}m,mode=700,uid={owner.st_uid},gid={owner.st_gid}",
                        "none",
                        place,
                    ],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                if mounted.returncode != 0:
                    score.skip("diskfull", mounted.stdout.strip())
                    return
                try:
                    cycle(server, score, am, place, options.seed)
                finally:
                    subprocess.run(["umount", "-l", place], check=False)
            score.check("diskfull: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
    finally:
        shutil.rmtree(place, ignore_errors=True)
