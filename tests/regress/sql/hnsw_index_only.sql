-- Index-only scans of layout inline: the vector from its own copy, filter columns whose keys give their values back.
-- a vacuum believes a commit once the log has it
SET synchronous_commit = on;
SET enable_seqscan = off;
SET hnsw.ef_search = 100;
SET hnsw.iterative_scan = relaxed_order;
SET max_parallel_workers_per_gather = 0;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
CREATE TABLE rows (id int PRIMARY KEY, v vector(3), small int2, o oid, yes bool, d date, at time, ts timestamp, tz timestamptz, big int8, f float8, t text);
INSERT INTO rows SELECT n, ARRAY[n % 10 + 1, n / 10, 1], n - 100, n, n % 3 = 0, date '2020-01-01' + n, time '00:00' + n * interval '1 minute',
  timestamp '2020-01-01' + n * interval '1 hour', timestamptz '2020-01-01 00:00+00' - n * interval '1 second', n, n, n FROM generate_series(1, 200) n;
INSERT INTO rows (id, v, small, o, yes, d, at, ts, tz) VALUES (201, '[20,20,1]', 32767, 4294967295, true, 'infinity', '24:00', 'infinity', '-infinity'),
  (202, '[20,20,2]', -32768, 0, false, '-infinity', '00:00', '-infinity', 'infinity'), (203, '[20,20,3]', NULL, NULL, NULL, NULL, NULL, NULL, NULL), (204, NULL, 1, 1, true, NULL, NULL, NULL, NULL);
