"""Read folders of PNG or TIFF masks, with or without a list of their classes and colours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dinoiser.batch.job import CLASSES_FILE
from dinoiser.errors import InputError
from dinoiser.export.mask_file import find_mask_files
from dinoiser.export.png import read_mask
from dinoiser.export.voc import CLASS_FOLDER, LABEL_MAP
from dinoiser.labels import with_left_out
from dinoiser.plain_text import decode
from dinoiser.prompts.palette import IGNORE_COLOR, label_colors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import numpy as np


class MaskAnnotations:
    """PNG or TIFF masks; see `Annotations`.

    Parameters
    ----------
    place
        A folder, or one mask. Classes and colours are those of labelmap.txt
        (CVAT's "Segmentation mask 1.1", VOC) or of classes.json in the folder
        or above it.
    colors
        Those of masks without a list of classes; such masks hold the labels.
    """

    notes: Sequence[str] = ()

    def __init__(self, place: Path, colors: Mapping[int, str]) -> None:
        folder = place if place.is_dir() else place.parent
        classes = next(folder.rglob(CLASS_FOLDER), None)
        files = find_mask_files(classes or folder) if place.is_dir() else [place]
        if not files:
            msg = f"there are no annotations in {place}; give the folder or file that holds them"
            raise InputError(msg)
        self.knows_ignored = True
        # without the suffix: that of a mask is not that of its image
        base = classes or folder
        self._files = {f.relative_to(base).with_suffix("").as_posix(): f for f in files}
        self.images: Collection[str] = self._files.keys()
        self.empty: Collection[str] = ()
        label_map = next(folder.rglob(LABEL_MAP), None)
        listed = (folder / CLASSES_FILE, folder.parent / CLASSES_FILE)
        if label_map:
            self.classes, self.colors = _read_label_map(label_map)
            self.knows_ignored = False  # not in CVAT, to which ignored pixels go as background
        elif found := next((file for file in listed if file.is_file()), None):
            self.classes, self.colors = _read_classes(found)
        else:
            self.classes, self.colors = {}, {}
        self._colors = label_colors(self.colors) if self.colors else colors

    def draw(self, image: str) -> np.ndarray:
        """See `Annotations`."""
        again = "export it again from where it came"
        return with_left_out(read_mask(self._files[image], self._colors, again))


def _read_label_map(path: Path) -> tuple[dict[int, str], dict[int, str]]:
    """Read names and colours from lines such as "dog:230,25,75::"."""
    names, colors = {}, {}
    try:
        lines = decode(path.read_bytes()).splitlines()
    except ValueError as error:
        msg = f"{path} does not list classes: {error}"
        raise InputError(msg) from error
    entries = [line for line in lines if line.strip() and not line.startswith("#")]
    # the background, wherever it is listed, is label 0
    entries.sort(key=lambda line: line.partition(":")[0].casefold() != "background")
    first = int(not entries or entries[0].partition(":")[0].casefold() != "background")
    for label, entry in enumerate(entries, start=first):
        name, _, rest = entry.partition(":")
        try:
            red, green, blue = (int(number) for number in rest.split(":")[0].split(","))
            color = f"#{red:02x}{green:02x}{blue:02x}"
        except ValueError as error:
            msg = f"{path} has the line {entry!r}, expected name:red,green,blue::"
            raise InputError(msg) from error
        if color != IGNORE_COLOR:
            names[label], colors[label] = name, color
    return names, colors


def _read_classes(path: Path) -> tuple[dict[int, str], dict[int, str]]:
    try:
        entries = json.loads(path.read_bytes())
        names = {entry["id"]: entry["name"] for entry in entries}
        return names, {entry["id"]: entry["color"] for entry in entries}
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} does not list classes ({error!r}); move it away, or write it anew"
        raise InputError(msg) from error
