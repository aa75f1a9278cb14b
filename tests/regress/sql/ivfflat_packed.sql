-- Packed lists of ivfflat: which index gets them, what they hold, and that scans answer like the table.
\pset format unaligned
\pset tuples_only on
\set VERBOSITY default
SET client_min_messages = warning;
SET ivfflat.build_seed = 7;

-- The parameter and the setting.
CREATE TABLE t (id int, v vector(3));
INSERT INTO t SELECT i, ARRAY[i, i % 7, -i]::vector FROM generate_series(1, 200) i;
SHOW ivfflat.default_layout;
SET ivfflat.default_layout = 'inline';
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops) WITH (layout = inline);
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops) WITH (layout = packed, lists = 5);
SELECT pg_get_indexdef('i'::regclass), reloptions FROM pg_class WHERE oid = 'i'::regclass;
SELECT name, value FROM vector_index_facts('i') WHERE name IN ('layout', 'lists', 'rows', 'pages.unused');

-- An index keeps its pages until it is rebuilt, and says so when somebody asks for others.
SET client_min_messages = notice;
ALTER INDEX i SET (layout = packed);
ALTER INDEX i SET (layout = pgvector);
REINDEX INDEX i;
ALTER INDEX i SET (layout = packed);
SET client_min_messages = warning;
REINDEX INDEX CONCURRENTLY i;
SELECT value FROM vector_index_facts('i') WHERE name = 'layout';
DROP INDEX i;
SET ivfflat.default_layout = 'packed';
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops);
SELECT value FROM vector_index_facts('i') WHERE name = 'layout';
SET ivfflat.default_layout = 'auto';
REINDEX INDEX i;
-- too few dimensions
SELECT value FROM vector_index_facts('i') WHERE name = 'layout';
RESET ivfflat.default_layout;
DROP TABLE t;

-- What has no packed lists: asked for by name an error, by the setting not.
CREATE TABLE t (b bit(3));
CREATE INDEX ON t USING ivfflat (b bit_hamming_ops) WITH (layout = packed);
SET ivfflat.default_layout = 'packed';
CREATE INDEX i ON t USING ivfflat (b bit_hamming_ops);
RESET ivfflat.default_layout;
SELECT value FROM vector_index_facts('i') WHERE name = 'layout';
DROP TABLE t;

-- Dimensions.
CREATE FUNCTION try(kind text, class text, layout text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  advice text;
BEGIN
  EXECUTE format('CREATE TEMP TABLE dims (v %s) ON COMMIT DROP', kind);
  EXECUTE format('CREATE INDEX ON dims USING ivfflat (v %s) WITH (layout = %s, lists = 1)', class, layout);
  DROP TABLE dims;
  RETURN 'ok';
EXCEPTION WHEN others THEN
  GET STACKED DIAGNOSTICS advice = PG_EXCEPTION_HINT;
  RETURN sqlstate || ' ' || sqlerrm || coalesce(' | ' || nullif(advice, ''), '');
END $$;
SELECT kind, class, layout, try(kind, class, layout) FROM
  (VALUES (1, 'vector(2001)', 'vector_l2_ops'), (2, 'vector(16000)', 'vector_cosine_ops'), (3, 'halfvec(4001)', 'halfvec_ip_ops'),
    (4, 'halfvec(16000)', 'halfvec_cosine_ops'), (5, 'bit(64001)', 'bit_hamming_ops')) AS kinds (n, kind, class),
  (VALUES ('auto'), ('packed'), ('pgvector')) AS layouts (layout) ORDER BY n, layout;

-- An index over all lists gives every row once, and the nearest are those of the table.
CREATE FUNCTION numbers(n int, dims int) RETURNS real[] IMMUTABLE LANGUAGE sql AS
  $$ SELECT array_agg(((n * 7919 + d * 104729 + n * d) % 1009) / 100.0 - 5.0) FROM generate_series(1, dims) d $$;
CREATE FUNCTION compare(kind text, class text, operator text, dims int, lists int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  query text := numbers(0, dims)::vector::text;
  by_table int[];
  by_index int[];
  line text;
  wanted int;
BEGIN
  EXECUTE format('CREATE TEMP TABLE c (id serial, v %s(%s)) ON COMMIT DROP', kind, dims);
  EXECUTE format('INSERT INTO c (v) SELECT numbers(i, %s)::%s FROM generate_series(1, 150) i', dims, kind);
  INSERT INTO c (v) VALUES (NULL), (NULL);
  EXECUTE format('CREATE INDEX ON c USING ivfflat (v %s) WITH (layout = packed, lists = %s)', class, lists);
  -- half of the rows are added, a part goes
  EXECUTE format('INSERT INTO c (v) SELECT numbers(i, %s)::%s FROM generate_series(151, 300) i', dims, kind);
  DELETE FROM c WHERE id % 5 = 0;
  EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM c WHERE v IS NOT NULL ORDER BY v %s %L, id) x', operator, query) INTO by_table;
  SET LOCAL enable_seqscan = off;
  EXECUTE format('SET LOCAL ivfflat.probes = %s', lists);
  EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM c ORDER BY v %s %L) x', operator, query) INTO by_index;
  SELECT count(*) INTO wanted FROM unnest(by_table[1:20]) x WHERE x = ANY (by_index[1:25]);
  FOR line IN EXECUTE format('EXPLAIN (COSTS OFF) SELECT v FROM c ORDER BY v %s %L LIMIT 3', operator, query) LOOP
    IF line LIKE '%Index Scan%' THEN
      DROP TABLE c;
      RETURN CASE
        WHEN (SELECT array_agg(x ORDER BY x) FROM unnest(by_table) x) IS DISTINCT FROM (SELECT array_agg(x ORDER BY x) FROM unnest(by_index) x) THEN 'other rows'
        WHEN wanted < 18 THEN 'other neighbours'
        ELSE 'equal' END;
    END IF;
  END LOOP;
  RETURN 'no index scan';
