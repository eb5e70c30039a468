"""The order in which images are reviewed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from dinoiser.labels import ignore_among

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dinoiser.batch.reviews import LabelledImage, Review

Order = Literal["worst", "most work", "most useful", "file name", "class share"]

PICKED = 100
"""Images chosen one by one; the others follow by how they stand to these."""
UNKNOWN = 0.5
"""Expected IoU of an image that has none."""


def sort_images(
    images: Iterable[LabelledImage],
    reviews: Mapping[str, Review],
    order: Order,
    class_id: int = 0,
    vectors: Mapping[str, np.ndarray] | None = None,
) -> list[LabelledImage]:
    """Sort images for reviewing.

    Parameters
    ----------
    images
        The images.
    reviews
        From `read_reviews`, so that corrected masks count as corrected.
    order
        "worst": by the expected IoU, and "most work": by the expected work, see
        `dinoiser.batch.quality`; both begin with images whose pixels are all
        ignored. "most useful": by what they would teach, see `most_useful`;
        "worst" where no vectors are given. "file name": by name. "class share":
        by the share of one class, largest first. Ties are in the order of names.
    class_id
        The class for "class share".
    vectors
        One for each image, for "most useful".
    """

    def share(image: LabelledImage) -> float:
        review = reviews.get(image.image)
        pixels = (review and review.pixels) or image.pixels
        if class_id == ignore_among(pixels):  # in 8 bits, 255 is no class
            return 0.0
        return pixels.get(class_id, 0) / max(1, sum(pixels.values()))

    # sorting is stable, so ties keep the order of names
    by_name = sorted(images, key=lambda image: image.image)
    if order == "most useful" and vectors:
        checked = [name for name, review in reviews.items() if review.state != "unchecked"]
        return most_useful(by_name, vectors, checked)
    if order in ("worst", "most useful"):
        return sorted(by_name, key=lambda p: -1.0 if p.expected_iou is None else p.expected_iou)
    if order == "most work":
        return sorted(
            by_name,
            key=lambda p: math.inf if p.expected_work is None else p.expected_work,
            reverse=True,
        )
    if order == "class share":
        return sorted(by_name, key=share, reverse=True)
    return by_name


def most_useful(
    images: Sequence[LabelledImage],
    vectors: Mapping[str, np.ndarray],
    reviewed: Sequence[str],
) -> list[LabelledImage]:
    """Sort images so that each is uncertain, and unlike the ones before it and those reviewed.

    Greedy k-centre over one vector for each image: the next one has the largest
    product of its expected error and its distance to the nearest that is
    reviewed or chosen.

    Parameters
    ----------
    images
        The images. Those without a vector come last, in the given order.
    vectors
        (D,) float32 of unit length, by the images' names.
    reviewed
        Names of the reviewed images; these come behind the others, too.
    """
    known = set(reviewed)
    left = [image for image in images if image.image in vectors and image.image not in known]
    rest = [image for image in images if image.image not in vectors or image.image in known]
    if not left:
        return rest
    matrix = np.stack([vectors[image.image] for image in left])
    errors = np.array([1 - _expected_iou(image) for image in left])
    centres = [vectors[name] for name in reviewed if name in vectors]
    distance = np.full(len(left), 2.0)
    for centre in centres:
        distance = np.minimum(distance, 1 - matrix @ centre)
    order, is_left = list[int](), np.ones(len(left), bool)
    for _ in range(min(PICKED, len(left))):
        best = int(np.where(is_left, errors * distance, -1).argmax())
        order.append(best)
        is_left[best] = False
        distance = np.minimum(distance, 1 - matrix @ matrix[best])
    unlike = errors * distance
    others = sorted(np.flatnonzero(is_left).tolist(), key=lambda i: -unlike[i])
    return [left[i] for i in [*order, *others]] + rest


def _expected_iou(image: LabelledImage) -> float:
    return UNKNOWN if image.expected_iou is None else image.expected_iou
