"""Orderings of two or three sessions that once broke pgvector, or that this project's own locks must stand: each is a
scripted schedule.

Where the build has fault points (src/pg/faults.rs) a session stops at a named step while others work; those schedules
are left out elsewhere. After each one a scan by index that nothing limits returns exactly the rows that are there.
"""

from __future__ import annotations

import threading
import time

import psycopg

from reliability.faults import POINTS, available
from reliability.stage import ANYWHERE, VACUUM, Stage, beside_writers, edges, entry_point
from vector_testing.data import PLAIN
from vector_testing.invariants import ALL, by_index, index_problems, run
from vector_testing.results import Score
from vector_testing.server import Server

# --- hnsw, at its steps -----------------------------------------------------------------------------------------------


def entry_point_replaced_while_a_vacuum_runs(stage: Stage) -> None:
    """A vacuum that remembers the entry point while inserts raise it would mark, or lead to, the wrong one."""
    for point in ("hnsw.vacuum.rows", "hnsw.vacuum.entry", "hnsw.vacuum.repaired", "hnsw.vacuum.confirmed"):
        stage.table(200, " WITH (m = 2, ef_construction = 8)")
        # one in a hundred begins so high that nothing rises above it
        while entry_point(stage)[2] > 9:
            stage.table(200, " WITH (m = 2, ef_construction = 8)")
        run(stage.main, "DELETE FROM t WHERE id % 4 <> 0")
        vacuum = stage.session()
        if not stage.check(
            f"a vacuum with much to do stops at {point}",
            vacuum.start(f"{point}:wait:1", VACUUM) == "stopped",
            vacuum.point,
        ):
            continue
        before, raised = entry_point(stage), False
        for _ in range(60):
            stage.insert(50)
            raised = entry_point(stage)[2] > before[2]
            if raised:
                break
        stage.check("inserts raised the entry point meanwhile", raised, f"{before} to {entry_point(stage)}")
        vacuum.go()
        stage.check(f"the vacuum ends well after {point}", vacuum.error is None, vacuum.error)
        stage.whole(f"entry point raised while a vacuum stood at {point}")
        run(stage.main, "DELETE FROM t WHERE id < 1000000", VACUUM)
        stage.whole(f"entry point raised while a vacuum stood at {point}, then only the younger rows left")


def temporary_indexes_of_others(stage: Stage) -> None:
    """What the catalog's functions ask of every index must not read another session's temporary one."""
    run(
        stage.reader,
        "CREATE TEMP TABLE other (v vector(3))",
        "CREATE INDEX other_i ON other USING hnsw (v vector_l2_ops) WITH (layout = inline)",
    )
    query = "SELECT pg_index_column_has_property(%s::oid, 1, 'returnable')"
    oid = stage.reader.execute("SELECT 'other_i'::regclass::oid").fetchone()[0]
    own = stage.reader.execute(query, (oid,)).fetchone()[0]
    try:
        others = stage.main.execute(query, (oid,)).fetchone()[0]
    except psycopg.Error as error:
        others = str(error)
    stage.check("a temporary index is asked for its properties by others", own is True and others is False, others)
    run(stage.reader, "DROP TABLE other")


def elements(stage: Stage) -> int:
    """Elements that are not marked, with rows or without."""
    found = stage.reader.execute("SELECT vector_index_info('i')").fetchone()[0]
    return found["elements"] + found["dying"]


