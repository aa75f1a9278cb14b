-- Binary input and output, with messages that no honest client sends.
\pset format unaligned
\pset tuples_only on
\pset null '(null)'
-- Feeds one message to the type's receive function, through COPY, and shows the value or the error.
CREATE FUNCTION pg_temp.receive(type text, message bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE stream bytea; octal text; answer text; code text; error text; detail text;
BEGIN
  stream := '\x5047434f50590aff0d0a00'::bytea || int4send(0) || int4send(0) || int2send(1::int2) || int4send(length(message)) || message || int2send((-1)::int2);
  SELECT string_agg(format('\%s%s%s', b / 64, b / 8 % 8, b % 8), '' ORDER BY i) INTO octal FROM generate_series(0, length(stream) - 1) i, LATERAL (SELECT get_byte(stream, i) AS b) x;
  EXECUTE format('CREATE TEMP TABLE received (v %s) ON COMMIT DROP', type);
  EXECUTE format('COPY received FROM PROGRAM %L WITH (FORMAT binary)', format('printf ''%s''', octal));
  SELECT v::text INTO answer FROM received;
  DROP TABLE received;
  RETURN coalesce(answer, '(null)');
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, error = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' | ', code, error, nullif(detail, ''));
END $$;

-- What is sent.
SELECT vector_send('[1,-2,0.5]'), halfvec_send('[1,-2,0.5]'), sparsevec_send('{2:1,5:-2}/6'), sparsevec_send('{}/1000000000');
SELECT vector_send('[0,-0,1e-45,3.4028235e38]'), halfvec_send('[0,-0,5.9604645e-08,65504]');
SELECT length(vector_send(array_fill(1, ARRAY[16000])::vector)), length(halfvec_send(array_fill(1, ARRAY[16000])::halfvec)), length(sparsevec_send(array_fill(1, ARRAY[16000])::sparsevec));

-- What is sent comes back.
SELECT pg_temp.receive('vector', vector_send('[1,-2,0.5,-0,1e-45,3.4028235e38,0.1]'));
SELECT pg_temp.receive('halfvec', halfvec_send('[1,-2,0.5,-0,5.9604645e-08,65504,0.1]'));
SELECT pg_temp.receive('sparsevec', sparsevec_send('{2:1,5:-2,6:1e-45}/6')), pg_temp.receive('sparsevec', sparsevec_send('{}/1000000000')), pg_temp.receive('sparsevec', sparsevec_send('{1000000000:1}/1000000000'));
SELECT pg_temp.receive('vector(2)', vector_send('[1,2]')), pg_temp.receive('vector(3)', vector_send('[1,2]'));
SELECT pg_temp.receive('halfvec(2)', halfvec_send('[1,2]')), pg_temp.receive('halfvec(3)', halfvec_send('[1,2]'));
SELECT pg_temp.receive('sparsevec(2)', sparsevec_send('{}/2')), pg_temp.receive('sparsevec(3)', sparsevec_send('{}/2'));

-- Messages that end too early or too late.
SELECT 'vector', n, pg_temp.receive('vector', substr(vector_send('[1,2]') || '\x00', 1, n)) FROM generate_series(0, 13) n;
SELECT 'halfvec', n, pg_temp.receive('halfvec', substr(halfvec_send('[1,2]') || '\x00', 1, n)) FROM generate_series(0, 9) n;
SELECT 'sparsevec', n, pg_temp.receive('sparsevec', substr(sparsevec_send('{1:1,3:2}/3') || '\x00', 1, n)) FROM generate_series(0, 29) n;

-- Dimensions that cannot be, and a reserved field that is not zero. The header is checked before the elements are asked for.
SELECT d, pg_temp.receive('vector', int2send(d::int2) || int2send(0::int2)), pg_temp.receive('halfvec', int2send(d::int2) || int2send(0::int2)) FROM unnest(ARRAY[0, -1, 16001, 32767, -32768, 16000]) d;
SELECT n, pg_temp.receive('vector', int2send(1::int2) || int2send(n::int2) || float4send(1)), pg_temp.receive('halfvec', int2send(1::int2) || int2send(n::int2) || '\x3c00'), pg_temp.receive('sparsevec', int4send(1) || int4send(0) || int4send(n)) FROM unnest(ARRAY[1, -1, 32767]) n;
SELECT pg_temp.receive('vector', int2send(0::int2) || int2send(1::int2)), pg_temp.receive('vector(1)', int2send(2::int2) || int2send(1::int2)), pg_temp.receive('sparsevec(1)', int4send(2) || int4send(3) || int4send(1)), pg_temp.receive('sparsevec(1)', int4send(2) || int4send(0) || int4send(1));
SELECT d, pg_temp.receive('sparsevec', int4send(d) || int4send(0) || int4send(0)) FROM unnest(ARRAY[0, -1, 1000000000, 1000000001, 2147483647, -2147483648]) d;
SELECT n, pg_temp.receive('sparsevec', int4send(5) || int4send(n) || int4send(0)) FROM unnest(ARRAY[-1, 6, 16000, 16001, 2147483647, -2147483648, 5]) n;
SELECT pg_temp.receive('sparsevec', int4send(1000000000) || int4send(16000) || int4send(0)), pg_temp.receive('sparsevec', int4send(1000000000) || int4send(16001) || int4send(0)), pg_temp.receive('sparsevec', int4send(0) || int4send(-1) || int4send(0));

-- Elements that no value may hold.
SELECT e, pg_temp.receive('vector', int2send(2::int2) || int2send(0::int2) || float4send(1) || float4send(e::real)), pg_temp.receive('sparsevec', int4send(2) || int4send(1) || int4send(0) || int4send(1) || float4send(e::real)) FROM unnest(ARRAY['NaN', 'Infinity', '-Infinity', '0', '-0', '1e-45', '-3.4028235e38']) e;
SELECT pg_temp.receive('vector', '\x000100007f800001'), pg_temp.receive('vector', '\x00010000ffc00000');
SELECT e, pg_temp.receive('halfvec', int2send(2::int2) || int2send(0::int2) || '\x3c00' || e) FROM unnest(ARRAY['\x7c00', '\xfc00', '\x7c01', '\x7e00', '\xffff', '\x7bff', '\xfbff', '\x0000', '\x8000', '\x0001', '\x8001', '\x03ff', '\x0400', '\x3555']::bytea[]) e;
-- Indices, counted from 0 on the wire.
SELECT a, b, pg_temp.receive('sparsevec', int4send(5) || int4send(2) || int4send(0) || int4send(a) || int4send(b) || float4send(1) || float4send(2))
  FROM (VALUES (0, 4), (3, 3), (3, 2), (4, 0), (0, 5), (5, 6), (-1, 1), (0, -1), (0, 2147483647), (-2147483648, 0)) AS t (a, b);

-- Arrays and rows of values go through the same functions.
SELECT pg_temp.receive('vector[]', array_send(ARRAY['[1,2]', NULL, '[3]']::vector[])), pg_temp.receive('sparsevec[]', array_send(ARRAY['{1:1}/2']::sparsevec[]));
