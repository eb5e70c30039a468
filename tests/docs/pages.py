"""The pages of the documentation, and what is written in them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SITE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [
    *SITE,
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "training/tiny")),
]


@dataclass(frozen=True)
class CodeBlock:
    """A block of code: its language, empty for an indented one, and its lines."""

    language: str
    text: str


def name_of(page: Path) -> str:
    """Give the path of a page as a test's id."""
    return page.relative_to(ROOT).as_posix()


def code_blocks(page: Path) -> list[CodeBlock]:
    """Find the fenced and the indented blocks of code of a page."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"\n\n((?: {4}.*\n)+)", rest)
    blocks = [CodeBlock(language, code) for language, code in fenced]
    return blocks + [CodeBlock("", textwrap.dedent(code)) for code in indented]


def prose(page: Path) -> str:
    """Give the text of a page without its blocks of code."""
    return re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


def inline_code(page: Path) -> list[str]:
    """Find what stands in backticks in the prose of a page."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))]


def links(page: Path) -> list[str]:
    """Find where the links and images of a page lead to."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """Give the anchors of the headings of a page, as mkdocs and GitHub write them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


def commands(page: Path) -> list[str]:
    """Find the command lines of `dinoiser` in the blocks of code of a page."""
    lines = [
        line
        for block in code_blocks(page)
        if block.language in ("sh", "")
        for line in block.text.replace("\\\n", " ").splitlines()
    ]
    return [line for line in lines if line.startswith("dinoiser ")]
