#!/usr/bin/env bash
# The documents, tried: SQL blocks are executed, links and commands must lead somewhere.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
pg=$repo_root/scripts/pg.sh

case ${1:-} in
  -h | --help | help)
    cat <<'TEXT'
usage: scripts/docs.sh [DOCUMENT]...

Without arguments: every Markdown file of the project. Environment: PG_CONFIG, or PG_MAJOR (17) of the embedded PostgreSQL.
TEXT
    exit 0
    ;;
esac

work=$(mktemp -d "${TMPDIR:-/tmp}/docs.XXXXXX")
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
if [ -n "${PG_CONFIG:-}" ]; then
  pg_config=$(pg_config_of "$PG_CONFIG")
else
  pg_config=$("$pg" copy "${PG_MAJOR:-17}" "$work/pg")/bin/pg_config
fi
"$pg" install "$pg_config" >/dev/null
PYTHONDONTWRITEBYTECODE=1 python3 "$repo_root/tests/docs/run.py" --prefix "$(dirname "$("$pg_config" --bindir)")" "$@"
