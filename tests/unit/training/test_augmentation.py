import numpy as np
import pytest
import torch
from torch import Tensor

from bngan.training.augmentation import DRAWS, augment
from bngan.training.noise import augmentation_draws, noise_blocks

ALL = ["color", "translation", "cutout"]


def images(channels: int = 3, size: int = 16) -> Tensor:
    return torch.rand(4, channels, size, size, dtype=torch.float64) * 2 - 1


def draws(**columns: float) -> Tensor:
    """The draws that change nothing, but for those named."""
    names = ("brightness", "saturation", "contrast", "down", "right", "hole_row", "hole_column")
    neutral = {"hole_row": 2.0, "hole_column": 2.0}  # a hole outside
    row = [columns.get(name, neutral.get(name, 0.5)) for name in names]
    return torch.tensor([row] * 4, dtype=torch.float64)


def drawn(seed: int, step: int, n: int) -> Tensor:
    return augmentation_draws(seed, step, noise_blocks(np.arange(n))).double()


def test_neutral_draws_change_nothing() -> None:
    for channels in (1, 3):
        given = images(channels)
        torch.testing.assert_close(augment(given, draws(), ALL), given)
        assert augment(given, draws(), []) is given


def test_translation_shifts_and_brings_zeros_in() -> None:
    given = images()
    shifted = augment(given, draws(down=0.999, right=0.0), ["translation"])
    assert torch.equal(shifted[:, :, 2:, :-2], given[:, :, :-2, 2:])
    assert (shifted[:, :, :2] == 0).all()
    assert (shifted[..., -2:] == 0).all()


def test_cutout_makes_a_square_hole_of_half_the_size() -> None:
    given = images() + 10
    cut = augment(given, draws(hole_row=0.5, hole_column=0.5), ["cutout"])
    hole = cut == 0
    assert hole[:, :, 4:12, 4:12].all()
    assert hole.sum() == 4 * 3 * 64
    corner = augment(given, draws(hole_row=0.0, hole_column=0.0), ["cutout"]) == 0
    assert corner[:, :, :4, :4].all()
    assert corner.sum() == 4 * 3 * 16


def test_color_changes_brightness_saturation_and_contrast() -> None:
    given = images()
    bright = augment(given, draws(brightness=0.9), ["color"])
    torch.testing.assert_close(bright, given + 0.4)
    grey = augment(given, draws(saturation=0.0), ["color"])
    torch.testing.assert_close(grey, given.mean(1, keepdim=True).expand_as(given))
    flat = augment(given, draws(contrast=0.0), ["color"])
    mean = given.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(flat, mean + (given - mean) / 2)


def test_every_image_has_draws_of_its_own_and_the_rest_of_a_batch_does_not_matter() -> None:
    given, numbers = images(), drawn(3, 5, 4)[:, 1]
    assert numbers.shape == (4, DRAWS)
    together = augment(given, numbers, ALL)
    for i in range(4):
        alone = augment(given[i : i + 1], numbers[i : i + 1], ALL)
        torch.testing.assert_close(together[i : i + 1], alone)
    same = augment(given[:1].expand(4, -1, -1, -1), numbers, ALL)
    assert not torch.allclose(same[0], same[1])
    assert not torch.equal(drawn(3, 5, 4), drawn(3, 6, 4))


@pytest.mark.parametrize("names", [["color"], ["translation"], ["cutout"], ALL])
def test_it_is_differentiable_twice(names) -> None:
    numbers = drawn(0, 0, 2)[:, 0]
    given = images(size=5)[:2].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augment(x, numbers, names), given)
    assert torch.autograd.gradgradcheck(lambda x: augment(x, numbers, names).sin(), given)


@pytest.mark.parametrize("size", [(24, 40), (96, 64), (7, 13)])
def test_a_transposed_image_changes_alike(size: tuple[int, int]) -> None:
    """The draws of rows and columns are exchanged with the sides."""
    given, numbers = torch.randn(6, 3, *size, dtype=torch.float64), drawn(3, 5, 6)[:, 0]
    exchanged = numbers[:, [0, 1, 2, 4, 3, 6, 5]]
    found, other = augment(given, numbers, ALL), augment(given.mT, exchanged, ALL)
    torch.testing.assert_close(found, other.mT)
    assert not torch.allclose(found, given)


def test_shifts_and_holes_are_shares_of_each_side() -> None:
    given = torch.rand(4, 3, 24, 40, dtype=torch.float64) + 10
    shifted = augment(given, draws(down=0.999, right=0.0), ["translation"])
    assert torch.equal(shifted[:, :, 3:, :-5], given[:, :, :-3, 5:])  # an eighth: 3 and 5 pixels
    assert (shifted[:, :, :3] == 0).all()
    assert (shifted[..., -5:] == 0).all()
    cut = augment(given, draws(hole_row=0.5, hole_column=0.5), ["cutout"]) == 0
    assert cut[:, :, 6:18, 10:30].all()
    assert cut.sum() == 4 * 3 * 12 * 20
