#!/usr/bin/env bash
# Every fuzz target of the pure crates, under AddressSanitizer, for so many seconds; finds are kept in fuzz/artifacts.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
cd "$repo_root"

usage() {
  cat <<'TEXT'
usage: scripts/fuzz.sh [--seconds N] [--jobs N] [TARGET]...

  --seconds  how long each target runs (60)
  --jobs     processes per target (1)
  TARGET     of fuzz/fuzz_targets; all of them when none is named

fuzz/seeds holds small inputs to begin with; what runs find beside them grows in fuzz/corpus, which is not committed. Needs cargo-fuzz
(cargo install cargo-fuzz --locked) and a C++ compiler. With a nightly toolchain it is used; without one the stable compiler is told to
accept the sanitizer's flags. Without cargo-fuzz the same functions run on random input in `cargo test -p vector-index hostile`, as long
as VECTOR_HOSTILE says.
TEXT
}

seconds=60 jobs=1 targets=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help | help) usage; exit 0 ;;
    --seconds) seconds=${2:?--seconds needs a number}; shift ;;
    --jobs) jobs=${2:?--jobs needs a number}; shift ;;
    --*) usage >&2; exit 2 ;;
    *) targets+=("$1") ;;
  esac
  shift
done

cargo fuzz --version >/dev/null 2>&1 || die "cargo-fuzz is missing" "Run: cargo install cargo-fuzz --locked" \
  "or the short form on the stable toolchain: VECTOR_HOSTILE=20 cargo test --release -p vector-index hostile"
parallel=()
if [ "$jobs" -gt 1 ]; then parallel=(-jobs="$jobs" -workers="$jobs"); fi
cargo=(cargo)
if cargo +nightly --version >/dev/null 2>&1; then cargo=(cargo +nightly); else export RUSTC_BOOTSTRAP=1; fi
if [ "${#targets[@]}" -eq 0 ]; then
  for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
for target in "${targets[@]}"; do
  [ -f "fuzz/fuzz_targets/$target.rs" ] || die "no such fuzz target: $target"
  say "=== $target, $seconds s"
  mkdir -p "fuzz/corpus/$target"
  "${cargo[@]}" fuzz run --fuzz-dir fuzz "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    "${parallel[@]+"${parallel[@]}"}" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=60 -print_final_stats=1
done
