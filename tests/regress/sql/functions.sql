-- subvector, l2_normalize and binary_quantize at their edges.
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

-- subvector(value, first, count): counted from 1, cut to what is there, an error when nothing is.
SELECT first, n, pg_temp.attempt(format('SELECT subvector(''[1,2,3,4,5]''::vector, %s, %s)', first, n)), pg_temp.attempt(format('SELECT subvector(''[1,2,3,4,5]''::halfvec, %s, %s)', first, n))
  FROM (VALUES (1, 1), (1, 5), (1, 6), (2, 3), (5, 1), (5, 9), (6, 1), (0, 1), (0, 2), (-1, 2), (-1, 3), (-3, 100), (3, 0), (3, -1),
               (2147483647, 1), (2147483647, 2147483647), (1, 2147483647), (5, 2147483647), (-2147483647, 1), (-2147483647, 2147483647), (-2147483647, 2147483646), (1, -2147483647)) AS t (first, n);
SELECT subvector(array_fill(1, ARRAY[16000])::vector, 1, 16000) = array_fill(1, ARRAY[16000])::vector, subvector(array_fill(1, ARRAY[16000])::vector, 16000, 16000);
SELECT subvector(NULL::vector, 1, 1) IS NULL, subvector('[1]'::vector, NULL, 1) IS NULL, subvector('[1]'::halfvec, 1, NULL) IS NULL;

-- l2_normalize
SELECT l2_normalize('[3,4]'::vector), l2_normalize('[3,4]'::halfvec), l2_normalize('{1:3,3:4}/3'::sparsevec);
SELECT l2_normalize('[0,-0]'::vector), l2_normalize('[0,0]'::halfvec), l2_normalize('{}/3'::sparsevec);
SELECT l2_normalize('[-2]'::vector), l2_normalize('[3,0]'::vector), l2_normalize('[0,-5]'::halfvec);
SELECT l2_normalize('[3e38,3e38]'::vector), l2_normalize('[1e-45]'::vector), l2_normalize('[65504]'::halfvec), l2_normalize('[5.9604645e-08]'::halfvec);
SELECT l2_normalize('[3e38,1e-20]'::vector);
SELECT round(vector_norm(l2_normalize('[0.1,0.2,0.3]'::vector))::numeric, 6), round(l2_norm(l2_normalize('[0.1,0.2,0.3]'::halfvec))::numeric, 3);
SELECT l2_normalize(NULL::vector) IS NULL, l2_normalize(NULL::halfvec) IS NULL, l2_normalize(NULL::sparsevec) IS NULL;

-- binary_quantize: only what is above zero sets its bit.
SELECT binary_quantize('[1,0,-1,0.5,-0,1e-45]'::vector), binary_quantize('[1,0,-1,0.5,-0,5.9604645e-08]'::halfvec);
SELECT binary_quantize('[1]'::vector), binary_quantize('[-1]'::halfvec);
SELECT binary_quantize('[0,-1,2,3,-4,5,6,-7,8]'::vector), binary_quantize('[0,-1,2,3,-4,5,6,-7,8]'::halfvec);
SELECT count(*) FILTER (WHERE binary_quantize(a::vector)::text <> s OR binary_quantize(a::halfvec)::text <> s) AS wrong, count(*)
  FROM generate_series(1, 130) n, LATERAL (SELECT array_agg(i * i % 5 - 2 ORDER BY i) AS a, string_agg(CASE WHEN i * i % 5 > 2 THEN '1' ELSE '0' END, '' ORDER BY i) AS s FROM generate_series(1, n) i) v;
SELECT length(binary_quantize(array_fill(1, ARRAY[16000])::vector)), binary_quantize(NULL::vector) IS NULL;
SELECT binary_quantize('[1,2,-3]'::vector)::bit(3) <~> B'111';

-- Concatenation up to the limit.
SELECT vector_dims(array_fill(1, ARRAY[15999])::vector || '[1]'), vector_dims(array_fill(1, ARRAY[15999])::halfvec || '[1]');
SELECT pg_temp.attempt('SELECT array_fill(1, ARRAY[16000])::vector || ''[1]'''), pg_temp.attempt('SELECT array_fill(1, ARRAY[16000])::halfvec || array_fill(1, ARRAY[16000])::halfvec');
