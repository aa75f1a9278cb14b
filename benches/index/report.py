"""A run as a page that opens from disk, and as the repository's RESULTS.md with its pictures."""

from __future__ import annotations

import textwrap
from html import escape
from pathlib import Path

from benches.index import charts, figures, filter_report, pictures, searching
from benches.index.charts import Series
from benches.index.figures import SIDES, Figure, Growth, ratio_shown, shown

NAMES = {"theirs": "pgvector", "ours": "ours"}
# Of prose in RESULTS.md.
COLUMNS = 120
RECALL_AXIS = ("recall@10", "queries per second of one core", True)

PAGE_STYLE = """
:root{color-scheme:light dark;--ink:#15191f;--soft:#59626e;--edge:#e2e6eb;--paper:#f6f7f9;--card:#fff;--good:#0b7a5b;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--ink:#eef1f5;--soft:#a2abb8;--edge:#2a303a;--paper:#0e1116;--card:#161a20;--good:#35c79b;--bad:#ff8a7a}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
main{max-width:1020px;margin:0 auto;padding:40px 24px 80px}h1{font-size:30px;line-height:1.2;margin:0 0 6px}h2{font-size:21px;margin:46px 0 6px}h3{font-size:16px;margin:26px 0 8px}
p{margin:6px 0 14px;max-width:78ch}.soft,small{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(178px,1fr));gap:12px;margin:22px 0}
.tile{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:14px 16px}.tile b{display:block;font-size:27px;font-weight:650;letter-spacing:-.02em}
.tile span{color:var(--soft);font-size:13px}.good{color:var(--good)}.bad{color:var(--bad)}
.plots{display:flex;flex-wrap:wrap;gap:14px}.plots svg,.wide svg{max-width:100%;height:auto;border:1px solid var(--edge);border-radius:10px}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--edge);border-radius:10px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:5px 12px;text-align:right;border-top:1px solid var(--edge);white-space:nowrap}
th{font-weight:600;color:var(--soft);border-top:0}td:first-child,th:first-child{text-align:left}td.ratio{font-weight:650}
details{margin:10px 0}summary{cursor:pointer;color:var(--soft)}code{font:13px ui-monospace,SFMono-Regular,Menlo,monospace}
"""


def title_of(entry: dict) -> str:
    options = ", ".join(f"{k} = {v}" for k, v in entry["options"].items())
    return f"{entry['am']}, {entry['dataset']} ({entry['rows']:,} × {entry['dim']}), {entry['opclass']}" + (
        f", {options}" if options else ""
    )


def several_commits(content: dict) -> bool:
    return len({e["commit"] for e in content["entries"]}) > 1


def said_of(content: dict, entry: dict) -> str:
    """What stands under an entry's title."""
    measured_at = f"Measured at commit {entry['commit']}." if several_commits(content) else ""
    return " ".join(words for words in (figures.recall_said(entry), measured_at) if words)


def tabled(content: dict) -> list[dict]:
    return [e for e in content["entries"] if not e["only_series"] and all(e["sides"].get(side) for side in SIDES)]


def curve(points: list[dict]) -> list[tuple[float, float]]:
    """Recall and queries per second of one core, by the CPU that a query took."""
    return [(p["recall"], 1e6 / p["cpu_us"]) for p in points if p["cpu_us"]]


def search_series(content: dict, entry: dict) -> list[Series]:
    out = [Series(NAMES[side], side, curve(entry["sides"][side].get("search", []))) for side in reversed(SIDES)]
    kinds = iter(("s2", "s3", "s4", "s5"))
    for ceiling in content["ceilings"]:
        same = (
            ceiling["dataset"] == entry["dataset"]
            and ceiling["kind"] == entry["kind"]
            and ceiling["metric"] == entry["metric"]
            and ceiling["am"] == entry["am"]
        )
        if same and "search" in ceiling:
            out.append(Series(f"{ceiling['library']}, in process", next(kinds), curve(ceiling["search"]), thin=True))
    return out


def growth_series(growth: Growth) -> list[Series]:
    def name(side: str) -> str:
        found = growth.exponents[side]
        return NAMES[side] if found is None else f"{NAMES[side]}: {growth.axis}^{found:.2f}"

    return [Series(name(side), side, growth.points[side], fit=True) for side in reversed(SIDES)]


def growth_panel(growth: Growth) -> tuple[str, list[Series], str, str, bool]:
    across = "rows" if growth.axis == "n" else "dimensions"
    return f"{growth.series.partition(' ')[2]}: {growth.name}", growth_series(growth), across, growth.unit, False


# --- the page ---------------------------------------------------------------------------------------------------------


