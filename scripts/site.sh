#!/usr/bin/env bash
# The documents as pages that open from disk or stand on any web server: target/site.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in
  -h | --help | help)
    cat <<'TEXT'
usage: scripts/site.sh [FOLDER|check|pictures]

Writes every Markdown document of the project, and the files they lead to, as pages into FOLDER (target/site), and fails when a link in them leads
nowhere. check does so in a scratch folder, compares the drawn pictures with the figures, and follows the README from nothing to a search, in a
private server. pictures draws them anew from benches/RESULTS.md. Environment: VECTOR_CACHE.
TEXT
    exit 0
    ;;
esac

venv=$VECTOR_CACHE/venv-site
make_cache
if ! "$venv/bin/python" -c 'import markdown_it' 2>/dev/null; then
  say "Making a Python environment with markdown-it-py ..."
  rm -rf "$venv"
  python3 -m venv "$venv" >&2 || die "python3 -m venv failed" "On Debian or Ubuntu: apt-get install python3-venv"
  "$venv/bin/pip" install -q --retries 5 'markdown-it-py>=3,<5' >&2 || die "pip could not install markdown-it-py"
  chmod -R a+rX "$venv"
fi
python=$venv/bin/python
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$repo_root
if [ "${1:-}" = pictures ]; then exec "$python" "$repo_root/benches/index/pictures.py"; fi
if [ "${1:-}" != check ]; then exec "$python" "$repo_root/scripts/site.py" "${1:-$(target_dir)/site}"; fi

work=$(mktemp -d "${TMPDIR:-/tmp}/site.XXXXXX")
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
status=0
if "$python" "$repo_root/scripts/site.py" "$work/site"; then echo "ok - every link of the site leads somewhere"; else status=1; fi
"$python" "$repo_root/benches/index/pictures.py" --check || status=1
# The README's own way: PostgreSQL from the cache, whatever PG_CONFIG says.
env -u PG_CONFIG "$python" "$repo_root/tests/docs/newcomer.py" "$work" || status=1
exit "$status"
