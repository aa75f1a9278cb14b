#!/usr/bin/env bash
# docs.sh [DOCUMENT]...: the documents, tried: SQL blocks are executed, links and commands must lead somewhere. Without arguments every
# Markdown file of the project. Environment: PG_CONFIG, or PG_MAJOR (17) of the embedded PostgreSQL.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
case ${1:-} in -h | --help | help) sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
documents=()
for document in "$@"; do documents+=("--document=$(realpath -- "$document")"); done
exec_python pytest --checks -s "$repo_root/tests/docs" "${documents[@]+"${documents[@]}"}"
