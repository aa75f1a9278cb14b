#!/usr/bin/env bash
# Runs pgvector's own regression files and TAP tests, unmodified, against this project's build. They come from the distribution's source
# package, are fetched into the cache when this runs, and are no part of this project.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=sources.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/sources.sh"
pg=$repo_root/scripts/pg.sh

usage() {
  cat <<'TEXT'
usage: scripts/conformance.sh [all|regress|tap|fetch] [NAME]...

  all      (default) the regression files, then the TAP tests
  regress  pgvector's regression files, or those named
  tap      pgvector's TAP tests, or those whose names contain a NAME: tap hnsw_vacuum 045
  fetch    print the folder of pgvector's unpacked source

Environment:
  PG_CONFIG             the PostgreSQL to test in; default: a copy of the embedded one of PG_MAJOR (17)
  CONFORMANCE_AS_IS     when set, nothing is installed: the extension that PG_CONFIG has already is tested, pgvector itself for instance
  CONFORMANCE_DIR       pgvector's unpacked source, instead of fetching it
  CONFORMANCE_SUITE     the distribution release to take it from (Debian: trixie; Ubuntu: the newest that has it)
  CONFORMANCE_SKIP      what to leave out when nothing is named: files, or the name of an access method for all of its files
  CONFORMANCE_LAYOUT    the layout of indexes that do not say (auto, which is the default, or pgvector)
  CONFORMANCE_JOBS      TAP tests at a time (default: the number of CPUs)
TEXT
}

skip=${CONFORMANCE_SKIP:-}

# left_out NAME: whether a word of CONFORMANCE_SKIP names the test, or the access method that it is about.
left_out() {
  local word
  for word in $skip; do
    case $1 in "$word" | "$word"_* | [0-9]*_"$word"_*) return 0 ;; esac
  done
  return 1
}

# fetch: prints the folder of pgvector's unpacked source.
fetch() {
  if [ -n "${CONFORMANCE_DIR:-}" ]; then
    [ -d "$CONFORMANCE_DIR/test/sql" ] || die "CONFORMANCE_DIR=$CONFORMANCE_DIR has no test/sql"
    (cd "$CONFORMANCE_DIR" && pwd -P)
    return
  fi
  local suites=trixie
  source_place
  if [ "$source_family" = ubuntu ]; then suites="resolute questing plucky"; fi
  # shellcheck disable=SC2086 # a list of names
  source_package pgvector "$VECTOR_CACHE/pgvector-source" ${CONFORMANCE_SUITE:-$suites} ||
    die "pgvector's source package could not be fetched (${CONFORMANCE_SUITE:-$suites})" "Unpack pgvector's source and set CONFORMANCE_DIR to it."
}

# --- TAP tests --------------------------------------------------------------------------------------------------------

