"""The whole benchmark: every configuration of a plan on one pair of servers, ceilings beside it, growth over it.

Writes bench-<plan>.json after every configuration, so that a run that is stopped keeps what it has; --only measures the
configurations whose names contain one of the words and keeps the others of that file. Then a table, and
bench-<plan>.html.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benches.index import ceilings, datasets, figures, filter_report, filtering, phases, report, servers, tables
from benches.index import plan as plans
from benches.index.plan import Ceiling, Entry, Filtered
from vector_testing.paths import ROOT


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench.sh all|full", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    servers.add_prefixes(parser)
    parser.add_argument("--plan", choices=plans.PLANS, default="quick")
    parser.add_argument(
        "--only", help="words, one of which a configuration's name must contain; 'ceilings' for the libraries"
    )
    parser.add_argument(
        "--results", type=Path, default=ROOT / "results", help="directory of the samples and the report"
    )
    parser.add_argument("--publish", action="store_true", help="write benches/RESULTS.md and its pictures")
    parser.add_argument("--report-only", action="store_true", help="measure nothing, report the samples that are there")
    options = parser.parse_args(words)
    if not options.report_only:
        servers.take_prefixes(options)
    return options


def commit() -> str:
    """The commit that is measured, marked when files differ from it."""
    found = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=10"], capture_output=True, text=True
    )
    changed = subprocess.run(
        ["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no", "--", ":/src", ":/crates"],
        capture_output=True,
        text=True,
    )
    return (found.stdout.strip() or "unknown") + (" and changes" if changed.stdout.strip() else "")


def second_name(name: str) -> str:
    """What an entry is called that compares pgvector with the second layout."""
    return f"{name}, second layout"


def by_layout(found: dict) -> list[dict]:
    """An entry for each layout of this project, both beside the same figures of pgvector."""
    sides = found["sides"]
    first = found | {"layout": "first", "sides": {side: sides[side] for side in figures.SIDES}}
    if not sides.get("second"):
        return [first]
    layout = servers.SECOND[f"{found['am']}.default_layout"]
    own = {
        "name": second_name(found["name"]),
        "layout": "second",
        "options": found["options"] | {"layout": layout},
        "series": [f"{series} {layout}" for series in found["series"]],
        "sides": {"theirs": sides["theirs"], "ours": sides["second"]},
    }
    return [first, found | own]


class Run:
    """The samples of a plan, on disk as they come."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.plan = plans.PLANS[options.plan]()
        self.path: Path = options.results / f"bench-{options.plan}.json"
        self.content = {
            "plan": options.plan,
            "started": time.strftime("%Y-%m-%d"),
            "environment": {},
            "entries": [],
            "ceilings": [],
        }
        if (options.only or options.report_only) and self.path.exists():
            self.content = json.loads(self.path.read_text())
            # what an earlier form of the suite has measured cannot be shown beside this one's
            kept = [found for found in self.content.get("filters", []) if "index_only" in found]
            self.content["filters"] = kept
        self.commit = os.environ.get("VECTOR_BENCH_COMMIT") or commit()

    def wants(self, name: str) -> bool:
        return not self.options.only or any(word in name for word in self.options.only.split(","))

    def save(self) -> None:
        # In the order of the plan, whatever was measured anew.
        names = [name for entry in self.plan.entries for name in (entry.name, second_name(entry.name))]
        order = {name: at for at, name in enumerate(names)}
        self.content["entries"].sort(key=lambda e: order.get(e["name"], len(order)))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(self.content, indent=1) + "\n")
        temporary.rename(self.path)

    def measure(self) -> None:
        wanted = [entry for entry in self.plan.entries if self.wants(entry.name)]
        filtered = [filtered for filtered in self.plan.filtered if self.wants(filtered.name)]
        if wanted or filtered:
            with ExitStack() as stack:
                clusters = {
                    side: stack.enter_context(
                        servers.Cluster(
                            servers.prefix_of(self.options, side),
                            f"bench-{side}",
                            servers.settings_of(side, servers.SETTINGS),
                        )
                    )
                    for side in servers.SIDES
                }
                for number, entry in enumerate(wanted, 1):
                    servers.note(f"\n[{number}/{len(wanted)}] {entry.name}, {time.strftime('%H:%M:%S')}")
                    found = self.measured(entry, clusters)
                    names = {entry.name, second_name(entry.name)}
                    kept = [e for e in self.content["entries"] if e["name"] not in names]
                    self.content["entries"] = kept + by_layout(found)
                    self.save()
                for one in filtered:
                    servers.note(f"\n{one.name}, {time.strftime('%H:%M:%S')}")
                    self.measure_filtered(one, clusters)
                    self.save()
        for ceiling in self.plan.ceilings if self.wants("ceilings") else ():
            self.measure_ceilings(ceiling)
            self.save()

    def measured(self, entry: Entry, clusters: dict) -> dict:
        config, began = entry.config, time.monotonic()
        if not config.has_second:
            clusters = {side: cluster for side, cluster in clusters.items() if side != "second"}
        dataset = datasets.load(entry.dataset, config.opclass.kind, entry.queries)
        sides: dict[str, dict] = {side: {} for side in clusters}
        try:
            for phase, found in phases.everything(entry.wanted, config, dataset, clusters):
                for side, figure in found.items():
                    sides[side][phase] = figure
            self.content["environment"] = phases.environment_of(clusters, config.key, servers.SETTINGS)
        finally:
            for cluster in clusters.values():
                servers.drop_database(cluster, config.key)
        print(tables.head(config, dataset, self.content["environment"]))
        print(tables.summary(sides, config), flush=True)
        return {
            "name": entry.name,
            "dataset": entry.dataset,
            "kind": config.opclass.kind,
            "metric": config.opclass.metric,
            "am": entry.am,
            "opclass": entry.opclass,
            "options": dict(entry.options),
            "rows": len(dataset.base),
            "dim": dataset.dim,
            "queries": entry.queries,
            "series": list(entry.series),
            "only_series": entry.only_series,
            "wanted": asdict(entry.wanted),
            "commit": self.commit,
            "at": time.strftime("%Y-%m-%d %H:%M:%S"),
            "load": os.getloadavg()[1],
            "took_s": round(time.monotonic() - began, 1),
            "sides": sides,
        }

    def measure_filtered(self, filtered: Filtered, clusters: dict) -> None:
        config = filtered.config
        dataset = datasets.load(filtered.dataset, config.opclass.kind, filtered.queries)
        try:
            for side in ("theirs", "second"):
                servers.load_table(clusters[side], config, dataset)
            found = filtering.measure(clusters, config, dataset)
        finally:
            for cluster in clusters.values():
                servers.drop_database(cluster, config.key)
        found |= {"commit": self.commit, "at": time.strftime("%Y-%m-%d %H:%M:%S"), "load": os.getloadavg()[1]}
        kept = [other for other in self.content.get("filters", []) if other["dataset"] != filtered.dataset]
        self.content["filters"] = [*kept, found]
        print("\n".join([filtered.name, *filter_report.lines_of(found)]), flush=True)

    def measure_ceilings(self, ceiling: Ceiling) -> None:
        servers.note(f"\nlibraries in process on {ceiling.dataset}, {time.strftime('%H:%M:%S')}")
        kept = [c for c in self.content["ceilings"] if (c["dataset"], c["metric"]) != (ceiling.dataset, ceiling.metric)]
        # A process of its own: what a library crashes with it is its own, and its memory goes.
        ceilings.prepare()
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "benches.index.ceilings",
                ceiling.dataset,
                "vector",
                ceiling.metric,
                "16",
                "64",
                str(ceiling.queries),
                str(ceiling.lists),
                "2",
                *ceiling.libraries,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode != 0:
            servers.note(f"benches.index.ceilings ended with {done.returncode}: what it printed before is kept")
        self.content["ceilings"] = kept + found


