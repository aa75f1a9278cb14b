-- Casts: between the types, from and to arrays, and which of them happen by themselves.
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

-- Arrays in.
SELECT ARRAY[1,2,3]::vector, ARRAY[1.5,2.25]::vector, ARRAY[1.5,2]::real[]::vector, ARRAY[1.5,2]::float8[]::vector, ARRAY[1.5,2]::numeric[]::vector;
SELECT ARRAY[1,2,3]::halfvec, ARRAY[1.5,2.25]::halfvec, ARRAY[1.5,2]::real[]::halfvec, ARRAY[1.5,2]::float8[]::halfvec, ARRAY[1.5,2]::numeric[]::halfvec;
SELECT ARRAY[1,0,3]::sparsevec, ARRAY[0,2.25]::sparsevec, ARRAY[1.5,0]::real[]::sparsevec, ARRAY[1.5,0]::float8[]::sparsevec, ARRAY[0,0.0]::numeric[]::sparsevec;
SELECT '{1.5,2}'::real[]::vector, '[5:6]={7,8}'::int[]::vector, '[0:1]={0,8}'::int[]::sparsevec;
-- Rounded to the element type; tiny numbers become zero, and zeros are left out of a sparsevec.
SELECT ARRAY[16777217, 2147483647, -2147483648]::vector, ARRAY[1e-60]::float8[]::vector, ARRAY[0.1::float8]::vector, ARRAY[2049, 65519]::halfvec, ARRAY[1e-60, 1]::float8[]::sparsevec;
SELECT vector_dims(array_fill(1, ARRAY[16000])::vector), vector_dims(array_fill(1.5, ARRAY[16000])::halfvec), length(array_fill(1, ARRAY[16000])::sparsevec::text), array_fill(0::real, ARRAY[100000])::sparsevec;

