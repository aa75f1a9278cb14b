#!/usr/bin/env bash
# installcheck.sh PG_CONFIG [TEST...]: the regression tests on a running server, found through PGHOST, PGPORT and PGUSER as by psql.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

pg_config=$(pg_config_of "${1:?which pg_config?}")
shift
psql=$("$pg_config" --bindir)/psql
if [ ! -x "$psql" ]; then psql=$(command -v psql) || die "no psql beside $pg_config and none in the PATH"; fi
# pg_regress has defaults of its own; what psql would connect to is what people mean.
answer=$("$psql" -XAtq -d "${PGDATABASE:-postgres}" -c "SELECT current_user || ' ' || count(*) FROM pg_available_extension_versions WHERE name = 'vector' AND version = '$ext_version'") ||
  die "no server answers" "Set PGHOST, PGPORT and PGUSER as for psql, or start one: scripts/pg.sh cluster start \$(scripts/pg.sh prefix 17) DIR"
[ "${answer##* }" = 1 ] || die "that server does not offer vector $ext_version" "Run: make install PG_CONFIG=$pg_config"
export PGUSER=${answer% *}
if [ $# -eq 0 ]; then
  # shellcheck disable=SC2046 # a list of names
  set -- $(regress_tests)
fi
output=${REGRESS_OUTPUT:-$repo_root/results/installcheck}
run_pg_regress "$pg_config" "$repo_root/tests/regress" "$output" "$@"
