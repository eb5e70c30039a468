"""`dinoiser train` as a person uses it, then `dinoiser label --heads` with what came of it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from dinoiser_training.refit import RefitJob, refit
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from dinoiser.errors import CheckpointError, OutputError
from dinoiser.export.comparison import MARGIN, PANEL_WIDTH
from dinoiser.models.clip_dinoiser import DinoiserHeads
from dinoiser.models.load import load_model
from dinoiser.scenes import draw_scenes
from tests.helpers import command_line
from tests.helpers.permissions import as_ordinary_user

QUICK = ("-m", "tiny", "-d", "cpu", "--precision", "fp32", "--batch-size", 2, "--crop", 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty images in two folders, and a file that is none."""
    folder = tmp_path_factory.mktemp("images")
    for i, scene in enumerate(draw_scenes(20, 31, (72, 96))):
        path = folder / ("day" if i % 2 else "night") / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(scene.image).save(path)
    (folder / "notes.jpg").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def fit(folder, tmp_path_factory):
    """The heads of a short fit, and what it said on stdout and stderr."""
    path = tmp_path_factory.mktemp("fit") / "mine.safetensors"
    words = ("-p", "background, red circle, blue square")
    code, out, err = command_line.dinoiser(
        "train", folder, "-o", path, *QUICK, "--steps", 4, *words
    )
    assert code == 1, err
    return path, out, err


@pytest.fixture
def heads(fit):
    return fit[0]


def test_twenty_images_give_heads_that_label_takes(fit, folder, tmp_path, dinoiser):
    path, out, err = fit
    assert "20 images to learn from; each is held out from one of 4 fits" in err
    assert "Skipped notes.jpg" in err
    assert "No GPU is used: 20 steps take about" in err
    for row in ("new", "shipped", "untrained"):
        assert row in out
    files = {p.name for p in path.with_suffix(".fit").iterdir()}
    assert {"log.csv", "agreement.json", "labels.png"} <= files
    assert not list(path.with_suffix(".fit").rglob("checkpoint.safetensors"))
    label = ("label", folder / "day", "-p", "background, red circle", "-m", "tiny", "-d", "cpu")
    code, _, err = dinoiser(*label, "--heads", path, "-o", tmp_path / "labels", "--limit", 2)
    assert code == 0, err
    assert len(list((tmp_path / "labels" / "masks").glob("*.png"))) == 2


def test_heads_that_are_no_better_are_said_to_be_so(fit):
    """Four steps are no match for the model's own heads."""
    path, out, _ = fit
    assert f"not better than shipped ones: label without --heads. They are in {path}" in (
        " ".join(out.split())
    )
    assert path.exists()


def test_old_and_new_labels_of_images_kept_back_are_drawn(fit):
    path, out, _ = fit
    share, _, rest = out.partition("% of the pixels of images kept back change")
    assert 0 < float(share.split()[-1]) <= 100
    picture = path.with_suffix(".fit") / "labels.png"
    assert str(picture) in rest
    with Image.open(picture) as file:
        # the image, two ways to label it, and what changed, one row for each of eight images
        panel = PANEL_WIDTH * 64 // 85  # images are 85 x 64 pixels in the fit
        assert file.width == MARGIN + 4 * (PANEL_WIDTH + MARGIN)
        assert file.height > 8 * panel


@pytest.mark.slow
def test_better_heads_exit_with_0_and_the_command_that_uses_them(folder, tmp_path, dinoiser):
    path, config = tmp_path / "heads.safetensors", tmp_path / "fast.yaml"
    config.write_text("rate: 1e-3\nbackground_rate: 0.2\nweighting: balanced\nsteps: 12")
    options = ("-m", "maskclip-tiny", *QUICK[2:], "--config", config)
    code, out, err = dinoiser("train", folder, "-o", path, *options)
    assert code == 0, out + err
    assert "are better" in out
    assert f"-m maskclip-tiny --heads {path}" in " ".join(out.split())


