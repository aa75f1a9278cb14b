-- Scans: how plans look, LIMIT, filters, iterative scans, cursors, joins, parameters, NULL, transactions.
\pset format unaligned
\pset tuples_only on
CREATE TABLE t (id int, kind int, v vector(3));
INSERT INTO t SELECT i, i % 10, ARRAY[i, i % 7, i % 3]::vector FROM generate_series(1, 1000) i;
CREATE INDEX i ON t USING ivfflat (v vector_l2_ops) WITH (lists = 10);
VACUUM ANALYZE t;

-- The planner takes it for the nearest few, and for nothing else.
EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY v <-> '[1,2,3]' LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY v <-> '[1,2,3]' DESC LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY v <=> '[1,2,3]' LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY (v <-> '[1,2,3]') + 1 LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE v = '[1,2,3]';
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE v <-> '[1,2,3]' < 5;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE kind = 3 ORDER BY v <-> '[1,2,3]' LIMIT 5;
EXPLAIN (COSTS OFF) SELECT count(*) FROM t;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY '[1,2,3]' <-> v LIMIT 5;
EXPLAIN (COSTS OFF) SELECT v FROM t ORDER BY v <-> '[1,2,3]' LIMIT 5 OFFSET 3;
EXPLAIN (COSTS OFF) SELECT a.id, b.id FROM (VALUES (1, '[1,2,3]'::vector), (2, '[4,5,6]')) a(id, v), LATERAL (SELECT id FROM t ORDER BY v <-> a.v LIMIT 2) b;

-- Only the rows of the lists that are probed.
SET ivfflat.probes = 10;
SELECT id FROM t ORDER BY v <-> '[500,3,1]' LIMIT 3;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <-> '[500,3,1]') x;
SET ivfflat.probes = 32768;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <-> '[500,3,1]') x;
SET ivfflat.probes = 1;
SELECT count(*) BETWEEN 1 AND 600 FROM (SELECT id FROM t ORDER BY v <-> '[500,3,1]') x;
SELECT id FROM t ORDER BY v <-> '[500,3,1]' LIMIT 0;

-- Iterative scans go on to further lists.
SET ivfflat.iterative_scan = relaxed_order;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t WHERE kind = 3 ORDER BY v <-> '[500,3,1]' LIMIT 100) x;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <-> '[500,3,1]') x;
SET ivfflat.max_probes = 1;
SELECT count(*) BETWEEN 1 AND 600 FROM (SELECT id FROM t ORDER BY v <-> '[500,3,1]') x;
-- No fewer than ivfflat.probes.
SET ivfflat.probes = 10;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[500,3,1]') x;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> (SELECT NULL::vector)) x;
RESET ivfflat.max_probes;
RESET ivfflat.iterative_scan;

-- Cursors: not backward without SCROLL, held over a commit, and over changes by their own transaction.
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM t ORDER BY v <-> '[100.1,2,1]';
FETCH 2 FROM c;
DELETE FROM t WHERE id = 101;
FETCH 1 FROM c;
INSERT INTO t VALUES (2000, 5, '[100.1,2,1]');
MOVE 30 FROM c;
FETCH BACKWARD 1 FROM c;
ROLLBACK;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM t ORDER BY v <-> '[100.1,2,1]';
FETCH 3 FROM c;
FETCH BACKWARD 2 FROM c;
FETCH FIRST FROM c;
COMMIT;
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY v <-> '[100.1,2,1]' LIMIT 4;
COMMIT;
FETCH ALL FROM c;
CLOSE c;

-- Two scans of one index at a time.
BEGIN;
DECLARE a CURSOR FOR SELECT id FROM t ORDER BY v <-> '[100.1,2,1]';
DECLARE b CURSOR FOR SELECT id FROM t ORDER BY v <-> '[900,4,0]';
FETCH 1 FROM a;
FETCH 1 FROM b;
FETCH 1 FROM a;
FETCH 1 FROM b;
COMMIT;

