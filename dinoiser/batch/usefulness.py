"""Which images teach most when they are corrected next: uncertain, and unlike what is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dinoiser.batch.reviews import LabelledImage

PICKED = 100
"""Images chosen one by one; the others follow by how they stand to these."""
UNKNOWN = 0.5
"""Expected IoU of an image that has none."""


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
