"""Search: recall against backend CPU over a ladder of ef_search or probes, and the CPU at equal recall."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, field

import numpy as np

from benches.index import datasets, servers
from benches.index.ground_truth import Truth
from benches.index.servers import Cluster, Config, Session

LADDERS = {
    "hnsw": (10, 14, 20, 28, 40, 60, 80, 120, 160, 240, 320, 480, 640, 1000),
    "ivfflat": (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512),
}
KNOBS = {"hnsw": "hnsw.ef_search", "ivfflat": "ivfflat.probes"}
TARGETS = (0.90, 0.95, 0.99)
# Queries of one side between those of the other.
TURN = 25


@dataclass
class Point:
    """One value of the knob on one side. CPU samples are µs per query, one per round; wall samples µs, one per
    query.
    """

    knob: int
    recall: float
    pages: float = 0.0
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def as_dict(self) -> dict:
        p50, p95, p99 = (float(x) for x in np.percentile(self.wall, (50, 95, 99))) if self.wall else (0.0, 0.0, 0.0)
        return {
            "knob": self.knob,
            "recall": self.recall,
            "pages": self.pages,
            "cpu_us": statistics.median(self.cpu) if self.cpu else None,
            "cpu_rounds": self.cpu,
            "wall_p50_us": p50,
            "wall_p95_us": p95,
            "wall_p99_us": p99,
        }


class Searcher:
    """One side's prepared query."""

    def __init__(self, cluster: Cluster, config: Config, dataset: datasets.Dataset, dbname: str | None = None):
        self.session: Session = servers.connect(cluster, dbname or config.key)
        self.config, self.dataset = config, dataset
        self.parameters = [datasets.binary_value(dataset.kind, q) for q in dataset.queries]
        self.session.must("SET enable_seqscan = off")
        self.session.must("SELECT count(*) FROM items WHERE embedding IS NULL")
        self.session.prepare("nearest", config.query_sql)

    def set_knob(self, knob: int) -> None:
        self.session.must(f"SET {KNOBS[self.config.am]} = {knob}")

    def answers(self) -> list[list[int]]:
        out = []
        for parameter in self.parameters:
            result = self.session.execute("nearest", [parameter])
            out.append([int.from_bytes(result.get_value(i, 0), "big") for i in range(result.ntuples)])
        return out

    def warm(self) -> None:
        for parameter in self.parameters[: 2 * TURN]:
            self.session.execute("nearest", [parameter])

    def timed(self, point: Point, low: int, high: int) -> float:
        """Seconds of backend CPU of the queries from low to high."""
        execute, clock, wall = self.session.execute, time.perf_counter, point.wall
        cpu = self.session.cpu()
        for parameter in self.parameters[low:high]:
            start = clock()
            execute("nearest", [parameter])
            wall.append((clock() - start) * 1e6)
        return self.session.cpu() - cpu

    def pages(self, sample: int = 20) -> float:
        """Buffers touched by one query, on average over some."""
        total = 0
        for row in self.dataset.queries[:sample]:
            # EXPLAIN takes no parameters of its own, hence the text form.
            plan = self.session.must(
                f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF, COSTS OFF) EXECUTE nearest({literal_of(self.dataset.kind, row)})"
            )
            for i in range(plan.ntuples):
                line = plan.get_value(i, 0).decode().strip()
                if line.startswith("Buffers:"):
                    total += sum(
                        int(word.partition("=")[2]) for word in line.split() if word.startswith(("hit=", "read="))
                    )
                    break
        return total / min(sample, len(self.dataset.queries))

    def uses_index(self) -> bool:
        plan = self.session.must(f"EXPLAIN EXECUTE nearest({literal_of(self.dataset.kind, self.dataset.queries[0])})")
        return any("embedding_idx" in plan.get_value(i, 0).decode() for i in range(plan.ntuples))

    def close(self) -> None:
        self.session.close()


