-- Tables of every kind and what is done to them: unlogged, temporary, partial, by expression, partitioned, reindexed, built concurrently,
-- truncated, rolled back, vacuumed, rewritten. The index answers like the table each time.
\pset format unaligned
\pset tuples_only on
SET enable_seqscan = off;
SET client_min_messages = warning;

-- The three nearest to a point, by the index.
CREATE FUNCTION nearest(place text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  answer text;
  line text;
BEGIN
  EXECUTE format('SELECT string_agg(v::text, '' '') FROM (SELECT v FROM %s ORDER BY v <-> %L LIMIT 3) x', place, query) INTO answer;
  FOR line IN EXECUTE format('EXPLAIN (COSTS OFF) SELECT v FROM %s ORDER BY v <-> %L LIMIT 3', place, query) LOOP
    IF line ~ 'Index (Only )?Scan' THEN RETURN answer; END IF;
  END LOOP;
  RETURN 'no index scan: ' || coalesce(answer, '-');
END $$;

-- Nothing in it, then something, then nothing.
CREATE TABLE t (id int, v vector(2));
CREATE INDEX i ON t USING hnsw (v vector_l2_ops);
SELECT nearest('t', '[0,0]');
VACUUM t;
REINDEX INDEX i;
INSERT INTO t SELECT i, ARRAY[i, i]::vector FROM generate_series(1, 9) i;
SELECT nearest('t', '[5.1,5]');
DELETE FROM t WHERE id = 5;
SELECT nearest('t', '[5.1,5]');
VACUUM t;
SELECT nearest('t', '[5.1,5]');
DELETE FROM t;
VACUUM t;
SELECT nearest('t', '[5.1,5]');
INSERT INTO t SELECT i, ARRAY[i, -i]::vector FROM generate_series(1, 9) i;
SELECT nearest('t', '[2.1,-2]');
TRUNCATE t;
SELECT nearest('t', '[2.1,-2]');
INSERT INTO t SELECT i, ARRAY[-i, i]::vector FROM generate_series(1, 9) i;
SELECT nearest('t', '[-2.1,2]');

-- Updates, with and without a change of the vector.
UPDATE t SET id = id + 100;
SELECT nearest('t', '[-2.1,2]');
UPDATE t SET v = v * '[10,10]';
SELECT nearest('t', '[-21,21]');
UPDATE t SET v = NULL WHERE id = 102;
SELECT nearest('t', '[-200,200]');
UPDATE t SET v = '[-200,200]' WHERE v IS NULL;
SELECT nearest('t', '[-200,200]');
VACUUM FULL t;
SELECT nearest('t', '[-200,200]');
ALTER TABLE t ALTER COLUMN v TYPE vector(2) USING v + '[1,1]';
SELECT nearest('t', '[-199,201]');
CLUSTER t USING i;
ALTER TABLE t ALTER COLUMN v TYPE vector(3);
ALTER TABLE t RENAME COLUMN v TO w;
ALTER TABLE t RENAME COLUMN w TO v;
ANALYZE t;
SELECT nearest('t', '[-199,201]');

-- Rolled back: as a whole, to a savepoint, and a table that never was.
BEGIN;
INSERT INTO t VALUES (1, '[1000,1000]');
SELECT nearest('t', '[1000,1000]') LIKE '[1000,1000]%';
ROLLBACK;
SELECT nearest('t', '[1000,1000]') LIKE '[1000,1000]%';
BEGIN;
SAVEPOINT a;
INSERT INTO t VALUES (1, '[1000,1000]');
ROLLBACK TO a;
INSERT INTO t VALUES (1, '[2000,2000]');
COMMIT;
SELECT nearest('t', '[1900,1900]') LIKE '[2000,2000]%';
BEGIN;
CREATE TABLE gone (v vector(2));
INSERT INTO gone VALUES ('[1,2]');
CREATE INDEX ON gone USING hnsw (v vector_l2_ops);
SELECT nearest('gone', '[1,1]');
ROLLBACK;
BEGIN;
DROP INDEX i;
ROLLBACK;
SELECT nearest('t', '[1900,1900]') LIKE '[2000,2000]%';
BEGIN;
TRUNCATE t;
SELECT nearest('t', '[1900,1900]') IS NULL;
ROLLBACK;
SELECT nearest('t', '[1900,1900]') LIKE '[2000,2000]%';

-- Rebuilt and built beside running work.
REINDEX INDEX i;
REINDEX TABLE t;
REINDEX INDEX CONCURRENTLY i;
REINDEX TABLE CONCURRENTLY t;
SELECT nearest('t', '[1900,1900]') LIKE '[2000,2000]%';
CREATE INDEX CONCURRENTLY j ON t USING hnsw (v vector_ip_ops) WITH (m = 4, ef_construction = 10);
SELECT indisvalid, indisready FROM pg_index WHERE indrelid = 't'::regclass ORDER BY indexrelid;
SELECT v FROM t ORDER BY v <#> '[1,0]' LIMIT 1;
DROP INDEX CONCURRENTLY j;
DROP TABLE t;

-- Unlogged: the init fork is there, and the index moves to logged and back.
CREATE UNLOGGED TABLE t (v vector(2));
INSERT INTO t SELECT ARRAY[i, i]::vector FROM generate_series(1, 9) i;
CREATE INDEX i ON t USING hnsw (v vector_l2_ops);
INSERT INTO t VALUES ('[3.5,3.5]');
SELECT nearest('t', '[3.6,3.6]'), pg_relation_size('i', 'init') > 0;
ALTER TABLE t SET LOGGED;
SELECT nearest('t', '[3.6,3.6]'), pg_relation_size('i', 'init') > 0;
ALTER TABLE t SET UNLOGGED;
SELECT nearest('t', '[3.6,3.6]'), pg_relation_size('i', 'init') > 0;
DROP TABLE t;

-- Temporary, dropped or emptied at commit.
CREATE TEMP TABLE t (v vector(2)) ON COMMIT DELETE ROWS;
CREATE INDEX ON t USING hnsw (v vector_l2_ops);
BEGIN;
INSERT INTO t SELECT ARRAY[i, i]::vector FROM generate_series(1, 9) i;
SELECT nearest('t', '[3.6,3.6]');
COMMIT;
SELECT nearest('t', '[3.6,3.6]');
DROP TABLE t;

-- Some of the rows.
CREATE TABLE t (id int, kind int, v vector(2));
INSERT INTO t SELECT i, i % 3, ARRAY[i, i]::vector FROM generate_series(1, 30) i;
CREATE INDEX one ON t USING hnsw (v vector_l2_ops) WHERE kind = 1;
CREATE INDEX two ON t USING hnsw (v vector_l2_ops) WHERE kind = 2;
INSERT INTO t VALUES (31, 1, '[4.5,4.5]'), (32, 0, '[4.4,4.4]');
SELECT id FROM t WHERE kind = 1 ORDER BY v <-> '[4.4,4.4]' LIMIT 2;
SELECT id FROM t WHERE kind = 2 ORDER BY v <-> '[4.4,4.4]' LIMIT 2;
UPDATE t SET kind = 2 WHERE id = 31;
SELECT id FROM t WHERE kind = 1 ORDER BY v <-> '[4.4,4.4]' LIMIT 2;
SELECT id FROM t WHERE kind = 2 ORDER BY v <-> '[4.4,4.4]' LIMIT 2;
DROP TABLE t;

-- Computed values: another type, a part, bits.
CREATE TABLE t (id int, v vector(4));
INSERT INTO t SELECT i, ARRAY[i, i % 4, 5 - i, i * i % 7 - 3]::vector FROM generate_series(1, 20) i;
CREATE INDEX half ON t USING hnsw ((v::halfvec(4)) halfvec_l2_ops);
CREATE INDEX part ON t USING hnsw ((subvector(v, 1, 2)::vector(2)) vector_cosine_ops);
CREATE INDEX bits ON t USING hnsw ((binary_quantize(v)::bit(4)) bit_hamming_ops);
INSERT INTO t VALUES (21, '[3.1,3,2,1]'), (22, NULL);
SELECT id FROM t ORDER BY v::halfvec(4) <-> '[3.1,3,2,1]' LIMIT 2;
SELECT id FROM t ORDER BY subvector(v, 1, 2)::vector(2) <=> '[31,30]' LIMIT 1;
SELECT id FROM (SELECT id, v FROM t ORDER BY binary_quantize(v)::bit(4) <~> binary_quantize('[1,1,1,1]'::vector) LIMIT 20) x ORDER BY v <-> '[3,3,2,2]' LIMIT 1;
DROP TABLE t;

-- Partitions: made before and after the index, attached, detached; a row that moves.
CREATE TABLE t (id int, v vector(2)) PARTITION BY RANGE (id);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
INSERT INTO t SELECT i, ARRAY[i, i]::vector FROM generate_series(1, 9) i;
CREATE INDEX i ON t USING hnsw (v vector_l2_ops);
CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20);
CREATE TABLE t3 (id int, v vector(2));
INSERT INTO t3 SELECT i, ARRAY[i, i]::vector FROM generate_series(20, 29) i;
ALTER TABLE t ATTACH PARTITION t3 FOR VALUES FROM (20) TO (30);
INSERT INTO t SELECT i, ARRAY[i, i]::vector FROM generate_series(10, 19) i;
SELECT nearest('t', '[10.2,10.2]');
SELECT nearest('t', '[19.9,19.9]');
UPDATE t SET id = 25 WHERE id = 10;
SELECT nearest('t3', '[10.2,10.2]');
SELECT count(*) FROM pg_inherits WHERE inhparent = 'i'::regclass;
ALTER TABLE t DETACH PARTITION t1;
SELECT nearest('t', '[0,0]');
SELECT nearest('t1', '[0,0]');
DROP TABLE t, t1;

