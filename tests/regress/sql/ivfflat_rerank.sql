-- Packed lists without values: exact distances come from the table, whatever became of its rows.
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
SET ivfflat.build_seed = 7;

-- The parameter.
CREATE TABLE t (id int, v vector(3));
INSERT INTO t SELECT i, ARRAY[i, i % 7, -i]::vector FROM generate_series(1, 200) i;
\set VERBOSITY sqlstate
CREATE INDEX ON t USING ivfflat (v vector_l2_ops) WITH (layout = packed, rerank = table);
CREATE INDEX ON t USING ivfflat (v vector_l2_ops) WITH (rerank = heap);
CREATE INDEX ON t USING ivfflat (v vector_l2_ops) WITH (layout = auto, rerank = heap);
\set VERBOSITY terse
CREATE INDEX ON t USING ivfflat (v vector_l2_ops) WITH (layout = pgvector, rerank = heap);
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops) WITH (layout = packed, rerank = heap, lists = 5);
SELECT pg_get_indexdef('i'::regclass);
SELECT name, value FROM vector_index_facts('i') WHERE name IN ('layout', 'rerank', 'rows', 'pages.values') ORDER BY name;
SET client_min_messages = notice;
ALTER INDEX i SET (rerank = heap);
ALTER INDEX i SET (rerank = own);
ALTER INDEX i SET (rerank = heap, layout = pgvector);
ALTER INDEX i SET (rerank = own);
ALTER INDEX i SET (layout = packed);
SET client_min_messages = warning;
REINDEX INDEX i;
SELECT value FROM vector_index_facts('i') WHERE name = 'rerank';
ALTER INDEX i SET (rerank = heap);
REINDEX INDEX CONCURRENTLY i;
SELECT value FROM vector_index_facts('i') WHERE name = 'rerank';
DROP TABLE t;

-- An index over all lists gives every row once, and the nearest are those of the table; some values are out of line.
CREATE FUNCTION numbers(n int, dims int) RETURNS real[] IMMUTABLE LANGUAGE sql AS
  $$ SELECT array_agg(((n * 7919 + d * 104729 + n * d) % 1009) / 100.0 - 5.0) FROM generate_series(1, dims) d $$;
CREATE FUNCTION compare(kind text, class text, operator text, dims int, lists int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  query text := numbers(0, dims)::vector::text;
  by_table int[];
  by_index int[];
  wanted int;
BEGIN
  EXECUTE format('CREATE TEMP TABLE c (id serial, v %s(%s)) ON COMMIT DROP', kind, dims);
  EXECUTE format('INSERT INTO c (v) SELECT numbers(i, %s)::%s FROM generate_series(1, 150) i', dims, kind);
  INSERT INTO c (v) VALUES (NULL), (NULL);
  EXECUTE format('CREATE INDEX ON c USING ivfflat (v %s) WITH (layout = packed, rerank = heap, lists = %s)', class, lists);
  EXECUTE format('INSERT INTO c (v) SELECT numbers(i, %s)::%s FROM generate_series(151, 300) i', dims, kind);
  DELETE FROM c WHERE id % 5 = 0;
  EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM c WHERE v IS NOT NULL ORDER BY v %s %L, id) x', operator, query) INTO by_table;
  SET LOCAL enable_seqscan = off;
  EXECUTE format('SET LOCAL ivfflat.probes = %s', lists);
  EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM c ORDER BY v %s %L) x', operator, query) INTO by_index;
  SELECT count(*) INTO wanted FROM unnest(by_table[1:20]) x WHERE x = ANY (by_index[1:25]);
  DROP TABLE c;
  RETURN CASE
    WHEN (SELECT array_agg(x ORDER BY x) FROM unnest(by_table) x) IS DISTINCT FROM (SELECT array_agg(x ORDER BY x) FROM unnest(by_index) x) THEN 'other rows'
    WHEN wanted < 18 THEN 'other neighbours'
    ELSE 'equal' END;
END $$;
SELECT class, operator, dims, compare(kind, class, operator, dims, 3)
FROM (VALUES ('vector', 'vector_l2_ops', '<->'), ('vector', 'vector_ip_ops', '<#>'), ('vector', 'vector_cosine_ops', '<=>'),
    ('halfvec', 'halfvec_l2_ops', '<->'), ('halfvec', 'halfvec_ip_ops', '<#>'), ('halfvec', 'halfvec_cosine_ops', '<=>')) AS kinds (kind, class, operator),
  (VALUES (3), (100), (1000)) AS dimensions (dims) ORDER BY class, dims;
SELECT compare('vector', 'vector_l2_ops', '<->', 16000, 2);

