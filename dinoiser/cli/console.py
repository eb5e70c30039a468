"""Where words go: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    DownloadProgress = Callable[[str, int, int], None]

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C stopped: 128 + SIGINT."""


def stderr() -> Console:
    """Console for progress and messages."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def stdout() -> Console:
    """Console for results."""
    from rich.console import Console

    return Console(highlight=False)


def say_error(sentence: str) -> None:
    """Print one sentence to stderr, as it is."""
    print(f"Error: {sentence}", file=sys.stderr)  # noqa: T201


def print_json(document: Any) -> None:
    """Print one JSON document to stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False))  # noqa: T201


@contextmanager
def download_bar() -> Iterator[DownloadProgress]:
    """Show bars for the files of a download; nothing appears when all is cached."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=stderr(), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def advance(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total or None)
            bar.update(tasks[name], completed=done, total=total or None)

        yield advance
