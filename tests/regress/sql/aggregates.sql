-- avg and sum, alone and in parallel, and the functions they are made of.
\pset format unaligned
\pset tuples_only on
\pset null '(null)'
CREATE FUNCTION pg_temp.attempt(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE code text; message text; detail text; hint text; answer text;
BEGIN
  EXECUTE query INTO answer;
  RETURN coalesce(answer, '(null)');
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN concat_ws(' | ', code, message, nullif(detail, ''), nullif(hint, ''));
END $$;

SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2,3]', '[3,4,8]']::vector[]) v;
SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2,3]', '[3,4,8]']::halfvec[]) v;
SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2,3]']::vector[]) v;
-- NULLs do not count; nothing to average is NULL.
SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2]', NULL, '[3,4]']::vector[]) v;
SELECT avg(v), sum(v), avg(v::halfvec), sum(v::halfvec) FROM unnest(ARRAY[NULL, NULL]::vector[]) v;
SELECT avg(v), sum(v), avg(v::halfvec), sum(v::halfvec) FROM unnest(ARRAY[]::vector[]) v;
SELECT avg(v) FILTER (WHERE false), avg(DISTINCT v), sum(DISTINCT v) FROM unnest(ARRAY['[1]', '[1]', '[4]']::vector[]) v;
SELECT i % 3 AS k, avg(ARRAY[i, -i]::vector), sum(ARRAY[i, -i]::halfvec) FROM generate_series(1, 10) i GROUP BY 1 ORDER BY 1;
SELECT i, avg(ARRAY[i]::vector) OVER w, sum(ARRAY[i]::vector) OVER w FROM generate_series(1, 4) i WINDOW w AS (ORDER BY i ROWS 1 PRECEDING) ORDER BY i;
-- avg sums in float8, so the mean of large values is no overflow; sum stays in the type, so the sum is.
SELECT avg(v) FROM unnest(ARRAY['[3e38]', '[3e38]']::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[3e38]', '[3e38]']::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[65504]', '[65504]']::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY['[65504]', '[65504]']::halfvec[]) v;
SELECT avg(ARRAY[0.1::real]::vector) FROM generate_series(1, 100000);
-- Dimensions must agree.
SELECT avg(v) FROM unnest(ARRAY['[1,2]', '[3]']::vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1,2]', '[3]']::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,2]', '[3]']::halfvec[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1,2]', '[3]']::halfvec[]) v;
SELECT vector_dims(avg(v)), vector_dims(sum(v)) FROM (SELECT array_fill(i, ARRAY[16000])::vector v FROM generate_series(1, 3) i) s;

-- In parallel: whole numbers, so that every order of adding gives the same.
CREATE TABLE aggregates_t (id int, k int, v vector(3), h halfvec(3)) WITH (parallel_workers = 2);
INSERT INTO aggregates_t SELECT i, i % 4, ARRAY[i, i % 7, -1]::vector, ARRAY[i % 2, i % 7 / 6, -1]::halfvec FROM generate_series(1, 2000) i;
INSERT INTO aggregates_t SELECT i, 9, NULL, NULL FROM generate_series(2001, 2500) i;
ANALYZE aggregates_t;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT avg(v), sum(v) FROM aggregates_t;
SELECT avg(v), sum(v), avg(h), sum(h) FROM aggregates_t;
SELECT k, avg(v), sum(v), avg(h), sum(h) FROM aggregates_t GROUP BY k ORDER BY k;
-- Workers that find nothing hand over an empty state; so does every worker here.
EXPLAIN (COSTS OFF) SELECT avg(v) FROM aggregates_t WHERE id + 0 > 5000;
SELECT avg(v), avg(h), sum(v), sum(h) FROM aggregates_t WHERE id + 0 > 5000;
SELECT avg(v), avg(h), sum(v), sum(h) FROM aggregates_t WHERE id + 0 > 2000;
SELECT avg(v), avg(h), sum(v), sum(h) FROM aggregates_t WHERE id % 3000 = 7;
SET parallel_leader_participation = off;
SELECT avg(v), avg(h), sum(v), sum(h) FROM aggregates_t WHERE id + 0 > 5000;
SELECT avg(v), avg(h), sum(v), sum(h) FROM aggregates_t WHERE id % 3000 IN (7, 2400);
SELECT avg(v), sum(v), avg(h), sum(h) FROM aggregates_t;
RESET parallel_leader_participation;
DROP TABLE aggregates_t;

