-- Adds what pgvector does not have, and gives every object the description that a new installation gives it, whatever
-- it had before.
\echo This file is for "ALTER EXTENSION vector UPDATE TO '1.0.0'", not for psql. \quit

CREATE FUNCTION hnsw_check(index regclass, deep boolean DEFAULT false)
    RETURNS TABLE (block bigint, "offset" integer, violation text)
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME';
REVOKE ALL ON FUNCTION hnsw_check(regclass, boolean) FROM PUBLIC;
CREATE FUNCTION ivfflat_check(index regclass, deep boolean DEFAULT false)
    RETURNS TABLE (block bigint, "offset" integer, violation text)
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME';
REVOKE ALL ON FUNCTION ivfflat_check(regclass, boolean) FROM PUBLIC;

-- What an index consists of. Its owner may ask, and who may read any statistics (pg_stat_scan_tables).
CREATE FUNCTION vector_index_info(index regclass) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME';
CREATE FUNCTION vector_index_facts(index regclass) RETURNS TABLE (name text, value text)
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME';
CREATE FUNCTION vector_index_prewarm(index regclass) RETURNS bigint
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME';
-- How good its answers are. These run queries as the caller, who must be allowed to read the table.
CREATE FUNCTION vector_index_recall(index regclass, k integer DEFAULT 10, queries integer DEFAULT 100)
    RETURNS TABLE (recall double precision, recall_low double precision, recall_high double precision, measured integer,
        index_p50_ms double precision, index_p95_ms double precision, exact_p50_ms double precision, exact_p95_ms double precision)
    LANGUAGE c VOLATILE STRICT ROWS 1 AS 'MODULE_PATHNAME';
CREATE FUNCTION vector_index_tune(index regclass, target_recall double precision DEFAULT 0.95, k integer DEFAULT 10, queries integer DEFAULT 100)
    RETURNS TABLE (setting text, value integer, recall double precision, recall_low double precision, recall_high double precision,
        p50_ms double precision, p95_ms double precision, chosen boolean)
    LANGUAGE c VOLATILE STRICT ROWS 10 AS 'MODULE_PATHNAME';
-- What to do about the vectors of a database.
CREATE FUNCTION vector_advice()
    RETURNS TABLE (relation regclass, attribute text, index regclass, action text, why text, size bigint,
        build_time interval, memory bigint, latency_ms double precision, sql text)
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME';
CREATE PROCEDURE vector_advice_apply(relation regclass DEFAULT NULL, concurrently boolean DEFAULT false)
    LANGUAGE c AS 'MODULE_PATHNAME';

-- Filter columns of indexes with layout = inline or packed. The library knows these types and what the strategy numbers mean.
CREATE OPERATOR CLASS bool_ops DEFAULT FOR TYPE bool USING hnsw AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR FAMILY integer_ops USING hnsw;
CREATE OPERATOR CLASS int2_ops DEFAULT FOR TYPE int2 USING hnsw FAMILY integer_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS int4_ops DEFAULT FOR TYPE int4 USING hnsw FAMILY integer_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS int8_ops DEFAULT FOR TYPE int8 USING hnsw FAMILY integer_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
ALTER OPERATOR FAMILY integer_ops USING hnsw ADD
    OPERATOR 1 < (int2, int4), OPERATOR 2 <= (int2, int4), OPERATOR 3 = (int2, int4), OPERATOR 4 >= (int2, int4), OPERATOR 5 > (int2, int4),
    OPERATOR 1 < (int2, int8), OPERATOR 2 <= (int2, int8), OPERATOR 3 = (int2, int8), OPERATOR 4 >= (int2, int8), OPERATOR 5 > (int2, int8),
    OPERATOR 1 < (int4, int2), OPERATOR 2 <= (int4, int2), OPERATOR 3 = (int4, int2), OPERATOR 4 >= (int4, int2), OPERATOR 5 > (int4, int2),
    OPERATOR 1 < (int4, int8), OPERATOR 2 <= (int4, int8), OPERATOR 3 = (int4, int8), OPERATOR 4 >= (int4, int8), OPERATOR 5 > (int4, int8),
    OPERATOR 1 < (int8, int2), OPERATOR 2 <= (int8, int2), OPERATOR 3 = (int8, int2), OPERATOR 4 >= (int8, int2), OPERATOR 5 > (int8, int2),
    OPERATOR 1 < (int8, int4), OPERATOR 2 <= (int8, int4), OPERATOR 3 = (int8, int4), OPERATOR 4 >= (int8, int4), OPERATOR 5 > (int8, int4);
