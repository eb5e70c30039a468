"""Fits of the same job from several seeds, as the paper reports its figures."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

from dinoiser.errors import SettingsError

from .fit import CHECKPOINT_FILE
from .refit import AGREEMENT_FILE, refuse_to_overwrite_heads

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .refit import RefitJob


def jobs_of_seeds(job: RefitJob, count: int, resume: bool = False) -> list[RefitJob]:
    """Repeat a job with the next seeds; each writes heads whose name ends in its seed.

    Parameters
    ----------
    job
        The first seed, and all else.
    count
        Number of seeds.
    resume
        Whether to leave finished fits out and to go on with an unfinished one.

    Raises
    ------
    SettingsError
        The number is below 1, there are heads of these names, or see `RefitJob`.
    """
    if count < 1:
        msg = f"seeds is {count}, expected at least 1."
        raise SettingsError(msg)
    first = job.settings.seed
    jobs = [_with_seed(job, seed, resume) for seed in range(first, first + count)]
    jobs = [one for one in jobs if not (resume and _is_finished(one))]
    for one in jobs:  # before hours go into the first
        refuse_to_overwrite_heads(one)
    return jobs


def _with_seed(job: RefitJob, seed: int, resume: bool) -> RefitJob:
    output = output_of_seed(job.output, seed)
    unfinished = any(output.with_suffix(".fit").rglob(CHECKPOINT_FILE))
    settings = replace(job.settings, seed=seed)
    return replace(job, output=output, settings=settings, resume=resume and unfinished)


def _is_finished(job: RefitJob) -> bool:
    return not job.resume and (job.folder / AGREEMENT_FILE).is_file() and job.output.is_file()


def output_of_seed(output: Path, seed: int) -> Path:
    """Return the file for the heads of a seed: heads-3.safetensors."""
    return output.with_stem(f"{output.stem}-{seed}")


def spread(folders: Iterable[Path]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over finished fits of how well new heads agree.

    Parameters
    ----------
    folders
        See `RefitJob.folder`.

    Returns
    -------
    dict
        By "pairs" and "objects", see `Agreement`; without what fewer than two fits know.
        The deviation is that of a sample (n - 1).
    """
    found: dict[str, list[float]] = {"pairs": [], "objects": []}
    for folder in folders:
        new = json.loads((folder / AGREEMENT_FILE).read_text(encoding="utf-8"))["new"]
        for name, values in found.items():
            values += [] if new[name] is None else [new[name]]
    return {
        name: (statistics.mean(values), statistics.stdev(values))
        for name, values in found.items()
        if len(values) > 1
    }
