"""SQLAlchemy: the object mapper over psycopg and over asyncpg, indexes in the model, distances as expressions."""

from __future__ import annotations

import os

import pytest
import sqlalchemy as sa
from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC, VECTOR, avg
from shared import BITS, DIMS, KINDS, ROWS, SPARSE_DIMS, cosine, hamming, jaccard, l1, l2, negative_inner_product
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.sql.expression import ClauseElement, Executable


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "mapped"
    id: Mapped[int] = mapped_column(primary_key=True)
    category: Mapped[int]
    vector = mapped_column(VECTOR(DIMS))
    halfvec = mapped_column(HALFVEC(DIMS))
    sparsevec = mapped_column(SPARSEVEC(SPARSE_DIMS))
    bit = mapped_column(BIT(BITS))


sa.Index(
    "mapped_l2",
    Item.vector,
    postgresql_using="hnsw",
    postgresql_with={"m": 8, "ef_construction": 100},
    postgresql_ops={"vector": "vector_l2_ops"},
)
sa.Index(
    "mapped_half",
    Item.halfvec,
    postgresql_using="ivfflat",
    postgresql_with={"lists": 4},
    postgresql_ops={"halfvec": "halfvec_cosine_ops"},
)
sa.Index("mapped_sparse", Item.sparsevec, postgresql_using="hnsw", postgresql_ops={"sparsevec": "sparsevec_ip_ops"})
sa.Index("mapped_bit", Item.bit, postgresql_using="hnsw", postgresql_ops={"bit": "bit_jaccard_ops"})
sa.Index(
    "mapped_part",
    Item.vector,
    postgresql_using="hnsw",
    postgresql_ops={"vector": "vector_l1_ops"},
    postgresql_where=Item.category == 3,
)
sa.Index(
    "mapped_cast",
    sa.cast(Item.vector, HALFVEC(DIMS)).label("half"),
    postgresql_using="hnsw",
    postgresql_ops={"half": "halfvec_l1_ops"},
)


class Explain(Executable, ClauseElement):
    """EXPLAIN of a statement, with its own parameters."""

    inherit_cache = False

    def __init__(self, statement):
        self.statement = statement


@compiles(Explain)
def _explain(element, compiler, **options):
    return "EXPLAIN " + compiler.process(element.statement, **options)


FORMS = {
    "vector l2": ("vector", "l2_distance", l2),
    "vector ip": ("vector", "max_inner_product", negative_inner_product),
    "vector cosine": ("vector", "cosine_distance", cosine),
    "vector l1": ("vector", "l1_distance", l1),
    "halfvec cosine": ("halfvec", "cosine_distance", cosine),
    "sparsevec ip": ("sparsevec", "max_inner_product", negative_inner_product),
    "bit hamming": ("bit", "hamming_distance", hamming),
    "bit jaccard": ("bit", "jaccard_distance", jaccard),
}


def url(driver: str) -> str:
    return f"postgresql+{driver}://{os.environ['PGUSER']}@/{os.environ['PGDATABASE']}?host={os.environ['PGHOST']}&port={os.environ['PGPORT']}"


def item(number: int) -> Item:
    # A bit string goes as text.
    values = {name: kind.wrap(kind.rows[number]) for name, kind in KINDS.items()}
    values["bit"] = values["bit"].to_text()
    return Item(id=number, category=number % 20, **values)


def query(name: str, number: int):
    value = KINDS[name].wrap(KINDS[name].rows[number])
    return value.to_text() if name == "bit" else value


@pytest.fixture(scope="module")
def engine():
    engine = sa.create_engine(url("psycopg"))
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([item(number) for number in range(ROWS)])
        session.commit()
    yield engine
    Base.metadata.drop_all(engine)
    engine.dispose()


def test_values_come_back(engine) -> None:
    with Session(engine) as session:
        got = session.get(Item, 17)
        assert (got.vector, got.halfvec) == (list(KINDS["vector"].rows[17]), list(KINDS["halfvec"].rows[17]))
        assert (got.sparsevec, got.bit) == (query("sparsevec", 17), query("bit", 17))


