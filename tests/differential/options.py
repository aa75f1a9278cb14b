"""Options of the differential test."""

from __future__ import annotations

from collections.abc import Callable

# Where pgvector's binary can be had: the majors of a short run, and of a full one.
MAJORS, MAJORS_FULL = (16,), (16, 18)
# Every tier answers alike; a full run tries the lower ones.
TIERS = ("scalar", "avx2")


def add_options(add: Callable[..., object]) -> None:
    """Gives the options to a parser, argparse's or pytest's."""
    add("--seeds", type=int, default=0, help="how many seeds (1, in a full run 5)")
    add("--show", type=int, default=25, help="how many differences to print (%(default)s)")
    add("--table", action="store_true", help="print the counts per catalog object")
    add("--no-exchange", action="store_true", help="skip the exchange of data directories")
