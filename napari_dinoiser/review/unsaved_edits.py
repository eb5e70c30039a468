"""Protect unsaved edits from a crash, in separate files until they are saved."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from dinoiser.atomic import remove_file
from dinoiser.batch.reviews import UNSAVED, unsaved_file
from dinoiser.errors import InputError, OutputError
from dinoiser.export.png import read_mask, write_mask
from napari_dinoiser.in_thread import in_thread

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from dinoiser.batch.reviews import LabelledImage
    from dinoiser.prompts import PromptSet


class UnsavedEdits:
    """The unsaved edits of one image at a time, written to separate files in a thread.

    Parameters
    ----------
    output
        The job's folder.
    prompts
        Its classes.
    """

    def __init__(self, output: Path, prompts: PromptSet) -> None:
        self._output = output
        self._prompts = prompts
        self._path = output / UNSAVED
        self._kept: np.ndarray | None = None
        self._writing: Future[None] | None = None

    def watch(self, image: LabelledImage, labels: np.ndarray) -> None:
        """Start with an image whose labels, (H, W) integers, are not yet edited."""
        self._path = unsaved_file(self._output, image)
        self._kept, self._writing = labels.copy(), None

    def keep(self, labels: np.ndarray) -> None:
        """Write the labels if they changed, unless earlier ones are still being written.

        Raises
        ------
        OutputError
            Earlier ones could not be written.
        """
        if self._writing and not self._writing.done():
            return
        self.finish()
        if self._kept is not None and not np.array_equal(labels, self._kept):
            self._kept = labels.copy()
            labels = self._kept.astype(self._prompts.label_type)
            self._writing = in_thread(write_mask, labels, self._prompts, self._path)

    def finish(self) -> None:
        """Wait until labels are written.

        Raises
        ------
        OutputError
            They could not be written.
        """
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def forget(self, labels: np.ndarray) -> None:
        """Remove the file, as these labels are saved or discarded."""
        with suppress(OutputError):
            self.finish()
        self._kept = labels.copy()
        remove_file(self._path)

    def read(self, image: LabelledImage, saved: np.ndarray) -> np.ndarray | None:
        """Read an image's edits left by a crash; None if there are none or nothing new."""
        path = unsaved_file(self._output, image)
        with suppress(InputError):  # there is none, or it is damaged
            labels = read_mask(path)
            if labels.shape == saved.shape and not np.array_equal(labels, saved):
                return labels
            remove_file(path)  # they were saved just before the crash
        return None

    def stems(self) -> set[str]:
        """Return the images with unsaved edits, as the names of their results."""
        folder = self._output / UNSAVED
        return {p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.png")}
