-- Products with metadata filters: what to do when WHERE drops most of what the index finds.
\set ON_ERROR_STOP on
\set QUIET on
\ir ../lib/expect.sql
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE products (id int PRIMARY KEY, category text, price numeric, in_stock boolean, name text, embedding vector(64));
\copy products FROM '../data/products.csv' WITH (FORMAT csv, HEADER)
CREATE TABLE questions (id int, name text, question text, embedding vector(64));
\copy questions FROM '../data/queries.csv' WITH (FORMAT csv, HEADER)

-- Each of 250 shops offers each product, at a price of its own, described in slightly other words: 10,000 rows.
CREATE TABLE offers (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id int REFERENCES products, shop int, price numeric, in_stock boolean, embedding vector(64)
);
SELECT setseed(0.25) \g /dev/null
INSERT INTO offers (product_id, shop, price, in_stock, embedding)
SELECT p.id, shop, round(p.price * (0.8 + random()::numeric * 0.4), 2), p.in_stock AND random() < 0.9,
       (SELECT array_agg(x + 0.2 * (random() - 0.5) ORDER BY n) FROM unnest(p.embedding::real[]) WITH ORDINALITY t(x, n))::vector(64)
FROM generate_series(1, 250) shop, products p;
CREATE INDEX ON offers USING hnsw (embedding vector_cosine_ops);
ANALYZE offers;

SELECT question, embedding AS q FROM questions WHERE name = 'coffee' \gset
\echo 'Asked:' :question
\echo
\echo 'The nearest products, any shop:'
SELECT p.name, p.category, round(min(o.embedding <=> :'q')::numeric, 3) AS distance
FROM (SELECT product_id, embedding FROM offers ORDER BY embedding <=> :'q' LIMIT 40) o JOIN products p ON p.id = o.product_id
GROUP BY p.id ORDER BY distance;

-- One offer in 250 is of shop 7. The plain index scan returns hnsw.ef_search = 40 candidates, and the filter drops nearly all of them.
-- Indexes are off the table one after the other to show what each way does; the planner would choose.
\echo 'In shop 7, five wanted:'
SET enable_seqscan = off;
SELECT count(*) AS plain FROM (SELECT id FROM offers WHERE shop = 7 ORDER BY embedding <=> :'q' LIMIT 5) n \gset
\echo '  plain index scan:                    ' :plain 'rows'

SET hnsw.iterative_scan = strict_order;
SELECT count(*) AS iterative FROM (SELECT id FROM offers WHERE shop = 7 ORDER BY embedding <=> :'q' LIMIT 5) n \gset
\echo '  iterative scan:                      ' :iterative 'rows'
RESET hnsw.iterative_scan;

-- A filter that leaves few rows: an ordinary index on it and an exact sort. The planner finds that itself once the index is there.
CREATE INDEX ON offers (shop);
RESET enable_seqscan;
SELECT count(*) AS sorted FROM (SELECT id FROM offers WHERE shop = 7 ORDER BY embedding <=> :'q' LIMIT 5) n \gset
\echo '  index on the shop, exact sort:       ' :sorted 'rows'
\echo
EXPLAIN (COSTS OFF) SELECT id FROM offers WHERE shop = 7 ORDER BY embedding <=> (SELECT embedding FROM questions WHERE id = 1) LIMIT 5;

-- A condition of every query belongs into the index: what is sold out is not in it at all.
CREATE INDEX offers_in_stock ON offers USING hnsw (embedding vector_cosine_ops) WHERE in_stock;
\echo 'Five offers in stock below 20 euros:'
SET hnsw.iterative_scan = strict_order;
-- The offers of one product are all alike, a hard case for a graph: a longer list of candidates finds more of them.
SET hnsw.ef_search = 400;
SELECT o.id, p.name, o.shop, o.price FROM offers o JOIN products p ON p.id = o.product_id
WHERE o.id IN (SELECT id FROM offers WHERE in_stock AND price < 20 ORDER BY embedding <=> :'q' LIMIT 5)
ORDER BY o.embedding <=> :'q';

\pset tuples_only on
\pset format unaligned
SELECT pg_temp.expect('the plain scan comes short of the LIMIT under a strict filter', :plain < 5);
SELECT pg_temp.expect('an iterative scan fills the LIMIT', :iterative = 5);
SELECT pg_temp.expect('so does an exact sort', :sorted = 5);
CREATE TEMP TABLE exact AS
    SELECT id, row_number() OVER (ORDER BY embedding <=> :'q') AS rank FROM offers WHERE in_stock AND price < 20 ORDER BY rank LIMIT 20;
SELECT pg_temp.expect('of five filtered rows, at least four are the true nearest', count(*) >= 4)
FROM exact WHERE rank <= 5 AND id IN (SELECT id FROM offers WHERE in_stock AND price < 20 ORDER BY embedding <=> :'q' LIMIT 5);
SELECT pg_temp.expect('all of them hold what was asked for', bool_and(in_stock AND price < 20)) FROM
    (SELECT in_stock, price FROM offers WHERE in_stock AND price < 20 ORDER BY embedding <=> :'q' LIMIT 5) n;
SELECT pg_temp.expect('coffee is made with what makes coffee', bool_and(name ~* 'coffee|espresso')) FROM products
WHERE id IN (SELECT product_id FROM offers ORDER BY embedding <=> :'q' LIMIT 5);
