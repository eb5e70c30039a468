"""How a job's folder is told from others, and which folders in it hold results."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MARKS = {"job.yaml", "records"}
"""What a folder holds that `dinoiser label` has filled."""
RESULTS = {
    "png": "masks/{}.png",
    "overlay": "overlays/{}.jpg",
    "confidence": "confidence/{}.png",
    "features": "features/{}.safetensors",
}
"""Files written while labelling, by format; all other formats are made from the masks."""
YOLO_FILE = "data.yaml"
YOLO_MARKS = {"images": "images/.exported", "labels": "labels/.exported"}
"""Files that say that a folder of this name is of an export; without it, it is the user's."""
FOLDERS = {
    "gray": "classes.json",
    "geotiff": "classes.json",
    "voc": "labelmap.txt",
    "hf": "classes.json",
    "datumaro": "classes.json",
}
"""Folders that exports make for other programs, and the file that says that one is ours."""


def result_folders(job: Path) -> list[Path]:
    """Give the folders of a job in which no image is a photograph of the user's."""
    names = ["masks", "overlays", "confidence", "panoptic"]
    if (job / YOLO_MARKS["images"]).exists():
        names.append("images")
    names += [name for name, mark in FOLDERS.items() if (job / name / mark).is_file()]
    return [job / name for name in names]
