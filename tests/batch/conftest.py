"""A job of 200 images, and what it gives when nothing disturbs it."""

import pytest

from dinoiser.batch import run
from dinoiser.prompts import PromptSet
from tests.helpers.job_driver import FORMATS, WORDS, draw_folder, job_of


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("batch") / "images", 200)


@pytest.fixture(scope="module")
def make_job(images):
    settings = {"formats": FORMATS, "precision": "fp32", "scheduler": "sync", "report": False}

    def make(output, **changes):
        return job_of((images,), output, PromptSet.parse(WORDS), **settings | changes)

    return make


@pytest.fixture(scope="module")
def undisturbed(make_job, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    assert run(make_job(out)).done == 200
    return out
