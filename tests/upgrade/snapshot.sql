-- Prints all that the extension "vector" owns, members and what hangs on them, with every property, description and
-- dependency, sorted: two databases have the same extension exactly when the outputs are the same. Run it as
--   psql -XAtq -d DATABASE -f tests/upgrade/snapshot.sql
SET search_path = pg_catalog, public;
WITH RECURSIVE member AS (
  SELECT classid, objid FROM pg_depend
   WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vector') AND deptype = 'e'
  UNION
  SELECT d.classid, d.objid FROM pg_depend d JOIN member m ON d.refclassid = m.classid AND d.refobjid = m.objid
   WHERE d.deptype IN ('i', 'a') AND d.classid = ANY (ARRAY['pg_type', 'pg_amop', 'pg_amproc', 'pg_opfamily', 'pg_opclass']::regclass[])
), line AS (
  -- Columns that hold the numbers of other objects differ between databases: they are left out, or printed as names.
  SELECT pg_describe_object(classid, objid, 0) AS object,
         obj_description(objid, classid::regclass::name) AS description,
         CASE classid
           WHEN 'pg_proc'::regclass THEN
             -- proargdefaults holds the place of the default in its script; the definition behind it has the default itself
             (SELECT concat(to_jsonb(p) - '{oid,proargtypes,prorettype,pronamespace,proargdefaults}'::text[],
                            CASE WHEN prokind = 'f' THEN pg_get_functiondef(oid) END,
                            (SELECT to_jsonb(a) - '{aggfnoid,aggtranstype}'::text[] FROM pg_aggregate a WHERE aggfnoid = oid))
                FROM pg_proc p WHERE oid = objid)
           WHEN 'pg_type'::regclass THEN
             (SELECT (to_jsonb(t) - '{oid,typnamespace,typelem,typarray}'::text[])::text FROM pg_type t WHERE oid = objid)
           WHEN 'pg_operator'::regclass THEN
             (SELECT concat(to_jsonb(o) - '{oid,oprnamespace,oprleft,oprright,oprresult,oprcom,oprnegate}'::text[],
                            ' commutator ', oprcom::regoperator, ' negator ', oprnegate::regoperator)
                FROM pg_operator o WHERE oid = objid)
           WHEN 'pg_opclass'::regclass THEN
             (SELECT concat(to_jsonb(o) - '{oid,opcnamespace,opcfamily,opcintype,opcmethod}'::text[], ' for ', opcintype::regtype)
                FROM pg_opclass o WHERE oid = objid)
           WHEN 'pg_cast'::regclass THEN
             (SELECT format('%s context %s method %s', castfunc::regprocedure, castcontext, castmethod) FROM pg_cast WHERE oid = objid)
         END AS properties,
         (SELECT string_agg(on_what, ', ' ORDER BY on_what COLLATE "C")
            FROM (SELECT format('%s (%s)', pg_describe_object(refclassid, refobjid, refobjsubid), deptype) AS on_what
                    FROM pg_depend d WHERE d.classid = member.classid AND d.objid = member.objid) s) AS depends_on
    FROM member
  UNION ALL
  SELECT 'extension', obj_description(oid, 'pg_extension'), format('version %s relocatable %s', extversion, extrelocatable), NULL
    FROM pg_extension WHERE extname = 'vector'
)
SELECT * FROM line ORDER BY object COLLATE "C";
