"""Two servers of one binary, with pgvector and with this project's build, must answer alike."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from differential import run, sabotage, user_errors
from vector_testing import pg
from vector_testing.plugin import Options
from vector_testing.results import Score


def test_statements(pair: tuple[str, str], options: Options, score: Score) -> None:
    run.compare(*pair, options, score)


def test_user_errors(pair: tuple[str, str], options: Options, score: Score) -> None:
    user_errors.compare(*pair, options.show, score)


def test_tier(tier: str, options: Options, score: Score, monkeypatch: pytest.MonkeyPatch) -> None:
    # The server inherits the cap.
    monkeypatch.setenv("VECTOR_SIMD", tier)
    short = SimpleNamespace(
        full=False, seed=options.seed, seeds=options.seeds, show=options.show, table=options.table, no_exchange=True
    )
    run.compare(*pg.peer_pair(16, "--tested"), short, score)


def test_selftest(score: Score) -> None:
    sabotage.run(pg.peer(16), run.prepare, score)
