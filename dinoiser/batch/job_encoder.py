"""Encode a job's images as the job did, to look at one of them again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dinoiser.batch.features import KeptFeatures
from dinoiser.batch.recorded_job import recorded_job
from dinoiser.models.load import load_model
from dinoiser.segment.segmenter import Segmenter
from dinoiser.weights.digests import file_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from dinoiser.batch.job_images import JobImage
    from dinoiser.segment.encoded_image import EncodedImage


class JobEncoder:
    """A job's model, with its settings; features that the job keeps are read.

    No folder tells the path of heads that a job was begun with. Without them, the
    model is that of the catalogue, and what the job keeps stays as it is.

    Parameters
    ----------
    output
        The job's folder.

    Raises
    ------
    DinoiserError
        The folder contains no job, or its model cannot be loaded.
    """

    def __init__(self, output: Path) -> None:
        job, description = recorded_job(output)
        what = job.labelling
        model = load_model(what.model, job.running.device, what.precision)
        self._segmenter = Segmenter(model, what.settings)
        is_same = model.digest == description["model"]["digest"]
        self._kept = KeptFeatures.of(job) if is_same else None

    def encode(
        self,
        job_image: JobImage,
        image: np.ndarray,
        cancelled: Callable[[], bool] | None = None,
    ) -> EncodedImage:
        """Encode an image.

        Parameters
        ----------
        job_image, image
            The image: its names, and its pixels (H, W, 3) uint8.
        cancelled
            Called between batches of windows; True stops.

        Raises
        ------
        CancelledError
            If `cancelled` returned True.
        """
        if self._kept is None:
            return self._segmenter.encode(image, cancelled=cancelled)
        digest = file_digest(Path(job_image.path), "sha256").value
        return self._kept.encode(job_image, image, digest, self._segmenter.pipeline)
