"""Checks the project's own texts: links lead somewhere, every page can be reached, nothing is left half done.

Standard library only, no network: links to other sites are not followed. Prints `file:line: what is wrong`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
PLACES = ("README.md", "CHANGELOG.md", "docs", "deploy")
INDEX = "docs/index.md"

_LINK = re.compile(r"!?\[(?:[^\]\\]|\\.)*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_REFERENCE = re.compile(r"^\s{0,3}\[[^\]]+\]:\s+(\S+)")
_SOURCE = re.compile(r"<(?:img|a)\b[^>]*?\b(?:src|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
_ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
_CODE = re.compile(r"`[^`]*`")
_LEFT = re.compile(r"\b(TODO|FIXME|XXX|TBD)\b")


def pages(top: Path) -> list[Path]:
    """Every Markdown page of the project."""
    found: list[Path] = []
    for place in PLACES:
        path = top / place
        if path.is_dir():
            found += sorted(path.rglob("*.md"))
        elif path.exists():
            found.append(path)
    return found


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page that are not in a fenced block."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = line.lstrip()[:3]
        if mark in {"```", "~~~"}:
            fence = "" if fence == mark else fence or mark
            continue
        if not fence:
            yield number, line


def slug(heading: str) -> str:
    """The anchor that a forge makes of a heading."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """All anchors of a page."""
    found: set[str] = set()
    counts: dict[str, int] = {}
    for _, line in prose(text):
        found.update(_ANCHOR.findall(line))
        if match := _HEADING.match(line):
            name = slug(match[2])
            seen = counts.get(name, 0)
            counts[name] = seen + 1
            found.add(f"{name}-{seen}" if seen else name)
    return found


def links(text: str) -> Iterator[tuple[int, str]]:
    """The targets that a page names, with their lines; code is not looked at."""
    for number, line in prose(text):
        bare = _CODE.sub("", line)
        for pattern in (_LINK, _REFERENCE, _SOURCE):
            for match in pattern.finditer(bare):
                yield number, match[1]


def problems(top: Path) -> list[str]:
    """What is wrong with the texts under `top`, one line each."""
    wrong: list[str] = []
    texts = {page: page.read_text(encoding="utf-8") for page in pages(top)}
    reached: dict[Path, set[Path]] = {}
    for page, text in texts.items():
        where = page.relative_to(top).as_posix()
        for number, target in links(text):
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            if not path.exists():
                wrong.append(f"{where}:{number}: {target} does not exist")
            elif path != top and top not in path.parents:
                wrong.append(f"{where}:{number}: {target} leads out of the project")
            elif (
                anchor
                and path.suffix == ".md"
                and anchor not in anchors(texts.get(path) or path.read_text("utf-8"))
            ):
                wrong.append(f"{where}:{number}: {name or where} has no heading for #{anchor}")
            else:
                reached.setdefault(page, set()).add(path)
        for number, line in prose(text):
            if left := _LEFT.search(_CODE.sub("", line)):
                wrong.append(f"{where}:{number}: {left[0]} in a text for users")
    wrong += _unreached(top, texts, reached)
    wrong += _lists(top, reached)
    return wrong


def _unreached(top: Path, texts: dict[Path, str], reached: dict[Path, set[Path]]) -> Iterator[str]:
    """Pages of docs/ to which no chain of links leads from the index."""
    index = top / INDEX
    seen: set[Path] = set()
    waiting = [index]
    while waiting:
        page = waiting.pop()
        if page not in seen:
            seen.add(page)
            waiting += reached.get(page, ())
    for page in texts:
        if top / "docs" in page.parents and page not in seen:
            yield f"{page.relative_to(top).as_posix()}:1: cannot be reached from {INDEX}"


def _lists(top: Path, reached: dict[Path, set[Path]]) -> Iterator[str]:
    """Decisions that their list does not name."""
    folder = top / "docs" / "decisions"
    listed = reached.get(folder / "README.md", set())
    for page in sorted(folder.glob("[0-9]*.md")):
        if page not in listed:
            yield f"docs/decisions/README.md:1: does not list {page.name}"


def main() -> int:
    """Prints the problems; 1 if there are any."""
    wrong = problems(TOP)
    for line in wrong:
        print(line)
    print(f"{len(pages(TOP))} pages, {len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
