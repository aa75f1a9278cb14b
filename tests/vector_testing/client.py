"""Runs many statements on one connection, each in its own implicit transaction, hundreds of them in flight at once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import psycopg
from psycopg import pq
from psycopg.pq import DiagnosticField as Diag
from psycopg.pq import ExecStatus

BATCH_STATEMENTS = 256
BATCH_BYTES = 1 << 20


@dataclass(slots=True)
class Param:
    """A parameter of a named type, sent in text or in binary (binary reaches the type's receive function)."""

    type: str
    data: bytes | None
    binary: bool = True


@dataclass(slots=True)
class Outcome:
    """What one statement did, in a form that can be compared between two servers."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[bytes | None, ...], ...] = ()
    error: dict[str, str] | None = None
    notices: list[str] = field(default_factory=list)
    tag: str = ""
    lost: bool = False

    def describe(self) -> str:
        if self.lost:
            return "CONNECTION LOST " + (self.error or {}).get("message", "")
        if self.error is not None:
            return "ERROR " + " | ".join(f"{k}: {v}" for k, v in self.error.items())
        text = "; ".join(
            "(" + ", ".join("NULL" if v is None else repr(v)[2:-1] for v in row) + ")" for row in self.rows
        )
        if self.notices:
            text += " notices: " + " / ".join(self.notices)
        return f"{','.join(self.columns)} {text} {self.tag}".strip()


ERROR_FIELDS = {
    "sqlstate": Diag.SQLSTATE,
    "message": Diag.MESSAGE_PRIMARY,
    "detail": Diag.MESSAGE_DETAIL,
    "hint": Diag.MESSAGE_HINT,
    "position": Diag.STATEMENT_POSITION,
    "context": Diag.CONTEXT,
    "column": Diag.COLUMN_NAME,
    "constraint": Diag.CONSTRAINT_NAME,
}


def _error_of(result) -> dict[str, str]:
    found = {}
    for name, code in ERROR_FIELDS.items():
        value = result.error_field(code)
        if value is not None:
            found[name] = value.decode("utf8", "replace")
    # Whether a worker or the leader met the bad row is chance.
    if "context" in found:
        lines = [line for line in found["context"].split("\n") if line != "parallel worker"]
        found["context"] = "\n".join(lines)
        if not lines:
            del found["context"]
    if not found:
        found["message"] = (result.error_message or b"").decode("utf8", "replace")
    return found


class Client:
    """A connection at libpq's level: no conversions, errors as values, a crash of the server as a result."""

    def __init__(self, conninfo: str, setup: list[str] | None = None):
        self.conninfo = conninfo.encode()
        self.setup = setup or []
        self._notices: list[str] = []
        self.connect()

    def connect(self) -> None:
        """Also called after a crash: the server may be recovering, or about to end this connection too."""
        problem: object = None
        for _ in range(200):
            self.conn = pq.PGconn.connect(self.conninfo)
            self.conn.notice_handler = self._on_notice
            self._types: dict[int, str] = {}
            self._oids: dict[str, int] = {}
            try:
                if self.conn.status != pq.ConnStatus.OK:
                    raise RuntimeError(self.conn.error_message.decode("utf8", "replace"))
                for statement in self.setup:
                    self.must(statement)
                return
            except (RuntimeError, psycopg.Error) as error:
                problem = error
                self.conn.finish()
                time.sleep(0.1)
        raise RuntimeError(f"cannot connect: {problem}")

    def close(self) -> None:
        self.conn.finish()

    def _on_notice(self, result) -> None:
        severity = result.error_field(Diag.SEVERITY_NONLOCALIZED) or b""
        message = result.error_field(Diag.MESSAGE_PRIMARY) or b""
        self._notices.append((severity + b": " + message).decode("utf8", "replace"))

    def load_types(self) -> None:
        """Type numbers differ between the servers, names do not."""
        for oid, name in self.must("SELECT oid, format_type(oid, NULL) FROM pg_type"):
            self._types[int(oid)] = name
            self._oids[name] = int(oid)

    def type_oid(self, name: str) -> int:
        if name not in self._oids:
            self.load_types()
        return self._oids[name]

    def type_name(self, oid: int) -> str:
        if oid not in self._types:
            self.load_types()
        return self._types.get(oid, f"type {oid}")

    def _outcome(self, result) -> Outcome:
        status = result.status
        if status == ExecStatus.TUPLES_OK:
            columns = tuple(f"{result.ftype(i)}:{result.fmod(i)}" for i in range(result.nfields))
            rows = tuple(tuple(result.get_value(r, c) for c in range(result.nfields)) for r in range(result.ntuples))
            return Outcome(columns=columns, rows=rows)
        if status == ExecStatus.COMMAND_OK:
            return Outcome(tag=(result.command_status or b"").decode())
        if status == ExecStatus.EMPTY_QUERY:
            return Outcome(tag="EMPTY")
        return Outcome(error=_error_of(result))

    def _name_columns(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.columns:
                named = []
                for column in outcome.columns:
                    oid, _, mod = column.partition(":")
                    named.append(self.type_name(int(oid)) + ("" if mod == "-1" else f"({mod})"))
                outcome.columns = tuple(named)

    def send(self, cases) -> None:
        """Puts one batch on the wire. `cases` offer .sql, .params and .binary."""
        prepared = [(case, [self.type_oid(p.type) for p in case.params]) for case in cases]
        self.conn.enter_pipeline_mode()
        for case, oids in prepared:
            self.conn.send_query_params(
                case.sql.encode(),
                [p.data for p in case.params],
                oids,
                [pq.Format.BINARY if p.binary else pq.Format.TEXT for p in case.params],
                pq.Format.BINARY if case.binary else pq.Format.TEXT,
            )
            self.conn.pipeline_sync()
        self.conn.flush()

    def receive(self, count: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while len(outcomes) < count:
            self._notices = []
            outcome = None
            while True:
                result = self.conn.get_result()
                if result is None:
                    if self.conn.status != pq.ConnStatus.OK:
                        break
                    continue
                if result.status == ExecStatus.PIPELINE_SYNC:
                    break
                outcome = self._outcome(result)
                if self.conn.status != pq.ConnStatus.OK:
                    break
            if self.conn.status != pq.ConnStatus.OK:
                outcome = outcome or Outcome(error={"message": self.conn.error_message.decode("utf8", "replace")})
                outcome.lost = True
                outcomes.append(outcome)
                # Name what arrived before the crash while the old numbers are still known.
                self.conn.finish()
                self.connect()
                self._name_columns(outcomes)
                return outcomes
            outcome = outcome or Outcome()
            outcome.notices = self._notices
            outcomes.append(outcome)
        self.conn.exit_pipeline_mode()
        self._name_columns(outcomes)
        return outcomes

    def simple(self, sql: str) -> Outcome:
        """One statement through the simple protocol (several rows, or what a pipeline cannot carry)."""
        self._notices = []
        outcome = self._outcome(self.conn.exec_(sql.encode()))
        outcome.notices = self._notices
        self._name_columns([outcome])
        return outcome

    def must(self, sql: str) -> list[tuple]:
        result = self.conn.exec_(sql.encode())
        outcome = self._outcome(result)
        if outcome.error is not None:
            raise RuntimeError(f"{sql[:200]}: {outcome.describe()}")
        return [tuple(None if v is None else v.decode() for v in row) for row in outcome.rows]

    def copy_in(self, sql: str, chunks: list[bytes]) -> Outcome:
        self._notices = []
        result = self.conn.exec_(sql.encode())
        if result.status != ExecStatus.COPY_IN:
            return self._outcome(result)
        for chunk in chunks:
            self.conn.put_copy_data(chunk)
        self.conn.put_copy_end()
        return self._drain()

    def copy_out(self, sql: str) -> tuple[Outcome, bytes]:
        result = self.conn.exec_(sql.encode())
        if result.status != ExecStatus.COPY_OUT:
            return self._outcome(result), b""
        parts = []
        while True:
            length, data = self.conn.get_copy_data(0)
            if length <= 0:
                break
            parts.append(bytes(data))
        return self._drain(), b"".join(parts)

    def _drain(self) -> Outcome:
        outcome = Outcome()
        while (result := self.conn.get_result()) is not None:
            outcome = self._outcome(result)
        outcome.notices = self._notices
        if self.conn.status != pq.ConnStatus.OK:
            outcome.lost = True
            outcome.error = outcome.error or {"message": self.conn.error_message.decode("utf8", "replace")}
            self.conn.finish()
            self.connect()
        return outcome


def batches(cases):
    """Cuts a stream of cases into batches that fit comfortably into the socket's buffers."""
    batch, size = [], 0
    for case in cases:
        batch.append(case)
        size += len(case.sql) + sum(len(p.data or b"") for p in case.params)
        if len(batch) >= BATCH_STATEMENTS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def run_both(left: Client, right: Client, cases):
    """Yields (case, left outcome, right outcome); both servers work at the same time."""
    for batch in batches(cases):
        pending = list(batch)
        while pending:
            left.send(pending)
            right.send(pending)
            one, two = left.receive(len(pending)), right.receive(len(pending))
            done = min(len(one), len(two))
            # After a crash one side answered fewer; the rest of the batch runs again on both.
            yield from zip(pending[:done], one, two)
            pending = pending[done:]
