"""The contract: every object of the reference catalog, and which of them generated SQL has to reach."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

REFERENCE = Path(__file__).parent.parent / "compat" / "pgvector-0.8.6-catalog.tsv"

# What only an index access method calls. The btree operator classes stay in: ORDER BY and DISTINCT reach them.
ACCESS_METHOD_ONLY = re.compile(
    r"^access method |^opclass .* using (hnsw|ivfflat)$|^function (hnsw|ivfflat)(handler|_\w+_support)\("
)

# Objects that no argument can make fail (NULL arguments never reach them, their type admits nothing they reject).
CANNOT_FAIL = re.compile(
    r"^function \w+_(eq|ne|lt|le|gt|ge|cmp|out|send)\("
    r"|^operator (<|<=|=|<>|>=|>)\("
    r"|^function (binary_quantize|l2_norm|vector_norm|l2_normalize|vector_dims)\("
    r"|^function (vector|halfvec)_to_float4\("
    r"|^cast \w+ -> real\[\]$"
)


@dataclass(frozen=True)
class Object:
    kind: str
    ident: str
    props: str

    @property
    def key(self) -> str:
        return f"{self.kind} {self.ident}"

    def prop(self, name: str) -> str | None:
        found = re.search(rf"(?:^| ){name}=(.*?)(?= \w+=|$)", self.props)
        return found.group(1) if found else None

    @property
    def name(self) -> str:
        return self.ident.partition("(")[0]

    @property
    def arguments(self) -> list[str]:
        inside = self.ident.partition("(")[2].rstrip(")")
        return [a.strip() for a in inside.split(",")] if inside else []


def load(path: Path = REFERENCE) -> list[Object]:
    objects = []
    for line in path.read_text().splitlines():
        if line:
            kind, ident, props = line.split("\t")
            objects.append(Object(kind, ident, props))
    return objects


class Coverage:
    """Counts, per catalog object, statements that succeeded and that failed on the reference side."""

    def __init__(self, objects: list[Object]):
        self.objects = [o for o in objects if not ACCESS_METHOD_ONLY.search(o.key)]
        self.keys = {o.key for o in self.objects}
        self.succeeded: Counter[str] = Counter()
        self.raised: Counter[str] = Counter()
        self.differed: Counter[str] = Counter()

    def record(self, keys, failed: bool, differs: bool) -> None:
        for key in keys:
            if key not in self.keys:
                raise KeyError(f"a case names {key!r}, which the reference catalog does not have")
            (self.raised if failed else self.succeeded)[key] += 1
            if differs:
                self.differed[key] += 1

    def gaps(self) -> list[str]:
        missing = []
        for o in self.objects:
            if not self.succeeded[o.key]:
                missing.append(f"{o.key}: never executed successfully")
            if not self.raised[o.key] and o.kind not in ("opclass", "type") and not CANNOT_FAIL.search(o.key):
                missing.append(f"{o.key}: never made to fail")
        return missing

    def table(self) -> str:
        width = max(len(o.key) for o in self.objects)
        lines = [f"{'catalog object':{width}}  {'ok':>7} {'error':>7} {'differ':>7}"]
        for o in self.objects:
            lines.append(f"{o.key:{width}}  {self.succeeded[o.key]:7} {self.raised[o.key]:7} {self.differed[o.key]:7}")
        return "\n".join(lines)
