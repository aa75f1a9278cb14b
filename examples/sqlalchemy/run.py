"""SQLAlchemy 2: a mapped class with a vector column, its index in the metadata, nearest rows as an ordinary select."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Index, create_engine, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

DATA = Path(__file__).resolve().parents[1] / "data"


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    category: Mapped[str]
    price: Mapped[float]
    in_stock: Mapped[bool]
    name: Mapped[str]
    embedding = mapped_column(VECTOR(64), nullable=False)

    # Alembic sees it like any other index.
    __table_args__ = (
        Index(
            "products_embedding_idx",
            "embedding",
            postgresql_using="hnsw",
            postgresql_with={"m": 16, "ef_construction": 64},
            postgresql_ops={"embedding": "vector_cosine_ops"},
        ),
    )


def rows(name: str) -> list[dict[str, str]]:
    with open(DATA / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def vector(literal: str) -> np.ndarray:
    return np.array(literal.strip("[]").split(","), dtype=np.float32)


def main() -> None:
    # Everything else of the address comes from PGHOST, PGUSER and so on.
    engine = create_engine("postgresql+psycopg://")
    with engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
    Base.metadata.create_all(engine)

    with Session(engine) as session, session.begin():
        for row in rows("products.csv"):
            session.add(
                Product(
                    category=row["category"],
                    price=float(row["price"]),
                    in_stock=row["in_stock"] == "t",
                    name=row["name"],
                    embedding=vector(row["embedding"]),
                )
            )

    questions = {row["name"]: row for row in rows("queries.csv")}
    with Session(engine) as session, session.begin():
        # Settings of this transaction only, so that a pooled connection is handed on as it was.
        session.execute(text("SET LOCAL hnsw.iterative_scan = strict_order"))
        session.execute(text("SET LOCAL enable_seqscan = off"))
        question = questions["camping"]
        distance = Product.embedding.cosine_distance(vector(question["embedding"]))
        nearest = select(Product.name, distance.label("distance")).where(Product.in_stock).order_by(distance).limit(3)
        found = session.execute(nearest).all()
        print(question["text"])
        for name, far in found:
            print(f"    {far:.3f}  {name}")
        assert {name for name, _ in found[:2]} == {
            "Down sleeping bag for cold nights",
            "Two-person tent for wet weather",
        }, found
        print("ok - a sleeping bag and a tent come first")

        literal = nearest.compile(engine, compile_kwargs={"literal_binds": True})
        plan = "\n".join(session.scalars(text(f"EXPLAIN (COSTS OFF) {literal}")))
        assert "Index Scan using products_embedding_idx" in plan, plan
        print("ok - the index answers")

        mean = session.scalar(select(func.avg(Product.embedding, type_=VECTOR(64))).where(Product.category == "garden"))
        by_hand = np.mean(
            [product.embedding for product in session.scalars(select(Product).where(Product.category == "garden"))],
            axis=0,
        )
        assert np.allclose(mean, by_hand, atol=1e-6)
        print("ok - avg() comes back as an array")
    engine.dispose()


if __name__ == "__main__":
    main()
