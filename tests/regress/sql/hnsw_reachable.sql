-- Every row is in reach: a scan that goes on returns each row once, whatever it asks for, and the check agrees.
\pset format unaligned
\pset tuples_only on
SET enable_seqscan = off;
SET hnsw.iterative_scan = relaxed_order;
SET hnsw.max_scan_tuples = 1000000000;
SET work_mem = '256MB';
SELECT setseed(0.5);
-- Rows that a scan in this order returns, and how many of them are different; asks for an index scan first.
CREATE FUNCTION reached(tbl regclass, ordering text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text; plan text := ''; counts text; question text := format('SELECT ctid FROM %s ORDER BY %s LIMIT 1000000', tbl, ordering);
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || question LOOP plan := plan || line; END LOOP;
  IF plan NOT LIKE '%Index Scan%' THEN RAISE 'no index scan: %', plan; END IF;
  EXECUTE format('SELECT count(*) || '' of them '' || count(DISTINCT ctid) || '' different'' FROM (%s) x', question) INTO counts;
  RETURN counts;
END $$;
CREATE FUNCTION violations(OUT index regclass, OUT violation text) RETURNS SETOF record LANGUAGE sql AS
  'SELECT indexrelid::regclass, c.violation FROM pg_index JOIN pg_class k ON k.oid = indexrelid JOIN pg_am a ON a.oid = k.relam, LATERAL hnsw_check(indexrelid, true) c WHERE amname = ''hnsw'' ORDER BY 1, 2';

-- Rows of equal value beside others: inserted one by one, and built.
CREATE TABLE z (id int, v vector(10));
CREATE INDEX z_one_by_one ON z USING hnsw (v vector_l2_ops);
INSERT INTO z SELECT i, (SELECT array_agg(random() * 4 - 2)::vector(10) FROM generate_series(1, 10) WHERE i > 0) FROM generate_series(1, 1000) i;
INSERT INTO z SELECT i + 1000000, array_fill(0.1::real, ARRAY[10])::vector FROM generate_series(1, 1000) i;
SELECT reached('z', $$v <-> '[1,2,-1,0,1,1,1,0,0,1]'$$);
SELECT reached('z', $$v <-> (SELECT v FROM z WHERE id = 1000001)$$);
SELECT reached('z', $$v <-> (SELECT NULL::vector)$$);
SELECT * FROM violations();
DROP INDEX z_one_by_one;
CREATE INDEX z_built ON z USING hnsw (v vector_l2_ops);
SELECT reached('z', $$v <-> '[1,2,-1,0,1,1,1,0,0,1]'$$);
SELECT reached('z', $$v <-> (SELECT v FROM z WHERE id = 1000001)$$);
SELECT * FROM violations();
-- Only every third of either is left, and some more of the equal ones come.
DELETE FROM z WHERE id % 3 <> 0;
VACUUM z;
SELECT reached('z', $$v <-> '[1,2,-1,0,1,1,1,0,0,1]'$$), count(*) FROM z;
INSERT INTO z SELECT i + 2000000, array_fill(0.1::real, ARRAY[10])::vector FROM generate_series(1, 200) i;
SELECT reached('z', $$v <-> '[1,2,-1,0,1,1,1,0,0,1]'$$), count(*) FROM z;
SELECT reached('z', $$v <-> (SELECT v FROM z WHERE id = 2000001)$$);
SELECT * FROM violations();
DROP TABLE z;

-- Nothing but equal rows, and two values in turn, with few connections.
CREATE TABLE e (id int, v vector(3));
CREATE INDEX e_v ON e USING hnsw (v vector_l2_ops) WITH (m = 2, ef_construction = 4);
INSERT INTO e SELECT i, '[1,1,1]' FROM generate_series(1, 1000) i;
SELECT reached('e', $$v <-> '[0,0,0]'$$);
INSERT INTO e SELECT i, ARRAY[i % 2, 5, 5]::vector FROM generate_series(1001, 1600) i;
SELECT reached('e', $$v <-> '[0,0,0]'$$);
SELECT reached('e', $$v <-> '[1,5,5]'$$);
SELECT * FROM violations();
REINDEX INDEX e_v;
SELECT reached('e', $$v <-> '[0,0,0]'$$);
SELECT * FROM violations();
DROP TABLE e;

-- Distant clusters: after a build, after nearly all of them went, after inserts.
CREATE TABLE c (id int, v vector(6));
INSERT INTO c SELECT i, ARRAY[(i % 20) * 100 + random(), ((i % 20) * 37 % 11) * 100 + random(), random(), random(), random(), random()]::vector FROM generate_series(1, 5000) i;
CREATE INDEX c_v ON c USING hnsw (v vector_l2_ops);
SELECT reached('c', $$v <-> '[0,0,0,0,0,0]'$$);
SELECT reached('c', $$v <-> '[1900,0,0,0,0,0]'$$);
SELECT * FROM violations();
DELETE FROM c WHERE (id / 20) % 50 <> 0;
VACUUM c;
SELECT reached('c', $$v <-> '[1900,0,0,0,0,0]'$$), count(*) FROM c;
SELECT * FROM violations();
INSERT INTO c SELECT i, ARRAY[-100000 * (i % 4) + random(), 1, 1, 1, 1, 1]::vector FROM generate_series(5001, 5200) i;
SELECT reached('c', $$v <-> '[1900,0,0,0,0,0]'$$), reached('c', $$v <-> '[-300000,0,0,0,0,0]'$$), count(*) FROM c;
SELECT * FROM violations();
DROP TABLE c;

-- A vacuum that removes everything but what came since, twice, so that new rows take the places of old ones.
CREATE TABLE q (id int, v vector(4)) WITH (autovacuum_enabled = off);
INSERT INTO q SELECT i, ARRAY[random(), random(), random(), random()]::vector FROM generate_series(1, 2000) i;
CREATE INDEX q_v ON q USING hnsw (v vector_l2_ops);
DELETE FROM q WHERE id BETWEEN 800 AND 1200;
VACUUM q;
DELETE FROM q;
INSERT INTO q SELECT i, ARRAY[random(), random(), random(), random()]::vector FROM generate_series(3001, 3100) i;
SELECT reached('q', $$v <-> '[0.5,0.5,0.5,0.5]'$$);
SELECT * FROM violations();
VACUUM q;
SELECT reached('q', $$v <-> '[0.5,0.5,0.5,0.5]'$$);
SELECT * FROM violations();
DELETE FROM q;
VACUUM q;
SELECT reached('q', $$v <-> '[0.5,0.5,0.5,0.5]'$$);
INSERT INTO q SELECT i, ARRAY[random(), random(), random(), random()]::vector FROM generate_series(4001, 4500) i;
DELETE FROM q WHERE id > 4001;
INSERT INTO q SELECT i, ARRAY[random(), random(), random(), random()]::vector FROM generate_series(5001, 5002) i;
VACUUM q;
SELECT reached('q', $$v <-> '[0.5,0.5,0.5,0.5]'$$);
SELECT * FROM violations();
DROP TABLE q;

-- Every kind of value, by every distance: short and long ones, many equal ones.
CREATE TABLE k (id int, v vector(3), h halfvec(3), s sparsevec(9), b bit(9));
CREATE INDEX k_v_ip ON k USING hnsw (v vector_ip_ops) WITH (m = 2, ef_construction = 4);
CREATE INDEX k_v_cosine ON k USING hnsw (v vector_cosine_ops) WITH (m = 4, ef_construction = 8);
CREATE INDEX k_h_l2 ON k USING hnsw (h halfvec_l2_ops);
CREATE INDEX k_h_ip ON k USING hnsw (h halfvec_ip_ops);
CREATE INDEX k_s_l1 ON k USING hnsw (s sparsevec_l1_ops) WITH (m = 3, ef_construction = 6);
CREATE INDEX k_b_hamming ON k USING hnsw (b bit_hamming_ops) WITH (m = 2, ef_construction = 4);
CREATE INDEX k_b_jaccard ON k USING hnsw (b bit_jaccard_ops);
CREATE PROCEDURE fill(first int, count int) LANGUAGE sql AS $$
  INSERT INTO k SELECT i, ARRAY[i % 7 + 1, i % 5, i % 11 - 5]::vector, ARRAY[i % 40, i % 2, i % 300]::halfvec,
    format('{%s:%s,9:1}/9', i % 8 + 1, i % 13 + 1)::sparsevec, (i * 37 % 512)::bit(9) FROM generate_series(first, first + count - 1) i;
$$;
CREATE VIEW found AS
  SELECT 'v_ip', reached('k', $$v <#> '[1,2,3]'$$) UNION ALL SELECT 'v_cosine', reached('k', $$v <=> '[1,2,3]'$$)
  UNION ALL SELECT 'h_l2', reached('k', $$h <-> '[1,2,3]'$$) UNION ALL SELECT 'h_ip', reached('k', $$h <#> '[1,2,3]'$$)
  UNION ALL SELECT 's_l1', reached('k', $$s <+> '{1:1}/9'$$)
  UNION ALL SELECT 'b_hamming', reached('k', $$b <~> B'000011111'$$) UNION ALL SELECT 'b_jaccard', reached('k', $$b <%> B'000011111'$$);
CALL fill(1, 1500);
SELECT * FROM found;
SELECT * FROM violations();
DELETE FROM k WHERE id % 5 <> 0;
VACUUM k;
SELECT * FROM found;
SELECT * FROM violations();
CALL fill(2001, 300);
SELECT * FROM found;
SELECT * FROM violations();
REINDEX TABLE k;
SELECT * FROM found;
SELECT * FROM violations();
DROP TABLE k CASCADE;

-- In strict order nothing is nearer than what came before, and nothing comes twice.
CREATE TABLE o (id int, v vector(2));
CREATE INDEX o_v ON o USING hnsw (v vector_l2_ops) WITH (m = 2, ef_construction = 4);
INSERT INTO o SELECT i, ARRAY[i % 10 * 1000, i / 10]::vector FROM generate_series(1, 500) i;
SET hnsw.iterative_scan = strict_order;
SELECT count(*) > 40, count(*) = count(DISTINCT id), count(*) FILTER (WHERE d < before) FROM (SELECT id, v <-> '[3,3]' AS d, lag(v <-> '[3,3]') OVER () AS before FROM (SELECT * FROM o ORDER BY v <-> '[3,3]') x) y;
-- A limit on what is visited holds for what no edge leads to as well.
SET hnsw.iterative_scan = relaxed_order;
SET hnsw.max_scan_tuples = 100;
SELECT count(*) BETWEEN 100 AND 499 FROM (SELECT id FROM o ORDER BY v <-> '[3,3]') x;
DROP TABLE o;
DROP FUNCTION reached(regclass, text);
DROP FUNCTION violations();
DROP PROCEDURE fill(int, int);
