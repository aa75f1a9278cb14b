"""Conditions beside the order by distance: CPU and recall by how much of the table matches, for every way to answer.

Each way has a table of its own, with the one index that it is about, so that the planner has nothing to choose.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np

from benches.index import datasets, ground_truth, servers, whole
from benches.index.servers import Cluster, Config

K = 10
ROUNDS = 3
# Shares of the table that match at random.
SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)
# Parts of the table by nearness; of them the query's own, and one that has half of the others before it.
PARTS = 100
SEED = 20260102
COLUMNS = ", pick, part"


@dataclass(frozen=True)
class Condition:
    """What is asked of a row: `pick` below a number for all queries, or `part` equal to one of each query."""

    name: str
    below: int = 0
    parts: np.ndarray | None = None

    @property
    def sql(self) -> str:
        return f"pick < {self.below}" if self.parts is None else "part = $2::int4"

    def matching(self, number: int, columns: np.ndarray) -> np.ndarray:
        """Rows that match, for the query of this number."""
        if self.parts is None:
            return np.flatnonzero(columns[0] < self.below)
        return np.flatnonzero(columns[1] == self.parts[number])


@dataclass(frozen=True)
class Way:
    """One way to answer: on a side, over a table, with settings; `hides_order` keeps the distance from the indexes."""

    name: str
    side: str
    table: str
    settings: tuple[str, ...] = ()
    hides_order: bool = False


ITERATIVE = "SET hnsw.iterative_scan = "
WAYS = (
    Way("pgvector, relaxed order", "theirs", "items", (f"{ITERATIVE}relaxed_order",)),
    Way("pgvector, strict order", "theirs", "items", (f"{ITERATIVE}strict_order",)),
    Way("pgvector, btree and sort", "theirs", "sorted", (), True),
    Way("hnsw", "second", "items"),
    Way("ivfflat", "second", "lists"),
)
OURS = ("hnsw", "ivfflat")


def columns_of(dataset: datasets.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """`pick` and `part` of every row, and the parts of every query from the nearest on."""
    rng = np.random.default_rng(SEED)
    count = len(dataset.base)
    middles = np.asarray(dataset.base[np.sort(rng.choice(count, PARTS, replace=False))])
    part = np.concatenate(
        [
            ground_truth.distances("l2", np.asarray(dataset.base[at : at + 20_000]), middles).argmin(axis=1)
            for at in range(0, count, 20_000)
        ]
    )
    order = ground_truth.distances("l2", dataset.queries, middles).argsort(axis=1)
    return np.stack([rng.permutation(count), part]).astype(np.int32), order


def conditions_of(dataset: datasets.Dataset, order: np.ndarray) -> list[Condition]:
    count = len(dataset.base)
    shares = [Condition(f"{share * 100:g} %", max(1, round(count * share))) for share in SHARES]
    return [*shares, Condition("near", parts=order[:, 0]), Condition("far", parts=order[:, PARTS // 2])]


def load(cluster: Cluster, config: Config, dataset: datasets.Dataset, columns: np.ndarray, tables: list[str]) -> None:
    """Adds the columns to the table and copies it."""
    session = servers.connect(cluster, config.key)
    try:
        session.must("CREATE TEMP TABLE columns (id int4, pick int4, part int4)")
        lines = "".join(f"{at}\t{pick}\t{part}\n" for at, (pick, part) in enumerate(columns.T))
        session.copy_in("COPY columns FROM STDIN", lines.encode())
        session.must("ALTER TABLE items RENAME TO plain")
        for table in tables:
            session.must(
                f"CREATE TABLE {table} AS SELECT id, embedding, pick, part FROM plain JOIN columns USING (id) ORDER BY id"
            )
            session.must(f"VACUUM (FREEZE, ANALYZE) {table}")
        session.must("DROP TABLE plain")
    finally:
        session.close()


def build(cluster: Cluster, config: Config, table: str, am: str, columns: str) -> dict:
    session = servers.connect(cluster, config.key)
    try:
        session.must("DROP INDEX IF EXISTS vectors")
        with servers.Work(session) as work:
            session.must(f"CREATE INDEX vectors ON {table} USING {am} (embedding {config.opclass.name}{columns})")
        size = servers.number(session, "SELECT pg_relation_size('vectors')")
        session.must(f"ALTER INDEX vectors RENAME TO vectors_{table}")
        return {"cpu_s": work.figures()["cpu_s"], "bytes": size}
    finally:
        session.close()


def built(clusters: dict[str, Cluster], config: Config) -> dict:
    """Every way's index; what filter columns add to a build and its bytes."""
    found: dict[str, dict] = {}
    build(clusters["theirs"], config, "items", "hnsw", "")
    session = servers.connect(clusters["theirs"], config.key)
    session.must("CREATE INDEX ON sorted (pick)")
    session.must("CREATE INDEX ON sorted (part)")
    session.close()
    for am, table in (("hnsw", "items"), ("ivfflat", "lists")):
        plain = build(clusters["second"], config, table, am, "")
        session = servers.connect(clusters["second"], config.key)
        session.must(f"DROP INDEX vectors_{table}")
        session.close()
        found[am] = {"without": plain, "with": build(clusters["second"], config, table, am, COLUMNS)}
    return found


