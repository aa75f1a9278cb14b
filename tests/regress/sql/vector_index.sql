-- What an index consists of, how good its answers are, and what to do about a column: the functions for people.
\pset format unaligned
\pset tuples_only on
SET hnsw.default_layout = pgvector;
SET ivfflat.default_layout = pgvector;
CREATE TABLE items (id int, v vector(4), h halfvec(4), s sparsevec(30), b bit(64), w vector);
INSERT INTO items SELECT i, ARRAY[i % 17, i % 23, i % 29, i % 31]::vector, ARRAY[i % 17, i % 23, i % 29, i % 31]::halfvec,
  format('{%s:%s,%s:1}/30', i % 14 + 1, i % 13 + 1, i % 15 + 16)::sparsevec, (i * 7919::bigint * 7919)::bit(64), ARRAY[i, 1]::vector FROM generate_series(1, 600) i;
INSERT INTO items (id) VALUES (601), (602);
INSERT INTO items SELECT i, '[0,0,0,0]', '[0,0,0,0]', '{}/30', 0::bit(64) FROM generate_series(603, 605) i;
CREATE INDEX v_l2 ON items USING hnsw (v vector_l2_ops) WITH (m = 4, ef_construction = 32);
CREATE INDEX v_ivf ON items USING ivfflat (v vector_l2_ops) WITH (lists = 6);
CREATE INDEX v_cosine ON items USING hnsw (v vector_cosine_ops) WHERE id % 2 = 0 AND id > 0;
CREATE INDEX v_half ON items USING hnsw ((v::halfvec(4)) halfvec_l1_ops);
CREATE INDEX h_ip ON items USING hnsw (h halfvec_ip_ops);
CREATE INDEX s_l2 ON items USING hnsw (s sparsevec_l2_ops);
CREATE INDEX b_jaccard ON items USING hnsw (b bit_jaccard_ops);
CREATE INDEX b_ivf ON items USING ivfflat (b bit_hamming_ops) WITH (lists = 4);
ANALYZE items;

-- Everything adds up. Levels are drawn, so only sums are the same each time.
SELECT i - 'blocks' - 'bytes' - 'bytes_per_row' - 'levels' - 'layers' - 'entry_point' - 'pages' - 'free_bytes' FROM vector_index_info('v_l2') i;
SELECT (i->>'bytes')::bigint = pg_relation_size('v_l2'), i->>'bytes_per_row' = (pg_relation_size('v_l2') / 603)::text,
  (SELECT sum(n::int) FROM jsonb_array_elements_text(i->'levels') n) = 601, (i->'layers'->0->>'elements')::int,
  (SELECT bool_and((l->>'edges')::int = (SELECT sum((d.ordinality - 1) * d.value::int) FROM jsonb_array_elements_text(l->'degree'->'histogram') WITH ORDINALITY d))
   FROM jsonb_array_elements(i->'layers') l),
  jsonb_array_length(i->'layers') - 1 = (i->'entry_point'->>'level')::int,
  (SELECT sum(p.value::int) FROM jsonb_each_text(i->'pages') p) = (i->>'blocks')::int FROM vector_index_info('v_l2') i;
CREATE TABLE copied AS SELECT id, v FROM items;
CREATE INDEX v_inline ON copied USING hnsw (v vector_l2_ops) WITH (m = 4, ef_construction = 32, layout = inline);
SELECT i - 'blocks' - 'bytes' - 'bytes_per_row' - 'levels' - 'layers' - 'entry_point' - 'pages' - 'free_bytes' - 'free_slots' FROM vector_index_info('v_inline') i;
SELECT (SELECT sum(p.value::int) FROM jsonb_each_text(i->'pages') p) = (i->>'blocks')::int, i->'pages' ?& ARRAY['upper', 'rests', 'rows'],
  (SELECT sum(n::int) FROM jsonb_array_elements_text(i->'levels') n) = (i->>'elements')::int,
  (SELECT bool_and((l->>'edges')::int = (SELECT sum((d.ordinality - 1) * d.value::int) FROM jsonb_array_elements_text(l->'degree'->'histogram') WITH ORDINALITY d))
   FROM jsonb_array_elements(i->'layers') l), i->'pages'->'unused' FROM vector_index_info('v_inline') i;
