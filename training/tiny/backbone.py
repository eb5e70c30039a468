"""Train the backbone of the embedded model, in two processes on two cores.

``torchrun --nproc-per-node 2 -m training.tiny.backbone --out FILE``; without torchrun, one process.

A small open_clip model learns, for each patch and along the path that MaskCLIP
uses, which of many phrases are true.
"""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from dinoiser.models.catalog import find_model
from dinoiser.models.maskclip import CLIP_MEAN, CLIP_STD, position_table, value_path
from dinoiser.models.text import TextTower

from ..parallel import Workers, join_workers
from .auxiliary import AuxiliaryHeads
from .batches import SceneBatch, draw_batch, draw_size
from .start import start_weights
from .vocabulary import Vocabulary, draw_vocabulary, known_tokens

logger = logging.getLogger(__name__)

RATE = 1.5e-3
WARMUP_STEPS = 150
IMAGE_WEIGHT = 0.15  # of the class token's loss
STEPS_PER_LINE = 20
SHARES = 2
"""Number of batches per step, which the processes divide among themselves."""
STEPS = 6000


class Features(NamedTuple):
    """Result of a forward pass: dense features, class token, outputs of the blocks."""

    dense: Tensor
    image: Tensor
    blocks: list[Tensor]


class BackboneLosses(NamedTuple):
    """The three terms of the loss."""

    patches: Tensor
    image: Tensor
    auxiliary: Tensor


class Trainee(nn.Module):
    """The CLIP to train, with its auxiliary heads.

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
        table = self.clip.token_embedding
        # Only rows of known tokens are trained; row 0 stands for all others. Ids stay in order, so
        # the end of text, the largest id, has the largest row, as the text tower requires.
        self.row_of = torch.zeros(table.num_embeddings, dtype=torch.int64)
        self.row_of[self.known] = 1 + torch.arange(len(self.known))
        rows = table.weight.detach()[: 1 + len(self.known)].clone()
        self.clip.token_embedding = nn.Embedding.from_pretrained(rows, freeze=False)

    def encode_text(self, sentences: list[str]) -> Tensor:
        """Embeddings (V, D) of sentences; all unknown words are read as the same one."""
        return self.text.encode_tokens(self.row_of[self.text.tokenize(sentences)])

    def encode_image(self, pixels: Tensor) -> Features:
        """Features of pixels (B, 3, H, W) in [0, 1], with H and W in full patches."""
        visual = self.clip.visual
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (CLIP_MEAN, CLIP_STD))
        patches = visual.conv1((pixels - mean) / std)
        grid = (patches.shape[-2], patches.shape[-1])
        class_token = visual.class_embedding.expand(len(patches), 1, -1)
        x = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], 1)
        x = visual.ln_pre(x + position_table(visual.positional_embedding, visual.grid_size, grid))
        blocks = []
        for block in visual.transformer.resblocks[:-1]:
            x = run_block(block, x)
            blocks.append(x)
        last = visual.transformer.resblocks[-1]
        dense = visual.ln_post(value_path(last, x[:, 1:])) @ visual.proj
        image = visual.ln_post(run_block(last, x)[:, 0]) @ visual.proj
        return Features(dense, image, blocks)

    def losses(
        self, batch: SceneBatch, vocabulary: Vocabulary, temperature: float
    ) -> BackboneLosses:
        """Compare each patch and each image with the phrases of the vocabulary."""
        with torch.autocast("cpu", torch.bfloat16):
            features = self.encode_image(batch.pixels)
        texts = self.encode_text(vocabulary.sentences)
        classes, weights = _patch_targets(batch)
        truth = vocabulary.truth.T[classes.flatten()]
        patches = phrase_loss(
            features.dense.flatten(0, 1), texts, truth, weights.flatten(), temperature
        )
        # a phrase is true of an image if it is true of any class in it
        telling = vocabulary.says_something
        in_image = batch.classes_present().float() @ vocabulary.truth[telling].T.float() > 0
        every = torch.ones(len(in_image))
        image = phrase_loss(features.image, texts[telling], in_image, every, temperature)
        return BackboneLosses(patches, image, self.auxiliary(features.blocks, batch, weights))


def run_block(block: Any, x: Tensor) -> Tensor:
    """Run one block of the vision tower on tokens (B, N, C), with explicit attention.

    Both of torch's own attentions are up to six times slower to train in bfloat16 on a CPU.
    """
    weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
    projected = F.linear(block.ln_1(x), weight, bias).unflatten(-1, (3, block.attn.num_heads, -1))
    # (B, N, 3, heads, C / heads) -> 3 x (B, heads, N, C / heads)
    queries, keys, values = projected.permute(2, 0, 3, 1, 4)
    scores = queries * queries.shape[-1] ** -0.5 @ keys.transpose(-1, -2)
    mixed = (torch.softmax(scores, -1, scores.dtype) @ values).transpose(1, 2).flatten(2)
    x = x + block.attn.out_proj(mixed)
    return x + block.mlp(block.ln_2(x))


def _patch_targets(batch: SceneBatch) -> tuple[Tensor, Tensor]:
    """Return class and weight of each patch (B, N): more for small objects, less if mixed."""
    regions, share = batch.patch_regions()
    # number of patches of each patch's region; a share of 0.5 counts 0, of 0.7 and more fully
    sizes = F.one_hot(regions).sum(1).gather(1, regions)
    certainty = ((share - 0.5) / 0.2).clamp(0, 1)
    return batch.region_classes.gather(1, regions), certainty * sizes.float().rsqrt()


def phrase_loss(
    features: Tensor, texts: Tensor, truth: Tensor, weights: Tensor, temperature: float
) -> Tensor:
    """Cross-entropy over phrases, of which several may be true.

    One true phrase is drawn as the target, and the others are excluded from the softmax.

    Parameters
    ----------
    features
        (M, D), not normalised.
    texts
        (V, D), unit length.
    truth
        (M, V), bool; rows without a true phrase are ignored.
    weights
        (M,), non-negative.
    temperature
        Factor applied to the cosines.
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


