"""A streaming standby replays every change, answers as the primary does, also while the primary vacuums, and takes
over.
"""

from __future__ import annotations

import threading
import time

import psycopg

from reliability.recovery import Load
from vector_testing.data import PLAIN, Data, Opclass
from vector_testing.invariants import ALL, FEW, by_index, by_table, exact, invariants, run
from vector_testing.results import Score
from vector_testing.server import Server, filters, include


def caught_up(primary: psycopg.Connection, standby: psycopg.Connection) -> None:
    # A vacuum's last records are not flushed by a commit; this one's are, and with it all before.
    run(primary, "SELECT pg_logical_emit_message(true, 'test', '')")
    place = primary.execute("SELECT pg_current_wal_flush_lsn()").fetchone()[0]
    deadline = time.monotonic() + 60
    while not standby.execute(f"SELECT pg_last_wal_replay_lsn() >= '{place}'").fetchone()[0]:
        if time.monotonic() > deadline:
            sender = primary.execute(
                "SELECT state, sent_lsn, flush_lsn, replay_lsn FROM pg_stat_replication"
            ).fetchall()
            receiver = standby.execute("SELECT status, latest_end_lsn FROM pg_stat_wal_receiver").fetchall()
            replayed = standby.execute(
                "SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), pg_is_wal_replay_paused()"
            ).fetchone()
            waits = standby.execute(
                "SELECT backend_type, wait_event FROM pg_stat_activity WHERE backend_type IN ('startup', 'walreceiver')"
            ).fetchall()
            raise RuntimeError(
                f"the standby does not catch up with {place}: sender {sender}, receiver {receiver}, replayed {replayed}, {waits}"
            )
        time.sleep(0.01)


def answers(connection: psycopg.Connection, opclass: Opclass, queries: list[str]) -> list[list[tuple]]:
    by_index(connection, FEW[opclass.am])
    found = [
        connection.execute(
            f"SELECT id FROM t ORDER BY {opclass.column} {opclass.operator} '{query}' LIMIT 20"
        ).fetchall()
        for query in queries
    ]
    by_index(connection, ALL[opclass.am])
    found.append(
        connection.execute(
            f"SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY {opclass.column} {opclass.operator} '{queries[0]}') x"
        ).fetchall()
    )
    run(connection, "RESET ALL")
    return found


def ids(connection: psycopg.Connection) -> set[int]:
    by_table(connection)
    return {row[0] for row in connection.execute("SELECT id FROM t")}


def cycle(
    score: Score,
    primary: psycopg.Connection,
    standby: psycopg.Connection,
    server: Server,
    data: Data,
    opclass: Opclass,
    seconds: float,
) -> None:
    am = opclass.am
    queries = [data.text(row, opclass.column) for row in data.rows(10)]

    def compare(name: str) -> None:
        caught_up(primary, standby)
        score.check(
            f"{am}: the standby answers alike {name}",
            answers(primary, opclass, queries) == answers(standby, opclass, queries),
        )

    run(primary, "DROP TABLE IF EXISTS t", "CREATE TABLE t (id int, v vector(16))")
    data.copy(primary, "t", 1, 3000, "v")
    run(primary, f"CREATE INDEX i ON t USING {am} (v {opclass.name}{filters()}){include()}{opclass.options}")
    compare("after a build")
    for number in range(3):
        data.copy(primary, "t", 10000 * (number + 1), 400, "v")
        compare(f"after inserts {number + 1}")
        run(
            primary,
            f"DELETE FROM t WHERE id % 7 = {number}",
            f"UPDATE t SET v = v + v WHERE id % 31 = {number}",
            "VACUUM t",
        )
        compare(f"after a vacuum {number + 1}")

    # Searches on the standby while the primary vacuums: recovery may cancel one, nothing else may happen.
    done, outcomes = threading.Event(), {"answered": 0, "counted": 0, "conflicts": 0}
    problems: list[str] = []

    def search() -> None:
        connection = server.connect()
        by_index(connection, FEW[am])
        number = 0
        while not done.is_set():
            number += 1
            try:
                rows = connection.execute(
                    f"SELECT id FROM t ORDER BY v <-> '{queries[number % len(queries)]}' LIMIT 10"
                ).fetchall()
                outcomes["answered"] += 1
                if len(set(rows)) != len(rows):
                    problems.append(f"a row twice: {rows}")
            except psycopg.errors.SerializationFailure:
                outcomes["conflicts"] += 1
            except psycopg.Error as error:
                problems.append(f"{error.sqlstate} {error}"[:200])
                return
        connection.close()

    def count() -> None:
        """In one snapshot the index knows the rows that the table has, at every moment of replay."""
        connection = server.connect()
        while not done.is_set():
            try:
                with connection.transaction():
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    by_table(connection)
                    wanted = {row[0] for row in connection.execute("SELECT id FROM t")}
                    by_index(connection, ALL[am])
                    found = [row[0] for row in connection.execute(f"SELECT id FROM t ORDER BY v <-> '{queries[0]}'")]
                outcomes["counted"] += 1
                if len(found) != len(set(found)) or set(found) != wanted:
                    problems.append(
                        f"{len(wanted - set(found))} of {len(wanted)} rows missing, {len(set(found) - wanted)} not there, {len(found) - len(set(found))} twice"
                    )
            except psycopg.errors.SerializationFailure:
                outcomes["conflicts"] += 1
            except psycopg.Error as error:
                problems.append(f"{error.sqlstate} {error}"[:200])
                return
        connection.close()

    watchers = [threading.Thread(target=watch) for watch in (search, count)]
    for watcher in watchers:
        watcher.start()
    try:
        end, number = time.monotonic() + seconds, 0
        while number < 4 or time.monotonic() < end:
            number += 1
            data.copy(primary, "t", 100000 * number, 500, "v")
            run(primary, f"DELETE FROM t WHERE id % 5 = {number % 5}", "VACUUM t")
        caught_up(primary, standby)
    finally:
        done.set()
        for watcher in watchers:
            watcher.join()
    found_enough = outcomes["answered"] > 20 and outcomes["counted"] > 0
    score.check(
        f"{am}: the standby searches and counts while the primary vacuums",
        not problems and found_enough,
        problems[:3] or outcomes,
    )
    compare("after all that")
    caught_up(primary, standby)
    invariants(score, f"{am}: on the standby", standby, data, opclass)


