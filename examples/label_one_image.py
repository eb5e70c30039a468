"""Label one image, change the words, and write the mask.

It works offline: it draws an image and uses the embedded model. For a
photograph, read it with `dinoiser.read_image` and load "clip-dinoiser".
"""

import tempfile
from pathlib import Path

import numpy as np

import dinoiser
from dinoiser.scenes import draw_scene


def main(folder: Path) -> None:
    """Write mask.png and preview.jpg into a folder."""
    scene = draw_scene(np.random.default_rng(3), (320, 448))
    encoded = dinoiser.Segmenter(dinoiser.load_model("tiny")).encode(scene.image)

    for words in ("background, circle, star", f"background, {', '.join(scene.names)}"):
        result = encoded.segment(dinoiser.PromptSet.parse(words))
        for c in result.prompts.classes:
            share = (result.labels == c.id).mean()
            print(f"{c.name:16} {share:6.1%}")
        print()

    dinoiser.export.write_png(result, folder / "mask.png")
    dinoiser.export.write_overlay(scene.image, result, folder / "preview.jpg")
    print(f"Written: {folder}")


if __name__ == "__main__":
    main(Path(tempfile.mkdtemp(prefix="dinoiser-")))
