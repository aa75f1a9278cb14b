#!/usr/bin/env bash
# Partitions: one index for each, read together by Merge Append, or one alone where the partition key is given.
# shellcheck source-path=SCRIPTDIR source=../lib/servers.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lib/servers.sh"
psql -Xq -v ON_ERROR_STOP=1 -f run.sql

cat >"$EXAMPLES_WORK/all.sql" <<'SQL'
\set n random(1, 100)
SELECT id FROM items ORDER BY embedding <-> (SELECT q FROM questions WHERE id = :n) LIMIT 10;
SQL
sed 's/FROM items/FROM one_table/' "$EXAMPLES_WORK/all.sql" >"$EXAMPLES_WORK/all-one.sql"
cat >"$EXAMPLES_WORK/tenant.sql" <<'SQL'
\set t random(0, 99)
SET hnsw.iterative_scan = strict_order;
SELECT id FROM items WHERE tenant = :t ORDER BY embedding <-> (SELECT q FROM questions WHERE tenant = :t LIMIT 1) LIMIT 10;
SQL
sed 's/FROM items/FROM one_table/' "$EXAMPLES_WORK/tenant.sql" >"$EXAMPLES_WORK/tenant-one.sql"
printf '\nAll rows, on %s cores that nothing else should be using:\n' "$(nproc)"
measure "one table, one index" "$PGHOST" "$PGDATABASE" "$EXAMPLES_WORK/all-one.sql" cluster
measure "4 partitions, 4 indexes, Merge Append" "$PGHOST" "$PGDATABASE" "$EXAMPLES_WORK/all.sql" cluster
printf 'One tenant of a hundred, iterative scans:\n'
export BENCH_MODE=simple
measure "one table, one index, filter" "$PGHOST" "$PGDATABASE" "$EXAMPLES_WORK/tenant-one.sql" cluster
one=$per_query
measure "the tenant's partition alone, filter" "$PGHOST" "$PGDATABASE" "$EXAMPLES_WORK/tenant.sql" cluster
# A quarter of the rows to look through is a difference that no noise hides.
expect "a pruned search takes less CPU than the one index" test "$per_query" -lt "$one"
