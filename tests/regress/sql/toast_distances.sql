-- The distance that a scan has found is that of the operator: its value out of line is not fetched again
SET extra_float_digits = 3;
SET enable_seqscan = off;
SET max_parallel_workers_per_gather = 0;
CREATE FUNCTION made(seed int, dims int) RETURNS float4[] LANGUAGE sql IMMUTABLE AS
  $$ SELECT array_agg(sin(seed * 7.3 + k * (seed % 13 + 1))::float4) FROM generate_series(1, dims) k $$;
CREATE TABLE far (id int, gap text, a vector(700), b vector(700), h halfvec(1400));
ALTER TABLE far ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL, ALTER h SET STORAGE EXTERNAL;
INSERT INTO far SELECT n, CASE WHEN n % 3 = 0 THEN 'x' END, made(n, 700)::vector, made(n + 1000, 700)::vector, made(n, 1400)::halfvec
  FROM generate_series(1, 300) n;
VACUUM ANALYZE far;
-- Blocks that a query reads.
CREATE FUNCTION blocks(query text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE plan jsonb;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || query INTO plan;
  RETURN (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::int + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::int;
END $$;
-- Rows whose distance by index is not, to the last bit, that without one; whether values were fetched for
-- distances from another query, and none for those that order the rows.
CREATE FUNCTION compared(col text, op text, kind text, dims int, OUT rows bigint, OUT others bigint, OUT spared boolean) LANGUAGE plpgsql AS $$
DECLARE
  query text := format('%L::%s', (made(7, dims)::vector)::text, kind);
  other text := format('%L::%s', (made(8, dims)::vector)::text, kind);
  own text := format('SELECT id, float8send(%s %s %s) AS d FROM far ORDER BY %1$s %2$s %3$s LIMIT 40', col, op, query);
  more text := format('SELECT id, %1$s %2$s %4$s FROM far ORDER BY %1$s %2$s %3$s LIMIT 40', col, op, query, other);
BEGIN
  PERFORM set_config('enable_seqscan', 'off', true);
  EXECUTE format('CREATE TEMP TABLE found AS %s', own);
  PERFORM blocks(own), blocks(more);
  spared := blocks(more) - blocks(own) >= 30;
  EXECUTE format('SELECT count(*), count(*) FILTER (WHERE f.d <> float8send(%s %s %s)) FROM found f JOIN far USING (id)', col, op, query)
    INTO rows, others;
  DROP TABLE found;
END $$;
CREATE INDEX i ON far USING hnsw (a vector_l2_ops) WITH (layout = inline);
SELECT * FROM compared('a', '<->', 'vector', 700);
DROP INDEX i;
CREATE INDEX i ON far USING hnsw (a vector_ip_ops) WITH (layout = inline);
SELECT * FROM compared('a', '<#>', 'vector', 700);
DROP INDEX i;
CREATE INDEX i ON far USING hnsw (a vector_cosine_ops) WITH (layout = inline);
SELECT * FROM compared('a', '<=>', 'vector', 700);
DROP INDEX i;
CREATE INDEX i ON far USING hnsw (h halfvec_l2_ops) WITH (layout = inline);
SELECT * FROM compared('h', '<->', 'halfvec', 1400);
DROP INDEX i;
CREATE INDEX i ON far USING hnsw (h halfvec_cosine_ops) WITH (layout = inline);
SELECT * FROM compared('h', '<=>', 'halfvec', 1400);
DROP INDEX i;
CREATE INDEX i ON far USING hnsw (a vector_l2_ops) WITH (layout = pgvector);
SELECT * FROM compared('a', '<->', 'vector', 700);
DROP INDEX i;
CREATE INDEX i ON far USING hnsw (a vector_ip_ops) WITH (layout = pgvector);
SELECT * FROM compared('a', '<#>', 'vector', 700);
DROP INDEX i;
-- these pages have values of unit length: the distance is computed from the row
CREATE INDEX i ON far USING hnsw (a vector_cosine_ops) WITH (layout = pgvector);
SELECT * FROM compared('a', '<=>', 'vector', 700);
DROP INDEX i;
CREATE INDEX i ON far USING ivfflat (a vector_l2_ops) WITH (layout = packed, lists = 4);
SET ivfflat.probes = 4;
SELECT * FROM compared('a', '<->', 'vector', 700);
DROP INDEX i;
CREATE INDEX i ON far USING ivfflat (a vector_cosine_ops) WITH (layout = packed, lists = 4);
SELECT * FROM compared('a', '<=>', 'vector', 700);
DROP INDEX i;
-- where the scan itself reads the table's values
CREATE INDEX i ON far USING ivfflat (a vector_cosine_ops) WITH (layout = packed, lists = 4, rerank = heap);
SELECT rows, others FROM compared('a', '<=>', 'vector', 700);
DROP INDEX i;
-- Another column, another query, another operator, another row: none of them takes it.
CREATE INDEX i ON far USING hnsw (a vector_l2_ops) WITH (layout = inline);
CREATE FUNCTION mixed() RETURNS TABLE (what text, wrong bigint) LANGUAGE plpgsql AS $$
DECLARE q vector(700) := made(7, 700)::vector; o vector(700) := made(8, 700)::vector;
BEGIN
  PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
  CREATE TEMP TABLE found AS
    SELECT x.id, x.a <-> q AS aq, x.b <-> q AS bq, x.a <-> o AS ao, x.a <=> q AS acq, x.a <#> q AS aiq, q <-> x.a AS qa,
           (SELECT y.a <-> q FROM far y WHERE y.id = 301 - x.id) AS yq
      FROM far x ORDER BY x.a <-> q LIMIT 40;
  PERFORM set_config('enable_indexscan', 'off', true), set_config('enable_seqscan', 'on', true);
  RETURN QUERY
    SELECT w.what, count(*) FILTER (WHERE w.is_wrong) FROM (
      SELECT v.* FROM found f JOIN far x USING (id) JOIN far y ON y.id = 301 - x.id, LATERAL (VALUES
        ('own', f.aq <> x.a <-> q), ('column', f.bq <> x.b <-> q), ('query', f.ao <> x.a <-> o),
        ('cosine', f.acq <> x.a <=> q), ('product', f.aiq <> x.a <#> q), ('commuted', f.qa <> q <-> x.a),
        ('row', f.yq <> y.a <-> q)) v(what, is_wrong)) w
    GROUP BY 1 ORDER BY 1;
  DROP TABLE found;
  PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_seqscan', 'off', true);
END $$;
SELECT * FROM mixed();
-- Rows updated in place, and where they were before; values that change while a cursor stands.
UPDATE far SET gap = 'y' WHERE id % 2 = 0;
UPDATE far SET a = made(id + 500, 700)::vector WHERE id % 5 = 0;
SELECT * FROM mixed();
VACUUM far;
UPDATE far SET gap = 'z' WHERE id % 4 = 0;
SELECT * FROM mixed();
SELECT * FROM compared('a', '<->', 'vector', 700);
BEGIN;
SELECT made(7, 700)::vector AS q \gset
DECLARE c CURSOR FOR SELECT id, a <-> :'q' AS d FROM far ORDER BY a <-> :'q';
FETCH 2 FROM c \g /dev/null
UPDATE far SET a = made(id + 900, 700)::vector;
-- what the cursor sees is what was there
FETCH 3 FROM c \g /dev/null
SELECT count(*) FROM (SELECT a <-> :'q' AS d FROM far ORDER BY a <-> :'q' LIMIT 20) s, LATERAL (SELECT min(x.a <-> :'q') AS m FROM far x) t WHERE s.d < t.m;
COMMIT;
SELECT * FROM mixed();
-- A scan that failed has let its row go when its subtransaction ends: nothing that it knew of that counts any more.
-- (A block of an index is read again when others have made the server forget what it knew of it.)
SELECT made(7, 700)::vector AS q, id AS nearest FROM far ORDER BY a <-> made(7, 700)::vector LIMIT 1 \gset
BEGIN;
DECLARE c CURSOR FOR SELECT 1 / (id - :nearest), a <-> :'q' FROM far ORDER BY a <-> :'q';
SAVEPOINT s;
FETCH 50 FROM c \g /dev/null
ROLLBACK TO s;
SELECT blocks(format(other, :nearest)) > 0 AS read, blocks(format(own, :nearest)) >= blocks(format(other, :nearest)) - 1 AS fetched
  FROM (VALUES ('SELECT a <-> made(7, 700)::vector FROM far WHERE id = %s', 'SELECT a <-> made(8, 700)::vector FROM far WHERE id = %s')) v(own, other);
COMMIT;
-- Other tuples than the heap's own: joins that keep rows, sorts, triggers, tables of the session
SELECT count(*) FILTER (WHERE s.d <> x.a <-> made(7, 700)::vector) AS wrong
  FROM (SELECT id, a, a <-> made(7, 700)::vector AS d FROM far ORDER BY a <-> made(7, 700)::vector LIMIT 30 OFFSET 3) s JOIN far x USING (id);
CREATE TEMP TABLE near (id int, a vector(700));
ALTER TABLE near ALTER a SET STORAGE EXTERNAL;
INSERT INTO near SELECT id, a FROM far;
CREATE INDEX ON near USING hnsw (a vector_l2_ops) WITH (layout = inline);
SELECT count(*) FILTER (WHERE s.d <> x.a <-> made(7, 700)::vector) AS wrong
  FROM (SELECT id, a <-> made(7, 700)::vector AS d FROM near ORDER BY a <-> made(7, 700)::vector LIMIT 30) s JOIN near x USING (id);
-- a query for each of other rows
SELECT count(*), count(*) FILTER (WHERE n.d <> x.a <-> o.a) AS wrong
  FROM (SELECT * FROM far WHERE id <= 20) o, LATERAL (SELECT id, a <-> o.a AS d FROM far ORDER BY a <-> o.a LIMIT 5) n JOIN far x USING (id);
DROP TABLE far, near;
DROP FUNCTION made(int, int), blocks(text), compared(text, text, text, int), mixed();
