#!/usr/bin/env python3
"""Compares the drawing of imports in docs/ARCHITECTURE.md with the code. Prints every difference; silence means they
agree.

The drawing is a fenced block that begins with the line "imports: PATH"; each line below names a module and what it
imports. A module is a file or folder directly below PATH; tests do not count.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "ARCHITECTURE.md"


def modules(path: Path) -> dict[str, list[Path]]:
    """The files of each module below `path`."""
    found: dict[str, list[Path]] = {}
    for entry in sorted(path.iterdir()):
        name = entry.stem if entry.is_file() else entry.name
        if name in ("lib", "tests") or (entry.is_file() and entry.suffix != ".rs"):
            continue
        files = [entry] if entry.is_file() else sorted(entry.rglob("*.rs"))
        if files:
            found.setdefault(name, []).extend(files)
    return found


def shipped(text: str) -> str:
    """The code of a file without comments, and without its test module, which ends it."""
    text = re.split(r"^#\[cfg\((?:any\()?(?:test|feature = \"pg_test\")", text, maxsplit=1, flags=re.M)[0]
    return re.sub(r"//.*", "", text)


def imports(path: Path) -> dict[str, set[str]]:
    """What each module below `path` names of the others, through `crate::`."""
    all_modules = modules(path)
    found = {}
    for name, files in all_modules.items():
        named: set[str] = set()
        for file in files:
            if file.stem.endswith("tests") or "tests" in file.relative_to(path).parts[:-1]:
                continue
            code = shipped(file.read_text(encoding="utf-8"))
            named.update(re.findall(r"\bcrate::([a-z_0-9]+)", code))
            for group in re.findall(r"\bcrate::\{([^;]*)\}", code):
                named.update(re.findall(r"(?:^|,)\s*([a-z_0-9]+)", re.sub(r"\{[^{}]*\}", "", group)))
        found[name] = (named & set(all_modules)) - {name}
    return found


def drawings(text: str) -> dict[str, dict[str, set[str]]]:
    found = {}
    for body in re.findall(r"^```\n(imports: .*?)^```", text, flags=re.M | re.S):
        head, *lines = body.splitlines()
        drawn = {}
        for line in lines:
            name, _, named = line.partition("->")
            drawn[name.strip()] = set(named.replace("(nothing)", "").split())
        found[head.removeprefix("imports: ").strip()] = drawn
    return found


def main() -> int:
    drawn = drawings(DOCUMENT.read_text(encoding="utf-8"))
    if not drawn:
        print(f"{DOCUMENT.name} has no drawing of imports")
    for path, lines in drawn.items():
        actual = imports(ROOT / path)
        for name in sorted(set(actual) | set(lines)):
            if name not in actual:
                print(f"{path}: the drawing has {name}, the code has not")
            elif name not in lines:
                print(f"{path}: the drawing lacks {name} -> {' '.join(sorted(actual[name])) or '(nothing)'}")
            elif actual[name] != lines[name]:
                print(
                    f"{path}: {name} -> {' '.join(sorted(actual[name])) or '(nothing)'}, drawn: {' '.join(sorted(lines[name])) or '(nothing)'}"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
