"""Writers for napari: a Labels layer as indexed PNG or COCO, with its class names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dinoiser.errors import InputError
from dinoiser.labels import IGNORE, IGNORE_16, ignore_among
from dinoiser.prompts import PromptClass, PromptSet
from dinoiser.prompts.palette import default_color
from napari_dinoiser.label_layers import IMAGES, METADATA, prompts_of_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

DIGITS = 3
"""Minimum number of digits for a plane's number in file names."""


def write_png(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write labels as an indexed PNG in the classes' colours, and the meaning of its indices.

    Parameters
    ----------
    path
        The file. For a stack, each plane becomes one file, "name_000.png" and so
        on. "name.classes.json" beside it lists ids, names and colours.
    data
        (..., H, W) integers from 0 to 65535: class ids, 0 = background, 255 =
        ignore.
    meta
        The layer's attributes.

    Returns
    -------
    list
        The files written.

    Raises
    ------
    InputError
        Labels are outside 0 to 65535, or the layer's classes contradict each other.
    OutputError
        A file cannot be written.
    """
    from dinoiser.export import write_classes, write_mask

    prompts = name_labels(data, meta)
    place = Path(path)
    places = [place.with_name(name) for name in _plane_names(place, data)]
    for file, plane in zip(places, _planes(data, prompts.label_type), strict=True):
        write_mask(plane, prompts, file)
    classes = place.with_suffix(".classes.json")
    write_classes(prompts, classes)
    return [str(file) for file in (*places, classes)]


def write_coco(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write labels as COCO annotations, one image per plane.

    Image names come from the layer's metadata or, failing that, from the name of
    the file: "name.png", or "name_000.png" and so on for a stack. COCO has no
    ignored pixels: a notification says how many are left out.

    Parameters
    ----------
    path
        The file.
    data, meta
        See `write_png`.

    Returns
    -------
    list
        The file written.

    Raises
    ------
    InputError, OutputError
        See `write_png`.
    """
    from napari.utils.notifications import show_info

    from dinoiser.export import CocoWriter, build_annotations

    prompts = name_labels(data, meta)
    names = meta.get("metadata", {}).get(METADATA, {}).get(IMAGES, [])
    if len(names) != _count_planes(data):
        names = _plane_names(Path(path).with_suffix(".png"), data)
    ignored = 0
    with CocoWriter(path, prompts) as coco:
        for name, plane in zip(names, _planes(data, prompts.label_type), strict=True):
            coco.add(name, plane.shape, build_annotations(plane, name, prompts))
            ignored += int(np.count_nonzero(plane == prompts.ignore))
    if ignored:
        show_info(f"COCO cannot hold ignored pixels, {ignored:,} here; an indexed PNG keeps them.")
    return [path]


def name_labels(data: Any, meta: dict[str, Any]) -> PromptSet:
    """Find the classes of a layer's labels; unnamed ones are called "class 7" and so on.

    Parameters
    ----------
    data, meta
        See `write_png`.

    Returns
    -------
    PromptSet
        Classes for all labels but that of ignored pixels, including a background.

    Raises
    ------
    InputError
        See `write_png`.
    """
    prompts = prompts_of_layer(meta.get("metadata", {}), meta.get("features", {}))
    classes = {c.id: c for c in prompts.classes} if prompts else {}
    # labels that occur but have no name get one, so that nothing is lost
    found = {0}.union(*(np.unique(plane).tolist() for plane in _planes(data)))
    found.discard(ignore_among({*found, *classes, prompts.ignore if prompts else IGNORE}))
    if not found.union(classes) - {0}:
        found.add(1)  # a prompt set has at least one class
    for label in sorted(found - set(classes)):
        name = f"class {label}" if label else "background"
        classes[label] = PromptClass(name, label, (name,), default_color(label), label == 0)
    return PromptSet(tuple(classes.values()))


def _planes(data: Any, dtype: np.dtype | None = None) -> Iterator[np.ndarray]:
    """Read (..., H, W) labels plane by plane, as a type that holds them."""
    stack = _full_size(data)
    for index in np.ndindex(*stack.shape[:-2]):
        plane = np.asarray(stack[index])
        if plane.size and not 0 <= plane.min() <= plane.max() <= IGNORE_16:
            msg = (
                f"the labels range from {plane.min()} to {plane.max()}, expected 0 to 65534, or "
                "65535 for pixels to ignore; use smaller labels, or save the layer as TIFF"
            )
            raise InputError(msg)
        yield np.ascontiguousarray(plane, dtype)


def _full_size(data: Any) -> Any:
    """Return the largest level of a multiscale layer, which is a list of levels."""
    return data if hasattr(data, "shape") and hasattr(data, "dtype") else data[0]


def _count_planes(data: Any) -> int:
    return int(np.prod(_full_size(data).shape[:-2]))


def _plane_names(path: Path, data: Any) -> list[str]:
    leading = _full_size(data).shape[:-2]
    if not leading:
        return [path.name]
    digits = [max(DIGITS, len(str(length - 1))) for length in leading]
    return [
        f"{path.stem}_{'_'.join(f'{i:0{d}d}' for i, d in zip(index, digits, strict=True))}"
        f"{path.suffix}"
        for index in np.ndindex(*leading)
    ]
