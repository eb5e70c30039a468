"""Find the benchmarks' files in the layouts in which data sets are published."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dinoiser.errors import InputError
from dinoiser.plain_text import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEPTH = 5
"""Number of folder levels below the root to search."""
COCO_SPLIT = "val2017"


class Pair(NamedTuple):
    """An image and the file of its labels."""

    image: Path
    truth: Path


def find_voc(root: Path) -> list[Pair]:
    """Find the 1449 images of PASCAL VOC 2012's val split."""
    split = "ImageSets/Segmentation/val.txt"
    folder = _find(root, "VOC2012", split)
    return _listed(folder, folder / split, folder / "SegmentationClass", ".png")


def find_context(root: Path) -> list[Pair]:
    """Find the 5105 images of PASCAL Context's val split.

    The labels are the usual PNG files of 60 classes or, if there are none, the
    official .mat files of 459 classes, in a folder `trainval` anywhere below
    the root.
    """
    usual, official = "ImageSets/SegmentationContext/val.txt", "ImageSets/Main/val.txt"
    folder = _find(root, "VOC2010", usual, official)
    split = folder / (usual if (folder / usual).is_file() else official)
    converted = folder / "SegmentationClassContext"
    if converted.is_dir():
        return _listed(folder, split, converted, ".png")
    first = f"{_names(split)[0]}.mat"
    labels = next((f for f in _folders(root, "trainval") if (f / first).is_file()), None)
    if labels is None:
        wanted = f"VOC2010/SegmentationClassContext or trainval/{first}"
        raise _not_found(root, wanted)
    return _listed(folder, split, labels, ".mat")


def find_coco(root: Path) -> list[Pair]:
    """Find the 5000 images of COCO val2017 and their stuffthingmaps."""
    images = _find_split(root, ".jpg", f"{COCO_SPLIT}/*.jpg")
    labels = _find_split(root, ".png", f"stuffthingmaps/{COCO_SPLIT}/*.png")
    found = sorted(images.glob("*.jpg"))
    return _existing([Pair(image, labels / f"{image.stem}.png") for image in found])


def find_cityscapes(root: Path) -> list[Pair]:
    """Find the 500 images of Cityscapes' val split and their labelIds."""
    images, labels = _find(root, "leftImg8bit", "val"), _find(root, "gtFine", "val")
    end = "_leftImg8bit.png"
    pairs = [
        Pair(
            image,
            labels / "val" / image.parent.name / image.name.replace(end, "_gtFine_labelIds.png"),
        )
        for image in sorted((images / "val").glob(f"*/*{end}"))
    ]
    if not pairs:
        raise _not_found(root, f"leftImg8bit/val/*/*{end}")
    return _existing(pairs)


def find_ade20k(root: Path) -> list[Pair]:
    """Find the 2000 images of ADE20K's validation split (ADEChallengeData2016)."""
    folder = _find(root, "ADEChallengeData2016", "annotations/validation")
    labels = folder / "annotations/validation"
    images = sorted((folder / "images/validation").glob("*.jpg"))
    if not images:
        raise _not_found(root, "ADEChallengeData2016/images/validation/*.jpg")
    return _existing([Pair(image, labels / f"{image.stem}.png") for image in images])


LAYOUTS: dict[str, Callable[[Path], list[Pair]]] = {
    "voc": find_voc,
    "voc20": find_voc,
    "context": find_context,
    "context59": find_context,
    "coco-object": find_coco,
    "coco-stuff": find_coco,
    "cityscapes": find_cityscapes,
    "ade20k": find_ade20k,
}


def _find(root: Path, name: str, *inside: str) -> Path:
    """Find the folder `name` that contains a path in `inside`; the root may have any name."""
    for folder in (root, *_folders(root, name)):
        if any((folder / path).exists() for path in inside):
            return folder
    raise _not_found(root, " or ".join(f"{name}/{path}" for path in inside))


def _find_split(root: Path, suffix: str, wanted: str) -> Path:
    """Find the folder of COCO's split that contains files with this suffix."""
    for folder in _folders(root, COCO_SPLIT):
        if any(folder.glob(f"*{suffix}")):
            return folder
    raise _not_found(root, wanted)


def _folders(root: Path, name: str) -> Iterator[Path]:
    """Yield the folders of a name, the root included, upper levels first."""
    level = [root] if root.is_dir() else []
    for _ in range(DEPTH + 1):
        yield from (folder for folder in level if folder.resolve().name == name)
        level = [sub for folder in level for sub in _subfolders(folder)]


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            found = [e.path for e in entries if not e.name.startswith(".") and _is_folder(e)]
    except OSError:  # closed to us, or gone
        return []
    return [Path(path) for path in sorted(found)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or one into a folder that is closed to us
        return False


def _listed(folder: Path, split: Path, labels: Path, suffix: str) -> list[Pair]:
    """Pair the images listed in a split's file with their labels in another folder."""
    images = folder / "JPEGImages"
    names = _names(split)
    return _existing([Pair(images / f"{name}.jpg", labels / f"{name}{suffix}") for name in names])


def _names(split: Path) -> list[str]:
    """Read a list of images: the first word of each line."""
    try:
        lines = decode(split.read_bytes()).splitlines()
    except ValueError as error:
        msg = f"{split} is not a list of images: {error}"
        raise InputError(msg) from error
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        msg = f"{split} lists no images; get a new copy of the file"
        raise InputError(msg)
    return names


def _existing(pairs: list[Pair]) -> list[Pair]:
    """Return the pairs; raise an error if a file is missing."""
    missing = [path for pair in pairs for path in pair if not path.is_file()]
    if missing:
        msg = (
            f"{len(missing)} of the {2 * len(pairs)} files are missing, the first is {missing[0]}; "
            "unpack the data set again"
        )
        raise InputError(msg)
    return pairs


def _not_found(root: Path, wanted: str) -> InputError:
    if not root.is_dir():
        return InputError(
            f"there is no folder {root}; give the data set's folder, or one that contains it"
        )
    return InputError(
        f"there is no {wanted} in {root} or up to {DEPTH} folders below; give the data set's "
        "folder, or one that contains it"
    )