def marking_waits_for_inserts(stage: Stage) -> None:
    """An insert that has read an element remembers it; nothing is marked until it is done."""
    for point in POINTS["hnsw.insert"]:
        stage.table()
        run(stage.main, "DELETE FROM t WHERE id % 2 = 0")
        insert, vacuum = stage.session(), stage.session()
        if not stage.check(
            f"an insert stops at {point}",
            insert.start(f"{point}:wait:1", f"INSERT INTO t VALUES {stage.values(1)}") == "stopped",
            insert.error,
        ):
            continue
        # places that are free, or marked
        before = elements(stage)
        vacuum.start("", VACUUM)
        marked = before - elements(stage)
        stage.check(
            f"a vacuum waits for an insert that stands at {point}",
            vacuum.busy and marked == 0,
            f"{'waiting' if vacuum.busy else 'ended'}, {marked} marked",
        )
        stage.check("scans go on meanwhile", stage.found() == stage.living())
        insert.go()
        vacuum.thread.join(60)
        stage.check(
            "both end well",
            insert.error is None and vacuum.error is None and not vacuum.busy,
            f"{insert.error} {vacuum.error}",
        )
        stage.whole(f"a vacuum beside an insert that stood at {point}")


def marking_waits_for_scans(stage: Stage) -> None:
    """A scan that stands between two batches, or in the pass over the pages, while what it remembers is marked and used
    anew.
    """
    for point in POINTS["hnsw.scan"]:
        for nth in (1, 3):
            stage.table()
            run(stage.main, "DELETE FROM t WHERE id % 3 = 0")
            wanted = stage.living()
            scan, vacuum = stage.session(), stage.session()
            by_index(scan.connection, [*ALL["hnsw"], "SET hnsw.ef_search = 20"])
            state = scan.start(f"{point}:wait:{nth}", f"SELECT id FROM t ORDER BY v <-> '{ANYWHERE}'")
            if state != "stopped":
                # The pass over the pages has few chunks in a small index.
                stage.check(
                    f"a scan of everything stops at {point}", nth > 1 and scan.error is None, scan.error or state
                )
                continue
            vacuum.start("", VACUUM)
            blocked = vacuum.busy
            if not blocked:
                stage.insert(150)
            scan.go()
            vacuum.thread.join(60)
            stage.check(
                "both end well",
                scan.error is None and vacuum.error is None and not vacuum.busy,
                f"{scan.error} {vacuum.error}",
            )
            found = sorted(row[0] for row in scan.rows)
            stage.check(
                f"a scan that stood at {point} returns what was there at its beginning",
                found == wanted,
                f"{len(found)} rows for {len(wanted)}; the vacuum {'waited' if blocked else 'passed'}",
            )
            stage.whole(f"after a scan that stood at {point}")


def deleted_tuples_of_an_earlier_vacuum(stage: Stage) -> None:
    """Pairs that an earlier vacuum marked are used by inserts while the next vacuum stands between its passes."""
    for point in POINTS["hnsw.vacuum"]:
        stage.table()
        run(stage.main, "DELETE FROM t WHERE id < 200", VACUUM, "DELETE FROM t WHERE id < 350")
        blocks = len(stage.pages())
        vacuum = stage.session()
        state = vacuum.start(f"{point}:wait:1", VACUUM)
        stage.insert(150)
        if state == "stopped":
            vacuum.go()
        stage.check(f"a vacuum that stands at {point} ends well", vacuum.error is None, vacuum.error or state)
        stage.check(
            "inserts took the places of the earlier vacuum",
            len(stage.pages()) <= blocks + 1,
            f"{blocks} blocks, then {len(stage.pages())}",
        )
        stage.whole(f"places of an earlier vacuum used while one stood at {point}")


def edges_once(stage: Stage) -> None:
    """Inserts and a vacuum's repair that give one list the same edge; and no repair misses what inserts did (`graph not
    repaired`).
    """
    stage.table(options=" WITH (m = 4, ef_construction = 40)")
    run(stage.main, "DELETE FROM t WHERE id % 2 = 0")
    vacuum = stage.session()
    stops, state = 0, vacuum.start("hnsw.vacuum.*:wait", VACUUM)
    while state == "stopped" and stops < 60:
        stops += 1
        stage.insert(6)
        state = vacuum.step()
    vacuum.go()
    stage.check(
        "a vacuum ends well with inserts at each of its steps",
        vacuum.error is None and stops > 5,
        vacuum.error or f"{stops} steps",
    )
    lists = edges(stage)
    if lists is None:
        stage.whole("no list has an edge twice")
        return
    twice = sum(len(set(slots)) != len(slots) for slots in lists)
    stage.check("no list has an edge twice", twice == 0 and len(lists) > 100, f"{twice} of {len(lists)}")
    stage.whole("inserts at each step of a vacuum")