@pytest.mark.slow
def test_where_the_teacher_finds_nothing_there_is_no_table(tmp_path, dinoiser):
    for i in range(10):
        Image.new("RGB", (72, 72), (9 * i, 90, 80)).save(tmp_path / f"{i}.png")
    path = tmp_path / "heads.safetensors"
    code, out, _ = dinoiser("train", tmp_path, "-o", path, *QUICK, "--steps", 1)
    assert code == 1
    assert "untrained" not in out
    assert "tells nothing apart" in out
    assert path.exists()


class TestConfig:
    def test_the_file_beside_the_heads_makes_the_same_heads(
        self, heads, folder, tmp_path, dinoiser
    ):
        again = tmp_path / "again.safetensors"
        config = heads.with_suffix(".yaml")
        dinoiser("train", folder, "-o", again, "--config", config, "-d", "cpu")
        assert again.with_suffix(".yaml").read_text() == config.read_text()
        expected = DinoiserHeads.load(heads).state_dict()
        fitted = DinoiserHeads.load(again).state_dict()
        assert all(torch.equal(fitted[name], value) for name, value in expected.items())

    def test_it_holds_every_number_of_the_paper(self, heads):
        values = yaml.safe_load(heads.with_suffix(".yaml").read_text())
        assert values == {
            "model": "tiny", "precision": "fp32", "teacher": "dino-tiny", "steps": 4,
            "batch_size": 2, "crop": 64, "weighting": "published", "whiten": False,
            "sample": 1000, "projection_dim": 256, "rate": 5e-5, "background_rate": 1e-2,
            "weight_decay": 0.01, "brightness": 0.5, "decay": 0.1, "decay_at": 5000 / 6300,
            "similar": 0.5, "gamma": 0.2, "seed": 0, "guide_block": -3, "kernel_size": 3,
        }  # fmt: skip

    @pytest.mark.slow
    def test_options_override_it(self, folder, tmp_path, dinoiser):
        config, path = tmp_path / "mine.yaml", tmp_path / "h.safetensors"
        config.write_text("steps: 9\nrate: 5e-4\nmodel: tiny\n")
        options = (*QUICK[2:], "--steps", 1, "--config", config)
        dinoiser("train", folder, "-o", path, *options)
        values = yaml.safe_load(path.with_suffix(".yaml").read_text())
        assert (values["steps"], values["rate"], values["crop"]) == (1, 5e-4, 64)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("stepps: 9", "unknown setting 'stepps' (did you mean 'steps'?)"),
            ("steps: many", "has 'many' as steps: input should be a valid integer"),
            ("weighting: odd", "input should be 'published' or 'balanced'"),
            ("rate: -1", "rate is -1"),
            ("- steps", "is not a file of settings"),
            ("steps: [", "cannot be read"),
            ("steps: &a 1", "cannot be read"),
        ],
    )
    def test_what_cannot_be_in_it_is_said(self, folder, tmp_path, dinoiser, text, message):
        config = tmp_path / "mine.yaml"
        config.write_text(text)
        code, _, err = dinoiser(
            "train", folder, "--config", config, "-o", tmp_path / "h.safetensors"
        )
        assert code == 2
        assert message in err
        assert str(config) in err or text == "rate: -1"

    def test_a_file_of_ones_own_is_not_written_over(self, folder, tmp_path, dinoiser):
        config = tmp_path / "heads.yaml"
        config.write_text("# mine\nsteps: 1\n")
        path = tmp_path / "heads.safetensors"
        code, _, err = dinoiser("train", folder, "-o", path, "--config", config, *QUICK)
        assert code == 2
        assert "`dinoiser train` has not written that file" in err
        assert config.read_text() == "# mine\nsteps: 1\n"

    def test_a_recipe_beside_it_is_refused(self, folder, heads, dinoiser):
        config = heads.with_suffix(".yaml")
        code, _, err = dinoiser("train", folder, "--config", config, "--recipe", "balanced")
        assert code == 2
        assert "use only one" in err


