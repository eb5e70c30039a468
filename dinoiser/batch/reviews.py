"""Reviews: the decisions on a job's images, and the masks that people corrected."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeGuard

import filelock
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from dinoiser.batch.job import PROMPT_FILE
from dinoiser.batch.job_images import result_file
from dinoiser.batch.records import Stem, append_lines, read_records
from dinoiser.errors import InputError
from dinoiser.export.png import read_mask, write_mask
from dinoiser.images.inputs import check_inside
from dinoiser.labels import ignore_label
from dinoiser.prompts import PromptSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dinoiser.batch.records import Record

REVIEWS = Path("reviews.jsonl")
MASK_LOCK = ".masks.lock"
UNSAVED = Path(".unsaved")
"""Folder of unsaved edits; hidden, so that it is never searched for images."""

FileState = tuple[int, int]
NO_FILE: FileState = (-1, -1)

State = Literal["unchecked", "accepted", "rejected"]


class Review(BaseModel):
    """The decision on one image.

    Attributes
    ----------
    image
        Name of the image, as in its record.
    stem
        Name of its results; None in reviews of earlier versions.
    state
        Rejected images are left out of exports.
    edited
        Whether its mask has ever been corrected.
    pixels
        Number of pixels of each label in the corrected mask; None if it was not
        corrected.
    mask_checksum
        Adler-32 of a mask that was edited in its place, as in `Record`; None of
        others.
    time
        Time of the decision, in UTC.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    stem: Stem | None = None
    state: State = "unchecked"
    edited: bool = False
    pixels: dict[int, int] | None = None
    mask_checksum: int | None = None
    time: datetime | None = None

    @property
    def is_decided(self) -> bool:
        """Whether a person has checked or corrected the mask."""
        return self.edited or self.state != "unchecked"


class LabelledImage(NamedTuple):
    """The part of a record that reviewing needs; small, as a job's are all in memory.

    `size` is (height, width) in pixels, `pixels` is the number of pixels of each
    label as predicted by the model, and the rest is as in `Record`.
    """

    image: str
    stem: str
    path: str
    size: tuple[int, int] | None
    expected_iou: float | None
    expected_work: float | None
    pixels: dict[int, int]
    mask_checksum: int | None = None


class OtherWordsError(InputError):
    """A job was given other words since it was opened."""


class OtherMaskError(InputError):
    """A mask was replaced since a person looked at it.

    Attributes
    ----------
    mask
        (H, W) labels, the mask as it is now.
    """

    def __init__(self, message: str, mask: np.ndarray) -> None:
        super().__init__(message)
        self.mask = mask


