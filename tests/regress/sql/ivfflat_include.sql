-- INCLUDE columns of layout packed: values of any type, for index-only scans and nothing else. The filter columns and the
-- vector of such an index come from it, too.
SET synchronous_commit = on;
SET enable_seqscan = off;
SET ivfflat.probes = 100;
SET client_min_messages = warning;
SET max_parallel_workers_per_gather = 0;
SET datestyle = 'ISO, YMD';
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE TABLE docs (id bigint, v vector(3), tenant int, yes bool, c "char", small int2, f4 float4, f8 float8, n numeric, t text, fixed char(5), named name,
  d date, i interval, u uuid, ip inet, b bytea, bits bit varying, j json, jb jsonb, ints int[], texts text[], m mood, p pair, pos posint, r int4range, other vector, half halfvec(2), tid tid);
INSERT INTO docs SELECT n, ARRAY[n % 10 + 1, n / 10, 1], n % 3, n % 2 = 0, 'x', n, n / 2.0, n / 4.0, n / 8.0, 'text ' || n, n % 100, 'name' || n,
  date '2020-01-01' + n, n * interval '1 minute', md5(n::text)::uuid, '10.0.0.0'::inet + n, decode(md5(n::text), 'hex'), n::bit(9), '{"n": 1}', jsonb_build_object('n', n, 'list', ARRAY[n, 2]),
  ARRAY[n, NULL, 3], ARRAY['a', n::text], (ARRAY['sad', 'ok', 'happy']::mood[])[n % 3 + 1], ROW(n::int, 'b'::text)::pair, n, int4range(n, n + 5), ARRAY[n, 1], ARRAY[n, 2], '(1,2)' FROM generate_series(1, 200) n;
-- every column is NULL, every second one, and rows without a vector
INSERT INTO docs (v) VALUES ('[20,20,1]');
INSERT INTO docs (id, v, yes, small, f8, t, named, i, ip, bits, jb, texts, p, r, half) SELECT 202, '[20,20,2]', yes, small, f8, t, named, i, ip, bits, jb, texts, p, r, half FROM docs WHERE id = 7;
INSERT INTO docs (id, t) VALUES (203, 'no vector');
CREATE INDEX docs_v ON docs USING ivfflat (v vector_l2_ops, tenant, texts, n) INCLUDE (id, yes, c, small, f4, f8, t, fixed, named, d, i, u, ip, b, bits, j, jb, ints, m, p, pos, r, other, half, tid)
  WITH (layout = packed, lists = 5);
VACUUM (ANALYZE) docs;
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
-- NULL when it was done, else the error
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  hint text;
BEGIN
  EXECUTE statement;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
  RETURN SQLSTATE || ': ' || SQLERRM || COALESCE('; ' || NULLIF(hint, ''), '');
END $$;
SELECT count(*), count(*) FILTER (WHERE pg_index_column_has_property('docs_v'::regclass, n, 'returnable')) AS returnable FROM generate_series(1, 29) n;
SELECT pg_indexam_has_property(oid, 'can_include') FROM pg_am WHERE amname = 'ivfflat';

