"""Makes the CSV files of the examples from the texts beside this file: real sentence embeddings (../rag/embed.py),
reduced to 64 dimensions, so that the examples in SQL need neither Python nor a large download.

    PYTHONPATH=../rag python make.py

The reduction keeps the directions in which these texts differ most (singular value decomposition): rankings by cosine
distance stay close to those of the full vectors.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
from embed import Embedder

DIMENSIONS = 64
SOURCES = {
    "products": ("products.csv", lambda row: row["name"]),
    "passages": ("passages.csv", lambda row: f"{row['title']}. {row['body']}"),
    "books": ("../csv/books.csv", lambda row: row["title"]),
    "queries": ("queries.csv", lambda row: row["text"]),
}


def main() -> None:
    embed = Embedder()
    tables: dict[str, list[dict[str, str]]] = {}
    for name in SOURCES:
        with open(HERE / f"{name}.tsv", encoding="utf-8", newline="") as file:
            tables[name] = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    full = np.array([embed(SOURCES[name][1](row)) for name, rows in tables.items() for row in rows])
    directions = np.linalg.svd(full, full_matrices=False)[2][:DIMENSIONS]
    reduced = full @ directions.T
    reduced /= np.linalg.norm(reduced, axis=1, keepdims=True)
    vectors = iter(reduced)
    for name, rows in tables.items():
        with open(HERE / SOURCES[name][0], "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", *rows[0], "embedding"])
            for number, row in enumerate(rows, 1):
                writer.writerow([number, *row.values(), "[" + ",".join(f"{x:.3f}" for x in next(vectors)) + "]"])


if __name__ == "__main__":
    main()
