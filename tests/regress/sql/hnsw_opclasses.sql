-- Every hnsw operator class: builds, takes inserts, answers in order, skips NULLs, and vectors of length zero where there is no direction.
\pset format unaligned
\pset tuples_only on
SET enable_seqscan = off;
SET client_min_messages = warning;
SELECT opcname, format_type(opcintype, NULL), opcdefault FROM pg_opclass WHERE opcmethod = (SELECT oid FROM pg_am WHERE amname = 'hnsw') ORDER BY opcname;

-- What a plan scans and orders by.
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
    IF line ~ 'Scan|Order By' THEN RETURN NEXT regexp_replace(line, '^[ >-]+', ''); END IF;
  END LOOP;
END $$;

-- vector_l2_ops
CREATE TABLE t (v vector(3));
INSERT INTO t VALUES ('[0,0,0]'), ('[1,2,3]'), ('[1,1,1]'), (NULL);
CREATE INDEX i ON t USING hnsw (v vector_l2_ops);
INSERT INTO t VALUES ('[-3,2,0.5]'), ('[4,-4,1]'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <-> '[3,3,2]' LIMIT 9$$);
SELECT v, round((v <-> '[3,3,2]')::numeric, 3) FROM t ORDER BY v <-> '[3,3,2]';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <-> (SELECT NULL::vector(3))) x;
DROP TABLE t;

-- vector_ip_ops
CREATE TABLE t (v vector(3));
INSERT INTO t VALUES ('[0,0,0]'), ('[1,2,3]'), ('[1,1,1]'), (NULL);
CREATE INDEX i ON t USING hnsw (v vector_ip_ops);
INSERT INTO t VALUES ('[-3,2,0.5]'), ('[4,-4,1]'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <#> '[3,3,2]' LIMIT 9$$);
SELECT v, round((v <#> '[3,3,2]')::numeric, 3) FROM t ORDER BY v <#> '[3,3,2]';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <#> (SELECT NULL::vector(3))) x;
DROP TABLE t;

-- vector_cosine_ops
CREATE TABLE t (v vector(3));
INSERT INTO t VALUES ('[0,0,0]'), ('[1,2,3]'), ('[1,1,1]'), (NULL);
CREATE INDEX i ON t USING hnsw (v vector_cosine_ops);
INSERT INTO t VALUES ('[-3,2,0.5]'), ('[4,-4,1]'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <=> '[3,3,2]' LIMIT 9$$);
SELECT v, round((v <=> '[3,3,2]')::numeric, 3) FROM t ORDER BY v <=> '[3,3,2]';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <=> (SELECT NULL::vector(3))) x;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <=> '[0,0,0]') x;
DROP TABLE t;

-- vector_l1_ops
CREATE TABLE t (v vector(3));
INSERT INTO t VALUES ('[0,0,0]'), ('[1,2,3]'), ('[1,1,1]'), (NULL);
CREATE INDEX i ON t USING hnsw (v vector_l1_ops);
INSERT INTO t VALUES ('[-3,2,0.5]'), ('[4,-4,1]'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <+> '[3,3,2]' LIMIT 9$$);
SELECT v, round((v <+> '[3,3,2]')::numeric, 3) FROM t ORDER BY v <+> '[3,3,2]';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <+> (SELECT NULL::vector(3))) x;
DROP TABLE t;

-- halfvec_l2_ops
CREATE TABLE t (v halfvec(3));
INSERT INTO t VALUES ('[0,0,0]'), ('[1,2,3]'), ('[1,1,1]'), (NULL);
CREATE INDEX i ON t USING hnsw (v halfvec_l2_ops);
INSERT INTO t VALUES ('[-3,2,0.5]'), ('[4,-4,1]'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <-> '[3,3,2]' LIMIT 9$$);
SELECT v, round((v <-> '[3,3,2]')::numeric, 3) FROM t ORDER BY v <-> '[3,3,2]';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <-> (SELECT NULL::halfvec(3))) x;
DROP TABLE t;