-- what comes is what the table has
EXPLAIN (COSTS OFF) SELECT id, t, v <-> '[3,4,1]' FROM docs ORDER BY v <-> '[3,4,1]' LIMIT 10;
SELECT fetches($$SELECT id, t, v <-> '[3,4,1]' FROM docs ORDER BY v <-> '[3,4,1]' LIMIT 10$$);
SELECT id, t, v <-> '[3,4,1]' AS distance FROM docs ORDER BY v <-> '[3,4,1]', id LIMIT 3;
CREATE TEMP TABLE own AS SELECT * FROM docs WHERE false;
SELECT fetches($$SELECT * FROM docs ORDER BY v <-> '[0,0,0]' LIMIT 1000$$);
INSERT INTO own SELECT * FROM docs ORDER BY v <-> '[0,0,0]' LIMIT 1000;
SELECT count(*) FROM own;
SELECT count(*) FROM (SELECT d::text FROM own d EXCEPT SELECT d::text FROM docs d) s;
SELECT count(*) FROM (SELECT d::text FROM docs d EXCEPT SELECT d::text FROM own d) s;
-- conditions on filter columns are the index's, those on INCLUDE columns the executor's, who looks at the values that come
EXPLAIN (COSTS OFF) SELECT id FROM docs WHERE tenant = 1 AND t LIKE '%0' ORDER BY v <-> '[3,4,1]' LIMIT 4;
SELECT id, t FROM docs WHERE tenant = 1 AND t LIKE '%0' ORDER BY v <-> '[3,4,1]', id LIMIT 4;
SELECT fetches($$SELECT id FROM docs WHERE tenant = 1 AND t LIKE '%0' ORDER BY v <-> '[3,4,1]' LIMIT 4$$);
SELECT fetches($$SELECT id FROM docs WHERE jb->>'n' = '42' ORDER BY v <-> '[3,4,1]' LIMIT 4$$);
SELECT id, jb FROM docs WHERE jb->>'n' = '42' ORDER BY v <-> '[3,4,1]' LIMIT 4;
-- filter columns come back whatever their types, and are looked at again where the index has hashes or bits of them
SELECT fetches($$SELECT id, texts, n FROM docs WHERE texts @> '{42}' AND n > 1 ORDER BY v <-> '[3,4,1]' LIMIT 4$$);
SELECT id, tenant, texts, n FROM docs WHERE texts @> '{42}' AND n > 1 ORDER BY v <-> '[3,4,1]' LIMIT 4;
-- rows in no order
SELECT id, v FROM docs WHERE tenant = 2 ORDER BY v <-> NULL, id LIMIT 2;

-- changes: each row has values of its own, also those of equal vectors
UPDATE docs SET t = 'changed ' || id WHERE id BETWEEN 30 AND 39;
DELETE FROM docs WHERE id IN (42, 43);
INSERT INTO docs (id, v, tenant, t) SELECT 1000 + n, '[3,4,1]', 1, 'equal ' || n FROM generate_series(1, 400) n;
INSERT INTO docs (id, v, tenant, t) SELECT 2000 + n, ARRAY[n, 0, 0], 1, repeat('wide', n) FROM generate_series(1, 300) n;
SELECT * FROM ivfflat_check('docs_v', true);
VACUUM docs;
SELECT * FROM ivfflat_check('docs_v', true);
SELECT fetches($$SELECT id, t FROM docs ORDER BY v <-> '[3,4,1]' LIMIT 1000$$);
SELECT count(*), count(DISTINCT id), bool_and(t = 'equal ' || id - 1000) FROM (SELECT id, t FROM docs WHERE t LIKE 'equal%' ORDER BY v <-> '[3,4,1]' LIMIT 1000) s;
SELECT id, t FROM docs WHERE t LIKE 'changed%' ORDER BY v <-> '[3,4,1]', id LIMIT 3;
SELECT count(*), bool_and(t = repeat('wide', id::int - 2000)) FROM (SELECT id, t FROM docs WHERE id > 2000 ORDER BY v <-> '[3,4,1]' LIMIT 1000) s;
BEGIN;
UPDATE docs SET t = 'not to stay' WHERE id = 1001;
SELECT count(*) FROM (SELECT t FROM docs WHERE t = 'not to stay' ORDER BY v <-> '[3,4,1]' LIMIT 1000) s;
ROLLBACK;
SELECT count(*) FROM (SELECT t FROM docs WHERE t = 'not to stay' ORDER BY v <-> '[3,4,1]' LIMIT 1000) s;
-- a cursor that goes back and forth
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id, t FROM docs WHERE id < 100 ORDER BY v <-> '[3.2,4.3,1]';
FETCH 2 FROM c;
FETCH BACKWARD 1 FROM c;
FETCH 1 FROM c;
COMMIT;
-- room is used again
DELETE FROM docs WHERE id > 1000;
VACUUM docs;
SELECT (vector_index_info('docs_v')->'pages'->>'included')::int AS pages \gset
INSERT INTO docs (id, v, tenant, t) SELECT 1000 + n, '[3,4,1]', 1, 'equal ' || n FROM generate_series(1, 400) n;
INSERT INTO docs (id, v, tenant, t) SELECT 2000 + n, ARRAY[n, 0, 0], 1, repeat('wide', n) FROM generate_series(1, 300) n;
SELECT (vector_index_info('docs_v')->'pages'->>'included')::int <= :pages + 3 AS is_used_again;
SELECT * FROM ivfflat_check('docs_v', true);
REINDEX INDEX docs_v;
REINDEX INDEX CONCURRENTLY docs_v;
SELECT * FROM ivfflat_check('docs_v', true);
SELECT pg_get_indexdef('docs_v'::regclass) LIKE '%INCLUDE (id, yes, c, small,%' AS has_include;

