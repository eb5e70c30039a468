"""Compare patch features with class embeddings: probabilities at patch resolution."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoiser.models.pooling import share_by_keys
from dinoiser.segment.background import apply_background, clean_background, prepend_background

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dinoiser.models.base import PatchFeatures, Scoring


LEARNT_AT = 100.0
"""Factor of the cosines to which what was learnt is added, whatever a method's temperature."""


def class_probabilities(
    features: Tensor,
    class_embeddings: Tensor,
    temperature: float = 100.0,
    phrases_per_class: Sequence[int] | None = None,
) -> Tensor:
    """Softmax over classes of the cosines between patches and class embeddings.

    Parameters
    ----------
    features
        (B, D, h, w), not normalised.
    class_embeddings
        (K, D), rows of unit length; or (P, D), one row per phrase, with the
        phrases of a class next to each other.
    temperature
        Factor applied to the cosines; 100 in the published code.
    phrases_per_class
        K counts that sum to P; a class's cosine is the best of its phrases'.
        None: one phrase per class, exactly as in the paper.

    Returns
    -------
    Tensor
        (B, K, h, w) float32 in [0, 1], with sum 1 over K.
    """
    return (temperature * class_cosines(features, class_embeddings, phrases_per_class)).softmax(1)


def class_cosines(
    features: Tensor, class_embeddings: Tensor, phrases_per_class: Sequence[int] | None = None
) -> Tensor:
    """Cosines (B, K, h, w) float32 between patches and classes, see `class_probabilities`."""
    unit = F.normalize(features.float(), dim=1)
    cosines = _multiply(unit, class_embeddings.float())
    return cosines if phrases_per_class is None else best_of_phrases(cosines, phrases_per_class)


def class_products(
    features: Tensor, class_embeddings: Tensor, phrases_per_class: Sequence[int] | None = None
) -> Tensor:
    """Products (B, K, h, w) of patches and classes, divided by the longest patch of each image.

    The relative lengths of patches are kept, so that products can be
    interpolated instead of features: a pixel's cosines are its products divided
    by one length, which does not change their order and is near 1 if patches
    have similar lengths.
    """
    features = features.float()
    longest = features.norm(dim=1).amax((1, 2)).clamp(min=torch.finfo(torch.float32).tiny)
    unit = features / longest[:, None, None, None]
    products = _multiply(unit, class_embeddings.float())
    return products if phrases_per_class is None else best_of_phrases(products, phrases_per_class)


def _multiply(features: Tensor, embeddings: Tensor) -> Tensor:
    """Products (B, P, ...) of features (B, D, ...) and embeddings (P, D)."""
    # one product per image: the bits of a joint product depend on the number of images
    products = torch.bmm(embeddings.expand(len(features), -1, -1), features.flatten(2))
    return products.unflatten(2, features.shape[2:])


def best_of_phrases(cosines: Tensor, phrases_per_class: Sequence[int]) -> Tensor:
    """Reduce cosines (B, P, ...) of phrases to (B, K, ...) of classes: the best per class."""
    groups = cosines.split(list(phrases_per_class), dim=1)
    return torch.stack([group.amax(1) for group in groups], 1)


