"""The state of a review without a window: the current image, its labels, what is saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dinoiser.batch.folder import prompts_of
from dinoiser.batch.job import reading_in
from dinoiser.batch.job_images import result_file
from dinoiser.batch.review_order import sort_images
from dinoiser.batch.reviews import (
    LabelledImage,
    OtherMaskError,
    Review,
    Reviews,
    read_labelled,
    read_saved_mask,
)
from dinoiser.errors import DinoiserError, InputError
from dinoiser.export.confidence import read_confidence
from dinoiser.images import read_labelled_image
from napari_dinoiser.in_thread import in_thread
from napari_dinoiser.review.unsaved_edits import UnsavedEdits

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from dinoiser.batch.review_order import Order


class Counts(NamedTuple):
    """How many images were checked; of these, whose mask was corrected and that were rejected."""

    checked: int
    corrected: int
    rejected: int


@dataclass
class OpenImage:
    """An image under review.

    Attributes
    ----------
    labelled
        The image's entry in the job.
    image
        (H, W, 3) uint8 RGB.
    saved
        (H, W) uint8 labels in the mask's file.
    labels
        (H, W) integers as shown; painting changes them.
    recovered
        Whether `labels` started with unsaved edits recovered after a crash.
    """

    labelled: LabelledImage
    image: np.ndarray
    saved: np.ndarray
    labels: np.ndarray
    recovered: bool = False

    @property
    def edited(self) -> bool:
        """Whether there is anything to save."""
        return not np.array_equal(self.labels, self.saved)

    def take_up(self, mask: np.ndarray) -> None:
        """Take up the mask that another program has saved; what was painted stays on it."""
        self.labels = np.where(self.labels == self.saved, mask, self.labels)
        self.saved = mask


class ReviewSession:
    """A job's images in some order, one of them open.

    Moving to another image saves corrections. An image with a corrected mask
    counts as accepted, unless it is rejected.

    Parameters
    ----------
    output
        The job's folder.

    Attributes
    ----------
    prompts
        The job's classes.
    queue
        Images in review order.
    position
        Index of the current image in the queue.
    current
        The current image; None if it cannot be read or there is none.
    problem
        Why it cannot be read, in one sentence.

    Raises
    ------
    InputError
        The folder does not contain a job, its job.yaml is damaged, or the job has
        no labelled images.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.prompts = prompts_of(output)
        self._reading = reading_in(output)
        self._reviews = Reviews(output, self.prompts)
        self._images = read_labelled(output)
        if not self._images:
            msg = f"{output} contains no labelled images; rerun its job before reviewing it"
            raise InputError(msg)
        self.queue: list[LabelledImage] = []
        self.position = 0
        self.current: OpenImage | None = None
        self.problem: str | None = None
        self._ahead: tuple[LabelledImage, Future[OpenImage]] | None = None
        self._unsaved = UnsavedEdits(output, self.prompts)

    @property
    def labelled(self) -> LabelledImage | None:
        """The current image, whether or not it can be read; None if the queue is empty."""
        return self.queue[self.position] if self.queue else None

    @property
    def edited(self) -> bool:
        """Whether there is anything to save."""
        return self.current is not None and self.current.edited

    @property
    def counts(self) -> Counts:
        """How far the review of the job's images is."""
        reviews = [self._reviews.of(image) for image in self._images]
        checked = [review for review in reviews if review.state != "unchecked"]
        rejected = sum(review.state == "rejected" for review in checked)
        corrected = sum(review.edited and review.state == "accepted" for review in checked)
        return Counts(len(checked), corrected, rejected)

    @property
    def total(self) -> int:
        """Number of the job's labelled images."""
        return len(self._images)

    def review(self) -> Review | None:
        """Return the review of the current image."""
        return self._reviews.of(self.labelled) if self.labelled else None

    def review_of(self, image: LabelledImage) -> Review:
        """Return the review of an image."""
        return self._reviews.of(image)

    def arrange(
        self, order: Order = "worst", class_id: int = 0, *, only_unchecked: bool = False
    ) -> None:
        """Sort the queue and open its first unchecked image.

        An image with unsaved edits from a crash is opened first.

        Parameters
        ----------
        order, class_id
            See `dinoiser.batch.review_order.sort_images`.
        only_unchecked
            Hide images that were accepted or rejected.

        Raises
        ------
        InputError, OutputError
            Corrections cannot be saved.
        """
        self.save()
        vectors = self._read_vectors() if order == "most useful" else None
        queue = sort_images(self._images, self._reviews.latest, order, class_id, vectors)
        if only_unchecked:
            queue = [image for image in queue if not self._reviews.is_checked(image)]
        self.queue = queue
        self.position = self._find_unsaved()
        if self.position < 0:
            self.position = max(0, self._find_unchecked(0))
        self._open()

    def _read_vectors(self) -> dict[str, np.ndarray]:
        """Read what is kept of each image for the order by what it would teach."""
        from dinoiser.batch.features import read_mean

        means = {image.image: read_mean(self.output, image.stem) for image in self._images}
        return {name: mean for name, mean in means.items() if mean is not None}

    def move(self, step: int) -> bool:
        """Save corrections and move forward or back in the queue.

        Returns
        -------
        bool
            False at the end of the queue.

        Raises
        ------
        InputError, OutputError
            Corrections cannot be saved; the image stays open.
        """
        self.save()
        return self._go(self.position + step)

    def open_at(self, position: int) -> bool:
        """Save corrections and open another image of the queue, see `move`."""
        self.save()
        return self._go(position)

    def confidence(self) -> np.ndarray:
        """Read the model's confidence in the current image.

        Returns
        -------
        np.ndarray
            (H, W) float32, from 0 to 1.

        Raises
        ------
        InputError
            The job did not save it (`-f confidence`), or the file cannot be read.
        """
        if self.labelled is None:
            msg = "there is no image whose confidence could be shown"
            raise InputError(msg)
        return read_confidence(result_file(self.output, self.labelled.stem, "confidence"))

    def move_to_unchecked(self) -> bool:
        """Save corrections and move to the next unchecked image, wrapping around.

        Returns
        -------
        bool
            False if the whole queue is checked.

        Raises
        ------
        InputError, OutputError
            Corrections cannot be saved; the image stays open.
        """
        self.save()
        return self._go(self._find_unchecked(self.position + 1))

    def accept(self) -> bool:
        """Accept the image and move on, see `move`; do nothing if it cannot be read."""
        if self.current is None:
            return False
        self._save(self.current, "accepted")
        return self._go(self.position + 1)

    def reject(self) -> bool:
        """Reject the image, which excludes it from exports, and move on, see `move`."""
        if self.current is not None:
            self._save(self.current, "rejected")
        elif self.labelled is not None:
            self._reviews.save(self.labelled, "rejected")
        return self._go(self.position + 1)

    def save(self) -> None:
        """Save corrections, if any.

        Raises
        ------
        InputError, OutputError
            Corrections cannot be saved, see `dinoiser.batch.reviews.Reviews.save`.
        """
        # whoever moves on goes by the words and decisions that the job has now, edits or none
        self._reviews.check_words()
        self._reviews.catch_up()
        if self.current is None:
            return
        if self.current.edited:
            state = self._reviews.of(self.current.labelled).state
            # a correction counts as acceptance, but does not undo a rejection
            self._save(self.current, "rejected" if state == "rejected" else "accepted")
        else:  # corrections were undone
            self._unsaved.forget(self.current.labels)

    def revert(self) -> None:
        """Discard corrections since the last save."""
        if self.current is not None:
            self.current.labels = self.current.saved.copy()
            self._unsaved.forget(self.current.labels)

    def keep_unsaved(self) -> None:
        """Write new edits to a separate file, in a thread.

        After a crash, the image opens with them.

        Raises
        ------
        OutputError
            Earlier edits could not be written.
        """
        if self.current is not None:
            self._unsaved.keep(self.current.labels)

    def put_aside(self) -> None:
        """Close the current image; its unsaved edits are kept as for a crash.

        Raises
        ------
        OutputError
            They cannot be written.
        """
        self._unsaved.finish()
        self.keep_unsaved()
        self._unsaved.finish()
        self.current = None

    def _save(self, current: OpenImage, state: Any) -> None:
        labels = current.labels if current.edited else None
        try:
            self._reviews.save(current.labelled, state, labels, seen=current.saved)
        except OtherMaskError as changed:
            current.take_up(changed.mask)
            raise
        current.saved = current.labels.copy()
        self._unsaved.forget(current.labels)

    def _go(self, position: int) -> bool:
        if not 0 <= position < len(self.queue):
            return False
        self.position = position
        self._open()
        return True

    def _open(self) -> None:
        """Open the current image, and start reading the next one in a thread."""
        self.current, self.problem = None, None
        ahead, self._ahead = self._ahead, None
        labelled = self.labelled
        if labelled is None:
            return
        try:
            # usually already read in the background while the previous image was on screen
            if ahead and ahead[0] is labelled:
                self.current = ahead[1].result()
            else:
                self.current = self._read(labelled)
            self._unsaved.watch(labelled, self.current.labels)
        except DinoiserError as error:
            self.problem = str(error)
        if self.position + 1 < len(self.queue):
            following = self.queue[self.position + 1]
            self._ahead = following, in_thread(self._read, following)

    def _read(self, labelled: LabelledImage) -> OpenImage:
        saved = read_saved_mask(self.output, labelled, self.prompts.mask_colors)
        image = read_labelled_image(labelled.path, saved.shape, self._reading)
        labels = self._unsaved.read(labelled, saved)
        if labels is not None:
            return OpenImage(labelled, image, saved, labels, recovered=True)
        return OpenImage(labelled, image, saved, saved.copy())

    def _find_unchecked(self, start: int) -> int:
        """Return the index of the next unchecked image from `start`, wrapping around, or -1."""
        places = [*range(start, len(self.queue)), *range(min(start, len(self.queue)))]
        return next((i for i in places if not self._reviews.is_checked(self.queue[i])), -1)

    def _find_unsaved(self) -> int:
        stems = self._unsaved.stems()
        return next((i for i, p in enumerate(self.queue) if p.stem in stems), -1)
