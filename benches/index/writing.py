"""Writing with the index in place: single rows, several writers, and a vacuum after deletes. Each works on a copy of
the database, or on itself where nothing comes after.
"""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from benches.index import datasets, searching, servers
from benches.index.ground_truth import Truth
from benches.index.servers import Cluster, Config, Session, Work

INSERT = "INSERT INTO items VALUES ($1::int4, $2::{type})"
# Rows of one side between those of the other; a transaction each.
TURN = 100
# One of so many rows is deleted before the vacuum.
DELETED = 5
# Where recall is looked at afterwards.
KNOB = {"hnsw": 40, "ivfflat": 10}


@contextmanager
def copies(clusters: dict[str, Cluster], config: Config):
    """A changed database must not be measured again, nor kept."""
    name = f"changed-{config.key}"
    try:
        for cluster in clusters.values():
            servers.make_database(cluster, name, template=config.key)
        yield name
    finally:
        for cluster in clusters.values():
            servers.drop_database(cluster, name)


@contextmanager
def spent(clusters: dict[str, Cluster], config: Config, kept: bool):
    """The database itself, if it is not kept: the server's buffers have its index, and have nothing of a copy's. There
    inserts would wait for pages, the fewer of them they need the longer.
    """
    if kept:
        with copies(clusters, config) as name:
            yield name
    else:
        yield config.key


def parameters(dataset: datasets.Dataset, count: int) -> tuple[list[list[bytes]], np.ndarray]:
    """Binary (id, value) of rows that the table does not have, and the rows."""
    rows = datasets.more(dataset, count)
    first = len(dataset.base)
    return [
        [(first + i).to_bytes(4, "big"), datasets.binary_value(dataset.kind, row)] for i, row in enumerate(rows)
    ], rows


def writer(cluster: Cluster, name: str, config: Config) -> Session:
    session = servers.connect(cluster, name)
    session.prepare("add", INSERT.format(type=config.opclass.parameter_type))
    return session


def bare_writer(cluster: Cluster, name: str, config: Config) -> Session:
    """The same into a table with the same rows and no index but that of the primary key."""
    session = servers.connect(cluster, name)
    session.must("CREATE TABLE bare (LIKE items INCLUDING STORAGE, PRIMARY KEY (id))")
    session.must("INSERT INTO bare SELECT * FROM items")
    session.prepare("add", INSERT.format(type=config.opclass.parameter_type).replace("items", "bare"))
    return session


def recall_after(cluster: Cluster, name: str, config: Config, dataset: datasets.Dataset, truth: Truth) -> float:
    searcher = searching.Searcher(cluster, config, dataset, dbname=name)
    try:
        searcher.set_knob(KNOB[config.am])
        return truth.recall(searcher.answers())
    finally:
        searcher.close()


def with_rows(dataset: datasets.Dataset, rows: np.ndarray) -> datasets.Dataset:
    return replace(dataset, base=np.concatenate([dataset.base, rows]))


def insert(
    clusters: dict[str, Cluster], config: Config, dataset: datasets.Dataset, count: int, kept: bool
) -> dict[str, dict]:
    """Backend CPU of a row inserted by a prepared statement with binary parameters, many rows to a transaction; and of
    the same without the index, in turns. The last suite, unless the database is `kept`.
    """
    values, rows = parameters(dataset, count + TURN)
    taken: dict[str, list[float]] = {side: [] for side in clusters}
    floor: dict[str, list[float]] = {side: [] for side in clusters}
    out: dict[str, dict] = {}
    with spent(clusters, config, kept) as name:
        sessions = {side: writer(cluster, name, config) for side, cluster in clusters.items()}
        bare = {side: bare_writer(cluster, name, config) for side, cluster in clusters.items()}
        try:
            with servers.on_one_core([*sessions.values(), *bare.values()]):
                log = dict.fromkeys(sessions, 0)
                for number, low in enumerate(range(0, count + TURN, TURN)):
                    for side in sessions if number % 2 else reversed(sessions):
                        for session, into in ((sessions[side], taken), (bare[side], floor)):
                            before = servers.wal_position(session)
                            session.must("BEGIN")
                            cpu = session.cpu()
                            for value in values[low : low + TURN]:
                                session.execute("add", value)
                            cpu = session.cpu() - cpu
                            session.must("COMMIT")
                            # The first turn only warms up.
                            if number:
                                into[side].append(cpu / len(values[low : low + TURN]) * 1e6)
                                log[side] += servers.wal_position(session) - before if into is taken else 0
            for side, session in sessions.items():
                out[side] = {
                    "rows": count,
                    "cpu_us": statistics.mean(taken[side]),
                    "cpu_us_median_turn": statistics.median(taken[side]),
                    "cpu_us_turns": taken[side],
                    "floor_us": statistics.mean(floor[side]),
                    "cpu_less_floor_us": statistics.mean(taken[side]) - statistics.mean(floor[side]),
                    "wal_bytes_per_row": log[side] / count,
                    "index_bytes": servers.number(session, "SELECT pg_relation_size('embedding_idx')"),
                }
        finally:
            for session in (*sessions.values(), *bare.values()):
                session.close()
        grown = with_rows(dataset, rows)
        truth = Truth(grown, config.opclass.metric)
        for side, cluster in clusters.items():
            out[side]["recall"] = recall_after(cluster, name, config, grown, truth)
    return out


