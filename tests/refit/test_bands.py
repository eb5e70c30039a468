"""Heads for images of chosen bands: the same as from plain ones that hold only these."""

import json
import shutil

import pytest
import torch
import yaml
from dinoiser_training.config_file import read_config
from dinoiser_training.refit import RefitJob, refit
from dinoiser_training.settings import FitSettings

from dinoiser.errors import SettingsError
from dinoiser.images.settings import ReadSettings
from dinoiser.models.clip_dinoiser import DinoiserHeads
from tests.helpers import command_line
from tests.helpers.band_jobs import BANDS, NODATA, draw_twice

QUICK = ("-m", "tiny", "-d", "cpu", "--precision", "fp32", "--teacher", "regions")
SMALL = ("--batch-size", 2, "--crop", 64, "--steps", 2)
CHOSEN = ("--bands", "4,3,2", "--nodata", NODATA)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return draw_twice(tmp_path_factory.mktemp("scenes"), 10, (72, 96))


def train(images, heads, *more):
    return command_line.dinoiser("train", images, "-o", heads, *QUICK, *more)


def weights(path):
    return DinoiserHeads.load(path).state_dict()


@pytest.fixture(scope="module")
def heads(scenes, tmp_path_factory):
    """Those of the plain images, and of the bands."""
    folder = tmp_path_factory.mktemp("heads")
    for images, name, more in zip(scenes, ("plain", "banded"), ((), CHOSEN), strict=False):
        code, out, err = train(images, folder / f"{name}.safetensors", *SMALL, *more, "--json")
        assert code in (0, 1), err
        assert json.loads(out)["heads"] == str(folder / f"{name}.safetensors")
    return folder / "plain.safetensors", folder / "banded.safetensors"


def test_they_are_those_of_plain_images(heads):
    plain, banded = map(weights, heads)
    assert plain.keys() == banded.keys()
    assert all(torch.equal(plain[name], banded[name]) for name in plain)


@pytest.mark.slow
def test_the_file_beside_them_says_how_images_were_read(heads, scenes, tmp_path):
    plain, banded = (yaml.safe_load(path.with_suffix(".yaml").read_text()) for path in heads)
    assert banded == plain | {"bands": list(BANDS), "nodata": NODATA}
    config = heads[1].with_suffix(".yaml")
    again = tmp_path / "again.safetensors"
    code, _, err = train(scenes[1], again, "--config", config)
    assert code in (0, 1), err
    assert all(
        torch.equal(weights(again)[name], value) for name, value in weights(heads[1]).items()
    )


@pytest.mark.parametrize("text", ["bands: 4", "bands: [4, 3]", "bands: [a]", "nodata: none"])
def test_bands_in_that_file_that_cannot_be_are_refused(scenes, tmp_path, text):
    config = tmp_path / "mine.yaml"
    config.write_text(text)
    code, _, err = train(scenes[1], tmp_path / "heads.safetensors", "--config", config)
    assert code == 2
    assert text.partition(":")[0] in err


def test_options_override_it(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("bands: [4, 3, 2]\nnodata: -9999\n")
    assert read_config(config) == {"bands": [4, 3, 2], "nodata": -9999}
    arguments = ("--config", config, "--bands", "7")
    code, _, err = train(tmp_path / "nowhere", tmp_path / "heads.safetensors", *arguments)
    assert code == 2
    assert "there is no file or folder" in err


@pytest.fixture(scope="module")
def unfinished(scenes, tmp_path_factory):
    """The heads' file of a fit that was stopped."""
    path = tmp_path_factory.mktemp("unfinished") / "heads.safetensors"
    settings = FitSettings(steps=3, batch_size=2, crop=64)
    job = RefitJob(
        *((str(scenes[1]),), path, "tiny", "cpu", "fp32", "regions", settings),
        reading=ReadSettings.parse(NODATA, "4,3,2"),
    )
    assert not refit(job, cancelled=lambda: True).result.finished
    return path


RESUME = ("--batch-size", 2, "--crop", 64, "--steps", 3, "--resume")


@pytest.mark.parametrize(
    ("more", "difference"),
    [
        ((), "bands was [4, 3, 2] and is now None; nodata was 9 and is now None"),
        (("--bands", "2,3,4", "--nodata", 9), "bands was [4, 3, 2] and is now [2, 3, 4]"),
        (("--bands", "4,3,2", "--nodata", 8), "nodata was 9 and is now 8.0"),
    ],
)
def test_a_fit_does_not_go_on_with_other_bands(unfinished, scenes, more, difference):
    code, _, err = train(scenes[1], unfinished, *RESUME, *more)
    assert code == 2
    assert difference in " ".join(err.split())
    assert "Reading" not in err  # before any image is


@pytest.mark.slow
def test_a_fit_goes_on_with_the_same_bands(unfinished, scenes, tmp_path):
    path = shutil.copytree(unfinished.parent, tmp_path / "copy") / unfinished.name
    code, _, err = train(scenes[1], path, *RESUME, *CHOSEN)
    assert code in (0, 1), err
    assert path.is_file()


@pytest.mark.parametrize(
    ("bands", "problem"),
    [("0", "'0'"), ("1,2", "[1, 2]"), ("a", "'a'"), ("-1", "'-1'")],
)
def test_bands_that_cannot_be_are_refused_before_the_images_are_looked_for(
    tmp_path, bands, problem
):
    code, _, err = train(tmp_path / "no", tmp_path / "heads.safetensors", "--bands", bands)
    assert code == 2
    assert "expected one number (grey) or three (red, green, blue), counted from 1" in (
        " ".join(err.split())
    )
    assert problem.strip("'") in err


def test_images_that_lack_a_band_are_left_out(scenes, tmp_path):
    code, _, err = train(scenes[0], tmp_path / "heads.safetensors", *CHOSEN)
    assert code == 2
    assert "has 3 bands, and --bands 4,3,2 asks for band 4" in " ".join(err.split())


def test_masks_are_learnt_with_the_bands_of_their_job(tmp_path):
    with pytest.raises(SettingsError, match="--bands 4,3,2 is given, but the teacher masks"):
        RefitJob(
            (str(tmp_path),),
            tmp_path / "heads.safetensors",
            teacher="masks",
            reading=ReadSettings(bands=BANDS),
        )
