"""Conditions beside the order by distance: CPU and recall by how much of the table matches, for every way to answer.

Each way has a table of its own, with the one index that it is about, so that the planner has nothing to choose. What it
would choose is asked of it afterwards.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from benches.index import datasets, ground_truth, servers, whole
from benches.index.servers import Cluster, Config
from vector_testing.session import Session

LIMITS = (10, 100)
ROUNDS = 3
# A query of more than so many microseconds needs no further rounds.
LONG = 5000.0
# Shares of the table that match at random.
SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)
# Parts of the table by nearness; of them the query's own, and one that has half of the others before it.
PARTS = 100
# Tenants of equal sizes, and as many whose sizes fall as Zipf's law says.
TENANTS = 1000
SEED = 20260102
# Filter columns, two to an index.
SHARED, OWNED = ("pick", "part"), ("tenant", "zipf")
COLUMNS = (*SHARED, *OWNED)
# ef_search of pgvector: the least of these that reaches the recall.
LADDER = (40, 100, 200)
ENOUGH = 0.9


@dataclass(frozen=True)
class Condition:
    """What is asked of a row: `pick` below a number for all queries, or a column equal to a value of each query."""

    name: str
    column: str = "pick"
    below: int = 0
    values: np.ndarray | None = None

    @property
    def sql(self) -> str:
        return f"pick < {self.below}" if self.values is None else f"{self.column} = $2::int4"

    def literal(self, number: int) -> str:
        """The condition of one query, as an application sends it."""
        return self.sql if self.values is None else f"{self.column} = {self.values[number]}"

    def matching(self, number: int, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Rows that match, for the query of this number."""
        if self.values is None:
            return np.flatnonzero(columns["pick"] < self.below)
        return np.flatnonzero(columns[self.column] == self.values[number])


@dataclass(frozen=True)
class Way:
    """One way to answer: on a side, over a table by the columns that are asked about, with settings; `hides_order`
    keeps the distance from the indexes.
    """

    name: str
    side: str
    tables: tuple[str, str]
    settings: tuple[str, ...] = ()
    hides_order: bool = False
    # With conditions of all queries only.
    shares_only: bool = False
    # Whether pgvector's ef_search is raised until the recall is enough.
    climbs: bool = False
    most: int = max(LIMITS)


ITERATIVE = "SET hnsw.iterative_scan = "
WAYS = (
    Way("pgvector, relaxed order", "theirs", ("items", "items"), (f"{ITERATIVE}relaxed_order",), climbs=True),
    Way("pgvector, strict order", "theirs", ("items", "items"), (f"{ITERATIVE}strict_order",), climbs=True, most=10),
    Way(
        "pgvector, partial index",
        "theirs",
        ("partials", "partials"),
        (f"{ITERATIVE}relaxed_order",),
        shares_only=True,
        climbs=True,
    ),
    Way("pgvector, btree and sort", "theirs", ("sorted", "sorted"), hides_order=True),
    Way("btree and sort", "second", ("sorted", "sorted"), hides_order=True),
    Way("hnsw", "second", ("items", "tenants")),
    Way("ivfflat", "second", ("lists", "tenant_lists")),
)
OURS = ("hnsw", "ivfflat")
# Tables of the second side that have an index with filter columns: access method, columns.
INDEXED = {
    "items": ("hnsw", SHARED),
    "lists": ("ivfflat", SHARED),
    "tenants": ("hnsw", OWNED),
    "tenant_lists": ("ivfflat", OWNED),
}


