"""What several test files need."""

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import settings

from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from dinoiser.weights import download
from tests.helpers import command_line
from tests.helpers.weight_server import CONTENT, serving, weights_at

# Series of random cases. No deadlines: a busy machine is no failure.
settings.register_profile("short", max_examples=100, deadline=None)
settings.register_profile("long", max_examples=1000, deadline=None)
settings.load_profile("short")  # unless the command names the long ones


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Keep tests away from the user's cache, and off the net."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DINOISER_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("DINOISER_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def tiny():
    """The embedded model, in the number format whose results do not depend on the processor."""
    return load_model("tiny", device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def scene():
    """A drawn image with three classes."""
    rng = np.random.default_rng(11)
    scenes = (draw_scene(rng, (224, 288)) for _ in range(50))
    return next(scene for scene in scenes if len(scene.names) == 3)


@pytest.fixture(scope="session")
def scene_prompts(scene):
    """Its classes, and two that are not in it."""
    return PromptSet.from_names(["background", *scene.names, *scene.absent[:2]])


@pytest.fixture
def make_clip():
    """Random small CLIPs with a ViT tower, like open_clip's configurations."""

    def make(patch_size=16, image_size=64, layers=4, quick_gelu=False, custom_text=False):
        torch.manual_seed(3)
        kind = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
        return kind(
            embed_dim=24,
            vision_cfg={
                "image_size": image_size,
                "patch_size": patch_size,
                "width": 32,
                "layers": layers,
                "head_width": 8,
            },
            text_cfg={"context_length": 77, "width": 16, "heads": 2, "layers": 2},
            quick_gelu=quick_gelu,
        )

    return make


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, the net switched on, and no long pauses between tries."""
    monkeypatch.setenv("DINOISER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DINOISER_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSES", (0.01, 0.02, 0.03, 0.04))
    return tmp_path / "cache"


@pytest.fixture
def server():
    """A web server that hands out one weights file."""
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def file(server):
    """That file, as the catalogue names files."""
    return weights_at(server.endpoint)


@pytest.fixture
def dinoiser():
    """Run the command line: exit code, stdout, stderr."""
    return command_line.dinoiser
