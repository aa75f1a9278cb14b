#!/usr/bin/env python3
"""The same questions exact, through hnsw and through ivfflat: demo_compare.py PAGE.html PSQL-ARGUMENT...

PYTHONPATH must lead to the checkout, as scripts/demo.sh has it. Expects the table of demo_load.py, in a database that
nobody else uses: to try one index, the other is dropped in a transaction that is rolled back. Prints one table and
writes a page with the curves, which needs nothing beside it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benches.index import charts

# A question is the sum of two words' vectors, so that no row is its own answer.
QUESTIONS = 100
NEAREST = 10
INDEXES = {
    "hnsw": ("words_embedding_idx", "USING hnsw (embedding vector_cosine_ops)"),
    "ivfflat": ("words_ivfflat_idx", "USING ivfflat (embedding vector_cosine_ops) WITH (lists = 600)"),
}
SETTINGS = {
    "hnsw": ("hnsw.ef_search", (10, 20, 40, 60, 80, 120, 160, 200, 280, 400, 800)),
    "ivfflat": ("ivfflat.probes", (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)),
}
SHOWN = ("king", "guitar", "paris", "ocean", "physics", "breakfast")

PREPARE = f"""
SET max_parallel_workers_per_gather = 0;
CREATE TEMP TABLE questions AS
    SELECT row_number() OVER () AS id, a.embedding + b.embedding AS v
    FROM (SELECT embedding, row_number() OVER (ORDER BY hashint4(id), id) AS n FROM words WHERE id <= 50000) a
    JOIN (SELECT embedding, row_number() OVER (ORDER BY hashint4(-id), id) AS n FROM words WHERE id <= 50000) b USING (n)
    WHERE n <= {QUESTIONS};
CREATE FUNCTION pg_temp.asked() RETURNS TABLE (question bigint, ids integer[], ms float8) LANGUAGE plpgsql AS $$
DECLARE
    q record;
    began timestamptz;
BEGIN
    FOR q IN SELECT * FROM questions ORDER BY id LOOP
        began := clock_timestamp();
        EXECUTE 'SELECT array_agg(id) FROM (SELECT id FROM words ORDER BY embedding <=> $1 LIMIT {NEAREST}) nearest' INTO ids USING q.v;
        ms := 1000 * extract(epoch FROM clock_timestamp() - began);
        question := q.id;
        RETURN NEXT;
    END LOOP;
END $$;
SET enable_indexscan = off;
CREATE TEMP TABLE truth AS
    SELECT question, ms, (SELECT max(w.embedding <=> q.v) FROM words w WHERE w.id = ANY (a.ids)) AS furthest
    FROM pg_temp.asked() a JOIN questions q ON q.id = a.question;
RESET enable_indexscan;
SELECT 'exact', 0, 1, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) FROM truth;
"""

# Ties at the last place are right answers, whichever of them comes.
MEASURE = f"""
SELECT '%s', %d, avg(recall), percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), percentile_cont(0.95) WITHIN GROUP (ORDER BY ms)
FROM (SELECT a.ms, (SELECT count(*) FROM words w WHERE w.id = ANY (a.ids) AND w.embedding <=> q.v <= t.furthest) / {NEAREST}.0 AS recall
      FROM pg_temp.asked() a JOIN questions q ON q.id = a.question JOIN truth t ON t.question = a.question) each;
"""

ANSWERS = """
SELECT '%s', q.word, string_agg(n.word, ', ' ORDER BY n.distance)
FROM unnest(ARRAY[%s]) WITH ORDINALITY q(word, place) JOIN words w ON w.word = q.word,
     LATERAL (SELECT word, embedding <=> w.embedding AS distance FROM words ORDER BY embedding <=> w.embedding LIMIT 7) n
