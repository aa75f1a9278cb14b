"""What the reliability tests share: servers that may be killed, data of every type, and the invariants that must hold after anything."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "differential"))

from cluster import Cluster

# A killed process loses nothing that was committed: only a killed machine would need fsync.
SETTINGS = {
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "log_min_messages": "log",
    "restart_after_crash": "on",
    "max_connections": "40",
    "checkpoint_timeout": "1h",
}
DIMS, SPARSE_DIMS, BITS = 16, 48, 64


class Score:
    """Prints one line per check and counts them."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def check(self, name: str, ok: bool, detail: object = "") -> bool:
        if ok:
            self.passed += 1
        else:
            self.failed += 1
        text = f" ({str(detail)[:600]})" if detail not in ("", None) else ""
        print(f"{'ok' if ok else 'not ok'} - {name}{text}", flush=True)
        return ok

    def skip(self, name: str, why: str) -> None:
        print(f"# left out: {name}: {why}", flush=True)


class Server(Cluster):
    """A private cluster that can be killed as a whole or process by process."""

    def __init__(self, prefix: str, name: str, settings: dict[str, str] | None = None):
        super().__init__(prefix, name, SETTINGS | (settings or {}))

    def connect(self, **options) -> psycopg.Connection:
        """Waits until the server answers: it may be recovering."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return psycopg.connect(self.conninfo(), autocommit=True, prepare_threshold=None, **options)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def postmaster(self) -> int:
        return int((self.base / "data" / "postmaster.pid").read_text().split("\n", 1)[0])

    def children(self) -> list[int]:
        parent, found = self.postmaster(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[1]) == parent:
                    found.append(int(entry.name))
        return found

    def kill_backend(self, pid: int) -> None:
        """Returns when the server has thrown everybody out: a connection made earlier would be lost too."""
        if pid not in self.children():
            return
        word = "all server processes terminated; reinitializing"
        before = self.log().count(word)
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while self.log().count(word) == before and time.monotonic() < deadline:
            time.sleep(0.01)

    def kill_all(self) -> None:
        """The postmaster first, so that it cannot tidy up; then what it has left behind."""
        children, parent = self.children(), self.postmaster()
        for pid in [parent, *children]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        # Until they are reaped, a new postmaster would take them for living ones.
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in [parent, *children]) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.running = False

    def log(self) -> str:
        try:
            return (self.base / "data" / "server.log").read_text(errors="replace")
        except OSError:
            return ""

    def trouble(self) -> list[str]:
        """Lines of the log that no test expects."""
        return [line for line in self.log().splitlines() if "PANIC" in line or line.startswith("TRAP") or "signal 11" in line or "signal 6" in line]

    def tool(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of the server's own programs, as the user who runs the server."""
        libdir = subprocess.run([f"{self.prefix}/bin/pg_config", "--libdir"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        command = [f"{self.prefix}/bin/{program}", *arguments]
        if os.geteuid() == 0:
            owner = pwd.getpwuid((self.base / "data" if (self.base / "data").exists() else self.base).stat().st_uid).pw_name
            command = ["runuser", "-u", owner, "--", *command]
        return subprocess.run(command, env=os.environ | {"LD_LIBRARY_PATH": libdir}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


# --- data ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opclass:
    am: str
    name: str
    column: str
    operator: str

    @property
    def options(self) -> str:
        return " WITH (lists = 20)" if self.am == "ivfflat" else ""


_TYPES = {"vector": "v", "halfvec": "h", "sparsevec": "s", "bit": "b"}
_OPERATORS = {"l2": "<->", "ip": "<#>", "cosine": "<=>", "l1": "<+>", "hamming": "<~>", "jaccard": "<%>"}
COLUMNS = f"id int, v vector({DIMS}), h halfvec({DIMS}), s sparsevec({SPARSE_DIMS}), b bit({BITS})"


def _opclass(am: str, name: str) -> Opclass:
    kind, measure, _ = name.split("_")
    return Opclass(am, name, _TYPES[kind], _OPERATORS[measure])


OPCLASSES = [_opclass("hnsw", f"{kind}_{measure}_ops") for kind in ("vector", "halfvec", "sparsevec") for measure in ("l2", "ip", "cosine", "l1")]
OPCLASSES += [_opclass("hnsw", f"bit_{measure}_ops") for measure in ("hamming", "jaccard")]
OPCLASSES += [_opclass("ivfflat", f"{kind}_{measure}_ops") for kind in ("vector", "halfvec") for measure in ("l2", "ip", "cosine")]
OPCLASSES += [_opclass("ivfflat", "bit_hamming_ops")]
PLAIN = {am: _opclass(am, "vector_l2_ops") for am in ("hnsw", "ivfflat")}


class Data:
    """Clustered rows from a fixed seed; the same row in each type."""

    def __init__(self, seed: int, dims: int = DIMS):
        self.rng = np.random.default_rng(seed)
        self.dims = dims
        self.centres = self.rng.normal(0, 1.5, (30, dims))
        self.planes = self.rng.normal(0, 1, (dims, BITS))
        self.spread = self.rng.normal(0, 1, (dims, SPARSE_DIMS))

    def rows(self, count: int) -> np.ndarray:
        return self.centres[self.rng.integers(0, len(self.centres), count)] + self.rng.normal(0, 1, (count, self.dims))

    def text(self, row: np.ndarray, column: str) -> str:
        if column in "vh":
            return "[" + ",".join(f"{x:.4g}" for x in row) + "]"
        if column == "b":
            return "".join("1" if x > 0 else "0" for x in row @ self.planes)
        wide = row @ self.spread
        return "{" + ",".join(f"{i + 1}:{x:.4g}" for i, x in enumerate(wide) if abs(x) > 5) + f"}}/{SPARSE_DIMS}"

    def copy(self, connection: psycopg.Connection, table: str, first: int, count: int, columns: str = "vhsb") -> None:
        with connection.cursor() as cursor, cursor.copy(f"COPY {table} (id, {', '.join(columns)}) FROM STDIN") as copy:
            for number, row in enumerate(self.rows(count)):
                copy.write_row([first + number, *(self.text(row, column) for column in columns)])


# --- invariants ---------------------------------------------------------------------------------------------------------

# Everything that the index holds, nearest first.
ALL = {
    "hnsw": ["SET hnsw.iterative_scan = relaxed_order", "SET hnsw.max_scan_tuples = 2147483647", "SET hnsw.scan_mem_multiplier = 1000", "SET hnsw.ef_search = 200"],
    "ivfflat": ["SET ivfflat.probes = 32768"],
}
FEW = {"hnsw": ["SET hnsw.iterative_scan = off", "SET hnsw.ef_search = 20"], "ivfflat": ["SET ivfflat.probes = 6"]}
# Recall of ten neighbours with FEW.
FLOOR = {"hnsw": 0.93, "ivfflat": 0.85}
# The share of rows that a scan over everything finds when pgvector's library makes it; ours finds all. By inner product short vectors
# are nobody's near neighbour, and graphs of pgvector lose some percent of them.
REACHED, REACHED_IP = 0.995, 0.93
# What the check says of rows that only the pass over the pages finds: possible where pgvector's library changed the graph.
UNREACHED = ("out of reach", "a descent can end")


def run(connection: psycopg.Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


def by_index(connection: psycopg.Connection, settings: list[str]) -> None:
    run(connection, "SET enable_indexscan = on", "SET enable_seqscan = off", *settings)


def by_table(connection: psycopg.Connection) -> None:
    run(connection, "SET enable_indexscan = off", "SET enable_seqscan = on")


def is_ours(connection: psycopg.Connection) -> bool:
    """Whether the library is this project's, whatever the catalog says."""
    connection.execute("SELECT '[1]'::vector")
    return connection.execute("SELECT current_setting('hnsw.build_seed', true)").fetchone()[0] is not None


def index_problems(connection: psycopg.Connection, am: str, index: str, anchored: bool = True) -> list[str] | None:
    """What the extension's own checker says; None where there is none. `anchored`: pgvector's library did not touch the index."""
    if connection.execute(f"SELECT to_regprocedure('{am}_check(regclass, boolean)')").fetchone()[0] is None:
        return None
    try:
        problems = [str(row) for row in connection.execute(f"SELECT * FROM {am}_check('{index}', true)").fetchall()]
    except psycopg.errors.UndefinedFunction:
        # The catalog is this project's, the library is not.
        return None
    return [problem for problem in problems if anchored or not any(words in problem for words in UNREACHED)]


def recall(connection: psycopg.Connection, table: str, opclass: Opclass, queries: list[str], count: int = 10, where: str = "") -> float:
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


def invariants(score: Score, name: str, connection: psycopg.Connection, data: Data, opclass: Opclass, table: str = "t", index: str = "i", floor: float | None = None, asked: int = 20, anchored: bool = True) -> None:
    """Through exact search: every row found, none twice, near ones first; and the checker's word where there is one. `anchored`: pgvector's library
    did not touch the index."""
    column, operator = opclass.column, opclass.operator
    queries = [data.text(row, column) for row in data.rows(asked)]
    by_table(connection)
    wanted = {row[0] for row in connection.execute(f"SELECT id FROM {table} WHERE {column} IS NOT NULL")}
    by_index(connection, ALL[opclass.am])
    question = f"SELECT id FROM {table} ORDER BY {column} {operator} '{queries[0]}'"
    plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN (COSTS OFF) {question}"))
    if not score.check(f"{name}: the plan uses the index", f"Index Scan using {index} " in plan, plan if "Index Scan" not in plan else ""):
        return
    seen = [row[0] for row in connection.execute(question)]
    missing, extra = wanted - set(seen), set(seen) - wanted
    share = 1 - len(missing) / max(1, len(wanted))
    reached = 1.0 if opclass.am == "ivfflat" or is_ours(connection) else REACHED_IP if opclass.operator == "<#>" else REACHED
    score.check(f"{name}: no row twice, none that is not there", len(seen) == len(set(seen)) and not extra, f"{len(seen)} rows, {len(set(seen))} different, {len(extra)} unknown")
    score.check(f"{name}: every row found", share >= reached, f"{len(missing)} of {len(wanted)} missing")
    got = recall(connection, table, opclass, queries)
    floor = FLOOR[opclass.am] if floor is None else floor
    score.check(f"{name}: recall", got >= floor, f"{got:.3f}, at least {floor}")
    problems = index_problems(connection, opclass.am, index, anchored)
    if problems is not None:
        score.check(f"{name}: {opclass.am}_check finds nothing", not problems, "; ".join(problems[:5]))
    run(connection, "RESET ALL")
