"""Functions called once per row, on few and on many dimensions: what a call costs beside the work that it does; and
text output.
"""

from __future__ import annotations

import numpy as np

from benches.sql import data
from benches.sql.copying import taken
from benches.sql.exact import load
from benches.sql.measure import Pair, Row, Session

# With few dimensions a call is its overhead, with many its loop.
TABLES = ((3, 200_000), (8, 200_000), (128, 50_000), (1536, 4_000))
DENSE = (
    "e + e",
    "e - e",
    "e * e",
    "e || e",
    "l2_normalize(e)",
    "binary_quantize(e)",
    "subvector(e, 2, 2)",
    "e::real[]",
    "e::sparsevec",
    "e < e",
    "e <-> e",
)
CALLS = {
    "vector": ("vector_norm(e)", "e::halfvec", "vector_dims(e)", "e::vector({dim})", *DENSE),
    "halfvec": ("l2_norm(e)", "e::vector", "vector_dims(e)", "e::halfvec({dim})", *DENSE),
    "sparsevec": (
        "l2_norm(e)",
        "l2_normalize(e)",
        "e::vector",
        "e::halfvec",
        "e::sparsevec({dim})",
        "e < e",
        "e <-> e",
    ),
}


def loaded(session: Session, table: str, kind: str, dim: int, stream: bytes) -> None:
    load(session, table, kind, dim, stream)
    session.must(f"ALTER TABLE {table} RENAME embedding TO e")


def moderate(rows: int, dim: int) -> np.ndarray:
    """Neither zero nor small, so that products of halves do not vanish."""
    rng = np.random.default_rng(13)
    return rng.uniform(0.5, 1.5, (rows, dim)).astype(np.float32) * rng.choice([-1, 1], (rows, dim)).astype(np.float32)


def calls(pair: Pair, scale: float) -> list[Row]:
    """Each function alone, its result thrown away."""
    out = []
    for dim, count in TABLES:
        count = max(1, int(count * scale))
        values = moderate(count, dim)
        for kind, expressions in CALLS.items():
            stored = "halfvec" if kind == "halfvec" else "vector"
            stream = data.copy_stream(stored, values)
            pair.each(lambda s: loaded(s, "called", stored, dim, stream))
            if kind == "sparsevec":
                pair.each(lambda s: s.must(f"ALTER TABLE called ALTER e TYPE sparsevec({dim}) USING e::sparsevec"))
                pair.each(lambda s: s.must("VACUUM (FREEZE, ANALYZE) called"))
            # What reading the table costs, of which the functions are free.
            for expression in ("e", *expressions):
                expression = expression.format(dim=dim)
                # A cast to a modifier that the column has already would be planned away.
                expression = (
                    expression.replace(f"e::{kind}({dim})", f"(e::{kind})::{kind}({dim})")
                    if expression.endswith(f"({dim})")
                    else expression
                )
                target = None if expression == "e" else 1.0
                out.append(
                    pair.compare(
                        f"{kind}({dim}): {expression}",
                        count,
                        lambda s: s.must(f"SELECT count({expression}) FROM called"),
                        target=target,
                    )
                )
            pair.each(lambda s: s.must("DROP TABLE called"))
    return out


def integers(rows: int, dim: int, least: int, most: int) -> np.ndarray:
    return np.random.default_rng(11).integers(least, most, (rows, dim), endpoint=True).astype(np.float32)


def text(pair: Pair, scale: float) -> list[Row]:
    """Text output: values as histograms of pixels have them (SIFT), whole numbers of all sizes, and others."""
    out = []
    cases = []
    for dim, count in ((3, 100_000), (8, 100_000), (128, 20_000), (1000, 3_000), (1536, 2_000)):
        count = max(1, int(count * scale))
        cases.append(("vector", dim, "integers to 218", integers(count, dim, 0, 218)))
        cases.append(("vector", dim, "others", data.clustered(count, dim)))
    count = max(1, int(3_000 * scale))
    cases.append(("vector", 1000, "one digit", integers(count, 1000, 0, 9)))
    cases.append(("vector", 1000, "integers of both signs", integers(count, 1000, -99_999, 99_999)))
    cases.append(("vector", 1000, "integers with exponents", integers(count, 1000, 1_000_000, 99_999_999)))
    cases.append(("vector", 1000, "mostly zero", integers(count, 1000, 0, 50) * (integers(count, 1000, 0, 9) == 0)))
    cases.append(("vector", 1000, "halves", integers(count, 1000, -999, 999) / 2))
    cases.append(("vector", 1000, "hundredths", np.round(data.clustered(count, 1000) * 30, 2)))
    cases.append(("halfvec", 1000, "integers to 218", integers(count, 1000, 0, 218)))
    cases.append(("halfvec", 1000, "others", data.clustered(count, 1000)))
    for kind, dim, label, values in cases:
        pair.each(lambda s: loaded(s, "printed", kind, dim, data.copy_stream(kind, values)))
        name = f"COPY out text, {kind}({dim}), {label}"
        copy = "COPY printed TO STDOUT"
        outputs = pair.each(lambda s: taken(s, copy))
        if len(outputs) == 2 and outputs[0] != outputs[1]:
            raise RuntimeError(f"{name}: differs between the systems")
        out.append(pair.compare(name, len(values), lambda s: s.copy_out(copy), target=1.0))
        pair.each(lambda s: s.must("DROP TABLE printed"))
    return out
