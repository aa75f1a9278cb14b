-- Type modifiers: what a declaration accepts and where it is enforced.
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

SELECT d, pg_temp.attempt(format('SELECT NULL::%s', d)) FROM unnest(ARRAY[
  'vector(1)', 'vector(16000)', 'vector(0)', 'vector(-1)', 'vector(16001)', 'vector(2147483647)', 'vector(2147483648)', 'vector(1,2)', 'vector(''3'')', 'vector(''a'')', 'vector(1.5)',
  'halfvec(1)', 'halfvec(16000)', 'halfvec(0)', 'halfvec(-1)', 'halfvec(16001)', 'halfvec(1,2)', 'halfvec(''a'')',
  'sparsevec(1)', 'sparsevec(1000000000)', 'sparsevec(0)', 'sparsevec(-1)', 'sparsevec(1000000001)', 'sparsevec(1,2)', 'sparsevec(''a'')',
  'vector(3)[]', 'vector(0)[]']) WITH ORDINALITY AS u (d, i) ORDER BY i;
SELECT vector_typmod_in('{3}'), halfvec_typmod_in('{4}'), sparsevec_typmod_in('{1000000000}');
SELECT pg_temp.attempt(format('SELECT %s_typmod_in(%L)', t, a)) FROM unnest(ARRAY['vector', 'halfvec', 'sparsevec']) t, unnest(ARRAY['{}', '{3,NULL}', '{{1,2}}']) a;

CREATE TEMP TABLE t (v vector(3), h halfvec(2), s sparsevec(4), vs vector(2)[], free vector);
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum;
INSERT INTO t VALUES ('[1,2,3]', '[1,2]', '{1:1}/4', '{"[1,2]","[3,4]"}', '[1]');
INSERT INTO t (v) VALUES ('[1,2]');
INSERT INTO t (h) VALUES ('[1,2,3]');
INSERT INTO t (s) VALUES ('{1:1}/5');
INSERT INTO t (vs) VALUES ('{"[1,2]","[3]"}');
INSERT INTO t (v) SELECT '[1,2,3,4]'::vector;
INSERT INTO t (h) SELECT '[1,2,3]'::vector;
INSERT INTO t (v) VALUES (ARRAY[1, 2]), (ARRAY[1, 2, 3]);
INSERT INTO t (v) VALUES (ARRAY[1, 2, 3]);
UPDATE t SET v = v || '[4]';
UPDATE t SET v = free;
SELECT v, h, s, vs, free FROM t ORDER BY v, h;

-- Explicit casts check as well; without a modifier anything goes.
SELECT '[1,2,3]'::vector::vector(3), '[1,2,3]'::halfvec::halfvec(3), '{}/3'::sparsevec::sparsevec(3), '[1,2,3]'::vector(3)::vector;
SELECT c, pg_temp.attempt('SELECT ' || c) FROM unnest(ARRAY[
  '''[1,2,3]''::vector::vector(2)', '''[1,2,3]''::halfvec::halfvec(2)', '''{}/3''::sparsevec::sparsevec(2)',
  '''[1,2,3]''::vector::halfvec(2)', '''[1,2,3]''::halfvec::vector(2)', '''[1,2,3]''::vector::sparsevec(2)', '''[1,2,3]''::halfvec::sparsevec(2)', '''{}/3''::sparsevec::vector(2)', '''{}/3''::sparsevec::halfvec(2)',
  'ARRAY[1,2,3]::vector(2)', 'ARRAY[1,2,3]::halfvec(2)', 'ARRAY[1,2,3]::sparsevec(2)', 'ARRAY[1,2]::real[]::vector(2)',
  'vector(''[1,2]'', 2, false)', 'vector(''[1,2]'', 3, true)', 'vector(''[1,2]'', -1, true)', 'halfvec(''[1,2]'', 3, false)', 'sparsevec(''{}/2'', 3, false)']) WITH ORDINALITY AS u (c, i) ORDER BY i;

-- A changed column type checks what is stored.
ALTER TABLE t ALTER COLUMN free TYPE vector(1);
ALTER TABLE t ALTER COLUMN v TYPE vector(2);
ALTER TABLE t ALTER COLUMN v TYPE halfvec(3);
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum IN (1, 5) ORDER BY attnum;
CREATE DOMAIN pg_temp.unit AS vector(2) CHECK (round(vector_norm(VALUE)::numeric, 3) = 1);
SELECT '[1,0]'::pg_temp.unit;
SELECT '[1,1]'::pg_temp.unit;
SELECT '[1,0,0]'::pg_temp.unit;
