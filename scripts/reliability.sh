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
usage: scripts/reliability.sh [NAME]... [--seconds N] [--rounds N] [--clients N] [--seed N] [--am hnsw|ivfflat]

  NAME        recall progress cancel reachable isolation crash recovery standby replication upgrade_pg concurrency leaks memory buffers toast
              symbols hostile diskfull corruption; all of them when none is named
  --seconds   how long concurrent clients and drawn schedules work, per access method or test (15; minutes find more)
  --rounds    how often crashes are tried, per access method (3); the longer form of others where it is more
  --clients   how many work at once in concurrency (8)
  --seed      of data and schedules (1)

Environment:
  PG_CONFIG            the PostgreSQL to test in, one built with assertions for instance; default: a copy of the embedded one of PG_MAJOR (17)
  PG_MAJOR_OLD, PG_MAJOR_NEW
                       the majors of upgrade_pg (14 and 18)
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
# wanted NAME: whether that test runs.
wanted() { case ,$names, in ,, | *,"$1",*) return 0 ;; *) return 1 ;; esac }

if [ -z "${RELIABILITY_AS_IS:-}" ]; then
  "$pg" install "$pg_config" >/dev/null
  if wanted reachable || wanted isolation; then
    # Another build of the extension, in a server of its own; a server that has been given is copied, unless it is the system's.
    given=$(dirname "$("$pg_config" --bindir)")
    case ${PG_CONFIG:+$given} in
      "" | /usr | /usr/*) faults=$("$pg" copy "$(major_of "$pg_config")" "$work/faults") ;;
      *)
        faults=$work/faults
        cp -a "$given" "$faults"
        # a build for the embedded server of its major serves it as well
        if [ "${given#"$VECTOR_CACHE"/}" != "$given" ]; then touch "$faults/.embedded"; fi
        ;;
    esac
    "$pg" install "$faults/bin/pg_config" --faults >/dev/null
    options+=(--faults "$faults")
  fi
  if wanted upgrade_pg; then
    old=$("$pg" copy "${PG_MAJOR_OLD:-14}" "$work/old")
    new=$("$pg" copy "${PG_MAJOR_NEW:-18}" "$work/new")
    "$pg" install "$old/bin/pg_config" >/dev/null
    "$pg" install "$new/bin/pg_config" >/dev/null
    options+=(--old "$old" --new "$new")
  fi
fi
export PYTHONDONTWRITEBYTECODE=1
say "$("$pg_config" --version)"
"$python" "$repo_root/tests/reliability/run.py" --prefix "$(dirname "$("$pg_config" --bindir)")" --only "$names" "${options[@]+"${options[@]}"}"
