"""The picture of refitted heads: python -m docs.refit_image, which takes some minutes.

The first scenes of those on which `python -m benchmarks.refit --domains microscope --teachers
dino-tiny` scores the heads of its first seed: the image, what the shipped heads say, what heads say
that were refitted to 100 other scenes without labels, and the true shapes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.refit import KEPT_BACK, SETTINGS, SIDE, WORDS, refit, shapes_of
from benchmarks.setting import SCENES
from dinoiser import PromptSet, Segmenter, load_model
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.scenes import draw_scenes

IMAGES, SEED, SHOWN = 100, 7000, 4
PROMPTS = PromptSet.from_names(WORDS)


def main() -> None:
    """Fit heads, draw the picture and write it to docs/images."""
    torch.set_num_threads(1)
    model = load_model("tiny", device="cpu", precision="fp32")
    assert isinstance(model, ClipDinoiser)
    learnt, tested = (
        list(draw_scenes(count, SEED + part, (SIDE, SIDE), **SCENES["microscope"]))
        for part, count in enumerate((IMAGES + KEPT_BACK, SHOWN))
    )
    settings = replace(SETTINGS, steps=250, batch_size=8, sample=IMAGES, gamma=model.gamma, seed=0)
    heads, *_ = refit(model, learnt, "dino-tiny", settings)
    columns = []
    for scene in tested:
        labels = [
            Segmenter(one, whole=True, refine="none").segment(scene.image, PROMPTS).labels
            for one in (model, ClipDinoiser(model.clip, heads, model.gamma))
        ]
        shown = [PROMPTS.palette[found] for found in (*labels, shapes_of(scene))]
        columns.append(np.concatenate([scene.image, *shown]))
    path = Path(__file__).parent / "images" / "refit.jpg"
    Image.fromarray(np.concatenate(columns, 1)).save(path, quality=88)


if __name__ == "__main__":
    main()
