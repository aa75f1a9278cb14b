"""What happens where memory is short: builds with a part of what they would take, and searches of an index that is
larger than the server's buffers.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from benches.index import building, datasets, servers, serving
from benches.index.ground_truth import Truth
from benches.index.searching import Searcher
from benches.index.servers import Cluster, Config
from benches.index.writing import copies

# hnsw builds get one of so many parts of what one that has enough takes at its peak, ivfflat builds of the table.
PARTS = {"hnsw": {"quarter": 4, "sixteenth": 16}, "ivfflat": {"tenth": 10}}
WHOLE = {"hnsw": "its memory", "ivfflat": "the table"}
# Where recall is looked at: mean over these values of ef_search or probes.
KNOBS = {"hnsw": (10, 40, 160), "ivfflat": (4, 16, 64)}
# The buffers hold one of so many parts of pgvector's index.
SHARE = 4
# Passes over the queries once the kernel has the files.
ROUNDS = 3
# What the server gives a build at least.
LEAST_KB = 1024
BLOCK = 8192

# Phase, key, unit, what it is called, form.
LINES = (
    *(
        ("memory", f"{part} {key}", 1.0, f"build within a {part} of {WHOLE[am]}: {said}", form)
        for am, parts in PARTS.items()
        for part in parts
        for key, said, form in (
            ("cpu", "CPU to that with all", ".2f"),
            ("wall", "wall to that with all", ".2f"),
            ("recall", "recall less that with all", "+.4f"),
        )
    ),
    ("buffers", "cold", 1.0, "buffers for a quarter, cold files, queries/s", ".1f"),
    ("buffers", "warm", 1.0, "buffers for a quarter, warm files, queries/s", ".1f"),
)
# Of which more is better.
HIGHER = tuple(name for phase, key, _, name, _ in LINES if phase == "buffers")


def memory(clusters: dict[str, Cluster], config: Config, dataset: datasets.Dataset) -> dict[str, dict]:
    """Builds of this project with less memory than they would take: CPU and wall as parts of those of a build with
    enough, and what recall loses. On pgvector's pages of hnsw, its own and ours, a build goes on row by row, which
    takes too long to be waited for.
    """
    truth = Truth(dataset, config.opclass.metric)
    row_by_row = ("theirs", "ours") if config.am == "hnsw" else ("theirs",)
    own = {side: cluster for side, cluster in clusters.items() if side not in row_by_row}
    figures: dict[str, dict] = {}
    with copies(own, config) as name:
        for side, cluster in own.items():
            whole = built(cluster, config, dataset, truth, name, None)
            all_of_it = whole["memory_bytes"] if config.am == "hnsw" else whole["table_bytes"]
            found = figures[side] = {"all_bytes": all_of_it}
            for part, count in PARTS[config.am].items():
                budget = max(LEAST_KB, all_of_it // count // 1024)
                less = built(cluster, config, dataset, truth, name, budget)
                found[f"{part} cpu"] = less["cpu_s"] / whole["cpu_s"]
                found[f"{part} wall"] = less["wall_s"] / whole["wall_s"]
                found[f"{part} recall"] = less["recall"] - whole["recall"]
                found[f"{part} notices"] = less["notices"]
    return figures


def built(
    cluster: Cluster, config: Config, dataset: datasets.Dataset, truth: Truth, name: str, budget_kb: int | None
) -> dict:
    """A build in so many kB of maintenance_work_mem, or in the server's, and the mean recall of its index."""
    setting = () if budget_kb is None else (f"SET maintenance_work_mem = {budget_kb}",)
    found = building.build(cluster, config, name, setting)
    searcher = Searcher(cluster, config, dataset, dbname=name)
    try:
        recalls = []
        for knob in KNOBS[config.am]:
            searcher.set_knob(knob)
            recalls.append(truth.recall(searcher.answers()))
    finally:
        searcher.close()
    return found | {"recall": sum(recalls) / len(recalls)}


def buffers(
    clusters: dict[str, Cluster], config: Config, dataset: datasets.Dataset, curves: dict[str, list[dict]]
) -> dict[str, dict]:
    """Queries per second of one client at equal recall, on servers whose buffers hold a quarter of pgvector's index (of
    ours, where pgvector is left out): on their first pass, with files that the kernel does not have, and on later ones.
    The servers are restarted.
    """
    session = servers.connect(clusters.get("theirs") or next(iter(clusters.values())), config.key)
    kb = servers.number(session, "SELECT pg_relation_size('embedding_idx')") // SHARE // 1024
    session.close()
    return {
        side: restarted(cluster, config, dataset, serving.knob_for(curves[side]), max(kb, LEAST_KB))
        for side, cluster in clusters.items()
    }


def restarted(cluster: Cluster, config: Config, dataset: datasets.Dataset, knob: int, kb: int) -> dict:
    """One side's figures; its server has its own buffers again at the end."""
    before, session = cluster.settings, servers.connect(cluster, config.key)
    path = servers.value(session, "SELECT pg_relation_filepath('embedding_idx')")
    session.must("CHECKPOINT")
    session.close()
    try:
        cluster.stop()
        cluster.settings = before | {"shared_buffers": f"{kb}kB"}
        forget(cluster.base / "data" / path)
        cluster.start()
        searcher = Searcher(cluster, config, dataset)
        try:
            searcher.set_knob(knob)
            cold = passed(searcher)
            warm = [passed(searcher) for _ in range(ROUNDS)]
        finally:
            searcher.close()
        return {"cold": cold, "warm": sorted(warm)[ROUNDS // 2], "knob": knob, "kb": kb}
    finally:
        cluster.stop()
        cluster.settings = before
        cluster.start()


def passed(searcher: Searcher) -> float:
    """Queries per second of a pass over all of them."""
    began = time.perf_counter()
    searcher.answers()
    return len(searcher.parameters) / (time.perf_counter() - began)


def forget(path: Path) -> None:
    """Makes the kernel forget an index's files, all segments of it: they are on disk since the checkpoint."""
    for part in path.parent.glob(f"{path.name}*"):
        handle = os.open(part, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
