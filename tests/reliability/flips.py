"""Single bits of an index's pages flipped while the server runs, one after the other: each statement gives rows or
tells of damage, whatever the bit.
"""

from __future__ import annotations

import random
import tempfile
import threading
from collections import Counter
from pathlib import Path

import psycopg

from reliability.module import can_compile, compiled
from vector_testing.data import PLAIN, Data, Opclass
from vector_testing.invariants import ALL, FEW, by_index, run
from vector_testing.results import Score
from vector_testing.server import Server

PAGE, ROWS, DIMS = 8192, 24, 4
PATIENCE, LIMIT = 5, 15
# Index corrupted; data corrupted, which is what PostgreSQL itself says of a page that cannot be read.
DAMAGE = {"XX002", "XX001"}
# What PostgreSQL says, without a code of its own, of a row gigabytes behind the end of the table.
FAR = "previous segment is only"

# Pages are changed in the server's memory, and put back from a copy: hundreds of flips take seconds.
BODY = """
#include "access/relation.h"
#include "catalog/storage.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(save);
PG_FUNCTION_INFO_V1(restore);
PG_FUNCTION_INFO_V1(flip);
PG_FUNCTION_INFO_V1(page);

static char *saved;
static BlockNumber blocks;

static void with_page(Relation rel, BlockNumber block, char *to, const char *from, int at, int mask)
{
	Buffer buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, NULL);
	char *bytes;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	bytes = (char *) BufferGetPage(buffer);
	if (to)
		memcpy(to, bytes, BLCKSZ);
	if (from)
		memcpy(bytes, from, BLCKSZ);
	bytes[at] ^= mask;
	if (from || mask)
		MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);
}

Datum save(PG_FUNCTION_ARGS)
{
	Relation rel = relation_open(PG_GETARG_OID(0), AccessExclusiveLock);

	blocks = RelationGetNumberOfBlocks(rel);
	saved = realloc(saved, (size_t) blocks * BLCKSZ);
	for (BlockNumber block = 0; block < blocks; block++)
		with_page(rel, block, saved + (size_t) block * BLCKSZ, NULL, 0, 0);
	relation_close(rel, NoLock);
	PG_RETURN_INT32(blocks);
}

Datum restore(PG_FUNCTION_ARGS)
{
	Relation rel = relation_open(PG_GETARG_OID(0), AccessExclusiveLock);

	if (RelationGetNumberOfBlocks(rel) > blocks)
		RelationTruncate(rel, blocks);
	for (BlockNumber block = 0; block < blocks; block++)
		with_page(rel, block, NULL, saved + (size_t) block * BLCKSZ, 0, 0);
	CacheInvalidateRelcache(rel);
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}

Datum flip(PG_FUNCTION_ARGS)
{
	Relation rel = relation_open(PG_GETARG_OID(0), AccessExclusiveLock);

	with_page(rel, PG_GETARG_INT32(1), NULL, NULL, PG_GETARG_INT32(2), PG_GETARG_INT32(3));
	/* what backends remember of the index is forgotten */
	CacheInvalidateRelcache(rel);
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}

Datum page(PG_FUNCTION_ARGS)
{
	if (PG_GETARG_INT32(0) >= blocks)
		elog(ERROR, "no such page");
	/* a text has the form of a bytea */
	PG_RETURN_TEXT_P(cstring_to_text_with_len(saved + (size_t) PG_GETARG_INT32(0) * BLCKSZ, BLCKSZ));
}
"""


def spots(pages: list[bytes], random_: random.Random) -> list[tuple[int, int, int]]:
    """Every bit that means something, as (block, byte, mask): each byte once with one of its bits before any with
    another; page headers and line pointers early.
    """
    found = []
    for block, content in enumerate(pages):
        lower, upper = (int.from_bytes(content[at : at + 2], "little") for at in (12, 14))
        for byte in [*range(lower), *range(upper, PAGE)]:
            bits = random_.sample(range(8), 8)
            early = 0 if byte < 40 or byte >= PAGE - 8 else 1
            found += [(turn * 2 + early, random_.random(), block, byte, 1 << bit) for turn, bit in enumerate(bits)]
    return [(block, byte, mask) for _, _, block, byte, mask in sorted(found)]


def statements(am: str, query: str) -> list[tuple[str, list[str], str]]:
    nearest = f"SELECT id FROM t ORDER BY v <-> '{query}'"
    return [
        ("search", FEW[am], f"{nearest} LIMIT 10"),
        ("search over everything", ALL[am], nearest),
        ("insert", [], "INSERT INTO t SELECT 1000 + id, v FROM t WHERE id <= 2"),
        ("delete", [], "DELETE FROM t WHERE id >= 1000"),
        ("vacuum", [], "VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) t"),
        ("insert after vacuum", [], "INSERT INTO t SELECT 1000 + id, v FROM t WHERE id <= 1"),
        ("checker", [], f"SELECT * FROM {am}_check('i', true)"),
    ]


