-- What hnsw refuses, and in which words: options, settings, limits, kinds of index that it is not.
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

-- Storage parameters.
CREATE TABLE t (v vector(3), w vector, b bit(3), vb varbit, h halfvec(3), s sparsevec(3), n int);
CREATE INDEX ON t USING hnsw (v vector_l2_ops) WITH (m = 1);
CREATE INDEX ON t USING hnsw (v vector_l2_ops) WITH (m = 101);
CREATE INDEX ON t USING hnsw (v vector_l2_ops) WITH (m = x);
CREATE INDEX ON t USING hnsw (v vector_l2_ops) WITH (ef_construction = 3);
CREATE INDEX ON t USING hnsw (v vector_l2_ops) WITH (ef_construction = 1001);
CREATE INDEX ON t USING hnsw (v vector_l2_ops) WITH (m = 33);
CREATE INDEX ON t USING hnsw (v vector_l2_ops) WITH (m = 16, ef_construction = 31);
CREATE INDEX ON t USING hnsw (v vector_l2_ops) WITH (lists = 10);
CREATE INDEX ON t USING hnsw (v vector_l2_ops) WITH (fillfactor = 50);
CREATE INDEX smallest ON t USING hnsw (v vector_l2_ops) WITH (m = 2, ef_construction = 4);
CREATE INDEX largest ON t USING hnsw (v vector_l2_ops) WITH (m = 100, ef_construction = 1000);
SELECT relname, reloptions FROM pg_class WHERE relname IN ('smallest', 'largest') ORDER BY 1;
ALTER INDEX smallest SET (m = 1);
ALTER INDEX smallest SET (m = 4, ef_construction = 8);
REINDEX INDEX smallest;
ALTER INDEX smallest SET (m = 8);
SELECT sqlstate_of('REINDEX INDEX smallest');
ALTER INDEX smallest RESET (m, ef_construction);
REINDEX INDEX smallest;
SELECT reloptions FROM pg_class WHERE relname = 'smallest';
DROP INDEX smallest, largest;

-- Not these kinds of index.
CREATE INDEX ON t USING hnsw (v);
CREATE INDEX ON t USING hnsw (n);
CREATE INDEX ON t USING hnsw (n vector_l2_ops);
CREATE INDEX ON t USING hnsw (v halfvec_l2_ops);
CREATE INDEX ON t USING hnsw (v vector_ops);
CREATE UNIQUE INDEX ON t USING hnsw (v vector_l2_ops);
CREATE INDEX ON t USING hnsw (v vector_l2_ops, h halfvec_l2_ops);
CREATE INDEX ON t USING hnsw (v vector_l2_ops) INCLUDE (n) WITH (layout = pgvector);
CREATE INDEX ON t USING hnsw (v vector_l2_ops DESC);
CREATE INDEX ON t USING hnsw (v vector_l2_ops NULLS FIRST);
SELECT left(sqlstate_of('ALTER TABLE t ADD EXCLUDE USING hnsw (v vector_l2_ops WITH <->)'), 5);
CREATE INDEX ON t USING hnsw (vb bit_hamming_ops);

-- Dimensions must be known, and the same for every row.
CREATE INDEX ON t USING hnsw (w vector_l2_ops);
INSERT INTO t (w) VALUES ('[1,2,3]'), ('[1,2]');
SELECT sqlstate_of('CREATE INDEX ON t USING hnsw ((w::vector(3)) vector_l2_ops)');
CREATE INDEX ON t USING hnsw ((w::vector(3)) vector_l2_ops) WHERE vector_dims(w) = 3;
INSERT INTO t (w) VALUES ('[4,5]'), ('[4,5,6]');
SET enable_seqscan = off;
SELECT w FROM t WHERE vector_dims(w) = 3 ORDER BY w::vector(3) <-> '[4,5,6]';
SELECT w FROM t WHERE vector_dims(w) = 3 ORDER BY w::vector(3) <-> '[4,5]';
RESET enable_seqscan;
DROP TABLE t;

-- Queries of other dimensions.
CREATE TABLE t (v vector(3));
INSERT INTO t VALUES ('[1,2,3]'), ('[4,5,6]');
CREATE INDEX ON t USING hnsw (v vector_l2_ops);
SET enable_seqscan = off;
SELECT sqlstate_of($$SELECT * FROM t ORDER BY v <-> '[1,2]'$$);
SELECT sqlstate_of($$SELECT * FROM t ORDER BY v <-> '[1,2,3,4]' LIMIT 1$$);
INSERT INTO t VALUES ('[1,2]');
RESET enable_seqscan;
DROP TABLE t;

