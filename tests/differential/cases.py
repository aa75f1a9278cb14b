"""Generates the statements: calls of every function, operator, cast and aggregate over the value pools."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from differential import values as v
from differential.catalog import ACCESS_METHOD_ONLY, Object
from differential.values import NULLS, Slack, Value
from vector_testing.client import Param

TYPES = ("vector", "halfvec", "sparsevec")
ELEMENTS = ("integer", "real", "double precision", "numeric")


@dataclass(slots=True)
class Case:
    sql: str
    objects: tuple[str, ...]
    family: str
    slack: Slack | None = None
    params: tuple[Param, ...] = ()
    binary: bool = False


# What a function computes from sums of floats may differ in the last bits; everything else may not.
SUMMING = {
    "l2_distance",
    "inner_product",
    "cosine_distance",
    "l1_distance",
    "l2_norm",
    "vector_norm",
    "vector_negative_inner_product",
    "halfvec_negative_inner_product",
    "sparsevec_negative_inner_product",
    "vector_l2_squared_distance",
    "halfvec_l2_squared_distance",
    "sparsevec_l2_squared_distance",
}
ANGULAR = {"vector_spherical_distance", "halfvec_spherical_distance"}


def slack_of(function: str, arguments: tuple[Value, ...]) -> Slack | None:
    if function not in SUMMING | ANGULAR:
        return None
    slack = v.slack_for(arguments[0], arguments[1] if len(arguments) > 1 else None)
    if slack is not None and function in ANGULAR:
        # acos near 1 turns an error e of its argument into one of sqrt(e).
        return Slack(1e-3, 1e-3)
    return slack


def combinations(pools: list[list[Value]], limit: int, rng: random.Random) -> Iterator[tuple[Value, ...]]:
    """All combinations if they are few; else every value once in every place, pairs of equal dimension, and a
    sample.
    """
    total = 1
    for pool in pools:
        total *= len(pool)
    if total <= limit:
        yield from itertools.product(*pools)
        return
    seen = set()
    for place, pool in enumerate(pools):
        for value in pool:
            partners = [[p for p in other if p.dim == value.dim] or other for other in pools]
            chosen = tuple(value if i == place else rng.choice(partners[i]) for i in range(len(pools)))
            if chosen not in seen:
                seen.add(chosen)
                yield chosen
    for _ in range(4 * limit):
        if len(seen) >= limit:
            break
        first = rng.choice(pools[0])
        same = rng.random() < 0.7
        chosen = (
            first,
            *(
                rng.choice(
                    [p for p in pool if p.dim == first.dim] if same and any(p.dim == first.dim for p in pool) else pool
                )
                for pool in pools[1:]
            ),
        )
        if chosen not in seen:
            seen.add(chosen)
            yield chosen


def function_cases(o: Object, rng: random.Random, limit: int) -> Iterator[Case]:
    if "internal" in o.arguments:
        return  # receive functions: wire.py
    by_type = v.pools(rng, o.name)
    name = f'"{o.name}"' if o.name in TYPES else o.name
    for arguments in combinations([by_type[a] for a in o.arguments], limit, rng):
        sql = f"SELECT {name}({', '.join(a.sql for a in arguments)})"
        yield Case(sql, (o.key,), "function", slack_of(o.name, arguments))


def operator_cases(o: Object, rng: random.Random, limit: int) -> Iterator[Case]:
    left, right = o.arguments
    by_type = v.pools(rng)
    function = (o.prop("function") or "").removeprefix("public.")
    for a, b in combinations([by_type[left], by_type[right]], limit, rng):
        yield Case(f"SELECT {a.sql} {o.name} {b.sql}", (o.key,), "operator", slack_of(function, (a, b)))
    # A bare string takes the type of the other side; operands of two types find an operator or fail alike.
    constants = {"vector": "'[1,2,3]'", "halfvec": "'[1,2,3]'", "sparsevec": "'{1:1,3:-3}/3'", "bit": "B'101'"}
    yield Case(
        f"SELECT {constants[left]}::{'varbit' if left == 'bit' else left} {o.name} {constants[right]}",
        (o.key,),
        "operator",
    )
    for other in (*TYPES, "bit", "real[]", "text"):
        if other != right:
            literal = constants.get(other, "'{1,2,3}'" if other == "real[]" else "'[1,2,3]'")
            yield Case(f"SELECT {by_type[left][2].sql} {o.name} {literal}::{other}", (), "operator")
            yield Case(f"SELECT {literal}::{other} {o.name} {by_type[left][2].sql}", (), "operator")


CAST_TYPES = (
    "vector",
    "halfvec",
    "sparsevec",
    "integer[]",
    "real[]",
    "double precision[]",
    "numeric[]",
    "text",
    "bit",
    "bytea",
    "smallint[]",
    "bigint[]",
    "varchar(5)",
    "text[]",
    "json",
    "jsonb",
)
COLUMN_TYPES = (
    "vector",
    "vector(3)",
    "vector(1)",
    "halfvec",
    "halfvec(3)",
    "halfvec(1)",
    "sparsevec",
    "sparsevec(3)",
    "sparsevec(1)",
    "real[]",
    "text",
    "varchar(4)",
)


def column_name(column_type: str) -> str:
    return "c_" + column_type.replace("(", "_").replace(")", "").replace("[]", "_array").replace(" ", "_")


def setup_statements() -> list[str]:
    """Run on every (re)connection: targets of assignment casts, and functions whose argument needs an implicit cast."""
    columns = ", ".join(f"{column_name(t)} {t}" for t in COLUMN_TYPES)
    statements = ["SET client_min_messages = notice", f"CREATE TEMP TABLE target ({columns})"]
    for t in ("vector", "halfvec", "sparsevec", "real[]"):
        name = t.replace("[]", "_array")
        statements.append(
            f"CREATE FUNCTION pg_temp.take_{name}(x {t}) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT x::text'"
        )
    return statements


def cast_cases(objects: list[Object], rng: random.Random, limit: int) -> Iterator[Case]:
    known = {o.ident: o for o in objects if o.kind == "cast"}
    by_type = v.pools(rng)
    extra = {t: [Value(f"'{{1,2,3}}'::{t}"), Value(f"NULL::{t}")] for t in ("smallint[]", "bigint[]", "text[]")}
    extra |= {
        "text": [Value("'[1,2,3]'::text"), Value("'{1:1}/3'::text"), Value("NULL::text")],
        "bytea": [Value("'\\x0001'::bytea")],
        "varchar(5)": [Value("'[1]'::varchar(5)")],
        "json": [Value("'[1,2]'::json")],
        "jsonb": [Value("'[1,2]'::jsonb")],
    }
    for source in CAST_TYPES:
        pool = by_type.get(source) or extra[source]
        for target in CAST_TYPES:
            cast = known.get(f"{source} -> {target}")
            if cast is None and source not in TYPES and target not in TYPES:
                continue
            keys = (cast.key,) if cast else ()
            # On one type without a modifier the planner drops the cast, so only the forms with one count.
            plain = () if source == target else keys
            sample = pool if cast and len(pool) <= limit else rng.sample(pool, min(len(pool), limit if cast else 3))
            for value in sample:
                yield Case(f"SELECT CAST({value.sql} AS {target})", plain, "cast explicit")
                if target in TYPES:
                    n = rng.choice([1, 2, 3, 4, value.dim or 3, 16000])
                    yield Case(f"SELECT ({value.sql})::{target}({n})", keys, "cast explicit")
            if cast and source == target:
                yield Case(
                    f"SELECT CAST({by_type[source][4].sql} AS {target}({by_type[source][4].dim}))",
                    keys,
                    "cast explicit",
                )
            few = sample if cast else sample[:2]
            for value in few[: max(3, limit // 2)]:
                for column_type in COLUMN_TYPES:
                    if column_type.partition("(")[0] == target:
                        counted = keys if "(" in column_type else plain
                        yield Case(
                            f"INSERT INTO target({column_name(column_type)}) VALUES ({value.sql}) RETURNING {column_name(column_type)}",
                            counted,
                            "cast assignment",
                        )
                if target in (*TYPES, "real[]"):
                    yield Case(
                        f"SELECT pg_temp.take_{target.replace('[]', '_array')}({value.sql})",
                        plain if cast and cast.prop("context") == "i" else (),
                        "cast implicit",
                    )


def random_numbers(rng: random.Random, dim: int, kind: str) -> list[float]:
    shape = rng.choice(["unit", "normal", "wide", "exact", "positive"])
    if shape == "exact":
        return [rng.randint(-24, 24) / 8 for _ in range(dim)]
    if shape == "unit":
        raw = [rng.gauss(0, 1) for _ in range(dim)]
        norm = sum(x * x for x in raw) ** 0.5 or 1
        return [x / norm for x in raw]
    if shape == "normal":
        return [rng.gauss(0, 3) for _ in range(dim)]
    if shape == "positive":
        return [rng.random() for _ in range(dim)]
    return [rng.choice([-1, 1]) * 2.0 ** rng.uniform(-12, 12 if kind == "vector" else 6) for _ in range(dim)]


RANDOM_DIMS = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    11,
    12,
    13,
    15,
    16,
    17,
    19,
    23,
    24,
    25,
    31,
    32,
    33,
    47,
    48,
    49,
    63,
    64,
    65,
    96,
    100,
    127,
    128,
    129,
    191,
    255,
    256,
    257,
    384,
    511,
    768,
    1000,
    1536,
)


def random_pair(kind: str, dim: int, rng: random.Random) -> tuple[Value, Value]:
    if kind == "sparsevec":
        pair = []
        for _ in range(2):
            width = dim * 4
            positions = sorted(rng.sample(range(1, width + 1), rng.randint(0, dim)))
            pair.append(v.sparse(dict(zip(positions, random_numbers(rng, len(positions), kind))), width))
        return pair[0], pair[1]
    if kind == "bit":
        return tuple(Value("B'" + "".join(rng.choice("01") for _ in range(dim)) + "'") for _ in range(2))  # type: ignore[return-value]
    first = random_numbers(rng, dim, kind)
    second = [x + rng.gauss(0, 0.01) for x in first] if rng.random() < 0.2 else random_numbers(rng, dim, kind)
    return v.dense(kind, first), v.dense(kind, second)


def random_cases(objects: list[Object], rng: random.Random, rounds: int) -> Iterator[Case]:
    """Vectors of many lengths, so that every tail of every kernel runs, through every function that takes them."""
    functions = [
        o
        for o in objects
        if o.kind == "function"
        and o.arguments
        and len(set(o.arguments)) == 1
        and len(o.arguments) <= 2
        and o.arguments[0] in (*TYPES, "bit")
    ]
    for _ in range(rounds):
        for dim in RANDOM_DIMS:
            for kind in (*TYPES, "bit"):
                if kind == "sparsevec" and dim > 400:
                    continue
                a, b = random_pair(kind, dim, rng)
                calls, slacks, keys = [], [], []
                for o in functions:
                    if o.arguments[0] != kind:
                        continue
                    arguments = (a, b)[: len(o.arguments)]
                    call = f"{o.name}({', '.join('ab'[i] for i in range(len(arguments)))})"
                    slack = slack_of(o.name, arguments)
                    if o.prop("returns") == "double precision":
                        calls.append(call)
                        slacks.append(slack)
                        keys.append(o.key)
                    else:
                        yield Case(f"SELECT {o.name}({', '.join(x.sql for x in arguments)})", (o.key,), "random")
                # One statement for all numbers: parsing the constants is what takes time.
                slack = max((s for s in slacks if s), key=lambda s: (s.relative, s.absolute), default=None)
                typed = "varbit" if kind == "bit" else kind
                for part in ([c for c in calls if "spherical" not in c], [c for c in calls if "spherical" in c]):
                    if part:
                        part_slack = (
                            Slack(1e-3, 1e-3)
                            if slack and "spherical" in part[0]
                            else (v.slack_for(a, b) if slack else None)
                        )
                        part_keys = tuple(k for k, c in zip(keys, calls) if c in part)
                        yield Case(
                            f"SELECT {', '.join(part)} FROM (SELECT {a.sql}::{typed} AS a, {b.sql}::{typed} AS b OFFSET 0) AS t",
                            part_keys,
                            "random",
                            part_slack,
                        )


def aggregate_cases(rng: random.Random, limit: int) -> Iterator[Case]:
    for kind in ("vector", "halfvec"):
        big = "3e38" if kind == "vector" else "60000"
        pool = [p for p in v.pools(rng)[kind] if p.dim != 16000 and p.dim != 15999]
        for function in ("avg", "sum"):
            key = (f"aggregate {function}({kind})",)
            fixed = [
                f"SELECT {function}(x) FROM (SELECT NULL::{kind} AS x WHERE false) t",
                f"SELECT {function}(x) FROM (VALUES (NULL::{kind}), (NULL)) t(x)",
                f"SELECT {function}(x) FROM (VALUES ('[1,2,3]'::{kind}), (NULL), ('[3,5,7]')) t(x)",
                f"SELECT {function}(x) FROM (VALUES ('[1,2,3]'::{kind}), ('[3,5]')) t(x)",
                f"SELECT {function}(x) FROM (VALUES ('[{big}]'::{kind}), ('[{big}]')) t(x)",
                f"SELECT {function}(x) FROM (VALUES ('[{big}]'::{kind}), ('[-{big}]'), ('[1]')) t(x)",
                f"SELECT {function}(DISTINCT x) FROM (VALUES ('[1,2]'::{kind}), ('[1,2]'), ('[2,3]')) t(x)",
                f"SELECT {function}(x) FILTER (WHERE i > 1) FROM (VALUES (1, '[1,2]'::{kind}), (2, '[1,2]'), (3, '[2,3]')) t(i, x)",
                f"SELECT {function}(x) FILTER (WHERE i > 5) FROM (VALUES (1, '[1,2]'::{kind}), (2, '[1,2]'), (3, '[2,3]')) t(i, x)",
                f"SELECT i % 3, {function}(ARRAY[i, i * 2, 1]::{kind}) FROM generate_series(1, 30) i GROUP BY 1 ORDER BY 1",
                f"SELECT i, {function}(ARRAY[i, 1]::{kind}) OVER (ORDER BY i) FROM generate_series(1, 10) i",
                f"SELECT i, {function}(ARRAY[i, 1]::{kind}) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM generate_series(1, 10) i",
                f"SELECT {function}(array_fill(i::real, ARRAY[1000])::{kind}) FROM generate_series(1, 20) i",
                f"SELECT {function}(array_fill(1::real, ARRAY[16000])::{kind}) FROM generate_series(1, 3) i",
                f"SELECT {function}('[1,2]')",
                f"SELECT {function}('{{1,2}}'::real[])",
                f"SELECT {function}(DISTINCT x ORDER BY x DESC) FROM (VALUES ('[1,2]'::{kind}), ('[5,2]')) t(x)",
            ]
            for sql in fixed:
                yield Case(sql, key if "NULL" not in sql or "(" in sql else (), "aggregate")
            for _ in range(limit):
                first = rng.choice(pool)
                same = [p for p in pool if p.dim == first.dim] + [NULLS[kind]]
                chosen = [first] + [rng.choice(same if rng.random() < 0.95 else pool) for _ in range(rng.randint(0, 6))]
                rows = ", ".join(f"({i}, {c.sql})" for i, c in enumerate(chosen))
                yield Case(f"SELECT {function}(x ORDER BY i) FROM (VALUES {rows}) t(i, x)", key, "aggregate")
            # Few rows for many workers: some partial states are empty. The values are whole, so order cannot matter.
            for where in ("true", "id = 7", "id < 0", "id % 2 = 0"):
                yield Case(f"SELECT {function}({kind[0]}) FROM parallel_rows WHERE {where}", key, "aggregate parallel")
                yield Case(
                    f"SELECT id % 5, {function}({kind[0]}) FROM parallel_rows WHERE {where} GROUP BY 1 ORDER BY 1",
                    key,
                    "aggregate parallel",
                )


def order_cases(rng: random.Random) -> Iterator[Case]:
    """Sorting, grouping and joining use the btree operator classes; so do the planner and ANALYZE."""
    for kind in TYPES:
        key = (f"opclass {kind}_ops using btree",)
        pool = v.pools(rng)[kind]
        rows = ", ".join(f"({i}, {p.sql})" for i, p in enumerate(pool))
        source = f"(VALUES {rows}) t(i, x)"
        constant = "'{}/3'" if kind == "sparsevec" else "'[0,1,0]'"
        yield Case(f"SELECT i, x FROM {source} ORDER BY x, i", key, "order")
        yield Case(f"SELECT i FROM {source} ORDER BY x DESC NULLS LAST, i", key, "order")
        yield Case(f"SELECT x, count(*) FROM {source} GROUP BY x ORDER BY x", key, "order")
        yield Case(f"SELECT DISTINCT x FROM {source} ORDER BY x", key, "order")
        yield Case(
            f"SELECT x, rank() OVER (ORDER BY x), min(i) OVER (PARTITION BY x) FROM {source} ORDER BY x, i",
            key,
            "order",
        )
        yield Case(f"SELECT i FROM {source} WHERE x > {constant} ORDER BY i", key, "order")
        yield Case(f"SELECT i FROM {source} WHERE x IN ({constant}, {constant}) ORDER BY i", key, "order")
        yield Case(f"SELECT min(x), max(x) FROM {source}", (), "order")
        yield Case(
            f"SELECT a.i, b.i FROM {source}, LATERAL (SELECT i FROM {source.replace('t(i, x)', 'u(i, x)')} WHERE u.x = t.x) b, LATERAL (SELECT t.i) a ORDER BY 1, 2",
            (),
            "order",
        )
        yield Case(
            f"SELECT a.i, b.i FROM {source.replace('t(', 'a(')} FULL JOIN {source.replace('t(', 'b(')} ON a.x = b.x ORDER BY 1, 2",
            key,
            "order",
        )
        yield Case(f"SELECT x FROM {source} UNION SELECT x FROM {source} ORDER BY 1", key, "order")
        yield Case(f"SELECT (ARRAY(SELECT x FROM {source} ORDER BY i))[3:5]", (), "order")


def type_cases() -> Iterator[Case]:
    """What PostgreSQL itself does with the types: arrays, rows, JSON, modifiers, introspection."""
    constants = {"vector": "'[1,2,3]'", "halfvec": "'[1,2,3]'", "sparsevec": "'{1:1,3:-3}/3'"}
    for kind, constant in constants.items():
        key = (f"type {kind}",)
        inner = constant.strip("'")
        for typmod in (
            "1",
            "3",
            "0",
            "-1",
            "16000",
            "16001",
            "1000000000",
            "1000000001",
            "2147483647",
            "2147483648",
            "99999999999",
            "3,3",
            "",
            "'3'",
            "'a'",
            "a",
            "1.5",
            "NULL",
            "+3",
            "' 3'",
            "3::int",
            "0x3",
        ):
            yield Case(f"SELECT {constant}::{kind}({typmod})", (), "type")
            yield Case(f"SELECT NULL::{kind}({typmod})", (), "type")
        for sql in (
            f"SELECT {constant}::{kind}",
            f"SELECT {kind} {constant}",
            f"SELECT pg_typeof({constant}::{kind}(3))",
            f"SELECT format_type('{kind}'::regtype, 5)",
            f"SELECT '{{\"{inner}\",NULL}}'::{kind}[]",
            f"SELECT ARRAY[{constant}]::{kind}(3)[]",
            f"SELECT ARRAY[{constant}]::{kind}(2)[]",
            f"SELECT '{{\"{inner}\"}}'::{kind}(2)[]",
            f"SELECT to_json({constant}::{kind}), to_jsonb(ARRAY[{constant}::{kind}])",
            f"SELECT row_to_json(t) FROM (SELECT {constant}::{kind} AS x) t",
            f'SELECT x FROM jsonb_to_record(\'{{"x": "{inner}"}}\') AS t(x {kind})',
            f"SELECT x FROM jsonb_to_record('{{\"x\": [1,2]}}') AS t(x {kind})",
            f'SELECT x FROM jsonb_to_record(\'{{"x": "[1"}}\') AS t(x {kind}(3))',
            f"SELECT ROW({constant}::{kind}, 1) = ROW({constant}::{kind}, 1)",
            f"SELECT ROW({constant}::{kind})::text",
            f"SELECT pg_column_size({constant}::{kind})",
            f"SELECT {constant}::{kind}::text::{kind}::varchar::{kind}",
            f"SELECT {constant}::{kind} IS NULL, {constant}::{kind} IS DISTINCT FROM NULL, NULL::{kind} IS NOT DISTINCT FROM NULL",
            f"SELECT NULLIF({constant}::{kind}, {constant}), COALESCE(NULL, {constant}::{kind})",
            f"SELECT CASE WHEN true THEN {constant}::{kind} ELSE NULL END",
            f"SELECT greatest({constant}::{kind}, NULL), least({constant}::{kind})",
            f"SELECT hashtext({constant}::{kind}::text)",
            f"SELECT {constant}::{kind}::bytea",
            f"SELECT encode({kind}_send({constant}), 'hex')",
            f"SELECT concat({constant}::{kind}, 'x'), format('%s %L', {constant}::{kind}, {constant}::{kind})",
            f"SELECT string_agg(x::text, ',') FROM (VALUES ({constant}::{kind})) t(x)",
            f"SELECT array_agg(x) FROM (VALUES ({constant}::{kind}), (NULL)) t(x)",
            f"SELECT array_position(ARRAY[{constant}::{kind}], {constant})",
            f"SELECT {constant}::{kind} = ANY(ARRAY[{constant}::{kind}])",
            f"SELECT {constant}::{kind} < ALL(ARRAY[{constant}::{kind}])",
            f"SELECT json_agg({constant}::{kind})",
            f"SELECT lower({constant}::{kind})",
            f"SELECT length({constant}::{kind})",
            f"SELECT x FROM unnest(ARRAY[{constant}, NULL]::{kind}[]) x",
            f"SELECT {constant}::{kind} LIKE '[%'",
            f"SELECT md5({constant}::{kind}::text)",
            f"SELECT -({constant}::{kind})",
            f"SELECT {constant}::{kind} + 1",
            f"SELECT {constant}::{kind} * 2.0",
            f"SELECT ({constant}::{kind})[1]",
            f"SELECT typname, typlen, typalign, typstorage, typcategory, typispreferred, typdelim FROM pg_type WHERE typname = '{kind}'",
            f"EXPLAIN (VERBOSE, COSTS OFF) SELECT {constant}::{kind}(3) FROM generate_series(1,2)",
            f"SELECT {kind}in({constant})",
            f"SELECT {kind}_in({constant}, 0, 3)",
            f"SELECT {kind}_in({constant}, 0, 2)",
            f"SELECT {kind}_out({constant})",
            f"SELECT {kind}_send({constant})",
            f"SELECT {kind}_recv('x', 0, -1)",
            f"SELECT xmlforest({constant}::{kind} AS x)",
            f"SELECT quote_literal({constant}::{kind})",
            f"SELECT hash_record(ROW({constant}::{kind}))",
            f"SELECT max({constant}::{kind}) FROM generate_series(1,2)",
            f"SELECT * FROM pg_input_error_info('[1', '{kind}')",
            f"SELECT pg_input_is_valid({constant}, '{kind}')",
            f"SELECT pg_input_is_valid('[1', '{kind}')",
            f"SELECT pg_input_is_valid({constant}, '{kind}(2)')",
        ):
            simple = (
                sql.startswith((f"SELECT {constant}::{kind}::text", f"SELECT {kind} {constant}"))
                or sql == f"SELECT {constant}::{kind}"
            )
            yield Case(sql, key if simple else (), "type")


def all_cases(objects: list[Object], rng: random.Random, limit: int, rounds: int) -> Iterator[Case]:
    for o in objects:
        if ACCESS_METHOD_ONLY.search(o.key):
            continue
        if o.kind == "function":
            yield from function_cases(o, rng, limit)
        elif o.kind == "operator":
            yield from operator_cases(o, rng, limit)
    yield from cast_cases(objects, rng, max(10, limit // 4))
    yield from aggregate_cases(rng, max(10, limit // 4))
    yield from order_cases(rng)
    yield from type_cases()
    yield from random_cases(objects, rng, rounds)
