"""Django: a model with a vector field and its index, the nearest rows as a queryset. One file, not a project."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import django
import numpy as np
from django.conf import settings

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ["PGDATABASE"],
            "USER": os.environ["PGUSER"],
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
        }
    },
    INSTALLED_APPS=["django.contrib.postgres"],
    USE_TZ=True,
)
django.setup()

from django.db import connection, models, transaction
from pgvector.django import CosineDistance, HnswIndex, VectorExtension, VectorField

DATA = Path(__file__).resolve().parents[1] / "data"


class Product(models.Model):
    category = models.TextField()
    price = models.DecimalField(max_digits=8, decimal_places=2)
    in_stock = models.BooleanField()
    name = models.TextField()
    embedding = VectorField(dimensions=64)

    class Meta:
        app_label = "shop"
        indexes = [
            HnswIndex(
                name="product_embedding",
                fields=["embedding"],
                m=16,
                ef_construction=64,
                opclasses=["vector_cosine_ops"],
            )
        ]


def rows(name: str) -> list[dict[str, str]]:
    with open(DATA / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def vector(literal: str) -> np.ndarray:
    return np.array(literal.strip("[]").split(","), dtype=np.float32)


def main() -> None:
    # What `manage.py migrate` does with a migration of VectorExtension() and CreateModel.
    with connection.schema_editor() as editor:
        VectorExtension().database_forwards("shop", editor, None, None)
        editor.create_model(Product)

    Product.objects.bulk_create(
        Product(
            category=row["category"],
            price=row["price"],
            in_stock=row["in_stock"] == "t",
            name=row["name"],
            embedding=vector(row["embedding"]),
        )
        for row in rows("products.csv")
    )
    question = next(row for row in rows("queries.csv") if row["name"] == "wrist")
    asked = vector(question["embedding"])

    nearest = Product.objects.filter(in_stock=True).order_by(CosineDistance("embedding", asked))[:3]
    print(question["text"])
    for product in nearest:
        print(f"    {product.price:>7}  {product.name}")
    assert nearest[0].name == "Vertical mouse for a relaxed wrist"
    print("ok - a mouse for the wrist comes first")

    close = Product.objects.annotate(distance=CosineDistance("embedding", asked)).filter(
        distance__lt=0.6, category="office"
    )
    assert {product.category for product in close} == {"office"} and all(product.distance < 0.6 for product in close)
    print(f"ok - {len(close)} of the office within a distance")

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL hnsw.ef_search = 100")
        cursor.execute("SET LOCAL enable_seqscan = off")
        assert "product_embedding" in nearest.explain()
        print("ok - the index answers")


if __name__ == "__main__":
    main()