def equal_rows_join_no_dying_element(stage: Stage) -> None:
    """A row whose value is that of an element which a vacuum has just emptied."""
    for point in POINTS["hnsw.vacuum"]:
        stage.table()
        value = stage.main.execute("SELECT v::text FROM t WHERE id = 7").fetchone()[0]
        run(stage.main, "DELETE FROM t WHERE id % 7 = 0")
        vacuum = stage.session()
        state = vacuum.start(f"{point}:wait:1", VACUUM)
        stage.next += 3
        run(stage.main, f"INSERT INTO t SELECT {stage.next} - n, '{value}' FROM generate_series(1, 3) n")
        if state == "stopped":
            vacuum.go()
        stage.check(f"a vacuum ends well after {point}", vacuum.error is None, vacuum.error or state)
        stage.whole(f"rows equal to dead ones inserted while a vacuum stood at {point}")


def equal_rows_inserted_at_once(stage: Stage) -> None:
    """Inserts of one value that stand in the middle together."""
    stage.table()
    value = stage.data.text(stage.data.rows(1)[0], "v")
    for point in POINTS["hnsw.insert"]:
        sessions = [stage.session() for _ in range(3)]
        for session in sessions:
            stage.next += 1
            session.start(f"{point}:wait:1", f"INSERT INTO t VALUES ({stage.next}, '{value}')")
        stage.next += 1
        run(stage.main, f"INSERT INTO t VALUES ({stage.next}, '{value}')")
        for session in reversed(sessions):
            session.go()
        for session in sessions:
            session.thread.join(60)
        stage.check(
            "all end well",
            all(session.error is None and not session.busy for session in sessions),
            [session.error for session in sessions],
        )
        stage.whole(f"equal rows whose inserts stood at {point} together")


# --- ivfflat, at its steps --------------------------------------------------------------------------------------------


def insert_while_a_vacuum_moves_the_insert_page(stage: Stage) -> None:
    """An insert that has written its entry and not yet moved its list's insert page, while a vacuum sets that page
    back; and the other way round.
    """
    stage.table(3000, " WITH (lists = 2)")
    run(stage.main, "DELETE FROM t WHERE id < 2000")
    insert = stage.session()
    # Enough rows that one of them needs a new page.
    state = insert.start("ivfflat.insert.entry:wait:1", f"INSERT INTO t VALUES {stage.values(200)}")
    vacuum = stage.session()
    stage.check(
        "a vacuum does not wait for an insert",
        vacuum.start("", VACUUM) == "idle" and vacuum.error is None,
        vacuum.error,
    )
    stage.insert(200)
    if state == "stopped":
        insert.go()
    stage.check("the insert ends well", insert.error is None, insert.error or state)
    stage.whole("a vacuum while an insert stood before its list's insert page")
    run(stage.main, "DELETE FROM t WHERE id % 2 = 0")
    steps, state = 0, vacuum.start("ivfflat.vacuum.page:wait", VACUUM)
    while state == "stopped" and steps < 200:
        steps += 1
        stage.insert(20)
        state = vacuum.step()
    vacuum.go()
    stage.check(
        "inserts at each page of a vacuum", vacuum.error is None and steps >= 5, vacuum.error or f"{steps} pages"
    )
    stage.whole("inserts at each page of a vacuum")


