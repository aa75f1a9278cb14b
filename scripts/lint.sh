#!/usr/bin/env bash
# The rules of the house that the compiler does not know. Prints every breach, fails when there is one. `lint.sh fix` only
# formats, Rust and Python.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
cd "$repo_root"

# shellcheck source-path=SCRIPTDIR source=venv.sh
. "$repo_root/scripts/venv.sh"
ruff=$(venv_python lint) || die "no Python environment for ruff"
ruff=${ruff%/*}/ruff

if [ "${1:-}" = fix ]; then
  cargo fmt --all
  "$ruff" check --quiet --fix . || true
  exec "$ruff" format --quiet .
fi

rules=0 broken=0

# rule NAME: reads breaches from standard input, one per line.
rule() {
  local found
  found=$(cat)
  rules=$((rules + 1))
  if [ -n "$found" ]; then
    broken=$((broken + 1))
    printf 'not ok - %s\n' "$1"
    printf '%s\n' "$found" | sed 's/^/    /' | head -n 40
  else
    printf 'ok - %s\n' "$1"
  fi
}

# files PATTERN...: what git tracks or would track, so that a forgotten `git add` is checked too.
files() { git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while IFS= read -r f; do if [ -f "$f" ]; then printf '%s\n' "$f"; fi; done; }

# code PATTERN: that extended regular expression in the lines of the files named on standard input, comments aside.
code() {
  local file
  while IFS= read -r file; do
    awk -v file="$file" -v pattern="$1" '
      { line = $0; sub(/\/\/.*/, "", line) }
      line ~ pattern { print file ":" FNR ": " $0 }' "$file"
  done
}

# shipped PATTERN: the same, test modules aside. A module marked cfg(test) ends its file, as everywhere in this project.
shipped() {
  local file
  while IFS= read -r file; do
    case $file in */tests/* | */tests.rs | tests/* | benches/*) continue ;; esac
    awk -v file="$file" -v pattern="$1" '
      /cfg\((any\()?(test[,)]|feature *= *"pg_test")/ { exit }
      { line = $0; sub(/\/\/.*/, "", line) }
      line ~ pattern && line !~ /cfg_attr\(test/ { print file ":" FNR ": " $0 }' "$file"
  done
}

# --- the import law ---------------------------------------------------------------------------------------------------

rule "kernels depends on neither index nor the extension nor pgrx" < <(
  files 'crates/kernels/*.rs' | code '(^|[^a-zA-Z0-9_])(vector_index|pgrx|pg_sys)([^a-zA-Z0-9_]|$)'
  grep -nHE '^ *(vector-index|vector|pgrx[a-z-]*)[ .=]' crates/kernels/Cargo.toml
)

