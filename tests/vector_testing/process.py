"""What the kernel knows of a backend: memory, threads, CPU time."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path


def memory(pid: int) -> int:
    """Private bytes of a process: what it shares with others does not count."""
    found = re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    return int(found[1]) * 1024 if found else 0


def threads(pid: int) -> int:
    """How many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def cpu(pid: int) -> float:
    """Seconds that a process and its threads have worked, by the scheduler's clock; 0 when it is gone."""
    try:
        # Linux: another process's clock, in nanoseconds.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def cpu_model() -> str:
    """The CPU's name, as the kernel says it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine
