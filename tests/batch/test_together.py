"""Images that go through the model together."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dinoiser.batch import read_records, run
from dinoiser.batch.engines import label_images
from dinoiser.errors import DeviceError, OutputError
from dinoiser.export import write_png
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.prompts import PromptSet
from dinoiser.scenes import COLORS, draw_scenes
from dinoiser.segment.passes import Passes
from dinoiser.segment.pipeline import Pipeline
from dinoiser.segment.segmenter import Segmenter
from dinoiser.segment.settings import SegmentSettings
from tests.helpers.job_driver import job_of

SIZES = (224, 224), (96, 300), (224, 288), (400, 130), (224, 224), (33, 47)


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def images():
    return [scene.image for size in SIZES for scene in draw_scenes(1, sum(size), size)]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "batch_size",
    [pytest.param(1, marks=pytest.mark.slow), 3, pytest.param(50, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("whole", [False, True])
def test_together_they_are_labelled_as_each_alone(tiny, images, scene_prompts, batch_size, whole):
    settings = SegmentSettings(batch_size=batch_size, whole=whole)
    results = Pipeline.build(tiny, settings, one_thread=True).segment(images, scene_prompts)
    segmenter = Segmenter(tiny, settings)
    alone = Segmenter(tiny, batch_size=1, whole=whole)
    for image, result in zip(images, results, strict=True):
        for expected in (
            alone.segment(image, scene_prompts),
            segmenter.segment(image, scene_prompts),
        ):
            np.testing.assert_array_equal(result.labels, expected.labels)
            np.testing.assert_array_equal(result.confidence, expected.confidence)
            name = scene_prompts.names[1]
            np.testing.assert_array_equal(result.probabilities(name), expected.probabilities(name))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("count", range(1, 10))
def test_a_window_s_scores_do_not_depend_on_the_others(tiny, count):
    words = PromptSet.from_names([f"{color} thing" for color in COLORS[:count]])
    segmenter = Segmenter(tiny, batch_size=50)
    [scene] = draw_scenes(1, 9, (300, 500))
    patches = segmenter.encode(scene.image).patches
    together = segmenter.pipeline.score(patches, words)
    for i, expected in enumerate(together):
        [alone] = segmenter.pipeline.score(patches.part(slice(i, i + 1)), words)
        assert torch.equal(alone, expected)


def test_only_small_models_take_several_windows(tiny):
    class Large:
        """As wide as a ViT-B/16."""

        patch_size, embedding_dim, dtype = 16, 512, torch.bfloat16

    passes = Passes(one_thread=True)
    assert passes.windows(tiny, (224, 224)) > 1
    assert passes.windows(Large(), (448, 448)) == 1


def test_one_image_that_the_model_fails_on_does_not_take_others_along(tmp_path, monkeypatch):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, scene in enumerate(draw_scenes(6, 5, (224, 224))):
        Image.fromarray(scene.image).save(folder / f"{i}.png")
    Image.new("RGB", (224, 224), "white").save(folder / "white.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    original = ClipDinoiser.encode_image

    def fails_on_white(self, pixels):
        if (pixels == 1).flatten(1).all(1).any():
            raise RuntimeError("white")
        return original(self, pixels)

    monkeypatch.setattr(ClipDinoiser, "encode_image", fails_on_white)
    words = PromptSet.parse("background, red circle")
    job = job_of((folder,), tmp_path / "out", words, scheduler="sync")
    summary = run(job)
    assert summary.done == 6
    lines = (tmp_path / "out" / "records").glob("*.jsonl")
    records = [json.loads(line) for path in lines for line in path.read_text().splitlines()]
    reasons = {record["image"]: record.get("error") for record in records}
    assert reasons["white.png"] == "RuntimeError: white"
    assert "broken.png" in reasons
    assert len(list((tmp_path / "out" / "masks").glob("*.png"))) == 6


def test_an_image_too_large_for_the_device_is_told_what_to_do(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("RGB", (96, 96)).save(path)

    def full(self, pixels):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(ClipDinoiser, "encode_image", full)
    summary = run(job_of((path,), tmp_path / "out", PromptSet.parse("background, red circle")))
    assert (
        "not enough memory for this image; use a smaller --short-side" in summary.failures["a.png"]
    )


def test_an_error_that_stops_the_job_costs_no_image_that_is_done(tmp_path, monkeypatch):
    folder, output = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for i, scene in enumerate(draw_scenes(6, 5, (96, 128))):
        Image.fromarray(scene.image).save(folder / f"{i}.png")

    def full_at_the_last(result, path):
        if path.stem == "5":
            raise OutputError("Cannot write: no space left")
        write_png(result, path)

    monkeypatch.setattr(label_images, "write_png", full_at_the_last)
    words = PromptSet.parse("background, red circle")
    # all in one thread, whose first images are done when the last one fails
    job = job_of((folder,), output, words, settings=SegmentSettings(batch_size=6), scheduler="sync")
    with pytest.raises(OutputError, match="no space left"):
        run(job)
    labelled = {path.name for path in (output / "masks").iterdir()}
    assert len(labelled) == 5
    assert {record.image for record in read_records(output)} == labelled


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: device-side assert triggered",
        "CUDA error: unspecified launch failure",
    ],
)
def test_a_gpu_that_fails_stops_the_job_and_makes_no_image_a_failed_one(
    tmp_path, monkeypatch, said
):
    folder, output = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for i, scene in enumerate(draw_scenes(6, 5, (96, 128))):
        Image.fromarray(scene.image).save(folder / f"{i}.png")
    original, seen = ClipDinoiser.encode_image, []

    def spoiled(self, pixels):
        seen.append(pixels)
        if len(seen) > 3:  # and so will every later use of the GPU in this process
            raise RuntimeError(f"{said}\nCompile with `TORCH_USE_CUDA_DSA` to enable assertions.")
        return original(self, pixels)

    words = PromptSet.parse("background, red circle")
    settings = SegmentSettings(batch_size=1)
    job = job_of((folder,), output, words, settings=settings, scheduler="sync")
    with monkeypatch.context() as patch:
        patch.setattr(ClipDinoiser, "encode_image", spoiled)
        with pytest.raises(DeviceError) as caught:
            run(job)
    assert f"({said})" in str(caught.value)
    assert "run the same command again" in str(caught.value)
    assert "\n" not in str(caught.value)
    done = [record.status for record in read_records(output)]
    assert set(done) == {"done"}
    assert 0 < len(done) < 6
    summary = run(job)
    assert (summary.resumed, summary.done) == (len(done), 6)
