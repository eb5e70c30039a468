"""The published code's numbers for DINO and FOUND, and the small random weights they belong to."""

from functools import cache

import numpy as np
import pytest
from safetensors.torch import load_file
from torch import nn

from dinoiser.models.teachers.dino import Dino, build_vit
from dinoiser.models.teachers.found import Found
from tests.helpers.places import GOLDENS

FOLDER = GOLDENS / "found"
CASES = pytest.mark.parametrize("case", ["a", "b"], ids=["64x96", "75x110, padded"])
HEADS = 3
"""Attention heads of both backbones, which are narrower than DINO's."""


@cache
def golden():
    """Inputs and numbers by name; `CASES` begin the names."""
    return np.load(FOLDER / "golden.npz")


def teacher_weights(prefix):
    """Weights of "dino_p16.", "found_p8." or "found_decoder."."""
    tensors = load_file(FOLDER / "tiny_teachers.safetensors")
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def small_teachers():
    """DINO and FOUND of the goldens' weights."""
    decoder = nn.Conv2d(48, 1, 1)
    decoder.load_state_dict(teacher_weights("found_decoder."))
    found = Found(Dino(build_vit(teacher_weights("found_p8."), HEADS)), decoder)
    return Dino(build_vit(teacher_weights("dino_p16."), HEADS)), found


def close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), expected, atol=1e-4, rtol=0)
