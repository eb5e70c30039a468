"""The state of labelling one image layer: its parts, labels, results and edits."""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple
from weakref import ref

import numpy as np

from napari_dinoiser.segment.edits import CHANGED, CONFIRMED, FREE, Edits
from napari_dinoiser.segment.parts import Part, contains, subtract
from napari_dinoiser.segment.stroke_teacher import Strokes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dinoiser.prompts import PromptSet
    from dinoiser.segmentation import Segmentation
    from napari_dinoiser.model_choice import ModelChoice
    from napari_dinoiser.segment.encoder import Encoder
    from napari_dinoiser.segment.image_source import ImageSource
    from napari_dinoiser.segment.parts import Rectangle
    from napari_dinoiser.segment.stroke_teacher import Lesson

OWNERS = {CONFIRMED: "confirmed", CHANGED: "painted"}


@dataclass(frozen=True)
class Request:
    """A request to label parts of an image.

    Attributes
    ----------
    choice, source, parts
        The model, the image, and the parts of it.
    prompts
        The classes to look for.
    anew
        Whether the parts replace earlier ones where they overlap; if not, each
        only updates its own territory.
    lesson
        What strokes teach next to the words; None for words alone.
    """

    choice: ModelChoice
    source: ImageSource
    parts: tuple[Part, ...]
    prompts: PromptSet
    anew: bool = True
    lesson: Lesson | None = None

    def looks_at_the_same_as(self, other: Request) -> bool:
        """Whether at most words and strokes differ, so that the image tower need not run again."""
        same = self.choice == other.choice and self.source is other.source
        return same and self.parts == other.parts


