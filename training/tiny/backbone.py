"""Train the backbone of the embedded model: ``python -m training.tiny.backbone --out FILE``.

A small open_clip model learns, patch by patch and along the very path that
MaskCLIP reads, to tell which of many phrases are true.
"""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from dinoiser.models.catalog import find_model
from dinoiser.models.maskclip import CLIP_MEAN, CLIP_STD, position_table, run_block, value_path
from dinoiser.models.text import TextTower

from .auxiliary import AuxiliaryHeads
from .batches import Batch, draw_batch
from .start import start_weights
from .vocabulary import UNKNOWN, Vocabulary, draw_vocabulary, known_tokens

logger = logging.getLogger(__name__)

RATE = 1.5e-3
WARMUP_STEPS = 150
IMAGE_WEIGHT = 0.15
STEPS_PER_LINE = 20
STEPS = 9000
"""Some half an hour on two cores."""


class Features(NamedTuple):
    """What a forward pass gives: dense features, class token, outputs of the blocks."""

    dense: Tensor
    image: Tensor
    blocks: list[Tensor]


class Losses(NamedTuple):
    """The three terms of a step."""

    patches: Tensor
    image: Tensor
    auxiliary: Tensor


class Trainee(nn.Module):
    """The CLIP that is trained, with its auxiliary heads.

    Parameters
    ----------
    config
        Keyword arguments of `open_clip.CLIP`.
    """

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.clip = open_clip.CLIP(**config)
        start_weights(self.clip)
        self.auxiliary = AuxiliaryHeads(self.clip.visual.conv1.out_channels)
        self.text = TextTower(self.clip)
        self.known = known_tokens(self.text.tokenize)
        self.other = int(self.text.tokenize([UNKNOWN])[0, 1])

    def encode_text(self, sentences: list[str]) -> Tensor:
        """Embeddings (V, D) of sentences; every unknown word is read as the same one."""
        ids = self.text.tokenize(sentences)
        unknown = (ids != 0) & ~torch.isin(ids, self.known)
        return self.text.encode_tokens(ids.masked_fill(unknown, self.other))

    def encode_image(self, pixels: Tensor) -> Features:
        """Features of pixels (B, 3, H, W) in [0, 1], sides multiples of the patch."""
        visual = self.clip.visual
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (CLIP_MEAN, CLIP_STD))
        patches = visual.conv1((pixels - mean) / std)
        grid = (patches.shape[-2], patches.shape[-1])
        class_token = visual.class_embedding.expand(len(patches), 1, -1)
        x = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], 1)
        x = visual.ln_pre(x + position_table(visual.positional_embedding, visual.grid_size, grid))
        blocks = []
        for block in visual.transformer.resblocks[:-1]:
            x, _ = run_block(block, x)
            blocks.append(x)
        last = visual.transformer.resblocks[-1]
        dense = visual.ln_post(value_path(last, x[:, 1:])) @ visual.proj
        image = visual.ln_post(run_block(last, x)[0][:, 0]) @ visual.proj
        return Features(dense, image, blocks)

    def losses(self, batch: Batch, vocabulary: Vocabulary, temperature: float) -> Losses:
        """Compare every patch, and every image, with the phrases of the vocabulary."""
        # The written-out attention trains several times faster in bfloat16 than the fused one.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            features = self.encode_image(batch.pixels)
        texts = self.encode_text(vocabulary.sentences)
        classes, weights = _patch_targets(batch)
        truth = vocabulary.truth.T[classes.flatten()]
        patches = phrase_loss(
            features.dense.flatten(0, 1), texts, truth, weights.flatten(), temperature
        )
        telling = vocabulary.says_something
        in_image = batch.classes_present().float() @ vocabulary.truth[telling].T.float() > 0
        every = torch.ones(len(in_image))
        image = phrase_loss(features.image, texts[telling], in_image, every, temperature)
        return Losses(patches, image, self.auxiliary(features.blocks, batch, weights))


def _patch_targets(batch: Batch) -> tuple[Tensor, Tensor]:
    """Class of each patch (B, N), and its weight: small objects more, mixed patches less."""
    regions, share = batch.patch_regions()
    sizes = F.one_hot(regions).sum(1).gather(1, regions)
    certainty = ((share - 0.5) / 0.2).clamp(0, 1)
    return batch.region_classes.gather(1, regions), certainty * sizes.float().rsqrt()


def phrase_loss(
    features: Tensor, texts: Tensor, truth: Tensor, weights: Tensor, temperature: float
) -> Tensor:
    """Cross-entropy over phrases of which several may be true.

    One true phrase is drawn as the target and the other true ones leave the softmax.

    Parameters
    ----------
    features
        (M, D), any length.
    texts
        (V, D), unit length.
    truth
        (M, V), bool; rows without a true phrase are left out.
    weights
        (M,), not negative.
    temperature
        Factor of the cosines.
    """
    some = truth.any(1)
    features, truth, weights = features[some], truth[some], weights[some]
    if not len(features):
        return texts.sum() * 0
    target = torch.multinomial(truth.float(), 1)
    others = truth.scatter(1, target, False)
    logits = temperature * F.normalize(features.float(), dim=-1) @ texts.T
    losses = F.cross_entropy(logits.masked_fill(others, -1e4), target[:, 0], reduction="none")
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)


def train_backbone(steps: int, seed: int) -> Trainee:
    """Train from scratch; the same seed gives the same weights with the same number of threads."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    config = find_model("maskclip-tiny").read_config()
    assert config is not None
    trainee = Trainee(config)
    optimizer = _make_optimizer(trainee)
    for step in range(steps):
        progress = step / steps
        rate = (
            RATE
            * min(1, (step + 1) / WARMUP_STEPS)
            * (0.505 + 0.495 * math.cos(math.pi * progress))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        temperature = min(100.0, 25 + 75 * progress / 0.08)
        losses = trainee.losses(draw_batch(rng, progress), draw_vocabulary(rng), temperature)
        optimizer.zero_grad()
        (losses.patches + IMAGE_WEIGHT * losses.image + losses.auxiliary).backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimizer.step()
        if step % STEPS_PER_LINE == STEPS_PER_LINE - 1:
            terms = ", ".join(f"{k} {v.item():.3f}" for k, v in losses._asdict().items())
            logger.info("%3.0f %%, step %d: %s", 100 * progress, step + 1, terms)
    return trainee


def _make_optimizer(trainee: Trainee) -> torch.optim.Optimizer:
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in trainee.named_parameters():
        if parameter.requires_grad:
            few = parameter.ndim < 2 or "embedding" in name
            (free if few else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), fused=True)


def save_backbone(trainee: Trainee, path: Path) -> None:
    """Write float16 weights with a token table of the known rows and one for all others."""
    tensors = {
        name: value.half().contiguous()
        for name, value in trainee.clip.state_dict().items()
        if name != "attn_mask"
    }
    table = tensors.pop("token_embedding.weight")
    tensors["token_embedding.row_ids"] = trainee.known.int()
    tensors["token_embedding.rows"] = table[trainee.known].contiguous()
    tensors["token_embedding.other"] = table[trainee.other][None].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})


def main() -> None:
    """Train a backbone from scratch and write it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("ViT-tiny-8-shapes.safetensors"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(arguments.threads)
    save_backbone(train_backbone(arguments.steps, arguments.seed), arguments.out)
    logger.info("the backbone is in %s", arguments.out)


if __name__ == "__main__":
    main()
