"""The same generated SQL on pgvector's binary and on this project's build: every difference is counted, and told with
its reason where it is meant.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from differential import catalog, exchange, floats, indexes, scenario, stored, wire
from differential.cases import Case, all_cases, setup_statements
from differential.compare import Score, difference
from differential.known import KNOWN
from differential.text import text_cases
from vector_testing import results
from vector_testing.client import Client, run_both
from vector_testing.cluster import Cluster
from vector_testing.server import LAYOUTS

PARALLEL_TABLE = [
    "CREATE TABLE parallel_rows (id int, v vector, h halfvec) WITH (parallel_workers = 3)",
    "INSERT INTO parallel_rows SELECT i, CASE WHEN i % 11 <> 0 THEN ARRAY[i, i * 2, -i]::vector END, CASE WHEN i % 13 <> 0 THEN ARRAY[i % 50, 1, -1]::halfvec END FROM generate_series(1, 600) i",
    "ANALYZE parallel_rows",
    "ALTER DATABASE postgres SET min_parallel_table_scan_size = 0",
    "ALTER DATABASE postgres SET parallel_setup_cost = 0",
    "ALTER DATABASE postgres SET parallel_tuple_cost = 0",
]


def prepare(cluster: Cluster) -> None:
    client = Client(cluster.conninfo())
    client.must("CREATE EXTENSION vector")
    for statement in [*PARALLEL_TABLE, *stored.setup(), *stored.FUNCTIONS]:
        client.must(statement)
    client.close()


def run_cases(left: Client, right: Client, score: Score, cases: Iterable[Case]) -> None:
    for case, a, b in run_both(left, right, cases):
        score.judge(case, a, b)


def probe_known(left: Client, right: Client, score: Score) -> list[str]:
    """Names of the entries whose probes agree by now, or differ in a way the entry does not describe."""
    version = int(left.must("SHOW server_version_num")[0][0]) // 10000
    stale = []
    for entry in KNOWN:
        if entry.since > version:
            continue
        probes = [Case(sql, (), "probe") for sql in entry.probes]
        for case, a, b in run_both(left, right, probes):
            if difference(case, a, b) is None or not entry.explains(case.sql, a, b):
                stale.append(
                    f"{entry.name}: {case.sql}\n  pgvector: {a.describe()[:300]}\n  ours:     {b.describe()[:300]}"
                )
    return stale


def compare(prefix_theirs: str, prefix_ours: str, options: Any, checks: results.Score) -> None:
    """Both prefixes hold the same server binary; only the extension differs. Tells each step's result to `checks`."""
    started = time.monotonic()
    objects = catalog.load()
    coverage = catalog.Coverage(objects)
    score = Score(coverage, KNOWN, options.show)
    seeds = options.seeds or (5 if options.full else 1)
    limit, rounds, share, mutated, count = (
        (1500, 4, 1.0, 40000, 1_000_000) if options.full else (400, 2, 0.3, 10000, 250_000)
    )

    def step(name: str, work: Callable[[], object]) -> None:
        passed, failed, since = score.passed, score.failed, time.monotonic()
        work()
        more = score.passed + score.failed - passed - failed
        checks.check(
            f"{name}: {more} cases agree",
            score.failed == failed,
            f"{time.monotonic() - since:.1f} s, {score.failed - failed} differ",
        )

    with (
        Cluster(prefix_theirs, "theirs") as theirs,
        Cluster(prefix_ours, "ours", LAYOUTS[options.layout or "auto"]) as ours,
    ):
        prepare(theirs)
        prepare(ours)
        setup = setup_statements()
        left, right = Client(theirs.conninfo(), setup), Client(ours.conninfo(), setup)
        versions = [
            client.must("SELECT extversion FROM pg_extension WHERE extname = $$vector$$")[0][0]
            for client in (left, right)
        ]
        print(
            f"pgvector {versions[0]} and ours {versions[1]} on PostgreSQL {left.must('SHOW server_version')[0][0]}",
            flush=True,
        )
        stale = probe_known(left, right, score)
        for seed in range(options.seed, options.seed + seeds):
            rng = random.Random(seed)
            steps = {
                "calls": lambda rng: run_cases(left, right, score, all_cases(objects, rng, limit, rounds)),
                "text": lambda rng: run_cases(left, right, score, text_cases(rng, share, mutated)),
                "binary": lambda rng: run_cases(left, right, score, wire.parameter_cases(rng, mutated // 20)),
                "copy": lambda rng: [score.judge(*triple) for triple in wire.copy_outcomes(left, right, rng)],
                "floats": lambda _: floats.run(left, right, score, seed, count),
            }
            for name, work in steps.items():
                step(f"seed {seed}, {name}", lambda work=work, rng=rng: work(rng))
        step("values as tables keep them", lambda: run_cases(left, right, score, stored.stored_cases(objects)))
        # Last, because some of it changes the tables that the others use.
        step("definitions", lambda: run_cases(left, right, score, stored.definition_cases()))
        step("two sessions", lambda: [score.judge(*triple) for triple in scenario.outcomes(theirs, ours)])
        left.close()
        right.close()
        if not options.no_exchange:
            for writer, reader, who in ((theirs, ours, "pgvector"), (ours, theirs, "ours")):
                step(
                    f"data directories of {who}", lambda pair=(writer, reader), who=who: exchange.run(*pair, score, who)
                )
            for writer, reader, who in ((theirs, ours, "pgvector"), (ours, theirs, "ours")):
                step(
                    f"live indexes of {who}, {len(indexes.OPCLASSES)} operator classes",
                    lambda pair=(writer, reader), who=who: indexes.run(*pair, score, who),
                )

    if options.table or options.full:
        print(coverage.table())
    for name, times in score.excused.items():
        entry = next(e for e in KNOWN if e.name == name)
        print(f"deliberate: {name} ({times} times): {entry.reason}")
    if prefix_theirs != prefix_ours:
        checks.check(f"known.py: {len(KNOWN)} deliberate differences are still there", not stale, "; ".join(stale))
    gaps = coverage.gaps()
    checks.check(
        f"each of {len(coverage.objects)} catalog objects was called, and made to fail", not gaps, "; ".join(gaps)
    )
    for report in score.reports:
        print(report)
    if score.failed:
        print("failures by sort: " + ", ".join(f"{kind} {n}" for kind, n in score.kinds.most_common()))
        per_object = [f"{key} {n}" for key, n in coverage.differed.most_common(15)]
        print("differences by object: " + (", ".join(per_object) or "-"))
    print(
        f"{sum(score.families.values())} statements, {len(coverage.objects)} catalog objects, seed {options.seed}, {time.monotonic() - started:.0f} s"
    )
    print(f"{score.passed} comparisons agree, {score.failed} differ")
