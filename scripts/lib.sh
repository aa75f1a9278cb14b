# Shared by the scripts beside it; source it, do not run it.
# shellcheck shell=bash

# This machine's habits must not leak into what we build or compare.
unset CDPATH
export LC_ALL=C.UTF-8

repo_root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
ext_version=$(sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" "$repo_root/vector.control")
export repo_root ext_version

# Majors this project supports, and where `make test` looks when PG_MAJORS is not given.
all_majors="13 14 15 16 17 18"
export all_majors

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$1" >&2; shift; for line in "$@"; do printf '       %s\n' "$line" >&2; done; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# Everything downloaded or unpacked lives outside the checkout, in a place that an ordinary server user can read.
if [ -z "${VECTOR_CACHE:-}" ]; then
  if is_root; then
    VECTOR_CACHE=/var/cache/vector-dev
  else
    VECTOR_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/vector-dev
  fi
fi
export VECTOR_CACHE

target_dir() {
  local dir=${CARGO_TARGET_DIR:-target}
  case $dir in /*) printf '%s\n' "$dir" ;; *) printf '%s\n' "$repo_root/$dir" ;; esac
}

make_cache() {
  mkdir -p "$VECTOR_CACHE" || die "cannot create the cache directory $VECTOR_CACHE" "Set VECTOR_CACHE to a directory that you can write."
  if is_root; then chmod a+rx "$VECTOR_CACHE"; fi
}

# The user that runs servers: ourselves, unless we are root, which PostgreSQL refuses.
server_user() {
  if ! is_root; then
    id -un
    return
  fi
  local user
  for user in "${VECTOR_SERVER_USER:-}" postgres nobody; do
    if [ -n "$user" ] && id -u "$user" >/dev/null 2>&1; then
      printf '%s\n' "$user"
      return
    fi
  done
  die "no ordinary user to run PostgreSQL as" "Set VECTOR_SERVER_USER to one."
}

# as_server COMMAND...: run as the server user, with RUST_BACKTRACE set: no error may show a backtrace, and every test is to notice one.
as_server() {
  if ! is_root; then
    env RUST_BACKTRACE=1 "$@"
  else
    local user
    user=$(server_user)
    if have runuser; then
      runuser -u "$user" -- env RUST_BACKTRACE=1 HOME=/tmp "$@"
    elif have setpriv; then
      setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups env RUST_BACKTRACE=1 HOME=/tmp "$@"
    else
      die "neither runuser nor setpriv is there to leave root" "Install util-linux."
    fi
  fi
}

# pg_config_of PREFIX-OR-PG_CONFIG: the path of that installation's pg_config.
pg_config_of() {
  local where=$1
  if [ -d "$where" ]; then where=$where/bin/pg_config; fi
  case $where in
    */*) ;;
    *) where=$(command -v "$where") || die "pg_config not found: $1" "Give the path: PG_CONFIG=/usr/lib/postgresql/17/bin/pg_config" \
      "or use the embedded PostgreSQL: PG_CONFIG=\$(scripts/pg.sh prefix 17)/bin/pg_config" ;;
  esac
  [ -x "$where" ] || die "not an executable pg_config: $where"
  printf '%s\n' "$where"
}

# major_of PG_CONFIG: 13 to 18, or an error.
major_of() {
  local version major
  version=$("$1" --version) || die "$1 --version failed"
  major=$(printf '%s\n' "$version" | sed -n 's/^PostgreSQL \([0-9][0-9]*\).*/\1/p')
  case " $all_majors " in
    *" $major "*) printf '%s\n' "$major" ;;
    *) die "$1 is of $version; PostgreSQL 13 to 18 are supported" ;;
  esac
}

