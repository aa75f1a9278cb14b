-- Nearest-word questions over GloVe's 341,479 words, asked by scripts/demo.sh; also: psql -f scripts/demo.sql
\pset footer off
\set QUIET on
-- Read the table once, so that the times below are those of the search and not of the disk.
SELECT sum(vector_norm(embedding)) > 0 AS warm FROM words \g /dev/null
-- The questions are answered exactly, by comparing every row, also when there is an index.
SET enable_indexscan = off;
\timing on
\set ECHO queries

\echo
\echo '=== Which words are nearest to "king"? (cosine distance)'
SELECT word, round((embedding <=> (SELECT embedding FROM words WHERE word = 'king'))::numeric, 4) AS distance
FROM words ORDER BY embedding <=> (SELECT embedding FROM words WHERE word = 'king') LIMIT 8;

\echo
\echo '=== ... to "paris"? (Euclidean distance)'
SELECT word, round((embedding <-> (SELECT embedding FROM words WHERE word = 'paris'))::numeric, 4) AS distance
FROM words ORDER BY embedding <-> (SELECT embedding FROM words WHERE word = 'paris') LIMIT 8;

\echo
\echo '=== ... to "guitar"? (inner product; the operator answers its negative)'
SELECT word, round((embedding <#> (SELECT embedding FROM words WHERE word = 'guitar'))::numeric, 4) AS negative_product
FROM words ORDER BY embedding <#> (SELECT embedding FROM words WHERE word = 'guitar') LIMIT 8;

\echo
\echo '=== king is to man as what is to woman?  king - man + woman'
SELECT w.word, round((w.embedding <=> q.v)::numeric, 4) AS distance
FROM words w, (SELECT k.embedding - m.embedding + f.embedding AS v FROM words k, words m, words f
               WHERE k.word = 'king' AND m.word = 'man' AND f.word = 'woman') q
WHERE w.word NOT IN ('king', 'man', 'woman') ORDER BY w.embedding <=> q.v LIMIT 5;

\echo
\echo '=== paris is to france as what is to japan?  paris - france + japan'
SELECT w.word, round((w.embedding <=> q.v)::numeric, 4) AS distance
FROM words w, (SELECT c.embedding - n.embedding + j.embedding AS v FROM words c, words n, words j
               WHERE c.word = 'paris' AND n.word = 'france' AND j.word = 'japan') q
WHERE w.word NOT IN ('paris', 'france', 'japan') ORDER BY w.embedding <=> q.v LIMIT 5;

\echo
\echo '=== What do monday, tuesday and friday have in common? Words nearest to their average'
SELECT w.word, round((w.embedding <=> q.v)::numeric, 4) AS distance
FROM words w, (SELECT avg(embedding) AS v FROM words WHERE word IN ('monday', 'tuesday', 'friday')) q
ORDER BY w.embedding <=> q.v LIMIT 8;

\echo
\echo '=== How many words lie within cosine distance 0.35 of "ocean"?'
SELECT count(*) FROM words WHERE embedding <=> (SELECT embedding FROM words WHERE word = 'ocean') < 0.35;
