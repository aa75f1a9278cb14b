-- Partitions by hash (of a tenant) and by list (of a language), each with an index of its own.
\set ON_ERROR_STOP on
\ir ../lib/expect.sql
CREATE EXTENSION IF NOT EXISTS vector;
SELECT setseed(0.1) \g /dev/null

CREATE TABLE items (id int, tenant int, embedding vector(64)) PARTITION BY HASH (tenant);
SELECT format('CREATE TABLE items_%s PARTITION OF items FOR VALUES WITH (MODULUS 4, REMAINDER %s)', n, n) FROM generate_series(0, 3) n \gexec
\ir ../lib/items.sql
-- One statement makes the four indexes, and those of partitions to come.
CREATE INDEX ON items USING hnsw (embedding vector_l2_ops);
CREATE TABLE one_table AS SELECT * FROM items;
CREATE INDEX ON one_table USING hnsw (embedding vector_l2_ops);

CREATE TABLE pages (id int, language text, embedding vector(64)) PARTITION BY LIST (language);
CREATE TABLE pages_en PARTITION OF pages FOR VALUES IN ('en');
CREATE TABLE pages_de PARTITION OF pages FOR VALUES IN ('de');
CREATE TABLE pages_other PARTITION OF pages DEFAULT;
INSERT INTO pages SELECT id, (ARRAY['en', 'en', 'de', 'fr', 'it'])[id % 5 + 1], embedding FROM items;
-- Each partition may have what suits it.
CREATE INDEX ON pages_en USING hnsw (embedding vector_l2_ops);
CREATE INDEX ON pages_de USING hnsw (embedding vector_l2_ops) WITH (m = 12);
CREATE INDEX ON pages_other USING ivfflat (embedding vector_l2_ops) WITH (lists = 20);
ANALYZE;

\echo 'A search of all tenants merges the partitions in order of distance, row by row:'
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY embedding <-> (SELECT q FROM questions WHERE id = 1) LIMIT 10;
\echo 'A search of one tenant reads one partition:'
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE tenant = 42 ORDER BY embedding <-> (SELECT q FROM questions WHERE id = 1) LIMIT 10;
\echo 'By language, where each partition has an index of its own kind:'
EXPLAIN (COSTS OFF) SELECT id FROM pages WHERE language IN ('de', 'fr') ORDER BY embedding <-> (SELECT q FROM questions WHERE id = 1) LIMIT 10;

\pset tuples_only on
\pset format unaligned
-- The plan of a query, one row per line.
CREATE FUNCTION pg_temp.plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;
SELECT pg_temp.expect('all tenants: a Merge Append of four index scans', count(*) FILTER (WHERE line LIKE '%Merge Append%') = 1
    AND count(*) FILTER (WHERE line LIKE '%Index Scan using items_%_embedding_idx%') = 4 AND count(*) FILTER (WHERE line LIKE '%Sort%Method%' OR line LIKE '%->  Sort%') = 0)
FROM pg_temp.plan('SELECT id FROM items ORDER BY embedding <-> (SELECT q FROM questions WHERE id = 1) LIMIT 10') line;
SELECT pg_temp.expect('one tenant: one partition, no Append', count(*) FILTER (WHERE line LIKE '%Append%') = 0 AND count(*) FILTER (WHERE line LIKE '%Scan% on items_%') = 1)
FROM pg_temp.plan('SELECT id FROM items WHERE tenant = 42 ORDER BY embedding <-> (SELECT q FROM questions WHERE id = 1) LIMIT 10') line;
SELECT pg_temp.expect('German and French: two partitions, hnsw and ivfflat merged',
    bool_or(line LIKE '%Index Scan using pages_de%') AND bool_or(line LIKE '%Index Scan using pages_other%') AND bool_or(line LIKE '%Merge Append%') AND NOT bool_or(line LIKE '%pages_en%'))
FROM pg_temp.plan($$SELECT id FROM pages WHERE language IN ('de', 'fr') ORDER BY embedding <-> (SELECT q FROM questions WHERE id = 1) LIMIT 10$$) line;

-- Each partition gives ef_search candidates of its own: together they find at least what one index finds.
CREATE TEMP TABLE exact AS SELECT q.id AS question, n.id FROM questions q CROSS JOIN LATERAL (
    SELECT id FROM (SELECT id, embedding FROM one_table OFFSET 0) rows ORDER BY embedding <-> q.q LIMIT 10) n;
CREATE TEMP TABLE parts AS SELECT q.id AS question, n.id, n.distance, row_number() OVER (PARTITION BY q.id) AS place FROM questions q CROSS JOIN LATERAL (
    SELECT id, embedding <-> q.q AS distance FROM items ORDER BY embedding <-> q.q LIMIT 10) n;
CREATE TEMP TABLE whole AS SELECT q.id AS question, n.id FROM questions q CROSS JOIN LATERAL (SELECT id FROM one_table ORDER BY embedding <-> q.q LIMIT 10) n;
SELECT count(*)::float8 / 1000 AS in_parts FROM exact JOIN parts USING (question, id) \gset
SELECT count(*)::float8 / 1000 AS in_one FROM exact JOIN whole USING (question, id) \gset
\echo 'Recall of ten:' :in_parts 'in partitions,' :in_one 'in one index'
SELECT pg_temp.expect('partitions find as much as one index', :in_parts >= :in_one - 0.005 AND :in_parts >= 0.95);
SELECT pg_temp.expect('and in the order of the distances', NOT EXISTS (SELECT FROM (
    SELECT distance < lag(distance) OVER (PARTITION BY question ORDER BY place) AS falls FROM parts) p WHERE falls));
