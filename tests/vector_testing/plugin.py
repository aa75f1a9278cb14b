"""What every test run here knows: options, servers with this project's build, checks, and a line for each result.

Loaded by pytest itself in the environments of scripts/venv.sh. With `--checks` the output is what scripts/test.sh
counts: `ok - NAME` and `not ok - NAME` for each check of a `score` and for each test without one, then `N passed, N
failed`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import pytest

from vector_testing import pg
from vector_testing.results import Score, line
from vector_testing.server import LAYOUTS, Server


def add_options(add: Callable[..., object]) -> None:
    """Gives the options to a parser, argparse's or pytest's."""
    add("--seed", type=int, default=1, help="of data and schedules (%(default)s)")
    add(
        "--seconds",
        type=float,
        default=15,
        help="how long concurrent clients and drawn schedules work, per access method or test (%(default)s; minutes find more)",
    )
    add(
        "--rounds",
        type=int,
        default=3,
        help="how often crashes are tried, per access method (%(default)s); the longer form of others where it is more",
    )
    add("--clients", type=int, default=8, help="how many clients work at once in concurrency (%(default)s)")
    add("--am", default="hnsw,ivfflat", help="access methods (%(default)s)")
    add("--layout", choices=LAYOUTS, help="pages of indexes that do not say which (default: what the extension takes)")
    add("--prefix", help="a PostgreSQL with the extension, taken as it is")
    add("--faults", help="a PostgreSQL with a build that stops at fault points (reachable, isolation, leaks)")
    add("--old", help="a PostgreSQL of an older major with the extension (upgrade_pg)")
    add("--new", help="one of a newer major (upgrade_pg)")


ENVIRONMENT = """
environment:
  PG_CONFIG            the PostgreSQL to test in, one built with assertions for instance; default: a copy of the embedded
                       one of PG_MAJOR (17)
  PG_MAJOR_OLD, PG_MAJOR_NEW
                       the majors of upgrade_pg (14 and 18)
  RELIABILITY_AS_IS    when set, nothing is installed: the extension that PG_CONFIG has already is tested, pgvector itself
                       for instance
"""


class Options:
    """The options by their names, and the servers that go with them, made when somebody asks."""

    def __init__(self, option: object, work: Path):
        self._option, self._work = option, work
        self._as_is = bool(os.environ.get("RELIABILITY_AS_IS"))

    def __getattr__(self, name: str) -> object:
        return getattr(self._option, name)

    @property
    def ams(self) -> list[str]:
        """The access methods to test."""
        return [am for am in self._option.am.split(",") if am]

    @cached_property
    def prefix(self) -> str:
        """A PostgreSQL with the extension."""
        if self._option.prefix:
            return self._option.prefix
        prefix = pg.given() or pg.copied(os.environ.get("PG_MAJOR", "17"), self._work / "pg")
        return prefix if self._as_is else pg.install(prefix)

    @cached_property
    def faults(self) -> str | None:
        """One with a build that stops at fault points, of the same server; None where nothing may be installed."""
        if self._option.faults or self._option.prefix or self._as_is:
            return self._option.faults
        where, given = self._work / "faults", pg.given()
        # A server that has been given is copied, unless it is the system's.
        if given is None or given == "/usr" or given.startswith("/usr/"):
            prefix = pg.copied(pg.major_of(self.prefix), where)
        else:
            shutil.copytree(given, where, symlinks=True)
            prefix = str(where)
            # A build for the embedded server of its major serves it as well.
            if given.startswith(os.environ.get("VECTOR_CACHE", "\0") + "/"):
                (where / ".embedded").touch()
        return pg.install(prefix, "--faults")

    @cached_property
    def old(self) -> str | None:
        """One of an older major with the extension, for pg_upgrade; None where nothing may be installed."""
        return self._option.old or self._other("old", os.environ.get("PG_MAJOR_OLD", "14"))

    @cached_property
    def new(self) -> str | None:
        """One of a newer major, likewise."""
        return self._option.new or self._other("new", os.environ.get("PG_MAJOR_NEW", "18"))

    def _other(self, name: str, major: str) -> str | None:
        if self._option.prefix or self._as_is:
            return None
        return pg.install(pg.copied(major, self._work / name), "--tested")


# --- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def work() -> Iterator[Path]:
    """A folder for the whole run, which the server's user can enter."""
    with tempfile.TemporaryDirectory(prefix="vector-tests-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def options(request: pytest.FixtureRequest, work: Path) -> Options:
    """The options of the run."""
    return Options(request.config.option, work)


@pytest.fixture
def prefix(options: Options) -> str:
    """A PostgreSQL with the extension."""
    return options.prefix


@pytest.fixture
def ams(options: Options) -> list[str]:
    """The access methods to test."""
    return options.ams


@pytest.fixture
def score(request: pytest.FixtureRequest) -> Score:
    """Checks of one test, each told when it is made; the test fails when one of them has."""
    request.node.score = Score()
    return request.node.score


# --- hooks ------------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vector")
    add_options(group.addoption)
    group.addoption("--checks", action="store_true", help="a line for each check and test, and their counts")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    # Whoever ends this run finds its servers stopped.
    Server.layout = config.option.layout
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("ended from outside", returncode=143))
    if config.option.checks:
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(Lines(), "vector-lines")