# perl_folders: PostgreSQL's Perl modules for tests, and IPC::Run, which they need; from packages that are unpacked, not installed.
perl_folders() {
  local modules="" run="" folder final=$VECTOR_CACHE/perl package version work
  for folder in /usr/lib/postgresql/*/lib/pgxs/src/test/perl "$final"/usr/lib/postgresql/*/lib/pgxs/src/test/perl; do
    # From 15 on they have the names that pgvector's tests use.
    if [ -f "$folder/PostgreSQL/Test/Cluster.pm" ]; then modules=$folder; fi
  done
  if perl -MIPC::Run -e 1 2>/dev/null; then run=installed; elif [ -f "$final/usr/share/perl5/IPC/Run.pm" ]; then run=$final/usr/share/perl5; fi
  if [ -z "$modules" ] || [ -z "$run" ]; then
    if ! have apt-get || ! have dpkg-deb; then die "PostgreSQL's Perl modules for tests are missing" "Install those of PostgreSQL 15 or later, and IPC::Run."; fi
    make_cache
    work=$(mktemp -d "$VECTOR_CACHE/unpack.XXXXXX")
    chmod 755 "$work"
    version=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/^ *Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1)
    say "Fetching PostgreSQL's Perl modules ($version) and IPC::Run ..."
    # Distributions put the modules into different packages. libio-pty-perl is for terminals, which these tests do not open.
    for package in libipc-run-perl "postgresql-client-$version" "postgresql-server-dev-$version" "postgresql-$version"; do
      if [ -n "$(find "$work" -path '*/PostgreSQL/Test/Cluster.pm')" ]; then break; fi
      (cd "$work" && rm -f ./*.deb && apt-get -q -o "APT::Sandbox::User=$(id -un)" download "$package" && dpkg-deb -x ./*.deb tree) >>"$work/log" 2>&1 || true
    done
    if [ -z "$(find "$work" -path '*/PostgreSQL/Test/Cluster.pm')" ] || [ ! -f "$work/tree/usr/share/perl5/IPC/Run.pm" ]; then
      tail -n 20 "$work/log" >&2
      rm -rf "$work"
      die "PostgreSQL's Perl modules could not be fetched" "Run apt-get update, or install postgresql-client-$version and libipc-run-perl."
    fi
    mkdir -p "$final"
    cp -a "$work/tree/." "$final/"
    chmod -R a+rX "$final"
    rm -rf "$work"
    perl_folders
    return
  fi
  if [ "$run" = "$final/usr/share/perl5" ]; then printf '%s:' "$run"; fi
  printf '%s\n' "$modules"
}