-- halfvec_ip_ops
CREATE TABLE t (v halfvec(3));
INSERT INTO t VALUES ('[0,0,0]'), ('[1,2,3]'), ('[1,1,1]'), (NULL);
CREATE INDEX i ON t USING hnsw (v halfvec_ip_ops);
INSERT INTO t VALUES ('[-3,2,0.5]'), ('[4,-4,1]'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <#> '[3,3,2]' LIMIT 9$$);
SELECT v, round((v <#> '[3,3,2]')::numeric, 3) FROM t ORDER BY v <#> '[3,3,2]';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <#> (SELECT NULL::halfvec(3))) x;
DROP TABLE t;

-- halfvec_cosine_ops
CREATE TABLE t (v halfvec(3));
INSERT INTO t VALUES ('[0,0,0]'), ('[1,2,3]'), ('[1,1,1]'), (NULL);
CREATE INDEX i ON t USING hnsw (v halfvec_cosine_ops);
INSERT INTO t VALUES ('[-3,2,0.5]'), ('[4,-4,1]'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <=> '[3,3,2]' LIMIT 9$$);
SELECT v, round((v <=> '[3,3,2]')::numeric, 3) FROM t ORDER BY v <=> '[3,3,2]';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <=> (SELECT NULL::halfvec(3))) x;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <=> '[0,0,0]') x;
DROP TABLE t;

-- halfvec_l1_ops
CREATE TABLE t (v halfvec(3));
INSERT INTO t VALUES ('[0,0,0]'), ('[1,2,3]'), ('[1,1,1]'), (NULL);
CREATE INDEX i ON t USING hnsw (v halfvec_l1_ops);
INSERT INTO t VALUES ('[-3,2,0.5]'), ('[4,-4,1]'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <+> '[3,3,2]' LIMIT 9$$);
SELECT v, round((v <+> '[3,3,2]')::numeric, 3) FROM t ORDER BY v <+> '[3,3,2]';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <+> (SELECT NULL::halfvec(3))) x;
DROP TABLE t;

-- sparsevec_l2_ops
CREATE TABLE t (v sparsevec(3));
INSERT INTO t VALUES ('{}/3'), ('{1:1,2:2,3:3}/3'), ('{1:1,2:1,3:1}/3'), (NULL);
CREATE INDEX i ON t USING hnsw (v sparsevec_l2_ops);
INSERT INTO t VALUES ('{1:-3,2:2,3:0.5}/3'), ('{1:4,2:-4,3:1}/3'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <-> '{1:3,2:3,3:2}/3' LIMIT 9$$);
SELECT v, round((v <-> '{1:3,2:3,3:2}/3')::numeric, 3) FROM t ORDER BY v <-> '{1:3,2:3,3:2}/3';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <-> (SELECT NULL::sparsevec(3))) x;
DROP TABLE t;

