-- vector_advice and vector_advice_apply on the tables that everybody has.
\pset format unaligned
\pset tuples_only on
\set SHOW_CONTEXT never
CREATE SCHEMA "odd ""schema";
CREATE TABLE "odd ""schema"."Documents" (id int, content text, "the embedding" vector(384));
CREATE TABLE products (id int, name text, embedding halfvec(8), tags sparsevec(1000), flags bit(3), code bit(128));
CREATE TABLE large (id int, v vector(3000), w vector(5000));
CREATE TABLE loose (v vector);
CREATE TABLE parted (id int, v vector(3)) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (1000);
ALTER TABLE "odd ""schema"."Documents" SET (autovacuum_enabled = off);
ALTER TABLE products SET (autovacuum_enabled = off);
ALTER TABLE large SET (autovacuum_enabled = off);
ALTER TABLE loose SET (autovacuum_enabled = off);
ALTER TABLE part SET (autovacuum_enabled = off);
CREATE VIEW advised AS SELECT relation, attribute, index, action, sql FROM vector_advice()
  WHERE relation::text ~ '(Documents|products|large|loose|part)' ORDER BY relation::text, attribute, index::text, action;
-- Empty tables need nothing, and what was never analysed is not known.
SELECT * FROM advised;
INSERT INTO products SELECT i, 'product ' || i, ARRAY[i % 17, i % 23, i % 29, i % 31, 1, 2, 3, i % 7]::halfvec, NULL, NULL, NULL FROM generate_series(1, 300) i;
INSERT INTO loose SELECT ARRAY[i, 1, 2] FROM generate_series(1, 10) i;
INSERT INTO parted SELECT i, ARRAY[i, 1, 2] FROM generate_series(1, 10) i;
INSERT INTO "odd ""schema"."Documents" SELECT i, 'words', NULL FROM generate_series(1, 10) i;
INSERT INTO large VALUES (1);
SELECT * FROM advised WHERE relation::text = 'products';
ANALYZE products, loose, parted, part, large, "odd ""schema"."Documents";
SELECT * FROM advised;
-- As if there were many more rows.
UPDATE pg_class SET reltuples = 1000000 WHERE oid IN ('products'::regclass, 'loose'::regclass, 'part'::regclass, 'large'::regclass, '"odd ""schema"."Documents"'::regclass);
SET maintenance_work_mem = '1GB';
SELECT relation, attribute, action, sql FROM advised WHERE action <> 'raise_maintenance_work_mem';
SELECT action, size > 1000000 * 1544::bigint, memory > size, build_time > '10 seconds', latency_ms BETWEEN 0.01 AND 100, why ~ 'exact answer over 1000000 rows'
  FROM vector_advice() WHERE attribute = 'the embedding' AND action IN ('create_index', 'use_halfvec');
SET maintenance_work_mem = '1MB';
SELECT attribute, sql ~ '^SET maintenance_work_mem = ''[0-9]+MB''$' FROM advised WHERE action = 'raise_maintenance_work_mem' AND relation = 'products'::regclass;
RESET maintenance_work_mem;

-- Applying creates what is advised, and nothing else.
SET client_min_messages = warning;
CALL vector_advice_apply('products');
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid), indisvalid FROM pg_index WHERE indrelid = 'products'::regclass ORDER BY 1;
CALL vector_advice_apply('products');
SELECT count(*) FROM pg_index WHERE indrelid = 'products'::regclass;
-- Concurrently: only where a transaction may end.
BEGIN;
CALL vector_advice_apply('large', true);
ROLLBACK;
DO $$ BEGIN CALL vector_advice_apply('large', concurrently => true); END $$;
CALL vector_advice_apply('large', concurrently => true);
CALL vector_advice_apply('"odd ""schema"."Documents"', concurrently => true);
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid), indisvalid FROM pg_index
  WHERE indrelid IN ('large'::regclass, '"odd ""schema"."Documents"'::regclass) ORDER BY 1;
RESET client_min_messages;
CALL vector_advice_apply('parted', concurrently => true);
SET client_min_messages = warning;
CALL vector_advice_apply('parted');
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'parted'::regclass;
-- What was created answers queries.
SELECT recall > 0.8 FROM vector_index_recall('products_embedding_idx', 3, 10);
SELECT id FROM products ORDER BY embedding <=> '[1,2,3,4,5,6,7,8]' LIMIT 0;
RESET client_min_messages;

