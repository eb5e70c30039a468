"""Drawn scenes as the heads' training data: patches run through the frozen backbone once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from dinoiser.models.maskclip import MaskClip
    from dinoiser.models.text import PhraseEmbeddings
    from dinoiser.scenes import Scene

PATCH = 8
MOST_CLASSES = 10
"""Background, at most four classes in the picture, and five that are not."""


@dataclass(frozen=True)
class ScenePatches:
    """S scenes of one size, in (h, w) patches each.

    Attributes
    ----------
    features
        (S, D, h, w), float16: MaskCLIP's dense features.
    guide
        (S, C, h, w), float16: what the heads read.
    classes
        (S, h, w), int64: majority class of each patch, 0 = background.
    share
        (S, h, w), float32 in [0, 1]: how much of the patch is of that class.
    class_embeddings
        (S, MOST_CLASSES, D), float32: background, present, absent; rows of zeros fill up.
    """

    features: Tensor
    guide: Tensor
    classes: Tensor
    share: Tensor
    class_embeddings: Tensor

    def __len__(self) -> int:
        """Return the number of scenes."""
        return len(self.features)

    def select(self, chosen: Tensor) -> ScenePatches:
        """Return some of the scenes."""
        return ScenePatches(*(getattr(self, f.name)[chosen] for f in fields(self)))


def encode_scenes(
    model: MaskClip, scenes: Iterable[Scene], embeddings: PhraseEmbeddings
) -> ScenePatches:
    """Run scenes of one size through the backbone."""
    columns: list[tuple[Tensor, ...]] = []
    for scene in scenes:
        patches = model.encode_patches(as_pixels(scene.image))
        texts = embeddings.get(scene_phrases(scene))
        texts = F.pad(texts, (0, 0, 0, MOST_CLASSES - len(texts)))
        features, guide = patches.features[0].half(), patches.guide[0].half()
        columns.append((features, guide, *patch_classes(torch.from_numpy(scene.labels)), texts))
    return ScenePatches(*(torch.stack(column) for column in zip(*columns, strict=True)))


def patch_classes(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Majority class (h, w) of the patches of labels (H, W), and its share of the patch."""
    one_hot = F.one_hot(labels.long()).permute(2, 0, 1).float()
    share, classes = F.avg_pool2d(one_hot, PATCH).max(0)
    return classes, share


def as_pixels(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 as (1, 3, H, W) float32 in [0, 1]."""
    return torch.tensor(image).permute(2, 0, 1)[None] / 255


def scene_phrases(scene: Scene) -> list[str]:
    """Prompts of a scene: background, the classes in the picture and five that are not."""
    return ["background", *scene.names, *scene.absent]
