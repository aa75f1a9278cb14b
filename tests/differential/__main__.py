"""The same generated SQL on pgvector's binary and on this project's build; what known.py does not explain fails."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from differential.options import add_options
from vector_testing import plugin
from vector_testing.server import LAYOUTS

MODES = {
    "quick": [],
    "full": ["--full"],
    "selftest": ["--selftest"],
}
EPILOG = """
modes:
  quick      one seed on PostgreSQL 16, a few minutes, most of them for the exchange of live indexes
  full       five seeds with larger samples, on PostgreSQL 16 and 18, and one seed under each lower SIMD tier
  selftest   breaks one side on purpose, many small ways, and demands that each is found

VECTOR_OURS_16, VECTOR_OURS_18: prefixes to compare instead of installing this project's build.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/differential.sh",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("mode", nargs="?", choices=MODES, default="quick")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="pages of our indexes (default: auto); what pgvector is to open has its own",
    )
    add_options(parser.add_argument)
    given = vars(parser.parse_args())
    mode = given.pop("mode")
    words = plugin.as_words(given, {name: parser.get_default(name) for name in given})
    return plugin.run([Path(__file__).with_name("test_differential.py")], [*MODES[mode], *words])


if __name__ == "__main__":
    sys.exit(main())
