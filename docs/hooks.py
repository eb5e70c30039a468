"""What mkdocs cannot do by itself: the command-line reference, written by typer at build time."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.pages import Page

COMMAND_LINE = "reference/command-line.md"


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Append every command with its arguments and options to the page that is for them."""
    if page.file.src_uri != COMMAND_LINE:
        return markdown
    typer = [sys.executable, "-m", "typer", "dinoiser.cli.app", "utils", "docs"]
    reference = subprocess.run(
        [*typer, "--name", "dinoiser"], check=True, capture_output=True, text=True
    ).stdout
    # typer begins with a title and a list of the commands, which the page and its margin have
    _, heading, commands = reference.partition("\n## ")
    return markdown + heading + commands