class ChecksFailed(Exception):
    """Some checks of a test did not hold; each has been told."""


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function):
    result = yield
    score = getattr(pyfuncitem, "score", None)
    if score is not None and score.failed:
        raise ChecksFailed(f"{score.failed} of {score.passed + score.failed} checks failed")
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    report.score = getattr(item, "score", None) if call.when == "call" else None
    report.error = None if call.excinfo is None else call.excinfo.value
    return report


class Lines:
    """Prints results as lines and counts them, instead of pytest's own report."""

    def __init__(self) -> None:
        self.passed = self.failed = 0
        self.began = 0.0

    def tell(self, name: str, ok: bool, detail: object = "", more: str = "") -> None:
        """Prints and counts one result; `more` is for whoever looks into it."""
        self.passed, self.failed = self.passed + ok, self.failed + (not ok)
        print(line(name, ok, detail), flush=True)
        for part in more.splitlines():
            print(f"    {part}", flush=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        self.began = time.monotonic()
        # Of many checks one wants to know whose they are.
        if "score" in item.fixturenames:
            print(f"# {title(item.nodeid)}", flush=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = title(report.nodeid)
        if report.score is not None:
            self.passed, self.failed = self.passed + report.score.passed, self.failed + report.score.failed
        if report.skipped:
            print(
                f"# left out: {name}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
            )
        elif report.failed and not isinstance(report.error, ChecksFailed):
            problem = f"{type(report.error).__name__}: {report.error}"
            self.tell(
                f"{name} ran to its end" if report.when == "call" else f"{name}: {report.when}",
                False,
                problem,
                report.longreprtext,
            )
        elif report.when == "call" and report.passed and report.score is None:
            self.tell(name, True)
        if report.score is not None:
            print(
                f"# {name}: {'failed' if report.failed else 'ok'} in {time.monotonic() - self.began:.1f} s", flush=True
            )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.tell(f"{report.nodeid} is read", False, "", report.longreprtext)

    def pytest_sessionfinish(self) -> None:
        print(f"{self.passed} passed, {self.failed} failed", flush=True)


def title(nodeid: str) -> str:
    """A test's name in lines: its file and its function, without what all of them share."""
    file, _, function = nodeid.partition("::")
    return (
        Path(file).stem
        if function == "test"
        else f"{Path(file).stem.removeprefix('test_')}: {function.removeprefix('test_')}"
    )


# --- for the commands of the suites -----------------------------------------------------------------------------------


def run(paths: list[Path], options: list[str]) -> int:
    """Runs those files or folders and prints lines; returns the exit code."""
    # What was printed so far comes before what the tests print.
    sys.stdout.flush()
    return int(pytest.main(["--checks", "-s", *map(str, paths), *options]))


def as_words(options: dict[str, object], defaults: dict[str, object]) -> list[str]:
    """Options that differ from their defaults, as words of a command line."""
    words = []
    for name, value in options.items():
        if value != defaults[name]:
            words.append(f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}"))
    return words
