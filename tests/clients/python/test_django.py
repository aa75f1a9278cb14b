"""Django: fields, indexes made by its schema editor, distances in annotations and filters."""

from __future__ import annotations

import os

import django
import pytest
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

from django.contrib.postgres.indexes import OpClass
from django.db import DataError, connection, models, transaction
from django.db.models import Avg, Q, Sum
from django.db.models.functions import Cast
from pgvector.django import (
    BitField,
    CosineDistance,
    HalfVectorField,
    HammingDistance,
    HnswIndex,
    IvfflatIndex,
    JaccardDistance,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    SparseVectorField,
    VectorField,
)
from shared import BITS, DIMS, KINDS, ROWS, SPARSE_DIMS, cosine, hamming, jaccard, l1, l2, negative_inner_product


class Item(models.Model):
    category = models.IntegerField(default=0)
    vector = VectorField(dimensions=DIMS, null=True)
    halfvec = HalfVectorField(dimensions=DIMS, null=True)
    sparsevec = SparseVectorField(dimensions=SPARSE_DIMS, null=True)
    bit = BitField(length=BITS, null=True)

    class Meta:
        app_label = "clients"
        db_table = "django_items"
        indexes = [
            HnswIndex(name="d_l2", fields=["vector"], m=8, ef_construction=80, opclasses=["vector_l2_ops"]),
            IvfflatIndex(name="d_half", fields=["halfvec"], lists=4, opclasses=["halfvec_cosine_ops"]),
            HnswIndex(name="d_sparse", fields=["sparsevec"], opclasses=["sparsevec_l1_ops"]),
            HnswIndex(name="d_bit", fields=["bit"], opclasses=["bit_hamming_ops"]),
            HnswIndex(OpClass(Cast("vector", HalfVectorField(dimensions=DIMS)), name="halfvec_l2_ops"), name="d_cast"),
            HnswIndex(name="d_part", fields=["vector"], opclasses=["vector_cosine_ops"], condition=Q(category=3)),
        ]


FORMS = {
    "vector l2": ("vector", L2Distance, l2),
    "vector ip": ("vector", MaxInnerProduct, negative_inner_product),
    "vector cosine": ("vector", CosineDistance, cosine),
    "vector l1": ("vector", L1Distance, l1),
    "halfvec l2": ("halfvec", L2Distance, l2),
    "halfvec cosine": ("halfvec", CosineDistance, cosine),
    "sparsevec l1": ("sparsevec", L1Distance, l1),
    "bit hamming": ("bit", HammingDistance, hamming),
    "bit jaccard": ("bit", JaccardDistance, jaccard),
}


def value(name: str, number: int):
    wrapped = KINDS[name].wrap(KINDS[name].rows[number])
    return wrapped.to_text() if name == "bit" else wrapped


@pytest.fixture(scope="module", autouse=True)
def table():
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS django_items")
    with connection.schema_editor() as editor:
        editor.create_model(Item)
    Item.objects.bulk_create(
        [Item(id=n + 1, category=n % 20, **{name: value(name, n) for name in KINDS}) for n in range(ROWS)]
    )
    yield
    connection.close()


def test_values_come_back() -> None:
    got = Item.objects.get(pk=8)
    assert (got.vector, got.halfvec) == (list(KINDS["vector"].rows[7]), list(KINDS["halfvec"].rows[7]))
    assert (got.sparsevec, got.bit) == (value("sparsevec", 7), value("bit", 7))


@pytest.mark.parametrize("form", FORMS)
def test_distances(form) -> None:
    name, function, expected = FORMS[form]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL ivfflat.probes = 4")
        rows = list(Item.objects.annotate(d=function(name, value(name, 4))).order_by("d").values_list("id", "d")[:10])
    assert [d for _, d in rows] == pytest.approx(
        [expected(KINDS[name].rows[n - 1], KINDS[name].rows[4]) for n, _ in rows], rel=1e-5, abs=1e-5
    )
    assert [d for _, d in rows] == sorted(d for _, d in rows)


@pytest.mark.parametrize(
    "index,question",
    {
        "d_l2": lambda: Item.objects.order_by(L2Distance("vector", value("vector", 0)))[:5],
        "d_half": lambda: Item.objects.order_by(CosineDistance("halfvec", value("halfvec", 0)))[:5],
        "d_sparse": lambda: Item.objects.order_by(L1Distance("sparsevec", value("sparsevec", 0)))[:5],
        "d_bit": lambda: Item.objects.order_by(HammingDistance("bit", value("bit", 0)))[:5],
        "d_cast": lambda: Item.objects.order_by(
            L2Distance(Cast("vector", HalfVectorField(dimensions=DIMS)), value("halfvec", 0))
        )[:5],
        "d_part": lambda: Item.objects.filter(category=3).order_by(CosineDistance("vector", value("vector", 0)))[:5],
    }.items(),
)
def test_indexes_are_used(index, question) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        assert f" Scan using {index}" in question().explain()
        assert len(question()) == 5


def test_filter_by_distance() -> None:
    near = Item.objects.alias(d=L2Distance("vector", value("vector", 2))).filter(d__lt=0.001)
    assert [item.pk for item in near] == [3]


def test_aggregates_and_nulls() -> None:
    with transaction.atomic():
        Item.objects.create(id=9000)
        assert Item.objects.get(pk=9000).vector is None
        assert Item.objects.annotate(d=L2Distance("vector", value("vector", 0))).get(pk=9000).d is None
        result = Item.objects.aggregate(Avg("vector"), Sum("vector"))
        assert result["vector__avg"] == pytest.approx(KINDS["vector"].rows.mean(axis=0), abs=1e-4)
        assert result["vector__sum"] == pytest.approx(KINDS["vector"].rows.sum(axis=0), rel=1e-4)
        transaction.set_rollback(True)
    assert not Item.objects.filter(pk=9000).exists()


def test_errors_and_savepoints() -> None:
    with pytest.raises(DataError, match="different vector dimensions 24 and 2"):
        with transaction.atomic():
            list(Item.objects.order_by(L2Distance("vector", [1, 2])))
    with pytest.raises(DataError, match="expected 24 dimensions, not 2"):
        with transaction.atomic():
            Item.objects.create(id=9001, vector=[1, 2])
    with transaction.atomic():
        Item.objects.create(id=9002, vector=value("vector", 1))
        with pytest.raises(DataError):
            with transaction.atomic():
                Item.objects.create(id=9003, vector=[1])
    assert list(Item.objects.filter(pk__gte=9000).values_list("pk", flat=True)) == [9002]
    assert list(
        Item.objects.order_by(L2Distance("vector", value("vector", 1)), "pk").values_list("pk", flat=True)[:2]
    ) == [2, 9002]
    Item.objects.filter(pk=9002).delete()
