"""A test of the test: one side is broken in small ways, and every breakage must be found."""

from __future__ import annotations

import random
from collections.abc import Callable

from differential import catalog, wire
from differential.cases import all_cases, setup_statements
from differential.compare import Score, difference
from differential.text import text_cases
from vector_testing import results
from vector_testing.client import Client, run_both
from vector_testing.cluster import Cluster

# Each is applied to one side, and undone: what a wrong symbol, a wrong flag or a lost object would do.
BREAKAGES = [
    (
        "l2_distance answers the squared distance",
        "UPDATE pg_proc SET prosrc = 'vector_l2_squared_distance' WHERE prosrc = 'l2_distance'",
    ),
    ("vector_lt is vector_le", "UPDATE pg_proc SET prosrc = 'vector_le' WHERE prosrc = 'vector_lt'"),
    ("halfvec_sub is halfvec_add", "UPDATE pg_proc SET prosrc = 'halfvec_add' WHERE prosrc = 'halfvec_sub'"),
    (
        "the negative inner product is positive",
        "UPDATE pg_proc SET prosrc = 'sparsevec_inner_product' WHERE prosrc = 'sparsevec_negative_inner_product'",
    ),
    (
        "typmod of halfvec checked as sparsevec's",
        "UPDATE pg_proc SET prosrc = 'sparsevec_typmod_in' WHERE prosrc = 'halfvec_typmod_in'",
    ),
    (
        "vector -> halfvec casts on assignment only",
        "UPDATE pg_cast SET castcontext = 'a' WHERE castsource = 'vector'::regtype AND casttarget = 'halfvec'::regtype",
    ),
    (
        "numeric[] -> vector is missing",
        "ALTER EXTENSION vector DROP CAST (numeric[] AS vector); DROP CAST (numeric[] AS vector)",
    ),
    ("jaccard answers hamming", "UPDATE pg_proc SET prosrc = 'hamming_distance' WHERE prosrc = 'jaccard_distance'"),
    (
        "avg of halfvec has no final function",
        "UPDATE pg_aggregate SET aggfinalfn = 0 WHERE aggfnoid = 'avg(halfvec)'::regprocedure",
    ),
    (
        "combine forgets the first state",
        "CREATE OR REPLACE FUNCTION vector_combine(float8[], float8[]) RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT $2'",
    ),
    (
        "an error has another context",
        "CREATE OR REPLACE FUNCTION vector_sub(vector, vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE STRICT AS $f$ BEGIN RETURN $1 + ('[' || repeat('-1,', vector_dims($2) - 1) || '-1]')::vector * $2; END $f$",
    ),
    (
        "an operator calls another function",
        "UPDATE pg_operator SET oprcode = 'vector_add'::regproc WHERE oprname = '*' AND oprleft = 'vector'::regtype",
    ),
    ("comparing never says less", "UPDATE pg_proc SET prosrc = 'sparsevec_ne' WHERE prosrc = 'sparsevec_cmp'"),
    ("send of vector reads halves", "UPDATE pg_proc SET prosrc = 'halfvec_send' WHERE prosrc = 'vector_send'"),
    ("receive of vector reads halves", "UPDATE pg_proc SET prosrc = 'halfvec_recv' WHERE prosrc = 'vector_recv'"),
]


def run(prefix: str, prepare: Callable[[Cluster], None], checks: results.Score) -> None:
    """Both sides carry pgvector's library, so that every difference found is the one that was planted."""
    objects = catalog.load()
    with Cluster(prefix, "whole") as whole, Cluster(prefix, "broken") as broken:
        prepare(whole)
        prepare(broken)
        admin = Client(broken.conninfo())
        admin.must("SET allow_system_table_mods = on")
        left = Client(whole.conninfo(), setup_statements())
        for name, statement in [("nothing", "SELECT 1"), *BREAKAGES]:
            admin.must("CREATE DATABASE broken_copy TEMPLATE postgres")
            inner = Client(broken.conninfo("broken_copy"), ["SET allow_system_table_mods = on"])
            inner.must(statement)
            inner.close()
            right = Client(broken.conninfo("broken_copy"), ["SET client_min_messages = notice", *setup_statements()])
            rng = random.Random(1)
            score = Score(catalog.Coverage(objects), [], show=0)
            cases = [*all_cases(objects, rng, 150, 1), *text_cases(rng, 0.02, 100), *wire.parameter_cases(rng, 5)]
            first = None
            for case, a, b in run_both(left, right, cases):
                if not score.judge(case, a, b) and first is None:
                    first = f"{difference(case, a, b)}: {case.sql[:120]}"
            right.close()
            admin.must("DROP DATABASE broken_copy WITH (FORCE)")
            good = (score.failed == 0) if name == "nothing" else (score.failed > 0)
            checks.check(
                f"found: {name}",
                good,
                f"{score.failed} differences in {score.passed + score.failed} statements; {first or '-'}",
            )
        left.close()
        admin.close()
