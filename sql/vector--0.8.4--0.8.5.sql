-- No catalog change between these versions.
\echo This file is for "ALTER EXTENSION vector UPDATE TO '0.8.5'", not for psql. \quit
