-- Versions: every release of pgvector since 0.5.0 leads here one step at a time, and one step leads back.
\pset format unaligned
\pset tuples_only on
SELECT source, path FROM pg_extension_update_paths('vector') WHERE target = '1.0.0' AND source = ANY ('{0.5.0,0.6.1,0.8.6,0.8.7}') ORDER BY 1;
SELECT v AS unreachable FROM unnest(string_to_array('0.5.0 0.5.1 0.6.0 0.6.1 0.6.2 0.7.0 0.7.1 0.7.2 0.7.3 0.7.4 0.8.0 0.8.1 0.8.2 0.8.3 0.8.4 0.8.5 0.8.6 0.8.7', ' ')) v
 WHERE NOT EXISTS (SELECT FROM pg_extension_update_paths('vector') WHERE source = v AND target = '1.0.0' AND path IS NOT NULL);
SELECT path FROM pg_extension_update_paths('vector') WHERE source = '1.0.0' AND target = '0.8.7';

-- Back to 0.8.7 and here again changes nothing, but that the checkers, which 0.8.7 has not, are made anew. In between the descriptions are
-- taken away or replaced, as a database that comes from elsewhere may have none or others: afterwards it must have ours, all of them.
CREATE TEMP VIEW owned AS
  WITH RECURSIVE member AS (
    SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vector') AND deptype = 'e'
    UNION SELECT d.classid, d.objid FROM pg_depend d JOIN member m ON d.refclassid = m.classid AND d.refobjid = m.objid AND d.deptype IN ('i', 'a')
      WHERE d.classid = ANY (ARRAY['pg_type', 'pg_amop', 'pg_amproc', 'pg_opfamily', 'pg_opclass']::regclass[]))
  SELECT pg_describe_object(classid, objid, 0) AS object, obj_description(objid, classid::regclass::name) AS description,
         CASE classid WHEN 'pg_proc'::regclass THEN (SELECT to_jsonb(p) - CASE WHEN proname LIKE '%\_check' THEN '{oid,proargdefaults}' ELSE '{}' END::text[] FROM pg_proc p WHERE oid = objid) WHEN 'pg_type'::regclass THEN (SELECT to_jsonb(t) FROM pg_type t WHERE oid = objid)
           WHEN 'pg_operator'::regclass THEN (SELECT to_jsonb(o) FROM pg_operator o WHERE oid = objid) WHEN 'pg_opclass'::regclass THEN (SELECT to_jsonb(o) FROM pg_opclass o WHERE oid = objid)
           WHEN 'pg_amop'::regclass THEN (SELECT to_jsonb(o) FROM pg_amop o WHERE oid = objid) WHEN 'pg_amproc'::regclass THEN (SELECT to_jsonb(o) FROM pg_amproc o WHERE oid = objid)
           WHEN 'pg_cast'::regclass THEN (SELECT to_jsonb(c) FROM pg_cast c WHERE oid = objid) WHEN 'pg_am'::regclass THEN (SELECT to_jsonb(a) FROM pg_am a WHERE oid = objid) END AS properties
    FROM member
  UNION ALL SELECT 'extension', obj_description(oid, 'pg_extension'), to_jsonb(extversion) FROM pg_extension WHERE extname = 'vector';
BEGIN;
CREATE TEMP TABLE before AS SELECT * FROM owned;
ALTER EXTENSION vector UPDATE TO '0.8.7';
SELECT extversion FROM pg_extension WHERE extname = 'vector';
SELECT '[1,2]'::vector <-> '[1,5]';
COMMENT ON TYPE halfvec IS 'other';
DELETE FROM pg_description d USING pg_depend e WHERE e.refclassid = 'pg_extension'::regclass AND e.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vector')
  AND e.classid = d.classoid AND e.objid = d.objoid AND NOT (d.classoid = 'pg_type'::regclass AND d.objoid = 'halfvec'::regtype);
SELECT count(*) FROM owned WHERE description IS NOT NULL;
ALTER EXTENSION vector UPDATE TO '1.0.0';
SELECT 'gone', object, description FROM (SELECT * FROM before EXCEPT SELECT * FROM owned) x ORDER BY object COLLATE "C";
SELECT 'new', object, description FROM (SELECT * FROM owned EXCEPT SELECT * FROM before) x ORDER BY object COLLATE "C";
SELECT count(*) > 300, count(*) = (SELECT count(*) FROM before) FROM owned;
ROLLBACK;

-- In any schema: the extension moves, its objects keep working.
BEGIN;
CREATE SCHEMA elsewhere;
ALTER EXTENSION vector SET SCHEMA elsewhere;
SET LOCAL search_path = pg_catalog;
SELECT '[1,2]'::elsewhere.vector OPERATOR(elsewhere.<->) '[1,5]', (SELECT elsewhere.avg(v) FROM unnest(ARRAY['[1]', '[3]']::elsewhere.vector[]) v);
ROLLBACK;
