"""Each loss against its formula, and which way it pushes."""

import pytest
import torch
from torch import Tensor

from bngan.training.losses import LOSSES

REAL = torch.tensor([-3.0, 0.0, 2.0, 0.5], dtype=torch.float64)
FAKE = torch.tensor([1.0, -0.5, 4.0, -2.0], dtype=torch.float64)
INVERTED = "inverted_minimax"


def test_minimax_is_the_articles_value_function() -> None:
    d_real, d_fake = torch.sigmoid(REAL), torch.sigmoid(FAKE)
    value = d_real.log() + (1 - d_fake).log()
    minimax, inverted = LOSSES["minimax"], LOSSES[INVERTED]
    torch.testing.assert_close(minimax.discriminator(REAL, FAKE), -value)
    torch.testing.assert_close(minimax.generator(REAL, FAKE), (1 - d_fake).log())
    torch.testing.assert_close(inverted.discriminator(REAL, FAKE), value)
    torch.testing.assert_close(inverted.generator(REAL, FAKE), -(1 - d_fake).log())
    non_saturating = LOSSES["non_saturating"]
    torch.testing.assert_close(non_saturating.discriminator(REAL, FAKE), -value)
    torch.testing.assert_close(non_saturating.generator(REAL, FAKE), -d_fake.log())


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("hinge", [4 + 2, 1 + 0.5, 0 + 5, 0.5 + 0], [-1, 0.5, -4, 2]),
        ("wasserstein", [4, -0.5, 2, -2.5], [-1, 0.5, -4, 2]),
        (
            "least_squares",
            [(16 + 1) / 2, (1 + 0.25) / 2, (1 + 16) / 2, (0.25 + 4) / 2],
            [0, 2.25 / 2, 9 / 2, 9 / 2],
        ),
    ],
)
def test_values_are_the_papers(name, discriminator: list[float], generator: list[float]) -> None:
    loss = LOSSES[name]
    assert loss.discriminator(REAL, FAKE).tolist() == pytest.approx(discriminator)
    assert loss.generator(REAL, FAKE).tolist() == pytest.approx(generator)


def test_relativistic_sees_differences_only() -> None:
    loss = LOSSES["relativistic"]
    assert loss.paired
    torch.testing.assert_close(
        loss.discriminator(REAL, FAKE), -torch.sigmoid(REAL - FAKE).log(), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(loss.generator(REAL, FAKE), loss.discriminator(FAKE, REAL))
    torch.testing.assert_close(
        loss.discriminator(REAL + 7, FAKE + 7), loss.discriminator(REAL, FAKE)
    )


@pytest.mark.parametrize("name", ["minimax", "non_saturating", "least_squares"])
def test_label_smoothing_moves_the_real_target_alone(name) -> None:
    smoothing, loss = 0.1, LOSSES[name]
    assert loss.smoothing is not None
    zero = torch.zeros_like(REAL)
    value = loss.discriminator(REAL, zero) + loss.smoothing(REAL, smoothing)
    if name == "least_squares":
        expected = (REAL - 0.9).square() / 2
    else:
        d = torch.sigmoid(REAL)
        expected = -(0.9 * d.log() + 0.1 * (1 - d).log()) - torch.sigmoid(-zero).log()
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_survive_extreme_logits_and_push_the_right_way(name) -> None:
    loss, sign = LOSSES[name], 1.0
    real, fake = (torch.tensor([-1e4, -1, 0.5, 1e4], requires_grad=True) for _ in range(2))

    def slopes(values: Tensor, *logits: Tensor) -> list[Tensor]:
        assert values.isfinite().all()
        return list(torch.autograd.grad(values.sum(), logits))

    d_real, d_fake = slopes(loss.discriminator(real, fake.flip(0)), real, fake)
    (g_fake,) = slopes(loss.generator(real.flip(0), fake), fake)
    if name == INVERTED:
        sign = -1.0
    if name == "least_squares":  # beyond the target it pulls back
        d_real, d_fake, g_fake = d_real[:3], d_fake[2:], g_fake[:3]
    for gradient, direction in ((d_real, -sign), (d_fake, sign), (g_fake, -sign)):
        assert (gradient * direction >= 0).all()
        assert gradient.abs().sum() > 0
