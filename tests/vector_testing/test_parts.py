"""The parts that need no server."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from benches.index import ground_truth
from differential.cases import Case
from differential.compare import close, difference
from differential.values import Slack
from reliability import TESTS
from vector_testing import process
from vector_testing.client import BATCH_BYTES, BATCH_STATEMENTS, Outcome, Param, batches
from vector_testing.data import BITS, DIMS, OPCLASSES, SPARSE_DIMS, Data
from vector_testing.paths import ROOT
from vector_testing.results import line


def test_line_is_cut() -> None:
    assert line("a", True) == "ok - a"
    assert line("a", False, 0) == "not ok - a (0)"
    assert len(line("a", False, "x" * 10_000)) < 700


def test_data_come_from_the_seed() -> None:
    one, again, other = (Data(seed).rows(50) for seed in (3, 3, 4))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_one_row_in_every_type() -> None:
    data = Data(1)
    row = data.rows(1)[0]
    assert data.text(row, "v").count(",") == DIMS - 1
    assert data.text(row, "h") == data.text(row, "v")
    assert set(data.text(row, "b")) == {"0", "1"} and len(data.text(row, "b")) == BITS
    assert data.text(row, "s").endswith(f"}}/{SPARSE_DIMS}")


def test_operator_classes_are_those_of_the_catalog() -> None:
    catalog = (ROOT / "tests" / "compat" / "pgvector-0.8.6-catalog.tsv").read_text(encoding="utf-8").splitlines()
    named = {words[1] for line in catalog if (words := line.split("\t"))[0] == "opclass"}
    assert {f"{o.name} using {o.am}" for o in OPCLASSES} == {
        name for name in named if name.endswith(("hnsw", "ivfflat"))
    }


def test_every_reliability_test_has_a_file() -> None:
    assert [name for name in TESTS if not (ROOT / "tests" / "reliability" / f"{name}.py").exists()] == []


def test_cpu_time_of_a_process() -> None:
    before, end = process.cpu(os.getpid()), time.monotonic() + 0.1
    while time.monotonic() < end:
        pass
    assert process.cpu(os.getpid()) > before
    assert process.cpu(2**22 + 1) == 0.0
    assert process.threads(os.getpid()) >= 1
    assert process.memory(os.getpid()) > 1 << 20


def test_batches_hold_every_case_once() -> None:
    wide = Case("SELECT $1", (), "test", params=(Param("bytea", bytes(BATCH_BYTES)),))
    cases = [*(Case(f"SELECT {n}", (), "test") for n in range(BATCH_STATEMENTS + 1)), wide, wide]
    cut = list(batches(cases))
    assert [case for batch in cut for case in batch] == cases
    assert [len(batch) for batch in cut] == [BATCH_STATEMENTS, 2, 1]


CASE = Case("SELECT 1", (), "test")
SUM = Case("SELECT 1", (), "test", slack=Slack(1e-3, 0.0))


@pytest.mark.parametrize(
    ("case", "left", "right", "what"),
    [
        (CASE, Outcome(rows=((b"1",),)), Outcome(rows=((b"1",),)), None),
        (CASE, Outcome(rows=((b"1",),)), Outcome(rows=((b"1.0001",),)), "value"),
        (SUM, Outcome(rows=((b"1",),)), Outcome(rows=((b"1.0001",),)), None),
        (SUM, Outcome(rows=((b"1",),)), Outcome(rows=((b"1.1",),)), "value"),
        (SUM, Outcome(rows=((b"1",),)), Outcome(rows=((None,),)), "null or not"),
        (CASE, Outcome(rows=((b"1",),)), Outcome(), "number of rows"),
        (CASE, Outcome(columns=("vector",)), Outcome(columns=("halfvec",)), "result type"),
        (CASE, Outcome(), Outcome(error={"message": "no"}), "error or not"),
        (CASE, Outcome(error={"message": "no"}), Outcome(error={"message": "yes"}), "message"),
        (CASE, Outcome(), Outcome(notices=["NOTICE: a"]), "notices"),
        (CASE, Outcome(), Outcome(lost=True), "connection lost"),
    ],
)
def test_difference(case: Case, left: Outcome, right: Outcome, what: str | None) -> None:
    assert difference(case, left, right) == what


def test_nan_and_infinity_are_not_near_anything() -> None:
    slack = Slack(1e9, 1e9)
    assert not close(b"NaN", b"1", slack)
    assert not close(b"Infinity", b"1e300", slack)
    assert close(b"-0", b"0", slack)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine", "l1", "hamming", "jaccard"])
def test_brute_force_distances(metric: str) -> None:
    """The matrix form against one pair at a time."""
    rng = np.random.default_rng(5)
    rows, queries = rng.normal(size=(40, 12)), rng.normal(size=(3, 12))
    if metric in ("hamming", "jaccard"):
        rows, queries = (rows > 0).astype(float), (queries > 0).astype(float)
    one = {
        "l2": lambda a, b: ((a - b) ** 2).sum(),
        "ip": lambda a, b: -(a * b).sum(),
        "cosine": lambda a, b: 1 - (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()),
        "l1": lambda a, b: np.abs(a - b).sum(),
        "hamming": lambda a, b: (a != b).sum(),
        "jaccard": lambda a, b: 1 - np.logical_and(a, b).sum() / np.logical_or(a, b).sum(),
    }[metric]
    wanted = [[one(query, row) for row in rows] for query in queries]
    assert np.allclose(ground_truth.distances(metric, queries, rows), wanted)
    assert np.allclose([ground_truth.paired(metric, query, rows) for query in queries], wanted)
