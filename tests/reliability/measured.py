"""Recall as vector_index_recall tells it, against one computed here from the rows; the setting that vector_index_tune
names, tried; what either leaves behind when it is cancelled, and what others see meanwhile; advice beside a damaged
index.
"""

from __future__ import annotations

import threading
import time

import numpy as np
import psycopg

from vector_testing.data import Data
from vector_testing.invariants import run
from vector_testing.results import Score
from vector_testing.server import Server

ROWS, K = 2000, 10


def l1(values: np.ndarray, query: np.ndarray) -> np.ndarray:
    return np.abs(values - query).sum(axis=1)


def l2(values: np.ndarray, query: np.ndarray) -> np.ndarray:
    return np.sqrt(((values - query) ** 2).sum(axis=1))


def inner_product(values: np.ndarray, query: np.ndarray) -> np.ndarray:
    return -(values @ query)


def cosine(values: np.ndarray, query: np.ndarray) -> np.ndarray:
    return 1 - values @ query / np.linalg.norm(values, axis=1) / np.linalg.norm(query)


# access method, indexed expression, condition, operator class, operator, distance, setting that gives middling recall
CASES = [
    ("hnsw", "v", "", "vector_l2_ops", "<->", l2, "hnsw.ef_search = 10"),
    ("hnsw", "v", "", "vector_cosine_ops", "<=>", cosine, "hnsw.ef_search = 12"),
    ("hnsw", "v", "id % 2 = 0", "vector_ip_ops", "<#>", inner_product, "hnsw.ef_search = 10"),
    ("hnsw", "(h::halfvec(16))", "", "halfvec_l1_ops", "<+>", l1, "hnsw.ef_search = 10"),
    ("hnsw", "s", "", "sparsevec_l2_ops", "<->", l2, "hnsw.ef_search = 10"),
    ("hnsw", "b", "", "bit_hamming_ops", "<~>", l1, "hnsw.ef_search = 10"),
    ("ivfflat", "v", "", "vector_l2_ops", "<->", l2, "ivfflat.probes = 2"),
    ("ivfflat", "b", "", "bit_hamming_ops", "<~>", l1, "ivfflat.probes = 3"),
]
COLUMNS = "id int, v vector(16), h halfvec(16), s sparsevec(48), b bit(64)"


def numbers(text: str) -> np.ndarray:
    if text.startswith("{"):
        body, _, dims = text[1:].partition("}/")
        value = np.zeros(int(dims))
        for pair in filter(None, body.split(",")):
            place, _, number = pair.partition(":")
            value[int(place) - 1] = float(number)
        return value
    return np.array(
        [float(x) for x in text.strip("[]").split(",")] if text.startswith("[") else [float(c) for c in text]
    )