END $$;
SELECT class, operator, dims, compare(kind, class, operator, dims, 3)
FROM (VALUES ('vector', 'vector_l2_ops', '<->'), ('vector', 'vector_ip_ops', '<#>'), ('vector', 'vector_cosine_ops', '<=>'),
    ('halfvec', 'halfvec_l2_ops', '<->'), ('halfvec', 'halfvec_ip_ops', '<#>'), ('halfvec', 'halfvec_cosine_ops', '<=>')) AS kinds (kind, class, operator),
  (VALUES (1), (3), (100), (1000), (2500)) AS dimensions (dims) WHERE dims > 1 OR operator = '<->' ORDER BY class, dims;
SELECT compare('vector', 'vector_l2_ops', '<->', 16000, 2), compare('halfvec', 'halfvec_cosine_ops', '<=>', 16000, 2);

-- Queries without a value or a direction; rows without one; other dimensions; scans that go on.
CREATE TABLE t (id int, v vector(3));
CREATE INDEX i ON t USING ivfflat (v vector_cosine_ops) WITH (layout = packed, lists = 4);
SET enable_seqscan = off;
SELECT count(*) FROM (SELECT * FROM t ORDER BY v <=> '[1,2,3]' LIMIT 5) x;
INSERT INTO t SELECT i, ARRAY[i % 5, i % 3, i % 2]::vector FROM generate_series(1, 60) i;
SET ivfflat.probes = 4;
SELECT count(*), count(*) FILTER (WHERE v = '[0,0,0]') FROM (SELECT v FROM t ORDER BY v <=> '[1,2,3]') x;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <=> '[0,0,0]') x;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <=> NULL) x;
SELECT v FROM t ORDER BY v <=> '[1,2]' LIMIT 1;
DROP INDEX i;
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops) WITH (layout = packed, lists = 4);
SET ivfflat.probes = 1;
SET ivfflat.iterative_scan = relaxed_order;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <-> '[1,2,3]') x;
SET ivfflat.max_probes = 2;
SELECT count(*) < 60 FROM (SELECT v FROM t ORDER BY v <-> '[1,2,3]') x;
RESET ivfflat.max_probes;
RESET ivfflat.iterative_scan;

-- VACUUM gives room back, checks find nothing.
DELETE FROM t WHERE id % 2 = 0;
VACUUM t;
SELECT * FROM ivfflat_check('i', true);
INSERT INTO t SELECT i, ARRAY[i % 5, i % 3, i % 2]::vector FROM generate_series(1, 30) i;
SELECT * FROM ivfflat_check('i', true);
SET ivfflat.probes = 4;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <-> '[1,2,3]') x;
DROP TABLE t;

