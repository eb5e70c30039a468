"""Images of a job, encoded again as the job did."""

from concurrent.futures import CancelledError

import numpy as np
import pytest
from PIL import Image

from dinoiser.batch import run
from dinoiser.batch.job_encoder import JobEncoder
from dinoiser.batch.job_images import JobImage
from dinoiser.errors import InputError
from dinoiser.models.clip_dinoiser import DinoiserHeads
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from tests.helpers.job_driver import job_of

PROMPTS = PromptSet.from_names(["background", "red circle", "blue star"])


@pytest.mark.parametrize("keep_features", [False, True])
def test_an_image_encoded_again_has_the_labels_of_the_job(tmp_path, keep_features):
    scene = draw_scene(np.random.default_rng(3), (96, 128))
    path, output = tmp_path / "a.png", tmp_path / "out"
    Image.fromarray(scene.image).save(path)
    assert run(job_of((path,), output, PROMPTS, keep_features=keep_features)).done == 1
    encoder = JobEncoder(output)
    encoded = encoder.encode(JobImage("a.png", "a", str(path)), scene.image)
    mask = np.asarray(Image.open(output / "masks" / "a.png"))
    np.testing.assert_array_equal(encoded.segment(PROMPTS).labels, mask)
    if not keep_features:
        with pytest.raises(CancelledError):
            encoder.encode(JobImage("a.png", "a", str(path)), scene.image, lambda: True)


def test_what_a_job_with_heads_of_its_own_keeps_is_not_replaced(tmp_path):
    scene = draw_scene(np.random.default_rng(3), (96, 128))
    path, heads, output = tmp_path / "a.png", tmp_path / "heads.safetensors", tmp_path / "out"
    Image.fromarray(scene.image).save(path)
    DinoiserHeads(load_model("tiny").guide_width, 8).save(heads)
    run(job_of((path,), output, PROMPTS, heads=heads, keep_features=True))
    kept = output / "features" / "a.safetensors"
    before = kept.read_bytes()
    JobEncoder(output).encode(JobImage("a.png", "a", str(path)), scene.image)
    assert kept.read_bytes() == before


def test_a_folder_without_a_job_is_refused(tmp_path):
    with pytest.raises(InputError):
        JobEncoder(tmp_path)
