from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--document", action="append", default=[], metavar="FILE", help="only this document")
