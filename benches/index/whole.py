"""Whole queries: what one costs without any search, and what it costs as applications send it."""

from __future__ import annotations

import statistics

from benches.index import datasets, searching, servers, serving
from benches.index.servers import Cluster, Config

# Rows of the table that the floor is read from, and of a result.
FEW, LIMIT = 1000, 10


def floor(clusters: dict[str, Cluster], config: Config, dataset: datasets.Dataset, rounds: int = 7) -> dict[str, dict]:
    """Backend CPU of ten rows by primary key with their distances: what a query costs before it searches."""
    operator, kind = config.opclass.operator, config.opclass.parameter_type
    spent: dict[str, list[float]] = {side: [] for side in clusters}
    sessions = {}
    try:
        for side, cluster in clusters.items():
            session = sessions[side] = servers.connect(cluster, config.key)
            session.must("DROP TABLE IF EXISTS few")
            session.must(f"CREATE TABLE few AS SELECT * FROM items WHERE id < {FEW}")
            session.must("ALTER TABLE few ADD PRIMARY KEY (id)")
            session.must("VACUUM (FREEZE, ANALYZE) few")
            session.must("SET enable_seqscan = off")
            session.must("SET enable_bitmapscan = off")
            session.prepare(
                "few", f"SELECT id, embedding {operator} $1::{kind} FROM few WHERE id >= $2::int4 LIMIT {LIMIT}"
            )
        queries = [datasets.binary_value(dataset.kind, q) for q in dataset.queries]
        firsts = [(at * 37 % (FEW - LIMIT)).to_bytes(4, "big") for at in range(len(queries))]
        with servers.on_one_core(list(sessions.values())):
            for number in range(rounds + 1):
                for side in clusters if number % 2 else reversed(clusters):
                    session = sessions[side]
                    used = session.cpu()
                    for pair in zip(queries, firsts):
                        session.execute("few", list(pair))
                    if number:
                        spent[side].append((session.cpu() - used) / len(queries) * 1e6)
        for session in sessions.values():
            session.must("DROP TABLE few")
    finally:
        for session in sessions.values():
            session.close()
    return {side: {"cpu_us": statistics.median(found), "cpu_us_rounds": found} for side, found in spent.items()}


def simple(
    clusters: dict[str, Cluster],
    config: Config,
    dataset: datasets.Dataset,
    curves: dict[str, list[dict]],
    rounds: int = 5,
) -> dict[str, dict]:
    """Backend CPU of a query sent as text, vector and all, without preparing it, at recall 0.95."""
    spent: dict[str, list[float]] = {side: [] for side in clusters}
    knobs = {side: serving.knob_for(curves[side]) for side in clusters}
    sessions = {}
    operator = config.opclass.operator
    statements = [
        f"SELECT id FROM items ORDER BY embedding {operator} {searching.literal_of(dataset.kind, row)} LIMIT {LIMIT}"
        for row in dataset.queries
    ]
    try:
        for side, cluster in clusters.items():
            session = sessions[side] = servers.connect(cluster, config.key)
            session.must("SET enable_seqscan = off")
            session.must(f"SET {searching.KNOBS[config.am]} = {knobs[side]}")
        with servers.on_one_core(list(sessions.values())):
            for number in range(rounds + 1):
                for side in clusters if number % 2 else reversed(clusters):
                    session = sessions[side]
                    used = session.cpu()
                    for statement in statements:
                        session.must(statement)
                    if number:
                        spent[side].append((session.cpu() - used) / len(statements) * 1e6)
    finally:
        for session in sessions.values():
            session.close()
    return {
        side: {"cpu_us": statistics.median(found), "knob": knobs[side], "cpu_us_rounds": found}
        for side, found in spent.items()
    }
