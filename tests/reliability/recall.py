"""Recall of every operator class after a build, inserts, a delete with vacuum, and inserts into what vacuum freed."""

from __future__ import annotations

from vector_testing.data import COLUMNS, OPCLASSES, Data
from vector_testing.invariants import invariants, run
from vector_testing.results import Score
from vector_testing.server import Server


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    with Server(prefix, "recall") as server:
        connection = server.connect()
        run(connection, "CREATE EXTENSION vector")
        for opclass in OPCLASSES:
            if opclass.am not in ams:
                continue
            data = Data(options.seed)
            name = f"{opclass.am} {opclass.name}"
            run(connection, "DROP TABLE IF EXISTS t", f"CREATE TABLE t ({COLUMNS})")
            data.copy(connection, "t", 1, 2000)
            run(
                connection, f"CREATE INDEX i ON t USING {opclass.am} ({opclass.column} {opclass.name}){opclass.options}"
            )
            invariants(score, f"{name}, built", connection, data, opclass)
            data.copy(connection, "t", 2001, 1000)
            invariants(score, f"{name}, inserted", connection, data, opclass)
            run(connection, "DELETE FROM t WHERE id % 5 < 2", "VACUUM t")
            invariants(score, f"{name}, deleted and vacuumed", connection, data, opclass)
            size = connection.execute("SELECT pg_relation_size('i')").fetchone()[0]
            data.copy(connection, "t", 3001, 1200)
            invariants(score, f"{name}, inserted after vacuum", connection, data, opclass)
            grown = connection.execute("SELECT pg_relation_size('i')").fetchone()[0] / size
            score.check(
                f"{name}, what vacuum freed is used again", grown < 1.35, f"the index grew to {grown:.2f} of its size"
            )
        connection.close()
        score.check("recall: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
