"""Printing and reading floats: bit patterns by the million, 16,000 to a value, in through binary and out through
text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from decimal import Decimal

import numpy as np

from differential.cases import Case
from differential.compare import Score
from vector_testing.client import Client, Param, run_both

WIDTH = 16000


def float_patterns(rng: np.random.Generator, count: int) -> np.ndarray:
    powers = np.arange(0, 255, dtype=np.uint32) << np.uint32(23)
    edges = np.concatenate([powers + np.uint32(d) for d in (0, 1, 2)] + [powers[1:] - np.uint32(d) for d in (1, 2)])
    tens = np.array([np.float32(f"1e{e}") for e in range(-45, 39)], dtype=np.float32).view(np.uint32)
    tens = np.concatenate([tens, tens + np.uint32(1), tens - np.uint32(1)])
    integers = np.arange(0, 40000, dtype=np.float32).view(np.uint32)
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
    decimals = (
        (rng.integers(0, 10**7, count // 8) / 10 ** rng.integers(0, 8, count // 8).astype(float))
        .astype(np.float32)
        .view(np.uint32)
    )
    subnormal = rng.integers(1, 1 << 23, count // 16, dtype=np.uint32)
    anything = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    bits = np.concatenate([edges, tens, integers, halves, decimals, subnormal, anything])
    signs = np.concatenate([bits[: len(edges) + len(tens)] | np.uint32(1 << 31), bits])
    return signs[(signs & np.uint32(0x7F800000)) != np.uint32(0x7F800000)]


def printed_cases(patterns: np.ndarray, kind: str) -> Iterator[Case]:
    width = ">u4" if kind == "vector" else ">u2"
    for start in range(0, len(patterns), WIDTH):
        part = patterns[start : start + WIDTH]
        data = struct.pack(">HH", len(part), 0) + part.astype(width).tobytes()
        yield Case("SELECT $1", (f"type {kind}",), "float output", params=(Param(kind, data),))


def sparse_printed_cases(patterns: np.ndarray) -> Iterator[Case]:
    kept = patterns[(patterns & np.uint32(0x7FFFFFFF)) != 0]
    for start in range(0, min(len(kept), 10 * WIDTH), WIDTH):
        part = kept[start : start + WIDTH]
        data = (
            struct.pack(">III", 10**9, len(part), 0)
            + np.arange(0, len(part) * 61000, 61000, dtype=">i4").tobytes()
            + part.astype(">u4").tobytes()
        )
        yield Case("SELECT $1", ("type sparsevec",), "float output", params=(Param("sparsevec", data),))


def boundary_texts(rng: np.random.Generator, count: int, kind: str) -> list[str]:
    """Decimals exactly half-way between two neighbours, and a hair above and below."""
    texts = []
    if kind == "vector":
        bits = rng.integers(0, 0x7F7FFFFF, count, dtype=np.uint32)
        pairs = zip(bits.view(np.float32).tolist(), (bits + np.uint32(1)).view(np.float32).tolist())
    else:
        bits = rng.integers(0, 0x7BFE, count, dtype=np.uint16)
        pairs = zip(bits.view(np.float16).tolist(), (bits + np.uint16(1)).view(np.float16).tolist())
    for low, high in pairs:
        middle = (Decimal(low) + Decimal(high)) / 2
        form = len(texts) % 3
        if form == 0:
            texts.append(format(middle, "f") if 1e-20 < low < 1e20 else str(middle))
        else:
            digits, exponent = format(middle, "e").split("e")
            texts.append(
                f"{digits}{'0' * 8 if '.' in digits else '.'}{'1' if form == 1 else ''}e{exponent}"
                if form == 1
                else f"{Decimal(digits) - Decimal('1e-150'):f}e{exponent}"
            )
    return texts


def parsed_cases(texts: list[str], kind: str, family: str) -> Iterator[Case]:
    step = 1000 if family == "float boundary" else WIDTH
    for start in range(0, len(texts), step):
        data = ("[" + ",".join(texts[start : start + step]) + "]").encode()
        yield Case("SELECT $1", (f"type {kind}",), family, params=(Param(kind, data, binary=False),), binary=True)


def run(left: Client, right: Client, score: Score, seed: int, count: int) -> None:
    import decimal

    decimal.getcontext().prec = 400
    rng = np.random.default_rng(seed)
    patterns = float_patterns(rng, count)
    halves = np.arange(65536, dtype=np.uint16)
    halves = halves[(halves & 0x7C00) != 0x7C00]
    for kind, bits in (("vector", patterns), ("halfvec", halves)):
        back: list[tuple[bytes, bytes]] = []
        for case, a, b in run_both(left, right, printed_cases(bits, kind)):
            if score.judge(case, a, b) and a.rows:
                back.append((a.rows[0][0], case.params[0].data))
        # What was printed must read back to the same bits, on both sides.
        again = [
            Case(
                "SELECT $1",
                (f"type {kind}",),
                "float round trip",
                params=(Param(kind, text, binary=False),),
                binary=True,
            )
            for text, _ in back
        ]
        for (case, a, b), (_, original) in zip(run_both(left, right, again), back):
            score.judge(case, a, b)
            score.check(f"{kind} round trip", b.rows == ((original,),), case.params[0].data[:200].decode())
    for case, a, b in run_both(left, right, sparse_printed_cases(patterns)):
        score.judge(case, a, b)
    for kind in ("vector", "halfvec"):
        for case, a, b in run_both(
            left, right, parsed_cases(boundary_texts(rng, max(3000, count // 50), kind), kind, "float boundary")
        ):
            score.judge(case, a, b)
    # The conversion to half, from float4 and from float8, near every half and in between.
    singles = halves.view(np.float16).astype(np.float32).view(np.uint32)
    near = np.concatenate(
        [
            singles,
            singles + np.uint32(1),
            singles + np.uint32(0x0FFF),
            singles + np.uint32(0x1000),
            singles + np.uint32(0x1001),
            rng.integers(0x33000000, 0x477FE000, 20000, dtype=np.uint32),
        ]
    )
    near = near[(near & np.uint32(0x7FFFFFFF)) < np.uint32(0x477FF000)]
    conversions = [
        Case("SELECT $1::halfvec", ("cast vector -> halfvec",), "half rounding", params=c.params)
        for c in printed_cases(near, "vector")
    ]
    for case, a, b in run_both(left, right, conversions):
        score.judge(case, a, b)
