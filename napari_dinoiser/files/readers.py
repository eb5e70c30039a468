"""Readers for napari: job folders and COCO files as layers; folders of images to be labelled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
import yaml

from dinoiser.batch.job import JOB_FILE, PROMPT_FILE, reading_in
from dinoiser.errors import InputError, PromptError
from dinoiser.images.inputs import IMAGE_SUFFIXES
from dinoiser.images.settings import AS_STORED
from napari_dinoiser.label_layers import IMAGES, METADATA, style_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from dinoiser.images.settings import ReadSettings
    from dinoiser.prompts import PromptSet

    LayerData = tuple[Any, dict[str, Any], str]

MOST_PAIRS = 20
"""Most images opened if their sizes differ, as each then has its own layers."""


@dataclass(frozen=True)
class ImageWithLabels:
    """An image and its labels, not yet read.

    Attributes
    ----------
    name
        Name of its layers.
    path
        Path of the image; None if it was not found.
    size
        (height, width) in pixels.
    read_labels
        Reads the labels, (height, width) integers.
    reading
        How the image was read when it was labelled.
    """

    name: str
    path: Path | None
    size: tuple[int, int]
    read_labels: Callable[[], np.ndarray]
    reading: ReadSettings = AS_STORED

    def read_image(self) -> np.ndarray:
        """Read the image, (height, width, 3) uint8; black if it was not found.

        Raises
        ------
        ImageError
            The image cannot be read, or its size differs from that of its labels.
        """
        from dinoiser.images import read_labelled_image

        if self.path is None:
            return np.zeros((*self.size, 3), np.uint8)
        return read_labelled_image(self.path, self.size, self.reading)


def get_reader(path: str | list[str]) -> Callable[[str], list[Any]] | None:
    """Find the reader for a path.

    Parameters
    ----------
    path
        A job's folder, its job.yaml, a COCO file, or, while a viewer is open, a
        folder of images.

    Returns
    -------
    callable or None
        `read_job_folder`, `read_coco` or `offer_folder`; None for any other path.
    """
    if not isinstance(path, str):
        return None
    place = Path(path)
    if place.name == JOB_FILE or (place / JOB_FILE).is_file():
        return read_job_folder
    if place.is_dir():
        shown = napari.current_viewer() is not None and _holds_images(place)
        return offer_folder if shown else None
    from dinoiser.export.coco_reader import is_coco

    is_json = place.suffix.lower() == ".json" and place.is_file()
    return read_coco if is_json and is_coco(place) else None


def offer_folder(path: str) -> list[tuple[None]]:
    """Show a folder of images in the Folder tab, where all of it can be labelled.

    Parameters
    ----------
    path
        The folder.

    Returns
    -------
    list
        napari's sign for no layers.
    """
    viewer = napari.current_viewer()
    dock, panel = viewer.window.add_plugin_dock_widget("napari-dinoiser", "DINOiser")
    dock.show()
    panel.label_folder(path)
    return [(None,)]


def read_job_folder(path: str) -> list[LayerData]:
    """Open the images and masks of a job.

    Images of the same size become a stack that is read on demand. If sizes
    differ, the first 20 images get their own layers.

    Parameters
    ----------
    path
        The job's folder, or job.yaml in it.

    Returns
    -------
    list
        napari layer tuples: images (..., H, W, 3) and labels (..., H, W), both
        uint8, with the classes' names and colours.

    Raises
    ------
    InputError
        The folder contains no labelled images.
    """
    from dinoiser.batch import read_records
    from dinoiser.prompts import PromptSet

    folder = Path(path).parent if Path(path).name == JOB_FILE else Path(path)
    prompts, reading = PromptSet.load(folder / PROMPT_FILE), reading_in(folder)
    images = [
        ImageWithLabels(
            record.image,
            _existing(record.path),
            record.size,
            _mask(folder, record.stem, prompts),
            reading,
        )
        for record in read_records(folder)
        if record.status == "done" and record.size
    ]
    if not images:
        msg = f"The job in {folder} has no labelled images yet; run it first."
        raise InputError(msg)
    return make_layers(images, style_labels(prompts), folder.name)


def read_coco(path: str) -> list[LayerData]:
    """Open the images and annotations of a COCO file.

    Images are searched by file name beside the COCO file, in its folder
    `images`, and in the same places one level up. For the annotations.json of a
    job, they are first searched where they were labelled. Labels of images that
    are not found are opened without the image.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    list
        See `read_job_folder`; labels are int32 if there are category ids above
        254.

    Raises
    ------
    InputError
        The file is not a COCO file, or lists no images.
    """
    from dinoiser.export.coco_reader import CocoReader

    place = Path(path)
    coco = CocoReader(place)
    if not coco.sizes:
        msg = f"{place} lists no images; open another file."
        raise InputError(msg)
    known, reading = _paths_of_job(place.parent), reading_in(place.parent)
    images = [
        ImageWithLabels(
            name,
            _find_image(place.parent, name, known),
            size,
            partial(coco.draw_labels, name),
            reading,
        )
        for name, size in coco.sizes.items()
    ]
    return make_layers(images, _style_names(coco.names), place.stem)


def make_layers(images: list[ImageWithLabels], style: dict[str, Any], name: str) -> list[LayerData]:
    """Make the layers of images: one stack if all have the same size.

    Parameters
    ----------
    images
        At least one image.
    style
        From `style_labels`.
    name
        Name of the stack.

    Returns
    -------
    list
        napari layer tuples.
    """
    from napari.utils.notifications import show_info

    missing = [image.name for image in images if image.path is None]
    if missing:
        show_info(f"{len(missing):,} of {len(images):,} images were not found: {missing[0]} ...")
    if len(images) > 1 and len({image.size for image in images}) == 1:
        return _stack(images, style, name)
    if len(images) > MOST_PAIRS:
        show_info(
            f"Only the first {MOST_PAIRS} of {len(images):,} images are opened, as their sizes "
            "differ; use the Review tab of DINOiser to see all images of a job."
        )
    return [layer for image in images[:MOST_PAIRS] for layer in _pair(image, style)]


def _holds_images(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.rglob("*"))


def _pair(image: ImageWithLabels, style: dict[str, Any]) -> list[LayerData]:
    looks = _with_names(style, [image.name])
    labels = (image.read_labels(), {"name": f"{image.name} labels", **looks}, "labels")
    if image.path is None:
        return [labels]
    return [(image.read_image(), {"name": image.name, "rgb": True}, "image"), labels]


def _stack(entries: list[ImageWithLabels], style: dict[str, Any], name: str) -> list[LayerData]:
    looks = _with_names(style, [entry.name for entry in entries])
    # one image is read to learn the dtype: COCO files may need int32
    dtype = entries[0].read_labels().dtype
    labels = _lazily([entry.read_labels for entry in entries], entries[0].size, dtype)
    layers: list[LayerData] = [(labels, {"name": f"{name} labels", **looks}, "labels")]
    if any(entry.path for entry in entries):
        readers = [entry.read_image for entry in entries]
        images = _lazily(readers, (*entries[0].size, 3), np.uint8)
        layers.insert(0, (images, {"name": name, "rgb": True}, "image"))
    return layers


def _lazily(readers: list[Callable[[], np.ndarray]], shape: tuple[int, ...], dtype: Any) -> Any:
    """Stack the results of functions, each called only when its part is needed."""
    import dask.array as da

    def read(block_id: tuple[int, ...]) -> np.ndarray:
        return readers[block_id[0]]()[np.newaxis]

    # one chunk per image, and whole images: what napari shows is one plane
    chunks = ((1,) * len(readers), *((length,) for length in shape))
    return da.map_blocks(read, chunks=chunks, dtype=dtype, meta=np.empty((0,) * len(chunks), dtype))


def _with_names(style: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Record the images' names in the labels' metadata, for the writers."""
    metadata = {**style.get("metadata", {}).get(METADATA, {}), IMAGES: names}
    return {**style, "metadata": {METADATA: metadata}}


