"""What users fear, tried: crashes, cancelled builds, full disks, damaged files, standbys, many clients; and recall
floors.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reliability import TESTS
from vector_testing import plugin


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/reliability.sh",
        description=__doc__,
        epilog=plugin.ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"{' '.join(TESTS)}; all of them when none is named")
    plugin.add_options(parser.add_argument)
    given = vars(parser.parse_intermixed_args())
    names = given.pop("names") or TESTS
    if unknown := [name for name in names if name not in TESTS]:
        parser.error(f"no such test: {', '.join(unknown)}")
    folder = Path(__file__).parent
    words = plugin.as_words(given, {name: parser.get_default(name) for name in given})
    return plugin.run([folder / f"{name}.py" for name in names], words)


if __name__ == "__main__":
    sys.exit(main())
