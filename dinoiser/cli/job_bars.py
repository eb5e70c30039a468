"""Progress of a job on the terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from dinoiser.cli.console import INTERRUPTED, images_per_second, say_error, stderr, stop_bar
from dinoiser.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dinoiser.batch import Progress

STOPPED = "Stopped. Run the same command again to resume."
STEPS = {"label": "Labelling", "export": "Exporting", "learn": "Reading what was reviewed"}


class JobBars:
    """A bar for each step of a job, with its speed and the time that is left."""

    def __init__(self) -> None:
        from rich import progress

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
            console=stderr(),
        )
        self._tasks: dict[str, progress.TaskID] = {}
        self._first: dict[progress.TaskID, int] = {}  # images that were through before

    def show(self, progress: Progress) -> None:
        """Show where a job stands."""
        if progress.step not in self._tasks:
            self._begin(progress)
        task = self._tasks[progress.step]
        # since the step began: many images may be done at the same moment
        seconds, count = self._bar.tasks[task].elapsed, progress.through - self._first[task]
        rate = images_per_second(count / seconds) if seconds and count else ""
        self._bar.update(task, completed=progress.through, total=progress.total, rate=rate)

    def _begin(self, progress: Progress) -> None:
        if not self._tasks:
            self._bar.start()
        if progress.dashboard:
            where = f"{progress.where}; dashboard: {progress.dashboard}"
            self._bar.console.print(printable(f"Running on {where}"), soft_wrap=True)
        task = self._bar.add_task(
            STEPS[progress.step], completed=progress.through, total=progress.total, rate=""
        )
        self._tasks[progress.step], self._first[task] = task, progress.through

    def stop(self) -> None:
        """Leave the bars as they are."""
        stop_bar(self._bar)


@contextmanager
def progress_shown(if_stopped: str = STOPPED) -> Iterator[Callable[[Progress], None]]:
    """Show a job's progress; Ctrl-C ends the command with a sentence."""
    bars = JobBars()
    try:
        yield bars.show
    except KeyboardInterrupt as stop:
        bars.stop()
        say_error(if_stopped)
        raise typer.Exit(INTERRUPTED) from stop
    finally:
        bars.stop()
