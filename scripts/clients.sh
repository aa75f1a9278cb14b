#!/usr/bin/env bash
# The clients that people use, against this build: pgvector's packages for Python, Node and Rust, and the Python package's own tests.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/venv.sh"
pg=$repo_root/scripts/pg.sh
tests=$repo_root/tests/clients

usage() {
  cat <<'TEXT'
usage: scripts/clients.sh [PART]...

  python   pgvector with psycopg, asyncpg, SQLAlchemy and Django
  suite    the tests in the source package of Python's pgvector, unmodified
  node     pgvector with pg
  rust     pgvector with tokio-postgres

Without a PART: all of them.

Environment:
  PG_CONFIG      the PostgreSQL to test in; default: a copy of the embedded one of PG_MAJOR (17)
  CLIENTS_LAYOUT the layout of indexes that do not say (auto, which is the default, or pgvector)
  CLIENTS_AS_IS  when set, nothing is installed: the extension that PG_CONFIG has already is tested, pgvector itself for instance
TEXT
}

parts=()
for part in "$@"; do
  case $part in
    python | suite | node | rust) parts+=("$part") ;;
    -h | --help | help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
if [ ${#parts[@]} -eq 0 ]; then parts=(python suite node rust); fi

make_cache
cache=$VECTOR_CACHE/clients
mkdir -p "$cache"

# --- what is fetched, once ---------------------------------------------------------------------------------------------

# made_from DIR FILE...: whether DIR was made from those files as they are now.
made_from() {
  local dir=$1
  shift
  [ -f "$dir/made-from" ] && cat "$@" | cmp -s - "$dir/made-from"
}

prepare_python() { python=$(venv_python clients); }

prepare_suite() {
  local version suite
  version=$(sed -n 's/^ *"pgvector==\(.*\)",/\1/p' "$repo_root/pyproject.toml")
  suite=$cache/pgvector-$version
  prepare_python
  if [ -d "$suite/tests" ]; then return; fi
  say "Fetching the source package of Python's pgvector $version ..."
  rm -rf "$cache/sdist"
  mkdir -p "$cache/sdist/tree"
  "$python" -m pip download -q --retries 5 --disable-pip-version-check --no-deps --no-binary pgvector -d "$cache/sdist" "pgvector==$version" >&2 ||
    die "pip could not fetch the source package"
  tar -xzf "$cache/sdist/pgvector-$version.tar.gz" -C "$cache/sdist/tree" --strip-components=1 --no-same-owner
  # The tests import these from a file that the package leaves out. They take the installed package, as its users do.
  rm -rf "$cache/sdist/tree/pgvector"
  touch "$cache/sdist/tree/tests/__init__.py"
  if [ ! -e "$cache/sdist/tree/tests/conftest.py" ]; then printf 'import numpy\nimport scipy.sparse\n' >"$cache/sdist/tree/tests/conftest.py"; fi
  mv -T "$cache/sdist/tree" "$suite"
}

prepare_node() {
  local dir=$cache/node
  have node && have npm || "$pg" deps npm
  node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || die "Node 20 or later is needed, this is $(node --version)"
  if ! made_from "$dir" "$tests/node/package.json" "$tests/node/package-lock.json"; then
    say "Installing the npm packages pg and pgvector ..."
    rm -rf "$dir"
    mkdir -p "$dir"
    cp "$tests/node/package.json" "$tests/node/package-lock.json" "$dir/"
    # pgvector asks for a newer Node than it needs.
    (cd "$dir" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error --engine-strict=false) >&2 || die "npm could not install the clients"
    cat "$tests/node/package.json" "$tests/node/package-lock.json" >"$dir/made-from"
  fi
  # Packages are looked for beside the file that imports them.
  cp "$tests"/node/*.test.js "$dir/"
}

with_cargo() { (cd "$tests/rust" && CARGO_TARGET_DIR="$cache/rust" cargo "$@"); }

prepare_rust() {
  say "Compiling the clients in Rust ..."
  with_cargo test --locked --no-run -q >&2 || die "the clients in Rust could not be compiled"
}

# --- what is run -------------------------------------------------------------------------------------------------------

passed=0 failed=0

# report PART STATUS LOG: one line per test in one form, whatever the runner prints; the whole log when something failed.
report() {
  local part=$1 status=$2 log=$3 lines p f
  lines=$(awk -v part="$part" '
    /^(not )?ok ([0-9]+ )?- / { ok = /^ok/; sub(/^(not )?ok ([0-9]+ )?- /, ""); print (ok ? "ok" : "not ok") " - " part ": " $0; next }
    /^test .* \.\.\. (ok|FAILED)$/ { ok = / ok$/; sub(/^test /, ""); sub(/ \.\.\. .*/, ""); print (ok ? "ok" : "not ok") " - " part ": " $0 }' "$log")
  p=$(grep -c '^ok' <<<"$lines" || true)
  f=$(grep -c '^not ok' <<<"$lines" || true)
  if [ -n "$lines" ]; then printf '%s\n' "$lines"; fi
  # A runner that failed without naming a test, or that ran none, has failed.
  if [ "$f" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$p" -eq 0 ]; }; then
    printf 'not ok - %s: ended with status %d\n' "$part" "$status"
    f=1
  fi
  if [ "$f" -ne 0 ]; then sed 's/^/    /' "$log" | tail -n 150; fi
  passed=$((passed + p)) failed=$((failed + f))
}

with_pytest() { "$python" -m pytest --checks -p no:cacheprovider "$@"; }

run_python() { with_pytest -c "$tests/python/pytest.ini" --rootdir "$tests/python" "$tests/python"; }

# The suite connects as it likes: a database of the name they expect, localhost, their own user.
run_suite() {
  local suite
  suite=$(echo "$cache"/pgvector-[0-9]*)
  createdb pgvector_python_test
  (unset PGUSER PGDATABASE && cd "$suite" && with_pytest tests)
}

run_node() { (cd "$cache/node" && node --test --test-reporter=tap); }
run_rust() { with_cargo test --locked --offline --test clients; }

# In a network of its own, so that localhost is the private server's.
serve() {
  local part log status
  "$pg" cluster start "$pg_config" "$work/cluster" -c listen_addresses=localhost ${CLIENTS_LAYOUT:+-c "hnsw.default_layout=$CLIENTS_LAYOUT" -c "ivfflat.default_layout=$CLIENTS_LAYOUT"}
  eval "$("$pg" cluster env "$work/cluster")"
  psql -Xqc "CREATE ROLE \"$(id -un)\" SUPERUSER LOGIN" 2>/dev/null || true
  export PYTHONDONTWRITEBYTECODE=1
  for part in "$@"; do
    log=$work/$part.log status=0
    "run_$part" >"$log" 2>&1 </dev/null || status=$?
    report "$part" "$status" "$log"
  done
  "$pg" cluster stop "$work/cluster" --remove
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ]
}

