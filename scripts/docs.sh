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

Without arguments: every Markdown file of the project, the pictures drawn from figures, and the site made of them. Environment: PG_CONFIG, or PG_MAJOR (17) of the embedded PostgreSQL.
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
status=0
PYTHONDONTWRITEBYTECODE=1 python3 "$repo_root/tests/docs/run.py" --prefix "$(dirname "$("$pg_config" --bindir)")" "$@" || status=$?
if [ $# -eq 0 ]; then
  # The README's own way: PostgreSQL from the cache, whatever PG_CONFIG says.
  env -u PG_CONFIG PYTHONDONTWRITEBYTECODE=1 python3 "$repo_root/tests/docs/newcomer.py" "$work" || status=$?
  PYTHONDONTWRITEBYTECODE=1 python3 "$repo_root/benches/index/pictures.py" --check || status=$?
  if "$repo_root/scripts/site.sh" "$work/site"; then echo "ok - every link of the site leads somewhere"; else status=1; fi
fi
exit "$status"