CREATE OPERATOR FAMILY float_ops USING hnsw;
CREATE OPERATOR CLASS float4_ops DEFAULT FOR TYPE float4 USING hnsw FAMILY float_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS float8_ops DEFAULT FOR TYPE float8 USING hnsw FAMILY float_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
ALTER OPERATOR FAMILY float_ops USING hnsw ADD
    OPERATOR 1 < (float4, float8), OPERATOR 2 <= (float4, float8), OPERATOR 3 = (float4, float8), OPERATOR 4 >= (float4, float8), OPERATOR 5 > (float4, float8),
    OPERATOR 1 < (float8, float4), OPERATOR 2 <= (float8, float4), OPERATOR 3 = (float8, float4), OPERATOR 4 >= (float8, float4), OPERATOR 5 > (float8, float4);
CREATE OPERATOR CLASS oid_ops DEFAULT FOR TYPE oid USING hnsw AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS numeric_ops DEFAULT FOR TYPE numeric USING hnsw AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS date_ops DEFAULT FOR TYPE date USING hnsw AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS time_ops DEFAULT FOR TYPE time USING hnsw AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS timestamp_ops DEFAULT FOR TYPE timestamp USING hnsw AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS timestamptz_ops DEFAULT FOR TYPE timestamptz USING hnsw AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS text_ops DEFAULT FOR TYPE text USING hnsw AS
    OPERATOR 3 =;
CREATE OPERATOR CLASS bpchar_ops DEFAULT FOR TYPE bpchar USING hnsw AS
    OPERATOR 3 =;
CREATE OPERATOR CLASS uuid_ops DEFAULT FOR TYPE uuid USING hnsw AS
    OPERATOR 3 =;
CREATE OPERATOR CLASS enum_ops DEFAULT FOR TYPE anyenum USING hnsw AS
    OPERATOR 3 =;
CREATE OPERATOR CLASS inet_ops DEFAULT FOR TYPE inet USING hnsw AS
    OPERATOR 3 =;
CREATE OPERATOR CLASS array_ops DEFAULT FOR TYPE anyarray USING hnsw AS
    OPERATOR 3 =, OPERATOR 6 &&, OPERATOR 7 @>;

CREATE OPERATOR CLASS bool_ops DEFAULT FOR TYPE bool USING ivfflat AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR FAMILY integer_ops USING ivfflat;
CREATE OPERATOR CLASS int2_ops DEFAULT FOR TYPE int2 USING ivfflat FAMILY integer_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS int4_ops DEFAULT FOR TYPE int4 USING ivfflat FAMILY integer_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS int8_ops DEFAULT FOR TYPE int8 USING ivfflat FAMILY integer_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
ALTER OPERATOR FAMILY integer_ops USING ivfflat ADD
    OPERATOR 1 < (int2, int4), OPERATOR 2 <= (int2, int4), OPERATOR 3 = (int2, int4), OPERATOR 4 >= (int2, int4), OPERATOR 5 > (int2, int4),
    OPERATOR 1 < (int2, int8), OPERATOR 2 <= (int2, int8), OPERATOR 3 = (int2, int8), OPERATOR 4 >= (int2, int8), OPERATOR 5 > (int2, int8),
    OPERATOR 1 < (int4, int2), OPERATOR 2 <= (int4, int2), OPERATOR 3 = (int4, int2), OPERATOR 4 >= (int4, int2), OPERATOR 5 > (int4, int2),
    OPERATOR 1 < (int4, int8), OPERATOR 2 <= (int4, int8), OPERATOR 3 = (int4, int8), OPERATOR 4 >= (int4, int8), OPERATOR 5 > (int4, int8),
    OPERATOR 1 < (int8, int2), OPERATOR 2 <= (int8, int2), OPERATOR 3 = (int8, int2), OPERATOR 4 >= (int8, int2), OPERATOR 5 > (int8, int2),
    OPERATOR 1 < (int8, int4), OPERATOR 2 <= (int8, int4), OPERATOR 3 = (int8, int4), OPERATOR 4 >= (int8, int4), OPERATOR 5 > (int8, int4);