def ratios(content: dict) -> str:
    """Every figure of every configuration, as text."""
    out = []
    for entry in report.tabled(content):
        out.append(f"\n{report.title_of(entry)}\n{'':46} {'pgvector':>12} {'ours':>12} {'ratio':>8}  goal")
        for figure in figures.of_entry(entry):
            ratio = "-" if figure.ratio is None else f"{figure.ratio:.3f}"
            goal = (
                ""
                if figure.met is None
                else f"{'>=' if figure.higher else '<='} {figure.goal:.2f} {'met' if figure.met else 'MISSED'}"
            )
            out.append(
                f"{figure.name:46} {figures.shown(figure.theirs):>12} {figures.shown(figure.ours):>12} {ratio:>8}  {goal}{'  ' + figure.remark if figure.remark else ''}".rstrip()
            )
        out += [said] if (said := figures.recall_said(entry)) else []
    grown = figures.growths(content["entries"])
    if grown:
        out.append("\nGrowth: exponents of rows n and dimensions d\n" + "\n".join(report.growth_table(grown)))
    for found in content.get("filters", []):
        out += [f"\nFilters, {found['dataset']}", *filter_report.lines_of(found)]
    if content["ceilings"]:
        out.append("\nIn process\n" + "\n".join(report.ceiling_table(content)))
    return "\n".join(out)


def main(words: list[str]) -> int:
    options = parsed(words)
    # Ended from outside, servers must stop too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run, began = Run(options), time.monotonic()
    if not options.report_only:
        run.measure()
        servers.note(
            f"\nmeasured in {(time.monotonic() - began) / 60:.0f} minutes; longest: "
            + ", ".join(
                f"{e['name']} {e['took_s'] / 60:.1f}"
                for e in sorted((e for e in run.content["entries"] if "took_s" in e), key=lambda e: -e["took_s"])[:8]
            )
        )
    if not run.content["entries"]:
        raise SystemExit(f"{run.path}: nothing measured")
    print(ratios(run.content))
    print(f"\nsamples: {run.path}\nreport:  {report.write(run.content, options.results)}")
    if options.publish:
        report.publish(run.content, ROOT / "benches")
        print(f"published: {ROOT / 'benches' / 'RESULTS.md'}")
    return 0
