"""Label Studio's pre-annotation with words: a backend that answers with masks.

The words are the labels of each project's own interface. It runs on this machine and needs the
extra `label-studio`::

    python -m dinoiser.bridges.label_studio_backend -m clip-dinoiser --port 9090

Label Studio's own SDK for such backends is not used: its last release in the package index replaces
the package attrs. The protocol is a health check, and tasks that are answered with predictions.
"""

from __future__ import annotations

import argparse
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Flask, request
from label_studio_sdk._extensions.label_studio_tools.core.label_config import parse_config
from label_studio_sdk._extensions.label_studio_tools.core.utils.io import get_local_path

from dinoiser.errors import DinoiserError, SettingsError
from dinoiser.export.label_studio import build_strokes, model_version
from dinoiser.images.reading import read_and_warn
from dinoiser.images.settings import AS_STORED, ReadSettings
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.prompts.inline import quote
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Mapping


class Brush(NamedTuple):
    """What a labelling interface says of its brush.

    Attributes
    ----------
    name, image
        Names of the brush and of the image that it paints on.
    key
        Where a task's data has the image's address.
    labels
        What is painted.
    """

    name: str
    image: str
    key: str
    labels: tuple[str, ...]


@lru_cache
def read_brush(interface: str) -> Brush:
    """Find the brush of a labelling interface.

    Raises
    ------
    SettingsError
        There is none.
    """
    for name, control in parse_config(interface).items():
        [source, *_] = control["inputs"]
        if control["type"] == "BrushLabels" and source["type"] == "Image":
            return Brush(name, control["to_name"][0], source["value"], tuple(control["labels"]))
    msg = (
        "the labelling interface has no BrushLabels for an Image; add one, such as that of "
        "`dinoiser export -f labelstudio`"
    )
    raise SettingsError(msg)


def read_words(brush: Brush, words: str = "") -> PromptSet:
    """Make classes of a brush's labels: some with given words, the others by their names.

    Parameters
    ----------
    brush
        The brush.
    words
        As after `dinoiser label -p`; without, there is a background.

    Raises
    ------
    PromptError
        The words are wrong.
    """
    known = {item.name for item in PromptSet.parse(words).classes} if words else {"background"}
    others = [quote(label) for label in brush.labels if label not in known]
    return PromptSet.parse(", ".join([words or "background", *others]))


def make_app(
    model: str = "clip-dinoiser",
    words: str = "",
    device: str = "auto",
    reading: ReadSettings = AS_STORED,
) -> Flask:
    """Make the web application that Label Studio asks.

    Parameters
    ----------
    model, device
        See `dinoiser.load_model`.
    words
        See `read_words`.
    reading
        How the pixels of images are read.

    Raises
    ------
    PromptError, ModelError
        The words are wrong, or the model cannot be loaded.
    """
    if words:
        PromptSet.parse(words)
    segmenter = Segmenter(load_model(model, device=device))
    find = partial(_find, segmenter=segmenter, reading=reading)
    app, version = Flask(__name__), model_version()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "UP", "model_class": "DINOiser"}

    @app.post("/setup")
    def setup() -> dict[str, str]:
        read_words(read_brush(request.get_json()["schema"]), words)
        return {"model_version": version}

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        message = request.get_json()
        brush = read_brush(message["label_config"])
        prompts = read_words(brush, words)
        results = [
            {"result": find(task, brush, prompts), "model_version": version}
            for task in message["tasks"]
        ]
        return {"results": results, "model_version": version}

    @app.post("/webhook")
    def webhook() -> tuple[dict[str, Any], int]:
        return {}, 201  # news of annotations, from which nothing is learnt

    @app.errorhandler(DinoiserError)
    def refuse(error: DinoiserError) -> tuple[dict[str, str], int]:
        return {"detail": str(error)}, 400

    return app


def _find(
    task: Mapping[str, Any],
    brush: Brush,
    prompts: PromptSet,
    segmenter: Segmenter,
    reading: ReadSettings,
) -> list[dict[str, Any]]:
    """Find the classes in a task's image; give brush strokes of those that the brush has."""
    # by the address, or in Label Studio's folders, as the environment variables of its SDK say
    path = get_local_path(task["data"][brush.key], task_id=task["id"])
    image = read_and_warn(path, reading)
    labels = segmenter.segment(image.rgb, prompts).ignoring(image.missing).labels
    strokes = build_strokes(labels, prompts, from_name=brush.name, to_name=brush.image)
    return [one for one in strokes if one["value"]["brushlabels"][0] in brush.labels]


def main() -> None:
    """Serve the backend to Label Studio."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("-m", "--model", default="clip-dinoiser")
    parser.add_argument("-p", "--prompt", default="", help="classes with phrases of their own")
    parser.add_argument("-d", "--device", default="auto")
    parser.add_argument("--nodata", type=float, help="as for `dinoiser label`")
    parser.add_argument("--bands", help="as for `dinoiser label`: 4,3,2")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=9090)
    arguments = parser.parse_args()
    try:
        reading = ReadSettings.parse(arguments.nodata, arguments.bands)
        app = make_app(arguments.model, arguments.prompt, arguments.device, reading)
    except DinoiserError as error:
        parser.error(str(error))
    app.run(arguments.host, arguments.port)


if __name__ == "__main__":
    main()
