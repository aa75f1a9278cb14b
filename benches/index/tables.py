"""The figures as text: one line per figure, theirs, ours, ratio."""

from __future__ import annotations

from benches.index import iterating, scarce, searching
from benches.index.datasets import Dataset
from benches.index.servers import Config

Figure = float | int | None


def shown(value: Figure, form: str) -> str:
    return "-" if value is None else format(value, form)


def line(name: str, theirs: Figure, ours: Figure, form: str = ".1f", mark: str = "") -> str:
    ratio = ours / theirs if theirs and ours is not None else None
    return f"{name:44} {shown(theirs, form):>12} {shown(ours, form):>12} {shown(ratio, '.3f'):>8}{mark}"


def head(config: Config, dataset: Dataset, environment: dict) -> str:
    versions = ", ".join(f"{side} {version}" for side, version in environment["versions"].items())
    options = " ".join(f"{k}={v}" for k, v in config.options) or "default options"
    return (
        f"\n{config.am} {config.opclass.name} ({options}) on {config.dataset}: {len(dataset.base)} x {dataset.dim}, {len(dataset.queries)} queries\n"
        f"PostgreSQL {environment['server']} on {environment['cpu']}, {environment['cores']} cores; {versions}\n"
        f"\n{'':44} {'pgvector':>12} {'ours':>12} {'ratio':>8}"
    )


def scaled(side: dict, phase: str, name: str, unit: float = 1.0) -> Figure:
    found = side.get(phase, {}).get(name)
    return None if found is None else found / unit


# Phase, figure, unit, what it is called, form.
LINES = (
    ("build", "cpu_s", 1.0, "build CPU, s (threads and workers included)", ".2f"),
    ("build", "wall_s", 1.0, "build wall, s", ".2f"),
    ("build", "wal_bytes", 1e6, "build WAL, MB", ".2f"),
    ("build", "memory_bytes", 1e6, "build memory at its peak, MB", ".1f"),
    ("build", "budget_bytes", 1e6, "  of maintenance_work_mem, MB", ".1f"),
    ("build", "reserved_bytes", 1e6, "shared memory reserved by the build, MB", ".1f"),
    ("build", "index_bytes", 1e6, "index, MB", ".2f"),
    ("insert", "cpu_us", 1.0, "insert CPU, us/row", ".1f"),
    ("insert", "cpu_less_floor_us", 1.0, "insert CPU less the same without index, us/row", ".1f"),
    ("insert", "wal_bytes_per_row", 1.0, "insert WAL, bytes/row", ".0f"),
    ("insert", "recall", 1.0, "recall after the inserts", ".4f"),
    ("insert", "index_bytes", 1e6, "index after the inserts, MB", ".2f"),
    ("writers", "rows_per_s", 1.0, "concurrent writers, rows/s", ".0f"),
    ("writers", "cpu_us", 1.0, "concurrent writers, CPU us/row", ".1f"),
    ("crowd", "rows_per_s", 1.0, "concurrent writers of near rows, rows/s", ".0f"),
    ("crowd", "cpu_us", 1.0, "concurrent writers of near rows, CPU us/row", ".1f"),
    ("vacuum", "cpu_s", 1.0, "VACUUM after DELETE of a fifth, CPU s", ".3f"),
    ("vacuum", "wall_s", 1.0, "VACUUM after DELETE of a fifth, wall s", ".3f"),
    ("vacuum", "one_row_cpu_s", 1.0, "VACUUM for one dead row, CPU s", ".4f"),
    ("vacuum", "wal_bytes", 1e6, "VACUUM WAL, MB", ".2f"),
    ("vacuum", "memory_bytes", 1e6, "VACUUM memory at its peak, MB", ".1f"),
    ("vacuum", "recall", 1.0, "recall after VACUUM", ".4f"),
    ("vacuum", "index_bytes", 1e6, "index after VACUUM, MB", ".2f"),
    ("floor", "cpu_us", 1.0, "ten rows by primary key, CPU us", ".1f"),
    ("simple", "cpu_us", 1.0, "query with a literal at 0.95, CPU us", ".1f"),
    *(("iterative", key, 1.0, name, form) for key, name, form in iterating.LINES),
    *scarce.LINES,
    ("inertia", "inertia", 1.0, "k-means inertia per row of the table", ".6g"),
    ("inertia", "empty_lists", 1.0, "lists that are nearest to no row", ".0f"),
    ("inertia", "largest_list", 1.0, "rows of the largest list", ".0f"),
)


