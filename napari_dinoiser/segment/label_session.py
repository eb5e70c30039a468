"""Labelling one image layer: its pixels, its labels, what the model said, what was painted."""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_dinoiser.segment.edits import Edits
from napari_dinoiser.segment.parts import Part, subtract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dinoiser.prompts import PromptSet
    from dinoiser.segmentation import Segmentation
    from napari_dinoiser.model_choice import ModelChoice
    from napari_dinoiser.segment.encoder import Encoder
    from napari_dinoiser.segment.image_source import ImageSource
    from napari_dinoiser.segment.parts import Rectangle

NOWHERE = np.zeros((0, 0))


@dataclass(frozen=True)
class Request:
    """What is to be labelled, and how.

    Attributes
    ----------
    choice, source, parts
        Model and pixels.
    prompts
        The classes to tell apart.
    anew
        Whether the parts go over what was labelled there before; otherwise
        each stays where it is the newest.
    """

    choice: ModelChoice
    source: ImageSource
    parts: tuple[Part, ...]
    prompts: PromptSet
    anew: bool = True

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
            progress("Labelling part by part", number, len(request.parts))
        told = progress if len(request.parts) == 1 else None
        encoded = encoder.encode(request.choice, request.source, part, told, cancelled)
        yield part, encoded.segment(request.prompts)


class LabelledPart(NamedTuple):
    """A part and what the model said of it.

    Attributes
    ----------
    part, result
        The result has the coordinates of `part.looked_at`. It can be asked for
        probabilities; its labels and confidence are the session's.
    territory
        Rectangles of the part that no newer part lies on.
    """

    part: Part
    result: Segmentation
    territory: tuple[Rectangle, ...]

    def pieces(self) -> Iterator[tuple[Part, Rectangle]]:
        """Give the territory as parts, and each in the coordinates of the result."""
        for rectangle in self.territory:
            piece = Part(self.part.plane, *rectangle)
            yield piece, piece.within(self.part)


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
    confidence
        (..., H, W) float16 in [0, 1]; 0 where nothing is labelled.
    prompts
        The classes of the labels; None before the first result.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.edits = Edits(np.zeros(shape, np.uint8))  # pages of zeros take no memory
        self.confidence = np.zeros(shape, np.float16)
        self.prompts: PromptSet | None = None
        self._last: Request | None = None
        self._parts: dict[object, LabelledPart] = {}

    def take(self, request: Request, part: Part, result: Segmentation) -> None:
        """Show a result wherever no person has painted, and no newer part lies."""
        self._last, self.prompts = request, result.prompts
        known = self._parts.get(part.place)
        if request.anew or known is None:
            self._give_way(part)
            territory: tuple[Rectangle, ...] = (part.rectangle,)
        else:
            territory = known.territory
        probabilities = replace(result, labels=NOWHERE, confidence=NOWHERE)
        known = self._parts[part.place] = LabelledPart(part, probabilities, territory)
        for piece, inside in known.pieces():
            self.edits.propose(piece, result.labels[inside])
            self.confidence[piece.key] = result.confidence[inside]

    def _give_way(self, part: Part) -> None:
        """Take the rectangle of a new part from all others."""
        for place, known in list(self._parts.items()):
            if known.part.plane == part.plane:
                left = [subtract(piece, part.rectangle) for piece in known.territory]
                territory = tuple(piece for pieces in left for piece in pieces)
                if territory:
                    self._parts[place] = known._replace(territory=territory)
                else:
                    del self._parts[place]

    def parts(self, plane: Sequence[int]) -> list[LabelledPart]:
        """Give what is labelled of a plane; the territories do not overlap."""
        return [known for known in self._parts.values() if known.part.plane == tuple(plane)]

    def again(self, prompts: PromptSet, encoder: Encoder) -> Request | None:
        """Make the request that brings the labels up to date with other words.

        Returns
        -------
        Request or None
            For all parts that need no new look; None where there is none, or
            these are the words already.
        """
        last = self._last
        if last is None or prompts == self.prompts:
            return None
        parts = [known.part for known in self._parts.values()]
        parts = [part for part in parts if encoder.knows(last.choice, last.source, part)]
        return replace(last, parts=tuple(parts), prompts=prompts, anew=False) if parts else None

    def describe(self, position: Sequence[int]) -> str:
        """Say which classes a pixel could be of: the class shown, its probability, two others.

        Parameters
        ----------
        position
            In pixels, one number for each axis of the labels.
        """
        *plane, row, column = position
        pixel = Part(tuple(plane), slice(row, row + 1), slice(column, column + 1))
        found = (known for known in self.parts(plane) if _holds(known.territory, row, column))
        known = next(found, None)
        if known is None:
            return ""
        rows, columns = pixel.within(known.part)
        ranking = known.result.ranking(rows.start, columns.start)
        if self.edits.locked[tuple(position)]:
            return f"painted; the words say {_list(ranking[:3])}"
        label = int(self.edits.labels[tuple(position)])
        names = {item.id: item.name for item in known.result.prompts.classes}
        ranking.sort(key=lambda pair: pair[0] != names.get(label))  # stable: the class shown first
        return _list(ranking[:3])


def _holds(territory: tuple[Rectangle, ...], row: int, column: int) -> bool:
    return any(
        rows.start <= row < rows.stop and columns.start <= column < columns.stop
        for rows, columns in territory
    )


def _list(ranking: list[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {probability:.2f}" for name, probability in ranking)
