"""Read the user's labels: folders of masks, and COCO files."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dinoiser.errors import InputError
from dinoiser.evaluation.truth import read_indices
from dinoiser.export.coco_reader import CocoReader
from dinoiser.export.mask_file import find_mask_files, open_mask_file
from dinoiser.export.png import read_mask
from dinoiser.images.job_folders import MARKS
from dinoiser.labels import with_left_out
from dinoiser.prompts.palette import label_colors

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path


class LabelFiles(Protocol):
    """Labels of many images."""

    names: dict[int, str]
    """Class names by label; empty if the files do not contain them."""
    notes: Sequence[str]
    """What a person should know of the files, a sentence each."""

    @property
    def images(self) -> Collection[str]:
        """Names of the images: paths with forward slashes, without suffix."""

    def size(self, image: str) -> tuple[int, int] | None:
        """Look up (height, width) of an image's labels; None where they cannot be read."""

    def read(self, image: str) -> np.ndarray:
        """Read labels (H, W) int32 of an image; 0 = background, -1 = ignored."""


def open_labels(path: Path) -> LabelFiles:
    """Open a folder of masks, the output folder of `dinoiser label`, or a COCO file.

    Raises
    ------
    InputError
        The path is none of these.
    """
    if path.is_dir():
        return MaskFolder(path)
    if path.is_file():
        return CocoLabels(path)
    msg = f"there is no {path}; expected a folder of masks or a COCO file"
    raise InputError(msg)


def folder_of_masks(folder: Path) -> Path:
    """Return where the masks of a folder are: `masks/` of a job, else the folder itself."""
    # in a job, pictures may lie beside the masks, such as that of an earlier evaluation
    is_job = all((folder / name).exists() for name in MARKS)
    has_masks = (folder / "masks").is_dir()
    return folder / "masks" if has_masks and (is_job or not any(folder.glob("*.png"))) else folder


class MaskFolder:
    """PNG or TIFF masks in a folder and its subfolders; 255, or 65535 of 16 bits, = ignored.

    Parameters
    ----------
    folder
        The folder; if `dinoiser label` wrote it, class names and colours are
        read from its classes.json. Labels are then told by the colours, see
        `find_labels`; otherwise they are the masks' values.
    """

    notes: Sequence[str] = ()

    def __init__(self, folder: Path) -> None:
        folder = folder_of_masks(folder)
        self._files = {
            _stem(path.relative_to(folder).as_posix()): path for path in find_mask_files(folder)
        }
        if not self._files:
            msg = f"there are no PNG or TIFF masks in {folder}; give the folder that contains them"
            raise InputError(msg)
        classes = _read_classes(folder) or _read_classes(folder.parent)
        self.names = {label: name for label, (name, _) in classes.items()}
        colors = {label: color for label, (_, color) in classes.items() if color}
        self._colors = label_colors(colors) if classes and len(colors) == len(classes) else None

    @property
    def images(self) -> Collection[str]:
        """See `LabelFiles`."""
        return self._files.keys()

    def size(self, image: str) -> tuple[int, int] | None:
        """See `LabelFiles`."""
        # reading the labels will name what is wrong
        with suppress(Exception), open_mask_file(self._files[image]) as mask:
            return mask.height, mask.width
        return None

    def read(self, image: str) -> np.ndarray:
        """See `LabelFiles`."""
        path, colors = self._files[image], self._colors
        return with_left_out(read_mask(path, colors) if colors else read_indices(path))


class CocoLabels:
    """The annotations of a COCO file, drawn as labels; labels are the category ids.

    Parameters
    ----------
    path
        The file. Where annotations overlap, the smaller ones are on top.
    """

    def __init__(self, path: Path) -> None:
        self._file = CocoReader(path)
        if self._file.shift:
            msg = f"{path} has a category with id 0, which is for the background; number from 1"
            raise InputError(msg)
        self.names = self._file.names
        self.notes: Sequence[str] = self._file.notes
        self._file_names = {_stem(name): name for name in self._file.sizes}

    @property
    def images(self) -> Collection[str]:
        """See `LabelFiles`."""
        return self._file_names.keys()

    def size(self, image: str) -> tuple[int, int] | None:
        """See `LabelFiles`."""
        return self._file.sizes[self._file_names[image]]

    def read(self, image: str) -> np.ndarray:
        """See `LabelFiles`."""
        return self._file.draw_labels(self._file_names[image]).astype(np.int32)


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _read_classes(folder: Path) -> dict[int, tuple[str, str | None]]:
    """Read name and colour of each label; empty if there is no classes.json."""
    from dinoiser.batch.job import CLASSES_FILE

    path = folder / CLASSES_FILE
    if not path.is_file():
        return {}
    try:
        classes: list[dict[str, Any]] = json.loads(path.read_bytes())
        return {entry["id"]: (entry["name"], entry.get("color")) for entry in classes}
    except (ValueError, KeyError, TypeError) as error:
        msg = (
            f"{path} does not contain classes ({error!r}); move it away to compare labels by number"
        )
        raise InputError(msg) from error
