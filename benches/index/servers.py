"""Two private servers, one database per configuration, and the clocks and counters that every suite reads."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benches.index import datasets
from benches.sql import data
from benches.sql.measure import SETTINGS as BASE_SETTINGS
from vector_testing import pg
from vector_testing.cluster import Cluster
from vector_testing.pg import pg_sh
from vector_testing.session import Session

# The leader and one worker of pgvector's build against two threads of ours; everything stays in the buffers.
SETTINGS = BASE_SETTINGS | {
    "shared_buffers": "4GB",
    "maintenance_work_mem": "4GB",
    "max_parallel_maintenance_workers": "1",
    "max_parallel_workers": "8",
    "min_wal_size": "2GB",
    "max_wal_size": "40GB",
    "wal_level": "replica",
    "max_connections": "40",
    # One plan for all values of ef_search and probes, made once: planning is not what we measure.
    "plan_cache_mode": "force_generic_plan",
}

# pgvector; this project on the same pages; this project on its second layout.
SIDES = ("theirs", "ours", "second")
FIRST = {"hnsw.default_layout": "pgvector", "ivfflat.default_layout": "pgvector"}
SECOND = {"hnsw.default_layout": "inline", "ivfflat.default_layout": "packed"}


def prefix_of(options: argparse.Namespace, side: str) -> str:
    """The PostgreSQL of a side."""
    return options.theirs if side == "theirs" else options.ours


def settings_of(side: str, settings: dict[str, str]) -> dict[str, str]:
    """A side's settings: they differ in the layout of new indexes and in nothing else."""
    return settings | {"ours": FIRST, "second": SECOND}.get(side, {})


def add_prefixes(parser: argparse.ArgumentParser) -> None:
    """The options that name the two PostgreSQLs."""
    parser.add_argument("--theirs", help="prefix of a PostgreSQL with pgvector; without it that one is fetched")
    parser.add_argument(
        "--ours",
        help="prefix of the same PostgreSQL with this project's build; without it VECTOR_OURS_16, or one is built",
    )


def take_prefixes(options: argparse.Namespace) -> None:
    """Fetches and builds what was not given."""
    if not options.ours:
        theirs, options.ours = pg.peer_pair(16)
        options.theirs = options.theirs or theirs
    options.theirs = options.theirs or pg.peer(16)


class KeptCluster(Cluster):
    """A cluster whose data outlives the run."""

    def __init__(self, prefix: str, base: Path, settings: dict[str, str]):
        super().__init__(prefix, "kept", settings)
        self.base.rmdir()
        self.base = base
        base.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        # One left running by a killed run has that run's library and settings; nobody else may use it, see Store.
        pg_sh("cluster", "stop", str(self.base))
        super().start()

    def remove(self) -> None:
        self.stop()


