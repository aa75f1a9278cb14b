#!/usr/bin/env bash
# What users fear, tried: crashes, cancelled builds, full disks, damaged files, standbys, many clients; and recall floors.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
exec_python reliability "$@"
