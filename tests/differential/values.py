"""Pools of argument values: SQL expressions for every argument type, with the numbers they stand for where sums
matter.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass


def quote(text: str) -> str:
    """A string constant; control characters are spelled out so that a reported statement can be pasted."""
    if all(c == "\t" or c >= " " for c in text) and "\\" not in text and "\t" not in text:
        return "'" + text.replace("'", "''") + "'"
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    for char, name in (("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\v", "\\x0b"), ("\f", "\\f"), ("\b", "\\b")):
        escaped = escaped.replace(char, name)
    return "E'" + "".join(c if c >= " " else f"\\x{ord(c):02x}" for c in escaped) + "'"


def f32(x: float) -> float:
    return struct.unpack("<f", struct.pack("<f", x))[0]


def shortest(x: float) -> str:
    return repr(float(f"{x:.9g}"))


@dataclass(frozen=True)
class Value:
    """An SQL expression and, for vectors, the numbers behind it (sparse ones as index -> number)."""

    sql: str
    numbers: tuple[float, ...] | None = None
    positions: tuple[int, ...] | None = None
    dim: int | None = None

    def as_dict(self) -> dict[int, float]:
        assert self.numbers is not None
        return dict(zip(self.positions if self.positions is not None else range(len(self.numbers)), self.numbers))


@dataclass(frozen=True)
class Slack:
    """How far a float8 may lie from the other side's: sums in another order round differently, nothing else may."""

    relative: float
    absolute: float


REL = 1e-5


def slack_for(a: Value, b: Value | None) -> Slack | None:
    """None when every partial sum is exact in float4, so that all orders of summation agree to the last bit."""
    if a.numbers is None or (b is not None and b.numbers is None):
        return None
    x, y = a.as_dict(), b.as_dict() if b is not None else {}
    keys = x.keys() | y.keys()
    units, exact, products, squares_a, squares_b = 0.0, True, 0.0, 0.0, 0.0
    for k in keys:
        p, q = float(x.get(k, 0.0)), float(y.get(k, 0.0))
        exact = exact and abs(p) < 1e6 and abs(q) < 1e6 and (p * 8).is_integer() and (q * 8).is_integer()
        units += (8 * (abs(p) + abs(q))) ** 2
        products += abs(p * q)
        squares_a += p * p
        squares_b += q * q
    if exact and units < 2**24:
        return None
    # A product sum may cancel, so its error is relative to the sum of magnitudes; cosine divides that by the norms.
    norms = (squares_a * squares_b) ** 0.5
    return Slack(REL, REL * max(products if products < 1e300 else 0.0, products / norms if norms > 0 else 0.0))


NULLS = {t: Value(f"NULL::{t}") for t in ("vector", "halfvec", "sparsevec", "bit", "integer", "boolean")}


def dense(kind: str, numbers: list[float]) -> Value:
    text = "[" + ",".join(shortest(x) for x in numbers) + "]"
    return Value(f"'{text}'::{kind}", tuple(f32(x) for x in numbers), None, len(numbers))


def filled(kind: str, value: float, dim: int) -> Value:
    return Value(f"array_fill({shortest(value)}::real, ARRAY[{dim}])::{kind}", tuple([float(value)] * dim), None, dim)


def sparse(entries: dict[int, float], dim: int) -> Value:
    """Positions as SQL counts them, from 1."""
    text = "{" + ",".join(f"{i}:{shortest(v)}" for i, v in entries.items()) + "}/" + str(dim)
    kept = {i: v for i, v in sorted(entries.items()) if v != 0}
    return Value(f"'{text}'::sparsevec", tuple(f32(v) for v in kept.values()), tuple(kept), dim)