def cycle(prefix: str, score: Score, opclass: Opclass, options, library: str) -> None:
    am, random_ = opclass.am, random.Random(options.seed)
    with Server(prefix, "flips", {"shared_buffers": "32MB", "restart_after_crash": "on"}) as server:
        connection = server.connect()
        run(
            connection,
            "CREATE EXTENSION vector",
            f"CREATE TABLE t (id int, v vector({DIMS}))",
            f"CREATE FUNCTION save(regclass) RETURNS int LANGUAGE c AS '{library}'",
            f"CREATE FUNCTION restore(regclass) RETURNS void LANGUAGE c AS '{library}'",
            f"CREATE FUNCTION flip(regclass, int, int, int) RETURNS void LANGUAGE c AS '{library}'",
            f"CREATE FUNCTION page(int) RETURNS bytea LANGUAGE c AS '{library}'",
        )
        data = Data(options.seed, DIMS)
        data.copy(connection, "t", 1, ROWS, "v")
        query = data.text(data.rows(1)[0], "v")
        with_ = " WITH (m = 4, ef_construction = 16)" if am == "hnsw" else " WITH (lists = 3)"
        # A row that is gone leaves what is deleted, and room that is used again.
        run(
            connection,
            f"CREATE INDEX i ON t USING {am} (v {opclass.name}){with_}",
            "DELETE FROM t WHERE id = 5",
            "VACUUM (INDEX_CLEANUP ON) t",
        )
        state: dict[str, list[bytes]] = {}

        def begin(connection: psycopg.Connection) -> None:
            run(connection, f"SET statement_timeout = '{PATIENCE}s'")
            count = connection.execute("SELECT save('i')").fetchone()[0]
            state["pages"] = [connection.execute("SELECT page(%s)", (number,)).fetchone()[0] for number in range(count)]

        begin(connection)
        order = spots(state["pages"], random_)
        outcomes: Counter[str] = Counter()
        bad: list[str] = []
        done = 0
        # About as many as a quiet machine does in that time.
        for block, byte, mask in order[: int(options.seconds * 10)]:
            if len(bad) >= 10:
                break
            killer = threading.Timer(LIMIT, server.kill_backend, [connection.info.backend_pid])
            killer.start()
            run(connection, f"SELECT flip('i', {block}, {byte}, {mask})")
            for what, settings, statement in statements(am, query):
                try:
                    if settings:
                        by_index(connection, settings)
                    connection.execute(statement)
                    outcomes["answered"] += 1
                except psycopg.Error as error:
                    code = error.sqlstate
                    outcomes[code or "lost"] += 1
                    if code not in DAMAGE and FAR not in str(error):
                        bad.append(
                            f"{what} (block {block}, byte {byte}, mask {mask}): {code or 'connection lost'} {str(error).strip()[:150]}"
                        )
                    if connection.closed or connection.broken:
                        break
            killer.cancel()
            if connection.closed or connection.broken:
                if killer.ident is not None:
                    killer.join()
                # What was flipped may have been written: begin with a new index.
                connection = server.connect()
                run(
                    connection,
                    "DROP INDEX IF EXISTS i",
                    "DELETE FROM t WHERE id >= 1000",
                    f"CREATE INDEX i ON t USING {am} (v {opclass.name}){with_}",
                )
                begin(connection)
                continue
            run(connection, "SELECT restore('i')", "DELETE FROM t WHERE id >= 1000")
            done += 1
        connection.close()
        share = f"{done} of {len(order)} bits, {dict(outcomes)}"
        score.check(
            f"{am}: a flipped bit crashes nothing, hangs nothing, and is told as damage or not at all",
            not bad,
            "; ".join(bad[:4]) or share,
        )
        score.check(
            f"{am}: bits were flipped, and damage was noticed",
            done >= min(50, options.seconds * 9) and outcomes["XX002"] > 5,
            share,
        )
        score.check(f"{am}: nothing unexpected in the server's log", not server.trouble(), server.trouble()[:3])


def test(prefix: str, score: Score, ams: list[str], options) -> None:
    if not can_compile(prefix):
        score.skip("flips", "there is no C compiler here, or the server's headers are missing")
        return
    with tempfile.TemporaryDirectory(prefix="vector-flips-") as directory:
        library = compiled(prefix, "flips", BODY, Path(directory))
        for am in ams:
            cycle(prefix, score, PLAIN[am], options, library)
