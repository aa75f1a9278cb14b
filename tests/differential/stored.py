"""Values as a table keeps them: short headers, unaligned, compressed, out of line. Functions must read every form."""

from __future__ import annotations

from collections.abc import Iterator

from differential.cases import TYPES, Case
from differential.catalog import ACCESS_METHOD_ONLY, Object

# One column per way of storing; the numbers are small and whole, so every sum is exact.
STORAGES = ("external", "extended", "main", "plain")
DIMS = (1, 2, 3, 8, 25, 30, 31, 32, 63, 400, 700, 1500, 1900)
WIDE = (2000, 2048, 4000, 16000)

_DENSE = "ARRAY(SELECT (i * {0} + j) % 4 - 1 FROM generate_series(1, {1}) i)::{2}"


def setup() -> list[str]:
    columns = (
        ", ".join(f"{kind[0]}_{storage} {kind}" for kind in TYPES for storage in STORAGES)
        + ", b_external varbit, b_extended varbit, r real[], f float8[]"
    )
    statements = [f"CREATE TABLE stored (id int, dim int, {columns}) WITH (toast_tuple_target = 512)"]
    for storage in STORAGES:
        for kind in TYPES:
            statements.append(f"ALTER TABLE stored ALTER COLUMN {kind[0]}_{storage} SET STORAGE {storage}")
    statements.append("ALTER TABLE stored ALTER COLUMN b_external SET STORAGE external")
    fields = []
    for kind in TYPES:
        for storage in STORAGES:
            value = (
                "ARRAY(SELECT CASE WHEN i % 3 = k.j % 3 THEN (i * 5 + k.j) % 4 - 1 ELSE 0 END FROM generate_series(1, d) i)::sparsevec"
                if kind == "sparsevec"
                else _DENSE.format("7", "d", kind).replace("+ j", "+ k.j")
            )
            # A plain column cannot leave its page.
            fields.append(f"CASE WHEN d <= 100 THEN {value} END" if storage == "plain" else value)
    fields += ["(SELECT string_agg(((i * 7 + k.j) % 2)::text, '' ORDER BY i) FROM generate_series(1, d) i)::varbit"] * 2
    fields += [
        "ARRAY(SELECT (i * 3 + k.j) % 5 FROM generate_series(1, d) i)::real[]",
        "ARRAY(SELECT (i * 3 + k.j) % 5 + 1 FROM generate_series(1, d) i)::float8[]",
    ]
    for dims, pairs in ((DIMS, 2), (WIDE, 2)):
        rows = ",".join(f"({d})" for d in dims)
        statements.append(
            f"INSERT INTO stored SELECT 1000 * k.j + d, d, {', '.join(fields)} FROM (VALUES {rows}) AS t(d), generate_series(1, {pairs}) AS k(j)"
        )
    # The same value compressed: zeros compress where a row is long enough.
    statements.append(
        "INSERT INTO stored (id, dim, v_extended, v_main, h_extended, h_main, b_extended) SELECT 9000 + d, d, array_fill(0, ARRAY[d])::vector, array_fill(0, ARRAY[d])::vector, "
        "array_fill(0, ARRAY[d])::halfvec, array_fill(0, ARRAY[d])::halfvec, repeat('0', d)::varbit FROM (VALUES (700), (4000), (16000)) t(d)"
    )
    return statements


