"""Benchmarks through SQL: pgvector and this project on the same server binary (PostgreSQL 16), side by side, in
alternating rounds. Needs npm for the word vectors. VECTOR_OURS_16: a prefix to measure instead of installing this
project's build.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from benches.sql import aggregates, calls, copying, exact, measure
from benches.sql import profile as profiling
from benches.sql.measure import SETTINGS, Pair
from vector_testing.cluster import Cluster
from vector_testing.paths import ROOT
from vector_testing.pg import peer_pair
from vector_testing.process import cpu_model
from vector_testing.session import Session

SUITES = {
    "exact": exact.suite,
    "copy": copying.suite,
    "aggregates": aggregates.suite,
    "calls": calls.calls,
    "text": calls.text,
    "profile": profiling.suite,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench-sql.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--theirs", help="prefix of a PostgreSQL with pgvector; without it both are fetched and built")
    parser.add_argument(
        "--ours",
        help="prefix of the same PostgreSQL with this project's build; without it, with --theirs, pgvector alone",
    )
    parser.add_argument("--suite", default="exact,copy,aggregates,calls,text", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows, for a quick look")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "results" / "bench-sql.json", help="write every sample to this file"
    )
    parser.add_argument("--markdown", help="write the tables in Markdown to this file")
    parser.add_argument("--check", action="store_true", help="exit code 1 when a target is missed")
    options = parser.parse_args()
    if not options.theirs:
        options.theirs, options.ours = peer_pair(16)

    with ExitStack() as stack:
        clusters = [stack.enter_context(Cluster(options.theirs, "bench-theirs", SETTINGS))]
        if options.ours:
            clusters.append(stack.enter_context(Cluster(options.ours, "bench-ours", SETTINGS)))
        sessions = [Session(c) for c in clusters]
        versions = []
        for session in sessions:
            session.must("CREATE EXTENSION vector")
            versions.append(
                session.must("SELECT extversion FROM pg_extension WHERE extname = 'vector'").get_value(0, 0).decode()
            )
        server = sessions[0].must("SHOW server_version").get_value(0, 0).decode()
        print(
            f"PostgreSQL {server} on {cpu_model()}; pgvector {versions[0]}"
            + (f", ours {versions[1]}" if len(versions) > 1 else ", baseline alone")
        )
        print(
            f"{options.rounds} alternating rounds after one to warm up; medians per row, ratio of medians; spread of pgvector's rounds"
        )
        print(measure.header())
        rows = []
        for name in options.suite.split(","):
            rows += SUITES[name](Pair(sessions, options.rounds), options.scale)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "server": server,
        "cpu": cpu_model(),
        "versions": versions,
        "rounds": options.rounds,
        "scale": options.scale,
        "rows": [r.as_dict() for r in rows],
    }
    options.json.write_text(json.dumps(content, indent=1) + "\n")
    if options.markdown:
        Path(options.markdown).write_text(measure.markdown(rows))
    missed = [r for r in rows if r.target is not None and r.ratio is not None and r.ratio > r.target]
    judged = [r for r in rows if r.target is not None and r.ratio is not None]
    print(f"{len(judged) - len(missed)} targets met, {len(missed)} missed")
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
