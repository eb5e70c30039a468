"""Convert prompt sets to the style of a napari Labels layer, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dinoiser.labels import ignore_among
from dinoiser.prompts import PromptSet
from dinoiser.prompts.palette import IGNORE_COLOR

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from napari.utils.colormaps import DirectLabelColormap

METADATA = "dinoiser"
"""Key in a layer's metadata. Under it, `PROMPTS` is the prompt file's text, and `IMAGES` lists the
images' names, one per plane."""
PROMPTS = "prompts"
IMAGES = "images"
TRANSPARENT = "#00000000"


def style_labels(prompts: PromptSet) -> dict[str, Any]:
    """Return what a Labels layer needs to show a prompt set's names and colours.

    Parameters
    ----------
    prompts
        The classes of the labels.

    Returns
    -------
    dict
        `colormap`, `features` and `metadata` for `napari.layers.Labels`.

    See Also
    --------
    prompts_of_layer : the inverse.
    """
    return {
        "colormap": label_colormap(prompts),
        "features": label_features(prompts),
        "metadata": {METADATA: {PROMPTS: prompts.to_yaml()}},
    }


def label_colormap(prompts: PromptSet) -> DirectLabelColormap:
    """Colours of the classes; 0 and labels without a class are transparent."""
    from napari.utils.colormaps import DirectLabelColormap

    colors: dict[int | None, Any] = {None: TRANSPARENT, prompts.ignore: IGNORE_COLOR}
    colors |= {item.id: item.color for item in prompts.classes}
    return DirectLabelColormap(color_dict={**colors, 0: TRANSPARENT})


def label_features(prompts: PromptSet) -> dict[str, list]:
    """Table of the labels: `index` is the label, `class` is the name that napari shows."""
    names = {0: "background", **{item.id: item.name for item in prompts.classes}}
    names[prompts.ignore] = "ignore"
    return {"index": list(names), "class": list(names.values())}


def prompts_of_layer(metadata: Mapping[str, Any], features: pd.DataFrame) -> PromptSet | None:
    """Find the prompt set of a Labels layer.

    Parameters
    ----------
    metadata, features
        Those of the layer. The metadata from `style_labels` take precedence over
        the names in the column `class` of the features.

    Returns
    -------
    PromptSet or None
        None if neither contains classes.

    See Also
    --------
    style_labels : the inverse.
    """
    text = metadata.get(METADATA, {}).get(PROMPTS)
    if text is not None:
        return PromptSet.from_yaml(text, "the layer's prompts")
    if "class" not in features or "index" not in features:
        return None
    named = list(zip(map(int, features["index"]), features["class"], strict=True))
    ignore = ignore_among(label for label, _ in named)
    classes = [
        {"name": str(name), "id": label, "background": label == 0}
        for label, name in named
        if label != ignore
    ]
    return _from_classes(classes)


def _from_classes(classes: list[dict[str, Any]]) -> PromptSet:
    import yaml

    return PromptSet.from_yaml(yaml.safe_dump({"version": 1, "classes": classes}), "the features")
