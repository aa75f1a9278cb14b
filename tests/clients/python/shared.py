"""Rows of every type from a fixed seed, and what each operator must answer for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pgvector import Bit, HalfVector, SparseVector, Vector

ROWS, DIMS, SPARSE_DIMS, BITS = 400, 24, 60, 64


def l2(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.sum((a - b) ** 2)))


def negative_inner_product(a: np.ndarray, b: np.ndarray) -> float:
    return float(-np.dot(a, b))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(1 - np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))


def l1(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(np.abs(a - b)))


def hamming(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(a != b))


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    both, either = np.sum((a == 1) & (b == 1)), np.sum((a == 1) | (b == 1))
    return 1.0 if both == 0 else float(1 - both / either)


@dataclass(frozen=True)
class Kind:
    """A type as the clients see it; `rows` are its values as plain arrays."""

    name: str
    column: str
    wrap: Callable[[np.ndarray], Any]
    rows: np.ndarray
    other: str
    """a value with other dimensions, as text"""

    def values(self) -> list[Any]:
        return [self.wrap(row) for row in self.rows]


_rng = np.random.default_rng(7)
# Eighths are exact in half precision, so that every type answers exactly what numpy does.
_dense = np.round(_rng.normal(0, 1.5, (ROWS, DIMS)) * 8) / 8
_sparse = np.round(_rng.normal(0, 2, (ROWS, SPARSE_DIMS)) * 8) / 8
_sparse[_rng.random((ROWS, SPARSE_DIMS)) > 0.2] = 0
_sparse[:, 0] = 0.5
_bits = (_rng.random((ROWS, BITS)) > 0.6).astype(float)

KINDS = {
    kind.name: kind
    for kind in (
        Kind("vector", f"vector({DIMS})", Vector, _dense, "[1,2]"),
        Kind("halfvec", f"halfvec({DIMS})", HalfVector, _dense, "[1,2]"),
        Kind("sparsevec", f"sparsevec({SPARSE_DIMS})", SparseVector, _sparse, "{1:1}/2"),
        Kind("bit", f"bit({BITS})", lambda row: Bit(row.astype(bool)), _bits, "101"),
    )
}
_OPERATORS = {
    "l2": ("<->", l2),
    "ip": ("<#>", negative_inner_product),
    "cosine": ("<=>", cosine),
    "l1": ("<+>", l1),
    "hamming": ("<~>", hamming),
    "jaccard": ("<%>", jaccard),
}
OPERATORS = [
    (kind, *_OPERATORS[name]) for kind in ("vector", "halfvec", "sparsevec") for name in ("l2", "ip", "cosine", "l1")
]
OPERATORS += [("bit", *_OPERATORS[name]) for name in ("hamming", "jaccard")]
OPCLASSES = [
    ("hnsw", kind, f"{kind}_{name}_ops", _OPERATORS[name][0])
    for kind in ("vector", "halfvec", "sparsevec")
    for name in ("l2", "ip", "cosine", "l1")
]
OPCLASSES += [("hnsw", "bit", f"bit_{name}_ops", _OPERATORS[name][0]) for name in ("hamming", "jaccard")]
OPCLASSES += [
    ("ivfflat", kind, f"{kind}_{name}_ops", _OPERATORS[name][0])
    for kind in ("vector", "halfvec")
    for name in ("l2", "ip", "cosine")
]
OPCLASSES += [("ivfflat", "bit", "bit_hamming_ops", "<~>")]


def nearest(
    kind: Kind, distance: Callable[[np.ndarray, np.ndarray], float], query: np.ndarray, count: int = 10
) -> list[float]:
    return sorted(distance(row, query) for row in kind.rows)[:count]
