"""What other programs read of a job: one function for each program and format.

Each takes the job's folder and gives labels (H, W) by the image's name without suffix, with the
job's class ids. Where a program reads shapes, later ones are drawn over earlier ones, which is
exact, as shapes of one image do not overlap.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
from PIL import Image

from dinoiser.export.options import DEFAULTS, ExportOptions
from dinoiser.prompts import PromptSet

if TYPE_CHECKING:
    from collections.abc import Callable

Labels = dict[str, np.ndarray]


@dataclass(frozen=True)
class Reader:
    """A program that reads one of our formats.

    Attributes
    ----------
    package
        Its name in the registry, and `module` that of what is imported.
    format, options
        What is exported for it.
    read
        Reads the job.
    exact
        Whether pixels must be the same: programs that fill polygons themselves
        differ along the edges.
    """

    package: str
    module: str
    format: str
    read: Callable[[Path], Labels]
    options: ExportOptions = DEFAULTS
    exact: bool = True


def _ids(job: Path) -> dict[str, int]:
    return {item.name: item.id for item in PromptSet.load(job / "prompts.yaml").classes}


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def pycocotools_coco(job: Path) -> Labels:
    from pycocotools.coco import COCO

    coco = COCO(job / "annotations.json")
    found = {}
    for image in coco.loadImgs(coco.getImgIds()):
        labels = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.imgToAnns[image["id"]]:
            labels[coco.annToMask(annotation) > 0] = annotation["category_id"]
        found[_stem(image["file_name"])] = labels
    return found


def torchvision_coco(job: Path) -> Labels:
    from torchvision.datasets import CocoDetection

    folder = job / "datumaro"
    data = CocoDetection(folder / "images/default", folder / "annotations/instances_default.json")
    found = {}
    for index, image_id in enumerate(data.ids):
        image, target = data[index]
        labels = np.zeros((image.height, image.width), np.uint8)
        for annotation in target:
            labels[data.coco.annToMask(annotation) > 0] = annotation["category_id"]
        found[_stem(data.coco.imgs[image_id]["file_name"])] = labels
    return found


def supervision_coco(job: Path) -> Labels:
    import supervision

    folder = job / "datumaro"
    images, file = folder / "images/default", folder / "annotations/instances_default.json"
    data = supervision.DetectionDataset.from_coco(str(images), str(file), force_masks=True)
    return _supervised(job, data, images)


def supervision_yolo(job: Path) -> Labels:
    import supervision

    data = supervision.DetectionDataset.from_yolo(
        str(job / "images"), str(job / "labels"), str(job / "data.yaml"), force_masks=True
    )
    found = _supervised(job, data, job / "images")
    return {name.replace("__", "/"): labels for name, labels in found.items()}


def _supervised(job: Path, data: Any, images: Path) -> Labels:
    ids, found = _ids(job), {}
    for path, image, detections in data:
        labels = np.zeros(image.shape[:2], np.uint8)
        if len(detections):
            for mask, number in zip(detections.mask, detections.class_id, strict=True):
                labels[np.asarray(mask) > 0] = ids[data.classes[int(number)]]
        found[_stem(Path(path).relative_to(images).as_posix())] = labels
    return found


def ultralytics_yolo(job: Path) -> Labels:
    os.environ.setdefault("YOLO_CONFIG_DIR", str(job))  # else it writes into the user's folder
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset, polygon2mask

    data = check_det_dataset(str(job / "data.yaml"), autodownload=False)
    ids, found = _ids(job), {}
    for entry in YOLODataset(img_path=data["train"], data=data, task="segment").labels:
        size = entry["shape"]
        labels = np.zeros(size, np.uint8)
        for number, corners in zip(entry["cls"].ravel(), entry["segments"], strict=True):
            pixels = corners * (size[1], size[0])
            labels[polygon2mask(size, [pixels.ravel()]) > 0] = ids[data["names"][int(number)]]
        found[_stem(Path(entry["im_file"]).relative_to(job / "images").as_posix())] = labels
    return found


def datumaro_coco(job: Path) -> Labels:
    return _datumaro(job, job / "datumaro", "coco_instances")


def datumaro_voc(job: Path) -> Labels:
    return _datumaro(job, job / "voc", "voc_segmentation")


def _datumaro(job: Path, folder: Path, format_: str) -> Labels:
    import datumaro

    data = datumaro.Dataset.import_from(str(folder), format_)
    kind = datumaro.AnnotationType
    ids = {"ignored": 255, "background": 0, **_ids(job)}
    names = [label.name for label in data.categories()[kind.label]]
    found = {}
    for item in data:
        labels = np.zeros(item.media.size, np.uint8)
        for annotation in item.annotations:
            if annotation.type == kind.mask:
                labels[annotation.image > 0] = ids[names[annotation.label]]
        found[item.id] = labels
    return found


def label_studio_brush(job: Path) -> Labels:
    from label_studio_sdk.converter.brush import decode_rle

    ids, found = _ids(job), {}
    for task in json.loads((job / "labelstudio.json").read_text()):
        name = _stem(unquote(task["data"]["image"].partition("?d=")[2]))
        for stroke in task["predictions"][0]["result"]:
            size = stroke["original_height"], stroke["original_width"]
            labels = found.setdefault(name, np.zeros(size, np.uint8))
            opacity = decode_rle(stroke["value"]["rle"]).reshape(*size, 4)[..., 3]
            labels[opacity > 0] = ids[stroke["value"]["brushlabels"][0]]
    return found


def datasets_imagefolder(job: Path) -> Labels:
    from datasets import Image as Column
    from datasets import load_dataset

    data = load_dataset("imagefolder", data_dir=str(job / "hf"), cache_dir=str(job / ".cache"))
    rows = data["train"].cast_column("image", Column(decode=False))
    folder = (job / "hf" / "images").resolve()
    links = {link.resolve(): _stem(link.relative_to(folder).as_posix()) for link in _files(folder)}
    return {links[Path(row["image"]["path"]).resolve()]: np.asarray(row["mask"]) for row in rows}


def opencv_gray(job: Path) -> Labels:
    import cv2

    return {
        _stem(file.relative_to(job / "gray").as_posix()): cv2.imread(str(file), -1)
        for file in _files(job / "gray", ".png")
    }


def rasterio_geotiff(job: Path) -> Labels:
    import rasterio

    found = {}
    for file in _files(job / "geotiff", ".tif"):
        with rasterio.open(file) as mask:
            found[_stem(file.relative_to(job / "geotiff").as_posix())] = mask.read(1)
    return found


def opencv_indexed(job: Path) -> Labels:
    import cv2

    return {
        _stem(file.relative_to(job / "masks").as_posix()): cv2.imread(str(file), 0)
        for file in _files(job / "masks", ".png")
    }


def pillow_indexed(job: Path) -> Labels:
    found = {}
    for file in _files(job / "masks", ".png"):
        with Image.open(file) as mask:
            found[_stem(file.relative_to(job / "masks").as_posix())] = np.asarray(mask)
    return found


def _files(folder: Path, suffix: str = "") -> list[Path]:
    return sorted(file for file in folder.rglob(f"*{suffix}") if file.is_file())


DATUMARO = ExportOptions(layout="datumaro")
FLAT = ExportOptions(flat=True)
READERS = [
    Reader("pillow", "PIL", "png", pillow_indexed),
    Reader("pycocotools", "pycocotools", "coco", pycocotools_coco),
    Reader("torchvision", "torchvision", "coco", torchvision_coco, DATUMARO),
    Reader("supervision", "supervision", "coco", supervision_coco, DATUMARO),
    Reader("supervision", "supervision", "yolo", supervision_yolo, FLAT, exact=False),
    Reader("ultralytics", "ultralytics", "yolo", ultralytics_yolo, exact=False),
    Reader("datumaro", "datumaro", "coco", datumaro_coco, DATUMARO),
    Reader("datumaro", "datumaro", "voc", datumaro_voc),
    Reader("label-studio-sdk", "label_studio_sdk", "labelstudio", label_studio_brush),
    Reader("datasets", "datasets", "hf", datasets_imagefolder),
    Reader("opencv-python-headless", "cv2", "gray", opencv_gray),
    Reader("rasterio", "rasterio", "geotiff", rasterio_geotiff),
]


def count_same(read: Labels, masks: Labels) -> tuple[int, float]:
    """Compare what a program reads with the masks.

    Returns
    -------
    images : int
        Number of images read.
    same : float
        Share of the pixels of all masks, 0 to 1, that have their label; ignored
        ones may also have none.
    """
    same = total = 0
    for name, mask in masks.items():
        total += mask.size
        if name in read and read[name].shape == mask.shape:
            labels = read[name]
            same += int(((labels == mask) | ((mask == 255) & (labels == 0))).sum())
    return len(read.keys() & masks.keys()), same / total
