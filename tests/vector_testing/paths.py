"""Where things are: the checkout, and what is fetched or made once."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def cache_dir(name: str) -> Path:
    """A folder of VECTOR_CACHE, made when it is missing."""
    root = os.environ.get("VECTOR_CACHE")
    if not root:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        root = "/var/cache/vector-dev" if os.geteuid() == 0 else str(home / "vector-dev")
    path = Path(root) / name
    path.mkdir(parents=True, exist_ok=True)
    return path
