"""What must hold of an index after anything: exact search says which rows it has to find."""

from __future__ import annotations

import psycopg

from vector_testing.data import Data, Opclass
from vector_testing.results import Score

# Everything that the index holds, nearest first.
ALL = {
    "hnsw": [
        "SET hnsw.iterative_scan = relaxed_order",
        "SET hnsw.max_scan_tuples = 2147483647",
        "SET hnsw.scan_mem_multiplier = 1000",
        "SET hnsw.ef_search = 200",
    ],
    "ivfflat": ["SET ivfflat.probes = 32768"],
}
FEW = {"hnsw": ["SET hnsw.iterative_scan = off", "SET hnsw.ef_search = 20"], "ivfflat": ["SET ivfflat.probes = 6"]}
# Recall of ten neighbours with FEW.
FLOOR = {"hnsw": 0.93, "ivfflat": 0.85}
# The share of rows that a scan over everything finds when pgvector's library makes it; ours finds all. By inner product
# short vectors are nobody's near neighbour, and graphs of pgvector lose some percent of them.
REACHED, REACHED_IP = 0.995, 0.93
# What the check says of rows that only the pass over the pages finds: possible where pgvector's library changed the
# graph.
UNREACHED = ("out of reach", "a descent can end")


def run(connection: psycopg.Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


def by_index(connection: psycopg.Connection, settings: list[str]) -> None:
    run(
        connection,
        "SET enable_indexscan = on",
        "SET enable_indexonlyscan = off",
        "SET enable_seqscan = off",
        *settings,
    )


def by_table(connection: psycopg.Connection) -> None:
    run(connection, "SET enable_indexscan = off", "SET enable_seqscan = on")


def is_ours(connection: psycopg.Connection) -> bool:
    """Whether the library is this project's, whatever the catalog says."""
    connection.execute("SELECT '[1]'::vector")
    return connection.execute("SELECT current_setting('hnsw.build_seed', true)").fetchone()[0] is not None


def index_problems(connection: psycopg.Connection, am: str, index: str, anchored: bool = True) -> list[str] | None:
    """What the extension's own checker says; None where there is none. `anchored`: pgvector's library did not touch the
    index.
    """
    if connection.execute(f"SELECT to_regprocedure('{am}_check(regclass, boolean)')").fetchone()[0] is None:
        return None
    try:
        problems = [str(row) for row in connection.execute(f"SELECT * FROM {am}_check('{index}', true)").fetchall()]
    except psycopg.errors.UndefinedFunction:
        # The catalog is this project's, the library is not.
        return None
    return [problem for problem in problems if anchored or not any(words in problem for words in UNREACHED)]


def exact(
    score: Score,
    name: str,
    connection: psycopg.Connection,
    opclass: Opclass,
    wanted: set[int],
    table: str = "t",
    index: str = "i",
) -> bool:
    """A scan by index that nothing limits returns exactly these rows, each once; the checker has nothing to say."""
    query = connection.execute(f"SELECT {opclass.column}::text FROM {table} WHERE id >= 0 LIMIT 1").fetchone()
    if query is None:
        return score.check(f"{name}: exactly the rows that are there", not wanted, f"none of {len(wanted)}")
    by_index(connection, [*ALL["hnsw"], *ALL["ivfflat"]])
    # of several indexes on one column the planner may like another better
    others = connection.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass AND indexrelid <> %s::regclass",
        (table, index),
    ).fetchall()
    with connection.transaction(force_rollback=True):
        for (other,) in others:
            connection.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{other}'::regclass")
        question = f"SELECT id FROM {table} ORDER BY {opclass.column} {opclass.operator} '{query[0]}'"
        plan = connection.execute(f"EXPLAIN (COSTS OFF) {question}").fetchall()
        found = [row[0] for row in connection.execute(question)]
    run(connection, "RESET ALL")
    missing, extra = wanted - set(found), set(found) - wanted
    # the checker waits for everybody who may write
    prepared = connection.execute("SELECT count(*) FROM pg_prepared_xacts").fetchone()[0]
    problems = [] if prepared else index_problems(connection, opclass.am, index) or []
    by_its_index = f"Index Scan using {index} " in plan[0][0]
    ok = by_its_index and not missing and not extra and len(found) == len(set(found)) and not problems
    detail = (
        len(found)
        if ok
        else f"{plan[0][0]}: {len(missing)} of {len(wanted)} missing ({sorted(missing)[:5]}), {len(extra)} unknown, {len(found) - len(set(found))} twice; {'; '.join(problems[:3])}"
    )
    return score.check(f"{name}: exactly the rows that are there", ok, detail)


def recall(
    connection: psycopg.Connection, table: str, opclass: Opclass, queries: list[str], count: int = 10, where: str = ""
) -> float:
    """Of the `count` nearest; a row as near as the last of them counts too, so that ties do not matter."""
    asked = found = 0
    for query in queries:
        distance = f"{opclass.column} {opclass.operator} '{query}'"
        question = f"SELECT {distance} FROM {table} {where} ORDER BY {distance} LIMIT {count}"
        by_table(connection)
        exact = [row[0] for row in connection.execute(question)]
        if not exact:
            continue
        by_index(connection, FEW[opclass.am])
        got = [row[0] for row in connection.execute(question)]
        # Half precision and float4 sums: the index may see the same distance a little differently.
        limit = exact[-1] + 1e-4 * (1 + abs(exact[-1]))
        asked += len(exact)
        found += min(len(exact), sum(d <= limit for d in got))
    return found / asked if asked else 1.0


def matching(
    connection: psycopg.Connection, opclass: Opclass, table: str, query: str, wanted: set[int]
) -> tuple[bool, str]:
    """Whether ranges of the filter column that is the row's number find exactly these rows, each once, and what is
    wrong. Few lists and short queues must do.
    """
    ids = sorted(wanted)
    by_index(connection, [*FEW[opclass.am], "SET enable_sort = off", "SET enable_bitmapscan = off"])
    for share in (1, 7, 200):
        some = ids[len(ids) // 3 :][: max(1, len(ids) // share)]
        if not some:
            continue
        order = f"ORDER BY {opclass.column} {opclass.operator} '{query}'"
        question = f"SELECT id FROM {table} WHERE id BETWEEN {some[0]} AND {some[-1]} {order}"
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN (COSTS OFF) {question}"))
        if "Order By" not in plan or "Index Cond" not in plan:
            return False, plan
        found = [row[0] for row in connection.execute(question)]
        if sorted(found) != some:
            missing, extra, twice = set(some) - set(found), set(found) - set(some), len(found) - len(set(found))
            return False, f"{len(missing)} of {len(some)} missing, {len(extra)} unknown, {twice} twice"
    return True, ""


def invariants(
    score: Score,
    name: str,
    connection: psycopg.Connection,
    data: Data,
    opclass: Opclass,
    table: str = "t",
    index: str = "i",
    floor: float | None = None,
    asked: int = 20,
    anchored: bool = True,
) -> None:
    """Through exact search: every row found, none twice, near ones first; and the checker's word where there is one.
    `anchored`: pgvector's library did not touch the index.
    """
    column, operator = opclass.column, opclass.operator
    queries = [data.text(row, column) for row in data.rows(asked)]
    by_table(connection)
    wanted = {row[0] for row in connection.execute(f"SELECT id FROM {table} WHERE {column} IS NOT NULL")}
    by_index(connection, ALL[opclass.am])
    question = f"SELECT id FROM {table} ORDER BY {column} {operator} '{queries[0]}'"
    plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN (COSTS OFF) {question}"))
    if not score.check(
        f"{name}: the plan uses the index",
        f"Index Scan using {index} " in plan,
        plan if "Index Scan" not in plan else "",
    ):
        return
    seen = [row[0] for row in connection.execute(question)]
    missing, extra = wanted - set(seen), set(seen) - wanted
    share = 1 - len(missing) / max(1, len(wanted))
    reached = (
        1.0 if opclass.am == "ivfflat" or is_ours(connection) else REACHED_IP if opclass.operator == "<#>" else REACHED
    )
    score.check(
        f"{name}: no row twice, none that is not there",
        len(seen) == len(set(seen)) and not extra,
        f"{len(seen)} rows, {len(set(seen))} different, {len(extra)} unknown",
    )
    score.check(f"{name}: every row found", share >= reached, f"{len(missing)} of {len(wanted)} missing")
    keys = connection.execute("SELECT indnkeyatts FROM pg_index WHERE indexrelid = %s::regclass", (index,)).fetchone()
    if keys[0] > 1:
        score.check(f"{name}: conditions find what matches", *matching(connection, opclass, table, queries[0], wanted))
    got = recall(connection, table, opclass, queries)
    floor = FLOOR[opclass.am] if floor is None else floor
    score.check(f"{name}: recall", got >= floor, f"{got:.3f}, at least {floor}")
    problems = index_problems(connection, opclass.am, index, anchored)
    if problems is not None:
        score.check(f"{name}: {opclass.am}_check finds nothing", not problems, "; ".join(problems[:5]))
    run(connection, "RESET ALL")
