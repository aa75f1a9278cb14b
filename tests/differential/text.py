"""Text input: the forms strtof and the three parsers accept or refuse, on their own, inside lists, and mutated at
random.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal

from differential.cases import TYPES, Case
from differential.values import quote

NUMBERS = """0 1 -1 +1 -0 +0 00 007 1. .5 -.5 +.5 . + - +. -. 1.. 1.1.1 1e5 1E5 1e+5 1e-5 1e 1e+ 1e- e5 1e5.5 1ee5 1.e5 .5e1 0e0 0e999 0e-999 -0e5 --1 ++1 +-1 -+1
1e10 1e20 1e30 1e37 1e38 3.4e38 3.4028234e38 3.4028235e38 3.40282346638528859811704183484516925440e38 3.4028235677973362e38 3.4028235677973366e38 3.4028236e38 3.5e38 1e39 -1e39 1e40 1e308 1e309 1e400 -1e400 1e99999 1e999999999999999999999 -1e99999999999
1e-10 1e-20 1e-30 1e-37 1e-38 1.17549435e-38 1.1754943e-38 1.17549421e-38 1e-39 1e-40 1e-44 1e-45 1.4e-45 1.401298464324817e-45 7.1e-46 7.006492321624086e-46 7.006492321624085e-46 7e-46 1e-46 -1e-46 1e-50 1e-400 -1e-400 1e-99999 1e-999999999999999999
0.1 0.2 0.3 0.7 1.1 123456789 1234567890123456789 16777216 16777217 16777218 16777219 33554433 9007199254740993 0.333333333333333333333333 1.00000005960464477539062500 1.00000005960464477539062501 1.0000000596046447753906249 1.000000178813934326171875
65503 65504 65505 65519 65519.99 65519.999 65519.9999999 65520 65521 65535 65536 -65520 -65519.999 1e5 6.5504e4 2048 2049 2050 2051 4097 4098 6.103515625e-05 6.097555160522461e-05 6.1e-05 5.960464477539063e-08 2.9802322387695312e-08 2.98023223876953125e-08 2.980232238769532e-08 2.98e-08 2.9e-08 8.940696716308594e-08 1.4901161193847656e-07 1e-08
inf INF Inf infinity INFINITY Infinity -inf -Infinity +inf infinit infi infinityx inf1 in i nan NaN NAN -nan +nan nan() nan(1) nan(0x1f) nan(abc) nan(a_b) nan(a-b) nan( nan(a nanx na n
0x1 0x10 0xf 0xF 0X1P3 0x1p3 0x1p+3 0x1p-3 0x.8 0x.8p1 0x1.8 0x1.8p1 0x1. 0x 0xp1 0x.p1 0xg 0x1p 0x1p+ -0x1p1 +0x1p1 0x1p127 0x1p128 0x1.fffffep127 0x1.fffffefp127 0x1.ffffffp127 0x1p-126 0x1p-149 0x1p-150 0x1.000002p-150 0x1p-151 0x1p999999 0x1p-999999 0x1.0000010p0 0x1.0000011p0 0x1.0000030p0 0x123456789abcdef 0x0p9999
1_000 1,000 1'000 1f 1d 1l 0b1 0o7 1/2 1% $1 1e5f #1 1;2 1:2 (1) [1] {1} "1" '1' true null NULL None abc é １ ٣ − ½ 1\xa02 ∞ x y \\ \\n""".split()

PADDED = [
    " 1",
    "1 ",
    " 1 ",
    "\t1",
    "1\t",
    "\n1\n",
    "\r1",
    "\v1\v",
    "\f1\f",
    "\b1",
    "\x011",
    "1\x7f",
    "\u00a01",
    "1\u00a0",
    "\u20031",
    "\u2028 1",
    "\ufeff1",
    "",
    " ",
    "  ",
    "\t",
    "1 2",
    "1\t2",
    "+ 1",
    "- 1",
    "1 e5",
    "1e 5",
    ". 5",
    "0x 1",
    "i nf",
]

LONG = [
    "1" * 39,
    "1" * 38,
    "9" * 45,
    "0." + "0" * 44 + "1",
    "0." + "0" * 60 + "1",
    "1" + "0" * 38,
    "1" + "0" * 400,
    "0." + "0" * 400 + "1e400",
    "1" + "0" * 400 + "e-400",
    "0" * 1000 + "1",
    "1." + "0" * 2000 + "1",
    "3." + "14159265358979" * 100,
    "16777217." + "0" * 500,
    "16777217." + "0" * 500 + "1",
    "1e" + "0" * 300 + "5",
    "0x" + "f" * 31,
    "0x" + "f" * 32,
    "0x" + "f" * 33,
    "0x1" + "0" * 32,
    "0x0." + "0" * 40 + "1",
    "0x1." + "0" * 60 + "1p0",
    "1e-" + "9" * 50,
    "-" * 50 + "1",
    "nan(" + "a" * 300 + ")",
]

DENSE_FRAMES = [
    "[%s]",
    "[%s,2]",
    "[1,%s]",
    "[1,%s,3]",
    " [ %s ] ",
    "[%s",
    "%s]",
    "%s",
    "[%s]]",
    "[[%s]",
    "[%s,]",
    "[,%s]",
    "[%s,,1]",
    "[%s]x",
    "[%s] ]",
    "(%s)",
    "{%s}",
    "[%s }",
    "\t[\n%s\r]\v\f",
    "[%s ,1]",
    "[%s 1]",
    "x[%s]",
    "\u00a0[%s]",
    "[%s]\u00a0",
    "[%s]\b",
    "[%s,1]\n\n",
    "[ ,%s]",
    "[%s, ]",
]
SPARSE_FRAMES = [
    "{1:%s}/3",
    "{1:%s,2:2}/3",
    "{1:1,2:%s}/3",
    "{%s:1}/3",
    "{1:1,%s:2}/5",
    "{1:1}/%s",
    " { 1 : %s } / 3 ",
    "{1:%s}",
    "{1:%s}/",
    "{1:%s/3",
    "1:%s}/3",
    "%s",
    "{%s}/3",
    "{%s}",
    "{1 %s}/3",
    "{1:%s,}/3",
    "{,1:%s}/3",
    "{1:%s,,2:1}/3",
    "{1:%s}/3x",
    "{1:%s}/3 4",
    "{1:%s}x/3",
    "[1:%s]/3",
    "{1::%s}/3",
    "{1:%s}//3",
    "{1:1,1:%s}/3",
    "{2:%s,1:1}/3",
    "{0:%s}/3",
    "{-1:%s}/3",
    "{4:%s}/3",
    "\t{\n1\r:\v%s\f}\n/\t3\n",
    "{1:%s}/-1",
    "{1:%s}/0",
    "{1:%s}\u00a0/3",
    "{\u00a01:%s}/3",
]
COUNTS = "0 1 2 3 4 -1 +1 01 1.5 1e1 0x1 2147483646 2147483647 2147483648 2147483649 -2147483647 -2147483648 -2147483649 4294967295 4294967296 4294967297 4294967299 9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 99999999999999999999999 1000000000 1000000001 16000 16001 1_0 a".split()

FIXED = {
    "dense": [
        "",
        " ",
        "[",
        "]",
        "[]",
        "[ ]",
        "[\t]",
        "[,]",
        "[,,]",
        "[[]]",
        "[]x",
        "[] ",
        " []",
        "[1]",
        "[1,2,3]",
        "{1,2,3}",
        "1,2,3",
        "[1;2]",
        "[1 2]",
        "[1,2",
        "1,2]",
        "[1]]",
        "[[1]]",
        "[1],[2]",
        "[1][2]",
        "[1,2,]",
        "[1,2,3]extra",
        "NULL",
        "[NULL]",
        "[null,1]",
        "[1,2,3] \t\n\r\v\f",
        "[1,2,3] \t\n\r\v\fx",
        "['1']",
        '["1"]',
        "[1,\\2]",
    ],
    "sparse": [
        "",
        " ",
        "{",
        "}",
        "{}",
        "{}/",
        "{}/0",
        "{}/1",
        "{}/3",
        " { } / 3 ",
        "{} /3",
        "{}/ 3",
        "{}/3 ",
        "{}3",
        "/3",
        "{,}/3",
        "{:}/3",
        "{1}/3",
        "{1:}/3",
        "{:1}/3",
        "{1:1 2:2}/3",
        "{1:1;2:2}/3",
        "{1:1,2:2,3:3}/3",
        "{3:3,2:2,1:1}/3",
        "{1:1,2:2,3:3,4:4}/3",
        "{1:0,1:0}/3",
        "{1:0}/3",
        "{9:0}/3",
        "{0:0}/3",
        "{1:1,9:0}/3",
        "{}/1000000000",
        "{}/1000000001",
        "{1000000000:1}/1000000000",
        "{1:1}/1/1",
        "NULL",
        "{NULL}/3",
        "{1:NULL}/3",
    ],
}
ALPHABET = (
    list("0123456789") * 3
    + list("[]{}(),,,::/.+-eEExXpPnNaAiIfF ")
    + [
        "\t",
        "\n",
        "\r",
        "\v",
        "\f",
        "\b",
        "\\",
        "'",
        '"',
        "é",
        "\u00a0",
        "inf",
        "nan",
        "0x",
        "1e",
        "e38",
        "e-45",
        "65520",
        "2147483648",
    ]
)


def as_case(kind: str, text: str, family: str = "text", form: str = "{0}::{1}") -> Case:
    return Case(f"SELECT {form.format(quote(text), kind)}", (f"type {kind}",), family)


def fixed_cases(rng: random.Random, share: float) -> Iterator[Case]:
    numbers = NUMBERS + PADDED + LONG
    for kind in TYPES:
        sparse = kind == "sparsevec"
        frames = SPARSE_FRAMES if sparse else DENSE_FRAMES
        for text in FIXED["sparse" if sparse else "dense"]:
            yield as_case(kind, text)
            yield as_case(kind, text, form="{0}::{1}(3)")
        for number in numbers:
            yield as_case(kind, frames[0] % number)
            for frame in frames[1:]:
                if rng.random() < share:
                    yield as_case(kind, frame % number)
        for frame in frames:
            for number in ("1", "", " 2 ", "NaN", "1e40"):
                yield as_case(kind, frame % number)
        if sparse:
            for count in COUNTS:
                for frame in (
                    "{%s:1}/3",
                    "{1:1,%s:1}/5",
                    "{}/%s",
                    "{1:1}/%s",
                    "{%s:0}/3",
                    "{ %s :1}/ 3",
                    f"{{2:1, %s:1}}/{count}",
                ):
                    yield as_case(kind, frame % count)


def long_cases() -> Iterator[Case]:
    for kind in ("vector", "halfvec"):
        for n in (15999, 16000, 16001, 16002, 40000, 65537):
            yield Case(
                f"SELECT vector_dims(('[' || repeat('1,', {n - 1}) || '1]')::{kind})", (f"type {kind}",), "text long"
            )
        yield Case(f"SELECT ('[' || repeat('1,', 16000) || 'x')::{kind}", (), "text long")
        yield Case(f"SELECT ('[' || repeat('1,', 15999) || 'x')::{kind}", (), "text long")
        yield Case(f"SELECT ('[' || repeat('1,', 15999) || '1')::{kind}", (), "text long")
        yield Case(
            f"SELECT ('[' || repeat('1,', 15999) || '1' || repeat(' ', 100000) || ']')::{kind}",
            (f"type {kind}",),
            "text long",
        )
        yield Case(f"SELECT (repeat('[', 100000))::{kind}", (), "text long")
        yield Case(f"SELECT ('[' || repeat(' ', 1000000) || '1]')::{kind}", (f"type {kind}",), "text long")
        yield Case(f"SELECT ('[' || repeat('9', 100000) || 'e-99990]')::{kind}", (f"type {kind}",), "text long")
        yield Case(f"SELECT ('[0.' || repeat('0', 100000) || '1e100001]')::{kind}", (f"type {kind}",), "text long")
    listing = "SELECT string_agg(i || ':1', ',' ORDER BY i) FROM generate_series({0}, {1}) i"
    for n in (15999, 16000, 16001, 20000):
        yield Case(
            f"SELECT l2_norm(('{{' || ({listing.format(1, n)}) || '}}/20000')::sparsevec)",
            ("type sparsevec",),
            "text long",
        )
    # A comma counts as an element before anything else is looked at, wherever it stands.
    for n in (15999, 16000, 16001):
        yield Case(f"SELECT (repeat(',', {n}))::sparsevec", (), "text long")
        yield Case(f"SELECT ('{{1:1}}/3' || repeat(',', {n}))::sparsevec", (), "text long")
        yield Case(
            f"SELECT ('{{1:0' || repeat(',1:0', {n - 1}) || '}}/3')::sparsevec", ("type sparsevec",), "text long"
        )
    yield Case(
        "SELECT ('{' || (SELECT string_agg(i || ':' || i, ',' ORDER BY i DESC) FROM generate_series(1, 3000) i) || '}/3000')::sparsevec",
        ("type sparsevec",),
        "text long",
    )


def mutated_cases(rng: random.Random, count: int) -> Iterator[Case]:
    numbers = NUMBERS + PADDED
    for _ in range(count):
        kind = rng.choice(TYPES)
        size = rng.randint(1, 5)
        if kind == "sparsevec":
            body = ",".join(f"{rng.randint(0, 6)}:{rng.choice(numbers)}" for _ in range(size))
            text = "{" + body + "}/" + rng.choice(["3", "5", "6", rng.choice(COUNTS)])
        else:
            text = "[" + ",".join(rng.choice(numbers) for _ in range(size)) + "]"
        for _ in range(rng.choice([0, 0, 1, 1, 1, 2, 3])):
            at = rng.randint(0, len(text))
            action = rng.random()
            if action < 0.4:
                text = text[:at] + rng.choice(ALPHABET) + text[at:]
            elif action < 0.7:
                text = text[:at] + text[at + 1 :]
            else:
                text = text[:at] + rng.choice(ALPHABET) + text[at + 1 :]
        yield as_case(kind, text, "text mutated", rng.choice(["{0}::{1}", "{0}::{1}", "{0}::{1}(3)"]))


def decimal_cases(rng: random.Random, count: int) -> Iterator[Case]:
    """Numbers written in random ways; most near a boundary of float4 or of half, where rounding decides."""
    for _ in range(count):
        parts = []
        for _ in range(20):
            style = rng.random()
            if style < 0.3:
                digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 30)))
                at = rng.randint(0, len(digits))
                parts.append(
                    digits[:at] + "." + digits[at:] + (f"e{rng.randint(-40, 8)}" if rng.random() < 0.5 else "")
                )
            elif style < 0.6:
                parts.append(str(Decimal(rng.randint(0, 2**25)) * Decimal(2) ** rng.randint(-40, 20)))
            else:
                tie = (Decimal(rng.randint(1024, 2047)) + Decimal("0.5")) * Decimal(2) ** rng.randint(-24, 4)
                parts.append(str(tie + rng.choice([Decimal(0), Decimal("1e-9"), Decimal("-1e-9")])))
        text = "[" + ",".join(rng.choice(["", "-"]) + p for p in parts) + "]"
        for kind in ("vector", "halfvec"):
            yield as_case(kind, text, "text decimal")


def text_cases(rng: random.Random, share: float, mutated: int) -> Iterator[Case]:
    yield from fixed_cases(rng, share)
    yield from long_cases()
    yield from mutated_cases(rng, mutated)
    yield from decimal_cases(rng, mutated // 20)
