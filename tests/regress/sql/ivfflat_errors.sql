-- What ivfflat refuses, and in which words: options, settings, limits, kinds of index that it is not.
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

-- Storage parameters. An index made with fewer rows than lists draws a NOTICE, with no rows at all too.
CREATE TABLE t (v vector(3), w vector, b bit(3), vb varbit, h halfvec(3), s sparsevec(3), n int);
CREATE INDEX ON t USING ivfflat (v vector_l2_ops) WITH (lists = 0);
CREATE INDEX ON t USING ivfflat (v vector_l2_ops) WITH (lists = 32769);
CREATE INDEX ON t USING ivfflat (v vector_l2_ops) WITH (lists = x);
CREATE INDEX ON t USING ivfflat (v vector_l2_ops) WITH (m = 10);
CREATE INDEX smallest ON t USING ivfflat (v vector_l2_ops) WITH (lists = 1);
SELECT reloptions FROM pg_class WHERE relname = 'smallest';
INSERT INTO t (v) SELECT ARRAY[i, i, i]::vector FROM generate_series(1, 9) i;
CREATE INDEX few ON t USING ivfflat (v vector_l2_ops) WITH (lists = 10);
CREATE INDEX enough ON t USING ivfflat (v vector_l2_ops) WITH (lists = 9);
ALTER INDEX enough SET (lists = 0);
ALTER INDEX enough SET (lists = 3);
REINDEX INDEX enough;
ALTER INDEX enough RESET (lists);
REINDEX INDEX enough;
SELECT reloptions FROM pg_class WHERE relname = 'enough';
DROP INDEX smallest, few, enough;

-- More lists than maintenance_work_mem has room for.
SET maintenance_work_mem = '1MB';
CREATE TABLE big (v vector(2000));
CREATE INDEX ON big USING ivfflat (v vector_l2_ops) WITH (lists = 10000);
SELECT sqlstate_of('CREATE INDEX ON big USING ivfflat (v vector_l2_ops) WITH (lists = 10000)');
RESET maintenance_work_mem;
DROP TABLE big;

-- Not these kinds of index.
CREATE INDEX ON t USING ivfflat (n);
CREATE INDEX ON t USING ivfflat (n vector_l2_ops);
CREATE INDEX ON t USING ivfflat (v halfvec_l2_ops);
CREATE INDEX ON t USING ivfflat (v vector_l1_ops);
CREATE INDEX ON t USING ivfflat (s sparsevec_l2_ops);
CREATE INDEX ON t USING ivfflat (b bit_jaccard_ops);
CREATE INDEX ON t USING ivfflat (s);
CREATE UNIQUE INDEX ON t USING ivfflat (v vector_l2_ops);
CREATE INDEX ON t USING ivfflat (v vector_l2_ops, h halfvec_l2_ops);
CREATE INDEX ON t USING ivfflat (v vector_l2_ops) INCLUDE (n) WITH (layout = pgvector);
CREATE INDEX ON t USING ivfflat (v vector_l2_ops DESC);
CREATE INDEX ON t USING ivfflat (v vector_l2_ops NULLS FIRST);
CREATE INDEX ON t USING ivfflat (vb bit_hamming_ops);

-- The default operator class of vector is the one for <->.
CREATE INDEX plain ON t USING ivfflat (v) WITH (lists = 1);
SELECT opcname FROM pg_opclass o JOIN pg_index i ON indclass[0] = o.oid WHERE indexrelid = 'plain'::regclass;
DROP INDEX plain;

-- Dimensions must be known, and the same for every row.
CREATE INDEX ON t USING ivfflat (w vector_l2_ops);
INSERT INTO t (w) VALUES ('[1,2,3]'), ('[1,2]');
SELECT sqlstate_of('CREATE INDEX ON t USING ivfflat ((w::vector(3)) vector_l2_ops) WITH (lists = 1)');
CREATE INDEX ON t USING ivfflat ((w::vector(3)) vector_l2_ops) WITH (lists = 1) WHERE vector_dims(w) = 3;
INSERT INTO t (w) VALUES ('[4,5]'), ('[4,5,6]');
SET enable_seqscan = off;
SELECT w FROM t WHERE vector_dims(w) = 3 ORDER BY w::vector(3) <-> '[4,5,6]';
SELECT w FROM t WHERE vector_dims(w) = 3 ORDER BY w::vector(3) <-> '[4,5]';
RESET enable_seqscan;
DROP TABLE t;

-- Queries and rows of other dimensions.
CREATE TABLE t (v vector(3));
INSERT INTO t VALUES ('[1,2,3]'), ('[4,5,6]');
CREATE INDEX ON t USING ivfflat (v vector_l2_ops) WITH (lists = 1);
SET enable_seqscan = off;
SELECT sqlstate_of($$SELECT * FROM t ORDER BY v <-> '[1,2]'$$);
SELECT sqlstate_of($$SELECT * FROM t ORDER BY v <-> '[1,2,3,4]' LIMIT 1$$);
INSERT INTO t VALUES ('[1,2]');
RESET enable_seqscan;
DROP TABLE t;

