"""Private clusters through scripts/pg.sh, as context managers: whatever happens, the server stops and its files go."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

PG_SH = Path(__file__).resolve().parents[2] / "scripts" / "pg.sh"

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


def pg_sh(*arguments: str) -> str:
    # Not a pipe for stderr: the server could inherit it, and reading would wait for the server's end.
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run([str(PG_SH), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
        if done.returncode != 0:
            errors.seek(0)
            raise RuntimeError(f"pg.sh {' '.join(arguments)}: {errors.read().strip()}")
    return done.stdout


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

    def copy_data_of(self, stopped: "Cluster") -> None:
        subprocess.run(["cp", "-a", str(stopped.base / "data"), str(self.base / "data")], check=True)

    def conninfo(self, dbname: str = "postgres") -> str:
        return f"host={self.socket} port=5432 user=postgres dbname={dbname} client_encoding=UTF8"

    def remove(self) -> None:
        try:
            pg_sh("cluster", "stop", str(self.base), "--remove")
        finally:
            shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self) -> "Cluster":
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_exc) -> None:
        self.remove()
