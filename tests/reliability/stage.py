"""Where a scripted schedule happens: a table with an index, the sessions around it, the rows that should be found."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable

import psycopg

from reliability.faults import Session
from vector_testing.data import PLAIN, Data
from vector_testing.invariants import ALL, by_index, by_table, index_problems, run
from vector_testing.results import Score
from vector_testing.server import Server

ROWS = 600
# Transactions of one writer, at most.
MOST = 80
VACUUM = "VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) t"
ANYWHERE = "[" + ",".join(["0.5"] * 16) + "]"


class Stage:
    """One table with one index, the sessions around it, and the rows that should be found."""

    def __init__(self, server: Server, score: Score, am: str, seed: int):
        self.server, self.score, self.am = server, score, am
        self.data = Data(seed)
        self.main, self.control, self.reader = (server.connect() for _ in range(3))
        # What waits for something that never comes must say so.
        for connection in (self.main, self.reader):
            run(connection, "SET statement_timeout = '120s'")
        self.sessions: list[Session] = []
        self.next = 1_000_000

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_exc) -> None:
        for session in self.sessions:
            session.close()
        run(self.main, "DROP TABLE IF EXISTS t")
        for connection in (self.main, self.control, self.reader):
            connection.close()

    def table(self, rows: int = ROWS, options: str | None = None) -> None:
        opclass = PLAIN[self.am]
        run(self.main, "DROP TABLE IF EXISTS t", "CREATE TABLE t (id int, v vector(16))")
        self.data.copy(self.main, "t", 0, rows, "v")
        run(
            self.main,
            f"CREATE INDEX i ON t USING {self.am} (v {opclass.name}){opclass.options if options is None else options}",
        )

    def session(self, *settings: str) -> Session:
        session = Session(self.server, self.control, "SET statement_timeout = '60s'", *settings)
        self.sessions.append(session)
        return session

    def values(self, count: int) -> str:
        self.next += count
        return ", ".join(
            f"({self.next - count + n}, '{self.data.text(row, 'v')}')" for n, row in enumerate(self.data.rows(count))
        )

    def insert(self, count: int) -> None:
        run(self.main, f"INSERT INTO t VALUES {self.values(count)}")

    def living(self) -> list[int]:
        by_table(self.main)
        found = sorted(row[0] for row in self.main.execute("SELECT id FROM t"))
        run(self.main, "RESET enable_indexscan", "RESET enable_seqscan")
        return found

    def found(self) -> list[int]:
        by_index(self.reader, ALL[self.am])
        return sorted(row[0] for row in self.reader.execute(f"SELECT id FROM t ORDER BY v <-> '{ANYWHERE}'"))

    def whole(self, name: str) -> None:
        wanted, found = self.living(), self.found()
        problems = index_problems(self.reader, self.am, "i") or []
        missing = len(set(wanted) - set(found))
        self.score.check(
            f"{self.am}: {name}",
            wanted == found and not problems,
            f"{len(found)} rows for {len(wanted)}, {missing} missing; {'; '.join(problems[:3])}"
            if wanted != found or problems
            else f"{len(found)} rows",
        )

    def check(self, name: str, ok: bool, detail: object = "") -> bool:
        return self.score.check(f"{self.am}: {name}", ok, detail)

    def pages(self, index: str = "i") -> list[bytes]:
        """The index's blocks as they stand in its file."""
        run(self.control, "CHECKPOINT")
        whole = self.control.execute(f"SELECT pg_read_binary_file(pg_relation_filepath('{index}'))").fetchone()[0]
        return [whole[at : at + 8192] for at in range(0, len(whole), 8192)]


def items(page: bytes) -> list[bytes]:
    """Of a page with line pointers, the items in use."""
    lower = struct.unpack_from("<H", page, 12)[0]
    pointers = [struct.unpack_from("<I", page, at)[0] for at in range(24, lower, 4)]
    return [
        page[pointer & 0x7FFF : (pointer & 0x7FFF) + (pointer >> 17)] for pointer in pointers if pointer >> 15 & 3 == 1
    ]


# What pgvector's meta pages begin with.
HNSW_MAGIC = 0xA953A953


def entry_point(stage: Stage) -> tuple[int, int, int]:
    """Block, offset and level, from the meta page."""
    return struct.unpack_from("<IHh", stage.pages()[0], 24 + 16)


def edges(stage: Stage) -> list[list[tuple[int, int]]] | None:
    """Layer 0 of every list in an hnsw index: the last 2m slots. None of pages that are not pgvector's, in which
    hnsw_check looks for edges that are there twice.
    """
    lists = []
    pages = stage.pages()
    if struct.unpack_from("<I", pages[0], 24)[0] != HNSW_MAGIC:
        return None
    m = struct.unpack_from("<H", pages[0], 24 + 12)[0]
    for page in pages[1:]:
        for item in items(page):
            if item[:1] == b"\x02":
                count = struct.unpack_from("<H", item, 2)[0]
                slots = [struct.unpack_from("<HHH", item, 4 + 6 * n) for n in range(count)]
                lists.append([(high << 16 | low, offset) for high, low, offset in slots[-2 * m :] if offset])
    return lists


def beside_writers(stage: Stage, writers: int, seconds: float, body: Callable[[], None], rows: int = 20) -> list[str]:
    """Runs `body` while that many sessions insert, update and delete; what went wrong with them."""
    done, problems = threading.Event(), []

    def write(number: int) -> None:
        data, first = Data(number + 1), 10_000_000 * (number + 1)
        try:
            with stage.server.connect() as connection:
                run(connection, "SET statement_timeout = '60s'")
                # A slow build beside them must end.
                for _ in range(MOST):
                    if done.is_set():
                        break
                    values = ", ".join(
                        f"({first + n}, '{data.text(row, 'v')}')" for n, row in enumerate(data.rows(rows))
                    )
                    with connection.transaction(force_rollback=first % 7 == 3):
                        run(connection, f"INSERT INTO t VALUES {values}")
                        run(
                            connection,
                            f"UPDATE t SET v = v + v WHERE id BETWEEN {first - 2 * rows} AND {first - 2 * rows + 3}",
                        )
                        run(connection, f"DELETE FROM t WHERE id BETWEEN {first - 5 * rows} AND {first - 5 * rows + 8}")
                    first += rows
                    time.sleep(0.01)
        except psycopg.Error as error:
            problems.append(f"{error.sqlstate} {error}"[:200])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(seconds)
        body()
        time.sleep(seconds)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    return problems
