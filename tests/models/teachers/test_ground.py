"""Objects are the patches that are unlike the commonest one."""

import torch

from dinoiser.models.teachers.ground import Ground

GRASS, SKY, BALL = torch.eye(3)


class Painted:
    """A ViT whose keys are painted: its pixels are its keys."""

    def keys(self, pixels):
        return pixels


def paint(*rows):
    return torch.stack([torch.stack(row) for row in rows]).movedim(-1, 0)[None]


def test_what_differs_from_the_commonest_patch_is_an_object():
    keys = paint([GRASS, GRASS, BALL, GRASS], [GRASS, GRASS, 3 * BALL, 2 * GRASS])
    expected = torch.tensor([[[0, 0, 1, 0], [0, 0, 1, 0]]]).bool()
    assert torch.equal(Ground(Painted()).mask(keys), expected)


def test_patches_a_little_like_the_ground_belong_to_it():
    shadow = 0.4 * GRASS + 0.9 * SKY
    keys = paint([GRASS, GRASS, GRASS, shadow, BALL])
    assert Ground(Painted()).mask(keys).tolist() == [[[False, False, False, False, True]]]


def test_each_image_has_its_own_ground():
    first = paint([GRASS, GRASS, BALL])
    second = paint([BALL, GRASS, BALL])
    masks = Ground(Painted()).mask(torch.cat([first, second]))
    assert masks.tolist() == [[[False, False, True]], [[False, True, False]]]


def test_on_a_coarser_grid_an_object_fills_more_than_half_of_its_patches():
    keys = paint(
        [GRASS, GRASS, BALL, BALL], [GRASS, GRASS, BALL, GRASS], [GRASS, BALL, *2 * [GRASS]],
        4 * [GRASS],
    )  # fmt: skip
    found = Ground(Painted()).patch_probabilities(keys, (2, 2)) > 0.5
    assert found.tolist() == [[[False, True], [False, False]]]
