"""Label images kept back with the model's heads and with new ones, side by side."""

from __future__ import annotations

import copy
from itertools import islice
from typing import TYPE_CHECKING

from dinoiser.evaluation.agreement import Comparison
from dinoiser.export.comparison import ComparisonRow
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from dinoiser.models.clip_dinoiser import DinoiserHeads
    from dinoiser.models.maskclip import MaskClip
    from dinoiser.prompts import PromptSet

    from .images import TrainingImages
    from .settings import FitSettings

DRAWN = 8
"""Number of images kept back that are labelled."""


def compare_labels(
    model: MaskClip,
    kept_back: Iterable[tuple[DinoiserHeads, TrainingImages]],
    settings: FitSettings,
    prompts: PromptSet,
) -> list[ComparisonRow]:
    """Label some images twice.

    Parameters
    ----------
    model
        The model, with its own heads if it has any.
    kept_back
        Images, each time with new heads that have not learnt from them.
    settings
        Those of the new heads.
    prompts
        The words.
    """
    old = "shipped heads" if isinstance(model, ClipDinoiser) else "no heads"
    before = Segmenter(model)
    rows = []
    for after, name, image in islice(_images(model, kept_back, settings), DRAWN):
        labels = {
            old: before.segment(image, prompts).labels,
            "new heads": after.segment(image, prompts).labels,
        }
        compared = Comparison(image, labels)
        rows.append(ComparisonRow(name, image, labels, compared.answers, compared.agreement))
    return rows


def _images(
    model: MaskClip,
    kept_back: Iterable[tuple[DinoiserHeads, TrainingImages]],
    settings: FitSettings,
) -> Iterator[tuple[Segmenter, str, np.ndarray]]:
    for heads, images in kept_back:
        # a copy, as a model freezes its heads and changes their number format
        refitted = ClipDinoiser(
            model.clip,
            copy.deepcopy(heads),
            settings.gamma,
            settings.guide_block,
            windows=model.windows,
        )
        segmenter = Segmenter(refitted)
        for index in range(len(images)):
            image = images[index]
            # (3, H, W) -> (H, W, 3)
            yield segmenter, image.name, image.image.permute(1, 2, 0).contiguous().numpy()
