"""A whole folder's job as the Folder tab holds it: run here, or by `dinoiser label`."""

from __future__ import annotations

import html
import shlex
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dinoiser.batch.job import DEFAULT_FORMATS, LabelJob
from dinoiser.errors import PromptError, SettingsError
from napari_dinoiser.triton_import import import_triton

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dinoiser.batch import Progress, Summary
    from dinoiser.batch.records import Record
    from dinoiser.prompts import PromptSet

OPTIONS = {
    "window": "--window",
    "stride": "--stride",
    "short_side": "--short-side",
    "whole": "--whole",
    "refine": "--refine",
    "batch_size": "--batch-size",
}
"""Options of `dinoiser label` by the settings of `Segmenter` that they stand for."""
DEFAULTS = (None, False, "none", "auto")
"""Values of settings that go without saying."""
WINDOW_SIZES = ("window", "stride", "short_side")
SHOWN_FAILURES = 5


@dataclass(frozen=True)
class FolderChoice:
    """A folder, what to look for in it, and where the results go.

    Attributes
    ----------
    folder
        Where the images are.
    output
        Folder of the results.
    prompts
        The classes to tell apart.
    formats, scheduler, model, device, heads, overwrite
        See `dinoiser.batch.LabelJob`.
    settings
        Keyword settings of `Segmenter`, of those in `OPTIONS`.

    Raises
    ------
    SettingsError
        A setting is none that the command line has, too.
    """

    folder: Path
    output: Path
    prompts: PromptSet
    formats: tuple[str, ...] = DEFAULT_FORMATS
    scheduler: str = "auto"
    model: str = "clip-dinoiser"
    device: str = "auto"
    heads: Path | None = None
    overwrite: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.settings) - set(OPTIONS))
        if unknown:
            msg = f"the setting {unknown[0]!r} is unknown, expected {', '.join(OPTIONS)}."
            raise SettingsError(msg)

    def to_job(self) -> LabelJob:
        """Make the job.

        Raises
        ------
        SettingsError
            With all settings that are out of their range.
        """
        return LabelJob(
            inputs=(self.folder,),
            output=self.output,
            prompts=self.prompts,
            formats=self.formats,
            model=self.model,
            device=self.device,
            heads=self.heads,
            settings=self._settings,
            scheduler=self.scheduler,
            overwrite=self.overwrite,
        )

    def to_command(self) -> str:
        """Write the command line that does the same, quoted for a POSIX shell.

        It reads `prompt_file` where the classes do not fit on a line.
        """
        words = ["dinoiser", "label", self.folder.absolute(), *self._prompt_words()]
        words += ["-o", self.output.absolute(), "-m", self.model]
        if self.device != "auto":
            words += ["-d", self.device]
        if self.heads is not None:
            words += ["--heads", self.heads.absolute()]
        if set(self.formats) != set(DEFAULT_FORMATS):
            words += [word for name in self.formats for word in ("-f", name)]
        for name, value in self._settings.items():
            if value is True:
                words.append(OPTIONS[name])
            elif value not in DEFAULTS:
                words += [OPTIONS[name], value]
        if self.scheduler != "auto":
            words += ["--scheduler", self.scheduler]
        if self.overwrite:
            words.append("--overwrite")
        return shlex.join(map(str, words))

    @property
    def prompt_file(self) -> Path:
        """The prompt file that the command line may need, beside the folder of the results."""
        return self.output.absolute().with_name(f"{self.output.name}-prompts.yaml")

    def save_prompt_file(self) -> None:
        """Write `prompt_file` where the command line needs it.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        if self._inline is None:
            self.prompts.save(self.prompt_file)

    @property
    def _settings(self) -> dict[str, Any]:
        """The settings that count: an image that is looked at whole has no windows."""
        if not self.settings.get("whole"):
            return self.settings
        return {k: v for k, v in self.settings.items() if k not in WINDOW_SIZES}

    @cached_property
    def _inline(self) -> str | None:
        """The classes on one line; None where it cannot say all of them."""
        if self.prompts.templates != "imagenet":
            return None
        try:
            return self.prompts.to_inline()
        except PromptError:
            return None

    def _prompt_words(self) -> list[Any]:
        if self._inline is None:
            return ["--prompts", self.prompt_file]
        threshold = self.prompts.ignore_below
        return ["-p", self._inline, *(("--ignore-below", threshold) if threshold else ())]


def run_job(job: LabelJob, **callbacks: Any) -> Summary:
    """Run a job from a program with a window: `dinoiser.batch.run`, callbacks and errors as there.

    Other than there, the script that opened the window needs no guard: the
    worker processes do not run it.
    """
    from dinoiser.batch import run

    import_triton()
    with _hidden_script():
        return run(job, **callbacks)


@contextmanager
def _hidden_script() -> Iterator[None]:
    """Keep new processes from running this one's script again, which opens its window again."""
    main = sys.modules["__main__"].__dict__
    known: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    try:
        main.pop("__file__", None)
        main["__spec__"] = None
        yield
    finally:
        main.update(known)


class RunStatus:
    """Where a run stands, put together from the progress that it reports.

    Parameters
    ----------
    clock
        Gives seconds.

    Attributes
    ----------
    through, total
        Images that the present step is through with, and in all.
    failed
        Images that failed in this run.
    latest
        Record of the latest image that was labelled; None before the first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.through = self.total = self.failed = 0
        self.latest: Record | None = None
        self._clock = clock
        self._step: str | None = None

    def update(self, progress: Progress) -> None:
        """Take in what the run reports."""
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
    """Say in rich text which classes will be looked for, in their colours, and by which model."""
    if prompts is None:
        return "none yet"
    names = [
        f'<span style="color: {item.color}">■</span>&nbsp;{html.escape(item.name)}'
        for item in prompts.classes
    ]
    return f"{', '.join(names)}; by {html.escape(model)}"


def describe_outcome(summary: Summary) -> str:
    """Say how a run went, in a sentence or two."""
    if summary.cancelled:
        return (
            f"Stopped after {summary.through:,} of {summary.total:,} images; Run goes on from "
            "there."
        )
    text = f"{summary.done:,} of {summary.total:,} images labelled"
    if summary.resumed:
        text += f", {summary.resumed:,} of them in an earlier run"
    return f"{text}; {len(summary.failures):,} failed." if summary.failures else f"{text}."


def describe_failures(summary: Summary) -> str:
    """List the first failures, a line each; empty where there are none."""
    lines = [f"{name}: {reason}" for name, reason in summary.failures.items()]
    more = len(lines) - SHOWN_FAILURES
    return "\n".join(lines[:SHOWN_FAILURES] + ([f"and {more:,} more"] if more > 0 else []))


def _in_words(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
