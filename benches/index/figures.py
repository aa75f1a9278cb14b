"""From samples to figures: what the table shows, with the project's goals, and how cost grows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benches.index import iterating, scarce, searching
from benches.index.tables import LINES, less_floor

SIDES = ("theirs", "ours")
RECALL = "search CPU at recall {:.2f}, us/query"


@dataclass(frozen=True)
class Figure:
    """One line of the table. `goal` is the ratio to keep: at most, or at least where higher is better."""

    name: str
    theirs: float | None
    ours: float | None
    goal: float | None = None
    higher: bool = False
    # What of it is a bound rather than a value.
    remark: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.theirs and self.ours is not None else None

    @property
    def better(self) -> bool | None:
        """Whether ours is the better, or as good."""
        if self.ratio is None or self.name.startswith(NEUTRAL):
            return None
        # As it is printed.
        ratio = round(self.ratio, 3)
        return ratio >= 1 if self.higher else ratio <= 1

    @property
    def met(self) -> bool | None:
        if self.goal is None or self.ratio is None:
            return None
        # Goals have two decimals; so does what is held against them.
        ratio = round(self.ratio, 2)
        return ratio >= self.goal if self.higher else ratio <= self.goal


# Neither more nor less of it is better.
NEUTRAL = ("  of maintenance", "recall after", "rows of the largest", "lists that")
HIGHER = (
    *("concurrent writers, rows/s", "concurrent writers of near rows, rows/s"),
    *(name for _, name, _ in iterating.LINES if name.endswith("recall")),
    *scarce.HIGHER,
)
# By access method: the ratio to keep, by the figure's beginning.
GOALS = {
    "hnsw": {
        "build CPU": 0.40,
        "build WAL": 1.0,
        "index, MB": 1.0,
        "insert CPU, us": 0.5,
        "insert WAL": 1.0,
        "concurrent writers, rows/s": 1.5,
        "VACUUM after DELETE of a fifth, CPU": 0.5,
        "VACUUM WAL": 1.0,
    },
    "ivfflat": {
        "build CPU": 0.40,
        "build WAL": 1.0,
        "index, MB": 1.0,
        "insert CPU, us": 0.7,
        "insert WAL": 1.0,
        "k-means inertia": 1.0,
        "VACUUM after DELETE of a fifth, CPU": 0.7,
        "VACUUM WAL": 1.0,
    },
}
# Second layouts.
SECOND_GOALS = {
    "hnsw": {
        "build CPU": 0.25,
        "build wall": 0.25,
        "index, MB": 2.2,
        "insert CPU, us": 0.30,
        "insert WAL": 1.2,
        "concurrent writers, rows/s": 3.0,
        "VACUUM after DELETE of a fifth, CPU": 0.10,
        "query with a literal": 0.30,
        "buffers for a quarter": 3.0,
    },
    "ivfflat": {
        "insert CPU less": 0.5,
        "VACUUM after DELETE of a fifth, CPU": 0.5,
    },
}
SEARCH_GOAL = 0.40
SEARCH_LESS_FLOOR = "search CPU less floor at recall {:.2f}, us/query"


def search_goal(entry: dict, target: float) -> float | None:
    """The second layout of hnsw: the search alone, less what a query costs without one."""
    if entry.get("layout") != "second":
        return None
    if entry["am"] == "ivfflat":
        return 0.30
    if entry["kind"] == "bit":
        return 0.25
    if entry["dataset"].startswith("glove"):
        return {0.90: 0.12, 0.95: 0.10, 0.99: 0.15}[target]
    return 0.10


def goal_of(entry: dict, name: str) -> float | None:
    if entry.get("layout") == "second":
        return next((goal for start, goal in SECOND_GOALS[entry["am"]].items() if name.startswith(start)), None)
    if entry["am"] == "hnsw" and entry["dataset"].startswith("glove") and name.startswith("build CPU"):
        return 0.30
    return next((goal for start, goal in GOALS[entry["am"]].items() if name.startswith(start)), None)


def of_entry(entry: dict) -> list[Figure]:
    """Every figure of one configuration."""
    return search_figures(entry) + serving_figures(entry) + cost_figures(entry)


def search_figures(entry: dict) -> list[Figure]:
    curves = [entry["sides"].get(side, {}).get("search", []) for side in SIDES]
    if not all(curves):
        return []
    out = []
    for target in searching.TARGETS:
        found = [searching.at_recall(curve, target) for curve in curves]
        # A curve that begins above the target tells only an upper bound, and a ratio of two of those compares different
        # recalls.
        remark = "; ".join(
            f"{who} {curve[0]['recall']:.3f} at the lowest value"
            for who, curve, (_, mark) in zip(("pgvector", "ours"), curves, found)
            if mark
        )
        goal = SEARCH_GOAL if entry.get("layout") != "second" else None
        out.append(Figure(RECALL.format(target), found[0][0], found[1][0], goal, remark=remark))
    for target, left, right in less_floor(entry["sides"]):
        out.append(Figure(SEARCH_LESS_FLOOR.format(target), left, right, search_goal(entry, target)))
    for name, key in (
        ("pages at recall 0.95", "pages"),
        ("p50 at recall 0.95, us", "wall_p50_us"),
        ("p95 at recall 0.95, us", "wall_p95_us"),
        ("p99 at recall 0.95, us", "wall_p99_us"),
    ):
        out.append(Figure(name, *(searching.at_recall(curve, 0.95, key)[0] for curve in curves)))
    return out


def serving_figures(entry: dict) -> list[Figure]:
    out = []
    sides = [entry["sides"].get(side, {}) for side in SIDES]
    if all("clients" in side for side in sides):
        for count in sides[0]["clients"]["by_clients"]:
            found = [side["clients"]["by_clients"][count] for side in sides]
            who = "1 client" if count == "1" else f"{count} clients"
            out.append(Figure(f"{who}, queries/s", *(f["queries_per_s"] for f in found), higher=True))
            out.append(Figure(f"{who}, p99, us", *(f["wall_p99_us"] for f in found)))
    if all("exact" in side for side in sides):
        out.append(Figure("exact scan CPU, us/query", *(side["exact"]["cpu_us"] for side in sides)))
    return out


def cost_figures(entry: dict) -> list[Figure]:
    theirs, ours = (entry["sides"].get(side, {}) for side in SIDES)
    out = []
    for phase, key, unit, name, _ in LINES:
        found = [side.get(phase, {}).get(key) for side in (theirs, ours)]
        if any(f is not None for f in found):
            out.append(
                Figure(
                    name,
                    *(None if f is None else f / unit for f in found),
                    goal=goal_of(entry, name),
                    higher=name in HIGHER,
                )
            )
    return out


# How much lower our recall may be at an equal setting.
RECALL_GOAL = 0.005


def recall_said(entry: dict) -> str:
    """Our recall against theirs at equal values of ef_search or probes: on average, which chance in one build moves by
    some thousandths, and at worst.
    """
    at = [{p["knob"]: p["recall"] for p in entry["sides"].get(side, {}).get("search", [])} for side in SIDES]
    lower = {knob: at[0][knob] - at[1][knob] for knob in at[0].keys() & at[1].keys()}
    if not lower:
        return ""
    average, worst = sum(lower.values()) / len(lower), max(lower, key=lambda knob: lower[knob])
    verdict = "met" if round(average, 3) <= RECALL_GOAL else "missed"
    return (
        f"Recall at an equal setting: ours is {'lower' if average > 0 else 'higher'} by {abs(average):.4f} on average (goal: lower by at most {RECALL_GOAL}, {verdict}), "
        f"{'lower' if lower[worst] > 0 else 'higher'} by {abs(lower[worst]):.4f} at worst (at {worst})."
    )


def shown(value: float | None) -> str:
    """Three or four digits that count."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    digits = max(0, 3 - math.floor(math.log10(abs(value))) - 1)
    return f"{value:,.{min(digits, 4)}f}"


