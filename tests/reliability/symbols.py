"""Another library in the backend, loaded first, that exports every symbol of ours: nothing of it may ever be used."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

from harness import COLUMNS, OPCLASSES, Data, Score, Server, invariants, run

ROWS = 300
# What the loader looks up in each library by itself.
OWN = {"Pg_magic_func", "_PG_init", "_PG_fini", "_init", "_fini"}
HEAD = """#include "postgres.h"
#include "fmgr.h"

PG_MODULE_MAGIC;
"""
# A record that fmgr refuses, and a function that nobody may call.
INFO = "const Pg_finfo_record *{name}(void); const Pg_finfo_record *{name}(void) {{ static const Pg_finfo_record none = {{99}}; return &none; }}\n"
FUNCTION = 'Datum {name}(PG_FUNCTION_ARGS); Datum {name}(PG_FUNCTION_ARGS) {{ elog(ERROR, "{name} of another library was called"); }}\n'


def asked(*command: str) -> str:
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def exported(library: Path) -> list[str]:
    lines = asked("nm", "-D", "--defined-only", str(library)).splitlines()
    return sorted({words[2].partition("@")[0] for line in lines if len(words := line.split()) == 3 and words[1] in "TtDdBbRr"} - OWN)


def other_library(prefix: str, names: list[str], directory: Path) -> Path:
    headers = asked(f"{prefix}/bin/pg_config", "--includedir-server")
    source, library = directory / "other.c", directory / "other.so"
    source.write_text(HEAD + "".join((INFO if name.startswith("pg_finfo_") else FUNCTION).format(name=name) for name in names))
    subprocess.run(["cc", "-shared", "-fPIC", "-w", f"-I{headers}", "-o", str(library), str(source)], check=True)
    for path in (directory, library):
        path.chmod(0o755)
    return library


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    if not all(shutil.which(program) for program in ("cc", "nm")):
        score.skip("symbols", "there is no C compiler here")
        return
    names = exported(Path(asked(f"{prefix}/bin/pg_config", "--pkglibdir")) / "vector.so")
    score.check("the library's symbols are known", {"l1_distance", "hamming_distance", "pg_finfo_hnswhandler"} <= set(names), len(names))
    with tempfile.TemporaryDirectory(prefix="vector-symbols-") as directory:
        library = other_library(prefix, names, Path(directory))
        # Without ".so", as one writes it in the configuration.
        with Server(prefix, "symbols", {"session_preload_libraries": str(library.with_suffix(""))}) as server:
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
                    run(connection, f"CREATE INDEX i ON t USING {opclass.am} ({opclass.column} {opclass.name}){opclass.options}")
                    first = connection.execute("SELECT max(id) + 1 FROM t").fetchone()[0]
                    data.copy(connection, "t", first, 20)
                    run(connection, f"DELETE FROM t WHERE id >= {first + 10}", "VACUUM t")
                    invariants(score, name, connection, data, opclass, asked=5)
                except psycopg.Error as error:
                    score.check(f"{name}: built, written and read", False, str(error).strip())
                run(connection, "DROP INDEX IF EXISTS i")
            connection.close()
            score.check("nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])
