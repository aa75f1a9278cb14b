"""The server is the one of PGHOST, PGPORT, PGUSER and PGDATABASE: scripts/clients.sh starts one."""

from __future__ import annotations

import psycopg
import pytest
from pgvector.psycopg import register_vector


@pytest.fixture(scope="session", autouse=True)
def extension() -> None:
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")


@pytest.fixture
def conn():
    with psycopg.connect(autocommit=True) as connection:
        register_vector(connection)
        yield connection
