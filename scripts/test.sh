#!/usr/bin/env bash
# Everything a change must pass. One process per phase, so that each has its own time limit and cleans up after itself.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
self=$repo_root/scripts/test.sh
pg=$repo_root/scripts/pg.sh
cd "$repo_root"

usage() {
  cat <<'TEXT'
usage: scripts/test.sh [all|quick]
       scripts/test.sh [phase] NAME [MAJOR or TIER]
       scripts/test.sh tiers        the SIMD tiers of this CPU

  all     (default) every phase for every major of PG_MAJORS ("13 14 15 16 17 18")
  quick   format, lints, pure crates, and one major (17, or the first of PG_MAJORS)

Phases: deps format lint clippy-pure clippy MAJOR, pure TIER, python, gate, regress MAJOR, tools, pgrx MAJOR, docs,
clients, examples, differential, conformance, upgrade, reliability, reliability-of LAYOUT,
packages MAJOR, pgrx-package MAJOR, site

Environment: PG_MAJORS, PG_CONFIG (taken for its major), VECTOR_CACHE, CARGO_TARGET_DIR.
TEXT
}

# The tiers that this CPU can run; VECTOR_SIMD caps the dispatcher at one of them.
tiers() {
  local flags
  echo scalar
  if [ "$(uname -m)" = aarch64 ]; then
    echo neon
    return
  fi
  flags=" $(sed -n '/^flags/{s/.*: //p;q}' /proc/cpuinfo) "
  local flag
  for flag in avx2 fma f16c bmi2; do
    case $flags in *" $flag "*) ;; *) return 0 ;; esac
  done
  echo avx2
  for flag in avx512f avx512bw avx512vl avx512dq avx512_vnni avx512_vpopcntdq; do
    case $flags in *" $flag "*) ;; *) return 0 ;; esac
  done
  echo avx512
}

# --- phases -----------------------------------------------------------------------------------------------------------

# The major of the suites that run on one.
default_major=${PG_MAJOR:-17}

# Debug builds of every major share one configuration of pgrx, and servers that nothing else installs into.
pgrx_home=$VECTOR_CACHE/pgrx

phase_deps() {
  "$pg" deps
  cargo --version
  rustc --version
  local component
  for component in rustfmt clippy; do
    if ! cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1; then
      if have rustup; then rustup component add "$component"; else die "cargo ${component/rustfmt/fmt} is missing" "Install $component."; fi
    fi
  done
}

phase_tools() {
  local major args=()
  make_cache
  (
    flock 9
    if [ "$("$VECTOR_CACHE/cargo-pgrx/bin/cargo-pgrx" pgrx --version 2>/dev/null)" != "cargo-pgrx $pgrx_version" ]; then
      # Unoptimised: it runs for seconds, and its optimised build takes three times as long.
      CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-pgrx --version "=$pgrx_version" --locked --debug --force --root "$VECTOR_CACHE/cargo-pgrx"
    fi
    for major in $all_majors; do
      if [ -f "$pgrx_home/pg/$major.path" ]; then continue; fi
      case " $PG_MAJORS " in *" $major "*) ;; *) continue ;; esac
      mkdir -p "$pgrx_home/pg"
      rm -rf "$pgrx_home/pg/$major"
      "$pg" copy "$major" "$pgrx_home/pg/$major" >"$pgrx_home/pg-$major.path"
      mv "$pgrx_home/pg-$major.path" "$pgrx_home/pg/$major.path"
      rm -f "$pgrx_home/config.toml"
    done
    if [ ! -f "$pgrx_home/config.toml" ]; then
      for major in $all_majors; do
        if [ -f "$pgrx_home/pg/$major.path" ]; then args+=("--pg$major=$(cat "$pgrx_home/pg/$major.path")/bin/pg_config"); fi
      done
      with_pgrx cargo pgrx init "${args[@]}"
    fi
  ) 9>"$VECTOR_CACHE/tools.lock"
}

