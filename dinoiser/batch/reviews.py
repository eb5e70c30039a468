"""What people decided on a job's images, and the order in which they look at them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from dinoiser.batch.job_images import result_file
from dinoiser.batch.records import append_lines, read_records
from dinoiser.errors import InputError
from dinoiser.export.png import write_mask
from dinoiser.images.inputs import check_inside
from dinoiser.segmentation import IGNORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dinoiser.prompts import PromptSet

REVIEWS = Path("reviews.jsonl")
UNSAVED = Path(".unsaved")
"""Folder of edits that are not saved yet; hidden, so that it is never taken for images."""

State = Literal["unchecked", "accepted", "rejected"]
Order = Literal["least certain", "file name", "class share"]


class Review(BaseModel):
    """What a person decided on one image.

    Attributes
    ----------
    image
        Name of the image, as in its record.
    state
        Rejected images are left out of exports.
    edited
        Whether its mask was corrected, now or earlier.
    pixels
        Number of pixels of every label of the corrected mask; None where it is
        as the model left it.
    time
        When, in UTC.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    state: State = "unchecked"
    edited: bool = False
    pixels: dict[int, int] | None = None
    time: datetime | None = None


class LabelledImage(NamedTuple):
    """What reviewing needs of a record; small, as all of a job's are in memory.

    `size` is (height, width) in pixels, `pixels` the number of pixels of every
    label as the model left them, and the rest is as in `Record`.
    """

    image: str
    stem: str
    path: str
    size: tuple[int, int] | None
    certainty: float | None
    pixels: dict[int, int]


class Reviews:
    """The reviews of a job, in memory and in its folder.

    Parameters
    ----------
    output
        The job's folder.
    prompts
        Its classes; a corrected mask may hold no other labels.

    Attributes
    ----------
    latest
        The latest review of every reviewed image, by the image's name.
    """

    def __init__(self, output: Path, prompts: PromptSet) -> None:
        self.output = output
        self.prompts = prompts
        self.latest = read_reviews(output)

    def of(self, labelled: LabelledImage) -> Review:
        """Give the latest review of an image, or one that says unchecked."""
        return self.latest.get(labelled.image) or Review(image=labelled.image)

    def is_checked(self, labelled: LabelledImage) -> bool:
        """Whether someone accepted or rejected the image."""
        review = self.latest.get(labelled.image)
        return review is not None and review.state != "unchecked"

    def save(
        self, labelled: LabelledImage, state: State, labels: np.ndarray | None = None
    ) -> Review:
        """Write down a decision, after the corrected mask that it is about.

        Parameters
        ----------
        image
            The image.
        state
            What was decided.
        labels
            (H, W) integers, the corrected mask; None leaves the mask as it is.

        Raises
        ------
        InputError
            The labels have another size than the image, or are no class's.
        OutputError
            The mask or the decision cannot be written.
        """
        earlier = self.of(labelled)
        edited, pixels = earlier.edited, earlier.pixels
        if labels is not None:
            edited, pixels = True, self._check(labelled, labels)
            write_mask(labels.astype(np.uint8), self.prompts, mask_file(self.output, labelled))
        review = Review(
            image=labelled.image, state=state, edited=edited, pixels=pixels, time=datetime.now(UTC)
        )
        append_lines(self.output / REVIEWS, review.model_dump_json().encode() + b"\n")
        self.latest[labelled.image] = review
        return review

    def _check(self, labelled: LabelledImage, labels: np.ndarray) -> dict[int, int]:
        """Count the pixels of every label."""
        if labelled.size and labels.shape != labelled.size:
            msg = (
                f"the labels of {labelled.image} are {labels.shape} pixels (height, width), the "
                f"image {labelled.size}; give the labels the size of the image"
            )
            raise InputError(msg)
        counts = {int(n): int(c) for n, c in zip(*np.unique(labels, return_counts=True))}  # noqa: B905
        unknown = counts.keys() - {0, IGNORE} - {item.id for item in self.prompts.classes}
        if unknown:
            msg = (
                f"label {min(unknown)} of {labelled.image} is none of the job's classes; paint "
                "over it with one of them, or undo"
            )
            raise InputError(msg)
        return counts


def read_reviews(output: Path) -> dict[str, Review]:
    """Read a job's reviews: the latest of every image, by the image's name.

    A line that a crash cut short is passed over.
    """
    reviews: dict[str, Review] = {}
    if (output / REVIEWS).exists():
        with (output / REVIEWS).open("rb") as file:
            for line in file:
                try:
                    review = Review.model_validate_json(line)
                except ValidationError:
                    continue
                reviews[review.image] = review
    return reviews


def read_labelled(output: Path) -> list[LabelledImage]:
    """Read the images of a job that are labelled, in the order of their names."""
    return [
        LabelledImage(r.image, r.stem, r.path, r.size, r.certainty, r.pixels)
        for r in read_records(output)
        if r.status == "done"
    ]


def mask_file(output: Path, image: LabelledImage) -> Path:
    """Place of an image's mask.

    Raises
    ------
    InputError
        The record names a place outside the job's folder.
    """
    return result_file(output, image.stem, "png")


def unsaved_file(output: Path, image: LabelledImage) -> Path:
    """Place of edits to an image's mask that are not saved yet."""
    return output / UNSAVED / f"{check_inside(image.stem)}.png"


def sort_images(
    images: Iterable[LabelledImage],
    reviews: Mapping[str, Review],
    order: Order,
    class_id: int = 0,
) -> list[LabelledImage]:
    """Sort images for a review.

    Parameters
    ----------
    images
        The images.
    reviews
        From `read_reviews`: corrected masks count as they are now.
    order
        "least certain": by the mean confidence, images of which all pixels
        are ignored first. "file name": by name. "class share": those first that
        have most of one class. Equals stay in the order of their names.
    class_id
        The class that "class share" is about.
    """

    def share(image: LabelledImage) -> float:
        review = reviews.get(image.image)
        pixels = (review and review.pixels) or image.pixels
        return pixels.get(class_id, 0) / max(1, sum(pixels.values()))

    by_name = sorted(images, key=lambda image: image.image)
    if order == "least certain":
        return sorted(by_name, key=lambda p: -1.0 if p.certainty is None else p.certainty)
    if order == "class share":
        return sorted(by_name, key=share, reverse=True)
    return by_name
