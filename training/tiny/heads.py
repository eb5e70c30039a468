"""Train the two heads of the embedded model: ``python -m training.tiny.heads --out FILE``.

The targets are the exact masks of drawn scenes. They stand in for the DINO
correlations and FOUND masks of the paper, which this recipe does not use.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dinoiser.models.clip_dinoiser import DinoiserHeads
from dinoiser.models.load import load_model
from dinoiser.models.text import PhraseEmbeddings
from dinoiser.scenes import draw_scenes

from .losses import (
    background_loss,
    correlations,
    draw_queries,
    leak_loss,
    pooled_features,
    pooling_loss,
)
from .patches import ScenePatches, encode_scenes
from .whitening import Whitening, fit_whitening

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

REPORT_EVERY = 50


class TrainingSet(NamedTuple):
    """Scenes of one kind: how many, and their seed."""

    scenes: int
    seed: int
    hard: bool


TRAINING_SETS = (TrainingSet(2000, 910_000, False), TrainingSet(2000, 910_001, True))
SCENE_SIZE = (224, 224)
WHITENING_SCENES = 400


@dataclass(frozen=True)
class Settings:
    """The shipped heads' training.

    Attributes
    ----------
    projection_dim
        Length of the vectors in which patches are compared.
    steps
        Gradient steps, taken on the training sets in turn.
    batch_size
        Scenes a step.
    queries
        Patches of each scene that a step pools.
    rate
        Learning rate of the object head.
    background_rate
        Learning rate of the background head.
    leak_weight
        Factor of `leak_loss` beside `pooling_loss`.
    seed
        Start of all randomness but the scenes'.
    """

    projection_dim: int = 512
    steps: int = 1000
    batch_size: int = 8
    queries: int = 192
    rate: float = 1.5e-3
    background_rate: float = 2e-2
    leak_weight: float = 0.5
    seed: int = 0


class Student(nn.Module):
    """Both heads while they learn: the object head as a map of the whitened space."""

    def __init__(self, whitening: Whitening, projection_dim: int) -> None:
        super().__init__()
        self.whitening = whitening
        self.weight = nn.Parameter(whitening.first_map(projection_dim))
        self.bias = nn.Parameter(torch.zeros(projection_dim))
        self.background = nn.Conv2d(len(whitening.mean) // 9, 1, 1)

    def forward(self, guide: Tensor) -> tuple[Tensor, Tensor]:
        """Patch embeddings (B, P, h, w) and objectness (B, h, w), as `DinoiserHeads` gives them."""
        kernel, bias = self.whitening.as_convolution(self.weight, self.bias)
        padded = F.pad(guide, (1, 1, 1, 1), mode="replicate")
        foreground = self.background(F.normalize(guide, dim=1))[:, 0]
        return F.conv2d(padded, kernel, bias), foreground

    def export(self) -> DinoiserHeads:
        """Return the same as ordinary heads.

        Only the angles of the embeddings matter, so the kernel is scaled to a standard
        deviation of 0.02, which float16 holds well.
        """
        with torch.no_grad():
            kernel, bias = self.whitening.as_convolution(self.weight, self.bias)
            scale = 0.02 / kernel.std()
        heads = DinoiserHeads(self.background.in_channels, len(self.bias))
        heads.obj_proj.load_state_dict({"weight": scale * kernel, "bias": scale * bias})
        heads.bkg_decoder.load_state_dict(self.background.state_dict())
        return heads


class Losses(NamedTuple):
    """The three terms of a step."""

    pooling: Tensor
    leak: Tensor
    background: Tensor


def step_losses(student: Student, scenes: ScenePatches, queries: Tensor) -> Losses:
    """Losses of the queries (B, Q) of B scenes."""
    embeddings, foreground = student(scenes.guide.float())
    cosines = correlations(embeddings, queries)
    pooled = pooled_features(cosines, scenes.features.float())
    return Losses(
        pooling_loss(pooled, scenes, queries),
        leak_loss(cosines, scenes, queries),
        background_loss(foreground, scenes.classes),
    )


def train_heads(data: Sequence[ScenePatches], settings: Settings) -> DinoiserHeads:
    """Train heads on encoded scenes, the sets of which take turns."""
    random = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)
    whitening = fit_whitening(_mixture(data))
    student = Student(whitening, settings.projection_dim)
    groups = [
        {"params": [student.weight, student.bias], "lr": settings.rate},
        {"params": student.background.parameters(), "lr": settings.background_rate},
    ]
    optimizer = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _warm_cosine(step / settings.steps)
    )
    recent: deque[Losses] = deque(maxlen=REPORT_EVERY)
    for step in range(settings.steps):
        kind = data[step % len(data)]
        scenes = kind.select(torch.randperm(len(kind), generator=random)[: settings.batch_size])
        losses = step_losses(
            student, scenes, draw_queries(scenes.classes, settings.queries, random)
        )
        optimizer.zero_grad()
        (losses.pooling + settings.leak_weight * losses.leak + losses.background).backward()
        optimizer.step()
        schedule.step()
        recent.append(Losses(*(loss.detach() for loss in losses)))
        if (step + 1) % REPORT_EVERY == 0:
            logger.info("step %d: %s", step + 1, _describe(recent))
    return student.export()


def _mixture(data: Sequence[ScenePatches]) -> ScenePatches:
    """Return some scenes of each of the sets."""
    count = WHITENING_SCENES // len(data)
    some = [scenes.select(torch.arange(min(len(scenes), count))) for scenes in data]
    columns = ([getattr(s, f.name) for s in some] for f in dataclasses.fields(ScenePatches))
    return ScenePatches(*map(torch.cat, columns))


def _warm_cosine(progress: float) -> float:
    return min(1, progress / 0.02 + 0.05) * (0.02 + 0.49 * (1 + math.cos(math.pi * progress)))


def _describe(recent: Sequence[Losses]) -> str:
    means = [float(torch.stack(term).mean()) for term in zip(*recent, strict=True)]
    return ", ".join(f"{name} {mean:.3f}" for name, mean in zip(Losses._fields, means, strict=True))


def draw_training_data(share: float) -> list[ScenePatches]:
    """Draw and encode a share in (0, 1] of ``TRAINING_SETS``."""
    model = load_model("maskclip-tiny", device="cpu", precision="fp32")
    embeddings = PhraseEmbeddings(model)
    data = []
    for count, seed, hard in TRAINING_SETS:
        scenes = draw_scenes(max(1, round(share * count)), seed, SCENE_SIZE, hard=hard)
        data.append(encode_scenes(model, scenes, embeddings))
        logger.info("%d %s scenes are encoded", len(data[-1]), "hard" if hard else "easy")
    return data


def main() -> None:
    """Train heads with the shipped settings and write them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("heads.safetensors"))
    parser.add_argument("--share", type=float, default=1, help="of the training scenes, to try")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(arguments.threads)
    data = draw_training_data(arguments.share)
    heads = train_heads(data, Settings(steps=arguments.steps))
    tensors = {name: value.half().contiguous() for name, value in heads.state_dict().items()}
    save_file(tensors, arguments.out)
    logger.info("the heads are in %s", arguments.out)


if __name__ == "__main__":
    main()