pgrx_version=$(sed -n 's/^pgrx = "=\(.*\)"/\1/p' Cargo.toml)
with_pgrx() { env -u RUST_BACKTRACE PGRX_HOME="$pgrx_home" PATH="$VECTOR_CACHE/cargo-pgrx/bin:$PATH" "$@"; }

phase_format() { cargo fmt --all --check; }
phase_lint() { "$repo_root/scripts/lint.sh"; }
phase_clippy_pure() { cargo clippy -p vector-kernels -p vector-index -p vector-gate -p vector-benches --all-targets -- -D warnings; }
phase_clippy() { with_pgrx cargo clippy -p vector --all-targets --no-default-features --features "pg$1 pg_test fault_points" -- -D warnings; }

# Tests that go through every step of changes, damage or interleavings take minutes and say nothing of arithmetic: they run
# once, in the tier that this CPU takes by itself.
long_tests=(life_tests hostile schedules insert_tests)

phase_pure() {
  local test skipped=()
  if [ "$1" != "$(tiers | tail -n 1)" ]; then
    for test in "${long_tests[@]}"; do skipped+=(--skip "$test"); done
  fi
  VECTOR_SIMD=$1 cargo test -p vector-kernels -p vector-index -- "${skipped[@]}"
}

phase_python() { exec_python pytest --checks "$repo_root/tests/vector_testing"; }

phase_gate() { "$repo_root/scripts/bench-gate.sh" check; }

phase_regress() {
  local major=$1 work pg_config tests status=0
  make_cache
  work=$(mktemp -d "$VECTOR_CACHE/regress.XXXXXX")
  chmod 755 "$work"
  # shellcheck disable=SC2064 # the path of now
  trap "'$pg' cluster stop '$work/cluster' --remove >/dev/null 2>&1 || true; rm -rf '$work'" EXIT
  trap 'exit 143' TERM INT
  pg_config=$(test_server "$work/pg" "$major")
  # Users' build is that of one major, which the other suites run too; on the rest the question is PostgreSQL.
  if [ "$major" = "$default_major" ]; then "$pg" install "$pg_config"; else "$pg" install "$pg_config" --tested; fi
  "$pg" cluster start "$pg_config" "$work/cluster"
  eval "$("$pg" cluster env "$work/cluster")"

  tests=$(regress_tests)
  # shellcheck disable=SC2086 # a list of names
  run_pg_regress "$pg_config" "$repo_root/tests/regress" "$(target_dir)/regress/$major" $tests || status=$?
  catalog_diff || status=$?
  return "$status"
}

# Ours against pgvector's, line by line; what we add stands in tests/compat/additions.tsv.
catalog_diff() {
  local ours wanted differences additions=tests/compat/additions.tsv
  psql -XqAt -v ON_ERROR_STOP=1 -c "DROP DATABASE IF EXISTS catalog" -c "CREATE DATABASE catalog" 2>/dev/null
  PGDATABASE=catalog psql -XqAt -v ON_ERROR_STOP=1 -c "CREATE EXTENSION vector"
  ours=$(PGDATABASE=catalog psql -XAtq -v ON_ERROR_STOP=1 -F $'\t' -f tests/compat/catalog.sql)
  wanted=$(cat tests/compat/pgvector-*-catalog.tsv)
  if [ -f "$additions" ]; then wanted=$(printf '%s\n' "$wanted"; grep -v '^#' "$additions"); fi
  differences=$(diff <(printf '%s\n' "$wanted" | LC_ALL=C sort) <(printf '%s\n' "$ours" | LC_ALL=C sort) || true)
  if [ -n "$differences" ]; then
    printf 'not ok - catalog equals pgvector'\''s\n%s\n' "$differences"
    return 1
  fi
  printf 'ok - catalog equals pgvector'\''s (%d objects)\n' "$(printf '%s\n' "$ours" | wc -l)"
}

