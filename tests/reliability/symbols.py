"""Another library in the backend, loaded first, that exports every symbol of ours: nothing of it may ever be used."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

from reliability.module import can_compile, compiled
from vector_testing.data import COLUMNS, OPCLASSES, Data
from vector_testing.invariants import invariants, run
from vector_testing.pg import pg_config
from vector_testing.results import Score
from vector_testing.server import Server

ROWS = 300
# What the loader looks up in each library by itself.
OWN = {"Pg_magic_func", "_PG_init", "_PG_fini", "_init", "_fini"}
# A record that fmgr refuses, and a function that nobody may call.
INFO = "const Pg_finfo_record *{name}(void); const Pg_finfo_record *{name}(void) {{ static const Pg_finfo_record none = {{99}}; return &none; }}\n"
FUNCTION = 'Datum {name}(PG_FUNCTION_ARGS); Datum {name}(PG_FUNCTION_ARGS) {{ elog(ERROR, "{name} of another library was called"); }}\n'


def exported(library: Path) -> list[str]:
    lines = subprocess.run(
        ["nm", "-D", "--defined-only", str(library)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()
    return sorted(
        {words[2].partition("@")[0] for line in lines if len(words := line.split()) == 3 and words[1] in "TtDdBbRr"}
        - OWN
    )


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    if not can_compile(prefix) or not shutil.which("nm"):
        score.skip("symbols", "there is no C compiler here")
        return
    names = exported(Path(pg_config(prefix, "--pkglibdir")) / "vector.so")
    score.check(
        "the library's symbols are known",
        {"l1_distance", "hamming_distance", "pg_finfo_hnswhandler"} <= set(names),
        len(names),
    )
    with tempfile.TemporaryDirectory(prefix="vector-symbols-") as directory:
        body = "".join((INFO if name.startswith("pg_finfo_") else FUNCTION).format(name=name) for name in names)
        library = compiled(prefix, "other", body, Path(directory))
        with Server(prefix, "symbols", {"session_preload_libraries": library}) as server:
            connection = server.connect()
            data = Data(options.seed)
            run(connection, "CREATE EXTENSION vector", f"CREATE TABLE t ({COLUMNS})")
            data.copy(connection, "t", 1, ROWS)
            maps = Path(f"/proc/{connection.info.backend_pid}/maps").read_text()
            score.check("both libraries are loaded", "other.so" in maps and "vector.so" in maps)
            for opclass in OPCLASSES:
                if opclass.am not in ams:
                    continue
                name = f"{opclass.am} {opclass.name}"
                try:
                    run(
                        connection,
                        f"CREATE INDEX i ON t USING {opclass.am} ({opclass.column} {opclass.name}){opclass.options}",
                    )
                    first = connection.execute("SELECT max(id) + 1 FROM t").fetchone()[0]
                    data.copy(connection, "t", first, 20)
                    run(connection, f"DELETE FROM t WHERE id >= {first + 10}", "VACUUM t")
                    invariants(score, name, connection, data, opclass, floor=0.6, asked=5)
                except psycopg.Error as error:
                    score.check(f"{name}: built, written and read", False, str(error).strip())
                run(connection, "DROP INDEX IF EXISTS i")
            connection.close()
            score.check("nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
