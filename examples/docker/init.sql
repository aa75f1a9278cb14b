-- Run once, when the volume is empty.
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE items (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    category text NOT NULL,
    embedding vector(3) NOT NULL
);
INSERT INTO items (category, embedding)
SELECT CASE i % 2 WHEN 0 THEN 'even' ELSE 'odd' END, ARRAY[i, i % 7, i % 11]::vector FROM generate_series(1, 1000) i;
CREATE INDEX ON items USING hnsw (embedding vector_l2_ops);
