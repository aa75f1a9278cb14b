"""Backups and what is left undecided: base backup with point-in-time recovery under load, and prepared transactions
over vacuums and crashes.
"""

from __future__ import annotations

import threading

import psycopg

from vector_testing.data import PLAIN, Data, Opclass
from vector_testing.invariants import exact, invariants, run
from vector_testing.results import Score
from vector_testing.server import Server, filters, include

SETTINGS = {
    "max_wal_size": "64MB",
    "wal_level": "replica",
    "archive_mode": "on",
    "max_prepared_transactions": "20",
    "wal_consistency_checking": "all",
}


class Load:
    """A client that changes the table until it is told to stop, and one that vacuums."""

    def __init__(self, server: Server, seed: int, first: int):
        self.server, self.seed, self.first = server, seed, first
        self.done = threading.Event()
        self.problems: list[str] = []
        self.changes = self.vacuums = 0
        self.threads = [threading.Thread(target=self.guarded, args=(work,)) for work in (self.change, self.vacuum)]

    def guarded(self, work) -> None:
        try:
            with self.server.connect() as connection:
                while not self.done.is_set():
                    work(connection)
        except psycopg.Error as error:
            self.problems.append(f"{error.sqlstate} {error}"[:200])

    def change(self, connection: psycopg.Connection) -> None:
        self.changes += 1
        data = Data(self.seed * 1000 + self.changes)
        first = self.first + 10 * self.changes
        for number, row in enumerate(data.rows(5)):
            connection.execute(f"INSERT INTO t (id, v) VALUES ({first + number}, '{data.text(row, 'v')}')")
        connection.execute(f"DELETE FROM t WHERE id % 997 = {self.changes % 997}")
        connection.execute(f"UPDATE t SET v = v + v WHERE id % 211 = {self.changes % 211}")

    def vacuum(self, connection: psycopg.Connection) -> None:
        connection.execute("VACUUM t")
        self.vacuums += 1
        self.done.wait(0.05)

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_exc) -> None:
        self.done.set()
        for thread in self.threads:
            thread.join()


def ids(connection: psycopg.Connection) -> list[tuple]:
    return connection.execute("SELECT id, v::text FROM t ORDER BY id").fetchall()


def point_in_time(prefix: str, score: Score, opclass: Opclass, options) -> None:
    name = f"{opclass.am}: point-in-time recovery"
    with Server(prefix, "archived", SETTINGS) as primary:
        archive = primary.base / "archive"
        archive.mkdir()
        archive.chmod(0o777)
        connection = primary.connect()
        run(
            connection,
            f"ALTER SYSTEM SET archive_command = 'test ! -f {archive}/%f && cp %p {archive}/%f'",
            "SELECT pg_reload_conf()",
        )
        run(connection, "CREATE EXTENSION vector", "CREATE TABLE t (id int, v vector(16))")
        data = Data(options.seed)
        data.copy(connection, "t", 1, 2000, "v")
        run(
            connection,
            f"CREATE INDEX i ON t USING {opclass.am} (v {opclass.name}{filters()}){include()}{opclass.options}",
            "CREATE TABLE backup_taken ()",
        )
        restored = Server(prefix, "restored", SETTINGS)
        restored.base.chmod(0o777)
        states: list[tuple[str, list[tuple]]] = []
        # the copy is taken while rows come and go
        with Load(primary, options.seed, 1_000_000) as load:
            made = primary.tool(
                "pg_basebackup",
                "-h",
                primary.socket,
                "-U",
                "postgres",
                "-D",
                str(restored.base / "data"),
                "-X",
                "none",
                "-c",
                "fast",
            )
        for number in range(3):
            states.append((f"point_{number}", ids(connection)))
            run(connection, f"SELECT pg_create_restore_point('point_{number}')", "SELECT pg_switch_wal()")
            with Load(primary, options.seed, 2_000_000 + 100_000 * number) as load:
                load.done.wait(0.7)
            if load.problems:
                break
        run(connection, "SELECT pg_switch_wal()", "CHECKPOINT")
        connection.close()
        primary.stop()
        if not score.check(
            f"{name}: a base backup is taken under load",
            made.returncode == 0 and not load.problems,
            made.stdout if made.returncode else load.problems[:2],
        ):
            restored.remove()
            return
        point, wanted = states[options.seed % len(states)]
        settings = {
            "restore_command": f"cp {archive}/%f %p",
            "recovery_target_name": point,
            "recovery_target_action": "promote",
            "archive_mode": "off",
        }
        (restored.base / "data" / "recovery.signal").touch()
        restored.settings = restored.settings | settings
        try:
            restored.start()
            connection = restored.connect()
            restored.promoted(connection)
            score.check(f"{name}: the rows are those of {point}", ids(connection) == wanted, f"{len(wanted)} rows")
            invariants(
                score, f"{name}, at {point}", connection, data, opclass, floor=0.7
            )  # what stands at that moment is not the data that recall has its floor for
            with Load(restored, options.seed, 3_000_000) as load:
                load.done.wait(1)
            run(connection, "VACUUM t")
            score.check(
                f"{name}: the restored server goes on", not load.problems and load.changes > 0, load.problems[:2]
            )
            exact(score, f"{name}, gone on from {point}", connection, opclass, {row[0] for row in ids(connection)})
            connection.close()
            score.check(f"{name}: nothing unexpected in the log", not restored.trouble(), restored.trouble()[:3])
        finally:
            restored.remove()


