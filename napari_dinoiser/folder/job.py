"""Run a folder's job from a window, and describe its progress and outcome."""

from __future__ import annotations

import html
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_dinoiser.folder.window_names import in_window
from napari_dinoiser.triton_import import import_triton

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dinoiser.batch import LabelJob, Progress, Summary
    from dinoiser.batch.records import Record
    from dinoiser.prompts import PromptSet

SHOWN_FAILURES = 5


def run_job(job: LabelJob, **callbacks: Any) -> Summary:
    """Run a job from a program with a window; for callbacks and errors, see `dinoiser.batch.run`.

    Unlike there, the script that opened the window needs no `__main__` guard,
    as worker processes do not run it.
    """
    from dinoiser.batch import run

    import_triton()
    with _hidden_script():
        return run(job, **callbacks)


@contextmanager
def _hidden_script() -> Iterator[None]:
    """Keep new processes from rerunning this one's script, which would open another window."""
    # multiprocessing finds the script by these two attributes of __main__
    main = sys.modules["__main__"].__dict__
    known: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    try:
        main.pop("__file__", None)
        main["__spec__"] = None
        yield
    finally:
        main.update(known)


class RunStatus:
    """The status of a run, compiled from the progress that it reports.

    Parameters
    ----------
    clock
        Returns seconds.

    Attributes
    ----------
    through, total
        Images finished in the current step, and their total.
    failed
        Number of images that failed in this run.
    latest
        Record of the latest labelled image; None before the first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.through = self.total = self.failed = 0
        self.latest: Record | None = None
        self._clock = clock
        self._step: str | None = None

    def update(self, progress: Progress) -> None:
        """Update with the progress that the run reports."""
        if progress.step != self._step:
            self._step, self._start = progress.step, self._clock()
            self._through_before = progress.through
        self.through, self.total = progress.through, progress.total
        if progress.record is not None:
            self.failed += progress.record.status == "failed"
            self.latest = progress.record if progress.record.status == "done" else self.latest

    def __str__(self) -> str:
        if self._step is None:
            return "Loading the model …"
        if self._step == "export":
            return f"{self.through:,} of {self.total:,} exported"
        parts = [f"{self.through - self.failed:,} of {self.total:,} labelled"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        new, seconds = self.through - self._through_before, self._clock() - self._start
        if new and seconds > 0:
            rate = new / seconds
            parts.append(f"{rate:.{0 if rate >= 10 else 1 if rate >= 1 else 2}f} images/s")
            parts.append(f"{_in_words((self.total - self.through) / rate)} left")
        return " · ".join(parts)


def describe_classes(prompts: PromptSet | None, model: str) -> str:
    """Describe in rich text the classes to look for, in their colours, and the model."""
    if prompts is None:
        return "none yet"
    names = [
        f'<span style="color: {item.color}">■</span>&nbsp;{html.escape(item.name)}'
        for item in prompts.classes
    ]
    return f"{', '.join(names)}; model {html.escape(model)}"


def describe_outcome(summary: Summary) -> str:
    """Describe the outcome of a run in a sentence or two."""
    if summary.cancelled:
        return (
            f"Stopped after {summary.through:,} of {summary.total:,} images; press Run to resume."
        )
    text = f"{summary.done:,} of {summary.total:,} images labelled"
    if summary.resumed:
        text += f", {summary.resumed:,} of them in an earlier run"
    return f"{text}; {len(summary.failures):,} failed." if summary.failures else f"{text}."


def describe_notes(summary: Summary) -> str:
    """List what else is worth knowing, one sentence per line; empty if there is nothing."""
    return "\n".join(f"Note: {in_window(note)}." for note in summary.notes)


def describe_failures(summary: Summary) -> str:
    """List the first failures, one per line; empty if there are none."""
    failures = {**summary.failures, **summary.not_exported}
    lines = [f"{name}: {in_window(reason)}" for name, reason in failures.items()]
    more = len(lines) - SHOWN_FAILURES
    return "\n".join(lines[:SHOWN_FAILURES] + ([f"and {more:,} more"] if more > 0 else []))


def _in_words(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