def work_off(
    request: Request,
    encoder: Encoder,
    progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[tuple[Part, Segmentation]]:
    """Label the parts of a request, one after another.

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
        if request.lesson is not None:
            encoded = request.lesson.teach(encoded, request.choice, request.prompts, encoder)
        yield part, encoded.segment(request.prompts)


class LabelledPart(NamedTuple):
    """A part and the model's result for it.

    Attributes
    ----------
    part, result
        The result is in the coordinates of `part.looked_at`. It provides
        probabilities; labels and confidence are kept by the session.
    territory
        Rectangles of the part that are not covered by newer parts.
    lesson
        What the result was taught.
    """

    part: Part
    result: Segmentation
    territory: tuple[Rectangle, ...]
    lesson: Lesson | None = None

    def inside(self, position: Sequence[int]) -> tuple[int, int]:
        """Return a pixel's row and column in the result."""
        seen = self.part.looked_at
        return position[-2] - seen.rows.start, position[-1] - seen.columns.start

    def heat_map(self, name: str) -> np.ndarray:
        """Return the heat map (H, W) of a class; zeros where older words do not have it."""
        if name not in {item.name for item in self.result.prompts.classes}:
            return np.zeros(self.part.looked_at.size, np.float32)
        return self.result.probabilities(name)

    def pieces(self) -> Iterator[tuple[Part, Rectangle]]:
        """Yield the territory as parts, each also in the coordinates of the result."""
        for rectangle in self.territory:
            piece = Part(self.part.plane, *rectangle)
            yield piece, piece.within(self.part)


class Session:
    """The labels of one image layer.

    Parameters
    ----------
    shape
        Shape of the labels, see `ImageSource.shape`.
    photo
        Which photo the layer shows, if it shows one after another.

    Attributes
    ----------
    photo
        See above.
    edits
        The edits, with the labels shown, `edits.labels`, (..., H, W):
        uint8, or uint16 once there are ids above 254.
    confidence
        (..., H, W) float16 in [0, 1]; 0 where nothing is labelled.
    prompts
        The classes of the labels; None before the first result.
    """

    def __init__(self, shape: tuple[int, ...], photo: str | None = None) -> None:
        self.photo = photo
        self.edits = Edits(np.zeros(shape, np.uint8))  # zeros take no memory until written to
        self.confidence = np.zeros(shape, np.float16)
        self.prompts: PromptSet | None = None
        self._last: Request | None = None
        self._parts: dict[object, LabelledPart] = {}

    def take(self, request: Request, part: Part, result: Segmentation) -> None:
        """Show a result where the user has not painted and no newer part exists."""
        self._last, self.prompts = request, result.prompts
        known = self._parts.get(part.place)
        # words alone (not anew) change what a part says, not where it is the newest
        if request.anew or known is None:
            self._give_way(part)
            territory: tuple[Rectangle, ...] = (part.rectangle,)
        else:
            territory = known.territory
        # labels and confidence are copied below; keeping them here would double the memory
        nothing = np.broadcast_to(np.uint8(0), result.size)
        probabilities = replace(result, labels=nothing, confidence=nothing)
        known = self._parts[part.place] = LabelledPart(
            part, probabilities, territory, request.lesson
        )
        for piece, inside in known.pieces():
            self.edits.propose(piece, result.labels[inside])
            self.confidence[piece.key] = result.confidence[inside]

    def _give_way(self, part: Part) -> None:
        """Remove the rectangle of a new part from the territories of all others."""
        for place, known in list(self._parts.items()):
            if known.part.plane == part.plane:
                # what remains of each rectangle; a part without territory is dropped
                left = [subtract(piece, part.rectangle) for piece in known.territory]
                territory = tuple(piece for pieces in left for piece in pieces)
                if territory:
                    self._parts[place] = known._replace(territory=territory)
                else:
                    del self._parts[place]

    def parts(self, plane: Sequence[int]) -> list[LabelledPart]:
        """Return the labelled parts of a plane; their territories do not overlap."""
        return [known for known in self._parts.values() if known.part.plane == tuple(plane)]

    def part_at(self, position: Sequence[int]) -> LabelledPart | None:
        """Return the labelled part that a pixel belongs to; None if it is not labelled."""
        *plane, row, column = position
        found = (known for known in self.parts(plane) if _holds(known.territory, row, column))
        return next(found, None)

    def doubted(self, plane: tuple[int, ...]) -> np.ndarray:
        """Return the confidence (H, W) of the labels that are the model's in a plane; 1 elsewhere.

        Elsewhere is where the user has decided, or where nothing is labelled.
        """
        confidence = np.ones(self.confidence.shape[-2:], self.confidence.dtype)
        for known in self.parts(plane):
            for piece, _ in known.pieces():
                confidence[piece.rectangle] = self.confidence[piece.key]
        confidence[self.edits.owners[plane] != FREE] = 1
        return confidence

    def object_at(
        self, position: Sequence[int], reach: float, encoder: Encoder
    ) -> np.ndarray | None:
        """Find the object at a pixel, without encoding anything.

        Parameters
        ----------
        position
            In pixels, one number per axis of the labels.
        reach
            See `dinoiser.segment.objects.object_at`.
        encoder
            The encoder of the results.

        Returns
        -------
        ndarray or None
            (H, W) bool; None where nothing is labelled, or its features were
            dropped.
        """
        from dinoiser.segment.objects import object_at

        known, last = self.part_at(position), self._last
        encoded = known and last and encoder.kept(last.choice, last.source, known.part)
        if not known or not encoded:
            return None
        mask = np.zeros(self.edits.labels.shape[-2:], bool)
        mask[known.part.looked_at.rectangle] = object_at(encoded, *known.inside(position), reach)
        return mask

    @property
    def word_labels(self) -> set[int]:
        """Labels of the words that the parts have now, which may be older ones, see `again`."""
        return {item.id for known in self._parts.values() for item in known.result.prompts.classes}

    def again(
        self,
        prompts: PromptSet,
        encoder: Encoder,
        within: Rectangle | None = None,
        lesson: Lesson | None = None,
    ) -> Request | None:
        """Make the request that updates the labels for other words or strokes.

        Parameters
        ----------
        prompts
            The words.
        encoder
            The encoder of the results.
        within
            Rows and columns beyond which everything stays as it is.
        lesson
            What strokes teach.

        Returns
        -------
        Request or None
            For all parts that are already encoded and do not have these words
            and this lesson; None if there are none.
        """
        last = self._last
        if last is None:
            return None
        parts = [
            known.part
            for known in self._parts.values()
            if (known.result.prompts != prompts or known.lesson is not lesson)
            and (within is None or contains(within, known.part.rectangle))
            and encoder.knows(last.choice, last.source, known.part)
        ]
        if not parts:
            return None
        return replace(last, parts=tuple(parts), prompts=prompts, anew=False, lesson=lesson)

    def strokes(self, prompts: PromptSet) -> Iterator[Strokes]:
        """Yield what the user has painted in each part, in the classes of a prompt set."""
        last = self._last
        if last is None:
            return
        names = {item.id: item.name for item in prompts.classes}
        for known in self._parts.values():
            key = known.part.looked_at.key
            free = self.edits.owners[key] == FREE
            mask = np.where(free, prompts.ignore, self.edits.labels[key])
            mask = mask.astype(prompts.label_type)
            yield Strokes(last.choice, ref(last.source), known.part, mask, names)

    def describe(self, position: Sequence[int]) -> str:
        """Describe a pixel: the class shown and the two likeliest others, with probabilities.

        Parameters
        ----------
        position
            In pixels, one number per axis of the labels.
        """
        known = self.part_at(position)
        if known is None:
            return ""
        ranking = known.result.ranking(*known.inside(position))
        if owner := OWNERS.get(int(self.edits.owners[tuple(position)])):
            return f"{owner}; the model says {_list(ranking[:3])}"
        label = int(self.edits.labels[tuple(position)])
        names = {item.id: item.name for item in known.result.prompts.classes}
        # stable sort: the class shown comes first
        ranking.sort(key=lambda pair: pair[0] != names.get(label))
        return _list(ranking[:3])


def _holds(territory: tuple[Rectangle, ...], row: int, column: int) -> bool:
    return any(
        rows.start <= row < rows.stop and columns.start <= column < columns.stop
        for rows, columns in territory
    )


def _list(ranking: list[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {probability:.2f}" for name, probability in ranking)
