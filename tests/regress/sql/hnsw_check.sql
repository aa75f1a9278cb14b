-- hnsw_check: silent about what is sound, and one row for each thing that is not.
\pset format unaligned
\pset tuples_only on
CREATE TABLE t (id int, v vector(3), h halfvec(3), s sparsevec(9), b bit(11));
INSERT INTO t SELECT i, ARRAY[i % 7, i % 5, i % 11 - 5]::vector, ARRAY[i % 7, i % 5 - 2, i % 11]::halfvec,
  format('{%s:%s,9:1}/9', i % 8 + 1, i % 13 + 1)::sparsevec, (i * 37 % 2048)::bit(11) FROM generate_series(1, 500) i;
-- Rows that an index skips, one value in more rows than an element has places for, and zero vectors, which only cosine skips.
INSERT INTO t (id) VALUES (501), (502);
INSERT INTO t SELECT i, '[1,2,3]', '[1,2,3]', '{1:1}/9', '10000000001' FROM generate_series(511, 540) i;
INSERT INTO t SELECT i, '[0,0,0]', '[0,0,0]', '{}/9', '00000000000' FROM generate_series(541, 545) i;
CREATE INDEX v_l2 ON t USING hnsw (v vector_l2_ops);
CREATE INDEX v_ip ON t USING hnsw (v vector_ip_ops) WITH (m = 4, ef_construction = 8);
CREATE INDEX v_cosine ON t USING hnsw (v vector_cosine_ops) WHERE id % 2 = 0;
CREATE INDEX v_l1 ON t USING hnsw (((v * '[1,1,2]')::vector(3)) vector_l1_ops);
CREATE INDEX h_l2 ON t USING hnsw ((h::halfvec(3)) halfvec_l2_ops);
CREATE INDEX h_ip ON t USING hnsw (h halfvec_ip_ops);
CREATE INDEX h_cosine ON t USING hnsw (h halfvec_cosine_ops);
CREATE INDEX h_l1 ON t USING hnsw (h halfvec_l1_ops);
CREATE INDEX s_l2 ON t USING hnsw (s sparsevec_l2_ops);
CREATE INDEX s_ip ON t USING hnsw (s sparsevec_ip_ops);
CREATE INDEX s_cosine ON t USING hnsw (s sparsevec_cosine_ops);
CREATE INDEX s_l1 ON t USING hnsw (s sparsevec_l1_ops);
CREATE INDEX b_hamming ON t USING hnsw (b bit_hamming_ops);
CREATE INDEX b_jaccard ON t USING hnsw (b bit_jaccard_ops);
CREATE VIEW found AS
  SELECT indexrelid::regclass AS index, c.* FROM pg_index, LATERAL hnsw_check(indexrelid, true) c WHERE indrelid = 't'::regclass;
SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass;
SELECT * FROM found;
DELETE FROM t WHERE id % 3 = 0;
UPDATE t SET v = v + '[1,0,0]', h = h + '[0,1,0]' WHERE id % 7 = 0;
INSERT INTO t SELECT id + 1000, v, h, s, b FROM t WHERE id % 5 = 0;
SELECT * FROM found;
VACUUM t;
SELECT * FROM found;
INSERT INTO t SELECT id + 2000, v, h, s, b FROM t WHERE id % 4 = 0;
BEGIN;
INSERT INTO t SELECT id + 4000, v, h, s, b FROM t WHERE id % 6 = 0;
ROLLBACK;
SELECT * FROM found;
DELETE FROM t;
VACUUM t;
SELECT * FROM found;
INSERT INTO t VALUES (1, '[1,2,3]', '[1,2,3]', '{1:1}/9', '10000000001');
SELECT * FROM found;
DROP TABLE t CASCADE;

-- Indexes without a value, in memory only, temporary; a transaction that sees its own rows.
CREATE UNLOGGED TABLE u (v vector(2));
CREATE INDEX empty ON u USING hnsw (v vector_l2_ops);
SELECT * FROM hnsw_check('empty', true);
CREATE TEMP TABLE own (v vector(2));
CREATE INDEX own_v ON own USING hnsw (v vector_l2_ops);
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO own SELECT ARRAY[i, -i]::vector FROM generate_series(1, 100) i;
SELECT * FROM hnsw_check('own_v', true);
ROLLBACK;
SELECT hnsw_check('own_v', true);