CREATE OPERATOR FAMILY float_ops USING ivfflat;
CREATE OPERATOR CLASS float4_ops DEFAULT FOR TYPE float4 USING ivfflat FAMILY float_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS float8_ops DEFAULT FOR TYPE float8 USING ivfflat FAMILY float_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
ALTER OPERATOR FAMILY float_ops USING ivfflat ADD
    OPERATOR 1 < (float4, float8), OPERATOR 2 <= (float4, float8), OPERATOR 3 = (float4, float8), OPERATOR 4 >= (float4, float8), OPERATOR 5 > (float4, float8),
    OPERATOR 1 < (float8, float4), OPERATOR 2 <= (float8, float4), OPERATOR 3 = (float8, float4), OPERATOR 4 >= (float8, float4), OPERATOR 5 > (float8, float4);
CREATE OPERATOR CLASS oid_ops DEFAULT FOR TYPE oid USING ivfflat AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS numeric_ops DEFAULT FOR TYPE numeric USING ivfflat AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS date_ops DEFAULT FOR TYPE date USING ivfflat AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS time_ops DEFAULT FOR TYPE time USING ivfflat AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS timestamp_ops DEFAULT FOR TYPE timestamp USING ivfflat AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS timestamptz_ops DEFAULT FOR TYPE timestamptz USING ivfflat AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >;
CREATE OPERATOR CLASS text_ops DEFAULT FOR TYPE text USING ivfflat AS
    OPERATOR 3 =;
CREATE OPERATOR CLASS bpchar_ops DEFAULT FOR TYPE bpchar USING ivfflat AS
    OPERATOR 3 =;
CREATE OPERATOR CLASS uuid_ops DEFAULT FOR TYPE uuid USING ivfflat AS
    OPERATOR 3 =;
CREATE OPERATOR CLASS enum_ops DEFAULT FOR TYPE anyenum USING ivfflat AS
    OPERATOR 3 =;
CREATE OPERATOR CLASS inet_ops DEFAULT FOR TYPE inet USING ivfflat AS
    OPERATOR 3 =;
CREATE OPERATOR CLASS array_ops DEFAULT FOR TYPE anyarray USING ivfflat AS
    OPERATOR 3 =, OPERATOR 6 &&, OPERATOR 7 @>;

COMMENT ON ACCESS METHOD hnsw IS 'approximate nearest neighbour search over a layered graph';
COMMENT ON ACCESS METHOD ivfflat IS 'approximate nearest neighbour search in lists around cluster centres';
COMMENT ON FUNCTION hnswhandler(internal) IS 'describes hnsw to the server';
COMMENT ON FUNCTION ivfflathandler(internal) IS 'describes ivfflat to the server';
COMMENT ON FUNCTION hnsw_check(regclass, boolean) IS 'what is wrong with an hnsw index; deep: compared with its table, too';
COMMENT ON FUNCTION ivfflat_check(regclass, boolean) IS 'what is wrong with an ivfflat index; deep: compared with its table, too';
COMMENT ON FUNCTION vector_index_info(regclass) IS 'what an index consists of: rows, elements, layers, lists, pages, options';
COMMENT ON FUNCTION vector_index_facts(regclass) IS 'the same, a row for each fact';
COMMENT ON FUNCTION vector_index_prewarm(regclass) IS 'reads an index into shared_buffers, as much as they hold; how many blocks';
COMMENT ON FUNCTION vector_index_recall(regclass, integer, integer) IS 'how much of the exact answer an index gives, and how fast, under the present settings';
COMMENT ON FUNCTION vector_index_tune(regclass, double precision, integer, integer) IS 'the least ef_search or probes that reaches a recall, and what was tried';
COMMENT ON FUNCTION vector_advice() IS 'what to do about every column of vectors and every index of them, and why';
COMMENT ON PROCEDURE vector_advice_apply(regclass, boolean) IS 'creates the indexes that vector_advice recommends';
COMMENT ON FUNCTION hnsw_halfvec_support(internal) IS 'tells hnsw how to handle halfvec';
COMMENT ON FUNCTION hnsw_bit_support(internal) IS 'tells hnsw how to handle bit';
COMMENT ON FUNCTION hnsw_sparsevec_support(internal) IS 'tells hnsw how to handle sparsevec';
COMMENT ON FUNCTION ivfflat_halfvec_support(internal) IS 'tells ivfflat how to handle halfvec';
COMMENT ON FUNCTION ivfflat_bit_support(internal) IS 'tells ivfflat how to handle bit';

