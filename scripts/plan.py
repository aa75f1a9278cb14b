#!/usr/bin/env python3
"""Plans machines for a number of vectors from what was measured (docs/scale.md).

    scripts/plan.py --rows 1e8 --dimensions 768 --type halfvec
    scripts/plan.py --table          the tables of docs/scale.md

Sizes follow the page formats that indexes get by default; CPU follows power laws through the figures of
benches/RESULTS.md for pgvector's pages (one core of an AMD EPYC) and is good to a factor of two where it was
measured, to a million rows, and a guess beyond.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

PAGE, USABLE = 8192, 8160
MONTH = 730.0


def value_bytes(kind: str, d: int) -> int:
    return 8 + {"vector": 4 * d, "halfvec": 2 * d, "bit": -(-d // 8)}[kind]


def paged(tuple_bytes: float) -> float:
    """Bytes of index for one row when pages hold whole tuples."""
    return PAGE / max(1, int(USABLE / tuple_bytes))


def hnsw_bytes(kind: str, d: int, m: int = 16) -> float:
    # The element, its neighbours and two line pointers; upper layers add two in a hundred.
    element = value_bytes(kind, d) + 72 + 12 * m + 8 + 8
    first = paged(element) * 1.02 if element <= USABLE else math.inf
    if kind == "bit":
        return first if d > 128 else 2.4 * first
    # A code of a bit for each dimension of every neighbour; large records are cut, and leave little of a page empty.
    record = value_bytes(kind, d) + 56 + 24 * m + 2 * m * -(-d // 8)
    cut = 1.04 * record if record <= USABLE / 2 or record > USABLE else math.inf
    inline = min(paged(record) if record <= USABLE else math.inf, cut) * 1.02
    # What is larger than that stays on pgvector's pages; what is smaller gets more bits.
    return first if inline > 2.45 * first else max(inline, 2.1 * first if d < 160 else 0)


def ivfflat_bytes(kind: str, d: int) -> float:
    if kind == "bit":
        return paged(value_bytes(kind, d) + 16 + 4)
    # The value, its place and a bit for each dimension, on pages that are filled.
    return value_bytes(kind, d) + 36 + d / 8


def heap_bytes(kind: str, d: int) -> float:
    # The row's header, a key and a few small columns; from 2 kB on the value is out of line, in chunks.
    value = value_bytes("vector" if kind == "bit" else kind, d)
    return 100 + value * (1.04 if value > 2000 else 1.0)


def hnsw_build_memory(kind: str, d: int) -> float:
    """Bytes of maintenance_work_mem for one row: 1,056 at 128 dimensions, 4,350 at 768."""
    return 1.25 * value_bytes(kind, d) + 450


def hnsw_build_us(n: float, d: int) -> float:
    """CPU µs for one row: 65.3 at a million rows of 128 dimensions, rows^0.16, dimensions^0.21."""
    return 65.3 * (n / 1e6) ** 0.16 * (d / 128) ** 0.21


def hnsw_query_us(n: float, d: int) -> float:
    """CPU µs of a query at recall 0.95: 165 at a million rows of 128 dimensions, rows^0.31, dimensions^0.39."""
    return 165 * (n / 1e6) ** 0.31 * (d / 128) ** 0.39


def ivfflat_build_us(n: float, d: int) -> float:
    """CPU µs for one row: 3.38 at a million rows of 128 dimensions, dimensions^0.66; lists grow like rows^0.5."""
    return 3.38 * max(1.0, n / 1e6) ** 0.5 * (d / 128) ** 0.66


def ivfflat_query_us(n: float, d: int) -> float:
    """CPU µs of a query at recall 0.95: 272 at a million rows of 128 dimensions, rows^0.44, dimensions^0.57."""
    return 272 * (n / 1e6) ** 0.44 * (d / 128) ** 0.57


@dataclass
class Plan:
    rows: float
    parts: int
    index_gb: float
    heap_gb: float
    build_memory_gb: float
    build_core_hours: float
    query_ms: float
    machines: int
    build_hours: float
    qps: float
    cost: float


def plan(o: argparse.Namespace) -> Plan:
    n, d, kind, gb = o.rows, o.dimensions, o.type, 1e9
    parts = max(1, math.ceil(n / o.part_rows))
    each = n / parts
    hnsw = o.method == "hnsw"
    index = n * (hnsw_bytes(kind, d) if hnsw else ivfflat_bytes(kind, d)) / gb
    heap = n * heap_bytes(kind, d) / gb
    build_us = (hnsw_build_us if hnsw else ivfflat_build_us)(each, d)
    core_hours = n * build_us / 1e6 / 3600
    asked = parts if o.parts_asked is None else min(parts, o.parts_asked)
    search_us = o.hardness * (hnsw_query_us if hnsw else ivfflat_query_us)(each, d)
    if kind == "bit":
        # Candidates ranked again: 2 µs for a value out of line, twice what a scan in storage order takes.
        search_us += 200 * 2.0
    query_us = asked * search_us + (asked - 1) * o.shard_us
    by_memory = index / (o.memory * 0.75)
    by_cpu = o.qps * query_us / 1e6 / (o.cores * 0.7)
    machines = math.ceil(max(by_memory, by_cpu)) * o.copies
    qps = machines * o.cores * 0.7 * 1e6 / query_us
    # Half of linear: threads of a build wait for each other, and for the heap.
    hours = core_hours / (machines / o.copies * o.cores * 0.5)
    memory = each * hnsw_build_memory(kind, d) / gb if hnsw else 0.0
    return Plan(
        n,
        parts,
        index,
        heap,
        memory,
        core_hours,
        query_us / 1000,
        machines,
        hours,
        qps,
        machines * o.cores * o.price * MONTH,
    )


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--type", choices=("vector", "halfvec", "bit"), default="halfvec", help="what the index holds")
    parser.add_argument("--method", choices=("hnsw", "ivfflat"), default="hnsw")
    parser.add_argument(
        "--part-rows", type=float, default=25e6, help="most rows of one index: partitions or shards beyond"
    )
    parser.add_argument(
        "--parts-asked", type=int, help="parts that a query looks at, when it names the partition key (default: all)"
    )
    parser.add_argument(
        "--hardness", type=float, default=2.0, help="1 for clustered data, 8 for word vectors like GloVe"
    )
    parser.add_argument("--qps", type=float, default=100, help="queries per second wanted")
    parser.add_argument("--copies", type=int, default=2, help="primaries and standbys of each part")
    parser.add_argument("--cores", type=int, default=32, help="of a machine")
    parser.add_argument("--memory", type=float, default=256, help="GB of a machine; three quarters hold indexes")
    parser.add_argument(
        "--shard-us",
        type=float,
        default=650,
        help="CPU µs of postgres_fdw for each further part (examples/shards measures it; 0 for partitions of one server)",
    )
    parser.add_argument("--price", type=float, default=0.06, help="of a core and its share of memory, for an hour")
    parser.add_argument("--table", action="store_true", help="the tables of docs/scale.md")
    return parser


def size(gb: float) -> str:
    return f"{gb / 1000:,.1f} TB" if gb >= 1000 else f"{gb:,.1f} GB" if gb < 100 else f"{gb:,.0f} GB"


def row(name: str, p: Plan) -> str:
    seconds = p.build_hours * 3600
    wall = (
        f"{seconds / 3600:,.1f} h"
        if seconds >= 3600
        else f"{seconds / 60:,.0f} min"
        if seconds >= 120
        else f"{seconds:,.0f} s"
    )
    return (
        f"| {name} | {p.parts:,} | {size(p.index_gb)} | {size(p.heap_gb)} | {size(p.build_memory_gb) if p.build_memory_gb else '–'} | {p.build_core_hours:,.2f} | {wall} "
        f"| {p.query_ms:,.1f} ms | {p.machines:,} | {p.qps:,.0f} | {p.cost:,.0f} |"
    )


HEAD = """| | parts | indexes | tables | build memory of a part | build, core hours | build, wall | CPU of a query | machines | queries/s they give | per month |
|---|---|---|---|---|---|---|---|---|---|---|"""
CASES = [
    ("1 million, vector", ["--rows", "1e6", "--type", "vector", "--cores", "8", "--memory", "32"]),
    ("1 million, halfvec", ["--rows", "1e6", "--cores", "8", "--memory", "32"]),
    ("100 million, halfvec", ["--rows", "1e8"]),
    ("100 million, bits and rerank", ["--rows", "1e8", "--type", "bit"]),
    ("100 million, halfvec, ivfflat", ["--rows", "1e8", "--method", "ivfflat"]),
    ("100 million, halfvec, one partition asked", ["--rows", "1e8", "--parts-asked", "1"]),
    ("10 billion, halfvec", ["--rows", "1e10"]),
    ("10 billion, bits and rerank", ["--rows", "1e10", "--type", "bit"]),
    ("10 billion, bits, one partition asked", ["--rows", "1e10", "--type", "bit", "--parts-asked", "1"]),
]


def main() -> None:
    parser = options()
    given = parser.parse_args()
    print(HEAD)
    if given.table:
        for name, words in CASES:
            print(row(name, plan(parser.parse_args(words))))
    else:
        print(row(f"{given.rows:,.0f} rows, {given.type}, {given.method}", plan(given)))


if __name__ == "__main__":
    main()
