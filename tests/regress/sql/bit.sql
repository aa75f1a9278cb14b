-- Distances on PostgreSQL's bit type.
\pset format unaligned
\pset tuples_only on
\pset null '(null)'

SELECT hamming_distance('111', '111'), hamming_distance('111', '110'), hamming_distance('111', '000'), hamming_distance('', '');
SELECT B'1010' <~> B'0110', B'1' <~> B'0';
SELECT jaccard_distance('1111', '1111'), jaccard_distance('1111', '1100'), jaccard_distance('1100', '0011'), jaccard_distance('1110', '0111');
SELECT B'1010' <%> B'0110', B'1000' <%> B'1111';
-- Nothing in common, even when there is nothing at all.
SELECT jaccard_distance('0000', '0000'), jaccard_distance('', ''), jaccard_distance('0000', '0001');
-- bit varying takes part too.
SELECT B'101'::varbit <~> B'011'::varbit, hamming_distance(B'101'::bit varying(8), B'011');

-- Every length up to some words and a tail, against counting one by one.
SELECT count(*) FILTER (WHERE hamming_distance(a, b) <> length(replace((a # b)::text, '0', ''))) AS hamming,
       count(*) FILTER (WHERE jaccard_distance(a, b) <> 1 - coalesce(length(replace((a & b)::text, '0', ''))::float8 / nullif(length(replace((a | b)::text, '0', '')), 0), 0)) AS jaccard,
       count(*)
  FROM generate_series(1, 300) n, LATERAL (SELECT string_agg((i * i % 7 % 2)::text, '' ORDER BY i)::varbit AS a, string_agg((i * 5 % 11 % 2)::text, '' ORDER BY i)::varbit AS b FROM generate_series(1, n) i) v;
SELECT hamming_distance(repeat('1', 64000)::varbit, repeat('0', 64000)::varbit), jaccard_distance(repeat('10', 32000)::varbit, repeat('1', 64000)::varbit);

SELECT hamming_distance('111', '11');
SELECT jaccard_distance('111', '11');
SELECT B'' <~> B'1';
SELECT B'1' <%> B'';
SELECT hamming_distance(NULL, '1'), B'1' <%> NULL;

CREATE TEMP TABLE t (id int, v bit(4));
INSERT INTO t VALUES (1, '0000'), (2, '1111'), (3, '0110'), (4, NULL), (5, '1000');
SELECT id, v <~> '0111' FROM t ORDER BY v <~> '0111', id;
SELECT id, round((v <%> '0111')::numeric, 4) FROM t ORDER BY v <%> '0111', id;
