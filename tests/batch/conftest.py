"""A job of many small images, and what it gives when nothing disturbs it."""

import pytest

from dinoiser.batch import run
from dinoiser.prompts import PromptSet
from tests.helpers.job_driver import COUNT, FORMATS, SETTINGS, WORDS, draw_folder, job_of


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("batch") / "images", COUNT)


@pytest.fixture(scope="session")
def make_job(images):
    small = {"settings": SETTINGS, "formats": FORMATS, "precision": "fp32"}
    alone = {"scheduler": "sync", "report": False}

    def make(output, **changes):
        return job_of((images,), output, PromptSet.parse(WORDS), **small | alone | changes)

    return make


@pytest.fixture(scope="session")
def undisturbed(make_job, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    assert run(make_job(out)).done == COUNT
    return out
