#!/usr/bin/env bash
# Three shards and a coordinator over postgres_fdw, beside the same rows on one server.
# shellcheck source-path=SCRIPTDIR source=../lib/servers.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/servers.sh"
shards=(shard1 shard2 shard3)

if [ ! -e "$(dirname "$EXAMPLES_PG_CONFIG")/../share/extension/postgres_fdw.control" ] && [ ! -e "$("$EXAMPLES_PG_CONFIG" --sharedir)/extension/postgres_fdw.control" ]; then
  printf '%s\n' "this PostgreSQL has no postgres_fdw: install its contrib package"
  exit 1
fi
for name in "${shards[@]}"; do
  server "$name" -c shared_buffers=64MB
  on "$name" -c "CREATE EXTENSION vector" -c "CREATE TABLE items (id int, tenant int, embedding vector(64))" \
    -c "CREATE TABLE things (id int, v vector(3), h halfvec(3), s sparsevec(3), b bit(3))"
done
server coordinator -c shared_buffers=64MB
on coordinator -v shard1="$(socket shard1)" -v shard2="$(socket shard2)" -v shard3="$(socket shard3)" -f setup.sql
# Rows go through the coordinator to the shard of their tenant.
on coordinator -c "SELECT setseed(0.1)" -f ../lib/items.sql >/dev/null
for name in "${shards[@]}"; do
  on "$name" -c "CREATE INDEX ON items USING hnsw (embedding vector_l2_ops)" -c "ANALYZE items"
  printf '  %s has %s rows\n' "$name" "$(on "$name" -c "SELECT count(*) FROM items")"
done
# The planner counts on statistics of foreign tables, which only a named ANALYZE makes.
on coordinator -c "ANALYZE items_1, items_2, items_3" -f nearest.sql \
  -c "CREATE TABLE one_server AS SELECT * FROM items" -c "CREATE INDEX ON one_server USING hnsw (embedding vector_l2_ops)" -c "ANALYZE one_server, questions"

# --- what is sent -------------------------------------------------------------------------------------------------------
plan=$(on coordinator -c "SET plan_cache_mode = force_generic_plan" -c "PREPARE search (vector) AS SELECT id, distance FROM nearest(\$1, 10)" \
  -c "EXPLAIN (VERBOSE, COSTS OFF) EXECUTE search ('[1]')")
printf '\n%s\n\n' "$plan"
counted() { [ "$(grep -c "$2" <<<"$plan")" -eq "$1" ]; }
expect "each shard gets ORDER BY and LIMIT" counted 3 'Remote SQL: .* ORDER BY (embedding OPERATOR(public.<->).*LIMIT'
if [ "$(major_of "$EXAMPLES_PG_CONFIG")" -ge 15 ]; then expect "all shards are asked at once" counted 3 'Async Foreign Scan'; fi
not_sent=$(on coordinator -f pushdown.sql)
printf '%s' "$not_sent"
expect "every operator, type, cast, parameter and aggregate is sent" test -z "$not_sent"
uses_index() { [ "$(on shard1 -c "EXPLAIN SELECT id, embedding FROM items ORDER BY embedding <-> '$(on coordinator -c "SELECT q FROM questions WHERE id = 1")' LIMIT 10" | grep -c items_embedding_idx)" -eq 1 ]; }
expect "and a shard answers it from its index" uses_index
plan=$(on coordinator -c "EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM items ORDER BY embedding <-> (SELECT q FROM questions WHERE id = 1) LIMIT 10")
# PostgreSQL sends no LIMIT below an Append, hence the function.
expect "the partitioned table itself sends ORDER BY and keeps LIMIT to itself" counted 0 'Remote SQL: .*LIMIT'

# --- what comes back ----------------------------------------------------------------------------------------------------
# Exact answers from all rows, without an index; the searches of the function and of one index beside them.
read -r sharded one < <(on coordinator -F ' ' <<'SQL'
CREATE TEMP TABLE exact AS SELECT q.id AS question, n.id FROM questions q CROSS JOIN LATERAL (
    SELECT id FROM (SELECT * FROM one_server OFFSET 0) r ORDER BY embedding <-> q.q LIMIT 10) n;
CREATE TEMP TABLE found AS SELECT q.id AS question, n.id FROM questions q CROSS JOIN LATERAL nearest(q.q, 10) n;
CREATE TEMP TABLE whole AS SELECT q.id AS question, n.id FROM questions q CROSS JOIN LATERAL (SELECT id FROM one_server ORDER BY embedding <-> q.q LIMIT 10) n;
SELECT (SELECT count(*) FROM exact JOIN found USING (question, id)), (SELECT count(*) FROM exact JOIN whole USING (question, id));
SQL
)
printf '  recall of ten: %s/1000 over the shards, %s/1000 from one index\n' "$sharded" "$one"
expect "shards find as much as one index" test "$sharded" -ge $((one - 5))
expect "and nearly all" test "$sharded" -ge 950

# --- what it costs ------------------------------------------------------------------------------------------------------
head='\set n random(1, 100)'
printf '%s\nSELECT n.id FROM questions, nearest(q, 10) n WHERE questions.id = :n;\n' "$head" >"$EXAMPLES_WORK/sharded.sql"
printf '%s\nSELECT id FROM items ORDER BY embedding <-> (SELECT q FROM questions WHERE id = :n) LIMIT 10;\n' "$head" >"$EXAMPLES_WORK/parent.sql"
printf '%s\nSELECT id FROM items_1 ORDER BY embedding <-> (SELECT q FROM questions WHERE id = :n) LIMIT 10;\n' "$head" >"$EXAMPLES_WORK/one-shard.sql"
printf '%s\nSELECT id FROM one_server ORDER BY embedding <-> (SELECT q FROM questions WHERE id = :n) LIMIT 10;\n' "$head" >"$EXAMPLES_WORK/one-server.sql"
printf '\nAll servers share the %s cores of this machine, so shards cannot be faster here; CPU tells what they cost:\n' "$(nproc)"
everyone=(coordinator "${shards[@]}")
host=$(socket coordinator)
measure "one server" "$host" postgres "$EXAMPLES_WORK/one-server.sql" "${everyone[@]}"
one=$per_query
measure "one shard, through the coordinator" "$host" postgres "$EXAMPLES_WORK/one-shard.sql" "${everyone[@]}"
measure "three shards, nearest()" "$host" postgres "$EXAMPLES_WORK/sharded.sql" "${everyone[@]}"
three=$per_query
measure "three shards, the partitioned table" "$host" postgres "$EXAMPLES_WORK/parent.sql" "${everyone[@]}"
printf '  each further shard: %d µs of CPU\n' $(((three - one) / 2))
for name in coordinator "${shards[@]}"; do "$pg" cluster stop "$EXAMPLES_WORK/$name" --remove; done