def columns_of(dataset: datasets.Dataset) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The columns of every row, and the parts of every query from the nearest on."""
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
    sizes = 1.0 / np.arange(1, TENANTS + 1)
    columns = {
        "pick": rng.permutation(count),
        "part": part,
        "tenant": rng.permutation(count) % TENANTS,
        "zipf": rng.choice(TENANTS, count, p=sizes / sizes.sum()),
    }
    return {name: column.astype(np.int32) for name, column in columns.items()}, order


def conditions_of(dataset: datasets.Dataset, columns: dict[str, np.ndarray], order: np.ndarray) -> list[Condition]:
    count, queries = len(dataset.base), len(dataset.queries)
    rng = np.random.default_rng(SEED + 1)
    shares = [Condition(f"{share * 100:g} %", below=max(1, round(count * share))) for share in SHARES]
    # The tenants of rows drawn at random: large ones ask more often.
    owners = rng.choice(count, queries)
    return [
        *shares,
        Condition("near", "part", values=order[:, 0]),
        Condition("far", "part", values=order[:, PARTS // 2]),
        Condition("tenants", "tenant", values=columns["tenant"][owners]),
        Condition("tenants, Zipf", "zipf", values=columns["zipf"][owners]),
    ]


@contextmanager
def connected(cluster: Cluster, config: Config) -> Iterator[Session]:
    session = servers.connect(cluster, config.key)
    try:
        yield session
    finally:
        session.close()


def load(
    cluster: Cluster, config: Config, dataset: datasets.Dataset, columns: dict[str, np.ndarray], tables: list[str]
) -> None:
    """Adds the columns to the table and copies it."""
    names = ", ".join(columns)
    with connected(cluster, config) as session:
        session.must(f"CREATE TEMP TABLE columns (id int4, {', '.join(f'{name} int4' for name in columns)})")
        values = np.stack([np.arange(len(dataset.base)), *columns.values()]).T
        session.copy_in("COPY columns FROM STDIN", "".join("\t".join(map(str, row)) + "\n" for row in values).encode())
        session.must("ALTER TABLE items RENAME TO plain")
        for table in tables:
            session.must(
                f"CREATE TABLE {table} AS SELECT id, embedding, {names} FROM plain JOIN columns USING (id) ORDER BY id"
            )
            session.must(f"VACUUM (FREEZE, ANALYZE) {table}")
        session.must("DROP TABLE plain")
        for name in columns:
            session.must(f"CREATE INDEX ON sorted ({name})")


def build(session: Session, config: Config, table: str, am: str, columns: str) -> dict:
    """A new index instead of the table's last one."""
    session.must(f"DROP INDEX IF EXISTS vectors_{table}")
    with servers.Work(session) as work:
        session.must(f"CREATE INDEX vectors_{table} ON {table} USING {am} (embedding {config.opclass.name}{columns}")
    size = servers.number(session, f"SELECT pg_relation_size('vectors_{table}')")
    return {"cpu_s": work.figures()["cpu_s"], "bytes": size}


def built(clusters: dict[str, Cluster], config: Config) -> dict:
    """Every way's index; what filter columns add to a build and its bytes."""
    found: dict[str, dict] = {}
    with connected(clusters["theirs"], config) as session:
        build(session, config, "items", "hnsw", ")")
    for table, (am, columns) in INDEXED.items():
        # A session each: the account of a build is of all that its backend did.
        figures = {}
        for what, text in (("without", ")"), ("with", f", {', '.join(columns)})")):
            if what == "without" and columns != SHARED:
                continue
            with connected(clusters["second"], config) as session:
                figures[what] = build(session, config, table, am, text)
        if columns == SHARED:
            found[am] = figures
    return found


class Asker:
    """One way's prepared query under one condition, or none."""

    def __init__(
        self,
        clusters: dict[str, Cluster],
        config: Config,
        way: Way,
        condition: Condition | None,
        queries: list[bytes],
        limit: int,
    ):
        self.way = way
        self.session = servers.connect(clusters[way.side], config.key)
        self.session.must("SET enable_seqscan = off")
        for setting in way.settings:
            self.session.must(setting)
        if condition is None:
            # Conditions have the LIMIT filled whatever the settings; so has what they are compared with.
            for am in OURS:
                self.session.must(f"SET {am}.iterative_scan = relaxed_order")
        op = config.opclass
        distance = f"embedding {op.operator} $1::{op.parameter_type}"
        where = f"WHERE {condition.sql} " if condition else ""
        order = f"({distance}) + 0" if way.hides_order else distance
        table = way.tables[condition is not None and condition.column in OWNED]
        self.session.prepare("nearest", f"SELECT id FROM {table} {where}ORDER BY {order} LIMIT {limit}")
        values = condition.values if condition else None
        self.parameters = [
            [value] if values is None else [value, int(values[number]).to_bytes(4, "big")]
            for number, value in enumerate(queries)
        ]

    def answers(self) -> list[list[int]]:
        out = []
        for parameters in self.parameters:
            result = self.session.execute("nearest", parameters)
            out.append([int.from_bytes(result.get_value(at, 0), "big") for at in range(result.ntuples)])
        return out

    def timed(self) -> np.ndarray:
        """Backend CPU of each query, µs."""
        read = [self.session.cpu()]
        for parameters in self.parameters:
            self.session.execute("nearest", parameters)
            read.append(self.session.cpu())
        return np.diff(read) * 1e6


