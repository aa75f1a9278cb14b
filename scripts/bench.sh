#!/usr/bin/env bash
# Index benchmarks, pgvector and ours side by side on one server binary (PostgreSQL 16): one configuration, or a whole plan of them.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/venv.sh"

case ${1:-} in
  -h | --help | help)
    cat <<'TEXT'
usage: scripts/bench.sh [--suite build,search,insert,writers,vacuum,inertia] [--am hnsw|ivfflat] [--dataset glove100k]
                        [--opclass vector_cosine_ops] [--with m=16,ef_construction=64] [--keep NAME] [--only ours] [--rebuild ours] [--json FILE] ...

       scripts/bench.sh all|full [--only WORD,...] [--publish] [--report-only] ...

The first prints recall against CPU and the ratios at equal recall of one configuration. The options are those of benches/index/bench.py (--options prints all).
--theirs PREFIX, --ours PREFIX: the two PostgreSQLs; without them pgvector's is fetched and this project's build is installed beside it.
The second measures all configurations of a plan (benches/index/plan.py), `all` in minutes, `full` in hours, and writes samples and a report
to results/; --only measures configurations whose names contain a word again, --publish writes benches/RESULTS.md.
VECTOR_OURS_16: a prefix to measure instead of installing this project's build.
TEXT
    exit 0
    ;;
esac

script=bench.py plan="" measures=yes
case ${1:-} in
  all) plan=quick ;;
  full) plan=full ;;
esac
if [ -n "$plan" ]; then
  script=run_plan.py
  shift
fi

theirs="" ours="" rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --theirs) theirs=${2:?--theirs needs a prefix}; shift ;;
    --ours) ours=${2:?--ours needs a prefix}; shift ;;
    --options) rest+=(--help); measures="" ;;
    --report-only) rest+=("$1"); measures="" ;;
    *) rest+=("$1") ;;
  esac
  shift
done

python=$(venv_python)
if [ -n "$measures" ]; then
  have npm || "$repo_root/scripts/pg.sh" deps npm
  if [ -n "$ours" ]; then
    [ -n "$theirs" ] || theirs=$("$repo_root/scripts/pg.sh" peer 16)
  else
    given=$theirs
    peer_pair 16
    theirs=${given:-$theirs}
  fi
  rest=(--theirs "$theirs" --ours "$ours" ${rest[@]+"${rest[@]}"})
fi
if [ -n "$plan" ]; then
  rest=(--plan "$plan" ${rest[@]+"${rest[@]}"})
  if [ -n "$measures" ]; then
    ceilings=$(ceilings_python)
    rest+=(--ceilings "$ceilings")
  fi
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$python" "$repo_root/benches/index/$script" ${rest[@]+"${rest[@]}"}