WHERE n.word <> q.word GROUP BY q.word, q.place ORDER BY q.place;
"""


@dataclass(frozen=True)
class Point:
    """Recall from 0 to 1, and milliseconds of a question: median and 95th percentile."""

    method: str
    setting: int
    recall: float
    ms: float
    ms95: float


@dataclass(frozen=True)
class Index:
    """Bytes on disk; seconds that the build took."""

    size: int
    built: float


def ask(psql: list[str], text: str) -> list[list[str]]:
    """Returns the rows that a script prints. Ends the program with the server's words when a statement fails."""
    done = subprocess.run(
        [*psql, "-XqAt", "-F", "\t", "-v", "ON_ERROR_STOP=1"], input=text, stdout=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        sys.exit("error: the comparison failed")
    return [line.split("\t") for line in done.stdout.splitlines() if line]


def build(psql: list[str], method: str) -> Index:
    """The index, built unless it is there already; its comment keeps the time."""
    name, definition = INDEXES[method]
    rows = ask(
        psql,
        f"""
SET client_min_messages = warning;
SET maintenance_work_mem = '512MB';
SELECT to_regclass('{name}') IS NULL AS missing \\gset
\\if :missing
BEGIN;
SELECT clock_timestamp() AS began \\gset
CREATE INDEX {name} ON words {definition};
SELECT round(extract(epoch FROM clock_timestamp() - :'began'::timestamptz)::numeric, 1) AS built \\gset
COMMENT ON INDEX {name} IS :'built';
COMMIT;
\\endif
SELECT pg_relation_size('{name}'), coalesce(obj_description('{name}'::regclass, 'pg_class'), '0');
""",
    )
    return Index(int(rows[0][0]), float(rows[0][1]))


def alone(method: str, body: str) -> str:
    """SQL that sees only one of the indexes; none for exact answers."""
    others = "".join(f"DROP INDEX {name};\n" for other, (name, _) in INDEXES.items() if other != method)
    return f"BEGIN;\n{others}{body}ROLLBACK;\n"


def measure(psql: list[str]) -> tuple[list[Point], dict[str, dict[str, str]]]:
    """Returns the points, and for each shown word the answers by method."""
    words = ", ".join(f"'{word}'" for word in SHOWN)
    script = PREPARE + alone("exact", ANSWERS % ("exact", words))
    for method, (name, values) in SETTINGS.items():
        # The first pass brings the index into memory and is not told.
        steps = "SELECT count(*) AS warm FROM pg_temp.asked() \\gset\n"
        steps += "".join(f"SET LOCAL {name} = {value};\n" + MEASURE % (method, value) for value in values)
        script += alone(method, steps + f"SET LOCAL {name} TO DEFAULT;\n" + ANSWERS % (method, words))
    points, answers = [], {word: {} for word in SHOWN}
    for row in ask(psql, script):
        if len(row) == 5:
            points.append(Point(row[0], int(row[1]), *(float(value) for value in row[2:])))
        else:
            answers[row[1]][row[0]] = row[2]
    return points, answers


def chosen(points: list[Point]) -> list[Point]:
    """Exact; of each index its default, and the least settings tried that reach 0.95 and 0.99, or the largest."""
    some = [p for p in points if p.method == "exact"]
    for method, (_, values) in SETTINGS.items():
        curve = [p for p in points if p.method == method]
        default = {"hnsw": 40, "ivfflat": 1}[method]
        wanted = {default: None} | {
            next((p.setting for p in curve if p.recall >= goal), values[-1]): None for goal in (0.95, 0.99)
        }
        some += [p for p in curve if p.setting in wanted]
    return some


def table(points: list[Point], indexes: dict[str, Index], rows_bytes: int) -> list[list[str]]:
    exact = next(p for p in points if p.method == "exact")
    lines = [["", "setting", "recall", "median ms", "95 % below ms", "times faster", "size", "built in"]]
    for p in chosen(points):
        setting = "every row compared" if p.method == "exact" else f"{SETTINGS[p.method][0]} = {p.setting}"
        index = indexes.get(p.method)
        lines.append(
            [
                p.method,
                setting,
                f"{p.recall:.3f}",
                f"{p.ms:.2f}",
                f"{p.ms95:.2f}",
                f"{exact.ms / p.ms:.0f}",
                f"{(index.size if index else rows_bytes) / 1e6:.0f} MB" + ("" if index else " (the table)"),
                f"{index.built:.1f} s" if index else "",
            ]
        )
    return lines


def printed(lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [
        " | ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "-+-".join("-" * w for w in widths), *text[1:]])


STYLE = """
:root{color-scheme:light dark;--ink:#15191f;--soft:#59626e;--edge:#e2e6eb;--paper:#f6f7f9;--card:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#eef1f5;--soft:#a2abb8;--edge:#2a303a;--paper:#0e1116;--card:#161a20}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,sans-serif}
main{max-width:980px;margin:0 auto;padding:32px 20px 64px}h1{margin:0;font-size:28px}h2{margin:36px 0 8px;font-size:20px}p{color:var(--soft)}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--edge);border-radius:10px}svg{max-width:100%;height:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:6px 12px;text-align:left;border-top:1px solid var(--edge)}
th{color:var(--soft);border-top:0}.numbers td:nth-child(n+3),.numbers th:nth-child(n+3){text-align:right;white-space:nowrap}
"""


def html_table(lines: list[list[str]], kind: str = "") -> str:
    rows = [
        "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in line)
        for tag, line in zip(["th", *["td"] * len(lines)], lines)
    ]
    return f'<div class="scroll"><table class="{kind}">' + "".join(f"<tr>{row}</tr>" for row in rows) + "</table></div>"


def page(
    points: list[Point], answers: dict[str, dict[str, str]], lines: list[list[str]], server: str, rows: int
) -> str:
    series = [
        charts.Series(method, kind, [(p.recall, p.ms) for p in points if p.method == method])
        for method, kind in (("hnsw", "ours"), ("ivfflat", "s2"))
    ]
    exact = next(p for p in points if p.method == "exact")
    # The chart begins at 0.5.
    low = max(0.5, min(p.recall for p in points))
    series.append(charts.Series("exact", "s4", [(low, exact.ms), (1.0, exact.ms)], thin=True))
    drawn = charts.curves(
        "Milliseconds of a question over recall",
        series,
        "recall (of the 10 nearest words, the part that was found)",
        "milliseconds, median",
        True,
        standalone=True,
        width=940,
        height=420,
    )
    found = [["nearest to", "exact", "hnsw", "ivfflat"]] + [
        [word, *(by.get(method, "") for method in ("exact", "hnsw", "ivfflat"))] for word, by in answers.items()
    ]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'><title>Word vectors, three ways</title>"
        f"<style>{STYLE}</style><main><h1>The same questions, three ways</h1><p>{escape(server)}. {rows:,} words of 100 dimensions, {QUESTIONS} questions "
        f"(each the sum of two words), one core, planning included.</p>{html_table(lines, 'numbers')}<h2>What recall costs</h2>{drawn}"
        f"<p>Points, from left to right: {escape('; '.join(f'{name} = ' + ', '.join(map(str, values)) for name, values in SETTINGS.values()))}.</p>"
        f"<h2>Answers under the default settings</h2>{html_table(found)}</main></html>\n"
    )


def main() -> None:
    target, psql = Path(sys.argv[1]), sys.argv[2:]
    indexes = {}
    for method in INDEXES:
        indexes[method] = build(psql, method)
        print(f"{method}: {indexes[method].size / 1e6:.0f} MB, built in {indexes[method].built:.1f} s", flush=True)
    print(
        f"Asking {QUESTIONS} questions exactly and under {sum(len(values) for _, values in SETTINGS.values())} settings ...\n",
        flush=True,
    )
    points, answers = measure(psql)
    server, size, rows = ask(
        psql,
        "SELECT format('%s, extension vector %s', split_part(version(), ' on ', 1), extversion), pg_table_size('words'), (SELECT count(*) FROM words)"
        " FROM pg_extension WHERE extname = 'vector'",
    )[0]
    lines = table(points, indexes, int(size))
    print(printed(lines))
    target.write_text(page(points, answers, lines, server, int(rows)), encoding="utf-8")
    print(f"\nThe curves: {target}")


if __name__ == "__main__":
    main()
