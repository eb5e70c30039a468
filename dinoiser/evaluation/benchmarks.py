"""The eight benchmarks of the paper: their classes, protocols and published figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from dinoiser.errors import SettingsError
from dinoiser.evaluation.layouts import LAYOUTS, Pair
from dinoiser.evaluation.truth import read_truth
from dinoiser.prompts import PromptSet
from dinoiser.segment.settings import SegmentSettings

if TYPE_CHECKING:
    import numpy as np

    from dinoiser.models.catalog import Method, ModelEntry
    from dinoiser.segment.settings import Refinement

BENCHMARKS_PATH = Path(__file__).with_name("benchmarks.yaml")


@dataclass(frozen=True)
class Benchmark:
    """A labelled data set and the words for its classes.

    Attributes
    ----------
    name
        Name on the command line, such as "coco-stuff".
    title
        Name in the paper.
    images
        Number of images in the official validation split.
    background
        "none": there is no such class, and its pixels are ignored. "class":
        there is one. "filtered": there is one, and the filter of CLIP-DINOiser
        or Talk2DINO's background cleaning is used.
    classes
        The classes' names in the order of the labels, which start at 0.
    words
        What a method's own evaluation asks for where it is not the class's name:
        phrases by class, by method.
    windows
        The fields of `WindowDefaults` in which a method's own evaluation on this
        set differs, by method.
    published
        mIoU in [0, 1] reported in the paper, by model name, for each refinement
        of the labels.
    """

    name: str
    title: str
    images: int
    background: Literal["none", "class", "filtered"]
    classes: tuple[str, ...]
    words: dict[Method, dict[str, list[str]]]
    windows: dict[Method, dict[str, int]]
    published: dict[Refinement, dict[str, float]]

    @property
    def first_id(self) -> int:
        """Class id of the first class in masks; 0 is reserved for the background."""
        return int(self.background == "none")

    def settings(self, model: ModelEntry, delta: float | None = None) -> SegmentSettings:
        """Return the settings for a model of the catalogue.

        Parameters
        ----------
        model
            The model.
        delta
            See `SegmentSettings`, where there is a background to filter; None for
            the published one.
        """
        windows = model.windows.model_copy(update=self.windows.get(model.method, {}))
        filtered = SegmentSettings.delta if delta is None else delta
        return SegmentSettings(
            short_side=windows.short_side,
            window=windows.window,
            stride=windows.stride,
            antialias=windows.cubic,  # as by Pillow; OpenCV does not smooth
            refine="none",
            delta=filtered if self.background == "filtered" else 0.0,
        )

    def prompts(self, method: Method) -> PromptSet:
        """Return the classes with the words that a method's own evaluation asks for."""
        own = self.words.get(method, {})
        return PromptSet.from_names({name: own.get(name, [name]) for name in self.classes})

    def published_miou(self, model: str, refine: Refinement) -> float | None:
        """Return the mIoU in [0, 1] that a model was published with, if it was."""
        return self.published.get(refine, {}).get(model)

    def find_pairs(self, root: Path) -> list[Pair]:
        """Find the images of the official validation split and their labels.

        Parameters
        ----------
        root
            The data set's folder, or one that contains it.

        Raises
        ------
        InputError
            There is no such folder, or a file is missing from it.
        """
        return LAYOUTS[self.name](root)

    def read_truth(self, path: Path) -> np.ndarray:
        """Read labels (H, W) uint8: indices into `classes`, 255 = ignored; see `read_truth`."""
        return read_truth(self.name, path)


def find_benchmark(name: str) -> Benchmark:
    """Look up a benchmark.

    Raises
    ------
    SettingsError
        There is no such benchmark.
    """
    document = _document()
    if name not in document:
        msg = f"there is no benchmark {name!r}: choose one of {', '.join(document)}"
        raise SettingsError(msg)
    entry = document[name]
    # the classes are listed once for both variants of a data set; the background comes first
    without_background = entry["background"] == "none" and entry["classes"][0] == "background"
    return Benchmark(
        name,
        entry["title"],
        entry["images"],
        entry["background"],
        tuple(entry["classes"][int(without_background) :]),
        entry.get("words", {}),
        entry.get("windows", {}),
        {
            "none": _from_percent(entry["published"]),
            "pamr": _from_percent(entry.get("published_with_pamr", {})),
        },
    )


def _from_percent(figures: dict[str, float]) -> dict[str, float]:
    return {model: percent / 100 for model, percent in figures.items()}


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(BENCHMARKS_PATH.read_text(encoding="utf-8"))
    return document
