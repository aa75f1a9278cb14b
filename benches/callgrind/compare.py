"""Instructions of each workload, from callgrind's files, against the baseline.

    compare.py check|update FILES NAMES BASELINE COMPILER [REASON]

FILES is the path that callgrind's parts begin with, NAMES the file with the workloads' names in the order of the parts.
Only the instructions of the program itself count: which memcpy the C library takes depends on the CPU.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

# A larger change fails, in either direction: what became cheaper should be kept so.
ALLOWED = 0.03


def instructions(part: Path, program: str) -> int:
    """Cost of the functions of one object, calls to others left out."""
    objects: dict[str, str] = {}
    total, mine, skip = 0, False, False
    for line in part.read_text().splitlines():
        if line.startswith(("ob=", "cob=")):
            # The first time a number comes with its name.
            kind, _, rest = line.partition("=")
            number, _, name = rest.partition(" ")
            if name:
                objects[number] = name
            if kind == "ob":
                mine = objects[number].endswith(program)
        elif line.startswith("calls="):
            # The next line is what the callee cost.
            skip = True
        elif line[:1] in "+-*0123456789" and line:
            if not skip and mine:
                total += int(line.split()[1])
            skip = False
    return total


def read(baseline: Path) -> tuple[list[str], str, dict[str, int]]:
    """History of reasons, compiler, counts by name."""
    history, compiler, counts = [], "", {}
    for line in baseline.read_text().splitlines() if baseline.exists() else []:
        if line.startswith("# compiler: "):
            compiler = line.removeprefix("# compiler: ")
        elif line.startswith("# 2"):
            history.append(line)
        elif line and not line.startswith("#"):
            name, _, count = line.partition("\t")
            counts[name] = int(count)
    return history, compiler, counts


def write(baseline: Path, history: list[str], compiler: str, counts: dict[str, int]) -> None:
    head = [
        "# Instructions of seeded workloads, scalar kernels, x86_64. Written by scripts/bench-gate.sh update REASON.",
        f"# compiler: {compiler}",
        *history,
    ]
    baseline.write_text("\n".join([*head, *(f"{name}\t{count}" for name, count in counts.items())]) + "\n")


def compared(found: dict[str, int], known: dict[str, int], binding: bool) -> int:
    """Prints every workload; how many changed too much."""
    broken = 0
    for name in [*found, *(n for n in known if n not in found)]:
        now, before = found.get(name), known.get(name)
        if now is None or before is None:
            broken += 1
            print(f"not ok - {name}: {'no such workload any more' if now is None else 'not in the baseline'}")
            continue
        change = now / before - 1
        bad = abs(change) > ALLOWED
        broken += bad
        print(f"{'not ok' if bad and binding else 'ok'} - {name}: {now:,} instructions, {change:+.2%} of {before:,}")
    return broken


def main() -> int:
    what, files, names, baseline, compiler, *reason = sys.argv[1:]
    titles = Path(names).read_text().splitlines()
    found = {name: instructions(Path(f"{files}.{number}"), "/vector-gate") for number, name in enumerate(titles, 1)}
    history, known_compiler, known = read(Path(baseline))
    if what == "update":
        compared(found, known, binding=False)
        if min(found.values(), default=0) == 0:
            raise SystemExit("a workload without instructions: callgrind's files are not as expected")
        write(Path(baseline), [*history, f"# {time.strftime('%Y-%m-%d')}: {reason[0]}"], compiler, found)
        return 0
    binding = compiler == known_compiler
    if not binding:
        print(f"# the baseline is of {known_compiler}, this is {compiler}: changes are shown and do not fail")
    broken = compared(found, known, binding)
    if broken and binding:
        print(f"# more than {ALLOWED:.0%} from the baseline; if that is meant: scripts/bench-gate.sh update REASON")
    return 1 if broken and binding else 0


if __name__ == "__main__":
    sys.exit(main())
