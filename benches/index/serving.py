"""Queries as a server gets them: several clients at once, and without an index."""

from __future__ import annotations

import multiprocessing
import statistics
import time

from benches.index import datasets, servers
from benches.index.searching import Searcher
from benches.index.servers import Cluster, Config

# Clients ask with the least ef_search or probes that finds this share of the neighbours.
RECALL = 0.95
# Rounds of the clients, and seconds of each.
ROUNDS = 4
SECONDS = 1.0


def knob_for(points: list[dict], target: float = RECALL) -> int:
    """The least value of the ladder whose recall reaches the target, or the last."""
    return next((p["knob"] for p in points if p["recall"] >= target), points[-1]["knob"])


def _client(cluster: Cluster, config: Config, dataset: datasets.Dataset, knob: int, offset: int, pipe) -> None:
    searcher = Searcher(cluster, config, dataset)
    try:
        searcher.set_knob(knob)
        searcher.warm()
        pipe.send("ready")
        turned = searcher.parameters[offset:] + searcher.parameters[:offset]
        while (seconds := pipe.recv()) is not None:
            done, walls, cpu = 0, [], searcher.session.cpu()
            start = now = time.perf_counter()
            while now < start + seconds:
                searcher.session.execute("nearest", [turned[done % len(turned)]])
                after = time.perf_counter()
                walls.append(after - now)
                now, done = after, done + 1
            pipe.send((done, now - start, searcher.session.cpu() - cpu, walls))
    finally:
        searcher.close()


class _Clients:
    """Processes with a connection each; idle between rounds."""

    def __init__(self, cluster: Cluster, config: Config, dataset: datasets.Dataset, knob: int, count: int):
        context = multiprocessing.get_context("fork")
        self.ends, self.processes = [], []
        for number in range(count):
            near, far = context.Pipe()
            offset = number * len(dataset.queries) // count
            process = context.Process(target=_client, args=(cluster, config, dataset, knob, offset, far), daemon=True)
            process.start()
            self.ends.append(near)
            self.processes.append(process)
            # Else its end would keep the pipe open after the process has died.
            far.close()
        for end in self.ends:
            end.recv()

    def round(self, seconds: float) -> tuple[float, float, list[float]]:
        """Queries per second, seconds of backend CPU per query, seconds that each query took."""
        for end in self.ends:
            end.send(seconds)
        found = [end.recv() for end in self.ends]
        done = sum(f[0] for f in found)
        return sum(f[0] / f[1] for f in found), sum(f[2] for f in found) / done, [w for f in found for w in f[3]]

    def close(self) -> None:
        for end in self.ends:
            try:
                end.send(None)
            except OSError:
                pass  # that client is gone already
        for process in self.processes:
            process.join()


def clients(
    clusters: dict[str, Cluster], config: Config, dataset: datasets.Dataset, curves: dict[str, list[dict]], most: int
) -> dict[str, dict]:
    """Throughput of 1 and of `most` clients at equal recall. Sides take turns, each has the machine to itself while it
    runs.
    """
    out: dict[str, dict] = {side: {"knob": knob_for(curves[side]), "by_clients": {}} for side in clusters}
    for count in dict.fromkeys((1, most)):
        groups: dict[str, _Clients] = {}
        samples: dict[str, list] = {side: [] for side in clusters}
        try:
            for side, cluster in clusters.items():
                groups[side] = _Clients(cluster, config, dataset, out[side]["knob"], count)
            for number in range(ROUNDS + 1):
                for side in clusters if number % 2 else reversed(clusters):
                    found = groups[side].round(SECONDS)
                    if number:  # the first round warms up
                        samples[side].append(found)
        finally:
            for group in groups.values():
                group.close()
        for side, found in samples.items():
            walls = sorted(w for f in found for w in f[2])
            out[side]["by_clients"][str(count)] = {
                "queries_per_s": statistics.median(f[0] for f in found),
                "cpu_us": statistics.median(f[1] for f in found) * 1e6,
                "queries_per_s_rounds": [f[0] for f in found],
                **{f"wall_p{p}_us": walls[min(len(walls) - 1, len(walls) * p // 100)] * 1e6 for p in (50, 95, 99)},
            }
    return out


def exact(
    clusters: dict[str, Cluster], config: Config, dataset: datasets.Dataset, rounds: int = 5, queries: int = 5
) -> dict[str, dict]:
    """The same query by a sequential scan: backend CPU and wall per query."""
    sessions: dict[str, servers.Session] = {}
    cpu: dict[str, list[float]] = {side: [] for side in clusters}
    wall: dict[str, list[float]] = {side: [] for side in clusters}
    try:
        for side, cluster in clusters.items():
            session = sessions[side] = servers.connect(cluster, config.key)
            session.must("SET enable_indexscan = off")
            session.prepare("nearest", config.query_sql)
        parameters = [datasets.binary_value(dataset.kind, q) for q in dataset.queries[:queries]]
        with servers.on_one_core(list(sessions.values())):
            for number in range(rounds + 1):
                for side in clusters if number % 2 else reversed(clusters):
                    session = sessions[side]
                    start, used = time.perf_counter(), session.cpu()
                    for parameter in parameters:
                        session.execute("nearest", [parameter])
                    if number:
                        cpu[side].append((session.cpu() - used) / len(parameters) * 1e6)
                        wall[side].append((time.perf_counter() - start) / len(parameters) * 1e6)
    finally:
        for session in sessions.values():
            session.close()
    return {
        side: {
            "cpu_us": statistics.median(cpu[side]),
            "wall_us": statistics.median(wall[side]),
            "cpu_us_rounds": cpu[side],
        }
        for side in clusters
    }
