-- The vector type: text in and out, what it measures, what it computes.
\pset format unaligned
\pset tuples_only on
\pset null '(null)'

-- What goes in comes out in PostgreSQL's shortest form for float4.
SELECT '[1,2,3]'::vector;
SELECT ' [ 1 , 2.50 ,-3e0 ] '::vector;
SELECT (E'\t[\n1\r,' || chr(11) || E'2\f]\n')::vector;
SELECT '[+1,.5,5.,-.25,1e3,1E+3,1e-3,0001]'::vector;
SELECT '[0,-0,0.0,-0e10]'::vector;
SELECT '[0.1,0.3,1.1,3.14159274,16777216,16777217,123456789]'::vector;
SELECT '[1e6,1234567,1e15,1e16,1e-4,1e-5,12345.678]'::vector;
SELECT '[3.4028235e38,-3.4028235e38,1.17549435e-38,1e-45,-1e-45]'::vector;
-- Too small for float4 rounds to zero and keeps its sign.
SELECT '[1e-46,-1e-46,1e-400]'::vector;
-- Hexadecimal, as C reads it.
SELECT '[0x10,0x1p3,-0X1.8p1,0x.8]'::vector;
SELECT '[0.1,0.7,1e-7,33554433]'::vector::text::vector = '[0.1,0.7,1e-7,33554433]';

-- Rounded once, from all digits there are: a tie goes to even, the least digit above it up.
SELECT '[1.000000059604644775390625,1.00000005960464477539062500000001,16777217.0000000000001,16777219,0.50000008940696716308593749]'::vector;
SELECT ('[1.' || repeat('0', 5000) || '1,0.' || repeat('0', 44) || '1,' || repeat('0', 5000) || '1e' || repeat('0', 500) || '1,' || repeat('9', 38) || 'e-38]')::vector, (repeat(' ', 100000) || '[1]' || repeat(' ', 100000))::vector;
-- 16,000 numbers of all magnitudes, printed and read as PostgreSQL prints and reads float4.
SELECT a::vector::text = s, s::vector::real[] = a, s::vector = a::vector
  FROM (SELECT array_agg(x ORDER BY i) AS a, '[' || string_agg(x::text, ',' ORDER BY i) || ']' AS s
          FROM generate_series(1, 16000) i, LATERAL (SELECT ((i * 7919 % 10007) * 10.0::float8 ^ (i % 76 - 44) * (i % 2 * 2 - 1))::real AS x) y) z;

-- The largest vector.
SELECT vector_dims(array_fill(0.5::real, ARRAY[16000])::vector);
SELECT md5(array_fill(0.5::real, ARRAY[16000])::vector::text) = md5('[' || array_to_string(array_fill(0.5::real, ARRAY[16000]), ',') || ']');
SELECT vector_dims(('[' || repeat('1.25,', 15999) || '1]')::vector);

-- Distances, as functions and as operators.
SELECT l2_distance('[0,0]'::vector, '[3,4]'), '[0,0]'::vector <-> '[3,4]';
SELECT l2_distance('[1]'::vector, '[1]'), l2_distance('[1,-2,3]'::vector, '[4,2,3]');
SELECT inner_product('[1,2]'::vector, '[3,4]'), '[1,2]'::vector <#> '[3,4]';
SELECT inner_product('[0]'::vector, '[5]'), '[0]'::vector <#> '[5]';
SELECT cosine_distance('[1,2]'::vector, '[2,4]'), '[1,2]'::vector <=> '[2,4]';
SELECT cosine_distance('[1,0]'::vector, '[0,2]'), cosine_distance('[1,1]'::vector, '[-2,-2]');
SELECT round(cosine_distance('[1,2,3]'::vector, '[4,5,6]')::numeric, 6);
SELECT cosine_distance('[0,0]'::vector, '[1,1]'), cosine_distance('[0,0]'::vector, '[0,0]');
-- Stays within 0 and 2 when the sums are not exact.
SELECT cosine_distance(v, v) BETWEEN 0 AND 1e-6, cosine_distance(v, v * s) BETWEEN 2 - 1e-6 AND 2
  FROM (VALUES ('[0.1,0.2,0.3,0.7]'::vector, '[-1,-1,-1,-1]'::vector)) AS t (v, s);
