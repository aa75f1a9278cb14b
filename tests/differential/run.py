"""Runs the same generated SQL on pgvector and on this project's build and reports every difference.

    run.py --theirs PREFIX --ours PREFIX [--full] [--seed N] [--sabotage]

Both prefixes hold the same server binary; only the extension differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterable

sys.path.insert(0, __file__.rpartition("/")[0])

import catalog
import exchange
import floats
import indexes
import sabotage
import scenario
import stored
import wire
from cases import Case, all_cases, setup_statements
from client import Client, run_both
from cluster import Cluster
from compare import Score, difference
from known import KNOWN
from text import text_cases

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
                stale.append(f"{entry.name}: {case.sql}\n  pgvector: {a.describe()[:300]}\n  ours:     {b.describe()[:300]}")
    return stale


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--theirs", required=True, help="prefix of a PostgreSQL with pgvector")
    parser.add_argument("--ours", required=True, help="prefix of the same PostgreSQL with this project's build")
    parser.add_argument("--full", action="store_true", help="several seeds, larger samples, a million float patterns")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=0, help="how many seeds (default 1, with --full 5)")
    parser.add_argument("--show", type=int, default=25, help="how many differences to print")
    parser.add_argument("--table", action="store_true", help="print the counts per catalog object")
    parser.add_argument("--sabotage", action="store_true", help="break one side on purpose and demand that it is noticed")
    parser.add_argument("--no-exchange", action="store_true", help="skip the exchange of data directories")
    options = parser.parse_args()
    if options.sabotage:
        return sabotage.run(options.theirs, options.ours, prepare)

    started = time.monotonic()
    objects = catalog.load()
    coverage = catalog.Coverage(objects)
    score = Score(coverage, KNOWN, options.show)
    seeds = options.seeds or (5 if options.full else 1)
    limit, rounds, share, mutated, count = (1500, 4, 1.0, 40000, 1_000_000) if options.full else (400, 2, 0.3, 10000, 250_000)

    with Cluster(options.theirs, "theirs") as theirs, Cluster(options.ours, "ours") as ours:
        prepare(theirs)
        prepare(ours)
        setup = setup_statements()
        left, right = Client(theirs.conninfo(), setup), Client(ours.conninfo(), setup)
        print(f"pgvector {left.must('SELECT extversion FROM pg_extension WHERE extname = $$vector$$')[0][0]} and ours "
              f"{right.must('SELECT extversion FROM pg_extension WHERE extname = $$vector$$')[0][0]} on PostgreSQL {left.must('SHOW server_version')[0][0]}", flush=True)
        stale = probe_known(left, right, score)
        for seed in range(options.seed, options.seed + seeds):
            rng = random.Random(seed)
            steps = (
                ("calls", lambda: run_cases(left, right, score, all_cases(objects, rng, limit, rounds))),
                ("text", lambda: run_cases(left, right, score, text_cases(rng, share, mutated))),
                ("binary", lambda: run_cases(left, right, score, wire.parameter_cases(rng, mutated // 20))),
                ("copy", lambda: [score.judge(*triple) for triple in wire.copy_outcomes(left, right, rng)]),
                ("floats", lambda: floats.run(left, right, score, seed, count)),
            )
            for name, step in steps:
                before, since = score.passed + score.failed, time.monotonic()
                step()
                print(f"seed {seed} {name:7} {score.passed + score.failed - before:7} cases in {time.monotonic() - since:5.1f} s", flush=True)
        before, since = score.passed + score.failed, time.monotonic()
        run_cases(left, right, score, stored.stored_cases(objects))
        # Last, because some of it changes the tables that the others use.
        run_cases(left, right, score, stored.definition_cases())
        print(f"stored  {score.passed + score.failed - before:7} cases in {time.monotonic() - since:.1f} s", flush=True)
        for triple in scenario.outcomes(theirs, ours):
            score.judge(*triple)
        left.close()
        right.close()
        if not options.no_exchange:
            since = time.monotonic()
            exchange.run(theirs, ours, score, "pgvector")
            exchange.run(ours, theirs, score, "ours")
            print(f"exchange of data directories in {time.monotonic() - since:.1f} s", flush=True)
            since = time.monotonic()
            indexes.run(theirs, ours, score, "pgvector")
            indexes.run(ours, theirs, score, "ours")
            print(f"exchange of live indexes ({len(indexes.OPCLASSES)} operator classes) in {time.monotonic() - since:.1f} s", flush=True)

    if options.table or options.full:
        print(coverage.table())
    for name, times in score.excused.items():
        entry = next(e for e in KNOWN if e.name == name)
        print(f"deliberate: {name} ({times} times): {entry.reason}")
    same_library = options.theirs == options.ours
    if not same_library:
        for text in stale:
            score.check("stale entry in known.py", False, text)
    for text in coverage.gaps():
        score.check("gap in coverage", False, text)
    for report in score.reports:
        print(report)
    if score.failed:
        print("failures by sort: " + ", ".join(f"{kind} {n}" for kind, n in score.kinds.most_common()))
        per_object = [f"{key} {n}" for key, n in coverage.differed.most_common(15)]
        print("differences by object: " + (", ".join(per_object) or "-"))
    print(f"{sum(score.families.values())} statements, {len(coverage.objects)} catalog objects, seed {options.seed}, {time.monotonic() - started:.0f} s")
    print(f"{score.passed} passed, {score.failed} failed")
    return 1 if score.failed else 0


if __name__ == "__main__":
    sys.exit(main())
