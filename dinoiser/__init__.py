"""Label images with words: CLIP-DINOiser and its relatives, from an image to a mask.

Names are imported on first use, so that `import dinoiser` is quick and does
not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from dinoiser import export, scenes
    from dinoiser.errors import DinoiserError
    from dinoiser.images import read_image
    from dinoiser.learning.learn import learn
    from dinoiser.learning.learned import Learned
    from dinoiser.models.catalog import list_models
    from dinoiser.models.load import load_model
    from dinoiser.prompts import PromptClass, PromptSet
    from dinoiser.segment.encoded_image import EncodedImage
    from dinoiser.segment.in_parts.lazy import segment_array
    from dinoiser.segment.segmenter import Segmenter
    from dinoiser.segment.settings import SegmentSettings
    from dinoiser.segmentation import Segmentation

__all__ = [
    "DinoiserError",
    "EncodedImage",
    "Learned",
    "PromptClass",
    "PromptSet",
    "SegmentSettings",
    "Segmentation",
    "Segmenter",
    "export",
    "learn",
    "list_models",
    "load_model",
    "read_image",
    "scenes",
    "segment_array",
]

_HOMES = {
    "Learned": "dinoiser.learning.learned",
    "learn": "dinoiser.learning.learn",
    "DinoiserError": "dinoiser.errors",
    "EncodedImage": "dinoiser.segment.encoded_image",
    "PromptClass": "dinoiser.prompts",
    "PromptSet": "dinoiser.prompts",
    "SegmentSettings": "dinoiser.segment.settings",
    "Segmentation": "dinoiser.segmentation",
    "Segmenter": "dinoiser.segment.segmenter",
    "list_models": "dinoiser.models.catalog",
    "load_model": "dinoiser.models.load",
    "read_image": "dinoiser.images",
    "segment_array": "dinoiser.segment.in_parts.lazy",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"dinoiser.{name}")
    if name == "__version__":
        return import_module("importlib.metadata").version("napari-dinoiser")
    msg = f"module 'dinoiser' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