class Judge:
    """Recall among the rows that match, ties right, and the share of queries with as many rows as there are."""

    def __init__(self, dataset: datasets.Dataset, metric: str, rows: list[np.ndarray], limit: int):
        self.dataset, self.metric, self.rows, self.limit = dataset, metric, rows, limit
        self.last = []
        for query, matching in zip(dataset.queries, rows):
            most = min(limit, len(matching))
            near = ground_truth.paired(metric, query, dataset.base[matching])
            self.last.append(np.partition(near, most - 1)[most - 1] if most else 0.0)

    def __call__(self, answers: list[list[int]]) -> dict:
        right = wanted = filled = 0
        for number, (ids, matching, last) in enumerate(zip(answers, self.rows, self.last)):
            most = min(self.limit, len(matching))
            unique = np.intersect1d(np.array(ids, dtype=np.int64), matching)
            filled += len(unique) == most
            wanted += most
            if len(unique):
                query = self.dataset.queries[number]
                near = ground_truth.paired(self.metric, query, self.dataset.base[unique])
                right += int((near <= last + 1e-6 * abs(last) + 1e-9).sum())
        return {"recall": right / max(1, wanted), "filled": filled / max(1, len(answers))}


def judged(asker: Asker, judge: Judge) -> dict:
    """What a way finds; pgvector's with the least ef_search of the ladder that finds enough, or the last."""
    if not asker.way.climbs:
        return judge(asker.answers())
    for ef in LADDER:
        asker.session.must(f"SET hnsw.ef_search = {ef}")
        figure = judge(asker.answers()) | {"ef_search": ef}
        if figure["recall"] >= ENOUGH:
            break
    return figure


def spent(askers: dict[str, Asker]) -> dict[str, np.ndarray]:
    """CPU of each query by each way, µs: medians of rounds in turns."""
    taken: dict[str, list[np.ndarray]] = {name: [] for name in askers}
    with servers.on_one_core([asker.session for asker in askers.values()]):
        for number in range(ROUNDS):
            for name in askers if number % 2 else reversed(askers):
                if not taken[name] or taken[name][0].mean() < LONG:
                    taken[name].append(askers[name].timed())
    return {name: np.median(rounds, axis=0) for name, rounds in taken.items()}


def measured(
    clusters: dict[str, Cluster],
    config: Config,
    dataset: datasets.Dataset,
    queries: list[bytes],
    condition: Condition | None,
    rows: list[np.ndarray],
    limit: int,
) -> dict:
    """One condition under one LIMIT."""
    name = condition.name if condition else "all rows"
    servers.note(f"  {name}, LIMIT {limit}")
    ways = [
        way
        for way in WAYS
        if (condition or way.name in OURS)
        and limit <= way.most
        and (not way.shares_only or condition and condition.values is None)
    ]
    judge = Judge(dataset, config.opclass.metric, rows, limit)
    if condition and condition.values is None:
        with connected(clusters["theirs"], config) as session:
            build(session, config, "partials", "hnsw", f") WHERE {condition.sql}")
    askers = {way.name: Asker(clusters, config, way, condition, queries, limit) for way in ways}
    try:
        figures = {name: judged(asker, judge) for name, asker in askers.items()}
        for way, each in spent(askers).items():
            figures[way] |= {"cpu_us": float(each.mean()), "each_us": each.tolist()}
    finally:
        for asker in askers.values():
            asker.session.close()
    return {"name": name, "limit": limit, "matching": float(np.mean([len(part) for part in rows])), "ways": figures}


