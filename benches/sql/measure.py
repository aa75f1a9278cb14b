"""Two servers side by side: sessions whose backend CPU time can be read, rounds that alternate, ratios of medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from vector_testing.session import Session

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

    def compare(
        self,
        name: str,
        items: int,
        work: Callable[[Session], object],
        before: Callable[[Session], object] | None = None,
        target: float | None = None,
        rounds: int | None = None,
    ) -> Row:
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
    return (
        f"{row.name:58} {row.theirs_cpu:10.0f} {number(row.ours_cpu, '10.0f'):>10} {number(row.ratio, '7.3f'):>7} "
        f"{number(row.wall_ratio, '7.3f'):>7} {target:>7} {row.spread:7.0%}{verdict}"
    )


def markdown(rows: list[Row]) -> str:
    lines = ["| | pgvector | ours | ratio of CPU | ratio of wall | target |", "|---|---|---|---|---|---|"]
    for row in rows:
        ours, ratio, wall = (
            "-" if v is None else format(v, f)
            for v, f in ((row.ours_cpu, ".0f"), (row.ratio, ".2f"), (row.wall_ratio, ".2f"))
        )
        lines.append(
            f"| {row.name} | {row.theirs_cpu:.0f} | {ours} | **{ratio}** | {wall} | {'' if row.target is None else f'{row.target:.2f}'} |"
        )
    return "\n".join(lines) + "\n"