-- Scanned again for each outer row; NULL among them.
SELECT q.id, n.id FROM (VALUES (1, '[7,0,1]'::vector), (2, NULL), (3, '[700,0,1]')) q(id, v) LEFT JOIN LATERAL (SELECT id FROM t ORDER BY v <-> q.v LIMIT 1) n ON q.v IS NOT NULL ORDER BY q.id;
SELECT q.id, count(n.id) FROM (VALUES (1, '[7,0,1]'::vector), (2, NULL), (3, '[700,0,1]')) q(id, v), LATERAL (SELECT id FROM t ORDER BY v <-> q.v LIMIT 3) n GROUP BY 1 ORDER BY 1;
SELECT count(*), sum((a.id = b.id)::int) > 995 FROM t a CROSS JOIN LATERAL (SELECT id FROM t ORDER BY v <-> a.v LIMIT 1) b;
SELECT a.id, (SELECT array_agg(id ORDER BY d) FROM (SELECT id, v <-> a.v AS d FROM t ORDER BY v <-> a.v LIMIT 1) x) FROM t a WHERE a.id IN (70, 700) ORDER BY 1;
SELECT id FROM t WHERE id IN (SELECT id FROM t ORDER BY v <-> '[33,5,0]' LIMIT 1);
WITH nearest AS MATERIALIZED (SELECT id, v <-> '[33,5,0]' AS d FROM t ORDER BY v <-> '[33,5,0]' LIMIT 40) SELECT id FROM nearest WHERE d < 1 ORDER BY d;

-- Prepared: planned for the value, and for any value.
PREPARE nearest(vector, int) AS SELECT id FROM t ORDER BY v <-> $1 LIMIT $2;
SET plan_cache_mode = force_custom_plan;
EXECUTE nearest('[250,5,1]', 1);
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE nearest('[250,5,1]', 1);
EXECUTE nearest('[250,5,1]', 1);
EXECUTE nearest('[251,6,2]', 1);
EXECUTE nearest(NULL, 0);
EXECUTE nearest('[1,2]', 1);
RESET plan_cache_mode;
DEALLOCATE nearest;

-- From functions, and with an error inside that is caught.
CREATE FUNCTION nearest(q vector) RETURNS int LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
  FOR r IN SELECT id FROM t ORDER BY v <-> q LOOP RETURN r.id; END LOOP;
  RETURN NULL;
EXCEPTION WHEN data_exception THEN RETURN -1;
END $$;
SELECT nearest('[250,5,1]'), nearest('[1,2]'), nearest('[251,6,2]');
DROP FUNCTION nearest(vector);

-- Rows of the own transaction, of a rolled back one, and none after a delete.
BEGIN;
INSERT INTO t VALUES (3000, 1, '[-50,-50,-50]');
SELECT id FROM t ORDER BY v <-> '[-50,-50,-50]' LIMIT 1;
SAVEPOINT s;
DELETE FROM t WHERE id = 3000;
SELECT id = 3000 FROM t ORDER BY v <-> '[-50,-50,-50]' LIMIT 1;
ROLLBACK TO s;
SELECT id FROM t ORDER BY v <-> '[-50,-50,-50]' FOR UPDATE LIMIT 1;
ROLLBACK;
SELECT id = 3000 FROM t ORDER BY v <-> '[-50,-50,-50]' LIMIT 1;

RESET ivfflat.probes;
DROP TABLE t;

-- a query without direction, also when the centres are in memory (from the second query on)
CREATE TABLE directions (v vector(4));
INSERT INTO directions SELECT ARRAY[sin(i), cos(i), sin(3 * i), cos(5 * i)]::vector FROM generate_series(1, 400) i;
SET enable_seqscan = off;
SET ivfflat.probes = 3;
CREATE INDEX ON directions USING ivfflat (v vector_ip_ops) WITH (lists = 20);
SELECT count(*) FROM (SELECT FROM directions ORDER BY v <#> '[0,0,0,0]' LIMIT 5) t;
SELECT count(*) FROM (SELECT FROM directions ORDER BY v <#> '[0,0,0,0]' LIMIT 5) t;
SELECT count(*) FROM (SELECT FROM directions ORDER BY v <#> '[0,0,0,0]' LIMIT 5) t;
DROP INDEX directions_v_idx;
CREATE INDEX ON directions USING ivfflat (v vector_cosine_ops) WITH (lists = 20);
SELECT count(*) FROM (SELECT FROM directions ORDER BY v <=> '[0,0,0,0]' LIMIT 5) t;
SELECT count(*) FROM (SELECT FROM directions ORDER BY v <=> '[0,0,0,0]' LIMIT 5) t;
SELECT count(*) FROM (SELECT FROM directions ORDER BY v <=> '[0,0,0,0]' LIMIT 5) t;
DROP TABLE directions;
RESET ivfflat.probes;
RESET enable_seqscan;
