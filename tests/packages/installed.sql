-- What a freshly installed package must answer: VERSION|100|100|0|0 (rows through each index, violations that the checks find).
SET client_min_messages = warning;
CREATE EXTENSION vector;
CREATE TABLE items (id integer, embedding vector(3));
INSERT INTO items SELECT i, ARRAY[i, i % 7, i % 11]::vector FROM generate_series(1, 500) i;
CREATE INDEX items_hnsw ON items USING hnsw (embedding vector_l2_ops);
CREATE INDEX items_ivfflat ON items USING ivfflat (embedding vector_cosine_ops) WITH (lists = 5);
SET enable_seqscan = off;
SET hnsw.ef_search = 100;
SET ivfflat.probes = 5;
SELECT extversion,
       (SELECT count(*) FROM (SELECT id FROM items ORDER BY embedding <-> '[5,5,5]' LIMIT 100) nearest),
       (SELECT count(*) FROM (SELECT id FROM items ORDER BY embedding <=> '[5,5,5]' LIMIT 100) nearest),
       (SELECT count(*) FROM hnsw_check('items_hnsw', true)),
       (SELECT count(*) FROM ivfflat_check('items_ivfflat', true))
FROM pg_extension WHERE extname = 'vector';
