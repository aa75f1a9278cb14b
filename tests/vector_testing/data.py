"""The operator classes, and clustered rows of every type from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import psycopg

DIMS, SPARSE_DIMS, BITS = 16, 48, 64


@dataclass(frozen=True)
class Opclass:
    am: str
    name: str
    column: str
    operator: str

    @property
    def options(self) -> str:
        return " WITH (lists = 20)" if self.am == "ivfflat" else ""


_TYPES = {"vector": "v", "halfvec": "h", "sparsevec": "s", "bit": "b"}
_OPERATORS = {"l2": "<->", "ip": "<#>", "cosine": "<=>", "l1": "<+>", "hamming": "<~>", "jaccard": "<%>"}
COLUMNS = f"id int, v vector({DIMS}), h halfvec({DIMS}), s sparsevec({SPARSE_DIMS}), b bit({BITS})"


def _opclass(am: str, name: str) -> Opclass:
    kind, measure, _ = name.split("_")
    return Opclass(am, name, _TYPES[kind], _OPERATORS[measure])


OPCLASSES = [
    _opclass("hnsw", f"{kind}_{measure}_ops")
    for kind in ("vector", "halfvec", "sparsevec")
    for measure in ("l2", "ip", "cosine", "l1")
]
OPCLASSES += [_opclass("hnsw", f"bit_{measure}_ops") for measure in ("hamming", "jaccard")]
OPCLASSES += [
    _opclass("ivfflat", f"{kind}_{measure}_ops") for kind in ("vector", "halfvec") for measure in ("l2", "ip", "cosine")
]
OPCLASSES += [_opclass("ivfflat", "bit_hamming_ops")]
PLAIN = {am: _opclass(am, "vector_l2_ops") for am in ("hnsw", "ivfflat")}


class Data:
    """Clustered rows from a fixed seed; the same row in each type."""

    def __init__(self, seed: int, dims: int = DIMS):
        self.rng = np.random.default_rng(seed)
        self.dims = dims
        self.centres = self.rng.normal(0, 1.5, (30, dims))
        self.planes = self.rng.normal(0, 1, (dims, BITS))
        self.spread = self.rng.normal(0, 1, (dims, SPARSE_DIMS))

    def rows(self, count: int) -> np.ndarray:
        return self.centres[self.rng.integers(0, len(self.centres), count)] + self.rng.normal(0, 1, (count, self.dims))

    def text(self, row: np.ndarray, column: str) -> str:
        if column in "vh":
            return "[" + ",".join(f"{x:.4g}" for x in row) + "]"
        if column == "b":
            return "".join("1" if x > 0 else "0" for x in row @ self.planes)
        wide = row @ self.spread
        return "{" + ",".join(f"{i + 1}:{x:.4g}" for i, x in enumerate(wide) if abs(x) > 5) + f"}}/{SPARSE_DIMS}"

    def copy(self, connection: psycopg.Connection, table: str, first: int, count: int, columns: str = "vhsb") -> None:
        with connection.cursor() as cursor, cursor.copy(f"COPY {table} (id, {', '.join(columns)}) FROM STDIN") as copy:
            for number, row in enumerate(self.rows(count)):
                copy.write_row([first + number, *(self.text(row, column) for column in columns)])