def ratio_cell(figure: Figure) -> str:
    if figure.ratio is None:
        return "<td>–</td>"
    kind = {True: "good", False: "bad", None: ""}[figure.better]
    return f'<td class="ratio {kind}">{ratio_shown(figure.ratio)}</td>'


def goal_cell(figure: Figure) -> str:
    if figure.met is None:
        return "<td></td>"
    sign = "≥" if figure.higher else "≤"
    return f'<td class="{"good" if figure.met else "bad"}">{sign} {figure.goal:.2f} {"met" if figure.met else "missed"}</td>'


def figure_table(entry: dict) -> str:
    rows = []
    for figure in figures.of_entry(entry):
        remark = f" <small>({escape(figure.remark)})</small>" if figure.remark else ""
        rows.append(
            f"<tr><td>{escape(figure.name)}{remark}</td><td>{shown(figure.theirs)}</td><td>{shown(figure.ours)}</td>{ratio_cell(figure)}{goal_cell(figure)}</tr>"
        )
    return f'<div class="scroll"><table><tr><th></th><th>pgvector</th><th>ours</th><th>ratio</th><th>goal</th></tr>{"".join(rows)}</table></div>'


def ladder_table(entry: dict) -> str:
    at = [{p["knob"]: p for p in entry["sides"][side].get("search", [])} for side in SIDES]
    columns = (
        ("recall", ".4f"),
        ("cpu_us", ",.1f"),
        ("wall_p50_us", ",.0f"),
        ("wall_p95_us", ",.0f"),
        ("wall_p99_us", ",.0f"),
        ("pages", ",.0f"),
    )
    head = "".join(
        f'<th colspan="2">{name}</th>' for name in ("recall", "CPU µs", "p50 µs", "p95 µs", "p99 µs", "pages")
    )
    rows = []
    for knob in sorted(at[0] | at[1]):
        cells = "".join(
            f"<td>{'–' if knob not in side else format(side[knob][key], form)}</td>"
            for key, form in columns
            for side in at
        )
        rows.append(f"<tr><td>{knob}</td>{cells}</tr>")
    return (
        f'<details><summary>Every value of {"ef_search" if entry["am"] == "hnsw" else "probes"} (pgvector, ours)</summary><div class="scroll"><table>'
        f"<tr><th></th>{head}</tr>{''.join(rows)}</table></div></details>"
    )


def tiles(entries: list[dict]) -> str:
    wanted = (
        ("search CPU at recall 0.95", "CPU per query at recall 0.95"),
        ("build CPU", "CPU of a build"),
        ("insert CPU", "CPU of an insert"),
        ("VACUUM after DELETE of a fifth, CPU", "CPU of VACUUM"),
    )
    out = []
    for entry in entries:
        if "writers" not in entry["sides"]["ours"]:
            continue
        for start, name in wanted:
            figure = next((f for f in figures.of_entry(entry) if f.name.startswith(start)), None)
            if figure and figure.ratio is not None:
                out.append(
                    f'<div class="tile"><b class="{"good" if figure.better else "bad"}">{ratio_shown(figure.ratio)}×</b>'
                    f"<span>{escape(name)}<br>{escape(entry['am'])}, {escape(entry['dataset'])}</span></div>"
                )
    return f'<div class="tiles">{"".join(out)}</div>'


def bar_groups(content: dict, phase: str, key: str, unit: float) -> list[tuple[str, list[tuple[str, str, float]]]]:
    groups = []
    for entry in tabled(content):
        bars = [
            (NAMES[side], side, entry["sides"][side][phase][key] / unit)
            for side in SIDES
            if key in entry["sides"][side].get(phase, {})
        ]
        for ceiling in content["ceilings"] if key == "cpu_s" else []:
            if (ceiling["dataset"], ceiling["kind"], ceiling["metric"], ceiling["am"]) == (
                entry["dataset"],
                entry["kind"],
                entry["metric"],
                entry["am"],
            ) and "build" in ceiling:
                bars.append((ceiling["library"], "s4", ceiling["build"]["cpu_s"]))
        if bars:
            groups.append((entry["name"], bars))
    return groups


def setting_lines(environment: dict) -> str:
    return ", ".join(f"{k} = {v}" for k, v in sorted(environment["settings"].items()))


def machine(environment: dict) -> str:
    versions = ", ".join(f"{name} {environment['versions'][side]}" for side, name in NAMES.items())
    return (
        f"PostgreSQL {environment['server']}, {versions}; {environment['cpu']}, {environment['cores']} cores, "
        f"{environment['memory_bytes'] / 2**30:.0f} GiB, Linux {environment['kernel']}"
    )


