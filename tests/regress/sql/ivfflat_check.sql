-- ivfflat_check: silent about what is sound, and one row for each thing that is not.
\pset format unaligned
\pset tuples_only on
CREATE TABLE t (id int, v vector(3), h halfvec(3), b bit(11));
INSERT INTO t SELECT i, ARRAY[i % 7, i % 5, i % 11 - 5]::vector, ARRAY[i % 7, i % 5 - 2, i % 11]::halfvec, (i * 37 % 2048)::bit(11) FROM generate_series(1, 500) i;
-- Rows that an index skips, one value in many rows, and zero vectors, which only cosine skips.
INSERT INTO t (id) VALUES (501), (502);
INSERT INTO t SELECT i, '[1,2,3]', '[1,2,3]', '10000000001' FROM generate_series(511, 540) i;
INSERT INTO t SELECT i, '[0,0,0]', '[0,0,0]', '00000000000' FROM generate_series(541, 545) i;
CREATE INDEX v_l2 ON t USING ivfflat (v vector_l2_ops) WITH (lists = 7);
CREATE INDEX v_ip ON t USING ivfflat (v vector_ip_ops) WITH (lists = 1);
CREATE INDEX v_cosine ON t USING ivfflat (v vector_cosine_ops) WITH (lists = 300);
CREATE INDEX v_some ON t USING ivfflat (((v * '[1,1,2]')::vector(3)) vector_l2_ops) WITH (lists = 5) WHERE id % 2 = 0;
CREATE INDEX h_l2 ON t USING ivfflat ((h::halfvec(3)) halfvec_l2_ops) WITH (lists = 7);
CREATE INDEX h_ip ON t USING ivfflat (h halfvec_ip_ops) WITH (lists = 7);
CREATE INDEX h_cosine ON t USING ivfflat (h halfvec_cosine_ops) WITH (lists = 7);
CREATE INDEX b_hamming ON t USING ivfflat (b bit_hamming_ops) WITH (lists = 7);
CREATE VIEW found AS
  SELECT indexrelid::regclass AS index, c.* FROM pg_index, LATERAL ivfflat_check(indexrelid, true) c WHERE indrelid = 't'::regclass;
SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass;
SELECT * FROM found;
DELETE FROM t WHERE id % 3 = 0;
UPDATE t SET v = v + '[1,0,0]', h = h + '[0,1,0]' WHERE id % 7 = 0;
INSERT INTO t SELECT id + 1000, v, h, b FROM t WHERE id % 5 = 0;
SELECT * FROM found;
VACUUM t;
SELECT * FROM found;
INSERT INTO t SELECT id + 2000, v, h, b FROM t WHERE id % 4 = 0;
BEGIN;
INSERT INTO t SELECT id + 4000, v, h, b FROM t WHERE id % 6 = 0;
ROLLBACK;
SELECT * FROM found;
DELETE FROM t;
VACUUM t;
SELECT * FROM found;
INSERT INTO t VALUES (1, '[1,2,3]', '[1,2,3]', '10000000001');
SELECT * FROM found;
DROP TABLE t CASCADE;

-- Values so long that the table keeps them compressed: centres are read as they were built, entries as they were inserted.
CREATE TABLE long (id int, v vector(1500), b bit(16000));
ALTER TABLE long ALTER v SET STORAGE main, ALTER b SET STORAGE main;
INSERT INTO long SELECT i, array_fill(i, ARRAY[1500])::vector, repeat(i::bit(4)::text, 4000)::bit(16000) FROM generate_series(1, 20) i;
CREATE INDEX long_v ON long USING ivfflat (v vector_l2_ops) WITH (lists = 3);
CREATE INDEX long_b ON long USING ivfflat (b bit_hamming_ops) WITH (lists = 3);
INSERT INTO long SELECT id + 20, v, b FROM long;
SELECT * FROM ivfflat_check('long_v', true);
SELECT * FROM ivfflat_check('long_b', true);
DELETE FROM long WHERE id % 2 = 0;
VACUUM long;
SELECT * FROM ivfflat_check('long_v', true);
SELECT * FROM ivfflat_check('long_b', true);

-- Indexes without a value, in memory only, temporary; a transaction that sees its own rows.
CREATE UNLOGGED TABLE u (v vector(2));
\set VERBOSITY terse
CREATE INDEX empty ON u USING ivfflat (v vector_l2_ops);
SELECT * FROM ivfflat_check('empty', true);
CREATE TEMP TABLE own (v vector(2));
CREATE INDEX own_v ON own USING ivfflat (v vector_l2_ops) WITH (lists = 3);
\set VERBOSITY default
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO own SELECT ARRAY[i, -i]::vector FROM generate_series(1, 100) i;
SELECT * FROM ivfflat_check('own_v', true);
ROLLBACK;
SELECT ivfflat_check('own_v', true);

