-- The page layouts of hnsw: which one an index gets, what each holds, and that scans of inline pages answer like the table.
\pset format unaligned
\pset tuples_only on
\set VERBOSITY default
SET hnsw.build_seed = 7;

-- The parameter and the setting.
CREATE TABLE t (id int, v vector(3));
INSERT INTO t SELECT i, ARRAY[i, i % 7, -i]::vector FROM generate_series(1, 100) i;
SHOW hnsw.default_layout;
SET hnsw.default_layout = 'packed';
SET hnsw.default_layout = 'pgvector';
CREATE INDEX i ON t USING hnsw (v vector_l2_ops) WITH (layout = packed);
CREATE INDEX i ON t USING hnsw (v vector_l2_ops) WITH (layout = 1);
CREATE INDEX i ON t USING hnsw (v vector_l2_ops) WITH (layout = inline, m = 8);
SELECT pg_get_indexdef('i'::regclass), reloptions, vector_index_info('i')->>'layout' FROM pg_class WHERE oid = 'i'::regclass;
ALTER INDEX i SET (layout = nothing);

-- An index keeps its pages until it is rebuilt, and says so when somebody asks for others.
ALTER INDEX i SET (m = 4);
ALTER INDEX i SET (layout = inline);
ALTER INDEX i SET (layout = auto);
ALTER INDEX i SET (layout = pgvector);
ALTER INDEX i RENAME TO j;
ALTER INDEX j RENAME TO i;
ALTER INDEX i SET (layout = inline);
ALTER INDEX i RESET (layout);
SET hnsw.default_layout = 'inline';
ALTER INDEX i SET (layout = pgvector, m = 8);
ALTER INDEX i RESET (layout, m);
SET hnsw.default_layout = 'pgvector';
REINDEX INDEX i;
ALTER INDEX i SET (layout = inline);
REINDEX INDEX CONCURRENTLY i;
SELECT reloptions, vector_index_info('i')->>'layout' FROM pg_class WHERE oid = 'i'::regclass;
ALTER INDEX i SET (layout = pgvector);
REINDEX TABLE t;
SELECT reloptions, vector_index_info('i')->>'layout', vector_index_info('i')->'options'->>'layout' FROM pg_class WHERE oid = 'i'::regclass;
ALTER INDEX i SET (layout = inline);
SELECT vector_index_info('i')->>'layout', vector_index_info('i')->'options'->>'layout';
-- what an index has as it is built by the setting
DROP INDEX i;
SET hnsw.default_layout = 'inline';
CREATE INDEX i ON t USING hnsw (v vector_l2_ops);
SELECT pg_get_indexdef('i'::regclass), vector_index_info('i')->>'layout';
SET hnsw.default_layout = 'pgvector';
REINDEX INDEX i;
SELECT vector_index_info('i')->>'layout';
RESET hnsw.default_layout;
-- the default by its name: the pages are older than it
ALTER INDEX i SET (layout = auto);
REINDEX INDEX i;
SELECT vector_index_info('i')->>'layout';
ALTER INDEX i RESET (layout);
-- other relations have nothing of the kind
ALTER TABLE t SET (fillfactor = 90);
CREATE INDEX b ON t (id);
ALTER INDEX b SET (fillfactor = 80);
ALTER INDEX b SET (layout = inline);
DROP TABLE t;

-- What has no inline pages: asked for by name an error, by the setting not.
CREATE TABLE t (v vector(3), s sparsevec(3));
CREATE INDEX ON t USING hnsw (v vector_l1_ops) WITH (layout = inline);
CREATE INDEX ON t USING hnsw (s sparsevec_l2_ops) WITH (layout = inline);
SET hnsw.default_layout = 'inline';
CREATE INDEX i ON t USING hnsw (v vector_l1_ops);
CREATE INDEX ON t USING hnsw (s sparsevec_l2_ops);
RESET hnsw.default_layout;
ALTER INDEX i SET (layout = inline);
ALTER INDEX i SET (layout = auto);
DROP TABLE t;