rule "only the root package names pgrx and pg_sys" < <(
  files 'crates/*.rs' | code '(^|[^a-zA-Z0-9_])(pgrx|pg_sys)([^a-zA-Z0-9_]|$)'
  grep -nHE '^ *(vector|pgrx[a-z-]*)[ .=]' crates/*/Cargo.toml
)

rule "index forbids unsafe code" < <(grep -LE 'forbid\(unsafe_code\)' crates/index/src/lib.rs)

rule "the access methods do not name each other" < <(
  files 'src/hnsw/*.rs' 'src/hnsw.rs' | code '(^|[^a-zA-Z0-9_])ivfflat::'
  files 'src/ivfflat/*.rs' 'src/ivfflat.rs' | code '(^|[^a-zA-Z0-9_])hnsw::'
)

rule "src/pg uses neither types nor access methods" < <(
  files 'src/pg/*.rs' 'src/pg.rs' | code 'crate::(types|hnsw|ivfflat)([^a-zA-Z0-9_]|$)'
)

rule "src/pg knows no vectors: of the pure crates it uses storage and work" < <(
  files 'src/pg/*.rs' | code 'vector_index::(hnsw|ivf|quant|space|text|value|wire)([^a-zA-Z0-9_]|$)'
)

rule "layouts of lists are told apart in ivf/format.rs only" < <(
  files 'crates/index/src/ivf/*.rs' 'src/ivfflat/*.rs' | grep -vE '^crates/index/src/ivf/(v1/.*|format\.rs|tests\.rs)$' |
    shipped '(^|[^a-zA-Z0-9_])v1::|Layout::[A-Za-z0-9]+ *=>|match [a-z_.]*layout'
)

# pgrx's own wrappers keep a part of a server error only (src/pg/guard.rs); these are plain Rust or macros of the server.
plain='(MemoryContextSwitchTo|TupleDescAttr|BufferGetPage)'
rule "the server is called through src/pg/server.rs or ffi.rs, and its errors pass our guard alone" < <(
  files 'src/*.rs' | grep -vx 'src/tests\.rs' | code 'pg_sys::([a-zA-Z0-9_]+::)*[a-z_A-Z0-9]+\(' | grep -vE "pg_sys::$plain\\(|pg_sys::[A-Za-z0-9]+::default\\(|pg_sys::(Oid|TransactionId)::from|check_active_thread\\("
  files 'src/*.rs' | grep -vx 'src/tests\.rs' | code 'pgrx_extern_c_guard|pg_guard|check_for_interrupts!|direct_function_call|PgTryBuilder|pgrx::(error|ereport|info|notice|warning|log|debug[0-9])!'
)

rule "page layouts of hnsw are named in their own folders, hnsw/format.rs, choice.rs and tests alone" < <(
  files 'crates/index/src/hnsw/*.rs' 'src/hnsw/*.rs' 'benches/*.rs' |
    grep -vE '^crates/index/src/hnsw/(v1/.*|(format|choice)\.rs|(.*/)?[a-z_]*tests\.rs)$' |
    shipped '(^|[^a-zA-Z0-9_])v1::'
  files 'crates/index/src/*.rs' 'src/*.rs' | grep -vxE 'crates/index/src/hnsw/(format|choice)\.rs' | shipped 'hnsw::v1::|match .*layout|Layout::V1 =>' |
    grep -vE '^crates/index/src/(hnsw/v1/|hnsw/inline/|ivf/|testing/)|^[^:]*_?tests\.rs:'
)

rule "docs/ARCHITECTURE.md draws the imports that the code has" < <(python3 scripts/check_architecture.py 2>&1)

# --- unsafe -----------------------------------------------------------------------------------------------------------

# A hot path of an access method may be added here by name, with its benchmark.
unsafe_homes='^(crates/kernels/src/arch/.*\.rs|src/pg/.*|src/pg\.rs|src/fmgr/.*|fuzz/.*|benches/.*|(.*/)?tests(/.*)?\.rs)$'
rule "unsafe has its homes: kernels' arch, src/pg, src/fmgr, tests" < <(
  files '*.rs' | grep -vE "$unsafe_homes" | code '(^|[^a-zA-Z0-9_"])unsafe([^a-zA-Z0-9_]|$)'
)

rule "no allow(clippy::unwrap_used) and the like outside tests" < <(
  files '*.rs' | shipped 'allow\([^)]*clippy::(unwrap_used|expect_used|panic|todo|unimplemented)'
)

rule "nothing unfinished, no ignored test" < <(
  files '*.rs' | code '(^|[^a-zA-Z0-9_])(todo|unimplemented)!|#\[ignore'
  files '*.rs' '*.py' '*.sql' '*.md' 'scripts/*' | xargs -r grep -nE '[F]IXME|[T]ODO' /dev/null
)

# --- memory -----------------------------------------------------------------------------------------------------------

