-- Smaller indexes: halves, and one bit for each component with the nearest ranked again by the full vectors.
\set ON_ERROR_STOP on
\set QUIET on
\ir ../lib/expect.sql
CREATE EXTENSION IF NOT EXISTS vector;

-- 10,000 vectors of 256 components around 500 centres, as embeddings gather around subjects.
SELECT setseed(0.5) \g /dev/null
CREATE TABLE centres AS SELECT c, ARRAY(SELECT random() - 0.5 FROM generate_series(1, 256) WHERE c > 0)::real[] AS centre FROM generate_series(1, 500) c;
CREATE TABLE items (id int PRIMARY KEY, embedding vector(256));
INSERT INTO items SELECT i, (SELECT array_agg(x + 0.6 * (random() - 0.5) ORDER BY n) FROM unnest(centre) WITH ORDINALITY t(x, n) WHERE i > 0)::vector(256)
FROM generate_series(1, 10000) i JOIN centres ON c = i % 500 + 1;
ANALYZE items;

-- Exact answers of 50 questions, each a row moved a little.
CREATE TABLE questions AS SELECT id AS question, (SELECT array_agg(x + 0.2 * (random() - 0.5) ORDER BY n) FROM unnest(embedding::real[]) WITH ORDINALITY t(x, n) WHERE id > 0)::vector(256) AS q
FROM items WHERE id % 200 = 0;
CREATE TABLE exact AS SELECT question, n.id FROM questions CROSS JOIN LATERAL (SELECT id FROM items ORDER BY embedding <=> q LIMIT 10) n;

CREATE INDEX items_full ON items USING hnsw (embedding vector_cosine_ops);
CREATE INDEX items_half ON items USING hnsw ((embedding::halfvec(256)) halfvec_cosine_ops);
CREATE INDEX items_bits ON items USING hnsw ((binary_quantize(embedding)::bit(256)) bit_hamming_ops);
ANALYZE items;
SET hnsw.ef_search = 100;

-- Each way gives the ten nearest of every question.
CREATE TABLE found (way text, question int, id int);
INSERT INTO found SELECT 'full', question, n.id FROM questions CROSS JOIN LATERAL (SELECT id FROM items ORDER BY embedding <=> q LIMIT 10) n;
INSERT INTO found SELECT 'half', question, n.id FROM questions CROSS JOIN LATERAL (
    SELECT id FROM items ORDER BY embedding::halfvec(256) <=> q::halfvec(256) LIMIT 10) n;
INSERT INTO found SELECT 'bits alone', question, n.id FROM questions CROSS JOIN LATERAL (
    SELECT id FROM items ORDER BY binary_quantize(embedding)::bit(256) <~> binary_quantize(q)::bit(256) LIMIT 10) n;
-- The hundred nearest by their bits, and of those the ten nearest by their vectors, which are read from the table.
INSERT INTO found SELECT 'bits, rerank', question, n.id FROM questions CROSS JOIN LATERAL (
    SELECT id FROM (
        SELECT id, embedding FROM items ORDER BY binary_quantize(embedding)::bit(256) <~> binary_quantize(q)::bit(256) LIMIT 100
    ) candidates ORDER BY embedding <=> q LIMIT 10) n;

CREATE VIEW results AS
    SELECT way, pg_relation_size(index) AS bytes, round(count(exact.id)::numeric / (SELECT count(*) FROM exact), 3) AS recall
    FROM (VALUES ('full', 'items_full'::regclass), ('half', 'items_half'), ('bits alone', 'items_bits'), ('bits, rerank', 'items_bits')) w(way, index)
    JOIN found USING (way) LEFT JOIN exact USING (question, id) GROUP BY way, index;
SELECT way, pg_size_pretty(bytes) AS "size of the index", recall AS "recall of ten" FROM results ORDER BY bytes DESC, recall DESC;

\pset tuples_only on
\pset format unaligned
CREATE TEMP TABLE plans (line text);
DO $$
DECLARE line text;
BEGIN
    FOR line IN EXPLAIN (COSTS OFF) SELECT question, n.id FROM questions CROSS JOIN LATERAL (
        SELECT id FROM items ORDER BY binary_quantize(embedding)::bit(256) <~> binary_quantize(q)::bit(256) LIMIT 100) n
    LOOP INSERT INTO plans VALUES (line); END LOOP;
END $$;
SELECT pg_temp.expect('the expression index answers', bool_or(line LIKE '%Index Scan using items_bits%')) FROM plans;
SELECT pg_temp.expect('halves take less than two thirds of the space', h.bytes * 3 < f.bytes * 2) FROM results f, results h WHERE f.way = 'full' AND h.way = 'half';
SELECT pg_temp.expect('bits take less than a third', b.bytes * 3 < f.bytes) FROM results f, results b WHERE f.way = 'full' AND b.way = 'bits alone';
SELECT pg_temp.expect('halves find what full vectors find, to two in a hundred', h.recall >= f.recall - 0.02) FROM results f, results h WHERE f.way = 'full' AND h.way = 'half';
SELECT pg_temp.expect('rerank brings bits to a recall of 0.9', recall >= 0.9) FROM results WHERE way = 'bits, rerank';
SELECT pg_temp.expect('and bits alone are worse', a.recall < r.recall) FROM results a, results r WHERE a.way = 'bits alone' AND r.way = 'bits, rerank';
