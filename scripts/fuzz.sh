#!/usr/bin/env bash
# fuzz.sh [SECONDS]: every fuzz target of the pure crates for so many seconds. Needs a nightly toolchain and cargo-fuzz.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
cd "$repo_root"

seconds=${1:-60}
cargo fuzz --version >/dev/null 2>&1 || die "cargo-fuzz is missing" "Run: cargo install cargo-fuzz --locked"
found=no
for manifest in fuzz/Cargo.toml crates/*/fuzz/Cargo.toml; do
  [ -f "$manifest" ] || continue
  dir=$(dirname "$manifest")
  while IFS= read -r target; do
    found=yes
    say "=== $dir: $target, $seconds s"
    cargo fuzz run --fuzz-dir "$dir" "$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20
  done < <(cargo fuzz list --fuzz-dir "$dir")
done
[ "$found" = yes ] || die "there are no fuzz targets"
