"""Each test is the function `test` of a file that is named after what it fears."""

from __future__ import annotations

from pathlib import Path

import pytest

from reliability import TESTS


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    # Files that are named on the command line are collected anyway.
    if file_path.stem in TESTS and not parent.session.isinitpath(file_path):
        return pytest.Module.from_parent(parent, path=file_path)
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: TESTS.index(item.path.stem) if item.path.stem in TESTS else -1)
