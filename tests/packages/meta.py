"""META.json against PGXN's Meta Spec 1.0, and against what this repository holds: meta.py [META.json]."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Semantic versions, three numbers without leading zeros; what follows a hyphen begins with a letter in PGXN's reading.
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[A-Za-z][0-9A-Za-z.-]*)?")
RANGE = re.compile(
    r"(?:0|(?:(?:[<>]=?|==|!=)\s*)?" + VERSION.pattern + r")(?:\s*,\s*(?:[<>]=?|==|!=)\s*" + VERSION.pattern + ")*"
)
TERM = re.compile(r"[^\s/\\\x00-\x1f\x7f]{2,}")
TAG = re.compile(r"[^/\\\x00-\x1f\x7f]{1,255}")
LICENSES = {
    "agpl_3",
    "apache_1_1",
    "apache_2_0",
    "artistic_1",
    "artistic_2",
    "bsd",
    "freebsd",
    "gfdl_1_2",
    "gfdl_1_3",
    "gpl_1",
    "gpl_2",
    "gpl_3",
    "lgpl_2_1",
    "lgpl_3_0",
    "mit",
    "mozilla_1_0",
    "mozilla_1_1",
    "openssl",
    "perl_5",
    "postgresql",
    "qpl_1_0",
    "ssleay",
    "sun",
    "zlib",
    "open_source",
    "restricted",
    "unrestricted",
    "unknown",
}
REQUIRED = ("name", "version", "abstract", "maintainer", "license", "provides", "meta-spec")
OPTIONAL = ("description", "generated_by", "tags", "no_index", "prereqs", "release_status", "resources")
PHASES = ("configure", "build", "runtime", "test", "develop")
RELATIONS = ("requires", "recommends", "suggests", "conflicts")


def text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def texts(value: object) -> bool:
    return text(value) or (isinstance(value, list) and bool(value) and all(text(one) for one in value))


def custom(key: str) -> bool:
    return key[:2].lower() == "x_"


def provided(name: str, entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return [f"provides.{name} is no object"]
    wrong = [f"provides.{name}.{key} is missing" for key in ("file", "version") if not text(entry.get(key))]
    if not VERSION.fullmatch(str(entry.get("version"))):
        wrong.append(f"provides.{name}.version is no semantic version")
    return wrong + [
        f"provides.{name}.{key} is unknown"
        for key in entry
        if key not in ("file", "version", "abstract", "docfile") and not custom(key)
    ]


def required(prereqs: object) -> list[str]:
    if not isinstance(prereqs, dict):
        return ["prereqs is no object"]
    wrong = []
    for phase, relations in prereqs.items():
        if phase not in PHASES and not custom(phase):
            wrong.append(f"prereqs.{phase} is unknown")
        for relation, needed in relations.items():
            if relation not in RELATIONS and not custom(relation):
                wrong.append(f"prereqs.{phase}.{relation} is unknown")
            wrong += [
                f"prereqs.{phase}.{relation}.{name}: {version!r} is no range"
                for name, version in needed.items()
                if not (version == 0 or (isinstance(version, str) and RANGE.fullmatch(version)))
            ]
    return wrong


def violations(meta: dict) -> list[str]:
    """Returns what the specification forbids, one text each."""
    wrong = [f"{key} is missing" for key in REQUIRED if key not in meta]
    wrong += [f"{key} is unknown" for key in meta if key not in REQUIRED + OPTIONAL and not custom(key)]
    if not TERM.fullmatch(str(meta.get("name"))):
        wrong.append("name is no term")
    if not VERSION.fullmatch(str(meta.get("version"))):
        wrong.append("version is no semantic version")
    wrong += [
        f"{key} is no text"
        for key in ("abstract", "description", "generated_by")
        if key in meta and not text(meta[key])
    ]
    if not texts(meta.get("maintainer")):
        wrong.append("maintainer is neither a text nor a list of texts")
    named = meta.get("license")
    if isinstance(named, dict):
        wrong += [f"license {key} has no address" for key, url in named.items() if not re.match(r"\w+://", str(url))]
    elif not texts(named) or not set([named] if isinstance(named, str) else named) <= LICENSES:
        wrong.append("license is none of the known ones")
    spec = meta.get("meta-spec")
    if not isinstance(spec, dict) or not VERSION.fullmatch(str(spec.get("version"))):
        wrong.append("meta-spec has no version")
    provides = meta.get("provides")
    if not isinstance(provides, dict) or not provides:
        wrong.append("provides nothing")
    else:
        wrong += [line for name, entry in provides.items() for line in provided(name, entry)]
    if "tags" in meta and not (
        isinstance(meta["tags"], list) and all(isinstance(tag, str) and TAG.fullmatch(tag) for tag in meta["tags"])
    ):
        wrong.append("tags is no list of tags")
    if meta.get("release_status", "stable") not in ("stable", "testing", "unstable"):
        wrong.append("release_status is none of stable, testing, unstable")
    return wrong + (required(meta["prereqs"]) if "prereqs" in meta else [])


def disagreements(meta: dict) -> list[str]:
    """Returns where the file and the repository differ."""
    wrong = []
    version = re.search(r"^default_version *= *'(.*)'", (ROOT / "vector.control").read_text(encoding="utf-8"), re.M)
    for where, told in [("version", meta.get("version"))] + [
        (f"provides.{n}.version", e.get("version")) for n, e in meta.get("provides", {}).items()
    ]:
        if not version or told != version.group(1):
            wrong.append(f"{where} is {told}, vector.control says otherwise")
    for entry in meta.get("provides", {}).values():
        wrong += [
            f"{entry[key]} does not exist"
            for key in ("file", "docfile")
            if key in entry and not (ROOT / entry[key]).is_file()
        ]
    return wrong


# Each of these must be found wrong, or the checks above look at nothing.
BROKEN = (
    {"version": "1.0"},
    {"license": "mine"},
    {"provides": {}},
    {"name": "a b"},
    {"tags": "vector"},
    {"prereqs": {"runtime": {"requires": {"PostgreSQL": "thirteen"}}}},
    {"colour": "green"},
    {"release_status": "done"},
    {"maintainer": []},
    {"provides": {"vector": {"file": "sql/vector.sql"}}},
    {"meta-spec": {}},
)


def main() -> int:
    meta = json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "META.json").read_text(encoding="utf-8"))
    failed = 0
    for name, wrong in (
        ("META.json follows the specification", violations(meta)),
        ("META.json agrees with the repository", disagreements(meta)),
        ("broken ones are found", [str(change) for change in BROKEN if not violations(meta | change)]),
    ):
        failed += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} - {name}{': ' + '; '.join(wrong) if wrong else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
