"""What the tests of the report share."""

import pytest

from dinoiser.batch.job import write_job
from dinoiser.prompts import PromptSet


@pytest.fixture
def output(tmp_path):
    """The folder of a job that has just begun."""
    folder = tmp_path / "spring harvest"
    folder.mkdir()
    PromptSet.parse("background, dog; puppy, lawn=grass").save(folder / "prompts.yaml")
    model = {"name": "clip-dinoiser", "digest": "d" * 64, "precision": "bfloat16"}
    settings = {"short_side": 448, "window": 448, "stride": 224, "whole": False, "refine": "none"}
    write_job(folder, {"model": model, "settings": settings, "versions": {"torch": "2.9.0"}})
    return folder