-- Dimensions.
CREATE FUNCTION try(kind text, class text, layout text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  advice text;
BEGIN
  EXECUTE format('CREATE TEMP TABLE dims (v %s) ON COMMIT DROP', kind);
  EXECUTE format('CREATE INDEX ON dims USING hnsw (v %s) WITH (layout = %s)', class, layout);
  DROP TABLE dims;
  RETURN 'ok';
EXCEPTION WHEN others THEN
  GET STACKED DIAGNOSTICS advice = PG_EXCEPTION_HINT;
  RETURN sqlstate || ' ' || sqlerrm || coalesce(' | ' || nullif(advice, ''), '');
END $$;
SELECT kind, class, layout, try(kind, class, layout) FROM
  (VALUES (1, 'vector(2001)', 'vector_l2_ops'), (2, 'vector(16000)', 'vector_cosine_ops'), (3, 'vector(2001)', 'vector_l1_ops'),
    (4, 'halfvec(4001)', 'halfvec_ip_ops'), (5, 'halfvec(16000)', 'halfvec_cosine_ops'), (6, 'bit(64000)', 'bit_hamming_ops'),
    (7, 'bit(64001)', 'bit_jaccard_ops')) AS kinds (n, kind, class),
  (VALUES ('auto'), ('inline'), ('pgvector')) AS layouts (layout) ORDER BY n, layout;

-- The nearest by an index are those of the table, and come in order.
CREATE FUNCTION compare(kind text, class text, operator text, layout text, row_expression text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  by_table float8[];
  by_index float8[];
  line text;
BEGIN
  EXECUTE format('CREATE TEMP TABLE c (id serial, v %s) ON COMMIT DROP', kind);
  EXECUTE format('INSERT INTO c (v) SELECT %s FROM generate_series(1, 120) i', row_expression);
  INSERT INTO c (v) VALUES (NULL), (NULL);
  EXECUTE format('SELECT array_agg(d) FROM (SELECT v %s %L AS d FROM c ORDER BY 1 LIMIT 20) x', operator, query) INTO by_table;
  EXECUTE format('CREATE INDEX ON c USING hnsw (v %s) WITH (layout = %s)', class, layout);
  SET LOCAL enable_seqscan = off;
  SET LOCAL hnsw.ef_search = 200;
  EXECUTE format('SELECT array_agg(d) FROM (SELECT v %s %L AS d FROM c ORDER BY v %s %L LIMIT 20) x', operator, query, operator, query) INTO by_index;
  FOR line IN EXECUTE format('EXPLAIN (COSTS OFF) SELECT v FROM c ORDER BY v %s %L LIMIT 3', operator, query) LOOP
    IF line ~ 'Index (Only )?Scan' THEN
      DROP TABLE c;
      RETURN CASE WHEN by_table = by_index THEN 'equal' ELSE by_table::text || ' ' || by_index::text END;
    END IF;
  END LOOP;
  RETURN 'no index scan';
END $$;
CREATE FUNCTION numbers(n int, dims int) RETURNS real[] LANGUAGE sql AS
  $$ SELECT array_agg(((n * 7919 + d * 104729 + n * d) % 1009) / 100.0 - 5.0) FROM generate_series(1, dims) d $$;
SELECT class, operator, dims, compare(format('%s(%s)', kind, dims), class, operator, 'inline', format('numbers(i, %s)::%s', dims, kind), format('%s', numbers(0, dims)::vector))
FROM (VALUES ('vector', 'vector_l2_ops', '<->'), ('vector', 'vector_ip_ops', '<#>'), ('vector', 'vector_cosine_ops', '<=>'),
    ('halfvec', 'halfvec_l2_ops', '<->'), ('halfvec', 'halfvec_ip_ops', '<#>'), ('halfvec', 'halfvec_cosine_ops', '<=>')) AS kinds (kind, class, operator),
  (VALUES (1), (3), (100), (1000), (2500)) AS dimensions (dims) WHERE dims > 1 OR operator <> '<=>' ORDER BY class, dims;
SELECT class, dims, compare(format('bit(%s)', dims), class, operator, 'inline', format('binary_quantize(numbers(i, %s)::vector)', dims), binary_quantize(numbers(0, dims)::vector)::text)
FROM (VALUES ('bit_hamming_ops', '<~>'), ('bit_jaccard_ops', '<%>')) AS kinds (class, operator),
  (VALUES (1), (64), (1000), (5000)) AS dimensions (dims) ORDER BY class, dims;

-- 16,000 dimensions.
SELECT compare('vector(16000)', 'vector_l2_ops', '<->', 'auto', 'numbers(i % 20, 16000)::vector', numbers(0, 16000)::vector::text);

-- Queries without a value or a direction; rows without one; other dimensions.
CREATE TABLE t (id int, v vector(3));
CREATE INDEX i ON t USING hnsw (v vector_cosine_ops) WITH (layout = inline);
SET enable_seqscan = off;
SELECT count(*) FROM (SELECT * FROM t ORDER BY v <=> '[1,2,3]' LIMIT 5) x;
DROP INDEX i;
INSERT INTO t SELECT i, ARRAY[i % 5, i % 3, i % 2]::vector FROM generate_series(1, 60) i;
INSERT INTO t VALUES (0, NULL), (0, NULL);
CREATE INDEX i ON t USING hnsw (v vector_cosine_ops) WITH (layout = inline);
SELECT count(*), count(v), bool_or(v = '[0,0,0]') FROM (SELECT * FROM t ORDER BY v <=> '[1,2,3]' LIMIT 100) x;
SELECT count(*) FROM (SELECT * FROM t ORDER BY v <=> '[0,0,0]' LIMIT 100) x;
SELECT count(*) FROM (SELECT * FROM t ORDER BY v <=> (SELECT NULL::vector) LIMIT 100) x;
SELECT count(*) FROM (SELECT * FROM t ORDER BY v <=> '[1,2]' LIMIT 100) x;
-- each row once, nearest first
SET hnsw.iterative_scan = strict_order;
SELECT count(*), count(DISTINCT id), bool_and(d >= before) FROM
  (SELECT id, d, lag(d, 1, 0.0::float8) OVER (ORDER BY n) AS before FROM
    (SELECT id, v <=> '[1,2,3]' AS d, row_number() OVER () AS n FROM (SELECT * FROM t ORDER BY v <=> '[1,2,3]' LIMIT 100) x) y) z;
SET hnsw.iterative_scan = relaxed_order;
SET hnsw.ef_search = 1;
SELECT count(*), count(DISTINCT id) FROM (SELECT * FROM t ORDER BY v <=> '[1,2,3]' LIMIT 100) x;
RESET hnsw.ef_search;
RESET hnsw.iterative_scan;
DROP TABLE t;

-- Any number of equal rows in one node.
CREATE TABLE t (id int, v vector(3));
INSERT INTO t SELECT i, ARRAY[i % 2, 0, 0]::vector FROM generate_series(1, 3000) i;
CREATE INDEX i ON t USING hnsw (v vector_l2_ops) WITH (layout = inline);
SELECT count(*), count(DISTINCT id), bool_and(id % 2 = 1) FROM (SELECT * FROM t ORDER BY v <-> '[1,0,0]' LIMIT 1500) x;
SELECT count(*), count(DISTINCT id) FROM (SELECT * FROM t ORDER BY v <-> '[1,0,0]' LIMIT 5000) x;
SET hnsw.iterative_scan = relaxed_order;
SELECT count(*), count(DISTINCT id) FROM (SELECT * FROM t ORDER BY v <-> '[1,0,0]' LIMIT 5000) x;
RESET hnsw.iterative_scan;
DROP TABLE t;

-- Rows that come and go: inserted into an empty index, updated, deleted, vacuumed, inserted into the room that became free.
CREATE TABLE t (id int, v vector(3));
CREATE INDEX i ON t USING hnsw (v vector_l2_ops) WITH (layout = inline);
INSERT INTO t SELECT i, ARRAY[i, i % 7, -i]::vector FROM generate_series(1, 500) i;
SELECT id FROM t ORDER BY v <-> '[250.1,5,-250]' LIMIT 3;
SELECT count(*) FROM hnsw_check('i', true);
UPDATE t SET v = v + '[1000,0,0]' WHERE id % 2 = 0;
SELECT id FROM t ORDER BY v <-> '[1250.1,5,-250]' LIMIT 1;
DELETE FROM t WHERE id % 5 = 0;
VACUUM t;
SELECT count(*) FROM hnsw_check('i', true);
CREATE TABLE size AS SELECT pg_relation_size('i') AS bytes;
INSERT INTO t SELECT i, ARRAY[i, i % 7, -i]::vector FROM generate_series(501, 700) i;
SELECT count(*) FROM hnsw_check('i', true);
SELECT pg_relation_size('i') = bytes FROM size;
SELECT id FROM t ORDER BY v <-> '[600.1,5,-600]' LIMIT 1;
INSERT INTO t SELECT 1000 + i, '[5000,0,0]' FROM generate_series(1, 100) i;
SET hnsw.ef_search = 1000;
SELECT count(*), min(id), max(id) FROM (SELECT id FROM t ORDER BY v <-> '[5000,0,0]' LIMIT 100) x;
RESET hnsw.ef_search;
DELETE FROM t WHERE id BETWEEN 1001 AND 1099;
VACUUM t;
SELECT id FROM t ORDER BY v <-> '[5000,0,0]' LIMIT 1;
SELECT count(*) FROM hnsw_check('i', true);
DELETE FROM t;
VACUUM t;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[5000,0,0]' LIMIT 100) x;
INSERT INTO t VALUES (1, '[1,2,3]'), (2, NULL), (3, '[1,2,3]'), (4, '[3,2,1]');
SELECT id FROM t ORDER BY v <-> '[3,2,1]' LIMIT 1;
BEGIN;
INSERT INTO t VALUES (5, '[9,9,9]');
SELECT id FROM t ORDER BY v <-> '[9,9,9]' LIMIT 1;
ROLLBACK;
SELECT id FROM t ORDER BY v <-> '[9,9,9]' LIMIT 1;
TRUNCATE t;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[3,2,1]' LIMIT 100) x;
SELECT count(*) FROM hnsw_check('i', true);
DROP TABLE t, size;
-- a build that does not fit goes on row by row
CREATE TABLE t (id int, v vector(64));
INSERT INTO t SELECT i, numbers(i, 64) FROM generate_series(1, 5000) i;
SET maintenance_work_mem = '1MB';
SET client_min_messages = warning;
CREATE INDEX i ON t USING hnsw (v vector_cosine_ops) WITH (layout = inline);
RESET client_min_messages;
RESET maintenance_work_mem;
SELECT count(*) FROM hnsw_check('i', true);
SELECT id FROM t ORDER BY v <=> numbers(77, 64)::vector LIMIT 1;
DROP TABLE t;

-- Unlogged and temporary tables, and those that move between.
CREATE UNLOGGED TABLE t (id int, v vector(3));
INSERT INTO t SELECT i, ARRAY[i, i, i]::vector FROM generate_series(1, 100) i;
CREATE INDEX i ON t USING hnsw (v vector_l2_ops) WITH (layout = inline);
SELECT id, pg_relation_size('i', 'init') > 0 FROM t ORDER BY v <-> '[7.1,7,7]' LIMIT 1;
ALTER TABLE t SET LOGGED;
SELECT id, pg_relation_size('i', 'init') > 0 FROM t ORDER BY v <-> '[7.1,7,7]' LIMIT 1;
ALTER TABLE t SET UNLOGGED;
SELECT id, pg_relation_size('i', 'init') > 0 FROM t ORDER BY v <-> '[7.1,7,7]' LIMIT 1;
INSERT INTO t VALUES (1000, '[7.2,7,7]');
DELETE FROM t WHERE id = 7;
VACUUM t;
SELECT id FROM t ORDER BY v <-> '[7.1,7,7]' LIMIT 2;
DROP TABLE t;
CREATE TEMP TABLE t (id int, v vector(3));
INSERT INTO t SELECT i, ARRAY[i, i, i]::vector FROM generate_series(1, 100) i;
CREATE INDEX i ON t USING hnsw (v vector_l2_ops) WITH (layout = inline);
SELECT id FROM t ORDER BY v <-> '[7.1,7,7]' LIMIT 3;
INSERT INTO t VALUES (1000, '[7.2,7,7]');
DELETE FROM t WHERE id = 7;
VACUUM t;
INSERT INTO t VALUES (1001, '[7.15,7,7]');
SELECT id FROM t ORDER BY v <-> '[7.1,7,7]' LIMIT 3;
DROP TABLE t;

-- Plans: a search costs a page for each element that it follows, and everything in order costs more than a sort.
CREATE TABLE t (id int, v vector(384));
INSERT INTO t SELECT i, numbers(i, 384) FROM generate_series(1, 3000) i;
CREATE INDEX i ON t USING hnsw (v vector_l2_ops) WITH (layout = inline);
ANALYZE t;
RESET enable_seqscan;
CREATE FUNCTION plan(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  line text;
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
    IF line ~ 'Index Scan|Seq Scan' THEN RETURN substring(line FROM '(Index Scan|Seq Scan)'); END IF;
  END LOOP;
END $$;
SET max_parallel_workers_per_gather = 0;
SELECT plan(format('SELECT id FROM t ORDER BY v <-> %L LIMIT 10', numbers(0, 384)::vector));
SELECT plan(format('SELECT id FROM t ORDER BY v <-> %L LIMIT 1000', numbers(0, 384)::vector));
SELECT plan(format('SELECT id FROM t ORDER BY v <-> %L', numbers(0, 384)::vector));
SELECT plan(format('SELECT id FROM t WHERE id = 7 ORDER BY v <-> %L LIMIT 10', numbers(0, 384)::vector));
CREATE INDEX b ON t (id);
SELECT plan(format('SELECT id FROM t WHERE id < 5 ORDER BY v <-> %L LIMIT 10', numbers(0, 384)::vector)) IS NOT NULL;
DROP TABLE t;
DROP FUNCTION try(text, text, text), compare(text, text, text, text, text, text), numbers(int, int), plan(text);

-- Built in parts, of copies of the values: a check compares no codes with values that were not there.
SET client_min_messages = warning;
SET maintenance_work_mem = '1MB';
SET max_parallel_maintenance_workers = 0;
CREATE TABLE t (id int, v vector(96));
INSERT INTO t SELECT i, (SELECT array_agg(sin(i % 40 * d) + cos(i * 0.37 + d * 1.7) / 2) FROM generate_series(1, 96) d)::real[]::vector FROM generate_series(1, 3000) i;
CREATE INDEX i ON t USING hnsw (v vector_l2_ops) WITH (layout = inline, m = 8);
INSERT INTO t SELECT 3000 + id, v + v FROM t WHERE id <= 100;
DELETE FROM t WHERE id % 50 = 0;
VACUUM t;
SELECT * FROM hnsw_check('i', true);
SELECT vector_index_info('i')->>'code_bits', vector_index_info('i')->>'codes_of_copies';
SET hnsw.iterative_scan = relaxed_order;
SET enable_seqscan = off;
SELECT count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 7) LIMIT 5000) s;
RESET ALL;
DROP TABLE t;

-- Rows that come and go while their vectors stay: their pages are used again.
CREATE TABLE t (id int PRIMARY KEY, seen int, v vector(8));
CREATE INDEX ON t (seen);
INSERT INTO t SELECT i, 0, ARRAY[i, i % 7, 1, 2, 3, 4, 5, 6]::vector FROM generate_series(1, 1000) i;
CREATE INDEX i ON t USING hnsw (v vector_l2_ops) WITH (layout = inline, m = 4, ef_construction = 8);
SELECT CASE n % 2 WHEN 1 THEN 'UPDATE t SET seen = seen + 1' ELSE 'VACUUM t' END FROM generate_series(1, 8) n \gexec
SELECT pg_relation_size('i') AS size \gset
SELECT CASE n % 2 WHEN 1 THEN 'UPDATE t SET seen = seen + 1' ELSE 'VACUUM t' END FROM generate_series(1, 16) n \gexec
SELECT pg_relation_size('i') <= :size AS bounded;
SELECT * FROM hnsw_check('i', true);
DROP TABLE t;

-- Values far from zero and close to each other, as places in a city by their degrees, or years beside other numbers: what
-- is found is what there is, in either access method.
CREATE FUNCTION recall(place regclass, queries int) RETURNS float LANGUAGE plpgsql AS $$
DECLARE
  found bigint := 0;
  q vector;
  n bigint;
BEGIN
  FOR q IN EXECUTE format('SELECT v FROM %s ORDER BY id LIMIT %s', place, queries) LOOP
    SET LOCAL enable_indexscan = off;
    SET LOCAL enable_seqscan = on;
    EXECUTE format('CREATE TEMP TABLE wanted AS SELECT id FROM %s ORDER BY v <-> $1 LIMIT 10', place) USING q;
    SET LOCAL enable_indexscan = on;
    SET LOCAL enable_seqscan = off;
    EXECUTE format('SELECT count(*) FROM wanted WHERE id IN (SELECT id FROM %s ORDER BY v <-> $1 LIMIT 10)', place) INTO n USING q;
    found := found + n;
    DROP TABLE wanted;
  END LOOP;
  RETURN found / (10.0 * queries);
END $$;
SET client_min_messages = warning;
SELECT setseed(0.5);
CREATE TABLE places AS SELECT i AS id, ARRAY[52.52 + (random() - 0.5) * 0.3, 13.4 + (random() - 0.5) * 0.5]::vector(2) AS v FROM generate_series(1, 10000) i;
CREATE TABLE years AS SELECT i AS id, (ARRAY[2015 + i % 11]::float[] || (SELECT array_agg(random()) FROM generate_series(1, 15) d WHERE i > 0))::vector(16) AS v FROM generate_series(1, 5000) i;
CREATE INDEX ON places USING hnsw (v vector_l2_ops);
CREATE INDEX ON years USING hnsw (v vector_l2_ops);
SELECT recall('places', 40) > 0.97 AS places, recall('years', 40) > 0.95 AS years;
INSERT INTO places SELECT id + 10000, v FROM (SELECT id, ARRAY[52.52 + (random() - 0.5) * 0.3, 13.4 + (random() - 0.5) * 0.5]::vector AS v FROM places WHERE id <= 3000) s;
SELECT recall('places', 40) > 0.97 AS inserted;
SELECT * FROM hnsw_check('places_v_idx', true);
DROP INDEX places_v_idx, years_v_idx;
CREATE INDEX ON places USING ivfflat (v vector_l2_ops) WITH (layout = packed);
CREATE INDEX ON years USING ivfflat (v vector_l2_ops) WITH (layout = packed);
SELECT recall('places', 40) > 0.8 AS places, recall('years', 40) > 0.8 AS years;
SELECT * FROM ivfflat_check('places_v_idx', true);
RESET client_min_messages;
DROP TABLE places, years;
DROP FUNCTION recall(regclass, int);

-- All rows that match come from the table, those without a vector, too; the nearest come from the index.
CREATE TABLE t (id int, tenant int, v vector(96));
INSERT INTO t SELECT i, i % 200, CASE WHEN i % 7 <> 0 THEN array_fill((i * 37 % 1000)::real, ARRAY[95]) || (i % 211)::real END::vector FROM generate_series(1, 20000) i;
CREATE INDEX h ON t USING hnsw (v vector_l2_ops, tenant);
CREATE INDEX f ON t USING ivfflat (v vector_cosine_ops, tenant);
ANALYZE t;
CREATE FUNCTION answered(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
    IF line ~ 'Index Scan|Seq Scan' THEN RETURN substring(line FROM '(Index Scan using [a-z]+|Seq Scan)'); END IF;
  END LOOP;
END $$;
SELECT answered('SELECT id FROM t WHERE tenant = 7 ORDER BY v <-> array_fill(0.5::real, ARRAY[96])::vector LIMIT 5');
SELECT answered('SELECT id FROM t WHERE tenant = 7 ORDER BY v <=> array_fill(0.5::real, ARRAY[96])::vector LIMIT 5');
SELECT answered('DECLARE c CURSOR FOR SELECT id FROM t WHERE tenant = 7 ORDER BY v <-> array_fill(0.5::real, ARRAY[96])::vector');
SELECT answered('SELECT id FROM t WHERE tenant = 7 ORDER BY v <-> array_fill(0.5::real, ARRAY[96])::vector');
SELECT answered('SELECT id FROM t WHERE tenant = 7 ORDER BY v <=> array_fill(0.5::real, ARRAY[96])::vector');
SELECT count(*) FROM (SELECT id FROM t WHERE tenant = 7 ORDER BY v <-> array_fill(0.5::real, ARRAY[96])::vector) s;
SELECT count(*) FROM (SELECT id FROM t WHERE tenant = 7 AND v IS NULL ORDER BY v <-> array_fill(0.5::real, ARRAY[96])::vector LIMIT 5) s;
SELECT count(*) FROM (SELECT id FROM t WHERE tenant = 7 AND v IS NULL ORDER BY v <=> array_fill(0.5::real, ARRAY[96])::vector LIMIT 5) s;
SELECT count(*) FROM (SELECT id FROM t WHERE tenant = 7 AND v IS NOT NULL ORDER BY v <-> array_fill(0.5::real, ARRAY[96])::vector LIMIT 5) s;
DROP TABLE t;
DROP FUNCTION answered(text);
