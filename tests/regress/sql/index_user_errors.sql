-- Errors of user code that runs inside an index's build, insert or vacuum arrive whole.
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION bad(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF current_setting('test.bad', true) = 'on' THEN
    RAISE EXCEPTION 'no' USING ERRCODE = '45678', DETAIL = 'the detail', HINT = 'the hint',
      COLUMN = 'c', CONSTRAINT = 'k', DATATYPE = 'd', TABLE = 't', SCHEMA = 's';
  END IF;
  RETURN v;
END $$;
CREATE FUNCTION wrong(v vector) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF current_setting('test.bad', true) = 'on' THEN
    EXECUTE 'SELECT 1 + nowhere';
  END IF;
  RETURN true;
END $$;
CREATE DOMAIN positive AS int CONSTRAINT above_zero CHECK (value > 0);
CREATE FUNCTION negative(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE SET search_path = public AS $$
BEGIN
  IF current_setting('test.bad', true) = 'on' THEN
    EXECUTE 'SELECT (-1)::public.positive';
  END IF;
  RETURN v;
END $$;

-- Every part of an error that PL/pgSQL can see.
CREATE FUNCTION error_of(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  parts text[] := '{}';
  part text;
BEGIN
  EXECUTE statement;
  RETURN NEXT 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS part = RETURNED_SQLSTATE;
  RETURN NEXT 'sqlstate ' || part;
  GET STACKED DIAGNOSTICS part = MESSAGE_TEXT;
  RETURN NEXT 'message ' || part;
  GET STACKED DIAGNOSTICS part = PG_EXCEPTION_DETAIL;
  RETURN NEXT 'detail ' || part;
  GET STACKED DIAGNOSTICS part = PG_EXCEPTION_HINT;
  RETURN NEXT 'hint ' || part;
  GET STACKED DIAGNOSTICS part = COLUMN_NAME;
  RETURN NEXT 'column ' || part;
  GET STACKED DIAGNOSTICS part = CONSTRAINT_NAME;
  RETURN NEXT 'constraint ' || part;
  GET STACKED DIAGNOSTICS part = PG_DATATYPE_NAME;
  RETURN NEXT 'type ' || part;
  GET STACKED DIAGNOSTICS part = TABLE_NAME;
  RETURN NEXT 'table ' || part;
  GET STACKED DIAGNOSTICS part = SCHEMA_NAME;
  RETURN NEXT 'schema ' || part;
  GET STACKED DIAGNOSTICS part = PG_EXCEPTION_CONTEXT;
  -- the lines of the function that failed
  RETURN NEXT 'context ' || split_part(part, E'\nSQL statement "', 1);
END $$;

CREATE TABLE t (e vector(3));
INSERT INTO t SELECT ARRAY[i, i % 3, 1]::vector FROM generate_series(1, 30) i;
SET client_min_messages = warning;

-- Builds.
SET test.bad = 'on';
SELECT error_of('CREATE INDEX ON t USING hnsw ((bad(e)::vector(3)) vector_l2_ops)');
SELECT error_of('CREATE INDEX ON t USING ivfflat ((bad(e)::vector(3)) vector_l2_ops) WITH (lists = 2)');
SELECT error_of('CREATE INDEX ON t USING hnsw ((negative(e)::vector(3)) vector_l2_ops)');
SELECT error_of('CREATE INDEX ON t USING ivfflat ((negative(e)::vector(3)) vector_l2_ops) WITH (lists = 2)');
CREATE INDEX ON t USING hnsw ((bad(e)::vector(3)) vector_l2_ops);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON t USING ivfflat ((bad(e)::vector(3)) vector_l2_ops);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON t USING hnsw (e vector_l2_ops) WHERE wrong(e);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON t USING ivfflat (e vector_l2_ops) WHERE wrong(e);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX CONCURRENTLY broken ON t USING hnsw ((bad(e)::vector(3)) vector_l2_ops);
\echo :LAST_ERROR_SQLSTATE
DROP INDEX broken;
CREATE INDEX CONCURRENTLY broken ON t USING ivfflat (e vector_l2_ops) WHERE wrong(e);
\echo :LAST_ERROR_SQLSTATE
DROP INDEX broken;

-- What is there stays, and is built again.
SET test.bad = 'off';
CREATE INDEX h ON t USING hnsw ((bad(e)::vector(3)) vector_l2_ops);
CREATE INDEX i ON t USING ivfflat ((bad(e)::vector(3)) vector_l2_ops) WITH (lists = 2);
SET test.bad = 'on';
SELECT error_of('REINDEX INDEX h');
SELECT error_of('REINDEX INDEX i');
REINDEX INDEX CONCURRENTLY h;
\echo :LAST_ERROR_SQLSTATE
VACUUM FULL t;
\echo :LAST_ERROR_SQLSTATE
SELECT error_of('INSERT INTO t VALUES (''[1,2,3]'')');
SELECT error_of('UPDATE t SET e = ''[3,2,1]''');
SET test.bad = 'off';
REINDEX INDEX h;
INSERT INTO t VALUES ('[1,2,3]');
SELECT count(*) FROM t;

-- Many errors that are caught leave nothing behind.
SET test.bad = 'on';
DO $$
BEGIN
  FOR i IN 1..200 LOOP
    BEGIN
      EXECUTE 'CREATE INDEX ON t USING hnsw ((bad(e)::vector(3)) vector_l2_ops)';
    EXCEPTION WHEN SQLSTATE '45678' THEN
      NULL;
    END;
  END LOOP;
END $$;
DO $$
BEGIN
  BEGIN
    EXECUTE 'REINDEX INDEX i';
  EXCEPTION WHEN SQLSTATE '45678' THEN
    EXECUTE 'REINDEX INDEX h';
  END;
END $$;
\echo :LAST_ERROR_SQLSTATE

-- The access methods' own errors, as ever.
SET test.bad = 'off';
SET enable_seqscan = off;
SELECT error_of('SELECT e FROM t ORDER BY bad(e)::vector(3) <-> ''[1,2]'' LIMIT 1');
SELECT error_of('INSERT INTO t VALUES (''[1,2]'')');
RESET enable_seqscan;
-- a first column that is none of vectors
SELECT error_of('CREATE INDEX ON t USING hnsw ((1))');
SELECT error_of('CREATE INDEX ON t USING ivfflat ((''x''::text))');
DROP TABLE t;
