"""One model, and the images that it has looked at lately."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoiser.triton_import import import_triton

if TYPE_CHECKING:
    from collections.abc import Callable

    from dinoiser.models.base import SegmentationModel
    from dinoiser.segment.encoded_image import EncodedImage
    from dinoiser.segment.segmenter import Segmenter
    from napari_dinoiser.model_choice import ModelChoice
    from napari_dinoiser.segment.image_source import ImageSource
    from napari_dinoiser.segment.parts import Part

BUDGET = 2**30
"""Bytes of encoded images that are kept."""

_Key = tuple["ModelChoice", "ImageSource", "tuple[object, ...]"]


class Encoder:
    """Runs the image tower once an image, and keeps what came out within a budget.

    Parameters
    ----------
    budget
        Bytes of encoded images that are kept; the least recently used go
        first, the latest always stays.
    load
        What loads models, `dinoiser.load_model` by default.
    """

    def __init__(
        self, budget: int = BUDGET, load: Callable[..., SegmentationModel] | None = None
    ) -> None:
        self.budget = budget
        self._load = load or _load_model
        self._lock = threading.RLock()
        self._segmenters: dict[ModelChoice, Segmenter] = {}
        self._kept: OrderedDict[_Key, EncodedImage] = OrderedDict()

    def knows(self, choice: ModelChoice, source: ImageSource, part: Part) -> bool:
        """Whether encoding this part would cost nothing."""
        return _key(choice, source, part) in self._kept

    def encode(
        self,
        choice: ModelChoice,
        source: ImageSource,
        part: Part,
        progress: Callable[[str, int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> EncodedImage:
        """Encode a part of an image, or find it among those that are kept.

        Parameters
        ----------
        choice, source, part
            How and what.
        progress
            Called with what is being done, how far it is, and how far it goes.
        cancelled
            Asked all the time; True stops.

        Raises
        ------
        CancelledError, DinoiserError
            See `dinoiser.load_model` and `Segmenter.encode`.
        """
        key = _key(choice, source, part)
        with self._lock:
            if key not in self._kept:
                segmenter = self._segmenter(choice, progress, cancelled)
                self._kept[key] = _encode(segmenter, source, part, progress, cancelled)
            self._kept.move_to_end(key)
            self._shrink()
            return self._kept[key]

    def forget(self, source: ImageSource) -> None:
        """Let go of an image that is closed or has changed."""
        with self._lock:
            for key in [key for key in self._kept if key[1] is source]:
                del self._kept[key]

    def _segmenter(
        self,
        choice: ModelChoice,
        progress: Callable[[str, int, int], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> Segmenter:
        import_triton()
        from dinoiser.segment.segmenter import Segmenter

        if choice not in self._segmenters:
            if progress:
                progress(f"Loading {choice.name}", 0, 0)
            identity = (choice.name, choice.heads, choice.device)
            loaded = (
                (known.pipeline.model, known.pipeline.phrases)
                for other, known in self._segmenters.items()
                if (other.name, other.heads, other.device) == identity
            )
            model, phrases = next(loaded, (None, None))
            if model is None:
                self._segmenters.clear()  # one model at a time in memory
                model = self._load(
                    choice.name,
                    choice.device,
                    heads=choice.heads,
                    progress=progress,
                    cancelled=cancelled,
                )
            self._segmenters[choice] = Segmenter(model, choice.settings, phrases=phrases)
        return self._segmenters[choice]

    def _shrink(self) -> None:
        sizes = {key: _bytes(encoded) for key, encoded in self._kept.items()}
        while len(self._kept) > 1 and sum(sizes.values()) > self.budget:
            oldest, _ = self._kept.popitem(last=False)
            del sizes[oldest]


def _load_model(*arguments: Any, **keywords: Any) -> SegmentationModel:
    from dinoiser.models.load import load_model

    return load_model(*arguments, **keywords)


def _encode(
    segmenter: Segmenter,
    source: ImageSource,
    part: Part,
    progress: Callable[[str, int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> EncodedImage:
    def advance(done: int, total: int) -> None:
        if progress:
            progress("Looking at the image", done, total)

    pipeline, looked_at = segmenter.pipeline, part.looked_at
    refined = pipeline.refine != "none"
    full_size = pipeline.windows.whole or refined
    image = source.read(looked_at, None if full_size else pipeline.windows.short_side)
    encoded = segmenter.encode(image, progress=advance, cancelled=cancelled)
    if refined:
        return encoded
    # nothing more is asked of the pixels, and of a pyramid a smaller level was looked at
    nothing = np.broadcast_to(np.uint8(0), (*looked_at.size, 3))
    return replace(encoded, image=nothing, layout=replace(encoded.layout, size=looked_at.size))


def _key(choice: ModelChoice, source: ImageSource, part: Part) -> _Key:
    return choice, source, part.place


def _bytes(encoded: EncodedImage) -> int:
    patches = encoded.patches
    tensors = [patches.features, patches.foreground, patches.guide]
    image = encoded.image.base if encoded.image.strides == (0, 0, 0) else encoded.image
    pixels = 1 if image is None else image.nbytes
    return pixels + sum(t.element_size() * t.nelement() for t in tensors if t is not None)
