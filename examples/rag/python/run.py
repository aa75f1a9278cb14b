"""Retrieval for a language model, in Python with psycopg: passages go in, a question comes out as a prompt."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import psycopg
from pgvector.psycopg import register_vector

HERE = Path(__file__).resolve().parent
from embed import DIMENSIONS, Embedder

# Each question with the title of the passage that answers it.
QUESTIONS = {
    "Why do my thousands of web workers make the server slow, each with its own connection?": "Connection pooling",
    "Yesterday someone deleted a table. How can I get its rows back?": "Point-in-time recovery",
    "How do I see where the time of a statement goes?": "Query plans",
    "What happens to my data if the power goes off?": "Write-ahead log",
    "Can different customers share one table without seeing each other's rows?": "Row-level security",
}
PROMPT = """Answer the question from the passages below. Say so when they do not contain the answer.

{passages}

Question: {question}"""


def load(connection: psycopg.Connection, embed: Embedder) -> int:
    """Fills the table through binary COPY and returns the number of passages."""
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    register_vector(connection)
    connection.execute(
        f"CREATE TABLE passages (id int PRIMARY KEY, title text, body text, embedding vector({DIMENSIONS}))"
    )
    with open(
        os.environ.get("PASSAGES", HERE.parents[1] / "data" / "passages.tsv"), encoding="utf-8", newline=""
    ) as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    with connection.cursor() as cursor, cursor.copy("COPY passages FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int4", "text", "text", "vector"])
        for number, row in enumerate(rows, 1):
            copy.write_row([number, row["title"], row["body"], embed(f"{row['title']}. {row['body']}")])
    connection.execute("CREATE INDEX ON passages USING hnsw (embedding vector_cosine_ops)")
    return len(rows)


def retrieve(
    connection: psycopg.Connection, embed: Embedder, question: str, limit: int = 3
) -> list[tuple[str, str, float]]:
    """Returns (title, body, cosine distance) of the nearest passages, the nearest first."""
    query = (
        "SELECT title, body, embedding <=> %(q)s AS distance FROM passages ORDER BY embedding <=> %(q)s LIMIT %(limit)s"
    )
    return connection.execute(query, {"q": embed(question), "limit": limit}).fetchall()


def main() -> None:
    embed = Embedder()
    # Where to connect to stands in PGHOST, PGUSER and so on.
    with psycopg.connect(autocommit=True) as connection:
        count = load(connection, embed)
        print(f"{count} passages of real text, as vectors of {DIMENSIONS} components\n")
        for question, title in QUESTIONS.items():
            found = retrieve(connection, embed, question)
            print(question)
            for name, _, distance in found:
                print(f"    {distance:.3f}  {name}")
            assert title in [name for name, _, _ in found], f"{title} was not found for: {question}"
            print(f"ok - found: {title}")
        question = next(iter(QUESTIONS))
        passages = "\n".join(f"- {title}: {body}" for title, body, _ in retrieve(connection, embed, question))
        print("\nWhat a language model would be asked:\n")
        print(PROMPT.format(passages=passages, question=question))
        # The same answers without the index: forty rows hide nothing.
        connection.execute("SET enable_indexscan = off")
        exact = [retrieve(connection, embed, question) for question in QUESTIONS]
        connection.execute("RESET enable_indexscan; SET enable_seqscan = off")
        indexed = [retrieve(connection, embed, question) for question in QUESTIONS]
        assert [[row[0] for row in rows] for rows in exact] == [[row[0] for row in rows] for rows in indexed], (
            "the index finds other passages"
        )
        print("\nok - the index finds what the exact search finds")


if __name__ == "__main__":
    main()