-- The same vector many times over, more often than one element of the graph has room for.
CREATE TABLE t (id int, v vector(2));
INSERT INTO t SELECT i, '[1,1]' FROM generate_series(1, 25) i;
CREATE INDEX i ON t USING hnsw (v vector_l2_ops);
INSERT INTO t SELECT i, '[1,1]' FROM generate_series(26, 39) i;
INSERT INTO t VALUES (40, '[2,2]');
SET hnsw.ef_search = 40;
SELECT count(DISTINCT id), count(*) FROM (SELECT id FROM t ORDER BY v <-> '[1,1]' LIMIT 39) x;
DELETE FROM t WHERE id % 2 = 0 AND id < 40;
VACUUM t;
SELECT count(DISTINCT id), count(*) FROM (SELECT id FROM t ORDER BY v <-> '[1,1]' LIMIT 20) x;
INSERT INTO t SELECT i, '[1,1]' FROM generate_series(41, 59) i;
SELECT count(DISTINCT id), count(*) FROM (SELECT id FROM t ORDER BY v <-> '[1,1]' LIMIT 39) x;
RESET hnsw.ef_search;
DROP TABLE t;

-- A build that runs out of maintenance_work_mem goes on. After how many rows is each library's own affair, so the NOTICE is not shown.
CREATE TABLE t (v vector(100));
INSERT INTO t SELECT array_fill(i, ARRAY[100])::vector FROM generate_series(1, 3000) i;
SET maintenance_work_mem = '1MB';
CREATE INDEX ON t USING hnsw (v vector_l2_ops) WITH (m = 4, ef_construction = 8);
SET client_min_messages = warning;
RESET maintenance_work_mem;
SELECT subvector(v, 1, 1) FROM t ORDER BY v <-> array_fill(1234.1, ARRAY[100])::vector LIMIT 1;
DROP TABLE t;

DROP FUNCTION nearest(text, text);