-- The largest that fit, and one more.
CREATE FUNCTION try(kind text, opclass text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TABLE limited (v %s)', kind);
  EXECUTE format('CREATE INDEX ON limited USING hnsw (v %s)', opclass);
  DROP TABLE limited;
  RETURN kind || ' is indexed';
EXCEPTION WHEN OTHERS THEN
  RETURN kind || ': ' || SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT try(kind, class) FROM (VALUES ('vector(2000)', 'vector_l2_ops'), ('vector(2001)', 'vector_l2_ops'), ('vector(2001)', 'vector_cosine_ops'), ('vector(1)', 'vector_cosine_ops'), ('vector(1)', 'vector_l2_ops'),
  ('halfvec(4000)', 'halfvec_l2_ops'), ('halfvec(4001)', 'halfvec_ip_ops'), ('halfvec(1)', 'halfvec_cosine_ops'), ('bit(64000)', 'bit_hamming_ops'), ('bit(64001)', 'bit_jaccard_ops'), ('bit(1)', 'bit_jaccard_ops'),
  ('sparsevec(1000000000)', 'sparsevec_l2_ops'), ('vector', 'vector_ip_ops'), ('halfvec', 'halfvec_l1_ops'), ('sparsevec', 'sparsevec_l1_ops'), ('varbit', 'bit_hamming_ops'), ('bit', 'bit_hamming_ops')) AS t(kind, class);
CREATE TABLE t (s sparsevec(2000));
CREATE INDEX ON t USING hnsw (s sparsevec_l2_ops);
INSERT INTO t SELECT ('{' || string_agg(i || ':1', ',') || '}/2000')::sparsevec FROM generate_series(1, 1000) i;
INSERT INTO t SELECT ('{' || string_agg(i || ':1', ',') || '}/2000')::sparsevec FROM generate_series(1, 1001) i;
SELECT sqlstate_of($$INSERT INTO t SELECT ('{' || string_agg(i || ':1', ',') || '}/2000')::sparsevec FROM generate_series(1, 1001) i$$);
SELECT count(*) FROM t;
DROP INDEX t_s_idx;
INSERT INTO t SELECT ('{' || string_agg(i || ':1', ',') || '}/2000')::sparsevec FROM generate_series(1, 1001) i;
CREATE INDEX ON t USING hnsw (s sparsevec_l2_ops);
DROP TABLE t;

-- Rows as large as the limits allow.
CREATE TABLE t (v vector(2000), h halfvec(4000), b bit(64000));
CREATE INDEX ON t USING hnsw (v vector_l2_ops);
CREATE INDEX ON t USING hnsw (h halfvec_l2_ops);
CREATE INDEX ON t USING hnsw (b bit_hamming_ops);
INSERT INTO t SELECT array_fill(i, ARRAY[2000])::vector, array_fill(i, ARRAY[4000])::halfvec, repeat(right('0000000' || (i::bit(7))::text, 8), 8000)::bit(64000) FROM generate_series(1, 6) i;
REINDEX TABLE t;
INSERT INTO t SELECT array_fill(i, ARRAY[2000])::vector, array_fill(i, ARRAY[4000])::halfvec, repeat(right('0000000' || (i::bit(7))::text, 8), 8000)::bit(64000) FROM generate_series(7, 9) i;
SET enable_seqscan = off;
SELECT subvector(v, 1, 1) FROM t ORDER BY v <-> array_fill(7.2, ARRAY[2000])::vector LIMIT 3;
SELECT subvector(h, 1, 1) FROM t ORDER BY h <-> array_fill(3.2, ARRAY[4000])::halfvec LIMIT 3;
SELECT substring(b for 8) FROM t ORDER BY b <~> repeat('00000111', 8000)::bit(64000) LIMIT 1;
RESET enable_seqscan;
DROP TABLE t;

-- Settings.
SELECT name, setting, unit, vartype, min_val, max_val, enumvals, boot_val, context, short_desc, extra_desc FROM pg_settings WHERE name LIKE 'hnsw.%' ORDER BY name;
SET hnsw.ef_search = 0;
SET hnsw.ef_search = 1001;
SET hnsw.ef_search = 'x';
SET hnsw.ef_search = 1;
SET hnsw.ef_search = 1000;
RESET hnsw.ef_search;
SET hnsw.iterative_scan = on;
SET hnsw.iterative_scan = relaxed_order;
SET hnsw.iterative_scan = STRICT_ORDER;
SHOW hnsw.iterative_scan;
RESET hnsw.iterative_scan;
SET hnsw.max_scan_tuples = 0;
SET hnsw.max_scan_tuples = -1;
SET hnsw.max_scan_tuples = 2147483648;
SET hnsw.max_scan_tuples = 2147483647;
RESET hnsw.max_scan_tuples;
SET hnsw.scan_mem_multiplier = 0;
SET hnsw.scan_mem_multiplier = 0.99;
SET hnsw.scan_mem_multiplier = 1001;
SET hnsw.scan_mem_multiplier = 1.5;
SHOW hnsw.scan_mem_multiplier;
RESET hnsw.scan_mem_multiplier;

-- What the access method says of itself.
CREATE TABLE t (v vector(3));
CREATE INDEX i ON t USING hnsw (v vector_l2_ops);
SELECT p, pg_indexam_has_property(a.oid, p) FROM pg_am a, unnest(ARRAY['can_order', 'can_unique', 'can_multi_col', 'can_exclude', 'can_include']) p WHERE amname = 'hnsw' ORDER BY p;
SELECT p, pg_index_has_property('i'::regclass, p) FROM unnest(ARRAY['clusterable', 'index_scan', 'bitmap_scan', 'backward_scan']) p ORDER BY p;
SELECT p, pg_index_column_has_property('i'::regclass, 1, p) FROM unnest(ARRAY['asc', 'orderable', 'distance_orderable', 'returnable', 'search_array', 'search_nulls']) p ORDER BY p;
CLUSTER t USING i;
SELECT amvalidate(oid) FROM pg_opclass WHERE opcmethod = (SELECT oid FROM pg_am WHERE amname = 'hnsw') ORDER BY opcname;
DROP TABLE t;
DROP FUNCTION sqlstate_of(text), try(text, text);
