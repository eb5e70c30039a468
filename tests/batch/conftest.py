"""A job of 200 images, and what it gives when nothing disturbs it."""

from dataclasses import replace

import pytest

from dinoiser.batch import LabelJob, run
from dinoiser.prompts import PromptSet
from tests.helpers.job_driver import FORMATS, WORDS, draw_folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("batch") / "images", 200)


@pytest.fixture(scope="module")
def make_job(images):
    base = LabelJob(
        inputs=(images,),
        output=images.parent / "nowhere",
        prompts=PromptSet.parse(WORDS),
        formats=FORMATS,
        model="tiny",
        device="cpu",
        precision="fp32",
        scheduler="sync",
        report=False,
    )

    def make(output, **changes):
        return replace(base, output=output, **changes)

    return make


@pytest.fixture(scope="module")
def undisturbed(make_job, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    assert run(make_job(out)).done == 200
    return out
