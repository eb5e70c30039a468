"""Kept features: what the image tower made of a job's images, small enough to keep.

With them, other words or what corrections taught label an image without the image tower. Vectors
are rounded to bytes, with a scale for each patch. An image whose features are kept is labelled from
what is kept, from the first time on: other words, and the same words again, give the labels that
labelling anew would give.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dinoiser.atomic import remove_file, write_file
from dinoiser.batch.feature_stream import read, written
from dinoiser.batch.job_images import result_file
from dinoiser.batch.records import read_records
from dinoiser.errors import CheckpointError
from dinoiser.images.settings import AS_STORED
from dinoiser.models.base import PatchFeatures
from dinoiser.segment.encoded_image import EncodedImage
from dinoiser.weights.checkpoint import read_metadata, read_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from dinoiser.batch.job import LabelJob
    from dinoiser.batch.job_images import JobImage
    from dinoiser.images.settings import ReadSettings
    from dinoiser.segment.in_parts.parts import BlockEncoder
    from dinoiser.segment.pipeline import Block, Pipeline

FORMAT = "dinoiser-features-1"
_LEAST = 1e-30
"""Keeps vectors of zeros what they are."""
_STEPS = 127
"""Of a vector's values on each side of zero."""


class KeptFeatures:
    """The features of a job's images, in its folder.

    Parameters
    ----------
    output
        The job's folder.
    reading
        How its images are read: features of other pixels are not used.
    """

    def __init__(self, output: Path, reading: ReadSettings = AS_STORED) -> None:
        self.output = output
        self._reading = reading

    @classmethod
    def of(cls, job: LabelJob) -> Self | None:
        """Return those of a job; None where it keeps none."""
        return cls(job.output, job.labelling.reading) if job.results.keep_features else None

    def encode(
        self, job_image: JobImage, image: np.ndarray, digest: str, pipeline: Pipeline
    ) -> EncodedImage:
        """Encode an image from what is kept; else run the image tower, and keep what it gives.

        Parameters
        ----------
        job_image, image, digest
            The image: its names, its pixels (H, W, 3) uint8, and its file's
            SHA-256.
        pipeline
            Features of another model or other windows are not used.

        Raises
        ------
        OutputError
            The features cannot be written.
        """
        path = result_file(self.output, job_image.stem, "features")
        layout, device = pipeline.plan(image.shape[:2]), pipeline.model.device
        blocks = pipeline.blocks(image, layout)
        about = self._about(pipeline, digest)
        packed = read_tensors(path) if _is_kept(path, about) else None
        if packed is None:
            passes = [some for block in blocks for some in pipeline.encode([block])]
            packed = pack(PatchFeatures.cat(passes))
            _write(path, packed, about)
        patches = unpack({name: some.to(device) for name, some in packed.items()})
        return EncodedImage(pipeline, image, layout, patches, pipeline.colours(blocks))

    @contextmanager
    def in_parts(
        self, job_image: JobImage, digest: str, pipeline: Pipeline, size: tuple[int, int]
    ) -> Iterator[BlockEncoder]:
        """Encode an image of size (H, W) block by block, see `encode`.

        Its features never lie in memory as a whole; they are kept if all of its
        blocks were encoded.
        """
        path = result_file(self.output, job_image.stem, "features")
        about, windows = self._about(pipeline, digest), len(pipeline.plan(size).windows)
        with read(path) if _is_kept(path, about) else written(path, windows, about) as tensors:

            def encode(first: int, block: Block) -> PatchFeatures:
                count, device = len(block.layout.windows), pipeline.model.device
                packed = tensors.get(
                    first, count, lambda: pack(PatchFeatures.cat(list(pipeline.encode([block]))))
                )
                return unpack({name: some.to(device) for name, some in packed.items()})

            yield encode

    def _about(self, pipeline: Pipeline, digest: str) -> dict[str, str]:
        """Describe what an image's features depend on."""
        model, windows = pipeline.model, pipeline.windows
        known: dict[str, Any] = {
            "image": digest,
            **self._reading.described(),
            "model": model.digest,
            "precision": str(model.dtype),
            "windows": asdict(windows),
        }
        return {FORMAT: json.dumps(known, sort_keys=True)}


def read_mean(output: Path, stem: str) -> np.ndarray | None:
    """Read the mean (D,) of an image's patches, of unit length; None if it is not kept."""
    from safetensors import SafetensorError, safe_open

    path = result_file(output, stem, "features")
    try:
        with safe_open(path, "np") as file:  # reads this tensor alone
            mean = file.get_tensor("mean").astype(np.float32)
    except (OSError, SafetensorError):
        return None
    return mean / max(float(np.linalg.norm(mean)), _LEAST)


def pack(patches: PatchFeatures) -> dict[str, Tensor]:
    """Round features to bytes.

    Returns
    -------
    dict of Tensor
        "features" (n, D, h, w) int8, "scale" (n, 1, h, w) float32, whose product
        they are; "foreground" (n, h, w) and "guide" (n, G, h, w) float16 where
        the model has them; "mean" (D,) float32, of all patches.
    """
    features = patches.features.float()
    scale = features.abs().amax(1, keepdim=True).clamp_min(_LEAST) / _STEPS
    packed = {"features": (features / scale).round().char(), "scale": scale}
    packed["mean"] = features.mean((0, 2, 3))
    for name in ("foreground", "guide"):
        values = getattr(patches, name)
        if values is not None:
            packed[name] = values.half()
    return packed


def unpack(packed: dict[str, Tensor]) -> PatchFeatures:
    """Turn what `pack` made into features again, float32."""
    more = {name: packed[name].float() for name in ("foreground", "guide") if name in packed}
    return PatchFeatures(
        packed["features"] * packed["scale"], more.get("foreground"), more.get("guide")
    )


def measure_features(output: Path) -> tuple[int, int]:
    """Return the number of images whose features a job keeps, and their bytes on disk."""
    sizes = [path.stat().st_size for path in _files(output) if path.is_file()]
    return len(sizes), sum(sizes)


def remove_features(output: Path) -> None:
    """Remove all features that a job keeps."""
    paths = list(_files(output))
    for path in paths:
        remove_file(path)
    for folder in sorted({path.parent for path in paths}, reverse=True):  # the deepest first
        with suppress(OSError):  # it holds something else, or more folders
            folder.rmdir()


def _files(output: Path) -> Iterator[Path]:
    """Where the features of a job's images are, or would be."""
    for record in read_records(output, gone=True):
        yield result_file(output, record.stem, "features")


def _is_kept(path: Path, about: dict[str, str]) -> bool:
    """Whether a file has these features whole, and not those of something else."""
    try:
        return read_metadata(path) == about
    except CheckpointError:  # missing, or cut short by something else than us
        return False


def _write(path: Path, packed: dict[str, Tensor], about: dict[str, str]) -> None:
    from safetensors.torch import save

    content = save({name: some.cpu().contiguous() for name, some in packed.items()}, about)
    write_file(path, content)
