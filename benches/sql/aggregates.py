"""avg and sum over whole tables."""

from __future__ import annotations

from benches.sql import data
from benches.sql.exact import load
from benches.sql.measure import Pair, Row


def suite(pair: Pair, scale: float) -> list[Row]:
    out = []
    glove = data.glove()[: int(50_000 * scale)]
    wide = data.clustered(100_020, 384)[: int(20_000 * scale)]
    for kind, rows in (("vector", glove), ("vector", wide), ("halfvec", glove)):
        count, dim = rows.shape
        stream = data.copy_stream(kind, rows)
        pair.each(lambda s: load(s, "summed", kind, dim, stream))
        for function in ("avg", "sum"):
            out.append(
                pair.compare(
                    f"{function}({kind}({dim})) x {count}",
                    count,
                    lambda s: s.must(f"SELECT {function}(embedding) FROM summed"),
                )
            )
        pair.each(lambda s: s.must("DROP TABLE summed"))
    return out
