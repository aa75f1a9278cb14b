# Source after lib.sh: Python with what the differential test and the SQL benchmark import, in the cache.
# shellcheck shell=bash disable=SC2034,SC2154 # the caller uses what is set here, lib.sh sets the rest

# venv_python: prints the interpreter's path, making the environment first when it is missing.
venv_python() {
  local venv=$VECTOR_CACHE/venv
  make_cache
  if ! "$venv/bin/python" -c 'import psycopg, numpy' 2>/dev/null; then
    say "Making a Python environment with psycopg and numpy ..."
    # A half-made one (Debian's python3 without python3-venv leaves such) would fail for ever.
    rm -rf "$venv"
    python3 -m venv "$venv" >&2 || die "python3 -m venv failed" "On Debian or Ubuntu: apt-get install python3-venv"
    "$venv/bin/pip" install -q --retries 5 'psycopg[binary]' numpy >&2 || die "pip could not install psycopg and numpy"
    chmod -R a+rX "$venv"
  fi
  printf '%s\n' "$venv/bin/python"
}

# peer_pair MAJOR: sets `theirs` and `ours`, prefixes of one server binary with pgvector and with this project's build.
# VECTOR_OURS_<major> names a prefix to take as it is.
peer_pair() {
  local given=VECTOR_OURS_$1
  theirs=$("$repo_root/scripts/pg.sh" peer "$1")
  ours=${!given:-}
  if [ -z "$ours" ]; then
    ours=$("$repo_root/scripts/pg.sh" peer-ours "$1")
    "$repo_root/scripts/pg.sh" install "$ours"
  fi
}

# ceilings_python: the interpreter of an environment with the in-process libraries that the index benchmark stands beside, as far as
# they can be installed here.
ceilings_python() {
  local venv=$VECTOR_CACHE/venv-ceilings library
  make_cache
  if ! "$venv/bin/python" -c 'import numpy' 2>/dev/null; then
    say "Making a Python environment with hnswlib, usearch and faiss ..."
    rm -rf "$venv"
    python3 -m venv "$venv" >&2 || die "python3 -m venv failed" "On Debian or Ubuntu: apt-get install python3-venv"
    "$venv/bin/pip" install -q --retries 5 numpy >&2 || die "pip could not install numpy"
    # hnswlib is compiled here; a machine without a C++ compiler goes without it.
    for library in usearch faiss-cpu hnswlib; do
      "$venv/bin/pip" install -q --retries 5 "$library" >&2 || say "$library could not be installed and is left out"
    done
  fi
  printf '%s\n' "$venv/bin/python"
}
