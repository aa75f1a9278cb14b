"""Damaged index files: bytes flipped while the server is down, and single bits while it runs. Whatever is asked
afterwards gets rows or an error about damage, never a crash, never no end.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from pathlib import Path

import psycopg

from reliability import flips
from vector_testing.data import PLAIN, Data, Opclass
from vector_testing.invariants import ALL, FEW, by_index, run
from vector_testing.results import Score
from vector_testing.server import Server, filters, include

PAGE = 8192
COPIES = 48
ROWS = 400
# Seconds until a statement is cancelled, and until a backend that does not listen is killed.
PATIENCE, LIMIT = 10, 20
# Index corrupted; data corrupted, which is what PostgreSQL itself says of a page or a block that cannot be read.
DAMAGE = {"XX002", "XX001"}
# What PostgreSQL says, without a code of its own, when an index leads to a row gigabytes behind the end of the table.
FAR = "previous segment is only"


def spoil(path: Path, random_: random.Random) -> str:
    """One kind of damage; says which."""
    content = bytearray(path.read_bytes())
    pages = len(content) // PAGE
    kind = random_.choice(
        (
            "header",
            "items",
            "special",
            "meta",
            "tuples",
            "tuples",
            "anywhere",
            "zeroes",
            "shorter",
            "swapped",
            "repeated",
        )
    )
    page = random_.randrange(pages)
    start = page * PAGE
    if kind == "header":
        spots = [start + random_.randrange(24) for _ in range(2)]
    elif kind == "items":
        spots = [start + 24 + random_.randrange(64) for _ in range(3)]
    elif kind == "special":
        spots = [start + PAGE - 8 + random_.randrange(8) for _ in range(2)]
    elif kind == "meta":
        page, spots = 0, [24 + random_.randrange(28) for _ in range(2)]
    elif kind == "tuples":
        # Anywhere above the free space, several times: types, levels, counts, item pointers.
        upper = int.from_bytes(content[start + 14 : start + 16], "little")
        spots = [start + random_.randrange(min(upper, PAGE - 9), PAGE - 8) for _ in range(24)]
    elif kind == "anywhere":
        spots = [random_.randrange(len(content)) for _ in range(40)]
    else:
        spots = []
    for spot in spots:
        content[spot] = random_.choice(
            (0, 1, 0x7F, 0xFF, content[spot] ^ (1 << random_.randrange(8)), random_.randrange(256))
        )
    if kind == "zeroes":
        content[start : start + PAGE] = bytes(PAGE)
    elif kind == "shorter":
        del content[max(1, pages // 2) * PAGE :]
    elif kind == "swapped" and pages > 2:
        other = random_.randrange(1, pages) * PAGE
        content[start : start + PAGE], content[other : other + PAGE] = (
            content[other : other + PAGE],
            content[start : start + PAGE],
        )
    elif kind == "repeated":
        other = random_.randrange(pages) * PAGE
        content[start : start + PAGE] = content[other : other + PAGE]
    path.write_bytes(content)
    return f"{kind}, block {page}"


def questions(opclass: Opclass, table: str, index: str, query: str) -> list[tuple[str, list[str], str]]:
    am = opclass.am
    nearest = f"SELECT id FROM {table} ORDER BY v <-> '{query}'"
    return [
        ("search", FEW[am], f"{nearest} LIMIT 10"),
        ("search over everything", ALL[am], nearest),
        ("search under a condition", FEW[am], f"{nearest.replace('ORDER', 'WHERE id < 50 ORDER')} LIMIT 100"),
        ("insert", FEW[am], f"INSERT INTO {table} SELECT 10000 + id, v FROM {table} WHERE id <= 20"),
        ("vacuum", FEW[am], f"VACUUM {table}"),
        ("search after vacuum", FEW[am], f"{nearest} LIMIT 10"),
        ("insert after vacuum", FEW[am], f"INSERT INTO {table} SELECT 20000 + id, v FROM {table} WHERE id <= 20"),
        ("checker", FEW[am], f"SELECT * FROM {am}_check('{index}', true)"),
        ("planner", FEW[am], f"EXPLAIN {nearest} LIMIT 10"),
        ("reindex", FEW[am], f"REINDEX INDEX {index}"),
        ("search after reindex", FEW[am], f"{nearest} LIMIT 10"),
    ]


def cycle(prefix: str, score: Score, opclass: Opclass, options) -> None:
    am, random_, data = opclass.am, random.Random(options.seed), Data(options.seed)
    with Server(prefix, "corruption", {"max_wal_size": "1GB"}) as server:
        connection = server.connect()
        run(connection, "CREATE EXTENSION vector", "CREATE TABLE source (id int, v vector(16))")
        data.copy(connection, "source", 1, ROWS, "v")
        query = data.text(data.rows(1)[0], "v")
        if index_problems_absent(connection, am):
            score.skip(f"{am}: corruption", f"there is no {am}_check: this is not the library that is meant")
            connection.close()
            return
        paths = []
        for number in range(COPIES):
            run(
                connection,
                f"CREATE TABLE t{number} AS SELECT * FROM source",
                f"CREATE INDEX i{number} ON t{number} USING {am} (v {opclass.name}{filters()}){include()} {opclass.options.replace('20', '5')}",
                f"DELETE FROM t{number} WHERE id % 10 = 3",
            )
            paths.append(
                server.base / "data" / connection.execute(f"SELECT pg_relation_filepath('i{number}')").fetchone()[0]
            )
        run(connection, "CHECKPOINT")
        connection.close()
        server.stop()
        damage = [spoil(path, random_) for path in paths]
        server.start()
        outcomes: Counter[str] = Counter()
        bad: list[str] = []
        connection = server.connect()
        for number in range(COPIES):
            for what, settings, statement in questions(opclass, f"t{number}", f"i{number}", query):
                where = f"{what} ({damage[number]}, copy {number})"
                killer = threading.Timer(LIMIT, server.kill_backend, [connection.info.backend_pid])
                killer.start()
                try:
                    by_index(connection, settings)
                    run(connection, f"SET statement_timeout = '{PATIENCE}s'")
                    connection.execute(statement)
                    outcomes["answered"] += 1
                except psycopg.Error as error:
                    code = error.sqlstate
                    if code in DAMAGE or FAR in str(error):
                        outcomes[code] += 1
                        if what.endswith("reindex"):
                            bad.append(f"{where}: {code} {error}")
                        if code == "XX002" and not ("block" in str(error) and f"i{number}" in str(error)):
                            bad.append(f"{where}: the error does not name index and block: {error}")
                    else:
                        bad.append(
                            f"{where}: {code or f'connection lost, by a crash or after {LIMIT} seconds'} {str(error).strip()[:150]}"
                        )
                        outcomes[code or "lost"] += 1
                    if connection.closed or connection.broken:
                        # The killer waits for the end of the crash that it made.
                        killer.cancel()
                        if killer.ident is not None:
                            killer.join()
                        connection = server.connect()
                finally:
                    killer.cancel()
            if len(bad) >= 12:
                break
        connection.close()
        score.check(
            f"{am}: {COPIES} damaged copies crash nothing, hang nothing, and say what they are",
            not bad,
            "; ".join(bad[:4]) or dict(outcomes),
        )
        score.check(f"{am}: damage is noticed", outcomes["XX002"] > 5, dict(outcomes))
        score.check(f"{am}: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])


def index_problems_absent(connection: psycopg.Connection, am: str) -> bool:
    return connection.execute(f"SELECT to_regprocedure('{am}_check(regclass, boolean)') IS NULL").fetchone()[0]


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    for am in ams:
        cycle(prefix, score, PLAIN[am], options)
    # Single bits, of every field of every kind of tuple.
    flips.test(prefix, score, ams, options)
