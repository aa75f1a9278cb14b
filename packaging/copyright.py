"""Writes Debian's copyright file of the binary package from the project's LICENSE: copyright.py LICENSE"""

from __future__ import annotations

import sys
from pathlib import Path

# The format's name is an address; spelled out once, here.
FORMAT = "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"


def main() -> None:
    paragraphs = [part.strip() for part in Path(sys.argv[1]).read_text(encoding="utf-8").split("\n\n") if part.strip()]
    notice = next(part for part in paragraphs if part.startswith("Copyright"))
    text = [part for part in paragraphs if part != notice and part != "The PostgreSQL License"]
    body = "\n .\n".join("\n".join(f" {line}" for line in part.splitlines()) for part in text)
    print(
        f"Format: {FORMAT}\nUpstream-Name: vector\n"
        "Comment: The library contains Rust crates under the MIT, Apache-2.0 and similar licences;\n"
        " third-party-notices.txt.gz beside this file names them and holds their texts.\n\n"
        f"Files: *\nCopyright: {notice.removeprefix('Copyright').strip().removeprefix('(c)').strip()}\nLicense: PostgreSQL\n{body}"
    )


if __name__ == "__main__":
    main()
