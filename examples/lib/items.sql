-- items: 12,000 vectors of 64 components around 300 centres, each of one of 100 tenants; questions: 100 rows moved a little.
-- The caller has made the table (id, tenant, embedding), plain or in pieces.
CREATE TABLE centres AS SELECT c, ARRAY(SELECT random() - 0.5 FROM generate_series(1, 64) WHERE c > 0)::real[] AS centre FROM generate_series(1, 300) c;
INSERT INTO items SELECT i, i / 7 % 100,
    (SELECT array_agg(x + 0.5 * (random() - 0.5) ORDER BY n) FROM unnest(centre) WITH ORDINALITY t(x, n) WHERE i > 0)::vector(64)
FROM generate_series(1, 12000) i JOIN centres ON c = i % 300 + 1;
CREATE TABLE questions AS SELECT row_number() OVER (ORDER BY id)::int AS id, tenant,
    (SELECT array_agg(x + 0.2 * (random() - 0.5) ORDER BY n) FROM unnest(embedding::real[]) WITH ORDINALITY t(x, n) WHERE id > 0)::vector(64) AS q
FROM items WHERE id % 120 = 0;
ALTER TABLE questions ADD PRIMARY KEY (id);
DROP TABLE centres;