-- sparsevec_ip_ops
CREATE TABLE t (v sparsevec(3));
INSERT INTO t VALUES ('{}/3'), ('{1:1,2:2,3:3}/3'), ('{1:1,2:1,3:1}/3'), (NULL);
CREATE INDEX i ON t USING hnsw (v sparsevec_ip_ops);
INSERT INTO t VALUES ('{1:-3,2:2,3:0.5}/3'), ('{1:4,2:-4,3:1}/3'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <#> '{1:3,2:3,3:2}/3' LIMIT 9$$);
SELECT v, round((v <#> '{1:3,2:3,3:2}/3')::numeric, 3) FROM t ORDER BY v <#> '{1:3,2:3,3:2}/3';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <#> (SELECT NULL::sparsevec(3))) x;
DROP TABLE t;

-- sparsevec_cosine_ops
CREATE TABLE t (v sparsevec(3));
INSERT INTO t VALUES ('{}/3'), ('{1:1,2:2,3:3}/3'), ('{1:1,2:1,3:1}/3'), (NULL);
CREATE INDEX i ON t USING hnsw (v sparsevec_cosine_ops);
INSERT INTO t VALUES ('{1:-3,2:2,3:0.5}/3'), ('{1:4,2:-4,3:1}/3'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <=> '{1:3,2:3,3:2}/3' LIMIT 9$$);
SELECT v, round((v <=> '{1:3,2:3,3:2}/3')::numeric, 3) FROM t ORDER BY v <=> '{1:3,2:3,3:2}/3';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <=> (SELECT NULL::sparsevec(3))) x;
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <=> '{}/3') x;
DROP TABLE t;

-- sparsevec_l1_ops
CREATE TABLE t (v sparsevec(3));
INSERT INTO t VALUES ('{}/3'), ('{1:1,2:2,3:3}/3'), ('{1:1,2:1,3:1}/3'), (NULL);
CREATE INDEX i ON t USING hnsw (v sparsevec_l1_ops);
INSERT INTO t VALUES ('{1:-3,2:2,3:0.5}/3'), ('{1:4,2:-4,3:1}/3'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <+> '{1:3,2:3,3:2}/3' LIMIT 9$$);
SELECT v, round((v <+> '{1:3,2:3,3:2}/3')::numeric, 3) FROM t ORDER BY v <+> '{1:3,2:3,3:2}/3';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <+> (SELECT NULL::sparsevec(3))) x;
DROP TABLE t;

-- bit_hamming_ops
CREATE TABLE t (v bit(4));
INSERT INTO t VALUES ('0000'), ('1011'), ('1100'), (NULL);
CREATE INDEX i ON t USING hnsw (v bit_hamming_ops);
INSERT INTO t VALUES ('1111'), ('1000'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <~> B'1111' LIMIT 9$$);
SELECT v, round((v <~> B'1111')::numeric, 3) FROM t ORDER BY v <~> B'1111';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <~> (SELECT NULL::bit(4))) x;
DROP TABLE t;

-- bit_jaccard_ops
CREATE TABLE t (v bit(4));
INSERT INTO t VALUES ('0000'), ('1011'), ('1100'), (NULL);
CREATE INDEX i ON t USING hnsw (v bit_jaccard_ops);
INSERT INTO t VALUES ('1111'), ('1000'), (NULL);
SELECT plan($$SELECT v FROM t ORDER BY v <%> B'1111' LIMIT 9$$);
SELECT v, round((v <%> B'1111')::numeric, 3) FROM t ORDER BY v <%> B'1111';
SELECT count(*) FROM (SELECT v FROM t ORDER BY v <%> (SELECT NULL::bit(4))) x;
DROP TABLE t;

