"""Run a benchmark: a labelling job over its images, then one confusion matrix."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinoiser.atomic import write_file
from dinoiser.batch import LabelJob, Labelling, Results, Running, run
from dinoiser.batch.job_images import find_job_images, result_file
from dinoiser.errors import InputError
from dinoiser.evaluation.benchmarks import find_benchmark
from dinoiser.evaluation.metrics import ConfusionMatrix
from dinoiser.evaluation.scores import Score
from dinoiser.export.png import read_mask
from dinoiser.models.catalog import find_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from dinoiser.batch import Progress
    from dinoiser.evaluation.benchmarks import Benchmark
    from dinoiser.evaluation.layouts import Pair
    from dinoiser.segment.settings import Refinement

RESULT_FILES = ("evaluation.json", "evaluation.md")


@dataclass(frozen=True)
class BenchmarkJob:
    """A model to evaluate on a benchmark.

    Attributes
    ----------
    benchmark
        A name in `benchmarks.yaml`.
    root
        The data set's folder, or one that contains it.
    output
        Folder of the masks and the figures; a run that was stopped is resumed
        there.
    model, device, precision, heads
        See `dinoiser.load_model`; the published figures were computed in fp32.
    refine
        See `SegmentSettings`; the published figures are without, but for
        NACLIP's, which are with PAMR.
    delta
        See `SegmentSettings`, for benchmarks whose background is filtered; None
        for the published one.
    scheduler, workers, overwrite
        See `LabelJob`.
    """

    benchmark: str
    root: Path
    output: Path
    model: str = "clip-dinoiser"
    device: str = "auto"
    precision: str = "fp32"
    heads: Path | None = None
    refine: Refinement = "none"
    delta: float | None = None
    scheduler: str = "auto"
    workers: int | None = None
    overwrite: bool = False

    @property
    def is_published(self) -> bool:
        """Whether the model is evaluated as it was published, but perhaps for the refinement."""
        return self.delta is None and self.heads is None


def evaluate(
    job: BenchmarkJob,
    *,
    progress: Callable[[Progress], None] | None = None,
    counting: Callable[[int, int], None] | None = None,
    download_progress: Callable[[str, int, int], None] | None = None,
) -> Score:
    """Label a benchmark's images by the published protocol and compare with the ground truth.

    Parameters
    ----------
    job
        The job. Masks in its output folder are reused.
    progress
        Called after every labelled image.
    counting
        Called with the number of images compared and the total.
    download_progress
        See `dinoiser.load_model`.

    Returns
    -------
    Score
        Also written into the output folder, as JSON and Markdown. Images
        that could not be labelled are listed in its failures.

    Raises
    ------
    InputError, ModelError, ClusterError, OutputError
        The data set is missing, or see `dinoiser.batch.run`.
    """
    benchmark = find_benchmark(job.benchmark)
    labelling = _labelling(job, benchmark)  # checks the settings before any folder is searched
    pairs = benchmark.find_pairs(job.root)
    label_job = _label_job(job, labelling, pairs)
    summary = run(label_job, progress=progress, download_progress=download_progress)
    matrix = ConfusionMatrix(benchmark.classes)
    truths = {os.path.abspath(pair.image): pair.truth for pair in pairs}
    done = [p for p in find_job_images(label_job) if p.name not in summary.failures]
    for i, image in enumerate(done, start=1):
        mask = result_file(job.output, image.stem, "png")
        _count(benchmark, matrix, mask, truths[image.path])
        if counting:
            counting(i, len(done))
    score = Score(
        f"{job.model} on {benchmark.title}",
        matrix,
        len(done),
        facts={
            "benchmark": benchmark.name,
            "model": job.model,
            **({"heads": str(job.heads)} if job.heads else {}),
            "official_images": benchmark.images,
            "protocol": _protocol(labelling),
            "output": str(job.output),
        },
        published=benchmark.published_miou(job.model, job.refine) if job.is_published else None,
        failures=summary.failures,
    )
    _write(score, job.output)
    return score


def _labelling(job: BenchmarkJob, benchmark: Benchmark) -> Labelling:
    entry = find_model(job.model)
    return Labelling(
        prompts=benchmark.prompts(entry.method),
        model=job.model,
        precision=job.precision,
        heads=job.heads,
        settings=replace(benchmark.settings(entry, job.delta), refine=job.refine),
    )


def _label_job(job: BenchmarkJob, labelling: Labelling, pairs: list[Pair]) -> LabelJob:
    return LabelJob(
        inputs=tuple(pair.image for pair in pairs),
        output=job.output,
        labelling=labelling,
        results=Results(formats=("png",), report=False),
        running=Running(
            device=job.device,
            scheduler=job.scheduler,
            workers=job.workers,
            overwrite=job.overwrite,
            retry_failed=True,
        ),
    )


def _protocol(labelling: Labelling) -> dict[str, Any]:
    """Describe what determined the labels, for the score's file."""
    settings = asdict(labelling.settings)
    del settings["batch_size"]  # it does not affect labels
    return {**settings, "templates": labelling.prompts.templates}


def _count(benchmark: Benchmark, matrix: ConfusionMatrix, mask: Path, truth: Path) -> None:
    """Count the pixels of one image."""
    labels = read_mask(mask) - benchmark.first_id  # 0 becomes 255, which is not a class
    true = benchmark.read_truth(truth)
    if labels.shape != true.shape:
        msg = (
            f"the image of {truth} has {labels.shape[1]}x{labels.shape[0]} pixels but its "
            f"labels have {true.shape[1]}x{true.shape[0]}; unpack the data set again"
        )
        raise InputError(msg)
    matrix.add(labels, true)


def _write(score: Score, output: Path) -> None:
    texts = json.dumps(score.document(), indent=2, ensure_ascii=False) + "\n", score.markdown()
    for name, text in zip(RESULT_FILES, texts, strict=True):
        write_file(Path(output) / name, text.encode())
