"""Formats that are folders or archives of their own, ready for other programs."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dinoiser.atomic import atomic_file, remove_file, write_file
from dinoiser.batch.export_writers import ExportedJob, OwnFiles, open_split, own_folder
from dinoiser.batch.exported_files import geotiff_files, gray_files, hf_files, voc_files
from dinoiser.batch.job import CLASSES_FILE
from dinoiser.export import write_classes, write_mask
from dinoiser.export.geotiff import write_geotiff
from dinoiser.export.label_studio import build_interface, build_task
from dinoiser.export.png import write_gray
from dinoiser.export.png_writer import encode_pixels
from dinoiser.export.regions import map_classes
from dinoiser.export.voc import (
    CLASS_FOLDER,
    LABEL_MAP,
    OBJECT_FOLDER,
    SET_FOLDER,
    build_label_map,
    number_objects,
    object_palette,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    import numpy as np

    from dinoiser.batch.export_writers import Writer
    from dinoiser.batch.records import Record

METADATA = "metadata.jsonl"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip can hold: the same masks give the same bytes."""


class _ListedClasses(OwnFiles):
    """A folder of its own, in which classes.json says what the values of masks mean."""

    name: str

    def __init__(self, job: ExportedJob, stack: ExitStack) -> None:
        self.folder = own_folder(job, self.name)
        super().__init__(job, stack)
        write_classes(job.prompts, self.folder / CLASSES_FILE)


class GrayWriter(_ListedClasses):
    """Grey PNG masks: the value is the class id."""

    name = "gray"

    def make(self, record: Record, labels: np.ndarray) -> None:
        """See `Writer`."""
        [mask] = self.files(record)
        write_gray(labels, mask)

    def files(self, record: Record) -> Sequence[Path]:
        """See `OwnFiles`."""
        return gray_files(self.folder, record)


class GeoTiffWriter(_ListedClasses):
    """TIFF masks that lie in the world where their images do."""

    name = "geotiff"

    def make(self, record: Record, labels: np.ndarray) -> None:
        """See `Writer`."""
        [mask] = self.files(record)
        write_geotiff(labels, self.job.prompts, Path(record.path), mask)

    def files(self, record: Record) -> Sequence[Path]:
        """See `OwnFiles`."""
        return geotiff_files(self.folder, record)


class VocWriter(OwnFiles):
    """PASCAL VOC's folders: links to the images, indexed masks, lists, labelmap.txt."""

    def __init__(self, job: ExportedJob, stack: ExitStack) -> None:
        self.folder = own_folder(job, "voc")
        super().__init__(job, stack)
        label_map = build_label_map(job.prompts, with_ignored=True)
        write_file(self.folder / LABEL_MAP, label_map.encode())
        folder = self.folder / SET_FOLDER
        self.sets, everything = open_split(job, folder, stack), folder / "default.txt"
        if self.sets:  # readers take each list for a part of the images
            remove_file(everything)
        else:
            self.sets = {"default": stack.enter_context(atomic_file(everything))}

    def make(self, record: Record, labels: np.ndarray) -> None:
        """See `Writer`."""
        image, mask = self.files(record)
        self.job.link(record, image)
        write_mask(labels, replace(self.job.prompts, masks="indexed"), mask)

    def add(self, record: Record, made: None) -> None:
        """See `Writer`."""
        options = self.job.options
        subset = options.subset(record.image) if options.val else "default"
        self.sets[subset].write(f"{record.stem}\n".encode())

    def files(self, record: Record) -> Sequence[Path]:
        """See `OwnFiles`."""
        return voc_files(self.folder, record)


class HuggingFaceWriter(_ListedClasses):
    """A folder for `datasets.load_dataset("imagefolder")`: the columns image and mask."""

    name = "hf"

    def __init__(self, job: ExportedJob, stack: ExitStack) -> None:
        super().__init__(job, stack)
        self.file = stack.enter_context(atomic_file(self.folder / METADATA))

    def make(self, record: Record, labels: np.ndarray) -> dict[str, str]:
        """See `Writer`."""
        image, mask = self.files(record)
        self.job.link(record, image)
        write_gray(labels, mask)
        names = [path.relative_to(self.folder).as_posix() for path in (image, mask)]
        return dict(zip(("file_name", "mask_file_name"), names, strict=True))

    def add(self, record: Record, made: dict[str, str]) -> None:
        """See `Writer`."""
        self.file.write(json.dumps(made).encode() + b"\n")

    def files(self, record: Record) -> Sequence[Path]:
        """See `OwnFiles`."""
        return hf_files(self.folder, record)


class CvatWriter(OwnFiles):
    """A zip that CVAT takes as "Segmentation mask 1.1"."""

    def __init__(self, job: ExportedJob, stack: ExitStack) -> None:
        super().__init__(job, stack)
        file = stack.enter_context(atomic_file(job.output / "cvat.zip"))
        self.archive = stack.enter_context(zipfile.ZipFile(file, "w", zipfile.ZIP_STORED))
        self.names: list[str] = []
        self._write(LABEL_MAP, build_label_map(job.prompts).encode())
        stack.callback(self._list_images)

    def make(self, record: Record, labels: np.ndarray) -> dict[str, bytes]:
        """See `Writer`."""
        # the colour of ignored pixels is no label of CVAT, which would refuse the whole archive
        known = map_classes(labels)
        # without objects, CVAT takes the background for one
        objects = number_objects(labels, self.job.prompts, self.job.options)
        masks = {
            CLASS_FOLDER: (known, self.job.prompts.palette),
            OBJECT_FOLDER: (objects, object_palette()),
        }
        return {
            f"{folder}/{record.stem}.png": bytes(encode_pixels(*mask))
            for folder, mask in masks.items()
        }

    def add(self, record: Record, made: dict[str, bytes]) -> None:
        """See `Writer`."""
        for name, content in made.items():
            self._write(name, content)
        self.names.append(record.stem)

    def _list_images(self) -> None:
        text = "".join(f"{name}\n" for name in self.names)
        self._write(f"{SET_FOLDER}/default.txt", text.encode())

    def _write(self, name: str, content: bytes) -> None:
        self.archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)


class LabelStudioWriter(OwnFiles):
    """Tasks with predictions for Label Studio, and its labelling interface."""

    def __init__(self, job: ExportedJob, stack: ExitStack) -> None:
        super().__init__(job, stack)
        write_file(job.output / "labelstudio.xml", build_interface(job.prompts).encode())
        self.file = stack.enter_context(atomic_file(job.output / "labelstudio.json"))
        self.file.write(b"[")
        self.separator = b"\n"
        stack.callback(lambda: self.file.write(b"\n]\n"))

    def make(self, record: Record, labels: np.ndarray) -> bytes:
        """See `Writer`."""
        task = build_task(labels, record.image, self.job.prompts, self.job.options)
        return json.dumps(task).encode()

    def add(self, record: Record, made: bytes) -> None:
        """See `Writer`."""
        self.file.write(self.separator + made)
        self.separator = b",\n"


DATASET_WRITERS: dict[str, Callable[[ExportedJob, ExitStack], Writer]] = {
    "gray": GrayWriter,
    "geotiff": GeoTiffWriter,
    "voc": VocWriter,
    "hf": HuggingFaceWriter,
    "cvat": CvatWriter,
    "labelstudio": LabelStudioWriter,
}
