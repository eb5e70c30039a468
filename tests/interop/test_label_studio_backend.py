"""Masks for words in Label Studio, by what its servers ask of a backend."""

import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinoiser.export.label_studio import build_interface
from dinoiser.images.settings import ReadSettings
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from dinoiser.segment.segmenter import Segmenter

pytest.importorskip("flask")
brush = pytest.importorskip("label_studio_sdk.converter.brush")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def scene():
    return draw_scene(np.random.default_rng(11), (112, 144))


@pytest.fixture(scope="module")
def prompts(scene):
    return PromptSet.from_names(["background", *scene.names])


@pytest.fixture(scope="module")
def image_url(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    Image.fromarray(scene.image).save(folder / "a.png")
    save_twice(folder, scene.image)
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/a.png"
    server.shutdown()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    from dinoiser.bridges.label_studio_backend import make_app

    return make_app("tiny", device="cpu").test_client()


def save_twice(folder, rgb):
    """Save an image without data at its top as RGB, and as bands that say less of themselves."""
    rgb = rgb.copy()
    rgb[:60] = 251
    declared = [(42113, "s", 0, "251", True)]
    tifffile.imwrite(folder / "plain.tif", rgb, photometric="rgb", extratags=declared)
    bands = np.dstack([np.zeros_like(rgb[..., 0]), rgb[..., ::-1]])
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(folder / "banded.tif", bands, **options)


def ask(client, interface, url):
    task = {"id": 1, "data": {"image": url}}
    message = {"tasks": [task], "project": "7.1", "label_config": interface}
    return client.post("/predict", json=message)


def test_it_is_up_and_takes_a_project(client, prompts):
    assert client.get("/health").get_json()["status"] == "UP"
    message = {"project": "7.1", "schema": build_interface(prompts)}
    answer = client.post("/setup", json=message).get_json()
    assert answer["model_version"].startswith("napari-dinoiser")


def test_strokes_are_the_masks_of_the_interface_s_labels(client, scene, prompts, image_url):
    labels = Segmenter(load_model("tiny", device="cpu")).segment(scene.image, prompts).labels
    [prediction] = ask(client, build_interface(prompts), image_url).get_json()["results"]
    drawn = np.zeros_like(labels)
    for stroke in prediction["result"]:
        assert (stroke["from_name"], stroke["to_name"]) == ("label", "image")
        flat = np.array(brush.decode_rle(stroke["value"]["rle"]), np.uint8)
        mask = flat.reshape(*labels.shape, 4)[..., 3] > 0
        drawn[mask] = 1 + scene.names.index(stroke["value"]["brushlabels"][0])
    np.testing.assert_array_equal(drawn, labels)
    assert labels.any()


def test_bands_are_chosen_and_what_has_no_data_is_left_out(scene, prompts, image_url):
    from dinoiser.bridges.label_studio_backend import make_app

    banded = make_app("tiny", device="cpu", reading=ReadSettings.parse(251, "4,3,2")).test_client()
    plain = make_app("tiny", device="cpu").test_client()
    results = []
    for client, name in ((banded, "banded.tif"), (plain, "plain.tif")):
        answer = ask(client, build_interface(prompts), image_url.replace("a.png", name))
        results.append(answer.get_json()["results"][0]["result"])
    assert results[0] == results[1] != []
    for stroke in results[0]:
        flat = np.array(brush.decode_rle(stroke["value"]["rle"]), np.uint8)
        assert not flat.reshape(*scene.labels.shape, 4)[:60, ..., 3].any()


def test_an_interface_without_a_brush_says_what_to_add(client, image_url):
    interface = (
        '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
        '<Label value="red circle"/></RectangleLabels></View>'
    )
    answer = ask(client, interface, image_url)
    assert answer.status_code == 400
    assert "has no BrushLabels for an Image" in answer.get_json()["detail"]


def test_words_give_labels_other_phrases(scene, prompts, image_url):
    from dinoiser.bridges.label_studio_backend import make_app

    name = scene.names[0]
    interface = build_interface(PromptSet.from_names(["background", "thing"]))
    client = make_app("tiny", f"background, thing={name}", "cpu").test_client()
    [prediction] = ask(client, interface, image_url).get_json()["results"]
    assert [stroke["value"]["brushlabels"] for stroke in prediction["result"]] == [["thing"]]


def test_labels_with_signs_of_their_own_are_words():
    from dinoiser.bridges.label_studio_backend import read_brush, read_words

    names = ("a, b", '"quoted"', "c = d")
    interface = build_interface(PromptSet.from_names(["background", *names]))
    assert read_words(read_brush(interface)).names == ("background", *names)
