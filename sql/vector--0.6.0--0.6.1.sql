-- Subtraction was declared to be its own commutator, which let the planner swap its sides. ALTER OPERATOR cannot take that
-- back, and dropping the operator would fail where a view or an index expression subtracts: so its row is corrected.
-- Also: <= and >= get their own selectivity estimators.
\echo This file is for "ALTER EXTENSION vector UPDATE TO '0.6.1'", not for psql. \quit

UPDATE pg_operator SET oprcom = 0 WHERE oid = '-(vector,vector)'::regoperator;

ALTER OPERATOR <= (vector, vector) SET (RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
ALTER OPERATOR >= (vector, vector) SET (RESTRICT = scalargesel, JOIN = scalargejoinsel);
