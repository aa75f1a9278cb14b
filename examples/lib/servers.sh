# Source it: private servers for the examples with more than one, and measurements on them.
# shellcheck shell=bash
set -euo pipefail
# shellcheck source=../../scripts/lib.sh
. "${REPO_ROOT:?run it through scripts/examples.sh}/scripts/lib.sh"
pg=$REPO_ROOT/scripts/pg.sh

# expect WHAT CONDITION...: says that the example's claim holds, or ends it.
expect() {
  local what=$1
  shift
  if "$@"; then printf 'ok - %s\n' "$what"; else printf 'not so: %s\n' "$what"; exit 1; fi
}

# server NAME [-c name=value]...: starts one below EXAMPLES_WORK.
server() {
  local name=$1
  shift
  "$pg" cluster start "$EXAMPLES_PG_CONFIG" "$EXAMPLES_WORK/$name" "$@"
}

# socket NAME: the directory of its socket, which is its host.
socket() { cat "$EXAMPLES_WORK/$1/socket-dir"; }

# on NAME [psql's options]: psql on that server, SQL on standard input or by -c.
on() {
  local name=$1
  shift
  psql -XqAt -v ON_ERROR_STOP=1 -h "$(socket "$name")" -p 5432 -d "${DATABASE:-postgres}" "$@"
}

# cpu NAME...: CPU seconds that those servers and their sessions have used, ended ones included.
cpu() {
  local name pid ticks total=0 child
  for name in "$@"; do
    pid=$(head -n 1 "$EXAMPLES_WORK/$name/data/postmaster.pid")
    for child in "$pid" $(cat "/proc/$pid/task/$pid/children" 2>/dev/null); do
      # user and system time of the process; of the postmaster, of its waited-for children, too
      ticks=$(sed 's/.*) //' "/proc/$child/stat" 2>/dev/null | awk '{ print $12 + $13 + $14 + $15 }')
      total=$((total + ${ticks:-0}))
    done
  done
  awk -v ticks="$total" -v hertz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", ticks / hertz }'
}

# measure TITLE HOST[:PORT] DATABASE SQL-FILE SERVER...: queries from four clients for EXAMPLES_SECONDS; prints queries per second, and CPU per query
# of all the named servers together. Sets `per_query` to its microseconds.
measure() {
  local title=$1 host=${2%:*} port=5432 database=$3 file=$4 before after out count
  case $2 in *:*) port=${2##*:} ;; esac
  shift 4
  before=$(cpu "$@")
  out=$(pgbench -n -M "${BENCH_MODE:-prepared}" -c 4 -j 2 -T "$EXAMPLES_SECONDS" -f "$file" -h "$host" -p "$port" "$database" 2>&1) || { printf '%s\n' "$out"; exit 1; }
  # Sessions end a moment after their client.
  sleep 0.3
  after=$(cpu "$@")
  count=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' <<<"$out")
  per_query=$(awk -v a="$after" -v b="$before" -v n="$count" 'BEGIN { printf "%.0f", (a - b) * 1e6 / n }')
  printf '  %-44s %7.0f queries/s %7d µs of CPU per query\n' "$title" "$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<<"$out")" "$per_query"
}