-- values stored out of line, and compressed
CREATE TABLE wide (id int, v vector(3), outside text, inside text);
ALTER TABLE wide ALTER outside SET STORAGE external;
INSERT INTO wide SELECT n, ARRAY[n, 1, 1], (SELECT string_agg(md5((n * m)::text), '') FROM generate_series(1, 100) m), repeat('long ' || n, 3000) FROM generate_series(1, 60) n;
CREATE INDEX wide_v ON wide USING ivfflat (v vector_l2_ops) INCLUDE (outside, inside, id) WITH (layout = packed, lists = 5);
INSERT INTO wide SELECT n, ARRAY[n, 1, 1], (SELECT string_agg(md5((n * m)::text), '') FROM generate_series(1, 100) m), repeat('long ' || n, 3000) FROM generate_series(61, 120) n;
VACUUM (ANALYZE) wide;
SELECT fetches($$SELECT * FROM wide ORDER BY v <-> '[0,1,1]' LIMIT 120$$);
SELECT count(*) FROM (SELECT * FROM wide ORDER BY v <-> '[0,1,1]' LIMIT 200) s JOIN wide t ON (s.id, s.outside, s.inside, s.v) = (t.id, t.outside, t.inside, t.v);
SELECT * FROM ivfflat_check('wide_v', true);
-- what fits no page
ALTER TABLE wide ALTER inside SET STORAGE external;
SELECT try($$INSERT INTO wide VALUES (0, '[0,0,0]', repeat('x', 8200), 'y')$$);
SELECT try($$INSERT INTO wide VALUES (0, '[0,0,0]', repeat('x', 8150), NULL)$$);
SELECT try($$INSERT INTO wide VALUES (0, '[0,0,0]', repeat('x', 8100), NULL)$$);
-- rows without a vector are not in the index
SELECT try($$INSERT INTO wide VALUES (0, NULL, repeat('x', 8200), 'y')$$);
SELECT count(*), max(length(outside)) FROM (SELECT outside FROM wide ORDER BY v <-> '[0,0,0]' LIMIT 200) s;
SELECT * FROM ivfflat_check('wide_v', true);
DROP INDEX wide_v;
INSERT INTO wide VALUES (1, '[7,7,7]', repeat('x', 20000), 'y');
SELECT try($$CREATE INDEX ON wide USING ivfflat (v vector_l2_ops) INCLUDE (outside) WITH (layout = packed, lists = 5)$$);
-- nor are those without a direction in one by cosine, whatever their other values
CREATE TABLE directions (v vector(3), outside text);
ALTER TABLE directions ALTER outside SET STORAGE external;
CREATE INDEX directions_v ON directions USING ivfflat (v vector_cosine_ops) INCLUDE (outside) WITH (layout = packed, lists = 5);
INSERT INTO directions VALUES ('[1,0,0]', 'short'), ('[0,0,0]', repeat('x', 20000));
SELECT * FROM ivfflat_check('directions_v', true);
REINDEX INDEX directions_v;
SELECT * FROM ivfflat_check('directions_v', true);
SELECT try($$INSERT INTO directions VALUES ('[0,1,0]', repeat('x', 20000))$$);
DROP INDEX directions_v;
UPDATE directions SET v = '[0,1,0]';
SELECT try($$CREATE INDEX directions_v ON directions USING ivfflat (v vector_cosine_ops) INCLUDE (outside) WITH (layout = packed, lists = 5)$$);
DROP TABLE directions;