def scan_over_a_page_being_repacked(stage: Stage) -> None:
    """Scans that begin, go on and end while a vacuum stands between two pages and inserts fill its holes."""
    stage.table(3000, " WITH (lists = 4)")
    run(stage.main, "DELETE FROM t WHERE id % 2 = 0")
    wanted = stage.living()
    reader = stage.reader
    by_index(reader, ALL["ivfflat"])
    run(reader, "BEGIN", f"DECLARE before NO SCROLL CURSOR FOR SELECT id FROM t ORDER BY v <-> '{ANYWHERE}'")
    got = {"before": [row[0] for row in reader.execute("FETCH 40 FROM before")]}
    wants = {"before": wanted}
    vacuum = stage.session()
    steps, state = 0, vacuum.start("ivfflat.vacuum.page:wait", VACUUM)
    while state == "stopped" and steps < 200:
        steps += 1
        if steps in (2, 5, 9):
            name = f"at{steps}"
            wants[name] = stage.living()
            # A statement's snapshot is its own under READ COMMITTED.
            run(reader, f"DECLARE {name} NO SCROLL CURSOR FOR SELECT id FROM t ORDER BY v <-> '{ANYWHERE}'")
            got[name] = [row[0] for row in reader.execute(f"FETCH 40 FROM {name}")]
        stage.insert(15)
        state = vacuum.step()
        for name, rows in got.items():
            rows += [row[0] for row in reader.execute(f"FETCH 60 FROM {name}")]
    vacuum.go()
    stage.check("the vacuum ends well", vacuum.error is None and steps > 9, vacuum.error or f"{steps} pages")
    for name, rows in got.items():
        rows += [row[0] for row in reader.execute(f"FETCH ALL FROM {name}")]
        stage.check(
            f"a scan opened {name.replace('at', 'at page ')} returns what was there then",
            sorted(rows) == wants[name],
            f"{len(rows)} rows for {len(wants[name])}",
        )
    run(reader, "COMMIT")
    stage.whole("scans beside a vacuum that stands between pages")


# --- without steps ----------------------------------------------------------------------------------------------------


def cursor_open_over_a_vacuum(stage: Stage) -> None:
    """What a scan remembers is removed and its places used anew; nobody waits for the open cursor."""
    stage.table(1500)
    for hold in (False, True):
        run(stage.main, "DELETE FROM t WHERE id % 3 = 1")
        wanted = stage.living()
        reader = stage.reader
        by_index(reader, [*ALL[stage.am], "SET hnsw.ef_search = 20"])
        run(
            reader,
            "BEGIN",
            f"DECLARE c NO SCROLL CURSOR {'WITH HOLD ' if hold else ''}FOR SELECT id FROM t ORDER BY v <-> '{ANYWHERE}'",
        )
        found = [row[0] for row in reader.execute("FETCH 60 FROM c")]
        if hold:
            run(reader, "COMMIT")
        for _ in range(3):
            run(stage.main, VACUUM)
            stage.insert(120)
            found += [row[0] for row in reader.execute("FETCH 60 FROM c")]
        found += [row[0] for row in reader.execute("FETCH ALL FROM c")]
        run(reader, "CLOSE c" if hold else "COMMIT")
        stage.check(
            f"a cursor{' held over its commit' if hold else ''} over vacuums returns what was there at its beginning",
            sorted(found) == wanted,
            f"{len(found)} rows for {len(wanted)}",
        )
        stage.whole("after vacuums under a cursor")


