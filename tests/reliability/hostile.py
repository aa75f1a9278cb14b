"""A role without any privilege calls every function of the extension with odd arguments: clear errors at worst, never
one about internals, never a crash.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import product

import psycopg
from psycopg import pq

from vector_testing.invariants import run
from vector_testing.results import Score
from vector_testing.server import Server

# Combinations of arguments that are tried per function.
MOST = 60
WIDE = "(SELECT array_agg(i % 7)::{0} FROM generate_series(1, 16000) i)"
ARGUMENTS = {
    "vector": ["'[1,2,3]'", "'[0]'", "'[0,0,0]'", "'[3e38,-3e38,1e-45]'", "'[-0]'", WIDE.format("vector")],
    "halfvec": ["'[1,2,3]'", "'[0]'", "'[65504,-65504,6e-8]'", WIDE.format("halfvec")],
    "sparsevec": [
        "'{}/3'",
        "'{1:1,3:2}/3'",
        "'{1000000000:1}/1000000000'",
        "'{1:3e38,2:-3e38}/2'",
        WIDE.format("vector::sparsevec"),
    ],
    "bit": ["B''", "B'101'", "B'000'", "repeat('10', 33000)::bit(66000)"],
    "integer": ["0", "1", "-1", "2", "16001", "2147483647", "-2147483648"],
    "bigint": ["0", "-1", "9223372036854775807"],
    "boolean": ["true", "false"],
    "double precision": ["0", "'NaN'", "'-Infinity'", "1e308"],
    "double precision[]": [
        "'{}'",
        "'{0}'",
        "'{-1}'",
        "'{NaN,1,2,3}'",
        "'{1,2,3,4}'",
        "'{1e308,1e308,1e308,1e308}'",
        "'{{1,2},{3,4}}'",
        "'{1,NULL,3}'",
        "'[5:8]={1,2,3,4}'",
        "array_fill(1::float8, '{16002}')",
    ],
    "real[]": [
        "'{}'",
        "'{NaN}'",
        "'{1,Infinity}'",
        "'{1,2,3}'",
        "'{{1},{2}}'",
        "'{1,NULL}'",
        "'[-3:-1]={1,2,3}'",
        "array_fill(1::real, '{16001}')",
    ],
    "integer[]": ["'{}'", "'{2147483647,-2147483648}'", "'{NULL}'", "'{{1}}'", "'[3:4]={1,2}'"],
    "numeric[]": ["'{}'", "'{1e400}'", "'{NaN}'", "'{1,NULL}'", "'{0.1,0.2}'"],
    "cstring": [
        "''",
        "'['",
        "'[1,2,3]'",
        "'{1:1}/2'",
        "'[1e999]'",
        "repeat('[', 100000)::cstring",
        "('[' || repeat('1,', 20000) || '1]')::cstring",
    ],
    "cstring[]": [
        "'{}'",
        "'{3}'",
        "'{-1}'",
        "'{0}'",
        "'{1,2}'",
        "'{99999999999}'",
        "'{abc}'",
        "'{NULL}'",
        "'{{1},{2}}'",
    ],
    "oid": ["0", "1", "4294967295"],
    "regclass": [
        "0",
        "'pg_class'",
        "'pg_class_oid_index'",
        "'mine'",
        "'t'",
        "'hnsw_index'",
        "'ivfflat_index'",
        "'btree_index'",
        "4294967295",
    ],
}
# States that tell of our own mistakes: internal errors, damage, crashes.
OURS = {"XX000", "XX001", "XX002", None}
# Internal errors all the same: pgvector's words for a state array that is none, PostgreSQL's for an OID that is
# nothing.
KNOWN = ("expected state array", "could not open relation with OID")
FUNCTIONS = """
    SELECT p.proname, p.prokind::text, array(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY u(t, n) ORDER BY n), p.pronargs
      FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
      JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
     WHERE e.extname = 'vector' ORDER BY p.oid"""


def calls(name: str, kind: str, types: list[str], random_: random.Random) -> list[str]:
    choices = [
        [f"{value}::{type_}" for value in ["NULL", *ARGUMENTS[type_]]] if type_ != "internal" else ["NULL"]
        for type_ in types
    ]
    every = list(product(*choices))
    if len(every) > MOST:
        every = random_.sample(every, MOST)
    if kind == "a":
        # All arguments of the list in one call, and each alone.
        return [
            f"SELECT {name}(x) FROM (VALUES {', '.join(f'({value})' for value in values)}) v(x)"
            for values in ([v] for v in choices[0])
        ] + [f"SELECT {name}(x) FROM unnest(ARRAY[{', '.join(choices[0])}]) x"]
    # `IS NULL` calls also what gives a type without text.
    return [
        form.format(f"{name}({', '.join(arguments)})")
        for arguments in every
        for form in ("SELECT {}", "SELECT {} IS NULL")
    ]


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    random_ = random.Random(options.seed)
    with Server(prefix, "hostile") as server:
        owner = server.connect()
        run(
            owner,
            "CREATE EXTENSION vector",
            "CREATE ROLE stranger LOGIN",
            "CREATE SCHEMA own AUTHORIZATION stranger",
            "CREATE TABLE t (v vector(3))",
            "INSERT INTO t SELECT ARRAY[i, 1, 2]::vector FROM generate_series(1, 50) i",
            "CREATE INDEX hnsw_index ON t USING hnsw (v vector_l2_ops)",
            "CREATE INDEX ivfflat_index ON t USING ivfflat (v vector_l2_ops) WITH (lists = 2)",
            "CREATE INDEX btree_index ON t (v)",
        )
        functions = owner.execute(FUNCTIONS).fetchall()
        unknown = {type_ for *_, types, _ in functions for type_ in types} - set(ARGUMENTS) - {"internal"}
        score.check("every type of argument has odd values here", not unknown, unknown)

        outcomes: Counter[str] = Counter()
        bad: list[str] = []
        connection = stranger(server)

        def ask(sql: str) -> str:
            """The state that a statement ends in; lost connections are made anew."""
            nonlocal connection
            try:
                connection.execute(sql)
                state: str | None = "00000"
            except psycopg.Error as error:
                state = error.sqlstate
                if state in OURS and not any(words in str(error) for words in KNOWN):
                    bad.append(f"{sql[:120]}: {state or 'connection lost'} {str(error).strip()[:120]}")
                if connection.closed or connection.broken:
                    connection = stranger(server)
            outcomes[state or "lost"] += 1
            return state or "lost"

        count = 0
        for name, kind, types, _ in functions:
            if not unknown.intersection(types):
                for sql in calls(name, kind, types, random_):
                    ask(sql)
                    count += 1
        score.check(
            f"{count} calls of {len(functions)} functions with odd arguments",
            not bad and count > 1000,
            "; ".join(bad[:4]) or dict(outcomes),
        )

        # What is somebody else's is not looked into, and not changed.
        refused = {
            sql: ask(sql)
            for am in ams
            for sql in (f"SELECT * FROM {am}_check('{am}_index')", f"SELECT * FROM {am}_check('{am}_index', true)")
        }
        score.check("a stranger's index is not checked", set(refused.values()) == {"42501"}, refused)
        before = len(bad)
        run(
            owner,
            *(f"GRANT EXECUTE ON FUNCTION {am}_check(regclass, boolean) TO stranger" for am in ("hnsw", "ivfflat")),
        )
        for am in ams:
            for index in ARGUMENTS["regclass"]:
                state = ask(f"SELECT * FROM {am}_check({index}::regclass, true)")
                if (state == "00000") != (index == f"'{am}_index'"):
                    bad.append(f"{am}_check({index}): {state}")
        score.check(
            "with the right to check, indexes of the kind and nothing else",
            len(bad) == before,
            "; ".join(bad[before:][:4]),
        )
        made = {
            sql: ask(sql)
            for sql in (
                "CREATE FUNCTION own.f(internal) RETURNS internal LANGUAGE c AS '$libdir/vector', 'vector_recv'",
                "CREATE TYPE own.shell",
                "CREATE TYPE own.u (input = vector_in, output = vector_out)",
                "CREATE ACCESS METHOD other TYPE INDEX HANDLER hnswhandler",
            )
        }
        score.check(
            "internal functions are nobody's to wrap",
            all(state in ("42501", "42P17", "42883", "42P13") or "shell" in sql for sql, state in made.items()),
            made,
        )

        aggregates(score, ask, bad)
        messages(score, server, owner, random_, 200)
        connection.close()
        alive = owner.execute("SELECT count(*) FROM t").fetchone()[0]
        score.check("the table is as it was", alive == 50, alive)
        owner.close()
        score.check("nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])


def stranger(server: Server) -> psycopg.Connection:
    connection = server.connect(user="stranger")
    run(
        connection,
        "SET statement_timeout = '10s'",
        "SET search_path = own, public",
        "CREATE TABLE IF NOT EXISTS own.mine (v vector(3))",
    )
    return connection


def aggregates(score: Score, ask, bad: list[str]) -> None:
    """Aggregates of one's own around the transition functions, which change their state in place, from states that
    nobody expects.
    """
    before = len(bad)
    states = [
        "{}",
        "{0}",
        "{1}",
        "{-1,1,2,3}",
        "{NaN,NaN,NaN,NaN}",
        "{{1,2},{3,4}}",
        "{1,NULL,2,3}",
        "[0:3]={1,2,3,4}",
        "{1e308,1e308,1e308,1e308}",
        "{Infinity,1,1,1}",
    ]
    rows = "(SELECT v FROM (VALUES ('[1,2,3]'::{0}), ('[4,5,6]'), (NULL), ('[1]'), ('[3e4,-3e4,0]')) x(v)) y"
    number = 0
    for kind in ("vector", "halfvec"):
        for state in states:
            for final in ("", f", finalfunc = {kind}_avg", ", combinefunc = vector_combine, parallel = safe"):
                number += 1
                ask(
                    f"CREATE AGGREGATE own.a{number}({kind}) (sfunc = {kind}_accum, stype = double precision[], initcond = '{state}'{final})"
                )
                source = rows.format(kind)
                ask(f"SELECT own.a{number}(v) FROM {source}")
                ask(f"SELECT own.a{number}(v) FROM {source} WHERE vector_dims(v) = 3")
                ask(
                    f"SELECT own.a{number}(v) OVER (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM {source} WHERE vector_dims(v) = 3"
                )
        for function in ("add", "sub", "mul", "concat"):
            for initial in ("", ", initcond = '[1,1,1]'", ", initcond = '[1]'"):
                number += 1
                ask(f"CREATE AGGREGATE own.a{number}({kind}) (sfunc = {kind}_{function}, stype = {kind}{initial})")
                for where in ("", "WHERE vector_dims(v) = 3"):
                    ask(f"SELECT own.a{number}(v) FROM {rows.format(kind)} {where}")
                ask(f"SELECT own.a{number}(v) OVER (ORDER BY v) FROM {rows.format(kind)} WHERE vector_dims(v) = 3")
    score.check(f"{number} aggregates of one's own", len(bad) == before, "; ".join(bad[before:][:4]))


def messages(score: Score, server: Server, owner: psycopg.Connection, random_: random.Random, count: int) -> None:
    """Binary parameters of any bytes."""
    raw = pq.PGconn.connect(server.conninfo().replace("user=postgres", "user=stranger").encode())
    outcomes: Counter[str] = Counter()
    wrong = []
    for kind, head in (("vector", 2), ("halfvec", 2), ("sparsevec", 4)):
        oid = owner.execute(f"SELECT '{kind}'::regtype::oid::int").fetchone()[0]
        for number in range(count):
            body = random_.randbytes(random_.randrange(40))
            if number % 2:
                # A header that passes more often: few dimensions, zeros where they belong.
                body = (
                    random_.randrange(4).to_bytes(head, "big")
                    + (random_.randrange(3).to_bytes(4, "big") if head == 4 else b"")
                    + bytes(head)
                    + body
                )
            result = raw.exec_params(f"SELECT $1::{kind}::text".encode(), [body], [oid], [pq.Format.BINARY])
            state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"00000").decode()
            outcomes[state] += 1
            if raw.status != pq.ConnStatus.OK or state in OURS:
                wrong.append(f"{kind} {body.hex()}: {state} {result.error_message.decode().strip()}")
                raw.reset()
    raw.finish()
    score.check(f"{3 * count} binary messages of any bytes", not wrong, "; ".join(wrong[:4]) or dict(outcomes))
