"""Deliberate differences. The peer is pgvector 0.8.5; this project follows pgvector's later fixes and improves on some points.

Every entry carries probes: statements that must still differ. One that no longer does is reported as stale, so the
list cannot outlive its reasons. A difference that no entry explains is a failure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from client import Outcome


@dataclass(frozen=True)
class Known:
    name: str
    reason: str
    sql: str                     # pattern of the statements it applies to
    theirs: str                  # pattern of what pgvector answers
    ours: str                    # pattern of what this project answers
    probes: tuple[str, ...]
    since: int = 13              # first PostgreSQL major on which the probes make sense

    def explains(self, sql: str, theirs: Outcome, ours: Outcome) -> bool:
        return bool(re.search(self.sql, sql, re.S) and re.search(self.theirs, theirs.describe(), re.S) and re.search(self.ours, ours.describe(), re.S))


KNOWN: list[Known] = [
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
        reason="pgvector 0.8.6: which state is empty is decided by its length, no longer by its count, and lengths are checked",
        sql=r"SELECT (vector|halfvec)_combine\(",
        theirs=r".",
        ours=r".",
        probes=("SELECT vector_combine('{0,1,2,3}', '{1,1,2,3}')",),
    ),
    Known(
        name="sparsevec dimensions beyond int4 do not wrap",
        reason="fixed in pgvector 0.8.6: the number was cut to 32 bits before its range was checked",
        sql=r"sparsevec",
        theirs=r".",
        ours=r"message: (sparsevec cannot have more than 1000000000 dimensions|sparsevec must have at least 1 dimension|expected \d+ dimensions, not -?2147483\d+)",
        probes=("SELECT '{1:1}/4294967297'::sparsevec",),
    ),
]
