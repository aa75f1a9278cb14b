"""Copies made by other ways than pages: logical replication with indexes on both sides, pg_dump and pg_restore."""

from __future__ import annotations

import os
import time

import psycopg

from reliability.recovery import Load
from vector_testing.data import OPCLASSES, PLAIN, Data
from vector_testing.invariants import exact, run
from vector_testing.results import Score
from vector_testing.server import Server

SETTINGS = {"wal_level": "logical", "max_wal_size": "64MB"}


def rows_of(connection: psycopg.Connection, table: str = "t") -> list[tuple]:
    return connection.execute(f"SELECT x::text FROM {table} x ORDER BY id").fetchall()


def caught_up(publisher: psycopg.Connection, subscription: str) -> bool:
    place = publisher.execute("SELECT pg_current_wal_lsn()").fetchone()[0]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = publisher.execute(
            f"SELECT replay_lsn >= '{place}' FROM pg_stat_replication WHERE application_name = '{subscription}'"
        ).fetchone()
        if found and found[0]:
            return True
        time.sleep(0.02)
    return False


def logical(prefix: str, score: Score, ams: list[str], options) -> None:
    with Server(prefix, "publisher", SETTINGS) as publisher, Server(prefix, "subscriber", SETTINGS) as subscriber:
        source, target = publisher.connect(), subscriber.connect()
        for am in ams:
            opclass, data, name = PLAIN[am], Data(options.seed), f"{am}: logical replication"
            for connection in (source, target):
                run(
                    connection,
                    "CREATE EXTENSION IF NOT EXISTS vector",
                    "CREATE TABLE t (id int PRIMARY KEY, v vector(16))",
                )
            data.copy(source, "t", 1, 1500, "v")
            # one side is built, the other is empty when its index is made and filled by the first copy
            for connection in (source, target):
                run(connection, f"CREATE INDEX i ON t USING {am} (v {opclass.name}){opclass.options}")
            run(source, "CREATE PUBLICATION p FOR TABLE t")
            run(target, f"CREATE SUBSCRIPTION s_{am} CONNECTION '{publisher.conninfo()}' PUBLICATION p")
            deadline = time.monotonic() + 60
            while (
                target.execute("SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'").fetchone()[0]
                and time.monotonic() < deadline
            ):
                time.sleep(0.05)
            with Load(publisher, options.seed, 1_000_000) as load:
                until = time.monotonic() + max(1.5, min(options.seconds / 5, 60))
                while time.monotonic() < until:
                    run(target, "VACUUM t")
                    load.done.wait(0.1)
            run(source, "DELETE FROM t WHERE id % 3 = 0", "VACUUM t")
            arrived = caught_up(source, f"s_{am}")
            score.check(
                f"{name}: both sides have the same rows",
                arrived and not load.problems and rows_of(source) == rows_of(target),
                load.problems[:2] or f"{load.changes} changes",
            )
            wanted = {row[0] for row in source.execute("SELECT id FROM t")}
            for side, connection in (("publisher", source), ("subscriber", target)):
                exact(score, f"{name}, the {side}", connection, opclass, wanted)
            run(target, "VACUUM t")
            exact(score, f"{name}, the subscriber vacuumed", target, opclass, wanted)
            run(target, f"DROP SUBSCRIPTION s_{am}", "DROP TABLE t")
            run(source, "DROP PUBLICATION p", "DROP TABLE t")
        for connection in (source, target):
            connection.close()
        for server in (publisher, subscriber):
            score.check("replication: nothing unexpected in the log", not server.trouble(), server.trouble()[:3])


def dumps(prefix: str, score: Score, ams: list[str], options) -> None:
    """Every operator class with its index, through the three forms of a dump."""
    opclasses = [opclass for opclass in OPCLASSES if opclass.am in ams]
    with Server(prefix, "dump", {"max_wal_size": "1GB"}) as server:
        connection, data = server.connect(), Data(options.seed)
        run(
            connection,
            "CREATE EXTENSION vector",
            "CREATE TABLE t (id int PRIMARY KEY, v vector(16), h halfvec(16), s sparsevec(48), b bit(64))",
        )
        data.copy(connection, "t", 1, 800)
        run(
            connection,
            *(
                f"CREATE INDEX i{number} ON t USING {o.am} ({o.column} {o.name}){o.options}"
                for number, o in enumerate(opclasses)
            ),
        )
        if own := "hnsw" in ams and not os.environ.get("RELIABILITY_AS_IS"):
            run(connection, "CREATE INDEX own ON t USING hnsw (v vector_l2_ops) WITH (layout = inline)")
        wanted, indexes = rows_of(connection), "SELECT indexdef FROM pg_indexes WHERE tablename = 't' ORDER BY 1"
        definitions = connection.execute(indexes).fetchall()
        place = ["-h", server.socket, "-U", "postgres"]
        work = server.base / "dumps"
        work.mkdir()
        work.chmod(0o777)
        made = {
            "plain": [
                ("pg_dump", "-f", str(work / "plain.sql"), "postgres"),
                ("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", "plain", "-f", str(work / "plain.sql")),
            ],
            "custom": [
                ("pg_dump", "-Fc", "-f", str(work / "custom"), "postgres"),
                ("pg_restore", "-e", "-d", "custom", str(work / "custom")),
            ],
            "parallel": [
                ("pg_dump", "-Fd", "-j", "2", "-f", str(work / "parallel"), "postgres"),
                ("pg_restore", "-e", "-j", "4", "-d", "parallel", str(work / "parallel")),
            ],
        }
        for form, commands in made.items():
            run(connection, f"CREATE DATABASE {form}")
            failed = [
                done.stdout
                for done in (server.tool(program, *place, *rest) for program, *rest in commands)
                if done.returncode
            ]
            with psycopg.connect(server.conninfo(form), autocommit=True, prepare_threshold=None) as restored:
                score.check(f"dump, {form}: restored", not failed, failed[:1])
                if failed:
                    continue
                score.check(
                    f"dump, {form}: the same rows and indexes",
                    rows_of(restored) == wanted and restored.execute(indexes).fetchall() == definitions,
                    len(wanted),
                )
                if own:
                    layout = restored.execute("SELECT vector_index_info('own')->>'layout'").fetchone()[0]
                    score.check(f"dump, {form}: an index keeps its layout", layout == "inline", layout)
                for number, opclass in enumerate(opclasses):
                    exact(
                        score,
                        f"dump, {form}: {opclass.am} {opclass.name}",
                        restored,
                        opclass,
                        set(range(1, 801)),
                        index=f"i{number}",
                    )
        connection.close()
        score.check("dump: nothing unexpected in the log", not server.trouble(), server.trouble()[:3])


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    logical(prefix, score, ams, options)
    dumps(prefix, score, ams, options)