class Store:
    """What is kept between runs of one --keep name: the clusters' directories and the figures measured in them."""

    def __init__(self, name: str):
        self.path = data.cache_dir() / "clusters" / name
        self.path.mkdir(parents=True, exist_ok=True)
        # The server's user must be able to enter.
        for part in (self.path.parent, self.path):
            part.chmod(0o755)
        self._lock = open(self.path / "lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(f"another run uses --keep {name}; choose another name") from None
        self._records = self.path / "records.json"

    def records(self) -> dict:
        return json.loads(self._records.read_text()) if self._records.exists() else {}

    def remember(self, key: str, side: str, phase: str, figures: object) -> None:
        content = self.records()
        known = content.setdefault(key, {}).setdefault(side, {})
        if phase == "build":
            # What was measured on the index before this one says nothing any more.
            known.clear()
        known[phase] = figures
        temporary = self._records.with_suffix(".new")
        temporary.write_text(json.dumps(content, indent=1) + "\n")
        temporary.rename(self._records)


def connect(cluster: Cluster, dbname: str = "postgres") -> Session:
    return Session(cluster, dbname)


def value(session: Session, sql: str) -> str:
    return session.must(sql).get_value(0, 0).decode()


def number(session: Session, sql: str) -> int:
    return int(value(session, sql))


def wal_position(session: Session) -> int:
    """Bytes of write-ahead log since the cluster was made."""
    return number(session, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")


def has_database(cluster: Cluster, name: str) -> bool:
    session = connect(cluster)
    try:
        return value(session, f"SELECT count(*) FROM pg_database WHERE datname = '{name}'") == "1"
    finally:
        session.close()


def make_database(cluster: Cluster, name: str, template: str | None = None) -> None:
    session = connect(cluster)
    try:
        session.must(f'DROP DATABASE IF EXISTS "{name}"')
        # By copying files: through the log it would be slower, and the log is something we measure.
        copied = (
            ""
            if template is None
            else f' TEMPLATE "{template}"' + (" STRATEGY file_copy" if session.conn.server_version >= 150000 else "")
        )
        session.must(f'CREATE DATABASE "{name}"{copied}')
    finally:
        session.close()


def drop_database(cluster: Cluster, name: str) -> None:
    session = connect(cluster)
    try:
        session.must(f'DROP DATABASE IF EXISTS "{name}"')
    finally:
        session.close()


@dataclass(frozen=True)
class Config:
    """One dataset under one index; each has a database of its own, so that no other index can be chosen."""

    dataset: str
    opclass: datasets.Opclass
    am: str
    options: tuple[tuple[str, str], ...] = ()
    # Only the first so many rows of the dataset; 0 means all.
    rows: int = 0

    @property
    def key(self) -> str:
        words = [self.dataset, self.am, self.opclass.name.removesuffix("_ops"), *(f"{k}{v}" for k, v in self.options)]
        if self.rows:
            words.append(f"n{self.rows}")
        name = "-".join(words)
        # A copy of the database gets a longer name, and PostgreSQL cuts names at 63.
        return name if len(name) <= 54 else f"{name[:45]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"

    @property
    def index_sql(self) -> str:
        options = ", ".join(f"{k} = {v}" for k, v in self.options)
        return f"CREATE INDEX embedding_idx ON items USING {self.am} (embedding {self.opclass.name})" + (
            f" WITH ({options})" if options else ""
        )

    @property
    def has_second(self) -> bool:
        """Whether the second layout has such an index."""
        op = self.opclass
        dense = op.kind in ("vector", "halfvec") and op.metric in ("l2", "ip", "cosine")
        return dense or op.kind == "bit" and self.am == "hnsw"

    @property
    def query_sql(self) -> str:
        return f"SELECT id FROM items ORDER BY embedding {self.opclass.operator} $1::{self.opclass.parameter_type} LIMIT 10"


def load_table(cluster: Cluster, config: Config, dataset: datasets.Dataset) -> None:
    # Under its name there is only a database that is whole.
    drop_database(cluster, config.key)
    unfinished = f"loading-{config.key}"
    make_database(cluster, unfinished)
    session = connect(cluster, unfinished)
    try:
        session.must("CREATE EXTENSION vector")
        session.must(f"CREATE TABLE items (id int4, embedding {dataset.column})")
        for stream in datasets.copy_streams(dataset.kind, dataset.base):
            session.copy_in("COPY items FROM STDIN (FORMAT binary)", stream)
        # Frozen and all-visible: no hint bits are written while we measure.
        session.must("VACUUM (FREEZE, ANALYZE) items")
    finally:
        session.close()
    session = connect(cluster)
    try:
        session.must(f'ALTER DATABASE "{unfinished}" RENAME TO "{config.key}"')
    finally:
        session.close()


def has_index(session: Session) -> bool:
    return (
        value(
            session,
            "SELECT count(*) FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relname = 'embedding_idx' AND indisvalid",
        )
        == "1"
    )


# --- the kernel's accounting ------------------------------------------------------------------------------------------


def _fields(path: str) -> dict[str, int]:
    """The kB lines of a /proc status file."""
    out = {}
    try:
        for line in Path(path).read_text().splitlines():
            name, _, rest = line.partition(":")
            words = rest.split()
            if len(words) == 2 and words[1] == "kB":
                out[name] = int(words[0]) * 1024
    except OSError:
        pass
    return out


def children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    # The command's name may hold spaces and brackets.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def reaped_cpu(postmaster: int) -> float:
    """Seconds of CPU of all children that ended: parallel workers are there once the postmaster has seen their end.
    Ticks of 10 ms.
    """
    fields = _stat(postmaster)
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int, seen: set[str]) -> tuple[int, int]:
    """Bytes of private memory and of touched dynamic shared memory; and of such segments' reserved size, where no
    process before it (seen) has counted them. Shared buffers are in neither.
    """
    used, reserved = _fields(f"/proc/{pid}/status").get("RssAnon", 0), 0
    try:
        if "/dev/shm/PostgreSQL." not in Path(f"/proc/{pid}/maps").read_text():
            return used, 0
        segment = ""
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):
                segment = words[5] if len(words) > 5 and words[5].startswith("/dev/shm/PostgreSQL.") else ""
                if segment and segment not in seen:
                    seen.add(segment)
                    # PostgreSQL allocates the blocks of a segment when it makes it.
                    reserved += os.stat(segment).st_blocks * 512
            elif segment and words[0] == "Pss:":
                # Proportional: the processes' shares add up to the pages that any of them touched.
                used += int(words[1]) * 1024
    except OSError:
        pass
    return used, reserved


