-- What the extension owns. The full list is compared with pgvector's elsewhere; here stand the properties every object must have.
\pset format unaligned
\pset tuples_only on
CREATE TEMP VIEW member AS
  SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vector') AND deptype = 'e';

SELECT classid::regclass, count(*) FROM member WHERE NOT EXISTS (SELECT FROM pg_type WHERE classid = 'pg_type'::regclass AND oid = objid AND typcategory = 'A') GROUP BY 1 ORDER BY classid::regclass::text COLLATE "C";

-- Functions: immutable, strict and safe in parallel, but for those the access methods call.
SELECT oid::regprocedure FROM pg_proc JOIN member ON classid = 'pg_proc'::regclass AND objid = oid
 WHERE prokind = 'f' AND NOT (provolatile = 'i' AND proisstrict AND proparallel = 's') ORDER BY oid::regprocedure::text COLLATE "C";
SELECT oid::regprocedure, proparallel FROM pg_proc JOIN member ON classid = 'pg_proc'::regclass AND objid = oid WHERE prokind = 'a' ORDER BY oid::regprocedure::text COLLATE "C";
SELECT count(*) FROM pg_proc JOIN member ON classid = 'pg_proc'::regclass AND objid = oid WHERE prokind = 'f' AND probin <> '$libdir/vector';

-- Operators: a commutator points back, a negator too; subtraction and concatenation have none.
SELECT a.oid::regoperator FROM pg_operator a JOIN member ON classid = 'pg_operator'::regclass AND objid = a.oid WHERE oprcom = 0 ORDER BY a.oid::regoperator::text COLLATE "C";
SELECT a.oid::regoperator FROM pg_operator a JOIN member ON classid = 'pg_operator'::regclass AND objid = a.oid
  LEFT JOIN pg_operator c ON c.oid = a.oprcom LEFT JOIN pg_operator n ON n.oid = a.oprnegate
 WHERE c.oprcom <> a.oid OR n.oprnegate <> a.oid OR (a.oprcom <> 0 AND c.oid IS NULL) OR (a.oprnegate <> 0 AND n.oid IS NULL);
SELECT oprname, oprrest, oprjoin, count(*) FROM pg_operator JOIN member ON classid = 'pg_operator'::regclass AND objid = oid WHERE oprrest <> 0 GROUP BY 1, 2, 3 ORDER BY 1;
SELECT count(*) FROM pg_operator JOIN member ON classid = 'pg_operator'::regclass AND objid = oid WHERE oprcanhash OR oprcanmerge;

-- Operator classes of btree are complete, and it says so itself.
SELECT opcname, amvalidate(c.oid) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod JOIN member ON classid = 'pg_opclass'::regclass AND objid = c.oid WHERE amname = 'btree' ORDER BY 1;
-- Which class an index gets when none is named.
SELECT amname, opcname, opcintype::regtype FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod JOIN member ON classid = 'pg_opclass'::regclass AND objid = c.oid WHERE opcdefault ORDER BY 1, 2;
SELECT amname, string_agg(opcname, ' ' ORDER BY opcname) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod JOIN member ON classid = 'pg_opclass'::regclass AND objid = c.oid GROUP BY 1 ORDER BY 1;

SELECT castsource::regtype, casttarget::regtype, castcontext FROM pg_cast JOIN member ON classid = 'pg_cast'::regclass AND objid = oid WHERE castcontext = 'i' ORDER BY castsource::regtype::text COLLATE "C", casttarget::regtype::text COLLATE "C";

-- Types, functions, operators, aggregates and access methods are described; nothing is without.
SELECT pg_describe_object(classid, objid, 0) FROM member
 WHERE classid IN ('pg_type'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass, 'pg_am'::regclass) AND obj_description(objid, classid::regclass::name) IS NULL
   AND NOT EXISTS (SELECT FROM pg_type WHERE classid = 'pg_type'::regclass AND oid = objid AND typcategory = 'A');
SELECT extname, extversion, extrelocatable, obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'vector';
