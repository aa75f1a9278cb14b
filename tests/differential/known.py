"""Deliberate differences. The peer is pgvector 0.8.5; this project follows pgvector's later fixes and improves on some
points.

Every entry carries probes: statements that must still differ. One that no longer does is reported as stale, so the list
cannot outlive its reasons. A difference that no entry explains is a failure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from vector_testing.client import Outcome


@dataclass(frozen=True)
class Known:
    name: str
    reason: str
    sql: str  # pattern of the statements it applies to
    theirs: str  # pattern of what pgvector answers
    ours: str  # pattern of what this project answers
    probes: tuple[str, ...]
    since: int = 13  # first PostgreSQL major on which it differs
    holds: Callable[[str, Outcome], bool] | None = None  # the answer is checked where a pattern cannot say it

    def explains(self, sql: str, theirs: Outcome, ours: Outcome) -> bool:
        found = all(
            re.search(pattern, text, re.S)
            for pattern, text in ((self.sql, sql), (self.theirs, theirs.describe()), (self.ours, ours.describe()))
        )
        return found and (self.holds is None or self.holds(sql, ours))


STATE = re.compile(
    r"'(?:\[0:3\]=)?\{([^{}]*)\}'(?:::double precision\[\])?|array_fill\(1::double precision, ARRAY\[(\d+)\]\)"
)


def combined_as_later(sql: str, ours: Outcome) -> bool:
    """What pgvector after 0.8.6 answers to combining two well-formed states; False where 0.8.5 answers the same."""
    states = [
        [1.0] * int(length) if length else [float(x) for x in text.split(",")] for text, length in STATE.findall(sql)
    ]
    if len(states) != 2:
        return False
    dims = [len(s) - 1 for s in states]
    if all((s[0] == 0) == (d == 0) and d <= 16000 for s, d in zip(states, dims)):
        return False
    first = max(dims) if 0 in dims else dims[0]
    if first > 16000:
        return ours.error is not None and ours.error["message"] == "vector cannot have more than 16000 dimensions"
    if 0 not in dims and dims[0] != dims[1]:
        return ours.error is not None and ours.error["message"] == f"expected {dims[0]} dimensions, not {dims[1]}"
    sums = [states[0][0] + states[1][0]]
    for i in range(1, first + 1):
        sums.append(sum(s[i] for s in states if len(s) > 1))
    if 0 not in dims and any(math.isinf(x) for x in sums[1:]):
        return ours.error is not None and ours.error["message"] == "value out of range: overflow"
    if ours.error is not None or not ours.rows or ours.rows[0][0] is None:
        return False
    answer = [float(x) for x in ours.rows[0][0].decode().strip("{}").split(",")]
    return len(answer) == len(sums) and all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(answer, sums))


def quoted_by_its_front(sql: str, ours: Outcome) -> bool:
    """The message quotes the first eight kilobytes of the literal."""
    message = ours.error["message"] if ours.error else ""
    return 8192 < len(message) < 8400 and re.search(r'\.\.\."( is out of range for type \w+)?$', message) is not None


KNOWN: list[Known] = [
    Known(
        name="long literals are quoted by their front",
        reason="a message of a hundred megabytes needs as much memory again, and nobody reads it",
        sql=r".",
        theirs=r"^ERROR sqlstate: 22(P02|003) \| message: [^|]{8192,}",
        ours=r"^ERROR sqlstate: 22(P02|003) \| message: [^|]{8192,}",
        probes=(
            "SELECT repeat('x', 9000)::vector",
            "SELECT ('[' || repeat('9', 9000) || ']')::halfvec",
            "SELECT repeat('x', 9000)::sparsevec",
        ),
        holds=quoted_by_its_front,
    ),
    Known(
        name="array to sparsevec limits non-zero elements",
        reason="fixed in pgvector 0.8.6: a cast could make a sparsevec that its own input refuses",
        sql=r"sparsevec",
        theirs=r"^(sparsevec|text|double precision|boolean|integer)\b",
        ours=r"sqlstate: 54000 \| message: sparsevec cannot have more than 16000 non-zero elements",
        probes=("SELECT array_fill(1::real, ARRAY[16001])::sparsevec",),
    ),
    Known(
        name="combine goes by the states' dimensions",
        reason="as in pgvector after 0.8.6: which state is empty is decided by its length, no longer by its count, and lengths are checked",
        sql=r"^SELECT (vector|halfvec)_combine\(",
        theirs=r".",
        ours=r".",
        probes=("SELECT vector_combine('{0,1,2,3}', '{1,1,2,3}')", "SELECT halfvec_combine('{1}', '{2,1,2,3}')"),
        holds=combined_as_later,
    ),
    Known(
        name="a state's length is not cut to 16 bits",
        reason="fixed in pgvector after 0.8.6: a state array of more than 32767 dimensions was taken for a shorter one",
        sql=r"^SELECT (vector|halfvec)_(accum|avg)\(array_fill\(1::double precision, ARRAY\[(32769|6553[79])\]\)",
        theirs=r".",
        ours=r"message: (expected (32768|6553[68]) dimensions, not \d+|(vector|halfvec) cannot have more than 16000 dimensions)$",
        probes=(
            "SELECT vector_accum(array_fill(1::double precision, ARRAY[65537]), '[3,4]')",
            "SELECT halfvec_avg(array_fill(1::double precision, ARRAY[65539]))",
        ),
    ),
    Known(
        name="bad input is a soft error",
        reason="an improvement: pg_input_is_valid and pg_input_error_info answer, where pgvector raises",
        sql=r"^SELECT (\* FROM pg_input_error_info|pg_input_is_valid)\(",
        theirs=r"^ERROR sqlstate: 22",
        ours=r"^(boolean \(f\)|text,text,text,text \(.*, 22...\))$",
        probes=(
            "SELECT pg_input_is_valid('[1', 'vector')",
            "SELECT pg_input_is_valid('[1', 'halfvec')",
            "SELECT pg_input_is_valid('{1', 'sparsevec')",
            "SELECT * FROM pg_input_error_info('[1,2,3]', 'vector(2)')",
        ),
        since=16,
    ),
]
