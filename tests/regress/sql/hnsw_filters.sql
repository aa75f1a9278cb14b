-- Filter columns: conditions that the index answers, of every type and operator, against a sequential scan.
\pset format unaligned
\pset tuples_only on
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE t (
  id int, v vector(3), b bool, i2 int2, i4 int4, i8 int8, o oid, f4 float4, f8 float8, n numeric, d date, ti time, ts timestamp,
  tz timestamptz, tx text, vc varchar(20), ch char(8), u uuid, m mood, ip inet, ai int[], al bigint[], at text[]);
INSERT INTO t SELECT i, ARRAY[i % 97, i % 89, i % 83]::vector,
    CASE i % 5 WHEN 0 THEN NULL ELSE i % 5 < 3 END, i % 50, i % 70, i % 60 * 1000000000000, i % 30, i % 40 / 4.0, i % 35 / 8.0, i % 45 / 10.0,
    date '2024-01-01' + i % 40, time '08:00' + i % 25 * interval '10 min', timestamp '2024-01-01' + i % 33 * interval '1 day',
    timestamptz '2024-01-01 00:00+00' + i % 37 * interval '1 hour', 'tenant-with-a-long-name-' || i % 25, 'v' || i % 27, 'c' || i % 28,
    md5((i % 26)::text)::uuid, (ARRAY['sad', 'ok', 'happy']::mood[])[1 + i % 3], ('10.0.0.' || i % 29)::inet,
    ARRAY[i % 6, i % 10, i % 31], ARRAY[i % 8]::bigint[], CASE WHEN i % 9 = 0 THEN NULL ELSE ARRAY['tag-' || i % 7, 'tag-' || i % 11] END
  FROM generate_series(1, 1500) i;
-- At the ends of their types, and nothing at all.
INSERT INTO t (id, v, i2, i4, i8, f4, f8, n, d, ts, tz, ai) VALUES
  (2001, '[1,1,1]', 32767, 2147483647, 9223372036854775807, 'infinity', 'nan', 'nan', 'infinity', 'infinity', 'infinity', '{}'),
  (2002, '[2,2,2]', -32768, -2147483648, -9223372036854775808, '-infinity', '-infinity', -1e300, '-infinity', '-infinity', '-infinity', '{NULL}'),
  (2003, '[3,3,3]', 0, 0, 9223372036854775806, '-0', '-0', 1e300, '5000-01-01', '5000-01-01', '5000-01-01', '{1,NULL}'),
  (2004, '[4,4,4]', NULL, NULL, NULL, 'nan', 'infinity', 0.1000000000000000000001, NULL, NULL, NULL, NULL),
  (2005, NULL, 1, 1, 1, 1, 1, 1, NULL, NULL, NULL, NULL);
CREATE INDEX i1 ON t USING hnsw (v vector_l2_ops, b, i2, i4, i8, o, f4, f8, n) WITH (layout = inline, runs = 8);
VACUUM ANALYZE t;

-- The conditions are the index's, and no others are.
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE i4 = 7 AND n < 3 ORDER BY v <-> '[1,2,3]' LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE i4 IN (7, 8) AND i8 IS NOT NULL AND id > 5 ORDER BY v <-> '[1,2,3]' LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE tx = 'x' ORDER BY v <-> '[1,2,3]' LIMIT 5;
EXPLAIN (COSTS OFF) SELECT x.id FROM (VALUES (7), (8)) k(i), LATERAL (SELECT id FROM t WHERE i4 = k.i ORDER BY v <-> '[1,2,3]' LIMIT 2) x;

-- What comes is what a sequential scan with a sort finds.
CREATE FUNCTION differs(condition text, most int DEFAULT 10, query vector DEFAULT '[40,41,42]') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  statement text := format('SELECT array_agg(dist), array_agg(id) FROM (SELECT id, v <-> %L AS dist FROM t WHERE %s ORDER BY v <-> %L LIMIT %s) x', query, condition, query, most);
  plan text; line text; found float8[]; wanted float8[]; ids int[]; matching int[]; missed int;