COMMENT ON TYPE vector IS 'dense vector of 4-byte floats';
COMMENT ON FUNCTION vector_in(cstring, oid, integer) IS 'text to vector';
COMMENT ON FUNCTION vector_out(vector) IS 'vector to text';
COMMENT ON FUNCTION vector_recv(internal, oid, integer) IS 'binary message to vector';
COMMENT ON FUNCTION vector_send(vector) IS 'vector to binary message';
COMMENT ON FUNCTION vector_typmod_in(cstring[]) IS 'checks the dimensions in vector(n)';
COMMENT ON FUNCTION l2_distance(vector, vector) IS 'Euclidean (L2) distance';
COMMENT ON FUNCTION inner_product(vector, vector) IS 'inner (dot) product';
COMMENT ON FUNCTION cosine_distance(vector, vector) IS 'cosine distance, from 0 to 2; NaN when either is all zeros';
COMMENT ON FUNCTION l1_distance(vector, vector) IS 'taxicab (L1) distance';
COMMENT ON FUNCTION vector_dims(vector) IS 'how many dimensions';
COMMENT ON FUNCTION vector_norm(vector) IS 'Euclidean (L2) norm';
COMMENT ON FUNCTION l2_normalize(vector) IS 'scaled to Euclidean norm 1; all zeros stay zeros';
COMMENT ON FUNCTION binary_quantize(vector) IS 'one bit per dimension, set where the element is above zero';
COMMENT ON FUNCTION subvector(vector, integer, integer) IS 'part of a vector: first dimension (from 1), how many';
COMMENT ON FUNCTION vector_l2_squared_distance(vector, vector) IS 'Euclidean distance without the square root';
COMMENT ON FUNCTION vector_negative_inner_product(vector, vector) IS 'inner product with its sign turned, so that less is nearer';
COMMENT ON FUNCTION vector_spherical_distance(vector, vector) IS 'angle between unit vectors as a fraction of a half turn';
COMMENT ON FUNCTION vector_add(vector, vector) IS 'behind operator +';
COMMENT ON FUNCTION vector_sub(vector, vector) IS 'behind operator -';
COMMENT ON FUNCTION vector_mul(vector, vector) IS 'behind operator *';
COMMENT ON FUNCTION vector_concat(vector, vector) IS 'behind operator ||';
COMMENT ON FUNCTION vector_lt(vector, vector) IS 'behind operator <';
COMMENT ON FUNCTION vector_le(vector, vector) IS 'behind operator <=';
COMMENT ON FUNCTION vector_eq(vector, vector) IS 'behind operator =';
COMMENT ON FUNCTION vector_ne(vector, vector) IS 'behind operator <>';
COMMENT ON FUNCTION vector_ge(vector, vector) IS 'behind operator >=';
COMMENT ON FUNCTION vector_gt(vector, vector) IS 'behind operator >';
COMMENT ON FUNCTION vector_cmp(vector, vector) IS 'three-way comparison for btree: -1, 0 or 1';
COMMENT ON FUNCTION vector_accum(double precision[], vector) IS 'avg(vector): takes in one value';
COMMENT ON FUNCTION vector_combine(double precision[], double precision[]) IS 'avg(vector): merges two partial states';
COMMENT ON FUNCTION vector_avg(double precision[]) IS 'avg(vector): turns the state into the mean';
COMMENT ON AGGREGATE avg(vector) IS 'element-wise mean; NULL when there is nothing to average';
COMMENT ON AGGREGATE sum(vector) IS 'element-wise sum';
COMMENT ON FUNCTION vector(vector, integer, boolean) IS 'checks a vector against the dimensions of its column';
COMMENT ON FUNCTION array_to_vector(integer[], integer, boolean) IS 'cast integer[] to vector';
COMMENT ON FUNCTION array_to_vector(real[], integer, boolean) IS 'cast real[] to vector';
COMMENT ON FUNCTION array_to_vector(double precision[], integer, boolean) IS 'cast double precision[] to vector';
COMMENT ON FUNCTION array_to_vector(numeric[], integer, boolean) IS 'cast numeric[] to vector';
COMMENT ON FUNCTION vector_to_float4(vector, integer, boolean) IS 'cast vector to real[]';
COMMENT ON OPERATOR <-> (vector, vector) IS 'Euclidean (L2) distance';
COMMENT ON OPERATOR <#> (vector, vector) IS 'negative inner product';
COMMENT ON OPERATOR <=> (vector, vector) IS 'cosine distance';
COMMENT ON OPERATOR <+> (vector, vector) IS 'taxicab (L1) distance';
COMMENT ON OPERATOR + (vector, vector) IS 'element-wise sum';
COMMENT ON OPERATOR - (vector, vector) IS 'element-wise difference';
COMMENT ON OPERATOR * (vector, vector) IS 'element-wise product';
COMMENT ON OPERATOR || (vector, vector) IS 'the left vector followed by the right one';
COMMENT ON OPERATOR < (vector, vector) IS 'sorts before';
COMMENT ON OPERATOR <= (vector, vector) IS 'sorts before or is equal';
COMMENT ON OPERATOR = (vector, vector) IS 'all elements equal';
COMMENT ON OPERATOR <> (vector, vector) IS 'some element differs';
COMMENT ON OPERATOR >= (vector, vector) IS 'sorts after or is equal';
COMMENT ON OPERATOR > (vector, vector) IS 'sorts after';

