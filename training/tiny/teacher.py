"""Train the self-supervised teacher of the embedded model, without a mask or a word.

``torchrun --nproc-per-node 2 -m training.tiny.teacher --out FILE``; without torchrun, one process.

DINO's recipe on drawn scenes: from one view of an image, a student predicts to which of many
prototypes its teacher, the running mean of its weights, assigns another view of it. A second term
is about patches: the keys of a patch should find, among all patches that the teacher sees in the
other view, those at about the same place. What is often found side by side becomes similar.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from dinoiser.models.teachers.dino import IMAGENET_MEAN, IMAGENET_STD, Dino
from dinoiser.scenes import DOMAINS, draw_scene

from ..parallel import Workers, join_workers
from .views import Crop, Place, change_colours

logger = logging.getLogger(__name__)

PATCH, WIDTH, DEPTH, HEADS = 8, 128, 4, 2
PROTOTYPES = 256
SIDE = 128
SCENES: list[dict[str, Any]] = [
    {"hard": False, "object_sizes": (24, 90)},
    {"hard": True, "object_sizes": (24, 90)},
    *({"domain": domain} for domain in DOMAINS),
]
"""Kinds of scenes, drawn in turn: like photographs to DINO, they are many and unlabelled."""
WIDE, NARROW = Crop(2, 80, (0.35, 1.0)), Crop(4, 40, (0.05, 0.35))
IMAGES_PER_SHARE = 4
SHARES = 2
"""Number of batches per step, which the processes divide among themselves."""
STEPS = 300
RATE, WARMUP_STEPS = 1e-3, 50
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE, PATCH_TEMPERATURE = 0.1, 0.04, 0.15
IMAGE_WEIGHT = 0.25  # of the class token's loss, as batches are small
NEAR = 0.1
"""Distance that counts as near for patches, as a share of half an image's side."""
MOMENTUM = 0.98
"""Of the teacher's weights, at the start; it rises to 1."""
CENTRE_MOMENTUM = 0.9
FIXED_PROTOTYPES = 50
"""Steps at the start in which prototypes stay, so that features spread over them first."""
CENTRED_ON = 100
STEPS_PER_LINE = 20


class Seen(NamedTuple):
    """What a network says about views.

    Attributes
    ----------
    image
        (B, K), similarities to prototypes.
    keys
        (B, h, w, C), of unit length: those of the last block, all heads together.
    """

    image: Tensor
    keys: Tensor


class Encoder(nn.Module):
    """A ViT, and a head that compares its class token with prototypes."""

    def __init__(self) -> None:
        super().__init__()
        vit: Any = VisionTransformer(  # timm's types do not name its blocks
            img_size=WIDE.side,
            patch_size=PATCH,
            embed_dim=WIDTH,
            depth=DEPTH,
            num_heads=HEADS,
            num_classes=0,
            dynamic_img_size=True,
        )
        for block in vit.blocks:
            block.attn.fused_attn = False  # torch's own is slower to train on a CPU
        self.vit = vit
        self.head = nn.Sequential(nn.Linear(WIDTH, 256), nn.GELU(), nn.Linear(256, 64))
        self.prototypes = nn.Parameter(torch.randn(64, PROTOTYPES))

    def forward(self, pixels: Tensor) -> Seen:
        """Look at views (B, 3, H, W), RGB in [0, 1]."""
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        patches = self.vit.patch_embed((pixels - mean) / std)  # (B, h, w, C)
        grid = patches.shape[1:3]
        x = self.vit._pos_embed(patches)
        for block in self.vit.blocks[:-1]:
            x = block(x)
        last = self.vit.blocks[-1]
        weight, bias = (p.chunk(3)[1] for p in (last.attn.qkv.weight, last.attn.qkv.bias))
        keys = F.linear(last.norm1(x)[:, 1:], weight, bias).unflatten(1, grid)
        image = self.head(self.vit.norm(last(x))[:, 0])
        similarities = F.normalize(image, dim=-1) @ F.normalize(self.prototypes, dim=0)
        return Seen(similarities, F.normalize(keys, dim=-1))


class View(NamedTuple):
    """The views of one kind and number of all B images, and what a network says about them."""

    place: Place
    seen: Seen

    @property
    def grid(self) -> tuple[int, int]:
        """Patches per side, (h, w)."""
        return self.seen.keys.shape[1], self.seen.keys.shape[2]


def draw_images(rng: np.random.Generator, count: int, side: int, first: int = 0) -> Tensor:
    """Draw scenes (B, 3, side, side), float32 in [0, 1]; of `SCENES`, begin with number `first`."""
    kinds = [SCENES[number % len(SCENES)] for number in range(first, first + count)]
    images = np.stack([draw_scene(rng, (side, side), **kind).image for kind in kinds])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def draw_places(rng: np.random.Generator, count: int, kind: Crop) -> list[Place]:
    """Draw the places of the views of one kind, each for `count` images."""
    return [Place.draw(rng, count, kind.area) for _ in range(kind.views)]


def cut_views(rng: np.random.Generator, images: Tensor, places: list[Place], side: int) -> Tensor:
    """Cut views (n * B, 3, side, side) of changed colours, all first ones first."""
    return change_colours(rng, torch.cat([place.cut(images, side) for place in places]))


def split(places: list[Place], seen: Seen) -> list[View]:
    """Split what a network says about all views."""
    parts = zip(*(values.chunk(len(places)) for values in seen), strict=True)
    return [View(place, Seen(*part)) for place, part in zip(places, parts, strict=True)]


