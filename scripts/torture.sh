#!/usr/bin/env bash
# The long forms of the tests that trust rests on: minutes to an hour, from one seed.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
pg=$repo_root/scripts/pg.sh
reliability=$repo_root/scripts/reliability.sh
cd "$repo_root"

usage() {
  cat <<'TEXT'
usage: scripts/torture.sh [PART]... [--minutes N] [--seed N]

  schedules    the pure crates: interleavings of inserts, scans and vacuums step by step, property tests with many cases
  reachable    drawn schedules that stop operations at their steps and count rows after each; the orderings of isolation
  crash        kill -9 in builds, concurrent builds, inserts and vacuums: 200 times in half an hour
  copies       pgvector's own tests on its pages, point-in-time recovery, prepared transactions, standby, logical
               replication, dumps, pg_upgrade
  assertions   sixteen clients, the schedules of reachable and the orderings of isolation on servers with assertions, of two majors
  memory       leaks, limits of memory, few buffers, cancelled work
  hostile      damaged index files, values out of line, odd calls, other libraries; fuzz targets where cargo-fuzz is installed
  valgrind     regression tests under memcheck
  miri         the pure crates in Rust's own interpreter, where a toolchain has it
  clients      the clients of Python, Node and Rust
  majors       clippy, and tests inside the server, on every major

All of them when none is named. --minutes is for the whole (30); parts that know no time take what they take, more where more is given.
--seed is that of all data and schedules (the time of day).

Environment: TORTURE_MAJORS, the majors of assertions (the first two of 18, 17, 15 whose source can be had); PG_MAJOR, that of the rest (17).
TEXT
}

all_parts="schedules reachable crash copies assertions memory hostile valgrind miri clients majors"
parts="" minutes=30 seed=$((10#$(date +%H%M%S)))
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help | help) usage; exit 0 ;;
    --minutes) minutes=${2:?--minutes needs a number}; shift ;;
    --seed) seed=${2:?--seed needs a number}; shift ;;
    *) case " $all_parts " in *" $1 "*) parts="$parts $1" ;; *) usage >&2; exit 2 ;; esac ;;
  esac
  shift
done
case $minutes$seed in *[!0-9]*) die "--minutes and --seed take whole numbers" ;; esac

# share PERCENT: so many seconds of the whole, and at least as many as the short form takes.
share() {
  local seconds=$((minutes * 60 * $1 / 100))
  if [ "$seconds" -lt 15 ]; then seconds=15; fi
  printf '%s\n' "$seconds"
}

# rounds PER-HALF-HOUR
rounds() {
  local number=$(($1 * minutes / 30))
  if [ "$number" -lt 4 ]; then number=4; fi
  printf '%s\n' "$number"
}

logs=$(target_dir)/torture-logs
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0 left_out=0 summary=() counts=()

