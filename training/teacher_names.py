"""Teachers by name: those of `dinoiser train --teacher`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dinoiser.errors import SettingsError, UnknownModelError
from dinoiser.models.catalog import find_teacher
from dinoiser.models.device import resolve_precision
from dinoiser.models.teachers.dino import Dino
from dinoiser.models.teachers.found import Found
from dinoiser.models.teachers.timm_vit import TimmVit, find_vit
from dinoiser.weights.fetch import fetch

from .regions import find_regions
from .teachers import DinoTeacher, KeyTeacher, SegmentTeacher

if TYPE_CHECKING:
    from collections.abc import Callable

    from dinoiser.models.maskclip import MaskClip
    from dinoiser.weights.files import WeightFile

    from .teachers import Part, Teacher

DINO_PARTS: dict[str, Part] = {"dino": "values", "dino-keys": "keys", "dino-queries": "queries"}
TINY = "dino-tiny"
TINY_SIMILAR = 0.5
"""Cosine of its keys from which patches belong together; chosen on scenes of other seeds."""
TEACHERS = ("auto", *DINO_PARTS, TINY, "regions", "masks")


def load_teacher(
    name: str,
    model: MaskClip,
    precision: str,
    download_progress: Callable[[str, int, int], None] | None = None,
) -> Teacher:
    """Load a teacher to the model's device, downloading missing weights."""
    if name == "regions":
        return SegmentTeacher(name, find_regions)
    if name == "masks":
        return SegmentTeacher(name)
    placed = model.device, resolve_precision(precision, model.device)
    if name == TINY:
        tiny = Dino.load(fetch(find_teacher(name).backbone, download_progress)).to(*placed)
        return KeyTeacher(tiny, name, TINY_SIMILAR)
    objects = find_teacher("found")
    assert objects.decoder is not None
    files = find_values_file(name), objects.backbone, objects.decoder
    cure = "learn from colours with --teacher regions"
    values, backbone, decoder = (fetch(file, download_progress, cure=cure) for file in files)
    vit = Dino.load(values) if name in DINO_PARTS else TimmVit.load(name, values)
    found = Found.load(backbone, decoder).to(*placed)
    return DinoTeacher(vit.to(*placed), found, name, DINO_PARTS.get(name, "values"))


def find_values_file(teacher: str) -> WeightFile:
    """Find the weights of the ViT whose values teach: DINO, or a ViT by its name in timm.

    Raises
    ------
    UnknownModelError, ModelError
        See `find_vit`.
    """
    return find_teacher("dino-vitb16").backbone if teacher in DINO_PARTS else find_vit(teacher)


def check_teacher(name: str) -> None:
    """Refuse a name that is none of `TEACHERS` and no ViT of timm that can teach.

    Raises
    ------
    SettingsError
        See above.
    """
    if name in TEACHERS:
        return
    try:
        find_vit(name)
    except UnknownModelError as error:
        msg = (
            f"teacher is {name!r}, expected one of {', '.join(TEACHERS)}, or the name of a "
            f"ViT in timm; {error}"
        )
        raise SettingsError(msg) from error