-- Equal rows, in number.
CREATE TABLE t (id int, v vector(20));
INSERT INTO t SELECT i, array_fill(1, ARRAY[20])::vector FROM generate_series(1, 3000) i;
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops) WITH (layout = packed, lists = 3);
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <-> array_fill(2, ARRAY[20])::vector) x;
DELETE FROM t WHERE id > 10;
VACUUM t;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <-> array_fill(2, ARRAY[20])::vector) x;
SELECT * FROM ivfflat_check('i', true);
DROP TABLE t;

-- Lists and probes that nobody has named: what the build finds out.
CREATE TABLE t (id int, v vector(20));
INSERT INTO t SELECT i, numbers(i, 20)::vector FROM generate_series(1, 2500) i;
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops) WITH (layout = packed);
SELECT name, value::int BETWEEN 2 AND 100 FROM vector_index_facts('i') WHERE name IN ('lists', 'probes');
SELECT name, value FROM vector_index_facts('i') WHERE name LIKE 'options.%';
SET ivfflat.probes = 1;
SELECT count(*) AS one FROM (SELECT v FROM t ORDER BY v <-> numbers(3, 20)::vector LIMIT 1000) x \gset
RESET ivfflat.probes;
SELECT count(*) > :one FROM (SELECT v FROM t ORDER BY v <-> numbers(3, 20)::vector LIMIT 1000) x;
DROP TABLE t;

-- Many lists: codes of their centres find those of a query, and of a new row.
CREATE TABLE t (id int, v vector(256));
INSERT INTO t SELECT i, numbers(i, 256)::vector FROM generate_series(1, 950) i;
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops) WITH (layout = packed, lists = 900);
SELECT * FROM ivfflat_check('i', true);
INSERT INTO t SELECT i, numbers(i, 256)::vector FROM generate_series(951, 1009) i;
SET ivfflat.probes = 10;
SELECT count(*) FROM generate_series(1, 1009, 7) i
  WHERE (SELECT v = numbers(i, 256)::vector FROM t ORDER BY v <-> numbers(i, 256)::vector LIMIT 1);
RESET ivfflat.probes;
SELECT * FROM ivfflat_check('i', true);
DROP TABLE t;

-- Unlogged and temporary tables.
SET ivfflat.probes = 2;
CREATE UNLOGGED TABLE t (v halfvec(30));
CREATE INDEX i ON t USING ivfflat (v halfvec_ip_ops) WITH (layout = packed, lists = 2);
INSERT INTO t SELECT numbers(i, 30)::halfvec FROM generate_series(1, 50) i;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <#> numbers(3, 30)::vector::halfvec) x;
TRUNCATE t;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <#> numbers(3, 30)::vector::halfvec) x;
DROP TABLE t;
CREATE TEMP TABLE t (v vector(30));
CREATE INDEX i ON t USING ivfflat (v vector_ip_ops) WITH (layout = packed, lists = 2);
INSERT INTO t SELECT numbers(i, 30)::vector FROM generate_series(1, 50) i;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <#> numbers(3, 30)::vector) x;
SELECT * FROM ivfflat_check('i', true);
DROP TABLE t;
-- Lists by the rows that there are, whether ANALYZE has counted them or not.
CREATE TABLE t (v vector(100), n int);
CREATE INDEX before ON t USING ivfflat (v vector_l2_ops);
INSERT INTO t SELECT numbers(i, 100)::vector, i FROM generate_series(1, 1000) i;
CREATE INDEX after ON t USING ivfflat (v vector_l2_ops);
CREATE INDEX part ON t USING ivfflat (v vector_l2_ops) WHERE n <= 200;
SELECT i, vector_index_info(i)->>'lists' AS lists FROM unnest(ARRAY['before', 'after', 'part']) i;
TRUNCATE t;
INSERT INTO t SELECT numbers(i, 100)::vector, i FROM generate_series(1, 100) i;
SELECT i, vector_index_info(i)->>'lists' AS lists FROM unnest(ARRAY['before', 'after', 'part']) i;
DROP TABLE t;
DROP FUNCTION compare, try, numbers;
