from __future__ import annotations

from functools import cache

import pytest

from differential.options import MAJORS, MAJORS_FULL, TIERS, add_options
from vector_testing import pg


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("differential")
    add_options(group.addoption)
    group.addoption("--full", action="store_true", help="five seeds, larger samples, two majors, lower SIMD tiers")
    group.addoption("--selftest", action="store_true", help="break one side on purpose and demand that it is noticed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    full = metafunc.config.option.full
    if "major" in metafunc.fixturenames:
        metafunc.parametrize("major", MAJORS_FULL if full else MAJORS)
    if "tier" in metafunc.fixturenames:
        metafunc.parametrize("tier", TIERS if full else ())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # A test of the test runs alone; a tier that was not asked for is no test at all.
    wanted = [
        item for item in items if (item.name == "test_selftest") == config.option.selftest and "NOTSET" not in item.name
    ]
    items[:] = [item for item in items if item in wanted or item.path.parent.name != "differential"]


@cache
def peer_pair(major: int) -> tuple[str, str]:
    return pg.peer_pair(major, "--tested")


@pytest.fixture
def pair(major: int) -> tuple[str, str]:
    """Prefixes of one server binary, with pgvector and with this project's build."""
    return peer_pair(major)