COMMENT ON TYPE halfvec IS 'dense vector of 2-byte floats';
COMMENT ON FUNCTION halfvec_in(cstring, oid, integer) IS 'text to halfvec';
COMMENT ON FUNCTION halfvec_out(halfvec) IS 'halfvec to text';
COMMENT ON FUNCTION halfvec_recv(internal, oid, integer) IS 'binary message to halfvec';
COMMENT ON FUNCTION halfvec_send(halfvec) IS 'halfvec to binary message';
COMMENT ON FUNCTION halfvec_typmod_in(cstring[]) IS 'checks the dimensions in halfvec(n)';
COMMENT ON FUNCTION l2_distance(halfvec, halfvec) IS 'Euclidean (L2) distance';
COMMENT ON FUNCTION inner_product(halfvec, halfvec) IS 'inner (dot) product';
COMMENT ON FUNCTION cosine_distance(halfvec, halfvec) IS 'cosine distance, from 0 to 2; NaN when either is all zeros';
COMMENT ON FUNCTION l1_distance(halfvec, halfvec) IS 'taxicab (L1) distance';
COMMENT ON FUNCTION vector_dims(halfvec) IS 'how many dimensions';
COMMENT ON FUNCTION l2_norm(halfvec) IS 'Euclidean (L2) norm';
COMMENT ON FUNCTION l2_normalize(halfvec) IS 'scaled to Euclidean norm 1; all zeros stay zeros';
COMMENT ON FUNCTION binary_quantize(halfvec) IS 'one bit per dimension, set where the element is above zero';
COMMENT ON FUNCTION subvector(halfvec, integer, integer) IS 'part of a vector: first dimension (from 1), how many';
COMMENT ON FUNCTION halfvec_l2_squared_distance(halfvec, halfvec) IS 'Euclidean distance without the square root';
COMMENT ON FUNCTION halfvec_negative_inner_product(halfvec, halfvec) IS 'inner product with its sign turned, so that less is nearer';
COMMENT ON FUNCTION halfvec_spherical_distance(halfvec, halfvec) IS 'angle between unit vectors as a fraction of a half turn';
COMMENT ON FUNCTION halfvec_add(halfvec, halfvec) IS 'behind operator +';
COMMENT ON FUNCTION halfvec_sub(halfvec, halfvec) IS 'behind operator -';
COMMENT ON FUNCTION halfvec_mul(halfvec, halfvec) IS 'behind operator *';
COMMENT ON FUNCTION halfvec_concat(halfvec, halfvec) IS 'behind operator ||';
COMMENT ON FUNCTION halfvec_lt(halfvec, halfvec) IS 'behind operator <';
COMMENT ON FUNCTION halfvec_le(halfvec, halfvec) IS 'behind operator <=';
COMMENT ON FUNCTION halfvec_eq(halfvec, halfvec) IS 'behind operator =';
COMMENT ON FUNCTION halfvec_ne(halfvec, halfvec) IS 'behind operator <>';
COMMENT ON FUNCTION halfvec_ge(halfvec, halfvec) IS 'behind operator >=';
COMMENT ON FUNCTION halfvec_gt(halfvec, halfvec) IS 'behind operator >';
COMMENT ON FUNCTION halfvec_cmp(halfvec, halfvec) IS 'three-way comparison for btree: -1, 0 or 1';
COMMENT ON FUNCTION halfvec_accum(double precision[], halfvec) IS 'avg(halfvec): takes in one value';
COMMENT ON FUNCTION halfvec_combine(double precision[], double precision[]) IS 'avg(halfvec): merges two partial states';
COMMENT ON FUNCTION halfvec_avg(double precision[]) IS 'avg(halfvec): turns the state into the mean';
COMMENT ON AGGREGATE avg(halfvec) IS 'element-wise mean; NULL when there is nothing to average';
COMMENT ON AGGREGATE sum(halfvec) IS 'element-wise sum';
COMMENT ON FUNCTION halfvec(halfvec, integer, boolean) IS 'checks a halfvec against the dimensions of its column';
COMMENT ON FUNCTION halfvec_to_vector(halfvec, integer, boolean) IS 'cast halfvec to vector';
COMMENT ON FUNCTION vector_to_halfvec(vector, integer, boolean) IS 'cast vector to halfvec, rounding each element';
COMMENT ON FUNCTION array_to_halfvec(integer[], integer, boolean) IS 'cast integer[] to halfvec';
COMMENT ON FUNCTION array_to_halfvec(real[], integer, boolean) IS 'cast real[] to halfvec';
COMMENT ON FUNCTION array_to_halfvec(double precision[], integer, boolean) IS 'cast double precision[] to halfvec';
COMMENT ON FUNCTION array_to_halfvec(numeric[], integer, boolean) IS 'cast numeric[] to halfvec';
COMMENT ON FUNCTION halfvec_to_float4(halfvec, integer, boolean) IS 'cast halfvec to real[]';
COMMENT ON OPERATOR <-> (halfvec, halfvec) IS 'Euclidean (L2) distance';
COMMENT ON OPERATOR <#> (halfvec, halfvec) IS 'negative inner product';
COMMENT ON OPERATOR <=> (halfvec, halfvec) IS 'cosine distance';
COMMENT ON OPERATOR <+> (halfvec, halfvec) IS 'taxicab (L1) distance';
COMMENT ON OPERATOR + (halfvec, halfvec) IS 'element-wise sum';
COMMENT ON OPERATOR - (halfvec, halfvec) IS 'element-wise difference';
COMMENT ON OPERATOR * (halfvec, halfvec) IS 'element-wise product';
COMMENT ON OPERATOR || (halfvec, halfvec) IS 'the left vector followed by the right one';
COMMENT ON OPERATOR < (halfvec, halfvec) IS 'sorts before';
COMMENT ON OPERATOR <= (halfvec, halfvec) IS 'sorts before or is equal';
COMMENT ON OPERATOR = (halfvec, halfvec) IS 'all elements equal';
COMMENT ON OPERATOR <> (halfvec, halfvec) IS 'some element differs';
COMMENT ON OPERATOR >= (halfvec, halfvec) IS 'sorts after or is equal';
COMMENT ON OPERATOR > (halfvec, halfvec) IS 'sorts after';

