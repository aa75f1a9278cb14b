-- Prints what the extension has, as Markdown: docs/reference.md is this and an introduction (tests/docs/test_documents.py compares).
SET client_min_messages = warning;
DO $$ BEGIN PERFORM '[1]'::vector; END $$;  -- loads the library, which makes its settings known
CREATE TEMP VIEW ours AS
    SELECT classid, objid FROM pg_depend JOIN pg_extension e ON refclassid = 'pg_extension'::regclass AND refobjid = e.oid
    WHERE e.extname = 'vector' AND deptype = 'e';
CREATE TEMP VIEW functions AS
    SELECT p.oid, p.proname, p.prokind, obj_description(p.oid, 'pg_proc') AS what,
           p.proname || '(' || replace(regexp_replace(pg_get_function_arguments(p.oid), '\mIN ', '', 'g'), 'double precision', 'float8') || ')' AS call,
           coalesce(pg_get_function_result(p.oid), 'CALL') AS result,
           p.prorettype IN ('internal'::regtype, 'cstring'::regtype) OR p.proargtypes::oid[] && ARRAY['internal'::regtype::oid, 'cstring'::regtype::oid, 'cstring[]'::regtype::oid]
               OR obj_description(p.oid, 'pg_proc') ~ '^(behind operator|cast |checks |three-way|binary|tells |avg\(|.* to (text|binary message)|.* without the square root|inner product with its sign|angle between)' AS inner_works
    FROM pg_proc p JOIN ours ON classid = 'pg_proc'::regclass AND objid = p.oid;

SELECT E'## Types\n\n| type | |\n|---|---|';
SELECT format('| `%s` | %s |', t.typname, obj_description(t.oid, 'pg_type'))
FROM pg_type t JOIN ours ON classid = 'pg_type'::regclass AND objid = t.oid WHERE t.typelem = 0 OR t.typlen <> -1 OR t.typname !~ '^_' ORDER BY t.typname COLLATE "C";

SELECT E'\n## Operators\n\n| operator | between | gives | |\n|---|---|---|---|';
SELECT format('| `%s` | `%s`, `%s` | `%s` | %s |', replace(oprname, '|', '\|'), oprleft::regtype, oprright::regtype, replace(oprresult::regtype::text, 'double precision', 'float8'), obj_description(o.oid, 'pg_operator'))
FROM pg_operator o JOIN ours ON classid = 'pg_operator'::regclass AND objid = o.oid ORDER BY oprname COLLATE "C", oprleft::regtype::text COLLATE "C";

SELECT E'\n## Functions\n\n| function | gives | |\n|---|---|---|';
SELECT format('| `%s` | `%s` | %s |', call, replace(result, 'double precision', 'float8'), what) FROM functions WHERE NOT inner_works AND prokind IN ('f', 'p') ORDER BY call COLLATE "C";

SELECT E'\n## Aggregates\n\n| aggregate | gives | |\n|---|---|---|';
SELECT format('| `%s` | `%s` | %s |', call, result, what) FROM functions WHERE prokind = 'a' ORDER BY call COLLATE "C";

SELECT E'\n## Casts\n\n| from | to | happens |\n|---|---|---|';
SELECT format('| `%s` | `%s` | %s |', castsource::regtype, casttarget::regtype, CASE castcontext WHEN 'i' THEN 'by itself' WHEN 'a' THEN 'on assignment' ELSE 'when asked for' END)
FROM pg_cast c JOIN ours ON classid = 'pg_cast'::regclass AND objid = c.oid WHERE castsource <> casttarget ORDER BY castsource::regtype::text COLLATE "C", casttarget::regtype::text COLLATE "C";

SELECT E'\n## Operator classes\n\n| access method | operator class | for | orders by |\n|---|---|---|---|';
SELECT format('| `%s` | `%s`%s | `%s` | %s |', amname, opcname, CASE WHEN opcdefault THEN ' (default)' ELSE '' END, opcintype::regtype,
              coalesce((SELECT string_agg('`' || replace(oprname, '|', '\|') || '`', ' ' ORDER BY amopstrategy) FROM pg_amop JOIN pg_operator o ON o.oid = amopopr WHERE amopfamily = opcfamily AND amoplefttype = opcintype AND amoprighttype = opcintype), ''))
FROM pg_opclass c JOIN ours ON classid = 'pg_opclass'::regclass AND objid = c.oid JOIN pg_am a ON a.oid = opcmethod ORDER BY amname, opcname COLLATE "C";

SELECT E'\n## Settings\n\n| setting | default | values | |\n|---|---|---|---|';
SELECT format('| `%s` | `%s` | %s | %s |', name, boot_val, coalesce(array_to_string(enumvals, ', '), min_val || ' to ' || max_val), short_desc)
FROM pg_settings WHERE name ~ '^(hnsw|ivfflat)\.' ORDER BY name;

SELECT E'\n## Inner works\n\nFunctions that types, operators, casts and access methods are made of; nobody calls them by name.\n';
SELECT string_agg('`' || proname || '`', ', ' ORDER BY proname COLLATE "C") FROM (SELECT DISTINCT proname FROM functions WHERE inner_works AND prokind = 'f') names;
