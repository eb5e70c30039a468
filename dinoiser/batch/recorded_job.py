"""The job that a folder records, to go on with it without its command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from dinoiser.batch.folder import REPORT, check_job, learned_file
from dinoiser.batch.job import (
    HISTORY,
    JOB_FILE,
    PRECISIONS,
    LabelJob,
    Labelling,
    Results,
    Running,
    read_job,
    reading_of,
    refuse_imported,
)
from dinoiser.errors import SettingsError
from dinoiser.images.job_folders import RESULTS
from dinoiser.prompts import PromptSet
from dinoiser.segment.settings import SegmentSettings

if TYPE_CHECKING:
    from pathlib import Path


def recorded_job(
    output: Path, running: Running | None = None, heads: Path | None = None
) -> tuple[LabelJob, dict[str, Any]]:
    """Read the job of a folder.

    Parameters
    ----------
    output
        The folder.
    running
        Where and how it goes on.
    heads
        Heads that the job was begun with, whose path no folder records.

    Returns
    -------
    job, description
        The job, which has no inputs: its images are in the records. And job.yaml.

    Raises
    ------
    InputError
        The folder contains no job.
    SettingsError
        Its job.yaml is damaged, it was being started anew, or its masks were imported.
    OutputError
        It holds links that lead out of it.
    """
    check_job(output)
    output = output.resolve()
    description = read_job(output) or {}
    refuse_imported(output, description)
    try:
        model, settings = description["model"], dict(description["settings"])
        reading = reading_of(description)
        settings = {k: v for k, v in settings.items() if k not in reading.described()}
        if settings["whole"]:  # the sizes of windows are the model's then, and not used
            settings = {
                k: v for k, v in settings.items() if k not in ("short_side", "window", "stride")
            }
        labelling = Labelling(
            read_labelling(description),
            model["name"],
            PRECISIONS[model["precision"]],
            heads and heads.resolve(),
            SegmentSettings.of(**settings),
            reading.nodata,
            reading.bands,
            learned_file(output, description),
        )
        turn = len(description.get(HISTORY, ()))  # unlike `turn_of`, refuses what is no history
    except (KeyError, TypeError, ValueError) as error:
        msg = (
            f"{output / JOB_FILE} does not say how the images were labelled; run the "
            "`dinoiser label` command of this job again, with --overwrite."
        )
        raise SettingsError(msg) from error
    there = [name for name, place in RESULTS.items() if (output / place).parent.is_dir()]
    keep_features = "features" in there
    formats = tuple(name for name in there if name != "features")
    results = Results(
        formats or ("png",), report=(output / REPORT).is_file(), keep_features=keep_features
    )
    return LabelJob((), output, labelling, results, running or Running(), turn), description


def read_labelling(entry: dict[str, Any]) -> PromptSet:
    """Read the classes of job.yaml, or of an entry of its history."""
    return PromptSet.from_yaml(yaml.safe_dump(entry["prompts"], sort_keys=False), JOB_FILE)
