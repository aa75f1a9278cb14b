-- Hybrid search: full text finds the words, vectors find the meaning, and two ways to make one list of both.
\set ON_ERROR_STOP on
\set QUIET on
\ir ../lib/expect.sql
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE documents (
    id int PRIMARY KEY, title text, body text, embedding vector(64),
    words tsvector GENERATED ALWAYS AS (setweight(to_tsvector('english', title), 'A') || to_tsvector('english', body)) STORED
);
\copy documents (id, title, body, embedding) FROM '../data/passages.csv' WITH (FORMAT csv, HEADER)
CREATE INDEX ON documents USING gin (words);
CREATE INDEX ON documents USING hnsw (embedding vector_cosine_ops);
CREATE TABLE questions (id int, name text, question text, embedding vector(64));
\copy questions FROM '../data/queries.csv' WITH (FORMAT csv, HEADER)

SELECT question, embedding AS q FROM questions WHERE name = 'mistake' \gset
-- The words of a question rarely all stand in one document: any of them counts (| instead of &), and rank decides.
SELECT replace(plainto_tsquery('english', :'question')::text, '&', '|') AS any_word \gset
\echo 'Asked:' :question
\echo
\echo 'By words alone:'
SELECT title, round(ts_rank_cd(words, :'any_word'::tsquery)::numeric, 3) AS rank FROM documents
WHERE words @@ :'any_word'::tsquery ORDER BY rank DESC, id LIMIT 4;
\echo 'By meaning alone:'
SELECT title, round((embedding <=> :'q')::numeric, 3) AS distance FROM documents ORDER BY embedding <=> :'q' LIMIT 4;

-- Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009): only ranks count, so two scores of different scales need no tuning.
-- Each list is cut in a subquery of its own, so that each uses its own index.
CREATE FUNCTION fused(question vector, terms tsquery, k int DEFAULT 60)
RETURNS TABLE (id int, score float8) LANGUAGE sql STABLE AS $$
    WITH meaning AS (
        SELECT d.id, row_number() OVER (ORDER BY distance) AS rank
        FROM (SELECT documents.id, embedding <=> question AS distance FROM documents ORDER BY embedding <=> question LIMIT 20) d
    ), terms AS (
        SELECT d.id, row_number() OVER (ORDER BY d.rank DESC, d.id) AS rank
        FROM (SELECT documents.id, ts_rank_cd(words, terms) AS rank FROM documents WHERE words @@ terms ORDER BY rank DESC LIMIT 20) d
    )
    SELECT id, coalesce(1.0 / (k + meaning.rank), 0)::float8 + coalesce(1.0 / (k + terms.rank), 0)::float8
    FROM meaning FULL JOIN terms USING (id) ORDER BY 2 DESC, 1
$$;
\echo 'Reciprocal rank fusion:'
SELECT title, round(score::numeric, 4) AS score FROM fused(:'q', :'any_word') JOIN documents USING (id) ORDER BY score DESC LIMIT 4;

-- Weighted: scores brought to 0..1 and added, with a weight that says how much words count. It can be tuned, and must be:
-- with 0.3 the foreign tables would win here, for the word in their title.
CREATE FUNCTION weighted(question vector, terms tsquery, weight_of_words float8 DEFAULT 0.2)
RETURNS TABLE (id int, score float8) LANGUAGE sql STABLE AS $$
    WITH meaning AS (
        SELECT documents.id, 1 - (embedding <=> question) AS score FROM documents ORDER BY embedding <=> question LIMIT 20
    ), terms AS (
        SELECT d.id, d.rank / max(d.rank) OVER () AS score
        FROM (SELECT documents.id, ts_rank_cd(words, terms) AS rank FROM documents WHERE words @@ terms ORDER BY rank DESC LIMIT 20) d
    )
    SELECT id, (1 - weight_of_words) * coalesce(meaning.score, 0) + weight_of_words * coalesce(terms.score, 0)
    FROM meaning FULL JOIN terms USING (id) ORDER BY 2 DESC, 1
$$;
\echo 'Weighted, words count two tenths:'
SELECT title, round(score::numeric, 3) AS score FROM weighted(:'q', :'any_word') JOIN documents USING (id) ORDER BY score DESC LIMIT 4;

\pset tuples_only on
\pset format unaligned
SELECT pg_temp.expect('meaning finds the recovery to a point in time, within three', id = ANY (ARRAY(SELECT id FROM documents ORDER BY embedding <=> :'q' LIMIT 3)))
FROM documents WHERE title = 'Point-in-time recovery';
SELECT pg_temp.expect('fusion puts it first', (SELECT title FROM fused(:'q', :'any_word') JOIN documents USING (id) ORDER BY score DESC LIMIT 1) = 'Point-in-time recovery');
SELECT pg_temp.expect('so does the weighted sum', (SELECT title FROM weighted(:'q', :'any_word') JOIN documents USING (id) ORDER BY score DESC LIMIT 1) = 'Point-in-time recovery');
-- A name that no embedding knows: words find it, and fusion keeps it.
SELECT embedding AS q FROM questions WHERE name = 'slow' \gset
SELECT pg_temp.expect('a word that meaning does not know is found all the same',
    'Major upgrades' = ANY (ARRAY(SELECT title FROM fused(:'q', to_tsquery('english', 'pg_upgrade')) JOIN documents USING (id) ORDER BY score DESC LIMIT 3)));
SELECT pg_temp.expect('a weight of 0 is the order by meaning',
    ARRAY(SELECT id FROM weighted(:'q', 'dump', 0) LIMIT 5) = ARRAY(SELECT id FROM documents ORDER BY embedding <=> :'q' LIMIT 5));
