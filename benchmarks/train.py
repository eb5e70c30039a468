"""A training step against the published loop's: python -m benchmarks.train [--device cuda].

Models are full size with random weights: CLIP ViT-B/16, DINO ViT-B/16, FOUND on ViT-S/8. In the
published way, everything is in float32, all towers run to their ends, and the N x N targets, logits
and losses are complete arrays in the autograd graph.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time

import timm
import torch
from dinoiser_training.images import Crops
from dinoiser_training.parallel import Workers
from dinoiser_training.settings import FitSettings
from dinoiser_training.student import accumulate, make_optimizer, prepare
from dinoiser_training.teachers import DinoTeacher
from torch import nn
from torch.nn import functional as F

from benchmarks.memory import MB, peak, reset_peak
from benchmarks.setting import describe_machine, random_model
from dinoiser.models.clip_dinoiser import DinoiserHeads
from dinoiser.models.device import resolve_precision
from dinoiser.models.teachers.dino import Dino
from dinoiser.models.teachers.found import Found

SIDE = 448
ALONE = Workers()


def random_teacher(device: torch.device, dtype: torch.dtype) -> DinoTeacher:
    """Make full-size DINO and FOUND with random weights."""
    large, small = (
        Dino(timm.create_model(name, pretrained=False)).to(device, dtype)
        for name in ("vit_base_patch16_224.dino", "vit_small_patch8_224.dino")
    )
    return DinoTeacher(large, Found(small, nn.Conv2d(384, 1, 1)))


class OurWay:
    """A step like in `dinoiser train`, of which each process takes its share."""

    def __init__(
        self, device: torch.device, *, small: bool = False, workers: Workers = ALONE
    ) -> None:
        self.workers = workers
        dtype = resolve_precision("auto", device)
        self.model = random_model(dtype, device, small=small)
        self.teacher = random_teacher(device, dtype)
        self.heads = DinoiserHeads(self.model.visual.conv1.out_channels).to(device)
        self.settings = FitSettings()
        self.optimizer = make_optimizer(self.heads, self.settings)

    def __call__(self, pixels: torch.Tensor) -> None:
        """Take a step."""
        self.optimizer.zero_grad()
        crops = Crops(pixels[self.workers.share], None)
        prepared = prepare(self.model, self.teacher, crops)
        accumulate(self.heads, [prepared], len(pixels), self.settings)
        self.workers.sum_gradients(self.heads)
        self.optimizer.step()


class PublishedWay:
    """The same step like in the published loop."""

    def __init__(self, device: torch.device) -> None:
        self.model, self.teacher = (
            random_model(device=device),
            random_teacher(device, torch.float32),
        )
        self.heads = DinoiserHeads(768).to(device)
        self.optimizer = make_optimizer(self.heads, FitSettings())
        self.caught: dict[str, torch.Tensor] = {}
        guide = self.model.visual.transformer.resblocks[-3].ln_2
        guide.register_forward_hook(lambda _m, _i, out: self.caught.update(guide=out))
        for name, dino in (("values", self.teacher.dino), ("keys", self.teacher.found.dino)):
            dino.vit.blocks[-1].attn.qkv.register_forward_hook(
                lambda _m, _i, out, name=name: self.caught.update({name: out})
            )

    def __call__(self, pixels: torch.Tensor) -> None:
        """Take a step."""
        self.optimizer.zero_grad()
        side = SIDE // 16
        x, _ = self.model._embed(pixels)
        for block in self.model.visual.transformer.resblocks:
            x = block(x)
        guide = self.caught["guide"][:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
        embeddings, foreground = self.heads(guide)
        unit = F.normalize(embeddings.flatten(2), dim=1)
        logits = torch.einsum("bcn,bcm->bnm", unit, unit).clone()
        logits[logits < 0] = 0
        with torch.no_grad():
            targets, objects = self._targets(pixels, side)
        loss = F.binary_cross_entropy_with_logits(logits, targets)
        loss = loss + F.binary_cross_entropy_with_logits(foreground, objects)
        loss.backward()
        self.optimizer.step()

    def _targets(self, pixels: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
        dino, found = self.teacher.dino, self.teacher.found
        for teacher in (dino, found.dino):
            x, _ = teacher._embed(pixels)
            teacher.vit.norm(teacher.vit.blocks(x))
        values = F.normalize(self.caught["values"].chunk(3, -1)[2][:, 1:], dim=-1)
        correlations = torch.einsum("bnc,bmc->bnm", values, values)
        correlations[correlations < 0.2] = 0
        keys = self.caught["keys"].chunk(3, -1)[1][:, 1:]
        keys = keys.unflatten(1, (2 * side, 2 * side)).permute(0, 3, 1, 2)
        masks = F.interpolate(found.decoder(keys).sigmoid(), (side, side), mode="bilinear")
        return (correlations > 0).float(), (masks[:, 0] > 0.5).float()


WAYS = {"ours": OurWay, "published": PublishedWay}


def measure(way: str, device: str, batch: int, steps: int, answer) -> None:
    """Send the seconds per step and the growth of the peak memory in bytes."""
    place = torch.device(device)
    step = WAYS[way](place)
    pixels = torch.rand(batch, 3, SIDE, SIDE, device=place)
    if device == "cpu":
        reset_peak()
        before = peak()
    else:
        before = torch.cuda.memory_allocated()
    times = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        step(pixels)
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    after = peak() if device == "cpu" else torch.cuda.max_memory_allocated()
    answer.put((min(times[1:]), after - before))


def main() -> None:
    """Print steps per second and peak memory of both ways, alternately, in separate processes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2, help="crops per step; the recipe uses 16")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    describe_machine()
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    for _ in range(arguments.rounds):
        found = {}
        for way in WAYS:
            given = (way, arguments.device, arguments.batch, arguments.steps, answer)
            process = context.Process(target=measure, args=given)
            process.start()
            process.join()
            found[way] = seconds, memory = answer.get()
            print(f"{way:10} {1 / seconds:.3f} steps/s, peak {memory / MB:.0f} MB above the models")
        times, peaks = zip(*found.values(), strict=True)
        print(f"ours / published: time {times[0] / times[1]:.2f}, memory {peaks[0] / peaks[1]:.2f}")


if __name__ == "__main__":
    main()
