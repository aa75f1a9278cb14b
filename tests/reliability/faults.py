"""Sessions that stop at named steps of inserts, vacuums and scans (src/pg/faults.rs), so that a test can do things
beside them, end them or kill them.
"""

from __future__ import annotations

import threading
import time

import psycopg

from vector_testing.server import Server

# The first key of the advisory locks that a stopped session waits for, in turn this one and the next; the second is its
# process's number.
WAIT_KEY = 0x0FA1
# Two looks at a session, this far apart, must both see it wait: a lock that is only busy is free again by then.
LOOK = 0.003

POINTS = {
    "hnsw.insert": ["hnsw.insert.begin", "hnsw.insert.pair", "hnsw.insert.anchored", "hnsw.insert.linked"],
    "hnsw.vacuum": [
        "hnsw.vacuum.rows",
        "hnsw.vacuum.entry",
        "hnsw.vacuum.orphan",
        "hnsw.vacuum.repair",
        "hnsw.vacuum.repaired",
        "hnsw.vacuum.confirmed",
        "hnsw.vacuum.mark",
        "hnsw.vacuum.marked",
    ],
    "hnsw.scan": ["hnsw.scan.batch", "hnsw.scan.sweep"],
    "ivfflat.insert": ["ivfflat.insert.entry"],
    "ivfflat.vacuum": ["ivfflat.vacuum.page"],
    "ivfflat.scan": [],
}

# Steps that only operations on pages of the second layouts have.
SECOND = {
    "hnsw.insert": ["hnsw.insert.included", "included.divided"],
    "hnsw.vacuum": ["hnsw.vacuum.above", "hnsw.vacuum.included"],
    "ivfflat.insert": [
        "ivfflat.insert.value",
        "ivfflat.insert.keys",
        "ivfflat.insert.divided",
        "ivfflat.insert.included",
        "included.divided",
    ],
    "ivfflat.vacuum": ["ivfflat.vacuum.keys", "ivfflat.vacuum.values", "ivfflat.vacuum.included"],
}


def steps(kind: str) -> list[str]:
    """The steps of a kind of operation on the indexes of this run."""
    return POINTS[kind] + (SECOND.get(kind, []) if Server.layout == "own" else [])


def available(connection: psycopg.Connection) -> bool:
    """Whether the extension was built with fault points: others take any word for a setting that they do not know."""
    connection.execute("LOAD 'vector'")
    try:
        connection.execute("SET vector.fault_point = 'no rule'")
    except psycopg.errors.InvalidParameterValue:
        return True
    connection.execute("RESET vector.fault_point")
    return False


class Stopped(Exception):
    """A session did not come to rest."""


class Session:
    """One connection whose statements run in a thread of its own and may stop at fault points.

    `state` after `settle`: "idle" (the statements ended: `error` says how), "stopped" (at `point`), "blocked" (by
    another session).
    """

    def __init__(self, server: Server, control: psycopg.Connection, *settings: str):
        self.server, self.control = server, control
        self.connection = server.connect()
        self.pid = self.connection.info.backend_pid
        for setting in settings:
            self.connection.execute(setting)
        self.thread: threading.Thread | None = None
        self.error: psycopg.Error | None = None
        self.rows: list[tuple] = []
        self.point, self.turn = "", 0
        # which of the two locks this side holds
        self.held: set[int] = set()

    def hold(self, turn: int) -> None:
        self.control.execute("SELECT pg_advisory_lock(%s, %s)", (WAIT_KEY + turn, self.pid))
        self.held.add(turn)

    def release(self, turn: int) -> None:
        self.held.discard(turn)
        self.control.execute("SELECT pg_advisory_unlock(%s, %s)", (WAIT_KEY + turn, self.pid))

    def start(self, rule: str, *statements: str) -> str:
        """Runs the statements; with a rule that waits, the session stops where the rule says. Returns the state."""
        self.error, self.rows, self.point = None, [], ""
        for turn in sorted(self.held - {0}):
            self.release(turn)
        if rule and not self.held:
            self.hold(0)

        def work() -> None:
            try:
                self.connection.execute(f"SET vector.fault_point = '{rule}'")
                for statement in statements:
                    cursor = self.connection.execute(statement)
                    if cursor.description is not None:
                        self.rows = cursor.fetchall()
                self.connection.execute("SET vector.fault_point = ''")
            except psycopg.Error as error:
                self.error = error

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()
        return self.settle()

    def waits_for(self) -> tuple[str, str, int] | None:
        """The kind of lock that the session waits for, what it is at, and whose turn it is."""
        row = self.control.execute(
            "SELECT l.locktype, a.query, l.objid, l.classid FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.pid = %s AND NOT l.granted",
            (self.pid,),
        ).fetchone()
        if row is None:
            return None
        return (
            ("stop", row[1], row[3] - WAIT_KEY) if row[0] == "advisory" and row[2] == self.pid else (row[0], row[1], 0)
        )

    def settle(self, patience: float = 30) -> str:
        """Waits until the session has ended, stopped, or waits for somebody."""
        deadline = time.monotonic() + patience
        assert self.thread is not None
        while time.monotonic() < deadline:
            self.thread.join(LOOK)
            if not self.thread.is_alive():
                self.point = ""
                return "idle"
            found = self.waits_for()
            if found is None:
                continue
            if found[0] == "stop":
                if found[1].split(".")[0] not in ("hnsw", "ivfflat"):
                    # its activity was read just before it said where it is
                    continue
                self.point, self.turn = found[1], found[2]
                return "stopped"
            time.sleep(LOOK)
            if self.waits_for() == found:
                self.point = ""
                return "blocked"
        raise Stopped(f"a session neither ended nor waited within {patience} s")

    def step(self) -> str:
        """On to the next stop of a session that is stopped."""
        self.hold(1 - self.turn)
        self.release(self.turn)
        return self.settle()

    def go(self) -> str:
        """On to the end, or until the session waits for somebody."""
        for turn in sorted(self.held):
            self.release(turn)
        return self.settle()

    def end(self, how: str) -> str:
        """Cancels or terminates what runs; returns its SQLSTATE."""
        self.control.execute(f"SELECT {how}(%s)", (self.pid,))
        assert self.thread is not None
        self.thread.join(30)
        if self.thread.is_alive():
            raise Stopped(f"{how} did not end a session within 30 s")
        return (self.error.sqlstate or "lost") if self.error is not None else "none"

    @property
    def busy(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    @property
    def lost(self) -> bool:
        return self.connection.closed or self.connection.broken

    def close(self) -> None:
        """Whatever state it is in. Returns when its thread is over."""
        try:
            if self.busy:
                self.end("pg_terminate_backend")
            for turn in sorted(self.held):
                self.release(turn)
        except (psycopg.Error, Stopped):
            # the control connection went with the server
            pass
        self.held.clear()
        # A thread that waits for an answer knows its connection by address and file number. Freed under it, both go to
        # the next connection, and the thread takes answers that are for that one.
        if self.thread is not None:
            self.thread.join(30)
            if self.thread.is_alive():
                raise Stopped("the thread of a session that was closed did not end within 30 s")
        self.connection.close()