class Asker:
    """One way's prepared query under one condition, or none."""

    def __init__(self, clusters: dict[str, Cluster], config: Config, way: Way, condition: Condition | None, queries):
        self.session = servers.connect(clusters[way.side], config.key)
        self.session.must("SET enable_seqscan = off")
        for setting in way.settings:
            self.session.must(setting)
        op = config.opclass
        distance = f"embedding {op.operator} $1::{op.parameter_type}"
        where = f"WHERE {condition.sql} " if condition else ""
        self.session.prepare(
            "nearest",
            f"SELECT id FROM {way.table} {where}ORDER BY {f'({distance}) + 0' if way.hides_order else distance} LIMIT {K}",
        )
        parts = condition.parts if condition else None
        self.parameters = [
            [value] if parts is None else [value, int(parts[number]).to_bytes(4, "big")]
            for number, value in enumerate(queries)
        ]

    def answers(self) -> list[list[int]]:
        out = []
        for parameters in self.parameters:
            result = self.session.execute("nearest", parameters)
            out.append([int.from_bytes(result.get_value(at, 0), "big") for at in range(result.ntuples)])
        return out

    def timed(self) -> float:
        """Backend CPU of a query, µs."""
        used = self.session.cpu()
        for parameters in self.parameters:
            self.session.execute("nearest", parameters)
        return (self.session.cpu() - used) / len(self.parameters) * 1e6


def judged(dataset: datasets.Dataset, metric: str, answers: list[list[int]], rows: list[np.ndarray]) -> dict:
    """Recall among the rows that match, ties right, and the share of queries with as many rows as there are."""
    right = wanted = filled = 0
    for number, (ids, matching) in enumerate(zip(answers, rows)):
        most = min(K, len(matching))
        allowed = np.zeros(len(dataset.base), dtype=bool)
        allowed[matching] = True
        filled += len(set(ids)) == most
        wanted += most
        query = dataset.queries[number]
        limit = np.sort(ground_truth.paired(metric, query, dataset.base[matching]))[most - 1] if most else 0.0
        unique = [at for at in dict.fromkeys(ids) if allowed[at]]
        if unique:
            near = ground_truth.paired(metric, query, dataset.base[unique]) <= limit + 1e-6 * abs(limit) + 1e-9
            right += int(near.sum())
    return {"recall": right / max(1, wanted), "filled": filled / max(1, len(answers))}


