"""Where words go: results to stdout, everything else to stderr; names in them are escaped."""

from __future__ import annotations

import codecs
import io
import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dinoiser.printable import printable, printable_json

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from types import FrameType

    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    DownloadProgress = Callable[[str, int, int], None]

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C stopped: 128 + SIGINT."""
TERMINATED = 143
"""Exit code of a command that SIGTERM stopped: 128 + SIGTERM."""

AT_LEAST_APART = 0.5
"""Seconds between the first and the second Ctrl-C: some programs send it twice at once."""
SHOWN_FAILURES = 20
PROSE_WIDTH = 18
"""Characters that a column of prose needs to be pleasant to read."""


@contextmanager
def second_ctrl_c_stops_at_once() -> Iterator[None]:
    """Let a second Ctrl-C end the process, which after the first one finishes what it has begun.

    That may be an image of minutes. Nothing is lost: files appear under their
    names once they are complete.
    """
    first: float | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if first is None:
            first = now
            signal.default_int_handler(number, frame)
        elif now - first > AT_LEAST_APART:
            show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # which a bar hides
            os.write(2, f"{show_cursor}\nError: Stopped at once.\n".encode())
            os._exit(INTERRUPTED)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # such as ignored
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if first is None:  # otherwise the process ends, which may take a cluster some seconds
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def sigterm_is_ctrl_c() -> Iterator[None]:
    """Let SIGTERM stop a command as Ctrl-C does, but with the exit code `TERMINATED`.

    SLURM, Kubernetes and `timeout` send it, the last even twice: only the first counts.
    """
    terminated = False

    def interrupt(_: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ctrl_c = signal.getsignal(signal.SIGINT)
        # in the background of a script, SIGINT is ignored and has no handler
        handler = ctrl_c if callable(ctrl_c) else signal.default_int_handler
        handler(signal.SIGINT, frame)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except SystemExit as stop:
        if terminated and stop.code == INTERRUPTED:
            raise SystemExit(TERMINATED) from stop
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def escape_what_stdout_lacks() -> None:
    """Let stdout write characters that its encoding lacks as escapes, as stderr does by itself.

    On Windows, files and pipes get the system's code page, which has few of the characters that
    names may hold.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _stdout_is_utf8() -> bool:
    return codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name == "utf-8"


def stderr() -> Console:
    """Console for progress and messages."""
    return _console(to_stderr=True)


def stdout() -> Console:
    """Console for results."""
    return _console(to_stderr=False)


def _console(to_stderr: bool) -> Console:
    from rich.console import Console

    # Paths and class names may hold [brackets] and :colons:, which mean nothing here.
    return Console(stderr=to_stderr, markup=False, emoji=False, highlight=False)


def say(line: str) -> None:
    """Print one line of the result to stdout; the terminal wraps it, so that paths stay whole."""
    stdout().print(printable(line), soft_wrap=True)


def note(line: str) -> None:
    """Print one line beside the result to stderr."""
    stderr().print(printable(line), soft_wrap=True)


def say_error(sentence: str) -> None:
    """Print one sentence to stderr, without wrapping it."""
    print(f"Error: {printable(sentence)}", file=sys.stderr)  # noqa: T201


def say_failures(title: str, failures: Mapping[str, str], rest: str = "") -> None:
    """Print the first failures to stderr, and where the rest is; nothing if there are none.

    Parameters
    ----------
    title
        What failed, without a colon.
    failures
        Reasons by the image's name.
    rest
        Where more than the first are listed, as the end of a sentence.
    """
    if not failures:
        return
    say_error(f"{title}:")
    for name, reason in list(failures.items())[:SHOWN_FAILURES]:
        note(f"  {name}: {reason}")
    if len(failures) > SHOWN_FAILURES:
        note(f"  and {len(failures) - SHOWN_FAILURES} more{rest}")


def print_json(document: Any) -> None:
    """Print one JSON document to stdout, in ASCII where that is not UTF-8, as JSON has to be."""
    text = json.dumps(document, indent=2, ensure_ascii=not _stdout_is_utf8())
    print(printable_json(text))  # noqa: T201


def swatch(color: str) -> Text:
    """Two cells in a colour, such as "#e6194b"; blanks where stdout may not have blocks."""
    from rich.text import Text

    return Text("██", color) if _stdout_is_utf8() else Text("  ")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str | Text]], prose: Collection[str] = ()
) -> None:
    """Print rows as a table, or as blocks where the terminal is too narrow for one.

    Names and numbers are never cut off; odd characters in them are escaped.

    Parameters
    ----------
    columns
        Headings. The first column names its row.
    rows
        One cell per column; a `Text` is printed as it is.
    prose
        Columns whose cells may wrap.
    """
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.table import Table

    rows = [[printable(c) if isinstance(c, str) else c for c in row] for row in rows]
    table = Table(box=None, pad_edge=False)
    for column, *cells in zip(columns, *rows, strict=True):
        whole = max(cell_len(str(cell)) for cell in (column, *cells))
        right = column != columns[0] and column not in prose
        table.add_column(
            column,
            min_width=PROSE_WIDTH if column in prose else whole,
            justify="right" if right else "left",
        )
    for row in rows:
        table.add_row(*row)
    console = stdout()
    unlimited = console.options.update(width=10_000)
    if console.measure(table, options=unlimited).minimum <= console.width:
        console.print(table)
        return
    for name, *cells in rows:
        console.print(name, soft_wrap=True)
        for column, cell in zip(columns[1:], cells, strict=True):
            console.print(Padding(f"{column}: {cell}", (0, 0, 0, 2), expand=False))


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
    bar = Progress(*columns, console=stderr(), transient=True)
    tasks: dict[str, Any] = {}

    def advance(name: str, done: int, total: int) -> None:
        bar.start()
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=total or None)
        bar.update(tasks[name], completed=done, total=total or None)

    try:
        yield advance
    finally:
        stop_bar(bar)


def images_per_second(speed: float) -> str:
    """Say a speed in digits that a person can compare: 0.4, 7.5, 1,320."""
    return f"{speed:,.0f} images/s" if speed >= 10 else f"{speed:.1f} images/s"


def stop_bar(bar: Progress) -> None:
    """Leave a bar as it is; one that was never shown stays unseen, without an empty line."""
    if bar.live.is_started:
        bar.stop()
