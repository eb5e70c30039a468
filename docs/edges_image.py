"""The picture of refined edges: python docs/edges_image.py.

The embedded model knows no photographs. So rough outlines of a few objects are drawn by hand and
blurred to patches of 16 pixels, as a ViT-B/16 would see them; then they are refined.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from skimage import data
from sklearn.datasets import load_sample_image
from torch.nn import functional as F

from dinoiser.segment.canvas import Canvas
from dinoiser.segment.cells import CellGrid, cell_colours
from dinoiser.segment.edges import EdgeMap
from dinoiser.segment.probability_map import ProbabilityMap, Tile
from dinoiser.segment.resize import resize, to_torch
from dinoiser.segment.windows import WindowLayout, working_size

PATCH = 16
WIDTH = 1200
Outline = list[tuple[int, int]]
HEAD: Outline = [(150, 60), (200, 15), (280, 25), (305, 90), (280, 150), (240, 195), (190, 185)]
SUIT: Outline = [
    *((30, 380), (40, 300), (120, 220), (160, 180), (240, 195), (320, 170)),
    *((350, 220), (350, 330), (300, 380), (280, 511), (20, 511)),
]
FLOWER: Outline = [
    *(
        (190, 110),
        (300, 70),
        (420, 110),
        (460, 230),
        (400, 350),
        (280, 390),
        (180, 320),
        (150, 210),
    ),
]
COLORS = np.array([(0, 0, 0), (230, 159, 0), (86, 180, 233)])


def rough_map(image: np.ndarray, outlines: list[Outline]) -> ProbabilityMap:
    """Blur outlines to patches: probabilities of the background and of each outline."""
    size = image.shape[:2]
    height, width = working_size(size, 448)
    drawn = Image.new("L", size[::-1])
    for label, outline in enumerate(outlines, start=1):
        ImageDraw.Draw(drawn).polygon(outline, label)
    labels = torch.from_numpy(np.array(drawn.resize((width, height), Image.Resampling.NEAREST)))
    shares = F.one_hot(labels.long(), len(outlines) + 1).permute(2, 0, 1)[None].float()
    patches = F.adaptive_avg_pool2d(shares, (-(-height // PATCH), -(-width // PATCH)))
    layout = WindowLayout(size, (height, width), ((0, height),), ((0, width),))
    return ProbabilityMap.from_windows(patches, layout)


def refine(rough: ProbabilityMap, image: np.ndarray) -> EdgeMap:
    """Refine a map as `Segmenter` does."""
    grid = CellGrid.over(rough.layout, PATCH)
    small = resize(to_torch(image), rough.layout.working_size, True)
    return EdgeMap(rough, grid, cell_colours(small, grid.side), image)


def draw(image: np.ndarray, found: ProbabilityMap | EdgeMap) -> np.ndarray:
    """Draw the labels over the image."""
    channels = np.arange(len(COLORS), dtype=np.uint8)
    canvas = Canvas.blank(Tile.whole(image.shape[:2]), channels, found.device)
    found.decide(canvas)
    labels, _ = canvas.arrays()
    mixed = np.where(labels[..., None] > 0, 0.45 * image + 0.55 * COLORS[labels], image)
    return mixed.astype(np.uint8)


def main() -> None:
    """Save photographs, rough labels of them, and refined ones side by side."""
    rows = []
    for photo, outlines in (
        (data.astronaut(), [HEAD, SUIT]),
        (load_sample_image("flower.jpg"), [FLOWER]),
    ):
        image = np.array(photo)
        rough = rough_map(image, outlines)
        panels = np.hstack([image, draw(image, rough), draw(image, refine(rough, image))])
        rows.append(Image.fromarray(panels).resize((WIDTH, WIDTH * len(panels) // panels.shape[1])))
    path = Path(__file__).resolve().parent / "images" / "edges.jpg"
    Image.fromarray(np.vstack(rows)).save(path, quality=88)


if __name__ == "__main__":
    main()