def vacuum_waits_for_what_an_index_only_scan_returned(stage: Stage) -> None:
    """Whoever has a row's values from the index asks the table's visibility map next: until then no vacuum may remove
    rows from the page that named it, and so have the map say that all of them are visible. Neither may it remove the
    row's values of INCLUDE columns; ivfflat's packed lists have their pins there.
    """
    options, both = {"hnsw": ("layout = inline", True), "ivfflat": ("layout = packed, lists = 4", False)}[stage.am]
    for include, column in ((("", "v"),) if both else ()) + ((" INCLUDE (id)", "id"),):
        stage.table(400, f"{include} WITH ({options})")
        run(stage.main, "DELETE FROM t WHERE id % 8 <> 0")
        wanted = stage.living()
        query = f"SELECT {column} FROM t ORDER BY v <-> '{ANYWHERE}'"
        by_index(stage.reader, ALL[stage.am])
        run(stage.reader, "SET enable_indexonlyscan = on")
        plan = "\n".join(row[0] for row in stage.reader.execute(f"EXPLAIN {query}"))
        stage.check(f"a scan for {column} alone is an index-only scan", "Index Only Scan" in plan, plan)
        run(stage.reader, "BEGIN", f"DECLARE c CURSOR FOR {query}")
        found = stage.reader.execute("FETCH 1 FROM c").fetchall()
        with stage.server.connect() as connection:
            run(connection, "SET statement_timeout = '60s'")
            vacuum = threading.Thread(target=run, args=(connection, VACUUM))
            vacuum.start()
            waits, deadline = None, time.monotonic() + 30
            while vacuum.is_alive() and waits != "BufferPin" and time.monotonic() < deadline:
                pid = connection.info.backend_pid
                question = f"SELECT wait_event_type FROM pg_stat_activity WHERE pid = {pid}"
                row = stage.control.execute(question).fetchone()
                waits = row[0] if row else None
                time.sleep(0.01)
            stage.check(f"a vacuum waits for the row at hand, for {column}", waits == "BufferPin", waits)
            found += stage.reader.execute("FETCH ALL FROM c").fetchall()
            run(stage.reader, "COMMIT")
            vacuum.join(60)
            stage.check(f"and ends when the scan for {column} has", not vacuum.is_alive())
        stage.check(
            f"the scan for {column} returned all rows", len(found) == len(wanted), f"{len(found)} for {len(wanted)}"
        )
        if include:
            stage.check("with their ids", sorted(row[0] for row in found) == wanted)
        stage.whole(f"after a vacuum beside an index-only scan for {column}")


def insert_page_does_not_rewind(stage: Stage) -> None:
    """After a vacuum whose free places fit nothing, inserts do not walk the index from there each time."""
    run(
        stage.main,
        "DROP TABLE IF EXISTS t",
        "CREATE TABLE t (id int, v sparsevec(2000))",
        "SELECT setseed(0.3)",
        "SET client_min_messages = warning",
    )
    flush = stage.main.execute("SELECT count(*) FROM pg_proc WHERE proname = 'pg_stat_force_next_flush'").fetchone()[0]

    def rows(first: int, count: int, width: int) -> str:
        return f"INSERT INTO t SELECT {first} + n, (SELECT '{{' || string_agg(d || ':' || 0.5 + random() + n * 0, ',' ORDER BY d) || '}}/2000' FROM generate_series(1, {width}) d)::sparsevec FROM generate_series(1, {count}) n"

    def blocks_seen() -> int:
        # Before PostgreSQL 15 statistics arrive when they like.
        run(stage.main, "SELECT pg_stat_force_next_flush()" if flush else "SELECT pg_sleep(1.5)", "SELECT 1")
        if not flush:
            time.sleep(1)
        return stage.control.execute(
            "SELECT idx_blks_read + idx_blks_hit FROM pg_statio_user_tables WHERE relname = 't'"
        ).fetchone()[0]

    def touched() -> float:
        """Index blocks that one insert looks at."""
        before = blocks_seen()
        for number in range(20):
            run(stage.main, rows(100_000 + number, 1, 120))
        return (blocks_seen() - before) / 20

    # Small elements between large ones, on many pages.
    run(stage.main, "CREATE INDEX i ON t USING hnsw (v sparsevec_l2_ops) WITH (m = 4, ef_construction = 8)")
    for part in range(8):
        run(stage.main, rows(part * 1000, 60, 3), rows(part * 1000 + 500, 250, 110))
    blocks = len(stage.pages())
    before = touched()
    run(stage.main, "DELETE FROM t WHERE id % 1000 < 500 AND id < 100000", VACUUM)
    after = touched()
    stage.check(
        "inserts after a vacuum do not walk the index",
        after <= before * 1.5 + 24 and blocks > 200,
        f"{before:.0f} blocks an insert before, {after:.0f} after, of {blocks}",
    )
    wanted = stage.main.execute("SELECT count(*) FROM t").fetchone()[0]
    by_index(stage.reader, ALL["hnsw"])
    found = [row[0] for row in stage.reader.execute("SELECT id FROM t ORDER BY v <-> '{1:1}/2000'")]
    stage.check("every row found after them", len(found) == wanted, f"{len(found)} of {wanted}")


