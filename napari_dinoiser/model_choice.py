"""The model and settings chosen in the Segment tab, for one image or a whole folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dinoiser.segment.settings import SegmentSettings

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ModelChoice:
    """Everything that determines how an image is encoded.

    Attributes
    ----------
    name, heads, device
        See `dinoiser.load_model`.
    settings
        How images are scaled, cut into windows and labelled.
    """

    name: str
    heads: Path | None = None
    device: str = "auto"
    settings: SegmentSettings = field(default_factory=SegmentSettings)
