#!/usr/bin/env bash
# Benchmarks through SQL, pgvector and ours side by side on one server binary.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
exec_python benches.sql.run "$@"
