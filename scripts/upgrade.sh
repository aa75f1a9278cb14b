#!/usr/bin/env bash
# upgrade.sh [OPTION of pytest]...: from pgvector's versions to this one, and back; `-k chain` or `-k swap` for one half.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
exec_python pytest --checks -s "$repo_root/tests/upgrade" "$@"
