"""Index benchmarks, pgvector and ours side by side on one server binary (PostgreSQL 16).

    scripts/bench.sh [--suite build,search,...] [--am hnsw|ivfflat] [--dataset glove100k] [--opclass vector_cosine_ops]
                     [--with m=16,ef_construction=64] [--keep NAME] [--only ours] [--rebuild ours] [--json FILE] ...
    scripts/bench.sh all|full [--only WORD,...] [--publish] [--report-only] ...

The first prints recall against CPU and the ratios at equal recall of one configuration (--options says more). The
second measures all configurations of a plan (benches/index/plan.py), `all` in minutes, `full` in hours, and writes
samples and a report to results/; --only measures configurations whose names contain a word again, --publish writes
benches/RESULTS.md. VECTOR_OURS_16: a prefix to measure instead of installing this project's build.
"""

from __future__ import annotations

import sys

from benches.index import bench, run_plan

PLANS = {"all": "quick", "full": "full"}


def main(words: list[str]) -> int:
    if words[:1] in (["-h"], ["--help"], ["help"]):
        print(__doc__.strip())
        return 0
    if words and words[0] in PLANS:
        return run_plan.main(["--plan", PLANS[words[0]], *words[1:]])
    return bench.main(["--help" if word == "--options" else word for word in words])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