# step NAME COMMAND...
step() {
  local name=$1 began=$SECONDS status=0 log p f
  shift
  log=$logs/${name// /-}.log
  printf '\n=== %s\n' "$name"
  "$@" >"$log" 2>&1 </dev/null || status=$?
  read -r p f < <(count_outcomes "$log" "$status")
  passed=$((passed + p)) failed=$((failed + f))
  # What was done is worth more than how many checks said so.
  while IFS= read -r line; do counts+=("$name: ${line#\# }"); done < <(
    grep -E '^# (stopped at|done:|left out|.* killed$)|s of [0-9]+ clients|^ok - reachable: [0-9]+ schedules|[0-9]+ schedules' "$log" || true
  )
  if [ "$status" -eq 0 ] && [ "$f" -eq 0 ]; then
    printf 'ok, %d passed in %d s\n' "$p" $((SECONDS - began))
    summary+=("$(printf 'ok      %5d s  %5d passed              %s' $((SECONDS - began)) "$p" "$name")")
  else
    grep -E '^not ok|^#   |^error' "$log" | head -n 60 || true
    printf 'FAILED, %d passed, %d failed in %d s; whole log: %s\n' "$p" "$f" $((SECONDS - began)) "$log"
    summary+=("$(printf 'FAILED  %5d s  %5d passed %5d failed  %s' $((SECONDS - began)) "$p" "$f" "$name")")
  fi
}

leave_out() {
  printf '\n=== %s: left out: %s\n' "$1" "$2"
  left_out=$((left_out + 1))
  summary+=("$(printf 'left out                               %s: %s' "$1" "$2")")
}

part_schedules() {
  step schedules env VECTOR_SCHEDULE_SEED="$seed" VECTOR_SCHEDULE_SECONDS="$(share 10)" VECTOR_TEST_ROUNDS="$(rounds 20)" VECTOR_HOSTILE="$(rounds 40)" PROPTEST_CASES="$(rounds 4096)" \
    cargo test --release -p vector-kernels -p vector-index -- --nocapture --test-threads 2
}

part_reachable() {
  local layout
  for layout in own pgvector; do
    step "reachable, layout $layout" "$reliability" reachable --layout "$layout" --seconds "$(share 10)" --seed "$seed"
    step "isolation, layout $layout" "$reliability" isolation --layout "$layout" --rounds "$(rounds 10)" --seed "$seed"
  done
}

part_crash() {
  local layout
  for layout in own pgvector; do
    # three kills a round and access method
    step "crash, layout $layout" "$reliability" crash --layout "$layout" --rounds "$(rounds 17)" --seed "$seed"
  done
}

part_copies() {
  local test
  step "conformance, layout pgvector" env CONFORMANCE_LAYOUT=pgvector "$repo_root/scripts/conformance.sh"
  for test in recovery standby replication upgrade_pg; do
    step "$test" "$reliability" "$test" --rounds "$(rounds 10)" --seconds "$(share 2)" --seed "$seed"
  done
}

part_assertions() {
  local major prefix
  local done=0
  for major in ${TORTURE_MAJORS:-18 17 15}; do
    # the first two whose source can be had
    if [ "$done" -eq 2 ] && [ -z "${TORTURE_MAJORS:-}" ]; then break; fi
    if ! prefix=$("$pg" cassert "$major" 2>"$logs/cassert-$major.log"); then
      leave_out "assertions, PostgreSQL $major" "$(tail -n 1 "$logs/cassert-$major.log")"
      continue
    fi
    done=$((done + 1))
    step "sixteen clients, assertions, PostgreSQL $major" env PG_CONFIG="$prefix/bin/pg_config" "$reliability" concurrency --clients 16 --seconds "$(share 6)" --seed "$seed"
    step "schedules, assertions, PostgreSQL $major" env PG_CONFIG="$prefix/bin/pg_config" "$reliability" reachable isolation --seconds "$(share 6)" --seed "$((seed + 1000))"
  done
}

part_memory() {
  local test
  for test in leaks memory buffers cancel; do step "$test" "$reliability" "$test" --rounds "$(rounds 30)" --seed "$seed"; done
}

part_hostile() {
  local test
  for test in corruption toast symbols hostile diskfull; do step "$test" "$reliability" "$test" --rounds "$(rounds 10)" --seed "$seed"; done
  if cargo fuzz --version >/dev/null 2>&1; then
    step fuzz "$repo_root/scripts/fuzz.sh" --seconds "$(share 2)"
  else
    leave_out fuzz "cargo-fuzz is not installed"
  fi
}

part_valgrind() {
  if [ ! -x scripts/valgrind.sh ] || ! { have valgrind || "$pg" deps valgrind; } >/dev/null 2>&1; then
    leave_out valgrind "it is not installed"
    return
  fi
  step valgrind "$repo_root/scripts/valgrind.sh"
}

part_miri() {
  if ! cargo miri --version >/dev/null 2>&1; then
    leave_out miri "this toolchain has no Miri; it comes with a nightly one"
    return
  fi
  step miri env VECTOR_SIMD=scalar PROPTEST_CASES=4 MIRIFLAGS=-Zmiri-disable-isolation cargo miri test -p vector-kernels -p vector-index
}

part_clients() { step clients "$repo_root/scripts/clients.sh"; }
part_majors() {
  local major
  for major in $all_majors; do
    step "clippy $major" "$repo_root/scripts/test.sh" phase clippy "$major"
    step "pgrx $major" "$repo_root/scripts/test.sh" phase pgrx "$major"
  done
}

printf 'seed %s, %s minutes\n' "$seed" "$minutes"
for part in ${parts:-$all_parts}; do "part_$part"; done

printf '\n=== summary (seed %s, %d minutes)\n' "$seed" $((SECONDS / 60))
printf '%s\n' "${summary[@]}"
if [ "${#counts[@]}" -gt 0 ]; then printf '\n=== what was done\n'; printf '%s\n' "${counts[@]}"; fi
printf '\nlogs: %s\n%d passed, %d failed, %d left out\n' "$logs" "$passed" "$failed" "$left_out"
[ "$failed" -eq 0 ]