def advised(score: Score, am: str, primary: psycopg.Connection, standby: psycopg.Connection) -> None:
    """What is not logged is not there on a standby: advice is about the rest, and says no untrue thing of it."""
    run(
        primary,
        "DROP TABLE IF EXISTS u",
        "CREATE UNLOGGED TABLE u (v vector(3), w vector)",
        "INSERT INTO u SELECT ARRAY[i, 1, 2], ARRAY[i, 1] FROM generate_series(1, 100) i",
        f"CREATE INDEX u_v ON u USING {am} (v vector_l2_ops)",
    )
    caught_up(primary, standby)
    found = {row[0] for row in standby.execute("SELECT DISTINCT relation::text FROM vector_advice()")}
    unlogged = standby.execute("SELECT count(*) FROM vector_advice() WHERE index = 'u_v'::regclass").fetchone()[0]
    score.check(f"{am}: advice on a standby", "t" in found and unlogged == 0, f"{found}, {unlogged}")
    try:
        standby.execute("SELECT vector_index_info('u_v')")
        state = "none"
    except psycopg.Error as error:
        state = error.sqlstate or ""
    score.check(f"{am}: an index that is not logged is not looked into on a standby", state == "0A000", state)


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    settings = {
        "max_wal_size": "64MB",
        "wal_keep_size": "1GB",
        "max_standby_streaming_delay": "5s",
        "hot_standby": "on",
        "wal_level": "replica",
        "wal_consistency_checking": "all",
    }
    with Server(prefix, "primary", settings) as primary:
        connection = primary.connect()
        run(connection, "CREATE EXTENSION vector")
        for am in ams:
            standby = Server(prefix, "standby", settings)
            # The server's user writes the copy.
            standby.base.chmod(0o777)
            made = primary.tool(
                "pg_basebackup",
                "-h",
                primary.socket,
                "-U",
                "postgres",
                "-D",
                str(standby.base / "data"),
                "-R",
                "-X",
                "stream",
                "-c",
                "fast",
            )
            if not score.check(
                f"{am}: a base backup is taken", made.returncode == 0, made.stdout if made.returncode else ""
            ):
                standby.remove()
                continue
            with standby:
                follower = standby.connect()
                data = Data(options.seed)
                cycle(score, connection, follower, standby, data, PLAIN[am], options.seconds / 3)
                advised(score, am, connection, follower)
                # in the middle of what the primary does
                with Load(primary, options.seed, 50_000_000) as load:
                    load.done.wait(1)
                    # not SELECT pg_promote(): replay may cancel it while it waits
                    made = standby.tool("pg_ctl", "promote", "-w", "-D", str(standby.base / "data"))
                score.check(
                    f"{am}: the standby is promoted", made.returncode == 0, made.stdout if made.returncode else ""
                )
                exact(score, f"{am}: on a standby promoted under load", follower, PLAIN[am], ids(follower))
                with Load(standby, options.seed, 60_000_000) as load:
                    load.done.wait(1)
                score.check(
                    f"{am}: the promoted standby goes on", not load.problems and load.changes > 0, load.problems[:2]
                )
                exact(score, f"{am}: on the promoted standby that went on", follower, PLAIN[am], ids(follower))
                data.copy(follower, "t", 90_000_000, 300, "v")
                run(follower, "DELETE FROM t WHERE id % 3 = 0", "VACUUM t")
                invariants(score, f"{am}: on the promoted standby", follower, data, PLAIN[am], floor=0.7)
                follower.close()
                score.check(
                    f"{am}: nothing unexpected in the standby's log", not standby.trouble(), standby.trouble()[:3]
                )
        connection.close()
        score.check("standby: nothing unexpected in the primary's log", not primary.trouble(), primary.trouble()[:3])
