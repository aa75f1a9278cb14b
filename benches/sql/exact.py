"""Exact search: a sequential scan that computes every distance, and what of it is not distance."""

from __future__ import annotations

import functools

from benches.sql import data
from benches.sql.measure import Pair, Row, Session

OPERATORS = {"vector": ("<->", "<=>", "<#>", "<+>"), "halfvec": ("<->", "<=>", "<#>"), "bit": ("<~>", "<%>")}
QUERIES_PER_ROUND = 3


def load(session: Session, table: str, kind: str, dim: int, stream: bytes) -> None:
    session.must(f"DROP TABLE IF EXISTS {table}")
    session.must(f"CREATE TABLE {table} (id int4, embedding {kind}({dim}))")
    session.copy_in(f"COPY {table} FROM STDIN (FORMAT binary)", stream)
    # Frozen and all-visible: no hint bits are written while we measure.
    session.must(f"VACUUM (FREEZE, ANALYZE) {table}")


def table(pair: Pair, name: str, kind: str, rows, queries, targets: dict[str, float]) -> list[Row]:
    count, dim = rows.shape
    pair.each(functools.partial(load, table=name, kind=kind, dim=dim, stream=data.copy_stream(kind, rows)))
    label = f"exact {kind}({dim}) x {count}"
    out = []
    # The scan alone; then reading the value as well: deforming, detoasting and a function call, but no distance.
    touch = {"vector": "vector_dims(embedding)", "halfvec": "vector_dims(embedding)", "bit": "length(embedding)"}[kind]
    out.append(pair.compare(f"{label}: count(*)", count, lambda s: s.must(f"SELECT count(*) FROM {name}")))
    out.append(
        pair.compare(
            f"{label}: count({touch.partition('(')[0]})", count, lambda s: s.must(f"SELECT count({touch}) FROM {name}")
        )
    )
    parameters = [data.binary_value(kind, q) for q in queries]
    cast = "varbit" if kind == "bit" else kind
    for operator in OPERATORS[kind]:
        statement = f"{name}_{OPERATORS[kind].index(operator)}"
        pair.each(
            lambda s: s.prepare(statement, f"SELECT id FROM {name} ORDER BY embedding {operator} $1::{cast} LIMIT 10")
        )
        turn = iter(range(10**9))

        def work(session: Session) -> None:
            for _ in range(QUERIES_PER_ROUND):
                session.execute(statement, [parameters[next(turn) // 2 % len(parameters)]])

        check(pair, statement, parameters[0])
        out.append(
            pair.compare(
                f"{label}: ORDER BY {operator} LIMIT 10", count * QUERIES_PER_ROUND, work, target=targets.get(operator)
            )
        )
    pair.each(lambda s: s.must(f"DROP TABLE {name}"))
    return out


def check(pair: Pair, statement: str, parameter: bytes) -> None:
    """A benchmark of different answers would compare nothing. Ties and rounding may swap neighbours, hence sets."""
    answers = [
        {r.get_value(i, 0) for i in range(r.ntuples)} for r in pair.each(lambda s: s.execute(statement, [parameter]))
    ]
    if len(answers) == 2 and len(answers[0] & answers[1]) < 9:
        raise RuntimeError(f"{statement}: the answers differ: {answers}")


def suite(pair: Pair, scale: float) -> list[Row]:
    out = []
    glove = data.glove()
    rows, queries = glove[: int(100_000 * scale)], glove[-20:]
    near = {"<->": 0.8, "<=>": 0.8, "<#>": 0.8}
    out += table(pair, "glove", "vector", rows, queries, near)
    out += table(pair, "glove_half", "halfvec", rows, queries, {})
    out += table(pair, "glove_bit", "bit", rows, queries, {})
    for dim, count, targets in ((384, 100_000, near), (1536, 20_000, {"<->": 0.9, "<=>": 0.9, "<#>": 0.9})):
        count = int(count * scale)
        values = data.clustered(count + 20, dim)
        out += table(pair, f"clustered_{dim}", "vector", values[:count], values[count:], targets)
        out += table(pair, f"half_{dim}", "halfvec", values[:count], values[count:], {})
        out += table(pair, f"bit_{dim}", "bit", values[:count], values[count:], {})
    return out
