"""Reads the project's Markdown: its fenced code blocks, the samples among them that have a name, and its links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.source import ROOT, repository_files

_FENCE = re.compile(
    r"^(?:<!-- sample: (?P<name>[\w.-]+) -->\n)?(?P<fence>`{3,})(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced block; `name` is set for samples that are run."""

    path: str
    line: int
    language: str
    text: str
    name: str | None

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


def pages() -> list[str]:
    """Return the paths of all Markdown files."""
    return [path for path in repository_files() if path.endswith(".md")]


def blocks(*languages: str) -> list[Block]:
    """Return the fenced blocks in these languages."""
    return [block for path in pages() for block in _blocks(path) if block.language in languages]


def sample(name: str, path: str = "README.md") -> str:
    """Return the text of a page's sample of that name."""
    return next(block.text for block in _blocks(path) if block.name == name)


def _blocks(path: str) -> Iterator[Block]:
    text = (ROOT / path).read_text("utf-8")
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(path, line, match["language"], match["text"], match["name"])


def links(path: str) -> list[str]:
    """Return the targets of a page's links."""
    without_code = _FENCE.sub("", (ROOT / path).read_text("utf-8"))
    return _LINK.findall(without_code)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made on the web."""
    headings = re.findall(r"^#+ +(.+)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