def figure_lines(figures: dict) -> list[str]:
    theirs, ours = figures["theirs"], figures["ours"]
    return [
        line(name, scaled(theirs, phase, key, unit), scaled(ours, phase, key, unit), form)
        for phase, key, unit, name, form in LINES
        if phase in theirs or phase in ours
    ]


def less_floor(figures: dict) -> list[tuple[float, Figure, Figure]]:
    """CPU of a query less that of one that does not search, both sides, at each recall."""
    sides = [figures.get(side, {}) for side in ("theirs", "ours")]
    if not all("floor" in side and "search" in side for side in sides):
        return []

    def search(side: dict, target: float) -> Figure:
        whole, _ = searching.at_recall(side["search"], target)
        return None if whole is None else max(whole - side["floor"]["cpu_us"], 0.1)

    return [(target, *(search(side, target) for side in sides)) for target in searching.TARGETS]


def search_lines(figures: dict, config: Config) -> list[str]:
    theirs, ours = (figures[side].get("search", []) for side in ("theirs", "ours"))
    out = []
    for target in searching.TARGETS:
        (left, left_mark), (right, right_mark) = searching.at_recall(theirs, target), searching.at_recall(ours, target)
        marks = "".join(
            f"  {who} at its cheapest point already"
            for who, mark in (("pgvector", left_mark), ("ours", right_mark))
            if mark
        )
        out.append(line(f"search CPU at recall {target:.2f}, us/query", left, right, ".1f", marks))
    for target, left, right in less_floor(figures):
        out.append(line(f"  less ten rows by primary key, at {target:.2f}", left, right))
    out.append("")
    out.append(
        f"{searching.KNOBS[config.am]:>20} {'recall':>8} {'recall':>8} {'CPU us':>9} {'CPU us':>9} {'ratio':>7} {'p50 us':>9} {'p50 us':>9} {'p99 us':>9} {'p99 us':>9} {'pages':>8} {'pages':>8}"
    )
    at = [{p["knob"]: p for p in points} for points in (theirs, ours)]
    for knob in sorted(at[0] | at[1]):
        left, right = at[0].get(knob), at[1].get(knob)
        cells = [f"{knob:20d}"]
        for key, form, width in (
            ("recall", ".4f", 8),
            ("cpu_us", ".1f", 9),
            ("wall_p50_us", ".1f", 9),
            ("wall_p99_us", ".1f", 9),
            ("pages", ".1f", 8),
        ):
            cells += [f"{shown(p and p[key], form):>{width}}" for p in (left, right)]
            if key == "cpu_us":
                cells.append(f"{shown(right['cpu_us'] / left['cpu_us'] if left and right else None, '.3f'):>7}")
        out.append(" ".join(cells))
    common = at[0].keys() & at[1].keys()
    if common:
        worst = min(common, key=lambda k: at[1][k]["recall"] - at[0][k]["recall"])
        out.append(
            f"recall at an equal value: ours is lower by at most {max(0.0, at[0][worst]['recall'] - at[1][worst]['recall']):.4f} (at {worst})"
        )
    return out


def summary(figures: dict, config: Config) -> str:
    """Both layouts, one after the other."""
    parts = []
    for side, name in (("ours", "pgvector's pages"), ("second", "the second layout")):
        if figures.get(side):
            parts.append(
                f"-- ours on {name}\n" + one_layout({"theirs": figures["theirs"], "ours": figures[side]}, config)
            )
    return "\n\n".join(parts)


def one_layout(figures: dict, config: Config) -> str:
    out = figure_lines(figures)
    if any(side.get("search") for side in figures.values()):
        out += search_lines(figures, config)
    return "\n".join(out)
