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
