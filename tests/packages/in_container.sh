#!/usr/bin/env bash
# Inside PostgreSQL's official image, started as root with the project at /project: in_container.sh deb installs the package first, in_container.sh
# image takes what is there. Then a server, the extension, an index of each kind, right answers.
set -euo pipefail
project=/project
what=${1:?deb or image}
version=$(sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" "$project/vector.control")
if [ "$what" = deb ]; then
  apt-get update -q
  # apt takes a file's dependencies along, and says when they cannot be had.
  apt-get install -y -q --no-install-recommends "$project"/target/packages/postgresql-"$PG_MAJOR"-vector_*.deb
fi
docker-entrypoint.sh postgres >/tmp/server.log 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
# The entrypoint's first server listens on no network: what answers here is the one that stays.
for _ in $(seq 60); do
  if pg_isready -q -h 127.0.0.1 -U postgres; then break; fi
  sleep 1
done
answer=$(psql -h 127.0.0.1 -U postgres -XqAt -v ON_ERROR_STOP=1 -f "$project/tests/packages/installed.sql") || { tail -n 20 /tmp/server.log; exit 1; }
if [ "$answer" != "$version|100|100|0|0" ]; then
  echo "not ok - wanted $version|100|100|0|0, got $answer"
  exit 1
fi
echo "ok - $what: PostgreSQL $PG_MAJOR serves vector $version"
