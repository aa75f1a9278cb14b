-- What is sent to a shard: every operator and type, conditions, parameters, expressions and aggregates. Prints the queries of which something stays here.
SET client_min_messages = warning;
CREATE FOREIGN TABLE things_1 (id int, v vector(3), h halfvec(3), s sparsevec(3), b bit(3)) SERVER shard1 OPTIONS (table_name 'things');
CREATE FUNCTION pg_temp.remote(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || query LOOP
        IF line LIKE '%Remote SQL:%' THEN RETURN substring(line FROM 'Remote SQL: (.*)'); END IF;
    END LOOP;
    RETURN 'nothing';
END $$;
CREATE TABLE asked (query text, wanted text);
INSERT INTO asked
SELECT format('SELECT id FROM things_1 ORDER BY %s %s %s LIMIT 7', c, op, literal), '%ORDER BY%OPERATOR(public.' || op || ')%LIMIT 7%'
FROM (VALUES ('v', $l$'[1,2,3]'$l$), ('h', $l$'[1,2,3]'$l$), ('s', $l$'{1:1}/3'$l$)) t(c, literal), unnest(ARRAY['<->', '<#>', '<=>', '<+>']) op
UNION ALL
SELECT format('SELECT id FROM things_1 ORDER BY b %s B''101'' LIMIT 7', op), '%ORDER BY%OPERATOR(public.' || op || ')%LIMIT 7%' FROM unnest(ARRAY['<~>', '<%>']) op
UNION ALL VALUES
    ($$SELECT id FROM things_1 ORDER BY v::halfvec(3) <-> '[1,2,3]' LIMIT 7$$, '%ORDER BY%halfvec(3)%LIMIT 7%'),
    ($$SELECT id FROM things_1 ORDER BY binary_quantize(v)::bit(3) <~> B'101' LIMIT 7$$, '%ORDER BY%binary_quantize%LIMIT 7%'),
    ($$SELECT id FROM things_1 ORDER BY subvector(v, 1, 2) <=> '[1,2]' LIMIT 7$$, '%ORDER BY%subvector%LIMIT 7%'),
    ($$SELECT id FROM things_1 WHERE id > 4 AND v <-> '[1,2,3]' < 2 ORDER BY v <-> '[1,2,3]' LIMIT 7 OFFSET 2$$, '%WHERE%OPERATOR(public.<->)%ORDER BY%LIMIT 7%OFFSET 2%'),
    ($$SELECT id FROM things_1 ORDER BY v <-> (SELECT q::vector(3) FROM (SELECT '[1,2,3]'::text AS q OFFSET 0) one) LIMIT 7$$, '%ORDER BY%LIMIT 7%'),
    ($$SELECT n.id FROM (VALUES ('[1,2,3]'::vector), ('[3,2,1]')) q(q), LATERAL (SELECT id FROM things_1 ORDER BY v <=> q.q LIMIT 7) n$$, '%ORDER BY%$1%LIMIT 7%'),
    ($$SELECT id FROM things_1 WHERE vector_norm(v) > 1 OR v = '[1,2,3]'$$, '%vector_norm%OR%OPERATOR(public.=)%'),
    ($$SELECT avg(v), sum(h) FROM things_1$$, '%avg(v)%sum(h)%');
SELECT query || '  was sent as  ' || pg_temp.remote(query) FROM asked WHERE pg_temp.remote(query) NOT LIKE wanted;
