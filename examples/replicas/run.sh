#!/usr/bin/env bash
# A primary, two streaming standbys, and PgBouncer in front: writes go to the primary, searches to the standbys in turn.
# shellcheck source-path=SCRIPTDIR source=../lib/servers.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/servers.sh"

# --- a primary with data ------------------------------------------------------------------------------------------------
# A commit that returned is in the log: positions of the log, compared below, then tell what has arrived.
server primary -c shared_buffers=128MB -c wal_level=replica -c max_connections=60 -c synchronous_commit=local
on primary -c "CREATE DATABASE search"
export DATABASE=search
on primary >/dev/null <<SQL
CREATE EXTENSION vector;
SELECT setseed(0.1);
CREATE TABLE items (id int PRIMARY KEY, tenant int, embedding vector(64));
\i $PWD/../lib/items.sql
CREATE INDEX ON items USING hnsw (embedding vector_l2_ops);
ANALYZE;
SQL

# --- two standbys -------------------------------------------------------------------------------------------------------
# A standby starts from a copy of the primary's files, index included, and follows its log: it builds nothing.
for name in standby1 standby2; do
  mkdir -p "$EXAMPLES_WORK/$name"
  if is_root; then chown "$(server_user)" "$EXAMPLES_WORK/$name"; fi
  with_libraries_of "$EXAMPLES_PG_CONFIG" as_server "$(dirname "$EXAMPLES_PG_CONFIG")/pg_basebackup" -h "$(socket primary)" -p 5432 -U postgres \
    -D "$EXAMPLES_WORK/$name/data" --write-recovery-conf --create-slot --slot "$name" --checkpoint=fast --no-sync
  server "$name" -c shared_buffers=128MB -c max_connections=60 -c hot_standby_feedback=on
done

# caught_up: whether both standbys have replayed all that the primary has written.
caught_up() {
  local i
  for i in $(seq 100); do
    [ "$(on primary -c "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()")" != 2 ] || return 0
    sleep 0.1
  done
  return 1
}
nearest="SELECT array_agg(id) FROM (SELECT id FROM items ORDER BY embedding <-> (SELECT q FROM questions WHERE id = 7) LIMIT 10) n"
expect "both standbys follow" caught_up
expect "a standby answers what the primary answers" test "$(on primary -c "$nearest")" = "$(on standby1 -c "$nearest")"
on primary -c "INSERT INTO items SELECT 100000, 1, q FROM questions WHERE id = 7"
expect "a new row arrives" caught_up
expect "and is the nearest on both standbys" test "$(on standby1 -c "$nearest" | cut -d, -f1)$(on standby2 -c "$nearest" | cut -d, -f1)" = "{100000{100000"
rejected() { ! on standby1 -c "DELETE FROM items" 2>/dev/null; }
expect "a standby refuses writes" rejected

# --- PgBouncer ----------------------------------------------------------------------------------------------------------
cat >"$EXAMPLES_WORK/search.sql" <<'SQL'
\set n random(1, 100)
SELECT id FROM items ORDER BY embedding <-> (SELECT q FROM questions WHERE id = :n) LIMIT 10;
SQL
measure "searches on the primary" "$(socket primary)" search "$EXAMPLES_WORK/search.sql" primary
if [ -z "${PGBOUNCER:-}" ]; then
  printf '%s\n' "SKIPPED: PgBouncer is not installed and could not be fetched; searches go to the standbys directly"
  measure "searches on a standby, without PgBouncer" "$(socket standby1)" search "$EXAMPLES_WORK/search.sql" standby1
else
  mkdir -p "$EXAMPLES_WORK/pool"
  # Sessions of "search" are dealt to the hosts of its list in turn; "write" is the primary.
  cat >"$EXAMPLES_WORK/pool/pgbouncer.ini" <<INI
[databases]
write = host=$(socket primary) port=5432 dbname=search
search = host=$(socket standby1),$(socket standby2) port=5432 dbname=search

[pgbouncer]
listen_port = 6432
unix_socket_dir = $EXAMPLES_WORK/pool
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 500
pidfile = $EXAMPLES_WORK/pool/pgbouncer.pid
INI
  # auth_type any takes every client and needs to know as whom to log in.
  sed -i 's/^\(write\|search\) = .*/& user=postgres/' "$EXAMPLES_WORK/pool/pgbouncer.ini"
  if is_root; then chown -R "$(server_user)" "$EXAMPLES_WORK/pool"; fi
  as_server env LD_LIBRARY_PATH="${PGBOUNCER_LIBRARIES:-}" "$PGBOUNCER" -q "$EXAMPLES_WORK/pool/pgbouncer.ini" >"$EXAMPLES_WORK/pgbouncer.log" 2>&1 &
  for _ in $(seq 50); do [ ! -S "$EXAMPLES_WORK/pool/.s.PGSQL.6432" ] || break; sleep 0.1; done
  pooled() { psql -XqAt -v ON_ERROR_STOP=1 -h "$EXAMPLES_WORK/pool" -p 6432 "$@"; }

  expect "writes reach the primary" test "$(pooled -d write -c "SELECT pg_is_in_recovery()")" = f
  expect "searches reach a standby" test "$(pooled -d search -c "SELECT pg_is_in_recovery()")" = t
  # Settings of a session would stay with a server connection that others get next. SET LOCAL ends with its transaction.
  expect "SET LOCAL holds for a transaction, and no longer" test "$(pooled -d search <<'SQL' | tr '\n' ' '
SELECT 1 WHERE '[1]'::vector IS NULL;
BEGIN; SET LOCAL hnsw.ef_search = 200; SHOW hnsw.ef_search; COMMIT;
SHOW hnsw.ef_search;
SQL
)" = "200 40 "

  # Before PgBouncer 1.21 a prepared statement of one client is unknown to the connection that the next transaction gets.
  BENCH_MODE=simple measure "searches on two standbys behind PgBouncer" "$EXAMPLES_WORK/pool:6432" search "$EXAMPLES_WORK/search.sql" standby1 standby2
  many=$EXAMPLES_WORK/many.sql
  cp "$EXAMPLES_WORK/search.sql" "$many"
  pgbench -n -M simple -c 200 -j 2 -t 3 -f "$many" -h "$EXAMPLES_WORK/pool" -p 6432 search >"$EXAMPLES_WORK/many.log" 2>&1 || { cat "$EXAMPLES_WORK/many.log"; exit 1; }
  sessions=0
  for name in standby1 standby2; do
    own=$(on "$name" -c "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = 'search' AND pid <> pg_backend_pid()")
    # PgBouncer keeps its sessions for the next client.
    expect "$name took its part" test "$own" -ge 1
    sessions=$((sessions + own))
  done
  printf '  200 clients shared %d sessions of the standbys\n' "$sessions"
  expect "two hundred clients need no more than the pool's sessions" test "$sessions" -le 8
  kill "$(cat "$EXAMPLES_WORK/pool/pgbouncer.pid")"
fi
for name in standby1 standby2 primary; do "$pg" cluster stop "$EXAMPLES_WORK/$name" --remove; done
