"""A connection at libpq's level with the CPU clock of the backend behind it; errors are exceptions."""

from __future__ import annotations

from psycopg import pq
from psycopg.pq import ExecStatus

from vector_testing import process
from vector_testing.cluster import Cluster


class Session:
    """One connection and the CPU clock of the backend behind it."""

    def __init__(self, cluster: Cluster, dbname: str = "postgres"):
        self.conn = pq.PGconn.connect(cluster.conninfo(dbname).encode())
        if self.conn.status != pq.ConnStatus.OK:
            raise RuntimeError(self.conn.error_message)
        self.pid = self.conn.backend_pid

    def close(self) -> None:
        self.conn.finish()

    def cpu(self) -> float:
        """Seconds of CPU of the backend, all its threads included."""
        return process.cpu(self.pid)

    def must(self, sql: str):
        return self._checked(self.conn.exec_(sql.encode()), sql)

    def _checked(self, result, sql: str):
        if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            raise RuntimeError(f"{sql[:200]}: {result.error_message.decode()}")
        return result

    def prepare(self, name: str, sql: str) -> None:
        self._checked(self.conn.prepare(name.encode(), sql.encode()), sql)

    def execute(self, name: str, parameters: list[bytes]):
        formats = [pq.Format.BINARY] * len(parameters)
        return self._checked(self.conn.exec_prepared(name.encode(), parameters, formats, pq.Format.BINARY), name)

    def copy_in(self, sql: str, data: bytes) -> None:
        if self.conn.exec_(sql.encode()).status != ExecStatus.COPY_IN:
            raise RuntimeError(f"{sql}: {self.conn.error_message.decode()}")
        for at in range(0, len(data), 1 << 20):
            self.conn.put_copy_data(data[at : at + (1 << 20)])
        self.conn.put_copy_end()
        while (result := self.conn.get_result()) is not None:
            self._checked(result, sql)

    def copy_out(self, sql: str) -> int:
        if self.conn.exec_(sql.encode()).status != ExecStatus.COPY_OUT:
            raise RuntimeError(f"{sql}: {self.conn.error_message.decode()}")
        size = 0
        while True:
            length, _ = self.conn.get_copy_data(0)
            if length <= 0:
                break
            size += length
        while (result := self.conn.get_result()) is not None:
            self._checked(result, sql)
        return size
