"""Two servers side by side: sessions whose backend CPU time can be read, rounds that alternate, ratios of medians."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from psycopg import pq
from psycopg.pq import ExecStatus

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "differential"))

from cluster import Cluster, pg_sh  # noqa: E402, F401  (found through the path above)

# A table larger than a quarter of this would be scanned through a small ring instead of staying in the cache.
SETTINGS = {
    "shared_buffers": "2GB",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "synchronize_seqscans": "off",
    "checkpoint_timeout": "1d",
    "max_wal_size": "20GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
}


class Session:
    """One connection and the CPU clock of the backend behind it."""

    def __init__(self, cluster: Cluster, dbname: str = "postgres"):
        self.conn = pq.PGconn.connect(cluster.conninfo(dbname).encode())
        if self.conn.status != pq.ConnStatus.OK:
            raise RuntimeError(self.conn.error_message)
        # Linux: the scheduler's clock of another process, in nanoseconds.
        self.pid = self.conn.backend_pid
        self._clock = (~self.pid << 3) | 2

    def close(self) -> None:
        self.conn.finish()

    def cpu(self) -> float:
        """Seconds of CPU of the backend, all its threads included."""
        return time.clock_gettime(self._clock)

    def must(self, sql: str):
        return self._checked(self.conn.exec_(sql.encode()), sql)

    def _checked(self, result, sql: str):
        if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            raise RuntimeError(f"{sql[:200]}: {result.error_message.decode()}")
        return result

    def prepare(self, name: str, sql: str) -> None:
        self._checked(self.conn.prepare(name.encode(), sql.encode()), sql)

    def execute(self, name: str, parameters: list[bytes]):
        formats = [pq.Format.BINARY] * len(parameters)
        return self._checked(self.conn.exec_prepared(name.encode(), parameters, formats, pq.Format.BINARY), name)

    def copy_in(self, sql: str, data: bytes) -> None:
        if self.conn.exec_(sql.encode()).status != ExecStatus.COPY_IN:
            raise RuntimeError(f"{sql}: {self.conn.error_message.decode()}")
        for at in range(0, len(data), 1 << 20):
            self.conn.put_copy_data(data[at:at + (1 << 20)])
        self.conn.put_copy_end()
        while (result := self.conn.get_result()) is not None:
            self._checked(result, sql)

    def copy_out(self, sql: str) -> int:
        if self.conn.exec_(sql.encode()).status != ExecStatus.COPY_OUT:
            raise RuntimeError(f"{sql}: {self.conn.error_message.decode()}")
        size = 0
        while True:
            length, _ = self.conn.get_copy_data(0)
            if length <= 0:
                break
            size += length
        while (result := self.conn.get_result()) is not None:
            self._checked(result, sql)
        return size


@dataclass
class Row:
    """One measurement. Times are per item (a table row, most often), in nanoseconds."""

    name: str
    items: int
    theirs_cpu: float = 0.0
    ours_cpu: float | None = None
    ratio: float | None = None
    theirs_wall: float = 0.0
    ours_wall: float | None = None
    wall_ratio: float | None = None
    target: float | None = None
    rounds: int = 0
    spread: float = 0.0
    samples: dict[str, list[float]] = field(default_factory=dict)

    def as_dict(self) -> dict:
        return asdict(self)


class Pair:
    """pgvector's session first, ours second; ours may be absent, for a baseline."""

    def __init__(self, sessions: list[Session], rounds: int):
        self.sessions = sessions
        self.rounds = rounds

    def each(self, action: Callable[[Session], object]) -> list:
        return [action(s) for s in self.sessions]

    def compare(self, name: str, items: int, work: Callable[[Session], object], before: Callable[[Session], object] | None = None,
                target: float | None = None, rounds: int | None = None) -> Row:
        rounds = rounds or self.rounds
        cpu: list[list[float]] = [[] for _ in self.sessions]
        wall: list[list[float]] = [[] for _ in self.sessions]
        for number in range(rounds + 1):
            order = list(range(len(self.sessions)))
            # Whoever comes second may profit or suffer from the first: take turns.
            for i in order if number % 2 else reversed(order):
                session = self.sessions[i]
                if before:
                    before(session)
                c, w = session.cpu(), time.perf_counter()
                work(session)
                c, w = session.cpu() - c, time.perf_counter() - w
                if number:  # the first round warms up
                    cpu[i].append(c / items * 1e9)
                    wall[i].append(w / items * 1e9)
        row = Row(name, items, rounds=rounds, target=target)
        row.theirs_cpu, row.theirs_wall = statistics.median(cpu[0]), statistics.median(wall[0])
        row.spread = (max(cpu[0]) - min(cpu[0])) / row.theirs_cpu
        row.samples = {"theirs_cpu": cpu[0], "theirs_wall": wall[0]}
        if len(self.sessions) > 1:
            row.ours_cpu, row.ours_wall = statistics.median(cpu[1]), statistics.median(wall[1])
            row.ratio, row.wall_ratio = row.ours_cpu / row.theirs_cpu, row.ours_wall / row.theirs_wall
            row.samples |= {"ours_cpu": cpu[1], "ours_wall": wall[1]}
        print(line_of(row), flush=True)
        return row


def header() -> str:
    return f"{'':58} {'pgvector':>10} {'ours':>10} {'ratio':>7} {'wall':>7} {'target':>7} {'spread':>7}\n{'':58} {'CPU ns':>10} {'CPU ns':>10} {'of CPU':>7} {'ratio':>7}"


def line_of(row: Row) -> str:
    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    verdict = "" if row.target is None or row.ratio is None else ("  ok" if row.ratio <= row.target else "  MISSED")
    target = "-" if row.target is None else f"<={row.target:.2f}"
    return (f"{row.name:58} {row.theirs_cpu:10.0f} {number(row.ours_cpu, '10.0f'):>10} {number(row.ratio, '7.3f'):>7} "
            f"{number(row.wall_ratio, '7.3f'):>7} {target:>7} {row.spread:7.0%}{verdict}")


def markdown(rows: list[Row]) -> str:
    lines = ["| | pgvector | ours | ratio of CPU | ratio of wall | target |", "|---|---|---|---|---|---|"]
    for row in rows:
        ours, ratio, wall = ("-" if v is None else format(v, f) for v, f in ((row.ours_cpu, ".0f"), (row.ratio, ".2f"), (row.wall_ratio, ".2f")))
        lines.append(f"| {row.name} | {row.theirs_cpu:.0f} | {ours} | **{ratio}** | {wall} | {'' if row.target is None else f'{row.target:.2f}'} |")
    return "\n".join(lines) + "\n"