-- A row that never came into the index. The shallow check does not look at the table.
CREATE TABLE d (id int, v vector(2));
INSERT INTO d SELECT i, ARRAY[i, -i]::vector FROM generate_series(1, 20) i;
CREATE INDEX d_v ON d USING ivfflat (v vector_l2_ops) WITH (lists = 3);
UPDATE pg_index SET indisready = false WHERE indexrelid = 'd_v'::regclass;
INSERT INTO d VALUES (21, '[0,0]');
UPDATE pg_index SET indisready = true WHERE indexrelid = 'd_v'::regclass;
SELECT block, "offset", violation FROM ivfflat_check('d_v');
SELECT block, "offset", violation FROM ivfflat_check('d_v', true);
DELETE FROM d WHERE id = 21;
SELECT * FROM ivfflat_check('d_v', true);

-- A value that is not the row's, since the function of the index changed.
CREATE FUNCTION place(n int) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.array_to_vector(ARRAY[n, -n], 2, false); END';
CREATE INDEX d_place ON d USING ivfflat ((place(id)::vector(2)) vector_l2_ops) WITH (lists = 1);
SELECT * FROM ivfflat_check('d_place', true);
CREATE OR REPLACE FUNCTION place(n int) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.array_to_vector(ARRAY[n - n / 20, -n], 2, false); END';
SELECT * FROM ivfflat_check('d_place', true);

-- What it is not for.
CREATE INDEX d_id ON d (id);
CREATE INDEX d_hnsw ON d USING hnsw (v vector_l2_ops);
CREATE TABLE parted (v vector(2)) PARTITION BY RANGE (v);
CREATE TABLE part PARTITION OF parted FOR VALUES FROM ('[0,0]') TO ('[9,9]');
INSERT INTO parted VALUES ('[1,1]'), ('[2,1]');
CREATE INDEX parted_v ON parted USING ivfflat (v vector_l2_ops) WITH (lists = 1);
SELECT * FROM ivfflat_check('d');
SELECT * FROM ivfflat_check('d_id');
SELECT * FROM ivfflat_check('d_hnsw');
SELECT * FROM hnsw_check('d_v');
SELECT * FROM ivfflat_check('parted_v');
SELECT * FROM ivfflat_check('part_v_idx', true);
SELECT * FROM ivfflat_check(NULL);
SELECT * FROM ivfflat_check('d_v', NULL);
BEGIN;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'd_v'::regclass;
SELECT * FROM ivfflat_check('d_v');
ROLLBACK;

-- For superusers, and whom they let.
CREATE ROLE regress_ivf_checker;
SET ROLE regress_ivf_checker;
SELECT * FROM ivfflat_check('d_v');
RESET ROLE;
GRANT EXECUTE ON FUNCTION ivfflat_check(regclass, boolean) TO regress_ivf_checker;
SET ROLE regress_ivf_checker;
SELECT * FROM ivfflat_check('d_v', true);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION ivfflat_check(regclass, boolean) FROM regress_ivf_checker;
DROP ROLE regress_ivf_checker;

-- Values whose squares overflow or vanish are sound.
CREATE TABLE extreme (v vector(16), h halfvec(16));
INSERT INTO extreme SELECT array_fill(i % 7 + 1, ARRAY[16])::real[]::vector, array_fill(i % 5, ARRAY[16])::real[]::halfvec FROM generate_series(1, 100) i;
INSERT INTO extreme SELECT array_fill(x, ARRAY[16])::real[]::vector, array_fill(65504, ARRAY[16])::real[]::halfvec FROM unnest(ARRAY[3e38, 3e38, 1e19, 1e20, -1e19, 1e-30, 1e-42, 3e-42]) x;
CREATE INDEX extreme_l2 ON extreme USING ivfflat (v vector_l2_ops) WITH (layout = packed, lists = 3);
CREATE INDEX extreme_ip ON extreme USING ivfflat (v vector_ip_ops) WITH (layout = packed, lists = 3);
CREATE INDEX extreme_half ON extreme USING ivfflat (h halfvec_l2_ops) WITH (layout = packed, lists = 3);
INSERT INTO extreme SELECT v, h FROM extreme ORDER BY v LIMIT 60;
SELECT i, c.* FROM unnest(ARRAY['extreme_l2', 'extreme_ip', 'extreme_half']) i, ivfflat_check(i, true) c;
DROP TABLE extreme;
DROP TABLE long, u, own, d, parted;
DROP FUNCTION place;
