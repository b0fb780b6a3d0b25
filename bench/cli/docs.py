"""Print a page of the documentation, or list the pages. The pages come with the package: no network, no checkout."""

from __future__ import annotations

import argparse

from bench.core.errors import BenchError, nearest
from bench.core.workspace import shipped_pages

EXAMPLES = """  bench docs
  bench docs adding-a-matcher
  bench docs statistics | less"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("page", nargs="?", metavar="NAME", help="a page by its name; a list of all when left out")


def execute(args: argparse.Namespace) -> int:
    pages = shipped_pages()
    if args.page is None:
        width = max(map(len, pages), default=0)
        for name, path in pages.items():
            print(f"{name.ljust(width)}  {_title(path.read_text(encoding='utf-8'))}")
        return 0
    name = args.page.removeprefix("docs/").removesuffix(".md")  # as modules and pages cite it
    if name not in pages:
        raise BenchError(f"no page {args.page!r}{nearest(name, pages)}; `bench docs` lists them")
    print(pages[name].read_text(encoding="utf-8"), end="")
    return 0


def _title(text: str) -> str:
    """Return a page's heading of the first level, which every page begins with."""
    return text.partition("\n")[0].removeprefix("# ")