def _style_names(names: dict[int, str]) -> dict[str, Any]:
    """Style labels by name; without colours if they cannot be the classes of a job."""
    from dinoiser.prompts import PromptSet

    classes = [{"name": name, "id": label} for label, name in names.items()]
    try:
        text = yaml.safe_dump({"version": 1, "classes": classes})
        return style_labels(PromptSet.from_yaml(text))
    except PromptError:
        names = {0: "background", **names}
        return {"features": {"index": list(names), "class": list(names.values())}}


def _mask(folder: Path, stem: str, prompts: PromptSet) -> Callable[[], np.ndarray]:
    from dinoiser.batch.job_images import result_file
    from dinoiser.export import read_mask

    return lambda: read_mask(result_file(folder, stem, "png"), prompts.mask_colors)


def _existing(path: str | Path) -> Path | None:
    return Path(path) if Path(path).is_file() else None


def _paths_of_job(folder: Path) -> dict[str, str]:
    """Paths of the images of a job, by name; empty if the folder is not a job."""
    from dinoiser.batch import read_records

    if not (folder / JOB_FILE).is_file():
        return {}
    return {record.image: record.path for record in read_records(folder)}


def _find_image(folder: Path, name: str, known: dict[str, str]) -> Path | None:
    places = [folder, folder / "images", folder.parent, folder.parent / "images"]
    candidates = [place / name for place in places]
    if name in known:
        # where the job found it takes precedence over files that happen to have its name
        candidates.insert(0, Path(known[name]))
    return next(filter(None, map(_existing, candidates)), None)
