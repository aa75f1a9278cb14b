"""Where a backend's time goes, by perf's CPU clock: shared objects and functions, for each side."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benches.sql import data
from benches.sql.exact import load
from benches.sql.measure import Pair, Session


def sampled(session: Session, statement: str, parameters: list[bytes], seconds: float) -> str:
    with tempfile.TemporaryDirectory() as directory:
        recorded = Path(directory) / "perf.data"
        recorder = subprocess.Popen(
            ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4000", "-o", str(recorded), "-p", str(session.pid)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.3)
        end, turn = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            session.execute(statement, [parameters[turn % len(parameters)]])
            turn += 1
        recorder.terminate()
        recorder.wait()
        # perf reads the file as its owner; --force accepts a server's library that belongs to somebody else.
        report = subprocess.run(
            [
                "perf",
                "report",
                "--force",
                "-i",
                str(recorded),
                "--stdio",
                "--no-children",
                "--sort",
                "dso,symbol",
                "--percent-limit",
                "1",
            ],
            capture_output=True,
            text=True,
        )
    return "\n".join(line for line in report.stdout.splitlines() if line.strip() and not line.startswith("#"))


def suite(pair: Pair, scale: float) -> list:
    if not shutil.which("perf"):
        print("perf is not installed; on Debian: apt-get install linux-perf")
        return []
    cases = [
        ("vector", data.glove()[: int(100_000 * scale)]),
        ("vector", data.clustered(100_020, 384)[: int(100_000 * scale)]),
        ("vector", data.clustered(20_020, 1536)[: int(20_000 * scale)]),
    ]
    for number, (kind, rows) in enumerate(cases):
        count, dim = rows.shape
        stream = data.copy_stream(kind, rows)
        parameters = [data.binary_value(kind, q) for q in rows[:10]]
        for who, session in zip(("pgvector", "ours"), pair.sessions):
            load(session, "profiled", kind, dim, stream)
            session.prepare(f"profile_{number}", f"SELECT id FROM profiled ORDER BY embedding <-> $1::{kind} LIMIT 10")
            session.execute(f"profile_{number}", [parameters[0]])
            print(f"--- {who}: {kind}({dim}) x {count}, ORDER BY embedding <-> $1 LIMIT 10")
            print(sampled(session, f"profile_{number}", parameters, 4.0))
            session.must("DROP TABLE profiled")
    return []
