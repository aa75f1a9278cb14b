"""Index benchmarks: pgvector and this project on the same server binary, the same rows and settings, in alternating rounds.

    bench.py --theirs PREFIX --ours PREFIX --am hnsw --dataset glove100k --opclass vector_cosine_ops [--suite build,search]
             [--with m=16,ef_construction=64] [--keep NAME] [--only ours] [--rebuild ours] [--json FILE]

Datasets: glove100k (any count up to glove341k), fashion, clustered<dim>x<thousands>k. Operator classes: those of the catalog.
With --keep NAME the clusters stay for the next run, which loads and builds only what is missing; with --only ours the other
side's figures are those remembered.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

# Data and sessions are shared with the benchmarks through SQL.
sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "sql")]

import building
import datasets
import inertia
import searching
import servers
import tables
import writing
from servers import Config, KeptCluster, Store
from truth import Truth

PHASES = ("build", "search", "insert", "writers", "vacuum", "inertia")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--theirs", help="prefix of a PostgreSQL with pgvector")
    parser.add_argument("--ours", help="prefix of the same PostgreSQL with this project's build")
    parser.add_argument("--only", choices=servers.SIDES, help="measure one side; the other's figures are the remembered ones, where --keep has them")
    parser.add_argument("--suite", default="build,search", help=f"of {', '.join(PHASES)}")
    parser.add_argument("--am", choices=("hnsw", "ivfflat"), default="hnsw")
    parser.add_argument("--dataset", default="glove100k")
    parser.add_argument("--opclass", default="vector_cosine_ops", choices=sorted(datasets.OPCLASSES))
    parser.add_argument("--with", dest="options", default="", help="index options, as m=16,ef_construction=64 or lists=1000")
    parser.add_argument("--rows", type=int, default=0, help="only the first so many rows of the dataset")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds per value of ef_search or probes")
    parser.add_argument("--builds", type=int, default=1, help="builds per side, each searched: the build with the median CPU, the mean of the curves")
    parser.add_argument("--ladder", help="values of ef_search or probes, as 20,40,80")
    parser.add_argument("--inserts", type=int, default=2000, help="rows of the insert and writers suites")
    parser.add_argument("--clients", type=int, default=4, help="connections of the writers suite")
    parser.add_argument("--keep", metavar="NAME", help="keep the clusters under that name")
    parser.add_argument("--rebuild", choices=("theirs", "ours", "both"), help="build although the kept cluster has the index")
    parser.add_argument("--reload", action="store_true", help="start from an empty table although the kept cluster has one")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of both servers")
    parser.add_argument("--json", help="write every sample to this file")
    options = parser.parse_args()
    options.phases = options.suite.split(",")
    if unknown := [p for p in options.phases if p not in PHASES]:
        parser.error(f"unknown suite: {', '.join(unknown)}")
    for side in [options.only] if options.only else servers.SIDES:
        if not getattr(options, side):
            parser.error(f"--{side} is missing")
    return options


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def with_figures(options: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in options.options.split(",") if part]
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


def loaded(options: argparse.Namespace, config: Config, dataset: datasets.Dataset, clusters: dict) -> list[str]:
    """Tables, made where they are missing; the sides whose index must be built."""
    unbuilt = []
    for side, cluster in clusters.items():
        if options.reload or not servers.has_database(cluster, config.key):
            servers.note(f"{side}: loading {len(dataset.base)} rows of {dataset.column}")
            servers.load_table(cluster, config, dataset)
        session = servers.connect(cluster, config.key)
        if not servers.has_index(session) or options.rebuild in (side, "both") or options.builds > 1:
            unbuilt.append(side)
        session.close()
    return unbuilt


def measured(options: argparse.Namespace, config: Config, dataset: datasets.Dataset, clusters: dict):
    """Builds, and what depends on the chance in a build: phase and figures of each side. Sides alternate."""
    unbuilt = loaded(options, config, dataset, clusters)
    ladder = tuple(int(x) for x in options.ladder.split(",")) if options.ladder else searching.LADDERS[config.am]
    ladders, enough = dict.fromkeys(clusters, ladder), 0.996
    truth = None
    if "search" in options.phases:
        servers.note(f"exact neighbours of {len(dataset.queries)} queries")
        truth = Truth(dataset, config.opclass.metric)
    builds: dict[str, list] = {side: [] for side in unbuilt}
    searches: dict[str, list] = {side: [] for side in clusters}
    inertias: dict[str, list] = {side: [] for side in clusters}
    for _ in range(options.builds):
        for side in unbuilt:
            servers.note(f"{side}: {config.index_sql}")
            builds[side].append(building.build(clusters[side], config))
        if truth:
            servers.note("search")
            for side, points in searching.curves(clusters, config, dataset, truth, options.rounds, ladders, enough).items():
                searches[side].append(points)
                # The next build is asked for the same values.
                ladders[side] = tuple(p.knob for p in points)
            enough = 2.0
        if "inertia" in options.phases and config.am == "ivfflat":
            for side, cluster in clusters.items():
                inertias[side].append(inertia.inertia(cluster, config, dataset))
    if unbuilt:
        yield "build", {side: building.middle(found) for side, found in builds.items()}
    if truth:
        yield "search", {side: searching.merged(found) for side, found in searches.items()}
    yield "inertia", {side: inertia.mean(found) for side, found in inertias.items() if found}


def main() -> int:
    options = parsed()
    # Ended from outside, servers must stop too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    config = Config(options.dataset, datasets.OPCLASSES[options.opclass], options.am, with_figures(options), options.rows)
    dataset = datasets.load(options.dataset, config.opclass.kind, options.queries)
    if options.rows:
        dataset.base = dataset.base[:options.rows]
    sides = [options.only] if options.only else list(servers.SIDES)
    settings = servers.SETTINGS | dict(s.split("=", 1) for s in options.set)
    with ExitStack() as stack:
        store = Store(options.keep) if options.keep else None
        clusters = {}
        for side in sides:
            prefix = getattr(options, side)
            cluster = KeptCluster(prefix, store.path / side, settings) if store else servers.Cluster(prefix, f"bench-{side}", settings)
            clusters[side] = stack.enter_context(cluster)
        remembered = store.records().get(config.key, {}) if store else {}
        figures = {side: dict(remembered.get(side, {})) for side in servers.SIDES}

        started = time.strftime("%Y-%m-%d %H:%M:%S")
        for phase, found in chain(measured(options, config, dataset, clusters), written(options, clusters, config, dataset)):
            for side, content in found.items():
                if phase == "build":
                    # What was measured on the index before this one says nothing any more.
                    figures[side].clear()
                figures[side][phase] = content
                if store:
                    store.remember(config.key, side, phase, content)
        environment = environment_of(clusters, config, settings)
        for side in servers.SIDES:
            if side not in sides and figures[side]:
                print(f"{side}: as remembered, not measured now")
    print(tables.head(config, dataset, environment))
    print(tables.summary(figures, config))
    if options.json:
        content = {"config": config.key, "dataset": options.dataset, "am": config.am, "opclass": config.opclass.name, "options": dict(config.options),
                   "rows": len(dataset.base), "dim": dataset.dim, "started": started, "environment": environment, "sides": figures}
        Path(options.json).write_text(json.dumps(content, indent=1) + "\n")
    return 0


def written(options: argparse.Namespace, clusters: dict, config: Config, dataset: datasets.Dataset):
    """The suites that change a copy of the database, of the last build: phase and figures of each side."""
    suites = {
        "insert": lambda: writing.insert(clusters, config, dataset, options.inserts),
        "writers": lambda: writing.writers(clusters, config, dataset, options.inserts, options.clients),
        "vacuum": lambda: writing.vacuum(clusters, config, dataset),
    }
    for phase, suite in suites.items():
        if phase in options.phases:
            servers.note(phase)
            yield phase, suite()


def environment_of(clusters: dict, config: Config, settings: dict) -> dict:
    versions = {}
    server = ""
    for side, cluster in clusters.items():
        session = servers.connect(cluster, config.key)
        versions[side] = servers.value(session, "SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        server = servers.value(session, "SHOW server_version")
        session.close()
    return {"server": server, "cpu": cpu_model(), "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(), "versions": versions, "settings": settings}


if __name__ == "__main__":
    sys.exit(main())
