"""Decides whether two outcomes agree, and keeps the score."""

from __future__ import annotations

import math
from collections import Counter

from differential.cases import Case
from differential.catalog import Coverage
from differential.known import Known
from differential.values import Slack
from vector_testing.client import Outcome


def close(a: bytes | None, b: bytes | None, slack: Slack) -> bool:
    if a == b:
        return True
    if a is None or b is None:
        return False
    try:
        x, y = float(a), float(b)
    except ValueError:
        return False
    if math.isnan(x) or math.isnan(y) or math.isinf(x) or math.isinf(y):
        return False
    # A difference of zero may appear with either sign.
    return abs(x - y) <= slack.absolute + slack.relative * max(abs(x), abs(y))


def difference(case: Case, a: Outcome, b: Outcome) -> str | None:
    """The first thing that differs, by name; None when the outcomes agree."""
    if b.lost or a.lost:
        return "connection lost"
    if (a.error is None) != (b.error is None):
        return "error or not"
    if a.error is not None and b.error is not None:
        for name in sorted(
            a.error.keys() | b.error.keys(),
            key=["sqlstate", "message", "detail", "hint", "position", "context", "column", "constraint"].index,
        ):
            if a.error.get(name) != b.error.get(name):
                return name
        return None
    if a.columns != b.columns:
        return "result type"
    if a.tag != b.tag:
        return "command tag"
    if a.notices != b.notices:
        return "notices"
    if len(a.rows) != len(b.rows):
        return "number of rows"
    for x, y in zip(a.rows, b.rows):
        for m, n in zip(x, y):
            if (m is None) != (n is None):
                return "null or not"
            if m != n and (case.slack is None or not close(m, n, case.slack)):
                return "value"
    return None


class Score:
    def __init__(self, coverage: Coverage, known: list[Known], show: int = 25):
        self.coverage = coverage
        self.known = known
        self.show = show
        self.passed = 0
        self.failed = 0
        self.excused: Counter[str] = Counter()
        self.families: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.shown: Counter[tuple] = Counter()
        self.reports: list[str] = []

    def judge(self, case: Case, a: Outcome, b: Outcome) -> bool:
        self.families[case.family] += 1
        what = difference(case, a, b)
        self.coverage.record(case.objects, a.error is not None, what is not None)
        if what is None:
            self.passed += 1
            return True
        for entry in self.known:
            if entry.explains(case.sql, a, b):
                self.excused[entry.name] += 1
                self.passed += 1
                return True
        self.fail(case, what, a.describe(), b.describe())
        return False

    def fail(self, case: Case, what: str, theirs: str, ours: str) -> None:
        self.failed += 1
        self.kinds[f"{what} ({case.family})"] += 1
        # A few of each sort tell more than the first hundred of one.
        sort = (what, case.family, case.objects[:1])
        self.shown[sort] += 1
        if self.shown[sort] <= 3 and len(self.reports) < self.show:
            parameters = "".join(
                f"\n  ${i}: {p.type} {'binary' if p.binary else 'text'} {'NULL' if p.data is None else cut(p.data.hex())}"
                for i, p in enumerate(case.params, 1)
            )
            self.reports.append(
                f"{what} differs [{case.family}; {', '.join(case.objects) or '-'}]\n  {cut(case.sql)};{parameters}\n  pgvector: {cut(theirs)}\n  ours:     {cut(ours)}"
            )

    def check(self, name: str, ok: bool, detail: str = "") -> None:
        """A check that is no single statement."""
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            self.kinds[name] += 1
            self.reports.append(f"{name}: {cut(detail)}")


def cut(text: str, limit: int = 600) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]} …({len(text)} characters)… {text[-limit // 3 :]}"
