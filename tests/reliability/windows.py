"""What happens while an operation stands between two of its steps: windows of drawn schedules, and a scripted one."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import psycopg

from reliability.faults import POINTS, Session, Stopped, steps
from vector_testing.data import PLAIN
from vector_testing.invariants import ALL, by_index, index_problems, run
from vector_testing.results import Score
from vector_testing.server import Server, include

# Which operations stand in the middle together; the first begins first.
COMPANIES = [
    (("vacuum",), 6),
    (("insert",), 3),
    (("scan",), 1),
    (("vacuum", "insert"), 4),
    (("insert", "vacuum"), 4),
    (("insert", "insert"), 2),
    (("vacuum", "scan"), 2),
    (("scan", "vacuum", "insert"), 2),
]
ENDS = [("let go", 12), ("cancelled", 3), ("terminated", 2), ("killed", 1), ("server killed", 0.5)]
REINITIALIZING = "all server processes terminated; reinitializing"


def draw(rng, weighted):
    return rng.choices([what for what, _ in weighted], [weight for _, weight in weighted])[0]


@dataclass
class Standing:
    """An operation that was begun and whose end has not been seen."""

    kind: str
    session: Session
    state: str
    rows: dict[int, str] = field(default_factory=dict)
    wanted: set[int] = field(default_factory=set)
    ended: bool = False
    # where it was seen to stop, and in whose turn
    seen: tuple[str, int] = ("", 0)

    def rest(self) -> tuple[str, str, int]:
        return (self.state, self.session.point, self.session.turn)


def rule_for(rng, am: str, kind: str) -> str:
    points = steps(f"{am}.{kind}")
    if not points or rng.random() < 0.4:
        return f"{am}.{kind}.*:wait"
    return f"{rng.choice(points)}:wait" + rng.choice(("", ":1", ":2", ":4"))


def begin(driver, table, kind: str) -> Standing:
    rng, am = driver.rng, table.opclass.am
    rule = rule_for(rng, am, kind)
    session = driver.session(am)
    standing = Standing(kind, session, "idle")
    driver.say(f"{table.name}: {kind} that stops at {rule}")
    if kind == "insert":
        from_kind = rng.choice(("near", "far", "equal", "outside"))
        standing.rows = table.new(rng.choice((1, 2, 8)), from_kind)
        statement = table.insert(standing.rows)
    elif kind == "vacuum":
        statement = driver.vacuum_words(table)
    else:
        standing.wanted = set(table.rows)
        statement = f"SELECT id FROM {table.name} ORDER BY e {table.opclass.operator} '{table.value('near')}'"
    standing.state = session.start(rule, statement)
    driver.counts[f"windows: {kind}"] += 1
    return standing


def account(driver, table, standings: list[Standing]) -> None:
    """Brings every session to rest, and the rows of what has ended to the model."""
    # until all rest at once: what one lets go, another may have waited for
    before = None
    while before != (now := [standing.rest() for standing in standings]):
        before = now
        for standing in standings:
            if not standing.ended:
                standing.state = standing.session.settle()
    for standing in standings:
        if standing.ended:
            continue
        if standing.state == "stopped" and standing.seen != (standing.session.point, standing.session.turn):
            standing.seen = (standing.session.point, standing.session.turn)
            driver.points[standing.session.point] += 1
        if standing.state != "idle":
            continue
        standing.ended = True
        session = standing.session
        if session.error is not None:
            # nobody ended it
            raise session.error
        if standing.kind == "insert":
            table.rows |= standing.rows
        elif standing.kind == "scan":
            driver.compare(
                table, [row[0] for row in session.rows], standing.wanted, "a scan that stopped between its steps"
            )


def one(driver, table) -> None:
    """Operations that stop at their steps, others beside them, and their ends."""
    rng = driver.rng
    company = draw(rng, COMPANIES)
    if "vacuum" in company and rng.random() < 0.5:
        driver.delete(table)
    if rng.random() < 0.1:
        return killed_at_a_step(driver, table)
    standings: list[Standing] = []
    cursor = Cursor(driver, table) if rng.random() < 0.15 else None
    try:
        for kind in company:
            standings.append(begin(driver, table, kind))
            account(driver, table, standings)
            driver.check(table, " beside " + describe(standings))
        for _ in range(rng.choice((1, 2, 4, 8))):
            if rng.random() < 0.7:
                driver.quick(table)
                account(driver, table, standings)
            stopped = [standing for standing in standings if standing.state == "stopped"]
            if stopped and rng.random() < 0.7:
                standing = rng.choice(stopped)
                standing.session.step()
                account(driver, table, standings)
            driver.check(table, " beside " + describe(standings))
            if cursor is not None and rng.random() < 0.5:
                cursor.fetch(20)
        finish(driver, table, standings)
        if cursor is not None:
            cursor.close()
            cursor = None
    finally:
        for standing in standings:
            standing.session.close()
        if cursor is not None:
            cursor.connection.close()


def describe(standings: list[Standing]) -> str:
    words = [
        f"{standing.kind} {standing.session.point or standing.state}" for standing in standings if not standing.ended
    ]
    return ", ".join(words) or "nothing"


def finish(driver, table, standings: list[Standing]) -> None:
    from reliability.reachable import Lost

    rng = driver.rng
    for standing in rng.sample(standings, len(standings)):
        if standing.ended:
            continue
        how = draw(rng, ENDS)
        driver.say(f"{table.name}: {describe([standing])}: {how}")
        driver.counts[f"ended: {how}"] += 1
        if standing.kind == "insert" and how != "let go":
            table.untidy = True
        if how == "let go":
            standing.session.go()
        elif how in ("cancelled", "terminated"):
            code = standing.session.end("pg_cancel_backend" if how == "cancelled" else "pg_terminate_backend")
            standing.ended = True
            if code not in ("57014", "57P01", "lost"):
                raise standing.session.error or Stopped(f"a session that was {how} ended with {code}")
        else:
            if how == "killed":
                driver.server.kill_backend(standing.session.pid)
            else:
                driver.server.kill_all()
                driver.server.start()
            table.untidy = True
            for other in driver.tables:
                other.untidy = True
            raise Lost
        account(driver, table, standings)
        driver.check(table, " beside " + describe(standings))
    deadline = time.monotonic() + 60
    while not all(standing.ended for standing in standings):
        if time.monotonic() > deadline:
            raise Stopped(f"operations hold each other: {describe(standings)}")
        for standing in standings:
            if standing.state == "stopped":
                standing.session.go()
        account(driver, table, standings)
    if (
        any(standing.kind == "vacuum" and standing.session.error is None for standing in standings)
        and len(standings) == 1
    ):
        table.untidy = table.untidy or bool(table.prepared)


class Cursor:
    """A scan that is held open while other things happen; in the end it has returned what was there at its
    beginning.
    """

    def __init__(self, driver, table):
        self.driver, self.table = driver, table
        self.connection = driver.server.connect()
        by_index(self.connection, ALL[table.opclass.am])
        self.wanted, self.found = set(table.rows), []
        driver.say(f"{table.name}: a cursor is opened")
        driver.counts["cursors"] += 1
        run(
            self.connection,
            "BEGIN",
            f"DECLARE c NO SCROLL CURSOR FOR SELECT id FROM {table.name} ORDER BY e {table.opclass.operator} '{table.value('near')}'",
        )
        self.fetch(driver.rng.choice((1, 30)))

    def fetch(self, count: int | str) -> None:
        self.found += [row[0] for row in self.connection.execute(f"FETCH {count} FROM c")]

    def close(self) -> None:
        self.fetch("ALL")
        self.connection.execute("COMMIT")
        self.connection.close()
        self.driver.compare(self.table, self.found, self.wanted, "a cursor held open")


def killed_at_a_step(driver, table) -> None:
    """An operation that kills itself in the middle: nothing but what was written by then is left."""
    from reliability.reachable import Lost

    rng, am = driver.rng, table.opclass.am
    kind = rng.choice(("insert", "vacuum"))
    rule = f"{rng.choice(steps(f'{am}.{kind}'))}:kill:{rng.choice((1, 1, 2, 4))}"
    rows = table.new(4, rng.choice(("near", "far", "equal", "outside"))) if kind == "insert" else {}
    driver.say(f"{table.name}: {kind} with {rule}")
    before = driver.server.log().count(REINITIALIZING)
    session = driver.session(am)
    try:
        run(
            session.connection,
            f"SET vector.fault_point = '{rule}'",
            table.insert(rows) if rows else driver.vacuum_words(table),
        )
    except psycopg.OperationalError as error:
        if error.sqlstate not in (None, "57P02"):
            raise
    else:
        session.close()
        table.rows |= rows
        return
    driver.counts[f"{kind}s killed at a step"] += 1
    deadline = time.monotonic() + 20
    while driver.server.log().count(REINITIALIZING) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    for other in driver.tables:
        other.untidy = True
    session.connection.close()
    raise Lost


# --- the scripted window ----------------------------------------------------------------------------------------------


def count(reader: psycopg.Connection) -> int:
    return reader.execute("SELECT count(*) FROM (SELECT id FROM q ORDER BY v <-> '[0.5,0.5,0.5,0.5]') x").fetchone()[0]


def sessions(server: Server) -> list[psycopg.Connection]:
    """One for control, one that writes, one that scans without limits, one that only walks the graph."""
    control, main, reader, walker = (server.connect() for _ in range(4))
    by_index(reader, [*ALL["hnsw"], *ALL["ivfflat"]])
    by_index(walker, ["SET hnsw.iterative_scan = off", "SET hnsw.ef_search = 1000", *ALL["ivfflat"]])
    return [control, main, reader, walker]


def fill(connection: psycopg.Connection, first: int, many: int) -> None:
    connection.execute(
        f"INSERT INTO q SELECT {first} + i, ARRAY[random(), random(), random(), random()]::vector FROM generate_series(1, {many}) i"
    )


def reload(server: Server, am: str, point: str, ending: str, keep: int, seed: int) -> tuple[list[str], set[str]]:
    """All rows but those of every `keep`th id are deleted (all, where it is 0), and others loaded while a vacuum stands
    after its first pass and then at `point`, on an index vacuumed before, so that new elements take places that the
    vacuum has passed. Returns what was missing when, and where the vacuum stopped.
    """
    problems: list[str] = []
    stops: Counter[str] = Counter()
    control, main, reader, walker = sessions(server)
    rows = 0

    def load(first: int, many: int, moment: str) -> None:
        nonlocal rows
        fill(main, first, many)
        rows += many
        look(f"{many} more {moment}")

    def look(moment: str) -> None:
        # all elements fit the queue of a walk, the dying ones too
        for how, session in (("", reader), (" by a walk of the graph", walker)):
            seen = count(session)
            if seen != rows:
                problems.append(f"{moment}: {seen} of {rows}{how}")

    run(
        main,
        "DROP TABLE IF EXISTS q",
        "CREATE TABLE q (id int, v vector(4))",
        f"SELECT setseed({1 / (seed + 1)})",
        f"SET hnsw.build_seed = {seed + 1}",
    )
    fill(main, 0, 600)
    run(
        main,
        f"CREATE INDEX qi ON q USING {am} (v {PLAIN[am].name}){include()}{PLAIN[am].options}",
        "DELETE FROM q WHERE id BETWEEN 240 AND 360",
        "VACUUM q",
    )
    run(main, "DELETE FROM q" + (f" WHERE id % {keep} <> 0" if keep else ""))
    rows = main.execute("SELECT count(*) FROM q").fetchone()[0]
    vacuum = "VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) q"
    session = Session(server, control)
    before = POINTS[f"{am}.vacuum"][0]
    state = session.start(
        f"{point}:wait" if point in (before, f"{am}.vacuum.*") else f"{before}:wait, {point}:wait", vacuum
    )
    first = 10_000
    while state == "stopped":
        stops[session.point] += 1
        if stops[session.point] <= 2:
            # enough to be a graph of their own, then a few
            load(first, 3 if stops.total() > 1 else 200, f"at {session.point}")
            first += 1000
        if ending == "stepped" or (stops.total() == 1 and session.point != point):
            state = session.step()
            continue
        if ending == "let go":
            state = session.go()
        elif ending == "cancelled":
            session.end("pg_cancel_backend")
            state = "idle"
        else:
            server.kill_backend(session.pid)
            control, main, reader, walker = sessions(server)
            state = "idle"
        look(f"after a vacuum that was {ending} at {session.point}")
    if session.error is not None and ending not in ("cancelled", "killed"):
        problems.append(f"the vacuum: {session.error}")
    session.close()
    load(50_000, 50, "afterwards")
    run(main, vacuum)
    look("after the next vacuum")
    load(60_000, 50, "after the next vacuum")
    run(main, "DELETE FROM q WHERE id % 3 = 0", vacuum)
    rows = main.execute("SELECT count(*) FROM q").fetchone()[0]
    look("after a third of them went")
    problems += index_problems(reader, am, "qi") or []
    run(main, "DROP TABLE q")
    for connection in (control, main, reader, walker):
        connection.close()
    return problems, set(stops)


def scripted(server: Server, score: Score, ams: list[str], seed: int) -> None:
    for am in ams:
        points = steps(f"{am}.vacuum")
        met: set[str] = set()
        for keep in (0, 40):
            rows = f"every {keep}th row stays" if keep else "no row stays"
            problems, stops = reload(server, am, f"{am}.vacuum.*", "stepped", keep, seed)
            score.check(
                f"{am}: {rows}, others loaded at each step of a vacuum",
                not problems,
                "; ".join(problems[:6]) or f"{len(stops)} different steps",
            )
            met |= stops
        score.check(
            f"{am}: the vacuum stopped at each of its steps",
            not set(points) - met,
            f"not at {sorted(set(points) - met)}" if set(points) - met else "",
        )
        for number, point in enumerate(points):
            for ending in ("let go", "cancelled", "killed"):
                # a kill costs a restart of the server: two are enough for each round of the others
                if ending == "killed" and number not in (0, len(points) - 2):
                    continue
                keep = (0, 40)[(number + seed + len(ending)) % 2]
                problems, _ = reload(server, am, point, ending, keep, seed)
                rows = f"every {keep}th row stays" if keep else "no row stays"
                score.check(
                    f"{am}: {rows}, others loaded before {point}, where the vacuum is {ending}",
                    not problems,
                    "; ".join(problems[:6]),
                )
