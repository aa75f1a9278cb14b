-- Arithmetic that leaves the range of the element type, and operands that do not fit together.
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

-- The first offending element decides which error it is; adding never underflows.
SELECT t, e, pg_temp.attempt(format('SELECT %s', replace(e, '@', t))) FROM unnest(ARRAY[
  '''[3e38]''::vector + ''[3e38]''', '''[-3e38]''::vector - ''[3e38]''', '''[1e20]''::vector * ''[1e20]''', '''[1e20,1e-40]''::vector * ''[-1e20,1e-40]''', '''[1e-40,1e20]''::vector * ''[1e-40,1e20]''',
  '''[1e-30]''::vector * ''[1e-30]''', '''[-1e-30]''::vector * ''[1e-30]''', '''[0]''::vector * ''[1e-45]''', '''[1e-45]''::vector * ''[0.5]''', '''[1e-45]''::vector * ''[0.6]''', '''[1e-45]''::vector - ''[1e-45]''', '''[3.4028235e38]''::vector + ''[1e30]''', '''[3.4028235e38]''::vector + ''[1.1e31]''']) WITH ORDINALITY AS u (e, i), (VALUES ('vector')) AS v (t) ORDER BY i;
SELECT e, pg_temp.attempt('SELECT ' || e) FROM unnest(ARRAY[
  '''[65504]''::halfvec + ''[65504]''', '''[65504]''::halfvec + ''[15]''', '''[65504]''::halfvec + ''[16]''', '''[-65504]''::halfvec - ''[32]''', '''[256]''::halfvec * ''[256]''', '''[255]''::halfvec * ''[256]''',
  '''[1e-4]''::halfvec * ''[1e-4]''', '''[-1e-4]''::halfvec * ''[1e-4]''', '''[0]''::halfvec * ''[1e-7]''', '''[1e-4,256]''::halfvec * ''[1e-4,256]''', '''[256,1e-4]''::halfvec * ''[256,1e-4]''', '''[6e-8]''::halfvec - ''[6e-8]''']) WITH ORDINALITY AS u (e, i) ORDER BY i;

-- Different dimensions.
SELECT t, o, pg_temp.attempt(format('SELECT ''%s''::%s %s ''%s''', a, t, o, b))
  FROM (VALUES ('vector', '[1,2]', '[3]'), ('halfvec', '[1,2]', '[3]'), ('sparsevec', '{}/2', '{}/1')) AS v (t, a, b), unnest(ARRAY['<->', '<#>', '<=>', '<+>', '+', '-', '*']) WITH ORDINALITY AS u (o, i) WHERE t <> 'sparsevec' OR i <= 4 ORDER BY t, i;
SELECT f, pg_temp.attempt('SELECT ' || f) FROM unnest(ARRAY[
  'l2_distance(''[1]''::vector, ''[1,2]'')', 'inner_product(''[1]''::halfvec, ''[1,2]'')', 'cosine_distance(''{}/1''::sparsevec, ''{}/2'')', 'vector_l2_squared_distance(''[1]'', ''[1,2]'')', 'vector_negative_inner_product(''[1]'', ''[1,2]'')', 'vector_spherical_distance(''[1]'', ''[1,2]'')',
  'halfvec_l2_squared_distance(''[1]'', ''[1,2]'')', 'halfvec_negative_inner_product(''[1]'', ''[1,2]'')', 'halfvec_spherical_distance(''[1]'', ''[1,2]'')', 'sparsevec_l2_squared_distance(''{}/1'', ''{}/2'')', 'sparsevec_negative_inner_product(''{}/1'', ''{}/2'')',
  'l2_distance(''{}/1000000000''::sparsevec, ''{}/999999999'')', 'B''10'' <~> B''1''', 'B''10'' <%> B''1''']) WITH ORDINALITY AS u (f, i) ORDER BY i;
