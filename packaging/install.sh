#!/bin/sh
# Installs vector into the PostgreSQL @MAJOR@ of a pg_config: install.sh [PG_CONFIG]. DESTDIR is honoured.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
config=${1:-${PG_CONFIG:-pg_config}}
version=$("$config" --version) || { echo "error: no pg_config at $config; give its path: install.sh /path/to/pg_config" >&2; exit 1; }
case $version in
  "PostgreSQL @MAJOR@"[!0-9]*) ;;
  *) echo "error: these files are for PostgreSQL @MAJOR@, and $config is of $version" >&2; exit 1 ;;
esac
lib=${DESTDIR:-}$("$config" --pkglibdir)
extension=${DESTDIR:-}$("$config" --sharedir)/extension
mkdir -p "$lib" "$extension"
# By a rename: a server with the old library open keeps it whole.
for file in "$here/lib/vector.so" "$here"/share/extension/*; do
  case $file in *.so) to=$lib mode=755 ;; *) to=$extension mode=644 ;; esac
  name=$(basename "$file")
  cp "$file" "$to/.$name.new"
  chmod "$mode" "$to/.$name.new"
  mv -f "$to/.$name.new" "$to/$name"
done
echo "Installed into $lib and $extension. In each database: CREATE EXTENSION vector, or ALTER EXTENSION vector UPDATE."
