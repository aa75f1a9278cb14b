"""Charts as SVG text, without a library: they stand in a page that opens from disk and in the repository alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

# Light and dark by the reader's preference; a class per series.
STYLE = """
.chart{font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;font-size:12px}
.chart .bg{fill:#fff}.chart text{fill:#3f4650}.chart .title{font-size:14px;font-weight:600;fill:#15191f}
.chart .grid{stroke:#e6e9ee;stroke-width:1}.chart .axis{stroke:#aab2bd;stroke-width:1}
.chart .ours{color:#0b7a5b}.chart .theirs{color:#c2571a}.chart .s2{color:#5b6ee1}.chart .s3{color:#9a5fc0}.chart .s4{color:#8a8f98}.chart .s5{color:#b38b00}
.chart .line{fill:none;stroke:currentColor;stroke-width:2.25;stroke-linejoin:round}.chart .thin{stroke-width:1.4;stroke-dasharray:5 4}
.chart .dot{fill:currentColor}.chart .bar{fill:currentColor}
@media (prefers-color-scheme:dark){.chart .bg{fill:#161a20}.chart text{fill:#b4bcc8}.chart .title{fill:#eef1f5}.chart .grid{stroke:#2a303a}
.chart .axis{stroke:#5a6472}.chart .ours{color:#35c79b}.chart .theirs{color:#f0935a}.chart .s2{color:#8e9bff}.chart .s3{color:#c79be6}.chart .s4{color:#9aa3af}.chart .s5{color:#e0bd4a}}
"""


@dataclass(frozen=True)
class Series:
    """A named curve; `kind` is its class in STYLE, a thin one is dashed. `fit` draws a power law's exponent through
    it.
    """

    name: str
    kind: str
    points: list[tuple[float, float]]
    thin: bool = False
    fit: bool = False


class Scale:
    """From values to pixels."""

    def __init__(self, low: float, high: float, start: float, end: float, bend=lambda v: v):
        self.bend, self.start, self.end = bend, start, end
        self.low, self.high = bend(low), bend(high)

    def __call__(self, value: float) -> float:
        share = (self.bend(value) - self.low) / ((self.high - self.low) or 1)
        return self.start + share * (self.end - self.start)


def nines(recall: float) -> float:
    """Recall with equal room for each halving of what is missed."""
    return -math.log10(max(1 - recall, 1e-3))


def log_ticks(low: float, high: float, most: int = 8) -> list[float]:
    ticks: list[float] = []
    for steps in ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [
            s * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for s in steps
        ]
        ticks = [t for t in ticks if low <= t <= high]
        if len(ticks) <= most:
            break
    return ticks


def short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def document(width: int, height: int, parts: list[str], label: str, standalone: bool = False) -> str:
    style = f"<style>{STYLE}</style>" if standalone else ""
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(label)}">{style}<rect class="bg" width="{width}" height="{height}" rx="8"/>{"".join(parts)}</svg>'
    )


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "", turn: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}{turned}>{escape(words)}</text>'


def legend(series: list[Series], left: float, y: float, width: float) -> tuple[list[str], float]:
    """Names with their colours, in as many lines as they need; the last line's y."""
    parts, x = [], left
    for one in series:
        needed = 32 + 6.6 * len(one.name)
        if x > left and x + needed > left + width:
            x, y = left, y + 18
        parts.append(
            f'<g class="{one.kind}"><line class="line{" thin" if one.thin else ""}" x1="{x:.1f}" x2="{x + 20:.1f}" y1="{y - 4:.1f}" y2="{y - 4:.1f}"/></g>'
        )
        parts.append(text(x + 25, y, one.name))
        x += needed
    return parts, y


def panel(
    title: str, series: list[Series], x_label: str, y_label: str, recall: bool, width: int = 460, height: int = 330
) -> list[str]:
    """Curves over recall, or with two logarithmic axes."""
    series = [s for s in series if s.points]
    if not series:
        return []
    parts = [text(16, 24, title, kind="title")]
    words, below = legend(series, 16, 46, width - 32)
    parts += words
    x0, x1, y0, y1 = 62, width - 18, height - 46, below + 14
    xs, ys = ([p[i] for s in series for p in s.points] for i in (0, 1))
    if recall:
        low, high = max(0.5, min(xs)), max(max(xs), 0.99)
        across = Scale(low, high, x0, x1, nines)
        x_ticks = [t for t in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998) if low <= t <= high]
        if len(x_ticks) < 4:
            x_ticks = [
                t
                for t in (0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.993, 0.995, 0.998)
                if low <= t <= high
            ]
    else:
        low, high = min(xs), max(xs)
        across = Scale(low, high, x0, x1, math.log10)
        x_ticks = sorted(set(xs)) if len(set(xs)) <= 7 else log_ticks(low, high)
    # A fitted line may end outside its points.
    room = 1.5 if any(s.fit for s in series) else 1.18
    bottom, top = min(ys) / room, max(ys) * room
    up = Scale(bottom, top, y0, y1, math.log10)
    for tick in log_ticks(bottom, top):
        parts.append(
            f'<line class="grid" x1="{x0:.1f}" x2="{x1:.1f}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>'
            + text(x0 - 7, up(tick) + 4, short(tick), "end")
        )
    last = -1e9
    for tick in x_ticks:
        at = across(tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{y0:.1f}" y2="{y1:.1f}"/>')
        if at - last > 34:
            parts.append(text(at, y0 + 17, f"{tick:g}" if recall else short(tick), "middle"))
            last = at
    parts.append(f'<line class="axis" x1="{x0:.1f}" x2="{x1:.1f}" y1="{y0:.1f}" y2="{y0:.1f}"/>')
    parts.append(text((x0 + x1) / 2, height - 12, x_label, "middle"))
    parts.append(text(17, (y0 + y1) / 2, y_label, "middle", turn=True))
    for one in series:
        points = [p for p in one.points if not recall or p[0] >= low]
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        marks = "".join(
            f'<circle class="dot" cx="{across(x):.1f}" cy="{up(y):.1f}" r="{2.2 if one.thin else 3.2}"><title>{escape(one.name)}: {x:.4g}, {y:,.4g}</title></circle>'
            for x, y in points
        )
        drawn = "" if one.fit else f'<polyline class="line{" thin" if one.thin else ""}" points="{path}"/>'
        parts.append(f'<g class="{one.kind}">{drawn}{_fitted(points, across, up) if one.fit else ""}{marks}</g>')
    return parts


def _fitted(points: list[tuple[float, float]], across: Scale, up: Scale) -> str:
    """The line of least squares through the logarithms."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys)) / (sum((x - middle_x) ** 2 for x in xs) or 1)
    ends = [(x, math.exp(middle_y + slope * (math.log(x) - middle_x))) for x in (points[0][0], points[-1][0])]
    return '<line class="line" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'.format(
        *(v for x, y in ends for v in (across(x), up(y)))
    )


def curves(
    title: str,
    series: list[Series],
    x_label: str,
    y_label: str,
    recall: bool,
    standalone: bool = False,
    width: int = 460,
    height: int = 330,
) -> str:
    return document(width, height, panel(title, series, x_label, y_label, recall, width, height), title, standalone)


def side_by_side(
    panels: list[tuple[str, list[Series], str, str, bool]], width: int = 460, height: int = 330, per_line: int = 2
) -> str:
    """Several panels as one picture of its own."""
    parts = []
    for number, one in enumerate(panels):
        inner = panel(*one, width=width, height=height)
        parts.append(
            f'<g transform="translate({number % per_line * width} {number // per_line * height})">{"".join(inner)}</g>'
        )
    lines = -(-len(panels) // per_line)
    return document(
        width * min(per_line, len(panels)), height * lines, parts, "; ".join(p[0] for p in panels), standalone=True
    )


def bars(title: str, unit: str, groups: list[tuple[str, list[tuple[str, str, float]]]], width: int = 940) -> str:
    """Groups of horizontal bars (name, class, value), each bar with its value."""
    left, line, high = 210, 19, 52
    longest = max((v for _, b in groups for _, _, v in b), default=1.0)
    across = Scale(0, longest, left, width - 110)
    parts, y = [text(16, 24, f"{title}, {unit}", kind="title")], float(high)
    for name, content in groups:
        parts.append(text(left - 12, y + line * len(content) / 2 + 1, name, "end"))
        for who, kind, value in content:
            parts.append(
                f'<g class="{kind}"><rect class="bar" x="{left}" y="{y:.1f}" width="{max(1.0, across(value) - left):.1f}" height="{line - 5}" rx="2">'
                f"<title>{escape(who)}: {value:,.4g} {escape(unit)}</title></rect></g>"
            )
            parts.append(text(max(across(value), left + 1) + 6, y + 11.5, f"{value:,.3g}  {who}"))
            y += line
        y += 11
    return document(width, int(y + 8), parts, title)