CREATE INDEX i ON rows USING hnsw (v vector_l2_ops, id, small, o, yes, d, at, ts, tz) WITH (layout = inline);
VACUUM (ANALYZE) rows;
CREATE FUNCTION fetches(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  line text;
  found text := 'no index-only scan';
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
    IF line ~ 'Heap Fetches' THEN found := regexp_replace(line, '^ *', ''); END IF;
  END LOOP;
  RETURN found;
END $$;
SELECT n, pg_index_column_has_property('i'::regclass, n, 'returnable') FROM generate_series(1, 9) n ORDER BY n;

-- what comes is what the table has
EXPLAIN (COSTS OFF) SELECT id, v <-> '[3,4,1]' FROM rows ORDER BY v <-> '[3,4,1]' LIMIT 10;
SELECT fetches($$SELECT id, v <-> '[3,4,1]' FROM rows ORDER BY v <-> '[3,4,1]' LIMIT 10$$);
SELECT id, v, v <-> '[3,4,1]' AS distance FROM rows ORDER BY v <-> '[3,4,1]', id LIMIT 5;
CREATE TEMP TABLE own AS SELECT id, v, small, o, yes, d, at, ts, tz FROM rows ORDER BY v <-> '[0,0,0]' LIMIT 1000;
SELECT count(*) FROM own;
SELECT * FROM own EXCEPT SELECT id, v, small, o, yes, d, at, ts, tz FROM rows;
SELECT id, small, o, yes, d, at, ts FROM rows ORDER BY v <-> '[20,20,1]' LIMIT 3;
-- with conditions on what can be returned; not on what the index has no value of
EXPLAIN (COSTS OFF) SELECT id FROM rows WHERE small > 0 ORDER BY v <-> '[3,4,1]' LIMIT 4;
SELECT id, small FROM rows WHERE small BETWEEN 3 AND 7 ORDER BY v <-> '[3,4,1]', id LIMIT 4;
SELECT fetches($$SELECT id FROM rows WHERE small > 0 ORDER BY v <-> '[3,4,1]' LIMIT 4$$);
SELECT fetches($$SELECT t FROM rows ORDER BY v <-> '[3,4,1]' LIMIT 4$$);
SELECT fetches($$SELECT id FROM rows WHERE t <> 'x' ORDER BY v <-> '[3,4,1]' LIMIT 4$$);

-- pages that are not all visible: the table decides
UPDATE rows SET v = '[3,4,1]' WHERE id = 150;
DELETE FROM rows WHERE id IN (42, 43);
SELECT id, v FROM rows ORDER BY v <-> '[3,4,1]', id LIMIT 4;
SELECT fetches($$SELECT id FROM rows ORDER BY v <-> '[3,4,1]' LIMIT 10$$) <> 'Heap Fetches: 0' AS looks_at_the_table;
VACUUM rows;
SELECT fetches($$SELECT id FROM rows ORDER BY v <-> '[3,4,1]' LIMIT 10$$);
SELECT id, v FROM rows ORDER BY v <-> '[3,4,1]', id LIMIT 4;
BEGIN;
DELETE FROM rows WHERE id = 150;
INSERT INTO rows (id, v) VALUES (300, '[3,4,1]');
SELECT id, small FROM rows ORDER BY v <-> '[3,4,1]' LIMIT 1;
ROLLBACK;
SELECT id, small FROM rows ORDER BY v <-> '[3,4,1]' LIMIT 1;
-- a cursor that goes back and forth, and a scan that begins again
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM rows ORDER BY v <-> '[3.2,4.3,1]';
FETCH 2 FROM c;
FETCH BACKWARD 1 FROM c;
CLOSE c;
COMMIT;
SELECT q, r.id FROM generate_series(1, 3) q, LATERAL (SELECT id FROM rows ORDER BY v <-> ARRAY[q, 1, 1]::vector LIMIT 1) r ORDER BY q;
DROP TABLE rows, own;

-- equal vectors, more than a segment has: each row with its own values where they differ, and all where they do not
CREATE TABLE equal (id int, v vector(3));
INSERT INTO equal SELECT n, '[1,2,3]' FROM generate_series(1, 50) n;
CREATE INDEX ON equal USING hnsw (v vector_cosine_ops) WITH (layout = inline);
INSERT INTO equal SELECT n, '[2,4,6]' FROM generate_series(51, 60) n;
INSERT INTO equal SELECT n, '[1,2,3]' FROM generate_series(61, 500) n;
VACUUM equal;
SELECT fetches($$SELECT v FROM equal ORDER BY v <=> '[1,2,3]' LIMIT 490$$);
SELECT v, count(*) FROM (SELECT v FROM equal ORDER BY v <=> '[1,2,3]' LIMIT 1000) s GROUP BY v ORDER BY v;
DELETE FROM equal WHERE id % 2 = 0;
VACUUM equal;
SELECT fetches($$SELECT v FROM equal ORDER BY v <=> '[1,2,3]' LIMIT 200$$);
SELECT v, count(*) FROM (SELECT v FROM equal ORDER BY v <=> '[1,2,3]' LIMIT 1000) s GROUP BY v ORDER BY v;
DROP TABLE equal;

-- numbers at the ends of their types, and floats that are equal and not the same
CREATE TABLE numbers (id int8, f4 float4, f8 float8, v vector(2));
INSERT INTO numbers VALUES (9223372036854775807, 'NaN', '-0', '[1,1]'), (9223372036854775806, '-0', 'NaN', '[1,1]'), (9223372036854775805, 0, 0, '[1,1]'),
  (-9223372036854775808, '-Infinity', 'Infinity', '[1,2]'), (-1, 1e-45, 5e-324, '[1,3]'), (0, 3.4028235e38, -1.7976931348623157e308, '[1,4]'), (NULL, NULL, NULL, '[1,5]');
CREATE INDEX i ON numbers USING hnsw (v vector_l2_ops, id, f4, f8) WITH (layout = inline);
INSERT INTO numbers SELECT id, -f4, -f8, v FROM numbers WHERE f8 = 0;
VACUUM numbers;
SELECT n, pg_index_column_has_property('i'::regclass, n, 'returnable') FROM generate_series(1, 4) n ORDER BY n;
SELECT fetches($$SELECT id, f4, f8 FROM numbers ORDER BY v <-> '[1,1]' LIMIT 20$$);
SELECT id, f4, f8 FROM (SELECT id, f4, f8, v <-> '[1,1]' AS d FROM numbers ORDER BY d LIMIT 20) s ORDER BY d, id DESC, f4::text COLLATE "C", f8::text COLLATE "C";
SELECT id FROM numbers WHERE id = 9223372036854775807 ORDER BY v <-> '[1,1]' LIMIT 3;
SELECT id FROM numbers WHERE id > 9223372036854775805 AND id < 9223372036854775807 ORDER BY v <-> '[1,1]' LIMIT 3;
SELECT id, f4, f8 FROM (SELECT id, f4, f8 FROM numbers WHERE f8 = 0 ORDER BY v <-> '[1,1]' LIMIT 9) s ORDER BY id, f4::text COLLATE "C", f8::text COLLATE "C";
SELECT f4, f8 FROM (SELECT f4, f8 FROM numbers WHERE f4 = 'NaN' ORDER BY v <-> '[1,1]' LIMIT 9) s ORDER BY f4::text COLLATE "C", f8::text COLLATE "C";
SELECT id FROM numbers WHERE f4 > 0 AND f4 < 1 ORDER BY v <-> '[1,1]' LIMIT 3;
SELECT id FROM numbers WHERE f8 < -1 ORDER BY v <-> '[1,1]' LIMIT 3;
SELECT id IS NULL AS is_null FROM numbers WHERE id IS NULL AND f4 IS NULL ORDER BY v <-> '[1,1]' LIMIT 3;
SELECT * FROM hnsw_check('i', true);
DROP TABLE numbers;
-- two filter columns with their runs cost less than 15 % of the bytes
CREATE TABLE sizes (a int, b int, v vector(100));
INSERT INTO sizes SELECT n, n, array_agg(sin(n * k)) FROM generate_series(1, 2000) n, generate_series(1, 100) k GROUP BY n;
CREATE INDEX plain ON sizes USING hnsw (v vector_l2_ops) WITH (layout = inline);
CREATE INDEX filtered ON sizes USING hnsw (v vector_l2_ops, a, b) WITH (layout = inline);
SELECT pg_relation_size('filtered') < 1.15 * pg_relation_size('plain') AS is_little;
SELECT * FROM hnsw_check('filtered', true);
DROP TABLE sizes;

-- halfvec, bit, values that take pages of their own, a temporary table
CREATE TABLE half (v halfvec(3));
INSERT INTO half SELECT ARRAY[n, 1, 0.5] FROM generate_series(1, 20) n;
CREATE INDEX ON half USING hnsw (v halfvec_ip_ops) WITH (layout = inline);
VACUUM half;
SELECT fetches($$SELECT v FROM half ORDER BY v <#> '[1,1,1]' LIMIT 2$$);
SELECT v FROM half ORDER BY v <#> '[1,1,1]' LIMIT 2;
DROP TABLE half;
CREATE TABLE bits (b bit(11));
INSERT INTO bits SELECT n::bit(11) FROM generate_series(1, 20) n;
CREATE INDEX ON bits USING hnsw (b bit_hamming_ops) WITH (layout = inline);
VACUUM bits;
SELECT fetches($$SELECT b FROM bits ORDER BY b <~> B'00000001111' LIMIT 1$$);
SELECT b FROM bits ORDER BY b <~> B'00000001111' LIMIT 1;
DROP TABLE bits;
CREATE TEMP TABLE wide (id int, v vector(1900));
INSERT INTO wide SELECT n, array_agg(n * 2000 + k) FROM generate_series(1, 30) n, generate_series(1, 1900) k GROUP BY n;
CREATE INDEX ON wide USING hnsw (v vector_l2_ops, id) WITH (layout = inline);
VACUUM wide;
SELECT fetches($$SELECT id, v FROM wide ORDER BY v <-> (SELECT array_agg(k)::vector FROM generate_series(1, 1900) k) LIMIT 30$$);
CREATE TEMP TABLE own AS SELECT id, v FROM wide ORDER BY v <-> (SELECT array_agg(k)::vector FROM generate_series(1, 1900) k) LIMIT 30;
SELECT count(*) FROM own JOIN wide USING (id, v);
DELETE FROM wide WHERE id < 15;
VACUUM wide;
SELECT count(*), min(id) FROM (SELECT id, v FROM wide ORDER BY v <-> (SELECT array_agg(k)::vector FROM generate_series(1, 1900) k) LIMIT 30) s;
DROP TABLE wide, own;

-- not from pgvector's pages, and not a column that is computed
CREATE TABLE t (id int, v vector(3), n int);
INSERT INTO t SELECT n, ARRAY[n, 1, 1], n FROM generate_series(1, 20) n;
CREATE INDEX p ON t USING hnsw (v vector_l2_ops) WITH (layout = pgvector);
VACUUM t;
SELECT pg_index_column_has_property('p'::regclass, 1, 'returnable');
SELECT fetches($$SELECT v FROM t ORDER BY v <-> '[1,1,1]' LIMIT 2$$);
DROP INDEX p;
CREATE INDEX e ON t USING hnsw (v vector_l2_ops, (n + 1), id) WITH (layout = inline);
SELECT fetches($$SELECT id FROM t ORDER BY v <-> '[1,1,1]' LIMIT 2$$);
SELECT fetches($$SELECT n FROM t ORDER BY v <-> '[1,1,1]' LIMIT 2$$);
SELECT id FROM t WHERE n + 1 = 5 ORDER BY v <-> '[1,1,1]' LIMIT 2;
-- row level security keeps its rows
CREATE ROLE hnsw_index_only_reader;
GRANT SELECT ON t TO hnsw_index_only_reader;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON t USING (id > 10);
SET ROLE hnsw_index_only_reader;
EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY v <-> '[1,1,1]' LIMIT 2;
SELECT id FROM t ORDER BY v <-> '[1,1,1]' LIMIT 2;
RESET ROLE;
DROP TABLE t;
DROP ROLE hnsw_index_only_reader;
DROP FUNCTION fetches(text);
