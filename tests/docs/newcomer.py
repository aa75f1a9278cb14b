"""Follows the README's section on one's own CSV as it is written: its shell block, then its SQL in the psql at its end.

    newcomer.py SCRATCH-FOLDER

Prints "ok" or "not ok". The private cluster goes into the scratch folder instead of the README's, and is stopped in the
end.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADING = "## From nothing to a search of your own CSV\n"
FOLDER = "/var/tmp/vector-data"
FILE = "/tmp/vectors.csv"


def main() -> int:
    scratch = Path(sys.argv[1]).resolve()
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition(HEADING)[2].partition("\n## ")[0]
    blocks = dict(re.findall(r"^```(sh|sql)\n(.*?)^```", section, flags=re.M | re.S))
    for name, place in (("sh", FOLDER), ("sql", FILE)):
        if place not in blocks.get(name, ""):
            print(f"not ok - the README's {name} block no longer names {place}")
            return 1
    steps, _, last = blocks["sh"].rstrip().rpartition("\n")
    if not re.match(r"psql\s", last):
        print("not ok - the README's shell block does not end in psql")
        return 1
    cluster, file = scratch / "newcomer", scratch / "vectors.csv"
    script = f"set -e\n{steps}\npsql -XqAt -v ON_ERROR_STOP=1 <<'SQL'\nCREATE EXTENSION IF NOT EXISTS vector;\n{blocks['sql']}\nSQL\n"
    script = script.replace(FOLDER, str(cluster)).replace(FILE, str(file))
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    subprocess.run(
        ["scripts/pg.sh", "cluster", "stop", str(cluster), "--remove"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    rows = [line.split("|") for line in done.stdout.splitlines() if line.count("|") == 2]
    distances = [float(row[2]) for row in rows]
    right = (
        done.returncode == 0
        and len(rows) == 5
        and all(row[1] == "en" for row in rows)
        and distances == sorted(distances)
    )
    print(
        "ok - the README leads from a CSV to a filtered, indexed search"
        if right
        else f"not ok - following the README failed ({done.stderr[-800:]}{done.stdout[-400:]})"
    )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