phase_pgrx() {
  local major=$1 user data
  if [ "$(uname -m)" = x86_64 ]; then
    # cargo-pgrx links with other flags than cargo test, so that cargo would build every dependency twice. Needed on aarch64 only.
    export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND=1
  fi
  (
    # Two runs at once would install into the same server.
    flock 9
    if ! is_root; then
      with_pgrx cargo pgrx test --package vector "pg$major"
    else
      user=$(server_user)
      if unshare -U --map-user="$user" --map-group="$(id -gn "$user")" true 2>/dev/null; then
        # PostgreSQL refuses root: in a user namespace root's own files belong to that user.
        with_pgrx env USER="$user" unshare -U --map-user="$user" --map-group="$(id -gn "$user")" -- cargo pgrx test --package vector "pg$major"
      else
        have sudo || apt-get install -y -q sudo >/dev/null 2>&1 || die "cargo pgrx test as root needs user namespaces or sudo" "Run the tests as an ordinary user, or install sudo."
        data=$(as_server mktemp -d /tmp/vector-pgrx.XXXXXX)
        # shellcheck disable=SC2064 # the path of now
        trap "rm -rf '$data'" EXIT
        with_pgrx cargo pgrx test --package vector "pg$major" --runas "$user" --pgdata "$data"
      fi
    fi
  ) 9>"$pgrx_home/test-$major.lock"
}

phase_differential() { "$repo_root/scripts/differential.sh" quick; }
phase_conformance() { "$repo_root/scripts/conformance.sh"; }
phase_upgrade() { "$repo_root/scripts/upgrade.sh"; }
# What indexes get that do not say, and the pages on which all are that pgvector made.
phase_reliability() { "$repo_root/scripts/reliability.sh"; }
phase_reliability_of() { "$repo_root/scripts/reliability.sh" --layout "$1" crash reachable isolation recovery concurrency recall; }
phase_clients() { "$repo_root/scripts/clients.sh"; }
phase_packages() {
  "$repo_root/scripts/pg.sh" deps dpkg-shlibdeps:dpkg-dev lintian
  "$repo_root/scripts/package.sh" test "${1:-17}"
}

# cargo-pgrx's own way to a package: the same library, and its scripts.
phase_pgrx_package() {
  local major=$1 out=$repo_root/target/pgrx-package
  with_pgrx cargo pgrx package --package vector --pg-config "$(cat "$pgrx_home/pg/$major.path")/bin/pg_config" --no-default-features \
    --features "pg$major" --out-dir "$out"
  [ "$(find "$out" -name vector.so | wc -l)" = 1 ] || die "cargo pgrx package made no library"
  # Its generator adds comments; every line of ours must be there.
  if grep -Fxv -f "$(find "$out" -name "vector--$ext_version.sql")" "$repo_root/sql/vector.sql"; then die "cargo pgrx package left these lines out"; fi
}

phase_site() { "$repo_root/scripts/site.sh" check; }
phase_examples() { "$repo_root/scripts/examples.sh"; }
phase_docs() { "$repo_root/scripts/docs.sh"; }

# --- the runner -------------------------------------------------------------------------------------------------------

passed=0 failed=0 summary=() failures=()

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# The oldest, the default and the newest, for what differs little between majors and takes long to build. The long forms
# take all (scripts/torture.sh).
some_majors() {
  local major oldest=${PG_MAJORS%% *} newest=${PG_MAJORS##* }
  for major in $PG_MAJORS; do
    case " $oldest $default_major $newest " in *" $major "*) echo "$major" ;; esac
  done
}