if [ -n "${CLIENTS_INSIDE:-}" ]; then
  IFS=: read -r work pg_config python <<<"$CLIENTS_INSIDE"
  serve "${parts[@]}"
  exit
fi

have python3 || "$pg" deps
for part in "${parts[@]}"; do "prepare_$part"; done
work=$(mktemp -d "${TMPDIR:-/tmp}/clients.XXXXXX")
chmod 755 "$work"
trap '"$pg" cluster stop "$work/cluster" --remove >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
trap 'exit 143' TERM INT
pg_config=$(test_server "$work/pg")
if [ -z "${CLIENTS_AS_IS:-}" ]; then "$pg" install "$pg_config" >/dev/null; fi
say "pgvector's clients on $("$pg_config" --version)"
export CLIENTS_INSIDE=$work:$pg_config:${python:-}
# Brings the loopback interface up (SIOCSIFFLAGS with IFF_UP and IFF_RUNNING), then becomes the command that follows.
loopback='import fcntl, os, socket, struct, sys; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH22s", b"lo", 0x41, b"")); os.execvp(sys.argv[1], sys.argv[1:])'
inner=(bash "${BASH_SOURCE[0]}" "${parts[@]}")
me=(-U "--map-user=$(id -u)" "--map-group=$(id -g)")
status=0
if is_root && unshare -n true 2>/dev/null; then
  unshare -n python3 -c "$loopback" "${inner[@]}" || status=$?
elif unshare -Urn unshare "${me[@]}" true 2>/dev/null; then
  # An ordinary user needs a user namespace to own a network, and another one to be himself in it.
  unshare -Urn python3 -c "$loopback" unshare "${me[@]}" "${inner[@]}" || status=$?
else
  die "the clients' own tests use localhost, and this system allows no network namespace" "Run as root, or allow user namespaces."
fi
exit "$status"