def planned(
    clusters: dict[str, Cluster], config: Config, dataset: datasets.Dataset, conditions: list[Condition]
) -> dict[str, dict[str, list[bool]]]:
    """Which queries, with all values in their text, the planner answers by each access method's index where the table
    has btrees, too. By condition and LIMIT.
    """
    found: dict[str, dict[str, list[bool]]] = {}
    op = config.opclass
    for table, (am, columns) in INDEXED.items():
        with connected(clusters["second"], config) as session:
            session.must("BEGIN")
            for column in columns:
                session.must(f"CREATE INDEX ON {table} ({column})")
            for condition in conditions:
                if condition.column not in columns:
                    continue
                for limit in LIMITS:
                    taken = []
                    for number, query in enumerate(dataset.queries):
                        literal = "[" + ",".join(f"{x:g}" for x in query) + "]"
                        plan = session.must(
                            f"EXPLAIN SELECT id FROM {table} WHERE {condition.literal(number)} "
                            f"ORDER BY embedding {op.operator} '{literal}' LIMIT {limit}"
                        )
                        lines = [plan.get_value(at, 0).decode() for at in range(plan.ntuples)]
                        taken.append(any(f"vectors_{table}" in line for line in lines))
                    found.setdefault(f"{condition.name}, {limit}", {})[am] = taken
            session.must("ROLLBACK")
    return found


def judge_plans(condition: dict, taken: dict[str, list[bool]]) -> None:
    """How often the planner takes an index, and what its choices cost to the cheaper way of each query."""
    ways = condition["ways"]
    if "btree and sort" in ways:
        btree = np.array(ways["btree and sort"]["each_us"])
        for am, choices in taken.items():
            index = np.array(ways[am]["each_us"])
            cost = np.where(choices, index, btree).sum() / np.minimum(index, btree).sum()
            condition.setdefault("planned", {})[am] = {"share": float(np.mean(choices)), "cost": float(cost)}
    for figure in ways.values():
        figure.pop("each_us")


def index_only(clusters: dict[str, Cluster], config: Config, queries: list[bytes]) -> dict[str, dict[str, float]]:
    """CPU of a whole query of ten rows and their distances, by an index scan and by an index-only scan, µs."""
    found: dict[str, dict[str, float]] = {}
    op = config.opclass
    for table in ("items", "lists"):
        am, _ = INDEXED[table]
        with connected(clusters["second"], config) as session:
            build(session, config, table, am, ") INCLUDE (id)")
            session.must("SET enable_seqscan = off")
            distance = f"embedding {op.operator} $1::{op.parameter_type}"
            for way, setting in (("index scan", "off"), ("index-only scan", "on")):
                session.must(f"SET enable_indexonlyscan = {setting}")
                session.prepare(way, f"SELECT id, {distance} FROM {table} ORDER BY {distance} LIMIT 10")
                session.execute(way, [queries[0]])
            taken: dict[str, list[float]] = {"index scan": [], "index-only scan": []}
            with servers.on_one_core([session]):
                for _ in range(2 * ROUNDS):
                    for way, rounds in taken.items():
                        used = session.cpu()
                        for query in queries:
                            session.execute(way, [query])
                        rounds.append((session.cpu() - used) / len(queries) * 1e6)
            found[am] = {way: statistics.median(rounds) for way, rounds in taken.items()}
    return found


def measure(clusters: dict[str, Cluster], config: Config, dataset: datasets.Dataset) -> dict:
    """The figures of one dataset; the clusters have its table in the database of the configuration."""
    columns, order = columns_of(dataset)
    sides = {side: clusters[side] for side in ("theirs", "second")}
    floor = whole.floor(sides, config, dataset)
    load(clusters["theirs"], config, dataset, columns, ["items", "sorted", "partials"])
    load(clusters["second"], config, dataset, columns, [*INDEXED, "sorted"])
    builds = built(clusters, config)
    queries = [datasets.binary_value(dataset.kind, query) for query in dataset.queries]
    everything = [np.arange(len(dataset.base))] * len(queries)
    conditions = conditions_of(dataset, columns, order)
    found = []
    for limit in LIMITS:
        found.append(measured(clusters, config, dataset, queries, None, everything, limit))
        for condition in conditions:
            rows = [condition.matching(number, columns) for number in range(len(queries))]
            found.append(measured(clusters, config, dataset, queries, condition, rows, limit))
    plans = planned(clusters, config, dataset, conditions)
    for one in found:
        judge_plans(one, plans.get(f"{one['name']}, {one['limit']}", {}))
    return {
        "dataset": config.dataset,
        "opclass": config.opclass.name,
        "rows": len(dataset.base),
        "dim": dataset.dim,
        "queries": len(queries),
        "floor_us": {side: figure["cpu_us"] for side, figure in floor.items()},
        "builds": builds,
        "conditions": found,
        "index_only": index_only(clusters, config, queries),
    }
