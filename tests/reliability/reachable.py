"""Every committed row can be reached through the index: at every moment, whatever was inserted, vacuumed, cancelled or
killed.

A schedule drawn from a seed changes one table per operator class, stops inserts, vacuums and scans at their fault
points, does other things meanwhile, lets go, cancels or kills, and after each step compares a scan by index that
nothing limits with the rows that are committed.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg

from reliability import windows
from reliability.faults import POINTS, Session, available, steps
from vector_testing.data import OPCLASSES, Data, Opclass
from vector_testing.invariants import ALL, by_index, index_problems, run
from vector_testing.pg import pg_config
from vector_testing.results import Score
from vector_testing.server import Server, include

# Each column type and each metric at least once.
TRIED = {
    "hnsw": ["vector_l2_ops", "halfvec_ip_ops", "sparsevec_l1_ops", "bit_jaccard_ops", "vector_cosine_ops"],
    "ivfflat": ["vector_l2_ops", "halfvec_cosine_ops", "bit_hamming_ops"],
}
KINDS = ["near", "near", "far", "equal", "equal", "outside"]
MOST_ROWS = 1200
# A scan with a queue for all elements walks everything that the graph leads to, and nothing helps it as an iterative
# scan's last pass does.
GRAPH, QUEUE = ["SET hnsw.iterative_scan = off", "SET hnsw.ef_search = 1000"], 1000
# The first three are rules for fault points.
RULES = [
    "hnsw.insert.pair:wait",
    " hnsw.*:kill:3 , a:error",
    "",
    "a",
    "a:",
    ":wait",
    "a:wait:0",
    "a:wait:x",
    "a:wait:1:2",
    "a:sleep",
    "a:wait,b",
]
# Nobody waits for long in foreground: what a stopped session blocks is given up and tried another time.
WAIT = "100ms"
TYPES = {"v": "vector(16)", "h": "halfvec(16)", "s": "sparsevec(48)", "b": "bit(64)"}


class Missed(Exception):
    """A row that should be there was not, or the other way round."""


class Lost(Exception):
    """The server was killed: every session is gone."""


@dataclass
class Table:
    """What should be in one table, and the words for it."""

    name: str
    opclass: Opclass
    data: Data
    rng: random.Random
    rows: dict[int, str] = field(default_factory=dict)
    next_id: int = 1
    pool: list[np.ndarray] = field(default_factory=list)
    reach: float = 10.0
    prepared: dict[str, dict[int, str]] = field(default_factory=dict)
    # no more elements than this have rows, dead ones included
    bound: int = 0
    # whether an insert may have left an element behind that no row refers to; the next whole vacuum removes it
    untidy: bool = False

    @property
    def index(self) -> str:
        return f"{self.name}_i"

    def value(self, kind: str) -> str:
        row = self.data.rows(1)[0]
        if kind == "far":
            row = row + 1000 * self.data.centres[self.rng.randrange(8)]
        elif kind == "equal":
            if len(self.pool) < 3:
                self.pool.append(row)
            row = self.rng.choice(self.pool)
        elif kind == "outside":
            # farther than everything before, in one direction; half precision ends at 65504
            self.reach = min(self.reach * 1.3, 20000 if self.opclass.column == "h" else 1e6)
            row = row * self.reach / np.linalg.norm(row)
        return self.data.text(row, self.opclass.column)

    def new(self, count: int, kind: str) -> dict[int, str]:
        first = self.next_id
        self.next_id += count
        self.bound += count
        return {first + n: self.value(kind) for n in range(count)}

    def insert(self, rows: dict[int, str]) -> str:
        values = ", ".join(f"({number}, '{value}')" for number, value in rows.items())
        return f"INSERT INTO {self.name} (id, e) VALUES {values}"

    def some(self, share: float) -> list[int]:
        return [number for number in self.rows if self.rng.random() < share]


class Driver:
    """One server, its tables, and the schedule."""

    def __init__(self, server: Server, seed: int, tables: list[Table], rng: random.Random):
        self.server, self.seed, self.tables, self.rng = server, seed, tables, rng
        self.counts: Counter[str] = Counter()
        self.points: Counter[str] = Counter()
        self.log: deque[str] = deque(maxlen=25)
        self.steps = 0
        self.connect()

    def connect(self) -> None:
        self.control = self.server.connect()
        self.main = self.server.connect()
        self.reader = self.server.connect()
        # levels of new elements follow from the seed
        run(
            self.main,
            f"SET hnsw.build_seed = {self.rng.randrange(1, 1 << 30)}",
            f"SET lock_timeout = '{WAIT}'",
            "SET max_parallel_maintenance_workers = 0",
        )
        self.walker = self.server.connect()
        by_index(self.reader, [*ALL["hnsw"], *ALL["ivfflat"], "SET work_mem = '64MB'"])
        by_index(self.walker, GRAPH)
        for connection in (self.reader, self.walker):
            run(connection, "SET lock_timeout = '10s'", "SET enable_sort = off")

    def session(self, am: str) -> Session:
        return Session(
            self.server,
            self.control,
            f"SET hnsw.build_seed = {self.rng.randrange(1, 1 << 30)}",
            "SET lock_timeout = '20s'",
            "SET enable_seqscan = off",
            *ALL[am],
        )

    def close(self) -> None:
        for connection in (self.control, self.main, self.reader, self.walker):
            connection.close()

    def say(self, what: str) -> None:
        self.log.append(f"{self.steps}: {what}")

    # --- what must hold -----------------------------------------------------------------------------------------------

    def check(self, table: Table, beside: str = "") -> None:
        """A scan by index that nothing limits finds the committed rows, each once."""
        query = (
            table.value(self.rng.choice(KINDS[:4]))
            if self.rng.random() < 0.7 or not table.rows
            else self.rng.choice(list(table.rows.values()))
        )
        question = f"SELECT id FROM {table.name} ORDER BY e {table.opclass.operator} '{query}'"
        found = [row[0] for row in self.reader.execute(question)]
        self.counts["scans"] += 1
        self.counts["rows counted"] += len(found)
        self.compare(table, found, set(table.rows), f"a scan{beside} from {query[:60]}")
        if table.opclass.am == "hnsw" and table.bound <= QUEUE:
            self.counts["walks of the graph"] += 1
            self.compare(
                table,
                [row[0] for row in self.walker.execute(question)],
                set(table.rows),
                f"a walk of the graph{beside} from {query[:60]}",
            )

    def compare(self, table: Table, found: list[int], wanted: set[int], what: str) -> None:
        missing, extra = wanted - set(found), set(found) - wanted
        if missing or extra or len(found) != len(set(found)):
            kinds = f"{len(missing)} of {len(wanted)} rows missing ({sorted(missing)[:8]}), {len(extra)} not there ({sorted(extra)[:8]}), {len(found) - len(set(found))} twice"
            raise Missed(f"{table.name}, {table.opclass.am} {table.opclass.name}: {what}: {kinds}")

    def check_structure(self, table: Table) -> None:
        problems = index_problems(self.reader, table.opclass.am, table.index) or []
        self.counts["deep checks"] += 1
        if problems:
            raise Missed(
                f"{table.name}, {table.opclass.am} {table.opclass.name}: {table.opclass.am}_check: {'; '.join(problems[:4])}"
            )

    # --- steps --------------------------------------------------------------------------------------------------------

    def attempt(self, what: str, *statements: str) -> bool:
        """In one transaction; False when it had to wait for a stopped session, or was stopped itself by a rule, and so
        did nothing.
        """
        try:
            with self.main.transaction():
                for statement in statements:
                    self.main.execute(statement)
            return True
        except (psycopg.errors.LockNotAvailable, psycopg.errors.SystemError):
            self.say(f"{what}: gave up")
            self.counts["given up"] += 1
            return False

    def insert(self, table: Table) -> None:
        kind, count = self.rng.choice(KINDS), self.rng.choice((1, 1, 3, 15, 40))
        rows = table.new(count, kind)
        how = self.rng.choices(("commit", "rollback", "savepoint", "error", "prepared"), (8, 1, 1, 1, 1))[0]
        self.say(f"{table.name}: {how} insert of {count} {kind}, from id {next(iter(rows))}")
        self.counts[f"inserts: {how}"] += 1
        if how == "commit":
            if self.attempt("insert", table.insert(rows)):
                table.rows |= rows
            else:
                table.untidy = True
            return
        table.untidy = True
        if how == "rollback":
            try:
                with self.main.transaction(force_rollback=True):
                    self.main.execute(table.insert(rows))
            except psycopg.errors.LockNotAvailable:
                pass
        elif how == "savepoint":
            # the rows of the middle are rolled back
            parts = [dict(part) for part in (list(rows.items())[n::3] for n in range(3)) if part]
            statements = [table.insert(parts[0])]
            for part in parts[1:2]:
                statements += ["SAVEPOINT s", table.insert(part), "ROLLBACK TO s"]
            statements += [table.insert(part) for part in parts[2:]]
            if self.attempt("insert", *statements):
                for part in parts[:1] + parts[2:]:
                    table.rows |= part
        elif how == "error":
            rule = f"{self.rng.choice(steps(f'{table.opclass.am}.insert'))}:error:{self.rng.randrange(1, count + 1)}"
            if self.attempt("insert", f"SET LOCAL vector.fault_point = '{rule}'", table.insert(rows)):
                table.rows |= rows
        else:
            name = f"p{table.next_id}"
            if len(table.prepared) < 2 and self.attempt(
                "insert", table.insert(rows), f"PREPARE TRANSACTION '{table.name} {name}'"
            ):
                table.prepared[f"{table.name} {name}"] = rows

    def end_prepared(self, table: Table) -> None:
        if not table.prepared:
            return
        name = self.rng.choice(list(table.prepared))
        commit = self.rng.random() < 0.6
        self.say(f"{'commit' if commit else 'rollback'} of prepared {name}")
        self.main.execute(f"{'COMMIT' if commit else 'ROLLBACK'} PREPARED '{name}'")
        rows = table.prepared.pop(name)
        if commit:
            table.rows |= rows

    def update(self, table: Table) -> None:
        numbers = table.some(self.rng.choice((0.02, 0.1)))
        if not numbers:
            return
        if self.rng.random() < 0.5:
            self.say(f"{table.name}: update of {len(numbers)}, the indexed value stays")
            self.attempt(
                "update", f"UPDATE {table.name} SET n = n + 1 WHERE id = ANY ('{{{','.join(map(str, numbers))}}}')"
            )
            return
        kind = self.rng.choice(KINDS)
        rows = {number: table.value(kind) for number in numbers}
        table.bound += len(numbers)
        self.say(f"{table.name}: update of {len(numbers)} to {kind}")
        values = ", ".join(f"({number}, '{value}'::{TYPES[table.opclass.column]})" for number, value in rows.items())
        if self.attempt(
            "update", f"UPDATE {table.name} t SET e = x.e FROM (VALUES {values}) x (id, e) WHERE t.id = x.id"
        ):
            table.rows |= rows
        else:
            table.untidy = True

    def delete(self, table: Table) -> None:
        share = 1.0 if self.rng.random() < 0.15 else self.rng.choice((0.05, 0.3, 0.6))
        if len(table.rows) > MOST_ROWS:
            share = max(share, 0.6)
        numbers = table.some(share) if share < 1 else list(table.rows)
        self.say(f"{table.name}: delete of {len(numbers)} of {len(table.rows)}")
        if numbers and self.attempt(
            "delete", f"DELETE FROM {table.name} WHERE id = ANY ('{{{','.join(map(str, numbers))}}}')"
        ):
            for number in numbers:
                del table.rows[number]

    def vacuum_words(self, table: Table) -> str:
        return f"VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) {table.name}"

    def vacuumed(self, table: Table) -> None:
        """The vacuum came to its end with nobody else at work; who is prepared may still keep it from removing rows."""
        table.untidy = bool(table.prepared)
        if not any(other.prepared for other in self.tables):
            table.bound = len(table.rows)

    def vacuum(self, table: Table) -> None:
        """With its cost delays now and then; or ended by an error in the middle."""
        rule, am = "", table.opclass.am
        if self.rng.random() < 0.3:
            rule = f"{self.rng.choice(steps(f'{am}.vacuum'))}:error:{self.rng.choice((1, 1, 2, 5))}"
        slow = self.rng.random() < 0.2
        self.say(f"{table.name}: vacuum {rule or ('with delays' if slow else '')}")
        self.counts["vacuums"] += 1
        run(
            self.main,
            f"SET vector.fault_point = '{rule}'",
            f"SET vacuum_cost_delay = {1 if slow else 0}",
            "SET lock_timeout = '20s'",
        )
        try:
            self.main.execute(self.vacuum_words(table))
            self.vacuumed(table)
        except psycopg.errors.SystemError:
            self.counts["vacuums ended by an error"] += 1
        finally:
            run(self.main, "SET vector.fault_point = ''", "SET vacuum_cost_delay = 0", f"SET lock_timeout = '{WAIT}'")

    def reindex(self, table: Table) -> None:
        if table.prepared:
            # they hold locks on the table
            return
        self.say(f"{table.name}: reindex")
        run(
            self.main,
            f"SET maintenance_work_mem = '{self.rng.choice(('1MB', '64MB'))}'",
            "SET client_min_messages = warning",
            f"REINDEX INDEX {table.index}",
        )
        self.vacuumed(table)

    def quick(self, table: Table) -> None:
        """Something beside a stopped session."""
        self.rng.choices((self.insert, self.update, self.delete, self.end_prepared), (6, 1, 1, 1))[0](table)

    # --- the schedule -------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        table = self.rng.choice(self.tables)
        self.steps += 1
        what = self.rng.choices(
            (self.insert, self.update, self.delete, self.vacuum, self.end_prepared, self.reindex, windows.one),
            (30, 8, 8, 10, 3, 1, 25),
        )[0]
        if len(table.rows) > MOST_ROWS:
            what = self.delete
        try:
            what(self, table) if what is windows.one else what(table)
        except Lost:
            self.connect()
        self.check(table)
        if not table.untidy and not table.prepared and self.rng.random() < 0.3:
            self.check_structure(table)

    def finish(self) -> None:
        """Everything let go and vacuumed: nothing is left of the schedule but the rows."""
        for table in self.tables:
            while table.prepared:
                self.end_prepared(table)
            self.check(table)
            self.main.execute(self.vacuum_words(table))
            self.vacuumed(table)
            self.check(table)
            self.check_structure(table)


def make_tables(connection: psycopg.Connection, seed: int, ams: list[str], rng: random.Random) -> list[Table]:
    tables: list[Table] = []
    # one thread and known levels: the same graph each time
    run(connection, f"SET hnsw.build_seed = {seed + 1}", "SET max_parallel_maintenance_workers = 0")
    for opclass in OPCLASSES:
        if opclass.am not in ams or opclass.name not in TRIED[opclass.am]:
            continue
        table = Table(f"r{len(tables)}", opclass, Data(seed + len(tables)), rng)
        run(
            connection,
            f"CREATE TABLE {table.name} (id int, n int DEFAULT 0, e {TYPES[opclass.column]}) WITH (fillfactor = 70)",
        )
        options = (
            f"m = {rng.choice((2, 4, 16))}, ef_construction = 32"
            if opclass.am == "hnsw"
            else f"lists = {rng.choice((1, 7))}"
        )
        first = rng.choice((0, 0, 300))
        if first:
            for kind in ("near", "far", "equal"):
                rows = table.new(first // 3, kind)
                connection.execute(table.insert(rows))
                table.rows |= rows
        # index-only scans, then, of what is visible to all
        own = opclass.column != "s" and (opclass.am, opclass.column) != ("ivfflat", "b")
        more = include() if own else ""
        run(
            connection,
            f"CREATE INDEX {table.index} ON {table.name} USING {opclass.am} (e {opclass.name}){more} WITH ({options})",
        )
        tables.append(table)
    return tables


def schedules(
    server: Server,
    score: Score,
    ams: list[str],
    seed: int,
    seconds: float,
    steps: int,
    total: Counter[str],
    points: Counter[str],
) -> None:
    """One schedule after the other, each from a seed of its own, until the time is over. The first one alone decides
    the short form.
    """
    end = time.monotonic() + seconds
    number = failures = 0
    while number == 0 or time.monotonic() < end:
        rng = random.Random(seed + number)
        connection = server.connect()
        tables = make_tables(connection, seed + number, ams, rng)
        connection.close()
        driver = Driver(server, seed + number, tables, rng)
        try:
            while driver.steps < steps and time.monotonic() < end:
                driver.advance()
            driver.finish()
        except (Missed, psycopg.Error, AssertionError, windows.Stopped) as error:
            failures += 1
            score.check(
                f"reachable: schedule of seed {seed + number}, step {driver.steps}",
                False,
                f"{type(error).__name__}: {error}",
            )
            print("\n".join(f"#   {line}" for line in driver.log), flush=True)
        driver.close()
        number += 1
        total += driver.counts + Counter(steps=driver.steps, schedules=1)
        points += driver.points
        if failures >= 3:
            break
        forget(server, tables)
    score.check(
        f"reachable: {number} schedules from seed {seed}", failures == 0, f"{failures} failed" if failures else ""
    )
    print("# done: " + ", ".join(f"{count} {name}" for name, count in sorted(total.items())), flush=True)


def forget(server: Server, tables: list[Table]) -> None:
    """Also what a failed schedule left standing."""
    connection = server.connect()
    for (name,) in connection.execute("SELECT gid FROM pg_prepared_xacts").fetchall():
        connection.execute(f"ROLLBACK PREPARED '{name}'")
    run(
        connection,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
    )
    run(connection, *(f"DROP TABLE {table.name}" for table in tables))
    connection.close()


def taken(connection: psycopg.Connection, rule: str) -> bool:
    try:
        run(connection, f"SET vector.fault_point = '{rule}'", "RESET vector.fault_point")
    except psycopg.errors.InvalidParameterValue:
        return False
    return True


def closed_in_order(server: Server, score: Score) -> None:
    """A session whose control is gone is closed only when its thread is over: else the next one's answers go astray."""
    holder, control = server.connect(), server.connect()
    session = Session(server, control)
    holder.execute("SELECT pg_advisory_lock(1)")
    state = session.start("", "SELECT pg_advisory_lock(1)")
    control.close()
    letting_go = threading.Timer(0.3, holder.execute, ["SELECT pg_advisory_unlock(1)"])
    letting_go.start()
    session.close()
    score.check(
        "reachable: a session is closed when its thread is over",
        state == "blocked" and not session.busy and session.error is None,
        session.error or state,
    )
    letting_go.join()
    holder.close()


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    if options.faults:
        libraries = pg_config(prefix, "--pkglibdir")
        shipped = (Path(libraries) / "vector.so").read_bytes()
        score.check(
            "reachable: what is shipped has no fault points",
            b"vector.fault_point" not in shipped and b"hnsw.vacuum.rows" not in shipped,
        )
        prefix = options.faults
    settings = {"max_prepared_transactions": "20", "max_wal_size": "256MB", "restart_after_crash": "on"}
    with Server(prefix, "reachable", settings) as server:
        connection = server.connect()
        run(connection, "CREATE EXTENSION vector")
        if not available(connection):
            score.skip("reachable", "the extension was built without fault points")
            return
        refused = [rule for rule in RULES if not taken(connection, rule)]
        score.check("reachable: rules for fault points are read, others refused", refused == RULES[3:], refused)
        connection.close()
        closed_in_order(server, score)
        windows.scripted(server, score, ams, options.seed)
        total: Counter[str] = Counter()
        points: Counter[str] = Counter()
        schedules(server, score, ams, options.seed, max(20.0, options.seconds), 400, total, points)
        print("# stopped at: " + ", ".join(f"{name} {count}" for name, count in sorted(points.items())), flush=True)
        if options.seconds >= 300:
            unmet = {point for kind in POINTS if kind.split(".")[0] in ams for point in steps(kind)} - set(points)
            score.check("reachable: schedules stopped at every fault point", not unmet, sorted(unmet) or "")
        score.check("reachable: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
