"""Binary input and output: crafted messages to the receive functions, through parameters, arrays and COPY BINARY."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

from differential.cases import Case
from vector_testing.client import Client, Outcome, Param

FLOAT_BITS = [
    0x7F800000,
    0xFF800000,
    0x7FC00000,
    0xFFC00000,
    0x7F800001,
    0x7FFFFFFF,
    0xFFFFFFFF,
    0x7FBFFFFF,
    0x00000001,
    0x80000001,
    0x80000000,
    0x7F7FFFFF,
    0x00800000,
    0x007FFFFF,
]
HALF_BITS = [
    0x7C00,
    0xFC00,
    0x7E00,
    0x7C01,
    0xFFFF,
    0xFE00,
    0x7DFF,
    0x0001,
    0x8001,
    0x8000,
    0x7BFF,
    0xFBFF,
    0x03FF,
    0x0400,
    0x3C00,
]


def dense(dim: int, unused: int, words: list[int], size: int) -> bytes:
    return struct.pack(">HH", dim & 0xFFFF, unused & 0xFFFF) + b"".join(w.to_bytes(size, "big") for w in words)


def sparse(dim: int, nnz: int, unused: int, indices: list[int], words: list[int]) -> bytes:
    head = struct.pack(">III", dim & 0xFFFFFFFF, nnz & 0xFFFFFFFF, unused & 0xFFFFFFFF)
    return (
        head
        + b"".join((i & 0xFFFFFFFF).to_bytes(4, "big") for i in indices)
        + b"".join(w.to_bytes(4, "big") for w in words)
    )


ONE, TWO, THREE = 0x3F800000, 0x40000000, 0x40400000


def messages(kind: str, rng: random.Random, fuzz: int) -> Iterator[bytes]:
    if kind == "sparsevec":
        good = sparse(5, 3, 0, [0, 2, 4], [ONE, TWO, THREE])
        yield from (sparse(5, 0, 0, [], []), sparse(1, 1, 0, [0], [ONE]), sparse(1000000000, 1, 0, [999999999], [ONE]))
        for dim in (0, 1, 2, 3, 4, 5, -1, -5, 1000000000, 1000000001, 2**31 - 1, -(2**31), 65539):
            yield sparse(dim, 3, 0, [0, 2, 4], [ONE, TWO, THREE])
        for nnz in (0, 1, 2, 4, 5, 6, -1, 16000, 16001, 2**31 - 1, -(2**31), 2**29, 2**30):
            yield sparse(5, nnz, 0, [0, 2, 4], [ONE, TWO, THREE])
            yield sparse(1000000000, nnz, 0, [0, 2, 4], [ONE, TWO, THREE])
        for unused in (1, -1, 2**31 - 1, -(2**31)):
            yield sparse(5, 3, unused, [0, 2, 4], [ONE, TWO, THREE])
        for indices in (
            [0, 0, 1],
            [0, 1, 1],
            [2, 1, 0],
            [0, 2, 1],
            [-1, 0, 1],
            [0, 1, 5],
            [0, 1, 2**31 - 1],
            [5, 6, 7],
            [-(2**31), 0, 1],
            [4, 4, 4],
            [1, 2, -1],
        ):
            yield sparse(5, 3, 0, indices, [ONE, TWO, THREE])
        for bits in FLOAT_BITS + [0]:
            yield sparse(5, 3, 0, [0, 2, 4], [ONE, bits, THREE])
            yield sparse(5, 1, 0, [0], [bits])
        for n in (15999, 16000, 16001):
            yield sparse(100000, n, 0, list(range(n)), [ONE] * n)
    else:
        size, bits = (4, FLOAT_BITS) if kind == "vector" else (2, HALF_BITS)
        one, two, three = (ONE, TWO, THREE) if kind == "vector" else (0x3C00, 0x4000, 0x4200)
        good = dense(3, 0, [one, two, three], size)
        for dim in (0, 1, 2, 4, -1, 16000, 16001, 32767, 32768, 40000, 65535):
            yield dense(dim, 0, [one, two, three], size)
        for unused in (1, -1, 32767, 32768, 256):
            yield dense(3, unused, [one, two, three], size)
        for b in bits:
            yield dense(1, 0, [b], size)
            yield dense(3, 0, [one, two, b], size)
            yield dense(3, 0, [b, bits[0], bits[2]], size)
        for n in (15999, 16000, 16001):
            yield dense(n, 0, [one] * n, size)
    yield good
    for cut in range(len(good)):
        yield good[:cut]
    for extra in (b"\0", b"\0\0", b"\0\0\0\0", b"x" * 100):
        yield good + extra
    for at in range(len(good)):
        for flip in (0x01, 0x80, 0xFF):
            yield good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :]
    for _ in range(fuzz):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        yield bytes(data[: rng.choice([len(data)] * 4 + [rng.randint(0, len(data))])])
        yield rng.randbytes(rng.randint(0, 40))


def parameter_cases(rng: random.Random, fuzz: int) -> Iterator[Case]:
    for kind in ("vector", "halfvec", "sparsevec"):
        keys = (f"function {kind}_recv(internal, oid, integer)", f"type {kind}")
        for data in messages(kind, rng, fuzz):
            yield Case("SELECT $1", keys, "receive", params=(Param(kind, data),))
        for data in list(messages(kind, rng, 0))[:60]:
            yield Case(f"SELECT $1::{kind}(3), {kind}_send($1)", keys, "receive", params=(Param(kind, data),))
            yield Case("SELECT $1", keys, "receive", params=(Param(kind, data),), binary=True)
        text = "{1:1,3:-2.5}/5" if kind == "sparsevec" else "[1,-2.5,3e-5,0]"
        # Not inside an array or a row: their binary form carries type numbers, which differ between the servers.
        yield Case(f"SELECT '{text}'::{kind}, NULL::{kind}", (f"type {kind}",), "send", binary=True)
        yield Case(
            "SELECT $1", (f"type {kind}",), "send", params=(Param(kind, text.encode(), binary=False),), binary=True
        )
        yield Case("SELECT $1", (f"type {kind}",), "send", params=(Param(kind, None),), binary=True)


def copy_outcomes(left: Client, right: Client, rng: random.Random) -> Iterator[tuple[Case, Outcome, Outcome]]:
    """COPY BINARY gives the column's modifier to the receive function; a pipeline cannot carry it, so one by one."""
    for kind in ("vector", "halfvec", "sparsevec"):
        keys = (f"function {kind}_recv(internal, oid, integer)",)
        for column in (kind, f"{kind}(3)", f"{kind}(5)"):
            setup = f"CREATE TEMP TABLE IF NOT EXISTS copied_{kind}{column[len(kind) :].strip('()')} (x {column})"
            table = setup.split()[6]
            left.must(setup)
            right.must(setup)
            for data in list(messages(kind, rng, 0))[::2]:
                if len(data) > 70000:
                    continue
                stream = b"PGCOPY\n\xff\r\n\0" + struct.pack(">IIHI", 0, 0, 1, len(data)) + data + b"\xff\xff"
                sql = f"COPY {table} FROM STDIN (FORMAT binary)"
                case = Case(sql + f"  -- field of {len(data)} bytes: \\x{data[:64].hex()}", keys, "copy binary")
                yield case, left.copy_in(sql, [stream]), right.copy_in(sql, [stream])
            for text in (
                "[1,2,3]",
                "{1:1}/3",
                "[1,2]",
                "[1,2,3",
                "\\N",
                "[1,,2]",
                "[1,2,3]\t1",
                "[ 1,2,3]",
                "{1:1,2:2}/5",
                "[1e39,1,1]",
                "",
            ):
                sql = f"COPY {table} FROM STDIN"
                case = Case(sql + f"  -- line: {text!r}", (), "copy text")
                yield case, left.copy_in(sql, [text.encode() + b"\n"]), right.copy_in(sql, [text.encode() + b"\n"])
            for form in ("text", "binary", "csv"):
                sql = f"COPY (SELECT x FROM {table}) TO STDOUT (FORMAT {form})"
                (a, x), (b, y) = left.copy_out(sql), right.copy_out(sql)
                a.rows, b.rows = ((x,),), ((y,),)
                yield Case(sql, (), "copy out"), a, b
