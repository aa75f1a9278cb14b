#!/usr/bin/env bash
# The same generated SQL on pgvector's binary and on ours; every difference that tests/differential/known.py does not explain fails.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
usage: scripts/differential.sh [quick|full|selftest] [--seed N] [--seeds N] [--show N] [--table] [--no-exchange]

  quick      one seed on PostgreSQL 16, under a minute (the default)
  full       five seeds with larger samples, on PostgreSQL 16 and 18
  selftest   breaks one side on purpose, many small ways, and demands that each is found

VECTOR_OURS_16, VECTOR_OURS_18: prefixes to compare instead of installing this project's build.
TEXT
}

mode=quick
case ${1:-} in
  quick | full | selftest) mode=$1; shift ;;
  -h | --help | help) usage; exit 0 ;;
esac

# venv_python: Python with what the tools import, in the cache.
venv_python() {
  local venv=$VECTOR_CACHE/venv
  make_cache
  if ! "$venv/bin/python" -c 'import psycopg, numpy' 2>/dev/null; then
    say "Making a Python environment with psycopg and numpy ..."
    python3 -m venv "$venv" >&2 || die "python3 -m venv failed" "On Debian or Ubuntu: apt-get install python3-venv"
    "$venv/bin/pip" install -q 'psycopg[binary]' numpy >&2 || die "pip could not install psycopg and numpy"
  fi
  printf '%s\n' "$venv/bin/python"
}

pg_sh=$repo_root/scripts/pg.sh
python=$(venv_python)
tool=$repo_root/tests/differential/run.py
export PYTHONDONTWRITEBYTECODE=1

if [ "$mode" = selftest ]; then
  peer=$("$pg_sh" peer 16)
  exec "$python" "$tool" --theirs "$peer" --ours "$peer" --sabotage "$@"
fi

majors=16
arguments=()
if [ "$mode" = full ]; then
  majors="16 18"
  arguments=(--full)
fi

status=0
for major in $majors; do
  theirs=$("$pg_sh" peer "$major")
  given=VECTOR_OURS_$major
  ours=${!given:-}
  if [ -z "$ours" ]; then
    ours=$("$pg_sh" peer-ours "$major")
    "$pg_sh" install "$ours"
  fi
  "$python" "$tool" --theirs "$theirs" --ours "$ours" "${arguments[@]+"${arguments[@]}"}" "$@" || status=1
done
exit "$status"