@pytest.mark.parametrize("form", FORMS)
def test_distances(engine, form) -> None:
    name, method, expected = FORMS[form]
    distance = getattr(getattr(Item, name), method)(query(name, 5))
    with Session(engine) as session:
        session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        session.execute(sa.text("SET LOCAL ivfflat.probes = 4"))
        rows = session.execute(sa.select(Item.id, distance).order_by(distance).limit(10)).all()
    assert [row[1] for row in rows] == pytest.approx(
        [expected(KINDS[name].rows[row[0]], KINDS[name].rows[5]) for row in rows], rel=1e-5, abs=1e-5
    )
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    if form in ("vector l2", "vector cosine", "vector l1", "halfvec cosine", "bit hamming"):
        assert rows[0][0] == 5


def test_indexes_are_used(engine) -> None:
    for index, statement in {
        "mapped_l2": sa.select(Item.id).order_by(Item.vector.l2_distance(query("vector", 1))).limit(5),
        "mapped_half": sa.select(Item.id).order_by(Item.halfvec.cosine_distance(query("halfvec", 1))).limit(5),
        "mapped_sparse": sa.select(Item.id).order_by(Item.sparsevec.max_inner_product(query("sparsevec", 1))).limit(5),
        "mapped_bit": sa.select(Item.id).order_by(Item.bit.jaccard_distance(query("bit", 1))).limit(5),
        "mapped_part": sa.select(Item.id)
        .where(Item.category == sa.text("3"))
        .order_by(Item.vector.l1_distance(query("vector", 1)))
        .limit(5),
        "mapped_cast": sa.select(Item.id)
        .order_by(sa.cast(Item.vector, HALFVEC(DIMS)).l1_distance(query("halfvec", 1)))
        .limit(5),
    }.items():
        with engine.connect() as conn:
            conn.execute(sa.text("SET LOCAL enable_seqscan = off"))
            plan = conn.execute(Explain(statement)).all()
            assert f" Scan using {index}" in "\n".join(row[0] for row in plan)


def test_aggregates_and_nulls(engine) -> None:
    with Session(engine) as session:
        assert session.scalar(sa.select(avg(Item.vector))) == pytest.approx(KINDS["vector"].rows.mean(axis=0), abs=1e-4)
        session.add(Item(id=5000, category=0))
        session.flush()
        assert session.get(Item, 5000).vector is None
        assert session.scalar(sa.select(Item.vector.l2_distance(query("vector", 0))).where(Item.id == 5000)) is None
        session.rollback()
        assert session.get(Item, 5000) is None


def test_errors(engine) -> None:
    with Session(engine) as session:
        with pytest.raises(sa.exc.DataError, match="different vector dimensions 24 and 2"):
            session.scalars(sa.select(Item.id).order_by(Item.vector.l2_distance([1, 2]))).all()
        session.rollback()
        with pytest.raises((sa.exc.DataError, sa.exc.StatementError), match="expected 24 dimensions, not 2"):
            session.execute(sa.text("INSERT INTO mapped (id, category, vector) VALUES (6000, 0, '[1,2]')"))
        session.rollback()
        with session.begin_nested() as nested:
            session.add(Item(id=6001, category=0, vector=KINDS["vector"].rows[0]))
            session.flush()
            nested.rollback()
        session.commit()
        assert session.get(Item, 6001) is None


async def test_asyncpg_engine(engine) -> None:
    other = create_async_engine(url("asyncpg"))
    async with AsyncSession(other) as session:
        await session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        await session.execute(sa.text("SET LOCAL hnsw.iterative_scan = strict_order"))
        for number in range(15):
            got = await session.scalars(
                sa.select(Item).order_by(Item.vector.l2_distance(query("vector", number))).limit(3)
            )
            assert got.first().id == number
        with pytest.raises(sa.exc.DBAPIError, match="different vector dimensions"):
            await session.scalars(sa.select(Item.id).order_by(Item.vector.l2_distance([1, 2])))
    await other.dispose()
