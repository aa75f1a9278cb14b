-- Text input that is not what it should be: SQLSTATE, message and detail.
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

-- vector and halfvec share their grammar.
CREATE TEMP TABLE bad (id int GENERATED ALWAYS AS IDENTITY, literal text);
INSERT INTO bad (literal) VALUES
  (''), (' '), ('1'), ('1,2'), ('{1,2}'), ('(1)'), ('x[1]'),
  ('['), ('[ '), ('[]'), ('[ ]'), ('[1'), ('[1,'), ('[1, '), ('[1,2'), ('[1 '),
  ('[1,]'), ('[,1]'), ('[,]'), ('[1,,2]'), ('[1 2]'), ('[1;2]'), ('[1,2}'), ('[[1]]'), ('[1],[2]'),
  ('[1]]'), ('[1]x'), ('[1] 2'), ('[1],'),
  ('[a]'), ('[1a]'), ('[1,b]'), ('[null]'), ('[1,NULL]'), ('["1"]'), ('[--1]'), ('[+-1]'), ('[- 1]'), ('[.]'), ('[-]'), ('[e5]'), ('[1e]'), ('[1e+]'), ('[1.2.3]'), ('[1_000]'), ('[0x]'), ('[0xg]'), ('[0b1]'), ('[1f]'),
  ('[nan]'), ('[NaN]'), ('[-nan]'), ('[nan(7)]'), ('[1,nan'), ('[nano]'),
  ('[inf]'), ('[-inf]'), ('[Infinity]'), ('[+INFINITY]'), ('[infinit]'),
  ('[1e39]'), ('[-1e39]'), ('[1,1e400,x'), ('[ 0x1p128 ]'), ('[3.4028236e38]'), ('[65520]'), ('[-65520.5]'), ('[1e38]');
SELECT id, literal, pg_temp.attempt(format('SELECT %L::vector', literal)) FROM bad ORDER BY id;
SELECT id, literal, pg_temp.attempt(format('SELECT %L::halfvec', literal)) FROM bad ORDER BY id;

-- Dimensions: the limit is noticed before the rest is read, the column's number after.
SELECT t, pg_temp.attempt(format('SELECT (''['' || repeat(''1,'', 16000) || ''1]'')::%s', t)), pg_temp.attempt(format('SELECT (''['' || repeat(''1,'', 16000) || ''oops'')::%s', t)),
       pg_temp.attempt(format('SELECT ''[1,2]''::%s(3)', t)), pg_temp.attempt(format('SELECT ''[1,2] 3''::%s(3)', t))
  FROM unnest(ARRAY['vector', 'halfvec']) t;

TRUNCATE bad RESTART IDENTITY;
INSERT INTO bad (literal) VALUES
  (''), (' '), ('1:1/2'), ('[1,2]'), ('x{1:1}/2'),
  ('{'), ('{ '), ('{1'), ('{1:'), ('{1:1'), ('{1:1,'), ('{1:1 '), ('{1:1,2'), ('{}'), ('{} '), ('{1:1}'), ('{1:1} '), ('{1:1}2'),
  ('{}/'), ('{1:1}/'), ('{1:1}/ '), ('{1:1}/x'), ('{1:1}/-'), ('{1:1}/2x'), ('{1:1}/2 3'), ('{1:1}/2.5'), ('{1:1}/1e3'), ('{1:1}/2/3'),
  ('{1:1,}/2'), ('{,1:1}/2'), ('{,}/2'), ('{1:1,,2:2}/2'), ('{1:1 2:2}/3'), ('{1 1}/2'), ('{1}/2'), ('{1:}/2'), ('{:1}/2'), ('{1::1}/2'), ('{1=1}/2'), ('{1.5:1}/2'), ('{a:1}/2'), ('{0x1:1}/2'), ('{1:a}/2'), ('{1:1a}/2'), ('{1:null}/2'), ('{1:--1}/2'),
  ('{1:nan}/2'), ('{1:NaN}/2'), ('{1:inf}/2'), ('{1:-Infinity}/2'), ('{1:1e39}/2'), ('{1:-1e39}/2'), ('{1:1e-46}/2'), ('{1:-1e-400}/2'),
  ('{0:1}/2'), ('{-1:1}/2'), ('{3:1}/2'), ('{1:1,3:1}/2'), ('{2147483647:1}/2'), ('{2147483648:1}/2'), ('{-2147483648:1}/2'), ('{9223372036854775808:1}/2'), ('{-9223372036854775809:1}/2'),
  ('{1:1,1:2}/2'), ('{2:1,1:1,2:3}/3'), ('{4:1,4:1}/3'),
  ('{}/0'), ('{}/-1'), ('{1:1}/0'), ('{}/1000000001'), ('{}/2147483648'), ('{}/99999999999999999999'), ('{}/-99999999999999999999'), ('{1:1}/-1x');
SELECT id, literal, pg_temp.attempt(format('SELECT %L::sparsevec', literal)) FROM bad ORDER BY id;
-- Elements are counted before anything is read, zeros among them.
SELECT pg_temp.attempt($$SELECT ('{' || string_agg(i || ':1', ',') || '}/20000')::sparsevec FROM generate_series(1, 16001) i$$);
SELECT pg_temp.attempt($$SELECT ('{' || string_agg(i || ':0', ',') || '}/20000')::sparsevec FROM generate_series(1, 16001) i$$);
SELECT pg_temp.attempt($$SELECT repeat(',', 16000)::sparsevec$$), length(pg_temp.attempt($$SELECT repeat(',', 15999)::sparsevec$$));
SELECT pg_temp.attempt($$SELECT '{1:1}/2'::sparsevec(3)$$), pg_temp.attempt($$SELECT '{3:1}/2'::sparsevec(3)$$);

-- Where the literal stands in the statement is shown.
SELECT '[1,x]'::vector;
SELECT '[1] x'::halfvec;
SELECT '{1:1}'::sparsevec;
SELECT '[1]'::vector <-> '[2';
