"""asyncpg: everything binary, every statement prepared, COPY of records."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from pgvector import Bit
from pgvector.asyncpg import register_vector
from shared import KINDS, OPCLASSES, OPERATORS, ROWS, Kind, nearest


async def connect() -> asyncpg.Connection:
    conn = await asyncpg.connect()
    await register_vector(conn)
    return conn


def given(kind: Kind, row):
    """A value as asyncpg takes it: it has a bit string of its own."""
    return asyncpg.BitString(Bit(row.astype(bool)).to_text()) if kind.name == "bit" else kind.wrap(row)


async def fill(conn: asyncpg.Connection, kind: Kind, table: str) -> None:
    await conn.execute(f"DROP TABLE IF EXISTS {table}")
    await conn.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, category int, e {kind.column})")
    await conn.copy_records_to_table(table, records=[(n, n % 20, given(kind, row)) for n, row in enumerate(kind.rows)])
    await conn.execute(f"ANALYZE {table}")


@pytest.mark.parametrize("name", KINDS)
async def test_copy_and_read(name) -> None:
    kind = KINDS[name]
    conn = await connect()
    await fill(conn, kind, "records")
    await conn.execute("INSERT INTO records VALUES ($1, 0, $2)", ROWS, None)
    rows = await conn.fetch("SELECT e FROM records ORDER BY id")
    assert [row["e"] for row in rows] == [*(given(kind, row) for row in kind.rows), None]
    await conn.executemany(
        "INSERT INTO records VALUES ($1, 1, $2)", [(2000 + n, given(kind, row)) for n, row in enumerate(kind.rows[:20])]
    )
    assert (
        await conn.fetchval("SELECT count(*) FROM records a JOIN records b ON a.e = b.e AND a.id = b.id + 2000") == 20
    )
    await conn.close()


@pytest.mark.parametrize("name,operator,distance", OPERATORS, ids=lambda value: value if isinstance(value, str) else "")
async def test_nearest(name, operator, distance) -> None:
    kind = KINDS[name]
    conn = await connect()
    await fill(conn, kind, "near")
    opclass = next(opclass for am, other, opclass, sign in OPCLASSES if (am, other, sign) == ("hnsw", name, operator))
    await conn.execute(f"CREATE INDEX ON near USING hnsw (e {opclass})")
    await conn.execute("SET enable_seqscan = off")
    prepared = await conn.prepare(f"SELECT e {operator} $1 AS d FROM near ORDER BY e {operator} $1 LIMIT 10")
    assert "near_e_idx" in str(await prepared.explain(given(kind, kind.rows[0])))
    found = 0
    for query in kind.rows[:20]:
        got = [row["d"] for row in await prepared.fetch(given(kind, query))]
        exact = nearest(kind, distance, query)
        assert got == sorted(got)
        found += sum(d <= exact[-1] + 1e-4 * (1 + abs(exact[-1])) for d in got)
    assert found >= 190
    await conn.close()


async def test_iterative_scan_and_cursor() -> None:
    kind = KINDS["vector"]
    conn = await connect()
    await fill(conn, kind, "iterative")
    await conn.execute("CREATE INDEX ON iterative USING hnsw (e vector_l2_ops)")
    for setting in (
        "enable_seqscan = off",
        "enable_sort = off",
        "hnsw.ef_search = 10",
        "hnsw.iterative_scan = strict_order",
    ):
        await conn.execute(f"SET {setting}")
    rows = await conn.fetch(
        "SELECT id FROM iterative WHERE category = 4 ORDER BY e <-> $1 LIMIT 15", kind.wrap(kind.rows[0])
    )
    assert len(rows) == 15
    await conn.execute("SET hnsw.iterative_scan = relaxed_order")
    async with conn.transaction():
        seen = [
            row["id"]
            async for row in conn.cursor(
                "SELECT id FROM iterative ORDER BY e <-> $1", kind.wrap(kind.rows[3]), prefetch=13
            )
        ]
    assert seen[0] == 3 and sorted(seen) == list(range(ROWS))
    await conn.close()


async def test_errors_and_transactions() -> None:
    kind = KINDS["vector"]
    conn = await connect()
    await fill(conn, kind, "failing")
    with pytest.raises(asyncpg.exceptions.DataError, match="expected 24 dimensions, not 2"):
        await conn.execute("INSERT INTO failing VALUES (-1, 0, $1)", [1, 2])
    with pytest.raises(asyncpg.exceptions.DataError, match="different vector dimensions 24 and 2"):
        await conn.fetch("SELECT id FROM failing ORDER BY e <-> $1", [1, 2])
    with pytest.raises(asyncpg.exceptions.DataError, match="expected 24 dimensions, not 3"):
        await conn.copy_records_to_table("failing", records=[(-1, 0, [1, 2, 3])])
    with pytest.raises(asyncpg.exceptions.DataError, match="NaN not allowed in vector"):
        await conn.execute("INSERT INTO failing VALUES (-1, 0, $1)", [float("nan")] * 24)
    with pytest.raises(asyncpg.exceptions.NumericValueOutOfRangeError):
        await conn.fetchval("SELECT $1::vector * $1::vector", [1e30] * 24)
    with pytest.raises(asyncpg.exceptions.InvalidTextRepresentationError):
        await conn.fetchval("SELECT '[1,]'::vector")
    assert await conn.fetchval("SELECT count(*) FROM failing") == ROWS
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction():
            await conn.execute("INSERT INTO failing VALUES (-1, 0, $1)", kind.wrap(kind.rows[0]))
            raise ZeroDivisionError
    async with conn.transaction():
        await conn.execute("INSERT INTO failing VALUES (-2, 0, $1)", kind.wrap(kind.rows[0]))
        with pytest.raises(asyncpg.exceptions.DataError):
            async with conn.transaction():
                await conn.execute("INSERT INTO failing VALUES (-3, 0, $1)", [1])
    assert await conn.fetchval("SELECT array_agg(id) FROM failing WHERE id < 0") == [-2]
    await conn.close()


async def test_pool_at_once() -> None:
    kind = KINDS["halfvec"]
    async with asyncpg.create_pool(min_size=4, max_size=4, init=register_vector) as pool:
        async with pool.acquire() as conn:
            await fill(conn, kind, "shared")
            await conn.execute("CREATE INDEX ON shared USING hnsw (e halfvec_cosine_ops)")

        async def work(number: int) -> bool:
            async with pool.acquire() as conn:
                await conn.execute("SET enable_seqscan = off")
                await conn.execute(
                    "INSERT INTO shared VALUES ($1, 0, $2)", 1000 + number, kind.wrap(kind.rows[number] * 2)
                )
                rows = await conn.fetch("SELECT id FROM shared ORDER BY e <=> $1 LIMIT 2", kind.wrap(kind.rows[number]))
                return {row["id"] for row in rows} == {number, 1000 + number}

        assert all(await asyncio.gather(*(work(number) for number in range(60))))
