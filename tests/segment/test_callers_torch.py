"""What a caller has set for torch stays theirs, and changes no result."""

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch

import dinoiser

PROMPTS = dinoiser.PromptSet.parse("background, red circle, blue star")


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SETTINGS = {
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "another device": lambda: torch.device("meta"),
    "double precision": lambda: default_dtype(torch.float64),
    "no gradients": torch.no_grad,
}


def label_and_learn():
    model = dinoiser.load_model("tiny", precision="fp32")
    segmenter = dinoiser.Segmenter(model)
    scenes = list(dinoiser.scenes.draw_scenes(3, seed=0))
    corrected = [(segmenter.encode(scene.image), scene.labels % 3) for scene in scenes]
    learned = dinoiser.learn(corrected, PROMPTS, segmenter.pipeline)
    again = dinoiser.Segmenter(model, learned=learned)
    return segmenter, learned, again.segment(scenes[0].image, PROMPTS), corrected[0][0]


@pytest.fixture(scope="module")
def expected():
    _, learned, result, _ = label_and_learn()
    return learned, result, result.probabilities("red circle")


@pytest.mark.parametrize("name", SETTINGS)
def test_results_are_those_of_a_caller_who_sets_nothing(name, expected):
    known, labelled, heat_map = expected
    with SETTINGS[name]():
        segmenter, learned, result, encoded = label_and_learn()
        assert result == labelled
        np.testing.assert_array_equal(result.probabilities("red circle"), heat_map)
        assert learned == known
    # what was made there is of use elsewhere, as a notebook's cells have it
    assert segmenter.segment(encoded.image, PROMPTS) == encoded.segment(PROMPTS)
    np.testing.assert_array_equal(result.probabilities("red circle"), heat_map)


def test_a_model_loaded_in_inference_mode_runs_in_bfloat16():
    image = next(dinoiser.scenes.draw_scenes(1, seed=0)).image
    usual = dinoiser.Segmenter(dinoiser.load_model("tiny", precision="bf16"))
    with torch.inference_mode():
        found = dinoiser.Segmenter(dinoiser.load_model("tiny", precision="bf16"))
        assert found.segment(image, PROMPTS) == usual.segment(image, PROMPTS)


@pytest.fixture(scope="module")
def in_turn():
    segmenter = dinoiser.Segmenter(dinoiser.load_model("tiny"))
    images = [scene.image for scene in dinoiser.scenes.draw_scenes(6, seed=0)]
    return segmenter, images, [segmenter.segment(image, PROMPTS) for image in images]


def test_threads_share_a_segmenter(in_turn):
    segmenter, images, expected = in_turn
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(partial(segmenter.segment, prompts=PROMPTS), images)) == expected


class Labelled(torch.utils.data.Dataset):
    def __init__(self, segmenter, images):
        self.segmenter, self.images = segmenter, images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.segmenter.segment(self.images[index], PROMPTS)


@pytest.mark.skipif(sys.platform != "linux", reason="workers of a DataLoader are forked on Linux")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_workers_of_a_data_loader_use_what_their_parent_has_used(in_turn):
    segmenter, images, expected = in_turn
    loader = torch.utils.data.DataLoader(
        Labelled(segmenter, images),
        2,
        num_workers=2,
        collate_fn=list,
        timeout=300,
        multiprocessing_context="fork",
    )
    assert [result for batch in loader for result in batch] == expected
