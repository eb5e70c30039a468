"""Where exports put an image's files, and what is left of an image when it goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dinoiser.batch.job_images import result_files
from dinoiser.export.voc import CLASS_FOLDER, IMAGE_FOLDER
from dinoiser.images.inputs import check_inside
from dinoiser.images.job_folders import FOLDERS, YOLO_FILE, YOLO_MARKS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from dinoiser.batch.records import Record

OF_FORMAT = {
    "overlay": ("overlays",),
    "confidence": ("confidence",),
    "coco": ("annotations.json",),
    "panoptic": ("panoptic", "panoptic.json"),
    "yolo": ("images", "labels", YOLO_FILE, "train.txt", "val.txt"),
    **{name: (name,) for name in FOLDERS},
    "cvat": ("cvat.zip",),
    "labelstudio": ("labelstudio.json", "labelstudio.xml"),
}
"""What each format writes beside masks, in the job's folder."""

DATUMARO_IMAGES = "images/default"
"""Folder of the images in the layout "datumaro": those of the subset "default"."""


class LeftFiles:
    """All files that labelling and exporting may have left of an image.

    Parameters
    ----------
    output
        The job's folder.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self._panoptic = (output / "panoptic.json").exists()
        self._folders = [n for n, mark in FOLDERS.items() if (output / n / mark).is_file()]
        self._links, self._lines = (
            (output / YOLO_MARKS[name]).exists() for name in ("images", "labels")
        )

    def of(self, record: Record) -> Iterator[Path]:
        """Give paths, whether something is there or not; only in folders that are the job's."""
        yield from result_files(self.output, record.stem)
        if self._panoptic:
            yield panoptic_file(self.output, record)
        for name in self._folders:
            yield from _IN_FOLDERS[name](self.output / name, record)
        for flat in (False, True):
            link, lines = yolo_files(self.output, record, flat=flat)
            if self._links:
                yield link
            if self._lines:
                yield lines


def note_old_exports(output: Path, but: Collection[str] = ()) -> list[str]:
    """Say what exports have written that is not of today's masks any more, but in some formats."""
    beside = {"overlay", "confidence", *but}
    names = {name for one, some in OF_FORMAT.items() if one not in beside for name in some}
    # folders of these names may be the user's, where photographs lie in the job's folder
    marks = YOLO_MARKS | {name: f"{name}/{mark}" for name, mark in FOLDERS.items()}
    old = sorted(name for name in names if (output / marks.get(name, name)).exists())
    hold = "holds" if len(old) == 1 else "hold"
    return [f"{', '.join(old)} {hold} the labels from before: export again"] if old else []


def panoptic_file(output: Path, record: Record) -> Path:
    """Give the image's segments, of the format "panoptic"."""
    return output / "panoptic" / f"{check_inside(record.stem)}.png"


def gray_files(folder: Path, record: Record) -> tuple[Path]:
    """Give the image's mask, of the format "gray"."""
    return (folder / f"{check_inside(record.stem)}.png",)


def geotiff_files(folder: Path, record: Record) -> tuple[Path]:
    """Give the image's mask, of the format "geotiff"."""
    return (folder / f"{check_inside(record.stem)}.tif",)


def voc_files(folder: Path, record: Record) -> tuple[Path, Path]:
    """Give the link to the image and its mask, of the format "voc"."""
    return _link_and_mask(folder / IMAGE_FOLDER, folder / CLASS_FOLDER, record)


def hf_files(folder: Path, record: Record) -> tuple[Path, Path]:
    """Give the link to the image and its mask, of the format "hf"."""
    return _link_and_mask(folder / "images", folder / "masks", record)


def datumaro_files(folder: Path, record: Record) -> tuple[Path]:
    """Give the link to the image, of the layout "datumaro", which tells no images by suffixes."""
    return (folder / DATUMARO_IMAGES / f"{check_inside(record.stem)}{_suffix(record)}",)


def yolo_files(output: Path, record: Record, *, flat: bool) -> tuple[Path, Path]:
    """Give the link to the image and its lines, of the format "yolo"."""
    stem = check_inside(record.stem)
    stem = flat_stem(stem) if flat else stem
    return output / "images" / f"{stem}{_suffix(record)}", output / "labels" / f"{stem}.txt"


def flat_stem(stem: str) -> str:
    """Give the name of an image's files where all lie in one folder."""
    return stem.replace("/", "__")


def _link_and_mask(links: Path, masks: Path, record: Record) -> tuple[Path, Path]:
    stem = check_inside(record.stem)
    return links / f"{stem}{_suffix(record)}", masks / f"{stem}.png"


def _suffix(record: Record) -> str:
    return Path(record.path).suffix


_IN_FOLDERS: dict[str, Callable[[Path, Record], tuple[Path, ...]]] = {
    "gray": gray_files,
    "geotiff": geotiff_files,
    "voc": voc_files,
    "hf": hf_files,
    "datumaro": datumaro_files,
}
