-- From a CSV file of vectors to a filtered, indexed search.  psql -f run.sql, in this folder.
\set ON_ERROR_STOP on
\set QUIET on
\ir ../lib/expect.sql

-- 1. A table with a column of the file's dimensions. The file has a header; vectors look like "[0.1,0.2,…]".
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE books (id int PRIMARY KEY, year int, language text, title text, embedding vector(64));

-- 2. The file. \copy reads it on your side of the connection; no right on the server is needed.
\copy books FROM 'books.csv' WITH (FORMAT csv, HEADER)
ANALYZE books;

-- 3. An index, after the data. Cosine distance (<=>) is what text embeddings are made for.
CREATE INDEX ON books USING hnsw (embedding vector_cosine_ops);

-- 4. The nearest to a book, among those before 1900. An iterative scan goes on behind what the filter drops.
SET hnsw.iterative_scan = strict_order;
-- Some dozens of rows are scanned faster than looked up: this is for the demonstration only.
SET enable_seqscan = off;
\echo
\echo 'Like Twenty Thousand Leagues Under the Seas, published before 1900:'
SELECT b.title, b.year, round((b.embedding <=> q.embedding)::numeric, 3) AS distance
FROM books q, LATERAL (SELECT * FROM books WHERE year < 1900 AND id <> q.id ORDER BY embedding <=> q.embedding LIMIT 4) b
WHERE q.title LIKE 'Twenty Thousand Leagues%'
ORDER BY distance;

-- 5. In an application the question is a parameter: its text goes through the model that made the file. Here it comes from a table.
CREATE TABLE questions (id int, name text, question text, embedding vector(64));
\copy questions FROM '../data/queries.csv' WITH (FORMAT csv, HEADER)
SELECT question, embedding AS q FROM questions WHERE name = 'monster' \gset
\echo
\echo 'Asked:' :question
SELECT title, year FROM books WHERE language = 'en' ORDER BY embedding <=> :'q' LIMIT 3;

\pset tuples_only on
\pset format unaligned
CREATE TABLE plan (line text);
DO $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE format('EXPLAIN (COSTS OFF) SELECT title FROM books WHERE language = ''en'' ORDER BY embedding <=> %L LIMIT 3',
                               (SELECT embedding FROM questions WHERE name = 'monster'))
    LOOP INSERT INTO plan VALUES (line); END LOOP;
END $$;
SELECT pg_temp.expect('the index answers the filtered search', bool_or(line LIKE '%Index Scan using books_embedding_idx%')) FROM plan;
SELECT pg_temp.expect('all rows of the file are there', count(*) = 28) FROM books;
SELECT pg_temp.expect('the creature made by a scientist is Frankenstein''s',
    (SELECT title FROM books WHERE language = 'en' ORDER BY embedding <=> :'q' LIMIT 1) LIKE 'Frankenstein%');
SELECT pg_temp.expect('an adventure on the ocean is none of a city',
    (SELECT array_agg(id) FROM (SELECT b.id FROM books b, questions q WHERE q.name = 'sea' ORDER BY b.embedding <=> q.embedding LIMIT 4) n) && ARRAY[7, 13, 16]);
