"""How small features can be kept, and what keeping them saves: python -m benchmarks.features.

Share of pixels that get the label of exact features, and bytes of an image, for three ways of
keeping them (the embedded model on drawn scenes). Then, with a ViT-B/16 of random weights in
float32, how many times as fast other words are than labelling anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from benchmarks.setting import describe_machine, random_model, seconds
from dinoiser import PromptSet, Segmenter, load_model
from dinoiser.batch.features import KeptFeatures, pack, unpack
from dinoiser.batch.job_images import JobImage
from dinoiser.images import read_image
from dinoiser.scenes import draw_scene
from dinoiser.scenes.drawing import COLORS, SHAPES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dinoiser.models.base import PatchFeatures
    from dinoiser.segment.encoded_image import EncodedImage

PROMPTS = PromptSet.from_names(["background", *COLORS[:4], *SHAPES[:5]])
SCENES = 40
FITTED = 10
"""The job's first images, from which a projection would be fitted."""
DIMENSIONS = (64, 128, 256)
SIZES = ((480, 640), (1536, 2048))


def main() -> None:
    """Print both tables."""
    describe_machine()
    _print_ways()
    _print_gain()


def _print_ways() -> None:
    segmenter = Segmenter(load_model("tiny", device="cpu", precision="fp32"), refine="none")
    scenes = [
        draw_scene(np.random.default_rng((3, i)), (448, 640), hard=True) for i in range(SCENES)
    ]
    images = [segmenter.encode(scene.image) for scene in scenes]
    exact = [image.segment(PROMPTS).labels for image in images]
    width = images[0].patches.features.shape[1]
    ways: dict[str, tuple[Callable[[PatchFeatures], PatchFeatures], float]] = {
        "float16": (_half, 2.0 * width),
        "int8, a scale per patch": (lambda patches: unpack(pack(patches)), width + 4.0),
    }
    for count in DIMENSIONS:
        if count < width:
            basis = _basis(images[:FITTED], count)
            ways[f"{count} dimensions, float16"] = _projection(basis), 2.0 * count
    print(f"\n| kept as | bytes per patch of {width} values | same labels |\n|---|---|---|")
    for name, (way, size) in ways.items():
        kept = [replace(image, patches=way(image.patches)) for image in images]
        same = [(k.segment(PROMPTS).labels == e).mean() for k, e in zip(kept, exact, strict=True)]
        print(f"| {name} | {size:.0f} | {np.mean(same):.3%} |")


def _half(patches: PatchFeatures) -> PatchFeatures:
    return replace(patches, features=patches.features.half().float())


def _basis(images: Sequence[EncodedImage], count: int) -> torch.Tensor:
    """Principal directions (D, count) of the patches of a few images."""
    rows = torch.cat([image.patches.features.movedim(1, -1).flatten(0, 2) for image in images])
    rows = torch.nn.functional.normalize(rows, dim=1)
    return torch.linalg.svd(rows, full_matrices=False).Vh[:count].T


def _projection(basis: torch.Tensor) -> Callable[[PatchFeatures], PatchFeatures]:
    def project(patches: PatchFeatures) -> PatchFeatures:
        low = torch.einsum("ndhw,dk->nkhw", patches.features, basis).half().float()
        return replace(patches, features=torch.einsum("nkhw,dk->ndhw", low, basis))

    return project


def _print_gain() -> None:
    segmenter = Segmenter(random_model())
    print("\n| image | labelling | other words, features kept | ratio | kept, MB |")
    print("|---|---|---|---|---|")
    for height, width in SIZES:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "image.jpg"
            scene = draw_scene(np.random.default_rng(1), (height, width), hard=True)
            Image.fromarray(scene.image).save(path)
            anew, again, size = _compare(segmenter, path)
        columns = f"{anew:.2f} s | {again * 1000:.0f} ms | {anew / again:.0f} | {size / 1e6:.2f}"
        print(f"| {width}x{height} | {columns} |")


def _compare(segmenter: Segmenter, path: Path) -> tuple[float, float, int]:
    """Seconds from the file to labels without and with kept features, and their bytes."""
    kept = KeptFeatures(path.parent)
    job_image = JobImage(path.name, path.stem, str(path))
    segmenter.segment(read_image(path), PROMPTS)  # embeds the words

    def by_features() -> object:
        encoded = kept.encode(job_image, read_image(path), "0" * 64, segmenter.pipeline)
        return encoded.segment(PROMPTS)

    by_features()
    [file] = (path.parent / "features").iterdir()
    anew = seconds(lambda: segmenter.segment(read_image(path), PROMPTS))
    return anew, seconds(by_features), file.stat().st_size


if __name__ == "__main__":
    main()