def create_index_concurrently_beside_writers(stage: Stage) -> None:
    stage.table(3000)
    run(stage.main, "DROP INDEX i")
    options = PLAIN[stage.am].options
    problems = beside_writers(
        stage,
        3,
        0.3,
        lambda: run(stage.main, f"CREATE INDEX CONCURRENTLY i ON t USING {stage.am} (v vector_l2_ops){options}"),
    )
    stage.check("writers beside CREATE INDEX CONCURRENTLY met no error", not problems, problems[:2])
    stage.whole("CREATE INDEX CONCURRENTLY beside writers")


def reindex_concurrently_beside_writers(stage: Stage) -> None:
    stage.table(2000)

    def body() -> None:
        for _ in range(2):
            run(stage.main, "REINDEX INDEX CONCURRENTLY i")

    problems = beside_writers(stage, 3, 0.2, body)
    stage.check("writers beside REINDEX CONCURRENTLY met no error", not problems, problems[:2])
    left = stage.main.execute("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass").fetchone()[0]
    stage.check("REINDEX CONCURRENTLY leaves one index", left == 1, left)
    stage.whole("REINDEX CONCURRENTLY beside writers")


def vacuum_on_several_workers(stage: Stage) -> None:
    """VACUUM (PARALLEL) gives each index to a process of its own."""
    stage.table(2000)
    other = {"hnsw": "ivfflat", "ivfflat": "hnsw"}[stage.am]
    run(
        stage.main,
        f"CREATE INDEX j ON t USING {other} (v vector_cosine_ops)",
        "CREATE INDEX k ON t USING hnsw ((v::halfvec(16)) halfvec_l2_ops)",
        "SET min_parallel_index_scan_size = 0",
    )

    def body() -> None:
        for part in range(4):
            run(stage.main, f"DELETE FROM t WHERE id < 3000 AND id % 4 = {part} AND id > 40", "VACUUM (PARALLEL 3) t")

    problems = beside_writers(stage, 2, 0.1, body)
    stage.check("writers beside VACUUM (PARALLEL 3) met no error", not problems, problems[:2])
    run(stage.main, "DROP INDEX j, k")
    stage.whole("VACUUM (PARALLEL 3) beside writers")


