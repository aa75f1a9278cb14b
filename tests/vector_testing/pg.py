"""PostgreSQL installations, through scripts/pg.sh: what is where, and private copies with this project's build."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from vector_testing.paths import ROOT

PG_SH = ROOT / "scripts" / "pg.sh"


def pg_sh(*arguments: str) -> str:
    # Not a pipe for stderr: the server could inherit it, and reading would wait for the server's end.
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(
            [str(PG_SH), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        if done.returncode != 0:
            errors.seek(0)
            raise RuntimeError(f"pg.sh {' '.join(arguments)}: {errors.read().strip()}")
    return done.stdout


def pg_config(prefix: str, *questions: str) -> str:
    """What that installation's pg_config answers."""
    return subprocess.run(
        [f"{prefix}/bin/pg_config", *questions], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def environment(prefix: str) -> dict[str, str]:
    """The environment in which an installation's own programs find its libraries."""
    return os.environ | {"LD_LIBRARY_PATH": pg_config(prefix, "--libdir")}


def major_of(prefix: str) -> int:
    """The major version, 13 for instance."""
    return int(pg_config(prefix, "--version").split()[1].split(".")[0])


def copied(name: str | int, where: Path) -> str:
    """The prefix of a private copy of an embedded PostgreSQL: a major, or peer-16, peer-18."""
    return pg_sh("copy", str(name), str(where)).strip()


def install(prefix: str, *options: str) -> str:
    """Builds the extension for that PostgreSQL and installs it there."""
    pg_sh("install", f"{prefix}/bin/pg_config", *options)
    return prefix


def given() -> str | None:
    """The prefix of the PostgreSQL of PG_CONFIG; None where none is given."""
    if not (path := os.environ.get("PG_CONFIG")):
        return None
    found = subprocess.run([path, "--bindir"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    return str(Path(found.stdout.strip()).parent)


def peer(major: int) -> str:
    """The prefix of a PostgreSQL that carries pgvector."""
    return pg_sh("peer", str(major)).strip()


def peer_pair(major: int, *options: str) -> tuple[str, str]:
    """Prefixes of one server binary, with pgvector and with this project's build, made with these options.
    VECTOR_OURS_<major> names a prefix to take as it is.
    """
    ours = os.environ.get(f"VECTOR_OURS_{major}") or install(pg_sh("peer-ours", str(major)).strip(), *options)
    return peer(major), ours
