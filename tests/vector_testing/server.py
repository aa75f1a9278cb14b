"""A private cluster that can be killed as a whole or process by process, and its log."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from pathlib import Path

import psycopg

from vector_testing.cluster import Cluster
from vector_testing.pg import environment

# A killed process loses nothing that was committed: only a killed machine would need fsync.
SETTINGS = {
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "log_min_messages": "log",
    "restart_after_crash": "on",
    "max_connections": "40",
    "checkpoint_timeout": "1h",
}

# What the option --layout means to a server: which pages indexes get that do not say.
LAYOUTS = {
    "pgvector": {"hnsw.default_layout": "pgvector", "ivfflat.default_layout": "pgvector"},
    "own": {"hnsw.default_layout": "inline", "ivfflat.default_layout": "packed"},
    "auto": {"hnsw.default_layout": "auto", "ivfflat.default_layout": "auto"},
}


def second() -> bool:
    """Whether indexes that do not say are on pages of the second layouts, as they are where nobody asks otherwise."""
    return Server.layout != "pgvector"


def filters() -> str:
    """The filter columns of an index, behind its vector: on pages that may have them, the numbers of the rows, in both
    orders.
    """
    return ", id, (-id)" if Server.layout == "own" else ""


def include() -> str:
    """The INCLUDE columns of an index: on pages that may have them, the numbers of the rows again."""
    return " INCLUDE (id)" if Server.layout == "own" else ""


class Server(Cluster):
    """A private cluster that can be killed as a whole or process by process."""

    # One of LAYOUTS, for all servers of a run; none leaves the extension's own default.
    layout: str | None = None

    def __init__(self, prefix: str, name: str, settings: dict[str, str] | None = None):
        super().__init__(prefix, name, SETTINGS | LAYOUTS.get(self.layout, {}) | (settings or {}))

    def connect(self, **options) -> psycopg.Connection:
        """Waits until the server answers: it may be recovering."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return psycopg.connect(self.conninfo(), autocommit=True, prepare_threshold=None, **options)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def postmaster(self) -> int:
        return int((self.base / "data" / "postmaster.pid").read_text().split("\n", 1)[0])

    def children(self) -> list[int]:
        parent, found = self.postmaster(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[1]) == parent:
                    found.append(int(entry.name))
        return found

    def kill_backend(self, pid: int) -> None:
        """Returns when the server has thrown everybody out: a connection made earlier would be lost too."""
        if pid not in self.children():
            return
        word = "all server processes terminated; reinitializing"
        before = self.log().count(word)
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while self.log().count(word) == before and time.monotonic() < deadline:
            time.sleep(0.01)

    def kill_all(self) -> None:
        """The postmaster first, so that it cannot tidy up; then what it has left behind."""
        children, parent = self.children(), self.postmaster()
        for pid in [parent, *children]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        # Until they are reaped, a new postmaster would take them for living ones.
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in [parent, *children]) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.running = False

    def log(self) -> str:
        try:
            return (self.base / "data" / "server.log").read_text(errors="replace")
        except OSError:
            return ""

    def trouble(self) -> list[str]:
        """Lines of the log that no test expects."""
        return [
            line
            for line in self.log().splitlines()
            if any(
                word in line
                for word in (
                    "PANIC",
                    "TRAP:",
                    "signal 11",
                    "signal 6",
                    "inconsistent page found",
                    "page verification failed",
                )
            )
        ]

    def promoted(self, connection: psycopg.Connection) -> None:
        """Returns when recovery has ended."""
        deadline = time.monotonic() + 60
        while connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]:
            if time.monotonic() > deadline:
                raise RuntimeError("recovery does not end")
            time.sleep(0.05)

    def checksums(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """pg_checksums on the data of a server that is stopped."""
        return self.tool("pg_checksums", *arguments, "-D", str(self.base / "data"))

    def tool(self, program: str, *arguments: str, cwd: str | None = None) -> subprocess.CompletedProcess[str]:
        """One of the server's own programs, as the user who runs the server."""
        command = [f"{self.prefix}/bin/{program}", *arguments]
        if os.geteuid() == 0:
            owner = pwd.getpwuid(
                (self.base / "data" if (self.base / "data").exists() else self.base).stat().st_uid
            ).pw_name
            command = ["runuser", "-u", owner, "--", *command]
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment(self.prefix),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