def literal_of(kind: str, row: np.ndarray) -> str:
    if kind == "bit":
        return "B'" + "".join("1" if x else "0" for x in row) + "'"
    if kind == "sparsevec":
        return "'{" + ",".join(f"{i + 1}:{float(row[i])!r}" for i in np.flatnonzero(row)) + f"}}/{len(row)}'"
    return "'[" + ",".join(repr(float(x)) for x in row) + "]'"


def explore(searcher: Searcher, truth: Truth, ladder: tuple[int, ...], enough: float) -> list[Point]:
    """Recall at each value, upwards until it is enough; it also warms the caches for the timed rounds."""
    points = []
    for knob in ladder:
        searcher.set_knob(knob)
        points.append(Point(knob, truth.recall(searcher.answers())))
        points[-1].pages = searcher.pages()
        if points[-1].recall >= enough:
            break
    return points


def curves(
    clusters: dict[str, Cluster],
    config: Config,
    dataset: datasets.Dataset,
    truth: Truth,
    rounds: int,
    ladders: dict[str, tuple[int, ...]],
    enough: float = 0.996,
) -> dict[str, list[Point]]:
    """The measured points of every side. The sides alternate within every round."""
    searchers = {side: Searcher(cluster, config, dataset) for side, cluster in clusters.items()}
    try:
        points: dict[str, list[Point]] = {}
        for side, searcher in searchers.items():
            if not searcher.uses_index():
                raise SystemExit(f"{side}: the planner does not take the index for {config.query_sql}")
            points[side] = explore(searcher, truth, ladders[side], enough)
        with servers.on_one_core([searcher.session for searcher in searchers.values()]):
            for at in range(max(len(p) for p in points.values())):
                sides = [side for side in searchers if at < len(points[side])]
                for side in sides:
                    searchers[side].set_knob(points[side][at].knob)
                    searchers[side].warm()
                for turn in range(rounds):
                    spent = dict.fromkeys(sides, 0.0)
                    # Turns of a few queries: what else the machine does meets both sides alike.
                    for number, low in enumerate(range(0, len(dataset.queries), TURN)):
                        for side in sides if (turn + number) % 2 else reversed(sides):
                            spent[side] += searchers[side].timed(points[side][at], low, low + TURN)
                    for side in sides:
                        points[side][at].cpu.append(spent[side] / len(dataset.queries) * 1e6)
        return points
    finally:
        for searcher in searchers.values():
            searcher.close()


def merged(builds: list[list[Point]]) -> list[dict]:
    """One curve of several builds' curves over the same ladder: chance moves a graph's recall, and a clustering's
    more.
    """
    out = []
    for same in zip(*builds):
        whole = Point(same[0].knob, statistics.mean(p.recall for p in same), statistics.mean(p.pages for p in same))
        for point in same:
            whole.cpu += point.cpu
            whole.wall += point.wall
        cpu = statistics.mean(statistics.median(p.cpu) for p in same)
        out.append(whole.as_dict() | {"cpu_us": cpu, "recall_builds": [p.recall for p in same]})
    return out


def at_recall(points: list[dict], target: float, figure: str = "cpu_us") -> tuple[float | None, str]:
    """The figure where the curve crosses a recall: log-linear in the share of neighbours missed. A mark says '<' when
    the curve's first point is above the target already, and there is no value when its last is below.
    """
    if not points or points[-1]["recall"] < target and max(p["recall"] for p in points) < target:
        return None, ""
    if points[0]["recall"] >= target:
        return points[0][figure], "<"

    def missed(point: dict) -> float:
        return -math.log(max(1 - point["recall"], 1e-4))

    wanted = -math.log(1 - target)
    for low, high in zip(points, points[1:]):
        if low["recall"] < target <= high["recall"]:
            share = (wanted - missed(low)) / max(missed(high) - missed(low), 1e-9)
            return math.exp(math.log(low[figure]) + share * (math.log(high[figure]) - math.log(low[figure]))), ""
    return None, ""