class Reviews:
    """The reviews of a job, in memory and in its folder.

    Others may decide and change masks meanwhile: another window, `dinoiser import` or `relabel`.

    Parameters
    ----------
    output
        The job's folder.
    prompts
        Its classes; a corrected mask may contain no other labels.

    Attributes
    ----------
    latest
        The latest review of each reviewed image, by the image's name.
    """

    def __init__(self, output: Path, prompts: PromptSet) -> None:
        self.output = output
        self.prompts = prompts
        self.latest: dict[str, Review] = {}
        self._known: FileState = NO_FILE
        self.catch_up()

    def catch_up(self) -> None:
        """Read what others have decided meanwhile."""
        state = _state_of(self.output / REVIEWS)
        if state != self._known:
            self._known, self.latest = state, read_reviews(self.output)

    def check_words(self) -> None:
        """Make sure that the job still has the words with which it was opened.

        Raises
        ------
        OtherWordsError
            It has others: labels may mean something else by now.
        PromptError
            The prompt file is missing or damaged.
        """
        if PromptSet.load(self.output / PROMPT_FILE) != self.prompts:
            msg = (
                f"the words of the job in {self.output} were changed by another program; look at "
                "its masks as they are now"
            )
            raise OtherWordsError(msg)

    def of(self, labelled: LabelledImage) -> Review:
        """Return the latest review of an image, or one that says unchecked."""
        return self.latest.get(labelled.image) or Review(image=labelled.image)

    def is_checked(self, labelled: LabelledImage) -> bool:
        """Whether the image was accepted or rejected."""
        review = self.latest.get(labelled.image)
        return review is not None and review.state != "unchecked"

    def save(
        self,
        labelled: LabelledImage,
        state: State,
        labels: np.ndarray | None = None,
        *,
        seen: np.ndarray | None = None,
    ) -> Review:
        """Save the corrected mask, if any, and then the decision.

        Parameters
        ----------
        labelled
            The image.
        state
            The decision.
        labels
            (H, W) integers, the corrected mask; None leaves the mask unchanged.
        seen
            (H, W) integers, the mask on which the decision was made; None if nobody
            looked at it.

        Raises
        ------
        InputError
            The size of the labels differs from the image's, or they are no integers,
            or one is unknown.
        OtherMaskError, OtherWordsError
            The mask that was seen is no longer the image's, or the job has other
            words.
        OutputError
            The mask or the decision cannot be written.
        """
        counts = None if labels is None else self._check(labelled, labels)
        check_inside(labelled.stem)
        with masks_locked(self.output):
            if seen is not None:
                self.check_words()
                self._check_mask(labelled, seen)
            self.catch_up()
            earlier = self.of(labelled)
            review = Review(
                image=labelled.image,
                stem=labelled.stem,
                state=state,
                edited=earlier.edited or labels is not None,
                pixels=earlier.pixels if counts is None else counts,
                time=datetime.now(UTC),
            )
            if labels is not None:
                mask = labels.astype(self.prompts.label_type)
                write_mask(mask, self.prompts, result_file(self.output, labelled.stem, "png"))
            append_reviews(self.output, [review])
            self._known = _state_of(self.output / REVIEWS)
        self.latest[labelled.image] = review
        return review

    def _check_mask(self, labelled: LabelledImage, seen: np.ndarray) -> None:
        """Make sure that an image's mask is the one that was seen."""
        mask = read_saved_mask(self.output, labelled, self.prompts.mask_colors)
        if not np.array_equal(mask, seen):
            msg = (
                f"the mask of {labelled.image} was changed by another program after it was opened; "
                "look at it as it is now, and decide again"
            )
            raise OtherMaskError(msg, mask)

    def _check(self, labelled: LabelledImage, labels: np.ndarray) -> dict[int, int]:
        """Check labels; return the number of pixels of each."""
        if labelled.size and labels.shape != labelled.size:
            msg = (
                f"the labels of {labelled.image} have {labels.shape} pixels (height, width) but "
                f"the image has {labelled.size}; make the labels the size of the image"
            )
            raise InputError(msg)
        if labels.dtype.kind not in "biu":
            msg = (
                f"the labels of {labelled.image} are {labels.dtype}, expected integers: give the "
                "ids of classes"
            )
            raise InputError(msg)
        counts = count_labels(labels, self.prompts.ignore)
        unknown = (
            counts.keys() - {0, self.prompts.ignore} - {item.id for item in self.prompts.classes}
        )
        if unknown:
            msg = (
                f"label {min(unknown)} of {labelled.image} is not one of the job's classes; paint "
                "over it with one that is, or undo"
            )
            raise InputError(msg)
        return counts


def append_reviews(output: Path, reviews: Iterable[Review]) -> None:
    """Write reviews into a job's folder; from now on they count.

    Raises
    ------
    OutputError
        They cannot be written.
    """
    lines = b"".join(review.model_dump_json().encode() + b"\n" for review in reviews)
    if lines:
        append_lines(output / REVIEWS, lines)


def count_labels(labels: np.ndarray, ignore: int | None = None) -> dict[int, int]:
    """Count each label's pixels, and ignored ones even where there are none: they tell the width.

    Parameters
    ----------
    labels
        (H, W) integers.
    ignore
        The label of ignored pixels; None for the one of the labels' type.
    """
    ignore = ignore_label(labels.dtype) if ignore is None else ignore
    values, counts = np.unique(labels, return_counts=True)
    return {ignore: 0, **dict(zip(values.tolist(), counts.tolist(), strict=True))}


