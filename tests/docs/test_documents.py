"""Executes what the documents say: SQL blocks on a private server, links, make targets and scripts that they name.

SQL blocks of a document run in their order in a database of its own. A block ```sql fails the document when a statement
fails; one that begins with the comment "-- fails: SQLSTATE" must fail so.
"""

from __future__ import annotations

import difflib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vector_testing.cluster import Cluster
from vector_testing.paths import ROOT
from vector_testing.plugin import Options
from vector_testing.results import Score

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.split()
    return [ROOT / name for name in listed if (ROOT / name).exists()]


def check_links(score: Score, document: Path) -> None:
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


def check_commands(score: Score, document: Path) -> None:
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
            missing += [
                script for script in re.findall(r"(?<![\w/.-])(scripts/[\w.-]+)", line) if not (ROOT / script).exists()
            ]
    score.check(f"{document.relative_to(ROOT)}: commands exist", not missing, ", ".join(missing))


def check_sql(score: Score, cluster: Cluster, document: Path) -> None:
    blocks = [
        (match.group(2), document.read_text(encoding="utf-8")[: match.start()].count("\n") + 1)
        for match in FENCE.finditer(document.read_text(encoding="utf-8"))
        if match.group(1) == "sql"
    ]
    if not blocks:
        return
    name = re.sub(r"\W", "_", str(document.relative_to(ROOT).with_suffix(""))).lower()
    cluster.psql(f'CREATE DATABASE "{name}"')
    cluster.psql("CREATE EXTENSION vector", name)
    session = ""
    for body, line in blocks:
        # Settings and temporary tables of earlier blocks hold on, as for somebody who types along.
        wanted = re.match(r"-- fails: (\w{5})", body)
        session += f"\\set ON_ERROR_STOP {'off' if wanted else 'on'}\n\\set VERBOSITY {'sqlstate' if wanted else 'default'}\n\\echo block at line {line}\n{body}\n"
    result = cluster.psql(session, name)
    parts = re.split(r"^block at line (\d+)$", result.stdout, flags=re.M)
    seen = {int(number): output for number, output in zip(parts[1::2], parts[2::2], strict=True)}
    for body, line in blocks:
        output, wanted = seen.get(line), re.match(r"-- fails: (\w{5})", body)
        errors = re.findall(r"ERROR: .*", output or "")
        good = output is not None and (any(wanted.group(1) in error for error in errors) if wanted else not errors)
        score.check(
            f"{document.relative_to(ROOT)}:{line}: SQL runs",
            good,
            "" if good else "never reached" if output is None else " ".join(errors) or "no error",
        )


def check_reference(score: Score, cluster: Cluster) -> None:
    """docs/reference.md says what the catalog says."""
    cluster.psql("CREATE DATABASE reference")
    cluster.psql("CREATE EXTENSION vector", "reference")
    printed = cluster.psql((ROOT / "tests" / "docs" / "reference.sql").read_text(encoding="utf-8"), "reference").stdout
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8").partition("\n---\n\n")[2]
    differences = [
        line
        for line in difflib.unified_diff(written.splitlines(), printed.splitlines(), lineterm="", n=0)
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    score.check("docs/reference.md agrees with the catalog", not differences, "; ".join(differences[:6]))


@pytest.fixture(scope="module")
def cluster(options: Options) -> Iterator[Cluster]:
    with Cluster(options.prefix, "docs") as started:
        yield started


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "document" in metafunc.fixturenames:
        chosen = [Path(name).resolve() for name in metafunc.config.option.document] or documents()
        metafunc.parametrize("document", chosen, ids=lambda path: str(path.relative_to(ROOT)))


def test_document(document: Path, cluster: Cluster, score: Score) -> None:
    check_links(score, document)
    check_commands(score, document)
    check_sql(score, cluster, document)


def test_reference(cluster: Cluster, score: Score) -> None:
    check_reference(score, cluster)