def computed(connection: psycopg.Connection, expression: str, where: str, operator: str, distance) -> float:
    """Of every row that the index holds, asked as a query."""
    rows = connection.execute(f"SELECT id, {expression}::text FROM t {where}").fetchall()
    ids, values = [row[0] for row in rows], np.array([numbers(row[1]) for row in rows])
    place = {number: at for at, number in enumerate(ids)}
    run(connection, "SET enable_seqscan = off")
    shares = []
    for at, number in enumerate(ids):
        question = f"SELECT id FROM t {where} ORDER BY {expression} {operator} (SELECT {expression} FROM t WHERE id = {number}) LIMIT {K}"
        found = [place[row[0]] for row in connection.execute(question)]
        distances = distance(values, values[at])
        bound = np.sort(distances)[K - 1]
        shares.append(sum(distances[row] <= bound + 1e-5 * (1 + abs(bound)) for row in found) / K)
    run(connection, "RESET enable_seqscan")
    return float(np.mean(shares))


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    with Server(prefix, "measured", {"max_parallel_maintenance_workers": "0", "autovacuum": "off"}) as server:
        connection = server.connect()
        run(connection, "CREATE EXTENSION vector", f"CREATE TABLE t ({COLUMNS})")
        Data(options.seed).copy(connection, "t", 1, ROWS)
        run(
            connection,
            "CREATE INDEX t_id ON t (id)",
            "ANALYZE t",
            "SELECT '[1]'::vector",
            "SET hnsw.build_seed = 7",
            "SET ivfflat.build_seed = 7",
        )
        for am, expression, condition, opclass, operator, distance, setting in CASES:
            if am not in ams:
                continue
            where = f"WHERE {condition}" if condition else ""
            parameters = "m = 2, ef_construction = 6" if am == "hnsw" else "lists = 20"
            run(
                connection,
                "DROP INDEX IF EXISTS i",
                f"CREATE INDEX i ON t USING {am} ({expression} {opclass}) WITH ({parameters}) {where}",
                f"SET {setting}",
            )
            truth = computed(connection, expression, where, operator, distance)
            # the sample is drawn by random(), from here on the same each time
            run(connection, "SELECT setseed(0.5)")
            told, low, high, measured = connection.execute(
                f"SELECT recall, recall_low, recall_high, measured FROM vector_index_recall('i', {K}, 400)"
            ).fetchone()
            name = f"{am} {opclass}"
            score.check(
                f"{name}: the interval holds the recall of all rows",
                low <= truth <= high and measured == 400,
                f"{truth:.4f}, told {told:.4f} of {low:.4f} to {high:.4f}",
            )
            score.check(
                f"{name}: the sample is worth a narrow interval, and recall is no round number",
                high - low < 0.12 and 0.1 < truth < 0.999,
                f"{truth:.4f}, {high - low:.4f}",
            )
        if "hnsw" in ams:
            run(
                connection,
                "DROP INDEX i",
                "CREATE INDEX i ON t USING hnsw (v vector_l2_ops) WITH (m = 4, ef_construction = 20)",
            )
            tuned(score, connection)
            cancelled(score, server, connection)
            watched(score, server, connection)
            damaged(score, server)
        connection.close()
        score.check("measured: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])


def tuned(score: Score, connection: psycopg.Connection) -> None:
    run(connection, "SELECT setseed(0.25)")
    tried = connection.execute(f"SELECT value, recall, chosen FROM vector_index_tune('i', 0.9, {K}, 300)").fetchall()
    (value, told) = next((row[0], row[1]) for row in tried if row[2])
    worse = [row for row in tried if row[0] < value and row[1] >= 0.9]
    score.check("tune: no smaller setting that was tried reaches it", told >= 0.9 and not worse, tried)
    run(connection, f"SET hnsw.ef_search = {value}")
    truth = computed(connection, "v", "", "<->", l2)
    score.check(
        "tune: the setting gives about the recall that was told",
        abs(truth - told) < 0.03,
        f"ef_search = {value}: {told:.4f}, of all rows {truth:.4f}",
    )


def cancelled(score: Score, server: Server, connection: psycopg.Connection) -> None:
    """In a transaction that goes on after the error, no setting and no hidden index is left."""
    settings = [
        "enable_seqscan",
        "enable_sort",
        "enable_bitmapscan",
        "plan_cache_mode",
        "jit",
        "hnsw.ef_search",
        "search_path",
    ]
    show = f"SELECT {', '.join(f'''current_setting('{name}')''' for name in settings)}"
    # again and again, so that the cancel comes while one of them runs, however fast that is
    for call in ("vector_index_recall('i', 10, 10000 + 0 * g)", "vector_index_tune('i', 0.99, 10, 10000 + 0 * g)"):
        before = connection.execute(show).fetchone()
        run(connection, "BEGIN", "SAVEPOINT s")
        timer = threading.Timer(1.0, connection.cancel)
        timer.start()
        began, error = time.monotonic(), ""
        try:
            connection.execute(f"SELECT count(*) FROM generate_series(1, 100000) g, {call}").fetchone()
        except psycopg.errors.QueryCanceled as canceled:
            error = str(canceled)
        took = time.monotonic() - began
        timer.cancel()
        run(connection, "ROLLBACK TO s")
        after = connection.execute(show).fetchone()
        plan = connection.execute("EXPLAIN SELECT * FROM t WHERE id = 3").fetchone()[0]
        run(connection, "COMMIT")
        score.check(f"{call}: cancelled, at once", bool(error) and took < 4, f"{took:.1f} s {error}")
        score.check(
            f"{call}: leaves settings and indexes as they were",
            before == after and "t_id" in plan,
            f"{before}, {after}, {plan}",
        )


def watched(score: Score, server: Server, connection: psycopg.Connection) -> None:
    """While a long function runs, pg_stat_activity says how far it is, and afterwards has the query again."""
    watcher, seen = server.connect(), set()
    look = f"SELECT query FROM pg_stat_activity WHERE pid = {connection.info.backend_pid}"
    for name, call in (
        ("vector_index_recall", "vector_index_recall('i', 10, 8000)"),
        ("vector_index_tune", "vector_index_tune('i', 0.99, 10, 3000)"),
    ):
        query = f"SELECT count(*) FROM {call}"
        thread = threading.Thread(target=connection.execute, args=(query,))
        thread.start()
        texts = set()
        while thread.is_alive():
            texts.add(watcher.execute(look).fetchone()[0])
            time.sleep(0.01)
        thread.join()
        told = {text for text in texts if text.startswith(f"/* {name}: ") and text.endswith(f"*/ {query}")}
        after = watcher.execute(look).fetchone()[0]
        # a fast machine is past most of them between two looks
        score.check(f"{name}: is seen at work", len(told) > 0, f"{len(told)} of {len(texts)} texts")
        score.check(f"{name}: leaves the query's text", after == query, after)
        seen |= told
    setting = [text for text in seen if "hnsw.ef_search = " in text]
    score.check("vector_index_tune: says which setting is tried", bool(setting), setting[:1])
    watcher.close()


def damaged(score: Score, server: Server) -> None:
    """An index that cannot be read is something to be told, and keeps nobody from the rest of the advice."""
    connection = server.connect()
    run(
        connection,
        "CREATE TABLE u AS SELECT id, v FROM t",
        "CREATE INDEX j ON u USING hnsw (v vector_l2_ops)",
        "CREATE INDEX k ON u USING hnsw (v vector_cosine_ops)",
        "ANALYZE u",
        "CHECKPOINT",
    )
    paths = [connection.execute(f"SELECT pg_relation_filepath('{name}')").fetchone()[0] for name in "jk"]
    connection.close()
    server.stop()
    for path, start in zip(paths, (8192 + 4096, 24)):
        content = bytearray((server.base / "data" / path).read_bytes())
        # tuples of the first page, and the meta page
        content[start : start + 16] = bytes([0x77] * 16)
        if start > 8192:
            content[8192 + 4096 : 16384 - 8] = bytes([0x77] * (4096 - 8))
        (server.base / "data" / path).write_bytes(content)
    server.start()
    connection = server.connect()
    advice = connection.execute("SELECT index::text, action, why FROM vector_advice()").fetchall()
    told = {row[0]: row for row in advice}
    for name in "jk":
        row = told.get(name, ("", "", ""))
        score.check(f"advice: index {name} is damaged", row[1] == "reindex" and "it is damaged (" in row[2], row)
    score.check("advice: says something of the other index", told.get("i", ("", "reindex"))[1] != "reindex", told)
    # in a transaction that goes on
    run(connection, "BEGIN")
    connection.execute("SELECT * FROM vector_advice()").fetchall()
    run(connection, "INSERT INTO u SELECT 9, NULL", "COMMIT")
    run(connection, "REINDEX INDEX j", "REINDEX INDEX k")
    healed = {row[0]: row[1] for row in connection.execute("SELECT index::text, action FROM vector_advice()")}
    score.check("advice: nothing is damaged after REINDEX", healed.get("j") == healed.get("k") != "reindex", healed)
    connection.close()