-- The largest that fit, and one more.
SET client_min_messages = warning;
CREATE FUNCTION try(kind text, opclass text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TABLE limited (v %s)', kind);
  EXECUTE format('CREATE INDEX ON limited USING ivfflat (v %s) WITH (lists = 2)', opclass);
  DROP TABLE limited;
  RETURN kind || ' is indexed';
EXCEPTION WHEN OTHERS THEN
  RETURN kind || ': ' || SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT try(kind, class) FROM (VALUES ('vector(2000)', 'vector_l2_ops'), ('vector(2001)', 'vector_l2_ops'), ('vector(2001)', 'vector_cosine_ops'), ('vector(1)', 'vector_cosine_ops'), ('vector(1)', 'vector_ip_ops'), ('vector(1)', 'vector_l2_ops'),
  ('halfvec(4000)', 'halfvec_l2_ops'), ('halfvec(4001)', 'halfvec_ip_ops'), ('halfvec(1)', 'halfvec_cosine_ops'), ('halfvec(1)', 'halfvec_ip_ops'), ('halfvec(1)', 'halfvec_l2_ops'), ('bit(64000)', 'bit_hamming_ops'), ('bit(64001)', 'bit_hamming_ops'),
  ('bit(1)', 'bit_hamming_ops'), ('vector', 'vector_ip_ops'), ('halfvec', 'halfvec_l2_ops'), ('varbit', 'bit_hamming_ops'), ('bit', 'bit_hamming_ops')) AS t(kind, class);

-- Rows as large as the limits allow.
CREATE TABLE t (v vector(2000), h halfvec(4000), b bit(64000));
CREATE INDEX ON t USING ivfflat (v vector_l2_ops) WITH (lists = 3);
CREATE INDEX ON t USING ivfflat (h halfvec_l2_ops) WITH (lists = 3);
CREATE INDEX ON t USING ivfflat (b bit_hamming_ops) WITH (lists = 3);
INSERT INTO t SELECT array_fill(i, ARRAY[2000])::vector, array_fill(i, ARRAY[4000])::halfvec, repeat(right('0000000' || (i::bit(7))::text, 8), 8000)::bit(64000) FROM generate_series(1, 6) i;
REINDEX TABLE t;
INSERT INTO t SELECT array_fill(i, ARRAY[2000])::vector, array_fill(i, ARRAY[4000])::halfvec, repeat(right('0000000' || (i::bit(7))::text, 8), 8000)::bit(64000) FROM generate_series(7, 9) i;
SET enable_seqscan = off;
SET ivfflat.probes = 3;
SELECT subvector(v, 1, 1) FROM t ORDER BY v <-> array_fill(7.2, ARRAY[2000])::vector LIMIT 3;
SELECT subvector(h, 1, 1) FROM t ORDER BY h <-> array_fill(3.2, ARRAY[4000])::halfvec LIMIT 3;
SELECT substring(b for 8) FROM t ORDER BY b <~> repeat('00000111', 8000)::bit(64000) LIMIT 1;
RESET ivfflat.probes;
RESET enable_seqscan;
RESET client_min_messages;
DROP TABLE t;

-- Settings.
SELECT name, setting, unit, vartype, min_val, max_val, enumvals, boot_val, context, short_desc, extra_desc FROM pg_settings WHERE name LIKE 'ivfflat.%' ORDER BY name;
SET ivfflat.probes = 0;
SET ivfflat.probes = 32769;
SET ivfflat.probes = 'x';
SET ivfflat.probes = 32768;
RESET ivfflat.probes;
SET ivfflat.iterative_scan = on;
SET ivfflat.iterative_scan = strict_order;
SET ivfflat.iterative_scan = Relaxed_Order;
SHOW ivfflat.iterative_scan;
RESET ivfflat.iterative_scan;
SET ivfflat.max_probes = 0;
SET ivfflat.max_probes = 32769;
SET ivfflat.max_probes = 1;
RESET ivfflat.max_probes;

-- What the access method says of itself.
CREATE TABLE t (v vector(3));
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops) WITH (lists = 1);
SELECT p, pg_indexam_has_property(a.oid, p) FROM pg_am a, unnest(ARRAY['can_order', 'can_unique', 'can_multi_col', 'can_exclude', 'can_include']) p WHERE amname = 'ivfflat' ORDER BY p;
SELECT p, pg_index_has_property('i'::regclass, p) FROM unnest(ARRAY['clusterable', 'index_scan', 'bitmap_scan', 'backward_scan']) p ORDER BY p;
SELECT p, pg_index_column_has_property('i'::regclass, 1, p) FROM unnest(ARRAY['asc', 'orderable', 'distance_orderable', 'returnable', 'search_array', 'search_nulls']) p ORDER BY p;
SELECT amvalidate(oid) FROM pg_opclass WHERE opcmethod = (SELECT oid FROM pg_am WHERE amname = 'ivfflat') ORDER BY opcname;
DROP TABLE t;
DROP FUNCTION sqlstate_of(text), try(text, text);
