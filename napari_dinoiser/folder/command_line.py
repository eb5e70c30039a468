"""Write a job of the Folder tab as the equivalent `dinoiser label` command."""

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
"""Settings that are neither on the command line nor in the plugin."""


def to_command(job: LabelJob) -> str:
    """Write the command line equivalent to a job, quoted for a POSIX shell.

    It reads `prompt_file` if the classes cannot be written inline.
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
    if job.results.keep_features:
        words.append("--keep-features")
    words += _setting_words(labelling.settings)
    words += labelling.reading.options()
    if running.scheduler != "auto":
        words += ["--scheduler", running.scheduler]
    if running.overwrite:
        words.append("--overwrite")  # without --discard-reviews, which should be typed by hand
    return shlex.join(map(str, words))


def prompt_file(job: LabelJob) -> Path:
    """Path of the prompt file that the command may need, beside the output folder."""
    output = job.output.absolute()
    return output.with_name(f"{output.name}-prompts.yaml")


def save_prompt_file(job: LabelJob) -> None:
    """Write `prompt_file` if the command needs it.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    if _inline(job.prompts) is None:
        job.prompts.save(prompt_file(job))


def _setting_words(settings: SegmentSettings) -> Iterator[Any]:
    """Yield the options for all settings that differ from their defaults."""
    for field in fields(SegmentSettings):
        value, option = getattr(settings, field.name), field.name.replace("_", "-")
        if value == field.default or field.name in NOT_OPTIONS:
            continue
        if isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        else:
            yield from (f"--{option}", value)


def _inline(prompts: PromptSet) -> str | None:
    """Write the classes on one line; None if the inline form cannot express them."""
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
    masks = ("--masks", job.prompts.masks) if job.prompts.masks != "indexed" else ()
    return ["-p", inline, *(("--ignore-below", threshold) if threshold else ()), *masks]
