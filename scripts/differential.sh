#!/usr/bin/env bash
# The same generated SQL on pgvector's binary and on ours; every difference that tests/differential/known.py does not explain fails.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/venv.sh"

usage() {
  cat <<'TEXT'
usage: scripts/differential.sh [quick|full|selftest] [--seed N] [--seeds N] [--show N] [--table] [--no-exchange]

  quick      one seed on PostgreSQL 16, a few minutes, most of them for the exchange of live indexes (the default)
  full       five seeds with larger samples, on PostgreSQL 16 and 18, and one seed under each lower SIMD tier
  selftest   breaks one side on purpose, many small ways, and demands that each is found

VECTOR_OURS_16, VECTOR_OURS_18: prefixes to compare instead of installing this project's build.
TEXT
}

mode=quick
case ${1:-} in
  quick | full | selftest) mode=$1; shift ;;
  -h | --help | help) usage; exit 0 ;;
esac

python=$(venv_python)
tool=$repo_root/tests/differential/run.py
export PYTHONDONTWRITEBYTECODE=1

if [ "$mode" = selftest ]; then
  peer=$("$repo_root/scripts/pg.sh" peer 16)
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
  peer_pair "$major"
  "$python" "$tool" --theirs "$theirs" --ours "$ours" "${arguments[@]+"${arguments[@]}"}" "$@" || status=1
  "$python" "$repo_root/tests/differential/user_errors.py" --theirs "$theirs" --ours "$ours" || status=1
done
if [ "$mode" = full ]; then
  # Every tier answers alike; the server inherits the cap.
  peer_pair 16
  for tier in scalar avx2; do
    say "VECTOR_SIMD=$tier"
    VECTOR_SIMD=$tier "$python" "$tool" --theirs "$theirs" --ours "$ours" --no-exchange "$@" || status=1
  done
fi
exit "$status"