def stored_cases(objects: list[Object]) -> Iterator[Case]:
    for storage in STORAGES:
        for kind in TYPES:
            column = f"{kind[0]}_{storage}"
            yield Case(
                f"SELECT id, pg_column_size({column}), {column} FROM stored ORDER BY id", (f"type {kind}",), "stored"
            )
            yield Case(
                f"SELECT id, {kind}_send({column}) FROM stored ORDER BY id",
                (f"function {kind}_send({kind})",),
                "stored",
            )
            yield Case(
                f"SELECT id FROM stored WHERE {column} IS NOT NULL ORDER BY {column}, id",
                (f"opclass {kind}_ops using btree",),
                "stored",
            )
    for o in objects:
        if ACCESS_METHOD_ONLY.search(o.key) or o.kind not in ("function", "aggregate") or not o.arguments:
            continue
        kind = o.arguments[-1] if o.name.endswith("_accum") else o.arguments[0]
        columns = (
            [f"{kind[0]}_{s}" for s in STORAGES]
            if kind in TYPES
            else ["b_external", "b_extended"]
            if kind == "bit"
            else []
        )
        for number, column in enumerate(columns):
            other = columns[(number + 1) % len(columns)]
            shape = tuple("k" if a == kind else a for a in o.arguments)
            name = f'"{o.name}"' if o.name in TYPES else o.name
            if o.kind == "aggregate":
                yield Case(f"SELECT dim, {name}({column}) FROM stored GROUP BY dim ORDER BY dim", (o.key,), "stored")
            elif shape == ("k",):
                yield Case(f"SELECT id, {name}({column}) FROM stored ORDER BY id", (o.key,), "stored")
            elif shape == ("k", "k"):
                for second in (column, other):
                    yield Case(
                        f"SELECT a.id, b.id, {name}(a.{column}, b.{second}) FROM stored a JOIN stored b USING (dim) ORDER BY 1, 2",
                        (o.key,),
                        "stored",
                    )
                yield Case(
                    f"SELECT {name}(a.{column}, b.{other}) FROM stored a, stored b WHERE a.id = 1025 AND b.id = 1030",
                    (),
                    "stored",
                )
                constant = (
                    "'{}/16000'::sparsevec"
                    if kind == "sparsevec"
                    else "repeat('01', 8000)::varbit"
                    if kind == "bit"
                    else f"array_fill(1, ARRAY[16000])::{kind}"
                )
                yield Case(
                    f"SELECT id, {name}({column}, {constant}) FROM stored WHERE dim = 16000 ORDER BY id",
                    (o.key,),
                    "stored",
                )
            elif shape == ("k", "integer", "integer"):
                yield Case(
                    f"SELECT id, {name}({column}, 1, 20), {name}({column}, dim, 1), {name}({column}, dim / 2, 2000) FROM stored WHERE dim > 1 ORDER BY id",
                    (o.key,),
                    "stored",
                )
            elif shape == ("k", "integer", "boolean"):
                yield Case(
                    f"SELECT id, {name}({column}, -1, true), {name}({column}, dim, false) FROM stored WHERE {column} IS NOT NULL ORDER BY id",
                    (o.key,),
                    "stored",
                )
                yield Case(f"SELECT {name}({column}, 7, false) FROM stored WHERE id = 1025", (), "stored")
            elif o.name.endswith("_accum"):
                yield Case(
                    f"SELECT id, {name}('{{0}}', {column}), {name}(array_prepend(1::float8, f), {column}) FROM stored WHERE f IS NOT NULL ORDER BY id",
                    (o.key,),
                    "stored",
                )
    for kind in TYPES:
        for source in ("r", "f"):
            yield Case(f"SELECT id, {source}::{kind} FROM stored ORDER BY id", (), "stored")
    for kind in ("vector", "halfvec"):
        yield Case(
            f"SELECT id, {kind}_avg(f), {kind}_combine(f, f) FROM stored WHERE f IS NOT NULL AND dim > 1 ORDER BY id",
            (f"function {kind}_avg(double precision[])",),
            "stored",
        )
        # A PL/pgSQL variable holds an array in its expanded form.
        yield Case(f"SELECT grown_array(n)::{kind} FROM generate_series(1, 5) n", (), "stored")
    yield Case("SELECT grown_vector(n), vector_dims(grown_vector(n)) FROM generate_series(1, 5) n", (), "stored")


