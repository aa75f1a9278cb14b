#!/usr/bin/env bash
# What users fear, tried: crashes, cancelled builds, full disks, damaged files, standbys, many clients; and recall floors.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/venv.sh"
pg=$repo_root/scripts/pg.sh

usage() {
  cat <<'TEXT'
usage: scripts/reliability.sh [NAME]... [--seconds N] [--rounds N] [--seed N] [--am hnsw|ivfflat]

  NAME        recall progress cancel crash standby concurrency diskfull corruption; all of them when none is named
  --seconds   how long the concurrent clients work, per access method (15; minutes find more)
  --rounds    how often each crash is tried, per access method (3)

Environment:
  PG_CONFIG            the PostgreSQL to test in, one built with assertions for instance; default: a copy of the embedded one of PG_MAJOR (17)
  RELIABILITY_AS_IS    when set, nothing is installed: the extension that PG_CONFIG has already is tested, pgvector itself for instance
TEXT
}

names=""
options=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help | help) usage; exit 0 ;;
    --*) options+=("$1" "${2:?$1 needs a value}"); shift ;;
    *) names=$names${names:+,}$1 ;;
  esac
  shift
done

python=$(venv_python)
work=$(mktemp -d "${TMPDIR:-/tmp}/reliability.XXXXXX")
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
if [ -n "${PG_CONFIG:-}" ]; then
  pg_config=$(pg_config_of "$PG_CONFIG")
else
  prefix=$("$pg" copy "${PG_MAJOR:-17}" "$work/pg")
  pg_config=$prefix/bin/pg_config
fi
if [ -z "${RELIABILITY_AS_IS:-}" ]; then "$pg" install "$pg_config" >/dev/null; fi
export PYTHONDONTWRITEBYTECODE=1
say "$("$pg_config" --version)"
"$python" "$repo_root/tests/reliability/run.py" --prefix "$(dirname "$("$pg_config" --bindir)")" --only "$names" "${options[@]+"${options[@]}"}"
