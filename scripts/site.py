"""Writes the project's Markdown documents as a static site: site.py FOLDER. Exit code 1 when a link leads nowhere.

README.md becomes index.html, every other document keeps its place with another ending. Other files of the project that
a document names (pictures, the licence, sources) are copied to their places, so that the folder is complete in itself.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
# What stands in the menu, in this order; whatever else there is follows under "More".
MENU = {
    "README.md": "Start",
    "docs/performance.md": "Performance",
    "docs/operate.md": "In production",
    "docs/migrate.md": "From pgvector",
    "docs/scale.md": "Scaling out",
    "docs/reference.md": "Reference",
    "docs/RELIABILITY.md": "Reliability",
    "benches/RESULTS.md": "Benchmarks",
    "CHANGELOG.md": "Changes",
    "CONTRIBUTING.md": "Contributing",
    "docs/ARCHITECTURE.md": "Architecture",
}
STYLE = """
:root{color-scheme:light dark;--ink:#15191f;--soft:#59626e;--edge:#e2e6eb;--paper:#fff;--side:#f6f7f9;--link:#0b6b50}
@media (prefers-color-scheme:dark){:root{--ink:#e8ebef;--soft:#a2abb8;--edge:#2a303a;--paper:#11151a;--side:#161a20;--link:#49d0a5}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;display:flex;min-height:100vh}
nav{flex:0 0 220px;background:var(--side);border-right:1px solid var(--edge);padding:28px 20px}nav a{display:block;padding:3px 0;color:var(--ink);text-decoration:none}
nav a.here{font-weight:650;color:var(--link)}nav summary{color:var(--soft);margin-top:14px;cursor:pointer}nav details a{font-size:14px}
main{flex:1;min-width:0;max-width:960px;padding:28px 36px 80px}a{color:var(--link)}h1{line-height:1.2}h2{margin-top:2em;padding-bottom:.2em;border-bottom:1px solid var(--edge)}
h1,h2,h3{scroll-margin-top:12px}img,svg{max-width:100%;height:auto}code,pre{font:14px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
pre{background:var(--side);border:1px solid var(--edge);border-radius:8px;padding:12px 14px;overflow-x:auto}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{border-top:1px solid var(--edge);padding:5px 12px 5px 0;text-align:left;vertical-align:top}
th{color:var(--soft);border-top:0}
@media (max-width:760px){body{display:block}nav{border-right:0;border-bottom:1px solid var(--edge)}main{padding:20px}}
"""


def documents() -> list[PurePosixPath]:
    """Returns the Markdown files that git has or would have, without what tests compare with."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return [PurePosixPath(name) for name in sorted(set(listed.split("\n"))) if name and (ROOT / name).is_file()]


def page_of(document: PurePosixPath) -> PurePosixPath:
    return document.with_name("index.html") if document.name == "README.md" else document.with_suffix(".html")


def slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-")


def relative(target: PurePosixPath, page: PurePosixPath) -> str:
    return os.path.relpath(target, page.parent).replace(os.sep, "/")


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.documents = documents()
        self.files: set[PurePosixPath] = set()
        self.broken: list[str] = []
        self.markdown = MarkdownIt("commonmark", {"html": False}).enable("table")

    def address(self, href: str, document: PurePosixPath) -> str:
        """Returns the link as it is in the site; remembers files to be copied and links that lead nowhere."""
        if re.match(r"[a-z][a-z0-9+.-]*:|#|//", href):
            return href
        path, hash_, fragment = href.partition("#")
        target = PurePosixPath(os.path.normpath(document.parent / unquote(path)))
        if target in self.documents:
            return relative(page_of(target), page_of(document)) + hash_ + fragment
        where = ROOT / target
        if where.is_dir() and target / "README.md" in self.documents:
            return relative(page_of(target / "README.md"), page_of(document)) + hash_ + fragment
        if ".." not in target.parts and where.is_file():
            self.files.add(target)
            return relative(target, page_of(document)) + hash_ + fragment
        self.broken.append(f"{document}: {href}")
        return href

    def body(self, document: PurePosixPath) -> tuple[str, str]:
        """Returns the title and the page's inner HTML."""
        tokens = self.markdown.parse((ROOT / document).read_text(encoding="utf-8"))
        title, seen = "", {}
        for i, token in enumerate(tokens):
            if token.type == "heading_open":
                text = tokens[i + 1].content
                title = title or re.sub(r"[`*]", "", text)
                name = slug(text)
                seen[name] = seen.get(name, -1) + 1
                token.attrSet("id", f"{name}-{seen[name]}" if seen[name] else name)
            for child in token.children or []:
                for attribute in ("href", "src"):
                    if attribute in child.attrs:
                        child.attrSet(attribute, self.address(str(child.attrs[attribute]), document))
        rendered = self.markdown.renderer.render(tokens, self.markdown.options, {})
        return title or document.stem, rendered.replace("<table>", '<div class="scroll"><table>').replace(
            "</table>", "</table></div>"
        )

    def menu(self, document: PurePosixPath, titles: dict[PurePosixPath, str]) -> str:
        def entry(target: PurePosixPath, name: str) -> str:
            here = ' class="here"' if target == document else ""
            return f'<a{here} href="{relative(page_of(target), page_of(document))}">{html.escape(name)}</a>'

        first = [entry(PurePosixPath(name), words) for name, words in MENU.items() if PurePosixPath(name) in titles]
        rest = [entry(target, title) for target, title in titles.items() if str(target) not in MENU]
        opened = " open" if str(document) not in MENU else ""
        return "".join(first) + f"<details{opened}><summary>More</summary>{''.join(rest)}</details>"

    def write(self) -> None:
        bodies = {document: self.body(document) for document in self.documents}
        titles = {document: title for document, (title, _) in bodies.items()}
        if self.folder.exists():
            shutil.rmtree(self.folder)
        for document, (title, inner) in bodies.items():
            page = self.folder / page_of(document)
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(
                f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'><title>{html.escape(title)}</title>"
                f"<style>{STYLE}</style><nav>{self.menu(document, titles)}</nav><main>{inner}</main></html>\n",
                encoding="utf-8",
            )
        for file in sorted(self.files):
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, self.folder / file)


class Page(HTMLParser):
    """Links and anchors of a written page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "id" and value:
                self.anchors.add(value)


def dead_links(folder: Path) -> list[str]:
    """Returns the links that lead to no file, or to no anchor of their page. Addresses of others are not asked."""
    pages = {
        path: Page(path.read_text(encoding="utf-8"))
        for path in folder.rglob("*.html")
        if "<nav>" in path.read_text(encoding="utf-8")
    }
    dead = []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z][a-z0-9+.-]*:|//", link):
                continue
            file, _, fragment = link.partition("#")
            target = Path(os.path.normpath(path.parent / unquote(file))) if file else path
            if not target.exists() or (fragment and target in pages and fragment not in pages[target].anchors):
                dead.append(f"{path.relative_to(folder)}: {link}")
    return dead


def main() -> int:
    site = Site(Path(sys.argv[1]).resolve())
    site.write()
    wrong = site.broken + dead_links(site.folder)
    for line in wrong:
        print(f"not ok - {line}")
    print(f"{len(site.documents)} pages and {len(site.files)} files in {site.folder}, {len(wrong)} dead links")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
