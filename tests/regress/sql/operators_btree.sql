-- Order and equality: the comparison operators and what PostgreSQL builds on them.
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION pg_temp.attempt(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE code text; message text; detail text; hint text; answer text;
BEGIN
  EXECUTE query INTO answer;
  RETURN coalesce(answer, '(null)');
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN concat_ws(' | ', code, message, nullif(detail, ''), nullif(hint, ''));
END $$;

-- Element by element, then by length, as arrays compare. -0 equals 0.
CREATE TEMP TABLE c (id int GENERATED ALWAYS AS IDENTITY, a text, b text);
INSERT INTO c (a, b) VALUES ('[1,2,3]', '[1,2,3]'), ('[1,2,3]', '[1,2,4]'), ('[1,2,3]', '[1,2]'), ('[2]', '[1,9,9]'), ('[-1]', '[0]'), ('[0]', '[-0]'), ('[1,-0]', '[1,0,0]'), ('[3e4]', '[-3e4]');
SELECT a, b, x.* FROM c, LATERAL (SELECT a::vector < b::vector, a::vector <= b::vector, a::vector = b::vector, a::vector <> b::vector, a::vector >= b::vector, a::vector > b::vector, vector_cmp(a::vector, b::vector), vector_cmp(b::vector, a::vector)) x ORDER BY id;
SELECT a, b, x.* FROM c, LATERAL (SELECT a::halfvec < b::halfvec, a::halfvec <= b::halfvec, a::halfvec = b::halfvec, a::halfvec <> b::halfvec, a::halfvec >= b::halfvec, a::halfvec > b::halfvec, halfvec_cmp(a::halfvec, b::halfvec), halfvec_cmp(b::halfvec, a::halfvec)) x ORDER BY id;
TRUNCATE c RESTART IDENTITY;
-- A sparsevec compares like the dense vector it stands for.
INSERT INTO c (a, b) VALUES ('{1:1,2:2}/3', '{1:1,2:2}/3'), ('{1:1}/2', '{2:1}/2'), ('{1:-1}/2', '{2:1}/2'), ('{1:-1}/2', '{2:-1}/2'), ('{}/2', '{1:1}/2'), ('{}/2', '{1:-1}/2'), ('{1:1}/3', '{1:1,3:1}/3'), ('{1:1}/3', '{1:1,3:-1}/3'), ('{1:1}/2', '{1:1}/3'), ('{1:1}/2', '{1:1,3:-1}/3'), ('{}/1', '{}/2'), ('{1:2}/1', '{1:1}/5');
SELECT a, b, x.* FROM c, LATERAL (SELECT a::sparsevec < b::sparsevec, a::sparsevec <= b::sparsevec, a::sparsevec = b::sparsevec, a::sparsevec <> b::sparsevec, a::sparsevec >= b::sparsevec, a::sparsevec > b::sparsevec, sparsevec_cmp(a::sparsevec, b::sparsevec), sparsevec_cmp(b::sparsevec, a::sparsevec)) x ORDER BY id;
-- All pairs of 3-element values over -1, 0, 1 and their prefixes: the three types agree with arrays and with each other.
CREATE TEMP TABLE all_v AS
  SELECT ARRAY[x, y, z]::real[] AS r FROM generate_series(-1, 1) x, generate_series(-1, 1) y, generate_series(-1, 1) z
  UNION ALL SELECT ARRAY[x, y] FROM generate_series(-1, 1) x, generate_series(-1, 1) y UNION ALL SELECT ARRAY[x] FROM generate_series(-1, 1) x;
SELECT count(*) FILTER (WHERE vector_cmp(a.r::vector, b.r::vector) <> w) AS vector, count(*) FILTER (WHERE halfvec_cmp(a.r::halfvec, b.r::halfvec) <> w) AS halfvec,
       count(*) FILTER (WHERE sparsevec_cmp(a.r::sparsevec, b.r::sparsevec) <> w) AS sparsevec, count(*)
  FROM all_v a, all_v b, LATERAL (SELECT btarraycmp(a.r, b.r) AS w) x;

-- Sorting, duplicates, sets, joins. = is declared neither for merge joins nor for hashing.
CREATE TABLE btree_t (id int, v vector, h halfvec, s sparsevec);
INSERT INTO btree_t SELECT i, x::vector, x::halfvec, x::vector::sparsevec FROM unnest(ARRAY['[1,2]', '[0]', '[1,2,3]', NULL, '[-1,5]', '[0]', '[1]', '[0,0]']) WITH ORDINALITY AS u (x, i);
SELECT string_agg(v::text, ' ' ORDER BY v), string_agg(h::text, ' ' ORDER BY h DESC), string_agg(s::text, ' ' ORDER BY s) FROM btree_t;
SELECT id FROM btree_t ORDER BY v DESC NULLS LAST, id;
SELECT count(DISTINCT v), count(DISTINCT h), count(DISTINCT s) FROM btree_t;
SELECT v, count(*) FROM btree_t GROUP BY v ORDER BY v;
SELECT v FROM btree_t WHERE id < 4 INTERSECT SELECT v FROM btree_t WHERE id > 2 ORDER BY 1;
SELECT a.id, b.id FROM btree_t a JOIN btree_t b USING (v) WHERE a.id < b.id;
SELECT id FROM btree_t WHERE v IN ('[0]', '[1]') ORDER BY id;
SELECT id FROM btree_t WHERE v BETWEEN '[0]' AND '[1,2]' ORDER BY id;
SELECT id FROM btree_t WHERE v = ANY (ARRAY['[1]', '[1,2]']::vector[]) ORDER BY id;

-- ANALYZE meets values of different dimensions.
ANALYZE btree_t;
SELECT attname, n_distinct, null_frac FROM pg_stats WHERE tablename = 'btree_t' AND attname <> 'id' ORDER BY attname;
SELECT id FROM btree_t WHERE v >= '[1]' AND h <= '[1,2]' ORDER BY id;

-- The default operator classes of btree.
CREATE INDEX btree_t_v ON btree_t (v);
CREATE INDEX btree_t_h ON btree_t (h DESC);
CREATE INDEX btree_t_s ON btree_t (s);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM btree_t WHERE v = '[0]';
SELECT id FROM btree_t WHERE v = '[0]' ORDER BY id;
EXPLAIN (COSTS OFF) SELECT v FROM btree_t ORDER BY v;
SELECT v FROM btree_t ORDER BY v;
SELECT h FROM btree_t WHERE h > '[0]' ORDER BY h DESC;
SELECT s FROM btree_t WHERE s <= '{1:1}/1' ORDER BY s;
RESET enable_seqscan;
RESET enable_bitmapscan;
RESET enable_sort;
DROP TABLE btree_t;

CREATE TEMP TABLE u (v vector UNIQUE, h halfvec UNIQUE, s sparsevec PRIMARY KEY);
INSERT INTO u VALUES ('[1,0]', '[1,0]', '{1:1}/2');
INSERT INTO u VALUES ('[1,-0]', '[2]', '{1:2}/2');
INSERT INTO u VALUES ('[2]', '[1,-0]', '{1:2}/2');
INSERT INTO u VALUES ('[2]', '[2]', '{2:0,1:1}/2');
INSERT INTO u VALUES ('[1]', '[1]', '{1:1}/1') ON CONFLICT DO NOTHING;
INSERT INTO u VALUES ('[1]', '[3]', '{1:3}/1') ON CONFLICT (v) DO UPDATE SET h = excluded.h;
SELECT * FROM u ORDER BY v;
-- There is no hash operator class.
SELECT pg_temp.attempt('CREATE INDEX ON u USING hash (v)');