def vector_pool(rng: random.Random) -> list[Value]:
    pool = [
        dense("vector", n)
        for n in (
            [0],
            [1],
            [-1],
            [3.5],
            [1e-45],
            [1.1754944e-38],
            [3.4028235e38],
            [-3.4028235e38],
            [1e20],
            [1e-20],
            [1e-30],
            [-0.0],
            [1, 2],
            [3, 4],
            [0, 0],
            [1e20, 1e-20],
            [2e19, 2e19],
            [-1, 1],
            [1e-25, 1e-25],
            [0.1, 0.2],
            [1, 2, 3],
            [4, 5, 6],
            [0, 0, 0],
            [-1, -2, -3],
            [1, 1, 1],
            [0, 1, 0],
            [0.1, 0.2, 0.3],
            [3e38, 3e38, 3e38],
            [1e19, 1e19, 1e19],
            [1e-45, 1e-45, 1e-45],
            [-0.0, 0.0, -0.0],
            [1.5, -2.25, 0.125],
            [65504, 65505, 65519],
            [65520, 1, 1],
            [5.9604645e-08, 2.9802322e-08, 1e-8],
            [1, 2, 3, 4],
            [1, 0, 0, 0, 0, 0, 0],
            [0.5] * 8,
            [1, -1] * 4,
            list(range(1, 10)),
            [(i % 3) - 1 for i in range(17)],
        )
    ]
    pool += [
        filled("vector", 1.5, 16),
        filled("vector", 0.5, 64),
        filled("vector", 1, 15999),
        filled("vector", 1, 16000),
        filled("vector", 0, 16000),
    ]
    for dim in (5, 8, 31):
        pool += [dense("vector", [rng.randint(-16, 16) / 8 for _ in range(dim)]) for _ in range(3)]
    return [NULLS["vector"], *pool]


def halfvec_pool(rng: random.Random) -> list[Value]:
    pool = [
        dense("halfvec", n)
        for n in (
            [0],
            [1],
            [-1],
            [3.5],
            [65504],
            [-65504],
            [5.9604645e-08],
            [6.1035156e-05],
            [6.097555e-05],
            [-0.0],
            [0.00024414062],
            [255],
            [1, 2],
            [3, 4],
            [0, 0],
            [65504, 65504],
            [-1, 1],
            [256, 0.00390625],
            [0.0999756, 0.199951],
            [1, 2, 3],
            [4, 5, 6],
            [0, 0, 0],
            [-1, -2, -3],
            [0, 1, 0],
            [0.1, 0.2, 0.3],
            [5.9604645e-08, 5.9604645e-08, 5.9604645e-08],
            [65504, 1, 1],
            [65519, 2049, 2051],
            [32768, 32768, 16],
            [-0.0, 0.0, -0.0],
            [1.5, -2.25, 0.125],
            [300, 300, 300],
            [1, 2, 3, 4],
            [1, 0, 0, 0, 0, 0, 0],
            [0.5] * 8,
            [1, -1] * 4,
            list(range(1, 10)),
            [(i % 3) - 1 for i in range(17)],
        )
    ]
    pool += [
        filled("halfvec", 1.5, 16),
        filled("halfvec", 0.5, 64),
        filled("halfvec", 1, 15999),
        filled("halfvec", 1, 16000),
        filled("halfvec", 0, 16000),
    ]
    for dim in (5, 8, 31):
        pool += [dense("halfvec", [rng.randint(-16, 16) / 8 for _ in range(dim)]) for _ in range(3)]
    return [NULLS["halfvec"], *pool]


def sparsevec_pool(rng: random.Random) -> list[Value]:
    pool = [
        sparse(e, d)
        for e, d in (
            ({}, 1),
            ({1: 1}, 1),
            ({1: -1}, 1),
            ({1: 3.4028235e38}, 1),
            ({1: 1e-45}, 1),
            ({1: 1e20}, 1),
            ({1: 65504}, 1),
            ({1: 65520}, 1),
            ({}, 2),
            ({1: 1, 2: 2}, 2),
            ({1: 3, 2: 4}, 2),
            ({2: 1e-20}, 2),
            ({1: 1e20, 2: 1e-20}, 2),
            ({}, 3),
            ({1: 1, 2: 2, 3: 3}, 3),
            ({1: 4, 2: 5, 3: 6}, 3),
            ({2: 5}, 3),
            ({3: -1}, 3),
            ({1: 1, 3: -3}, 3),
            ({2: 3e38, 3: 3e38}, 3),
            ({1: 0.1, 2: 0.2, 3: 0.3}, 3),
            ({3: 3, 1: 1}, 3),
            ({1: 0, 2: 7}, 3),
            ({1: 1e-45, 2: 1}, 3),
            ({2: -0.0}, 3),
            ({1: -1}, 3),
            ({1: 1}, 16000),
            ({16000: 1}, 16000),
            ({}, 16001),
            ({16001: 2}, 16001),
            ({1: 1, 1000000000: 2}, 1000000000),
            ({1000000000: -1}, 1000000000),
            ({}, 1000000000),
            ({5: 1, 500000000: 1.5}, 1000000000),
            (dict.fromkeys(range(1, 64, 2), 1), 100),
            (dict.fromkeys(range(2, 64, 3), 2), 100),
        )
    ]
    pool += [Value(f"array_fill(1::real, ARRAY[{n}])::sparsevec", tuple([1.0] * n), None, n) for n in (15999, 16000)]
    for _ in range(6):
        positions = sorted(rng.sample(range(1, 33), rng.randint(1, 16)))
        pool.append(sparse({i: rng.choice([-2, -1, 0.5, 1, 3]) for i in positions}, 32))
    return [NULLS["sparsevec"], *pool]