def measure(clusters: dict[str, Cluster], config: Config, dataset: datasets.Dataset) -> dict:
    """The figures of one dataset; the clusters have its table in the database of the configuration."""
    columns, order = columns_of(dataset)
    sides = {side: clusters[side] for side in ("theirs", "second")}
    floor = whole.floor(sides, config, dataset)
    load(clusters["theirs"], config, dataset, columns, ["items", "sorted"])
    load(clusters["second"], config, dataset, columns, ["items", "lists"])
    builds = built(clusters, config)
    queries = [datasets.binary_value(dataset.kind, query) for query in dataset.queries]
    everything = [np.arange(len(dataset.base))] * len(queries)
    found = []
    for condition in [None, *conditions_of(dataset, order)]:
        servers.note(f"  {condition.name if condition else 'all rows'}")
        rows = everything
        if condition:
            rows = [condition.matching(number, columns) for number in range(len(queries))]
        ways = [way for way in WAYS if condition or way.name in OURS]
        askers = {way.name: Asker(clusters, config, way, condition, queries) for way in ways}
        try:
            spent: dict[str, list[float]] = {name: [] for name in askers}
            figures = {
                name: judged(dataset, config.opclass.metric, asker.answers(), rows) for name, asker in askers.items()
            }
            with servers.on_one_core([asker.session for asker in askers.values()]):
                for number in range(ROUNDS):
                    for name in askers if number % 2 else reversed(askers):
                        spent[name].append(askers[name].timed())
        finally:
            for asker in askers.values():
                asker.session.close()
        for name in askers:
            figures[name]["cpu_us"] = statistics.median(spent[name])
        found.append(
            {
                "name": condition.name if condition else "all rows",
                "matching": float(np.mean([len(matching) for matching in rows])),
                "ways": figures,
            }
        )
    return {
        "dataset": config.dataset,
        "opclass": config.opclass.name,
        "rows": len(dataset.base),
        "dim": dataset.dim,
        "queries": len(queries),
        "floor_us": {side: figure["cpu_us"] for side, figure in floor.items()},
        "builds": builds,
        "conditions": found,
    }


def table(found: dict) -> list[str]:
    """Markdown: CPU less the floor, recall, and the share of queries whose LIMIT is filled where it is not all."""
    lines = [
        "| rows that match | " + " | ".join(way.name for way in WAYS) + " | hnsw to all rows | to pgvector's best |",
        "|---|" + "---|" * (len(WAYS) + 2),
    ]
    less = found["floor_us"]
    all_rows = found["conditions"][0]["ways"]["hnsw"]["cpu_us"] - less["second"]
    for condition in found["conditions"]:
        cells, best = [], None
        for way in WAYS:
            figure = condition["ways"].get(way.name)
            if figure is None:
                cells.append("")
                continue
            cpu = figure["cpu_us"] - less[way.side]
            missing = "" if figure["filled"] == 1 else f", {figure['filled']:.0%} filled"
            cells.append(f"{cpu:,.0f} ({figure['recall']:.3f}{missing})")
            if way.side == "theirs" and figure["recall"] >= 0.9:
                best = cpu if best is None else min(best, cpu)
        own = condition["ways"]["hnsw"]["cpu_us"] - less["second"]
        lines.append(
            f"| {condition['name']} ({condition['matching']:,.0f}) | {' | '.join(cells)} | {own / all_rows:.2f} | "
            f"{f'{own / best:.2f}' if best and best >= 1 else '–'} |"
        )
    return lines


def built_line(found: dict) -> str:
    """What two filter columns cost at a build."""
    said = []
    for am, figures in found["builds"].items():
        cpu = figures["with"]["cpu_s"] / max(1e-9, figures["without"]["cpu_s"])
        size = figures["with"]["bytes"] / max(1, figures["without"]["bytes"])
        said.append(f"{am} {cpu:.2f} times the CPU and {size:.2f} times the bytes")
    return "With two filter columns a build takes: " + ", ".join(said) + "."
