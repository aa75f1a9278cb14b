#!/usr/bin/env bash
# Index benchmarks, pgvector and ours side by side on one server binary: one configuration, or a whole plan of them.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
exec_python benches.index "$@"
