"""Reliability tests of the index access methods, each named after what it fears, in private clusters of its own."""

from __future__ import annotations

# In the order in which they run.
TESTS = [
    "recall",
    "measured",
    "progress",
    "cancel",
    "reachable",
    "isolation",
    "crash",
    "recovery",
    "standby",
    "replication",
    "upgrade_pg",
    "concurrency",
    "leaks",
    "memory",
    "buffers",
    "toast",
    "symbols",
    "hostile",
    "diskfull",
    "corruption",
]
