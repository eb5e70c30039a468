"""What must run on a device that is not the CPU. `test_other_device.py` runs this on its own."""

import dask.array as da
import numpy as np
import pytest
import torch
from dinoiser_training.refit import RefitJob, refit
from dinoiser_training.settings import FitSettings
from PIL import Image
from safetensors.torch import load_file

import dinoiser
from benchmarks.kernels import count
from dinoiser.batch import SegmentSettings, run
from dinoiser.export import read_mask
from dinoiser.models import device
from dinoiser.models.dino_registers import RegisterDino
from dinoiser.models.dinotxt import DinoTxt
from dinoiser.models.dinotxt_towers import read_towers
from dinoiser.models.key_refinement import KeyRefinedClip
from dinoiser.models.load import Placement
from dinoiser.models.teacher_guided import TeacherGuidedClip
from dinoiser.segment.canvas import Canvas
from dinoiser.segment.probability_map import Tile
from tests.helpers.job_driver import job_of
from tests.helpers.official_dino import official_dino
from tests.helpers.official_dinotxt import FOLDER, HEAD_WIDTH, write_official
from tests.helpers.small_talk2dino import small_talk2dino
from tests.helpers.teacher_goldens import small_teachers
from tests.other_device.device import NAME

PROMPTS = dinoiser.PromptSet.parse("background, red circle; red disk, blue star, grass")
DEVICES = ("cpu", f"{NAME}:0")
SAME = 0.999 if NAME == "cuda" else 1
"""Share of pixels that have the CPU's label; the stand-in has the CPU's numbers."""
SURE = 0.99 if NAME == "cuda" else 1
"""Share of pixels with the CPU's confidence: where a cell's class is another one, it is another."""


@pytest.fixture(autouse=True)
def other_device(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "available_devices", lambda: list(reversed(DEVICES)))
    monkeypatch.setenv("DINOISER_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def drawn_image():
    return next(dinoiser.scenes.draw_scenes(1, seed=5, size=(300, 260))).image


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, scene in enumerate(dinoiser.scenes.draw_scenes(12, seed=5, size=(300, 260))):
        Image.fromarray(scene.image).save(folder / f"{i}.png")
    return folder


@pytest.mark.skipif(NAME == "cuda", reason="this is about the stand-in")
def test_what_meets_from_two_devices_is_refused():
    here, there = torch.ones(3), torch.ones(3).to(NAME)
    assert there.device.type == NAME
    assert (there + 1).cpu().tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match=r"two devices: other \(3,\), cpu \(3,\)"):
        there + here
    with pytest.raises(RuntimeError):
        np.asarray(there)


@pytest.mark.skipif(NAME == "cuda", reason="this is about the stand-in")
def test_what_such_a_device_takes_later_is_not_what_was_given():
    there = torch.ones(3).to(f"{NAME}:0", non_blocking=True)
    assert there.cpu().tolist() == [0, 0, 0]


def test_a_device_has_the_values_that_it_was_given():
    there = device.to_device(torch.arange(1, 4), torch.device(f"{NAME}:0"))
    assert there.cpu().tolist() == [1, 2, 3]


def place(device_name):
    return Placement(torch.device(device_name), torch.float32)


@pytest.fixture
def build_tiny():
    return lambda where: dinoiser.load_model("tiny", device=str(where.device), precision="fp32")


@pytest.fixture
def build_refined(make_clip):
    return lambda where: KeyRefinedClip(make_clip().to(*where))


@pytest.fixture
def build_guided(make_clip):
    return lambda where: TeacherGuidedClip(make_clip().to(*where), *small_teachers())


@pytest.fixture
def build_talk2dino(make_clip):
    return lambda where: small_talk2dino(make_clip().to(*where), official_dino())


