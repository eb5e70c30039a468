"""Masks that people edited in their place, or removed: what counts as corrected, and what not."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from dinoiser.batch.job import PROMPT_FILE
from dinoiser.batch.job_images import result_file
from dinoiser.batch.reviews import (
    Review,
    append_reviews,
    count_labels,
    is_corrected,
    masks_locked,
    read_reviews,
)
from dinoiser.batch.summary import name_some
from dinoiser.errors import InputError
from dinoiser.export.png import load_mask_file, read_mask
from dinoiser.export.png_writer import pixels_checksum, read_seal
from dinoiser.images.reading import read_format
from dinoiser.prompts import PromptSet

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    import numpy as np

    from dinoiser.batch.job_images import JobImage
    from dinoiser.batch.records import Record


class EditsInPlace:
    """A job's reviews, with one for each mask that was edited in its place.

    Such a mask is one that another program has saved since (see `read_seal`)
    with other pixels than its record tells of.

    Parameters
    ----------
    output
        The job's folder.
    colors
        Colour of each label in its masks; None for those of its prompt file.

    Attributes
    ----------
    reviews
        The latest review of each reviewed image, by the image's name.
    found
        Those of them that are not in the job's folder yet, by the same.
    """

    def __init__(self, output: Path, colors: Mapping[int, str] | None = None) -> None:
        self.output = output
        self._given_colors = colors
        self.reviews = read_reviews(output)
        self.found: dict[str, Review] = {}

    def review_of(self, record: Record) -> Review | None:
        """Return an image's review; a mask that was edited in its place is accepted by that.

        Raises
        ------
        InputError
            The job's prompt file, by which masks are read, is missing or damaged.
        """
        return self.look(record.image, record.stem, record.mask_checksum)

    def look(self, image: str, stem: str, checksum: int | None = None) -> Review | None:
        """Return an image's review, see `review_of`.

        Parameters
        ----------
        image, stem
            Names of the image and of its results.
        checksum
            That of the mask as it was written; None where no record tells of it.
        """
        review = self.reviews.get(image)
        if is_corrected(review):
            checksum = review.mask_checksum
        path = result_file(self.output, stem, "png")
        try:
            if read_seal(path) is not None:
                return review
        except OSError:  # there is no mask
            return review
        labels = self._read_labels(path)
        if labels is None and (is_corrected(review) or _is_damaged(path)):
            return review  # known already, or nothing to keep
        found = None if labels is None else pixels_checksum(labels)
        if found is not None and found == checksum:
            return review  # saved again as it was
        edit = Review(
            image=image,
            stem=stem,
            state="rejected" if review is not None and review.state == "rejected" else "accepted",
            edited=True,
            pixels=None if labels is None else count_labels(labels),
            mask_checksum=found,
            time=datetime.now(UTC),
        )
        self.reviews[image] = self.found[image] = edit
        return edit

    def save(self, without: Collection[str] = ()) -> list[str]:
        """Write the reviews that were found into the job's folder.

        Parameters
        ----------
        without
            Images to leave out.

        Returns
        -------
        list of str
            What was found, in a sentence, if anything was.

        Raises
        ------
        OutputError
            They cannot be written.
        """
        found = [review for name, review in self.found.items() if name not in without]
        self.found = {}
        if not found:
            return []
        with masks_locked(self.output):
            append_reviews(self.output, found)
        names = name_some([review.image for review in found])
        masks = "1 mask was" if len(found) == 1 else f"{len(found)} masks were"
        return [f"{masks} edited with another program, and kept as corrected: {names}"]

    @cached_property
    def _colors(self) -> Mapping[int, str]:
        return self._given_colors or PromptSet.load(self.output / PROMPT_FILE).mask_colors

    def _read_labels(self, path: Path) -> np.ndarray | None:
        """Read a mask (H, W); None where whoever needs it will name what is wrong with it."""
        colors = self._colors
        try:
            return read_mask(path, colors)
        except InputError:
            return None


def take_back_lost(output: Path, images: Iterable[JobImage]) -> list[str]:
    """Take back the reviews of corrected masks that are gone, before the model's take their place.

    Else these would count as a person's, and teach.

    Returns
    -------
    list of str
        Which they were, in a sentence, if there were any.

    Raises
    ------
    OutputError
        The reviews cannot be written.
    """
    reviews = read_reviews(output)
    lost = [
        Review(
            image=image.name,
            stem=image.stem,
            state="rejected" if review.state == "rejected" else "unchecked",
            time=datetime.now(UTC),
        )
        for image in images
        if is_corrected(review := reviews.get(image.name))
        and not result_file(output, image.stem, "png").is_file()
    ]
    if not lost:
        return []
    with masks_locked(output):
        append_reviews(output, lost)
    masks = "1 corrected mask is" if len(lost) == 1 else f"{len(lost)} corrected masks are"
    names = name_some([review.image for review in lost])
    return [f"{masks} gone, and the model's own take their place, to be reviewed: {names}"]


def _is_damaged(mask: Path) -> bool:
    """Whether a file is no image, or a PNG that is not whole: there is nothing to keep."""
    try:
        if read_format(mask) == "PNG":
            load_mask_file(mask, "mask", "label the image again")
    except InputError:
        return True
    return False