-- A row that never came into the index. The shallow check does not look at the table.
CREATE TABLE d (id int, v vector(2));
INSERT INTO d SELECT i, ARRAY[i, -i]::vector FROM generate_series(1, 20) i;
CREATE INDEX d_v ON d USING hnsw (v vector_l2_ops);
UPDATE pg_index SET indisready = false WHERE indexrelid = 'd_v'::regclass;
INSERT INTO d VALUES (21, '[0,0]');
UPDATE pg_index SET indisready = true WHERE indexrelid = 'd_v'::regclass;
SELECT block, "offset", violation FROM hnsw_check('d_v');
SELECT block, "offset", violation FROM hnsw_check('d_v', true);
DELETE FROM d WHERE id = 21;
SELECT * FROM hnsw_check('d_v', true);

-- A value that is not the row's, since the function of the index changed. It runs as the table's owner, who may not do everything.
CREATE FUNCTION place(n int) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.array_to_vector(ARRAY[n, -n], 2, false); END';
CREATE INDEX d_place ON d USING hnsw ((place(id)::vector(2)) vector_l2_ops);
SELECT * FROM hnsw_check('d_place', true);
CREATE OR REPLACE FUNCTION place(n int) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.array_to_vector(ARRAY[n - n / 20, -n], 2, false); END';
SELECT * FROM hnsw_check('d_place', true);
CREATE OR REPLACE FUNCTION place(n int) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM set_config('role', 'none', false); RETURN '[0,0]'; END$$;
\set VERBOSITY terse
SELECT * FROM hnsw_check('d_place', true);
\set VERBOSITY default
SELECT * FROM hnsw_check('d_place');

-- What it is not for.
CREATE INDEX d_id ON d (id);
CREATE TABLE parted (v vector(2)) PARTITION BY RANGE (v);
CREATE TABLE part PARTITION OF parted FOR VALUES FROM ('[0,0]') TO ('[9,9]');
CREATE INDEX parted_v ON parted USING hnsw (v vector_l2_ops);
INSERT INTO parted VALUES ('[1,1]'), ('[2,1]');
SELECT * FROM hnsw_check('d');
SELECT * FROM hnsw_check('d_id');
SELECT * FROM hnsw_check('parted_v');
SELECT * FROM hnsw_check('part_v_idx', true);
SELECT * FROM hnsw_check(NULL);
SELECT * FROM hnsw_check('d_v', NULL);
BEGIN;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'd_v'::regclass;
SELECT * FROM hnsw_check('d_v');
ROLLBACK;

-- Values whose squares overflow or vanish are sound.
CREATE TABLE extreme (v vector(16), h halfvec(16));
INSERT INTO extreme SELECT array_fill(i % 7 + 1, ARRAY[16])::real[]::vector, array_fill(i % 5, ARRAY[16])::real[]::halfvec FROM generate_series(1, 100) i;
INSERT INTO extreme SELECT array_fill(x, ARRAY[16])::real[]::vector, array_fill(65504, ARRAY[16])::real[]::halfvec FROM unnest(ARRAY[3e38, 3e38, 1e19, 1e20, -1e19, 1e-30, 1e-42, 3e-42]) x;
CREATE INDEX extreme_l2 ON extreme USING hnsw (v vector_l2_ops) WITH (layout = inline);
CREATE INDEX extreme_ip ON extreme USING hnsw (v vector_ip_ops) WITH (layout = inline);
CREATE INDEX extreme_half ON extreme USING hnsw (h halfvec_l2_ops) WITH (layout = inline);
INSERT INTO extreme SELECT v, h FROM extreme ORDER BY v LIMIT 60;
SELECT i, c.* FROM unnest(ARRAY['extreme_l2', 'extreme_ip', 'extreme_half']) i, hnsw_check(i, true) c;
DROP TABLE extreme;

-- For superusers, and whom they let.
CREATE ROLE regress_checker;
SET ROLE regress_checker;
SELECT * FROM hnsw_check('d_v');
RESET ROLE;
GRANT EXECUTE ON FUNCTION hnsw_check(regclass, boolean) TO regress_checker;
SET ROLE regress_checker;
SELECT * FROM hnsw_check('d_v', true);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION hnsw_check(regclass, boolean) FROM regress_checker;
DROP ROLE regress_checker;
DROP TABLE u, own, d, parted;
DROP FUNCTION place;
