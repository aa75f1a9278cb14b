-- The way back: what 1.0.0 has beyond 0.8.7 goes. Descriptions stay; they hinder nobody.
\echo This file is for "ALTER EXTENSION vector UPDATE TO '0.8.7'", not for psql. \quit

DROP FUNCTION hnsw_check(regclass, boolean);
DROP FUNCTION ivfflat_check(regclass, boolean);
DROP FUNCTION vector_index_info(regclass);
DROP FUNCTION vector_index_facts(regclass);
DROP FUNCTION vector_index_prewarm(regclass);
DROP FUNCTION vector_index_recall(regclass, integer, integer);
DROP FUNCTION vector_index_tune(regclass, double precision, integer, integer);
DROP FUNCTION vector_advice();
DROP PROCEDURE vector_advice_apply(regclass, boolean);

-- Indexes with filter columns go first, by whoever made them.
DROP OPERATOR FAMILY bool_ops USING hnsw;
DROP OPERATOR FAMILY integer_ops USING hnsw;
DROP OPERATOR FAMILY float_ops USING hnsw;
DROP OPERATOR FAMILY oid_ops USING hnsw;
DROP OPERATOR FAMILY numeric_ops USING hnsw;
DROP OPERATOR FAMILY date_ops USING hnsw;
DROP OPERATOR FAMILY time_ops USING hnsw;
DROP OPERATOR FAMILY timestamp_ops USING hnsw;
DROP OPERATOR FAMILY timestamptz_ops USING hnsw;
DROP OPERATOR FAMILY text_ops USING hnsw;
DROP OPERATOR FAMILY bpchar_ops USING hnsw;
DROP OPERATOR FAMILY uuid_ops USING hnsw;
DROP OPERATOR FAMILY enum_ops USING hnsw;
DROP OPERATOR FAMILY inet_ops USING hnsw;
DROP OPERATOR FAMILY array_ops USING hnsw;
DROP OPERATOR FAMILY bool_ops USING ivfflat;
DROP OPERATOR FAMILY integer_ops USING ivfflat;
DROP OPERATOR FAMILY float_ops USING ivfflat;
DROP OPERATOR FAMILY oid_ops USING ivfflat;
DROP OPERATOR FAMILY numeric_ops USING ivfflat;
DROP OPERATOR FAMILY date_ops USING ivfflat;
DROP OPERATOR FAMILY time_ops USING ivfflat;
DROP OPERATOR FAMILY timestamp_ops USING ivfflat;
DROP OPERATOR FAMILY timestamptz_ops USING ivfflat;
DROP OPERATOR FAMILY text_ops USING ivfflat;
DROP OPERATOR FAMILY bpchar_ops USING ivfflat;
DROP OPERATOR FAMILY uuid_ops USING ivfflat;
DROP OPERATOR FAMILY enum_ops USING ivfflat;
DROP OPERATOR FAMILY inet_ops USING ivfflat;
DROP OPERATOR FAMILY array_ops USING ivfflat;
