"""Draws the pictures of the documents from the figures of RESULTS.md: pictures.py [--check].

With --check nothing is written: exit code 1 when a picture is out of date. scripts/site.sh calls it, with PYTHONPATH
leading to the checkout.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from benches.index import charts

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "docs" / "pictures"
HEADING = re.compile(
    r"## (hnsw|ivfflat), (\w+) \(([\d,]+) × (\d+)\), (\w+)(?:, (?!layout)[^,]*)*(?:, layout = (\w+))?$"
)


def figures() -> dict[tuple[str, str, str], dict]:
    """Returns by (access method, data, operator class): rows, dimensions, and each line of the table.

    An access method has the name of its layout behind it, unless that is pgvector's.

    A line is (pgvector's figure, ours), with None for what was not measured.
    """
    found: dict[tuple[str, str, str], dict] = {}
    lines: dict | None = None
    for line in (ROOT / "benches" / "RESULTS.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = HEADING.match(line)
            lines = None
            if heading:
                am, data, rows, dimensions, opclass, layout = heading.groups()
                am = f"{am} {layout}" if layout else am
                lines = found[am, data, opclass] = {"rows": int(rows.replace(",", "")), "dimensions": int(dimensions)}
        elif lines is not None and line.startswith("| ") and not line.startswith("| | "):
            name, theirs, ours = (cell.strip() for cell in line.strip("|").split("|")[:3])
            lines[name] = tuple(number(cell) for cell in (theirs, ours))
    return found


def number(cell: str) -> float | None:
    return float(cell.replace(",", "")) if re.fullmatch(r"-?[\d,.]+", cell) else None


def choosing(found: dict) -> str:
    """Time of a question over the number of rows: exact, and through each index at recall 0.95."""
    glove = {key: value for key, value in found.items() if key[1].startswith("glove") and key[2] == "vector_cosine_ops"}

    def points(am: str, name: str) -> list[tuple[float, float]]:
        of = sorted((v for k, v in glove.items() if k[0] == am), key=lambda v: v["rows"])
        return [(round(v["rows"], -3), v[name][1] / 1000) for v in of if v.get(name, (None, None))[1]]

    series = [charts.Series("exact, no index", "s4", points("hnsw", "exact scan CPU, us/query"), thin=True)]
    for am, kind in (("hnsw", "ours"), ("hnsw inline", "s3"), ("ivfflat", "s2"), ("ivfflat packed", "s5")):
        found_points = points(am, "search CPU at recall 0.95, us/query")
        if found_points:
            series.append(charts.Series(f"{am}, recall 0.95", kind, found_points))
    return charts.curves(
        "A question over the number of rows (GloVe, 100 dimensions, cosine)",
        series,
        "rows",
        "ms of CPU",
        False,
        standalone=True,
        width=760,
        height=380,
    )


def bars_of(found: dict, line: str, title: str, unit: str, scale: float = 1.0) -> str:
    groups = []
    for (am, _, opclass), values in found.items():
        theirs, ours = values.get(line, (None, None))
        if opclass.startswith("vector") and theirs and ours and opclass.split("_")[1] in ("cosine", "l2"):
            rows = f"{values['rows'] / 1000:,.0f}k" if values["rows"] < 1_000_000 else "1M"
            groups.append(
                (
                    f"{am} {rows} × {values['dimensions']}",
                    [("ours", "ours", ours * scale), ("pgvector", "theirs", theirs * scale)],
                )
            )
    return standalone(charts.bars(title, unit, groups))


def standalone(drawn: str) -> str:
    """The chart with its style inside, so that it can be a file."""
    return drawn.replace('<rect class="bg"', f'<style>{charts.STYLE}</style><rect class="bg"', 1)


def pictures() -> dict[str, str]:
    found = figures()
    return {
        "choosing.svg": choosing(found),
        "search.svg": bars_of(
            found, "search CPU at recall 0.95, us/query", "A search at recall 0.95", "ms of CPU", 1e-3
        ),
        "build.svg": bars_of(
            found, "build CPU, s (threads and workers included)", "A build, threads included", "s of CPU"
        ),
    }


def stale() -> list[str]:
    """The names of the pictures that do not show the figures of RESULTS.md."""
    return [
        name
        for name, drawn in pictures().items()
        if not (PLACE / name).exists() or (PLACE / name).read_text(encoding="utf-8") != drawn + "\n"
    ]


def draw() -> None:
    PLACE.mkdir(parents=True, exist_ok=True)
    for name, drawn in pictures().items():
        (PLACE / name).write_text(drawn + "\n", encoding="utf-8")


def main() -> int:
    if "--check" not in sys.argv[1:]:
        draw()
    old = stale()
    print(f"not ok - out of date: {', '.join(old)}" if old else "ok - the pictures show the figures of RESULTS.md")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
