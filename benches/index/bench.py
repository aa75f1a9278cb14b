"""Index benchmarks: pgvector and this project on the same server binary, the same rows and settings, in alternating
rounds.

Datasets: glove100k (any count up to glove341k), fashion, clustered<dim>x<thousands>k. Operator classes: those of the
catalog. With --keep NAME the clusters stay for the next run, which loads and builds only what is missing; with --only
ours the other side's figures are those remembered.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benches.index import datasets, phases, servers, tables
from benches.index.phases import PHASES, Wanted
from benches.index.servers import Config, KeptCluster, Store


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    servers.add_prefixes(parser)
    parser.add_argument(
        "--only",
        choices=servers.SIDES,
        help="measure one side; the others' figures are the remembered ones, where --keep has them",
    )
    parser.add_argument(
        "--layouts",
        choices=("both", "first", "second"),
        default="both",
        help="of this project: pgvector's pages, its own",
    )
    parser.add_argument("--suite", default="build,search", help=f"of {', '.join(PHASES)}")
    parser.add_argument("--am", choices=("hnsw", "ivfflat"), default="hnsw")
    parser.add_argument("--dataset", default="glove100k")
    parser.add_argument("--opclass", default="vector_cosine_ops", choices=sorted(datasets.OPCLASSES))
    parser.add_argument(
        "--with", dest="options", default="", help="index options, as m=16,ef_construction=64 or lists=1000"
    )
    parser.add_argument("--rows", type=int, default=0, help="only the first so many rows of the dataset")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds per value of ef_search or probes")
    parser.add_argument(
        "--builds",
        type=int,
        default=1,
        help="builds per side, each searched: the build with the median CPU, the mean of the curves",
    )
    parser.add_argument("--ladder", help="values of ef_search or probes, as 20,40,80")
    parser.add_argument("--inserts", type=int, default=2000, help="rows of the insert and writers suites")
    parser.add_argument("--clients", type=int, default=4, help="connections of the writers and clients suites")
    parser.add_argument("--keep", metavar="NAME", help="keep the clusters under that name")
    parser.add_argument(
        "--rebuild", choices=(*servers.SIDES, "all"), help="build although the kept cluster has the index"
    )
    parser.add_argument(
        "--reload", action="store_true", help="start from an empty table although the kept cluster has one"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of both servers")
    parser.add_argument("--json", help="write every sample to this file")
    options = parser.parse_args(words)
    suites = tuple(options.suite.split(","))
    if unknown := [p for p in suites if p not in PHASES]:
        parser.error(f"unknown suite: {', '.join(unknown)}")
    options.wanted = Wanted(
        suites,
        options.rounds,
        options.builds,
        tuple(int(x) for x in options.ladder.split(",")) if options.ladder else (),
        options.inserts,
        options.clients,
        options.reload,
        servers.SIDES if options.rebuild == "all" else (options.rebuild,) if options.rebuild else (),
        kept=bool(options.keep),
    )
    servers.take_prefixes(options)
    return options


def index_options(options: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in options.options.split(",") if part]
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


def main(words: list[str]) -> int:
    options = parsed(words)
    # Ended from outside, servers must stop too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    config = Config(
        options.dataset, datasets.OPCLASSES[options.opclass], options.am, index_options(options), options.rows
    )
    dataset = datasets.load(options.dataset, config.opclass.kind, options.queries)
    if options.rows:
        dataset.base = dataset.base[: options.rows]
    left_out = {"both": (), "first": ("second",), "second": ("ours",)}[options.layouts]
    left_out += () if config.has_second else ("second",)
    sides = [options.only] if options.only else [side for side in servers.SIDES if side not in left_out]
    settings = servers.SETTINGS | dict(s.split("=", 1) for s in options.set)
    with ExitStack() as stack:
        store = Store(options.keep) if options.keep else None
        clusters = {}
        for side in sides:
            prefix, own = servers.prefix_of(options, side), servers.settings_of(side, settings)
            cluster = (
                KeptCluster(prefix, store.path / side, own) if store else servers.Cluster(prefix, f"bench-{side}", own)
            )
            clusters[side] = stack.enter_context(cluster)
        remembered = store.records().get(config.key, {}) if store else {}
        figures = {side: dict(remembered.get(side, {})) for side in servers.SIDES}

        started = time.strftime("%Y-%m-%d %H:%M:%S")
        for phase, found in phases.everything(options.wanted, config, dataset, clusters):
            for side, content in found.items():
                if phase == "build":
                    # What was measured on the index before this one says nothing any more.
                    figures[side].clear()
                figures[side][phase] = content
                if store:
                    store.remember(config.key, side, phase, content)
        environment = phases.environment_of(clusters, config.key, settings)
        for side in servers.SIDES:
            if side not in sides and figures[side]:
                print(f"{side}: as remembered, not measured now")
    print(tables.head(config, dataset, environment))
    print(tables.summary(figures, config))
    if options.json:
        content = {
            "config": config.key,
            "dataset": options.dataset,
            "am": config.am,
            "opclass": config.opclass.name,
            "options": dict(config.options),
            "rows": len(dataset.base),
            "dim": dataset.dim,
            "started": started,
            "environment": environment,
            "sides": figures,
        }
        Path(options.json).write_text(json.dumps(content, indent=1) + "\n")
    return 0