def view_loss(target: View, predicted: View, centre: Tensor) -> Tensor:
    """Cross-entropies of what a student predicts from one view against what is seen in another.

    Parameters
    ----------
    target
        What the teacher sees.
    predicted
        What the student sees.
    centre
        (K,), what the teacher usually sees; without it, all images come to be the same.
    """
    expected = ((target.seen.image - centre) / TEACHER_TEMPERATURE).softmax(-1)
    predictions = (predicted.seen.image / STUDENT_TEMPERATURE).log_softmax(-1)
    image = -(expected * predictions).sum(-1).mean()
    return IMAGE_WEIGHT * image + _patch_loss(target, predicted)


def _patch_loss(target: View, predicted: View) -> Tensor:
    """Cross-entropy of where patches seem to be in the other view, for those that it shows."""
    there, here = (view.seen.keys.flatten(1, 2) for view in (target, predicted))
    scores = (here @ there.transpose(1, 2) / PATCH_TEMPERATURE).log_softmax(-1)
    places, points = (view.place.patches(view.grid) for view in (target, predicted))
    distances = torch.cdist(points.flatten(1, 2), places.flatten(1, 2))
    near = (-((distances / NEAR) ** 2) / 2).softmax(-1)  # (B, patches here, patches there)
    shown = target.place.shows(points).flatten(1)
    losses = -(near * scores).sum(-1)
    return (losses * shown).sum() / shown.sum().clamp(min=1)


def train_teacher(steps: int, seed: int, workers: Workers) -> Encoder:
    """Train from scratch; the same seed gives the same weights in one process and in two."""
    torch.set_num_threads(1)  # two processes of one thread are faster than one process of two
    torch.manual_seed(seed)
    student = Encoder()
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.04)
    centre = torch.zeros(PROTOTYPES)
    for step in range(steps):
        falling = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARMUP_STEPS) * max(falling, 0.01)
        optimizer.zero_grad()
        mean, total = torch.zeros(PROTOTYPES), torch.zeros(())
        for share in range(SHARES)[workers.share]:
            rng = np.random.default_rng((seed, step, share))
            first = (SHARES * step + share) * IMAGES_PER_SHARE
            images = draw_images(rng, IMAGES_PER_SHARE, SIDE, first)
            loss, seen = _compare_views(rng, images, student, teacher, centre)
            (loss / SHARES).backward()
            total += loss.detach() / SHARES
            mean += seen.image.mean(0) / SHARES
        workers.sum_gradients(student, mean, total)
        if step < FIXED_PROTOTYPES:
            student.prototypes.grad = None
        nn.utils.clip_grad_norm_(student.parameters(), 3.0)
        optimizer.step()
        centre.lerp_(mean, 1 - CENTRE_MOMENTUM)
        _follow(teacher, student, (1 - MOMENTUM) * falling)
        if workers.is_first and step % STEPS_PER_LINE == STEPS_PER_LINE - 1:
            logger.info("step %d of %d: loss %.3f", step + 1, steps, total)
    return teacher


def _follow(teacher: Encoder, student: Encoder, share: float) -> None:
    """Move the teacher's weights towards the student's by a share of the way."""
    for mine, its in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.lerp_(its.detach(), share)


def _compare_views(
    rng: np.random.Generator, images: Tensor, student: Encoder, teacher: Encoder, centre: Tensor
) -> tuple[Tensor, Seen]:
    """Mean loss over pairs of different views, and what the teacher sees in wide ones."""
    places = {kind: draw_places(rng, len(images), kind) for kind in (WIDE, NARROW)}
    views = {kind: cut_views(rng, images, some, kind.side) for kind, some in places.items()}
    with torch.no_grad():
        seen = teacher(views[WIDE])
    predictions = [
        view for kind, pixels in views.items() for view in split(places[kind], student(pixels))
    ]
    losses = [
        view_loss(target, predicted, centre)
        for target in split(places[WIDE], seen)
        for predicted in predictions
        if predicted.place is not target.place
    ]
    return torch.stack(losses).mean(), seen


def centre_keys(vit: Any, seed: int) -> None:
    """Subtract the mean key of scenes from all keys, by the bias of their projection.

    Attention does not change, as the same is subtracted from all scores of a query. Cosines do:
    without it, keys of unlike patches would be similar.
    """
    images = draw_images(np.random.default_rng((seed, STEPS)), CENTRED_ON, SIDE)
    mean = Dino(vit).keys(images).mean((0, 2, 3))
    with torch.no_grad():
        vit.blocks[-1].attn.qkv.bias[WIDTH : 2 * WIDTH] -= mean


def save_teacher(vit: Any, path: Path) -> None:
    """Write the weights in float16, under DINO's names."""
    tensors = {name: value.half().contiguous() for name, value in vit.state_dict().items()}
    path.write_bytes(save(tensors, metadata={"format": "pt"}))


def main() -> None:
    """Train a teacher from scratch and write it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("dino-tiny-8.safetensors"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with join_workers() as workers:
        teacher = train_teacher(arguments.steps, arguments.seed, workers)
        if workers.is_first:
            centre_keys(teacher.vit, arguments.seed)
            save_teacher(teacher.vit, arguments.out)
            logger.info("the teacher is in %s", arguments.out)


if __name__ == "__main__":
    main()
