"""`dinoiser train` with a backbone of open_clip and a teacher of timm, both by name."""

import json

import pytest
import torch
from dinoiser_training import teacher_names
from PIL import Image
from safetensors import safe_open

from dinoiser.errors import CheckpointError
from dinoiser.models.catalog import TeacherEntry, find_teacher
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.models.load import load_model
from dinoiser.models.teachers.timm_vit import find_vit
from dinoiser.scenes import draw_scenes
from tests.helpers.random_timm import save_random
from tests.helpers.small_open_clip import publish_small_clip
from tests.helpers.teacher_goldens import teacher_weights

TEACHER = "test_vit.r160_in1k"
QUICK = ("-d", "cpu", "--precision", "fp32", "--batch-size", 2, "--crop", 56, "--steps", 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i, scene in enumerate(draw_scenes(12, 5, (70, 84))):
        Image.fromarray(scene.image).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    """Name of a CLIP with patches of 14 pixels, whose weights lie in the cache."""
    return publish_small_clip(tmp_path, monkeypatch)[0]


@pytest.fixture
def teacher(backbone, tmp_path, monkeypatch):
    """Name of a ViT with patches of 16 pixels, whose weights lie there too, like FOUND's."""
    place = find_vit(TEACHER).place()
    place.parent.mkdir(parents=True)
    save_random(TEACHER, place)
    official = find_teacher("found")
    torch.save(teacher_weights("found_p8."), official.backbone.place())
    small = {"filename": "d.pt", "source": "x", "why": "y", "approximate_size": 1}
    torch.save(teacher_weights("found_decoder."), tmp_path / "cache" / "d.pt")
    found = TeacherEntry.model_validate(official.model_dump() | {"decoder": small})
    monkeypatch.setattr(teacher_names, "find_teacher", {"found": found}.__getitem__)
    return TEACHER


@pytest.mark.slow
def test_both_by_name_give_heads_that_the_backbone_takes_by_name(
    folder, tmp_path, dinoiser, backbone, teacher
):
    path = tmp_path / "heads.safetensors"
    train = ("train", folder, "-o", path, "-m", backbone, "--teacher", teacher, *QUICK)
    code, out, err = dinoiser(*train)
    assert code in (0, 1), err  # of random networks, either may be better
    assert f"They are in {path}" in " ".join(out.split())
    with safe_open(path, "pt") as file:
        made_of = file.metadata()
    assert (made_of["model"], made_of["teacher"]) == (backbone, teacher)
    model = load_model(backbone, "cpu", "fp32", heads=path)
    assert isinstance(model, ClipDinoiser)
    assert model.name == backbone
    label = ("label", folder, "-p", "background, circle", "-m", backbone, "-d", "cpu")
    code, _, err = dinoiser(*label, "--heads", path, "-o", tmp_path / "labels", "--limit", 2)
    assert code == 0, err
    assert len(list((tmp_path / "labels" / "masks").glob("*.png"))) == 2
    with pytest.raises(CheckpointError, match=f"fitted to the model '{backbone}'"):
        load_model("tiny", "cpu", heads=path)


@pytest.mark.slow
def test_another_teacher_judges_otherwise(folder, tmp_path, dinoiser, backbone, teacher):
    taught = {}
    for name in (teacher, "regions"):
        path = tmp_path / f"{name}.safetensors"
        arguments = ("train", folder, "-o", path, "-m", backbone, "--teacher", name, *QUICK)
        _, out, _ = dinoiser(*arguments, "--json")
        taught[name] = json.loads(out)["agreement"]["untrained"]["pairs"]
    assert taught[teacher] != taught["regions"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--teacher", "vit_small_patch16_224.din"], "did you mean 'vit_small_patch16_224.dino'"),
        (["--teacher", "resnet50.a1_in1k"], "resnet50.a1_in1k is not a plain ViT"),
        (["--teacher", "vit_small_patch16_224.dino"], "put it at"),
        (["--crop", "60"], "ViT-small-14:plain, which have 14 pixels: choose a"),
        (["-m", "open_clip:RN50:openai"], "its image tower is a ResNet"),
        (["-m", "open_clip:ViT-small-14:plane"], "did you mean 'plain'"),
    ],
)
def test_what_cannot_be_done_is_said(folder, tmp_path, dinoiser, backbone, arguments, message):
    path = tmp_path / "heads.safetensors"
    code, out, err = dinoiser("train", folder, "-o", path, "-m", backbone, *QUICK, *arguments)
    assert code == 2
    assert message in err
    assert "\n" not in err.strip()
    assert not out
    assert not path.exists()


def test_fetch_and_verify_take_such_names(dinoiser, backbone):
    for command in ("fetch", "verify"):
        code, out, err = dinoiser("models", command, backbone)
        assert code == 0, err
        assert "someone--plain" in out.replace("\n", "") or "someone/plain" in out
