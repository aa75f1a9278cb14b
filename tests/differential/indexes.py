"""Live indexes on disk: a data directory with an hnsw and an ivfflat index of every operator class goes from one
library to the other and back, and each inserts, updates, deletes and vacuums in turn. Every time, exact search says
what the index must find.
"""

from __future__ import annotations

import psycopg

from differential.compare import Score
from vector_testing.cluster import Cluster
from vector_testing.data import COLUMNS, OPCLASSES, Data
from vector_testing.invariants import invariants
from vector_testing.invariants import run as execute

DATABASE = "indexes"
ROWS = 1000


def connect(cluster: Cluster, database: str = DATABASE) -> psycopg.Connection:
    # pgvector reads its own pages only, whichever layouts indexes of this run are to have; it knows no such settings
    layouts = " ".join(f"-c {name}=pgvector" for name in cluster.settings if name.endswith("default_layout"))
    return psycopg.connect(cluster.conninfo(database), autocommit=True, prepare_threshold=None, options=layouts)


def table(number: int) -> str:
    return f"t{number}"


def examine(cluster: Cluster, score: Score, name: str, data: Data) -> None:
    with connect(cluster) as connection:
        for number, opclass in enumerate(OPCLASSES):
            invariants(
                score,
                f"{name}, {opclass.am} {opclass.name}",
                connection,
                data,
                opclass,
                table(number),
                f"i{number}",
                asked=10,
                anchored=False,
            )


def make(cluster: Cluster, data: Data) -> None:
    with connect(cluster, "postgres") as admin:
        execute(admin, f"CREATE DATABASE {DATABASE}")
    with connect(cluster) as connection:
        execute(connection, "CREATE EXTENSION vector", f"CREATE TABLE source ({COLUMNS})")
        data.copy(connection, "source", 1, ROWS)
        for number, opclass in enumerate(OPCLASSES):
            t = table(number)
            execute(
                connection,
                f"CREATE TABLE {t} ({COLUMNS})",
                f"INSERT INTO {t} SELECT * FROM source WHERE id <= {ROWS * 7 // 10}",
                f"CREATE INDEX i{number} ON {t} USING {opclass.am} ({opclass.column} {opclass.name}){opclass.options}",
                f"INSERT INTO {t} SELECT * FROM source WHERE id > {ROWS * 7 // 10}",
                f"DELETE FROM {t} WHERE id % 10 = 3",
                f"VACUUM {t}",
            )


def change(cluster: Cluster, data: Data, turn: int) -> None:
    """Inserts into free space and beyond, duplicates, updates, deletes of what this and the other library wrote."""
    first = 100000 * (turn + 1)
    with connect(cluster) as connection:
        execute(connection, "TRUNCATE source")
        data.copy(connection, "source", first, 400)
        for number in range(len(OPCLASSES)):
            t = table(number)
            execute(
                connection,
                f"INSERT INTO {t} SELECT * FROM source WHERE id % 2 = 0",
                f"INSERT INTO {t} SELECT id + 50000, v, h, s, b FROM source, generate_series(1, 12) WHERE id = {first + 2}",
                f"UPDATE {t} SET id = id + 1 WHERE id % 9 = {turn}",
                f"UPDATE {t} SET v = x.v, h = x.h, s = x.s, b = x.b FROM source x WHERE {t}.id % 11 = {turn} AND x.id = {first} + {t}.id % 400",
                f"DELETE FROM {t} WHERE id % 6 = {turn}",
                f"VACUUM {t}",
                f"INSERT INTO {t} SELECT * FROM source WHERE id % 2 = 1",
                f"DELETE FROM {t} WHERE id % 17 = {turn}",
            )


def renumber(cluster: Cluster) -> None:
    """The invariants tell rows apart by id."""
    with connect(cluster) as connection:
        for number in range(len(OPCLASSES)):
            t = table(number)
            execute(
                connection,
                f"UPDATE {t} SET id = n FROM (SELECT ctid AS place, row_number() OVER () AS n FROM {t}) x WHERE {t}.ctid = place",
            )


def update_and_back(cluster: Cluster, score: Score, name: str, data: Data) -> None:
    """With this project's own version of the extension, its checkers look too; pgvector gets back a version that it
    knows.
    """
    with connect(cluster) as connection:
        version, own = connection.execute(
            "SELECT extversion, default_version FROM pg_extension JOIN pg_available_extensions ON name = extname WHERE extname = 'vector'"
        ).fetchone()
        if own.startswith("0.") or version == own:
            return
        back = connection.execute(
            f"SELECT target FROM pg_extension_update_paths('vector') WHERE source = '{own}' AND target LIKE '0.8.%' AND path = source || '--' || target"
        ).fetchone()
        execute(connection, "ALTER EXTENSION vector UPDATE")
    examine(cluster, score, f"{name}, updated", data)
    with connect(cluster) as connection:
        execute(connection, f"ALTER EXTENSION vector UPDATE TO '{back[0]}'")


def run(writer: Cluster, reader: Cluster, score: Score, who: str) -> None:
    """`writer` builds; the reader's server and the writer's take turns on copies of the directory."""
    data = Data(11)
    make(writer, data)
    examine(writer, score, f"indexes of {who}", data)
    writer.stop()
    last = writer
    copies: list[Cluster] = []
    try:
        for turn, side in enumerate((reader, writer, reader)):
            copy = Cluster(side.prefix, f"turn{turn}", side.settings)
            copies.append(copy)
            copy.copy_data_of(last)
            copy.start()
            name = f"indexes of {who}, turn {turn + 1}"
            examine(copy, score, f"{name}, opened", data)
            change(copy, data, turn)
            renumber(copy)
            examine(copy, score, f"{name}, changed", data)
            update_and_back(copy, score, name, data)
            copy.stop()
            if last is not writer:
                last.remove()
            last = copy
    finally:
        for copy in copies:
            copy.remove()
        writer.start()
        with connect(writer, "postgres") as admin:
            execute(admin, f"DROP DATABASE {DATABASE}")
