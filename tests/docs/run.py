"""Executes what the documents say: SQL blocks on a private server, links, make targets and scripts that they name.

    run.py --prefix PREFIX [DOCUMENT]...

SQL blocks of a document run in their order in a database of its own. A block ```sql fails the document when a statement fails; one that begins
with the comment "-- fails: SQLSTATE" must fail so. Prints one line per check, and "N passed, N failed".
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "differential"))

from cluster import Cluster

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


class Score:
    def __init__(self) -> None:
        self.passed = self.failed = 0

    def check(self, name: str, ok: bool, detail: str = "") -> None:
        self.passed, self.failed = self.passed + ok, self.failed + (not ok)
        print(f"{'ok' if ok else 'not ok'} - {name}{f' ({detail.strip()[:500]})' if detail and not ok else ''}", flush=True)


def documents() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return [ROOT / name for name in listed if (ROOT / name).exists()]


def links(score: Score, document: Path) -> None:
    """Relative links lead to files, fragments to headings of the document they name."""
    text = re.sub(FENCE, "", document.read_text(encoding="utf-8"))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists():
            broken.append(target)
        elif fragment and file.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.M)
            slugs = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
            if fragment not in slugs:
                broken.append(target)
    score.check(f"{document.relative_to(ROOT)}: links lead somewhere", not broken, ", ".join(broken))


def commands(score: Score, document: Path) -> None:
    """Make targets and scripts that shell blocks name exist."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    missing = []
    for language, body in FENCE.findall(document.read_text(encoding="utf-8")):
        if language not in ("sh", "bash"):
            continue
        for line in body.splitlines():
            line = line.partition("#")[0]
            for words in re.findall(r"\bmake((?: +[A-Za-z_][\w=./${}\"()-]*)*)", line):
                missing += [f"make {word}" for word in words.split() if "=" not in word and word not in targets]
            missing += [script for script in re.findall(r"(?<![\w/.-])(scripts/[\w.-]+)", line) if not (ROOT / script).exists()]
    score.check(f"{document.relative_to(ROOT)}: commands exist", not missing, ", ".join(missing))


def sql(score: Score, cluster: Cluster, document: Path) -> None:
    blocks = [(match.group(2), document.read_text(encoding="utf-8")[: match.start()].count("\n") + 1) for match in FENCE.finditer(document.read_text(encoding="utf-8")) if match.group(1) == "sql"]
    if not blocks:
        return
    name = re.sub(r"\W", "_", str(document.relative_to(ROOT).with_suffix(""))).lower()
    psql(cluster, "postgres", f'CREATE DATABASE "{name}"')
    psql(cluster, name, "CREATE EXTENSION vector")
    session = ""
    for body, line in blocks:
        # Settings and temporary tables of earlier blocks hold on, as for somebody who types along.
        wanted = re.match(r"-- fails: (\w{5})", body)
        session += f"\\set ON_ERROR_STOP {'off' if wanted else 'on'}\n\\set VERBOSITY {'sqlstate' if wanted else 'default'}\n\\echo block at line {line}\n{body}\n"
    result = psql(cluster, name, session)
    parts = re.split(r"^block at line (\d+)$", result.stdout, flags=re.M)
    seen = {int(number): output for number, output in zip(parts[1::2], parts[2::2], strict=True)}
    for body, line in blocks:
        output, wanted = seen.get(line), re.match(r"-- fails: (\w{5})", body)
        errors = re.findall(r"ERROR: .*", output or "")
        good = output is not None and (any(wanted.group(1) in error for error in errors) if wanted else not errors)
        score.check(f"{document.relative_to(ROOT)}:{line}: SQL runs", good, "never reached" if output is None else " ".join(errors) or "no error")


def reference(score: Score, cluster: Cluster) -> None:
    """docs/reference.md says what the catalog says."""
    psql(cluster, "postgres", "CREATE DATABASE reference")
    psql(cluster, "reference", "CREATE EXTENSION vector")
    printed = psql(cluster, "reference", (ROOT / "tests" / "docs" / "reference.sql").read_text(encoding="utf-8")).stdout
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8").partition("\n---\n\n")[2]
    differences = [line for line in difflib.unified_diff(written.splitlines(), printed.splitlines(), lineterm="", n=0) if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    score.check("docs/reference.md agrees with the catalog", not differences, "; ".join(differences[:6]))


def psql(cluster: Cluster, database: str, text: str) -> subprocess.CompletedProcess[str]:
    libdir = subprocess.run([f"{cluster.prefix}/bin/pg_config", "--libdir"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    command = [f"{cluster.prefix}/bin/psql", "-XqAt", "-d", cluster.conninfo(database)]
    return subprocess.run(command, input=text, env=os.environ | {"LD_LIBRARY_PATH": libdir}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", required=True, help="a PostgreSQL with the extension installed")
    parser.add_argument("documents", nargs="*", type=Path)
    options = parser.parse_args()
    score = Score()
    chosen = [path.resolve() for path in options.documents] or documents()
    for document in chosen:
        links(score, document)
        commands(score, document)
    with Cluster(options.prefix, "docs", {}) as cluster:
        for document in chosen:
            sql(score, cluster, document)
        reference(score, cluster)
    print(f"{score.passed} passed, {score.failed} failed")
    return 1 if score.failed else 0


if __name__ == "__main__":
    sys.exit(main())
