#!/usr/bin/env bash
# valgrind.sh [TEST...]: the regression tests (or those named) on a server under valgrind's memcheck. Fails when an error has the
# extension on its stack. Some forty times slower than without: minutes per test, so not all of them run when none is named.
#
# PG_CONFIG: the PostgreSQL to test in; default: a copy of the embedded one of PG_MAJOR (17). VALGRIND_AS_IS: install nothing there.
# The server is an ordinary one: memory that PostgreSQL's own allocator hands out is checked by the block that malloc gave it, not by the
# chunk. Kernels run as avx2, since valgrind knows no AVX-512.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
pg=$repo_root/scripts/pg.sh

case ${1:-} in -h | --help | help) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
have valgrind || "$pg" deps valgrind

work=$(mktemp -d "${TMPDIR:-/tmp}/valgrind.XXXXXX")
chmod 755 "$work"
cluster=$work/cluster
finish() {
  "$pg" cluster stop "$cluster" --remove || true
  rm -rf "$work"
}
trap finish EXIT
pg_config=$(test_server "$work/pg")
if [ -z "${VALGRIND_AS_IS:-}" ]; then "$pg" install "$pg_config" >/dev/null; fi
bindir=$("$pg_config" --bindir)

# The first start makes the cluster, at full speed; the second is the one that counts. One process at a time does the work.
"$pg" cluster start "$pg_config" "$cluster" -c autovacuum=off -c max_parallel_workers_per_gather=0 -c jit=off
"$pg" cluster stop "$cluster"
mkdir "$work/logs"
# The server's user may not be able to read the checkout.
cp "$repo_root/tests/reliability/valgrind.supp" "$work/valgrind.supp"
chmod 644 "$work/valgrind.supp"
if is_root; then chown "$(server_user)" "$work/logs"; fi
cat >"$work/postgres" <<WRAPPER
#!/bin/sh
exec env VECTOR_SIMD=avx2 valgrind --quiet --trace-children=no --leak-check=no --track-origins=no --read-var-info=no --num-callers=30 \\
  --vgdb=no --log-file='$work/logs/%p.log' --suppressions='$work/valgrind.supp' '$bindir/postgres' "\$@"
WRAPPER
chmod 755 "$work/postgres"
with_libraries_of "$pg_config" as_server "$bindir/pg_ctl" -p "$work/postgres" -D "$cluster/data" -l "$cluster/data/server.log" -w -t 300 start \
  </dev/null >"$work/start.log" 2>&1 || { cat "$work/start.log" "$work/logs"/* >&2 || true; as_server tail -n 20 "$cluster/data/server.log" >&2 || true; die "the server did not start under valgrind"; }
eval "$("$pg" cluster env "$cluster")"

if [ $# -eq 0 ]; then
  # shellcheck disable=SC2046 # a list of names
  set -- $(regress_tests)
fi
status=0
run_pg_regress "$pg_config" "$repo_root/tests/regress" "$work/regress" "$@" || status=$?
"$pg" cluster stop "$cluster"

python3 - "$work/logs" <<'PY' || status=1
import re, sys
from pathlib import Path

ours, others = [], 0
for log in sorted(Path(sys.argv[1]).glob("*.log")):
    # Every error is a paragraph.
    for error in re.split(r"\n==\d+== \n", log.read_text(errors="replace")):
        if "at 0x" not in error:
            continue
        if "vector.so" in error:
            ours.append(error)
        else:
            others += 1
for error in ours[:20]:
    print(error)
print(f"{len(ours)} errors with the extension on the stack, {others} of the server alone")
sys.exit(1 if ours else 0)
PY
exit "$status"
