-- No change but descriptions, and the step to 1.0.0 sets all of them: it also starts from databases that another
-- library brought to 0.8.7.
\echo This file is for "ALTER EXTENSION vector UPDATE TO '0.8.7'", not for psql. \quit