def near_one(dataset: datasets.Dataset, values: list[list[bytes]]) -> list[list[bytes]]:
    """The same ids with rows of the table next to each other in space: all go to one list."""
    base = np.asarray(dataset.base, dtype=np.float32)
    near = np.argsort(((base - base[0]) ** 2).sum(axis=1))[:50]
    rows = [datasets.binary_value(dataset.kind, dataset.base[n]) for n in near]
    return [[key, rows[n % len(rows)]] for n, (key, _) in enumerate(values)]


def writers(
    clusters: dict[str, Cluster],
    config: Config,
    dataset: datasets.Dataset,
    count: int,
    clients: int,
    rounds: int = 4,
    crowded: bool = False,
) -> dict[str, dict]:
    """Several writers at once, every row a transaction; all rows next to each other in space where it is to be crowded.
    The sides take turns, each has the machine to itself while it runs.
    """
    share = max(1, count // (rounds * clients))
    values, _ = parameters(dataset, share * rounds * clients)
    if crowded:
        values = near_one(dataset, values)
    wall: dict[str, list[float]] = {side: [] for side in clusters}
    cpu: dict[str, list[float]] = {side: [] for side in clusters}
    with copies(clusters, config) as name:
        sessions = {side: [writer(cluster, name, config) for _ in range(clients)] for side, cluster in clusters.items()}
        try:
            for turn in range(rounds):
                parts = [
                    values[(turn * clients + c) * share : (turn * clients + c + 1) * share] for c in range(clients)
                ]
                for side in sessions if turn % 2 else reversed(sessions):
                    failures: list[Exception] = []
                    gate = threading.Barrier(clients + 1)

                    def work(session: Session, part: list[list[bytes]]) -> None:
                        gate.wait()
                        try:
                            for value in part:
                                session.execute("add", value)
                        except Exception as error:
                            failures.append(error)

                    threads = [threading.Thread(target=work, args=pair) for pair in zip(sessions[side], parts)]
                    for thread in threads:
                        thread.start()
                    used = sum(s.cpu() for s in sessions[side])
                    gate.wait()
                    start = time.perf_counter()
                    for thread in threads:
                        thread.join()
                    wall[side].append(time.perf_counter() - start)
                    cpu[side].append((sum(s.cpu() for s in sessions[side]) - used) / (share * clients) * 1e6)
                    if failures:
                        raise failures[0]
        finally:
            for group in sessions.values():
                for session in group:
                    session.close()
    return {
        side: {
            "clients": clients,
            "rows": share * rounds * clients,
            "rows_per_s": share * clients / statistics.median(wall[side]),
            "cpu_us": statistics.median(cpu[side]),
            "wall_s_rounds": wall[side],
            "cpu_us_rounds": cpu[side],
        }
        for side in clusters
    }


def vacuum(clusters: dict[str, Cluster], config: Config, dataset: datasets.Dataset) -> dict[str, dict]:
    """DELETE of a fifth of the rows and VACUUM: CPU of its backend, log, memory; recall among the rows that are
    left.
    """
    alive = np.arange(len(dataset.base)) % DELETED != 0
    truth = Truth(dataset, config.opclass.metric, alive=alive)
    out: dict[str, dict] = {}
    with copies(clusters, config) as name:
        for side, cluster in clusters.items():
            session = servers.connect(cluster, name)
            try:
                # One dead row makes vacuum read the whole index, and without a ring all of it stays in the buffers:
                # what it costs to find nothing.
                session.must("DELETE FROM items WHERE id = 0")
                warm = f"VACUUM (INDEX_CLEANUP ON, PARALLEL 0{', BUFFER_USAGE_LIMIT 0' if session.conn.server_version >= 160000 else ''}) items"
                session.must(warm)
                session.must(f"DELETE FROM items WHERE id = {DELETED}")
                with Work(session) as one:
                    session.must(warm)
                with Work(session) as delete:
                    session.must(f"DELETE FROM items WHERE id % {DELETED} = 0")
                with Work(session) as work:
                    session.must("VACUUM (INDEX_CLEANUP ON, PARALLEL 0) items")
                out[side] = work.figures() | {
                    "delete_cpu_s": delete.figures()["cpu_s"],
                    "one_row_cpu_s": one.figures()["cpu_s"],
                    "index_bytes": servers.number(session, "SELECT pg_relation_size('embedding_idx')"),
                }
            finally:
                session.close()
            out[side]["recall"] = recall_after(cluster, name, config, dataset, truth)
    return out
