#!/usr/bin/env bash
# Packages of the extension: Debian's, an archive for other systems, and the source as PGXN wants it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
pg=$repo_root/scripts/pg.sh

usage() {
  cat <<'TEXT'
usage: scripts/package.sh COMMAND

  deb [MAJOR]...     postgresql-MAJOR-vector_*.deb and its debug symbols, in target/packages; without majors, one for each of 13 to 18
  tar [MAJOR]...     vector-*-pgMAJOR-*.tar.gz with lib/, share/extension/ and an install.sh that asks pg_config for the places
  source             vector-VERSION.zip of what git has: the archive that PGXN takes
  test [MAJOR]...    makes the packages, looks at them (lintian where it is installed), unpacks and installs them into private servers, and asks
                     the extension something. With --system before the majors, the .deb is really installed by dpkg on this machine's
                     PostgreSQL of that major, tried and removed
  version            the Debian version that deb gives its packages
  notes              what CHANGELOG.md says of this version

A major is built against Debian's own PostgreSQL when its headers are there (/usr/lib/postgresql/MAJOR), or the one of PG_CONFIG, else against
the embedded one. Environment: DEBFULLNAME, DEBEMAIL (the maintainer; default: git's user), DEB_VERSION, SOURCE_DATE_EPOCH, PG_CONFIG.
TEXT
}

packages=$(target_dir)/packages
tmp=""
cluster=""
cleanup() {
  if [ -n "$cluster" ]; then "$pg" cluster stop "$cluster" --remove >/dev/null 2>&1 || true; fi
  if [ -n "$tmp" ]; then rm -rf "$tmp"; fi
}
trap cleanup EXIT

# majors MAJOR...: those, or all.
majors() { if [ $# -gt 0 ]; then printf '%s\n' "$@"; else printf '%s\n' "$all_majors"; fi; }

# The same source gives the same archive, whenever it is made.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$repo_root" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

git_user() { git -C "$repo_root" config "user.$1" 2>/dev/null || true; }

maintainer() {
  local name=${DEBFULLNAME:-$(git_user name)} mail=${DEBEMAIL:-$(git_user email)}
  if [ -z "$name" ] || [ -z "$mail" ]; then die "a package needs a maintainer" "Set DEBFULLNAME and DEBEMAIL."; fi
  printf '%s <%s>\n' "$name" "$mail"
}

# A release has its tag; anything else sorts after the release it follows.
deb_version() {
  if [ -n "${DEB_VERSION:-}" ]; then
    printf '%s\n' "$DEB_VERSION"
  elif ! git -C "$repo_root" rev-parse -q --verify HEAD >/dev/null 2>&1 || [ "$(git -C "$repo_root" tag --points-at HEAD "v$ext_version")" ]; then
    printf '%s-1\n' "$ext_version"
  else
    printf '%s+git%s.%s-1\n' "$ext_version" "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d)" "$(git -C "$repo_root" rev-parse --short=8 HEAD)"
  fi
}

# config_for MAJOR: the pg_config to build against.
config_for() {
  local debian=/usr/lib/postgresql/$1/bin/pg_config
  if [ -n "${PG_CONFIG:-}" ] && [ "$(major_of "$(pg_config_of "$PG_CONFIG")")" = "$1" ]; then
    pg_config_of "$PG_CONFIG"
  elif [ -x "$debian" ] && [ -f "$("$debian" --includedir-server)/postgres.h" ]; then
    printf '%s\n' "$debian"
  else
    printf '%s/bin/pg_config\n' "$(PG_CONFIG='' "$pg" prefix "$1")"
  fi
}

# split_library LIBRARY STRIPPED DEBUG
split_library() {
  objcopy --only-keep-debug --compress-debug-sections "$1" "$3"
  strip --strip-unneeded --remove-section=.comment --remove-section=.note -o "$2" "$1"
  chmod 644 "$2" "$3"
}

build_id() { readelf -n "$1" | sed -n 's/.*Build ID: \([0-9a-f]*\).*/\1/p'; }

# lay_out LIBRARY LIBDIR EXTENSIONDIR: stripped library, control file and scripts; debug symbols in $tmp/debug.
lay_out() {
  mkdir -p "$2" "$3"
  split_library "$1" "$2/vector.so" "$tmp/debug"
  install -m 644 "$repo_root/vector.control" "$3/vector.control"
  install -m 644 "$repo_root/sql/vector.sql" "$3/vector--$ext_version.sql"
  install -m 644 "$repo_root"/sql/vector--*--*.sql "$3/"
}

third_party() {
  local file=$packages/third-party-notices.txt
  if [ ! -s "$file" ] || [ "$repo_root/Cargo.lock" -nt "$file" ]; then
    python3 "$repo_root/packaging/third_party.py" >"$file.new"
    mv "$file.new" "$file"
  fi
  printf '%s\n' "$file"
}

# --- Debian -------------------------------------------------------------------------------------------------------------

# shared_libraries LIBRARY: what dpkg finds it to need, as a Depends field.
shared_libraries() {
  mkdir -p "$tmp/shlibs/debian"
  printf 'Source: vector\n\nPackage: vector\nArchitecture: any\n' >"$tmp/shlibs/debian/control"
  (cd "$tmp/shlibs" && dpkg-shlibdeps -O "$1" 2>"$tmp/shlibs/log") | sed -n 's/^shlibs:Depends=//p'
}

changelog_of() {
  # The entries themselves are CHANGELOG.md, installed beside it.
  printf 'vector (%s) unstable; urgency=medium\n\n  * See changelog.gz for what a user notices.\n\n -- %s  %s\n' \
    "$(deb_version)" "$(maintainer)" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n
}

# close_deb TREE CONTROL NAME: checksums, sizes, the archive.
close_deb() {
  local tree=$1 size
  mkdir -p "$tree/DEBIAN"
  size=$(du -k --apparent-size -s --exclude=DEBIAN "$tree" | cut -f 1)
  printf '%s\n' "${2/@SIZE@/$size}" >"$tree/DEBIAN/control"
  (cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
  find "$tree" -type d -exec chmod 755 {} +
  find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group -Zxz --build "$tree" "$packages/$3" >/dev/null
  printf '%s\n' "$packages/$3"
}

one_deb() {
  local major=$1 config library name=postgresql-$1-vector tree arch version id doc depends
  config=$(config_for "$major")
  library=$("$pg" build "$config")
  arch=$(dpkg --print-architecture)
  version=$(deb_version)
  tmp=$(mktemp -d)
  tree=$tmp/$name
  doc=$tree/usr/share/doc/$name
  lay_out "$library" "$tree/usr/lib/postgresql/$major/lib" "$tree/usr/share/postgresql/$major/extension"
  depends=$(shared_libraries "$tree/usr/lib/postgresql/$major/lib/vector.so")
  mkdir -p "$doc" "$tree/usr/share/lintian/overrides"
  MAJOR=$major fill "$repo_root/packaging/lintian-overrides" >"$tree/usr/share/lintian/overrides/$name"
  chmod 644 "$tree/usr/share/lintian/overrides/$name"
  python3 "$repo_root/packaging/copyright.py" "$repo_root/LICENSE" >"$doc/copyright"
  gzip -9n <"$repo_root/CHANGELOG.md" >"$doc/changelog.gz"
  changelog_of >"$doc/changelog.Debian.gz"
  gzip -9n <"$(third_party)" >"$doc/third-party-notices.txt.gz"
  install -m 644 "$repo_root/README.md" "$repo_root"/docs/{migrate,operate,reference,performance}.md "$doc/"
  chmod 644 "$doc"/*
  close_deb "$tree" "$(MAJOR=$major VERSION=$version ARCH=$arch MAINTAINER=$(maintainer) DEPENDS=${depends:+, $depends} \
    fill "$repo_root/packaging/control")" "${name}_${version}_$arch.deb"

  id=$(build_id "$library")
  [ -n "$id" ] || die "the library has no build id, by which debuggers find its symbols"
  tree=$tmp/$name-dbgsym
  mkdir -p "$tree/usr/lib/debug/.build-id/${id:0:2}" "$tree/usr/share/doc"
  install -m 644 "$tmp/debug" "$tree/usr/lib/debug/.build-id/${id:0:2}/${id:2}.debug"
  ln -s "$name" "$tree/usr/share/doc/$name-dbgsym"
  close_deb "$tree" "$(MAJOR=$major VERSION=$version ARCH=$arch MAINTAINER=$(maintainer) BUILD_ID=$id \
    fill "$repo_root/packaging/control.dbgsym")" "$name-dbgsym_${version}_$arch.deb"
  rm -rf "$tmp"
  tmp=""
}

# fill FILE: the file with @NAME@ replaced by the environment's NAME; @SIZE@ is close_deb's.
fill() {
  python3 -c 'import os, re, sys; print(re.sub("@([A-Z_]+)@", lambda m: m[0] if m[1] == "SIZE" else os.environ[m[1]], open(sys.argv[1]).read()), end="")' "$1"
}

cmd_deb() {
  local major tool
  for tool in dpkg-deb dpkg-shlibdeps objcopy strip readelf; do have "$tool" || die "$tool is missing" "On Debian or Ubuntu: apt-get install dpkg-dev"; done
  mkdir -p "$packages"
  for major in $(majors "$@"); do one_deb "$major"; done
}

# --- other systems ------------------------------------------------------------------------------------------------------

archive_name() { printf 'vector-%s-pg%s-%s-%s\n' "$ext_version" "$1" "$(uname -s | tr '[:upper:]' '[:lower:]')" "$(uname -m)"; }

one_tar() {
  local major=$1 library name tree
  library=$("$pg" build "$(config_for "$major")")
  name=$(archive_name "$major")
  tmp=$(mktemp -d)
  tree=$tmp/$name
  lay_out "$library" "$tree/lib" "$tree/share/extension"
  mkdir -p "$tree/debug"
  install -m 644 "$tmp/debug" "$tree/debug/vector.so.debug"
  install -m 644 "$repo_root"/{README.md,CHANGELOG.md,LICENSE} "$(third_party)" "$tree/"
  sed "s/@MAJOR@/$major/g" "$repo_root/packaging/install.sh" >"$tree/install.sh"
  chmod 755 "$tree/install.sh" "$tree/lib/vector.so"
  tar -C "$tmp" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" | gzip -9n >"$packages/$name.tar.gz.new"
  mv "$packages/$name.tar.gz.new" "$packages/$name.tar.gz"
  printf '%s\n' "$packages/$name.tar.gz"
  rm -rf "$tmp"
  tmp=""
}

cmd_tar() {
  local major
  mkdir -p "$packages"
  for major in $(majors "$@"); do one_tar "$major"; done
}

cmd_source() {
  python3 "$repo_root/tests/packages/meta.py" >/dev/null || die "META.json is not right" "Run: python3 tests/packages/meta.py"
  mkdir -p "$packages"
  git -C "$repo_root" archive --format zip --prefix "vector-$ext_version/" -o "$packages/vector-$ext_version.zip" HEAD
  printf '%s\n' "$packages/vector-$ext_version.zip"
}

# notes: the part of CHANGELOG.md below this version's heading.
cmd_notes() {
  local notes
  notes=$(awk -v heading="## $ext_version" '$0 == heading { on = 1; next } /^## / { on = 0 } on' "$repo_root/CHANGELOG.md")
  [ -n "${notes//[[:space:]]/}" ] || die "CHANGELOG.md says nothing of $ext_version"
  printf '%s\n' "$notes"
}

# --- tests --------------------------------------------------------------------------------------------------------------

failed=0
check() {
  local name=$1 status=0 log
  shift
  log=$("$@" 2>&1) || status=$?
  if [ "$status" -eq 0 ]; then
    printf 'ok - %s\n' "$name"
  else
    failed=$((failed + 1))
    printf 'not ok - %s\n%s\n' "$name" "$log" | head -n 40
  fi
}

# ask_server PG_CONFIG: a private server of that PostgreSQL, the extension in it, an index of each kind, right answers.
ask_server() {
  local work=$1/cluster config=$2 answer
  cluster=$work
  "$pg" cluster start "$config" "$work" >/dev/null
  answer=$(
    eval "$("$pg" cluster env "$work")"
    psql -XqAt -v ON_ERROR_STOP=1 -f "$repo_root/tests/packages/installed.sql"
  ) || true
  "$pg" cluster stop "$work" --remove >/dev/null
  cluster=""
  [ "$answer" = "$ext_version|100|100|0|0" ] || { printf 'wanted %s|100|100|0|0, got %s\n' "$ext_version" "$answer"; return 1; }
}

# another_time DEB MAJOR: made again, it is the same file.
another_time() {
  local first
  first=$(sha256sum <"$1")
  "$repo_root/scripts/package.sh" deb "$2" >/dev/null
  [ "$(sha256sum <"$1")" = "$first" ]
}

# refuses INSTALLER MAJOR: install.sh for another major than the pg_config's says so and touches nothing.
refuses() {
  local other=17 said
  if [ "$2" = 17 ]; then other=16; fi
  if said=$("$1" "$(PG_CONFIG='' "$pg" prefix "$other")/bin/pg_config" 2>&1); then echo "it installed"; return 1; fi
  case $said in *"PostgreSQL $2, and"*) ;; *) printf '%s\n' "$said"; return 1 ;; esac
}

stripped() { ! readelf -S --wide "$1" | grep -E '\.(debug_info|debug_line|symtab|comment)([^a-z]|$)'; }

# has_lines DEBUG-FILE: addresses of the stripped library can be told as lines.
has_lines() { readelf -S --wide "$1" | grep -q '\.debug_line'; }

lintian_clean() {
  # It does not like root, who cannot be kept from his own files.
  chmod a+rx "$tmp"
  cp "$@" "$tmp/"
  (cd "$tmp" && as_server lintian --fail-on error,warning,info --display-info --profile debian ./*.deb)
}

really_installed() {
  local major=$1 deb=$2
  dpkg -i "$deb"
  ask_server "$tmp" "/usr/lib/postgresql/$major/bin/pg_config" || { dpkg -r "postgresql-$major-vector"; return 1; }
  dpkg -r "postgresql-$major-vector"
  [ ! -e "/usr/share/postgresql/$major/extension/vector.control" ] || { echo "files stay behind"; return 1; }
}

test_major() {
  local major=$1 debs deb archive prefix name=postgresql-$1-vector
  mapfile -t debs < <(cmd_deb "$major")
  deb=${debs[0]}
  archive=$(one_tar "$major")
  tmp=$(mktemp -d "${TMPDIR:-/tmp}/packages.XXXXXX")
  chmod 755 "$tmp"
  if have lintian; then check "$name: lintian has nothing to say" lintian_clean "${debs[@]}"; else printf '# lintian is not installed: left out\n'; fi

  check "$name: made again it is the same" another_time "$deb" "$major"
  dpkg-deb -x "$deb" "$tmp/deb"
  dpkg-deb -x "${debs[1]}" "$tmp/dbgsym"
  check "$name: stripped" stripped "$tmp/deb/usr/lib/postgresql/$major/lib/vector.so"
  check "$name: its symbols are in the other package" has_lines "$(find "$tmp/dbgsym" -name '*.debug')"
  prefix=$("$pg" copy "$major" "$tmp/server")
  cp "$tmp/deb/usr/lib/postgresql/$major/lib/vector.so" "$("$prefix/bin/pg_config" --pkglibdir)/"
  cp "$tmp/deb/usr/share/postgresql/$major/extension"/* "$("$prefix/bin/pg_config" --sharedir)/extension/"
  check "$name: its files serve a PostgreSQL $major" ask_server "$tmp" "$prefix/bin/pg_config"

  prefix=$("$pg" copy "$major" "$tmp/other")
  mkdir "$tmp/tar"
  tar -C "$tmp/tar" --strip-components=1 --no-same-owner -xzf "$archive"
  check "$(basename "$archive"): install.sh refuses another major" refuses "$tmp/tar/install.sh" "$major"
  check "$(basename "$archive"): install.sh installs" "$tmp/tar/install.sh" "$prefix/bin/pg_config"
  check "$(basename "$archive"): serves" ask_server "$tmp" "$prefix/bin/pg_config"
  if [ "$system" = 1 ]; then check "$name: installed by dpkg, tried, removed" really_installed "$major" "$deb"; fi
  rm -rf "$tmp"
  tmp=""
}

cmd_test() {
  local major
  system=0
  if [ "${1:-}" = --system ]; then system=1; shift; fi
  check "META.json follows PGXN's specification" python3 "$repo_root/tests/packages/meta.py"
  for major in $(majors "$@"); do test_major "$major"; done
  [ "$failed" -eq 0 ]
}

command=${1:-}
if [ $# -gt 0 ]; then shift; fi
case $command in
  deb) cmd_deb "$@" ;;
  tar) cmd_tar "$@" ;;
  source) cmd_source ;;
  test) cmd_test "$@" ;;
  version) deb_version ;;
  notes) cmd_notes ;;
  help | -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