-- builds of little memory, row by row from an empty index, concurrently, of a partial index, and unlogged
CREATE UNLOGGED TABLE many (id int, v vector(3), t text);
INSERT INTO many SELECT n, ARRAY[n % 100, n % 37, n % 11], 'row ' || n FROM generate_series(1, 6000) n;
SET maintenance_work_mem = '1MB';
CREATE INDEX many_v ON many USING ivfflat (v vector_l2_ops) INCLUDE (t, id) WITH (layout = packed, lists = 5);
CREATE INDEX many_key ON many USING ivfflat (v vector_l2_ops, id) INCLUDE (t) WITH (layout = packed, lists = 5);
RESET maintenance_work_mem;
CREATE INDEX CONCURRENTLY many_even ON many USING ivfflat (v vector_ip_ops) INCLUDE (id) WITH (layout = packed, lists = 5) WHERE id % 2 = 0;
VACUUM (ANALYZE) many;
SELECT * FROM ivfflat_check('many_key', true);
SELECT count(*), bool_and(t = 'row ' || id) FROM (SELECT id, t FROM many WHERE id BETWEEN 11 AND 5990 ORDER BY v <-> '[5,5,5]' LIMIT 10000) s;
DROP INDEX many_key;
SELECT * FROM ivfflat_check('many_v', true);
SELECT * FROM ivfflat_check('many_even', true);
SELECT count(*), count(DISTINCT id), bool_and(t = 'row ' || id) FROM (SELECT id, t FROM many ORDER BY v <-> '[5,5,5]' LIMIT 10000) s;
SELECT fetches($$SELECT id FROM many WHERE id % 2 = 0 ORDER BY v <#> '[5,5,5]' LIMIT 10$$);
CREATE TABLE copied (LIKE many);
CREATE INDEX copied_v ON copied USING ivfflat (v vector_cosine_ops) INCLUDE (id) WITH (layout = packed, lists = 5);
INSERT INTO copied SELECT * FROM many WHERE id <= 1000;
-- another type of the column: the index is made anew
ALTER TABLE copied ALTER id TYPE text;
VACUUM copied;
SELECT count(*), count(DISTINCT id), min(pg_typeof(id)::text) FROM (SELECT id FROM copied ORDER BY v <=> '[1,2,3]' LIMIT 2000) s;
SELECT fetches($$SELECT id FROM copied ORDER BY v <=> '[1,2,3]' LIMIT 3$$);
SELECT * FROM ivfflat_check('copied_v', true);
-- a column that comes later, with a value that rows before do not have
ALTER TABLE copied ADD later text DEFAULT 'default';
CREATE INDEX copied_later ON copied USING ivfflat (v vector_l2_ops) INCLUDE (later) WITH (layout = packed, lists = 5);
SELECT DISTINCT later FROM (SELECT later FROM copied ORDER BY v <-> '[1,2,3]' LIMIT 1000) s;
-- a dropped column takes the index with it
ALTER TABLE copied DROP COLUMN later;
SELECT to_regclass('copied_later');

-- pgvector's pages have no such columns
SET ivfflat.default_layout = pgvector;
SELECT try('CREATE INDEX ON many USING ivfflat (v vector_l2_ops) INCLUDE (id)');
RESET ivfflat.default_layout;
SELECT try('CREATE INDEX ON many USING ivfflat (v vector_l2_ops) INCLUDE (id) WITH (layout = pgvector)');
SELECT try('CREATE INDEX ON many USING ivfflat ((binary_quantize(v)::bit(3)) bit_hamming_ops) INCLUDE (id)');
SELECT try('CREATE INDEX ON many USING ivfflat (v vector_l2_ops) INCLUDE (lower(t)) WITH (layout = packed, lists = 5)') ~ 'not supported' AS no_expressions;
CREATE INDEX many_auto ON many USING ivfflat (v vector_l2_ops) INCLUDE (id) WITH (lists = 5);
SELECT vector_index_info('many_auto')->>'layout';
-- nor have indexes that read the table anyway, nor those without such columns
SELECT try('CREATE INDEX ON many USING ivfflat (v vector_l2_ops) INCLUDE (id) WITH (layout = packed, rerank = heap)');
CREATE INDEX many_plain ON many USING ivfflat (v vector_l2_ops, id) WITH (layout = packed, lists = 5);
SELECT bool_or(pg_index_column_has_property('many_plain'::regclass, n, 'returnable')) FROM generate_series(1, 2) n;
-- nor are they altered to be such
SELECT try('ALTER INDEX many_v SET (layout = pgvector)');
SELECT try('ALTER INDEX many_v SET (rerank = heap)');
SELECT try('ALTER INDEX many_v SET (lists = 7)');
REINDEX INDEX many_v;
SELECT vector_index_info('many_v')->>'lists' AS lists, (vector_index_info('many_v')->'pages'->>'included')::int > 10 AS has_included, vector_index_info('many_v')->'pages'->>'unused' AS unused;
SELECT * FROM ivfflat_check('many_v', true);
-- halfvec, and values longer than two pages
CREATE TABLE halves (id int, v halfvec(12000), t text);
INSERT INTO halves SELECT n, array_fill(n, ARRAY[12000])::real[]::halfvec, 'half ' || n FROM generate_series(1, 30) n;
CREATE INDEX halves_v ON halves USING ivfflat (v halfvec_cosine_ops) INCLUDE (id, t) WITH (layout = packed, lists = 2);
INSERT INTO halves SELECT n, (array_fill(n, ARRAY[11999])::real[] || 1::real)::halfvec, 'half ' || n FROM generate_series(31, 40) n;
DELETE FROM halves WHERE id % 5 = 0;
VACUUM (ANALYZE) halves;
INSERT INTO halves SELECT n, (array_fill(n, ARRAY[11999])::real[] || 2::real)::halfvec, 'half ' || n FROM generate_series(41, 45) n;
VACUUM halves;
SELECT fetches('SELECT * FROM halves ORDER BY v <=> (SELECT v FROM halves WHERE id = 1) LIMIT 100');
SELECT count(*), bool_and(s = h) FROM (SELECT * FROM halves ORDER BY v <=> (SELECT v FROM halves WHERE id = 1) LIMIT 100) s JOIN halves h USING (id);
SELECT * FROM ivfflat_check('halves_v', true);
DROP TABLE halves;
-- A build meets a row that was updated in place by the root of its chain, out of order.
CREATE TABLE hot (id int, f int, v vector(3), note int) WITH (fillfactor = 50);
INSERT INTO hot SELECT i, i % 10, ARRAY[i % 97, i % 89, i % 83]::vector, 0 FROM generate_series(1, 1000) i;
UPDATE hot SET note = 1 WHERE id % 3 = 0;
CREATE INDEX hot_v ON hot USING ivfflat (v vector_l2_ops) INCLUDE (id) WITH (layout = packed, lists = 4);
CREATE INDEX hot_f ON hot USING ivfflat (v vector_ip_ops, f) INCLUDE (id) WITH (layout = packed, lists = 4);
VACUUM (ANALYZE) hot;
SELECT * FROM ivfflat_check('hot_v', true);
SELECT * FROM ivfflat_check('hot_f', true);
SET enable_sort = off;
SET ivfflat.probes = 4;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM hot ORDER BY v <-> '[1,2,3]' LIMIT 2000) s;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM hot WHERE f < 5 ORDER BY v <#> '[1,2,3]' LIMIT 2000) s;
RESET enable_sort;
RESET ivfflat.probes;
DROP TABLE hot;
DROP TABLE docs, own, wide, many, copied;
DROP TYPE mood, pair;
DROP DOMAIN posint;
DROP FUNCTION fetches, try;

-- As many lists as the rows of a predicate ask for, though they stand in few blocks of many.
CREATE TABLE scattered (id int, v vector(3), filler text) WITH (fillfactor = 10);
INSERT INTO scattered SELECT i, ARRAY[i % 97, i % 89, i % 83], repeat('x', 60) FROM generate_series(1, 30000) i;
SELECT pg_relation_size('scattered') > 3000 * 8192 AS large;
CREATE INDEX near_each_other ON scattered USING ivfflat (v vector_l2_ops) WITH (layout = packed) WHERE id BETWEEN 12000 AND 12300;
CREATE INDEX everywhere ON scattered USING ivfflat (v vector_l2_ops) WITH (layout = packed) WHERE id % 100 = 0;
SELECT vector_index_info('near_each_other')->>'lists' AS lists, vector_index_info('everywhere')->>'lists' AS lists;
DROP TABLE scattered;
