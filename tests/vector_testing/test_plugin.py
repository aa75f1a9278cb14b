"""What the plugin prints is what the scripts count."""

from __future__ import annotations

import subprocess

import pytest

from vector_testing import plugin
from vector_testing.paths import ROOT

pytest_plugins = ["pytester"]

SUITE = """
    import pytest

    def test_good(score):
        assert score.check("one", True, "detail")
        score.check("two", 1 + 1 == 2)
        score.skip("three", "no reason")

    def test_bad(score):
        score.check("four", True)
        assert not score.check("five", False, ["a", "b"])
        score.check("six", True)

    def test_ends(score):
        score.check("seven", True)
        raise OSError("gone")

    def test_plain():
        pass

    def test_wrong():
        assert 1 == 2

    @pytest.mark.skip(reason="not here")
    def test_nowhere():
        pass

    @pytest.fixture
    def broken():
        raise ValueError("no fixture")

    def test_unprepared(broken):
        pass
"""


def outcomes(text: str, status: int) -> list[int]:
    """What the shell scripts count in a log."""
    script = f'. {ROOT}/scripts/lib.sh; count_outcomes <(printf "%s" "$1") {status}'
    counted = subprocess.run(["bash", "-c", script, "bash", text], stdout=subprocess.PIPE, text=True, check=True)
    return [int(word) for word in counted.stdout.split()]


def test_lines(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_suite=SUITE)
    result = pytester.runpytest_subprocess("--checks", "-s")
    assert result.ret == 1
    lines = [line for line in result.outlines if line.startswith(("ok", "not ok", "# left out"))]
    assert lines == [
        "ok - one (detail)",
        "ok - two",
        "# left out: three: no reason",
        "ok - four",
        "not ok - five (['a', 'b'])",
        "ok - six",
        "ok - seven",
        "not ok - suite: ends ran to its end (OSError: gone)",
        "ok - suite: plain",
        next(line for line in lines if "wrong" in line),
        "# left out: suite: nowhere: Skipped: not here",
        "not ok - suite: unprepared: setup (ValueError: no fixture)",
    ]
    assert result.outlines[-1] == "6 passed, 4 failed"
    assert outcomes("\n".join(result.outlines), 1) == [6, 4]


def test_success(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_suite="def test_one(score, options):\n    score.check('seed', options.seed == 7)\n")
    result = pytester.runpytest_subprocess("--checks", "-s", "--seed=7")
    assert result.ret == 0
    assert result.outlines[-1] == "1 passed, 0 failed"


def test_own_report(pytester: pytest.Pytester) -> None:
    """Without --checks pytest speaks, and a failed check fails its test."""
    pytester.makepyfile(test_suite="def test_one(score):\n    score.check('never', False)\n")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*1 of 1 checks failed*", "*not ok - never*"])


def test_unreadable_file(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_suite="import no_such_module\n")
    result = pytester.runpytest_subprocess("--checks", "-s")
    assert result.ret != 0
    assert outcomes("\n".join(result.outlines), int(result.ret)) == [0, 1]


def test_nothing_found_is_a_failure(pytester: pytest.Pytester) -> None:
    assert pytester.runpytest_subprocess("--checks", "-s").ret != 0


def test_terminated(pytester: pytest.Pytester) -> None:
    """A run that is ended from outside leaves through its fixtures: servers are stopped."""
    pytester.makepyfile(
        test_suite="""
            import os, signal, pathlib, pytest

            @pytest.fixture
            def server():
                yield
                pathlib.Path("stopped").touch()

            def test_one(server):
                os.kill(os.getpid(), signal.SIGTERM)

            def test_two():
                pathlib.Path("went on").touch()
        """
    )
    assert pytester.runpytest_subprocess("--checks", "-s").ret == 143
    assert (pytester.path / "stopped").exists()
    assert not (pytester.path / "went on").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seed": 1, "full": False}, []),
        ({"seed": 4, "full": True}, ["--seed=4", "--full"]),
        ({"seed": 1, "no_exchange": True}, ["--no-exchange"]),
    ],
)
def test_as_words(given: dict[str, object], words: list[str]) -> None:
    assert plugin.as_words(given, {"seed": 1, "full": False, "no_exchange": False}) == words


@pytest.mark.parametrize(
    ("nodeid", "title"),
    [
        ("tests/reliability/crash.py::test", "crash"),
        ("tests/upgrade/test_upgrade.py::test_swap[16]", "upgrade: swap[16]"),
    ],
)
def test_title(nodeid: str, title: str) -> None:
    assert plugin.title(nodeid) == title