BEGIN
  SET LOCAL enable_sort = off;
  FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP plan := concat(plan, line); END LOOP;
  EXECUTE statement INTO found, ids;
  SET LOCAL enable_sort = on;
  SET LOCAL enable_indexscan = off;
  EXECUTE statement INTO wanted;
  EXECUTE format('SELECT array_agg(id) FROM t WHERE v IS NOT NULL AND (%s)', condition) INTO matching;
  SET LOCAL enable_indexscan = on;
  IF plan !~ 'Index Cond' THEN RETURN condition || ': no condition of the index'; END IF;
  IF cardinality(ids) <> (SELECT count(DISTINCT id) FROM unnest(ids) id) THEN RETURN condition || ': a row twice'; END IF;
  IF NOT ids <@ matching THEN RETURN condition || ': rows that do not match'; END IF;
  IF cardinality(found) IS DISTINCT FROM cardinality(wanted) THEN RETURN format('%s: %s rows, not %s', condition, cardinality(found), cardinality(wanted)); END IF;
  -- Up to ef_search rows that match are all read, and come in order; of more, a search may miss a near one.
  missed := (SELECT count(*) FROM (SELECT unnest(wanted) EXCEPT ALL SELECT unnest(found)) x);
  IF missed > 2 OR found IS DISTINCT FROM wanted AND cardinality(matching) <= current_setting('hnsw.ef_search')::int THEN RETURN format('%s: %s, not %s', condition, found, wanted); END IF;
  RETURN NULL;
END $$;
SET hnsw.ef_search = 200;
CREATE TABLE asked (condition text);
INSERT INTO asked SELECT format('%s %s %s', c, o, quote_literal(x) || '::' || y) FROM (VALUES
    ('b', 'bool', '{t,f}'::text[]), ('i2', 'int2', '{7,0,-32768,32767}'), ('i4', 'int4', '{7,69,-2147483648,2147483647}'),
    ('i8', 'int8', '{7000000000000,-9223372036854775808,9223372036854775806,9223372036854775807}'), ('o', 'oid', '{7,0,4294967295}'),
    ('f4', 'float4', '{1.25,0,-0,nan,infinity,-infinity}'), ('f8', 'float8', '{1.25,0,-0,nan,infinity,-infinity}'),
    ('n', 'numeric', '{1.2,0.1,0,1e300,-1e300,nan,0.1000000000000000000001}'), ('d', 'date', '{2024-01-09,infinity,-infinity,5000-01-01}'),
    ('ti', 'time', '{09:00,00:00,24:00}'), ('ts', 'timestamp', '{2024-01-09,infinity,-infinity}'), ('tz', 'timestamptz', '{2024-01-01 07:00+00,infinity,-infinity}'))
  a(c, y, xs), unnest(xs) x, unnest('{<,<=,=,>=,>}'::text[]) o;
-- integers and floats of other widths
INSERT INTO asked SELECT format('%s %s %s', c, o, x) FROM (VALUES ('i2', '7::int8'), ('i2', '70000::int4'), ('i4', '7::int2'), ('i4', '5000000000::int8'), ('i4', '-5000000000::int8'),
    ('i8', '7::int2'), ('i8', '7::int4'), ('f4', '1.25::float8'), ('f4', '1e200::float8'), ('f8', '1.25::float4')) a(c, x), unnest('{<,<=,=,>=,>}'::text[]) o;
