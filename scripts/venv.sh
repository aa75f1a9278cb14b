# Source after lib.sh: Python environments with the package of pyproject.toml, in the cache.
# shellcheck shell=bash disable=SC2154 # lib.sh sets what is used here

# What an environment is made of: the tools' settings aside.
venv_contents() { sed '/^\[tool\.pytest/,$d' "$repo_root/pyproject.toml"; }

# venv_python [EXTRA]...: prints the interpreter of an environment with this checkout's package and those extras, made when it is missing
# and brought up to date when pyproject.toml has changed.
venv_python() {
  local extras=$* venv
  # A checkout has environments of its own: the package is used where it lies.
  venv=$VECTOR_CACHE/python/$(printf '%s' "$repo_root" | cksum | cut -d ' ' -f 1)${extras:+-${extras// /-}}
  if ! venv_contents | cmp -s - "$venv/made-from"; then
    make_cache
    mkdir -p "$VECTOR_CACHE/python"
    (
      flock 9
      if venv_contents | cmp -s - "$venv/made-from"; then exit; fi
      say "Making a Python environment (${extras:-tests}) ..."
      if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        # A half-made one (Debian's python3 without python3-venv leaves such) would fail for ever.
        rm -rf "$venv"
        python3 -m venv "$venv" >&2 || die "python3 -m venv failed" "On Debian or Ubuntu: apt-get install python3-venv"
      fi
      "$venv/bin/pip" install -q --retries 5 --disable-pip-version-check --editable "$repo_root${extras:+[${extras// /,}]}" >&2 ||
        die "pip could not install the package of pyproject.toml"
      venv_contents >"$venv/made-from"
    ) 9>"$venv.lock" || exit
  fi
  printf '%s\n' "$venv/bin/python"
}
