#!/usr/bin/env bash
# The same generated SQL on pgvector's binary and on ours; every difference that tests/differential/known.py does not explain fails.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
exec_python differential "$@"
