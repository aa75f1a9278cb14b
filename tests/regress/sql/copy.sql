-- COPY in text and CSV, with the place of an error.
CREATE TEMP TABLE t (id int, v vector(3), h halfvec(2), s sparsevec(4));
COPY t FROM stdin;
1	[1,2,3]	[1,2]	{1:1,4:2}/4
2	 [ 0.1 , -0 ,1e-3] 	[0.1,65504]	{}/4
3	\N	\N	\N
\.
COPY t FROM stdin WITH (FORMAT csv);
4,"[1,2,3]","[1,2]","{3:1.5,2:-1}/4"
5,,,
\.
COPY t FROM stdin;
6	[1,2]	[1,2]	{}/4
\.
COPY t FROM stdin;
6	[1,2,3]	[1,2]	{}/4
7	[1,2,x]	[1,2]	{}/4
\.
COPY t FROM stdin;
6	[1,2,3]	[1,99999]	{}/4
\.
COPY t FROM stdin;
6	[1,2,3]	[1,2]	{5:1}/4
\.
COPY t FROM stdin;
6	[1,2,3] junk	[1,2]	{}/4
\.
COPY t TO stdout;
COPY t TO stdout WITH (FORMAT csv);
COPY (SELECT round((v <-> '[1,2,3]')::numeric, 4), v::real[] FROM t WHERE v IS NOT NULL ORDER BY id) TO stdout;
SELECT count(*), count(v), count(h), count(s) FROM t;
