"""Prints the licences of the crates that the library is made of, from the sources that cargo unpacked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def linked() -> list[dict]:
    """Returns cargo's description of each crate that is linked into the library, ours left out."""
    version = subprocess.run(["rustc", "-vV"], stdout=subprocess.PIPE, text=True, check=True).stdout
    host = next(line.split()[1] for line in version.splitlines() if line.startswith("host:"))
    told = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", host],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    metadata = json.loads(told)
    tree = subprocess.run(
        ["cargo", "tree", "--locked", "-p", "vector", "-e", "normal,no-proc-macro", "--prefix", "none", "-f", "{p}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    wanted = {tuple(line.split()[:2]) for line in tree.splitlines() if line.strip()}
    return sorted(
        (
            package
            for package in metadata["packages"]
            if package["source"] and (package["name"], f"v{package['version']}") in wanted
        ),
        key=lambda p: p["name"],
    )


def texts(folder: Path) -> list[Path]:
    """Licence and notice files; of a choice of licences MIT's, which is the shorter."""
    found = sorted(
        p
        for p in folder.iterdir()
        if p.is_file() and p.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"))
    )
    mit = [p for p in found if "MIT" in p.name.upper() or "NOTICE" in p.name.upper()]
    return mit or found


def main() -> int:
    packages = linked()
    if not packages:
        print("no crates found", file=sys.stderr)
        return 1
    print("The library vector.so contains these crates of other authors, under the licences named.\n")
    for package in packages:
        print(f"{package['name']} {package['version']}: {package['license']}")
    for package in packages:
        print(
            f"\n{'=' * 72}\n{package['name']} {package['version']} ({package['license']})\nby {', '.join(package['authors']) or 'its contributors'}\n{'=' * 72}\n"
        )
        for path in texts(Path(package["manifest_path"]).parent):
            print(path.read_text(encoding="utf-8", errors="replace").strip() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