SELECT * FROM hnsw_check('v_inline', true);
DROP TABLE copied;
SELECT name, value FROM vector_index_facts('v_ivf') WHERE name !~ '^(free_bytes|pages|bytes|blocks|list_rows)';
SELECT count(*), sum(value::numeric) FILTER (WHERE name = 'list_rows.avg') AS avg FROM vector_index_facts('v_ivf');
SELECT i->>'rows' FROM vector_index_info('v_cosine') i;
SELECT i->>'rows' FROM vector_index_info('b_ivf') i;
SELECT vector_index_prewarm('v_l2') = pg_relation_size('v_l2') / 8192;
DELETE FROM items WHERE id > 500 AND id <= 600;
SELECT i->>'rows' FROM vector_index_info('v_l2') i;
VACUUM items;
SELECT i->>'rows' AS rows, i->>'elements' AS elements, i->>'deleted' AS deleted, i->>'dying' AS dying FROM vector_index_info('v_l2') i;
SELECT i->>'rows' FROM vector_index_info('v_ivf') i;

-- With everything visited, every operator class gives the exact answer, ties or not. (A graph with m = 4 may have lost the
-- way to an element, so that one neighbour of 200 is missing.)
SET hnsw.ef_search = 1000;
SET ivfflat.probes = 6;
SELECT indexrelid::regclass, recall >= 0.98, recall_low < 1, recall_high > 0.98, measured, index_p50_ms <= index_p95_ms AND exact_p50_ms <= exact_p95_ms
FROM pg_index, vector_index_recall(indexrelid, 5, 40) WHERE indrelid = 'items'::regclass ORDER BY 1;
-- Fewer rows than neighbours, more queries than rows.
SELECT recall >= 0.98, measured FROM vector_index_recall('v_l2', 2000, 1000);
-- With little visited, less than all.
SET hnsw.ef_search = 1;
SET ivfflat.probes = 1;
SELECT recall BETWEEN 0.05 AND 0.3, recall_low < recall AND recall < recall_high FROM vector_index_recall('v_l2');
SELECT recall < 1 FROM vector_index_recall('v_ivf');
-- The session's settings are the caller's, before and after; another index is in no plan of it.
SET hnsw.iterative_scan = relaxed_order;
SELECT recall > 0.3 FROM vector_index_recall('v_l2');
RESET hnsw.iterative_scan;
SHOW hnsw.ef_search;
SHOW enable_seqscan;
SHOW plan_cache_mode;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE id = 3;
BEGIN READ ONLY;
SELECT measured FROM vector_index_recall('v_ivf', 3, 4);
ROLLBACK;
SELECT scans.n - 1 FROM (SELECT count(*) AS n FROM vector_index_recall('v_l2', 1, 1)) scans;

-- The least setting.
SELECT setting, count(*) > 1, sum(value) FILTER (WHERE chosen) BETWEEN 2 AND 200, count(*) FILTER (WHERE chosen),
  bool_and(recall >= 0.9) FILTER (WHERE chosen) FROM vector_index_tune('v_l2', 0.9, 5, 30) GROUP BY 1;
SELECT setting, value BETWEEN 2 AND 6, recall >= 0.99 FROM vector_index_tune('v_ivf', 0.99) WHERE chosen;
SELECT bool_and(value BETWEEN 1 AND 1000), count(*) FILTER (WHERE chosen) <= 1 FROM vector_index_tune('v_l2', 1.0, 5, 5);
SHOW hnsw.ef_search;
SHOW ivfflat.probes;

-- Empty.
CREATE TABLE void (v vector(3));
CREATE INDEX void_v ON void USING hnsw (v vector_l2_ops);
SELECT i->'entry_point', i->>'rows', i->'bytes_per_row' FROM vector_index_info('void_v') i;
SELECT * FROM vector_index_recall('void_v');
SELECT * FROM vector_index_tune('void_v');
INSERT INTO void VALUES (NULL);
SELECT measured FROM vector_index_recall('void_v');

