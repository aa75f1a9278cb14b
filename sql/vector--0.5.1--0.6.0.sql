-- Floats do not compress, so vector stops trying: values are stored out of line as they are. Columns that exist keep
-- their own setting (ALTER TABLE ... ALTER COLUMN ... SET STORAGE changes it).
\echo This file is for "ALTER EXTENSION vector UPDATE TO '0.6.0'", not for psql. \quit

ALTER TYPE vector SET (STORAGE = external);