-- An invalid index, one that finds little, and one that is sound.
UPDATE pg_class SET reltuples = 300 WHERE oid = 'products'::regclass;
SELECT relation, index, action, sql FROM advised WHERE index = 'products_embedding_idx'::regclass;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'products_embedding_idx'::regclass;
SELECT relation, index, action, sql FROM advised WHERE index = 'products_embedding_idx'::regclass;
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'products_embedding_idx'::regclass;
SET hnsw.ef_search = 1;
SELECT index, action, sql ~ '^SET hnsw.ef_search = [0-9]+$' FROM advised WHERE index = 'products_embedding_idx'::regclass;
RESET hnsw.ef_search;

-- Everybody sees what they may read, and creates on what they own.
CREATE ROLE regress_owner;
SET ROLE regress_owner;
SELECT count(*) FROM vector_advice() WHERE relation = 'products'::regclass;
CALL vector_advice_apply();
CALL vector_advice_apply('products');
RESET ROLE;
-- Policies are somebody else's code: advice does not run them.
ALTER TABLE loose ENABLE ROW LEVEL SECURITY;
CREATE POLICY trap ON loose USING (1 / (SELECT 0) = 1);
GRANT SELECT ON loose TO regress_owner;
SET ROLE regress_owner;
SELECT action FROM vector_advice() WHERE relation = 'loose'::regclass;
RESET ROLE;
GRANT SELECT ON products TO regress_owner;
DROP INDEX products_embedding_idx;
UPDATE pg_class SET reltuples = 1000000 WHERE oid = 'products'::regclass;
SET maintenance_work_mem = '4GB';
SET ROLE regress_owner;
SELECT attribute, action FROM vector_advice() WHERE relation = 'products'::regclass AND attribute = 'embedding' AND action = 'create_index';
\set VERBOSITY terse
SET client_min_messages = warning;
CALL vector_advice_apply('products');
RESET client_min_messages;
RESET ROLE;