INSERT INTO asked VALUES
  ('tx = ''tenant-with-a-long-name-7'''), ('tx = ''tenant-with-a-long-name-'''), ('vc = ''v7'''), ('ch = ''c7'''), ('ch = ''c7  '''),
  ('u = md5(''7'')::uuid'), ('m = ''ok'''), ('ip = ''10.0.0.7'''), ('ip = ''10.0.0.7/24'''),
  ('ai && ''{5,30}'''), ('ai @> ''{5,9}'''), ('ai @> ''{}'''), ('ai && ''{}'''), ('ai = ''{1,1,1}'''), ('ai = ''{}'''), ('ai @> ''{NULL}'''), ('ai && ''{NULL,1}'''),
  ('al && ''{3}'''), ('al @> ''{3}'''), ('at && ''{tag-3,tag-4}'''), ('at @> ''{tag-3,tag-4}'''), ('at @> ''{none}'''),
  ('i4 IN (3, 5, 64)'), ('i4 = ANY (''{3,NULL,5}'')'), ('i4 = ANY (''{}'')'), ('i4 = ANY (NULL)'), ('i4 < ANY (''{3,5}'')'), ('i4 > ANY (''{64,66}'')'),
  ('i8 IN (3, 5000000000000, 9223372036854775807)'), ('n IN (1.2, 0.1, 3)'), ('tx IN (''tenant-with-a-long-name-3'', ''x'', ''tenant-with-a-long-name-5'')'),
  ('m IN (''sad'', ''happy'')'), ('d IN (''2024-01-09'', ''infinity'')'), ('u IN (md5(''1'')::uuid, md5(''2'')::uuid)'),
  ('i4 = ANY (ARRAY(SELECT generate_series(0, 60, 7)))'), ('i4 = (SELECT 7)'), ('i4 = NULL'), ('i4 > (SELECT NULL::int)'),
  ('i4 IS NULL'), ('i4 IS NOT NULL AND i4 < 5'), ('at IS NULL'), ('tx IS NOT NULL AND tx = ''tenant-with-a-long-name-3'''),
  ('i4 BETWEEN 3 AND 5'), ('i4 > 5 AND i4 < 4'), ('i4 = 7 AND n < 3 AND i2 >= 7'), ('i4 = 7 AND id % 2 = 0'), ('i4 = 7 OR i4 IS NULL AND i4 = 8'),
  ('d > ''2024-01-20'' AND tx = ''tenant-with-a-long-name-3'''), ('m = ''ok'' AND ai && ''{5}''');
