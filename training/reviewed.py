"""Learn from the masks that a person has accepted in a job of `dinoiser label`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dinoiser.batch.edits_in_place import EditsInPlace
from dinoiser.batch.folder import prompts_of
from dinoiser.batch.job import reading_in
from dinoiser.batch.job_images import result_file
from dinoiser.batch.reviews import check_mask_size, read_labelled
from dinoiser.errors import InputError, SettingsError
from dinoiser.export.png import read_mask

from .data import FitData, share_out
from .images import FileImages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from dinoiser.images.settings import ReadSettings

    from .settings import FitSettings

FEWEST = 5  # accepted masks that a fit needs


def read_reviewed(
    output: Path, settings: FitSettings, progress: Callable[[int, int], None] | None = None
) -> FitData:
    """Read the images of a job whose masks were accepted, with these masks as segments.

    Parameters
    ----------
    output
        The job's folder.
    settings, progress
        See `read_folder`.

    Raises
    ------
    InputError
        There is no job, or fewer than `FEWEST` masks were accepted.
    SettingsError
        The job's words have no background.
    """
    prompts = prompts_of(output)
    if prompts.background is None:
        msg = (
            f"The words of the job in {output} have no class background, so its masks do not tell "
            "what an object is: label the images with one."
        )
        raise SettingsError(msg)
    edits, accepted = EditsInPlace(output), []
    for image in read_labelled(output):
        review = edits.look(image.image, image.stem, image.mask_checksum)
        if review is not None and review.state == "accepted":
            accepted.append(image)
    if len(accepted) < FEWEST:
        msg = (
            f"{len(accepted)} masks of the job in {output} are accepted, expected at least "
            f"{FEWEST}: review more images first."
        )
        raise InputError(msg)
    # a random choice that depends only on the seed and the images
    order = np.random.default_rng(settings.seed).permutation(len(accepted))
    chosen = [accepted[i] for i in order]
    paths = [Path(one.path) for one in chosen]
    masks = [result_file(output, one.stem, "png") for one in chosen]
    names = [one.image for one in chosen]
    reading = reading_in(output)
    images = MaskedImages(paths, masks, settings.crop, prompts.mask_colors, names, reading)
    files = [list(pair) for pair in zip(paths, masks, strict=True)]
    return share_out(images, files, settings, FEWEST, progress)


class MaskedImages(FileImages):
    """Image files with a mask each: classes are segments.

    Parameters
    ----------
    paths, masks
        The images' files and those of their masks.
    short_side, names, reading
        See `FileImages`.
    colors
        Colours of the masks' labels, see `read_mask`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        masks: Sequence[Path],
        short_side: int,
        colors: Mapping[int, str],
        names: Sequence[str],
        reading: ReadSettings,
    ) -> None:
        super().__init__(paths, short_side, names=names, reading=reading)
        self._masks, self._colors = list(masks), colors

    def _labels(self, index: int, image: Tensor, size: tuple[int, int]) -> np.ndarray:
        mask = read_mask(self._masks[index], self._colors)
        check_mask_size(mask, size, self._masks[index])
        height, width = image.shape[1:]
        return np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
