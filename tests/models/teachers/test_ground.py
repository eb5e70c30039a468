"""Objects are the patches that are unlike the commonest one."""

import torch

from dinoiser.models.teachers.ground import differs_from_ground

GRASS, SKY, BALL = torch.eye(3)


def paint(*rows):
    """Keys (1, 3, h, w) of rows of patches."""
    return torch.stack([torch.stack(row) for row in rows]).movedim(-1, 0)[None]


def test_what_differs_from_the_commonest_patch_is_an_object():
    keys = paint([GRASS, GRASS, BALL, GRASS], [GRASS, GRASS, 3 * BALL, 2 * GRASS])
    expected = torch.tensor([[[0, 0, 1, 0], [0, 0, 1, 0]]]).bool()
    assert torch.equal(differs_from_ground(keys), expected)


def test_patches_a_little_like_the_ground_belong_to_it():
    shadow = 0.4 * GRASS + 0.9 * SKY
    found = differs_from_ground(paint([GRASS, GRASS, GRASS, shadow, BALL]))
    assert found.tolist() == [[[False, False, False, False, True]]]


def test_each_image_has_its_own_ground():
    images = torch.cat([paint([GRASS, GRASS, BALL]), paint([BALL, GRASS, BALL])])
    assert differs_from_ground(images).tolist() == [[[False, False, True]], [[False, True, False]]]