-- What they are not for.
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE INDEX id_btree ON items (id);
CREATE TABLE parted (v vector(2)) PARTITION BY RANGE (v);
CREATE TABLE part PARTITION OF parted FOR VALUES FROM ('[0,0]') TO ('[9,9]');
CREATE INDEX parted_v ON parted USING hnsw (v vector_l2_ops);
INSERT INTO parted VALUES ('[1,1]'), ('[2,1]');
SELECT vector_index_info('id_btree');
SELECT vector_index_info('parted_v');
SELECT vector_index_prewarm('items');
SELECT * FROM vector_index_recall('items');
SELECT * FROM vector_index_recall('id_btree');
SELECT * FROM vector_index_recall('parted_v');
SELECT recall FROM vector_index_recall('part_v_idx');
SELECT * FROM vector_index_recall(0);
SELECT * FROM vector_index_recall(NULL);
SELECT * FROM vector_index_recall('v_l2', 0);
SELECT * FROM vector_index_recall('v_l2', 10, 10001);
SELECT * FROM vector_index_tune('v_l2', 0);
SELECT * FROM vector_index_tune('v_l2', 'NaN');
BEGIN;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'v_l2'::regclass;
SAVEPOINT s;
SELECT * FROM vector_index_recall('v_l2');
ROLLBACK TO s;
SELECT vector_index_prewarm('v_l2');
ROLLBACK TO s;
\set VERBOSITY default
SELECT vector_index_info('v_l2');
\set VERBOSITY terse
ROLLBACK;
-- An error on the way leaves nothing behind.
CREATE FUNCTION trip(id int) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT 1 / (id - 77) IS NOT NULL';
CREATE ROLE regress_reader;
GRANT SELECT ON items TO regress_reader;
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON items TO regress_reader USING (trip(id));
SET ROLE regress_reader;
SELECT recall FROM vector_index_recall('v_l2', 3, 5);
SHOW enable_sort;
RESET ROLE;
-- Under row-level security the answer is of what the caller sees.
DROP POLICY odd ON items;
CREATE POLICY even ON items TO regress_reader USING (id <= 100);
SET hnsw.ef_search = 1000;
SET ROLE regress_reader;
SELECT recall >= 0.98, measured FROM vector_index_recall('v_l2', 5, 1000);
-- Only the owner looks into an index, and who may read any statistics.
SELECT vector_index_info('v_l2');
SELECT vector_index_prewarm('v_l2');
RESET ROLE;
ALTER TABLE items DISABLE ROW LEVEL SECURITY;
GRANT pg_stat_scan_tables TO regress_reader;
REVOKE SELECT ON items FROM regress_reader;
SET ROLE regress_reader;
SELECT i->>'rows' FROM vector_index_info('v_l2') i;
SELECT * FROM vector_index_recall('v_l2');
SELECT * FROM vector_advice() WHERE relation::text IN ('items', 'void');
RESET ROLE;
REVOKE pg_stat_scan_tables FROM regress_reader;

-- Who is mightier than a table's owner does not run the owner's code with that might.
CREATE SCHEMA regress_other AUTHORIZATION regress_reader;
SET ROLE regress_reader;
CREATE TABLE regress_other.t (id int, v vector(2));
INSERT INTO regress_other.t SELECT i, ARRAY[i, 1] FROM generate_series(1, 20) i;
CREATE FUNCTION regress_other.whoami(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$
  BEGIN IF current_user <> 'regress_reader' THEN RAISE 'runs as %', current_user; END IF; RETURN v; END $$;
CREATE INDEX whoami ON regress_other.t USING hnsw ((regress_other.whoami(v)::vector(2)) vector_l2_ops);
RESET ROLE;
SELECT recall FROM vector_index_recall('regress_other.whoami', 2, 3);
SELECT count(*) > 0 FROM vector_index_tune('regress_other.whoami', 0.9, 2, 3);
CREATE OR REPLACE FUNCTION regress_other.whoami(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$
  BEGIN PERFORM set_config('role', 'none', false); RETURN v; END $$;
SELECT recall FROM vector_index_recall('regress_other.whoami', 2, 3);
SELECT current_user = session_user;
DROP SCHEMA regress_other CASCADE;

-- A function that a policy calls keeps no plan that was made without indexes.
CREATE TABLE keys (id int PRIMARY KEY, v vector(2));
INSERT INTO keys SELECT i, ARRAY[i, 1] FROM generate_series(1, 1000) i;
CREATE INDEX keys_v ON keys USING hnsw (v vector_l2_ops);
ANALYZE keys;
CREATE FUNCTION allowed() RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER AS $$
  DECLARE n int; BEGIN SELECT id INTO n FROM keys WHERE id = 7; RETURN n = 7; END $$;
GRANT SELECT ON keys TO regress_reader;
ALTER TABLE keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON keys TO regress_reader USING (allowed());
SET ROLE regress_reader;
SELECT measured FROM vector_index_recall('keys_v', 2, 1);
RESET ROLE;
BEGIN;
SELECT allowed();
SELECT pg_stat_get_xact_numscans('keys_pkey'::regclass);
ROLLBACK;
DROP TABLE items, void, parted, keys;
DROP FUNCTION trip, allowed;
DROP ROLE regress_reader;
