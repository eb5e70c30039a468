"""What the tests of the models share."""

import open_clip
import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.places import GOLDENS


@pytest.fixture(scope="module")
def tiny_clip():
    folder = GOLDENS / "clip_dinoiser_tiny"
    clip = open_clip.CLIP(
        embed_dim=64,
        vision_cfg={"image_size": 64, "patch_size": 16, "width": 64, "layers": 6, "head_width": 16},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    )
    text = load_file(folder / "clip_text_sparse.safetensors")
    table = torch.zeros(49408, 32)
    table[text.pop("token_rows").long()] = text.pop("token_row_values")
    tensors = {**load_file(folder / "clip_visual.safetensors"), **text}
    differences = clip.load_state_dict({**tensors, "token_embedding.weight": table}, strict=False)
    assert set(differences.missing_keys) <= {"logit_scale"}
    assert set(differences.unexpected_keys) <= {"attn_mask"}
    return clip
