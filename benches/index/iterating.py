"""Scans that go on: CPU and recall of queries that want more rows than a batch has, or whose filter drops most."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np

from benches.index import datasets, servers
from benches.index.ground_truth import Truth
from benches.index.servers import Cluster, Config
from vector_testing.session import Session


@dataclass(frozen=True)
class Case:
    """A query: the order in which its scan goes on, its LIMIT, and of how many rows one passes its filter."""

    order: str
    limit: int
    every: int = 1

    @property
    def name(self) -> str:
        some = f", one row of {self.every}" if self.every > 1 else ""
        return f"{self.order.partition('_')[0]}, LIMIT {self.limit}{some}"


CASES = (
    Case("relaxed_order", 10),
    Case("relaxed_order", 100),
    Case("relaxed_order", 10, 20),
    Case("strict_order", 10),
    Case("strict_order", 100),
)


def cases_of(config: Config) -> list[Case]:
    """ivfflat knows relaxed order only."""
    return [case for case in CASES if config.am == "hnsw" or case.order == "relaxed_order"]


# Keys of the figures, what they are called, form.
LINES = tuple(
    (f"{case.name}: {key}", f"iterative, {case.name}: {said}", form)
    for case in CASES
    for key, said, form in (("cpu_us", "CPU, us/query", ".1f"), ("recall", "recall", ".4f"))
)


def prepare(session: Session, config: Config, case: Case) -> None:
    op = config.opclass
    session.must("SET enable_seqscan = off")
    session.must(f"SET {config.am}.iterative_scan = {case.order}")
    where = f"WHERE id % {case.every} = 0 " if case.every > 1 else ""
    order = f"embedding {op.operator} $1::{op.parameter_type}"
    session.prepare("nearest", f"SELECT id FROM items {where}ORDER BY {order} LIMIT {case.limit}")


def answers(session: Session, queries: list[bytes]) -> list[list[int]]:
    found = []
    for query in queries:
        result = session.execute("nearest", [query])
        found.append([int.from_bytes(result.get_value(at, 0), "big") for at in range(result.ntuples)])
    return found


def measure(
    clusters: dict[str, Cluster], config: Config, dataset: datasets.Dataset, rounds: int = 3
) -> dict[str, dict]:
    """Of each side and case the CPU of a query, µs, and recall; settings are the default ones."""
    queries = [datasets.binary_value(dataset.kind, query) for query in dataset.queries]
    figures: dict[str, dict] = {side: {} for side in clusters}
    for case in cases_of(config):
        passing = np.arange(len(dataset.base)) % case.every == 0 if case.every > 1 else None
        truth = Truth(dataset, config.opclass.metric, case.limit, passing)
        sessions = {side: servers.connect(cluster, config.key) for side, cluster in clusters.items()}
        try:
            spent: dict[str, list[float]] = {side: [] for side in clusters}
            for side, session in sessions.items():
                prepare(session, config, case)
                figures[side][f"{case.name}: recall"] = truth.recall(answers(session, queries))
            with servers.on_one_core(list(sessions.values())):
                for number in range(rounds):
                    for side in clusters if number % 2 else reversed(clusters):
                        used = sessions[side].cpu()
                        for query in queries:
                            sessions[side].execute("nearest", [query])
                        spent[side].append((sessions[side].cpu() - used) / len(queries) * 1e6)
            for side, taken in spent.items():
                figures[side][f"{case.name}: cpu_us"] = statistics.median(taken)
        finally:
            for session in sessions.values():
                session.close()
    return figures