# phase LIMIT-MINUTES NAME [ARGUMENT]
phase() {
  local limit=$1 name=$2 title began=$SECONDS status=0 log p f took
  shift
  title="$*"
  log=$logs/$(printf '%02d' "${#summary[@]}")-${title// /-}.log
  printf '\n=== %s\n' "$title"
  timeout -k 30 "${limit}m" bash "$self" phase "$@" >"$log" 2>&1 </dev/null || status=$?
  took=$((SECONDS - began))
  read -r p f < <(count_outcomes "$log" "$status")
  passed=$((passed + p)) failed=$((failed + f))
  if [ "$status" -eq 0 ] && [ "$f" -eq 0 ]; then
    grep -E '^[0-9]+ (rules|checks|cases|statements)' "$log" | head -n 5 || true
    printf 'ok, %d passed in %s\n' "$p" "$(clock "$took")"
    summary+=("$(printf 'ok      %6s  %5d passed              %s' "$(clock "$took")" "$p" "$title")")
  else
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then echo "time limit of $limit minutes" >>"$log"; fi
    # What failed may stand far above the end.
    grep -E '^(not ok|FAILED|test .* FAILED$|error)' "$log" | head -n 20 || true
    tail -n 60 "$log"
    printf 'FAILED, %d passed, %d failed in %s; whole log: %s\n' "$p" "$f" "$(clock "$took")" "$log"
    summary+=("$(printf 'FAILED  %6s  %5d passed %5d failed  %s' "$(clock "$took")" "$p" "$f" "$title")")
    failures+=("$(grep -hE '^(not ok|test .* FAILED$)' "$log" | head -n 20 | sed "s|^|$title: |")"$'\n')
    return 1
  fi
}

run() {
  local mode=$1 tier major
  if [ "$mode" = quick ]; then
    PG_MAJORS=${PG_MAJORS:-17}
    PG_MAJORS=${PG_MAJORS%% *}
  fi
  PG_MAJORS=${PG_MAJORS:-$all_majors}
  export PG_MAJORS
  if [ "${CI:-}" = true ]; then
    # A machine that builds once needs no incremental state and no full debug information.
    export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=line-tables-only
  fi
  logs=$(target_dir)/test-logs
  rm -rf "$logs"
  mkdir -p "$logs"

  # Nothing works without the packages; every other phase says its own word.
  if phase 15 deps; then
    phase 5 format || true
    phase 10 lint || true
    phase 20 clippy-pure || true
    for tier in $(tiers); do phase 20 pure "$tier" || true; done
    phase 10 python || true
    phase 15 gate || true
    if phase 25 tools; then
      for major in $(some_majors); do phase 15 clippy "$major" || true; done
    fi
    for major in $PG_MAJORS; do phase 20 regress "$major" || true; done
    # Tests from inside differ least of all.
    phase 20 pgrx "${PG_MAJORS##* }" || true
    if [ "$mode" = all ]; then
      phase 30 conformance || true
      phase 20 upgrade || true
      if [ -x scripts/differential.sh ]; then phase 20 differential || true; fi
      phase 10 docs || true
      phase 15 clients || true
      phase 10 site || true
      phase 15 packages "$default_major" || true
      phase 15 examples || true
      phase 40 reliability || true
      phase 20 reliability-of pgvector || true
    fi
  fi

  printf '\n=== summary (%s, PostgreSQL %s)\n' "$(clock "$SECONDS")" "$PG_MAJORS"
  printf '%s\n' "${summary[@]}"
  printf 'logs: %s\n\n' "$logs"
  printf '%s' "${failures[@]}"
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ]
}

PG_MAJORS_GIVEN=${PG_MAJORS:-}
case ${1:-all} in
  all | quick) run "${1:-all}" ;;
  tiers) tiers ;;
  -h | --help | help) usage ;;
  *)
    if [ "$1" = phase ]; then shift; fi
    PG_MAJORS=${PG_MAJORS_GIVEN:-$all_majors}
    name=${1:?which phase?}
    shift
    if ! declare -F "phase_${name//-/_}" >/dev/null; then usage >&2; exit 2; fi
    "phase_${name//-/_}" "$@"
    ;;
esac