# one_tap FILE: one test in a folder of its own, by the server's user; one line of result.
one_tap() {
  local file=$1 name dir began=$SECONDS status=0 tests data
  name=$(basename "$file" .pl)
  dir=$tap_work/$name
  as_server mkdir -p "$dir"
  # shellcheck disable=SC2154 # from the environment: this is a process of its own
  (cd "$dir" && with_libraries_of "$tap_pg_config" as_server timeout -k 60 "${tap_limit:-900}" \
    env PATH="$("$tap_pg_config" --bindir):$PATH" PERL5LIB="$tap_perl" TESTDIR="$dir" PG_REGRESS="$tap_regress" PG_TEST_PORT_DIR="$tap_work/ports" \
    perl "$file" >"$dir/output" 2>&1 </dev/null) || status=$?
  # A test that was killed leaves its servers.
  for data in "$dir"/tmp_check/*/pgdata; do
    if [ -f "$data/postmaster.pid" ]; then as_server "$("$tap_pg_config" --bindir)/pg_ctl" -D "$data" -m immediate stop >/dev/null 2>&1 || true; fi
  done
  tests=$(grep -c '^ok' "$dir/output" || true)
  cp "$dir/output" "$tap_output/$name.log"
  if [ "$status" -eq 0 ] && [ "$tests" -gt 0 ]; then
    printf 'ok - %s (%d tests, %d s)\n' "$name" "$tests" $((SECONDS - began))
  else
    # As one write, so that tests running beside this one do not come between.
    printf 'not ok - %s (status %d, %d s)\n%s\n' "$name" "$status" $((SECONDS - began)) "$(grep -vE '^(ok|#? *$)' "$dir/output" | tail -n 30 | sed 's/^/    /')"
    cp "$dir"/tmp_check/log/*.log "$tap_output/" 2>/dev/null || true
  fi
  rm -rf "$dir"
  [ "$status" -eq 0 ]
}

tap() {
  local names=$* file name files=() skipped="" status=0
  have perl || die "perl is missing" "On Debian or Ubuntu: apt-get install perl"
  tap_perl=$(perl_folders)
  tap_regress=$(find_pg_regress "$pg_config")
  # Sockets lie below it, and their names must stay short.
  tap_work=$work/tap
  tap_output=$output/tap
  tap_pg_config=$pg_config
  export tap_perl tap_regress tap_work tap_output tap_pg_config
  mkdir -p "$tap_work/ports" "$tap_output"
  if is_root; then chown -R "$(server_user)" "$tap_work"; fi
  for file in "$source"/test/t/*.pl; do
    name=$(basename "$file" .pl)
    if [ -z "$names" ]; then
      if left_out "$name"; then skipped="$skipped $name"; continue; fi
    else
      case $(for word in $names; do case $name in *"$word"*) echo yes ;; esac; done) in yes*) ;; *) continue ;; esac
    fi
    files+=("$file")
  done
  say "pgvector $version's TAP tests on $("$pg_config" --version): ${#files[@]} files"
  if [ -n "$skipped" ]; then say "left out:$skipped"; fi
  [ "${#files[@]}" -gt 0 ] || die "no TAP test is called $names"
  printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "${CONFORMANCE_JOBS:-$(nproc)}" bash "${BASH_SOURCE[0]}" one-tap || status=$?
  if [ "$status" -ne 0 ]; then say "Their output and the servers' logs: $tap_output"; fi
  return "$status"
}

# --- regression files -------------------------------------------------------------------------------------------------

regress() {
  local chosen=$* file skipped="" status=0
  if [ -z "$chosen" ]; then
    for file in "$source"/test/sql/*.sql; do
      file=$(basename "$file" .sql)
      if left_out "$file"; then skipped="$skipped $file"; else chosen="$chosen $file"; fi
    done
  fi
  say "pgvector $version's regression files on $("$pg_config" --version)"
  if [ -n "$skipped" ]; then say "left out:$skipped"; fi
  "$pg" cluster start "$pg_config" "$work/cluster"
  # shellcheck disable=SC2086 # a list of names
  (eval "$("$pg" cluster env "$work/cluster")"; run_pg_regress "$pg_config" "$source/test" "$output" $chosen) || status=$?
  "$pg" cluster stop "$work/cluster" --remove
  if [ "$status" -ne 0 ]; then
    say "Differences to pgvector $version: $output/regression.diffs"
    say "This project follows pgvector 0.8.6: a difference is excused only when 0.8.6's own expected output has it."
  fi
  return "$status"
}

run() {
  local what=$1 source version pg_config work output status=0
  shift
  source=$(fetch)
  version=$(sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" "$source/vector.control")
  work=$(mktemp -d /tmp/conformance.XXXXXX)
  chmod 755 "$work"
  # shellcheck disable=SC2064 # the path of now
  trap "'$pg' cluster stop '$work/cluster' --remove >/dev/null 2>&1 || true; rm -rf '$work'" EXIT
  pg_config=$(test_server "$work/pg")
  if [ -z "${CONFORMANCE_AS_IS:-}" ]; then "$pg" install "$pg_config" >/dev/null; fi
  output=${CONFORMANCE_OUTPUT:-$(target_dir)/conformance}
  rm -rf "$output"
  mkdir -p "$output"
  if [ -n "${CONFORMANCE_LAYOUT:-}" ]; then
    # What PostgreSQL's modules for tests add to the configuration of each server, and what psql sends.
    export TEMP_CONFIG=$work/layout.conf PGOPTIONS="-c hnsw.default_layout=$CONFORMANCE_LAYOUT -c ivfflat.default_layout=$CONFORMANCE_LAYOUT"
    printf "%s.default_layout = '$CONFORMANCE_LAYOUT'\n" hnsw ivfflat >"$TEMP_CONFIG"
    chmod 644 "$TEMP_CONFIG"
  fi
  if [ "$what" != tap ]; then regress "$@" || status=$?; fi
  if [ "$what" != regress ]; then tap "$@" || status=$?; fi
  return "$status"
}

what=${1:-all}
if [ $# -gt 0 ]; then shift; fi
case $what in
  fetch) fetch ;;
  all)
    [ $# -eq 0 ] || { usage >&2; exit 2; }
    run all
    ;;
  regress | tap) run "$what" "$@" ;;
  one-tap) one_tap "$@" ;;
  -h | --help | help) usage ;;
  *) usage >&2; exit 2 ;;
esac