-- Versions of rows: updates that leave the value alone, updates that do not, rows that are gone or not there yet.
SET enable_seqscan = off;
SET ivfflat.probes = 4;
CREATE TABLE t (id int PRIMARY KEY, note int, v vector(20)) WITH (fillfactor = 50);
INSERT INTO t SELECT i, 0, numbers(i, 20)::vector FROM generate_series(1, 400) i;
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops) WITH (layout = packed, rerank = heap, lists = 4);
CREATE FUNCTION nearest(n int, k int) RETURNS text STABLE LANGUAGE sql AS
  $$ SELECT string_agg(id::text, ' ') FROM (SELECT id FROM t ORDER BY v <-> numbers(n, 20)::vector LIMIT k) x $$;
SELECT nearest(7, 1), nearest(300, 1);
UPDATE t SET note = note + 1;
UPDATE t SET note = note + 1 WHERE id % 2 = 0;
SELECT nearest(7, 1), nearest(300, 1), (SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> numbers(1, 20)::vector) x);
UPDATE t SET v = numbers(1000 + id, 20)::vector WHERE id = 7;
SELECT nearest(1007, 1), nearest(7, 1) = '7';
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT nearest(8, 1);
DECLARE c CURSOR FOR SELECT id FROM t ORDER BY v <-> numbers(9, 20)::vector;
FETCH 1 c;
SAVEPOINT s;
UPDATE t SET v = numbers(2000 + id, 20)::vector WHERE id IN (9, 10);
DELETE FROM t WHERE id = 11;
INSERT INTO t VALUES (401, 0, numbers(9, 20)::vector);
MOVE 100 c;
SELECT nearest(9, 1), nearest(2010, 1), nearest(11, 1) = '11';
ROLLBACK TO s;
FETCH 1 c \gset c_
MOVE ALL c;
SELECT nearest(9, 1), nearest(2010, 1) = '10', nearest(11, 1);
COMMIT;
DELETE FROM t WHERE id > 200;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> numbers(1, 20)::vector) x;
VACUUM t;
INSERT INTO t SELECT i, 0, numbers(i, 20)::vector FROM generate_series(501, 600) i;
SELECT count(*), nearest(7 + 500, 1) FROM (SELECT id FROM t ORDER BY v <-> numbers(1, 20)::vector) x;
SELECT * FROM ivfflat_check('i', true);
-- a column that older rows lack, a table that is written anew
ALTER TABLE t ADD w vector(3) DEFAULT '[1,2,3]';
CREATE INDEX w ON t USING ivfflat (w vector_l2_ops) WITH (layout = packed, rerank = heap, lists = 1);
UPDATE t SET w = '[3,2,1]' WHERE id = 42;
SELECT id FROM t ORDER BY w <-> '[3,2,2]' LIMIT 1;
SELECT count(*) FROM (SELECT id FROM t ORDER BY w <-> '[3,2,2]') x;
VACUUM FULL t;
SELECT id FROM t ORDER BY w <-> '[3,2,2]' LIMIT 1;
SELECT nearest(507, 1);
ALTER TABLE t DROP note, ALTER id TYPE bigint;
SELECT id FROM t ORDER BY w <-> '[3,2,2]' LIMIT 1;
SELECT nearest(507, 1);
SELECT * FROM ivfflat_check('i', true);
DROP TABLE t;

-- Expressions, conditions, rows without a value, iterative scans, joins, NULL as query.
CREATE TABLE t (id int, a real[], v vector(3));
INSERT INTO t SELECT i, numbers(i, 40), CASE WHEN i % 4 > 0 THEN ARRAY[i, i % 5, 1]::vector END FROM generate_series(1, 200) i;
CREATE INDEX e ON t USING ivfflat ((a::vector(40)) vector_cosine_ops) WITH (layout = packed, rerank = heap, lists = 4) WHERE id % 2 = 0;
SELECT id FROM t WHERE id % 2 = 0 ORDER BY a::vector(40) <=> numbers(36, 40)::vector(40) LIMIT 1;
SELECT count(*) FROM (SELECT id FROM t WHERE id % 2 = 0 ORDER BY a::vector(40) <=> numbers(36, 40)::vector(40)) x;
UPDATE t SET id = id + 1 WHERE id = 36;
UPDATE t SET id = 36 WHERE id = 35;
SELECT id FROM t WHERE id % 2 = 0 ORDER BY a::vector(40) <=> numbers(35, 40)::vector(40) LIMIT 1;
SELECT count(*) FROM (SELECT id FROM t WHERE id % 2 = 0 ORDER BY a::vector(40) <=> numbers(36, 40)::vector(40)) x;
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops) WITH (layout = packed, rerank = heap, lists = 4);
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <-> '[1,2,3]') x;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <-> NULL) x;
SELECT q.id, n.id FROM (VALUES (1), (51), (102)) q (id), LATERAL (SELECT id FROM t ORDER BY v <-> ARRAY[q.id, q.id % 5, 1]::vector LIMIT 1) n;
SELECT v FROM t ORDER BY v <-> '[1,2]' LIMIT 1;
SET ivfflat.probes = 1;
SET ivfflat.iterative_scan = relaxed_order;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <-> '[1,2,3]') x;
RESET ivfflat.iterative_scan;
SELECT * FROM ivfflat_check('e', true);
DROP TABLE t;