SELECT t, a, pg_temp.attempt(format('SELECT (%s)::%s', a, t))
  FROM unnest(ARRAY[
  'ARRAY[]::int[]', '''{}''::real[]', 'ARRAY[NULL]::int[]', 'ARRAY[1,NULL]::real[]', 'ARRAY[NULL,1]::float8[]', 'ARRAY[1,NULL]::numeric[]', 'ARRAY[[1,2],[3,4]]', 'ARRAY[[1]]::real[]', 'ARRAY[[NULL]]::real[]',
  'ARRAY[''NaN'']::real[]', 'ARRAY[1,''NaN'']::float8[]', 'ARRAY[''NaN'']::numeric[]', 'ARRAY[''Infinity'']::real[]', 'ARRAY[''-Infinity'']::float8[]', 'ARRAY[1e300]::float8[]', 'ARRAY[-1e39]::float8[]', 'ARRAY[1e39]::numeric[]', 'ARRAY[1e-60]::numeric[]',
  'ARRAY[65519.99]::real[]', 'ARRAY[65520]', 'ARRAY[-65520.5]::float8[]', 'ARRAY[1e5]::numeric[]', 'ARRAY[70000,1e50]::numeric[]', 'ARRAY[1e50,70000]::numeric[]', 'ARRAY[1,1e38]::real[]',
  'array_fill(1, ARRAY[16001])', 'array_fill(0, ARRAY[16001])']) WITH ORDINALITY AS u (a, i), unnest(ARRAY['vector', 'halfvec', 'sparsevec']) WITH ORDINALITY AS v (t, j) ORDER BY i, j;
-- Called directly, the functions take what the casts never pass them.
SELECT array_to_vector(ARRAY[1,2], 2, true), array_to_halfvec(ARRAY[1,2]::real[], -1, false), array_to_sparsevec(ARRAY[0,2]::float8[], 2, false);
SELECT pg_temp.attempt('SELECT array_to_vector(ARRAY[1,2], 3, false)'), pg_temp.attempt('SELECT array_to_halfvec(ARRAY[1,2], 1, false)'), pg_temp.attempt('SELECT array_to_sparsevec(ARRAY[1,2], 1, false)');

-- Arrays out.
SELECT '[1,2.5]'::vector::real[], '[1,2.5,0.1]'::halfvec::real[], pg_typeof('[1]'::vector::real[]), array_ndims('[1,2]'::vector::real[]), array_lower('[1,2]'::vector::real[], 1);
SELECT pg_temp.attempt('SELECT ''{}/1''::sparsevec::real[]'), pg_temp.attempt('SELECT ''[1]''::vector::float8[]'), pg_temp.attempt('SELECT ''[1]''::vector::int[]');
SELECT vector_to_float4('[1,2]', 5, false), halfvec_to_float4('[1,2]', 5, false);

-- Between the types.
SELECT '[1,0,2.5]'::vector::halfvec, '[1,0,2.5]'::vector::sparsevec, '[1,0,2.5]'::halfvec::vector, '[1,-0,2.5]'::halfvec::sparsevec, '{1:1,3:2.5}/3'::sparsevec::vector, '{1:1,3:2.5}/3'::sparsevec::halfvec;
SELECT '[0,-0]'::vector::sparsevec, '{}/3'::sparsevec::vector, '{}/2'::sparsevec::halfvec, '[0.1,2049,1e-8]'::vector::halfvec, '[5.9604645e-08]'::halfvec::sparsevec, '{1:1e-8}/1'::sparsevec::halfvec;
SELECT '{16000:1}/16000'::sparsevec::vector <-> array_fill(0, ARRAY[16000])::vector, vector_dims('{}/16000'::sparsevec::halfvec), array_fill(1, ARRAY[16000])::vector::sparsevec = array_fill(1, ARRAY[16000])::halfvec::sparsevec;
SELECT c, pg_temp.attempt('SELECT ' || c) FROM unnest(ARRAY[
  '''[65520]''::vector::halfvec', '''[1,-1e38]''::vector::halfvec', '''{2:1e5}/2''::sparsevec::halfvec', '''{}/16001''::sparsevec::vector', '''{}/16001''::sparsevec::halfvec', '''{1:1}/1000000000''::sparsevec::vector',
  '''[1]''::vector::text::halfvec', '''[1]''::text::vector', '''[1]''::vector::varchar', '''[1]''::vector::bit(1)', '''[1]''::vector::int', 'ARRAY[1]::bigint[]::vector', 'ARRAY[1]::smallint[]::halfvec', 'ARRAY[''1'']::text[]::sparsevec']) WITH ORDINALITY AS u (c, i) ORDER BY i;

-- By itself: vector to halfvec, sparsevec and real[], and halfvec to sparsevec. On assignment only: the way back, and arrays.
CREATE FUNCTION pg_temp.kind(halfvec) RETURNS text LANGUAGE sql AS $$ SELECT 'halfvec' $$;
CREATE FUNCTION pg_temp.sparse(sparsevec) RETURNS text LANGUAGE sql AS $$ SELECT 'sparsevec ' || $1 $$;
CREATE FUNCTION pg_temp.reals(real[]) RETURNS text LANGUAGE sql AS $$ SELECT 'real[] ' || $1::text $$;
CREATE FUNCTION pg_temp.dense(vector) RETURNS text LANGUAGE sql AS $$ SELECT 'vector' $$;
SELECT pg_temp.kind('[1]'::vector), pg_temp.sparse('[1]'::vector), pg_temp.sparse('[1]'::halfvec), pg_temp.reals('[1,2]'::vector);
SELECT pg_temp.attempt('SELECT pg_temp.dense(''[1]''::halfvec)') LIKE '42883%', pg_temp.attempt('SELECT pg_temp.dense(''{}/1''::sparsevec)') LIKE '42883%', pg_temp.attempt('SELECT pg_temp.dense(ARRAY[1])') LIKE '42883%', pg_temp.attempt('SELECT pg_temp.kind(''{}/1''::sparsevec)') LIKE '42883%', pg_temp.attempt('SELECT pg_temp.reals(''[1]''::halfvec)') LIKE '42883%';
-- So an expression over two types is computed in the narrower one.
SELECT '[1,2]'::vector <-> '[1,5]'::halfvec, pg_typeof('[1]'::vector + '[1]'::halfvec), '[3,0]'::vector <-> '{2:4}/2'::sparsevec, '[2049]'::vector = '[2048]'::halfvec;
CREATE TEMP TABLE t (v vector, h halfvec, s sparsevec, r real[]);
INSERT INTO t VALUES ('[1,0]'::halfvec, '[1,0]'::vector, '[1,0]'::vector, '[1,0]'::vector), ('{1:1}/2'::sparsevec, '{1:1}/2'::sparsevec, '[1,0]'::halfvec, '[1,0]'::halfvec), (ARRAY[1,0], ARRAY[1,0]::float8[], ARRAY[1,0]::numeric[], ARRAY[1,0]);
SELECT * FROM t;
SELECT NULL::real[]::vector IS NULL, NULL::vector::halfvec IS NULL, NULL::sparsevec::vector IS NULL, NULL::vector::real[] IS NULL;