-- The functions behind avg, called by hand.
SELECT vector_accum('{0}', '[1,2]'), vector_accum('{1,1,2}', '[3,4]'), halfvec_accum('{0}', '[1,2]'), halfvec_accum('{1,1,2}', '[3,4]'), vector_accum('{5}', '[1]');
SELECT vector_combine('{0}', '{0}'), vector_combine('{0}', '{1,2,3}'), vector_combine('{1,2,3}', '{0}'), vector_combine('{1,2,3}', '{2,20,30}'), halfvec_combine('{1,2,3}', '{2,20,30}');
-- A state is empty when it has no sums, whatever its count.
SELECT vector_combine('{0,1,2}', '{1,3,4}'), vector_combine('{1,3,4}', '{0,1,2}'), vector_combine('{1}', '{2}'), vector_combine('{1}', '{2,3}');
SELECT vector_avg('{0}'), vector_avg('{0,1,2}'), vector_avg('{2,1,3}'), vector_avg('{-1,2}'), vector_avg('{Infinity,1}'), halfvec_avg('{0}'), halfvec_avg('{4,1,-2}');
SELECT vector_accum('[3:5]={1,1,2}', '[3,4]'), vector_avg('[0:1]={2,8}'), vector_avg('{1,1e-60}');
SELECT c, pg_temp.attempt('SELECT ' || c) FROM unnest(ARRAY[
  'vector_accum(''{}'', ''[1]'')', 'vector_accum(''{NULL}'', ''[1]'')', 'vector_accum(''{1,NULL}'', ''[1]'')', 'vector_accum(''{{0}}'', ''[1]'')', 'vector_accum(''{1,2,3}'', ''[1]'')', 'vector_accum(''{1,2}'', ''[1,2]'')',
  'halfvec_accum(''{}'', ''[1]'')', 'halfvec_accum(''{{1,2}}'', ''[1]'')', 'halfvec_accum(''{1,NULL}'', ''[1]'')', 'halfvec_accum(''{1,2,3}'', ''[1]'')',
  'vector_combine(''{}'', ''{0}'')', 'vector_combine(''{0}'', ''{}'')', 'vector_combine(''{0}'', ''{NULL}'')', 'vector_combine(''{{1}}'', ''{0}'')', 'vector_combine(''{1,2}'', ''{1,2,3}'')', 'halfvec_combine(''{}'', ''{}'')', 'halfvec_combine(''{1,2}'', ''{1,2,3}'')',
  'vector_combine(''{1,1e308}'', ''{1,1e308}'')', 'vector_accum(''{1,Infinity}'', ''[1]'')',
  'vector_combine(array_fill(1::float8, ARRAY[16002]), ''{0}'')', 'vector_combine(''{0}'', array_fill(1::float8, ARRAY[16002]))', 'vector_combine(array_fill(1::float8, ARRAY[16002]), array_fill(1::float8, ARRAY[16002]))',
  'vector_avg(''{}'')', 'vector_avg(''{NULL}'')', 'vector_avg(''{{2,1}}'')', 'vector_avg(''{1}'')', 'vector_avg(''{NaN}'')', 'vector_avg(''{1,NaN}'')', 'vector_avg(''{1,1e300}'')', 'vector_avg(''{1,Infinity}'')', 'vector_avg(array_fill(1::float8, ARRAY[16002]))',
  'halfvec_avg(''{}'')', 'halfvec_avg(''{1}'')', 'halfvec_avg(''{1,NaN}'')', 'halfvec_avg(''{1,65520}'')', 'halfvec_avg(''{1,1e300}'')', 'halfvec_avg(''{1,-1e38}'')', 'halfvec_avg(array_fill(1::float8, ARRAY[16002]))']) WITH ORDINALITY AS u (c, i) ORDER BY i;
SELECT vector_accum(NULL, '[1]'), vector_accum('{0}', NULL), vector_combine(NULL, '{0}'), vector_avg(NULL);
