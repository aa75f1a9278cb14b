#!/usr/bin/env bash
# The instruction gate: seeded workloads of the pure crates under callgrind, compared with committed counts.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
cd "$repo_root"

usage() {
  cat <<'TEXT'
usage: scripts/bench-gate.sh [check]
       scripts/bench-gate.sh update REASON

Counts the instructions of builds, searches, inserts, a vacuum, k-means and text of the pure crates (benches/callgrind). A workload that
differs by more than 3 % from benches/callgrind/baseline.tsv fails, cheaper ones too: `update` writes the new counts, with the reason.
Counts are those of one compiler on x86_64; with another they are shown and nothing fails.
TEXT
}

what=${1:-check}
case $what in
  check) reason=() ;;
  update) reason=("${2:?which reason?}") ;;
  -h | --help | help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac

if [ "$(uname -m)" != x86_64 ]; then
  echo "# the baseline is of x86_64: nothing is compared here"
  exit 0
fi
have valgrind || "$repo_root/scripts/pg.sh" deps valgrind

cargo build --release --quiet --package vector-gate
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Valgrind does not know AVX-512, and scalar kernels count the same everywhere. The function is the border of what is counted, see main.rs.
VECTOR_SIMD=scalar valgrind --tool=callgrind --collect-atstart=no --toggle-collect=vector_gate::measured --dump-after=vector_gate::measured \
  --callgrind-out-file="$work/part" "$(target_dir)/release/vector-gate" >"$work/names" 2>"$work/log" || { tail -n 20 "$work/log" >&2; die "the workloads failed under valgrind"; }
python3 "$repo_root/benches/callgrind/compare.py" "$what" "$work/part" "$work/names" "$repo_root/benches/callgrind/baseline.tsv" "$(rustc --version)" ${reason[@]+"${reason[@]}"}
