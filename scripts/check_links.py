"""Check that every link inside a built web site has a target: `python scripts/check_links.py FOLDER`.

Links to other sites are not followed.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Record the addresses that a tag links to, and the anchors by which it can be linked to."""
        values = dict(attributes)
        self.links += [values[name] or "" for name in ("href", "src") if name in values]
        self.anchors |= {values[name] or "" for name in ("id", "name") if name in values}


def broken(folder: Path) -> list[str]:
    """A line for each link without a target; one line if the folder has no pages."""
    pages = {file: Page(file) for file in sorted(folder.rglob("*.html"))}
    if not pages:
        return [f"{folder} has no pages"]
    problems = []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith(("#!", "data:")):
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.exists():
                problems.append(f"{file.relative_to(folder)}: {link} does not exist")
            elif anchor and target in pages and anchor not in pages[target].anchors and anchor != "top":
                problems.append(f"{file.relative_to(folder)}: {link}: the page has no such anchor")
    return problems


if __name__ == "__main__":
    problems = broken(Path(sys.argv[1]).resolve())
    print("\n".join(problems) or "every link inside the site has a target")
    sys.exit(1 if problems else 0)
