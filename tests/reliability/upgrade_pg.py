"""pg_upgrade from an older major with live indexes: their files are taken over as they are."""

from __future__ import annotations

import shutil

from vector_testing.data import OPCLASSES, Data
from vector_testing.invariants import exact, run
from vector_testing.results import Score
from vector_testing.server import Server

MODES = ["--copy", "--link"]


def upgrade(score: Score, old_prefix: str, new_prefix: str, mode: str, ams: list[str], seed: int) -> None:
    opclasses = [opclass for opclass in OPCLASSES if opclass.am in ams]
    old = Server(old_prefix, "old", {"max_wal_size": "1GB"})
    new = Server(new_prefix, "new", {"max_wal_size": "1GB"})
    try:
        old.start()
        connection, data = old.connect(), Data(seed)
        before, sums = (
            connection.execute(f"SHOW {setting}").fetchone()[0] for setting in ("server_version", "data_checksums")
        )
        run(
            connection,
            "CREATE EXTENSION vector",
            "CREATE TABLE t (id int, v vector(16), h halfvec(16), s sparsevec(48), b bit(64))",
        )
        data.copy(connection, "t", 1, 1500)
        run(
            connection,
            *(
                f"CREATE INDEX i{number} ON t USING {o.am} ({o.column} {o.name}){o.options}"
                for number, o in enumerate(opclasses)
            ),
        )
        # with a past: inserted into, vacuumed, places used again; and rows that are dead but not vacuumed
        data.copy(connection, "t", 2000, 300)
        run(connection, "DELETE FROM t WHERE id % 4 = 0", "VACUUM t")
        data.copy(connection, "t", 3000, 200)
        run(connection, "DELETE FROM t WHERE id % 7 = 0")
        wanted = {row[0] for row in connection.execute("SELECT id FROM t")}
        connection.close()
        old.stop()

        # the new one must have checksums if the old has, and must not if not
        new.start()
        connection = new.connect()
        after = connection.execute("SHOW server_version").fetchone()[0]
        same = connection.execute("SHOW data_checksums").fetchone()[0] == sums
        connection.close()
        new.stop()
        name = f"pg_upgrade {mode} from {before.split()[0]} to {after.split()[0]}"
        if not same:
            new.checksums("--enable" if sums == "on" else "--disable", "-N")
        for server in (old, new):
            server.base.chmod(0o777)
        sockets = new.base / "u"
        sockets.mkdir()
        sockets.chmod(0o777)
        done = new.tool(
            "pg_upgrade",
            "-b",
            f"{old_prefix}/bin",
            "-B",
            f"{new_prefix}/bin",
            "-d",
            str(old.base / "data"),
            "-D",
            str(new.base / "data"),
            "-U",
            "postgres",
            "-s",
            str(sockets),
            mode,
            cwd=str(sockets),
        )
        for server in (old, new):
            server.base.chmod(0o700)
        if not score.check(name, done.returncode == 0, done.stdout[-900:] if done.returncode else ""):
            return
        new.start()
        connection = new.connect()
        for number, opclass in enumerate(opclasses):
            exact(score, f"{name}: {opclass.am} {opclass.name}", connection, opclass, wanted, index=f"i{number}")
        run(connection, "VACUUM ANALYZE t")
        data.copy(connection, "t", 5000, 300)
        wanted |= set(range(5000, 5300))
        run(connection, "DELETE FROM t WHERE id % 5 = 0", "VACUUM t")
        wanted = {number for number in wanted if number % 5}
        for number, opclass in enumerate(opclasses):
            exact(
                score, f"{name}, gone on: {opclass.am} {opclass.name}", connection, opclass, wanted, index=f"i{number}"
            )
        connection.close()
        score.check(f"{name}: nothing unexpected in the log", not new.trouble(), new.trouble()[:3])
    finally:
        for server in (old, new):
            server.remove()
            shutil.rmtree(server.base, ignore_errors=True)


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    if not (options.old and options.new):
        score.skip("upgrade_pg", "needs an old and a new major")
        return
    for mode in MODES if options.rounds > 3 else MODES[1:]:
        upgrade(score, options.old, options.new, mode, ams, options.seed)