@contextmanager
def on_one_core(sessions: list[Session]):
    """Client and backends share one core, as only one of them runs at a time. Otherwise chance decides for each
    connection whether a wake-up crosses cores, which costs a backend some 15 us per query on a virtual machine.
    """
    before = os.sched_getaffinity(0)
    core = {max(before)}
    try:
        for session in sessions:
            os.sched_setaffinity(session.pid, core)
        os.sched_setaffinity(0, core)
        yield
    finally:
        os.sched_setaffinity(0, before)
        for session in sessions:
            os.sched_setaffinity(session.pid, before)


class Watch(threading.Thread):
    """Samples the memory of a backend and of the parallel workers that appear beside it."""

    def __init__(self, session: Session, every: float = 0.02):
        super().__init__(daemon=True)
        self.backend, self.every = session.pid, every
        self.postmaster = parent_of(session.pid)
        self._before = set(children_of(self.postmaster))
        self._end = threading.Event()
        self.workers: set[int] = set()
        self.start_bytes, _ = self._now()
        self.peak_bytes, self.reserved_bytes = self.start_bytes, 0

    def _now(self) -> tuple[int, int]:
        seen: set[str] = set()
        used, reserved = memory_of(self.backend, seen)
        for pid in children_of(self.postmaster):
            if pid not in self._before:
                self.workers.add(pid)
                more_used, more_reserved = memory_of(pid, seen)
                used, reserved = used + more_used, reserved + more_reserved
        return used, reserved

    def run(self) -> None:
        pause = self.every
        while not self._end.wait(pause):
            start = time.thread_time()
            used, reserved = self._now()
            self.peak_bytes, self.reserved_bytes = max(self.peak_bytes, used), max(self.reserved_bytes, reserved)
            # Looking through large mappings takes time that the build should have.
            pause = max(self.every, 30 * (time.thread_time() - start))

    def finish(self) -> None:
        self._end.set()
        self.join()


class Work:
    """CPU (the backend's threads and parallel workers included), wall, log bytes and peak memory of what runs inside
    `with`.
    """

    def __init__(self, session: Session):
        self.session = session

    def __enter__(self) -> Work:
        self.watch = Watch(self.session)
        self.watch.workers = set()
        self.wal = wal_position(self.session)
        self._reaped = reaped_cpu(self.watch.postmaster)
        self.watch.start()
        self.cpu, self.wall = self.session.cpu(), time.perf_counter()
        return self

    def __exit__(self, kind, *_exc) -> None:
        if kind is not None:
            # The backend, and with it its clock, may be gone.
            self.watch.finish()
            return
        self.wall, self.cpu = time.perf_counter() - self.wall, self.session.cpu() - self.cpu
        self.watch.finish()
        self.wal = wal_position(self.session) - self.wal
        # The postmaster may not have reaped the workers yet.
        for _ in range(100):
            if not self.watch.workers & set(children_of(self.watch.postmaster)):
                break
            time.sleep(0.02)
        self.worker_cpu = reaped_cpu(self.watch.postmaster) - self._reaped
        self.memory = self.watch.peak_bytes - self.watch.start_bytes

    def figures(self) -> dict:
        return {
            "wall_s": self.wall,
            "cpu_s": self.cpu + self.worker_cpu,
            "leader_cpu_s": self.cpu,
            "worker_cpu_s": self.worker_cpu,
            "workers": len(self.watch.workers),
            "wal_bytes": self.wal,
            "memory_bytes": self.memory,
            "reserved_bytes": self.watch.reserved_bytes,
        }


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
