"""What `make bench` and `make bench-full` measure. Names of entries differ: samples are kept by them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benches.index import datasets
from benches.index.phases import Wanted
from benches.index.servers import Config

SEARCHED = ("build", "search", "floor", "simple", "iterative")
WRITTEN = ("insert", "vacuum")
EVERYTHING = (*SEARCHED, "clients", "exact", "insert", "writers", "crowd", "vacuum", "inertia")
# Where memory is short.
SCARCE = ("memory", "buffers")


@dataclass(frozen=True)
class Entry:
    """One configuration. Entries of a series differ in one number, and growth is fitted over them."""

    name: str
    dataset: str
    opclass: str
    am: str = "hnsw"
    options: tuple[tuple[str, str], ...] = ()
    wanted: Wanted = Wanted()
    queries: int = 200
    # Rows or dimensions: what the entry belongs to, as "n hnsw glove".
    series: tuple[str, ...] = ()
    # Only in the series, not in the table.
    only_series: bool = False

    @property
    def config(self) -> Config:
        return Config(self.dataset, datasets.OPCLASSES[self.opclass], self.am, self.options)


@dataclass(frozen=True)
class Ceiling:
    """Libraries in process, on the rows of an entry."""

    dataset: str
    metric: str
    queries: int
    lists: int
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Filtered:
    """Conditions beside the order by distance."""

    dataset: str
    opclass: str
    queries: int

    @property
    def name(self) -> str:
        return f"filters {self.dataset}"

    @property
    def config(self) -> Config:
        return Config(self.dataset, datasets.OPCLASSES[self.opclass], "filters")


@dataclass(frozen=True)
class Plan:
    entries: tuple[Entry, ...]
    ceilings: tuple[Ceiling, ...]
    filtered: tuple[Filtered, ...] = ()


# Enough for the figures at recall 0.99, and a ladder with few values for the series.
QUICK = Wanted(SEARCHED, rounds=3, inserts=1200, enough=0.992)
SERIES = Wanted((*SEARCHED, *WRITTEN), rounds=3, inserts=600, ladder=(10, 20, 40, 80, 160, 320), enough=0.992)
SERIES_IVF = replace(SERIES, ladder=(1, 2, 4, 8, 16, 32, 64, 128))


def lists(count: int) -> tuple[tuple[str, str], ...]:
    return (("lists", str(count)),)


def by_rows(
    am: str, thousands: tuple[int, ...], dataset: str, opclass: str, series: str, vacuumed: int = 10_000
) -> list[Entry]:
    """The same rows, more and more of them, vacuumed up to so many thousands; as many lists as pgvector's manual
    advises, a thousandth of the rows.
    """
    wanted = SERIES if am == "hnsw" else SERIES_IVF
    return [
        Entry(
            f"{am} {dataset.format(k)}",
            dataset.format(k),
            opclass,
            am,
            () if am == "hnsw" else lists(max(10, k)),
            wanted if k <= vacuumed else replace(wanted, phases=(*SEARCHED, "insert")),
            series=(series,),
            only_series=True,
        )
        for k in thousands
    ]


def by_dimensions(am: str, dims: tuple[int, ...], thousands: int, series: str) -> list[Entry]:
    return [
        Entry(
            f"{am} {d} dimensions",
            f"clustered{d}x{thousands}k",
            "vector_l2_ops",
            am,
            () if am == "hnsw" else lists(50),
            SERIES if am == "hnsw" else SERIES_IVF,
            series=(series,),
            only_series=True,
        )
        for d in dims
    ]


def quick() -> Plan:
    n = "n hnsw glove"
    # A vacuum of 100,000 rows takes pgvector two minutes of CPU: here a fifth of them tell.
    unvacuumed = tuple(phase for phase in EVERYTHING if phase != "vacuum")
    entries = [
        Entry(
            "hnsw glove cosine", "glove100k", "vector_cosine_ops", wanted=replace(QUICK, phases=unvacuumed), series=(n,)
        ),
        Entry("hnsw glove20k cosine", "glove20k", "vector_cosine_ops", wanted=SERIES, series=(n,)),
        Entry("hnsw fashion l2", "fashion", "vector_l2_ops", wanted=QUICK),
        Entry("hnsw glove halfvec", "glove100k", "halfvec_cosine_ops", wanted=QUICK),
        Entry("hnsw glove bit", "glove100k", "bit_hamming_ops", wanted=QUICK),
        Entry(
            "ivfflat glove cosine",
            "glove100k",
            "vector_cosine_ops",
            "ivfflat",
            lists(300),
            replace(QUICK, phases=EVERYTHING),
        ),
        Entry(
            "ivfflat fashion l2",
            "fashion",
            "vector_l2_ops",
            "ivfflat",
            lists(300),
            replace(QUICK, phases=(*SEARCHED, "inertia")),
        ),
        *by_rows("hnsw", (5, 10, 50), "glove{}k", "vector_cosine_ops", n, vacuumed=20),
        *by_dimensions("hnsw", (32, 128, 512, 2000), 5, "d hnsw clustered"),
    ]
    ceilings = (Ceiling("glove100k", "cosine", 200, 300), Ceiling("fashion", "l2", 200, 300))
    filtered = (Filtered("glove100k", "vector_cosine_ops", 60), Filtered("fashion", "vector_l2_ops", 60))
    return Plan(tuple(entries), ceilings, filtered)


def full() -> Plan:
    """More configurations and queries, whole datasets, a million rows, and both access methods' growth."""
    thorough = replace(QUICK, inserts=2000)
    all_of_it = replace(thorough, phases=EVERYTHING)
    # A vacuum of the largest graphs takes pgvector ten minutes to an hour of CPU: up to 100,000 rows its growth can be
    # seen.
    unvacuumed = replace(thorough, phases=tuple(phase for phase in EVERYTHING if phase != "vacuum"))
    # Chance in one k-means moves pgvector's ivfflat against itself by a tenth; in one graph, recall by half a percent.
    twice, thrice = replace(thorough, builds=2), replace(all_of_it, builds=3)
    scarce = replace(all_of_it, phases=(*EVERYTHING, *SCARCE))
    written = replace(thorough, phases=(*SEARCHED, "insert"))
    written_scarce = replace(written, phases=(*written.phases, *SCARCE))
    n, clustered, lists_n, lists_clustered = (
        "n hnsw glove",
        "n hnsw clustered128",
        "n ivfflat glove",
        "n ivfflat clustered128",
    )
    entries = [
        Entry("hnsw glove cosine", "glove100k", "vector_cosine_ops", wanted=scarce, queries=300, series=(n,)),
        Entry("hnsw glove cosine m 32", "glove100k", "vector_cosine_ops", options=(("m", "32"),), wanted=thorough),
        Entry("hnsw glove20k cosine", "glove20k", "vector_cosine_ops", wanted=all_of_it, queries=300, series=(n,)),
        Entry("hnsw glove341k cosine", "glove341k", "vector_cosine_ops", wanted=unvacuumed, queries=300, series=(n,)),
        Entry("hnsw fashion l2", "fashion", "vector_l2_ops", wanted=unvacuumed, queries=300),
        Entry("hnsw glove halfvec", "glove100k", "halfvec_cosine_ops", wanted=twice, queries=300),
        Entry("hnsw glove bit", "glove100k", "bit_hamming_ops", wanted=twice, queries=300),
        Entry("hnsw glove ip", "glove100k", "vector_ip_ops", wanted=thorough, queries=300),
        Entry("hnsw glove l1", "glove100k", "vector_l1_ops", wanted=thorough, queries=300),
        Entry("hnsw glove sparsevec", "glove100k", "sparsevec_l2_ops", wanted=thorough, queries=300),
        Entry(
            "hnsw clustered128",
            "clustered128x100k",
            "vector_l2_ops",
            wanted=all_of_it,
            queries=300,
            series=(clustered,),
        ),
        Entry("hnsw clustered768", "clustered768x100k", "vector_l2_ops", wanted=written_scarce, queries=300),
        Entry("hnsw clustered768 halfvec", "clustered768x100k", "halfvec_l2_ops", wanted=thorough),
        Entry("hnsw clustered1536", "clustered1536x50k", "vector_l2_ops", wanted=written, queries=300),
        Entry("hnsw clustered1536 halfvec", "clustered1536x50k", "halfvec_l2_ops", wanted=thorough),
        Entry("hnsw fashion halfvec", "fashion", "halfvec_l2_ops", wanted=thorough),
        Entry("hnsw clustered1024 bit", "clustered1024x100k", "bit_hamming_ops", wanted=thorough),
        Entry("hnsw clustered1024 bit jaccard", "clustered1024x100k", "bit_jaccard_ops", wanted=thorough),
        Entry(
            "hnsw clustered128 million",
            "clustered128x1000k",
            "vector_l2_ops",
            wanted=replace(thorough, phases=(*SEARCHED, "insert", "buffers")),
            series=(clustered,),
        ),
        Entry(
            "ivfflat glove341k cosine",
            "glove341k",
            "vector_cosine_ops",
            "ivfflat",
            lists(1000),
            thrice,
            300,
            series=(lists_n,),
        ),
        Entry("ivfflat glove cosine", "glove100k", "vector_cosine_ops", "ivfflat", lists(300), thrice, 300),
        Entry("ivfflat fashion l2", "fashion", "vector_l2_ops", "ivfflat", lists(300), thrice, 300),
        Entry("ivfflat glove halfvec", "glove100k", "halfvec_cosine_ops", "ivfflat", lists(300), twice, 300),
        Entry("ivfflat glove bit", "glove100k", "bit_hamming_ops", "ivfflat", lists(300), twice, 300),
        Entry(
            "ivfflat clustered128 million",
            "clustered128x1000k",
            "vector_l2_ops",
            "ivfflat",
            lists(1000),
            replace(thorough, phases=(*SEARCHED, *WRITTEN, "memory")),
            series=(lists_clustered,),
        ),
        # a k-means of pgvector's takes minutes here
        Entry(
            "ivfflat clustered768 million",
            "clustered768x1000k",
            "vector_l2_ops",
            "ivfflat",
            lists(1000),
            replace(thorough, ladder=(1, 2, 4, 8, 16, 32, 64), phases=("build", "search", "floor", "memory")),
        ),
        *by_rows("hnsw", (10, 30, 300), "clustered128x{}k", "vector_l2_ops", clustered, vacuumed=50),
        *by_rows("ivfflat", (10, 100), "clustered128x{}k", "vector_l2_ops", lists_clustered),
        *by_rows("hnsw", (5, 10, 50), "glove{}k", "vector_cosine_ops", n, vacuumed=50),
        *by_rows("ivfflat", (10, 50, 100), "glove{}k", "vector_cosine_ops", lists_n),
        *by_dimensions("hnsw", (32, 128, 512, 1024, 2000), 10, "d hnsw clustered"),
        *by_dimensions("ivfflat", (32, 128, 512, 1024, 2000), 10, "d ivfflat clustered"),
    ]
    ceilings = (
        Ceiling("glove100k", "cosine", 300, 300),
        Ceiling("fashion", "l2", 300, 300),
        Ceiling("clustered768x100k", "l2", 300, 300),
    )
    filtered = (
        Filtered("glove341k", "vector_cosine_ops", 100),
        Filtered("fashion", "vector_l2_ops", 100),
        Filtered("clustered768x100k", "vector_l2_ops", 100),
    )
    return Plan(tuple(entries), ceilings, filtered)


PLANS = {"quick": quick, "full": full}