def bit_pool(rng: random.Random) -> list[Value]:
    texts = [
        "",
        "0",
        "1",
        "01",
        "10",
        "11",
        "000",
        "111",
        "1010101",
        "11110000",
        "00001111",
        "111100001",
        "0" * 64,
        "1" * 64,
        "10" * 32,
    ]
    for length in (8, 9, 63, 65, 127, 128, 129, 511, 512, 513, 1024, 2049):
        texts += ["".join(rng.choice("01") for _ in range(length)) for _ in range(3)]
    # bit without a length is bit(1) in a cast, so constants are written as bit strings.
    return [
        NULLS["bit"],
        *(Value(f"B'{t}'", dim=len(t)) for t in texts),
        Value("repeat('1', 16000)::varbit"),
        Value("repeat('0', 16000)::varbit"),
        Value("repeat('10', 40000)::varbit"),
        Value("repeat('11', 40000)::varbit"),
    ]


def integer_pool() -> list[Value]:
    numbers = (
        -1,
        0,
        1,
        2,
        3,
        4,
        5,
        8,
        17,
        100,
        15999,
        16000,
        16001,
        32768,
        65536,
        65537,
        65539,
        1000000000,
        1000000001,
        2147483647,
        -2,
        -3,
        -2147483648,
    )
    return [NULLS["integer"], *(Value(f"({n})") for n in numbers)]


ARRAY_SHAPES = [
    "{}",
    "{NULL}",
    "{1,NULL,3}",
    "{NULL,NULL}",
    "{{1,2},{3,4}}",
    "{{{1}}}",
    "[0:2]={1,2,3}",
    "[-5:-3]={1,2,3}",
    "[7:8]={0,1}",
    "[2:2][1:1]={{1}}",
    "{0}",
    "{1}",
    "{1,2}",
    "{1,2,3}",
    "{0,0,0}",
    "{-1,0,1}",
    "{0,0,5,0}",
    "{1,2,3,4,5,6,7,8,9}",
    "{65504}",
    "{65519}",
    "{65520}",
    "{-65520,1,1}",
]


def array_pool(element: str) -> list[Value]:
    extra = {
        "integer": ["{2147483647,-2147483648}", "{16777217,16777219,33554433}", "{2049,2051,4099}"],
        "real": [
            "{NaN}",
            "{1,NaN}",
            "{Infinity}",
            "{-Infinity,1}",
            "{3.4028235e38}",
            "{1e-45}",
            "{-0,0}",
            "{0.1,0.2,0.3}",
            "{1e-8,2.9802322e-08,2.9802326e-08}",
            "{65519.996}",
            "{1,Infinity,NaN}",
        ],
        "double precision": [
            "{NaN}",
            "{1,NaN}",
            "{Infinity}",
            "{-Infinity,1}",
            "{1e39}",
            "{-1e39,NaN}",
            "{3.4028235677973366e38}",
            "{3.4028235677973362e38}",
            "{1e-46}",
            "{7.006492321624086e-46}",
            "{5e-324}",
            "{-0,0}",
            "{0.1,0.2,0.3}",
            "{1.00000005960464477539}",
            "{65519.9999}",
            "{65519.999999999}",
            "{1e308,1}",
            "{2.98023223876953125e-08}",
            "{2.9802322387695316e-08}",
        ],
        "numeric": [
            "{NaN}",
            "{1,NaN}",
            "{Infinity}",
            "{-Infinity}",
            "{1e39}",
            "{1e400}",
            "{1e-400}",
            "{1e-46}",
            "{0.1,0.2,0.3}",
            "{3.4028235e38}",
            "{3.4028236e38}",
            "{0.1000000000000000000000000000000000001}",
            "{123456789012345678901234567890.123456789}",
            "{65519.99999999999999999999}",
            "{1.00000017881393432617187499}",
            "{1.00000017881393432617187500}",
            "{1.00000017881393432617187501}",
        ],
    }[element]
    pool = [Value(f"NULL::{element}[]")]
    pool += [Value(f"'{t}'::{element}[]") for t in ARRAY_SHAPES + extra]
    pool += [Value(f"array_fill(1::{element}, ARRAY[{n}])") for n in (15999, 16000, 16001, 100000)]
    pool += [Value(f"array_fill(0::{element}, ARRAY[{n}])") for n in (16000, 16001)]
    pool += [
        Value(f"array_fill(NULL::{element}, ARRAY[2])"),
        Value(f"array_fill(1::{element}, ARRAY[2,2])"),
        Value(f"array_remove('{{1,NULL}}'::{element}[], NULL)"),
    ]
    pool += [
        Value(f"ARRAY[NULL,1,2]::{element}[][2:3]"),
        Value(f"ARRAY(SELECT (i % 3)::{element} FROM generate_series(1, 300) i)"),
    ]
    return pool


