-- Many questions in one statement: LATERAL runs one indexed search per row of another table.
\set ON_ERROR_STOP on
\set QUIET on
\ir ../lib/expect.sql
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE products (id int PRIMARY KEY, category text, price numeric, in_stock boolean, name text, embedding vector(64));
\copy products FROM '../data/products.csv' WITH (FORMAT csv, HEADER)
CREATE TABLE questions (id int PRIMARY KEY, name text, question text, embedding vector(64));
\copy questions FROM '../data/queries.csv' WITH (FORMAT csv, HEADER)
CREATE INDEX ON products USING hnsw (embedding vector_cosine_ops);
ANALYZE products;
-- For forty rows the planner would rather scan; with thousands it takes the index by itself.
SET enable_seqscan = off;

\echo 'Three questions, two products each, one statement:'
SELECT q.question, found.name, round(found.distance::numeric, 3) AS distance
FROM questions q
CROSS JOIN LATERAL (
    SELECT p.name, p.embedding <=> q.embedding AS distance FROM products p ORDER BY p.embedding <=> q.embedding LIMIT 2
) found
WHERE q.name IN ('coffee', 'camping', 'wrist')
ORDER BY q.id, distance;

-- Questions that are not in a table come as one array parameter: one round trip for a whole batch, in the given order.
PREPARE batch (vector[], int) AS
    SELECT q.number, array_agg(found.id ORDER BY found.distance) AS ids
    FROM unnest($1) WITH ORDINALITY AS q(embedding, number)
    CROSS JOIN LATERAL (SELECT p.id, p.embedding <=> q.embedding AS distance FROM products p ORDER BY p.embedding <=> q.embedding LIMIT $2) found
    GROUP BY q.number ORDER BY q.number;
SELECT array_agg(embedding ORDER BY id) AS vectors, count(*) AS how_many FROM questions \gset
\echo 'The same as an array of' :how_many 'vectors:'
EXECUTE batch (:'vectors', 3);

\echo 'For each kind of product, the two most alike, an all-pairs question answered by the index:'
SELECT a.category, a.name, b.name AS alike, round(b.distance::numeric, 3) AS distance
FROM (
    SELECT DISTINCT ON (p.category) p.category, p.name, n.name AS alike, n.distance, p.id, n.id AS other
    FROM products p
    CROSS JOIN LATERAL (
        SELECT o.id, o.name, o.embedding <=> p.embedding AS distance FROM products o ORDER BY o.embedding <=> p.embedding LIMIT 2
    ) n
    WHERE n.id <> p.id ORDER BY p.category, n.distance
) a, LATERAL (SELECT a.alike AS name, a.distance) b
ORDER BY a.category;

\pset tuples_only on
\pset format unaligned
CREATE TEMP TABLE answered AS
    SELECT q.id AS question, n.id AS product, row_number() OVER (PARTITION BY q.id ORDER BY n.distance) AS rank
    FROM questions q CROSS JOIN LATERAL (SELECT p.id, p.embedding <=> q.embedding AS distance FROM products p ORDER BY p.embedding <=> q.embedding LIMIT 3) n;
CREATE TEMP TABLE exact AS
    SELECT question, product, rank FROM (
        SELECT q.id AS question, p.id AS product, row_number() OVER (PARTITION BY q.id ORDER BY p.embedding <=> q.embedding) AS rank FROM questions q, products p
    ) ranked WHERE rank <= 3;
SELECT pg_temp.expect('three rows for each question', count(*) = 3 * :how_many) FROM answered;
SELECT pg_temp.expect('the batch answers what the exact search answers', count(*) = 3 * :how_many) FROM answered JOIN exact USING (question, product, rank);
SELECT pg_temp.expect('a mouse for the wrist', (SELECT products.name FROM products JOIN answered ON product = products.id JOIN questions q ON q.id = answered.question
    WHERE q.name = 'wrist' AND rank = 1) = 'Vertical mouse for a relaxed wrist');
