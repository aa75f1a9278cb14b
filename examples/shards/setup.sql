-- The coordinator's side: a foreign table per shard, together a partitioned table. :shard1 to :shard3 are the shards' hosts.
\set ON_ERROR_STOP on
CREATE EXTENSION vector;
CREATE EXTENSION postgres_fdw;

-- extensions: vector's types and operators are the same over there, so that postgres_fdw may send them.
-- async_capable: shards are asked at once instead of one after the other.
-- batch_size: rows of one INSERT on their way to a shard.
-- options: settings of the session on the shard; SET on the coordinator does not reach it.
SELECT format($$CREATE SERVER shard%s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port '5432', dbname 'postgres',
    extensions 'vector', async_capable 'true', batch_size '200', options '-c hnsw.ef_search=40')$$, n, host)
FROM unnest(ARRAY[:'shard1', :'shard2', :'shard3']) WITH ORDINALITY s(host, n) \gexec
SELECT format('CREATE USER MAPPING FOR CURRENT_USER SERVER shard%s OPTIONS (user %L)', n, 'postgres') FROM generate_series(1, 3) n \gexec

CREATE TABLE items (id int, tenant int, embedding vector(64)) PARTITION BY HASH (tenant);
SELECT format($$CREATE FOREIGN TABLE items_%s PARTITION OF items FOR VALUES WITH (MODULUS 3, REMAINDER %s) SERVER shard%s OPTIONS (table_name 'items')$$,
              n, n - 1, n) FROM generate_series(1, 3) n \gexec
