"""Open the annotations of other programs, whatever their format."""

from __future__ import annotations

import json
import zipfile
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from dinoiser.bridges.cvat import read_cvat
from dinoiser.bridges.datumaro import is_datumaro, read_datumaro
from dinoiser.bridges.label_studio import is_label_studio, read_label_studio
from dinoiser.bridges.masks import MaskAnnotations
from dinoiser.errors import InputError
from dinoiser.export.coco_reader import LISTS, CocoReader
from dinoiser.export.mask_file import MASK_SUFFIXES
from dinoiser.export.voc import CLASS_FOLDER, LABEL_MAP

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import numpy as np

_KINDS = "COCO, CVAT, Label Studio, Datumaro, PNG or TIFF masks"
_READ_FROM_ZIP = (".json", ".xml", ".txt", ".png")


class Annotations(Protocol):
    """Annotations of many images.

    Attributes
    ----------
    classes
        Name of each label.
    colors
        Colour "#rrggbb" of labels, where the file has any.
    images
        Names of the annotated images, with forward slashes, with or without
        suffix.
    empty
        Names of images without any annotation: nobody has looked at them, or
        there is nothing in them, which the file does not say.
    knows_ignored
        Whether pixels can be marked as ignored. Where they cannot, background
        may stand for them as well.
    notes
        What a person should know of the file, a sentence each.
    """

    classes: dict[int, str]
    colors: dict[int, str]
    images: Collection[str]
    empty: Collection[str]
    knows_ignored: bool
    notes: Sequence[str]

    def draw(self, image: str) -> np.ndarray:
        """Draw the labels of an image: (H, W) int32, 0 = no class, -1 = ignored.

        Raises
        ------
        InputError
            The annotations of the image are damaged.
        """


class CocoAnnotations:
    """A COCO file; see `Annotations`."""

    knows_ignored = False

    def __init__(self, path: Path) -> None:
        self._file = CocoReader(path)
        self.classes = self._file.names
        self.notes: Sequence[str] = self._file.notes
        self.colors: dict[int, str] = {}
        self.images: Collection[str] = [n for n in self._file.sizes if self._file.is_annotated(n)]
        self.empty: Collection[str] = sorted(self._file.sizes.keys() - set(self.images))

    def draw(self, image: str) -> np.ndarray:
        """See `Annotations`."""
        return self._file.draw_labels(image).astype("int32")


@contextmanager
def open_annotations(path: Path, colors: Mapping[int, str]) -> Iterator[list[Annotations]]:
    """Open a file, a folder or a zip of annotations.

    Parameters
    ----------
    path
        COCO, Datumaro or Label Studio (JSON), CVAT (XML), PNG or TIFF masks, or a
        folder or zip with any of them, such as CVAT's exports.
    colors
        Colour of each label in masks that come without a list of classes.

    Raises
    ------
    InputError
        There is nothing of the kind, or it is damaged.
    """
    if not path.exists():
        msg = f"there is no {path}; expected {_KINDS}"
        raise InputError(msg)
    if path.suffix.lower() != ".zip":
        yield _open_folder(path, colors) if path.is_dir() else [_open_file(path, colors)]
        return
    with TemporaryDirectory() as folder:
        _unpack(path, Path(folder))
        try:
            yield _open_folder(Path(folder), colors)
        except InputError as error:
            raise type(error)(str(error).replace(folder, str(path))) from error


def _unpack(path: Path, folder: Path) -> None:
    """Unpack what may hold annotations; photographs stay in the archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = [n for n in archive.namelist() if n.lower().endswith(_READ_FROM_ZIP)]
            archive.extractall(folder, wanted)  # which lets no name lead out of the folder
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        msg = f"{path} cannot be unpacked ({error}); export it again"
        raise InputError(msg) from error


def _open_folder(folder: Path, colors: Mapping[int, str]) -> list[Annotations]:
    if any(folder.rglob(LABEL_MAP)) or any(folder.rglob(CLASS_FOLDER)):
        return [MaskAnnotations(folder, colors)]
    if (folder / "masks").is_dir():
        return [MaskAnnotations(folder / "masks", colors)]
    # in COCO's folders, captions and keypoints lie beside the instances
    coco = sorted(folder.rglob("instances_*.json"))
    files = coco or [*sorted(folder.rglob("*.json")), *sorted(folder.rglob("*.xml"))]
    found = [_open_file(file, colors) for file in files if file.name != "classes.json"]
    return found or [MaskAnnotations(folder, colors)]


def _open_file(path: Path, colors: Mapping[int, str]) -> Annotations:
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return read_cvat(path)
    if suffix in MASK_SUFFIXES:
        return MaskAnnotations(path, colors)
    document = _read_json(path) if suffix == ".json" else None
    if isinstance(document, dict) and all(key in document for key in LISTS):
        return CocoAnnotations(path)
    if is_datumaro(document):
        return read_datumaro(path, document)
    if is_label_studio(document):
        return read_label_studio(path, document)
    msg = f"{path} holds no annotations of images; expected {_KINDS}"
    raise InputError(msg)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        msg = f"{path} is not JSON ({error}); export it again"
        raise InputError(msg) from error
