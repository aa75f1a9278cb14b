"""Reliability tests of the index access methods, each named after what it fears.

    run.py --prefix PREFIX [--faults PREFIX] [--old PREFIX --new PREFIX] [--only NAME,...] [--am hnsw,ivfflat] [--seconds N] [--rounds N] [--seed N]

PREFIX is a PostgreSQL with the extension installed. Every test has its own private clusters.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time

sys.path.insert(0, __file__.rpartition("/")[0])

from harness import Score

TESTS = [
    "recall",
    "progress",
    "cancel",
    "reachable",
    "isolation",
    "crash",
    "recovery",
    "standby",
    "replication",
    "upgrade_pg",
    "concurrency",
    "leaks",
    "memory",
    "buffers",
    "toast",
    "symbols",
    "hostile",
    "diskfull",
    "corruption",
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", required=True, help="a PostgreSQL with the extension installed")
    parser.add_argument("--faults", help="a PostgreSQL with a build of the extension that stops at fault points (reachable, isolation)")
    parser.add_argument("--old", help="a PostgreSQL of an older major with the extension (upgrade_pg)")
    parser.add_argument("--new", help="one of a newer major (upgrade_pg)")
    parser.add_argument("--only", default="", help="names of tests: " + ", ".join(TESTS))
    parser.add_argument("--am", default="hnsw,ivfflat", help="access methods")
    parser.add_argument("--seconds", type=float, default=15, help="how long concurrent clients and drawn schedules work, per access method or test")
    parser.add_argument("--clients", type=int, default=8, help="how many clients work at once (concurrency)")
    parser.add_argument("--rounds", type=int, default=3, help="how often crashes are tried, per access method")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or TESTS
    unknown = [name for name in names if name not in TESTS]
    if unknown:
        parser.error(f"no such test: {', '.join(unknown)}")
    # Whoever ends this run finds its servers stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    score = Score()
    for name in names:
        started = time.monotonic()
        print(f"# {name}", flush=True)
        before = score.failed
        try:
            importlib.import_module(name).test(options.prefix, score, [am for am in options.am.split(",") if am], options)
        except Exception as error:  # one test's end is not the others'
            score.check(f"{name} ran to its end", False, f"{type(error).__name__}: {error}")
        print(f"# {name}: {'ok' if score.failed == before else 'failed'} in {time.monotonic() - started:.1f} s", flush=True)
    print(f"{score.passed} passed, {score.failed} failed")
    return 1 if score.failed else 0


if __name__ == "__main__":
    sys.exit(main())