SELECT count(*) FROM asked;
-- (a boolean column that is compared with true is the column itself, and one that is compared with NULL is nothing)
CREATE FUNCTION all_that_differ(columns text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT d FROM asked, differs(condition) d WHERE condition ~ ('^' || columns || '\M') AND condition !~ '^b |= NULL$|OR' AND d IS NOT NULL $$;
SELECT all_that_differ('(i2|i4|i8|o|f4|f8|n)');
-- boolean columns by themselves are conditions, too
SELECT count(*), bool_and(b) FROM (SELECT b FROM t WHERE b ORDER BY v <-> '[1,2,3]' LIMIT 10) x;
SELECT count(*), bool_or(b) FROM (SELECT b FROM t WHERE NOT b ORDER BY v <-> '[1,2,3]' LIMIT 10) x;
SELECT count(*), bool_or(b) FROM (SELECT b FROM t WHERE b < true ORDER BY v <-> '[1,2,3]' LIMIT 10) x;
SELECT count(*) FROM (SELECT b FROM t WHERE b IS NULL ORDER BY v <-> '[1,2,3]' LIMIT 10) x;

-- The LIMIT is filled, whatever ef_search and iterative_scan say; with fewer rows, all of them come.
SET hnsw.ef_search = 10;
SELECT count(*), count(DISTINCT id), bool_and(i4 = 7) FROM (SELECT id, i4 FROM t WHERE i4 = 7 ORDER BY v <-> '[1,2,3]' LIMIT 15) x;
SELECT count(*) = (SELECT count(*) FROM t WHERE i4 = 7), count(*) = count(DISTINCT id) FROM (SELECT id FROM t WHERE i4 = 7 ORDER BY v <-> '[1,2,3]' LIMIT 1000) x;
SELECT count(*) = (SELECT count(*) FROM t WHERE i4 < 35 AND v IS NOT NULL), count(*) = count(DISTINCT id) FROM (SELECT id FROM t WHERE i4 < 35 ORDER BY v <-> '[1,2,3]') x;
SET hnsw.max_scan_tuples = 1;
SET hnsw.iterative_scan = relaxed_order;
SELECT count(*) = (SELECT count(*) FROM t WHERE i4 < 35 AND v IS NOT NULL), count(*) = count(DISTINCT id) FROM (SELECT id FROM t WHERE i4 < 35 ORDER BY v <-> '[1,2,3]') x;
SET work_mem = 64;
SELECT count(*) = (SELECT count(*) FROM t WHERE i4 < 35 AND v IS NOT NULL), count(*) = count(DISTINCT id) FROM (SELECT id FROM t WHERE i4 < 35 ORDER BY v <-> '[1,2,3]') x;
RESET work_mem;
SET hnsw.iterative_scan = strict_order;
SELECT count(*) FROM (SELECT dist, lag(dist) OVER () AS before FROM (SELECT v <-> '[1,2,3]' AS dist FROM t WHERE i4 < 35 ORDER BY v <-> '[1,2,3]' LIMIT 300) x) y WHERE dist < before;
RESET hnsw.iterative_scan;
RESET hnsw.max_scan_tuples;
-- a query that is NULL
SELECT count(*), bool_and(i4 = 7) FROM (SELECT i4 FROM t WHERE i4 = 7 ORDER BY v <-> (SELECT NULL::vector) LIMIT 12) x;
-- of the vector itself
SELECT count(*) FROM (SELECT id FROM t WHERE v IS NOT NULL AND i4 = 7 ORDER BY v <-> '[1,2,3]' LIMIT 12) x;
SELECT count(*) FROM (SELECT id FROM t WHERE v IS NULL ORDER BY v <-> '[1,2,3]' LIMIT 12) x;
-- parameters, joins, cursors
PREPARE near (int, int) AS SELECT count(*), min(i4), max(i4) FROM (SELECT i4 FROM t WHERE i4 BETWEEN $1 AND $2 ORDER BY v <-> '[1,2,3]' LIMIT 11) x;
SET plan_cache_mode = force_generic_plan;
EXECUTE near(3, 4);
EXECUTE near(60, 60);
EXECUTE near(NULL, 60);
RESET plan_cache_mode;
SELECT k.i, count(*), min(x.i4) = k.i AND max(x.i4) = k.i FROM generate_series(1, 3) k(i), LATERAL (SELECT i4 FROM t WHERE i4 = k.i ORDER BY v <-> '[1,2,3]' LIMIT 4) x GROUP BY 1 ORDER BY 1;
BEGIN;
DECLARE c CURSOR FOR SELECT i4 FROM t WHERE i4 = 7 ORDER BY v <-> '[1,2,3]';
MOVE 12 IN c;
FETCH 1 FROM c;
MOVE ALL IN c;
COMMIT;
RESET hnsw.ef_search;

-- The other types.
DROP INDEX i1;
CREATE INDEX i2 ON t USING hnsw (v vector_l2_ops, d, ti, ts, tz, tx, vc, ch, u) WITH (layout = inline, runs = 5);
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE tx LIKE 'tenant%' AND tx = 'x' ORDER BY v <-> '[1,2,3]' LIMIT 5;
SET hnsw.ef_search = 200;
SELECT all_that_differ('(d|ti|ts|tz|tx|vc|ch|u)');
DROP INDEX i2;
CREATE INDEX i3 ON t USING hnsw (v vector_l2_ops, m, ip, ai, al, at) WITH (layout = inline, runs = 3);
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE at && '{tag-1}' ORDER BY v <-> '[1,2,3]' LIMIT 5;
SELECT all_that_differ('(m|ip|ai|al|at)');
-- Rows that come and go.
UPDATE t SET m = 'happy', ai = ai || 777 WHERE id % 7 = 0;
DELETE FROM t WHERE id % 5 = 3;
INSERT INTO t (id, v, m, ai) SELECT i, ARRAY[i % 91, i % 79, i % 73]::vector, 'sad', ARRAY[777, i] FROM generate_series(3001, 3100) i;
INSERT INTO asked VALUES ('ai && ''{777}'' '), ('ai @> ''{777,3050}'' ');
SELECT all_that_differ('(m|ip|ai|al|at)');
VACUUM t;
SELECT all_that_differ('(m|ip|ai|al|at)');
SELECT * FROM hnsw_check('i3', true);
INSERT INTO t (id, v, m, ai) SELECT i, ARRAY[i % 91, i % 79, i % 73]::vector, 'ok', ARRAY[777, i] FROM generate_series(4001, 4300) i;
SELECT all_that_differ('(m|ip|ai|al|at)');
SELECT * FROM hnsw_check('i3', true);
RESET hnsw.ef_search;

-- Rows with equal vectors, and equal or other filter values.
CREATE TABLE alike (id int, k int, v vector(2));
INSERT INTO alike SELECT i, i % 50, '[1,1]' FROM generate_series(1, 2000) i;
CREATE INDEX ON alike USING hnsw (v vector_cosine_ops, k) WITH (layout = inline);
SELECT count(*), bool_and(k = 7) FROM (SELECT k FROM alike WHERE k = 7 ORDER BY v <=> '[1,2]' LIMIT 100) x;
SELECT count(*), count(DISTINCT k) FROM (SELECT k FROM alike WHERE k BETWEEN 7 AND 8 ORDER BY v <=> '[0,0]' LIMIT 100) x;

-- Expressions, partial indexes, other types of vectors, unlogged and temporary tables.
CREATE TABLE other (id int, tags jsonb, h halfvec(4), bits bit(16), tenant int);
INSERT INTO other SELECT i, jsonb_build_object('kind', i % 20), ARRAY[i % 13, i % 17, i % 19, 1]::vector::halfvec, (i * 7919 % 65536)::bit(16), i % 20 FROM generate_series(1, 600) i;
CREATE INDEX e ON other USING hnsw (h halfvec_ip_ops, ((tags ->> 'kind')::int)) WITH (layout = inline);
CREATE INDEX p ON other USING hnsw (bits bit_hamming_ops, tenant) WITH (layout = inline) WHERE id > 100;
EXPLAIN (COSTS OFF) SELECT id FROM other WHERE (tags ->> 'kind')::int = 7 ORDER BY h <#> '[1,2,3,4]' LIMIT 5;
SELECT count(*), bool_and(tags ->> 'kind' = '7') FROM (SELECT tags FROM other WHERE (tags ->> 'kind')::int = 7 ORDER BY h <#> '[1,2,3,4]' LIMIT 25) x;
EXPLAIN (COSTS OFF) SELECT id FROM other WHERE tenant = 7 AND id > 100 ORDER BY bits <~> B'1111000011110000' LIMIT 5;
SELECT count(*), bool_and(tenant = 7 AND id > 100) FROM (SELECT id, tenant FROM other WHERE tenant = 7 AND id > 100 ORDER BY bits <~> B'1111000011110000' LIMIT 25) x;
CREATE UNLOGGED TABLE quick (v vector(2), k int);
CREATE INDEX ON quick USING hnsw (v vector_l2_ops, k) WITH (layout = inline);
INSERT INTO quick SELECT ARRAY[i, i]::vector, i % 10 FROM generate_series(1, 300) i;
SELECT count(*) FROM (SELECT k FROM quick WHERE k = 7 ORDER BY v <-> '[1,2]' LIMIT 50) x;
DROP TABLE quick;

-- Row level security: what a policy hides does not come, and the LIMIT is filled with what it shows.
CREATE TABLE guarded (id int, tenant int, note text, v vector(2));
INSERT INTO guarded SELECT i, i % 40, 'note ' || i, ARRAY[i, i % 10]::vector FROM generate_series(1, 1200) i;
CREATE INDEX ON guarded USING hnsw (v vector_l2_ops, tenant, note) WITH (layout = inline);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON guarded USING (tenant = current_setting('app.tenant')::int);
CREATE ROLE regress_hnsw_tenant;
GRANT SELECT ON guarded TO regress_hnsw_tenant;
SET app.tenant = 7;
SET ROLE regress_hnsw_tenant;
EXPLAIN (COSTS OFF) SELECT id FROM guarded ORDER BY v <-> '[1,2]' LIMIT 20;
SELECT count(*), bool_and(tenant = 7) FROM (SELECT tenant FROM guarded ORDER BY v <-> '[1,2]' LIMIT 20) x;
SELECT count(*), bool_and(tenant = 7) FROM (SELECT tenant FROM guarded ORDER BY v <-> '[1,2]') x;
SELECT count(*) FROM (SELECT tenant FROM guarded WHERE note = 'note 8' ORDER BY v <-> '[1,2]' LIMIT 5) x;
SELECT id FROM guarded WHERE note = 'note 7' ORDER BY v <-> '[1,2]' LIMIT 5;
RESET ROLE;
DROP TABLE guarded;
DROP ROLE regress_hnsw_tenant;

-- What cannot be.
CREATE TABLE wrong (v vector(3), s sparsevec(3), k int, k2 int, k3 int, k4 int, k5 int, k6 int, k7 int, k8 int, k9 int, j jsonb, w vector(3), iv interval);
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE code text; message text; hint text;
BEGIN
  EXECUTE statement;
  RETURN 'done';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  RETURN concat_ws(' / ', code, message, NULLIF(hint, ''));
END $$;
SELECT try('CREATE INDEX ON wrong USING hnsw (v vector_l2_ops, k) WITH (layout = pgvector)');
SELECT try('CREATE INDEX ON wrong USING hnsw (k, v vector_l2_ops) WITH (layout = inline)');
SELECT try('CREATE INDEX ON wrong USING hnsw (k) WITH (layout = inline)');
SELECT try('CREATE INDEX ON wrong USING hnsw (v vector_l2_ops, w vector_l2_ops) WITH (layout = inline)');
SELECT try('CREATE INDEX ON wrong USING hnsw (v vector_l2_ops, j) WITH (layout = inline)');
SELECT try('CREATE INDEX ON wrong USING hnsw (v vector_l2_ops, iv) WITH (layout = inline)');
SELECT try('CREATE INDEX ON wrong USING hnsw (v vector_l1_ops, k) WITH (layout = auto)');
SELECT try('CREATE INDEX ON wrong USING hnsw (s sparsevec_l2_ops, k)');
SELECT try('CREATE INDEX ON wrong USING hnsw (v vector_l2_ops, k, k2, k3, k4, k5, k6, k7, k8, k9) WITH (layout = inline)');
SET ivfflat.default_layout = pgvector;
SELECT try('CREATE INDEX ON wrong USING ivfflat (v vector_l2_ops, k)');
RESET ivfflat.default_layout;
-- with filter columns, auto is inline
CREATE INDEX a ON wrong USING hnsw (v vector_l2_ops, k) WITH (layout = auto);
CREATE INDEX a2 ON wrong USING hnsw (v vector_l2_ops, k);

-- Runs of several columns: how many there are is a storage parameter, which the next rebuild follows.
SELECT try('CREATE INDEX ON t USING hnsw (v vector_l2_ops, b) WITH (layout = inline, runs = 0)');
SELECT try('CREATE INDEX ON t USING hnsw (v vector_l2_ops, b) WITH (layout = inline, runs = 9)');
CREATE FUNCTION runs() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT concat_ws(' ', vector_index_info('s')->>'runs', vector_index_info('s')->'options'->>'runs', reloptions) FROM pg_class WHERE oid = 's'::regclass);
END $$;
-- by whichever column, what a sequential scan finds; with rows that come and go
CREATE FUNCTION several() RETURNS SETOF text LANGUAGE sql AS $$
  SELECT d FROM unnest('{b AND i2 = 7,b IS NULL AND i2 BETWEEN 10 AND 12,i2 = 8 AND i4 < 30,i4 = 8,i2 > 48,i2 IS NULL,i4 IS NULL AND i2 IS NULL,i4 = 33 AND i2 = 3,NOT b AND i4 > 60}'::text[]) c, differs(c, 40) d
  WHERE d IS NOT NULL $$;
DROP INDEX i3;
SET hnsw.ef_search = 200;
CREATE INDEX s ON t USING hnsw (v vector_l2_ops, b, i2, i4) WITH (layout = inline);
SELECT runs();
SELECT several();
ALTER INDEX s SET (runs = 3);
SELECT runs();
REINDEX INDEX s;
SELECT runs(), pg_get_indexdef('s'::regclass);
SELECT several();
INSERT INTO t (id, v, b, i2, i4) SELECT i, ARRAY[i % 91, i % 79, i % 73]::vector, i % 2 = 0, i % 50, i % 70 FROM generate_series(5001, 5500) i;
SELECT several();
DELETE FROM t WHERE id % 3 = 1;
VACUUM t;
INSERT INTO t (id, v, b, i2, i4) SELECT i, ARRAY[i % 71, i % 79, i % 73]::vector, i % 2 = 0, i % 50, i % 70 FROM generate_series(6001, 6300) i;
SELECT several();
SELECT * FROM hnsw_check('s', true);
ALTER INDEX s SET (runs = 1);
ALTER INDEX s SET (runs = 8);
ALTER INDEX s RESET (runs);
RESET hnsw.ef_search;
DROP TABLE wrong, t, asked, alike, other;
DROP FUNCTION try(text);
DROP FUNCTION runs();
DROP FUNCTION several();
DROP FUNCTION all_that_differ(text);
DROP FUNCTION differs(text, int, vector);
DROP TYPE mood;
