"""Shared by the benchmarks: a full-size model with random weights, and paired timing."""

from __future__ import annotations

import os
import statistics
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import torch

from dinoiser.models.clip import Clip
from dinoiser.models.clip_dinoiser import ClipDinoiser, DinoiserHeads
from dinoiser.prompts import PromptSet
from dinoiser.scenes import DOMAINS

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = (
    "sky, grass, tree, water, road, building, person, dog, cat, horse, "
    "sheep, car, bus, bicycle, table, chair, book, bottle, lamp"
)
PROMPTS = PromptSet.parse(f"background, {CLASSES}")  # 20 classes
SCENES: dict[str, dict[str, Any]] = {
    "easy": {},
    "hard": {"hard": True},
    **{name: {"domain": name} for name in DOMAINS},
}
"""Kinds of drawn scenes, as arguments of `draw_scenes`."""


def random_model(
    dtype: torch.dtype = torch.float32, device: str = "cpu", *, small: bool = False
) -> ClipDinoiser:
    """Make a CLIP-DINOiser over ViT-B/16; speed does not depend on the weights.

    A small one, of few and narrow layers, is for trying a benchmark out.
    """
    torch.manual_seed(0)
    theirs = open_clip_model(small=small)
    clip = Clip(**_architecture(small=small))
    clip.load_state_dict(theirs.state_dict())
    heads = DinoiserHeads(clip.visual.conv1.out_channels, 256)
    digest = sha256(f"random-{dtype}-{small}".encode()).hexdigest()
    return ClipDinoiser(clip.to(device, dtype), heads, digest=digest)


def open_clip_model(*, small: bool = False) -> open_clip.CLIP:
    """Make open_clip's own CLIP in the same size, with its random weights."""
    return open_clip.CLIP(**_architecture(small=small)).eval().requires_grad_(False)


def _architecture(*, small: bool) -> dict[str, Any]:
    config = open_clip.get_model_config("ViT-B-16")
    if small:
        config["vision_cfg"] |= {"layers": 3, "width": 64, "head_width": 32}
        config["text_cfg"] |= {"layers": 2, "width": 64, "heads": 2}
    return config


def random_image(height: int, width: int) -> np.ndarray:
    """Make noise with some large-scale structure, (height, width, 3) uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 200, (height // 32 + 1, width // 32 + 1, 3), np.uint8)
    image = coarse.repeat(32, 0).repeat(32, 1)[:height, :width]
    return image + rng.integers(0, 50, (height, width, 3), np.uint8)


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(
    name: str, ours: Callable[[], object], baseline: Callable[[], object], pairs: int
) -> float:
    """Time two functions alternately; print the median of the ratios ours / baseline."""
    ours(), baseline()
    times = [(seconds(ours), seconds(baseline)) for _ in range(pairs)]
    ratio = statistics.median(a / b for a, b in times)
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{name}: {mine:.3f} s against {other:.3f} s, ratio {ratio:.3f}")
    return ratio


def describe_machine() -> None:
    """Print the facts that the figures depend on."""
    cpu = torch.backends.cpu.get_cpu_capability()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads ({cpu}), "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