@pytest.fixture
def build_dinotxt(tmp_path):
    paths = write_official(load_file(FOLDER / "dinov2.safetensors"), "dinov2", tmp_path)
    tokens = torch.from_numpy(np.load(FOLDER / "dinov2.npz")["token_ids"])

    def build(where):
        dino = RegisterDino.load(paths["dino"], HEAD_WIDTH).to(*where)
        model = DinoTxt(dino, *read_towers(paths, HEAD_WIDTH))
        # The golden's text tower knows a few tokens only: any of its rows is a sentence here.
        model.tokenize = lambda texts: torch.stack([tokens[len(t) % len(tokens)] for t in texts])
        return model

    return build


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("tiny", {}),
        ("tiny", {"whole": True}),
        ("tiny", {"refine": "none"}),
        ("refined", {}),
        ("guided", {}),
        ("talk2dino", {}),
        ("dinotxt", {}),
    ],
)
def test_an_image_is_labelled_as_on_the_cpu(method, settings, drawn_image, request):
    build = request.getfixturevalue(f"build_{method}")
    sizes = {} if settings.get("whole") else {"short_side": 224, "window": 224, "stride": 112}
    results = []
    for name in DEVICES:
        segmenter = dinoiser.Segmenter(build(place(name)), **sizes, **settings)
        results.append(segmenter.encode(drawn_image).segment(PROMPTS))
    near, other = results
    assert np.isclose(other.confidence, near.confidence, atol=2e-3, rtol=1e-7).mean() >= SURE
    np.testing.assert_allclose(other.probabilities("grass"), near.probabilities("grass"), atol=1e-4)
    assert (other.labels == near.labels).mean() > 0.999
    assert dict(other.ranking(20, 30)) == pytest.approx(dict(near.ranking(20, 30)), abs=1e-4)


@pytest.mark.parametrize("refine", ["none", "edges"])
def test_a_larger_image_asks_no_more_of_the_device(refine):
    small, large = (count(size, refine) for size in ((448, 448), (768, 1024)))
    assert large == small
    assert large["back"] <= 3  # which classes may be anywhere (with edges, twice), and the result


def test_labels_of_two_bytes_come_back_from_the_device():
    ids = np.array([7, 300, 65535], np.uint16)
    whole = Tile.whole((4, 6))
    found = {}
    for name in ("cpu", NAME):
        canvas = Canvas.blank(whole, ids, torch.device(name))
        upper, lower = whole.cut(2, 6)
        some, confidence = torch.arange(12).view(2, 6), torch.linspace(0, 1, 12).view(2, 6)
        canvas.put(upper, [1], torch.zeros_like(some).to(name), confidence.to(name))
        canvas.put(lower, [0, 2], some.remainder(2).to(name), confidence.to(name))
        found[name] = canvas.arrays()
    labels, confidence = found[NAME]
    assert labels.tolist() == [[300] * 6] * 2 + [[7, 65535] * 3] * 2
    assert (labels.dtype, confidence.dtype) == (np.uint16, np.float16)
    np.testing.assert_array_equal(confidence, found["cpu"][1])
    np.testing.assert_array_equal(labels, found["cpu"][0])


def test_a_large_array_is_labelled_as_on_the_cpu(drawn_image, build_tiny):
    array = da.from_array(np.tile(drawn_image, (2, 2, 1)), chunks=(256, 256, 3))
    near, other = (
        dinoiser.segment_array(array, PROMPTS, build_tiny(place(name))) for name in DEVICES
    )
    assert (other.compute() == near.compute()).mean() >= SAME


@pytest.mark.parametrize("batch_size", [1, 16])
def test_a_folder_is_labelled_as_on_the_cpu(batch_size, images, tmp_path):
    folders = []
    for name in DEVICES:
        folders.append(tmp_path / name.partition(":")[0])
        job = job_of(
            (images,),
            folders[-1],
            PROMPTS,
            device=name,
            precision="fp32",
            settings=SegmentSettings(batch_size=batch_size),
            scheduler="sync",
        )
        summary = run(job)
        assert (summary.done, summary.failures) == (12, {})
    for i in range(12):
        near, other = (read_mask(folder / "masks" / f"{i}.png") for folder in folders)
        assert (other == near).mean() >= SAME


@pytest.mark.parametrize(
    ("recipe", "agree"),
    # Few images leave directions without variance, and whitening enlarges what rounding left.
    # Whitened directions have any sign, so the projection agrees on the stand-in alone.
    [("published", {"atol": 1e-5}), ("balanced", {"atol": 0.1})],
)
def test_heads_are_fitted_as_on_the_cpu(recipe, agree, images, tmp_path):
    settings = FitSettings.of_recipe(
        recipe, steps=3, batch_size=2, crop=160, sample=8, projection_dim=8
    )
    heads = []
    for name in DEVICES:
        output = tmp_path / f"{name.partition(':')[0]}.safetensors"
        refit(RefitJob((str(images),), output, "tiny", name, "fp32", settings=settings))
        heads.append(load_file(output))
    for name, near in heads[0].items():
        if NAME == "cuda" and recipe == "balanced" and name.startswith("obj_proj"):
            assert np.isfinite(heads[1][name].numpy()).all()
            continue
        np.testing.assert_allclose(heads[1][name], near, **agree, err_msg=name)
