"""What a build tells while it runs: pg_stat_progress_create_index, and the NOTICE when memory runs out."""

from __future__ import annotations

import threading
import time

from vector_testing.data import PLAIN, Data
from vector_testing.invariants import run
from vector_testing.results import Score
from vector_testing.server import Server, second

# pgvector's names, in the order in which they may appear.
PHASES = {
    "hnsw": ["initializing", "building index: initializing", "building index: loading tuples"],
    "ivfflat": [
        "initializing",
        "building index: initializing",
        "building index: performing k-means",
        "building index: assigning tuples",
        "building index: loading tuples",
    ],
}
# Long enough that a watcher cannot miss them.
MUST = {"hnsw": PHASES["hnsw"][2:], "ivfflat": PHASES["ivfflat"][2:]}
# Lists are loaded in a hundredth of a second per ten thousand rows: enough of them that a watcher sees the count move.
DOUBLED = {"hnsw": 0, "ivfflat": 3}
ROWS = 20000
OPTIONS = {"hnsw": " WITH (ef_construction = 200)", "ivfflat": " WITH (lists = 400)"}


def watch(server: Server, done: threading.Event, seen: list[tuple]) -> None:
    connection = server.connect()
    while not done.is_set():
        row = connection.execute(
            "SELECT command, phase, tuples_done, tuples_total, blocks_done, blocks_total FROM pg_stat_progress_create_index"
        ).fetchone()
        if row is not None and (not seen or seen[-1] != row):
            seen.append(row)
        time.sleep(0.001)
    connection.close()


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    with Server(prefix, "progress") as server:
        connection = server.connect()
        run(connection, "CREATE EXTENSION vector", "CREATE TABLE t (id int, v vector(96))")
        Data(options.seed, 96).copy(connection, "t", 1, ROWS, "v")
        run(connection, "ANALYZE t", "SET maintenance_work_mem = '256MB'")
        for am in ams:
            rows = ROWS << DOUBLED[am]
            run(connection, *["INSERT INTO t SELECT id, v FROM t"] * DOUBLED[am])
            done, seen = threading.Event(), []
            watcher = threading.Thread(target=watch, args=(server, done, seen))
            watcher.start()
            try:
                run(connection, f"CREATE INDEX i ON t USING {am} (v {PLAIN[am].name}){OPTIONS[am]}")
            finally:
                done.set()
                watcher.join()
            phases = list(dict.fromkeys(row[1] for row in seen))
            score.check(
                f"{am}: phases are known ones, in order",
                phases == [phase for phase in PHASES[am] if phase in phases],
                phases,
            )
            score.check(f"{am}: the long phases are seen", all(phase in phases for phase in MUST[am]), phases)
            loading = [row[2] for row in seen if row[1] == MUST[am][-1]]
            score.check(
                f"{am}: counted tuples only grow",
                loading == sorted(loading) and len(set(loading)) > 3,
                f"{len(set(loading))} values, from {loading[:1]} to {loading[-1:]}",
            )
            totals = {row[3] for row in seen if row[2]}
            score.check(
                f"{am}: never more tuples done than there are",
                all(row[2] <= max(row[3], rows) for row in seen),
                f"totals {sorted(totals)}",
            )
            run(connection, "DROP INDEX i")
        if "hnsw" in ams:
            notices: list = []
            connection.add_notice_handler(
                lambda notice: notices.append(
                    (notice.severity, notice.message_primary, notice.message_detail, notice.message_hint)
                )
            )
            run(
                connection,
                "SET maintenance_work_mem = '2MB'",
                "CREATE TABLE few AS SELECT * FROM t WHERE id <= 4000 LIMIT 4000",
                "CREATE INDEX ON few USING hnsw (v vector_l2_ops)",
            )
            words = [
                notice
                for notice in notices
                if notice[1].startswith("hnsw graph no longer fits into maintenance_work_mem after ")
                and notice[1].endswith(" tuples")
            ]
            score.check(
                "hnsw: one NOTICE when the graph outgrows maintenance_work_mem",
                len(words) == 1 and len(notices) == 1 and words[0][0] == "NOTICE",
                notices,
            )
            if words:
                score.check(
                    "hnsw: it tells what to do",
                    words[0][2:]
                    == (
                        "Building will take significantly more time."
                        if not second()
                        else "The index is built in parts, from temporary files.",
                        "Increase maintenance_work_mem to speed up builds.",
                    ),
                    words[0][2:],
                )
        connection.close()
        score.check("progress: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
