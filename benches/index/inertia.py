"""How well an ivfflat index's centres fit the table: the mean distance of its rows to their nearest centre, read from
the index's file.
"""

from __future__ import annotations

import statistics
import struct

import numpy as np

from benches.index import datasets, servers
from benches.index.servers import Cluster, Config

PAGE = 8192
NO_BLOCK = 0xFFFFFFFF


def centres(cluster: Cluster, config: Config) -> np.ndarray:
    """The centres in the list pages of version 1."""
    session = servers.connect(cluster, config.key)
    try:
        session.must("CHECKPOINT")
        path = cluster.base / "data" / servers.value(session, "SELECT pg_relation_filepath('embedding_idx')")
    finally:
        session.close()
    found, block = [], 1
    with open(path, "rb") as file:
        while block != NO_BLOCK:
            file.seek(block * PAGE)
            page = file.read(PAGE)
            if len(page) < PAGE:
                raise RuntimeError(f"{path}: the list pages lead to block {block}, which is not there")
            lower, _, special = struct.unpack_from("=HHH", page, 12)
            for at in range(24, lower, 4):
                (pointer,) = struct.unpack_from("=I", page, at)
                # An item: where its entries start, where inserts go, then the value.
                found.append(
                    _value(config.opclass.kind, page[(pointer & 0x7FFF) + 8 : (pointer & 0x7FFF) + (pointer >> 17)])
                )
            (block,) = struct.unpack_from("=I", page, special)
    return np.stack(found)


def _value(kind: str, item: bytes) -> np.ndarray:
    if kind == "bit":
        (bits,) = struct.unpack_from("=i", item, 4)
        return np.unpackbits(np.frombuffer(item, "u1", (bits + 7) // 8, 8))[:bits].astype(np.float32)
    (dim,) = struct.unpack_from("=h", item, 4)
    return np.frombuffer(item, "=f2" if kind == "halfvec" else "=f4", dim, 8).astype(np.float32)


def inertia(cluster: Cluster, config: Config, dataset: datasets.Dataset) -> dict:
    """Per row: squared distance for l2, 1 - cosine for ip and cosine, differing bits for hamming."""
    middle = centres(cluster, config)
    rows, spherical = dataset.base, config.opclass.metric in ("ip", "cosine")
    if spherical:
        middle = middle / np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-30)
    squares, total, count = (middle.astype(np.float64) ** 2).sum(axis=1), 0.0, 0
    sizes = np.zeros(len(middle), dtype=np.int64)
    for at in range(0, len(rows), 20_000):
        part = np.asarray(rows[at : at + 20_000])
        if spherical:
            lengths = np.linalg.norm(part, axis=1, keepdims=True)
            part = part[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
        far = squares[None, :] - 2.0 * (part @ middle.T)
        nearest = far.argmin(axis=1)
        sizes += np.bincount(nearest, minlength=len(middle))
        exact = ((part.astype(np.float64) - middle[nearest]) ** 2).sum(axis=1)
        total += float(exact.sum()) / (2 if spherical else 1)
        count += len(part)
    return {
        "inertia": total / count,
        "lists": len(middle),
        "empty_lists": int((sizes == 0).sum()),
        "largest_list": int(sizes.max()),
    }


def mean(found: list[dict]) -> dict:
    """Of several builds."""
    return {key: statistics.mean(f[key] for f in found) for key in found[0]} | {
        "inertia_builds": [f["inertia"] for f in found]
    }