# Infallible growth ends the process, and with it every session of the server, when there is no memory: each place is looked at
# once, and counted in scripts/growth.txt with the reason why it is no harm. memory.rs is what is to be used instead.
grows='vec!\[[^\]]*;|with_capacity\(|\.resize(_with)?\(|\.to_vec\(|\.to_owned\(|\.reserve(_exact)?\(|extend_from_slice\('
grows=$grows'|\.extend\(|\.concat\(|\.repeat\(|\.collect\(\)|collect::<|\.push\(|\.push_str\(|(BinaryHeap|HashMap|HashSet|BTreeMap)::'
rule "what grows without asking is listed with a reason" < <(
  files 'crates/index/src/*.rs' 'src/*.rs' | grep -vE '^crates/index/src/(testing/.*|work/memory)\.rs$|_tests\.rs$' |
    shipped "${grows//\\/\\\\}" | awk -F: '
      NR == FNR { if ($0 !~ /^#/) { split($0, word, " "); listed[word[2]] = word[1] } next }
      { found[$1]++ }
      END { for (file in found) if (found[file] > listed[file] + 0) {
        print file ": " found[file] " places, " listed[file] + 0 " in scripts/growth.txt" } }' scripts/growth.txt -
)

# --- files ------------------------------------------------------------------------------------------------------------

rule "no source file over 800 lines" < <(files '*.rs' '*.py' '*.sh' Makefile | xargs -r wc -l | awk '$2 != "total" && $1 > 800 { print $2 ": " $1 " lines" }')

rule "comments and prose of at most 120 columns (diagrams, tables and commands aside)" < <(
  files '*.rs' | xargs -r awk 'length($0) > 120 && /^ *\/\// && !/\|/ { print FILENAME ":" FNR }'
  files '*.md' | grep -vx docs/reference.md | xargs -r awk '    # (its lists are printed from the catalog)
    FNR == 1 { code = 0 }
    { gsub(/[\200-\277]/, "") }    # a character, not its bytes
    /^ *```/ { code = !code }
    length($0) > 120 && !code && !/^ *[|#<!]/ && !/^    / { print FILENAME ":" FNR }'
)

rule "vector.control is the only control file" < <(files '*.control' | grep -vx vector.control)

rule "no address in scripts: packages are named, their clients know where" < <(
  files 'scripts/*' Makefile .ci/run '.github/*' | xargs -r grep -nE '[h]ttps?://' /dev/null
)

rule "no path of one machine" < <(
  files '*.rs' '*.toml' '*.sql' '*.py' 'scripts/*' Makefile .ci/run '.github/*' '*.md' | xargs -r grep -nE '(^|[^a-zA-Z0-9_.}/])/([w]ork|[r]oot|[h]ome/[a-z]+)(/|$)' /dev/null
)

rule "one version: control file, Cargo.toml, upgrade scripts" < <(
  [ -e "sql/vector.sql" ] || echo "sql/vector.sql is missing"
  ls sql/vector--*--"$ext_version".sql >/dev/null 2>&1 || echo "no upgrade script arrives at $ext_version"
  cargo_version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version *= *"\(.*\)"/\1/p' Cargo.toml)
  [ "$cargo_version" = "$ext_version" ] || echo "Cargo.toml says $cargo_version, vector.control says $ext_version"
)

# --- scripts ----------------------------------------------------------------------------------------------------------

rule "shell scripts parse" < <(files 'scripts/*.sh' 'examples/*.sh' .ci/run | while IFS= read -r f; do bash -n "$f" 2>&1; done)

if have shellcheck; then
  rule "shellcheck" < <(files 'scripts/*.sh' .ci/run | xargs -r shellcheck -x 2>&1)
else
  echo "# shellcheck is not installed: left out"
fi

# --- what other programs read -----------------------------------------------------------------------------------------

# valid SCHEMA PATTERN...: files that do not follow it. The schemas come with the checker.
valid() {
  local schema=$1
  shift
  files "$@" | xargs -r "${ruff%/*}/check-jsonschema" --builtin-schema "$schema" 2>&1 | grep -v '^ok --'
}

rule "workflows follow their schema" < <(valid vendor.github-workflows '.github/workflows/*.yml')
rule "compose files follow their schema" < <(valid vendor.compose-spec 'compose.yaml' '*/compose.yaml')

# --- Python -----------------------------------------------------------------------------------------------------------

rule "ruff check" < <("$ruff" check --quiet --output-format concise . 2>&1)
rule "ruff format" < <("$ruff" format --quiet --diff . 2>&1)

rule "no import path is edited: what is shared is in the package of pyproject.toml" < <(
  files '*.py' | xargs -r grep -nE 'sys[.]path|site[.]addsitedir' /dev/null
)

printf '%s rules, %s broken\n' "$rules" "$broken"
[ "$broken" -eq 0 ]