-- What a build finds out, and bytes; unlogged tables.
CREATE TABLE t (id int, v vector(768));
INSERT INTO t SELECT i, numbers(i, 768)::vector FROM generate_series(1, 2500) i;
CREATE INDEX own ON t USING ivfflat (v vector_l2_ops) WITH (layout = packed, lists = 50);
CREATE INDEX heap ON t USING ivfflat (v vector_l2_ops) WITH (layout = packed, lists = 50, rerank = heap);
SELECT abs(o.value::int - h.value::int) <= 1, h.value::int > 1 FROM vector_index_facts('own') o, vector_index_facts('heap') h WHERE o.name = 'probes' AND h.name = 'probes';
SELECT pg_relation_size('heap') < 0.15 * pg_relation_size('own');
DROP TABLE t;
SET ivfflat.probes = 2;
CREATE UNLOGGED TABLE t (v halfvec(30));
CREATE INDEX i ON t USING ivfflat (v halfvec_ip_ops) WITH (layout = packed, rerank = heap, lists = 2);
INSERT INTO t SELECT numbers(i, 30)::halfvec FROM generate_series(1, 50) i;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <#> numbers(3, 30)::vector::halfvec) x;
TRUNCATE t;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <#> numbers(3, 30)::vector::halfvec) x;
DROP TABLE t;

-- Filter columns.
CREATE TABLE t (id int, tenant int, v vector(40));
INSERT INTO t SELECT i, i % 7, numbers(i, 40)::vector FROM generate_series(1, 700) i;
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops, tenant) WITH (layout = packed, rerank = heap, lists = 5);
INSERT INTO t SELECT i, i % 7, numbers(i, 40)::vector FROM generate_series(701, 1050) i;
UPDATE t SET tenant = 3 WHERE id % 70 = 1;
DELETE FROM t WHERE id % 70 = 3;
SET enable_seqscan = off;
EXPLAIN (costs off) SELECT id FROM t WHERE tenant = 3 ORDER BY v <-> numbers(36, 40)::vector LIMIT 200;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t WHERE tenant = 3 ORDER BY v <-> numbers(36, 40)::vector) x;
VACUUM t;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t WHERE tenant = 3 ORDER BY v <-> numbers(36, 40)::vector) x;
SELECT * FROM ivfflat_check('i', true);
RESET enable_seqscan;
DROP TABLE t;

-- What the planner thinks of values in the table: three random reads for each row, of the first ten beforehand.
CREATE FUNCTION costs(name text, conditions text) RETURNS TABLE (index text, startup int, per_row numeric) LANGUAGE plpgsql AS $$
DECLARE
  plan json;
BEGIN
  EXECUTE format('EXPLAIN (FORMAT json) SELECT v FROM t %s ORDER BY v <-> numbers(3, 40)::vector LIMIT 1000000', conditions) INTO plan;
  plan := plan #> '{0,Plan,Plans,0}';
  IF plan ->> 'Index Name' IS DISTINCT FROM name THEN RAISE 'another plan: %', plan; END IF;
  index := name;
  startup := round((plan ->> 'Startup Cost')::numeric / 1000);
  per_row := round(((plan ->> 'Total Cost')::numeric - (plan ->> 'Startup Cost')::numeric) / (plan ->> 'Plan Rows')::numeric / 1000, 1);
  RETURN NEXT;
END $$;
CREATE TABLE t (tenant int, v vector(40));
INSERT INTO t SELECT i % 2, numbers(i, 40)::vector FROM generate_series(1, 2000) i;
CREATE INDEX own ON t USING ivfflat (v vector_l2_ops, tenant) WITH (layout = packed, lists = 50);
ANALYZE t;
SET enable_seqscan = off;
SET enable_sort = off;
SET seq_page_cost = 0;
SET random_page_cost = 1000;
SET ivfflat.probes = 1;
SELECT * FROM costs('own', '');
SELECT * FROM costs('own', 'WHERE tenant = 1');
DROP INDEX own;
CREATE INDEX heap ON t USING ivfflat (v vector_l2_ops, tenant) WITH (layout = packed, lists = 50, rerank = heap);
SELECT * FROM costs('heap', '');
SELECT * FROM costs('heap', 'WHERE tenant = 1');
RESET enable_seqscan;
RESET enable_sort;
RESET seq_page_cost;
RESET random_page_cost;
DROP TABLE t;
DROP FUNCTION compare, nearest, numbers, costs;
