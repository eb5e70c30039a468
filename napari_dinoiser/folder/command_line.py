"""A job of the Folder tab as the `dinoiser label` command that does the same."""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from dinoiser.batch.job import DEFAULT_FORMATS
from dinoiser.errors import PromptError
from dinoiser.segment.settings import SegmentSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dinoiser.batch import LabelJob
    from dinoiser.prompts import PromptSet

NOT_OPTIONS = ("delta",)
"""Settings that neither the command line nor the plugin has."""


def to_command(job: LabelJob) -> str:
    """Write the command line that does the same as a job, quoted for a POSIX shell.

    It reads `prompt_file` where the classes do not fit on a line.
    """
    labelling, running = job.labelling, job.running
    words = ["dinoiser", "label", *job.inputs, *_prompt_words(job)]
    words += ["-o", job.output.absolute(), "-m", labelling.model]
    if running.device != "auto":
        words += ["-d", running.device]
    if labelling.heads is not None:
        words += ["--heads", labelling.heads.absolute()]
    if set(job.results.formats) != set(DEFAULT_FORMATS):
        words += [word for name in job.results.formats for word in ("-f", name)]
    words += _setting_words(labelling.settings)
    if running.scheduler != "auto":
        words += ["--scheduler", running.scheduler]
    if running.overwrite:
        words.append("--overwrite")
    return shlex.join(map(str, words))


def prompt_file(job: LabelJob) -> Path:
    """Place of the prompt file that the command may need, beside the folder of the results."""
    output = job.output.absolute()
    return output.with_name(f"{output.name}-prompts.yaml")


def save_prompt_file(job: LabelJob) -> None:
    """Write `prompt_file` where the command needs it.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    if _inline(job.prompts) is None:
        job.prompts.save(prompt_file(job))


def _setting_words(settings: SegmentSettings) -> Iterator[Any]:
    """Give the options of all settings that are not as they are by default."""
    for field in fields(SegmentSettings):
        value, option = getattr(settings, field.name), field.name.replace("_", "-")
        if value == field.default or field.name in NOT_OPTIONS:
            continue
        if isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        else:
            yield from (f"--{option}", value)


def _inline(prompts: PromptSet) -> str | None:
    """Write the classes on one line; None where it cannot say all of them."""
    if prompts.templates != "imagenet":
        return None
    try:
        return prompts.to_inline()
    except PromptError:
        return None


def _prompt_words(job: LabelJob) -> list[Any]:
    inline, threshold = _inline(job.prompts), job.prompts.ignore_below
    if inline is None:
        return ["--prompts", prompt_file(job)]
    return ["-p", inline, *(("--ignore-below", threshold) if threshold else ())]
