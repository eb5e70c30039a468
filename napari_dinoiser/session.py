"""Labelling one image layer: its pixels, its labels, what the model said, what was painted."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoiser.edits import Edits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dinoiser.prompts import PromptSet
    from dinoiser.segmentation import Segmentation
    from napari_dinoiser.encoder import Encoder, ModelChoice
    from napari_dinoiser.image_source import ImageSource, Part

RESULTS_KEPT = 8
"""Parts whose probabilities can be asked for."""


@dataclass(frozen=True)
class Request:
    """What is to be labelled, and how.

    Attributes
    ----------
    choice, source, parts
        Model and pixels.
    prompts
        The classes to tell apart.
    """

    choice: ModelChoice
    source: ImageSource
    parts: tuple[Part, ...]
    prompts: PromptSet

    def looks_at_the_same_as(self, other: Request) -> bool:
        """Whether only the words differ, so that the image tower has nothing new to do."""
        same = self.choice == other.choice and self.source is other.source
        return same and self.parts == other.parts


def work_off(
    request: Request,
    encoder: Encoder,
    progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[tuple[Part, Segmentation]]:
    """Label the parts of a request, one after the other.

    Raises
    ------
    CancelledError, DinoiserError
        See `Encoder.encode`.
    """
    for number, part in enumerate(request.parts):
        if cancelled and cancelled():
            raise CancelledError
        if progress and len(request.parts) > 1:
            progress("Labelling the stack", number, len(request.parts))
        told = progress if len(request.parts) == 1 else None
        encoded = encoder.encode(request.choice, request.source, part, told, cancelled)
        yield part, encoded.segment(request.prompts)


class Session:
    """One image layer's labels.

    Parameters
    ----------
    shape
        Of the labels, see `ImageSource.shape`.

    Attributes
    ----------
    edits
        Holds the labels that are shown, `edits.labels`, (..., H, W) uint8.
    prompts
        The classes of the labels; None before the first result.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.edits = Edits(np.zeros(shape, np.uint8))  # pages of zeros take no memory
        self.prompts: PromptSet | None = None
        self._last: Request | None = None
        self._parts: dict[tuple[int, ...], Part] = {}
        self._results: OrderedDict[tuple[int, ...], tuple[Part, Segmentation]] = OrderedDict()

    def take(self, request: Request, part: Part, result: Segmentation) -> None:
        """Show a result wherever no person has painted."""
        self._last, self.prompts = request, result.prompts
        self._parts.pop(part.plane, None)
        self._parts[part.plane] = part  # the newest last
        self.edits.propose(part, result.labels)
        self._results[part.plane] = part, result
        self._results.move_to_end(part.plane)
        while len(self._results) > RESULTS_KEPT:
            self._results.popitem(last=False)

    def result(self, index: Sequence[int]) -> tuple[Part, Segmentation] | None:
        """Give the latest result of a plane, and where it lies."""
        return self._results.get(tuple(index))

    def again(self, prompts: PromptSet, encoder: Encoder) -> Request | None:
        """Make the request that brings the labels up to date with other words.

        Returns
        -------
        Request or None
            For all planes that need no new look, the latest first; None where
            there is none, or these are the words already.
        """
        last = self._last
        if last is None or prompts == self.prompts:
            return None
        newest_first = reversed(self._parts.values())
        parts = [part for part in newest_first if encoder.knows(last.choice, last.source, part)]
        return replace(last, parts=tuple(parts), prompts=prompts) if parts else None

    def describe(self, position: Sequence[int]) -> str:
        """Say which classes a pixel could be of: the class shown, its probability, two others.

        Parameters
        ----------
        position
            In pixels, one number for each axis of the labels.
        """
        *index, row, column = position
        part, result = self.result(index) or (None, None)
        if part is None or result is None or not _inside(part, row, column):
            return ""
        place = row - part.rows.start, column - part.columns.start
        ranking = result.ranking(*place)
        if self.edits.locked[tuple(position)]:
            return f"painted; the words say {_list(ranking[:3])}"
        label = int(result.labels[place])
        names = {item.id: item.name for item in result.prompts.classes}
        ranking.sort(key=lambda pair: pair[0] != names.get(label))  # stable: the class shown first
        return _list(ranking[:3])


def _inside(part: Part, row: int, column: int) -> bool:
    rows, columns = part.rows, part.columns
    return rows.start <= row < rows.stop and columns.start <= column < columns.stop


def _list(ranking: list[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {probability:.2f}" for name, probability in ranking)