def test_the_file_says_what_made_it(heads):
    with safe_open(heads, "pt") as file:
        made_of = file.metadata()
    assert made_of["model"] == "tiny"
    assert made_of["teacher"] == "dino-tiny"
    assert json.loads(made_of["settings"])["steps"] == 4
    assert set(json.loads(made_of["losses"])) == {"correlation", "objectness"}
    assert set(json.loads(made_of["agreement"])) == {"new", "shipped", "untrained"}
    assert json.loads(made_of["versions"])["torch"] == version("torch")
    assert len(made_of["data"]) == len(made_of["backbone"]) == 64


@pytest.mark.slow
def test_the_outcome_as_json(folder, tmp_path, dinoiser):
    path = tmp_path / "heads.safetensors"
    code, out, _ = dinoiser("train", folder, "-o", path, *QUICK, "--steps", 2, "--json")
    document = json.loads(out)
    assert code == 1
    assert document["best_step"] <= 2
    assert document["heads"] == str(path)
    assert document["better"] is False
    assert 0 < document["agreement"]["new"]["pairs"] <= 1
    assert set(document["second_opinion"]) == {"new", "shipped"}  # of regions, on all 20 images
    assert document["second_opinion"]["new"]["images"] > 10


def test_new_heads_run_in_the_model_that_they_were_made_for(heads):
    model = load_model("tiny", device="cpu", precision="fp32", heads=heads)
    fitted = DinoiserHeads.load(heads)
    assert torch.equal(model.heads.obj_proj.weight, fitted.obj_proj.weight)
    assert model.gamma == 0.2  # the published recipe's; the shipped heads have another


def test_heads_for_another_backbone_are_refused(heads, tmp_path):
    other = tmp_path / "other.safetensors"
    with safe_open(heads, "pt") as file:
        made_of = {**file.metadata(), "model": "another", "backbone": "0" * 64}
    save_file(DinoiserHeads.load(heads).state_dict(), other, made_of)
    with pytest.raises(
        CheckpointError,
        match=r"fitted to the model 'another'.*from that of 'tiny': use them with 'another'",
    ):
        load_model("tiny", device="cpu", heads=other)


@pytest.mark.parametrize("gamma", ["nan", "1.01", "-inf", "1e400", "a lot", "", "0.2 " * 9000])
def test_a_threshold_that_is_no_cosine_is_refused(tiny, tmp_path, gamma):
    path = tmp_path / "odd.safetensors"
    save_file(tiny.heads.state_dict(), path, {"gamma": gamma})
    with pytest.raises(CheckpointError, match="expected a number from -1 to 1") as caught:
        load_model("tiny", device="cpu", heads=path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("change", [float("nan"), float("inf"), 1j])
def test_weights_that_are_no_finite_real_numbers_are_refused(tiny, tmp_path, change):
    path = tmp_path / "odd.safetensors"
    weights = {name: value.clone() for name, value in tiny.heads.state_dict().items()}
    weights["bkg_decoder.bias"] = weights["bkg_decoder.bias"] * change
    save_file(weights, path)
    with pytest.raises(CheckpointError, match=r"not finite real numbers \(bkg_decoder\.bias\)"):
        load_model("tiny", device="cpu", heads=path)


def test_heads_for_another_width_are_refused(heads, make_clip):
    from dinoiser.models.clip_dinoiser import ClipDinoiser

    with pytest.raises(CheckpointError, match=r"heads read 128 channels.*tower has 32"):
        ClipDinoiser(make_clip(), DinoiserHeads.load(heads))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "heads.pt"], "ends in .safetensors"),
        (["--steps", "0"], "--steps is 0, expected at least 1"),
        (["--seed", "-1"], "--seed is -1, expected at least 0"),
        (["--teacher", "cat"], "--teacher is 'cat', expected one of auto, dino, dino-keys"),
        (["--recipe", "cake"], "--recipe is 'cake', expected one of published, balanced"),
        (["--resume"], "no unfinished fit"),
        (["--teacher", "dino"], "or learn from colours with --teacher regions"),
        (["--teacher", "masks"], "does not contain a job of `dinoiser label`"),
    ],
)
def test_what_cannot_be_done_is_said(folder, tmp_path, dinoiser, arguments, message):
    output = ("-o", tmp_path / "heads.safetensors")
    code, out, err = dinoiser("train", folder, *output, *QUICK, *arguments)
    assert code == 2
    assert message in err
    assert not out
    assert not (tmp_path / "heads.safetensors").exists()


