"""Hold one model, and the images that it has recently encoded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

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
"""Maximum size of the encoded images kept, in bytes."""

_Key = tuple["ModelChoice", "ImageSource", "tuple[object, ...]"]


class _Kept(NamedTuple):
    encoded: EncodedImage
    fingerprint: int


class Encoder:
    """Runs the image tower once per image, and keeps results within a budget.

    Parameters
    ----------
    budget
        Maximum size of the encoded images kept, in bytes. The least recently
        used are dropped first; the latest is always kept.
    load
        Function that loads models, by default `dinoiser.load_model`.
    """

    def __init__(
        self, budget: int = BUDGET, load: Callable[..., SegmentationModel] | None = None
    ) -> None:
        self.budget = budget
        self._load = load or _load_model
        self._lock = threading.RLock()
        self._segmenters: dict[ModelChoice, Segmenter] = {}
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()

    def knows(self, choice: ModelChoice, source: ImageSource, part: Part) -> bool:
        """Whether this part is already encoded."""
        return _key(choice, source, part) in self._kept

    def kept(self, choice: ModelChoice, source: ImageSource, part: Part) -> EncodedImage | None:
        """Return this part if it is already encoded, without waiting for others."""
        kept = self._kept.get(_key(choice, source, part))
        return kept.encoded if kept else None

    def encode(
        self,
        choice: ModelChoice,
        source: ImageSource,
        part: Part,
        progress: Callable[[str, int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> EncodedImage:
        """Encode a part of an image, or return it if it is kept.

        Parameters
        ----------
        choice, source, part
            The model, the image, and the part of it.
        progress
            Called with a description, the amount done and the total.
        cancelled
            Called frequently; True stops the work.

        Raises
        ------
        CancelledError, DinoiserError
            See `dinoiser.load_model` and `Segmenter.encode`.
        """
        key = _key(choice, source, part)
        with self._lock:
            # the array may have been changed in place since, of which no event tells
            fingerprint = source.fingerprint(part)
            if key not in self._kept or self._kept[key].fingerprint != fingerprint:
                segmenter = self._segmenter(choice, progress, cancelled)
                encoded = _encode(segmenter, source, part, progress, cancelled)
                self._kept[key] = _Kept(encoded, fingerprint)
            self._kept.move_to_end(key)
            self._shrink()
            return self._kept[key].encoded

    def forget(self, source: ImageSource) -> None:
        """Drop an image that was closed or has changed."""
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
            # other settings can use the same model and its embedded phrases
            identity = (choice.name, choice.heads, choice.device)
            loaded = (
                (known.pipeline.model, known.pipeline.phrases)
                for other, known in self._segmenters.items()
                if (other.name, other.heads, other.device) == identity
            )
            model, phrases = next(loaded, (None, None))
            if model is None:
                self._segmenters.clear()  # only one model in memory at a time
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
        sizes = {key: _bytes(kept.encoded) for key, kept in self._kept.items()}
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
            progress("Encoding the image", done, total)

    pipeline, looked_at = segmenter.pipeline, part.looked_at
    refined = pipeline.refine != "none"
    full_size = pipeline.windows.whole or refined
    image = source.read(looked_at, None if full_size else pipeline.windows.short_side)
    encoded = segmenter.encode(image, progress=advance, cancelled=cancelled)
    if refined:
        return encoded
    # The pixels are no longer needed, so they are replaced by an array that takes no memory. For a
    # pyramid, a smaller level may have been read, so labels get the full size here.
    nothing = np.broadcast_to(np.uint8(0), (*looked_at.size, 3))
    return replace(encoded, image=nothing, layout=replace(encoded.layout, size=looked_at.size))


def _key(choice: ModelChoice, source: ImageSource, part: Part) -> _Key:
    return choice, source, part.place


def _bytes(encoded: EncodedImage) -> int:
    patches = encoded.patches
    tensors = [patches.features, patches.foreground, patches.guide]
    # strides of 0 mean the placeholder from `_encode`, whose base is a single value
    image = encoded.image.base if encoded.image.strides == (0, 0, 0) else encoded.image
    pixels = 1 if image is None else image.nbytes
    return pixels + sum(t.element_size() * t.nelement() for t in tensors if t is not None)