def ratio_shown(ratio: float | None) -> str:
    """Two decimals, three where two would hide which side of 1 it is on."""
    if ratio is None:
        return "–"
    return f"{ratio:.3f}" if 0.95 < ratio < 1.05 else f"{ratio:.2f}"


# --- growth -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Growth:
    """One cost over rows or dimensions, both sides, and the exponents of the fitted power laws."""

    series: str
    name: str
    unit: str
    points: dict[str, list[tuple[float, float]]]
    exponents: dict[str, float | None]

    @property
    def axis(self) -> str:
        return self.series.split()[0]


def exponent(points: list[tuple[float, float]]) -> float | None:
    """Slope of the least-squares line through the logarithms; none of fewer than three points."""
    if len(points) < 3:
        return None
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    square = sum((x - middle_x) ** 2 for x in xs)
    return sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys)) / square if square else None


# The setting that both sides' curves are read at, where not at equal recall.
USUAL = {"hnsw": 40, "ivfflat": 8}


def _at_usual(side: dict, am: str) -> float | None:
    return next((p["cpu_us"] for p in side.get("search", []) if p["knob"] == USUAL[am]), None)


def _at_recall(side: dict, target: float) -> float | None:
    found, mark = searching.at_recall(side.get("search", []), target)
    return None if mark else found


COSTS = (
    ("query at recall 0.95", "us", lambda side, am: _at_recall(side, 0.95)),
    ("query at the same setting", "us", _at_usual),
    ("build", "CPU s", lambda side, am: side.get("build", {}).get("cpu_s")),
    ("insert", "us/row", lambda side, am: side.get("insert", {}).get("cpu_us")),
    ("VACUUM of a fifth", "CPU s", lambda side, am: side.get("vacuum", {}).get("cpu_s")),
    ("index size", "MB", lambda side, am: side["build"]["index_bytes"] / 1e6 if "build" in side else None),
)


def growths(entries: list[dict]) -> list[Growth]:
    """Every series that has at least three entries."""
    out = []
    for series in dict.fromkeys(s for e in entries for s in e["series"]):
        members = [e for e in entries if series in e["series"]]
        across = "rows" if series.startswith("n ") else "dim"
        members.sort(key=lambda e: e[across])
        for name, unit, cost in COSTS:
            points = {
                side: [(float(e[across]), y) for e in members if (y := cost(e["sides"].get(side, {}), e["am"]))]
                for side in SIDES
            }
            if min(len(p) for p in points.values()) >= 3:
                out.append(Growth(series, name, unit, points, {side: exponent(p) for side, p in points.items()}))
    return out
