#!/usr/bin/env bash
# Runs pgvector's own regression files, unmodified, against this project's build. The files come from the distribution's source package,
# are fetched into the cache when this runs, and are no part of this project.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
pg=$repo_root/scripts/pg.sh

usage() {
  cat <<'TEXT'
usage: scripts/conformance.sh [fetch]

Environment:
  PG_CONFIG             the PostgreSQL to test in; default: a copy of the embedded one of PG_MAJOR (17)
  CONFORMANCE_DIR       pgvector's unpacked source, instead of fetching it
  CONFORMANCE_SUITE     the distribution release to take it from (Debian: trixie; Ubuntu: the newest that has it)
  CONFORMANCE_FILES     the regression files to run
  CONFORMANCE_SKIP      files to leave out, named in the report
TEXT
}

# The index files join once both access methods exist: then this list is empty.
not_built_yet="hnsw_bit hnsw_halfvec hnsw_sparsevec hnsw_vector ivfflat_bit ivfflat_halfvec ivfflat_vector"
skip=${CONFORMANCE_SKIP-$not_built_yet}

# fetch: prints the folder of pgvector's unpacked source. Uses apt with directories of its own: the system's sources stay as they are.
fetch() {
  if [ -n "${CONFORMANCE_DIR:-}" ]; then
    [ -d "$CONFORMANCE_DIR/test/sql" ] || die "CONFORMANCE_DIR=$CONFORMANCE_DIR has no test/sql"
    (cd "$CONFORMANCE_DIR" && pwd -P)
    return
  fi
  local id suites component keyring="" file suite apt uri candidate final
  have apt-get || die "pgvector's source package comes through apt, which this system has not" "Unpack pgvector's source and set CONFORMANCE_DIR to it."
  # shellcheck source=/dev/null
  id=$(. /etc/os-release && printf '%s' "${ID:-} ${ID_LIKE:-}")
  case " $id " in
    *" ubuntu "*) suites="resolute questing plucky"; component=universe; file=ubuntu-archive-keyring ;;
    *) suites=trixie; component=main; file=debian-archive-keyring ;;
  esac
  suites=${CONFORMANCE_SUITE:-$suites}
  for candidate in "/usr/share/keyrings/$file.pgp" "/usr/share/keyrings/$file.gpg"; do
    if [ -e "$candidate" ]; then keyring="[signed-by=$candidate]"; break; fi
  done

  make_cache
  for suite in $suites; do
    final=$VECTOR_CACHE/pgvector-source/$suite
    if [ -d "$final/test/sql" ]; then printf '%s\n' "$final"; return; fi
  done

  tmp=$(mktemp -d "$VECTOR_CACHE/unpack.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/download" "$tmp/source" "$tmp/none"
  apt=(apt-get -q -o "Dir::Etc::SourceList=$tmp/sources.list" -o "Dir::Etc::SourceParts=$tmp/none" -o "Dir::State::Lists=$tmp/lists"
    -o "Dir::Cache=$tmp/cache" -o "APT::Sandbox::User=$(id -un)" -o Acquire::Retries=3)
  for suite in $suites; do
    # The mirror is the one this machine already uses.
    # shellcheck disable=SC2016 # apt expands it
    while IFS= read -r uri; do
      say "Fetching pgvector's source package ($suite) ..."
      printf 'deb-src %s %s %s %s\n' "$keyring" "$uri" "$suite" "$component" >"$tmp/sources.list"
      if "${apt[@]}" update >"$tmp/log" 2>&1 && (cd "$tmp/download" && "${apt[@]}" source --download-only pgvector >>"$tmp/log" 2>&1); then
        tar -xzf "$tmp"/download/pgvector_*.orig.tar.gz -C "$tmp/source" --strip-components=1 --no-same-owner
        chmod -R go+rX "$tmp/source"
        final=$VECTOR_CACHE/pgvector-source/$suite
        mkdir -p "$(dirname "$final")"
        mv -T "$tmp/source" "$final" 2>/dev/null || [ -d "$final/test/sql" ] || die "cannot create $final"
        rm -rf "$tmp"
        trap - EXIT
        printf '%s\n' "$final"
        return
      fi
      tail -n 3 "$tmp/log" >&2
    done < <(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | awk '!seen[$0]++')
  done
  die "pgvector's source package could not be fetched ($suites)" "Unpack pgvector's source and set CONFORMANCE_DIR to it."
}

run() {
  local source version pg_config work prefix file files="" skipped="" output status=0
  source=$(fetch)
  version=$(sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" "$source/vector.control")
  work=$(mktemp -d "${TMPDIR:-/tmp}/conformance.XXXXXX")
  chmod 755 "$work"
  # shellcheck disable=SC2064 # the path of now
  trap "'$pg' cluster stop '$work/cluster' --remove >/dev/null 2>&1 || true; rm -rf '$work'" EXIT
  if [ -n "${PG_CONFIG:-}" ]; then
    pg_config=$(pg_config_of "$PG_CONFIG")
  else
    prefix=$("$pg" copy "${PG_MAJOR:-17}" "$work/pg")
    pg_config=$prefix/bin/pg_config
  fi
  "$pg" install "$pg_config" >/dev/null

  for file in ${CONFORMANCE_FILES:-$(cd "$source/test/sql" && printf '%s\n' *.sql | sed 's/\.sql$//')}; do
    case " $skip " in *" $file "*) [ -n "${CONFORMANCE_FILES:-}" ] || { skipped="$skipped $file"; continue; } ;; esac
    files="$files $file"
  done

  say "pgvector $version's regression files on $("$pg_config" --version), vector $ext_version"
  if [ -n "$skipped" ]; then say "not built yet, left out:$skipped"; fi
  "$pg" cluster start "$pg_config" "$work/cluster"
  eval "$("$pg" cluster env "$work/cluster")"
  output=${CONFORMANCE_OUTPUT:-$(target_dir)/conformance}
  rm -rf "$output"
  mkdir -p "$output"
  # shellcheck disable=SC2086 # a list of names
  run_pg_regress "$pg_config" "$source/test" "$output" $files || status=$?
  if [ "$status" -ne 0 ]; then
    say "Differences to pgvector $version: $output/regression.diffs"
    say "This project follows pgvector 0.8.6: a difference is excused only when 0.8.6's own expected output has it."
  fi
  return "$status"
}

case ${1:-run} in
  fetch) fetch ;;
  run) run ;;
  *) usage >&2; exit 2 ;;
esac
