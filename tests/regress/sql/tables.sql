-- Values in tables: stored out of line, in arrays, rows and defaults, computed columns, prepared statements.
\pset format unaligned
\pset tuples_only on

-- Never compressed; out of line from about 2 kB.
SELECT typname, typstorage FROM pg_type WHERE oid IN ('vector'::regtype, 'halfvec'::regtype, 'sparsevec'::regtype) ORDER BY 1;
CREATE TEMP TABLE big (id int, v vector, h halfvec, s sparsevec);
INSERT INTO big SELECT n, array_fill(1, ARRAY[n])::vector, array_fill(1, ARRAY[n])::halfvec, array_fill(1, ARRAY[n])::sparsevec FROM unnest(ARRAY[1, 100, 480, 500, 1000, 1536, 2000, 16000]) n;
SELECT id, pg_column_size(v) - 4 * id, pg_column_size(h) - 2 * id, pg_column_size(s) - 8 * id FROM big WHERE id >= 100 ORDER BY id;
SELECT pg_relation_size(reltoastrelid) > 0 FROM pg_class WHERE oid = 'big'::regclass;
SELECT id, vector_dims(v), v <-> v, v <#> v, l2_distance(h, h), inner_product(s, s), vector_norm(v) = sqrt(id), v = array_fill(1, ARRAY[id])::vector, v < v, h::vector = v, s::vector = v, subvector(v, id, 1), length(v::text) = 2 * id + 1 FROM big ORDER BY v;
SELECT id FROM big WHERE vector_dims(v) = 1536 ORDER BY v <-> array_fill(2, ARRAY[1536])::vector;
UPDATE big SET v = v + v WHERE id > 400;
SELECT id, v <#> h::vector FROM big ORDER BY id;
SELECT vector_dims(avg(v)), vector_norm(sum(v)) FROM big WHERE id = 16000;

-- Short values use the one-byte header.
CREATE TEMP TABLE small (v vector, h halfvec, s sparsevec);
INSERT INTO small VALUES ('[1]', '[1]', '{1:1}/1'), ('[1,2,3]', '[1,2,3]', '{2:5}/3');
SELECT pg_column_size(v), pg_column_size(h), pg_column_size(s), v || v, h + h, s <-> s, v = v, vector_dims(h) FROM small;
SELECT avg(v) FROM small WHERE vector_dims(v) = 3;

-- Arrays, rows, domains, defaults, computed columns.
SELECT ARRAY['[1,2]', '[3]']::vector[], ('{"[1,2]","[3]"}'::vector[])[2], array_length('{"[1,2]",NULL}'::halfvec[], 1), ROW('[1,2]'::vector, '{}/1'::sparsevec);
SELECT array_agg(v ORDER BY v DESC) FROM small;
CREATE TEMP TABLE made (id int GENERATED ALWAYS AS IDENTITY, v vector(2) NOT NULL DEFAULT '[0,0]', unit vector(2) GENERATED ALWAYS AS (l2_normalize(v)) STORED, half halfvec(2) GENERATED ALWAYS AS (v::halfvec(2)) STORED, CHECK (vector_norm(v) < 100));
INSERT INTO made (v) VALUES (DEFAULT), ('[3,4]'), ('[0,-2]');
SELECT v, unit, half FROM made ORDER BY id;
INSERT INTO made (v) VALUES ('[100,0]');
SELECT to_json(v), to_jsonb(unit), row_to_json(made) FROM made WHERE id = 2;

PREPARE nearest (vector) AS SELECT id FROM made ORDER BY v <-> $1 LIMIT 2;
EXECUTE nearest ('[0,-1]');
EXECUTE nearest ('[3,3]');
EXECUTE nearest (ARRAY[2, 2]);
CREATE FUNCTION pg_temp.nearest_to(q vector, n int) RETURNS SETOF int LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
  FOR r IN SELECT id FROM made ORDER BY v <-> q LIMIT n LOOP RETURN NEXT r.id; END LOOP;
END $$;
SELECT pg_temp.nearest_to('[0,-1]', 3);
SELECT a.id, b.id FROM made a, LATERAL (SELECT id FROM made m WHERE m.id <> a.id ORDER BY m.v <-> a.v LIMIT 1) b ORDER BY 1;