COMMENT ON TYPE sparsevec IS 'sparse vector of 4-byte floats, zeros left out';
COMMENT ON FUNCTION sparsevec_in(cstring, oid, integer) IS 'text to sparsevec';
COMMENT ON FUNCTION sparsevec_out(sparsevec) IS 'sparsevec to text';
COMMENT ON FUNCTION sparsevec_recv(internal, oid, integer) IS 'binary message to sparsevec';
COMMENT ON FUNCTION sparsevec_send(sparsevec) IS 'sparsevec to binary message';
COMMENT ON FUNCTION sparsevec_typmod_in(cstring[]) IS 'checks the dimensions in sparsevec(n)';
COMMENT ON FUNCTION l2_distance(sparsevec, sparsevec) IS 'Euclidean (L2) distance';
COMMENT ON FUNCTION inner_product(sparsevec, sparsevec) IS 'inner (dot) product';
COMMENT ON FUNCTION cosine_distance(sparsevec, sparsevec) IS 'cosine distance, from 0 to 2; NaN when either is all zeros';
COMMENT ON FUNCTION l1_distance(sparsevec, sparsevec) IS 'taxicab (L1) distance';
COMMENT ON FUNCTION l2_norm(sparsevec) IS 'Euclidean (L2) norm';
COMMENT ON FUNCTION l2_normalize(sparsevec) IS 'scaled to Euclidean norm 1; all zeros stay zeros';
COMMENT ON FUNCTION sparsevec_l2_squared_distance(sparsevec, sparsevec) IS 'Euclidean distance without the square root';
COMMENT ON FUNCTION sparsevec_negative_inner_product(sparsevec, sparsevec) IS 'inner product with its sign turned, so that less is nearer';
COMMENT ON FUNCTION sparsevec_lt(sparsevec, sparsevec) IS 'behind operator <';
COMMENT ON FUNCTION sparsevec_le(sparsevec, sparsevec) IS 'behind operator <=';
COMMENT ON FUNCTION sparsevec_eq(sparsevec, sparsevec) IS 'behind operator =';
COMMENT ON FUNCTION sparsevec_ne(sparsevec, sparsevec) IS 'behind operator <>';
COMMENT ON FUNCTION sparsevec_ge(sparsevec, sparsevec) IS 'behind operator >=';
COMMENT ON FUNCTION sparsevec_gt(sparsevec, sparsevec) IS 'behind operator >';
COMMENT ON FUNCTION sparsevec_cmp(sparsevec, sparsevec) IS 'three-way comparison for btree: -1, 0 or 1';
COMMENT ON FUNCTION sparsevec(sparsevec, integer, boolean) IS 'checks a sparsevec against the dimensions of its column';
COMMENT ON FUNCTION sparsevec_to_vector(sparsevec, integer, boolean) IS 'cast sparsevec to vector';
COMMENT ON FUNCTION vector_to_sparsevec(vector, integer, boolean) IS 'cast vector to sparsevec';
COMMENT ON FUNCTION sparsevec_to_halfvec(sparsevec, integer, boolean) IS 'cast sparsevec to halfvec';
COMMENT ON FUNCTION halfvec_to_sparsevec(halfvec, integer, boolean) IS 'cast halfvec to sparsevec';
COMMENT ON FUNCTION array_to_sparsevec(integer[], integer, boolean) IS 'cast integer[] to sparsevec';
COMMENT ON FUNCTION array_to_sparsevec(real[], integer, boolean) IS 'cast real[] to sparsevec';
COMMENT ON FUNCTION array_to_sparsevec(double precision[], integer, boolean) IS 'cast double precision[] to sparsevec';
COMMENT ON FUNCTION array_to_sparsevec(numeric[], integer, boolean) IS 'cast numeric[] to sparsevec';
COMMENT ON OPERATOR <-> (sparsevec, sparsevec) IS 'Euclidean (L2) distance';
COMMENT ON OPERATOR <#> (sparsevec, sparsevec) IS 'negative inner product';
COMMENT ON OPERATOR <=> (sparsevec, sparsevec) IS 'cosine distance';
COMMENT ON OPERATOR <+> (sparsevec, sparsevec) IS 'taxicab (L1) distance';
COMMENT ON OPERATOR < (sparsevec, sparsevec) IS 'sorts before';
COMMENT ON OPERATOR <= (sparsevec, sparsevec) IS 'sorts before or is equal';
COMMENT ON OPERATOR = (sparsevec, sparsevec) IS 'all elements equal';
COMMENT ON OPERATOR <> (sparsevec, sparsevec) IS 'some element differs';
COMMENT ON OPERATOR >= (sparsevec, sparsevec) IS 'sorts after or is equal';
COMMENT ON OPERATOR > (sparsevec, sparsevec) IS 'sorts after';

COMMENT ON FUNCTION hamming_distance(bit, bit) IS 'Hamming distance: how many bits differ';
COMMENT ON FUNCTION jaccard_distance(bit, bit) IS 'Jaccard distance: 1 - common set bits / all set bits';
COMMENT ON OPERATOR <~> (bit, bit) IS 'Hamming distance';
COMMENT ON OPERATOR <%> (bit, bit) IS 'Jaccard distance';