@contextmanager
def masks_locked(output: Path) -> Iterator[None]:
    """Let only one at a time replace a mask that is there: a running job, or a person."""
    with filelock.FileLock(output / MASK_LOCK):
        yield


class CorrectedMasks:
    """Which masks people have corrected, as of the moment that one asks.

    Parameters
    ----------
    output
        The job's folder.
    checked
        Whether those that people have accepted or rejected as they are count, too.
    """

    def __init__(self, output: Path, *, checked: bool = False) -> None:
        self.output = output
        self._checked = checked
        # the file as it was, and what it said; replaced as one, as several threads ask
        self._known: tuple[FileState, frozenset[str]] = (NO_FILE, frozenset())

    def __contains__(self, image: str) -> bool:
        """Whether the mask of an image, by its name, was corrected."""
        now = _state_of(self.output / REVIEWS)
        seen, edited = self._known
        if now != seen:
            reviews = read_reviews(self.output).values()
            edited = frozenset(
                review.image
                for review in reviews
                if review.edited or (self._checked and review.is_decided)
            )
            self._known = now, edited
        return image in edited


def _state_of(path: Path) -> FileState:
    """Say what tells a file from what it was before something was appended."""
    try:
        status = path.stat()
    except OSError:
        return NO_FILE
    return status.st_size, status.st_mtime_ns


def read_reviews(output: Path) -> dict[str, Review]:
    """Read a job's reviews: the latest of each image, by the image's name.

    A line that a crash cut short is skipped.
    """
    reviews: dict[str, Review] = {}
    if (output / REVIEWS).is_file():
        with (output / REVIEWS).open("rb") as file:
            for line in file:
                try:
                    review = Review.model_validate_json(line)
                except ValidationError:
                    continue
                reviews[review.image] = review
    return reviews


def read_labelled(output: Path) -> list[LabelledImage]:
    """Read the labelled images of a job, in the order of their names."""
    return [as_labelled(record) for record in read_records(output) if record.status == "done"]


def as_labelled(record: Record) -> LabelledImage:
    """Take from a record what reviewing needs."""
    r = record
    numbers = (r.expected_iou, r.expected_work, r.pixels, r.mask_checksum)
    return LabelledImage(r.image, r.stem, r.path, r.size, *numbers)


def check_mask_size(mask: np.ndarray, size: tuple[int, int], path: Path) -> None:
    """Make sure that a mask has the size of its image.

    Parameters
    ----------
    mask
        (H, W), the labels.
    size
        (height, width) of the image in pixels.
    path
        The mask's file.

    Raises
    ------
    InputError
        It has another: it was edited, and stays as it is when its image is labelled again.
    """
    if mask.shape != size:
        msg = (
            f"the mask {path} has {mask.shape[1]}x{mask.shape[0]} pixels but its image has "
            f"{size[1]}x{size[0]}; save it at the image's size, or remove it and label the image "
            "again"
        )
        raise InputError(msg)


def read_saved_mask(output: Path, image: LabelledImage, colors: Mapping[int, str]) -> np.ndarray:
    """Read an image's mask (H, W), see `read_mask`.

    Raises
    ------
    InputError
        It cannot be read, or has another size than the image.
    """
    path = result_file(output, image.stem, "png")
    mask = read_mask(path, colors)
    if image.size:
        check_mask_size(mask, image.size, path)
    return mask


def unsaved_file(output: Path, image: LabelledImage) -> Path:
    """Path of unsaved edits to an image's mask."""
    return output / UNSAVED / f"{check_inside(image.stem)}.png"


def is_corrected(review: Review | None) -> TypeGuard[Review]:
    """Whether people have corrected a mask, by its image's review, None if there is none."""
    return review is not None and review.edited


def is_kept(output: Path, record: Record, review: Review | None) -> bool:
    """Whether people have checked, corrected or begun to correct a mask: other words leave it."""
    decided = review is not None and review.is_decided
    return decided or unsaved_file(output, as_labelled(record)).is_file()
