"""Small server modules in C that tests compile for themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from vector_testing.pg import pg_config

HEAD = """#include "postgres.h"
#include "fmgr.h"

PG_MODULE_MAGIC;
"""


def can_compile(prefix: str) -> bool:
    return bool(shutil.which("cc")) and (Path(pg_config(prefix, "--includedir-server")) / "fmgr.h").exists()


def compiled(prefix: str, name: str, body: str, directory: Path) -> str:
    """The module `name`, as a path without ending, as one writes it in SQL and in the configuration."""
    headers = pg_config(prefix, "--includedir-server")
    source, library = directory / f"{name}.c", directory / f"{name}.so"
    source.write_text(HEAD + body)
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-O1", f"-I{headers}", "-o", str(library), str(source)], check=True)
    # The server runs as somebody else.
    for path in (directory, library):
        path.chmod(0o755)
    return str(library.with_suffix(""))