def first_rows_of_an_empty_index(stage: Stage) -> None:
    """Eight sessions insert into an index that has no entry point yet."""
    lost = []
    for attempt in range(10):
        stage.table(0)
        ready = threading.Barrier(8)
        values = [stage.values(2) for _ in range(8)]

        def work(number: int) -> None:
            with stage.server.connect() as connection:
                run(connection, "LOAD 'vector'")
                ready.wait()
                run(connection, f"INSERT INTO t VALUES {values[number]}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if stage.found() != stage.living() or index_problems(stage.reader, stage.am, "i"):
            lost.append(f"attempt {attempt}: {len(stage.found())} of {len(stage.living())}")
    stage.check("eight sessions insert the first rows of an empty index", not lost, lost[:3])


def inserts_extend_one_list_together(stage: Stage) -> None:
    """Pages that several sessions add to one chain at once."""
    stage.table(200, " WITH (lists = 1)")
    problems = beside_writers(stage, 6, 0.8, lambda: None, rows=60)
    stage.check("writers of one list met no error", not problems, problems[:2])
    stage.whole("six sessions that add pages to one list")


def sampling_passes_over_dead_rows(stage: Stage) -> None:
    """Centres are of rows that live. CREATE INDEX CONCURRENTLY passes over dead ones also while an old snapshot keeps
    them in the table; without CONCURRENTLY these are in the index, too.
    """
    for concurrently in (False, True):
        run(
            stage.main,
            "DROP TABLE IF EXISTS t",
            "CREATE TABLE t (id int, v vector(16)) WITH (autovacuum_enabled = off)",
        )
        # Dead ones far away, nine times as many as those that live.
        run(
            stage.main,
            "INSERT INTO t SELECT -n, array_fill(1000 + n % 97, ARRAY[16])::vector FROM generate_series(1, 18000) n",
        )
        stage.data.copy(stage.main, "t", 0, 2000, "v")
        create = f"CREATE INDEX {'CONCURRENTLY ' if concurrently else ''}i ON t USING ivfflat (v vector_l2_ops) WITH (lists = 20)"
        if concurrently:
            old = stage.server.connect()
            run(old, "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM t")
            run(stage.main, "DELETE FROM t WHERE id < 0")
            # It waits in the end for whoever could still see the dead rows.
            session = stage.session()
            state = session.start("", create)
            old.close()
            session.thread.join(60)
            stage.check(
                "CREATE INDEX CONCURRENTLY waits for an old snapshot, then ends",
                state == "blocked" and session.error is None and not session.busy,
                session.error or state,
            )
        else:
            run(stage.main, "DELETE FROM t WHERE id < 0", create)
        words = "CREATE INDEX CONCURRENTLY" if concurrently else "CREATE INDEX"
        by_index(stage.reader, ["SET ivfflat.probes = 1", "SET ivfflat.iterative_scan = off"])
        shares = []
        for row in stage.data.rows(10):
            shares.append(
                stage.reader.execute(
                    f"SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '{stage.data.text(row, 'v')}') x"
                ).fetchone()[0]
                / 2000
            )
        # With nine tenths of the sample dead, two lists would hold all that live.
        stage.check(
            f"{words}: lists are of living rows",
            max(shares) < 0.3,
            f"the largest list met holds {max(shares):.2f} of them",
        )
        stage.whole(f"{words} with dead rows in the table")


STEPS = {
    "hnsw": [
        entry_point_replaced_while_a_vacuum_runs,
        marking_waits_for_inserts,
        temporary_indexes_of_others,
        marking_waits_for_scans,
        deleted_tuples_of_an_earlier_vacuum,
        edges_once,
        equal_rows_join_no_dying_element,
        equal_rows_inserted_at_once,
    ],
    "ivfflat": [insert_while_a_vacuum_moves_the_insert_page, scan_over_a_page_being_repacked],
}
PLAIN_ONES = {
    "hnsw": [insert_page_does_not_rewind, vacuum_waits_for_what_an_index_only_scan_returned],
    "ivfflat": [
        inserts_extend_one_list_together,
        sampling_passes_over_dead_rows,
        vacuum_waits_for_what_an_index_only_scan_returned,
    ],
}
BOTH = [
    cursor_open_over_a_vacuum,
    create_index_concurrently_beside_writers,
    reindex_concurrently_beside_writers,
    vacuum_on_several_workers,
    first_rows_of_an_empty_index,
]


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    with Server(
        getattr(options, "faults", None) or prefix,
        "isolation",
        {"max_worker_processes": "16", "track_io_timing": "off"},
    ) as server:
        with server.connect() as connection:
            run(connection, "CREATE EXTENSION vector")
            steps = available(connection)
        if not steps:
            score.skip("isolation at named steps", "the extension was built without fault points")
        for am in ams:
            for schedule in [*(STEPS[am] if steps else []), *PLAIN_ONES[am], *BOTH]:
                started = time.monotonic()
                try:
                    with Stage(server, score, am, options.seed) as stage:
                        schedule(stage)
                except Exception as error:  # one schedule's end is not the others'
                    score.check(f"{am}: {schedule.__name__} ran to its end", False, f"{type(error).__name__}: {error}")
                print(f"# {am}: {schedule.__name__}: {time.monotonic() - started:.1f} s", flush=True)
        score.check("isolation: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
