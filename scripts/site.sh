#!/usr/bin/env bash
# The documents as pages that open from disk or stand on any web server: target/site.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in
  -h | --help | help)
    cat <<'TEXT'
usage: scripts/site.sh [FOLDER]

Writes every Markdown document of the project, and the files they lead to, as pages into FOLDER (target/site), and fails when a link in them leads
nowhere. Environment: VECTOR_CACHE.
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
exec "$venv/bin/python" "$repo_root/scripts/site.py" "${1:-$(target_dir)/site}"