def test_too_few_images_are_said(folder, tmp_path, dinoiser):
    some = sorted((folder / "day").glob("*.png"))[:3]
    code, _, err = dinoiser("train", *some, "-o", tmp_path / "h.safetensors", *QUICK)
    assert code == 2
    assert "There are 3 images to learn from; at least 10" in err


def test_what_can_be_refused_is_before_a_model_is_loaded(folder, tmp_path, dinoiser):
    """The default model is not on this machine, and would have to be fetched."""
    heads = tmp_path / "heads.safetensors"
    code, _, err = dinoiser("train", tmp_path / "nowhere", "-o", heads)
    assert code == 2
    assert "there is no file or folder" in err
    code, _, err = dinoiser("train", folder, "--teacher", "masks", "-o", heads)
    assert code == 2
    assert "does not contain a job" in err
    (tmp_path / "file").touch()
    code, _, err = dinoiser("train", folder, "-o", tmp_path / "file" / "heads.safetensors")
    assert code == 2
    assert f"Cannot write {tmp_path / 'file'}" in err
    heads.write_bytes(b"the heads of an earlier fit")
    code, _, err = dinoiser("train", folder, "-o", heads)
    assert code == 2
    assert f"{heads} is there already: give another name" in err
    assert heads.read_bytes() == b"the heads of an earlier fit"
    heads.unlink()
    heads.mkdir()
    code, _, err = dinoiser("train", folder, "-o", heads)
    assert code == 2
    assert f"because there is a folder {heads}: give another name" in err


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_folder_that_is_read_only_is_said_before_the_images_are_read(folder):
    # pytest's own folders are closed to other users
    with tempfile.TemporaryDirectory() as place:
        locked = Path(place)
        locked.chmod(0o555)
        job = RefitJob((str(folder),), locked / "heads.safetensors", model="tiny")
        with as_ordinary_user(), pytest.raises(OutputError, match="that you may write to") as error:
            refit(job)
        assert str(error.value).startswith(f"Cannot write {place}: ")


def wait_for(path, process):
    """Wait until a log has a line."""
    for _ in range(1200):
        if path.is_file() and len(path.read_text().splitlines()) > 1:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    pytest.fail("no step was logged")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals for one process")
@pytest.mark.parametrize(
    ("stop", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143)],
)
@pytest.mark.slow
def test_ctrl_c_and_sigterm_save_and_resume_goes_on(folder, tmp_path, dinoiser, stop, code):
    path = tmp_path / "heads.safetensors"
    arguments = ("train", folder, "-o", path, *QUICK, "--steps", 100_000)
    program = "import dinoiser.cli; dinoiser.cli.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )
    wait_for(tmp_path / "heads.fit" / "fold-1" / "log.csv", process)
    process.send_signal(stop)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "--resume" in err
    with safe_open(tmp_path / "heads.fit" / "fold-1" / "checkpoint.safetensors", "pt") as file:
        assert int(file.metadata()["step"]) >= 10
    code, _, err = dinoiser(*arguments)
    assert code == 2
    assert "unfinished fit: use --resume" in err
    code, _, err = dinoiser(*arguments[:-1], 7, "--resume")
    assert code == 2
    assert "steps was 100000 and is now 7" in err


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without")
def test_two_processes_fit_what_one_does(folder, tmp_path, dinoiser):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    options = (*QUICK[:-3], 5, "--crop", 64, "--steps", 5)
    assert dinoiser("train", folder, "-o", one, *options)[0] == 1
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    program = ["--no-python", sys.executable, "-c", "import dinoiser.cli; dinoiser.cli.main()"]
    arguments = map(str, ("train", folder, "-o", two, *options))
    command = [*launcher, "--nproc-per-node=2", *program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.count("They are in") == 1, done.stderr  # one of them speaks
    fitted = DinoiserHeads.load(two).state_dict()
    for name, expected in DinoiserHeads.load(one).state_dict().items():
        np.testing.assert_allclose(fitted[name], expected, atol=2e-5, err_msg=name)
