"""psycopg 3: both wire formats, binary COPY, cursors, pipelines, prepared statements, errors."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from pgvector import Bit, HalfVector, SparseVector, Vector
from pgvector.psycopg import register_vector, register_vector_async
from psycopg import errors
from psycopg_pool import ConnectionPool
from shared import KINDS, OPCLASSES, OPERATORS, ROWS, Kind, nearest


def fill(conn: psycopg.Connection, kind: Kind, table: str = "items") -> None:
    """By binary COPY."""
    conn.execute(f"DROP TABLE IF EXISTS {table}")
    conn.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, category int, e {kind.column})")
    with conn.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int4", "int4", kind.name])
        for number, value in enumerate(kind.values()):
            copy.write_row([number, number % 20, value])
    conn.execute(f"ANALYZE {table}")


def plan(conn: psycopg.Connection, statement: str, *parameters) -> str:
    return "\n".join(row[0] for row in conn.execute(f"EXPLAIN (COSTS OFF) {statement}", parameters))


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_round_trip(conn, name, binary) -> None:
    kind = KINDS[name]
    conn.execute(f"CREATE TEMP TABLE trip (id int, e {kind.column})")
    values = [*kind.values()[:50], None]
    place = "%b" if binary else "%t"
    with conn.cursor() as cursor:
        cursor.executemany(f"INSERT INTO trip VALUES (%s, {place})", list(enumerate(values)))
    back = [row[0] for row in conn.cursor(binary=binary).execute("SELECT e FROM trip ORDER BY id")]
    if name == "bit" and not binary:
        back = [None if value is None else Bit(value) for value in back]
    elif name == "bit":
        back = [
            value
            if value is None or isinstance(value, Bit)
            else Bit.from_binary(value)
            if isinstance(value, bytes)
            else Bit(value)
            for value in back
        ]
    assert back == values


@pytest.mark.parametrize("name", KINDS)
def test_binary_copy_both_ways(conn, name) -> None:
    kind = KINDS[name]
    fill(conn, kind)
    assert conn.execute("SELECT count(*), count(e) FROM items").fetchone() == (ROWS, ROWS)
    with (
        conn.cursor() as cursor,
        cursor.copy("COPY (SELECT e, e FROM items ORDER BY id) TO STDOUT (FORMAT binary)") as copy,
    ):
        data = b"".join(bytes(block) for block in copy)
    conn.execute(f"CREATE TEMP TABLE again (a {kind.column}, b {kind.column})")
    with conn.cursor() as cursor, cursor.copy("COPY again FROM STDIN (FORMAT binary)") as copy:
        copy.write(data)
    assert conn.execute("SELECT count(*) FROM again WHERE a = b").fetchone()[0] == ROWS
    assert conn.execute("SELECT count(*) FROM again JOIN items ON a = e").fetchone()[0] >= ROWS


@pytest.mark.parametrize("name,operator,distance", OPERATORS, ids=lambda value: value if isinstance(value, str) else "")
def test_distances(conn, name, operator, distance) -> None:
    kind = KINDS[name]
    fill(conn, kind)
    # psycopg's own placeholders begin with the sign of the Jaccard operator.
    operator = operator.replace("%", "%%")
    query = kind.rows[3]
    got = [row[0] for row in conn.execute(f"SELECT e {operator} %s FROM items ORDER BY id", (kind.wrap(query),))]
    assert got == pytest.approx([distance(row, query) for row in kind.rows], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("am,name,opclass,operator", OPCLASSES)
def test_index(conn, am, name, opclass, operator) -> None:
    kind = KINDS[name]
    distance = next(known for other, sign, known in OPERATORS if (other, sign) == (name, operator))
    operator = operator.replace("%", "%%")
    fill(conn, kind)
    conn.execute(f"CREATE INDEX ON items USING {am} (e {opclass}){' WITH (lists = 8)' if am == 'ivfflat' else ''}")
    conn.execute("SET enable_seqscan = off")
    conn.execute("SET ivfflat.probes = 8")
    found = wanted = 0
    for query in kind.rows[:10]:
        statement = f"SELECT e {operator} %s FROM items ORDER BY e {operator} %s LIMIT 10"
        value = kind.wrap(query)
        assert " Scan using items_e_idx" in plan(conn, statement, value, value)
        got = [row[0] for row in conn.execute(statement, (value, value))]
        exact = nearest(kind, distance, query)
        assert got == sorted(got)
        wanted += len(exact)
        found += sum(d <= exact[-1] + 1e-4 * (1 + abs(exact[-1])) for d in got)
    assert found / wanted >= (1.0 if am == "ivfflat" else 0.95)


def test_expression_and_partial_indexes(conn) -> None:
    kind = KINDS["vector"]
    fill(conn, kind)
    query = kind.wrap(kind.rows[5])
    conn.execute("SET enable_seqscan = off")
    for index, order in (
        ("(e::halfvec(24)) halfvec_l2_ops", "e::halfvec(24) <-> %s::halfvec(24)"),
        (
            "(binary_quantize(e)::bit(24)) bit_hamming_ops",
            "binary_quantize(e)::bit(24) <~> binary_quantize(%s::vector)::bit(24)",
        ),
        (
            "(subvector(e, 1, 8)::vector(8)) vector_cosine_ops",
            "subvector(e, 1, 8)::vector(8) <=> subvector(%s::vector, 1, 8)::vector(8)",
        ),
    ):
        conn.execute(f"CREATE INDEX expression ON items USING hnsw ({index})")
        statement = f"SELECT id FROM items ORDER BY {order} LIMIT 5"
        assert " Scan using expression" in plan(conn, statement, query)
        assert conn.execute(statement, (query,)).fetchone()[0] == 5
        conn.execute("DROP INDEX expression")
    for am in ("hnsw", "ivfflat"):
        conn.execute(
            f"CREATE INDEX part ON items USING {am} (e vector_l2_ops){' WITH (lists = 1)' if am == 'ivfflat' else ''} WHERE category = 3"
        )
        statement = "SELECT id FROM items WHERE category = 3 ORDER BY e <-> %s LIMIT 30"
        assert " Scan using part" in plan(conn, statement, query)
        assert {row[0] % 20 for row in conn.execute(statement, (query,))} == {3}
        assert len(conn.execute(statement, (query,)).fetchall()) == ROWS // 20
        conn.execute("DROP INDEX part")


@pytest.mark.parametrize("am", ["hnsw", "ivfflat"])
def test_iterative_scan(conn, am) -> None:
    kind = KINDS["vector"]
    fill(conn, kind)
    query = kind.wrap(kind.rows[0])
    conn.execute(f"CREATE INDEX ON items USING {am} (e vector_l2_ops){' WITH (lists = 40)' if am == 'ivfflat' else ''}")
    for setting in (
        "enable_seqscan = off",
        "enable_sort = off",
        "enable_bitmapscan = off",
        "hnsw.ef_search = 10",
        "ivfflat.probes = 1",
    ):
        conn.execute(f"SET {setting}")
    statement = "SELECT id FROM items WHERE category = 7 ORDER BY e <-> %s LIMIT 15"
    assert " Scan using items_e_idx" in plan(conn, statement, query)
    conn.execute(f"SET {am}.iterative_scan = off")
    assert len(conn.execute(statement, (query,)).fetchall()) < 15
    for mode in ("relaxed_order", "strict_order") if am == "hnsw" else ("relaxed_order",):
        conn.execute(f"SET {am}.iterative_scan = {mode}")
        assert len(conn.execute(statement, (query,)).fetchall()) == 15
        every = conn.execute("SELECT id, e <-> %s FROM items ORDER BY e <-> %s", (query, query)).fetchall()
        # In strict order a row that comes too late is left out.
        assert len({row[0] for row in every}) == len(every)
        if mode == "strict_order":
            assert [row[1] for row in every] == sorted(row[1] for row in every)
        else:
            assert len(every) == ROWS


def test_nulls(conn) -> None:
    fill(conn, KINDS["vector"])
    conn.execute("INSERT INTO items VALUES (%s, 0, %s)", (ROWS, None))
    conn.execute("CREATE INDEX ON items USING hnsw (e vector_l2_ops)")
    conn.execute("INSERT INTO items VALUES (%s, 0, %s)", (ROWS + 1, None))
    conn.execute("SET hnsw.iterative_scan = relaxed_order")
    conn.execute("SET enable_seqscan = off")
    query = Vector(KINDS["vector"].rows[0])
    assert (
        conn.execute("SELECT count(*) FROM (SELECT id FROM items ORDER BY e <-> %s) found", (query,)).fetchone()[0]
        == ROWS
    )
    assert len(conn.execute("SELECT id FROM items ORDER BY e <-> %s::vector LIMIT 5", (None,)).fetchall()) == 5
    assert conn.execute("SELECT e <-> %s FROM items WHERE id = %s", (query, ROWS)).fetchone() == (None,)


@pytest.mark.parametrize("name", ["vector", "halfvec", "sparsevec"])
def test_dimension_mismatch(conn, name) -> None:
    kind = KINDS[name]
    fill(conn, kind)
    with pytest.raises(errors.DataException, match=r"expected \d+ dimensions, not 2") as caught:
        conn.execute(f"INSERT INTO items VALUES (-1, 0, '{kind.other}')")
    assert caught.value.sqlstate == "22000"
    with pytest.raises(errors.DataException, match="different .* dimensions"):
        conn.execute(f"SELECT e <-> '{kind.other}' FROM items")
    conn.execute(f"CREATE INDEX ON items USING hnsw (e {name}_l2_ops)")
    conn.execute("SET enable_seqscan = off")
    with pytest.raises(errors.DataException, match="different .* dimensions"):
        conn.execute(f"SELECT id FROM items ORDER BY e <-> '{kind.other}' LIMIT 1")
    assert conn.execute("SELECT count(*) FROM items").fetchone()[0] == ROWS


def test_bit_mismatch(conn) -> None:
    fill(conn, KINDS["bit"])
    with pytest.raises(errors.StringDataLengthMismatch):
        conn.execute("INSERT INTO items VALUES (-1, 0, '101')")
    with pytest.raises(errors.DataException, match="different bit lengths"):
        conn.execute("SELECT e <~> B'101' FROM items")


@pytest.mark.parametrize(
    "statement,error",
    [
        ("SELECT '[1,2'::vector", errors.InvalidTextRepresentation),
        ("SELECT '[]'::vector", errors.DataException),
        ("SELECT '[1e400]'::vector", errors.NumericValueOutOfRange),
        ("SELECT '[NaN]'::vector", errors.DataException),
        ("SELECT '[65520]'::halfvec", errors.NumericValueOutOfRange),
        ("SELECT '{0:1}/3'::sparsevec", errors.DataException),
        ("SELECT '{1:1,1:2}/3'::sparsevec", errors.DataException),
        ("SELECT '[1,2]'::vector(0)", errors.InvalidParameterValue),
        ("SELECT '[3e38]'::vector + '[3e38]'::vector", errors.NumericValueOutOfRange),
        ("SELECT array_fill(1, ARRAY[16001])::vector", errors.ProgramLimitExceeded),
        (
            "CREATE TEMP TABLE w (e vector(2001)); CREATE INDEX ON w USING hnsw (e vector_l1_ops)",
            errors.ProgramLimitExceeded,
        ),
        (
            "CREATE TEMP TABLE w (e vector); CREATE INDEX ON w USING hnsw (e vector_l2_ops)",
            errors.InvalidParameterValue,
        ),
        (
            "CREATE TEMP TABLE w (e vector(3)); CREATE INDEX ON w USING hnsw (e vector_l2_ops) WITH (m = 1)",
            errors.InvalidParameterValue,
        ),
        (
            "CREATE TEMP TABLE w (e vector(3)); CREATE INDEX ON w USING ivfflat (e vector_l2_ops) WITH (lists = 0)",
            errors.InvalidParameterValue,
        ),
        ("SELECT '[1]'::vector; SET hnsw.ef_search = 0", errors.InvalidParameterValue),
    ],
)
def test_errors(conn, statement, error) -> None:
    with pytest.raises(error):
        conn.execute(statement)
    # The session goes on.
    assert conn.execute("SELECT '[1,2]'::vector <-> '[1,2]'").fetchone() == (0,)


def test_binary_input_is_checked(conn) -> None:
    for name, data, words in (
        ("vector", b"\x00\x02\x00\x00\x3f\x80\x00\x00", "insufficient data"),
        ("vector", b"\x00\x00\x00\x00", "at least 1 dimension"),
        ("vector", b"\x00\x01\x00\x00\x7f\xc0\x00\x00", "NaN not allowed"),
        ("vector", b"\x00\x01\x00\x05\x3f\x80\x00\x00", "expected unused to be 0"),
        ("halfvec", b"\x00\x01\x00\x00\x7c\x00", "infinite value not allowed"),
        ("sparsevec", b"\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x00", "cannot have more elements than dimensions"),
    ):
        conn.execute(f"CREATE TEMP TABLE raw (e {name})")
        header = b"PGCOPY\n\xff\r\n\x00" + bytes(8) + b"\x00\x01" + len(data).to_bytes(4, "big")
        with pytest.raises(psycopg.Error, match=words):
            with conn.cursor() as cursor, cursor.copy("COPY raw FROM STDIN (FORMAT binary)") as copy:
                copy.write(header + data + b"\xff\xff")
        conn.execute("DROP TABLE raw")


def test_transactions(conn) -> None:
    kind = KINDS["vector"]
    fill(conn, kind)
    conn.execute("CREATE INDEX ON items USING hnsw (e vector_l2_ops)")
    conn.execute("SET enable_seqscan = off")
    far = Vector([100.0] * len(kind.rows[0]))

    def first() -> int:
        return conn.execute("SELECT id FROM items ORDER BY e <-> %s LIMIT 1", (far,)).fetchone()[0]

    with pytest.raises(ZeroDivisionError), conn.transaction():
        conn.execute("INSERT INTO items VALUES (1000, 0, %s)", (far,))
        assert first() == 1000
        raise ZeroDivisionError
    assert first() != 1000
    with conn.transaction():
        conn.execute("INSERT INTO items VALUES (1001, 0, %s)", (far,))
        with pytest.raises(errors.DataException), conn.transaction():
            conn.execute("INSERT INTO items VALUES (1002, 0, '[1]')")
        with pytest.raises(errors.UniqueViolation), conn.transaction():
            conn.execute("INSERT INTO items VALUES (1001, 0, %s)", (far,))
    assert first() == 1001


def test_prepared_statements(conn) -> None:
    kind = KINDS["vector"]
    fill(conn, kind)
    conn.execute("CREATE INDEX ON items USING hnsw (e vector_l2_ops)")
    conn.execute("SET enable_seqscan = off")
    for mode in ("force_custom_plan", "force_generic_plan", "auto"):
        conn.execute(f"SET plan_cache_mode = {mode}")
        for number, query in enumerate(kind.rows[:12]):
            row = conn.execute(
                "SELECT id FROM items ORDER BY e <-> %b LIMIT 1", (kind.wrap(query),), prepare=True
            ).fetchone()
            assert row == (number,)
    names = [row[0] for row in conn.execute("SELECT name FROM pg_prepared_statements")]
    assert names


@pytest.mark.parametrize("am", ["hnsw", "ivfflat"])
def test_cursors(conn, am) -> None:
    kind = KINDS["halfvec"]
    fill(conn, kind)
    conn.execute(f"CREATE INDEX ON items USING {am} (e halfvec_l2_ops){' WITH (lists = 5)' if am == 'ivfflat' else ''}")
    conn.execute("SET enable_seqscan = off")
    conn.execute(f"SET {am}.iterative_scan = relaxed_order")
    query = kind.wrap(kind.rows[9])
    with conn.transaction(), conn.cursor("near") as cursor:
        cursor.itersize = 7
        cursor.execute("SELECT id FROM items ORDER BY e <-> %s", (query,))
        assert cursor.fetchone()[0] == 9
        conn.execute("DELETE FROM items WHERE id >= 200")
        assert len(cursor.fetchall()) == ROWS - 1
    with conn.cursor("held", withhold=True) as cursor:
        cursor.execute("SELECT id FROM items ORDER BY e <-> %s", (query,))
        conn.execute("VACUUM items")
        assert len(cursor.fetchall()) == 200
    with conn.transaction(), conn.cursor("back", scrollable=True) as cursor:
        cursor.execute("SELECT id FROM items ORDER BY e <-> %s LIMIT 20", (query,))
        there = cursor.fetchall()
        cursor.scroll(0, mode="absolute")
        assert cursor.fetchall() == there


def test_pipeline(conn) -> None:
    kind = KINDS["vector"]
    fill(conn, kind)
    conn.execute("CREATE INDEX ON items USING hnsw (e vector_l2_ops)")
    conn.execute("SET enable_seqscan = off")
    with conn.pipeline():
        cursors = [
            conn.execute("SELECT id FROM items ORDER BY e <-> %s LIMIT 3", (kind.wrap(query),))
            for query in kind.rows[:60]
        ]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(60))


def test_arrays_and_aggregates(conn) -> None:
    kind = KINDS["vector"]
    fill(conn, kind)
    values = kind.values()[:3]
    assert conn.execute("SELECT %s::vector[]", (values,)).fetchone()[0] == values
    average, total = conn.execute("SELECT avg(e), sum(e) FROM items").fetchone()
    assert average.to_numpy() == pytest.approx(kind.rows.mean(axis=0), abs=1e-4)
    assert total.to_numpy() == pytest.approx(kind.rows.sum(axis=0), rel=1e-4)
    assert conn.execute("SELECT avg(e) FROM items WHERE id < 0").fetchone() == (None,)
    assert conn.execute("SELECT %s::vector::halfvec, %s::vector::sparsevec", (values[0], values[0])).fetchone() == (
        HalfVector(kind.rows[0]),
        SparseVector(kind.rows[0]),
    )
    assert conn.execute("SELECT %s::vector::real[]", (values[0],)).fetchone()[0] == list(kind.rows[0])


def test_numpy_values(conn) -> None:
    row = np.array([1.5, -2, 0.25], dtype=np.float32)
    for binary in (False, True):
        assert conn.cursor(binary=binary).execute("SELECT %s::vector", (row,)).fetchone()[0] == Vector(row)


def test_pool() -> None:
    kind = KINDS["vector"]
    with ConnectionPool(
        min_size=3, max_size=3, configure=register_vector, open=True, kwargs={"autocommit": True}
    ) as pool:
        with pool.connection() as conn:
            fill(conn, kind, "pooled")
            conn.execute("CREATE INDEX ON pooled USING hnsw (e vector_l2_ops)")
        for number in range(30):
            with pool.connection() as conn:
                conn.execute("SET enable_seqscan = off")
                assert conn.execute(
                    "SELECT id FROM pooled ORDER BY e <-> %s LIMIT 1", (kind.wrap(kind.rows[number]),)
                ).fetchone() == (number,)


async def test_async() -> None:
    kind = KINDS["sparsevec"]
    async with await psycopg.AsyncConnection.connect(autocommit=True) as conn:
        await register_vector_async(conn)
        await conn.execute(f"CREATE TEMP TABLE items (id int, e {kind.column})")
        async with conn.cursor() as cursor, cursor.copy("COPY items FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "sparsevec"])
            for number, value in enumerate(kind.values()):
                await copy.write_row([number, value])
        await conn.execute("CREATE INDEX ON items USING hnsw (e sparsevec_l2_ops)")
        await conn.execute("SET enable_seqscan = off")
        cursor = await conn.execute(
            "SELECT id, e FROM items ORDER BY e <-> %s LIMIT 1", (kind.wrap(kind.rows[8]),), prepare=True
        )
        assert await cursor.fetchone() == (8, kind.wrap(kind.rows[8]))
