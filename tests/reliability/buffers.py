"""With the fewest shared buffers that the server takes everything works: nothing holds many pages at once."""

from __future__ import annotations

import psycopg

from vector_testing.data import OPCLASSES, Data
from vector_testing.invariants import ALL, by_index, index_problems, run
from vector_testing.results import Score
from vector_testing.server import Server

ROWS = 1500


def works(score: Score, name: str, connection: psycopg.Connection, *statements: str) -> None:
    for statement in statements:
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            score.check(name, False, f"{statement[:60]}: {error}")
            return
    score.check(name, True)


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    settings = {"shared_buffers": "128kB", "max_connections": "20", "max_parallel_maintenance_workers": "2"}
    with Server(prefix, "buffers", settings) as server:
        connection = server.connect()
        data = Data(options.seed)
        run(
            connection,
            "CREATE EXTENSION vector",
            "CREATE TABLE t (id int, v vector(16), h halfvec(16), s sparsevec(48), b bit(64)) WITH (parallel_workers = 2)",
        )
        data.copy(connection, "t", 1, ROWS)
        run(connection, "CREATE UNLOGGED TABLE u AS SELECT id, v FROM t")
        for am in ams:
            kinds = ("v", "b") if options.rounds <= 3 else ("v", "h", "s", "b")
            for opclass in [o for o in OPCLASSES if o.am == am and o.operator in ("<->", "<~>") and o.column in kinds]:
                name = f"{am}: {opclass.name} with 16 shared buffers"
                works(
                    score,
                    f"{name}: a build",
                    connection,
                    f"CREATE INDEX i ON t USING {am} ({opclass.column} {opclass.name}){opclass.options}",
                )
                works(score, f"{name}: another", connection, "REINDEX INDEX i", "REINDEX INDEX CONCURRENTLY i")
                works(
                    score,
                    f"{name}: inserts",
                    connection,
                    f"INSERT INTO t SELECT id + {ROWS}, v, h, s, b FROM t WHERE id <= 300",
                )
                works(score, f"{name}: updates", connection, "UPDATE t SET id = id + 1000000 WHERE id % 50 = 1")
                works(score, f"{name}: a vacuum", connection, f"DELETE FROM t WHERE id > {ROWS}", "VACUUM t")
                by_index(connection, ALL[am])
                column = f"t.{opclass.column} {opclass.operator}"
                works(
                    score,
                    f"{name}: scans",
                    connection,
                    f"SELECT id FROM t ORDER BY {column} (SELECT {opclass.column} FROM t LIMIT 1)",
                )
                # A pin for each open scan is all that they may hold.
                works(
                    score,
                    f"{name}: nested scans",
                    connection,
                    f"SELECT count((SELECT id FROM t ORDER BY {column} a.{opclass.column} LIMIT 1)) FROM t a WHERE id <= 50",
                )
                run(connection, "RESET ALL")
                problems = index_problems(connection, am, "i")
                score.check(f"{name}: {am}_check finds nothing", not problems, problems)
                run(connection, "DROP INDEX i", "TRUNCATE t")
                data.copy(connection, "t", 1, ROWS)
            works(
                score,
                f"{am}: an index that is not logged, with 16 shared buffers",
                connection,
                f"CREATE INDEX ON u USING {am} (v vector_l2_ops)",
                "INSERT INTO u SELECT id, v FROM t LIMIT 50",
            )
            works(
                score,
                f"{am}: a build in two parts, with 16 shared buffers",
                connection,
                "SET maintenance_work_mem = '1MB'",
                f"CREATE INDEX ON t USING {am} (v vector_l2_ops){' WITH (lists = 5)' if am == 'ivfflat' else ''}",
            )
            run(connection, "RESET ALL", "DROP INDEX t_v_idx")
        connection.close()
        score.check("buffers: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
