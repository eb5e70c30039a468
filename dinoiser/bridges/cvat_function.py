"""CVAT's automatic annotation with words: a function for `cvat-cli task auto-annotate`.

It runs on this machine and needs CVAT's SDK, the extra `cvat`::

    cvat-cli task auto-annotate 137 --function-module dinoiser.bridges.cvat_function \
        -p "words=str:background, dog; puppy, grass"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cvat_sdk.auto_annotation as cvat
import numpy as np
from cvat_sdk.masks import encode_mask

from dinoiser.export.polygons import trace_polygons
from dinoiser.export.regions import annotated_classes, find_regions, map_classes, map_parts
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from cvat_sdk.models import LabeledShapeRequest
    from PIL.Image import Image


def create(words: str, model: str = "clip-dinoiser", device: str = "auto") -> WordFunction:
    """Make the function, as cvat-cli does with its options -p.

    Parameters
    ----------
    words
        Classes as after `dinoiser label -p`. Labels of the task with the same
        names get the masks.
    model, device
        See `dinoiser.load_model`.

    Raises
    ------
    PromptError, ModelError
        The words are wrong, or the model cannot be loaded.
    """
    return WordFunction(PromptSet.parse(words), Segmenter(load_model(model, device=device)))


class WordFunction:
    """A detection function of CVAT that answers with one mask per class.

    Parameters
    ----------
    prompts
        The classes.
    segmenter
        What finds them.
    """

    def __init__(self, prompts: PromptSet, segmenter: Segmenter) -> None:
        self._prompts, self._segmenter = prompts, segmenter

    @property
    def spec(self) -> cvat.DetectionFunctionSpec:
        """The labels, by which CVAT matches those of a task."""
        labels = [cvat.label_spec(c.name, c.id) for c in annotated_classes(self._prompts)]
        return cvat.DetectionFunctionSpec(labels=labels)

    def detect(
        self, context: cvat.DetectionFunctionContext, image: Image
    ) -> list[LabeledShapeRequest]:
        """Find the classes in an image; polygons, one per part, where CVAT asks for them."""
        labels = self._segmenter.segment(np.asarray(image.convert("RGB")), self._prompts).labels
        if context.conv_mask_to_poly:
            parts = map_parts(labels)
            polygons = trace_polygons(parts)
            return [
                cvat.polygon(region.class_id, polygons[region.value].ravel().astype(float).tolist())
                for region in find_regions(labels, parts, self._prompts)
            ]
        regions = map_classes(labels)
        return [
            cvat.mask(region.class_id, encode_mask(regions == region.value))
            for region in find_regions(labels, regions, self._prompts)
        ]
