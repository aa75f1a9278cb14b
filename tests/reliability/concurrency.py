"""Many clients insert, update, delete, search and vacuum at once; then the index must be whole, and pinned rows must
have been found all the time.

Eight by default. From nine on the others insert far from everything, roll savepoints back, hold cursors open, and
rebuild the index or build another one beside everybody, so that sixteen meet each other in every pair.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import psycopg

from vector_testing.data import PLAIN, Data, Opclass
from vector_testing.invariants import ALL, FEW, by_index, invariants, run
from vector_testing.results import Score
from vector_testing.server import Server, filters, include

PINNED = 300
SAME = 20


class Workload:
    def __init__(self, server: Server, opclass: Opclass, seed: int, seconds: float):
        self.server, self.opclass, self.seed = server, opclass, seed
        self.end = time.monotonic() + seconds
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.lock = threading.Lock()
        self.next = 100000
        self.pinned: list[tuple[int, str]] = []

    def ids(self, count: int) -> int:
        with self.lock:
            self.next += count
            return self.next - count

    def client(self, number: int, step) -> None:
        """One session; whatever it meets that is no agreed outcome is a problem."""
        data, random_ = Data(self.seed * 1000 + number), random.Random(self.seed * 1000 + number)
        try:
            with self.server.connect() as connection:
                # A statement that takes this long waits for something that never comes.
                run(connection, "SET statement_timeout = '60s'")
                by_index(connection, FEW[self.opclass.am])
                while time.monotonic() < self.end and len(self.problems) < 20:
                    step(connection, data, random_)
                    self.counts[step.__name__] += 1
        except psycopg.Error as error:
            self.problems.append(f"{step.__name__}: {error.sqlstate} {error}"[:300])

    def insert(self, connection, data: Data, random_) -> None:
        count = random_.choice((1, 1, 1, 20))
        first = self.ids(count)
        values = ", ".join(f"({first + n}, '{data.text(row, 'v')}')" for n, row in enumerate(data.rows(count)))
        with connection.transaction(force_rollback=random_.random() < 0.1):
            connection.execute(f"INSERT INTO t (id, v) VALUES {values}")

    def same(self, connection, data: Data, random_) -> None:
        """The same few vectors again and again: elements of the graph with many rows. Thousands alike would be a graph
        of their own.
        """
        _, vector = self.pinned[random_.randrange(SAME)]
        connection.execute(f"INSERT INTO t (id, v) VALUES ({self.ids(1)}, '{vector}')")
        time.sleep(0.02)

    def update(self, connection, data: Data, random_) -> None:
        at = random_.randrange(PINNED, 5000)
        connection.execute(f"UPDATE t SET v = '{data.text(data.rows(1)[0], 'v')}' WHERE id BETWEEN {at} AND {at + 3}")

    def delete(self, connection, data: Data, random_) -> None:
        at = random_.randrange(100000, max(100001, self.next))
        connection.execute(f"DELETE FROM t WHERE id BETWEEN {at} AND {at + 30}")
        time.sleep(0.005)

    def search(self, connection, data: Data, random_) -> None:
        ident, vector = self.pinned[random_.randrange(SAME, PINNED)]
        rows = connection.execute(f"SELECT id, v <-> '{vector}' FROM t ORDER BY v <-> '{vector}' LIMIT 10").fetchall()
        found = [row[0] for row in rows]
        if len(found) != len(set(found)):
            self.problems.append(f"search: a row twice in {found}")
        distances = [row[1] for row in rows]
        if any(a > b + 1e-5 for a, b in zip(distances, distances[1:])):
            self.problems.append(f"search: not in order: {distances}")
        if filters():
            self.matching(connection, random_)
        self.counts["pinned rows searched"] += 1
        self.counts["pinned rows found"] += ident in found

    def matching(self, connection, random_) -> None:
        """Rows that stay, by a condition on their numbers: exactly these, whatever is looked at."""
        first = random_.randrange(SAME, PINNED - 10)
        vector = self.pinned[random_.randrange(PINNED)][1]
        with connection.transaction():
            connection.execute("SET LOCAL enable_sort = off")
            rows = connection.execute(
                f"SELECT id FROM t WHERE id BETWEEN {first} AND {first + 8} ORDER BY v <-> '{vector}' LIMIT 10"
            ).fetchall()
        if sorted(row[0] for row in rows) != list(range(first, first + 9)):
            self.problems.append(f"search: {rows}, not {first} to {first + 8}")

    def vacuum(self, connection, data: Data, random_) -> None:
        connection.execute("VACUUM t")
        time.sleep(0.05)

    def far(self, connection, data: Data, random_) -> None:
        """Values outside all earlier ones, alone or a few together."""
        count, distance = random_.choice((1, 1, 4)), random_.uniform(50, 5000) * random_.choice((-1, 1))
        first = self.ids(count)
        values = ", ".join(
            f"({first + n}, '{data.text(row + distance, 'v')}')" for n, row in enumerate(data.rows(count))
        )
        connection.execute(f"INSERT INTO t (id, v) VALUES {values}")
        time.sleep(0.01)

    def savepoints(self, connection, data: Data, random_) -> None:
        """A part of each transaction is undone, and sometimes all of it."""
        with connection.transaction(force_rollback=random_.random() < 0.2):
            for row in data.rows(4):
                with connection.transaction(force_rollback=random_.random() < 0.5):
                    connection.execute(f"INSERT INTO t (id, v) VALUES ({self.ids(1)}, '{data.text(row, 'v')}')")
                    connection.execute(f"UPDATE t SET v = v WHERE id = {random_.randrange(PINNED, 5000)}")

    def cursor(self, connection, data: Data, random_) -> None:
        """A scan of everything, a few rows at a time: no row twice, each one that its snapshot sees."""
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for setting in ALL[self.opclass.am]:
                connection.execute(setting.replace("SET ", "SET LOCAL ", 1))
            wanted = connection.execute("SELECT count(*) FROM t").fetchone()[0]
            connection.execute(
                f"DECLARE c NO SCROLL CURSOR FOR SELECT id FROM t ORDER BY v <-> '{self.pinned[random_.randrange(PINNED)][1]}'"
            )
            found: list[int] = []
            while rows := connection.execute("FETCH 500 FROM c").fetchall():
                found += [row[0] for row in rows]
                time.sleep(0.01)
        if len(set(found)) != len(found) or len(found) != wanted:
            self.problems.append(f"cursor: {len(found)} rows, {len(set(found))} different, of {wanted}")

    def rebuild(self, connection, data: Data, random_) -> None:
        """The index anew, or another one, beside everybody. Both wait for all transactions, hence a limit of their own;
        two at once would deadlock.
        """
        connection.execute("SET statement_timeout = '300s'")
        if random_.random() < 0.5:
            connection.execute("REINDEX INDEX CONCURRENTLY i")
        else:
            connection.execute(f"CREATE INDEX CONCURRENTLY another ON t USING {self.opclass.am} (v vector_cosine_ops)")
            time.sleep(0.2)
            connection.execute("DROP INDEX CONCURRENTLY another")
        time.sleep(0.3)

    def steps(self, clients: int) -> list:
        """What each client does."""
        eight = [self.insert, self.insert, self.same, self.update, self.delete, self.search, self.search, self.vacuum]
        others = [
            self.far,
            self.savepoints,
            self.cursor,
            self.rebuild,
            self.cursor,
            self.insert,
            self.delete,
            self.search,
        ]
        every = eight + others
        return [every[number % len(every)] for number in range(clients)]


def work(server: Server, score: Score, am: str, options) -> None:
    opclass, data = PLAIN[am], Data(options.seed)
    connection = server.connect()
    run(connection, "CREATE TABLE t (id int PRIMARY KEY, v vector(16))")
    data.copy(connection, "t", 0, 5000, "v")
    run(connection, f"CREATE INDEX i ON t USING {am} (v {opclass.name}{filters()}){include()}{opclass.options}")
    load = Workload(server, opclass, options.seed, options.seconds)
    load.pinned = connection.execute(f"SELECT id, v::text FROM t WHERE id < {PINNED} ORDER BY id").fetchall()
    steps = load.steps(getattr(options, "clients", 8))
    clients = [threading.Thread(target=load.client, args=(number, step)) for number, step in enumerate(steps)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    counts = dict(load.counts)
    score.check(f"{am}: no client met an error", not load.problems, "; ".join(load.problems[:3]) or counts)
    score.check(f"{am}: everybody got on", all(counts.get(step.__name__) for step in steps), counts)
    share = counts.get("pinned rows found", 0) / max(1, counts.get("pinned rows searched", 0))
    # A list that is not among the probed hides its rows; a graph should not.
    score.check(
        f"{am}: rows that stay were found meanwhile", share >= {"hnsw": 0.97, "ivfflat": 0.95}[am], f"{share:.3f}"
    )
    invariants(score, f"{am}: after {options.seconds:g} s of {len(steps)} clients", connection, data, opclass)
    run(connection, "VACUUM t")
    invariants(score, f"{am}: and a last vacuum", connection, data, opclass)
    run(connection, "DROP TABLE t")
    connection.close()


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    with Server(prefix, "concurrency", {"max_connections": str(40 + getattr(options, "clients", 8))}) as server:
        connection = server.connect()
        run(connection, "CREATE EXTENSION vector")
        connection.close()
        for am in ams:
            work(server, score, am, options)
        score.check("concurrency: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
