#!/usr/bin/env python3
"""Nearest words to one's own: demo_ask.py [--question "king - man + woman"] PSQL-ARGUMENT...

Without a question it asks for them, line by line, until an empty line or the end of the input.
"""

from __future__ import annotations

import re
import subprocess
import sys


def terms(question: str) -> list[tuple[str, str]]:
    """Returns (sign, word) of each word of "king - man + woman". Words without a sign are added."""
    found, sign = [], "+"
    for token in question.lower().split():
        if token in ("+", "-"):
            sign = token
            continue
        match = re.match(r"([+-]?)(.*)", token, re.S)
        if match and match.group(2):
            found.append((match.group(1) or sign, match.group(2)))
        sign = "+"
    return found


def answer(psql: list[str], question: str) -> None:
    parts = terms(question)
    if not parts:
        print("Words, please: ocean, or king - man + woman")
        return
    # psql quotes the words: what is typed never becomes SQL.
    variables = [argument for i, (_, word) in enumerate(parts) for argument in ("-v", f"w{i}={word}")]
    words = ", ".join(f":'w{i}'" for i in range(len(parts)))
    subprocess.run(
        [*psql, "-Xq", *variables, "-v", "ON_ERROR_STOP=1"],
        text=True,
        input=f"""
\\pset footer off
SELECT coalesce(string_agg(asked, ', '), '') AS missing FROM unnest(ARRAY[{words}]) asked WHERE NOT EXISTS (SELECT FROM words WHERE word = asked) \\gset
SELECT :'missing' = '' AS complete \\gset
\\if :complete
{question_vector(parts)}
SET hnsw.ef_search = 100;
\\timing on
SELECT word, round((embedding <=> :'vector')::numeric, 4) AS distance FROM words
WHERE word NOT IN ({words}) ORDER BY embedding <=> :'vector' LIMIT 8;
\\timing off
\\else
\\echo Not among the words: :missing
\\endif
""",
    )


def question_vector(parts: list[tuple[str, str]]) -> str:
    """SQL that sets the psql variable `vector`."""
    first = parts[0][0]
    total = f"(SELECT embedding{' * array_fill(-1, ARRAY[100])::vector' if first == '-' else ''} FROM words WHERE word = :'w0')"
    for i, (sign, _) in enumerate(parts[1:], 1):
        total += f" {sign} (SELECT embedding FROM words WHERE word = :'w{i}')"
    return f"SELECT {total} AS vector \\gset"


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[0] == "--question":
        answer(arguments[2:], arguments[1])
        return
    print("Ask it your own words, for example: ocean   or: king - man + woman   (an empty line ends)")
    while True:
        try:
            question = input("words> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not question:
            return
        answer(arguments, question)


if __name__ == "__main__":
    main()
