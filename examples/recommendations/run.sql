-- Recommendations: what a person liked has a mean, and what lies near it is worth showing.
\set ON_ERROR_STOP on
\set QUIET on
\ir ../lib/expect.sql
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE products (id int PRIMARY KEY, category text, price numeric, in_stock boolean, name text, embedding vector(64));
\copy products FROM '../data/products.csv' WITH (FORMAT csv, HEADER)
CREATE INDEX ON products USING hnsw (embedding vector_cosine_ops);
ANALYZE products;

CREATE TABLE ratings (person text, product_id int REFERENCES products, stars int CHECK (stars BETWEEN 1 AND 5));
INSERT INTO ratings
SELECT person, p.id, stars FROM products p JOIN (VALUES
    ('Ada', 'Headphones that cancel noise', 5), ('Ada', 'Monitor of 27 inches for programmers', 5), ('Ada', 'Teapot of glass with a strainer', 1),
    ('Ben', 'Two-person tent for wet weather', 5), ('Ben', 'Hiking boots, waterproof leather', 4),
    ('Cem', 'Espresso machine with a milk frother', 5), ('Cem', 'Pruning shears for roses', 5)
) r(person, name, stars) USING (name);

-- The mean of what somebody liked. avg() works on vectors, and cosine distance asks for its direction only.
CREATE VIEW tastes AS
    SELECT person, avg(embedding) AS taste FROM ratings JOIN products ON products.id = product_id WHERE stars >= 4 GROUP BY person;

\echo 'For each person, three products that they have not rated:'
SELECT t.person, n.name, round(n.distance::numeric, 3) AS distance
FROM tastes t CROSS JOIN LATERAL (
    SELECT p.name, p.embedding <=> t.taste AS distance FROM products p
    WHERE p.in_stock AND NOT EXISTS (SELECT FROM ratings r WHERE r.person = t.person AND r.product_id = p.id)
    ORDER BY p.embedding <=> t.taste LIMIT 3
) n ORDER BY t.person, distance;

-- Somebody with two tastes has a mean that lies between them and near neither. Then ask once for each liked product, and take turns.
\echo 'For Cem, who likes coffee and roses, nearest to each taste:'
CREATE VIEW turns AS
    SELECT r.person, n.id, n.name, liked.name AS because, n.distance, row_number() OVER (PARTITION BY r.person, liked.id ORDER BY n.distance) AS turn
    FROM ratings r JOIN products liked ON liked.id = r.product_id CROSS JOIN LATERAL (
        SELECT p.id, p.name, p.embedding <=> liked.embedding AS distance FROM products p
        WHERE p.in_stock AND NOT EXISTS (SELECT FROM ratings o WHERE o.person = r.person AND o.product_id = p.id)
        ORDER BY p.embedding <=> liked.embedding LIMIT 5
    ) n WHERE r.stars >= 4;
SELECT name, because, round(distance::numeric, 3) AS distance FROM turns WHERE person = 'Cem' ORDER BY turn, distance LIMIT 4;

-- Stars as weights: from -1 (one star) to 1 (five). A vector times a number is a product with a vector of that number.
CREATE VIEW weighted_tastes AS
    SELECT person, sum(embedding * array_fill((stars - 3) / 2.0::real, ARRAY[64])::vector(64)) AS taste
    FROM ratings JOIN products ON products.id = product_id GROUP BY person;
\echo 'For Ada, away from what she disliked:'
SELECT p.name, round((p.embedding <=> t.taste)::numeric, 3) AS distance FROM weighted_tastes t, products p
WHERE t.person = 'Ada' AND p.id NOT IN (SELECT product_id FROM ratings WHERE person = 'Ada') ORDER BY p.embedding <=> t.taste LIMIT 3;

\pset tuples_only on
\pset format unaligned
SELECT pg_temp.expect('Ben is shown what else one takes along outdoors', bool_and(n.category = 'outdoor')) FROM tastes t CROSS JOIN LATERAL (
    SELECT category FROM products p WHERE id NOT IN (SELECT product_id FROM ratings WHERE person = 'Ben') ORDER BY p.embedding <=> t.taste LIMIT 2) n
WHERE t.person = 'Ben';
SELECT pg_temp.expect('nobody is shown what they know', count(*) = 0) FROM turns JOIN ratings ON ratings.person = turns.person AND ratings.product_id = turns.id;
SELECT pg_temp.expect('both tastes of Cem have their turn', count(DISTINCT because) = 2)
FROM (SELECT because FROM turns WHERE person = 'Cem' ORDER BY turn, distance LIMIT 4) n;
SELECT pg_temp.expect('a teapot moved away from Ada', w.distance > a.distance) FROM
    (SELECT p.embedding <=> taste AS distance FROM products p, tastes WHERE person = 'Ada' AND p.name = 'French press for strong coffee') a,
    (SELECT p.embedding <=> taste AS distance FROM products p, weighted_tastes WHERE person = 'Ada' AND p.name = 'French press for strong coffee') w;
SELECT pg_temp.expect('the mean is the mean', vector_dims(taste) = 64 AND (taste <-> (
    SELECT ((a.embedding + b.embedding) * array_fill(0.5::real, ARRAY[64])::vector(64)) FROM products a, products b
    WHERE a.name = 'Two-person tent for wet weather' AND b.name = 'Hiking boots, waterproof leather')) < 1e-5) FROM tastes WHERE person = 'Ben';