def train_backbone(steps: int, seed: int, workers: Workers) -> Trainee:
    """Train from scratch; the same seed gives the same weights in one process and in two."""
    torch.set_num_threads(1)  # two processes of one thread are faster than one process of two
    torch.manual_seed(seed)
    config = find_model("maskclip-tiny").read_config()
    assert config is not None
    trainee = Trainee(config)
    optimizer = _make_optimizer(trainee)
    for step in range(steps):
        progress = step / steps
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, progress)
        optimizer.zero_grad()
        # one size for all, so that no process waits
        size = draw_size(np.random.default_rng((seed, step)), progress)
        for share in range(SHARES)[workers.share]:
            rng = np.random.default_rng((seed, step, share))
            torch.manual_seed(int(rng.integers(2**32)))  # for drawing target phrases
            batch, vocabulary = draw_batch(rng, size), draw_vocabulary(rng)
            losses = trainee.losses(batch, vocabulary, _temperature(progress))
            total = losses.patches + IMAGE_WEIGHT * losses.image + losses.auxiliary
            (total / SHARES).backward()
        workers.sum_gradients(trainee)
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimizer.step()
        if workers.is_first and step % STEPS_PER_LINE == STEPS_PER_LINE - 1:
            terms = ", ".join(f"{k} {v.item():.3f}" for k, v in losses._asdict().items())
            logger.info("%3.0f %%, step %d: %s", 100 * progress, step + 1, terms)
    return trainee


def _rate(step: int, progress: float) -> float:
    """Return a rate that rises briefly, then falls along half a cosine to a hundredth."""
    cosine = 0.505 + 0.495 * math.cos(math.pi * progress)
    return RATE * min(1, (step + 1) / WARMUP_STEPS) * cosine


def _temperature(progress: float) -> float:
    return min(100.0, 25 + 75 * progress / 0.08)


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
    """Write float16 weights; the token table has only the known rows and one for all others."""
    tensors = {
        name: value.half().contiguous()
        for name, value in trainee.clip.state_dict().items()
        if name != "attn_mask"
    }
    table = tensors.pop("token_embedding.weight")
    tensors["token_embedding.row_ids"] = trainee.known.int()
    tensors["token_embedding.rows"] = table[1:].contiguous()
    tensors["token_embedding.other"] = table[:1].contiguous()
    path.write_bytes(save(tensors, metadata={"format": "pt"}))


def main() -> None:
    """Train a backbone from scratch and write it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("ViT-tiny-8-shapes.safetensors"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with join_workers() as workers:
        trainee = train_backbone(arguments.steps, arguments.seed, workers)
        if workers.is_first:
            save_backbone(trainee, arguments.out)
            logger.info("the backbone is in %s", arguments.out)


if __name__ == "__main__":
    main()
