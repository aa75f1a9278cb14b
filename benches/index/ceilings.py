"""What libraries in a process of their own do on the same rows: no pages, no transactions, no SQL. The ceiling.

    python -m benches.index.ceilings DATASET KIND METRIC M EF_CONSTRUCTION QUERIES LISTS THREADS [LIBRARY...]

Prints one JSON object per library as it is done. A library that is not installed is a line that says so. CPU is that of
this process, Python's call (some microseconds) included; queries come one at a time, on one thread.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

import numpy as np

from benches.index import datasets
from benches.index.ground_truth import Truth

EF = (10, 14, 20, 28, 40, 60, 80, 120, 160, 240, 320, 480)
PROBES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192)
ENOUGH = 0.996
ROUNDS = 3


@dataclass
class Task:
    """Rows (unit vectors for cosine), and how to index them."""

    rows: np.ndarray
    queries: np.ndarray
    metric: str
    m: int
    ef_construction: int
    lists: int
    threads: int


@dataclass
class Index:
    """A built index: its search of one query, and its knob with the values to try."""

    search: Callable[[np.ndarray], list[int]]
    set_knob: Callable[[int], None]
    ladder: tuple[int, ...] = EF


def hnswlib(task: Task) -> Index:
    import hnswlib as library

    index = library.Index(space="l2" if task.metric == "l2" else "ip", dim=task.rows.shape[1])
    index.init_index(max_elements=len(task.rows), M=task.m, ef_construction=task.ef_construction, random_seed=1)
    index.add_items(task.rows, num_threads=task.threads)
    return Index(lambda q: index.knn_query(q, k=10, num_threads=1)[0][0].tolist(), index.set_ef)


def usearch(task: Task) -> Index:
    from usearch.index import Index as Library

    index = Library(
        ndim=task.rows.shape[1],
        metric="l2sq" if task.metric == "l2" else "ip",
        dtype="f32",
        connectivity=task.m,
        expansion_add=task.ef_construction,
    )
    index.add(np.arange(len(task.rows)), task.rows, threads=task.threads)

    def set_knob(value: int) -> None:
        index.expansion_search = value

    return Index(lambda q: index.search(q, 10, threads=1).keys.tolist(), set_knob)


def _faiss(task: Task):
    import faiss

    faiss.omp_set_num_threads(task.threads)
    return faiss, faiss.METRIC_L2 if task.metric == "l2" else faiss.METRIC_INNER_PRODUCT


def faiss_hnsw(task: Task) -> Index:
    faiss, metric = _faiss(task)
    index = faiss.IndexHNSWFlat(task.rows.shape[1], task.m, metric)
    index.hnsw.efConstruction = task.ef_construction
    index.add(task.rows)

    def set_knob(value: int) -> None:
        faiss.omp_set_num_threads(1)
        index.hnsw.efSearch = value

    return Index(lambda q: index.search(q[None, :], 10)[1][0].tolist(), set_knob)


def faiss_ivf(task: Task) -> Index:
    faiss, metric = _faiss(task)
    dim = task.rows.shape[1]
    coarse = faiss.IndexFlatL2(dim) if task.metric == "l2" else faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFFlat(coarse, dim, task.lists, metric)
    index.cp.spherical = task.metric != "l2"
    index.train(task.rows[: max(50 * task.lists, 10_000)])
    index.add(task.rows)

    def set_knob(value: int) -> None:
        faiss.omp_set_num_threads(1)
        index.nprobe = value

    return Index(lambda q: index.search(q[None, :], 10)[1][0].tolist(), set_knob, PROBES)


# Name, access method that it is the ceiling of, and how it is built.
LIBRARIES = {
    "hnswlib": ("hnsw", hnswlib),
    "usearch": ("hnsw", usearch),
    "faiss-hnsw": ("hnsw", faiss_hnsw),
    "faiss-ivf": ("ivfflat", faiss_ivf),
}


def prepare() -> None:
    """Installs the libraries into this environment, as far as they can be had here, as pyproject.toml pins them."""
    for requirement in metadata.requires("vector-testing") or ():
        name, _, condition = requirement.partition(";")
        if "ceilings" not in condition:
            continue
        # hnswlib is compiled here; a machine without a C++ compiler goes without it.
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--retries",
            "5",
            name.strip(),
        ]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
            print(f"{name.strip()} could not be installed and is left out", file=sys.stderr)


def measure(task: Task, truth: Truth, build: Callable[[Task], Index]) -> dict:
    cpu, wall = time.process_time(), time.perf_counter()
    index = build(task)
    built = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    points = []
    for knob in index.ladder:
        index.set_knob(knob)
        answers = [[i for i in index.search(q) if i >= 0] for q in task.queries]
        spent = []
        for _ in range(ROUNDS):
            cpu = time.process_time()
            for query in task.queries:
                index.search(query)
            spent.append((time.process_time() - cpu) / len(task.queries) * 1e6)
        points.append({"knob": knob, "recall": truth.recall(answers), "cpu_us": sorted(spent)[len(spent) // 2]})
        if points[-1]["recall"] >= ENOUGH:
            break
    return {"build": built, "search": points}


def main() -> int:
    name, kind, metric, *numbers = sys.argv[1:9]
    m, ef_construction, count, lists, threads = (int(x) for x in numbers)
    dataset = datasets.load(name, kind, count)
    truth = Truth(dataset, metric)
    rows, queries = (np.ascontiguousarray(part, dtype=np.float32) for part in (dataset.base, dataset.queries))
    if metric == "cosine":
        rows, queries = (
            part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-30) for part in (rows, queries)
        )
    task = Task(rows, queries, metric, m, ef_construction, lists, threads)
    for library in sys.argv[9:] or LIBRARIES:
        am, build = LIBRARIES[library]
        try:
            found = measure(task, truth, build)
        except ImportError as missing:
            found = {"missing": str(missing)}
        print(
            json.dumps(
                {
                    "library": library,
                    "am": am,
                    "dataset": name,
                    "kind": kind,
                    "metric": metric,
                    "rows": len(rows),
                    "m": m,
                    "ef_construction": ef_construction,
                    "lists": lists,
                    "threads": threads,
                }
                | found
            ),
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
