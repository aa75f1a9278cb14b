# Source after lib.sh: source packages of the distribution, unpacked into the cache. apt gets directories of its own: the system's
# sources and lists stay as they are.
# shellcheck shell=bash disable=SC2034 # the caller uses what is set here

# source_place: sets `source_family` (debian or ubuntu), `source_component` and `source_keyring` of this system.
source_place() {
  local id file candidate
  # shellcheck source=/dev/null
  id=$(. /etc/os-release && printf '%s' "${ID:-} ${ID_LIKE:-}")
  case " $id " in
    *" ubuntu "*) source_family=ubuntu; source_component=universe; file=ubuntu-archive-keyring ;;
    *) source_family=debian; source_component=main; file=debian-archive-keyring ;;
  esac
  source_keyring=""
  for candidate in "/usr/share/keyrings/$file.pgp" "/usr/share/keyrings/$file.gpg"; do
    if [ -e "$candidate" ]; then source_keyring="[signed-by=$candidate]"; break; fi
  done
}

# source_package NAME FOLDER SUITE...: unpacks the original source of package NAME, of the first suite that has it, into FOLDER/SUITE
# and prints that; at once when it is there already.
source_package() {
  local name=$1 folder=$2 suite uri from apt
  shift 2
  for suite in "$@"; do
    if [ -d "$folder/$suite" ]; then printf '%s\n' "$folder/$suite"; return; fi
  done
  have apt-get || die "the source package $name comes through apt, which this system has not"
  source_place
  make_cache
  tmp=$(mktemp -d "$VECTOR_CACHE/unpack.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/download" "$tmp/source" "$tmp/none"
  apt=(apt-get -q -o "Dir::Etc::SourceList=$tmp/sources.list" -o "Dir::Etc::SourceParts=$tmp/none" -o "Dir::State::Lists=$tmp/lists"
    -o "Dir::Cache=$tmp/cache" -o "APT::Sandbox::User=$(id -un)" -o Acquire::Retries=3)
  for suite in "$@"; do
    # The mirrors are those that this machine already uses. What has just been moved by a security update may be on that one only.
    # shellcheck disable=SC2016 # apt expands it
    while read -r uri; do
      case $uri in *security*) from=$suite-security ;; *) from=$suite ;; esac
      say "Fetching the source package $name ($from) ..."
      printf 'deb-src %s %s %s %s\n' "$source_keyring" "$uri" "$from" "$source_component" >"$tmp/sources.list"
      if "${apt[@]}" update >"$tmp/log" 2>&1 && (cd "$tmp/download" && "${apt[@]}" source --download-only "$name" >>"$tmp/log" 2>&1); then
        tar -xf "$tmp"/download/"$name"_*.orig.tar.* -C "$tmp/source" --strip-components=1 --no-same-owner
        chmod -R go+rX "$tmp/source"
        mkdir -p "$folder"
        mv -T "$tmp/source" "$folder/$suite" 2>/dev/null || [ -d "$folder/$suite" ] || die "cannot create $folder/$suite"
        rm -rf "$tmp"
        trap - EXIT
        printf '%s\n' "$folder/$suite"
        return
      fi
      tail -n 3 "$tmp/log" >&2
    done < <(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | awk '!seen[$0]++' | awk '/security/ { later = later $0 "\n"; next } { print } END { printf "%s", later }')
  done
  rm -rf "$tmp"
  trap - EXIT
  return 1
}