def provenance(content: dict) -> str:
    environment = content["environment"]
    commits = sorted({e["commit"] for e in content["entries"]})
    busy = max(e["load"] for e in content["entries"])
    said = ""
    if busy > 2 * environment["cores"]:
        said = (
            f" Others used the machine meanwhile (load average up to {busy:.0f} on {environment['cores']} cores): they slow both sides, waiting for memory above all, and "
            "wall times, p50 to p99 and clients' throughput tell about them."
        )
    return f"{content['started']}, commit {', '.join(commits)}. {machine(environment)}.{said}"


METHOD = """Both systems ran on the same server binary with the same rows, options and settings, up at the same time, in turns. Recall is counted against exact
neighbours (k = 10, ties count as right). CPU is the kernel's account of the backend, its threads and its parallel workers: wall time on a shared machine tells about its
neighbours. "Queries per second of one core" is the inverse of the CPU of a query; libraries in process answer without SQL, pages or transactions, and stand for the
ceiling. A ratio below 1 means less of it in ours; what is worse in ours is printed like the rest."""


def html(content: dict) -> str:
    entries = tabled(content)
    grown = figures.growths(content["entries"])
    parts = [
        f"<h1>vector beside pgvector</h1><p class='soft'>{escape(provenance(content))}</p><p>{escape(METHOD)}</p>",
        tiles(entries),
    ]
    parts.append(
        "<h2>Recall and throughput</h2><p class='soft'>Up and to the right is better. Both axes bend: each halving of what is missed has the same room.</p><div class='plots'>"
    )
    parts += [
        charts.curves(entry["name"], search_series(content, entry), *RECALL_AXIS)
        for entry in entries
        if entry["sides"]["ours"].get("search")
    ]
    parts.append(
        "</div><h2>Builds</h2><div class='wide'>"
        + charts.bars("CPU of the build", "s", bar_groups(content, "build", "cpu_s", 1))
        + "</div>"
    )
    parts.append(
        "<h2>Sizes</h2><div class='wide'>"
        + charts.bars("Index", "MB", bar_groups(content, "build", "index_bytes", 1e6))
        + "</div><br><div class='wide'>"
        + charts.bars("Memory of the build at its peak", "MB", bar_groups(content, "build", "memory_bytes", 1e6))
        + "</div>"
    )
    if grown:
        parts.append(
            "<h2>Growth</h2><p class='soft'>Cost over rows n and dimensions d, with the exponents of the fitted power laws. Curves that reach the recall with their "
            "lowest setting are left out of it.</p><div class='plots'>"
        )
        parts += [charts.curves(*growth_panel(growth)) for growth in grown]
        parts.append("</div>")
    parts.append("<h2>Every figure</h2>")
    for entry in entries:
        parts.append(
            f"<h3>{escape(title_of(entry))}</h3><p class='soft'>{said_of(content, entry)}</p>{figure_table(entry)}{ladder_table(entry)}"
        )
    missing = [f"{c['library']} ({c['dataset']}): {c['missing']}" for c in content["ceilings"] if "missing" in c]
    if missing:
        parts.append(f"<p class='soft'>Left out: {escape('; '.join(missing))}</p>")
    parts.append(
        f"<details><summary>Settings of both servers</summary><p><code>{escape(setting_lines(content['environment']))}</code></p></details>"
    )
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>vector beside pgvector</title><style>{PAGE_STYLE}{charts.STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


# --- text -------------------------------------------------------------------------------------------------------------


def markdown_table(entry: dict) -> list[str]:
    lines = ["| | pgvector | ours | ratio | goal |", "|---|---|---|---|---|"]
    for figure in figures.of_entry(entry):
        ratio = f"**{ratio_shown(figure.ratio)}**{' (worse)' if figure.better is False else ''}"
        goal = (
            ""
            if figure.met is None
            else f"{'≥' if figure.higher else '≤'} {figure.goal:.2f} {'met' if figure.met else 'missed'}"
        )
        remark = f" ({figure.remark})" if figure.remark else ""
        lines.append(
            f"| {figure.name.strip()}{remark} | {shown(figure.theirs)} | {shown(figure.ours)} | {ratio} | {goal} |"
        )
    return lines


def growth_table(grown: list[Growth]) -> list[str]:
    lines = ["| | | from | to | pgvector | ours | ratio at the end |", "|---|---|---|---|---|---|---|"]
    for growth in grown:
        first, last = growth.points["theirs"][0][0], growth.points["theirs"][-1][0]
        powers = [
            f"{growth.axis}^{growth.exponents[side]:.2f}" if growth.exponents[side] is not None else "–"
            for side in SIDES
        ]
        ratio = growth.points["ours"][-1][1] / growth.points["theirs"][-1][1]
        lines.append(
            f"| {growth.series.partition(' ')[2]} | {growth.name} | {first:,.0f} | {last:,.0f} | {powers[0]} | {powers[1]} | {ratio:.2f} |"
        )
    return lines


def ceiling_table(content: dict) -> list[str]:
    lines = ["| | library | build CPU, s | CPU µs/query at 0.90 | 0.95 | 0.99 |", "|---|---|---|---|---|---|"]
    for ceiling in content["ceilings"]:
        if "missing" in ceiling:
            lines.append(f"| {ceiling['dataset']} | {ceiling['library']}: left out, {ceiling['missing']} | | | | |")
            continue
        at = [shown(searching.at_recall(ceiling["search"], target)[0]) for target in searching.TARGETS]
        lines.append(
            f"| {ceiling['dataset']} | {ceiling['library']} | {ceiling['build']['cpu_s']:.1f} | {' | '.join(at)} |"
        )
    return lines


def plots(content: dict) -> dict[str, str]:
    """The two pictures of RESULTS.md, by file name."""
    entries = tabled(content)
    first = [
        e
        for am, count in (("hnsw", 4), ("ivfflat", 2))
        for e in [e for e in entries if e["am"] == am and e["sides"]["ours"].get("search")][:count]
    ]
    out = {"search.svg": charts.side_by_side([(e["name"], search_series(content, e), *RECALL_AXIS) for e in first])}
    grown = [
        g
        for g in figures.growths(content["entries"])
        if g.name != "query at the same setting" and g.name != "index size"
    ]
    # Over rows before dimensions, and what goes farthest first.
    grown.sort(key=lambda g: (g.axis != "n", -max(x for x, _ in g.points["ours"]), g.series))
    if grown:
        out["growth.svg"] = charts.side_by_side([growth_panel(g) for g in grown[:8]], height=290)
    return out


def results(content: dict) -> str:
    """RESULTS.md."""
    entries = tabled(content)
    met = [f.met for e in entries for f in figures.of_entry(e) if f.met is not None]
    lines = [
        "# Results",
        "",
        f"Written by `make {'bench' if content['plan'] == 'quick' else 'bench-full'} RESULTS=1`: {provenance(content)}",
        "",
        METHOD.replace("\n", " "),
        "",
        f"{sum(met)} of {len(met)} goals met. How it is measured: [README.md](README.md). p50 to p99, all values of ef_search and probes and every curve are in "
        "[report.html](report.html), to be opened from disk; what the profile says about them, in [PROFILE.md](PROFILE.md).",
        "",
        "![recall and throughput](plots/search.svg)",
        "",
    ]
    for entry in entries:
        lines += [f"## {title_of(entry)}", "", *markdown_table(entry), "", said_of(content, entry), ""]
    for found in content.get("filters", []):
        lines += [
            f"## Filters, {found['dataset']} ({found['rows']:,} × {found['dim']}), {found['opclass']}",
            "",
            filter_report.SAID.replace("\n", " "),
            "",
            *filter_report.lines_of(found),
            "",
        ]
    if content["ceilings"]:
        lines += ["## In process, without a database", "", *ceiling_table(content), ""]
    grown = figures.growths(content["entries"])
    if grown:
        lines += [
            "## Growth",
            "",
            "Power laws fitted to rows n and dimensions d by least squares of the logarithms.",
            "",
            *growth_table(grown),
            "",
            "![growth](plots/growth.svg)",
            "",
        ]
    return "\n".join(part for line in lines for part in wrapped(line)).rstrip() + "\n"


def wrapped(line: str) -> list[str]:
    """A paragraph in columns; tables, titles and pictures stay as they are."""
    if len(line) <= COLUMNS or line.startswith(("|", "#", "!")):
        return [line]
    return textwrap.wrap(line, COLUMNS, break_long_words=False, break_on_hyphens=False)


def write(content: dict, directory: Path) -> Path:
    """The page beside the samples."""
    page = directory / f"bench-{content['plan']}.html"
    page.write_text(html(content))
    return page


def publish(content: dict, benches: Path) -> None:
    """What is committed: RESULTS.md, its pictures, the page, and the pictures of the documents."""
    folder = benches / "plots"
    folder.mkdir(exist_ok=True)
    for name, picture in plots(content).items():
        (folder / name).write_text(picture + "\n")
    (benches / "RESULTS.md").write_text(results(content))
    (benches / "report.html").write_text(html(content))
    pictures.draw()
