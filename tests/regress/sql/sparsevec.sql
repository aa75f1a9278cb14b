-- The sparsevec type: text in and out, what it measures.
\pset format unaligned
\pset tuples_only on
\pset null '(null)'

SELECT '{1:1.5,3:2,5:-3}/5'::sparsevec;
SELECT (E' {\t1 : 1.5 , 3\n:2\r}' || chr(11) || E'/\f5 ')::sparsevec;
SELECT '{}/5'::sparsevec, ' { } / 1 '::sparsevec;
SELECT '{+1:+1,02:.5,3:0x10}/+3'::sparsevec;
-- Indices may come in any order; zeros are left out, wherever they point and however often.
SELECT '{3:3,1:1,2:2}/3'::sparsevec;
SELECT '{1:0,2:1,3:-0}/3'::sparsevec, '{1:0}/1'::sparsevec;
SELECT '{1:0,1:0,1:2}/3'::sparsevec, '{0:0,-5:0,9:0,2:1}/3'::sparsevec;
SELECT '{1:0.1,2:16777217,3:1e-45,4:3.4028235e38}/4'::sparsevec;
SELECT '{1:1.00000005960464477539062500000001,2:16777217.0000000000001}/2'::sparsevec;
SELECT (s || '/16000')::sparsevec::text = s || '/16000', (s || '/16000')::sparsevec = a::sparsevec
  FROM (SELECT array_agg(x ORDER BY i) AS a, '{' || string_agg(i || ':' || x::text, ',' ORDER BY i) || '}' AS s
          FROM generate_series(1, 16000) i, LATERAL (SELECT ((i * 7919 % 10007 + 1) * 10.0::float8 ^ (i % 76 - 44))::real AS x) y) z;
-- The limits: a billion dimensions, 16,000 elements.
SELECT '{}/1000000000'::sparsevec, '{1000000000:1,1:2}/1000000000'::sparsevec;
SELECT length(('{' || string_agg(i || ':1', ',') || '}/16000')::sparsevec::text) FROM generate_series(1, 16000) i;
SELECT length(('{' || string_agg(i || ':1', ',' ORDER BY i DESC) || '}/1000000000')::sparsevec::text) FROM generate_series(999984001, 1000000000) i;

SELECT l2_distance('{}/2'::sparsevec, '{1:3,2:4}/2'), '{}/2'::sparsevec <-> '{1:3,2:4}/2';
SELECT l2_distance('{1:3}/2'::sparsevec, '{2:4}/2'), l2_distance('{2:4}/2'::sparsevec, '{1:3}/2'), l2_distance('{1:1,2:5}/3'::sparsevec, '{1:4,2:1}/3');
SELECT inner_product('{1:1,2:2}/3'::sparsevec, '{1:3,2:4}/3'), '{1:1,2:2}/3'::sparsevec <#> '{1:3,2:4}/3';
SELECT inner_product('{1:1}/3'::sparsevec, '{2:4}/3'), inner_product('{1:1,3:5}/3'::sparsevec, '{2:4,3:2}/3'), inner_product('{}/3'::sparsevec, '{2:4}/3');
SELECT cosine_distance('{1:1,2:2}/2'::sparsevec, '{1:2,2:4}/2'), '{1:1}/2'::sparsevec <=> '{2:2}/2', cosine_distance('{1:1}/1'::sparsevec, '{1:-3}/1');
SELECT cosine_distance('{}/2'::sparsevec, '{1:1}/2'), cosine_distance('{}/2'::sparsevec, '{}/2');
SELECT l1_distance('{}/2'::sparsevec, '{1:3,2:-4}/2'), '{1:3}/2'::sparsevec <+> '{2:-4}/2', l1_distance('{1:3,2:1}/2'::sparsevec, '{1:1}/2');
SELECT sparsevec_l2_squared_distance('{1:3}/2', '{2:4}/2'), sparsevec_negative_inner_product('{1:1,2:2}/3', '{1:3,2:4}/3');
SELECT l2_distance('{1:3e38}/1'::sparsevec, '{1:-3e38}/1'), inner_product('{1:3e38}/1'::sparsevec, '{1:3e38}/1'), cosine_distance('{1:3e38}/1'::sparsevec, '{1:3e38}/1');

-- The same answers as the dense type gives, whichever indices two values share.
CREATE TEMP TABLE pairs AS
  SELECT m, n, a::vector AS da, b::vector AS db, a::vector::sparsevec AS sa, b::vector::sparsevec AS sb
    FROM generate_series(0, 31) m, generate_series(0, 31) n,
         LATERAL (SELECT array_agg(CASE WHEN (m >> i) & 1 = 1 THEN i + 1 ELSE 0 END ORDER BY i) AS a,
                         array_agg(CASE WHEN (n >> i) & 1 = 1 THEN 2 - i ELSE 0 END ORDER BY i) AS b FROM generate_series(0, 4) i) x;
SELECT count(*) FILTER (WHERE (sa <-> sb) <> (da <-> db)) AS l2, count(*) FILTER (WHERE (sa <#> sb) <> (da <#> db)) AS ip,
       count(*) FILTER (WHERE (sa <=> sb = 'NaN') <> (da <=> db = 'NaN') OR (da <=> db <> 'NaN' AND abs((sa <=> sb) - (da <=> db)) > 1e-6)) AS cosine,
       count(*) FILTER (WHERE (sa <+> sb) <> (da <+> db)) AS l1, count(*) FILTER (WHERE l2_norm(sa) <> vector_norm(da)) AS norm,
       count(*) FILTER (WHERE sparsevec_cmp(sa, sb) <> vector_cmp(da, db)) AS cmp, count(*)
  FROM pairs;

SELECT l2_norm('{1:3,2:4}/9'::sparsevec), l2_norm('{}/2'::sparsevec);
SELECT l2_normalize('{1:3,9:4}/9'::sparsevec), l2_normalize('{}/2'::sparsevec), l2_normalize('{7:-2}/9'::sparsevec);
-- What becomes zero on the way is left out.
SELECT l2_normalize('{1:3e38,2:1e-20,4:-3e38}/4'::sparsevec);

SELECT l2_distance(NULL::sparsevec, '{}/1'), '{}/1'::sparsevec <-> NULL, l2_norm(NULL::sparsevec), NULL::sparsevec;

CREATE TEMP TABLE t (id int, v sparsevec);
INSERT INTO t VALUES (1, '{1:1,2:1}/2'), (2, '{}/2'), (3, '{1:2,2:2}/2'), (4, NULL), (5, '{1:-1,2:3}/2');
SELECT id, v <-> '{1:2,2:1}/2' FROM t ORDER BY v <-> '{1:2,2:1}/2', id;
SELECT id, v <#> '{1:2,2:1}/2' FROM t ORDER BY v <#> '{1:2,2:1}/2', id;
SELECT id, round((v <=> '{1:2,2:1}/2')::numeric, 4) FROM t ORDER BY v <=> '{1:2,2:1}/2', id;
SELECT id, v <+> '{1:2,2:1}/2' FROM t ORDER BY v <+> '{1:2,2:1}/2', id;