SELECT l1_distance('[0,0]'::vector, '[3,-4]'), '[0,0]'::vector <+> '[3,-4]';
-- Operators commute where they say so.
SELECT '[1,5]'::vector <-> '[4,1]' = '[4,1]'::vector <-> '[1,5]', '[1,5]'::vector <+> '[4,1]' = '[4,1]'::vector <+> '[1,5]';
-- Sums of squares are kept in float4: they overflow to infinity without an error.
SELECT l2_distance('[3e38]'::vector, '[-3e38]'), '[3e38]'::vector <-> '[1]';
SELECT inner_product('[3e38,3e38]'::vector, '[2,2]'), '[3e38]'::vector <#> '[3e38]';
SELECT cosine_distance('[3e38]'::vector, '[3e38]'), l1_distance('[3e38]'::vector, '[-3e38]');
SELECT l2_distance('[1e-30]'::vector, '[0]'), cosine_distance('[1e-30]'::vector, '[1e-30]');

-- The forms the indexes use.
SELECT vector_l2_squared_distance('[0,0]', '[3,4]'), vector_negative_inner_product('[1,2]', '[3,4]');
SELECT vector_spherical_distance('[1,0]', '[0,1]'), vector_spherical_distance('[1,0]', '[-1,0]'), vector_spherical_distance('[1,0]', '[1,0]');
-- An inner product outside -1 to 1 counts as the nearest end.
SELECT vector_spherical_distance('[2,0]', '[2,0]'), vector_spherical_distance('[2,0]', '[-2,0]');

-- Every loop length, so that no tail of a vectorised loop goes untested.
SELECT count(*) FILTER (WHERE l2_distance(a, b) <> sqrt(n) OR inner_product(a, b) <> 2 * n OR l1_distance(a, b) <> n
    OR vector_norm(a) <> sqrt(n) OR abs(cosine_distance(a, b)) > 1e-6 OR a + a <> b OR b - a <> a OR a * b <> b) AS wrong, count(*)
  FROM generate_series(1, 200) n, LATERAL (SELECT array_fill(1, ARRAY[n])::vector a, array_fill(2, ARRAY[n])::vector b) v;
-- One element at a time, so that every lane is looked at.
SELECT count(*) FILTER (WHERE l2_distance(a, b) <> 3 OR inner_product(a, b) <> 0 OR inner_product(b, b) <> 9 OR l1_distance(b, a) <> 3 OR vector_norm(b) <> 3) AS wrong, count(*)
  FROM generate_series(1, 70) n, LATERAL (SELECT array_fill(0, ARRAY[70])::vector a, (array_fill(0, ARRAY[n - 1]) || 3 || array_fill(0, ARRAY[70 - n]))::vector b) v;

SELECT vector_dims('[1,2,3]'::vector), vector_dims('[0]'::vector);
SELECT vector_norm('[3,4]'), vector_norm('[0,0]'), vector_norm('[-7]');
-- The norm is summed in float8, so this does not overflow.
SELECT vector_norm('[3e37,4e37]')::real, vector_norm('[3e-30,4e-30]')::real;

-- Arithmetic, element by element.
SELECT '[1,2,3]'::vector + '[4,-5,0.5]', '[1,2,3]'::vector - '[4,-5,0.5]', '[1,2,3]'::vector * '[4,-5,0.5]';
SELECT '[1,2]'::vector || '[3]', '[1]'::vector || '[1]' || '[2]';
SELECT '[0]'::vector * '[-1]', '[0]'::vector - '[0]';
SELECT vector_add('[1]', '[2]'), vector_sub('[1]', '[2]'), vector_mul('[3]', '[2]'), vector_concat('[3]', '[2]');

-- NULL in, NULL out.
SELECT l2_distance(NULL::vector, '[1]'), '[1]'::vector <-> NULL, NULL::vector + '[1]', vector_dims(NULL::vector), '[1]'::vector || NULL, '[1]'::vector = NULL;
SELECT NULL::vector, NULL::text::vector;

-- Nearest first; NULLs and NaN go last.
CREATE TEMP TABLE t (id int, v vector);
INSERT INTO t VALUES (1, '[1,1]'), (2, '[0,0]'), (3, '[2,2]'), (4, NULL), (5, '[-1,3]');
SELECT id, v <-> '[2,1]' FROM t ORDER BY v <-> '[2,1]', id;
SELECT id, v <#> '[2,1]' FROM t ORDER BY v <#> '[2,1]', id;
SELECT id, round((v <=> '[2,1]')::numeric, 4) FROM t ORDER BY v <=> '[2,1]', id;
SELECT id, v <+> '[2,1]' FROM t ORDER BY v <+> '[2,1]', id LIMIT 2;
SELECT count(*) FROM t WHERE v <-> '[0,0]' < 3;
