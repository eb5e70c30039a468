"""Masks that people edited in their place with another program: they count as corrected."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.batch.job import PROMPT_FILE
from dinoiser.batch.job_images import result_file
from dinoiser.batch.reviews import Review, append_reviews, masks_locked, read_reviews
from dinoiser.errors import InputError
from dinoiser.export.mask_colors import find_labels
from dinoiser.export.png import load_png
from dinoiser.export.png_writer import is_as_written
from dinoiser.labels import ignore_among
from dinoiser.prompts import PromptSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from PIL import Image

    from dinoiser.batch.records import Record

SHOWN = 5


class EditsInPlace:
    """A job's reviews, with one for each mask that was edited in its place.

    Such a mask is one that another program has saved since (see
    `is_as_written`) and whose pixels are not those that its record counts.

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
        Those of them that are not in the job's folder yet.
    """

    def __init__(self, output: Path, colors: Mapping[int, str] | None = None) -> None:
        self.output = output
        self._given_colors = colors
        self.reviews = read_reviews(output)
        self.found: list[Review] = []

    def review_of(self, record: Record) -> Review | None:
        """Return an image's review; a mask that was edited in its place is accepted by that.

        Raises
        ------
        InputError
            The job's prompt file, by which masks are read, is missing or damaged.
        """
        review = self.reviews.get(record.image)
        if record.status != "done" or (review is not None and review.edited):
            return review
        path = result_file(self.output, record.stem, "png")
        try:
            if is_as_written(path):
                return review
            mask = load_png(path, "mask", "label the image again")
        except (OSError, InputError):  # missing or damaged: there is nothing to keep
            return review
        pixels = self._count_pixels(mask)
        if pixels is not None and _without_ignored(pixels) == _without_ignored(record.pixels):
            return review  # saved again as it was
        edit = Review(
            image=record.image,
            stem=record.stem,
            state="rejected" if review is not None and review.state == "rejected" else "accepted",
            edited=True,
            pixels=pixels,
            time=datetime.now(UTC),
        )
        self.reviews[record.image] = edit
        self.found.append(edit)
        return edit

    def save(self) -> list[str]:
        """Write the reviews that were found into the job's folder; say so in a sentence, if any.

        Raises
        ------
        OutputError
            They cannot be written.
        """
        found, self.found = self.found, []
        if not found:
            return []
        with masks_locked(self.output):
            append_reviews(self.output, found)
        names = ", ".join(review.image for review in found[:SHOWN])
        more = f" and {len(found) - SHOWN} more" if found[SHOWN:] else ""
        masks = "1 mask was" if len(found) == 1 else f"{len(found)} masks were"
        return [f"{masks} edited with another program, and kept as corrected: {names}{more}"]

    @cached_property
    def _colors(self) -> Mapping[int, str]:
        return self._given_colors or PromptSet.load(self.output / PROMPT_FILE).mask_colors

    def _count_pixels(self, mask: Image.Image) -> dict[int, int] | None:
        """Count each label's pixels; None if the colours are not those of the job's classes."""
        colors = self._colors
        try:
            labels = find_labels(mask, colors)
        except ValueError:  # whoever reads the mask names what is wrong with it
            return None
        values, counts = np.unique(labels, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))


def keep_edits(
    output: Path, records: Iterable[Record], colors: Mapping[int, str] | None = None
) -> list[str]:
    """Count masks that were edited in their place as corrected from now on.

    Parameters
    ----------
    output, colors
        See `EditsInPlace`.
    records
        The images to look at.

    Returns
    -------
    list of str
        See `EditsInPlace.save`.
    """
    edits = EditsInPlace(output, colors)
    for record in records:
        edits.review_of(record)
    return edits.save()


def _without_ignored(pixels: Mapping[int, int]) -> dict[int, int]:
    """Leave out ignored pixels, whose label depends on the job's other ids, and what is not there.

    What is left tells two masks of one size apart all the same.
    """
    ignored = ignore_among(pixels)
    return {label: count for label, count in pixels.items() if count and label != ignored}
