"""Exact neighbours by brute force in numpy, cached, and recall against them."""

from __future__ import annotations

import hashlib

import numpy as np

from benches.index.datasets import Dataset
from benches.sql import data

# Candidates of the single-precision pass that the double-precision pass orders; twice as many as are wanted at least.
CANDIDATES = 64


def distances(metric: str, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """queries x rows, smaller is nearer; l2 squared, ip negated. In the precision of its input."""
    if metric == "l1":
        return np.stack([np.abs(rows - q).sum(axis=1) for q in queries])
    dots = queries @ rows.T
    if metric == "ip":
        return -dots
    if metric == "cosine":
        lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)[None, :]
        return 1 - dots / np.where(lengths == 0, np.inf, lengths)
    ones_q, ones_r = (queries**2).sum(axis=1)[:, None], (rows**2).sum(axis=1)[None, :]
    if metric == "jaccard":
        return 1 - dots / np.maximum(ones_q + ones_r - dots, 1e-9) * (dots > 0)
    # Of zeros and ones, the squared distance counts the bits that differ.
    return ones_q + ones_r - 2 * dots


def paired(metric: str, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Distances of one query to a few rows, in double precision and without cancellation."""
    query, rows = query.astype(np.float64), rows.astype(np.float64)
    if metric == "l2":
        return ((rows - query) ** 2).sum(axis=1)
    return distances(metric, query[None, :], rows)[0]


class Truth:
    """The distance of the k-th nearest row of each query: whatever is no farther is a right answer, ties included."""

    def __init__(self, dataset: Dataset, metric: str, k: int = 10, alive: np.ndarray | None = None):
        self.dataset, self.metric, self.k = dataset, metric, k
        self.limits = self._cached(alive)

    def _cached(self, alive: np.ndarray | None) -> np.ndarray:
        d = self.dataset
        digest = hashlib.sha256(f"{d.base.shape}{d.queries.shape}{SEED_OF_METHOD}".encode())
        # A sample of the content: a cache made from other data must not be taken.
        digest.update(np.ascontiguousarray(d.base[:: max(1, len(d.base) // 97)]).tobytes() + d.queries.tobytes())
        if alive is not None:
            digest.update(alive.tobytes())
        path = data.cache_dir() / f"truth-{d.name}-{d.kind}-{self.metric}-{self.k}-{digest.hexdigest()[:12]}.npy"
        if not path.exists():
            data.save(path, self._compute(alive))
        return np.load(path)

    def _compute(self, alive: np.ndarray | None) -> np.ndarray:
        d, limits, candidates = self.dataset, [], max(CANDIDATES, 2 * self.k)
        for at in range(0, len(d.queries), 50):
            queries = d.queries[at : at + 50]
            best_d = np.full((len(queries), 0), np.inf, dtype=np.float32)
            best_i = np.zeros((len(queries), 0), dtype=np.int64)
            for low in range(0, len(d.base), 50_000):
                part = distances(self.metric, queries, d.base[low : low + 50_000])
                if alive is not None:
                    part = np.where(alive[low : low + 50_000][None, :], part, np.inf)
                keep = min(candidates, part.shape[1])
                near = np.argpartition(part, keep - 1, axis=1)[:, :keep]
                best_d = np.concatenate([best_d, np.take_along_axis(part, near, axis=1)], axis=1)
                best_i = np.concatenate([best_i, near + low], axis=1)
            order = np.argsort(best_d, axis=1)[:, :candidates]
            for row, query in enumerate(queries):
                kept = best_i[row, order[row]][np.isfinite(best_d[row, order[row]])]
                limits.append(np.sort(paired(self.metric, query, d.base[kept]))[self.k - 1])
        return np.array(limits)

    def recall(self, answers: list[list[int]]) -> float:
        """Share of the k nearest that was answered; answers are the ids of each query, of all queries in order."""
        found = 0
        for number, ids in enumerate(answers):
            unique = list(dict.fromkeys(ids))[: self.k]
            if unique:
                limit = self.limits[number]
                found += int(
                    (
                        paired(self.metric, self.dataset.queries[number], self.dataset.base[unique])
                        <= limit + 1e-6 * abs(limit) + 1e-9
                    ).sum()
                )
        return found / (len(answers) * self.k)


# Part of the cache's key: raise it when the way of computing changes.
SEED_OF_METHOD = 1
