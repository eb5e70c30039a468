"""The picture of the embedded teacher: python docs/teacher_image.py.

An easy and a hard scene that nothing was trained on, with what the teacher and the shipped heads
see, drawn as the previews of a fit are.
"""

from __future__ import annotations

from pathlib import Path

import torch
from dinoiser_training.images import Crops
from dinoiser_training.previews import preview
from dinoiser_training.student import prepare
from dinoiser_training.teacher_names import load_teacher
from PIL import Image

from dinoiser import load_model
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.scenes import draw_scenes

SEED = 8102


def main() -> None:
    """Draw the picture and write it to docs/images."""
    model = load_model("tiny", device="cpu", precision="fp32")
    assert isinstance(model, ClipDinoiser)
    teacher = load_teacher("dino-tiny", model, "fp32")
    shown = []
    for hard in (False, True):
        (scene,) = draw_scenes(1, SEED, (224, 224), hard)
        pixels = torch.from_numpy(scene.image).permute(2, 0, 1)[None].float() / 255
        batch = Crops(pixels, None)
        shown.append((batch, prepare(model, teacher, batch)))
    path = Path(__file__).parent / "images" / "teacher.jpg"
    Image.fromarray(preview(model.heads, shown)).save(path, quality=90)


if __name__ == "__main__":
    main()