# find_pg_regress PG_CONFIG: the installation's own pg_regress, or any other on this machine; it works against every server.
find_pg_regress() {
  local own candidate
  own=$("$1" --pgxs)
  own=${own%/makefiles/*}/test/regress/pg_regress
  for candidate in "${PG_REGRESS:-}" "$own" "$VECTOR_CACHE"/pg/*/lib/pgxs/src/test/regress/pg_regress \
    "$VECTOR_CACHE"/pg/*/postgresql/lib/pgxs/src/test/regress/pg_regress /usr/lib/postgresql/*/lib/pgxs/src/test/regress/pg_regress; do
    if [ -n "$candidate" ] && [ -x "$candidate" ]; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  die "no pg_regress found" "Set PG_REGRESS to one, or run: scripts/pg.sh prefix 17"
}

# with_libraries_of PG_CONFIG COMMAND...: some programs and modules of an embedded PostgreSQL do not find its libpq by themselves.
with_libraries_of() {
  local libdir
  libdir=$("$1" --libdir)
  shift
  case $libdir in
    /usr/* | /lib*) "$@" ;;
    *) LD_LIBRARY_PATH=$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$@" ;;
  esac
}

# run_pg_regress PG_CONFIG INPUTDIR OUTPUTDIR TEST...: against the server of PGHOST, PGPORT and PGUSER, in a database of its own.
run_pg_regress() {
  local pg_config=$1 input=$2 output=$3 regress status=0
  shift 3
  regress=$(find_pg_regress "$pg_config")
  mkdir -p "$output/results"
  # Some tests write files below the current directory.
  (cd "$output" && with_libraries_of "$pg_config" "$regress" --bindir="$("$pg_config" --bindir)" --inputdir="$input" --outputdir="$output" \
    --dbname=vector_regress --load-extension=vector ${PGHOST:+--host="$PGHOST"} --port="${PGPORT:-5432}" --user="${PGUSER:-postgres}" "$@") || status=$?
  if [ "$status" -ne 0 ] && [ -s "$output/regression.diffs" ]; then
    say "--- regression.diffs (first 200 lines of $output/regression.diffs)"
    head -n 200 "$output/regression.diffs" >&2
  fi
  return "$status"
}

# The names of this project's regression tests.
regress_tests() {
  local file
  for file in "$repo_root"/tests/regress/sql/*.sql; do basename "$file" .sql; done
}

# count_outcomes LOG STATUS: prints "passed failed" of a run: its tests when it names them (cargo, TAP, pg_regress), else itself.
count_outcomes() {
  awk -v status="$2" '
    /^test result: / { cargo = 1; match($0, /[0-9]+ passed/); p += substr($0, RSTART, RLENGTH); match($0, /[0-9]+ failed/); f += substr($0, RSTART, RLENGTH) }
    /^ok( |$)/ || /^test .* \.\.\. +ok/ { tp++ }
    /^not ok( |$)/ || /^test .* \.\.\. +FAILED/ { tf++ }
    END {
      if (!cargo) { p = tp; f = tf }
      if (status != 0 && f == 0) f = 1
      if (status == 0 && p == 0 && f == 0) p = 1
      print p + 0, f + 0
    }' "$1"
}

# test_server DIR [MAJOR]: the pg_config of PG_CONFIG, when it is of that major, or that of a private copy in DIR of the embedded
# PostgreSQL of that major (PG_MAJOR, else 17).
test_server() {
  local prefix given=""
  if [ -n "${PG_CONFIG:-}" ]; then given=$(pg_config_of "$PG_CONFIG"); fi
  if [ -n "$given" ] && { [ -z "${2:-}" ] || [ "$(major_of "$given")" = "$2" ]; }; then
    printf '%s\n' "$given"
  else
    prefix=$("$repo_root/scripts/pg.sh" copy "${2:-${PG_MAJOR:-17}}" "$1")
    printf '%s\n' "$prefix/bin/pg_config"
  fi
}

# exec_python MODULE ARGUMENT...: becomes that module of the package in pyproject.toml.
exec_python() {
  # shellcheck source-path=SCRIPTDIR source=venv.sh
  . "$repo_root/scripts/venv.sh"
  local python
  python=$(venv_python)
  cd "$repo_root"
  export PYTHONDONTWRITEBYTECODE=1
  exec "$python" -m "$@"
}