-- Whatever the owner of a table has it run, runs as the owner: a query calls functions of other indexes, of statistics
-- and of checks while it is planned.
CREATE ROLE regress_evil;
CREATE SCHEMA regress_evil AUTHORIZATION regress_evil;
SET ROLE regress_evil;
CREATE TABLE regress_evil.heard (who name);
CREATE TABLE regress_evil.t (id int, v vector(4), w vector);
INSERT INTO regress_evil.t SELECT i, ARRAY[i, 1, 2, i % 9]::vector, '[1,2]' FROM generate_series(1, 500) i;
CREATE FUNCTION regress_evil.hear() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN INSERT INTO regress_evil.heard VALUES (current_user); RETURN true; END $$;
CREATE FUNCTION regress_evil.g(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN (SELECT regress_evil.hear()); END $$;
CREATE INDEX evil_v ON regress_evil.t USING hnsw (v vector_l2_ops);
CREATE INDEX ON regress_evil.t (id) WHERE regress_evil.g(1);
TRUNCATE regress_evil.heard;
RESET ROLE;
SELECT count(*) > 0 AS advised FROM vector_advice();
SELECT who, count(*) > 0 FROM regress_evil.heard GROUP BY 1;
TRUNCATE regress_evil.heard;
SELECT recall > 0.5 AS recall FROM vector_index_recall('regress_evil.evil_v', 5, 5);
SELECT who, count(*) > 0 FROM regress_evil.heard GROUP BY 1;
TRUNCATE regress_evil.heard;
SELECT count(*) > 0 AS tuned FROM vector_index_tune('regress_evil.evil_v', 0.5, 5, 5);
SELECT who, count(*) > 0 FROM regress_evil.heard GROUP BY 1;
-- and nobody's who may not act as the owner
TRUNCATE regress_evil.heard;
CREATE ROLE regress_reader;
GRANT USAGE ON SCHEMA regress_evil TO regress_reader;
GRANT SELECT ON regress_evil.t TO regress_reader;
GRANT INSERT ON regress_evil.heard TO regress_reader;
SET ROLE regress_reader;
SELECT count(*) > 0 AS advised FROM vector_advice() WHERE relation::text = 'regress_evil.t';
RESET ROLE;
SELECT count(*) FROM regress_evil.heard;
-- An operator of theirs that fits an OID and a number better than the catalog's is not called.
SET ROLE regress_evil;
CREATE FUNCTION regress_evil.eq(oid, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN regress_evil.hear(); END $$;
CREATE OPERATOR regress_evil.= (LEFTARG = oid, RIGHTARG = int, FUNCTION = regress_evil.eq);
RESET ROLE;
SET search_path = public, regress_evil;
CALL vector_advice_apply('regress_evil.t');
SELECT count(*) > 0 AS recall FROM vector_index_recall('regress_evil.evil_v', 5, 5);
RESET search_path;
SELECT count(*) FROM regress_evil.heard WHERE who <> 'regress_evil';
-- Nor what the owner of a partition wrote, for the owner of the whole.
TRUNCATE regress_evil.heard;
CREATE TABLE regress_whole (id int, w vector) PARTITION BY LIST (id);
CREATE TABLE regress_evil.leaf PARTITION OF regress_whole FOR VALUES IN (1);
INSERT INTO regress_evil.leaf VALUES (1, '[1,2]');
ALTER TABLE regress_evil.leaf OWNER TO regress_evil;
SET ROLE regress_evil;
CREATE INDEX ON regress_evil.leaf (id) WHERE regress_evil.g(1);
TRUNCATE regress_evil.heard;
RESET ROLE;
SELECT action FROM vector_advice() WHERE relation = 'regress_whole'::regclass AND action <> 'analyze';
SELECT count(*) FROM regress_evil.heard WHERE who <> 'regress_evil';
DROP TABLE regress_whole;
-- An error of the owner's code keeps nobody from advice, on this table or others.
SET ROLE regress_evil;
CREATE OR REPLACE FUNCTION regress_evil.hear() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no advice for you'; END $$;
RESET ROLE;
SELECT count(*) > 0 AS advised FROM vector_advice();
SELECT attribute, index IS NOT NULL AS indexed, action FROM vector_advice() WHERE relation = 'regress_evil.t'::regclass AND action <> 'analyze' ORDER BY 1, 2, 3;
SET client_min_messages = warning;
DROP SCHEMA regress_evil CASCADE;
RESET client_min_messages;
DROP ROLE regress_evil, regress_reader;
CALL vector_advice_apply('advised');
CALL vector_advice_apply(0);

-- What cannot be read is in the way of nothing else.
CREATE SCHEMA regress_closed;
CREATE TABLE regress_closed.hidden (v vector);
CREATE TABLE regress_closed.indexed (v vector(3));
INSERT INTO regress_closed.hidden VALUES ('[1,2,3]');
INSERT INTO regress_closed.indexed SELECT ARRAY[i, 1, 2] FROM generate_series(1, 50) i;
CREATE INDEX ON regress_closed.indexed USING hnsw (v vector_l2_ops);
CREATE MATERIALIZED VIEW regress_closed.later AS SELECT v FROM regress_closed.hidden WITH NO DATA;
CREATE MATERIALIZED VIEW regress_closed.emptied AS SELECT v FROM regress_closed.indexed;
CREATE INDEX ON regress_closed.emptied USING hnsw (v vector_l2_ops);
REFRESH MATERIALIZED VIEW regress_closed.emptied WITH NO DATA;
CREATE FOREIGN DATA WRAPPER regress_nothing;
CREATE SERVER regress_nowhere FOREIGN DATA WRAPPER regress_nothing;
CREATE TABLE regress_closed.abroad (id int, v vector) PARTITION BY LIST (id);
CREATE FOREIGN TABLE regress_closed.far PARTITION OF regress_closed.abroad FOR VALUES IN (1) SERVER regress_nowhere;
SELECT relation, attribute, action FROM vector_advice() WHERE relation::text ~ 'regress_closed' AND action <> 'analyze' ORDER BY 1, 2, 3, index;
GRANT SELECT ON ALL TABLES IN SCHEMA regress_closed TO regress_owner;
SET ROLE regress_owner;
SELECT count(*) FROM vector_advice() WHERE relation::text ~ 'regress_closed';
RESET ROLE;
DROP SCHEMA regress_closed CASCADE;
DROP FOREIGN DATA WRAPPER regress_nothing CASCADE;
DROP VIEW advised;
DROP TABLE products, large, loose, parted, "odd ""schema"."Documents";
DROP SCHEMA "odd ""schema";
DROP ROLE regress_owner;