def score_patches(
    patches: PatchFeatures,
    embeddings: Tensor,
    phrases_per_class: Sequence[int],
    scoring: Scoring,
    *,
    has_background: bool,
    delta: float = 0.99,
    shift: Tensor | None = None,
) -> Tensor:
    """Compute class probabilities by a method's rules, or the scores for them.

    Parameters
    ----------
    patches
        The model's features of B images.
    embeddings
        (P, D) float32, one row per phrase, with the phrases of a class next to
        each other.
    phrases_per_class
        K counts that sum to P.
    scoring
        The method's rules.
    has_background
        Whether the first class is the background.
    delta
        See `apply_background`; 0 also skips `clean_background`.
    shift
        (K, D), what was learnt, see `Learned`; None for the words alone.

    Returns
    -------
    Tensor
        (B, K, h, w) float32: probabilities in [0, 1] or, if `Scoring.enlarged`
        is "cosines" or "features", the input of the softmax. If it is "phrases",
        cosines (B, P, h, w).
    """
    if shift is not None:
        counts = torch.tensor(phrases_per_class, device=shift.device)
        embeddings = embeddings + shift.repeat_interleave(counts, 0) / LEARNT_AT
    if scoring.enlarged == "phrases":
        return class_cosines(patches.features, embeddings)
    if scoring.enlarged != "probabilities":
        score = class_cosines if scoring.enlarged == "cosines" else class_products
        return scoring.temperature * score(patches.features, embeddings, phrases_per_class)
    if scoring.probability == "sigmoid":
        by_threshold = has_background and scoring.background == "threshold"
        background = _background(patches.features, scoring, shift) if by_threshold else None
        kept = replace(patches, guide=patches.guide if delta > 0 else None)
        return _score_by_sigmoid(kept, embeddings, phrases_per_class, background)
    probabilities = class_probabilities(
        patches.features, embeddings, scoring.temperature, phrases_per_class
    )
    if scoring.guide == "keys" and patches.guide is not None:
        probabilities = share_by_keys(probabilities, patches.guide.float())
    if not has_background or patches.foreground is None:
        return probabilities
    return apply_background(probabilities, patches.foreground, delta)


def phrase_probabilities(
    cosines: Tensor,
    temperature: float,
    phrases_per_class: Sequence[int] | None,
    least_background: float,
) -> Tensor:
    """Turn cosines (P, ...) of phrases into probabilities (K, ...) of classes, see `PhraseMap`."""
    probabilities = (temperature * cosines).softmax(0)
    if phrases_per_class:
        probabilities = best_of_phrases(probabilities[None], phrases_per_class)[0]
    total = probabilities.sum(0)
    probabilities = probabilities / total
    probabilities[0] = probabilities[0].clamp(min=least_background / total)
    return probabilities


def threshold_cosine(scoring: Scoring) -> float:
    """Cosine that a class must reach if background is "threshold"."""
    return math.log(scoring.threshold / (1 - scoring.threshold))


def scores_of(probabilities: Tensor, scoring: Scoring) -> Tensor:
    """Scores that a method turns into given probabilities (B, K, h, w), one phrase per class."""
    if scoring.enlarged == "probabilities":
        return probabilities
    factor = scoring.temperature if scoring.enlarged == "phrases" else scoring.sharpness
    return probabilities.log() / factor


def _background(features: Tensor, scoring: Scoring, shift: Tensor | None) -> float | Tensor:
    """Probability of a background that has no words, of all patches or (B, 1, h, w) of each."""
    if shift is None:
        return scoring.threshold
    # the threshold moves as a word's cosine would
    moved = threshold_cosine(scoring) + class_cosines(features, shift[:1]) / LEARNT_AT
    return moved.sigmoid()


def _score_by_sigmoid(
    patches: PatchFeatures,
    embeddings: Tensor,
    phrases_per_class: Sequence[int],
    background: float | Tensor | None,
) -> Tensor:
    """Score classes by themselves, and the background by its probability if that is given."""
    if background is not None:  # the background's own words do not count
        embeddings = embeddings[phrases_per_class[0] :]
        phrases_per_class = phrases_per_class[1:]
    probabilities = class_cosines(patches.features, embeddings, phrases_per_class).sigmoid()
    if background is None:
        return probabilities
    if patches.guide is not None:
        heads = head_cosines(patches.features, patches.guide, embeddings)
        relevance = best_of_phrases(heads.mT, phrases_per_class)
        probabilities = clean_background(probabilities, patches.guide, relevance)
    return prepend_background(probabilities, background)


def head_cosines(features: Tensor, attention: Tensor, embeddings: Tensor) -> Tensor:
    """Cosines between phrases and what the class token's heads attend to.

    Parameters
    ----------
    features
        (B, D, h, w), not normalised.
    attention
        (B, heads, h, w), logits.
    embeddings
        (P, D), rows of unit length.

    Returns
    -------
    Tensor
        (B, heads, P) float32.
    """
    seen = torch.einsum("bnhw,bdhw->bnd", attention.float(), features.float())
    unit = F.normalize(seen, dim=-1).transpose(1, 2)
    return _multiply(unit, embeddings.float()).transpose(1, 2)