STATE_ARRAYS = [
    "{}",
    "{0}",
    "{1}",
    "{0,1}",
    "{0,1,2,3}",
    "{1,1,2,3}",
    "{2,1,2,3}",
    "{3,0,0,0}",
    "{NULL}",
    "{1,NULL,2}",
    "{{1,2},{3,4}}",
    "[0:3]={1,1,2,3}",
    "{-1,1,2,3}",
    "{1,1}",
    "{5,10,20}",
    "{1,NaN,1,1}",
    "{1,Infinity,1,1}",
    "{Infinity,1,2,3}",
    "{NaN,1,2,3}",
    "{1,1e308,1e308,1e308}",
    "{1,-1e308,1,1}",
    "{0.5,1,2,3}",
    "{1e-300,1,2,3}",
    "{1,1e39,1,1}",
    "{1,65520,1,1}",
    "{2,131039,1,1}",
    "{1e308,1e308,1,1}",
    "{1e-320,1,1,1}",
    "{3,1e-45,1e-45,1e-45}",
    "{2,1e-45}",
]


def state_pool() -> list[Value]:
    pool = [Value("NULL::double precision[]")] + [Value(f"'{t}'::double precision[]") for t in STATE_ARRAYS]
    return pool + [
        Value(f"array_fill(1::double precision, ARRAY[{n}])") for n in (16000, 16001, 16002, 32769, 65537, 65539)
    ]


TYPMOD_ARRAYS = [
    "{}",
    "{0}",
    "{1}",
    "{3}",
    "{-1}",
    "{15999}",
    "{16000}",
    "{16001}",
    "{1000000000}",
    "{1000000001}",
    "{2147483647}",
    "{2147483648}",
    "{-2147483648}",
    "{99999999999999999999}",
    "{1,2}",
    "{1,2,3}",
    "{a}",
    '{""}',
    '{" 3 "}',
    "{1.5}",
    "{3e0}",
    "{0x10}",
    "{+3}",
    "{NULL}",
    "{1,NULL}",
    "{{3}}",
    "{{1,2},{3,4}}",
    "[5:5]={3}",
    "{1_0}",
]


def cstring_pool(kind: str) -> list[Value]:
    texts = {
        "sparsevec": [
            "{1:1,3:2}/3",
            "{}/5",
            "{1:1}/1",
            "{",
            "",
            "{1:1}/0",
            "{1:1,1:2}/2",
            "{4:1}/3",
            " { 1 : 1 } / 3 ",
            "{1:NaN}/3",
            "{1:1e40}/3",
            "{1:1}/3 x",
            "{}/65539",
        ],
    }.get(
        kind, ["[1,2,3]", "[1]", "[", "", "[]", "[1,2", "[1,2]x", " [ 1 , 2 ] ", "[NaN]", "[1e40]", "[1,,2]", "[65520]"]
    )
    return [Value("NULL::cstring")] + [Value(f"{quote(t)}::cstring") for t in texts]


def pools(rng: random.Random, function: str = "") -> dict[str, list[Value]]:
    """Pools by argument type as the catalog spells them."""
    state = function.endswith(("_accum", "_combine", "_avg"))
    return {
        "vector": vector_pool(rng),
        "halfvec": halfvec_pool(rng),
        "sparsevec": sparsevec_pool(rng),
        "bit": bit_pool(rng),
        "integer": integer_pool(),
        "boolean": [Value("true"), Value("false"), NULLS["boolean"]],
        "oid": [Value("0::oid"), Value("NULL::oid"), Value("23::oid")],
        "integer[]": array_pool("integer"),
        "real[]": array_pool("real"),
        "double precision[]": state_pool() if state else array_pool("double precision"),
        "numeric[]": array_pool("numeric"),
        "cstring": cstring_pool(function.partition("_")[0]),
        "cstring[]": [Value("NULL::cstring[]")] + [Value(f"{quote(t)}::cstring[]") for t in TYPMOD_ARRAYS],
    }