def prepared(prefix: str, score: Score, opclass: Opclass, options) -> None:
    """Inserts and deletes that are prepared, then vacuumed over, crashed over, and only then committed or rolled
    back.
    """
    name = f"{opclass.am}: prepared transactions"
    data = Data(options.seed)
    with Server(prefix, "prepared", SETTINGS | {"archive_mode": "off"}) as server:
        connection = server.connect()
        run(connection, "CREATE EXTENSION vector", "CREATE TABLE t (id int, v vector(16))")
        data.copy(connection, "t", 1, 600, "v")
        run(
            connection,
            f"CREATE INDEX i ON t USING {opclass.am} (v {opclass.name}{filters()}){include()}{opclass.options}",
        )
        wanted = set(range(1, 601))
        for number in range(max(1, options.rounds)):
            first = 10_000 * (number + 1)
            for part, words in enumerate(("stays", "goes")):
                run(connection, "BEGIN")
                data.copy(connection, "t", first + 1000 * part, 100, "v")
                run(connection, f"PREPARE TRANSACTION '{words}'")
            # everything that was committed goes while they wait
            run(connection, "BEGIN", f"DELETE FROM t WHERE id % 5 = {number % 5}", "PREPARE TRANSACTION 'deletes'")
            run(connection, f"DELETE FROM t WHERE id % 5 <> {number % 5}", "VACUUM (INDEX_CLEANUP ON) t")
            wanted = {number_ for number_ in wanted if number_ % 5 == number % 5}
            exact(score, f"{name}, vacuumed while they wait, {number}", connection, opclass, wanted)
            connection.close()
            server.kill_all()
            server.start()
            connection = server.connect()
            exact(score, f"{name}, after a crash, {number}", connection, opclass, wanted)
            data.copy(connection, "t", first + 5000, 20, "v")
            run(connection, "VACUUM (INDEX_CLEANUP ON) t")
            run(
                connection,
                "COMMIT PREPARED 'stays'",
                "ROLLBACK PREPARED 'goes'",
                "COMMIT PREPARED 'deletes'" if number % 2 else "ROLLBACK PREPARED 'deletes'",
            )
            wanted = (
                (set() if number % 2 else wanted)
                | set(range(first, first + 100))
                | set(range(first + 5000, first + 5020))
            )
            exact(score, f"{name}, decided, {number}", connection, opclass, wanted)
            run(connection, "VACUUM (INDEX_CLEANUP ON) t")
            exact(score, f"{name}, decided and vacuumed, {number}", connection, opclass, wanted)
        invariants(score, name, connection, data, opclass, floor=0.6, asked=5)
        connection.close()
        score.check(f"{name}: nothing unexpected in the log", not server.trouble(), server.trouble()[:3])


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    for am in ams:
        point_in_time(prefix, score, PLAIN[am], options)
        prepared(prefix, score, PLAIN[am], options)
