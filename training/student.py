"""The heads during a fit, and the parts of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from dinoiser.models.clip_dinoiser import DinoiserHeads

from .images import draw_batch
from .losses import correlation_loss, objectness_loss
from .whitening import WhitenedHeads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dinoiser.models.maskclip import MaskClip

    from .images import Crops, TrainingImages
    from .settings import FitSettings
    from .teachers import Targets, Teacher

WHITENING_CROPS = 200
"""Number of crops from which the whitened space is estimated."""

Student = DinoiserHeads | WhitenedHeads


class Losses(NamedTuple):
    """The two terms of the loss; their sum is minimised."""

    correlation: Tensor
    objectness: Tensor


class Prepared(NamedTuple):
    """Outputs of the frozen networks for B crops: the heads' input (B, C, h, w) and the targets."""

    guide: Tensor
    targets: Targets


def prepare(model: MaskClip, teacher: Teacher, batch: Crops) -> Prepared:
    """Run the frozen networks; return their outputs in float32."""
    with torch.inference_mode():
        guide = model.encode_guide(batch.pixels)
        targets = teacher.targets(batch, (guide.shape[-2], guide.shape[-1]))
    # copies, since tensors made in inference mode cannot take part in a backward pass
    features = targets.features.to(torch.float32, copy=True)
    return Prepared(
        guide.to(torch.float32, memory_format=torch.contiguous_format, copy=True),
        type(targets)(features, targets.objects.clone(), targets.known.clone()),
    )


def losses_of(heads: Student, prepared: Prepared, settings: FitSettings) -> Losses:
    """Compute both losses, as means over the crops."""
    embeddings, foreground = heads(prepared.guide)
    features, objects, known = prepared.targets
    return Losses(
        correlation_loss(embeddings, features, settings.weighting, settings.similar, known),
        objectness_loss(foreground, objects, settings.weighting, known),
    )


def new_heads(
    model: MaskClip, settings: FitSettings, start: DinoiserHeads | None = None
) -> DinoiserHeads:
    """Make heads for a model: copies of `start`, or random ones that depend only on the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        heads = DinoiserHeads(model.guide_width, settings.projection_dim, settings.kernel_size)
    if start is not None:
        heads.load_state_dict(start.state_dict())
    return heads.to(model.device)


def new_whitened_heads(
    model: MaskClip,
    images: TrainingImages,
    settings: FitSettings,
    start: DinoiserHeads | None = None,
) -> WhitenedHeads:
    """Make heads as `new_heads` does, in the whitened space of the first steps' crops."""
    steps = range(-(-min(WHITENING_CROPS, settings.sample) // settings.batch_size))
    guides = (model.encode_guide(draw_batch(images, settings, step).pixels) for step in steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        heads = WhitenedHeads(guides, settings.projection_dim, start)
    return heads.to(model.device)


def make_optimizer(heads: Student, settings: FitSettings) -> torch.optim.AdamW:
    """Make AdamW with a learning rate for each head."""
    # by name, as whitened heads have other parameters for the projection
    background = dict(heads.bkg_decoder.named_parameters(prefix="bkg_decoder"))
    projection = [p for name, p in heads.named_parameters() if name not in background]
    groups = [
        {"params": projection, "lr": settings.rate},
        {"params": list(background.values()), "lr": settings.background_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)


def set_rates(optimizer: torch.optim.Optimizer, settings: FitSettings, step: int) -> None:
    """Set the learning rates of a step, counted from 0."""
    factor = settings.decay if step >= settings.milestone else 1.0
    for group, rate in zip(
        optimizer.param_groups, (settings.rate, settings.background_rate), strict=True
    ):
        group["lr"] = factor * rate


def accumulate(
    heads: Student, parts: Iterable[Prepared], total: int, settings: FitSettings
) -> Tensor:
    """Accumulate the gradients of the parts of a step of `total` crops.

    Returns
    -------
    Tensor
        (2,), both losses: the contribution of the parts to the means over all crops.
    """
    sums = torch.zeros(2, device=heads.bkg_decoder.weight.device)
    for prepared in parts:
        losses = torch.stack(losses_of(heads, prepared, settings))
        # a part's share of the mean over the step, so that splitting a step changes nothing
        share = len(prepared.guide) / total
        (share * losses.sum()).backward()
        sums += share * losses.detach()
    return sums