-- The nearest of several hundred rows after build, insert, delete, vacuum and insert, by the index and without it, with settings that visit everything.
CREATE FUNCTION differ(op text, query text, n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found float8[];
  exact float8[];
  question text := format('SELECT array_agg(round(d::numeric, 3)::float8 ORDER BY d) FROM (SELECT v %s %s AS d FROM t ORDER BY v %1$s %2$s LIMIT %s) x', op, query, n);
BEGIN
  SET LOCAL enable_seqscan = off;
  EXECUTE question INTO found;
  SET LOCAL enable_seqscan = on;
  SET LOCAL enable_indexscan = off;
  EXECUTE question INTO exact;
  SET LOCAL enable_indexscan = on;
  RETURN format('%s found, %s missed', cardinality(found), (SELECT count(*) FROM (SELECT unnest(exact) EXCEPT ALL SELECT unnest(found)) x));
END $$;
SET hnsw.ef_search = 600;

CREATE TABLE source AS SELECT i, v, v::halfvec(8) AS h, v::sparsevec(8) AS s, binary_quantize(v || (v * v - '[9,9,9,9,9,9,9,9]'))::bit(16) AS b
  FROM generate_series(1, 600) i, LATERAL (SELECT ARRAY(SELECT ((i * (j * j + 3) * 7919 + j * 104729) % 1009) / 100.0 - 5 FROM generate_series(1, 8) j)::real[]::vector(8) AS v) x;

CREATE TABLE t AS SELECT v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v vector_l2_ops);
INSERT INTO t SELECT v FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT v FROM source WHERE i <= 50;
SELECT 'vector_l2_ops', differ('<->', $$'[1,-2,3,-4,4,3,-2,1]'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v vector_ip_ops);
INSERT INTO t SELECT v FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT v FROM source WHERE i <= 50;
SELECT 'vector_ip_ops', differ('<#>', $$'[1,-2,3,-4,4,3,-2,1]'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v vector_cosine_ops);
INSERT INTO t SELECT v FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT v FROM source WHERE i <= 50;
SELECT 'vector_cosine_ops', differ('<=>', $$'[1,-2,3,-4,4,3,-2,1]'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v vector_l1_ops);
INSERT INTO t SELECT v FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT v FROM source WHERE i <= 50;
SELECT 'vector_l1_ops', differ('<+>', $$'[1,-2,3,-4,4,3,-2,1]'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT h AS v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v halfvec_l2_ops);
INSERT INTO t SELECT h FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT h FROM source WHERE i <= 50;
SELECT 'halfvec_l2_ops', differ('<->', $$'[1,-2,3,-4,4,3,-2,1]'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT h AS v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v halfvec_ip_ops);
INSERT INTO t SELECT h FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT h FROM source WHERE i <= 50;
SELECT 'halfvec_ip_ops', differ('<#>', $$'[1,-2,3,-4,4,3,-2,1]'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT h AS v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v halfvec_cosine_ops);
INSERT INTO t SELECT h FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT h FROM source WHERE i <= 50;
SELECT 'halfvec_cosine_ops', differ('<=>', $$'[1,-2,3,-4,4,3,-2,1]'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT h AS v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v halfvec_l1_ops);
INSERT INTO t SELECT h FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT h FROM source WHERE i <= 50;
SELECT 'halfvec_l1_ops', differ('<+>', $$'[1,-2,3,-4,4,3,-2,1]'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT s AS v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v sparsevec_l2_ops);
INSERT INTO t SELECT s FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT s FROM source WHERE i <= 50;
SELECT 'sparsevec_l2_ops', differ('<->', $$'{1:1,2:-2,3:3,4:-4,5:4,6:3,7:-2,8:1}/8'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT s AS v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v sparsevec_ip_ops);
INSERT INTO t SELECT s FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT s FROM source WHERE i <= 50;
SELECT 'sparsevec_ip_ops', differ('<#>', $$'{1:1,2:-2,3:3,4:-4,5:4,6:3,7:-2,8:1}/8'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT s AS v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v sparsevec_cosine_ops);
INSERT INTO t SELECT s FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT s FROM source WHERE i <= 50;
SELECT 'sparsevec_cosine_ops', differ('<=>', $$'{1:1,2:-2,3:3,4:-4,5:4,6:3,7:-2,8:1}/8'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT s AS v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v sparsevec_l1_ops);
INSERT INTO t SELECT s FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT s FROM source WHERE i <= 50;
SELECT 'sparsevec_l1_ops', differ('<+>', $$'{1:1,2:-2,3:3,4:-4,5:4,6:3,7:-2,8:1}/8'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT b AS v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v bit_hamming_ops);
INSERT INTO t SELECT b FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT b FROM source WHERE i <= 50;
SELECT 'bit_hamming_ops', differ('<~>', $$B'1010101001010110'$$, 40);
DROP TABLE t;
CREATE TABLE t AS SELECT b AS v FROM source WHERE i <= 400;
CREATE INDEX ON t USING hnsw (v bit_jaccard_ops);
INSERT INTO t SELECT b FROM source WHERE i > 400; DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 50); VACUUM t; INSERT INTO t SELECT b FROM source WHERE i <= 50;
SELECT 'bit_jaccard_ops', differ('<%>', $$B'1010101001010110'$$, 40);
DROP TABLE t;
DROP TABLE source;
DROP FUNCTION differ(text, text, int), plan(text);
