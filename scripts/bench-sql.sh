#!/usr/bin/env bash
# Benchmarks through SQL, pgvector and ours side by side on one server binary (PostgreSQL 16).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/venv.sh"

case ${1:-} in
  -h | --help | help)
    cat <<'TEXT'
usage: scripts/bench-sql.sh [--suite exact,copy,aggregates,calls,text,profile] [--rounds N] [--scale F] [--check]

Prints a table and writes every sample to results/bench-sql.json. Needs npm for the word vectors.
VECTOR_OURS_16: a prefix to measure instead of installing this project's build.
TEXT
    exit 0
    ;;
esac

have npm || "$repo_root/scripts/pg.sh" deps npm
python=$(venv_python)
peer_pair 16
mkdir -p "$repo_root/results"
export PYTHONDONTWRITEBYTECODE=1
exec "$python" "$repo_root/benches/sql/run.py" --theirs "$theirs" --ours "$ours" --json "$repo_root/results/bench-sql.json" "$@"
