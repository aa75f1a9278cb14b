"""Checks and their counts: a line for each, in the form that scripts/test.sh counts."""

from __future__ import annotations


def line(name: str, ok: bool, detail: object = "") -> str:
    """One line of result; `detail` is cut where it is long."""
    text = f" ({str(detail)[:600]})" if detail not in ("", None) else ""
    return f"{'ok' if ok else 'not ok'} - {name}{text}"


class Score:
    """Prints one line per check and counts them."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def check(self, name: str, ok: bool, detail: object = "") -> bool:
        """Counts and prints; returns whether it held."""
        if ok:
            self.passed += 1
        else:
            self.failed += 1
        print(line(name, ok, detail), flush=True)
        return ok

    def skip(self, name: str, why: str) -> None:
        """Says what was not tried."""
        print(f"# left out: {name}: {why}", flush=True)
