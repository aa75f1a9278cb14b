"""The suites in their order, for one configuration on running clusters; what was measured where."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

from benches.index import building, datasets, inertia, iterating, scarce, searching, servers, serving, whole, writing
from benches.index.ground_truth import Truth
from benches.index.servers import Config
from vector_testing.process import cpu_model

PHASES = (
    *("build", "search", "floor", "simple", "iterative", "clients", "exact"),
    *("insert", "writers", "crowd", "vacuum", "inertia", "memory", "buffers"),
)
# A curve ends where its recall is above this: what comes after costs time and says nothing.
ENOUGH = 0.996


@dataclass(frozen=True)
class Wanted:
    """What is measured of a configuration, and how often."""

    phases: tuple[str, ...] = ("build", "search")
    # Timed rounds per value of ef_search or probes.
    rounds: int = 5
    # Builds per side, each searched.
    builds: int = 1
    # Values of ef_search or probes; none: those of the access method.
    ladder: tuple[int, ...] = ()
    # Rows of the insert and writers suites; connections of the writers and clients suites.
    inserts: int = 2000
    clients: int = 4
    reload: bool = False
    rebuild: tuple[str, ...] = ()
    enough: float = ENOUGH
    # Whether the databases are to be as they were after all this.
    kept: bool = False


def loaded(wanted: Wanted, config: Config, dataset: datasets.Dataset, clusters: dict) -> list[str]:
    """Tables, made where they are missing; the sides whose index must be built."""
    unbuilt = []
    for side, cluster in clusters.items():
        if wanted.reload or not servers.has_database(cluster, config.key):
            servers.note(f"{side}: loading {len(dataset.base)} rows of {dataset.column}")
            servers.load_table(cluster, config, dataset)
        session = servers.connect(cluster, config.key)
        if not servers.has_index(session) or side in wanted.rebuild or wanted.builds > 1:
            unbuilt.append(side)
        session.close()
    return unbuilt


def measured(wanted: Wanted, config: Config, dataset: datasets.Dataset, clusters: dict):
    """Builds, and what depends on the chance in a build: phase and figures of each side. Sides alternate."""
    unbuilt = loaded(wanted, config, dataset, clusters)
    ladder = wanted.ladder or searching.LADDERS[config.am]
    ladders, enough = dict.fromkeys(clusters, ladder), wanted.enough
    truth = None
    if "search" in wanted.phases:
        servers.note(f"exact neighbours of {len(dataset.queries)} queries")
        truth = Truth(dataset, config.opclass.metric)
    builds: dict[str, list] = {side: [] for side in unbuilt}
    searches: dict[str, list] = {side: [] for side in clusters}
    inertias: dict[str, list] = {side: [] for side in clusters}
    for _ in range(wanted.builds):
        for side in unbuilt:
            servers.note(f"{side}: {config.index_sql}")
            builds[side].append(building.build(clusters[side], config))
        if truth:
            servers.note("search")
            for side, points in searching.curves(
                clusters, config, dataset, truth, wanted.rounds, ladders, enough
            ).items():
                searches[side].append(points)
                # The next build is asked for the same values.
                ladders[side] = tuple(p.knob for p in points)
            enough = 2.0
        if "inertia" in wanted.phases and config.am == "ivfflat":
            # what reads the centres knows pgvector's pages
            for side in [side for side in clusters if side != "second"]:
                inertias[side].append(inertia.inertia(clusters[side], config, dataset))
    if unbuilt:
        yield "build", {side: building.middle(found) for side, found in builds.items()}
    if truth:
        curves = {side: searching.merged(found) for side, found in searches.items()}
        yield "search", curves
        if "floor" in wanted.phases:
            servers.note("floor")
            yield "floor", whole.floor(clusters, config, dataset)
        if "simple" in wanted.phases:
            servers.note("statements with literals")
            yield "simple", whole.simple(clusters, config, dataset, curves)
        if "clients" in wanted.phases:
            servers.note("clients")
            yield "clients", serving.clients(clusters, config, dataset, curves, wanted.clients)
    if "iterative" in wanted.phases:
        servers.note("iterative scans")
        yield "iterative", iterating.measure(clusters, config, dataset)
    if "exact" in wanted.phases:
        servers.note("exact")
        yield "exact", serving.exact(clusters, config, dataset)
    yield "inertia", {side: inertia.mean(found) for side, found in inertias.items() if found}


def written(wanted: Wanted, config: Config, dataset: datasets.Dataset, clusters: dict):
    """The suites that change the database of the last build, or a copy: phase and figures of each side."""
    suites = {
        "writers": lambda: writing.writers(clusters, config, dataset, wanted.inserts, wanted.clients),
        "crowd": lambda: writing.writers(clusters, config, dataset, wanted.inserts, wanted.clients, crowded=True),
        "vacuum": lambda: writing.vacuum(clusters, config, dataset),
        "memory": lambda: scarce.memory(clusters, config, dataset),
        # the last one that changes something
        "insert": lambda: writing.insert(clusters, config, dataset, wanted.inserts, wanted.kept),
    }
    for phase, suite in suites.items():
        if phase in wanted.phases:
            servers.note(phase)
            yield phase, suite()


def everything(wanted: Wanted, config: Config, dataset: datasets.Dataset, clusters: dict):
    """Phase and figures of each side, as they come."""
    curves = None
    for phase, figures in measured(wanted, config, dataset, clusters):
        curves = figures if phase == "search" else curves
        yield phase, figures
    yield from written(wanted, config, dataset, clusters)
    # It leaves servers behind whose buffers have nothing, where inserts would wait for pages.
    if curves and "buffers" in wanted.phases:
        servers.note("few buffers")
        yield "buffers", scarce.buffers(clusters, config, dataset, curves)


def environment_of(clusters: dict, dbname: str, settings: dict) -> dict:
    """Machine, server, extensions and settings; the database must have the extension."""
    versions = {}
    server = ""
    for side, cluster in clusters.items():
        session = servers.connect(cluster, dbname)
        versions[side] = servers.value(session, "SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        server = servers.value(session, "SHOW server_version")
        session.close()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "server": server,
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "kernel": platform.release(),
        "versions": versions,
        "settings": settings,
    }
