-- The halfvec type: text in and out, what it measures, what it computes.
\pset format unaligned
\pset tuples_only on
\pset null '(null)'

SELECT '[1,2,3]'::halfvec;
SELECT (E' \t[ 1 ,\n2.50' || chr(11) || E',-3e0\r]\f ')::halfvec;
SELECT '[+1,.5,5.,-.25,1e3,1e-3,0x10]'::halfvec;
-- Rounded to the nearest half, ties to even; printed as the float4 of the same value.
SELECT '[0.1,0.3,1.1,3.14159274,2048,2049,2050,2051,65504]'::halfvec;
SELECT '[0,-0,1e-46,-1e-8]'::halfvec;
-- Text becomes float4 first and half then: what float4 rounds to a tie goes to even.
SELECT '[1.00048828125,1.000488281250000001,1.0004884,1.00146484375,2.98023223876953126e-08]'::halfvec;
-- The smallest normal and subnormal halves, and half of the latter: down to zero, and just above: up.
SELECT '[6.1035156e-05,6.0975552e-05,5.9604645e-08,2.9802322e-08,2.9802326e-08,-2.9802326e-08]'::halfvec;
-- 65519.99 is still nearer to 65504 than to what would follow it.
SELECT '[65519.99,-65519.99]'::halfvec;
SELECT '[0.1,0.7,1e-7,1000.5]'::halfvec::text::halfvec = '[0.1,0.7,1e-7,1000.5]';

SELECT vector_dims(array_fill(0.5::real, ARRAY[16000])::halfvec);
SELECT vector_dims(('[' || repeat('1.25,', 15999) || '1]')::halfvec);

SELECT l2_distance('[0,0]'::halfvec, '[3,4]'), '[0,0]'::halfvec <-> '[3,4]';
SELECT inner_product('[1,2]'::halfvec, '[3,4]'), '[1,2]'::halfvec <#> '[3,4]';
SELECT cosine_distance('[1,2]'::halfvec, '[2,4]'), '[1,2]'::halfvec <=> '[2,4]';
SELECT cosine_distance('[1,0]'::halfvec, '[0,2]'), cosine_distance('[1,1]'::halfvec, '[-2,-2]');
SELECT round(cosine_distance('[1,2,3]'::halfvec, '[4,5,6]')::numeric, 6);
SELECT cosine_distance('[0,0]'::halfvec, '[1,1]'), cosine_distance('[0,0]'::halfvec, '[0,0]');
SELECT l1_distance('[0,0]'::halfvec, '[3,-4]'), '[0,0]'::halfvec <+> '[3,-4]';
-- Sums are kept in float4, far beyond what a half can hold.
SELECT l2_distance('[65504,65504]'::halfvec, '[-65504,-65504]')::real, inner_product('[65504]'::halfvec, '[65504]'), l1_distance('[65504]'::halfvec, '[-65504]');

SELECT halfvec_l2_squared_distance('[0,0]', '[3,4]'), halfvec_negative_inner_product('[1,2]', '[3,4]');
SELECT halfvec_spherical_distance('[1,0]', '[0,1]'), halfvec_spherical_distance('[1,0]', '[-1,0]'), halfvec_spherical_distance('[2,0]', '[2,0]');

SELECT count(*) FILTER (WHERE l2_distance(a, b) <> sqrt(n) OR inner_product(a, b) <> 2 * n OR l1_distance(a, b) <> n
    OR l2_norm(a) <> sqrt(n) OR abs(cosine_distance(a, b)) > 1e-6 OR a + a <> b OR b - a <> a OR a * b <> b) AS wrong, count(*)
  FROM generate_series(1, 200) n, LATERAL (SELECT array_fill(1, ARRAY[n])::halfvec a, array_fill(2, ARRAY[n])::halfvec b) v;
SELECT count(*) FILTER (WHERE l2_distance(a, b) <> 3 OR inner_product(a, b) <> 0 OR inner_product(b, b) <> 9 OR l1_distance(b, a) <> 3 OR l2_norm(b) <> 3) AS wrong, count(*)
  FROM generate_series(1, 70) n, LATERAL (SELECT array_fill(0, ARRAY[70])::halfvec a, (array_fill(0, ARRAY[n - 1]) || 3 || array_fill(0, ARRAY[70 - n]))::halfvec b) v;

-- Every finite half survives text, float4 and back.
SELECT count(*) AS wrong FROM (
    SELECT ('[' || string_agg((CASE WHEN e = 0 THEN m * 2.0 ^ -24 ELSE (1024 + m) * 2.0 ^ (e - 25) END)::real::text, ',' ORDER BY m) || ']')::halfvec AS h,
           array_agg((CASE WHEN e = 0 THEN m * 2.0 ^ -24 ELSE (1024 + m) * 2.0 ^ (e - 25) END)::real ORDER BY m) AS a
      FROM generate_series(0, 30) e, generate_series(0, 1023) m GROUP BY e) s
 WHERE h::real[] <> a OR a::halfvec <> h OR h::vector::halfvec <> h OR h::text::halfvec <> h OR h::vector <> a::vector;

SELECT vector_dims('[1,2,3]'::halfvec), l2_norm('[3,4]'::halfvec), l2_norm('[0,0]'::halfvec), l2_norm('[65504,0]'::halfvec);

SELECT '[1,2,3]'::halfvec + '[4,-5,0.5]', '[1,2,3]'::halfvec - '[4,-5,0.5]', '[1,2,3]'::halfvec * '[4,-5,0.5]';
SELECT '[1,2]'::halfvec || '[3]', halfvec_concat('[3]', '[2]');
-- Results are rounded to halves.
SELECT '[2048]'::halfvec + '[1]', '[2048]'::halfvec + '[3]', '[0.1]'::halfvec * '[0.1]';
SELECT halfvec_add('[1]', '[2]'), halfvec_sub('[1]', '[2]'), halfvec_mul('[3]', '[2]');

SELECT l2_distance(NULL::halfvec, '[1]'), '[1]'::halfvec <-> NULL, NULL::halfvec + '[1]', vector_dims(NULL::halfvec), NULL::halfvec;

CREATE TEMP TABLE t (id int, v halfvec);
INSERT INTO t VALUES (1, '[1,1]'), (2, '[0,0]'), (3, '[2,2]'), (4, NULL), (5, '[-1,3]');
SELECT id, v <-> '[2,1]' FROM t ORDER BY v <-> '[2,1]', id;
SELECT id, v <#> '[2,1]' FROM t ORDER BY v <#> '[2,1]', id;
SELECT id, round((v <=> '[2,1]')::numeric, 4) FROM t ORDER BY v <=> '[2,1]', id;
SELECT id, v <+> '[2,1]' FROM t ORDER BY v <+> '[2,1]', id;
