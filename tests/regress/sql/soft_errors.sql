-- Bad input as a soft error: PostgreSQL 16 and later ask whether a text is valid without starting a subtransaction.
-- Older servers answer the same questions by catching the error, so one expected output serves all.
\pset format unaligned
\pset tuples_only on
\pset null '(null)'
CREATE FUNCTION pg_temp.input_error(literal text, type text, OUT code text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('server_version_num')::int >= 160000 THEN
    EXECUTE 'SELECT sql_error_code, message, detail, hint FROM pg_input_error_info($1, $2)' INTO code, message, detail, hint USING literal, type;
    EXECUTE 'SELECT CASE WHEN pg_input_is_valid($1, $2) <> ($3 IS NULL) THEN ''valid and not valid'' ELSE $4 END' INTO message USING literal, type, code, message;
  ELSE
    EXECUTE format('SELECT %L::%s', literal, type);
  END IF;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  detail := nullif(detail, '');
  hint := nullif(hint, '');
  -- A soft error is never raised.
  IF current_setting('server_version_num')::int >= 160000 THEN
    message := 'raised: ' || message;
  END IF;
END $$;
SELECT type, literal, e.* FROM (VALUES
  ('vector', '[1,2]'), ('vector(2)', '[1,2]'), ('vector(3)', '[1,2]'), ('vector', ''), ('vector', '[1,x]'), ('vector', '[]'), ('vector', '[1'), ('vector', '[1] x'), ('vector', '[nan]'), ('vector', '[inf]'), ('vector', '[1e39]'),
  ('halfvec', '[1,2]'), ('halfvec(2)', '[1,2]'), ('halfvec(3)', '[1,2]'), ('halfvec', ''), ('halfvec', '[1,x]'), ('halfvec', '[]'), ('halfvec', '[1'), ('halfvec', '[1] x'), ('halfvec', '[nan]'), ('halfvec', '[inf]'), ('halfvec', '[65520]'),
  ('sparsevec', '{1:1}/2'), ('sparsevec(2)', '{1:1}/2'), ('sparsevec(3)', '{1:1}/2'), ('sparsevec', ''), ('sparsevec', '{1:x}/2'), ('sparsevec', '{1:1}'), ('sparsevec', '{1:1}/2 x'), ('sparsevec', '{}/0'), ('sparsevec', '{}/1000000001'),
  ('sparsevec', '{1:nan}/2'), ('sparsevec', '{1:inf}/2'), ('sparsevec', '{1:1e39}/2'), ('sparsevec', '{1:1e-46}/2'), ('sparsevec', '{3:1}/2'), ('sparsevec', '{0:1}/2'), ('sparsevec', '{1:1,1:2}/2'),
  ('vector[]', '{"[1]","[2"}'), ('halfvec[]', '{"[1]"}')) AS t (type, literal), LATERAL pg_temp.input_error(literal, type) e;
SELECT code, message FROM pg_temp.input_error('[' || repeat('1,', 16000) || '1]', 'vector')
UNION ALL SELECT code, message FROM pg_temp.input_error('[' || repeat('1,', 16000) || '1]', 'halfvec')
UNION ALL SELECT code, message FROM pg_temp.input_error('{' || repeat('1:1,', 16000) || '1:1}/2', 'sparsevec');

-- COPY can skip the rows it cannot read, from PostgreSQL 17 on.
CREATE TEMP TABLE t (v vector(2));
DO $$
BEGIN
  IF current_setting('server_version_num')::int >= 170000 THEN
    SET LOCAL client_min_messages = warning;
    EXECUTE $copy$COPY t FROM PROGRAM 'printf "[1,2]\n[1\n[1,2,3]\n\n[3,4]\n[nan,1]\n"' WITH (ON_ERROR ignore)$copy$;
  ELSE
    INSERT INTO t VALUES ('[1,2]'), ('[3,4]');
  END IF;
END $$;
SELECT * FROM t ORDER BY v;
