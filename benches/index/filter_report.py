"""Tables of conditions beside the order by distance."""

from __future__ import annotations

from benches.index.filtering import ENOUGH, LIMITS, OURS, WAYS

SAID = """CPU µs of a query with a condition and LIMIT, less that of ten rows by primary key; in brackets its recall among the
rows that match, and how many queries had as many rows as there are, where not all had. Settings are the default ones,
but for pgvector's iterative scans and its `hnsw.ef_search`, the least of 40, 100 and 200 with a recall of 0.9, or 200. Shares
match at random; near are the rows of the query's own neighbourhood, far those of one away from it; tenants are a
thousand, drawn by their rows. "To all rows" is to the same query without a condition, over an index with as many
columns, by an iterative scan, which fills the LIMIT as conditions do; pgvector's best is the cheapest of its ways with
a recall of 0.9. "Planned": how many queries the planner answers by the vector index where the table has btrees, too,
and what its choices take to the cheaper way of each query, floor included; whatever other plan it takes counts as btree
and sort."""


def less_floor(found: dict, condition: dict, way: str) -> float | None:
    """CPU µs of a way, less its side's floor."""
    figure = condition["ways"].get(way)
    side = next(one.side for one in WAYS if one.name == way)
    return None if figure is None else figure["cpu_us"] - found["floor_us"][side]


def best_of_theirs(found: dict, condition: dict) -> float | None:
    """pgvector's cheapest way that finds enough, not told where it takes less than can be measured."""
    enough = [
        less_floor(found, condition, way.name)
        for way in WAYS
        if way.side == "theirs" and condition["ways"].get(way.name, {"recall": 0})["recall"] >= ENOUGH
    ]
    return min(enough) if enough and min(enough) >= 1 else None


def cell(found: dict, condition: dict, way: str) -> str:
    figure = condition["ways"].get(way)
    if figure is None:
        return ""
    missing = "" if figure["filled"] == 1 else f", {min(figure['filled'], 0.99):.0%} filled"
    return f"{less_floor(found, condition, way):,.0f} ({figure['recall']:.3f}{missing})"


def planned(condition: dict, am: str) -> str:
    """The share that goes to the index, and its cost to the better way's."""
    found = condition.get("planned", {}).get(am)
    return f"{found['share']:.0%} ({found['cost']:.2f})" if found else ""


def table(found: dict, limit: int) -> list[str]:
    """Markdown, of one LIMIT."""
    conditions = [one for one in found["conditions"] if one["limit"] == limit]
    all_rows = conditions[0]
    ways = [way.name for way in WAYS if way.most >= limit]
    heads = ["rows that match", *ways, "hnsw to all rows", "ivfflat to all rows", "hnsw to pgvector's best"]
    heads += [f"planned, {am}" for am in OURS]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for condition in conditions:
        cells = [f"{condition['name']} ({condition['matching']:,.0f})"]
        cells += [cell(found, condition, way) for way in ways]
        for am in OURS:
            cells.append(f"{less_floor(found, condition, am) / less_floor(found, all_rows, am):.2f}")
        best = best_of_theirs(found, condition)
        cells.append(f"{less_floor(found, condition, 'hnsw') / best:.2f}" if best else "–")
        cells += [planned(condition, am) for am in OURS]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def built_line(found: dict) -> str:
    """What two filter columns cost at a build, and what an index-only scan saves."""
    said = []
    for am, figures in found["builds"].items():
        cpu = figures["with"]["cpu_s"] / max(1e-9, figures["without"]["cpu_s"])
        size = figures["with"]["bytes"] / max(1, figures["without"]["bytes"])
        said.append(f"{am} {cpu:.2f} times the CPU and {size:.2f} times the bytes")
    only = [
        f"{am} {figures['index-only scan']:.0f} of {figures['index scan']:.0f} µs "
        f"({figures['index-only scan'] / figures['index scan']:.2f})"
        for am, figures in found["index_only"].items()
    ]
    return (
        "With two filter columns a build takes: " + ", ".join(said) + ". An index-only scan of ten rows and their "
        "distances takes, of an index scan's CPU: " + ", ".join(only) + "."
    )


def lines_of(found: dict) -> list[str]:
    """All of one dataset."""
    out = []
    for limit in LIMITS:
        out += [f"LIMIT {limit}:", "", *table(found, limit), ""]
    return [*out, built_line(found)]
