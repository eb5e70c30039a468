"""The model and settings that are chosen in the Segment tab, for one image or a whole folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dinoiser.segment.settings import SegmentSettings

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ModelChoice:
    """What decides what an image is encoded to.

    Attributes
    ----------
    name, heads, device
        See `dinoiser.load_model`.
    settings
        How images are looked at.
    """

    name: str
    heads: Path | None = None
    device: str = "auto"
    settings: SegmentSettings = field(default_factory=SegmentSettings)
