"""COPY in and out, text and binary, of every type."""

from __future__ import annotations

from benches.sql import data
from benches.sql.measure import Pair, Row, Session


def one(
    pair: Pair, label: str, column: str, stream: bytes, count: int, binary_target: float, text_target: float
) -> list[Row]:
    """Loads the given stream once, takes each system's own text and binary form from it, and times all four ways."""
    pair.each(lambda s: s.must("DROP TABLE IF EXISTS copied"))
    pair.each(lambda s: s.must(f"CREATE TABLE copied (id int4, embedding {column})"))
    binary = stream[:6] == b"PGCOPY"
    pair.each(lambda s: s.copy_in(f"COPY copied FROM STDIN (FORMAT {'binary' if binary else 'text'})", stream))
    forms = {}
    for form in ("text", "binary"):
        outputs = pair.each(lambda s: taken(s, f"COPY copied TO STDOUT (FORMAT {form})"))
        if len(outputs) == 2 and outputs[0] != outputs[1]:
            raise RuntimeError(f"{label}: COPY TO ({form}) differs between the systems")
        forms[form] = outputs[0]
    out = []
    for form, target in (("text", text_target), ("binary", binary_target)):
        out.append(
            pair.compare(
                f"COPY in {form}, {label}",
                count,
                lambda s: s.copy_in(f"COPY copied FROM STDIN (FORMAT {form})", forms[form]),
                before=lambda s: s.must("TRUNCATE copied"),
                target=target,
            )
        )
    for form in ("text", "binary"):
        out.append(
            pair.compare(
                f"COPY out {form}, {label}",
                count,
                lambda s: s.copy_out(f"COPY copied TO STDOUT (FORMAT {form})"),
                target=1.0,
            )
        )
    pair.each(lambda s: s.must("DROP TABLE copied"))
    return out


def taken(session: Session, sql: str) -> bytes:
    session.conn.exec_(sql.encode())
    parts = []
    while True:
        length, chunk = session.conn.get_copy_data(0)
        if length <= 0:
            break
        parts.append(bytes(chunk))
    while session.conn.get_result() is not None:
        pass
    return b"".join(parts)


def suite(pair: Pair, scale: float) -> list[Row]:
    out = []
    many, few = int(20_000 * scale), int(2_000 * scale)
    glove = data.glove()[:many]
    out += one(pair, "vector(100)", "vector(100)", data.copy_stream("vector", glove), many, 1.0, 0.6)
    wide = data.clustered(20_020, 1536)[:few]
    out += one(pair, "vector(1536)", "vector(1536)", data.copy_stream("vector", wide), few, 1.0, 0.6)
    out += one(pair, "halfvec(100)", "halfvec(100)", data.copy_stream("halfvec", glove), many, 1.0, 0.6)
    sparse = data.sparse_text(many // 2, 100, 30_000)
    stream = "".join(f"{i}\t{line}\n" for i, line in enumerate(sparse)).encode()
    out += one(pair, "sparsevec(30000), 100 non-zero", "sparsevec(30000)", stream, many // 2, 1.0, 0.6)
    return out