FUNCTIONS = [
    "CREATE FUNCTION grown_array(n int) RETURNS real[] LANGUAGE plpgsql AS $$ DECLARE a real[] := '{}'; BEGIN FOR i IN 1..n LOOP a := array_append(a, i::real); END LOOP; RETURN a; END $$",
    "CREATE FUNCTION grown_vector(n int) RETURNS vector LANGUAGE plpgsql AS $$ DECLARE a real[] := '{}'; v vector; BEGIN FOR i IN 1..n LOOP a := a || i::real; v := a; END LOOP; RETURN v + v; END $$",
]


def definition_cases() -> Iterator[Case]:
    """Statements that define things: column modifiers, defaults, domains, indexes, partitions."""
    for kind in TYPES:
        constant = "'{1:1}/3'" if kind == "sparsevec" else "'[1,2,3]'"
        bad = "'{1:1}/2'" if kind == "sparsevec" else "'[1,2]'"
        for number, sql in enumerate(
            (
                "CREATE TEMP TABLE {n} (x {k}(0))",
                "CREATE TEMP TABLE {n} (x {k}(1000000001))",
                "CREATE TEMP TABLE {n} (x {k}(3) DEFAULT {b})",
                "CREATE TEMP TABLE {n} (x {k}(3) DEFAULT {c}, y {k}[])",
                "CREATE TEMP TABLE {n} (x {k} PRIMARY KEY)",
                "CREATE TEMP TABLE {n} (x {k} UNIQUE)",
                "CREATE TEMP TABLE {n} (x {k}) PARTITION BY RANGE (x)",
                "CREATE TEMP TABLE {n} (x {k}) PARTITION BY HASH (x)",
                "CREATE TEMP TABLE {n} (x {k}) PARTITION BY LIST (x)",
                "CREATE DOMAIN pg_temp.{n} AS {k}(3) CHECK (VALUE > {c})",
                "CREATE DOMAIN pg_temp.{n} AS {k}(3) DEFAULT {b}",
                "CREATE TYPE pg_temp.{n} AS (x {k}(3), y {k}[])",
                "CREATE TYPE pg_temp.{n} AS RANGE (SUBTYPE = {k})",
                "CREATE TYPE pg_temp.{n} AS ENUM ('[1]')",
                "CREATE TEMP TABLE {n} AS SELECT {c}::{k}(3) AS x",
                "CREATE TEMP TABLE {n} (x {k}(3), EXCLUDE USING gist (x WITH =))",
                'CREATE TEMP TABLE {n} (x {k} COLLATE "C")',
                "CREATE TEMP TABLE {n} (x {k}(3) GENERATED ALWAYS AS ({c}) STORED)",
                "ALTER TYPE {k} SET (STORAGE = plain)",
                "CREATE INDEX ON stored USING hash ({l}_external)",
                "CREATE INDEX ON stored USING gin ({l}_external)",
                "CREATE INDEX ON stored USING btree ({l}_external)",
                "CREATE INDEX ON stored USING brin ({l}_external)",
                "CREATE STATISTICS {n} ON {l}_external, {l}_main FROM stored",
                "COPY stored ({l}_external) FROM PROGRAM 'echo {{'",
                "PREPARE {n} ({k}) AS SELECT $1",
                "PREPARE {n}_p ({k}(3)) AS SELECT $1",
            )
        ):
            name = f"d_{kind}_{number}"
            if "STATISTICS" in sql or "ALTER TYPE" in sql:
                sql = "EXPLAIN " + sql  # refused alike; nothing is left behind
            yield Case(sql.format(n=name, k=kind, c=constant, b=bad, l=kind[0]), (), "definition")
        for sql in (
            f"ALTER TABLE target ALTER COLUMN c_{kind} TYPE {kind}(3)",
            f"ALTER TABLE target ALTER COLUMN c_{kind} TYPE real[]",
            f"ALTER TABLE target ALTER COLUMN c_{kind} TYPE text",
            f"ALTER TABLE target ALTER COLUMN c_text TYPE {kind}",
            f"ALTER TABLE target ALTER COLUMN c_text TYPE {kind} USING c_text::{kind}",
        ):
            yield Case(sql, (), "definition")
