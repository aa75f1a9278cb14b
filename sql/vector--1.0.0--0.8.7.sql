-- The way back: 1.0.0 has the same objects as 0.8.7. Descriptions stay; they hinder nobody.
\echo This file is for "ALTER EXTENSION vector UPDATE TO '0.8.7'", not for psql. \quit
