"""Private clusters through scripts/pg.sh, as context managers: whatever happens, the server stops and its files go."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from vector_testing.pg import environment, pg_sh

# Reproducible and quiet: nothing runs that we did not ask for.
SETTINGS = {
    "autovacuum": "off",
    "max_connections": "20",
    "shared_buffers": "128MB",
    "max_wal_size": "4GB",
    "log_min_messages": "panic",
    "timezone": "UTC",
    "lc_messages": "C",
    "jit": "off",
}


class Cluster:
    def __init__(self, prefix: str, name: str, settings: dict[str, str] | None = None):
        self.prefix = prefix
        self.settings = SETTINGS | (settings or {})
        self.base = Path(tempfile.mkdtemp(prefix=f"vector-{name}-"))
        self.running = False

    def start(self) -> None:
        arguments = [part for key, value in self.settings.items() for part in ("-c", f"{key}={value}")]
        pg_sh("cluster", "start", self.prefix, str(self.base), *arguments)
        self.running = True
        words = pg_sh("cluster", "env", str(self.base)).split()
        self.socket = next(w.partition("=")[2] for w in words if w.startswith("PGHOST="))

    def stop(self) -> None:
        if self.running:
            self.running = False
            pg_sh("cluster", "stop", str(self.base))

    def copy_data_of(self, stopped: Cluster) -> None:
        subprocess.run(["cp", "-a", str(stopped.base / "data"), str(self.base / "data")], check=True)

    def conninfo(self, dbname: str = "postgres") -> str:
        return f"host={self.socket} port=5432 user=postgres dbname={dbname} client_encoding=UTF8"

    def psql(
        self, text: str, dbname: str = "postgres", *options: str, stop: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Gives `text` to psql: rows without headings, errors among them. With `stop` the first error is the last word,
        and the exit code.
        """
        command = [
            f"{self.prefix}/bin/psql",
            "-XqAt",
            *(["-v", "ON_ERROR_STOP=1"] if stop else []),
            *options,
            "-d",
            self.conninfo(dbname),
        ]
        return subprocess.run(
            command,
            input=text,
            env=environment(self.prefix),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def remove(self) -> None:
        try:
            pg_sh("cluster", "stop", str(self.base), "--remove")
        finally:
            shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self) -> Cluster:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_exc) -> None:
        self.remove()
